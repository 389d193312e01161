//! MEMORY: what tools ask. What a replica takes as a process is at its HTTP port.

use super::connection::help;
use super::{Args, Error, Reply, parse, resolve};
use crate::engine::access::{Access, Kind};

/// What a key, and an element of a collection, take in memory beside their bytes.
const PER_KEY: usize = 34;
const PER_ELEMENT: usize = 40;

const MEMORY_HELP: [&str; 11] = [
    "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Says where to look.",
    "MALLOC-STATS",
    "    There are none.",
    "PURGE",
    "    Accepted.",
    "USAGE <key> [SAMPLES <count>]",
    "    About how many bytes <key> and its value take; all nested values are counted.",
    "HELP",
    "    Prints this help.",
];

pub fn memory(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match resolve(args)?.name {
        "memory|usage" => {
            match &args[3..] {
                [] => {}
                [option, count] if parse::is(option, "samples") => {
                    if parse::integer_argument(count)? < 0 {
                        return Err(Error::Syntax);
                    }
                }
                _ => return Err(Error::Syntax),
            }
            match access.looking(|access| usage(access, args[2]))? {
                Some(bytes) => reply.count(bytes),
                None => reply.null(),
            }
        }
        "memory|purge" => reply.ok(),
        "memory|malloc-stats" => reply.bulk(b"Stats not supported for the current allocator"),
        "memory|doctor" => reply.verbatim("txt", b"See the metrics of the replica's HTTP port.\n"),
        _ => help(reply, &MEMORY_HELP),
    }
    Ok(())
}

/// About how many bytes a key and its value take.
fn usage(access: &mut Access<'_>, key: &[u8]) -> Result<Option<usize>, Error> {
    let Some(kind) = access.kind(key) else { return Ok(None) };
    let elements: usize = match kind {
        Kind::String => access.string(key)?.map_or(0, |value| value.len()),
        Kind::Hash => access.fields(key)?.map(|(field, value)| field.len() + value.len() + PER_ELEMENT).sum(),
        Kind::Set => access.members(key)?.map(|member| member.len() + PER_ELEMENT).sum(),
        Kind::SortedSet => {
            access.scored_range(key, 0..usize::MAX)?.iter().map(|(member, _)| member.len() + 8 + PER_ELEMENT).sum()
        }
        Kind::List => access.list_range(key, 0..usize::MAX)?.iter().map(|element| element.len() + PER_ELEMENT).sum(),
    };
    Ok(Some(PER_KEY + key.len() + elements))
}
