//! What a choice means where each region has a leader: within a region what it means with one leader, and what is between regions.

use std::fmt;

use serde::Serialize;

use super::{Explanation, replicas};
use crate::store::{Durability, Settled};

/// What a choice means. [`fmt::Display`] says it to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MultiLeaderExplanation {
    /// Regions, each with a leader.
    pub regions: u32,
    /// Replicas in all: n in each region.
    pub replicas: u32,
    /// Regions that can be cut off or down while each of the others goes on: all but one.
    pub regions_go_on_with_down: u32,
    /// What n, w and r mean within each region; its lines are those of the whole.
    #[serde(flatten)]
    pub each: Explanation,
}

/// Explains a choice. w and r outside 1 to n are taken as the nearest that is inside.
pub fn explain(settled: &Settled) -> MultiLeaderExplanation {
    let Settled { mode, n, w, r, durability, policy, .. } = *settled;
    let regions = u32::try_from(settled.regions.len()).unwrap_or(u32::MAX).max(1);
    let each = super::explain(mode, n, w, r, durability, policy);
    let mut explanation = MultiLeaderExplanation {
        regions,
        replicas: regions.saturating_mul(each.n),
        regions_go_on_with_down: regions - 1,
        each,
    };
    let mut lines = vec![first_line(&explanation)];
    lines.append(&mut explanation.each.lines);
    lines.extend(lines_between(&explanation));
    explanation.each.lines = lines;
    explanation
}

fn first_line(e: &MultiLeaderExplanation) -> String {
    let leader = if e.each.n == 1 { "which leads it" } else { "one of which leads it" };
    match e.regions {
        1 => format!("The region has {}, {leader}. Within it:", replicas(e.each.n)),
        regions => format!(
            "Each of the {regions} regions has {}, {leader}; {} in all. Within each region:",
            replicas(e.each.n),
            replicas(e.replicas)
        ),
    }
}

/// What w says nothing about.
fn lines_between(e: &MultiLeaderExplanation) -> Vec<String> {
    if e.regions == 1 {
        return vec![
            "Between regions: there is 1 region, so this is what SingleLeader does; more can be added.".to_owned(),
        ];
    }
    vec![asynchronous_line(e), lost_region_line(e), reads_line().to_owned(), conflicts_line().to_owned()]
}

fn asynchronous_line(e: &MultiLeaderExplanation) -> String {
    let (others, alone) = match e.regions {
        2 => ("the other region gets it".to_owned(), "the other one".to_owned()),
        regions => (format!("the other {} regions get it", regions - 1), format!("{} of the {regions}", regions - 1)),
    };
    format!(
        "Between regions: asynchronous. The w = {} copies of a write are in the region that took it; {others} after it is acknowledged, in the order of that region's leader. No region waits for another one: with {alone} down or cut off, a region goes on with reads and writes.",
        e.each.w
    )
}

fn lost_region_line(e: &MultiLeaderExplanation) -> String {
    let power = match (e.each.durability, e.each.n) {
        (Durability::Disk, _) => String::new(),
        (Durability::Memory, 1) => ", and of those the last second where its machine loses power".to_owned(),
        (Durability::Memory, n) => format!(", and of those the last second where its {n} machines lose power at once"),
    };
    format!(
        "A lost region: no other one leads in its place; its clients go to another region. A region that was cut off has every write that it acknowledged, and sends them when it is back. Where its disks are lost, so are the writes that no other region had received{power}."
    )
}

fn reads_line() -> &'static str {
    "Reads between regions: what another region has written is seen when it has arrived; until then what is older is read, at the leader too, whatever r is."
}

fn conflicts_line() -> &'static str {
    "Conflicts: of writes to one key in two regions, neither of which had the other's, the one with the later clock is read; increments add up, and what one region writes survives a removal by another one that had not seen it. No key is a linearizable register between regions."
}

impl fmt::Display for MultiLeaderExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &self.each;
        let regions = if self.regions == 1 { "1 region".to_owned() } else { format!("{} regions", self.regions) };
        writeln!(
            f,
            "{:?}, {regions}, in each n = {}, w = {}, r = {}, durability {:?}, {:?}",
            e.mode, e.n, e.w, e.r, e.durability, e.policy
        )?;
        for line in &e.lines {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
