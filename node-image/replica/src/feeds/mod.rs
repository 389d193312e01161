//! Feeds between groups: each group ships the entries that it originated to every other one, which joins them into its own state and writes them into its
//! own log.
//!
//! ```text
//!   own entries ──▶ Feed ──▶ landing: join, append to the own log ──▶ held for good ──▶ acknowledged (prefix and intervals)
//!   Holds, with each heartbeat ──▶ what the other one lacks ──▶ walk: from the own log, beside live entries
//!                                                           └─▶ repair: slots that differ, where the log is too short
//! ```
//!
//! * `links`: which other groups there are, and who speaks for each. `ship`: live entries, and one message per group and turn. `walk`: what a group missed.
//!   `landing`: what comes in. `recent`: where it stands in the own log. `repair`: state instead of entries. `staging`: how it comes in. `pace`: how long
//!   others take. `leave`: a group whose region is taken away. `edges`: groups outside the machines that the operator knows. `report`: what the operator is told.
//!
//! A feed ships what is *committed* in its group, and what came in is held when it is committed here.
//!
//! * Where a replica is a group of one (Leaderless) nothing that it has executed is ever undone, so an entry is shipped in the turn that made it, beside the
//!   own write to disk. That a crash may take the end of its own log is what names are for.
//! * Where a group has a leader (MultiLeader) that one has the feeds, from the commit of its start entry until it is deposed. What it takes in is executed as
//!   its own commands are: at once, in the place where it stands in the log, and undone with them. Followers get it with the log. Whoever leads next finds
//!   in its state what this group has, and hears from the others what they have: no cursor is kept anywhere.
//!
//! Invariants (each is switched off by the simulation):
//! 1. No name is used twice: a process writes under a name that no process before it can have used and lost entries of.
//! 2. An entry is acknowledged when it is held here for good.
//! 3. Without a leader only members of the configuration in force, in the life that the record knows, and of the one being left, count; and only what they
//!    said in an epoch that this replica has reached. Nobody counts whom the record has quarantined.
//! 4. What came as state is in the log too, before anybody is told that it is held here.
//! 5. No message is taken in whose clock is further ahead than the drift bound: one machine with a wrong clock would make its writes win everywhere.
//! 6. Between groups with leaders, nothing leaves that is not committed, as entries or as state; an entry is joined after everything that its origin had
//!    seen when it made it, and nobody reads state of which that is not so.

mod edges;
mod landing;
mod leave;
mod links;
pub(crate) mod pace;
pub(crate) mod recent;
mod repair;
mod report;
pub(crate) mod sets;
mod ship;
mod staging;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use trireme_proto::{
    Epoch, Incarnation, Message, ReplicaId,
    ids::{Dot, Origin},
    message::{self, Answer},
    report::Repair,
};

pub(crate) use landing::slot_of_state;

use crate::{
    clients::session::freshness::Freshness,
    engine::{Engine, ReceivedSet},
    log::record::{self, Kind},
};
use pace::Latencies;
use recent::Recent;
use repair::Exchange;
use staging::Incoming;
use walk::Walk;

/// A group's feeds to and from the store's others. Where a group has a leader, its leader has them.
pub(crate) struct Feeds {
    /// The name under which this group writes; none before it is certain that nobody else has written under it.
    pub(crate) origin: Option<Origin>,
    /// By group. Where every replica is a group of one, a group has its replica's number.
    pub(crate) links: BTreeMap<u32, Link>,
    /// What each group last said that it holds, whoever speaks for it and whether or not it is connected now.
    pub(crate) said: BTreeMap<u32, ReceivedSet>,
    /// What is held here for good: durably, and where this group has a leader, committed.
    pub(crate) held: ReceivedSet,
    /// Entries of others, and own ones, of which that is not known yet: their seq in the log, and their names.
    landing: VecDeque<(u64, Dot)>,
    /// The same of what came as state.
    states: VecDeque<(u64, ReceivedSet)>,
    /// What was received and is not in the log any more, or came as state: it cannot be shipped as entries.
    gone: ReceivedSet,
    /// Where this turn's own records stand in its batch: they leave at once where nothing is ever undone.
    fresh: Vec<std::ops::Range<usize>>,
    /// Up to here in the log own entries have left, where they leave once they are committed.
    shipped: u64,
    /// Messages of others that wait: nothing is appended while the leader waits for a moment without uncommitted entries.
    waiting: VecDeque<(ReplicaId, Message, usize)>,
    waiting_bytes: usize,
    /// Entries that wait for those that their origin had seen before.
    early: BTreeMap<Dot, Bytes>,
    early_bytes: usize,
    /// Where entries stand at the end of the log.
    pub(crate) recent: Recent,
    /// What is said once everything up to a seq is held for good.
    promised: VecDeque<(u64, u32, Said)>,
    /// The comparison that another group has begun and whose parts have all come so far: one at a time, each would be in the other's way.
    incoming: Option<Incoming>,
    pub(crate) repair: Repair,
}

/// What is said once what it shows is held for good.
enum Said {
    Answer(Answer),
    Mended(u64),
}

/// Another group, as this one knows it.
pub(crate) struct Link {
    /// The replica that speaks for it: the one that leads it.
    pub(crate) replica: ReplicaId,
    pub(crate) incarnation: Incarnation,
    pub(crate) connected: bool,
    /// When something of it was last taken in: what a wrong clock says is not.
    pub(crate) heard_us: u64,
    /// By how much its clock was ahead, in milliseconds, and when it last said so.
    pub(crate) clock: Option<(i64, u64)>,
    /// The epoch of the record that it obeys.
    pub(crate) epoch: Epoch,
    /// The name under which it writes, as it last said.
    pub(crate) origin: Option<Origin>,
    /// What it holds durably of this replica's entries, under its present name.
    pub(crate) acknowledged: ReceivedSet,
    /// How old what is here of its own entries is.
    pub(crate) fresh: Freshness<Vec<Dot>>,
    /// What it holds of everything, as last heard; none before it has said so on this connection.
    pub(crate) holds: Option<ReceivedSet>,
    /// Up to this seq of the own log it is known to have received everything, and to hold it durably, own entries aside.
    pub(crate) knows_upto: u64,
    pub(crate) holds_upto: u64,
    /// The most of this group's own entries that it lacked, as it said, since it last lacked none.
    backlog_entries: u64,
    /// Since when it has lacked something of an origin without getting on: its prefix then.
    lacks: BTreeMap<Origin, (u64, u64)>,
    /// Live entries are sent to it.
    live: bool,
    /// Live entries on their way: last sequence and bytes of each message, and when it was sent.
    window: VecDeque<(u64, u64, u64)>,
    pub(crate) window_bytes: u64,
    /// How long it took for copies, and to answer.
    copies: Latencies,
    pub(crate) answers: Latencies,
    walk: Option<Walk>,
    exchange: Option<Exchange>,
    /// Bytes of backlog and repair that may be sent to it now; below zero where more was sent than was allowed, which is then waited for.
    allowance: i64,
    ack_due: bool,
    /// This turn's message to it.
    pub(crate) out: message::Feed,
}

impl Feeds {
    /// Of a group that has this in its state, and cannot ship this of it as entries any more.
    pub(crate) fn new(received: ReceivedSet, gone: ReceivedSet, shipped: u64) -> Feeds {
        Feeds {
            origin: None,
            links: BTreeMap::new(),
            said: BTreeMap::new(),
            recent: Recent::new(received.clone()),
            held: received,
            landing: VecDeque::new(),
            states: VecDeque::new(),
            gone,
            fresh: Vec::new(),
            shipped,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            early: BTreeMap::new(),
            early_bytes: 0,
            promised: VecDeque::new(),
            incoming: None,
            repair: Repair::default(),
        }
    }

    /// A replica's connection is gone, and with it what it said.
    fn forget_waiting(&mut self, from: ReplicaId) {
        self.waiting.retain(|(of, ..)| *of != from);
        self.waiting_bytes = self.waiting.iter().map(|(.., bytes)| bytes).sum();
    }

    /// Whether nothing is on its way in.
    pub(crate) fn nothing_lands(&self) -> bool {
        self.landing.is_empty() && self.states.is_empty()
    }
}

impl Link {
    fn new(replica: ReplicaId, incarnation: Incarnation, now_us: u64) -> Link {
        Link {
            replica,
            incarnation,
            connected: false,
            heard_us: now_us,
            clock: None,
            epoch: Epoch::ZERO,
            origin: None,
            fresh: Freshness::default(),
            acknowledged: ReceivedSet::default(),
            holds: None,
            knows_upto: 0,
            holds_upto: 0,
            backlog_entries: 0,
            lacks: BTreeMap::new(),
            live: false,
            window: VecDeque::new(),
            window_bytes: 0,
            copies: Latencies::default(),
            answers: Latencies::default(),
            walk: None,
            exchange: None,
            allowance: 0,
            ack_due: false,
            out: message::Feed::default(),
        }
    }

    /// The connection is a new one, or gone: what was under way is not.
    fn reset(&mut self, connected: bool) {
        (self.connected, self.live) = (connected, connected);
        if connected {
            self.fresh.reconnected();
        }
        (self.holds, self.walk) = (None, None);
        self.exchange = None;
        (self.knows_upto, self.holds_upto) = (0, 0);
        self.lacks.clear();
        self.window.clear();
        self.window_bytes = 0;
        self.ack_due = connected;
        self.out = message::Feed::default();
    }
}

/// The names of all deltas among records of a log.
pub(crate) fn names_of(records: &[u8]) -> impl Iterator<Item = Dot> {
    let mut rest = records;
    std::iter::from_fn(move || {
        loop {
            let record = record::read_trusted(rest).ok()?;
            rest = &rest[record.bytes..];
            if record.kind == Kind::Delta
                && let Ok(dot) = Engine::dot_of(record.payload)
            {
                return Some(dot);
            }
        }
    })
}
