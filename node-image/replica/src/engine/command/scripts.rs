//! SCRIPT and FUNCTION: there are no scripts here, so there are none to list, to find or to forget; nothing can be loaded.

use super::connection::help;
use super::{Error, Reply, parse, resolve};

const NONE: Error = Error::Fixed("ERR this store has no scripts: nothing can be loaded");

const SCRIPT_HELP: [&str; 9] = [
    "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "EXISTS <sha1> [<sha1> ...]",
    "    Always 0: this store has no scripts.",
    "FLUSH [ASYNC|SYNC]",
    "    Accepted.",
    "KILL, LOAD",
    "    Refused.",
    "HELP",
    "    Prints this help.",
];

pub fn script(args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    match resolve(args)?.name {
        "script|exists" => {
            reply.array(args.len() - 2);
            args[2..].iter().for_each(|_| reply.integer(0));
        }
        "script|flush" => {
            flush(&args[2..], "ERR SCRIPT FLUSH only support SYNC|ASYNC option")?;
            reply.ok();
        }
        "script|kill" => return Err(Error::Fixed("NOTBUSY No scripts in execution right now.")),
        "script|load" => return Err(NONE),
        _ => help(reply, &SCRIPT_HELP),
    }
    Ok(())
}

/// Nothing, or one of the two ways to do it.
fn flush(how: &[&[u8]], why: &'static str) -> Result<(), Error> {
    match how {
        [] => Ok(()),
        [how] if parse::is(how, "sync") || parse::is(how, "async") => Ok(()),
        _ => Err(Error::Fixed(why)),
    }
}

const FUNCTION_HELP: [&str; 9] = [
    "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "FLUSH [ASYNC|SYNC]",
    "    Accepted: this store has no functions.",
    "KILL, LOAD",
    "    Refused.",
    "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
    "    Always empty.",
    "HELP",
    "    Prints this help.",
];

pub fn function(args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    match resolve(args)?.name {
        "function|flush" => {
            flush(&args[2..], "ERR FUNCTION FLUSH only supports SYNC|ASYNC option")?;
            reply.ok();
        }
        "function|kill" => return Err(Error::Fixed("NOTBUSY No scripts in execution right now.")),
        "function|load" => return Err(NONE),
        "function|list" => reply.array(0),
        _ => help(reply, &FUNCTION_HELP),
    }
    Ok(())
}
