//! Members, w and r move towards what is desired: one change at a time, in the order that keeps w + r > n at every moment where that is what is wanted.
//!
//! r rises first, as far as there are members to ask. Then members come and go: whoever has learnt everything joins, whoever is no longer wanted leaves, one
//! by one, the highest number first; w is then so large that w + r > n. With the members complete w rises, falls, and then r falls, once what was acknowledged
//! with a smaller w has spread. Each change of members, w or a rise of r keeps the old configuration in the record until it has been left (`leave`).

use trireme_crds::Quorums;
use trireme_proto::{
    Topology,
    breakage::{Breakage, broken},
    report::Role,
    topology::{Config, Member},
};

use super::{
    coordinators,
    leave::spread,
    lives::count,
    members::{follows_everybody, heard},
};
use crate::{decision::Decision, plan::Turn};

/// Takes the next step.
pub(super) fn change(turn: &mut Turn<'_>, record: &Topology) {
    if record.old.is_some() {
        return;
    }
    let (n, w, r) = (count(record.config.members.len()), record.config.w, record.settings.r);
    let (wanted_n, wanted_w, wanted_r) = (count(turn.desired.n()), turn.desired.w, turn.desired.settings.r);
    let strict = wanted_w + wanted_r > wanted_n;
    let most_r = wanted_r.min(n);
    if r < most_r {
        return begin(turn, record, record.config.clone(), most_r, format!("r becomes {most_r}"));
    }
    let (members, why) = members(turn, record);
    if !why.is_empty() {
        let (n1, complete) = (count(members.len()), members.len() == turn.desired.n());
        let mut w1 = if complete { wanted_w.max(w) } else { w.max(wanted_w.min(n1 / 2 + 1)) };
        if strict {
            w1 = w1.max((n1 + 1).saturating_sub(r.min(n1)));
        }
        return begin(turn, record, Config { members, w: w1.clamp(1, n1.max(1)) }, r, why);
    }
    if n != wanted_n || record.config.members.iter().any(|m| turn.desired.replica(m.id).is_none()) {
        return;
    }
    let with = |w: u32| Config { w, ..record.config.clone() };
    if w < wanted_w || (w > wanted_w && (!strict || wanted_w + r > n)) {
        return begin(turn, record, with(wanted_w), r, format!("w becomes {wanted_w}"));
    }
    if r > wanted_r {
        match spread(turn, record, &record.config, wanted_r) {
            Ok(()) => {
                let mut next = Topology { epoch: turn.next_epoch(), ..record.clone() };
                next.settings.r = wanted_r;
                decide(turn, record, &next, format!("r becomes {wanted_r}"));
                turn.record(next);
            }
            Err(why) => {
                let what = format!("r becomes {wanted_r} when enough hold every write: {why}");
                turn.decide_once("ChangeWaits", what);
            }
        }
    }
}

/// Members after the next step, and why it is one; empty where none is to be taken.
fn members(turn: &Turn<'_>, record: &Topology) -> (Vec<Member>, String) {
    let mut members = record.config.members.clone();
    let mut why = Vec::new();
    for replica in &turn.desired.replicas {
        if members.iter().any(|m| m.id == replica.id) {
            continue;
        }
        if let Some(member) = whole(turn, record, replica.id) {
            members.push(member);
            why.push(format!("{} has learnt everything", replica.name));
        }
    }
    if why.is_empty() && members.len() > 1 {
        let reached = |m: &Member| heard(turn, record, m.id).is_some();
        let unwanted = members.iter().filter(|m| turn.desired.replica(m.id).is_none());
        // Those that are not heard leave first: without the others the configuration that is left might not be able to go on.
        if let Some(extra) = unwanted.max_by_key(|m| (!reached(m), m.id)).copied() {
            members.retain(|m| *m != extra);
            why.push(format!("{} is no longer wanted", turn.name(extra.id)));
        }
    }
    members.sort();
    (members, why.join(", "))
}

/// The life of this learner that may count, if it may.
fn whole(turn: &Turn<'_>, record: &Topology, id: u32) -> Option<Member> {
    let report = heard(turn, record, id)?;
    let row = record.replica(id).filter(|row| row.incarnation == report.incarnation && !row.quarantined)?;
    let ready = report.whole && !report.origin_spent && !report.leaving && report.role() != Role::Idle;
    let known = report.topology_version >= record.version;
    (ready && known && follows_everybody(turn, record, report).is_ok())
        .then_some(Member { id, incarnation: row.incarnation })
}

/// Records the next configuration beside the one that is left, where enough of its members can be reached to work with.
fn begin(turn: &mut Turn<'_>, record: &Topology, config: Config, r: u32, why: String) {
    let mut next = Topology { epoch: turn.next_epoch(), config, ..record.clone() };
    next.settings.r = r;
    let quorums = quorums(&next);
    let needed = quorums.writes_need().max(quorums.reads_need()) as usize;
    let able = coordinators(turn, record);
    let joining = next.config.members.iter().filter(|m| record.config.member(m.id).is_none()).count();
    let standing = able.iter().filter(|c| next.config.has(c.report.id, c.report.incarnation)).count() + joining;
    if standing < needed {
        let what = format!(
            "a change to {} waits until {needed} of its members can be reached; {standing} can",
            describe(turn, &next)
        );
        return turn.decide_once("ChangeWaits", what);
    }
    next.old = Some(record.config.clone()).filter(|_| !broken(Breakage::NoDoubleSeal));
    decide(turn, record, &next, why);
    turn.record(next);
}

fn decide(turn: &mut Turn<'_>, record: &Topology, next: &Topology, why: String) {
    turn.decide(Decision::Changing { from: describe(turn, record), to: describe(turn, next), why });
}

fn describe(turn: &Turn<'_>, record: &Topology) -> String {
    format!("{}, r = {}", turn.describe(&record.config), record.settings.r)
}

/// n, w and r in force.
pub(super) fn quorums(record: &Topology) -> Quorums {
    of(&record.config, record)
}

/// n, w and r of one of the record's configurations.
pub(super) fn of(config: &Config, record: &Topology) -> Quorums {
    crate::record::quorums(count(config.members.len()), config.w, &record.settings)
}
