//! `trireme-bench`: Trireme and its peers side by side.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use trireme_bench::{
    compare::{Scenario, Settings, machine, table},
    peers,
};

/// Set by SIGINT and SIGTERM: everything started is ended, then the program.
static STOP: AtomicBool = AtomicBool::new(false);

/// Measures Trireme beside its peers.
#[derive(Debug, Parser)]
#[command(name = "trireme-bench", version)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs the same load against Trireme, redis-server and etcd, in turns, and prints medians and ratios.
    Compare(Compare),
    /// Answers whatever comes: a peer of the comparison.
    #[command(hide = true)]
    Echo {
        /// Where it listens, on loopback.
        #[arg(long)]
        port: u16,
    },
}

#[derive(Debug, Args)]
struct Compare {
    /// Turns that each contender gets.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Length of a turn.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// How many leaders are killed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    kills: u16,
    /// Pairs in the store that is started again.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pairs: u64,
    /// Only these, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = scenario)]
    only: Vec<Scenario>,
    /// Where all data goes, on a real disk; the system's folder for temporary files if not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The `trireme` program; if not given, it is built.
    #[arg(long)]
    trireme: Option<PathBuf>,
    /// Put the table into the README; with --only these rows, with today's date.
    #[arg(long)]
    write_readme: bool,
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let names: Vec<&str> = Scenario::ALL.iter().map(|scenario| scenario.name()).collect();
    let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
    found.ok_or_else(|| format!("there are {}", names.join(", ")))
}

fn main() -> ExitCode {
    let result = match Options::parse().what {
        What::Compare(options) => listen_for_signals().and_then(|()| compare(&options)),
        What::Echo { port } => peers::echo::serve(port).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("trireme-bench: {message}");
            ExitCode::from(2)
        }
    }
}

/// Sets [`STOP`] on SIGINT and SIGTERM.
fn listen_for_signals() -> Result<(), String> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let listen = |kind| signal(kind).map_err(|error| error.to_string());
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            STOP.store(true, Ordering::Relaxed);
            eprintln!("trireme-bench: ending what was started");
            std::future::pending::<()>().await;
        });
    });
    Ok(())
}

/// Runs all that was asked for; true if every goal was reached.
fn compare(options: &Compare) -> Result<bool, String> {
    if !(options.seconds.is_finite() && options.seconds > 0.0 && options.seconds < 3600.0) {
        return Err("--seconds must be above 0 and below 3600".into());
    }
    let folder = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let redis = peers::version("redis-server", peers::redis::PACKAGE)?;
    let redis =
        redis.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("of unknown version").to_owned();
    let etcd = peers::version("etcd", peers::etcd::PACKAGE)?.replace("etcd Version: ", "");
    let settings = Settings {
        trireme: options.trireme.clone().map_or_else(build, Ok)?,
        rounds: usize::from(options.rounds),
        turn: Duration::from_secs_f64(options.seconds),
        kills: usize::from(options.kills),
        pairs: options.pairs,
        folder,
    };
    let heading = format!(
        "{}: {}; redis {redis}, etcd {etcd}. 50 connections, 16-byte keys, 100-byte values; three replicas and the client share the cores; \
         {} rounds of {} s in turns.",
        machine::today(),
        machine::describe(&settings.folder)?,
        settings.rounds,
        options.seconds,
    );
    eprintln!("{heading}");
    let wanted: &[Scenario] = if options.only.is_empty() { &Scenario::ALL } else { &options.only };
    let (mut rows, mut failed) = (Vec::new(), false);
    for scenario in wanted {
        let name = scenario.name();
        match scenario.measure(&settings, &STOP, &mut |line| eprintln!("{name}: {line}")) {
            Ok(row) => rows.push(row),
            Err(error) if STOP.load(Ordering::Relaxed) => return Err(error),
            Err(error) => {
                eprintln!("{name}: {error}");
                failed = true;
            }
        }
    }
    let table = table::markdown(&heading, &rows);
    println!("{table}");
    if options.write_readme {
        if failed {
            return Err("the README stays as it is: not everything could be measured".into());
        }
        let readme = workspace().join("README.md");
        match options.only.is_empty() {
            true => table::write_between(&readme, &table)?,
            false => table::write_some(&readme, &rows, &machine::today())?,
        }
    }
    Ok(!failed && rows.iter().all(|row| row.reached != Some(false)))
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds the `trireme` program, which then stands beside this one.
fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace()).args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "trireme-cli",
        "--bin",
        "trireme",
    ]);
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = own.parent().and_then(Path::parent).ok_or("this program stands in no folder")?;
    let status = command.arg("--target-dir").arg(target).status().map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err("trireme cannot be built".into());
    }
    Ok(target.join("release/trireme"))
}
