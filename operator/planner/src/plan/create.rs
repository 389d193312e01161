//! There is no record: the group is new, or its record was lost.
//!
//! A new group waits for every replica: only then is it certain that none of them holds data (an empty member must never wipe a full one). Where one
//! does, the record was lost, and it is rebuilt. The configuration that was in force is then unknown, so **every** wanted replica must be heard, which
//! is enough for every possible seal; those that hold something are the members, and the epoch is above all that were seen. Replicas that are blank may
//! have been members that lost their disk: where w or more are, acknowledged entries may have been lost with them, and `NeverLose` waits for a person.
//!
//! Where other regions have groups, too, a group without a record may have had one, and have lost it together with all its disks: then others hold what it
//! wrote, under names that are not to be used again. So each of them is heard first: its leader says of which generations it holds anything, or all its
//! replicas are new.

use trireme_crds::{ConditionStatus, Policy};
use trireme_proto::{
    Position, Report, Topology,
    ids::Epoch,
    topology::{Config, Group, Leaving, Member, Phase},
};

use super::{Change, MemberPhase, Turn, leaderless};
use crate::{
    decision::{Cause, Decision, list},
    edges,
    observed::HumanRequest,
};

/// Whether a replica has never been part of anything.
pub(super) fn blank(report: &Report) -> bool {
    report.promise == Epoch::ZERO && report.last == Position::ZERO && report.topology_version == 0
}

/// Writes the first record once every replica was heard.
pub(crate) fn create(turn: &mut Turn<'_>) {
    let heard: Vec<(u32, &Report)> =
        turn.desired.replicas.iter().filter_map(|r| Some((r.id, turn.observed.live_report(r.id)?))).collect();
    let forced = turn.memory.requests.iter().any(|r| matches!(r, HumanRequest::Promote { force: true, .. }));
    let data = turn.reports().any(|report| !blank(report));
    if heard.len() < turn.desired.n() && !(forced && data && !heard.is_empty()) {
        let missing: Vec<String> = turn
            .desired
            .replicas
            .iter()
            .filter(|r| !heard.iter().any(|(id, _)| *id == r.id))
            .map(|r| r.name.clone())
            .collect();
        let why = if data {
            "the record was lost; to rebuild it, every replica must be heard"
        } else {
            "a new group waits for every replica"
        };
        return turn.waiting(
            "ReplicasMissing",
            &format!("{why}: {} of {} are, missing {}", heard.len(), turn.desired.n(), list(&missing)),
        );
    }
    let unheard = unheard_elsewhere(turn);
    if !data && !unheard.is_empty() {
        let what = "a group without a record waits until every other region has said what it holds of an earlier one";
        return turn.waiting("RegionsMissing", &format!("{what}: missing {}", list(&unheard)));
    }
    let blanks = heard.iter().filter(|(_, report)| blank(report)).count();
    if data && blanks >= turn.desired.w as usize && !forced && turn.desired.failover.policy == Policy::NeverLose {
        let what = format!(
            "the record was lost and {blanks} of {} replicas are empty: with w = {} acknowledged writes may have been on those alone; \
             promote one of the others by force to go on without",
            turn.desired.n(),
            turn.desired.w
        );
        return turn.waiting("LossPossible", &what);
    }
    let members: Vec<Member> = heard
        .iter()
        .filter(|(_, report)| !data || !blank(report))
        .map(|(id, report)| Member { id: *id, incarnation: report.incarnation })
        .collect();
    if members.is_empty() {
        return turn.waiting("ReplicasMissing", "the record was lost, and no replica that holds data is connected");
    }
    match turn.leaderless() {
        true => leaderless::create(turn, members, data),
        false => first_record(turn, members, data),
    }
}

/// Other regions of which it is not known what they hold of this group.
fn unheard_elsewhere(turn: &Turn<'_>) -> Vec<String> {
    let heard = |group: &&Group| {
        let mut known = group.replicas.iter().filter_map(|row| turn.observed.elsewhere.get(&row.id));
        turn.observed.leader_elsewhere(group).is_some()
            || known.all(|seen| seen.alive && seen.report.as_ref().is_some_and(blank))
    };
    if turn.desired.edge {
        let nobody = turn.desired.others.is_empty();
        return nobody.then(|| "all of them, and one is enough".to_owned()).into_iter().collect();
    }
    // Of what only an edge holds nobody can know.
    let others = turn.desired.others.iter().filter(|group| !group.is_edge());
    others.filter(|group| !heard(group)).map(|group| group.region.clone()).collect()
}

/// The highest generation of this group under which another region holds anything.
fn generation_elsewhere(turn: &Turn<'_>) -> u32 {
    let leaders = turn.desired.others.iter().filter_map(|group| turn.observed.leader_elsewhere(group));
    let origins = leaders.flat_map(|report| &report.received).map(|seen| seen.origin);
    origins.filter(|origin| origin.group == turn.desired.group).map(|origin| origin.generation).max().unwrap_or(0)
}

fn first_record(turn: &mut Turn<'_>, members: Vec<Member>, data: bool) {
    let (mut epoch, mut unused) = (turn.next_epoch(), generation_elsewhere(turn).saturating_add(1));
    if turn.desired.edge {
        unused = members.iter().map(|member| edges::first_generation(member.incarnation)).fold(unused, u32::max);
    }
    // Each rise of the generation is a rise of the epoch, too, so the epoch's number is a generation that was never used, and is to go on being one.
    epoch.number = epoch.number.max(unused.into());
    let generation = if data { u32::try_from(epoch.number).unwrap_or(u32::MAX) } else { unused };
    let w = turn.desired.w.min(u32::try_from(members.len()).unwrap_or(u32::MAX)).max(1);
    let names = turn.names(members.iter().map(|m| m.id));
    turn.decide(if data {
        Decision::Rebuilt { members: names, epoch: epoch.to_string() }
    } else {
        Decision::Created { members: names, w }
    });
    turn.condition("Ready", ConditionStatus::False, "Creating", "the first leader is being chosen".to_owned());
    turn.memory.began(Change {
        at_wall_ms: turn.observed.wall_ms,
        began_ms: turn.now_ms,
        cause: if data { Cause::RecordLost } else { Cause::Creation },
        from: 0,
        to: 0,
        epoch,
        after: None,
        phase: MemberPhase::Sealing,
        detect_ms: None,
        seal_ms: None,
        active_ms: None,
        write_gap_ms: None,
        at_risk: 0,
        may_have_lost: false,
        forced: false,
        recovered: 0,
        cut: 0,
    });
    turn.record(Topology {
        store: turn.desired.store.clone(),
        group: turn.desired.group,
        version: 0,
        epoch,
        phase: Phase::Sealing as i32,
        leader: 0,
        // What was in force is unknown: until the new leader serves, every one of them must be sealed, as if w had been 1.
        old: data.then(|| Config { members: members.clone(), w: 1 }),
        config: Config { members, w },
        generation,
        handover: 0,
        settings: turn.desired.settings.clone(),
        previous_leader: 0,
        restarting: 0,
        // Addresses, and the store's other groups and homes, are filled in by whoever records it.
        replicas: Vec::new(),
        groups: Vec::new(),
        leaving: Leaving::Stays as i32,
        given_up: None,
        homes: Vec::new(),
        last_group: 0,
    });
}
