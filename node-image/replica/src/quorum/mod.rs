//! Reads and writes where any replica takes both: how a coordinator asks the others before it executes.
//!
//! ```text
//!   commands of a turn ──▶ one round: clock, keys ──▶ everybody ──▶ n - w + 1 clocks: blind writes run
//!                                                               └─▶ r states joined: all else runs ──▶ w copies of what reads show
//! ```
//!
//! * `rounds`: asking, answering, joining, mending. `coordinate`: what a unit of work needs, and when it may run. `level`: a connection's own w and r; the
//!   commands of one level share rounds of their own.
//!
//! A command runs on this replica's own state, once a round that began after the command came has brought what it needs. So a write's clock is above that of
//! every write that was acknowledged before, and what it removes it has seen; and what a read shows is on w replicas before the client has it, so that no later
//! read shows less. All members are asked, and the first answers count: a slow replica slows nobody.
//!
//! What is asked first is not the state of keys but of their slots: who has received nothing there that the coordinator lacks says so by comparing numbers
//! (`feeds::recent`), and nobody looks at a key. Keys are asked, with the digests of what is here, where somebody has more in the slot, or where too few
//! hold what would be shown.
//!
//! Together with w copies of each write (`count`) and w + r > n this makes of each key that is only set and read a linearizable register, under any
//! clock skew, loss, order of arrival and half-finished coordinators. A removal removes what it saw: one that runs at the same time as two SETs, and saw
//! only the newer, uncovers the older.
//!
//! Invariants (each is switched off by the simulation):
//! 1. With `writeOrder: Strict` a write runs after a round in which n - w + 1 members said their clocks.
//! 2. With r > 1, what depends on the state of keys, or shows it, runs after r members' states of these keys were joined.
//! 3. With `readRepair: Blocking` what a read shows is the state that w members hold durably.

mod coordinate;
pub(crate) use coordinate::keys_shown;
mod count;
pub(crate) mod level;
mod name;
mod report;
mod rounds;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use foldhash::fast::FixedState;
use smallvec::SmallVec;
use trireme_proto::{ReplicaId, ids::Origin};

use crate::engine::ReceivedSet;
use level::Level;

/// A group of one, among others: it leads itself. Its feeds are in `Replica::feeds`.
pub(crate) struct Peer {
    /// The name that is being made durable.
    naming: Option<Origin>,
    /// Own entries that have too few copies: seq in the log, and sequence as an origin.
    unsettled: VecDeque<(u64, u64)>,
    /// Everything up to here is durable, and what of it is this replica's own has enough copies.
    pub(crate) settled: u64,
    pub(crate) rounds: Rounds,
    /// What members held when they were first heard in the epoch of the record.
    targets: BTreeMap<ReplicaId, ReceivedSet>,
    pub(crate) whole: bool,
}

/// What a unit of work needs before it runs.
#[derive(Debug, Default)]
pub(crate) struct Need {
    /// How many members are meant by w and r.
    level: Level,
    /// The clocks of n - w + 1 members.
    clock: bool,
    /// The states of these slots' keys at r members.
    slots: SmallVec<[u16; 4]>,
    /// The keys, where their slots did not do.
    keys: Vec<Bytes>,
    /// It shows them.
    shows: bool,
    /// And does not run before w members hold what it shows.
    mended: bool,
}

impl Need {
    fn is_nothing(&self) -> bool {
        !self.clock && self.slots.is_empty()
    }
}

/// Rounds that are under way, and the next one.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    last: u64,
    /// One for each level at which something waits for it.
    next: BTreeMap<Level, Round>,
    open: BTreeMap<u64, Round>,
    /// The last that are over, and when they began: who answers late is slow, and that is of interest, too.
    over: VecDeque<(u64, u64)>,
}

/// One round.
#[derive(Debug, Default)]
struct Round {
    number: u64,
    level: Level,
    began_us: u64,
    clock: bool,
    /// In order, once it has begun.
    slots: Vec<u32>,
    /// Those of which somebody may have more.
    ahead: BTreeSet<u32>,
    /// Up to this seq of the own log everything of others is on w replicas.
    shared: u64,
    keys: Vec<Key>,
    index: HashMap<Bytes, usize, FixedState>,
    answered: BTreeSet<ReplicaId>,
    /// n - w + 1 have answered; r have, and what they hold is joined.
    clocked: bool,
    gathered: bool,
    /// Somebody waits until w hold what was joined.
    waits_for_copies: bool,
    /// And w do.
    mended: bool,
    /// How many are known to hold it.
    holders: usize,
    /// Those who lack something of it were sent that, and these hold it now.
    mends_sent: BTreeSet<ReplicaId>,
    mended_by: BTreeSet<ReplicaId>,
}

/// A key that a round asks for.
#[derive(Debug)]
struct Key {
    key: Bytes,
    /// Digest of what was here when it was asked.
    sent: u64,
    /// Digest of what is here, everything joined.
    joined: u64,
    /// Digests of what others hold.
    theirs: BTreeMap<ReplicaId, u64>,
    /// Shown to a client: it has to be on w replicas.
    shown: bool,
}

impl Round {
    fn is_over(&self) -> bool {
        (self.clocked || !self.clock)
            && (self.gathered || (self.keys.is_empty() && self.slots.is_empty()))
            && (self.mended || !self.waits_for_copies)
    }
}
