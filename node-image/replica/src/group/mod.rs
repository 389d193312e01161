//! The group log: who leads, what is committed, how replicas follow, and how leadership moves without losing what was committed.
//!
//! ```text
//!   Topology ──▶ obey ──▶ promise (durable) ──▶ Idle ──┬─ leader = me ──▶ Leader: start entry ─▶ committed ─▶ serving
//!                                                      └─ leader = other ▶ Follower: LogState ─▶ Resume ─▶ Append ...
//! ```
//!
//! * `topology`: obeying the authority's record; promises; stepping down. `leader`: appending, replicating, committing. `follower`: copying the log.
//! * `progress`: what a leader knows of one follower. `lease`: when a leader may answer.
//! * `sweep`: walking the slots for a checkpoint or a snapshot. `checkpoint`, `snapshot` (sending), `install` (receiving).
//! * `suffix`: entries that a failover cut off, and how a leader appends them again. `lost`: how a follower keeps them until then. `digests`: the running proof that replicas are identical. `report`: what the operator is told.
//! * `house`: expiry, retention of the log, and work that needs a moment without uncommitted entries.
//!
//! Invariants (each is switched off by the simulation, see `trireme_proto::breakage`):
//! 1. A replica never acknowledges, votes or grants for an epoch below its durable promise.
//! 2. A leader's copy, like any other, counts when it is durable.
//! 3. An entry is committed when w members of the configuration in force hold it, in the leader's own epoch and past its start entry.
//! 4. An epoch is led once, by one process: a restarted leader does not go on.
//! 5. A log is cut only after what this replica knows to be committed, but where a leader of a later generation says so (a failover that was
//!    allowed to lose); then the state is replaced, not patched.
//! 6. A leader executes only while it holds the lease; it looks at a clock read after the command arrived.

pub(crate) mod checkpoint;
mod digests;
mod follower;
pub(crate) mod house;
pub(crate) mod install;
mod leader;
mod lease;
pub(crate) mod lost;
pub(crate) mod progress;
mod report;
mod snapshot;
mod suffix;
pub(crate) mod sweep;
mod topology;

use std::collections::BTreeMap;

use trireme_proto::{Epoch, Incarnation, ReplicaId, message::CutSuffix};

use crate::{
    clients::session::freshness::Freshness,
    clients::{homes::Settling, serve::Backlog},
    quorum::Peer,
};
use install::Install;
pub(crate) use lease::LISTENS_US;
use progress::Progress;

/// What a replica does.
pub(crate) enum Role {
    /// Sealed, or without a leader.
    Idle,
    Follower(Follower),
    Leader(Box<Leader>),
    /// A group of one, among others.
    Peer(Box<Peer>),
}

/// Following a leader.
pub(crate) struct Follower {
    pub(crate) leader: ReplicaId,
    pub(crate) epoch: Epoch,
    /// The log is a prefix of the leader's: entries may be appended and acknowledged.
    pub(crate) aligned: bool,
    /// The leader was told what the log looks like, on this connection.
    pub(crate) asked: bool,
    /// Largest `sent_us` heard of the leader.
    pub(crate) echo_us: u64,
    /// How long a lease the leader asks for, in milliseconds.
    pub(crate) lease_ms: u32,
    /// When the path to the leader last carried something in both directions, as far as the leader has said.
    pub(crate) heard_us: u64,
    /// The connection to the leader has ended since it is followed, and there is no new one.
    pub(crate) link_closed: bool,
    /// An acknowledgement is due at the end of the turn.
    pub(crate) ack_due: bool,
    /// A session has begun to wait here, and the leader has to know.
    pub(crate) await_due: bool,
    /// What was cut off here was offered to the leader, on this connection.
    pub(crate) offered: bool,
    /// How old its state is.
    pub(crate) fresh: Freshness<u64>,
    pub(crate) install: Option<Box<Install>>,
}

/// Leading.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) epoch: Epoch,
    /// Seq of the start entry.
    pub(crate) start_seq: u64,
    /// The start entry is committed.
    pub(crate) serving: bool,
    pub(crate) followers: BTreeMap<ReplicaId, Progress>,
    /// Requests that wait until the leader may execute.
    pub(crate) backlog: Backlog,
    /// Requests that wait for entries of other groups.
    pub(crate) early: Backlog,
    /// Whether everything is committed that was executed before the record was known.
    pub(crate) settling: Settling,
    /// Connections of forwarders that have ended, whose requests are not forgotten yet.
    pub(crate) ended: Vec<(Incarnation, u64)>,
    /// A hand-over is asked for, and its target holds everything.
    pub(crate) drained: bool,
    /// The lease runs until then.
    pub(crate) lease_until_us: u64,
    /// Heartbeats sent since then ask for the lease that the record has now; what earlier ones brought is not counted by it.
    pub(crate) lease_since_us: u64,
    /// The newest commit has to reach the followers by then, with or without entries.
    pub(crate) commit_due_us: Option<u64>,
    /// The next slot whose digest is sent to the followers, and when.
    pub(crate) digest_slot: u16,
    pub(crate) digest_due_us: u64,
    /// How long clients could not write when leadership came here: measured by this leader from its promise to its first commit.
    pub(crate) write_gap_us: u64,
    /// Number of the last snapshot begun.
    pub(crate) transfers: u64,
    /// Cut entries of former leaders that came before clients were served.
    pub(crate) suffixes: Vec<(ReplicaId, CutSuffix)>,
}

impl Follower {
    /// The leader has been heard in its epoch on the present connection: what is sent to it will be taken up.
    pub(crate) fn hears_leader(&self) -> bool {
        self.echo_us > 0
    }

    /// The connection to the leader is a new one, or gone.
    pub(crate) fn reconnected(&mut self) {
        (self.aligned, self.asked, self.offered, self.install, self.echo_us) = (false, false, false, None, 0);
    }
}

impl Role {
    pub(crate) fn follower_mut(&mut self) -> Option<&mut Follower> {
        match self {
            Role::Follower(follower) => Some(follower),
            _ => None,
        }
    }
}
