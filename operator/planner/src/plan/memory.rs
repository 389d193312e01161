//! What may be forgotten between turns.

use std::collections::{BTreeMap, BTreeSet};

use trireme_crds::{Condition, ConditionStatus, StoreStatus, status::FailoverStatus};
use trireme_proto::{Epoch, Origin, ReplicaId, Topology, topology::Member};

use super::{leaderless::Spread, turn::members};
use crate::{
    decision::Cause,
    observed::{HumanRequest, Observed},
};

/// Requests of people that are kept at most.
const REQUESTS_MAX: usize = 16;
/// Changes of leaders that are kept for the status.
pub(crate) const CHANGES_MAX: usize = 10;

/// Something whose duration matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// This epoch is being sealed.
    Sealing(Epoch),
    /// The leader of this epoch has been told and does not lead.
    NotLeading(Epoch),
    /// The leader of this epoch cannot commit more than this, before the members are whole that are being sent so many slots.
    Stuck(Epoch, u64, u64),
    /// The connections to the leader of this epoch have ended.
    Disconnected(Epoch),
    /// The leader of this epoch reaches too few members.
    TooFew(Epoch),
    /// Another life of this member's disk has promised the epoch being sealed: it has ended itself.
    Replaced(Member),
    /// This version of the record asks for a hand-over.
    Handover(u64),
    /// This replica is being restarted or replaced.
    Restarting(ReplicaId),
    /// This replica is not heard, and its machine is gone.
    Lost(ReplicaId),
    /// The leader does not reach this other group.
    CutOff(u32),
}

/// How far a change of leaders has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberPhase {
    /// Members are being sealed.
    Sealing,
    /// A leader was chosen.
    Chosen,
    /// It serves.
    Serving,
}

/// One change of leaders, as this operator saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub at_wall_ms: u64,
    pub began_ms: u64,
    pub cause: Cause,
    pub from: ReplicaId,
    pub to: ReplicaId,
    pub epoch: Epoch,
    /// The last epoch before it in which somebody was to lead, if this operator knows.
    pub after: Option<Epoch>,
    pub phase: MemberPhase,
    pub detect_ms: Option<u64>,
    pub seal_ms: Option<u64>,
    pub active_ms: Option<u64>,
    pub write_gap_ms: Option<u64>,
    pub at_risk: u64,
    pub may_have_lost: bool,
    pub forced: bool,
    pub recovered: u64,
    pub cut: u64,
}

/// What may be forgotten: since when something has been so, what was said, history for the status. Safety never depends on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// What people asked for and is not done yet.
    pub(crate) requests: Vec<HumanRequest>,
    /// Members that did not answer when a person last forced something: those the person vouches for, and no others.
    pub(crate) vouched: BTreeSet<ReplicaId>,
    /// Since when; those not looked at in a turn are dropped at its end.
    pub(crate) timers: BTreeMap<Timer, u64>,
    /// The process that was seen leading an epoch.
    pub(crate) led_by: Option<(Epoch, u64)>,
    /// No leader: what must have spread before reads may rely on it, and the version of the record that it was asked of.
    pub(crate) spread: Option<(u64, Spread)>,
    /// No leader: when it was last reckoned how often reads miss writes, and what came out.
    pub(crate) staleness: Option<(u64, String)>,
    /// What was last said to be waited for.
    pub(crate) waiting: Option<String>,
    /// Why replicas are not quarantined although that was asked for, as it was last said.
    pub(crate) unquarantined: String,
    /// What each replica was last sent: version, its process, when.
    pub(crate) told: BTreeMap<ReplicaId, (u64, u64, u64)>,
    /// What was last asked of the backend for each replica, a restart or a replacement: which process was known then, and when it was asked.
    pub(crate) asked: BTreeMap<ReplicaId, (u64, u64)>,
    /// Changes of leaders, newest last.
    pub(crate) changes: Vec<Change>,
    /// Changes that an earlier operator told of, newest first.
    pub(crate) earlier: Vec<FailoverStatus>,
    /// A hand-over that failed: to whom, and until when none is tried without being asked.
    pub(crate) no_handover_until_ms: u64,
    /// Mode MultiLeader: how much this group was heard to have written, under each of its names.
    pub(crate) written: BTreeMap<Origin, u64>,
    /// The conditions of the last turn, with the times of their transitions.
    pub(crate) conditions: Vec<Condition>,
}

impl Memory {
    /// What an operator that starts anew can know of a group from the store's status that the one before it wrote: since when conditions hold, what was said
    /// of them, and the latest changes of leaders. `region` is the group's, empty where it is the only one; where it is not, conditions are those of all
    /// groups, and only [`crate::merge()`] goes on from them. Nothing is decided by it.
    pub fn of(status: &StoreStatus, region: &str) -> Memory {
        let mut earlier: Vec<FailoverStatus> =
            status.failovers.iter().filter(|f| f.region == region).cloned().collect();
        earlier.truncate(CHANGES_MAX);
        if !region.is_empty() {
            return Memory { earlier, ..Memory::default() };
        }
        let ready = status.conditions.iter().find(|c| c.kind == "Ready" && c.status == ConditionStatus::False);
        let waiting = ready.map(|c| format!("{} {}", c.reason, c.message));
        Memory { conditions: status.conditions.clone(), waiting, earlier, ..Memory::default() }
    }

    /// The changes of leaders that are known of, newest first, those of this operator put into words by `tell`.
    pub(crate) fn failovers(&self, tell: impl Fn(&Change) -> FailoverStatus) -> Vec<FailoverStatus> {
        let mut all: Vec<FailoverStatus> = self.changes.iter().rev().map(tell).collect();
        all.extend_from_slice(&self.earlier);
        all.truncate(CHANGES_MAX);
        all
    }

    /// A leader serves: the change that led to it is complete, if an earlier operator began it.
    pub(crate) fn earlier_completed(&mut self, epoch: Epoch, leader: &str, write_gap_ms: u64) {
        let epoch = epoch.to_string();
        if let Some(change) = self.earlier.iter_mut().find(|c| c.epoch == epoch && c.write_gap_ms.is_none()) {
            leader.clone_into(&mut change.to);
            change.write_gap_ms = Some(write_gap_ms);
        }
    }

    /// Takes in what people asked for; the oldest requests give way.
    pub(crate) fn ask(&mut self, observed: &Observed) {
        for request in &observed.requests {
            if let (HumanRequest::Promote { force: true, .. }, Some(record)) = (request, &observed.record) {
                let heard = |id: ReplicaId| {
                    let suspicion_ms = u64::from(record.settings.suspicion_ms);
                    observed.seen(id).is_some_and(|seen| seen.alive() && seen.silent_ms < suspicion_ms)
                };
                self.vouched = members(record).into_iter().map(|m| m.id).filter(|id| !heard(*id)).collect();
            }
            if !self.requests.contains(request) {
                self.requests.push(*request);
            }
        }
        let excess = self.requests.len().saturating_sub(REQUESTS_MAX);
        self.requests.drain(..excess);
    }

    /// Forgets requests that the record fulfils.
    pub(crate) fn requests_done(&mut self, record: &Topology) {
        self.requests.retain(|request| match request {
            HumanRequest::Promote { replica, .. } => *replica != record.leader,
            HumanRequest::Switchover { to } => *to != record.leader,
        });
    }

    /// Notes that a change of leaders began.
    pub(crate) fn began(&mut self, change: Change) {
        self.changes.push(change);
        let excess = self.changes.len().saturating_sub(CHANGES_MAX);
        self.changes.drain(..excess);
    }

    /// The change that led to this epoch, if this operator saw it begin.
    pub(crate) fn change(&mut self, epoch: Epoch) -> Option<&mut Change> {
        self.changes.iter_mut().rev().find(|change| change.epoch == epoch)
    }
}
