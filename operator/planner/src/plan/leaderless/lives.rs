//! Which life of each disk is known, and under which name it writes.
//!
//! A name (replica, generation) is used by one life, and never again: a new disk, or one that may have lost entries which others have seen (`origin_spent`),
//! gets the next. A member that lost what it held, its disk or with durability Memory its tail, holds no longer what it acknowledged: it leaves the
//! configuration in the same record, w stays unless fewer than w members are left, and it comes again as any learner does. Nothing is gained by waiting:
//! what was on that disk alone is lost already, and a read asks r of both configurations until the rest have told each other everything.

use trireme_crds::ConditionStatus;
use trireme_proto::{
    ReplicaId, Report, Topology,
    breakage::{Breakage, broken},
    ids::Epoch,
    report::Role,
    topology::{Config, Durability, Leaving, Member, Phase, Replica},
};

use super::members::heard;
use crate::{
    decision::{Decision, list},
    plan::Turn,
};

/// The first record: `members` were all heard. With `data` the record was lost: those that hold something are the members.
pub(crate) fn create(turn: &mut Turn<'_>, members: Vec<Member>, data: bool) {
    let epoch = turn.next_epoch();
    let w = turn.desired.w.min(count(members.len())).max(1);
    // Whoever forced it has what was asked for.
    turn.memory.requests.clear();
    let names = turn.names(members.iter().map(|m| m.id));
    turn.decide(match data {
        true => Decision::Rebuilt { members: names, epoch: epoch.to_string() },
        false => Decision::Created { members: names, w },
    });
    turn.condition("Ready", ConditionStatus::False, "Creating", "the replicas are being told of each other".to_owned());
    let mut next = Topology {
        store: turn.desired.store.clone(),
        group: turn.desired.group,
        version: 0,
        epoch,
        phase: Phase::Active as i32,
        leader: 0,
        old: None,
        config: Config { members, w },
        replicas: Vec::new(),
        generation: 1,
        handover: 0,
        settings: turn.desired.settings.clone(),
        previous_leader: 0,
        last_group: 0,
        restarting: 0,
        groups: Vec::new(),
        leaving: Leaving::Stays as i32,
        given_up: None,
        homes: Vec::new(),
    };
    next.replicas = turn.directory(&next);
    for row in &mut next.replicas {
        if let Some(report) = turn.observed.live_report(row.id) {
            (row.incarnation, row.generation) = (report.incarnation, generation(epoch));
        }
    }
    turn.record(next);
}

/// Replicas have promised more than the record says: it was restored from a backup. It goes on above what they know, and everybody gets a new name.
pub(super) fn behind(turn: &mut Turn<'_>, record: &Topology) {
    if !turn.reports().any(|report| report.promise > record.epoch) {
        return;
    }
    let mut next = Topology { epoch: turn.next_epoch(), ..record.clone() };
    for row in next.replicas.iter_mut().filter(|row| row.incarnation != 0) {
        row.generation = generation(next.epoch);
    }
    turn.decide(Decision::Refreshed { what: "the epoch, because replicas knew a later record".to_owned() });
    turn.record(next);
}

/// Gives names to lives that need one, and takes members out that lost what they held.
pub(super) fn name(turn: &mut Turn<'_>, record: &Topology) {
    let directory = turn.directory(record);
    let news: Vec<(ReplicaId, u64, News)> = directory.iter().filter_map(|row| news(turn, record, row)).collect();
    if news.is_empty() {
        return;
    }
    let mut next = Topology { epoch: turn.next_epoch(), replicas: directory, ..record.clone() };
    for (id, incarnation, what) in &news {
        let number = generation(next.epoch);
        for row in next.replicas.iter_mut().filter(|row| row.id == *id) {
            (row.incarnation, row.generation) = (*incarnation, number);
        }
        turn.decide(Decision::Named { replica: turn.name(*id), generation: number, why: what.to_string() });
    }
    if broken(Breakage::CountEmptyDisk) {
        for member in &mut next.config.members {
            member.incarnation = next.replicas.iter().find(|r| r.id == member.id).map_or(0, |r| r.incarnation);
        }
        return turn.record(next);
    }
    let lost = |m: &Member| news.iter().any(|(id, _, what)| *id == m.id && what.loses());
    let rest = |config: &Config| config.members.iter().filter(|m| !lost(m)).copied().collect::<Vec<Member>>();
    let members = rest(&record.config);
    if members.len() < record.config.members.len() {
        // In the configuration that is being left, who lost its tail may be called spent only: it is no member any more.
        let spent = |m: &Member| turn.observed.live_report(m.id).is_some_and(|report| report.origin_spent);
        let is_it = |m: &Member| record.replica(m.id).is_some_and(|row| row.incarnation == m.incarnation);
        let mut left = record.old.as_ref().map(rest).unwrap_or_default();
        left.retain(|m| is_it(m) && !(spent(m) && record.settings.durability() == Durability::Memory));
        without_the_lost(turn, record, &mut next, members, left);
    }
    turn.record(next);
}

/// What is new of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// It has been heard for the first time.
    First,
    /// Its disk is another one.
    Disk,
    /// Its machine restarted without a clean stop: entries that it sent may be gone from its own disk.
    Spent,
    /// The same, and entries that it acknowledged may be gone, too.
    Tail,
    /// It says itself that it does not hold what a member must.
    NotWhole,
}

impl News {
    fn loses(self) -> bool {
        matches!(self, News::Disk | News::Tail | News::NotWhole)
    }
}

impl std::fmt::Display for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            News::First => "it is new",
            News::Disk => "it has a new disk",
            News::Spent => "its machine restarted without a clean stop",
            News::Tail => "its machine restarted without a clean stop, and may have lost the last second of what it held in memory",
            News::NotWhole => "its state is not whole",
        })
    }
}

fn news(turn: &Turn<'_>, record: &Topology, row: &Replica) -> Option<(ReplicaId, u64, News)> {
    let report = turn.observed.live_report(row.id)?;
    let known = |what: News| Some((row.id, report.incarnation, what));
    if report.incarnation != row.incarnation {
        return known(if row.incarnation == 0 { News::First } else { News::Disk });
    }
    // What it says of its own state counts once it knows what the record says of it.
    if report.topology_version < record.version {
        return None;
    }
    let member = record.config.has(row.id, report.incarnation);
    let memory = record.settings.durability() == Durability::Memory;
    match (report.origin_spent, member) {
        (true, true) if memory => known(News::Tail),
        (true, _) => known(News::Spent),
        (false, true) if report.role() == Role::Learner && !report.whole => known(News::NotWhole),
        (false, _) => None,
    }
}

/// Members that lost what they held leave the configuration; what was in force before goes on to count until it has been left. Where all of them are lost,
/// those of the configuration that was being left are members again, `left` of them: while it counts, they have w copies of everything.
fn without_the_lost(turn: &mut Turn<'_>, record: &Topology, next: &mut Topology, rest: Vec<Member>, left: Vec<Member>) {
    let before = turn.describe(&record.config);
    let gone = record.config.members.iter().filter(|m| !rest.contains(m)).map(|m| m.id);
    let names = turn.names(gone);
    let (lost, mut why) =
        (names.len(), format!("{} lost what it held, and counts again once it has learnt it anew", list(&names)));
    let back = rest.is_empty() && !left.is_empty();
    let rest = if back { left } else { rest };
    if lost >= record.config.w as usize && !back {
        why = format!(
            "{why}; writes acknowledged with w = {} may have been on {} alone, and are lost then",
            record.config.w,
            list(&names)
        );
    }
    if rest.is_empty() {
        // There is nobody left to learn from: whoever is there begins anew.
        let heard = record.config.members.iter().filter_map(|m| heard(turn, record, m.id));
        let members: Vec<Member> = heard.map(|r: &Report| Member { id: r.id, incarnation: r.incarnation }).collect();
        next.old = None;
        next.config = Config { w: record.config.w.min(count(members.len())).max(1), members };
    } else {
        let before = record.old.as_ref().filter(|_| back).unwrap_or(&record.config);
        let w = before.w.min(count(rest.len()));
        // What is being left already stays: whatever was written since has w copies of it.
        let left = next.old.take().unwrap_or_else(|| record.config.clone());
        next.old = Some(left);
        next.config = Config { members: rest, w };
    }
    turn.decide(Decision::Changing { from: before, to: turn.describe(&next.config), why });
}

/// The generation that is given in this epoch.
fn generation(epoch: Epoch) -> u32 {
    u32::try_from(epoch.number).unwrap_or(u32::MAX)
}

pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
