//! An epoch is being sealed: who has answered, are they enough, whom to wait for, who leads.
//!
//! **Enough** is n - w + 1 members of the configuration in force, and of the one being left while there is one: then every entry that was ever
//! acknowledged is on one of them, and no older leader can reach w members any more. Also enough is the leader of the epoch before itself, in the same
//! life of its process in which it was seen leading: its log holds everything that was committed, it promised after appending it, and its promise ends
//! its leadership. That is how members can leave a configuration although they will never answer again.
//!
//! **Going on with less** (`PreferAvailable` after `giveUpAfter`, or a person's force) gives up the first half, never the second. Older leaders must be
//! unable to answer anybody: the last one has itself promised or its process is known to have ended, or so many members have promised that it cannot
//! reach its lease quorum (w, or a majority where w = 1) again. So n = 2, w = 1 goes on when either member dies: the other one's promise leaves the
//! missing one with 1 of the 2 that its lease needs. A member whose number another life with a new disk has taken, one that has promised this very epoch,
//! acknowledges nothing any more either: a replica runs once at a time, and whoever starts another one by force vouches for the end of the first. What
//! it may have granted until then runs out first. Where those that answered are too few for a lease of their own, the members that are missing
//! leave the configuration with the same record, and w falls to what is left: decided, recorded, said. They can not lead alone later: they are no members
//! of the configuration that is in force, so no seal counts them until they have joined again as learners, whatever the policy is by then. The
//! configuration that was left stays in the record as `old` until the new leader serves, so until then the next seal asks for it again.
//!
//! The group's generation rises whenever an acknowledged entry may have been left behind.

use std::collections::BTreeSet;

use trireme_crds::{ConditionStatus, Policy};
use trireme_proto::{
    ReplicaId, Report, Topology,
    breakage::{Breakage, broken},
    topology::{Config, Member, Phase},
};

use super::{
    HANDOVER_MS, MemberPhase, Turn,
    choose::{choose, position},
    failover, leave,
    memory::Timer,
    rebuild,
    turn::members,
};
use crate::{
    decision::{Cause, Decision, list},
    observed::HumanRequest,
};

/// Drift between the clocks of a grantor and the operator that is allowed for: a lease counts as running for one part in this many longer.
const DRIFT_PARTS: u64 = 50;

/// The answers to a seal.
struct Sealed<'r> {
    answers: Vec<&'r Report>,
    missing: Vec<ReplicaId>,
    /// n - w + 1 of each configuration, or the former leader itself.
    enough: bool,
    /// The former leader cannot answer anybody any more, whatever the members do that are missing.
    fenced: bool,
    /// The former leader is among the answers, or its process has ended: there is no lease to wait for.
    no_lease: bool,
}

/// Completes the seal where that is possible, or says what it waits for.
pub(crate) fn sealing(turn: &mut Turn<'_>, record: &Topology) {
    if turn.reports().any(|report| report.promise > record.epoch) {
        return failover::begin(turn, record, Cause::RecordBehind, None, record.handover);
    }
    let elapsed_ms = turn.since(Timer::Sealing(record.epoch));
    let replaced = replaced(turn, record);
    let sealed = answers(turn, record, &replaced);
    let forced = forced(turn, record, &sealed, elapsed_ms);
    if sealed.enough
        && let Some(change) = turn.memory.change(record.epoch)
    {
        change.seal_ms.get_or_insert(elapsed_ms);
    }
    if rebuild::from_nothing(turn, record, &replaced) {
        return;
    }
    if !(sealed.enough || forced.is_some() || gives_up(turn, &sealed, elapsed_ms)) {
        return say_who_is_missing(turn, record, &sealed, elapsed_ms);
    }
    if let Some(ms) = wait_for_the_preferred(turn, record, &sealed, elapsed_ms) {
        turn.recheck(ms);
        return turn.waiting(
            "Sealing",
            &format!("enough members answered epoch {}; a moment is left for the preferred ones", record.epoch),
        );
    }
    if let Some(ms) = wait_for_leases(turn, record, &sealed, elapsed_ms) {
        turn.recheck(ms);
        let whose = match record.previous_leader {
            0 => "that may have been granted before".to_owned(),
            leader => format!("of {}", turn.name(leader)),
        };
        let what = format!("the lease {whose} runs out before a new leader answers");
        return turn.waiting("LeaseRunning", &what);
    }
    let best = choose(turn, record, &sealed.answers);
    if let Some(best) = best {
        refuse_others(turn, &sealed, best);
        activate(turn, record, &sealed, best, forced.is_some());
    }
}

/// Members that are known to have ended because another life of their disk has promised this epoch, which was recorded while they were members; only
/// once all leases have run out that they can have granted.
fn replaced(turn: &mut Turn<'_>, record: &Topology) -> BTreeSet<Member> {
    let lease_ms = with_drift(u64::from(record.settings.lease_ms));
    let mut replaced = members(record);
    replaced.retain(|m| {
        let report = turn.observed.live_report(m.id);
        if report.is_none_or(|report| report.promise != record.epoch || report.incarnation == m.incarnation) {
            return false;
        }
        let known_ms = turn.since(Timer::Replaced(*m));
        if known_ms < lease_ms {
            turn.recheck(lease_ms - known_ms);
        }
        known_ms >= lease_ms
    });
    replaced
}

/// How long the operator's clock must show before `ms` have certainly passed on any other.
fn with_drift(ms: u64) -> u64 {
    ms + ms.div_ceil(DRIFT_PARTS)
}

/// Who has promised exactly this epoch, in the life of its disk that is a member.
fn answers<'a>(turn: &Turn<'a>, record: &Topology, replaced: &BTreeSet<Member>) -> Sealed<'a> {
    let union = members(record);
    let answer = |id: ReplicaId, incarnation: u64| {
        let report = turn.observed.live_report(id)?;
        let same_life = report.incarnation == incarnation || broken(Breakage::CountEmptyDisk);
        (report.promise == record.epoch && same_life).then_some(report)
    };
    let mut answers: Vec<&Report> = union.iter().filter_map(|m| answer(m.id, m.incarnation)).collect();
    answers.dedup_by_key(|report| report.id);
    let count = |config: &Config| config.members.iter().filter(|m| answer(m.id, m.incarnation).is_some()).count();
    let met =
        |config: &Config| count(config) >= (config.seal_quorum() - usize::from(broken(Breakage::SealOneLess))).max(1);
    let new = broken(Breakage::SealOldOnly) && record.old.is_some() || met(&record.config);
    let old = broken(Breakage::SealNewOnly) || record.old.as_ref().is_none_or(met);
    let leader = answers.iter().find(|report| report.id == record.previous_leader);
    let same_process = |report: &&Report| {
        turn.memory.led_by.is_some_and(|(epoch, boot)| boot == report.boot && leads_last(turn, record, epoch))
    };
    let no_lease = leader.is_some() || turn.ended(record.previous_leader);
    let unable = |config: &Config| {
        let ended = config.members.iter().filter(|m| replaced.contains(m)).count();
        count(config) + ended > config.members.len() - config.lease_quorum().min(config.members.len())
    };
    Sealed {
        missing: union.iter().map(|m| m.id).filter(|id| !answers.iter().any(|r| r.id == *id)).collect(),
        enough: (new && old) || leader.is_some_and(same_process),
        fenced: no_lease || (unable(&record.config) && record.old.as_ref().is_none_or(unable)),
        no_lease,
        answers,
    }
}

/// Whether this epoch, that a process was seen leading, is the last one before the record's in which anybody led.
fn leads_last(turn: &Turn<'_>, record: &Topology, epoch: trireme_proto::Epoch) -> bool {
    turn.memory.changes.iter().any(|change| change.epoch == record.epoch && change.after == Some(epoch))
}

/// The member that a person wants by force, where the seal allows to go on with it.
fn forced(turn: &mut Turn<'_>, record: &Topology, sealed: &Sealed<'_>, elapsed_ms: u64) -> Option<ReplicaId> {
    let wanted = turn.memory.requests.iter().find_map(|request| match request {
        HumanRequest::Promote { replica, force: true } => Some(*replica),
        _ => None,
    })?;
    if sealed.enough {
        return None;
    }
    let answer = sealed.answers.iter().find(|report| report.id == wanted)?;
    let better = sealed.answers.iter().find(|report| position(report) > position(answer));
    if let Some(better) = better {
        let why =
            format!("{} has more ({}, against {}): promote that one", turn.name(better.id), better.last, answer.last);
        refuse(turn, wanted, why);
        return None;
    }
    // The person knew of those that were missing when they asked. Others may lead, or follow one that does.
    let unknown: Vec<ReplicaId> =
        sealed.missing.iter().copied().filter(|id| !turn.memory.vouched.contains(id)).collect();
    if unknown.is_empty() {
        return Some(wanted);
    }
    let patience_ms = u64::from(record.settings.suspicion_ms);
    if elapsed_ms >= patience_ms {
        let names = list(&turn.names(unknown));
        let why = format!(
            "{names} could still be heard when it was asked for, and does not answer: ask again if it is stopped"
        );
        refuse(turn, wanted, why);
    } else {
        turn.recheck(patience_ms - elapsed_ms);
    }
    None
}

/// A person forced somebody who does not come first: asked for again and again, that would seal one epoch after the other, and change nothing.
fn refuse_others(turn: &mut Turn<'_>, sealed: &Sealed<'_>, best: &Report) {
    for request in turn.memory.requests.clone() {
        let HumanRequest::Promote { replica, force: true } = request else { continue };
        if replica == best.id {
            continue;
        }
        let name = turn.name(best.id);
        let why = match sealed.answers.iter().find(|report| report.id == replica) {
            Some(answer) if position(best) > position(answer) => format!(
                "{name} has more ({}, against {}) and leads now: hand over to the other when it has caught up",
                best.last, answer.last
            ),
            Some(_) => format!("it is to leave the members, and {name} leads now"),
            None => format!("it did not answer, and {name} leads now: hand over to it when it is back"),
        };
        refuse(turn, replica, why);
    }
}

/// Tells the person why this one does not lead, and forgets the request.
fn refuse(turn: &mut Turn<'_>, wanted: ReplicaId, why: String) {
    turn.decide(Decision::Refused { what: format!("promote {}", turn.name(wanted)), why });
    turn.memory
        .requests
        .retain(|request| !matches!(request, HumanRequest::Promote { replica, .. } if *replica == wanted));
}

/// Whether `PreferAvailable` goes on with those that answered.
fn gives_up(turn: &mut Turn<'_>, sealed: &Sealed<'_>, elapsed_ms: u64) -> bool {
    let failover = &turn.desired.failover;
    if failover.policy != Policy::PreferAvailable || !sealed.fenced || sealed.answers.is_empty() {
        return false;
    }
    let wait_ms = failover.give_up_after_ms;
    if elapsed_ms < wait_ms {
        turn.recheck(wait_ms - elapsed_ms);
    }
    elapsed_ms >= wait_ms
}

/// Members whose answer is worth a moment although there are enough: the one leadership is handed to and the leader until now, if they are there, and
/// everybody at the first epoch. `None`: go on.
fn wait_for_the_preferred(turn: &Turn<'_>, record: &Topology, sealed: &Sealed<'_>, elapsed_ms: u64) -> Option<u64> {
    let patience_ms = u64::from(record.settings.suspicion_ms).min(HANDOVER_MS);
    let there = |id: &ReplicaId| {
        turn.observed.seen(*id).is_some_and(|seen| seen.alive() && seen.silent_ms < patience_ms)
            && turn.observed.live_report(*id).is_some_and(|report| record.has(*id, report.incarnation))
    };
    let wanted =
        |id: &&ReplicaId| record.previous_leader == 0 || **id == record.handover || **id == record.previous_leader;
    let awaited = sealed.missing.iter().filter(wanted).any(there);
    (awaited && elapsed_ms < patience_ms).then(|| patience_ms - elapsed_ms)
}

/// What is left of leases that those who answered granted to an older leader. `None`: nothing.
fn wait_for_leases(turn: &Turn<'_>, record: &Topology, sealed: &Sealed<'_>, elapsed_ms: u64) -> Option<u64> {
    if sealed.no_lease || broken(Breakage::NoLeaseWait) {
        return None;
    }
    let left = |report: &&Report| {
        let granted_ms = u64::from(report.lease_remaining_ms);
        let silent_ms = turn.observed.seen(report.id).map_or(0, |seen| seen.silent_ms);
        with_drift(granted_ms).saturating_sub(silent_ms)
    };
    let mut left_ms = sealed.answers.iter().map(left).max().unwrap_or(0);
    if !sealed.fenced {
        // A person vouches for the members that are missing: they may have granted a lease until a moment ago.
        let lease_ms = u64::from(record.settings.lease_ms);
        left_ms = left_ms.max(with_drift(lease_ms).saturating_sub(elapsed_ms));
    }
    (left_ms > 0).then_some(left_ms)
}

/// Records the leader.
fn activate(turn: &mut Turn<'_>, record: &Topology, sealed: &Sealed<'_>, best: &Report, forced: bool) {
    let may_have_lost = !sealed.enough;
    let mut next = record.clone();
    next.phase = Phase::Active as i32;
    next.leader = best.id;
    next.handover = 0;
    if next.config.member(best.id).is_none()
        && let Some(old) = next.old.take()
    {
        // The best log is with a member that was to leave: the change is turned round, and both are still sealed until it is complete.
        next.old = Some(std::mem::replace(&mut next.config, old));
    }
    let answered = |m: &&Member| sealed.answers.iter().any(|r| r.id == m.id);
    if may_have_lost {
        next.generation += 1;
        let rest: Vec<_> = next.config.members.iter().filter(answered).copied().collect();
        if rest.len() < next.config.lease_quorum() {
            let w = next.config.w.min(u32::try_from(rest.len()).unwrap_or(u32::MAX)).max(1);
            let left = std::mem::replace(&mut next.config, Config { members: rest, w });
            turn.decide(Decision::Changing {
                from: turn.describe(&left),
                to: turn.describe(&next.config),
                why: "those that answered are too few for the configuration in force".to_owned(),
            });
            next.old.get_or_insert(left);
        }
    }
    let known = |id: &ReplicaId| {
        turn.observed.seen(*id).and_then(|seen| seen.report.as_ref()).map_or(0, |report| report.last.seq)
    };
    let beyond = sealed.missing.iter().map(known).max().unwrap_or(0).saturating_sub(best.last.seq);
    let at_risk = if may_have_lost { beyond } else { 0 };
    if let Some(change) = turn.memory.change(record.epoch) {
        change.phase = MemberPhase::Chosen;
        change.to = best.id;
        change.may_have_lost = may_have_lost;
        change.at_risk = at_risk;
        change.forced |= forced;
    }
    turn.decide(Decision::Chosen {
        leader: turn.name(best.id),
        epoch: record.epoch.to_string(),
        position: best.last.to_string(),
        n: record.config.members.len(),
        w: record.config.w,
        needed: record.config.seal_quorum(),
        sealed: turn.names(sealed.answers.iter().map(|r| r.id)),
        missing: turn.names(sealed.missing.iter().copied()),
        may_have_lost,
        at_risk,
        forced,
    });
    turn.record(next);
}

/// Too few answered: says who is missing, with the numbers and what can be done.
fn say_who_is_missing(turn: &mut Turn<'_>, record: &Topology, sealed: &Sealed<'_>, elapsed_ms: u64) {
    let answered =
        |config: &Config| config.members.iter().filter(|m| sealed.answers.iter().any(|r| r.id == m.id)).count();
    let part = |config: &Config, which: &str| {
        let (n, w, q) = (config.members.len(), config.w, config.seal_quorum());
        format!("{} of {n} members{which} answered, {q} must (n = {n}, w = {w}, n - w + 1 = {q})", answered(config))
    };
    let mut what = part(&record.config, "");
    if let Some(old) = &record.old {
        what = format!("{what} and {}", part(old, " of the configuration being left"));
    }
    let missing = list(&turn.names(sealed.missing.iter().copied()));
    let preferred = turn.desired.failover.policy == Policy::PreferAvailable;
    let give_up_ms = turn.desired.failover.give_up_after_ms;
    let then = match (preferred, sealed.fenced) {
        (true, true) => format!("going on without them {} ms after the seal began", give_up_ms),
        (true, false) => {
            "going on without them could make two leaders, because those that are missing may still be led".to_owned()
        }
        (false, _) => {
            "the policy is NeverLose, so it stays so until enough answer, or a person promotes one by force".to_owned()
        }
    };
    let (text, patience_ms) =
        (format!("sealing epoch {}: {what}; missing {missing}", record.epoch), u64::from(record.settings.suspicion_ms));
    if elapsed_ms < patience_ms {
        // Answers take a moment: nobody is missing yet.
        turn.recheck(patience_ms - elapsed_ms);
        return turn.condition("Ready", ConditionStatus::False, "Sealing", text);
    }
    let alone = match leave::alone(turn, record) {
        0 => String::new(),
        entries => format!("; at least {entries} entries that it had are in no other region"),
    };
    turn.waiting("MembersMissing", &format!("{text}; {then}{alone}"));
}
