//! Leadership is handed over while the leader lives: a person asks, it was told to end, or it is to leave the configuration.
//!
//! The record names the member; the leader stops writes, brings it up to its end and says `drained`; then a seal follows, in which both logs are the same
//! and the member is preferred. A hand-over that takes longer than [`HANDOVER_MS`] is called off, and the leader goes on.

use trireme_proto::{ReplicaId, Report, Topology};

use super::{HANDOVER_MS, Turn, failover, memory::Timer};
use crate::{
    decision::{Cause, Decision},
    observed::HumanRequest,
};

/// Takes up what people asked for.
pub(crate) fn requests(turn: &mut Turn<'_>, record: &Topology) {
    for request in turn.memory.requests.clone() {
        let (to, force) = match request {
            HumanRequest::Promote { replica, force } => (replica, force),
            HumanRequest::Switchover { to } => (to, false),
        };
        match begin(turn, record, to, force) {
            Ok(true) => return,
            Ok(false) => {}
            Err(why) => {
                let what = format!("make {} the leader", turn.name(to));
                turn.decide(Decision::Refused { what, why });
                turn.memory.requests.retain(|r| *r != request);
            }
        }
    }
}

/// Begins what a person asked for; `Ok(true)` where the record changes, `Err` says why it cannot be done.
fn begin(turn: &mut Turn<'_>, record: &Topology, to: ReplicaId, force: bool) -> Result<bool, String> {
    let name = turn.name(to);
    let Some(member) = record.config.member(to) else {
        return Err(format!("{name} is no member; members are {}", turn.describe(&record.config)));
    };
    if turn.observed.live_report(to).is_none_or(|report| report.incarnation != member.incarnation) {
        return Err(format!("{name} cannot be reached"));
    }
    if record.handover == to {
        return Ok(false);
    }
    match turn.leading(record).filter(|report| report.serving) {
        Some(_) if record.handover != 0 => Err(format!("a hand-over to {} is under way", turn.name(record.handover))),
        Some(_) => {
            hand_over(turn, record, to, "a person asked for it");
            Ok(true)
        }
        None if force => {
            failover::begin(turn, record, Cause::Forced, None, to);
            Ok(true)
        }
        None => Err(format!(
            "{} leads and does not take part in a hand-over now; promote by force to go on without it",
            turn.name(record.leader)
        )),
    }
}

fn hand_over(turn: &mut Turn<'_>, record: &Topology, to: ReplicaId, why: &str) {
    turn.decide(Decision::HandingOver { from: turn.name(record.leader), to: turn.name(to), why: why.to_owned() });
    turn.record(Topology { handover: to, ..record.clone() });
    if let Some(next) = &turn.plan.record {
        let timer = Timer::Handover(next.version);
        turn.memory.timers.insert(timer, turn.now_ms);
        turn.since(timer);
    }
}

/// Refuses what people asked for: reconciliation is paused.
pub(crate) fn refuse(turn: &mut Turn<'_>, record: &Topology) {
    for request in std::mem::take(&mut turn.memory.requests) {
        let (HumanRequest::Promote { replica, .. } | HumanRequest::Switchover { to: replica }) = request;
        if replica == record.handover {
            continue; // It is being done.
        }
        let why = "reconciliation is paused by the annotation trireme.dev/paused; remove it first".to_owned();
        turn.decide(Decision::Refused { what: format!("make {} the leader", turn.name(replica)), why });
    }
}

/// Begins a hand-over where the leader was told to end.
pub(crate) fn of_a_leader_that_ends(turn: &mut Turn<'_>, record: &Topology) {
    let Some(report) = turn.leading(record) else { return };
    if record.handover == 0 && report.leaving && report.serving && turn.now_ms >= turn.memory.no_handover_until_ms {
        away_from_leader(turn, record, report, "the leader was told to end");
    }
}

/// Drives a hand-over that the record asks for to its end.
pub(crate) fn complete(turn: &mut Turn<'_>, record: &Topology) {
    let Some(report) = turn.leading(record).filter(|_| record.handover != 0) else { return };
    if report.drained && report.topology_version >= record.version {
        return failover::begin(turn, record, Cause::Handover, None, record.handover);
    }
    let elapsed_ms = turn.since(Timer::Handover(record.version));
    if elapsed_ms < HANDOVER_MS {
        turn.recheck(HANDOVER_MS - elapsed_ms);
        let what = format!(
            "{} brings {} up to its end before it hands over",
            turn.name(record.leader),
            turn.name(record.handover)
        );
        return turn.waiting("HandingOver", &what);
    }
    let to = record.handover;
    let lag = report.followers.iter().find(|f| f.id == to);
    let why = match lag {
        Some(f) if f.reachable => format!("it was {} entries behind", f.lag_entries),
        _ => "the leader could not reach it".to_owned(),
    };
    turn.decide(Decision::HandoverFailed {
        from: turn.name(record.leader),
        to: turn.name(to),
        after_ms: elapsed_ms,
        why,
    });
    turn.memory.no_handover_until_ms = turn.now_ms + HANDOVER_MS;
    turn.memory.requests.clear();
    turn.record(Topology { handover: 0, ..record.clone() });
}

/// Hands over to the member that is least behind, if there is one that can lead.
pub(crate) fn away_from_leader(turn: &mut Turn<'_>, record: &Topology, report: &Report, why: &str) {
    let preferred = turn.desired.failover.preferred_region.as_str();
    let stays = |id: ReplicaId| turn.desired.replica(id).is_some();
    let able = |id: ReplicaId| turn.observed.live_report(id).is_some_and(|r| !r.leaving && !r.disk_full);
    let best = report
        .followers
        .iter()
        .filter(|f| {
            f.id != report.id && f.reachable && record.config.has(f.id, f.incarnation) && stays(f.id) && able(f.id)
        })
        .min_by_key(|f| {
            let region = turn.desired.replica(f.id).map_or("", |r| r.region.as_str());
            (
                f.lag_entries > super::LEARNER_LAG_ENTRIES,
                // It is to be restarted: leadership would have to move again.
                turn.observed.seen(f.id).is_some_and(|seen| seen.outdated),
                preferred.is_empty() || region != preferred,
                f.lag_entries,
                f.id,
            )
        });
    match best {
        Some(follower) => hand_over(turn, record, follower.id, why),
        None => {
            turn.decide_once("NobodyToHandOverTo", format!("{why}, and it reaches no other member that could lead"));
        }
    }
}
