//! Is the leader lost? And how a higher epoch begins.
//!
//! What ends a leadership: its process is known to have ended, was started again (an epoch is led by one life of a process only), lost its disk, does not
//! lead although told; or it is silent to the operator **and** to a majority of the members that the operator hears. An operator that alone cannot see
//! the leader changes nothing. A leader that the operator hears, but that itself cannot reach enough members while those can, is deposed too.
//!
//! A connection that ended is news, silence is only the lack of it: where the operator's connection to a leader that it saw leading this epoch has ended,
//! and those of a majority of the members that it hears have ended too, and none of them was made again within a heartbeat, nobody waits for the suspicion
//! time. That is how the end of a process shows where nobody can prove it. It proves nothing either: leases are waited for as ever. An operator that has
//! just been started has seen nobody lead, and waits for silence; or a leader that was started again, too, says that its epoch was led before.

use trireme_proto::breakage::{Breakage, broken};
use trireme_proto::{
    ReplicaId, Report, Topology,
    report::FollowerReport,
    topology::{Config, Phase},
};

use super::{Change, MemberPhase, Turn, memory::Timer};
use crate::decision::{Cause, Decision, Witnesses};

/// A snapshot that does not move on for this long, while nothing can be committed without it, never will.
const STUCK_MS: u64 = 10_000;

/// Reports come with each heartbeat: so many that are missing are no accident of scheduling.
const OVERDUE_HEARTBEATS: u64 = 4;

/// Begins a failover where the leader is lost.
pub(crate) fn check(turn: &mut Turn<'_>, record: &Topology) {
    if turn.reports().any(|report| report.promise > record.epoch) {
        return begin(turn, record, Cause::RecordBehind, None, 0);
    }
    if let Some(cause) = lost(turn, record) {
        return begin(turn, record, cause, None, 0);
    }
    note(turn, record);
}

/// Notes who leads, and that it serves.
pub(crate) fn note(turn: &mut Turn<'_>, record: &Topology) {
    if let Some(report) = turn.leading(record) {
        turn.memory.led_by = Some((record.epoch, report.boot));
        if report.serving {
            served(turn, record, report);
        }
    }
}

/// Why the leader is lost, if it is.
fn lost(turn: &mut Turn<'_>, record: &Topology) -> Option<Cause> {
    let suspicion_ms = u64::from(record.settings.suspicion_ms);
    let (observed, leader) = (turn.observed, record.leader);
    let seen = observed.seen(leader);
    if turn.ended(leader) {
        return Some(Cause::ProcessEnded);
    }
    if disconnected(turn, record) {
        return Some(Cause::Disconnected);
    }
    if seen.is_none_or(|seen| seen.silent_ms >= suspicion_ms) {
        return silent(turn, record, suspicion_ms).then_some(Cause::Silent);
    }
    if seen.is_some_and(|seen| overdue(turn, record, seen.silent_ms)) {
        return Some(Cause::Silent);
    }
    let report = observed.live_report(leader)?;
    if record.config.member(leader).is_none_or(|member| member.incarnation != report.incarnation) {
        return Some(Cause::DiskLost);
    }
    if turn.leading(record).is_some() {
        if isolated(turn, record, report, suspicion_ms) {
            return Some(Cause::Isolated);
        }
        return stuck(turn, record, report).then_some(Cause::Stuck);
    }
    let another = turn.memory.led_by.is_some_and(|(epoch, boot)| epoch == record.epoch && boot != report.boot);
    if another || report.led_before == Some(record.epoch) {
        return Some(Cause::Restarted);
    }
    // A moment passes between "it has the record" and "it leads"; a process that was started again never leads the same epoch.
    let has_record = report.topology_version >= record.version && report.promise == record.epoch;
    let patience_ms =
        if has_record { (4 * u64::from(record.settings.heartbeat_ms)).max(500) } else { 2 * suspicion_ms };
    let waited_ms = turn.since(Timer::NotLeading(record.epoch));
    if waited_ms >= patience_ms {
        return Some(Cause::NotLeading);
    }
    turn.recheck(patience_ms - waited_ms);
    None
}

/// What the other members say that the operator hears.
fn others<'a>(turn: &Turn<'a>, record: &Topology, suspicion_ms: u64) -> Vec<&'a Report> {
    let heard = |id: ReplicaId| turn.observed.seen(id).is_some_and(|seen| seen.silent_ms < suspicion_ms);
    let others = record.config.members.iter().filter(|m| m.id != record.leader && heard(m.id));
    others.filter_map(|m| turn.observed.live_report(m.id).filter(|r| r.incarnation == m.incarnation)).collect()
}

/// Other members that the operator hears: (all of them, those that do not hear the leader).
fn peers(turn: &Turn<'_>, record: &Topology, suspicion_ms: u64) -> (usize, usize) {
    let reports = others(turn, record, suspicion_ms);
    let deaf = reports.iter().filter(|r| u64::from(r.leader_silence_ms) >= suspicion_ms).count();
    (reports.len(), deaf)
}

/// The connections of the operator and of a majority of the members that it hears to the leader have ended, and none was made again for a heartbeat.
fn disconnected(turn: &mut Turn<'_>, record: &Topology) -> bool {
    let Some(seen) = turn.observed.seen(record.leader).filter(|seen| !seen.connected) else { return false };
    let boot = seen.report.as_ref().map_or(0, |report| report.boot);
    if turn.memory.led_by != Some((record.epoch, boot)) {
        return false;
    }
    let reports = others(turn, record, u64::from(record.settings.suspicion_ms));
    let cut_off = reports.iter().filter(|r| r.promise == record.epoch && r.leader_link_closed).count();
    if cut_off * 2 <= reports.len() {
        return false;
    }
    // A leader that lives is connected again within milliseconds.
    let (since_ms, patience_ms) =
        (turn.since(Timer::Disconnected(record.epoch)), u64::from(record.settings.heartbeat_ms).max(1));
    if since_ms < patience_ms {
        turn.recheck(patience_ms - since_ms);
    }
    since_ms >= patience_ms
}

/// Reports of the leader are overdue, and most of the members that are heard have been without it for as long as makes it suspect, in one direction or the
/// other. Where nothing reaches the leader any more, what it sends still arrives for a while: the operator's own silence begins late.
fn overdue(turn: &mut Turn<'_>, record: &Topology, silent_ms: u64) -> bool {
    let suspicion_ms = u64::from(record.settings.suspicion_ms);
    let overdue_ms = u64::from(record.settings.heartbeat_ms) * OVERDUE_HEARTBEATS;
    let (heard, deaf) = peers(turn, record, suspicion_ms);
    if deaf * 2 <= heard {
        return false;
    }
    if silent_ms < overdue_ms {
        turn.recheck(overdue_ms - silent_ms);
    }
    silent_ms >= overdue_ms
}

/// The operator does not hear the leader: does a majority of those that it hears agree?
fn silent(turn: &mut Turn<'_>, record: &Topology, suspicion_ms: u64) -> bool {
    let (heard, deaf) = peers(turn, record, suspicion_ms);
    if deaf * 2 > heard {
        return true;
    }
    let leader = turn.name(record.leader);
    let what = if heard == 0 {
        format!(
            "{leader} is silent to the operator, and so is every other member: nothing is changed until one of them is heard"
        )
    } else {
        format!(
            "{leader} is silent to the operator alone: {deaf} of {heard} members that can be asked miss it too; nothing is changed"
        )
    };
    turn.waiting("LeaderUnseen", &what);
    false
}

/// The leader itself reaches too few members to commit, a majority of the others does not hear it, and they are enough to go on.
fn isolated(turn: &Turn<'_>, record: &Topology, report: &Report, suspicion_ms: u64) -> bool {
    let reached = reachable(&record.config, report);
    let (heard, deaf) = peers(turn, record, suspicion_ms);
    reached < record.config.lease_quorum() && deaf * 2 > heard && deaf >= record.config.lease_quorum()
}

/// The leader cannot commit what it has executed, because the members that it needs for that are being sent a snapshot; and the snapshot cannot end,
/// because slots are taken when their last write is committed. A new epoch, mostly with the same leader, resolves it: whoever steps down takes what is not
/// committed out of its state, and executes nothing before its start entry is committed. A snapshot that moves on is left alone, however long it takes.
fn stuck(turn: &mut Turn<'_>, record: &Topology, report: &Report) -> bool {
    let member = |f: &&FollowerReport| f.reachable && record.config.has(f.id, f.incarnation);
    let sent: Vec<u64> =
        report.followers.iter().filter(member).filter_map(|f| f.snapshot_slots).map(u64::from).collect();
    let able = reachable(&record.config, report).saturating_sub(sent.len());
    if !report.serving || report.commit >= report.last.seq || sent.is_empty() || able >= record.config.w as usize {
        return false;
    }
    let since_ms = turn.since(Timer::Stuck(record.epoch, report.commit, sent.iter().sum()));
    if since_ms < STUCK_MS {
        turn.recheck(STUCK_MS - since_ms);
    }
    since_ms >= STUCK_MS
}

/// Members that the leader reaches, itself included.
pub(crate) fn reachable(config: &Config, report: &Report) -> usize {
    let itself = usize::from(config.has(report.id, report.incarnation));
    itself
        + report
            .followers
            .iter()
            .filter(|f| f.id != report.id && f.reachable && config.has(f.id, f.incarnation))
            .count()
}

/// Notes that the change that led here is complete.
fn served(turn: &mut Turn<'_>, record: &Topology, report: &Report) {
    let now_ms = turn.now_ms;
    let leader = turn.name(record.leader);
    let cut: u64 =
        turn.reports().filter_map(|r| r.cut.as_ref()).filter(|cut| cut.by == record.epoch).map(|cut| cut.entries).sum();
    let Some(change) = turn.memory.change(record.epoch) else {
        return turn.memory.earlier_completed(record.epoch, &leader, u64::from(report.write_gap_ms));
    };
    change.cut = change.cut.max(cut);
    change.recovered = change.recovered.max(report.recovered);
    if change.phase == MemberPhase::Serving {
        return;
    }
    change.phase = MemberPhase::Serving;
    let took_ms = now_ms.saturating_sub(change.began_ms);
    change.active_ms = Some(took_ms);
    change.write_gap_ms = Some(u64::from(report.write_gap_ms));
    let decision = Decision::Serving {
        leader,
        epoch: record.epoch.to_string(),
        took_ms: Some(took_ms),
        write_gap_ms: u64::from(report.write_gap_ms),
    };
    turn.decide(decision);
}

/// How many of the other members that the operator hears say the same as it does.
fn witnesses(turn: &Turn<'_>, record: &Topology, cause: Cause) -> Option<Witnesses> {
    let suspicion_ms = u64::from(record.settings.suspicion_ms);
    let agree: fn(&Report, u64) -> bool = match cause {
        Cause::Silent => |report, suspicion_ms| u64::from(report.leader_silence_ms) >= suspicion_ms,
        Cause::Disconnected => |report, _| report.leader_link_closed,
        _ => return None,
    };
    let reports = others(turn, record, suspicion_ms);
    let agree = reports.iter().filter(|report| agree(report, suspicion_ms)).count();
    Some(Witnesses { heard: reports.len(), agree })
}

/// Records the phase Sealing of an epoch above all others. With `config`, members or w change: what was in force is kept until the change is complete.
pub(crate) fn begin(turn: &mut Turn<'_>, record: &Topology, cause: Cause, config: Option<Config>, handover: ReplicaId) {
    let silent_ms =
        turn.observed.seen(record.leader).map(|seen| seen.silent_ms).filter(|ms| *ms != u64::MAX && record.leader != 0);
    let mut next = record.clone();
    next.epoch = turn.next_epoch();
    next.phase = Phase::Sealing as i32;
    next.leader = 0;
    next.handover = handover;
    if cause == Cause::RecordBehind {
        // Somebody whom this record does not know may have led since.
        next.previous_leader = 0;
    } else if record.leader != 0 {
        next.previous_leader = record.leader;
    }
    if let Some(config) = config {
        next.old = Some(std::mem::replace(&mut next.config, config)).filter(|_| !broken(Breakage::NoDoubleSeal));
    }
    // Sealing after sealing: nobody led in between.
    let after = if record.leader != 0 {
        Some(record.epoch)
    } else {
        turn.memory.change(record.epoch).and_then(|change| change.after)
    };
    turn.decide(Decision::Sealing {
        cause,
        region: turn.desired.region.clone(),
        from: turn.name(next.previous_leader),
        epoch: next.epoch.to_string(),
        n: next.config.members.len(),
        w: next.config.w,
        needed: next.config.seal_quorum(),
        silent_ms: silent_ms.filter(|_| cause.is_found_by_time()),
        witnesses: witnesses(turn, record, cause),
    });
    turn.memory.timers.insert(Timer::Sealing(next.epoch), turn.now_ms);
    turn.since(Timer::Sealing(next.epoch));
    turn.memory.began(Change {
        at_wall_ms: turn.observed.wall_ms,
        began_ms: turn.now_ms,
        cause,
        from: next.previous_leader,
        to: 0,
        epoch: next.epoch,
        after,
        phase: MemberPhase::Sealing,
        detect_ms: silent_ms.filter(|_| cause.is_found_by_time()),
        seal_ms: None,
        active_ms: None,
        write_gap_ms: None,
        at_risk: 0,
        may_have_lost: false,
        forced: cause == Cause::Forced,
        recovered: 0,
        cut: 0,
    });
    turn.record(next);
}
