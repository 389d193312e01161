//! A replica that a person does not trust counts for no quorum, as long as the store's annotation names it.
//!
//! n, w and r stay: whoever is asked for a read is one of n - r + 1 others fewer than w can avoid, with the quarantined among them or not. So quarantine
//! may begin and end at any moment without anything being waited for; it only takes away what may be missing. It is therefore refused, in words, and begun
//! later, while the members that are left cannot do without that replica.

use trireme_crds::ConditionStatus;
use trireme_proto::{ReplicaId, Topology};

use super::{change::of, coordinators, members::quarantined};
use crate::{
    decision::{Decision, list},
    desired::QUARANTINE,
    plan::Turn,
};

/// Sets and ends quarantines, as far as that may be.
pub(super) fn quarantine(turn: &mut Turn<'_>, record: &Topology) {
    let asked = turn.desired.quarantine.clone();
    let mut next = record.clone();
    for row in next.replicas.iter_mut().filter(|row| row.quarantined && !asked.contains(&row.name)) {
        row.quarantined = false;
        turn.decide(Decision::Released { replica: row.name.clone() });
    }
    let mut refused = Vec::new();
    for name in &asked {
        let Some(id) = next.replicas.iter().find(|row| row.name == *name).map(|row| row.id) else {
            let names: Vec<String> = next.replicas.iter().map(|row| row.name.clone()).collect();
            refused.push((name, format!("the store has no replica of this name; it has {}", list(&names))));
            continue;
        };
        if quarantined(&next, id) {
            continue;
        }
        match without(turn, &next, id) {
            Ok(()) => {
                next.replicas.iter_mut().filter(|row| row.id == id).for_each(|row| row.quarantined = true);
                turn.decide(Decision::Quarantined { replica: name.clone() });
            }
            Err(why) => refused.push((name, why)),
        }
    }
    say(turn, &refused);
    if next.replicas != record.replicas {
        turn.record(next);
    }
}

/// Whether reads and writes go on without this replica, besides those that are quarantined already; else why not.
fn without(turn: &Turn<'_>, record: &Topology, id: ReplicaId) -> Result<(), String> {
    let able = coordinators(turn, record);
    for config in [Some(&record.config), record.old.as_ref()].into_iter().flatten() {
        if config.member(id).is_none() {
            continue;
        }
        let (n, q) = (config.members.len(), of(config, record));
        let needed = q.writes_need().max(q.reads_need()) as usize;
        let rest: Vec<ReplicaId> =
            config.members.iter().map(|m| m.id).filter(|other| *other != id && !quarantined(record, *other)).collect();
        let numbers = format!("writes need {} of {n} members, reads {}", q.writes_need(), q.reads_need());
        if rest.len() < needed {
            return Err(format!("{numbers} (w = {}, r = {}), and {} would be left", q.w, q.r, rest.len()));
        }
        let missing: Vec<ReplicaId> =
            rest.iter().copied().filter(|other| !able.iter().any(|c| c.report.id == *other)).collect();
        if rest.len() - missing.len() < needed {
            return Err(format!(
                "{numbers}, and {} would be left as long as {} cannot be reached",
                rest.len() - missing.len(),
                list(&turn.names(missing))
            ));
        }
    }
    Ok(())
}

/// Says what was asked for and is not done: as a decision when it is new.
fn say(turn: &mut Turn<'_>, refused: &[(&String, String)]) {
    let text: Vec<String> = refused.iter().map(|(name, why)| format!("{name} is not quarantined: {why}")).collect();
    let text = text.join("; ");
    if !text.is_empty() {
        turn.condition("Progressing", ConditionStatus::True, "QuarantineRefused", format!("{QUARANTINE}: {text}"));
    }
    if turn.memory.unquarantined == text {
        return;
    }
    turn.memory.unquarantined = text;
    for (name, why) in refused {
        turn.decide(Decision::Refused { what: format!("quarantine {name}"), why: why.clone() });
    }
}

/// Where somebody leads, quorums are the leader's: there is nothing to keep a replica out of.
pub(crate) fn not_here(turn: &mut Turn<'_>) {
    let why = "only in mode Leaderless can it be kept out of quorums; here delete its volume claim and its pod, and it learns everything anew";
    let asked = turn.desired.quarantine.clone();
    let refused: Vec<(&String, String)> = asked.iter().map(|name| (name, why.to_owned())).collect();
    say(turn, &refused);
}
