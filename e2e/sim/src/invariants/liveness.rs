//! Once nothing goes wrong any more, the store serves within a bounded time, every wanted replica is a member, and all of them hold the same.

use trireme_proto::{Incarnation, ReplicaId, Report, SLOTS, Topology, topology::Phase};
use trireme_replica::Replica;

use super::{Found, violated};
use crate::{
    clock::Micros,
    history::Entry,
    scenario::{Fault, REPLICAS_MAX, Scenario},
};

/// How long it may take after the last fault.
pub fn bound(scenario: &Scenario) -> Micros {
    let settings = &scenario.settings;
    // A rollout restarts one replica after the other, and each hand-over of the leader may fail once.
    let rollout = if scenario.has(Fault::Upgrade) { 5_000_000 * u64::from(REPLICAS_MAX) } else { 0 };
    15_000_000 + rollout + 2_000 * u64::from(settings.request_timeout_ms) + 10_000 * u64::from(settings.suspicion_ms)
}

/// A replica, as it stands.
pub struct State<'a> {
    /// Who.
    pub id: ReplicaId,
    /// Which life of its disk.
    pub incarnation: Incarnation,
    /// What it reports.
    pub report: Report,
    /// The replica.
    pub replica: &'a Replica,
}

/// Whether everything is as it should be: the leader, or what is missing.
///
/// # Errors
/// What is missing.
pub fn settled(record: &Topology, wanted: (u32, u32), states: &[State<'_>]) -> Result<ReplicaId, String> {
    let (n, w) = wanted;
    if record.restarting != 0 {
        return Err(format!("replica {} is being restarted", record.restarting));
    }
    if record.phase() != Phase::Active || record.old.is_some() {
        return Err(format!("the record is in {:?}, old configuration {:?}", record.phase(), record.old));
    }
    let members: Vec<ReplicaId> = record.config.members.iter().map(|member| member.id).collect();
    if record.config.w != w || members.len() != n as usize {
        return Err(format!("members {members:?} with w = {}, wanted are {n} with w = {w}", record.config.w));
    }
    let leader = states.iter().find(|state| state.id == record.leader).ok_or("the leader does not run")?;
    if !leader.report.serving || leader.report.commit != leader.report.last.seq {
        return Err(format!(
            "leader {}: serving {}, commit {} of {}",
            leader.id, leader.report.serving, leader.report.commit, leader.report.last.seq
        ));
    }
    let theirs = leader.replica.digests(0, SLOTS);
    for member in &record.config.members {
        let state = states
            .iter()
            .find(|state| state.id == member.id)
            .ok_or_else(|| format!("member {} does not run", member.id))?;
        let (report, expected) = (&state.report, &leader.report);
        if state.incarnation != member.incarnation {
            return Err(format!(
                "member {} is {:016x} in the record and {:016x} itself",
                state.id, member.incarnation, state.incarnation
            ));
        }
        if (report.applied, report.last, report.digest) != (expected.applied, expected.last, expected.digest) {
            return Err(format!(
                "member {} has applied {} up to {}, the leader {} up to {}",
                state.id, report.applied, report.last, expected.applied, expected.last
            ));
        }
        let digests = state.replica.digests(0, SLOTS);
        if digests.digests != theirs.digests {
            return Err(format!("member {} has other digests than the leader at the same position", state.id));
        }
        if report.counters.digest_mismatches > 0 {
            return Err(format!("replica {} counts {} digest mismatches", state.id, report.counters.digest_mismatches));
        }
    }
    Ok(leader.id)
}

/// It took too long.
///
/// # Errors
/// Always.
pub fn late(bound: Micros, missing: &str) -> Found {
    violated("liveness", format!("{} ms after the last fault: {missing}", bound / 1_000))
}

/// The store serves, but not this.
///
/// # Errors
/// Always.
pub fn unanswered(entry: &Entry) -> Found {
    violated("liveness", format!("not answered although the store serves: {entry}"))
}
