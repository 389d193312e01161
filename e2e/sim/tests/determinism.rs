//! Before anything else: the same seed gives the same bytes. Without this no finding could be seen twice.

use trireme_sim::{
    regions::Regions,
    scenario::{MODES, REGIONS, SESSIONS, Scenario, has_regions},
    trace::Keep,
    world::{Ended, World},
};

fn lines(ended: &Ended) -> (u64, usize, Vec<String>) {
    (ended.world.trace.hash(), ended.world.history.entries.len(), ended.world.trace.lines().to_vec())
}

#[test]
fn the_same_seed_twice_gives_the_same_bytes() {
    for seed in 0..12 {
        let once = World::play(Scenario::new(seed), Keep::Lines);
        let again = World::play(Scenario::new(seed), Keep::Lines);
        let (once, again) = (lines(&once), lines(&again));
        let differs = once.2.iter().zip(&again.2).position(|(a, b)| a != b);
        assert_eq!(
            differs,
            None,
            "seed {seed}: {:?} and {:?}",
            differs.map(|at| &once.2[at]),
            differs.map(|at| &again.2[at])
        );
        assert_eq!((once.0, once.1, once.2.len()), (again.0, again.1, again.2.len()), "seed {seed}");
        assert!(once.1 > 0, "seed {seed}: clients did something");
    }
}

#[test]
fn looking_changes_nothing_and_seeds_differ() {
    let silent = World::play(Scenario::new(3), Keep::Nothing).world.trace.hash();
    let spoken = World::play(Scenario::new(3), Keep::Lines).world.trace.hash();
    let other = World::play(Scenario::new(4), Keep::Nothing).world.trace.hash();
    assert_eq!(silent, spoken);
    assert_ne!(silent, other);
}

#[test]
fn so_do_the_regions_of_one_store() {
    let hashes = |seed| {
        let mut regions = Regions::new(seed, Keep::Nothing);
        let summary = regions.run().unwrap();
        assert!(summary.operations.0 > 0, "seed {seed}: clients did something");
        regions.worlds.iter().map(|world| world.trace.hash()).collect::<Vec<_>>()
    };
    for seed in
        (REGIONS..REGIONS + 4).chain(MODES..MODES + 2).chain((SESSIONS..SESSIONS + 3).filter(|seed| has_regions(*seed)))
    {
        assert_eq!(hashes(seed), hashes(seed), "seed {seed}");
    }
    assert_ne!(hashes(REGIONS), hashes(REGIONS + 1));
}
