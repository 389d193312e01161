//! With every rule in force, no seed finds anything.
//!
//! `TRIREME_SEEDS=10000 cargo test --release -p trireme-sim --test rules` runs more of them; `TRIREME_FIRST_SEED` begins elsewhere.

use std::{ops::Range, thread};

use trireme_sim::{
    campaign,
    scenario::{LEADERLESS, MODES, REGIONS, SESSIONS},
};

/// What all runs of a range had in them, together.
#[derive(Default)]
struct Sum {
    answered: u64,
    epochs: u64,
    compared: u64,
    down: u64,
    undecided: u64,
}

/// Runs every `step`th seed of a range.
fn run(seeds: Range<u64>, step: usize) -> Sum {
    let mut sum = Sum::default();
    for seed in seeds.step_by(step) {
        match campaign::run(seed, None) {
            Ok(summary) => {
                sum.answered += summary.operations.0 as u64;
                sum.epochs += summary.epochs as u64;
                sum.compared += summary.digests_compared;
                sum.down += u64::from(summary.down);
                sum.undecided += summary.undecided as u64;
            }
            Err(finding) => panic!("{finding}"),
        }
    }
    sum
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs a range on all processors.
fn run_all(seeds: Range<u64>) -> Vec<Sum> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let begin = |worker: usize| {
            let part = seeds.start + worker as u64..seeds.end;
            scope.spawn(move || run(part, workers))
        };
        let begun: Vec<_> = (0..workers).map(begin).collect();
        begun.into_iter().map(|worker| worker.join().expect("a seed found something, see above")).collect()
    })
}

#[test]
fn seeds_find_nothing_while_every_rule_holds() {
    let first = number("TRIREME_FIRST_SEED", 0);
    let seeds = first..first + number("TRIREME_SEEDS", 1_000);
    let parts = run_all(seeds.clone());
    let sum = |of: fn(&Sum) -> u64| parts.iter().map(of).sum::<u64>();
    let (answered, epochs, compared) = (sum(|s| s.answered), sum(|s| s.epochs), sum(|s| s.compared));
    let (down, undecided) = (sum(|s| s.down), sum(|s| s.undecided));
    // Runs in which nothing happened would find nothing, too.
    let runs = seeds.end - seeds.start;
    println!(
        "{runs} seeds: {answered} operations answered, {epochs} epochs, {compared} digests compared, {down} down for good"
    );
    // A key with many operations of unknown outcome can be too much to search: rarely.
    assert!(undecided * 20 < runs + 20, "{undecided} histories could not be decided");
    assert!(answered > runs * 50 && epochs > runs && compared > runs * 50 && down * 20 < runs + 20);
}

#[test]
fn seeds_of_stores_without_a_leader_find_nothing() {
    let first = LEADERLESS + number("TRIREME_FIRST_SEED", 0);
    let seeds = first..first + number("TRIREME_SEEDS", 1_000) / 2;
    let runs = seeds.end - seeds.start;
    let parts = run_all(seeds);
    let answered = parts.iter().map(|sum| sum.answered).sum::<u64>();
    let undecided = parts.iter().map(|sum| sum.undecided).sum::<u64>();
    let compared = parts.iter().map(|sum| sum.compared).sum::<u64>();
    println!("{runs} seeds: {answered} operations answered, {compared} digests compared");
    assert!(undecided * 20 < runs + 20, "{undecided} histories could not be decided");
    assert!(answered > runs * 50 && compared > runs * 50);
}

/// Seeds with a leader in each region find nothing, and have more than so many epochs each.
fn regions_find_nothing(first: u64, epochs_each: u64) {
    let first = first + number("TRIREME_FIRST_SEED", 0);
    let seeds = first..first + number("TRIREME_SEEDS", 1_000) / 4;
    let runs = seeds.end - seeds.start;
    let parts = run_all(seeds);
    let sum = |of: fn(&Sum) -> u64| parts.iter().map(of).sum::<u64>();
    let (answered, epochs, compared, down) =
        (sum(|s| s.answered), sum(|s| s.epochs), sum(|s| s.compared), sum(|s| s.down));
    println!(
        "{runs} seeds: {answered} operations answered, {epochs} epochs, {compared} digests compared, {down} down for good"
    );
    assert!(answered > runs * 100 && epochs > epochs_each * runs && compared > runs * 50 && down * 10 < runs + 20);
}

#[test]
fn seeds_of_stores_with_a_leader_in_each_region_find_nothing() {
    regions_find_nothing(REGIONS, 2);
}

#[test]
fn seeds_with_sessions_that_go_from_place_to_place_find_nothing() {
    let first = SESSIONS + number("TRIREME_FIRST_SEED", 0);
    let seeds = first..first + number("TRIREME_SEEDS", 1_000) / 4;
    let runs = seeds.end - seeds.start;
    let parts = run_all(seeds);
    let sum = |of: fn(&Sum) -> u64| parts.iter().map(of).sum::<u64>();
    println!("{runs} seeds: {} operations of others answered, {} epochs", sum(|s| s.answered), sum(|s| s.epochs));
    assert!(sum(|s| s.answered) > runs * 50 && sum(|s| s.epochs) > runs);
}

#[test]
fn seeds_of_stores_whose_mode_changes_find_nothing() {
    regions_find_nothing(MODES, 3);
}
