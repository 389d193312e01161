//! Who of the members can do their work, and whom they reach.

use trireme_proto::{
    ReplicaId, Report, Topology,
    report::{FollowerReport, Role},
    topology::Member,
};

use crate::plan::{LEARNER_LAG_ENTRIES, Turn, turn::members};

/// A coordinator and how many members of a configuration it reaches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach<'a> {
    /// What it says.
    pub report: &'a Report,
    /// Members of the configuration in force that it reaches, itself included where it is one.
    pub now: usize,
    /// Of the one being left.
    pub old: usize,
}

/// Whether the operator hears a replica.
pub(super) fn heard<'a>(turn: &Turn<'a>, record: &Topology, id: ReplicaId) -> Option<&'a Report> {
    let silent = turn.observed.seen(id).is_none_or(|seen| seen.silent_ms >= u64::from(record.settings.suspicion_ms));
    turn.observed.live_report(id).filter(|_| !silent)
}

/// Whether a replica counts for no quorum, because a person asked for that.
pub(crate) fn quarantined(record: &Topology, id: ReplicaId) -> bool {
    record.replica(id).is_some_and(|row| row.quarantined)
}

/// Members of either configuration that the operator hears and that take commands, in the life that is a member.
pub(crate) fn coordinators<'a>(turn: &Turn<'a>, record: &Topology) -> Vec<Reach<'a>> {
    let able = |m: Member| {
        let report = heard(turn, record, m.id)?;
        let able = report.incarnation == m.incarnation && report.role() == Role::Peer && report.serving;
        (able && !quarantined(record, m.id)).then_some(report)
    };
    let counts = |report: &Report, m: &Member| reaches(report, m) && !quarantined(record, m.id);
    let reach = |report: &'a Report| Reach {
        report,
        now: record.config.members.iter().filter(|m| counts(report, m)).count(),
        old: record.old.iter().flat_map(|old| &old.members).filter(|m| counts(report, m)).count(),
    };
    members(record).into_iter().filter_map(able).map(reach).collect()
}

/// Whether this replica reaches this member; itself it always does.
pub(crate) fn reaches(report: &Report, member: &Member) -> bool {
    let it = |f: &&FollowerReport| f.id == member.id && f.incarnation == member.incarnation;
    match report.id == member.id {
        true => report.incarnation == member.incarnation,
        false => report.followers.iter().find(it).is_some_and(|f| f.reachable),
    }
}

/// Whether nobody who is heard reaches this replica.
pub(crate) fn is_unreached(turn: &Turn<'_>, record: &Topology, id: ReplicaId) -> bool {
    let others = coordinators(turn, record);
    let mut others = others.iter().filter(|c| c.report.id != id).peekable();
    others.peek().is_some() && others.all(|c| !c.report.followers.iter().any(|f| f.id == id && f.reachable))
}

/// Whether this replica is a member that takes commands, that every other one reaches and that has nearly all that they have; what is missing.
pub(crate) fn stands(turn: &Turn<'_>, record: &Topology, id: ReplicaId) -> Result<(), String> {
    let name = turn.name(id);
    let stopped = turn.observed.seen(id).is_some_and(|seen| seen.stopped);
    let Some(report) = heard(turn, record, id).filter(|_| !stopped) else {
        return Err(format!("{name} is not heard"));
    };
    if report.leaving {
        return Err(format!("{name} was told to end"));
    }
    if !record.config.has(id, report.incarnation) {
        return Err(format!("{name} is no member yet"));
    }
    if quarantined(record, id) {
        return Err(format!("{name} is quarantined"));
    }
    if report.role() != Role::Peer || !report.serving {
        return Err(format!("{name} takes no commands yet"));
    }
    follows_everybody(turn, record, report)
}

/// Whether every coordinator reaches this replica, and it lacks next to nothing of what each has; what is missing.
pub(super) fn follows_everybody(turn: &Turn<'_>, record: &Topology, report: &Report) -> Result<(), String> {
    let name = turn.name(report.id);
    for other in coordinators(turn, record).iter().map(|c| c.report).filter(|other| other.id != report.id) {
        let row = other.followers.iter().find(|f| f.id == report.id && f.incarnation == report.incarnation);
        match row {
            Some(f) if f.reachable && f.lag_entries <= LEARNER_LAG_ENTRIES => {}
            Some(f) if f.reachable => {
                return Err(format!("{name} lacks {} entries of {}", f.lag_entries, turn.name(other.id)));
            }
            _ => return Err(format!("{} does not reach {name}", turn.name(other.id))),
        }
    }
    Ok(())
}
