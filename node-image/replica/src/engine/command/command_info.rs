//! COMMAND: the table, told to clients.

use super::connection::help;
use super::table::{Spec, all, flag, lookup};
use super::{Error, Reply, glob, parse};

const HELP: [&str; 13] = [
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return details about all commands.",
    "COUNT",
    "    Return the total number of commands.",
    "DOCS [<command-name> ...], INFO [<command-name> ...]",
    "    Return documentation or details about these, or all, commands.",
    "GETKEYS <full-command>",
    "    Return the keys from a full command.",
    "LIST [FILTERBY (ACLCAT <category>|PATTERN <pattern>|MODULE <module>)]",
    "    Return the names of all commands and subcommands.",
    "HELP",
    "    Prints this help.",
];

pub fn command(args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    let Some(own) = lookup(b"command") else { return Err(Error::unknown_command(args)) };
    match own.subcommand(args)?.name {
        "command|count" => reply.count(all().len()),
        "command|list" => return list(&args[2..], reply),
        "command|info" if args.len() > 2 => {
            reply.array(args.len() - 2);
            for name in &args[2..] {
                match named(name) {
                    Some(spec) => info(spec, reply),
                    None => reply.null(),
                }
            }
        }
        "command" | "command|info" => {
            reply.array(all().len());
            all().iter().for_each(|spec| info(spec, reply));
        }
        "command|docs" if args.len() > 2 => {
            let found: Vec<_> = args[2..].iter().filter_map(|name| named(name)).collect();
            reply.map(found.len());
            found.into_iter().for_each(|spec| docs(spec, reply));
        }
        "command|docs" => {
            reply.map(all().len());
            all().iter().for_each(|spec| docs(spec, reply));
        }
        "command|getkeys" => return get_keys(&args[2..], reply),
        _ => help(reply, &HELP),
    }
    Ok(())
}

/// The row of a command, or of `command|subcommand`.
fn named(name: &[u8]) -> Option<&'static Spec> {
    match name.iter().position(|&byte| byte == b'|') {
        Some(bar) => lookup(&name[..bar])?.subcommands.iter().find(|spec| parse::is(name, spec.name)),
        None => lookup(name),
    }
}

fn info(spec: &Spec, reply: &mut Reply<'_>) {
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(spec.arity.into());
    let names = || flag::NAMES.iter().enumerate().filter(|&(bit, _)| spec.has(1 << bit)).map(|(_, name)| name);
    reply.set(names().count());
    names().for_each(|name| reply.simple(name));
    for position in [spec.first_key, spec.last_key, spec.step] {
        reply.integer(position.into());
    }
    reply.set(spec.categories().count());
    for category in spec.categories() {
        reply.simple(&format!("@{category}"));
    }
    // Tips and key specifications are hints for clients of Redis Cluster.
    reply.set(0);
    reply.set(0);
    reply.array(spec.subcommands.len());
    spec.subcommands.iter().for_each(|subcommand| info(subcommand, reply));
}

fn docs(spec: &Spec, reply: &mut Reply<'_>) {
    reply.bulk(spec.name.as_bytes());
    reply.map(3 + usize::from(!spec.subcommands.is_empty()));
    for (field, value) in [("summary", spec.summary), ("since", spec.since), ("group", spec.group.name())] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if !spec.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(spec.subcommands.len());
        spec.subcommands.iter().for_each(|subcommand| docs(subcommand, reply));
    }
}

fn list(filter: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    let wanted: Box<dyn Fn(&Spec) -> bool> = match filter {
        [] => Box::new(|_| true),
        [by, what, value] if parse::is(by, "filterby") => {
            let value = value.to_ascii_lowercase();
            if parse::is(what, "pattern") {
                Box::new(move |spec| glob::matches(&value, spec.name.as_bytes()))
            } else if parse::is(what, "aclcat") {
                Box::new(move |spec| spec.categories().any(|category| category.as_bytes() == value))
            } else if parse::is(what, "module") {
                Box::new(|_| false)
            } else {
                return Err(Error::Syntax);
            }
        }
        _ => return Err(Error::Syntax),
    };
    let rows = || all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    let names = || rows().filter(|spec| wanted(spec));
    reply.array(names().count());
    names().for_each(|spec| reply.bulk(spec.name.as_bytes()));
    Ok(())
}

fn get_keys(command: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    let invalid = Error::Fixed("ERR Invalid command specified");
    let spec = command.first().and_then(|name| lookup(name)).ok_or_else(|| invalid.clone())?;
    let spec = match spec.subcommand(command) {
        Err(Error::Arity(_)) => spec,
        other => other.map_err(|_| invalid)?,
    };
    if spec.first_key == 0 && !spec.has(flag::MOVABLEKEYS) {
        return Err(Error::Fixed("ERR The command has no key arguments"));
    }
    spec.check_arity(command.len())
        .map_err(|_| Error::Fixed("ERR Invalid number of arguments specified for command"))?;
    let count = spec.keys(command).count();
    if count == 0 {
        return Err(Error::Fixed("ERR Invalid arguments specified for command"));
    }
    reply.array(count);
    spec.keys(command).for_each(|key| reply.bulk(key));
    Ok(())
}
