//! What users are told: one condition of each type, always, with a reason.
//!
//! | type | true means |
//! | --- | --- |
//! | Ready | a leader serves, and enough members are reached for writes; where there is no leader: somebody reaches enough for reads and writes |
//! | Progressing | something is being changed, or waits to be: the reason says what |
//! | Degraded | something is missing: a member, the wanted w, room on a disk, a leader, the way to another region |
//! | ConfigurationWarning | what is wanted is legal and risky |
//! | Paused | reconciliation is paused |
//! | RolloutStalled | a replica that was restarted does not come back |
//! | Diverged | replicas that must be the same are not |

use trireme_crds::{Condition, ConditionStatus};
use trireme_proto::{Report, Topology, topology::Phase};

use super::{Turn, leaderless, memory::Timer, replace};
use crate::{decision::list, desired::PAUSE_FEEDS, status::timestamp};

/// Every type, in the order in which they are shown.
const KINDS: [&str; 7] =
    ["Ready", "Progressing", "Degraded", "ConfigurationWarning", "Paused", "RolloutStalled", "Diverged"];
/// Reasons of not being ready that do not pass by themselves within moments.
const STUCK: [&str; 5] = ["MembersMissing", "LeaderUnseen", "LeaderStarting", "StartEntryUncommitted", "LossPossible"];

/// What users are told of an epoch in which nothing had to be decided.
pub(crate) fn standing(turn: &mut Turn<'_>, record: &Topology) {
    let leader = turn.name(record.leader);
    let Some(report) = turn.leading(record) else {
        if turn.memory.led_by.is_some_and(|(epoch, _)| epoch == record.epoch)
            && turn.observed.seen(record.leader).is_some_and(|seen| !seen.connected)
        {
            let what = format!("{leader} leads epoch {}; the operator has no connection to it now", record.epoch);
            return turn.condition("Ready", ConditionStatus::Unknown, "LeaderDisconnected", what);
        }
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
                list(&missing)
            ),
        );
    }
    let lacking = turn.unreachable_members(record, report);
    let (reached, w) = (record.config.members.len() - lacking.len(), record.config.w);
    if reached < w as usize {
        let what = format!(
            "{leader} leads epoch {} and reaches {reached} of {} members: with w = {w} it refuses writes; missing {}",
            record.epoch,
            record.config.members.len(),
            list(&lacking)
        );
        turn.condition("Ready", ConditionStatus::False, "TooFewMembers", what);
    } else {
        turn.condition("Ready", ConditionStatus::True, "Serving", format!("{leader} serves epoch {}", record.epoch));
    }
    degraded(turn, record, report);
}

/// What is missing, where a leader serves.
fn degraded(turn: &mut Turn<'_>, record: &Topology, report: &Report) {
    let mut lacking = turn.unreachable_members(record, report);
    let mut what = Vec::new();
    if !lacking.is_empty() {
        lacking.sort();
        what.push(format!("{} cannot be reached by the leader", list(&lacking)));
    }
    what.extend(shortfalls(turn, record));
    what.extend(missing_machines(turn, record));
    if !turn.desired.edge {
        // That an edge is by itself is nothing unusual.
        what.extend(regions_cut_off(turn, record, report));
    }
    say_missing(turn, &what, "every replica is a member and can be reached");
}

/// Other groups that the leader has not reached for so long that it is no moment of change.
fn regions_cut_off(turn: &mut Turn<'_>, record: &Topology, report: &Report) -> Option<String> {
    let suspicion_ms = turn.suspicion_ms();
    let paused = record.groups.iter().filter(|other| other.paused).map(|other| other.region.clone());
    let paused: Vec<String> = paused.collect();
    let reached = |group: u32| report.feeds.iter().all(|feed| feed.group != group || feed.reachable);
    let mut regions = Vec::new();
    for other in record.groups.iter().filter(|other| other.is_fed() && !other.is_edge() && !reached(other.group)) {
        match turn.since(Timer::CutOff(other.group)) {
            since_ms if since_ms < suspicion_ms => turn.recheck(suspicion_ms - since_ms),
            _ => regions.push(other.region.clone()),
        }
    }
    let cut_off = || format!("the leader cannot reach {}: what is written here waits to be sent there", list(&regions));
    let resting = || {
        let why = format!("as the annotation {PAUSE_FEEDS} asks: what is written on either side waits");
        format!("feeds with {} are paused, {why}", list(&paused))
    };
    let parts = [(!regions.is_empty()).then(cut_off), (!paused.is_empty()).then(resting)];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join("; ")).filter(|what| !what.is_empty())
}

/// What may be missing in every mode, besides connections: replicas that are no members yet, room on disks, copies.
pub(super) fn shortfalls(turn: &Turn<'_>, record: &Topology) -> Vec<String> {
    let mut what = Vec::new();
    let replicas = turn.desired.replicas.iter();
    let not_members: Vec<String> =
        replicas.filter(|r| record.config.member(r.id).is_none()).map(|r| r.name.clone()).collect();
    if !not_members.is_empty() {
        what.push(format!("{} counts for nothing yet", list(&not_members)));
    }
    let full = turn.names(record.config.members.iter().map(|m| m.id).filter(|id| turn.disk_full(*id)));
    if !full.is_empty() {
        what.push(format!("the disk of {} is full", list(&full)));
    }
    if record.config.w < turn.desired.w {
        what.push(format!("w is {} until then, {} is wanted", record.config.w, turn.desired.w));
    }
    what
}

/// Says what is missing, or that all is there, in these words.
pub(super) fn say_missing(turn: &mut Turn<'_>, what: &[String], complete: &str) {
    if what.is_empty() {
        turn.condition("Degraded", ConditionStatus::False, "Complete", complete.to_owned());
    } else {
        turn.condition("Degraded", ConditionStatus::True, "Incomplete", what.join("; "));
    }
}

/// Replicas whose machines are gone, and what becomes of them.
pub(super) fn missing_machines(turn: &Turn<'_>, record: &Topology) -> Option<String> {
    let lost = turn.names(replace::lost(turn, record));
    if lost.is_empty() || record.restarting != 0 {
        return None;
    }
    let then = match turn.desired.failover.replace_lost_after_ms {
        Some(ms) => format!("it is replaced after {} s, where enough remain", ms / 1_000),
        None => {
            "its volume is kept for the machine's return. If it will not return: delete the replica's volume claim and \
                 its pod, or set failover.replaceLostAfter; it then starts elsewhere on a new disk"
                .to_owned()
        }
    };
    Some(format!("the machine of {} is gone: {then}", list(&lost)))
}

/// Adds the types that nothing was said of in this turn, and the times.
pub(super) fn complete(turn: &mut Turn<'_>) {
    let record = turn.plan.record.as_ref().or(turn.observed.record.as_ref());
    let sealing = record.is_some_and(|record| record.phase == Phase::Sealing as i32);
    let (new, calm) = (record.is_none(), ConditionStatus::False);
    let leaderless = turn.leaderless();
    if turn.desired.paused {
        let nor = if leaderless { "no change of members and no restart" } else { "no failover" };
        let what =
            format!("paused by the annotation trireme.dev/paused: nothing is begun until it is removed, {nor} either");
        turn.condition("Paused", ConditionStatus::True, "Annotation", what);
    }
    let mut warnings = turn.desired.warnings.clone();
    if let Some(record) = turn.observed.record.as_ref().filter(|_| leaderless) {
        warnings.extend(leaderless::staleness(turn, record));
    }
    match warnings.as_slice() {
        [] => turn.condition("ConfigurationWarning", calm, "None", "nothing that is wanted is risky".to_owned()),
        warnings => turn.condition("ConfigurationWarning", ConditionStatus::True, "RiskyChoice", warnings.join(" ")),
    }
    turn.condition("Ready", calm, "Changing", "the record is being changed".to_owned());
    match (new, sealing) {
        (true, _) => turn.condition("Progressing", ConditionStatus::True, "Creating", "the group is new".to_owned()),
        (_, true) => {
            turn.condition(
                "Progressing",
                ConditionStatus::True,
                "ChangingLeader",
                "a leader is being chosen".to_owned(),
            );
        }
        _ => turn.condition("Progressing", calm, "Stable", "nothing is being changed".to_owned()),
    }
    let (nobody, not_yet) = match leaderless {
        true => ("nobody serves: see Ready", "no replica has served yet"),
        false => ("no leader serves: see Ready", "no leader has served yet"),
    };
    let stuck = turn.plan.conditions.iter().any(|c| c.kind == "Ready" && STUCK.contains(&c.reason.as_str()));
    match turn.memory.conditions.iter().find(|c| c.kind == "Degraded").cloned() {
        _ if stuck => {
            turn.condition("Degraded", ConditionStatus::True, "NotServing", nobody.to_owned());
        }
        // Moments of change say nothing of what is missing.
        Some(before) => turn.condition("Degraded", before.status, &before.reason, before.message),
        None => turn.condition("Degraded", ConditionStatus::Unknown, "Starting", not_yet.to_owned()),
    }
    if let Some(record) = &turn.observed.record {
        leaderless::diverged(turn, record);
    }
    turn.condition("Diverged", calm, "NotDiverged", "no difference between replicas is known".to_owned());
    turn.condition("Paused", calm, "NotPaused", "reconciliation goes on".to_owned());
    turn.condition("RolloutStalled", calm, "NotStalled", "no restart is overdue".to_owned());

    let wall = timestamp(turn.observed.wall_ms);
    let place = |c: &Condition| KINDS.iter().position(|kind| *kind == c.kind);
    turn.plan.conditions.sort_by_key(place);
    for condition in &mut turn.plan.conditions {
        let before = turn.memory.conditions.iter().find(|b| b.kind == condition.kind && b.status == condition.status);
        condition.last_transition_time = before.map_or_else(|| wall.clone(), |b| b.last_transition_time.clone());
    }
    turn.memory.conditions = turn.plan.conditions.clone();
}
