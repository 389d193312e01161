//! `trireme-sim`: runs seeds of the simulation, and shows what happened in one.

use std::{ops::Range, process::ExitCode, time::Instant};

use trireme_proto::breakage::{self, Breakage};
use trireme_sim::{
    campaign::{self, rule},
    invariants::Violation,
    regions::Regions,
    scenario::{Focus, Scenario, has_regions},
    trace::Keep,
    world::{Summary, World},
};

const HELP: &str = "\
Runs the simulation of a whole store.

  trireme-sim --seed S [--trace] [--break RULE]      one seed; --trace prints everything that happened
  trireme-sim --seeds A..B [--break RULE] [--all]    many seeds; stops at the first that finds something, unless --all;
                                                     with --break, those of the focus in which that rule matters

Exit status: 0 nothing found, 1 an invariant does not hold, 2 wrong arguments.";

struct Arguments {
    seeds: Range<u64>,
    trace: bool,
    all: bool,
    broken: Option<Breakage>,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments { seeds: 0..0, trace: false, all: false, broken: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
        match word.as_str() {
            "--seed" => {
                let seed = number(&value()?)?;
                found.seeds = seed..seed + 1;
            }
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once("..").ok_or_else(|| format!("{text:?} is no range: A..B"))?;
                found.seeds = number(from)?..number(to)?;
            }
            "--break" => {
                let name = value()?;
                let known: Vec<_> = Breakage::ALL.iter().map(|rule| format!("{rule:?}")).collect();
                found.broken =
                    Some(rule(&name).ok_or_else(|| format!("{name:?} is no rule; rules are {}", known.join(", ")))?);
            }
            "--trace" => found.trace = true,
            "--all" => found.all = true,
            _ => return Err(format!("{word:?} is not known")),
        }
    }
    if found.seeds.is_empty() { Err("no seeds".to_owned()) } else { Ok(found) }
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if arguments.trace { show(arguments.seeds.start, arguments.broken) } else { search(&arguments) }
}

/// Prints one seed's trace, up to its end or to the panic or violation that ended it.
fn show(seed: u64, broken: Option<Breakage>) -> ExitCode {
    breakage::set(broken);
    if has_regions(seed) {
        let mut regions = Regions::new(seed, Keep::Lines);
        println!("{}", regions.describe());
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| regions.run()));
        return tell(&regions.worlds.iter().collect::<Vec<_>>(), result);
    }
    let scenario = Scenario::new(seed);
    println!("{}", scenario.describe());
    let mut world = World::new(scenario, Keep::Lines);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    tell(&[&world], result)
}

/// What happened, in the order in which it did, and how it ended.
fn tell(worlds: &[&World], result: std::thread::Result<Result<Summary, Violation>>) -> ExitCode {
    let mut lines: Vec<&String> = worlds.iter().flat_map(|world| world.trace.lines()).collect();
    // Each begins with its time, and those of one time stay as they are.
    lines.sort_by_key(|line| line.get(..14));
    lines.iter().for_each(|line| println!("{line}"));
    match result {
        Ok(Ok(summary)) => {
            let hashes: Vec<String> = worlds.iter().map(|world| format!("{:016x}", world.trace.hash())).collect();
            println!("{summary:?}, trace {}", hashes.join(" "));
            ExitCode::SUCCESS
        }
        Ok(Err(violation)) => {
            println!("VIOLATION {}: {}", violation.invariant, violation.what);
            ExitCode::FAILURE
        }
        Err(_) => {
            println!("PANIC at {} us: see above", worlds.iter().map(|world| world.now()).max().unwrap_or(0));
            ExitCode::FAILURE
        }
    }
}

fn search(arguments: &Arguments) -> ExitCode {
    let begin = Instant::now();
    let (mut runs, mut found, mut lossy, mut down, mut undecided, mut events, mut epochs, mut operations) =
        (0_u64, 0_u64, 0, 0, 0, 0, 0, 0);
    let foci = arguments.broken.map(campaign::foci_of).filter(|_| arguments.seeds.end - arguments.seeds.start > 1);
    for seed in arguments.seeds.clone().filter(|seed| foci.as_ref().is_none_or(|foci| foci.contains(&Focus::of(*seed))))
    {
        runs += 1;
        match campaign::run(seed, arguments.broken) {
            Ok(summary) => {
                lossy += u64::from(summary.lossy);
                down += u64::from(summary.down);
                undecided += summary.undecided;
                events += summary.events;
                epochs += summary.epochs;
                operations += summary.operations.0;
            }
            Err(finding) => {
                println!("{finding}");
                found += 1;
                if !arguments.all {
                    break;
                }
            }
        }
    }
    let rate = runs as f64 / begin.elapsed().as_secs_f64();
    println!(
        "{runs} seeds, {found} findings, {rate:.0} a second; {events} events, {epochs} epochs, {operations} operations answered; {lossy} with recorded loss, {down} down for good, {undecided} keys undecided"
    );
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
