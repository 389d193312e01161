//! The simulation would notice: each safety rule, switched off, is found within a bounded number of seeds.

use trireme_proto::breakage::Breakage;
use trireme_sim::campaign::{self, Finding};
use trireme_sim::scenario::Focus;

/// Seeds of the rule's focus that may be run before it must have been found: one in eight of this range.
const SEEDS: u64 = 8 * 2_000;

/// Findings that say "slow", not "wrong", prove nothing about a safety rule.
fn proves(finding: &Finding) -> bool {
    finding.violation.invariant != "liveness"
}

fn found(rule: Breakage, focus: Focus) -> Option<(u64, Finding)> {
    let (mut first, mut runs) = (campaign::first_seed(focus), 0);
    let all = matches!(focus, Focus::Leaderless | Focus::Regions | Focus::Modes | Focus::Sessions);
    let end = first + if all { SEEDS / 8 } else { SEEDS };
    while first < end {
        let (more, finding) = campaign::first_finding(first..end, Some(focus), Some(rule));
        runs += more;
        let finding = finding?;
        if proves(&finding) {
            return Some((runs, finding));
        }
        first = finding.seed + 1;
    }
    None
}

#[test]
fn every_broken_rule_is_found() {
    let missed: Vec<(Breakage, Focus)> = Breakage::ALL
        .into_iter()
        .flat_map(|rule| campaign::foci_of(rule).into_iter().map(move |focus| (rule, focus)))
        .filter(|(rule, focus)| match found(*rule, *focus) {
            Some((runs, finding)) => {
                println!("{rule:?} in {focus:?}: after {runs} seeds, {} ({finding})", finding.violation.invariant);
                false
            }
            None => true,
        })
        .collect();
    assert!(missed.is_empty(), "not found within {} seeds each: {missed:?}", SEEDS / 8);
}
