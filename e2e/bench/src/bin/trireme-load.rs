//! `trireme-load`: requests on one server, or several, and how they were answered.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    process::ExitCode,
    sync::atomic::AtomicBool,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use trireme_bench::load::{
    self, Keys, Report, Workload,
    resp::{Command, Resp, Wait},
};

/// Drives a server that speaks the Redis protocol, and reports requests a second, errors by kind and latency percentiles.
#[derive(Debug, Parser)]
#[command(name = "trireme-load", version)]
struct Options {
    /// Where the servers are: host:port, several separated by commas; connections are spread over them.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:6379")]
    address: Vec<String>,
    /// Connections, all driven by one thread.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Requests that a connection sends at once; the next batch follows when all are answered.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pipeline: u16,
    /// What is asked.
    #[arg(long, value_enum, default_value_t = Kind::Set)]
    command: Kind,
    /// Length of a key.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    key_bytes: u16,
    /// Length of a value.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    value_bytes: u32,
    /// How many different keys.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Measured time; half a second of warm-up comes on top.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Requests a second over all connections, with latency from each one's intended start; without it, as fast as answers come.
    #[arg(long)]
    rate: Option<f64>,
    /// Follow every batch by `WAIT N` and count it only when N replicas have answered.
    #[arg(long, value_name = "N")]
    wait: Option<u32>,
    /// Send that WAIT only when the batch itself is answered.
    #[arg(long, requires = "wait")]
    two_step: bool,
    /// Write every key once, in order, then stop.
    #[arg(long, conflicts_with = "rate")]
    fill: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// SET of a value.
    Set,
    /// GET.
    Get,
    /// INCR.
    Incr,
    /// Four GETs for each SET.
    Mixed,
    /// ZADD of a member to one of 1000 keys, with another score each time.
    Zadd,
    /// HSET of a field of one of 1000 keys.
    Hset,
    /// LPUSH to one of 1000 keys.
    Lpush,
    /// SADD of a member to one of 1000 keys.
    Sadd,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(report) => {
            if options.json {
                println!("{}", report.json());
            } else {
                print!("{report}");
            }
            if report.errors_total() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            eprintln!("trireme-load: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<Report, String> {
    for (name, number) in [("--seconds", Some(options.seconds)), ("--rate", options.rate)] {
        if number.is_some_and(|number| !(number.is_finite() && number > 0.0 && number < 1e9)) {
            return Err(format!("{name} must be a number above 0"));
        }
    }
    let command = match options.command {
        Kind::Set => Command::Set,
        Kind::Get => Command::Get,
        Kind::Incr => Command::Incr,
        Kind::Mixed => Command::Mixed,
        Kind::Zadd => Command::ZAdd,
        Kind::Hset => Command::HSet,
        Kind::Lpush => Command::LPush,
        Kind::Sadd => Command::SAdd,
    };
    let wait = match options.wait {
        None => Wait::No,
        Some(replicas) if options.two_step => Wait::TwoStep(replicas),
        Some(replicas) => Wait::WithBatch(replicas),
    };
    let resp = Resp::new(command, wait, usize::from(options.key_bytes), options.value_bytes as usize, options.keys)?;
    let workload = Workload {
        addresses: addresses(&options.address)?,
        connections: usize::from(options.connections),
        pipeline: usize::from(options.pipeline),
        keys: if options.fill { Keys::Sequential(options.keys) } else { Keys::Random(options.keys) },
        warm_up: if options.fill { Duration::ZERO } else { Duration::from_millis(500) },
        duration: Duration::from_secs_f64(options.seconds),
        rate: options.rate,
        requests_max: options.fill.then_some(options.keys),
    };
    load::run(&workload, &resp, &AtomicBool::new(false)).map_err(|error| error.to_string())
}

fn addresses(names: &[String]) -> Result<Vec<SocketAddr>, String> {
    let resolve = |name: &String| {
        let found = name.to_socket_addrs().map_err(|error| format!("--address {name}: {error}; want host:port"))?;
        found.into_iter().next().ok_or_else(|| format!("--address {name}: no such host"))
    };
    names.iter().map(resolve).collect()
}
