//! What clients asked and were told: the only thing that a user of the store can know.

use std::fmt;

use trireme_proto::ReplicaId;

use crate::{clock::Micros, model::Act, resp::Reply};

/// The keys that clients use, each for one purpose.
pub const KEYS: [Key; 28] = [
    Key { name: "register0", family: Family::Register },
    Key { name: "register1", family: Family::Register },
    Key { name: "journal", family: Family::Journal },
    Key { name: "text", family: Family::Text },
    Key { name: "total", family: Family::Total },
    Key { name: "counter", family: Family::Counter },
    Key { name: "members", family: Family::Members },
    Key { name: "tags", family: Family::Tags },
    Key { name: "fields", family: Family::Fields },
    Key { name: "pair{x}a", family: Family::Pair },
    Key { name: "pair{y}b", family: Family::Pair },
    Key { name: "swapped", family: Family::Swapped },
    Key { name: "shared0", family: Family::Shared },
    Key { name: "shared1", family: Family::Shared },
    Key { name: "own1", family: Family::Own },
    Key { name: "own2", family: Family::Own },
    Key { name: "own3", family: Family::Own },
    Key { name: "own4", family: Family::Own },
    Key { name: "own5", family: Family::Own },
    Key { name: "tally1", family: Family::Tally },
    Key { name: "tally2", family: Family::Tally },
    Key { name: "tally3", family: Family::Tally },
    Key { name: "tally4", family: Family::Tally },
    Key { name: "tally5", family: Family::Tally },
    Key { name: "levels", family: Family::Levels },
    Key { name: "what:cause", family: Family::Causal },
    Key { name: "what:effect", family: Family::Causal },
    Key { name: "home/count", family: Family::Home },
];
/// From here on, keys of stores without a leader: what everybody sets, what one client sets and removes, and what one client counts.
pub const SHARED: usize = 12;
/// See [`SHARED`]: the first client's; its number is added.
pub const OWN: usize = 13;
/// The same.
pub const TALLY: usize = 18;
/// The same: what one client sets at ALL, and everybody reads at ONE.
pub const LEVELS: usize = 24;
/// The same between regions: what one region counts, and where others set what they have seen of it.
pub const CAUSE: usize = 25;
/// See [`CAUSE`].
pub const EFFECT: usize = 26;
/// The same: what clients of all regions count, and one region writes, where the store has homes.
pub const HOMED: usize = 27;
/// The two keys that are only ever written, and read, together.
pub const PAIR: [usize; 2] = [9, 10];
/// The key that is watched.
pub const SWAPPED: usize = 11;

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the store.
    pub name: &'static str,
    /// What is done to it.
    pub family: Family,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// SET of unique values, DEL, GET.
    Register,
    /// APPEND of unique pieces and GET, nothing else: every read shows which pieces were appended, and in which order.
    Journal,
    /// APPEND, SET, DEL, GET.
    Text,
    /// INCR and GET, nothing else: it never falls, and its end counts the increments.
    Total,
    /// INCR, INCRBY, SET of numbers, DEL, GET.
    Counter,
    /// SADD of unique members, SISMEMBER, SCARD: a set that never shrinks.
    Members,
    /// SADD, SREM, SISMEMBER of few members.
    Tags,
    /// HSET, HGET, HLEN.
    Fields,
    /// Two keys, always set to the same value in one transaction, and read in one.
    Pair,
    /// SET of unique values, and WATCH, GET, then SET in a transaction: it must not have changed in between.
    Swapped,
    /// SET of unique values, and GET: without a leader, a linearizable register.
    Shared,
    /// SET, DEL and GET by one client, through any replica.
    Own,
    /// INCR and GET by one client, through any replica.
    Tally,
    /// SET by one client of what it counts, at consistency ALL, and GET by everybody at ONE.
    Levels,
    /// INCR in one region, and elsewhere SET of what was seen of it.
    Causal,
    /// INCR and GET in all regions.
    Home,
}

impl Family {
    /// Without a leader these keys, and no others, behave like those of one machine.
    pub fn is_a_register(self) -> bool {
        matches!(self, Family::Shared | Family::Own | Family::Tally)
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet.
    Pending,
    /// With this reply.
    Answered(Micros, Reply),
    /// It was refused: it has not happened and never will.
    Refused(Micros, String),
    /// The answer was lost, or said to be in doubt: it may have happened, or may yet.
    Unknown,
}

/// One operation of a client.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who.
    pub client: u32,
    /// On which of its connections.
    pub session: u64,
    /// At which replica.
    pub replica: ReplicaId,
    /// On which key, of [`KEYS`].
    pub key: usize,
    /// What.
    pub act: Act,
    /// When it was sent.
    pub call: Micros,
    /// How it ended.
    pub outcome: Outcome,
    /// Nothing is written, neither by it nor by the transaction that it is a part of: it may be answered by a follower.
    pub reads: bool,
    /// It must fit into one order with all others: a write, or a read that the store promises to be linearizable.
    pub strict: bool,
    /// The transaction that it was a part of.
    pub transaction: Option<u64>,
    /// The consistency level that it asked for, where it is not the store's.
    pub level: Option<&'static str>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, ms) = (KEYS[self.key].name, |us: Micros| us as f64 / 1_000.0);
        let level = self.level.map(|level| format!(" at {level}")).unwrap_or_default();
        write!(f, "client {} at {}: {} {name}{level}, {:.3} to ", self.client, self.replica, self.act, ms(self.call))?;
        match &self.outcome {
            Outcome::Pending => write!(f, "?: pending")?,
            Outcome::Answered(time, reply) => write!(f, "{:.3} ms: {reply}", ms(*time))?,
            Outcome::Refused(time, why) => write!(f, "{:.3} ms: refused, {why}", ms(*time))?,
            Outcome::Unknown => write!(f, "?: unknown")?,
        }
        if self.strict { Ok(()) } else { write!(f, " (read locally)") }
    }
}

/// All operations in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The operations.
    pub entries: Vec<Entry>,
}

impl History {
    /// Those of some clients, and those of all others.
    pub fn split(&self, by: impl Fn(u32) -> bool) -> (History, History) {
        let (these, others) = self.entries.iter().cloned().partition(|entry| by(entry.client));
        (History { entries: these }, History { entries: others })
    }

    /// The operations on one key.
    pub fn on(&self, key: usize) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.key == key)
    }

    /// How many were answered, refused, and of unknown outcome.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |of: fn(&Outcome) -> bool| self.entries.iter().filter(|entry| of(&entry.outcome)).count();
        (
            count(|outcome| matches!(outcome, Outcome::Answered(..))),
            count(|outcome| matches!(outcome, Outcome::Refused(..))),
            count(|outcome| matches!(outcome, Outcome::Unknown | Outcome::Pending)),
        )
    }
}
