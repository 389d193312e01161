//! Desired, observed and recorded state in, a plan out.
//!
//! ```text
//!   no record ──▶ create      all replicas are known: first record, phase Sealing
//!   Sealing   ──▶ seal        who has answered? enough? choose, wait for leases, phase Active
//!   Active    ──▶ failover    is the leader lost? phase Sealing of a higher epoch
//!             ──▶ handover    a person, SIGTERM or a change wants another leader
//!             ──▶ change      members and w move towards what is desired, one change at a time
//! ```
//!
//! Each turn changes the record at most once, and everything else follows from the record and the reports: nothing depends on what an earlier turn
//! meant to do. [`Memory`] holds since when something has been so; a planner that forgot it waits longer, and decides the same.

mod change;
mod choose;
mod create;
mod failover;
mod handover;
mod memory;
mod seal;
mod turn;

use trireme_crds::{Condition, ConditionStatus};
use trireme_proto::{ReplicaId, Topology, topology::Phase};

pub use memory::Memory;
pub(crate) use memory::{Change, MemberPhase};
pub(crate) use turn::Turn;

use crate::{
    decision::Decision,
    desired::{Desired, DesiredReplica},
    observed::Observed,
};

/// After a record that was not written: how soon to look again.
pub(crate) const CONFLICT_RECHECK_MS: u64 = 20;
/// A hand-over that is not complete after this long is called off.
pub(crate) const HANDOVER_MS: u64 = 5_000;
/// The record is sent again to a replica that does not show it after this long.
pub(crate) const TELL_AGAIN_MS: u64 = 250;
/// Largest lag at which a learner becomes a member: it then catches up while it counts.
pub(crate) const LEARNER_LAG_ENTRIES: u64 = 1_000;
/// Where nothing else is waited for, plan again after this long.
pub(crate) const IDLE_RECHECK_MS: u64 = 1_000;

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The next record: compare-and-swap against the observed one's version, before anything else. If that fails, nothing else of the plan is done.
    pub record: Option<Topology>,
    /// Who must be sent the record (the next one, where there is one) now.
    pub tell: Vec<ReplicaId>,
    /// The replicas that must exist.
    pub provision: Vec<DesiredReplica>,
    /// The replica whose process is to be ended, gently, and started again as it is wanted now.
    pub restart: Option<ReplicaId>,
    /// The replica that is lost with its machine: it is to start elsewhere, on a new disk.
    pub replace: Option<ReplicaId>,
    /// What was decided and why.
    pub decisions: Vec<Decision>,
    /// How the store stands.
    pub conditions: Vec<Condition>,
    /// Plan again after this many milliseconds, even if nothing is heard.
    pub recheck_ms: Option<u64>,
}

/// Decides what to do. Pure: the same arguments give the same plan. `now_ms` is a monotonic clock in milliseconds.
pub fn plan(desired: &Desired, observed: &Observed, memory: &mut Memory, now_ms: u64) -> Plan {
    memory.ask(&observed.requests);
    let mut turn = Turn::new(desired, observed, memory, now_ms);
    match &observed.record {
        None => create::create(&mut turn),
        Some(record) if record.phase == Phase::Active as i32 => active(&mut turn, record),
        Some(record) => seal::sealing(&mut turn, record),
    }
    turn.finish()
}

/// A leader has been chosen: is it still the right one, and is the configuration?
fn active(turn: &mut Turn<'_>, record: &Topology) {
    turn.memory.requests_done(record);
    let steps: [fn(&mut Turn<'_>, &Topology); 7] = [
        failover::check,
        handover::requests,
        handover::drive,
        change::drop_old,
        change::degrade,
        change::converge,
        change::refresh,
    ];
    for step in steps {
        step(turn, record);
        if turn.plan.record.is_some() {
            return;
        }
    }
    if !turn.plan.conditions.iter().any(|condition| condition.kind == "Ready") {
        standing(turn, record);
    }
}

/// What users are told of an epoch in which nothing had to be decided.
fn standing(turn: &mut Turn<'_>, record: &Topology) {
    let leader = turn.name(record.leader);
    let Some(report) = turn.leading(record) else {
        return turn.waiting(
            "LeaderStarting",
            &format!("{leader} was told to lead epoch {} and has not said so yet", record.epoch),
        );
    };
    if !report.serving {
        let reachable =
            1 + report.followers.iter().filter(|f| f.reachable && record.config.has(f.id, f.incarnation)).count();
        let needed = record.config.lease_quorum();
        let missing = turn.unreachable_members(record, report);
        return turn.waiting(
            "StartEntryUncommitted",
            &format!(
                "{leader} leads epoch {} and needs {needed} of {} members to serve; it reaches {reachable}, missing {}",
                record.epoch,
                record.config.members.len(),
                crate::decision::list(&missing)
            ),
        );
    }
    let mut lacking = turn.unreachable_members(record, report);
    let (reached, w) = (record.config.members.len() - lacking.len(), record.config.w);
    if reached < w as usize {
        let what = format!(
            "{leader} leads epoch {} and reaches {reached} of {} members: with w = {w} it refuses writes; missing {}",
            record.epoch,
            record.config.members.len(),
            crate::decision::list(&lacking)
        );
        turn.condition("Ready", ConditionStatus::False, "TooFewMembers", what);
    } else {
        turn.condition("Ready", ConditionStatus::True, "Serving", format!("{leader} serves epoch {}", record.epoch));
    }
    let not_members: Vec<String> =
        turn.desired.replicas.iter().filter(|r| record.config.member(r.id).is_none()).map(|r| r.name.clone()).collect();
    let full: Vec<String> =
        record.config.members.iter().filter(|m| turn.disk_full(m.id)).map(|m| turn.name(m.id)).collect();
    let mut what = Vec::new();
    if !lacking.is_empty() {
        lacking.sort();
        what.push(format!("{} cannot be reached by the leader", crate::decision::list(&lacking)));
    }
    if !not_members.is_empty() {
        what.push(format!("{} counts for nothing yet", crate::decision::list(&not_members)));
    }
    if !full.is_empty() {
        what.push(format!("the disk of {} is full", crate::decision::list(&full)));
    }
    if record.config.w < turn.desired.w {
        what.push(format!("w is {} until then, {} is wanted", record.config.w, turn.desired.w));
    }
    if what.is_empty() {
        turn.condition(
            "Degraded",
            ConditionStatus::False,
            "Complete",
            "every replica is a member and can be reached".to_owned(),
        );
    } else {
        turn.condition("Degraded", ConditionStatus::True, "Incomplete", what.join("; "));
    }
}
