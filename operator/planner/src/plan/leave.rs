//! A region is taken away from a store whose regions have a leader each.
//!
//! ```text
//!   Stays ──▶ Drains   its leader takes no more writes; what it has committed goes to the regions that stay
//!         ◀──          it is wanted again
//!   Drains ─▶ Gone     each region that stays has said that it holds all of it, or a person gave it up: the others let go of it, and its replicas end
//!   Gone ───▶ Ended    nothing is left of it: its name can be used again, its number never is
//! ```
//!
//! That the group has written its last is what its leader says of the very record that closed it: whoever leads later reads in the record that it is closed,
//! and nobody opens it again but by a newer one. What others hold is what their leaders say that their own groups have committed. Of what third regions wrote,
//! this one may hold entries that their own region does not have any more: of groups that do not stay, and of earlier generations. They have to be held, too.

use trireme_crds::ConditionStatus;
use trireme_proto::{
    Report, Topology,
    breakage::{Breakage, broken},
    ids::Origin,
    topology::{Group, Leaving, Mode},
};

use super::Turn;
use crate::{
    decision::{Decision, list},
    desired::GIVE_UP,
};

/// Reason of the condition while a region is on its way out.
const REASON: &str = "RegionLeaves";

/// With a leader chosen: begins, takes back, or completes what is to become of the region.
pub(crate) fn leave(turn: &mut Turn<'_>, record: &Topology) {
    let region = turn.desired.region.clone();
    match (turn.desired.leaving, record.leaving()) {
        (false, Leaving::Drains) => {
            turn.decide(Decision::Kept { region });
            turn.record(Topology { leaving: Leaving::Stays as i32, ..record.clone() });
        }
        (true, Leaving::Stays) => {
            turn.decide(Decision::Draining { region, stay: staying(turn).map(|group| group.region.clone()).collect() });
            turn.record(Topology { leaving: Leaving::Drains as i32, ..record.clone() });
        }
        (true, Leaving::Drains) => match drained(turn, record) {
            Ok(held_by) => {
                turn.decide(Decision::Left { region, held_by, given_up: None });
                turn.record(Topology { leaving: Leaving::Gone as i32, ..record.clone() });
            }
            Err(why) => turn.decide_once(REASON, format!("the region {region} leaves, and {why}")),
        },
        _ => {}
    }
}

/// While nobody leads: nothing can be drained.
pub(crate) fn wait(turn: &mut Turn<'_>) {
    if turn.desired.leaving {
        let region = &turn.desired.region;
        let what = format!("the region {region} leaves, and {}", undrainable(region));
        turn.decide_once(REASON, what);
    }
}

/// A person gave up what no other region has: the region leaves as it is. Says whether it does.
pub(crate) fn give_up(turn: &mut Turn<'_>, record: &Topology) -> bool {
    if !turn.desired.given_up || turn.desired.paused {
        return false;
    }
    let region = turn.desired.region.clone();
    if let Ok(held_by) = drained(turn, record) {
        turn.decide(Decision::Left { region, held_by, given_up: None });
        turn.record(Topology { leaving: Leaving::Gone as i32, ..record.clone() });
        return true;
    }
    let entries = alone(turn, record);
    turn.decide(Decision::Left { region, held_by: Vec::new(), given_up: Some(entries) });
    turn.record(Topology { leaving: Leaving::Gone as i32, given_up: Some(entries), ..record.clone() });
    true
}

/// It has left: once nothing is left of it, that is recorded.
pub(crate) fn gone(turn: &mut Turn<'_>, record: &Topology) {
    let region = turn.desired.region.clone();
    turn.condition("Ready", ConditionStatus::True, "RegionGone", format!("the region {region} has left the store"));
    turn.condition("Degraded", ConditionStatus::False, "Complete", format!("the region {region} has left the store"));
    if record.leaving() == Leaving::Ended || turn.desired.paused {
        return;
    }
    if turn.observed.remains.is_empty() {
        turn.decide(Decision::Ended { region });
        return turn.record(Topology { leaving: Leaving::Ended as i32, ..record.clone() });
    }
    let left = list(&turn.observed.remains);
    turn.decide_once("RegionEnds", format!("the region {region} has left the store; {left} is still there"));
}

/// The groups that are to hold what this one has.
fn staying<'a>(turn: &Turn<'a>) -> impl Iterator<Item = &'a Group> + use<'a> {
    let desired = turn.desired;
    desired.others.iter().filter(|group| !group.leaving && !group.is_edge())
}

/// What to do where nobody speaks for the region.
fn undrainable(region: &str) -> String {
    format!(
        "its leader does not serve: what the others lack of its writes can come from nobody else. If it does not come back, the annotation {GIVE_UP}: {region} gives it up, with what only it has"
    )
}

/// The regions that hold everything that has to be held, or what is waited for.
fn drained(turn: &Turn<'_>, record: &Topology) -> Result<Vec<String>, String> {
    let region = &turn.desired.region;
    let Some(report) = turn.leading(record).filter(|report| report.serving) else { return Err(undrainable(region)) };
    let stay: Vec<&Group> = staying(turn).collect();
    if stay.is_empty() {
        return Err("there is no region that stays".to_owned());
    }
    let names = || stay.iter().map(|group| group.region.clone()).collect();
    if broken(Breakage::LeaveUndrained) {
        return Ok(names());
    }
    let closed = report.closed && record.leaving() == Leaving::Drains && report.topology_version >= record.version;
    if !closed {
        return Err("its leader completes the last writes".to_owned());
    }
    let mut waits = Vec::new();
    for group in &stay {
        match turn.observed.leader_elsewhere(group).map(|theirs| lacks(report, theirs, &stay)) {
            None => waits.push(format!("{} (whose leader is not heard)", group.region)),
            Some(0) => {}
            Some(entries) => waits.push(format!("{} ({entries} to go)", group.region)),
        }
    }
    if waits.is_empty() {
        return Ok(names());
    }
    Err(format!(
        "takes no more writes; it waits until all that it has acknowledged is held by {}. To go without that, the annotation {GIVE_UP}: {region} gives it up, with what only it has",
        list(&waits)
    ))
}

/// How many entries another region lacks of those that this one must not take with it.
fn lacks(mine: &Report, theirs: &Report, stay: &[&Group]) -> u64 {
    let newest = |group: u32| mine.received.iter().map(|seen| seen.origin).filter(|origin| origin.group == group).max();
    let elsewhere =
        |origin: Origin| stay.iter().any(|group| group.group == origin.group) && newest(origin.group) == Some(origin);
    let kept = mine.received.iter().filter(|seen| !elsewhere(seen.origin));
    kept.map(|seen| seen.upto.saturating_sub(upto(theirs, seen.origin))).sum()
}

fn upto(report: &Report, origin: Origin) -> u64 {
    report.received.iter().find(|seen| seen.origin == origin).map_or(0, |seen| seen.upto)
}

/// Notes what this group says that it has written: whoever asks when its disks are gone is not told by it any more.
pub(crate) fn note_written(turn: &mut Turn<'_>) {
    let observed = turn.observed;
    let reports = observed.replicas.values().filter_map(|seen| seen.report.as_ref());
    for seen in reports
        .flat_map(|report| &report.received)
        .filter(|seen| seen.origin.group == turn.desired.group && turn.desired.settings.mode() == Mode::MultiLeader)
    {
        let most = turn.memory.written.entry(seen.origin).or_default();
        *most = seen.upto.max(*most);
    }
}

/// Of how many entries of this group it is known that it held them, and that no region whose leader is heard does. What it took after it was last heard is not
/// known of.
pub(crate) fn alone(turn: &Turn<'_>, record: &Topology) -> u64 {
    let leaders = || turn.desired.others.iter().filter_map(|group| turn.observed.leader_elsewhere(group));
    let held = |origin| leaders().map(|report| upto(report, origin)).max().unwrap_or(0);
    let by_itself = turn.memory.written.iter().map(|(origin, seen)| seen.saturating_sub(held(*origin))).sum();
    let feed = |report: &Report| report.feeds.iter().find(|feed| feed.group == record.group).map(|feed| feed.lacks);
    let by_others = leaders().filter_map(feed).min().unwrap_or(0);
    by_others.max(by_itself)
}
