//! CONFLICTS: what was written at the same time on several sides, what is shown of it, and why.
//!
//! ```text
//! CONFLICTS [GET [count]]   the latest conflicts, the newest first: 10 of them, or as many as asked for; -1: all that are kept
//! CONFLICTS LEN             how many are kept
//! CONFLICTS RESET           forgets them; what was counted stays
//! CONFLICTS KEY <key>       what this key holds beside what reads show of it
//! ```
//!
//! An entry is a map: id; time_ms, when it was joined here; key; type (string, hash, set, zset, list, expiry, or type where two types met); place, the field
//! or member, or null; why; times, how often it went on there; more, how many versions or elements are left out; versions. A version is a map: shown; wrote
//! (value, score, count, expiry, type or removal); value, of which the first 128 bytes are kept, as of key and place; bytes, its length; clock_ms and
//! clock_logical (0 of what was counted); origin, as SIBLINGS has it; sequence.
//!
//! **Who notes what.** Every replica notes what it joins, once that is committed in its group: so the replicas of a region have the same, each since its own
//! start, and what a deposed leader had joined and could not commit is not noted. What is in conflict is on the front page of `engine::conflicts`. Each
//! region notes for itself: where two wrote values both note it; where one removed, the other may be the only one that can tell.
//! A conflict that goes on at the same place, with one side the same, stays one entry, with its newest versions.
//!
//! CONFLICTS KEY needs no list: it reads the state, at any time, at whoever answers reads.

use super::float;
use super::siblings::write_name;
use super::{Args, Error, Reply};
use crate::engine::access::{Access, Kind};
use crate::engine::conflicts::{Clip, Content, Version};

/// What CONFLICTS HELP answers.
pub const HELP: [&str; 13] = [
    "CONFLICTS [<subcommand> [<arg> [value] [opt] ...]]. Subcommands are:",
    "GET [<count>]",
    "    Return the latest <count> conflicts that this replica has joined (default: 10, -1 means all): what is shown,",
    "    what is not, and why. Without a subcommand the same.",
    "KEY <key>",
    "    Return what the key holds beside what reads show of it.",
    "LEN",
    "    Return how many conflicts are kept.",
    "RESET",
    "    Forget them.",
    "HELP",
    "    Prints this help.",
    "Conflicts are noted since the replica has started, and those of its region alone.",
];

/// A type, as TYPE gives it.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "string",
        Kind::Hash => "hash",
        Kind::Set => "set",
        Kind::SortedSet => "zset",
        Kind::List => "list",
    }
}

/// What is kept of bytes, and how many more there were.
pub fn clip_text(clip: &Clip) -> Vec<u8> {
    let mut text = clip.bytes.to_vec();
    if clip.length > clip.bytes.len() {
        text.extend_from_slice(format!("... ({} more bytes)", clip.length - clip.bytes.len()).as_bytes());
    }
    text
}

/// What a version wrote: of which sort, as text, and how many bytes it had.
pub fn content_text(content: &Content) -> (&'static str, Option<Vec<u8>>, usize) {
    let short = |what, text: String| (what, Some(text.clone().into_bytes()), text.len());
    match content {
        Content::Value(clip) => ("value", Some(clip_text(clip)), clip.length),
        Content::Score(score) => short("score", float::text(*score)),
        Content::Count(count) => short("count", count.to_string()),
        Content::Expires(at_ms) => short("expiry", at_ms.to_string()),
        Content::Kind(kind) => short("type", kind_name(*kind).to_owned()),
        Content::Removal => ("removal", None, 0),
    }
}

/// Writes one side of a conflict.
pub fn write_version(version: &Version, reply: &mut Reply<'_>) {
    let (wrote, value, bytes) = content_text(&version.content);
    reply.map(8);
    reply.bulk(b"shown");
    reply.boolean(version.won);
    reply.bulk(b"wrote");
    reply.bulk(wrote.as_bytes());
    reply.bulk(b"value");
    reply.bulk_or_null(value.as_deref());
    reply.bulk(b"bytes");
    reply.count(bytes);
    write_name(version.clock, version.dot, reply);
}

/// CONFLICTS KEY.
pub fn key(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let shown = access.kind(args[2]);
    let (kept, more) = access.kept(args[2]);
    reply.map(3);
    reply.bulk(b"type");
    reply.bulk(shown.map_or("none", kind_name).as_bytes());
    reply.bulk(b"kept");
    reply.array(kept.len());
    for (family, place, version) in &kept {
        reply.map(3);
        reply.bulk(b"type");
        reply.bulk(family.name().as_bytes());
        reply.bulk(b"place");
        reply.bulk_or_null(place.as_ref().map(clip_text).as_deref());
        reply.bulk(b"version");
        write_version(version, reply);
    }
    reply.bulk(b"more");
    reply.count(more);
    Ok(())
}
