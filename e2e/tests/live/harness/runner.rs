//! Runs the tests, one at a time: they share a cluster, and what they measure.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

use super::{Failure, Outcome, Stage, ensure, figures, operator, shell};

/// One test.
pub struct Case {
    /// Its name, also of its namespace.
    pub name: &'static str,
    /// It breaks machines, networks or processes, which needs the faults of `e2e/cluster`.
    pub faults: bool,
    /// What it does.
    pub run: fn(&Stage) -> Outcome,
}

/// What was asked for on the command line.
#[derive(Debug, Default)]
struct Options {
    list: bool,
    exact: bool,
    write_readme: bool,
    filters: Vec<String>,
    skip: Vec<String>,
}

const USAGE: &str = "options: [--list] [--exact] [--skip PART] [--write-readme] [PART...]: runs tests whose names contain PART. \
     LIVE_LONG=1: longer faults. LIVE_KEEP=1: leaves the operator, and the namespaces of tests that failed. LIVE_FIGURES=FILE: where figures go. TRIREME_CLUSTER=FOLDER: where \
     faults are (e2e/cluster/exec sets it).";

/// Whether the operator is left in the end, and the namespaces of tests that failed.
pub fn keep() -> bool {
    std::env::var("LIVE_KEEP").is_ok_and(|value| value == "1")
}

/// Whether there is time for longer faults.
pub fn long() -> bool {
    std::env::var("LIVE_LONG").is_ok_and(|value| value == "1")
}

/// Runs what the command line asks for.
pub fn main(cases: &[&Case]) -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(failure) => {
            eprintln!("{failure}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if options.write_readme {
        return ended(figures::write_readme());
    }
    let chosen: Vec<&&Case> = cases.iter().filter(|case| options.chooses(case.name)).collect();
    if options.list {
        chosen.iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    ended(run(&chosen, cases.len()))
}

fn ended(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: impl Iterator<Item = String>) -> Outcome<Options> {
    let (mut options, mut arguments) = (Options::default(), arguments);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => options.list = true,
            "--exact" => options.exact = true,
            "--write-readme" => options.write_readme = true,
            "--skip" => options.skip.extend(arguments.next()),
            // What cargo's own harness knows, and what changes nothing here: tests run one at a time, and print what they do.
            "--quiet" | "-q" | "--nocapture" | "--show-output" | "--test-threads=1" => {}
            unknown if unknown.starts_with('-') => return Err(Failure(format!("unknown option {unknown}"))),
            _ => options.filters.push(argument),
        }
    }
    Ok(options)
}

impl Options {
    fn chooses(&self, name: &str) -> bool {
        let fits = |part: &String| if self.exact { name == part } else { name.contains(part.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skip.iter().any(fits)
    }
}

fn run(chosen: &[&&Case], all: usize) -> Outcome {
    let began = Instant::now();
    shell::kubectl(&["get", "--raw", "/readyz"])?;
    operator::install()?;
    println!("the operator is installed after {:.1} s; {} of {all} tests", began.elapsed().as_secs_f32(), chosen.len());
    let (mut passed, mut failed, mut left_out) = (0, Vec::new(), Vec::new());
    for case in chosen {
        if case.faults && shell::faults().is_none() {
            println!("test {} ... not run: it needs TRIREME_CLUSTER, the folder of the cluster's faults", case.name);
            left_out.push(case.name);
            continue;
        }
        println!("test {} ...", case.name);
        let began = Instant::now();
        let outcome = one(case);
        let took = began.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("test {} ... ok ({took:.1} s)", case.name);
            }
            Err(failure) => {
                println!("test {} ... FAILED ({took:.1} s): {failure}", case.name);
                failed.push(case.name);
            }
        }
    }
    figures::save()?;
    println!(
        "\ntest result: {passed} passed; {} failed; {} not run; finished in {:.0} s",
        failed.len(),
        left_out.len(),
        began.elapsed().as_secs_f32()
    );
    if !keep() {
        operator::uninstall()?;
    }
    ensure(failed.is_empty(), || format!("failed: {}", failed.join(", ")))
}

/// One test in its namespace; afterwards the operator must have been allowed everything that it asked for, and still be the same process.
fn one(case: &Case) -> Outcome {
    let since = shell::run("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"], None)?;
    let mut stage = Stage::new(case.name)?;
    let outcome = catch_unwind(AssertUnwindSafe(|| (case.run)(&stage)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(Failure(text.unwrap_or_else(|| "it panicked".to_owned())))
    });
    if outcome.is_err() {
        mend();
    }
    let outcome = outcome.and_then(|()| operator::was_refused_nothing(since.trim()));
    stage.failed = outcome.is_err();
    outcome
}

/// After a test that ended in the middle: whatever is broken is mended, so that the next one can be believed.
fn mend() {
    if shell::faults().is_none() {
        return;
    }
    for arguments in [
        &["etcd", "up"][..],
        &["api", "up"],
        &["heal", "n1"],
        &["heal", "n2"],
        &["heal", "n3"],
        &["start-node", "n1"],
        &["start-node", "n2"],
        &["start-node", "n3"],
    ] {
        if let Err(failure) = shell::fault(arguments) {
            println!("    {failure}");
        }
    }
}
