//! With every rule in force, no seed finds anything.
//!
//! `TRIREME_SEEDS=10000 cargo test --release -p trireme-sim --test rules` runs more of them; `TRIREME_FIRST_SEED` begins elsewhere.

use trireme_sim::campaign;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn seeds_find_nothing_while_every_rule_holds() {
    let first = number("TRIREME_FIRST_SEED", 0);
    let seeds = first..first + number("TRIREME_SEEDS", 300);
    let (mut answered, mut epochs, mut compared, mut down, mut undecided) = (0, 0, 0, 0, 0);
    for seed in seeds.clone() {
        match campaign::run(seed, None) {
            Ok(summary) => {
                answered += summary.operations.0;
                epochs += summary.epochs;
                compared += summary.digests_compared;
                down += u64::from(summary.down);
                undecided += summary.undecided as u64;
            }
            Err(finding) => panic!("{finding}"),
        }
    }
    // Runs in which nothing happened would find nothing, too.
    let runs = seeds.end - seeds.start;
    println!(
        "{runs} seeds: {answered} operations answered, {epochs} epochs, {compared} digests compared, {down} down for good"
    );
    // A key with many operations of unknown outcome can be too much to search: rarely.
    assert!(undecided * 20 < runs + 20, "{undecided} histories could not be decided");
    assert!(answered as u64 > runs * 50 && epochs as u64 > runs && compared > runs * 50 && down * 20 < runs + 20);
}
