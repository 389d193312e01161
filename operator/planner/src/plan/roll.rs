//! Replicas that run with something else than what is wanted are restarted, one at a time: followers first, the highest number first; the leader last,
//! after it has handed over.
//!
//! A restart takes a replica away for a moment, so it is begun only while the store is whole: the leader serves, nothing else is under way, and every
//! other member is heard, reached by the leader and close to its end. So the store is never below n - 1 by the operator's own doing. Which replica it is
//! stands in the record (`restarting`) before its process is ended: an operator that takes over goes on with that one, and of two operators one loses the
//! compare-and-swap. The next one is not begun before that replica is a member that has caught up again, however long it takes.
//!
//! A replica that is down already may be started anew whatever else is wrong, because that takes nothing away: a wrong image is mended by writing the
//! right one, also where no replica ever came up.

use trireme_crds::ConditionStatus;
use trireme_proto::{
    ReplicaId, Report, Topology,
    breakage::{Breakage, broken},
    report::Role,
};

use super::{LEARNER_LAG_ENTRIES, Turn, handover, leaderless, memory::Timer};
use crate::decision::{Decision, list};

/// What was asked of the backend is asked again, where nothing came of it, after this long.
const ASK_AGAIN_MS: u64 = 10_000;
/// A replica that was restarted and is not back after this long holds the rollout up for good, as far as can be told: it is said, and waited for.
pub(crate) const STALLED_MS: u64 = 600_000;

/// Takes the next step towards every replica running as it is wanted.
pub(crate) fn roll(turn: &mut Turn<'_>, record: &Topology) {
    match record.restarting {
        0 => next(turn, record),
        id => attend(turn, record, id),
    }
}

/// Starts a replica anew that is down for sure and outdated, in any phase; also one that is on its way out: as long as it is a member, nobody may be chosen
/// without it.
pub(crate) fn repair(turn: &mut Turn<'_>) {
    let down =
        |id: ReplicaId| turn.observed.seen(id).is_some_and(|seen| seen.outdated && seen.stopped && !seen.alive());
    let ids: Vec<ReplicaId> = turn.observed.replicas.keys().copied().filter(|id| down(*id)).collect();
    for id in ids {
        if turn.plan.restart.is_some() {
            // One a turn, and the next turn soon.
            return turn.recheck(super::CONFLICT_RECHECK_MS);
        }
        if ask(turn, id) {
            let why = "it is down, and was started with something else than what is wanted now".to_owned();
            turn.decide(Decision::Restarting { replica: turn.name(id), why });
            turn.plan.restart = Some(id);
        }
    }
}

/// Begins with one replica, where some are outdated and the store is whole.
fn next(turn: &mut Turn<'_>, record: &Topology) {
    let outdated: Vec<ReplicaId> =
        turn.desired.replicas.iter().map(|r| r.id).filter(|id| is_outdated(turn, *id)).collect();
    let Some(first) = outdated.iter().copied().filter(|id| *id != record.leader).max() else {
        if !outdated.is_empty() {
            leader(turn, record);
        }
        return;
    };
    // One that is down is restarted before others: the store cannot be whole without it.
    let id = outdated.iter().copied().filter(|id| is_down(turn, record, *id)).max().unwrap_or(first);
    match whole(turn, record, Some(id).filter(|id| is_down(turn, record, *id))) {
        Ok(()) => begin(turn, record, id),
        Err(why) => waits(turn, &outdated, &why),
    }
}

/// Only the leader is left.
fn leader(turn: &mut Turn<'_>, record: &Topology) {
    if let Err(why) = whole(turn, record, None) {
        return waits(turn, &[record.leader], &why);
    }
    if record.config.members.len() == 1 {
        return begin(turn, record, record.leader);
    }
    if turn.now_ms < turn.memory.no_handover_until_ms {
        return waits(turn, &[record.leader], "its last hand-over failed a moment ago");
    }
    if let Some(report) = turn.leading(record) {
        handover::away_from_leader(turn, record, report, "the leader is to be restarted");
    }
}

/// Records which replica is restarted, and has it restarted.
fn begin(turn: &mut Turn<'_>, record: &Topology, id: ReplicaId) {
    let down = is_down(turn, record, id);
    let (n, needed) = (record.config.members.len(), record.config.lease_quorum());
    let mut why = "it runs with something else than what is wanted now".to_owned();
    if down {
        why = "it is down, and was started with something else than what is wanted now".to_owned();
    } else if n - 1 < needed {
        why = format!("{why}; commands wait until it is back: {} of {n} members remain, {needed} are needed", n - 1);
    }
    turn.decide(Decision::Restarting { replica: turn.name(id), why });
    progressing(turn, "Restarting", format!("{} is being restarted", turn.name(id)));
    ask(turn, id);
    turn.plan.restart = Some(id);
    turn.record(Topology { restarting: id, ..record.clone() });
}

/// A replica is being restarted or replaced: is it back?
fn attend(turn: &mut Turn<'_>, record: &Topology, id: ReplicaId) {
    let name = turn.name(id);
    if turn.desired.replica(id).is_none() {
        return turn.record(Topology { restarting: 0, ..record.clone() });
    }
    let since_ms = turn.since(Timer::Restarting(id));
    if is_outdated(turn, id) {
        return ask_for_it(turn, record, id);
    }
    let missing = match back(turn, record, id) {
        Ok(()) => {
            turn.decide(Decision::Restarted { replica: name, after_ms: since_ms });
            return turn.record(Topology { restarting: 0, ..record.clone() });
        }
        Err(missing) => missing,
    };
    if since_ms < STALLED_MS {
        turn.recheck(STALLED_MS - since_ms);
        return progressing(turn, "Restarting", format!("{name} is being restarted: {missing}"));
    }
    let what = format!("{name} was restarted and is not back after {} s: {missing}", since_ms / 1_000);
    let what = format!("{what}; no other replica is restarted before: see its pod, or change what is wanted of it");
    if !turn.memory.conditions.iter().any(|c| c.kind == "RolloutStalled" && c.status == ConditionStatus::True) {
        turn.decide(Decision::Waiting { what: what.clone() });
    }
    turn.condition("Progressing", ConditionStatus::False, "RolloutStalled", what.clone());
    turn.condition("RolloutStalled", ConditionStatus::True, "ReplicaNotBack", what);
}

/// The replica that the record names is outdated (still, or again): it is to be restarted where that takes nothing away.
fn ask_for_it(turn: &mut Turn<'_>, record: &Topology, id: ReplicaId) {
    if is_down(turn, record, id) {
        // Also where others are down: nothing is taken away.
    } else if let Err(why) = whole(turn, record, Some(id)) {
        return waits(turn, &[id], &why);
    } else if id == record.leader && record.config.members.len() > 1 {
        // Leadership has come to it since.
        return leader(turn, record);
    }
    progressing(turn, "Restarting", format!("{} is being restarted", turn.name(id)));
    if ask(turn, id) {
        let why =
            "its restart was begun, and it still, or again, runs with something else than what is wanted".to_owned();
        turn.decide(Decision::Restarting { replica: turn.name(id), why });
        turn.memory.timers.insert(Timer::Restarting(id), turn.now_ms);
        turn.plan.restart = Some(id);
    }
}

/// Whether the backend is to be asked for this now: not when it was asked a moment ago, and the same process is all that was heard since.
pub(super) fn ask(turn: &mut Turn<'_>, id: ReplicaId) -> bool {
    let boot = turn.observed.seen(id).and_then(|seen| seen.report.as_ref()).map_or(0, |report| report.boot);
    if let Some((before, at_ms)) = turn.memory.asked.get(&id)
        && *before == boot
        && turn.now_ms.saturating_sub(*at_ms) < ASK_AGAIN_MS
    {
        turn.recheck(ASK_AGAIN_MS - turn.now_ms.saturating_sub(*at_ms));
        return false;
    }
    turn.memory.asked.insert(id, (boot, turn.now_ms));
    true
}

/// Says that restarts wait, and for what.
fn waits(turn: &mut Turn<'_>, outdated: &[ReplicaId], why: &str) {
    let names = turn.names(outdated.iter().copied());
    turn.decide_once("RestartWaits", format!("{} to be restarted, and that waits: {why}", are(&names)));
}

fn are(names: &[String]) -> String {
    format!("{} {}", list(names), if names.len() == 1 { "is" } else { "are" })
}

fn progressing(turn: &mut Turn<'_>, reason: &str, what: String) {
    turn.condition("Progressing", ConditionStatus::True, reason, what);
}

fn is_outdated(turn: &Turn<'_>, id: ReplicaId) -> bool {
    turn.observed.seen(id).is_some_and(|seen| seen.outdated)
}

/// Whether a replica is no use to anybody: its process has ended for sure, or neither the operator nor the leader hears it.
pub(super) fn is_down(turn: &Turn<'_>, record: &Topology, id: ReplicaId) -> bool {
    let Some(seen) = turn.observed.seen(id) else { return true };
    let unreached = || {
        if turn.leaderless() {
            return leaderless::is_unreached(turn, record, id);
        }
        turn.leading(record)
            .is_some_and(|report| id != report.id && !report.followers.iter().any(|f| f.id == id && f.reachable))
    };
    seen.is_unheard(record.settings.suspicion_ms.into()) && (seen.stopped || unreached())
}

/// Whether everything is as it is wanted, `except` for one replica: nothing is under way, and every other member serves or follows closely.
fn whole(turn: &Turn<'_>, record: &Topology, except: Option<ReplicaId>) -> Result<(), String> {
    if broken(Breakage::RestartSeveral) {
        return Ok(());
    }
    if record.old.is_some() || record.handover != 0 {
        return Err("a change of members, of w or of leaders is under way".to_owned());
    }
    let strangers = record.config.members.iter().filter(|m| turn.desired.replica(m.id).is_none()).count();
    if strangers > 0 || record.config.members.len() != turn.desired.n() || record.config.w != turn.desired.w {
        return Err(format!("members and w are not yet those wanted: {}", turn.describe(&record.config)));
    }
    for member in record.config.members.iter().filter(|member| Some(member.id) != except) {
        follows(turn, record, member.id)?;
    }
    Ok(())
}

/// Whether a replica that was restarted is back.
fn back(turn: &Turn<'_>, record: &Topology, id: ReplicaId) -> Result<(), String> {
    if !turn.leaderless() && serving(turn, record).is_none() {
        return Err("no leader serves".to_owned());
    }
    if broken(Breakage::RestartSeveral) {
        return Ok(());
    }
    let boot = turn.observed.live_report(id).map(|report| report.boot);
    if boot.is_some() && boot == turn.memory.asked.get(&id).map(|(before, _)| *before) {
        return Err("the process that is to end still runs".to_owned());
    }
    follows(turn, record, id)?;
    // Clients are led elsewhere until then; to take the next one away would leave them with too few.
    if turn.observed.seen(id).is_some_and(|seen| seen.unready) {
        return Err(format!("{} follows, and clients are not led to it yet", turn.name(id)));
    }
    Ok(())
}

/// What the leader says, where it serves.
fn serving<'a>(turn: &Turn<'a>, record: &Topology) -> Option<&'a Report> {
    turn.leading(record).filter(|report| report.serving)
}

/// Whether this replica is a member, heard, reached by the leader, and close to its end; where there is no leader, by all others; what is missing.
fn follows(turn: &Turn<'_>, record: &Topology, id: ReplicaId) -> Result<(), String> {
    if turn.leaderless() {
        return leaderless::stands(turn, record, id);
    }
    let Some(leader) = serving(turn, record) else {
        return Err("no leader serves".to_owned());
    };
    let name = turn.name(id);
    let seen = turn.observed.seen(id);
    let heard = seen.is_some_and(|seen| !seen.stopped && seen.silent_ms < u64::from(record.settings.suspicion_ms));
    let Some(report) = turn.observed.live_report(id).filter(|_| heard) else {
        return Err(format!("{name} is not heard"));
    };
    if report.leaving {
        return Err(format!("{name} was told to end"));
    }
    if !record.config.has(id, report.incarnation) {
        return Err(format!("{name} is no member yet"));
    }
    if id == leader.id {
        return Ok(());
    }
    // What the leader says of it may still be about the process before.
    if report.role() != Role::Follower {
        return Err(format!("{name} does not follow yet"));
    }
    match leader.followers.iter().find(|f| f.id == id && f.incarnation == report.incarnation) {
        Some(f) if f.reachable && f.snapshot_slots.is_some() => Err(format!("{name} is being sent a snapshot")),
        Some(f) if f.reachable && f.lag_entries <= LEARNER_LAG_ENTRIES => Ok(()),
        Some(f) if f.reachable => Err(format!("{name} is {} entries behind", f.lag_entries)),
        _ => Err(format!("the leader does not reach {name}")),
    }
}
