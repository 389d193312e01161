//! SIBLINGS and PUT: the values that a string has at once, because none of their writers saw the other, and a write that says what its client saw.
//!
//! ```text
//! SIBLINGS key                     a map: siblings (each with value, clock, origin, and whether reads show it), counter, context
//! PUT key value CONTEXT <context>  writes a value that removes exactly what that context saw
//! ```
//!
//! Two clients that read the same, were apart and wrote leave two siblings, and a third one that has read both writes over both. What neither client knew of
//! survives, whenever it arrives. A context is good for its key alone, at any replica and for ever; one of a key that was not there sees nothing.
//!
//! PUT is a command of its own, and no option of SET or form of SIBLINGS: what only reads and what writes are told apart by their rows, for whoever routes or
//! permits commands by them, and SET is what it is in Redis. It needs to know nothing but the context, so like SET it asks no replica for the key's state. It
//! has no place in a transaction: the context is that of all that is written with it. SET removes what its coordinator has seen, whatever its client saw.

use trireme_proto::ids::Dot;

use super::{Args, Error, Reply, parse};
use crate::engine::access::Access;
use crate::engine::access::siblings::{Context, PutError};
use crate::engine::events::Classes;

/// Whose a value is: the clock and the name of the delta that wrote it, four entries of a map.
pub(super) fn write_name(clock: u64, dot: Dot, reply: &mut Reply<'_>) {
    reply.bulk(b"clock_ms");
    reply.integer((clock >> 16) as i64);
    reply.bulk(b"clock_logical");
    reply.integer((clock & 0xffff) as i64);
    reply.bulk(b"origin");
    reply.bulk(format!("{}.{}", dot.origin.group, dot.origin.life()).as_bytes());
    reply.bulk(b"sequence");
    reply.integer(dot.seq as i64);
}

pub fn siblings(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let found = access.siblings(args[1])?;
    reply.map(3);
    reply.bulk(b"siblings");
    reply.array(found.values.len());
    for sibling in &found.values {
        reply.map(6);
        reply.bulk(b"value");
        reply.bulk(&sibling.value);
        write_name(sibling.clock, sibling.dot, reply);
        reply.bulk(b"read");
        reply.boolean(sibling.read);
    }
    reply.bulk(b"counter");
    match found.counter {
        Some(sum) => reply.integer(sum),
        None => reply.null(),
    }
    reply.bulk(b"context");
    reply.bulk(found.context.to_token(args[1]).as_bytes());
    Ok(())
}

pub fn put(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if !parse::is(args[3], "context") {
        return Err(Error::Syntax);
    }
    let damaged = "ERR not a context of this key: it is damaged, or SIBLINGS gave it for another key; nothing was written, ask SIBLINGS again";
    let context = Context::from_token(args[1], args[4]).ok_or(Error::Fixed(damaged))?;
    match access.put_over(args[1], args[2], &context) {
        Ok(()) => {
            access.tell(Classes::STRING, "set", args[1]);
            reply.ok();
            Ok(())
        }
        Err(PutError::WrongType(_)) => Err(Error::WrongType),
        Err(PutError::NotAlone) => Err(Error::Fixed(NOT_ALONE)),
        Err(PutError::Impossible) => Err(Error::Fixed(damaged)),
    }
}

/// Why a command with [`super::table::flag::ALONE`] is refused within a transaction.
pub const NOT_ALONE: &str = "ERR this command is not allowed inside a transaction: the context that it comes with would be that of all its writes";
