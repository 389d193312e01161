//! What must hold, whatever happens: one file each.
//!
//! | invariant | looked at | says |
//! | --- | --- | --- |
//! | [`logs`] | after every turn | the same position is the same entry, with the same entries before it, on every replica for ever |
//! | [`committed`] | after every turn | what was committed is in every later leader's log, and nobody commits anything else in its place |
//! | [`quorum`] | after every turn | what a leader calls committed was durable on w members |
//! | [`promises`] | after every turn | nothing is said that could be forgotten, nothing is acknowledged against a promise |
//! | [`leader`] | after every turn | one leader per epoch, which is led once |
//! | [`seal`] | with every record | a leader is chosen from enough answers, and is the best of them |
//! | [`modes`] | with every record | the mode changes with an epoch |
//! | [`lease`] | after every turn | nobody serves as leader while another's lease runs |
//! | [`digests`] | after every turn | replicas that have applied the same entries have the same state |
//! | [`hand`] | with every restart | the operator takes at most one replica away at a time |
//! | `replacement` | with every replacement | without a replica that is given up enough remains for a seal, and w copies of everything |
//! | [`linearizable`] | at the end | the operations on a key fit into one order |
//! | [`once`] | at the end | every write took effect once if acknowledged, at most once if not, never if refused |
//! | [`session`] | at the end | a connection sees its own writes, and never goes back |
//! | `travel` | with every answer | a session that goes elsewhere with its token is shown what it is promised, and nobody is told of a loss that is none |
//! | [`atomic`] | at the end | a transaction is seen as a whole |
//! | [`liveness`] | at the end | once faults have stopped, the store serves and all replicas are the same, soon |
//!
//! Where there is a leader in each region all of this holds in each of them, for what only its clients use; and between them [`same`], [`names`], [`counters`]
//! and [`sets`] of what is below, and
//!
//! | invariant | looked at | says |
//! | --- | --- | --- |
//! | [`causal`] | at the end | nobody sees an effect before its cause |
//! | [`homes`] | at the end | what has a home is written by one region at a time, once, and seen by who wrote it |
//!
//! And where there is no leader:
//!
//! | invariant | looked at | says |
//! | --- | --- | --- |
//! | [`names`] | after every turn | no name is used twice |
//! | [`copies`] | after every turn, and with every record | what is acknowledged is on w members, also after a change |
//! | [`overlap`] | with every record | w + r > n, at every moment of a change |
//! | [`same`] | after every turn | replicas that have received the same have the same state |
//! | [`peers`] | at the end | n, w and r are those wanted, and all members have received and hold the same |
//! | [`counters`] | at the end | a counter is the sum of its increments |
//! | [`levels`] | at the end | what was acknowledged at consistency ALL is seen at ONE |
//! | [`sets`] | at the end | a set keeps what was added and not seen removed, and nothing that was removed comes back |
//!
//! [`linearizable`], [`atomic`], [`hand`] and `replacement` hold there too.

pub mod atomic;
pub mod causal;
pub mod committed;
pub mod copies;
pub mod counters;
pub mod digests;
pub mod hand;
pub mod homes;
pub mod leader;
pub mod lease;
pub mod levels;
pub mod linearizable;
pub mod liveness;
pub mod logs;
pub mod modes;
pub mod names;
pub mod once;
pub mod overlap;
pub mod peers;
pub mod promises;
pub mod quorum;
pub mod same;
pub mod seal;
pub mod session;
pub mod sets;

use std::collections::BTreeMap;

use trireme_proto::{Epoch, Incarnation, Message, ReplicaId, Report, Topology, ids::Peer};
use trireme_replica::{
    Replica,
    io::{Event, Now},
};

use crate::{clock::Micros, shadow::Shadow};

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: the name of its file.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// What an invariant has found.
pub type Found = Result<(), Violation>;

/// Says that an invariant does not hold.
///
/// # Errors
/// Always: the violation.
pub fn violated(invariant: &'static str, what: String) -> Found {
    Err(Violation { invariant, what })
}

/// What a replica shows after a turn.
pub struct Turn<'a> {
    /// World time.
    pub time: Micros,
    /// Its own clocks.
    pub now: Now,
    /// Who.
    pub id: ReplicaId,
    /// Which life of its disk.
    pub incarnation: Incarnation,
    /// Which of its processes.
    pub life: u64,
    /// What it reports.
    pub report: &'a Report,
    /// Its log, as handed to the disk.
    pub shadow: &'a Shadow,
    /// Entries that this turn appended.
    pub added: usize,
    /// The record that it obeys.
    pub topology: Option<&'a Topology>,
    /// What it says of itself.
    pub events: &'a [Event],
    /// What it sends.
    pub sends: &'a [(Peer, Message)],
    /// The highest epoch that its disk remembers the promise of.
    pub promised: Epoch,
}

/// What the authority has decided, for invariants that depend on it.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// The generation of each epoch that a record named: a loss is recorded by a new one.
    pub generations: BTreeMap<Epoch, u32>,
}

impl Decided {
    /// Notes a record.
    pub fn note(&mut self, topology: &Topology) {
        self.generations.insert(topology.epoch, topology.generation);
    }

    /// The generation of an epoch; that of the last one before it where it is unknown.
    pub fn generation(&self, epoch: Epoch) -> u32 {
        self.generations.range(..=epoch).next_back().map_or(0, |(_, generation)| *generation)
    }

    /// A failover that may have lost acknowledged entries was recorded.
    pub fn lossy(&self) -> bool {
        let mut generations = self.generations.values();
        let first = generations.next();
        generations.any(|generation| Some(generation) != first)
    }
}

/// The invariants that are looked at after every turn.
#[derive(Default)]
pub struct Watch {
    /// See [`logs`].
    pub logs: logs::Logs,
    /// See [`committed`].
    pub committed: committed::Committed,
    /// See [`quorum`].
    pub quorum: quorum::Quorum,
    /// See [`leader`].
    pub leader: leader::OneLeader,
    /// See [`lease`].
    pub lease: lease::Leases,
    /// See [`digests`].
    pub digests: digests::Digests,
    /// See [`hand`].
    pub hand: hand::Hand,
    /// See [`names`].
    pub names: names::Names,
    /// See [`copies`].
    pub copies: copies::Copies,
    /// See [`overlap`].
    pub overlap: overlap::Overlap,
    /// See [`levels`].
    pub levels: levels::Levels,
    /// See [`same`].
    pub same: same::Same,
}

impl Watch {
    /// Looks at a replica after its turn.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn turn(&mut self, turn: &Turn<'_>, decided: &Decided) -> Found {
        self.logs.turn(turn)?;
        self.leader.turn(turn)?;
        promises::turn(turn)?;
        self.committed.turn(turn, decided)?;
        self.quorum.turn(turn)?;
        self.lease.turn(turn)?;
        self.hand.turn(turn);
        self.digests.turn(turn)
    }

    /// A replica hands records to its disk, where there is no leader.
    ///
    /// # Errors
    /// Where a name is used twice.
    pub fn appended(&mut self, id: ReplicaId, incarnation: Incarnation, bytes: &[u8]) -> Found {
        self.copies.appended(id, incarnation, bytes, &mut self.names)
    }

    /// Looks at a replica after its turn, where there is no leader.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn peers_turn(&mut self, turn: &Turn<'_>, replica: &Replica) -> Found {
        self.hand.turn(turn);
        self.same.turn(turn.id, replica)?;
        self.copies.turn(turn, replica.written())
    }

    /// Looks at a record, where there is no leader. `meets`: nobody wants anything else than w + r > n.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn peers_record(&mut self, now: Micros, meets: bool, before: Option<&Topology>, next: &Topology) -> Found {
        self.levels.record(now, before, next);
        self.copies.note(next);
        self.overlap.record(meets, before, next)?;
        if meets { self.copies.record(before, next) } else { Ok(()) }
    }
}
