//! Members and w move towards what is desired: one change at a time, each a new epoch, sealed under the configuration that is left and the one that comes.
//!
//! A wanted replica that is no member is a learner: the leader sends it everything, and it counts for nothing. Once it has caught up it becomes a member.
//! A replica that lost its disk is another member: the new life learns, then takes the place of the old one in one change. Members that are not wanted
//! leave one by one, the highest number first; a leader hands over before. w is what is desired once the members are; until then it only rises, towards a
//! majority, so that a store that had to go on with less recovers its safety as soon as it can.

use trireme_crds::Policy;
use trireme_proto::{
    Report, Topology,
    topology::{Config, Member},
};

use super::{LEARNER_LAG_ENTRIES, Turn, failover, handover, homes, memory::Timer};
use crate::decision::{Cause, Decision, list};

/// Drops the configuration that was left, once the leader's start entry is committed under the one in force.
pub(crate) fn drop_old(turn: &mut Turn<'_>, record: &Topology) {
    if record.old.is_none() || turn.leading(record).is_none_or(|report| !report.serving) {
        return;
    }
    turn.decide(Decision::Changed { to: turn.describe(&record.config) });
    turn.record(Topology { old: None, ..record.clone() });
}

/// `PreferAvailable`: a leader that has reached too few members for `giveUpAfter` goes on with those that it reaches. Recorded, and said.
pub(crate) fn degrade(turn: &mut Turn<'_>, record: &Topology) {
    let Some(report) = turn.leading(record) else { return };
    if turn.desired.failover.policy != Policy::PreferAvailable
        || failover::reachable(&record.config, report) >= record.config.lease_quorum()
    {
        return;
    }
    // What a leader said that has fallen silent since proves nothing about whom it reaches now: it may be the one that is gone, and a configuration of it
    // alone could then never be left.
    let silent_ms = turn.observed.seen(record.leader).map_or(u64::MAX, |seen| seen.silent_ms);
    if silent_ms > u64::from(record.settings.lease_ms) {
        return;
    }
    let since_ms = turn.since(Timer::TooFew(record.epoch));
    let give_up_ms = turn.desired.failover.give_up_after_ms.max(u64::from(record.settings.suspicion_ms));
    if since_ms < give_up_ms {
        return turn.recheck(give_up_ms - since_ms);
    }
    let reached = |m: &&Member| {
        m.id == report.id
            || report.followers.iter().any(|f| f.id == m.id && f.incarnation == m.incarnation && f.reachable)
    };
    let rest: Vec<Member> = record.config.members.iter().filter(reached).copied().collect();
    let w = record.config.w.min(u32::try_from(rest.len()).unwrap_or(u32::MAX)).max(1);
    let config = Config { members: rest, w };
    if record.old.is_some() || config == record.config {
        // Another change is not complete: the seal of the next epoch settles it with those that answer.
        return failover::begin(turn, record, Cause::Degrade, None, 0);
    }
    let why = format!("{} cannot be reached for {since_ms} ms", list(&turn.unreachable_members(record, report)));
    turn.decide(Decision::Changing { from: turn.describe(&record.config), to: turn.describe(&config), why });
    failover::begin(turn, record, Cause::Degrade, Some(config), 0);
}

/// Takes the next step towards the desired members and w.
pub(crate) fn converge(turn: &mut Turn<'_>, record: &Topology) {
    let Some(report) = turn.leading(record) else { return };
    // A leader that cannot commit its start entry, because a member lost its disk and w counts on it, is helped by the change and by nothing else.
    let stuck = failover::reachable(&record.config, report) < record.config.w as usize;
    if !(report.serving || stuck) {
        return;
    }
    if record.old.is_some() || record.handover != 0 || report.leaving {
        return;
    }
    let (next, why) = step(turn, record, report);
    if next == record.config {
        return;
    }
    if next.member(record.leader).is_none() {
        return handover::away_from_leader(turn, record, report, "the leader is to leave the members");
    }
    let reachable = failover::reachable(&next, report);
    if reachable < next.lease_quorum() {
        let what = format!(
            "a change to {} waits until the leader reaches {} of its members; it reaches {reachable}",
            turn.describe(&next),
            next.lease_quorum()
        );
        turn.decide_once("ChangeWaits", what);
        return;
    }
    turn.decide(Decision::Changing { from: turn.describe(&record.config), to: turn.describe(&next), why });
    failover::begin(turn, record, Cause::Change, Some(next), 0);
}

/// The configuration after the next step, and why it is one.
fn step(turn: &Turn<'_>, record: &Topology, report: &Report) -> (Config, String) {
    let mut members = record.config.members.clone();
    let mut why = Vec::new();
    for replica in &turn.desired.replicas {
        let Some(incarnation) = caught_up(turn, record, report, replica.id) else { continue };
        match members.iter_mut().find(|m| m.id == replica.id) {
            Some(member) => {
                member.incarnation = incarnation;
                why.push(format!("{} has a new disk and has caught up", replica.name));
            }
            None => {
                members.push(Member { id: replica.id, incarnation });
                why.push(format!("{} has caught up", replica.name));
            }
        }
    }
    // Those that the leader does not reach leave first: without the others the configuration that is left might not be able to go on.
    let reached = |m: &Member| {
        m.id == report.id
            || report.followers.iter().any(|f| f.id == m.id && f.incarnation == m.incarnation && f.reachable)
    };
    let unwanted = members.iter().filter(|m| turn.desired.replica(m.id).is_none());
    if why.is_empty()
        && members.len() > 1
        && let Some(extra) = unwanted.max_by_key(|m| (!reached(m), m.id)).copied()
    {
        members.retain(|m| *m != extra);
        why.push(format!("{} is no longer wanted", turn.name(extra.id)));
    }
    members.sort();
    let n = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let complete = members.len() == turn.desired.n() && members.iter().all(|m| turn.desired.replica(m.id).is_some());
    let w =
        if complete { turn.desired.w } else { record.config.w.max(turn.desired.w.min(n / 2 + 1)) }.clamp(1, n.max(1));
    if w != record.config.w {
        why.push(format!("w becomes {w}"));
    }
    (Config { members, w }, why.join(", "))
}

/// The life of this learner that has caught up, if it has.
fn caught_up(turn: &Turn<'_>, record: &Topology, report: &Report, id: u32) -> Option<u64> {
    let life = turn.observed.live_report(id)?.incarnation;
    if record.config.has(id, life) || id == record.leader {
        return None;
    }
    let follower = report.followers.iter().find(|f| f.id == id && f.incarnation == life)?;
    let whole = follower.reachable && follower.snapshot_slots.is_none() && follower.acknowledged > 0;
    (whole && follower.lag_entries <= LEARNER_LAG_ENTRIES).then_some(life)
}

/// Brings settings, addresses, other groups and homes of the record up to date: a new version of it, no new epoch.
pub(crate) fn refresh(turn: &mut Turn<'_>, record: &Topology) {
    let mut what = Vec::new();
    if record.settings != turn.settings(record) {
        what.push("settings".to_owned());
    }
    if record.replicas != turn.directory(record) {
        what.push("addresses".to_owned());
    }
    if record.groups != turn.others(record) {
        what.push("other groups".to_owned());
    }
    if record.homes != homes::rows(turn, record) {
        what.push("home regions".to_owned());
    }
    if !what.is_empty() {
        turn.decide(Decision::Refreshed { what: turn.here(&list(&what)) });
        turn.record(record.clone());
    }
}
