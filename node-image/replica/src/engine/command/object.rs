//! OBJECT: what clients and tools ask about a value's form. The answers are what Redis would say of such a value;
//! here it lies in memory in another way.

use super::{Args, Error, Reply, parse, resolve};
use crate::engine::access::{Access, Kind};

/// The limits below which Redis keeps a collection in its compact form: elements, and bytes of each.
const COMPACT: (usize, usize) = (128, 64);
/// The most integers that Redis keeps in its form for sets of integers.
const INTEGERS: usize = 512;
/// The largest list that Redis keeps in its compact form, in bytes, and what each element takes beside its own.
const LISTPACK: usize = 8192;
const PER_ELEMENT: usize = 3;
/// The longest string that Redis keeps together with its object, in bytes.
const EMBEDDED: usize = 44;

const HELP: [&str; 15] = [
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
];

pub fn object(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let subcommand = resolve(args)?.name;
    if subcommand == "object|help" {
        reply.array(HELP.len());
        HELP.iter().for_each(|line| reply.simple(line));
        return Ok(());
    }
    let key = args[2];
    let Some(kind) = access.kind(key) else {
        reply.null();
        return Ok(());
    };
    match subcommand {
        "object|encoding" => reply.bulk(access.looking(|access| encoding(access, key, kind))?.as_bytes()),
        "object|refcount" => reply.integer(1),
        "object|idletime" => reply.count((access.idle_ms(key).unwrap_or(0) / 1_000) as usize),
        _ => {
            return Err(Error::Fixed(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
    }
    Ok(())
}

fn encoding(access: &mut Access<'_>, key: &[u8], kind: Kind) -> Result<&'static str, Error> {
    let (most, longest) = COMPACT;
    Ok(match kind {
        Kind::String => {
            let value = access.string(key)?.unwrap_or_default();
            if parse::integer(&value).is_some() {
                "int"
            } else if value.len() <= EMBEDDED {
                "embstr"
            } else {
                "raw"
            }
        }
        Kind::Hash => {
            let small = access.field_count(key)? <= most
                && access.fields(key)?.all(|(field, value)| field.len().max(value.len()) <= longest);
            if small { "listpack" } else { "hashtable" }
        }
        Kind::Set => {
            let count = access.member_count(key)?;
            if count <= INTEGERS && access.members(key)?.all(|member| parse::integer(member).is_some()) {
                "intset"
            } else if count <= most && access.members(key)?.all(|member| member.len() <= longest) {
                "listpack"
            } else {
                "hashtable"
            }
        }
        Kind::SortedSet => {
            let small = access.scored_count(key)? <= most
                && access.scored_range(key, 0..usize::MAX)?.iter().all(|(member, _)| member.len() <= longest);
            if small { "listpack" } else { "skiplist" }
        }
        Kind::List => {
            let size: usize =
                access.list_range(key, 0..usize::MAX)?.iter().map(|value| value.len() + PER_ELEMENT).sum();
            if size <= LISTPACK { "listpack" } else { "quicklist" }
        }
    })
}
