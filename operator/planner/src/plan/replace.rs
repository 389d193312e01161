//! A replica that is lost together with its machine is replaced on a new disk, where `failover.replaceLostAfter` says after how long.
//!
//! What becomes of it is what becomes of any replica that lost its disk: another member, that learns and then takes the place of the old one
//! (see `change`). Giving up a disk cannot be undone, so it needs more than silence: the backend must know that the machine is gone, and what remains must
//! be enough without it, for the seal of every later epoch (n - w + 1) and to hold every acknowledged write w times over, on members that the leader
//! reaches now. Where w = n there can be only n - 1 of them, and each holds every acknowledged write; without a replacement nothing could be written any
//! more, and after a failover the leader could not even begin to serve. One at a time, in the same place of the record as restarts.

use trireme_proto::{
    ReplicaId, Topology,
    breakage::{Breakage, broken},
    report::FollowerReport,
};

use super::{Turn, leaderless, memory::Timer, roll};
use crate::decision::Decision;

/// Replaces what is lost, where that is wanted, its time has come, and enough remains.
pub(crate) fn replace(turn: &mut Turn<'_>, record: &Topology) {
    for id in lost(turn, record) {
        let since_ms = turn.since(Timer::Lost(id));
        let Some(after_ms) = turn.desired.failover.replace_lost_after_ms else { continue };
        if since_ms < after_ms {
            turn.recheck(after_ms - since_ms);
            continue;
        }
        if record.restarting != 0 && record.restarting != id && !broken(Breakage::ReplaceTheLast) {
            continue;
        }
        let name = turn.name(id);
        let remain = match remains(turn, record, id) {
            Ok(remain) => remain,
            Err(why) => {
                let what = format!("{name} is lost with its machine, and is not replaced: {why}");
                turn.decide_once("ReplacementWaits", what);
                continue;
            }
        };
        if !roll::ask(turn, id) {
            continue;
        }
        turn.decide(Decision::Replacing { replica: name, after_ms: since_ms, remain });
        turn.plan.replace = Some(id);
        if record.restarting != id {
            turn.record(Topology { restarting: id, ..record.clone() });
        }
        return;
    }
}

/// Wanted replicas that nobody hears, and whose machines are known to be gone.
pub(crate) fn lost(turn: &Turn<'_>, record: &Topology) -> Vec<ReplicaId> {
    let gone = |id: &ReplicaId| turn.observed.seen(*id).is_some_and(|seen| seen.is_lost(turn.suspicion_ms()));
    let wanted = turn.desired.replicas.iter().map(|replica| replica.id);
    wanted.filter(|id| *id != record.leader && gone(id) && roll::is_down(turn, record, *id)).collect()
}

/// How many members remain without this one; or why they are not enough.
fn remains(turn: &Turn<'_>, record: &Topology, id: ReplicaId) -> Result<usize, String> {
    if record.old.is_some() || record.handover != 0 {
        return Err("a change of members, of w or of leaders is under way".to_owned());
    }
    if turn.leaderless() {
        return remains_of_peers(turn, record, id);
    }
    let Some(report) = turn.leading(record).filter(|report| !report.leaving) else {
        return Err("there is no leader".to_owned());
    };
    // A leader that does not serve yet has every acknowledged write, and cannot say how far they go.
    let end = if report.serving { report.commit } else { report.last.seq };
    let holds_all = |id: ReplicaId, incarnation: u64| {
        let all = |f: &&FollowerReport| f.id == id && f.incarnation == incarnation && f.acknowledged >= end;
        id == report.id || report.followers.iter().find(all).is_some_and(|f| f.reachable)
    };
    let (n, w) = (record.config.members.len(), record.config.w as usize);
    let others = record.config.members.iter().filter(|m| m.id != id);
    let remain = others.filter(|m| holds_all(m.id, m.incarnation)).count();
    if record.config.member(id).is_none() || broken(Breakage::ReplaceTheLast) {
        return Ok(remain);
    }
    let needed = record.config.seal_quorum().max(w.min(n - 1)).max(1);
    if remain < needed {
        return Err(format!(
            "without it {remain} of {n} members are known to hold every acknowledged write, and {needed} must (n = {n}, w = {w})"
        ));
    }
    Ok(remain)
}

/// The same where there is no leader: every other member stands, so that what was acknowledged is on w - 1 of them and spreads from there.
fn remains_of_peers(turn: &Turn<'_>, record: &Topology, id: ReplicaId) -> Result<usize, String> {
    let (n, w) = (record.config.members.len(), record.config.w);
    let others = record.config.members.iter().filter(|m| m.id != id);
    let remain = others.filter(|m| leaderless::stands(turn, record, m.id).is_ok()).count();
    if record.config.member(id).is_none() || broken(Breakage::ReplaceTheLast) {
        return Ok(remain);
    }
    if w < 2 {
        return Err(format!("with w = {w} it may be the only one that has what it acknowledged"));
    }
    if remain + 1 < n {
        return Err(format!(
            "{remain} of {n} members are known to stand without it, and {} must (n = {n}, w = {w})",
            n - 1
        ));
    }
    Ok(remain)
}
