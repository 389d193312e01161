//! The status that users see: the same in Kubernetes and in local mode.

use trireme_crds::{
    ConditionStatus, StorePhase, StoreStatus,
    status::{FailoverStatus, FeedStatus, GroupStatus, ReplicaStatus},
};
use trireme_proto::{
    Report, Topology,
    report::{FollowerReport, Role},
    topology::{Leaving, Mode, Phase, Unreplicated},
};

mod merge;
mod peers;

pub use merge::merge;

use crate::{
    desired::Desired,
    observed::Observed,
    plan::{Change, MemberPhase, Memory},
};

/// How the group stands, which is the store where it is the only one, after the turn that [`crate::plan()`] was called in with the same memory. `wall_ms` is the wall clock in milliseconds since 1970.
pub fn status(desired: &Desired, observed: &Observed, memory: &Memory, _now_ms: u64, wall_ms: u64) -> StoreStatus {
    let name = |id: u32| {
        let row = observed.record.as_ref().and_then(|record| record.replica(id)).map(|row| row.name.clone());
        desired.replica(id).map(|r| r.name.clone()).or(row).unwrap_or_default()
    };
    let mut conditions = memory.conditions.clone();
    for condition in &mut conditions {
        if condition.last_transition_time.is_empty() {
            condition.last_transition_time = timestamp(wall_ms);
        }
    }
    if observed.record.as_ref().is_some_and(|record| record.leaving() >= Leaving::Gone) {
        // It is no group of the store any more: only what is still to be done for it is said.
        let phase = StorePhase::Ready;
        return StoreStatus { phase, observed_generation: desired.generation, conditions, ..StoreStatus::default() };
    }
    let ready = conditions.iter().any(|c| c.kind == "Ready" && c.status == ConditionStatus::True);
    let group = |record| group(desired, record, observed, ready, &name);
    let groups: Vec<GroupStatus> = observed.record.iter().map(group).collect();
    let replicas = replicas(desired, observed, &name);
    let leader = groups.first().map_or_else(String::new, |group| group.leader.clone());
    StoreStatus {
        phase: phase(observed, memory),
        observed_generation: desired.generation,
        n: u32::try_from(desired.n()).unwrap_or(u32::MAX),
        w: desired.w,
        r: desired.settings.r,
        ready: format!("{}/{}", replicas.iter().filter(|r| r.member && r.reachable).count(), desired.n()),
        lag: lag(!leader.is_empty(), desired.settings.mode() == Mode::Leaderless, &replicas),
        leader,
        conditions,
        groups,
        replicas,
        failovers: memory.failovers(|change| failover(desired, change, &name)),
        // Whoever measures, and whoever takes requests up, adds these.
        slo: None,
        request: None,
    }
}

/// How far the member that is most behind is behind, of those that are heard. A leader is behind nobody.
fn lag(led: bool, leaderless: bool, replicas: &[ReplicaStatus]) -> String {
    let heard = replicas.iter().filter(|r| r.member && r.reachable);
    match heard.filter_map(|r| r.lag_ms).max() {
        None if leaderless => String::new(),
        _ if !led && !leaderless => String::new(),
        None | Some(0) => "0".to_owned(),
        Some(ms) => format!("{ms} ms"),
    }
}

fn phase(observed: &Observed, memory: &Memory) -> StorePhase {
    let is = |kind: &str, status| memory.conditions.iter().any(|c| c.kind == kind && c.status == status);
    let reason = |reason: &str| memory.conditions.iter().any(|c| c.reason == reason);
    match &observed.record {
        None if reason("LossPossible") => StorePhase::Down,
        None => StorePhase::Creating,
        Some(_) if is("Ready", ConditionStatus::True) && is("Degraded", ConditionStatus::True) => StorePhase::Degraded,
        Some(_) if is("Ready", ConditionStatus::True) => StorePhase::Ready,
        // It may well serve: the operator cannot tell.
        Some(_) if is("Ready", ConditionStatus::Unknown) => StorePhase::Degraded,
        Some(_) if reason("MembersMissing") || reason("LeaderUnseen") || reason("StartEntryUncommitted") => {
            StorePhase::Down
        }
        Some(_) if reason("QuorumsLost") || reason("NobodyCoordinates") => StorePhase::Down,
        Some(_) if reason("WritesLost") || reason("ReadsLost") => StorePhase::Degraded,
        Some(record) if record.settings.mode() == Mode::Leaderless => StorePhase::Creating,
        Some(record) if record.previous_leader == 0 && record.phase == Phase::Sealing as i32 => StorePhase::Creating,
        Some(_) => StorePhase::FailingOver,
    }
}

/// `ready`: the condition of this name holds.
fn group(
    desired: &Desired,
    record: &Topology,
    observed: &Observed,
    ready: bool,
    name: &impl Fn(u32) -> String,
) -> GroupStatus {
    let active = record.phase == Phase::Active as i32;
    let leaderless = record.settings.mode() == Mode::Leaderless;
    let leader = observed.live_report(record.leader).filter(|r| active && r.serving && r.promise == record.epoch);
    let serving = if leaderless { ready } else { leader.is_some() };
    GroupStatus {
        group: record.group,
        region: desired.region.clone(),
        epoch: record.epoch.to_string(),
        phase: if active { "Active" } else { "Sealing" }.to_owned(),
        leader: name(record.leader),
        serving,
        n: u32::try_from(record.config.members.len()).unwrap_or(u32::MAX),
        w: record.config.w,
        seal_quorum: u32::try_from(record.config.seal_quorum()).unwrap_or(u32::MAX),
        members: record.config.members.iter().map(|m| name(m.id)).collect(),
        old_members: record.old.iter().flat_map(|old| &old.members).map(|m| name(m.id)).collect(),
        generation: record.generation,
        version: record.version,
        r: leaderless.then_some(record.settings.r),
        feeds: leader.map_or_else(Vec::new, |report| feeds(record, report)),
    }
}

/// How the other groups that the record names stand to what this one's leader has written.
fn feeds(record: &Topology, leader: &Report) -> Vec<FeedStatus> {
    // One that was revoked is none any more.
    let rows = record.groups.iter().filter(|group| !group.is_revoked()).filter_map(|group| {
        let feed = leader.feeds.iter().find(|feed| feed.group == group.group)?;
        Some(FeedStatus {
            region: group.region.clone(),
            edge: group.is_edge(),
            reachable: feed.reachable,
            lag_entries: feed.lag_entries,
            lag_bytes: feed.lag_bytes,
            lag_ms: feed.lag_ms,
            backlog_entries: feed.backlog_entries,
            slots_left: feed.slots_left,
        })
    });
    rows.collect()
}

fn replicas(desired: &Desired, observed: &Observed, names: &impl Fn(u32) -> String) -> Vec<ReplicaStatus> {
    let mut rows: Vec<(u32, String, String)> =
        desired.replicas.iter().map(|r| (r.id, r.name.clone(), r.region.clone())).collect();
    for row in observed.record.iter().flat_map(|record| &record.replicas) {
        if !rows.iter().any(|(id, ..)| *id == row.id) {
            rows.push((row.id, row.name.clone(), row.region.clone()));
        }
    }
    let leader = observed.record.as_ref().and_then(|record| observed.live_report(record.leader));
    let record = observed.record.as_ref().filter(|record| record.settings.mode() == Mode::Leaderless);
    let suspicion_ms = u64::from(desired.settings.suspicion_ms);
    let mut rows: Vec<ReplicaStatus> =
        rows.into_iter().map(|row| replica(row, observed, leader, suspicion_ms)).collect();
    for row in rows.iter_mut().filter(|_| record.is_some()) {
        let report = observed.seen(row.id).and_then(|seen| seen.report.as_ref());
        row.peer = record.zip(report).map(|(record, report)| peers::peer(record, report, names));
        if record.and_then(|record| record.replica(row.id)).is_some_and(|known| known.quarantined) {
            (row.member, row.role) = (false, "Quarantined".to_owned());
        }
        if let Some(lag) = report.and_then(|report| peers::lag(report, observed)) {
            (row.lag_entries, row.lag_bytes) = (Some(lag.lag_entries), Some(lag.lag_bytes));
            (row.lag_ms, row.snapshot_slots) = (Some(lag.lag_ms), lag.snapshot_slots);
        }
    }
    rows
}

fn replica(
    (id, name, region): (u32, String, String),
    observed: &Observed,
    leader: Option<&Report>,
    suspicion_ms: u64,
) -> ReplicaStatus {
    let seen = observed.seen(id);
    let report = seen.and_then(|seen| seen.report.as_ref());
    let lag: Option<&FollowerReport> = leader
        .and_then(|l| l.followers.iter().find(|f| f.id == id && report.is_none_or(|r| r.incarnation == f.incarnation)));
    let leads = leader.is_some_and(|l| l.id == id);
    let reachable = seen.is_some_and(|seen| !seen.is_unheard(suspicion_ms));
    let role = match report.filter(|_| reachable).and_then(|r| Role::try_from(r.role).ok()) {
        None => "Unknown",
        Some(Role::Idle) => "Idle",
        Some(Role::Follower) => "Follower",
        Some(Role::Learner) => "Learner",
        Some(Role::Leader) => "Leader",
        Some(Role::Peer) => "Peer",
    };
    let zero = |of: fn(&FollowerReport) -> u64| if leads { Some(0) } else { lag.map(of) };
    ReplicaStatus {
        name,
        id,
        region,
        role: role.to_owned(),
        member: report
            .is_some_and(|r| observed.record.as_ref().is_some_and(|record| record.config.has(id, r.incarnation))),
        reachable,
        silent_ms: seen.map(|seen| seen.silent_ms).filter(|ms| *ms != u64::MAX),
        position: report.map_or_else(String::new, |r| r.last.to_string()),
        commit: report.map_or(0, |r| r.commit),
        applied: report.map_or(0, |r| r.applied),
        lag_entries: zero(|f| f.lag_entries),
        lag_bytes: zero(|f| f.lag_bytes),
        lag_ms: zero(|f| f.lag_ms),
        snapshot_slots: lag.and_then(|f| f.snapshot_slots),
        incarnation: report.map_or_else(String::new, |r| format!("{:016x}", r.incarnation)),
        disk_full: report.is_some_and(|r| r.disk_full),
        keys: report.map_or(0, |r| r.keys),
        digest: report.map_or_else(String::new, |r| format!("{:016x}", r.digest)),
        digest_mismatches: report.map_or(0, |r| r.counters.digest_mismatches),
        conflicts: report.map(|r| r.counters.conflicts).filter(|count| *count > 0),
        peer_refusals: report.map_or(0, |r| r.counters.peer_refusals),
        client_address: seen.and_then(|seen| seen.client_address.clone()).unwrap_or_default(),
        peer: None,
    }
}

/// What became of the entries that a former leader had alone: where enough members were sealed, none of them can have been acknowledged.
fn failover(desired: &Desired, change: &Change, name: &impl Fn(u32) -> String) -> FailoverStatus {
    let recovers = desired.settings.unreplicated == Unreplicated::Recover as i32;
    let recovered = if change.may_have_lost { change.recovered } else { 0 };
    FailoverStatus {
        at: timestamp(change.at_wall_ms),
        region: desired.region.clone(),
        cause: change.cause.to_string(),
        from: name(change.from),
        to: if change.phase == MemberPhase::Sealing { String::new() } else { name(change.to) },
        epoch: change.epoch.to_string(),
        detect_ms: change.detect_ms,
        seal_ms: change.seal_ms,
        active_ms: change.active_ms,
        write_gap_ms: change.write_gap_ms,
        at_risk: if change.may_have_lost { change.at_risk.max(change.cut) } else { 0 },
        recovered,
        lost: match (change.may_have_lost, recovers) {
            (false, _) => 0,
            // Entries that were cut and are still on their way are not lost yet: they are in `atRisk`.
            (true, true) => 0,
            (true, false) => change.cut,
        },
        provably_unacknowledged: if change.may_have_lost { 0 } else { change.cut },
        forced: change.forced,
    }
}

/// A wall clock in milliseconds since 1970 as RFC 3339 in UTC.
pub(crate) fn timestamp(wall_ms: u64) -> String {
    let (days, ms) = (wall_ms / 86_400_000, wall_ms % 86_400_000);
    // Days since 0000-03-01, in eras of 400 years.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn timestamps_are_rfc_3339() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(timestamp(1_795_446_000_123), "2026-11-23T15:00:00.123Z");
    }
}
