//! Desired, observed and recorded state in, a plan out.
//!
//! ```text
//!   no record ──▶ create      all replicas are known: first record, phase Sealing
//!   Sealing   ──▶ seal        who has answered? enough? choose, wait for leases, phase Active
//!             ──▶ rebuild     nobody holds anything any more, and a person says so
//!   Active    ──▶ failover    is the leader lost? phase Sealing of a higher epoch
//!             ──▶ handover    a person, SIGTERM or a change wants another leader
//!             ──▶ change      members and w move towards what is desired, one change at a time
//!             ──▶ mode        one leader, or one in each region: the other is wanted
//!             ──▶ leave       is the region not wanted any more? it drains, leaves, ends
//!             ──▶ homes       keys that other regions write: does this one still?
//!             ──▶ replace     is a replica lost with its machine? it starts elsewhere
//!             ──▶ roll        replicas run as they are wanted: restarts, one at a time
//! ```
//!
//! Where there is no leader, `leaderless` has the steps in their place, and shares those that are not about leaders.
//!
//! **While reconciliation is paused nothing is begun**: no failover, no hand-over, no change, no restart, and what people ask for is refused. What had
//! been begun is completed, so that a pause never leaves a store without a leader by itself: a seal chooses one, a hand-over ends. Reports are taken in,
//! replicas that lack the record are sent it, and the status says how things stand.
//!
//! Each turn changes the record at most once, and everything else follows from the record and the reports: nothing depends on what an earlier turn
//! meant to do. [`Memory`] holds since when something has been so; a planner that forgot it waits longer, and decides the same.

mod change;
mod choose;
mod conditions;
mod create;
mod failover;
mod handover;
mod homes;
mod leaderless;
mod leave;
mod memory;
mod mode;
mod rebuild;
mod replace;
mod roll;
mod seal;
mod turn;

use trireme_crds::Condition;
use trireme_proto::{
    ReplicaId, Topology,
    topology::{Leaving, Phase},
};

pub use memory::Memory;
pub(crate) use memory::{CHANGES_MAX, Change, MemberPhase};
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
    memory.ask(observed);
    let mut turn = Turn::new(desired, observed, memory, now_ms);
    turn.keep_timers();
    leave::note_written(&mut turn);
    match &observed.record {
        None if desired.paused => turn.waiting("Paused", "the store is new and reconciliation is paused"),
        None => create::create(&mut turn),
        Some(record) if turn.leaderless() => leaderless::active(&mut turn, record),
        Some(record) if record.leaving() >= Leaving::Gone => leave::gone(&mut turn, record),
        Some(record) if leave::give_up(&mut turn, record) => {}
        Some(record) if record.phase == Phase::Active as i32 => active(&mut turn, record),
        Some(record) => {
            leave::wait(&mut turn);
            seal::sealing(&mut turn, record);
        }
    }
    if !desired.paused {
        if !turn.leaderless() {
            leaderless::no_quarantine_here(&mut turn);
        }
        roll::repair(&mut turn);
    }
    turn.finish()
}

/// A leader has been chosen: is it still the right one, and is the configuration?
fn active(turn: &mut Turn<'_>, record: &Topology) {
    turn.memory.requests_done(record);
    let steps: &[fn(&mut Turn<'_>, &Topology)] = if turn.desired.paused {
        &[failover::note, handover::refuse, handover::complete]
    } else {
        &[
            failover::check,
            handover::requests,
            handover::complete,
            handover::of_a_leader_that_ends,
            change::drop_old,
            change::degrade,
            mode::change,
            leave::leave,
            change::converge,
            homes::cede,
            change::refresh,
            replace::replace,
            roll::roll,
        ]
    };
    for step in steps {
        step(turn, record);
        if let Some(next) = &turn.plan.record {
            if next.epoch != record.epoch {
                return;
            }
            break;
        }
    }
    if !turn.plan.conditions.iter().any(|condition| condition.kind == "Ready") {
        conditions::standing(turn, record);
    }
}
