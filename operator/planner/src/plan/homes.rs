//! Home regions in one group's record: what it is to say of each, and when the group has ceded it.
//!
//! The leader's word counts: it obeys this version of the record, and all that it executed before is committed (`Report::settled_version`). A leader before it
//! cannot commit anything any more, and one after it obeys this record or a later one.

use trireme_proto::{
    Report, Topology,
    breakage::{Breakage, broken},
    ids::Dot,
    topology::{Ceded, Home},
};

use super::{Turn, create};
use crate::{
    decision::{Decision, list},
    homes::{self, DesiredHome},
};

/// What this group's next record is to say of homes, after this one.
pub(super) fn rows(turn: &Turn<'_>, record: &Topology) -> Vec<Home> {
    // Nobody has ever written in a group whose first record this is.
    let new = turn.observed.record.is_none() && turn.reports().all(create::blank);
    turn.desired.homes.iter().filter_map(|desired| row(turn.desired.group, desired, record, new)).collect()
}

fn row(group: u32, desired: &DesiredHome, record: &Topology, new: bool) -> Option<Home> {
    let DesiredHome { home, waits_for } = desired;
    let before = record.homes.iter().find(|row| row.is_of(home));
    let same = before.filter(|row| (row.group, row.epoch) == (home.group, home.epoch));
    if let Some(newer) = before.filter(|row| row.epoch >= home.epoch && same.is_none()) {
        return Some(newer.clone()); // What is wanted was made of older records.
    }
    if home.group == group {
        return match same {
            _ if waits_for.is_empty() => Some(home.clone()),
            Some(same) => Some(Home { accept_locally: home.accept_locally, ..same.clone() }),
            None => before.cloned(),
        };
    }
    let (after, ceded) = match (same, before) {
        (Some(same), _) => (same.after.clone(), same.ceded.clone()),
        // It has executed nothing since it ceded the home before.
        (None, Some(before)) if before.group != group => (before.after.clone(), before.ceded.clone()),
        (None, Some(before)) => (before.after.clone(), None),
        (None, None) => (Vec::new(), new.then(Ceded::default)),
    };
    Some(Home { after, ceded, ..home.clone() })
}

/// The group cedes the homes of others, once its leader executes nothing on their keys any more.
pub(super) fn cede(turn: &mut Turn<'_>, record: &Topology) {
    wait(turn, record);
    let Some(report) = turn.leading(record).filter(|report| report.serving) else { return };
    let settled = report.settled_version >= record.version || broken(Breakage::CedeUnsettled);
    let mut next = record.clone();
    let mut ceded = Vec::new();
    for home in next.homes.iter_mut().filter(|home| home.group != record.group) {
        let upto = match &home.ceded {
            None if settled => {
                let mut all = std::mem::take(&mut home.after);
                homes::merge(&mut all, &own(record, report));
                ceded.push(home.keys());
                all
            }
            // A failover was allowed to lose some of it: nobody is to wait for that.
            Some(said) if lost(record, report, &said.upto) => {
                let there = |dot: &Dot| Dot { seq: dot.seq.min(held(report, dot)), ..*dot };
                let own = |dot: &Dot| dot.origin.group == record.group;
                said.upto.iter().map(|dot| if own(dot) { there(dot) } else { *dot }).collect()
            }
            _ => continue,
        };
        home.ceded = Some(Ceded { upto });
    }
    if next == *record {
        return;
    }
    if !ceded.is_empty() {
        turn.decide(Decision::HomesCeded { region: turn.desired.region.clone(), keys: ceded });
    }
    turn.record(next);
}

/// What the group has written, under all its names.
fn own(record: &Topology, report: &Report) -> Vec<Dot> {
    let own = report.received.iter().filter(|row| row.origin.group == record.group && row.upto > 0);
    own.map(|row| Dot { origin: row.origin, seq: row.upto }).collect()
}

fn held(report: &Report, dot: &Dot) -> u64 {
    report.received.iter().find(|row| row.origin == dot.origin).map_or(0, |row| row.upto)
}

fn lost(record: &Topology, report: &Report, ceded: &[Dot]) -> bool {
    ceded.iter().any(|dot| dot.origin.group == record.group && held(report, dot) < dot.seq)
}

/// Says what keeps a home from moving here.
fn wait(turn: &mut Turn<'_>, record: &Topology) {
    let comes = |desired: &&DesiredHome| desired.home.group == record.group && !desired.waits_for.is_empty();
    let Some(desired) = turn.desired.homes.iter().find(comes) else { return };
    let what =
        format!("{} gets its home here when {} no longer writes it", desired.home.keys(), list(&desired.waits_for));
    turn.decide_once("HomeMoves", what);
}

/// Homes that this record gives to the group for the first time.
pub(super) fn note_gained(turn: &mut Turn<'_>, record: &Topology, next: &Topology) {
    let had = |home: &&Home| record.homes.iter().any(|row| row.is_of(home) && row.group == home.group);
    let gained: Vec<&Home> = next.homes.iter().filter(|home| home.group == record.group && !had(home)).collect();
    for home in gained {
        let (region, keys, epoch) = (turn.desired.region.clone(), home.keys(), home.epoch);
        turn.decide(Decision::HomeMoved { region, keys, epoch });
    }
}
