//! Feeds between groups: each group ships the entries that it originated to every other one, which joins them into its own state and writes them into its
//! own log.
//!
//! ```text
//!   own entries of a turn ──▶ Feed ──▶ landing: join, append to the own log ──▶ durable ──▶ acknowledged (prefix and intervals)
//!   Holds, with each heartbeat ──▶ what the other one lacks ──▶ walk: from the own log, beside live entries
//!                                                           └─▶ repair: slots that differ, where the log is too short
//! ```
//!
//! * `name`: the record, and under which name this group writes. `ship`: live entries, and one message per peer and turn. `walk`: what a peer missed.
//!   `landing`: what comes in. `recent`: where it stands in the own log. `count`: who counts, and what has enough copies. `repair`: state instead of entries. `pace`: how long others take. `report`: what the operator is told.
//!
//! A feed ships what is *committed* in its group. In Leaderless a replica is a group of one: nothing that it has executed is ever undone, so an entry is
//! shipped in the turn that made it, beside the own write to disk. That a crash may take the end of its own log is what names are for.
//!
//! Invariants (each is switched off by the simulation):
//! 1. No name is used twice: a process writes under a name that no process before it can have used and lost entries of.
//! 2. An entry is acknowledged when it is durable here.
//! 3. Only members of the configuration in force, in the life that the record knows, and of the one being left, count; and only what they said in an epoch
//!    that this replica has reached. Nobody counts whom the record has quarantined.
//! 4. What came as state is in the log too, before anybody is told that it is held here.
//! 5. No message is taken in whose clock is further ahead than the drift bound: one machine with a wrong clock would make its writes win everywhere.

mod count;
mod landing;
mod name;
pub(crate) mod pace;
mod recent;
mod repair;
mod report;
pub(crate) mod sets;
mod ship;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, VecDeque};

use trireme_proto::{
    Epoch, Incarnation, ReplicaId,
    ids::{Dot, Origin},
    message::{self, Answer},
    report::Repair,
};

use crate::{engine::ReceivedSet, quorum::Rounds};
use pace::Latencies;
use recent::Recent;
use repair::{Exchange, Incoming};
use walk::Walk;

/// A group of one, among others: it leads itself, and has feeds to and from everybody.
pub(crate) struct Peer {
    /// The name under which it writes; none before it is durable that it does.
    pub(crate) origin: Option<Origin>,
    /// The name that is being made durable.
    naming: Option<Origin>,
    pub(crate) links: BTreeMap<ReplicaId, Link>,
    /// What is held durably.
    pub(crate) durable: ReceivedSet,
    /// Entries of others, and own ones, that are not durable yet: their seq in the log, and their names.
    landing: VecDeque<(u64, Dot)>,
    /// The same of what came as state.
    states: VecDeque<(u64, ReceivedSet)>,
    /// What was received and is not in the log any more, or came as state: it cannot be shipped as entries.
    gone: ReceivedSet,
    /// Own entries that have too few copies: seq in the log, and sequence as an origin.
    unsettled: VecDeque<(u64, u64)>,
    /// Everything up to here is durable, and what of it is this replica's own has enough copies.
    pub(crate) settled: u64,
    /// Where this turn's own records stand in its batch.
    fresh: Vec<std::ops::Range<usize>>,
    pub(crate) rounds: Rounds,
    /// Where entries stand at the end of the log.
    pub(crate) recent: Recent,
    /// What is said once everything up to a seq is durable.
    promised: VecDeque<(u64, ReplicaId, Said)>,
    /// What members held when they were first heard in the epoch of the record.
    targets: BTreeMap<ReplicaId, ReceivedSet>,
    pub(crate) whole: bool,
    exchanges: u64,
    pub(crate) repair: Repair,
}

/// What waits for durability before it is said.
enum Said {
    Answer(Answer),
    Mended(u64),
}

/// Another group, as this one knows it.
pub(crate) struct Link {
    pub(crate) incarnation: Incarnation,
    pub(crate) connected: bool,
    /// When something of it was last taken in: what a wrong clock says is not.
    pub(crate) heard_us: u64,
    /// By how much its clock was ahead, in milliseconds, and when it last said so.
    clock: Option<(i64, u64)>,
    /// The epoch of the record that it obeys.
    epoch: Epoch,
    /// What it holds durably of this replica's entries, under its present name.
    acknowledged: ReceivedSet,
    /// What it holds of everything, as last heard; none before it has said so on this connection.
    pub(crate) holds: Option<ReceivedSet>,
    /// Up to this seq of the own log it is known to have received everything, and to hold it durably, own entries aside.
    pub(crate) knows_upto: u64,
    pub(crate) holds_upto: u64,
    /// Since when it has lacked something of an origin without getting on: its prefix then.
    lacks: BTreeMap<Origin, (u64, u64)>,
    /// Live entries are sent to it.
    live: bool,
    /// Live entries on their way: last sequence and bytes of each message, and when it was sent.
    window: VecDeque<(u64, u64, u64)>,
    window_bytes: u64,
    /// How long it took for copies, and to answer.
    copies: Latencies,
    pub(crate) answers: Latencies,
    walk: Option<Walk>,
    exchange: Option<Exchange>,
    /// The comparison that it has begun and whose parts have all come so far.
    incoming: Option<Incoming>,
    /// Bytes of backlog and repair that may be sent to it now; below zero where more was sent than was allowed, which is then waited for.
    allowance: i64,
    ack_due: bool,
    /// This turn's message to it.
    out: message::Feed,
}

impl Link {
    fn new(incarnation: Incarnation, now_us: u64) -> Link {
        Link {
            incarnation,
            connected: false,
            heard_us: now_us,
            clock: None,
            epoch: Epoch::ZERO,
            acknowledged: ReceivedSet::default(),
            holds: None,
            knows_upto: 0,
            holds_upto: 0,
            lacks: BTreeMap::new(),
            live: false,
            window: VecDeque::new(),
            window_bytes: 0,
            copies: Latencies::default(),
            answers: Latencies::default(),
            walk: None,
            exchange: None,
            incoming: None,
            allowance: 0,
            ack_due: false,
            out: message::Feed::default(),
        }
    }

    /// The connection is a new one, or gone: what was under way is not.
    fn reset(&mut self, connected: bool) {
        (self.connected, self.live) = (connected, connected);
        (self.holds, self.walk) = (None, None);
        (self.exchange, self.incoming) = (None, None);
        (self.knows_upto, self.holds_upto) = (0, 0);
        self.lacks.clear();
        self.window.clear();
        self.window_bytes = 0;
        self.ack_due = connected;
        self.out = message::Feed::default();
    }
}
