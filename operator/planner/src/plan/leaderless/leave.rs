//! When a configuration has been left, and when everything that was acknowledged has spread.
//!
//! **Known**: no coordinator can answer by the old record alone any more. Where members go or come, so many members of the old configuration know the new
//! record that those who do not are fewer than w and fewer than r of it: who knows it refuses whoever does not. Where w or r change, every member knows it:
//! a read of r = 1 asks nobody who could refuse it.
//!
//! **Spread**: what r members of the old configuration had received, taken together once the record was known, is everything acknowledged before. When
//! n - r + 1 of the new members hold it, every read finds it; and w of them do, because w copies are what was promised: with fewer, one lost disk could take
//! what was acknowledged before w rose. Until then reads ask both.

use std::collections::BTreeMap;

use trireme_proto::{
    Report, Topology,
    breakage::{Breakage, broken},
    report::OriginSeq,
    topology::{Config, Member},
};

use super::members::quarantined;
use crate::{
    decision::{Decision, list},
    plan::Turn,
};

/// Of each origin, as (replica, generation), how many entries.
pub(crate) type Spread = BTreeMap<(u32, u32), u64>;

/// Drops the configuration that was left, once nothing depends on it any more.
pub(super) fn leave(turn: &mut Turn<'_>, record: &Topology) {
    let Some(old) = &record.old else { return };
    let waits = known(turn, record, old).and_then(|()| spread(turn, record, old, record.settings.r));
    match waits {
        Ok(()) => {
            turn.decide(Decision::Changed { to: turn.describe(&record.config) });
            turn.record(Topology { old: None, ..record.clone() });
        }
        Err(why) => turn.decide_once("LeavingConfiguration", format!("{} still counts too: {why}", turn.describe(old))),
    }
}

/// Whether nobody can answer by the old record alone; else who may.
fn known(turn: &Turn<'_>, record: &Topology, old: &Config) -> Result<(), String> {
    let unaware: Vec<&Member> = old.members.iter().filter(|m| !knows(turn, record, m)).collect();
    let same_members = old.members == record.config.members;
    let spare = if same_members { 0 } else { (old.w.min(record.settings.r) as usize).saturating_sub(1) };
    if unaware.len() <= spare {
        return Ok(());
    }
    let names = turn.names(unaware.iter().map(|m| m.id));
    Err(format!("the record is not known to be known by {}", list(&names)))
}

/// Whether this member knows the record, or is no more.
fn knows(turn: &Turn<'_>, record: &Topology, member: &Member) -> bool {
    let report = turn.observed.live_report(member.id);
    report.is_some_and(|r| r.topology_version >= record.version || r.incarnation != member.incarnation)
}

/// Whether enough members hold all that was acknowledged under `old`, for reads of `r`; else what is missing. It is asked in turn after turn: what is to be
/// held is what was there when it was first asked of this version of the record.
pub(super) fn spread(turn: &mut Turn<'_>, record: &Topology, old: &Config, r: u32) -> Result<(), String> {
    if broken(Breakage::CountLearners) {
        return Ok(());
    }
    let wanted = match turn.memory.spread.take().filter(|(version, _)| *version == record.version) {
        Some((_, wanted)) => wanted,
        None => everything(turn, record, old)?,
    };
    let members = &record.config.members;
    let (n, w) = (members.len(), record.config.w as usize);
    let r = (r as usize).min(n);
    let needed = if w + r > n { w.max(n + 1 - r) } else { w }.min(n);
    let lacking: Vec<&Member> =
        members.iter().filter(|m| quarantined(record, m.id) || !holds(turn, m, &wanted)).collect();
    turn.memory.spread = Some((record.version, wanted));
    if n - lacking.len() >= needed {
        return Ok(());
    }
    let names = turn.names(lacking.iter().map(|m| m.id));
    Err(format!(
        "{needed} of {n} members must hold everything that was acknowledged before; that is not known of {}",
        list(&names)
    ))
}

/// All that members of the old configuration have received.
fn everything(turn: &Turn<'_>, record: &Topology, old: &Config) -> Result<Spread, String> {
    let answers: Vec<&Report> = old.members.iter().filter_map(|m| answer(turn, m)).collect();
    let gone = old.members.iter().filter(|m| is_gone(turn, m)).count();
    let needed = (record.settings.r as usize).min(old.members.len() - gone).max(1);
    if answers.len() < needed {
        let missing = old.members.iter().filter(|m| answer(turn, m).is_none() && !is_gone(turn, m)).map(|m| m.id);
        let names = turn.names(missing);
        return Err(format!("{needed} members must say what they hold; nothing is heard of {}", list(&names)));
    }
    let mut all = Spread::new();
    for report in &answers {
        for part in &report.received {
            // Of an origin that is there itself, what it has is everything. Else what lies beyond a gap cannot be said by a number.
            let itself = answers.iter().any(|r| r.id == part.origin.group && r.id != report.id);
            if part.gaps > 0 && !itself {
                return Err(format!("{} waits for entries of {}", turn.name(report.id), turn.name(part.origin.group)));
            }
            let upto = all.entry(name(part)).or_default();
            *upto = (*upto).max(part.upto);
        }
    }
    Ok(all)
}

fn name(part: &OriginSeq) -> (u32, u32) {
    (part.origin.group, part.origin.generation)
}

/// What this life of a member says.
fn answer<'a>(turn: &Turn<'a>, member: &Member) -> Option<&'a Report> {
    turn.observed.live_report(member.id).filter(|report| report.incarnation == member.incarnation)
}

/// Whether another life has taken this one's place: what it held is gone.
fn is_gone(turn: &Turn<'_>, member: &Member) -> bool {
    turn.observed.live_report(member.id).is_some_and(|report| report.incarnation != member.incarnation)
}

fn holds(turn: &Turn<'_>, member: &Member, wanted: &Spread) -> bool {
    let Some(report) = answer(turn, member) else { return false };
    wanted.iter().all(|(origin, upto)| {
        *upto == 0 || report.received.iter().any(|part| name(part) == *origin && part.upto >= *upto)
    })
}
