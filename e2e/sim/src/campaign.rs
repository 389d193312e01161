//! Many seeds, one after the other; and how to see one of them again.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use trireme_proto::breakage::{self, Breakage};

use crate::{
    invariants::Violation,
    regions,
    scenario::{Focus, LEADERLESS, MODES, REGIONS, SESSIONS, Scenario, has_regions},
    trace::Keep,
    world::{Summary, World},
};

/// A seed that found something.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which.
    pub seed: u64,
    /// What.
    pub violation: Violation,
    /// The command that shows it again, with its trace.
    pub command: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "seed {}: {}: {}\n  see it again: {}",
            self.seed, self.violation.invariant, self.violation.what, self.command
        )
    }
}

/// Runs one seed. A panic, of the replica or of the world, is a finding like any other.
///
/// # Errors
/// What it found.
pub fn run(seed: u64, broken: Option<Breakage>) -> Result<Summary, Finding> {
    breakage::set(broken);
    let play = || match has_regions(seed) {
        true => regions::play(seed, Keep::Nothing),
        false => World::play(Scenario::new(seed), Keep::Nothing).result,
    };
    let result = catch_unwind(AssertUnwindSafe(play));
    breakage::set(None);
    let result = result.unwrap_or_else(|panic| Err(Violation { invariant: "panic", what: message(panic.as_ref()) }));
    result.map_err(|violation| Finding { seed, violation, command: command(seed, broken) })
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}

fn command(seed: u64, broken: Option<Breakage>) -> String {
    let rule = broken.map_or(String::new(), |rule| format!(" --break {rule:?}"));
    format!("cargo run --release -p trireme-sim -- --seed {seed}{rule} --trace")
}

/// Where a broken rule has to be found: with a leader, without one, or in both.
pub fn foci_of(rule: Breakage) -> Vec<Focus> {
    let first = focus_of(rule);
    let too = match rule {
        Breakage::NoDoubleSeal
        | Breakage::SealNewOnly
        | Breakage::SealOldOnly
        | Breakage::CountLearners
        | Breakage::CountEmptyDisk
        | Breakage::RestartSeveral
        | Breakage::ReplaceTheLast => Some(Focus::Leaderless),
        Breakage::DropContext => Some(Focus::Regions),
        _ => None,
    };
    [Some(first), too].into_iter().flatten().collect()
}

/// The focus in which a broken rule shows soonest.
fn focus_of(rule: Breakage) -> Focus {
    match rule {
        Breakage::NoLeaseWait | Breakage::NoLeaseCheck | Breakage::AnswerBeforeCommit => Focus::Leases,
        Breakage::SealOneLess
        | Breakage::ChooseBySeqAlone
        | Breakage::NoStartEntry
        | Breakage::NoUndo
        | Breakage::ObeyOldEpochs
        | Breakage::ExecuteBeforeStart
        | Breakage::KeepDivergentSuffix => Focus::Elections,
        Breakage::NoDoubleSeal | Breakage::SealNewOnly | Breakage::SealOldOnly | Breakage::CountLearners => {
            Focus::Changes
        }
        Breakage::RestartSeveral | Breakage::ReplaceTheLast => Focus::Upkeep,
        Breakage::AnswerRepeatedEarly
        | Breakage::ForgetRequests
        | Breakage::ReadBehindSession
        | Breakage::IgnoreWatch => Focus::Requests,
        Breakage::AnswerBeforeFsync | Breakage::PromiseBeforeFsync | Breakage::CountEmptyDisk => Focus::Disks,
        Breakage::NoClockRound
        | Breakage::BlindRemovals
        | Breakage::NoReadRepair
        | Breakage::AcknowledgeEarly
        | Breakage::LearnersInQuorums
        | Breakage::DropContext
        | Breakage::HalfDigest
        | Breakage::ReuseNames
        | Breakage::TrustSlots
        | Breakage::TrustCompared => Focus::Leaderless,
        Breakage::ShipUncommitted
        | Breakage::LandEarly
        | Breakage::WriteWhileLeaving
        | Breakage::LeaveUndrained
        | Breakage::WriteAway
        | Breakage::HomeUnseen
        | Breakage::CedeUnsettled
        | Breakage::MoveHomeEarly
        | Breakage::EdgeAsBefore
        | Breakage::ShowPartial => Focus::Regions,
        Breakage::ModeWithoutEpoch => Focus::Modes,
        Breakage::ReadBehindToken | Breakage::WriteBehindToken | Breakage::ShowBeforeCause => Focus::Sessions,
    }
}

/// The first seed of a focus.
pub fn first_seed(focus: Focus) -> u64 {
    match focus {
        Focus::Leaderless => LEADERLESS,
        Focus::Regions => REGIONS,
        Focus::Modes => MODES,
        Focus::Sessions => SESSIONS,
        _ => 0,
    }
}

/// Runs seeds, of one focus or of all, until one finds something; says how many were run.
pub fn first_finding(seeds: Range<u64>, focus: Option<Focus>, broken: Option<Breakage>) -> (u64, Option<Finding>) {
    let mut runs = 0;
    for seed in seeds.filter(|seed| focus.is_none_or(|focus| Focus::of(*seed) == focus)) {
        runs += 1;
        if let Err(finding) = run(seed, broken) {
            return (runs, Some(finding));
        }
    }
    (runs, None)
}

/// The rule of this name.
pub fn rule(name: &str) -> Option<Breakage> {
    Breakage::ALL.into_iter().find(|rule| format!("{rule:?}").eq_ignore_ascii_case(name))
}
