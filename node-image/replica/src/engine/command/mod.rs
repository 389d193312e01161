//! The commands, as Redis 7.2 gives them: arguments in, reply or error out, over the engine's typed [`Access`].
//!
//! ```text
//! args -> table::resolve -> Spec -> run(access, spec, args, random, reply)          commands on data
//!                                -> connection::connection(command, state, ...)     commands on the connection
//! ```
//!
//! - [`table`] finds a command by name; `rows` is its table, **one row per command**. Adding a command takes its
//!   function, in the file of its family, and its row.
//! - A family is one file (`strings`, `bits`, `hashes`, `sets`, `sorted`, `lists`, `blocking`, `sort`, `keys`, `expiry`); its functions are plain code over
//!   [`Access`], which turns what they change into a delta. They see no clock but [`Access::now_ms`] and no randomness
//!   but [`Args::random`].
//! - [`reply`] writes RESP2 and RESP3, [`error`] has Redis's texts.
//!
//! Invariants:
//! - **An error has no effect**: a function checks all that can fail before its first change, so the caller never has
//!   to undo for it.
//! - What a command does to keys it tells ([`Access::tell`]) where it does it, by Redis's names and in its order.
//! - A reply is complete or replaced: what was written before an error was found is taken back by [`run`].
//! - Rows are checked against a real server's `COMMAND INFO`, replies against a real server's bytes (`tests`).
//!
//! What differs from Redis, on purpose:
//! - There is one database: SELECT 0.
//! - SCAN goes in the order of slots, HSCAN, SSCAN and ZSCAN in the order of a hash, so that a cursor means the same on every
//!   replica. A call has to look at the whole of a big collection, so it returns at least a 256th of it, whatever COUNT.
//! - OBJECT FREQ knows nothing, since nobody counts uses; IDLETIME is since the last use at this replica, or since the last write where a key has no room
//!   for more; OBJECT ENCODING says what Redis would.
//! - A negative count of HRANDFIELD, SRANDMEMBER and ZRANDMEMBER goes down to -2^24; numbers of INCRBYFLOAT and scores are decimal, and of zero
//!   there is one: no -0.
//! - Where nobody leads, commands that wait (BLPOP and its like) promise what LPOP does: two coordinators' clients may both get one element, and only those of
//!   one coordinator are served in the order in which they began to wait. After a failover the order is that in which they are asked again.
//! - Of a key that is not there when it is watched, and not when EXEC comes, it is known whether it was there in between while not more than 4,096 keys have
//!   gone; then it counts as changed if anything in its slot has. Where it is at home in another region than its client, it counts as unchanged.
//! - SORT compares bytes, whatever the language; where nobody leads, the keys that its patterns name are read as the coordinator has them.
//! - AUTH is refused within a transaction: there is one user, whom the client is already.
//! - CONFIG SET takes what means nothing here and gives it back ([`config`]); what is the store's is its resource's. COMMAND INFO gives no tips and no
//!   key specifications. MEMORY USAGE says about what a key takes. There are no scripts, and keys are not tracked for clients.
//!
//! This store's own commands: CONSISTENCY (`clients::consistency` has what its levels promise), SIBLINGS and PUT (`siblings`), CONFLICTS
//! ([`conflicts`]), SESSION (`clients::session`).
//!
//! Missing: DUMP, RESTORE, scripts, streams.

pub mod auth;
pub mod client_admin;
pub mod config;
pub mod conflicts;
pub mod connection;
pub mod error;
pub mod hello;
pub mod reply;
pub mod table;

mod bitfield;
mod bits;
pub(crate) mod blocking;
mod command_info;
mod databases;
mod expiry;
mod extended;
mod float;
pub(crate) mod glob;
mod hashes;
mod keys;
mod lcs;
mod lists;
mod memory;
mod object;
mod parse;
pub(crate) mod random;
mod rows;
mod scan;
mod scripts;
pub mod session;
mod set_algebra;
mod sets;
mod siblings;
mod sort;
mod sorted;
mod sorted_algebra;
mod sorted_range;
mod string_set;
mod strings;
#[cfg(test)]
mod tests;

pub use error::Error;
pub(crate) use parse::integer_argument;
pub use reply::Reply;
pub use siblings::NOT_ALONE;
pub use table::{ConnectionCommand, Handler, Spec, lookup, resolve};

use super::access::Access;
use super::events::Classes;
use connection::{ConnectionState, Context};
use std::ops::Deref;

/// A command as it was sent: its name at index 0 and its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    list: &'a [&'a [u8]],
    /// What every random choice of the command is derived from.
    pub random: u64,
}

impl<'a> Args<'a> {
    /// The command's name and arguments, at least the name, and the number its random choices come from.
    pub fn new(list: &'a [&'a [u8]], random: u64) -> Self {
        Self { list, random }
    }

    /// Name and arguments.
    pub fn list(&self) -> &'a [&'a [u8]] {
        self.list
    }
}

impl<'a> Deref for Args<'a> {
    type Target = [&'a [u8]];

    fn deref(&self) -> &Self::Target {
        self.list
    }
}

/// Executes one command on data, and writes its reply or its error. `spec` is what [`resolve`] found for these `args`.
/// `random` is where its random choices come from: one number for one command, so that they can be repeated.
///
/// Of the commands on the connection it executes those that need no state of it
/// ([`ConnectionCommand::is_stateless`]), as a transaction may contain
/// them; the others are answered with an error.
pub fn run(access: &mut Access<'_>, spec: &Spec, args: &[&[u8]], random: u64, reply: &mut Reply<'_>) {
    let mark = reply.mark();
    let result = match spec.handler {
        Handler::Data(function) => {
            let result = spec.check_arity(args.len()).and_then(|()| function(access, &Args::new(args, random), reply));
            if access.tells(Classes::MISS) && result.is_ok() && spec.reads_all_keys() {
                spec.keys(args).for_each(|key| access.tell_miss(key));
            }
            result
        }
        Handler::Connection(command) if command.is_stateless() => {
            let (mut state, now_us) = (ConnectionState::default(), access.now_ms().saturating_mul(1000));
            connection::connection(
                command,
                &mut state,
                &Context { now_us, role: "master", password: None, parameters: None },
                args,
                reply,
            );
            Ok(())
        }
        Handler::Connection(_) => Err(Error::Fixed("ERR This command is not allowed here")),
    };
    if let Err(error) = result {
        reply.rewind(mark);
        error.write(reply);
    }
}
