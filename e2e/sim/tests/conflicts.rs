//! Every row of the table of conflicts, in the world of regions.

use trireme_conflicts::{REGIONS, Regions as Hears, Reply, play, table};
use trireme_proto::breakage::{self, Breakage};
use trireme_sim::{invariants::Violation, regions::Regions, scenario, trace::Keep};

/// How much later a step is than the one before.
const LATER_US: u64 = 5_000;

struct Hand(Regions);

fn words(violation: &Violation) -> String {
    format!("{}: {}", violation.invariant, violation.what)
}

impl Hears for Hand {
    fn ask(&mut self, region: &str, commands: &Vec<Vec<String>>) -> Result<Reply, String> {
        let at = REGIONS.iter().position(|name| *name == region).ok_or("no such region")?;
        let bytes = |words: &Vec<String>| words.iter().map(|word| word.clone().into_bytes()).collect();
        let replies = self.0.ask(at, commands.iter().map(bytes).collect()).map_err(|found| words(&found))?;
        let last = replies.last().ok_or("no command")?;
        Ok(Reply::read(last)?.ok_or("half a reply")?.0)
    }

    fn apart(&mut self) -> Result<(), String> {
        self.0.cut_off();
        Ok(())
    }

    fn together(&mut self) -> Result<(), String> {
        self.0.mend().map_err(|found| words(&found))
    }

    fn later(&mut self) -> Result<(), String> {
        self.0.wait(LATER_US).map_err(|found| words(&found))
    }
}

/// The first seeds of stores with as many regions as the table needs.
fn seeds() -> impl Iterator<Item = u64> {
    (scenario::REGIONS..).filter(|seed| scenario::Scenario::regions(*seed).len() == REGIONS.len())
}

fn play_all(seed: u64) -> Result<trireme_conflicts::Played, String> {
    let mut hand = Hand(Regions::calm(seed, Keep::Nothing).map_err(|found| words(&found))?);
    play(&table()?, "row:", &mut hand)
}

/// Stores of one and of three replicas in each region, with logs that are long enough and with some that are not.
#[test]
fn every_row_holds() {
    for seed in seeds().take(6) {
        match play_all(seed) {
            Ok(all) => assert!(all.rows > 60 && all.compared > all.rows * 3, "{all:?}"),
            Err(wrong) => panic!("seed {seed}:\n{wrong}"),
        }
    }
}

#[test]
fn rows_turn_red_where_deltas_do_not_say_what_their_origin_had_seen() {
    breakage::set(Some(Breakage::DropContext));
    let played: Vec<_> = seeds().take(6).map(play_all).collect();
    breakage::set(None);
    // Not in all stores: where logs are short, much comes as state, which says what its sender had seen.
    let wrong: Vec<String> = played.into_iter().filter_map(Result::err).collect();
    assert!(wrong.iter().any(|wrong| wrong.contains("row ")), "{wrong:?}");
}
