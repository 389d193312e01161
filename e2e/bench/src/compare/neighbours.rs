//! What others wait beside connections that move large values, at Trireme and at a single redis.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{
    Settings, median,
    table::Row,
    throughput::{KEY_BYTES, VALUE_BYTES},
};
use crate::{
    load::{
        self, Keys, Report, Stop, Workload,
        resp::{Command, Resp, Wait},
    },
    peers::{
        redis::{Persistence, Redis},
        trireme::{Durability, Spec, Trireme},
    },
};

/// Bytes of a large value, connections that move such, and keys that have them.
const LARGE_BYTES: usize = 1 << 20;
const LARGE_CONNECTIONS: usize = 100;
const LARGE_KEYS: u64 = 100;
/// Connections beside them, their requests a second, all together, and their keys.
const OTHERS: usize = 10;
const OTHERS_RATE: f64 = 1_000.0;
const OTHERS_KEYS: u64 = 100_000;
/// What the slowest of their answers may take.
const OTHERS_MAX_MS: f64 = 50.0;

/// What is done with large values, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Large {
    /// SET at the leader.
    Set,
    /// GET at the leader.
    Get,
    /// SET at a replica that asks the leader.
    SetAtFollower,
    /// SET where nobody leads.
    SetLeaderless,
}

impl Large {
    fn command(self) -> Command {
        if self == Large::Get { Command::Get } else { Command::Set }
    }

    fn words(self) -> &'static str {
        match self {
            Large::Set => "SET values of 1 MiB",
            Large::Get => "GET values of 1 MiB",
            Large::SetAtFollower => "SET values of 1 MiB at a follower",
            Large::SetLeaderless => "SET values of 1 MiB, Leaderless",
        }
    }
}

/// Connections that move large values as fast as they can, and what others wait meanwhile at the same replica; the same at a single redis.
///
/// # Errors
/// When a server cannot be started or driven.
pub fn measure(large: Large, settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let spec = if large == Large::SetLeaderless { Spec::leaderless } else { Spec::single_leader };
    let store = Trireme::start(&settings.trireme, &settings.folder, spec(Durability::Memory), stop)?;
    let redis = Redis::start(&settings.folder, 0, Persistence::None, stop)?;
    let first = store.healed(stop)?.address;
    let other = store.replicas().iter().map(|replica| replica.address).find(|address| *address != first);
    let address = other.filter(|_| large == Large::SetAtFollower).unwrap_or(first);
    if large == Large::Get {
        [address, redis.address()].into_iter().try_for_each(|address| fill(address, stop))?;
    }
    let (mut ours, mut theirs, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let mut errors = Vec::new();
    for round in 0..settings.rounds {
        let (own, moved) = beside(address, large, settings, stop)?;
        let (peer, at_peer) = beside(redis.address(), large, settings, stop)?;
        say(format!(
            "round {}: p99 {:.3} ms beside {:.0} large a second; redis {:.3} ms beside {:.0}; errors {}",
            round + 1,
            own.latency_ms(0.99),
            moved.per_second(),
            peer.latency_ms(0.99),
            at_peer.per_second(),
            own.errors_text(),
        ));
        // What was under way when the large ones were ended has no answer.
        errors.extend(Some(&own).filter(|own| own.errors_total() > 0).map(Report::errors_text));
        ours.push(own.latency_ms(0.99));
        theirs.push(peer.latency_ms(0.99));
        rates.push(moved.per_second());
    }
    let p99 = median(&ours);
    Ok(Row {
        what: format!("{LARGE_CONNECTIONS} connections that {}, w = 2 of 3, Memory: p99 of others", large.words()),
        ours: format!("{p99:.1} ms beside {:.0} large values a second", median(&rates)),
        peer: format!("redis alone: {:.1} ms", median(&theirs)),
        ratio: format!("{:.2}", p99 / median(&theirs)),
        goal: format!("≤ {OTHERS_MAX_MS:.0} ms"),
        reached: Some(p99 <= OTHERS_MAX_MS && errors.is_empty()),
        errors,
    })
}

fn load_of(address: SocketAddr) -> Workload {
    Workload {
        addresses: vec![address],
        connections: LARGE_CONNECTIONS,
        pipeline: 1,
        keys: Keys::Random(LARGE_KEYS),
        warm_up: Duration::from_millis(500),
        duration: Duration::from_secs(600),
        rate: None,
        requests_max: None,
    }
}

/// Writes every large value once.
fn fill(address: SocketAddr, stop: &Stop) -> Result<(), String> {
    let resp = Resp::new(Command::Set, Wait::No, KEY_BYTES, LARGE_BYTES, LARGE_KEYS)?;
    let (keys, warm_up) = (Keys::Sequential(LARGE_KEYS), Duration::ZERO);
    let workload = Workload { keys, warm_up, connections: 1, requests_max: Some(LARGE_KEYS), ..load_of(address) };
    let report = load::run(&workload, &resp, stop).map_err(|error| error.to_string())?;
    if report.errors_total() > 0 { Err(report.errors_text()) } else { Ok(()) }
}

/// What others waited, and what was moved beside them.
fn beside(address: SocketAddr, large: Large, settings: &Settings, stop: &Stop) -> Result<(Report, Report), String> {
    let resp = Resp::new(large.command(), Wait::No, KEY_BYTES, LARGE_BYTES, LARGE_KEYS)?;
    // Longer keys: none of the large ones.
    let small = Resp::new(Command::Mixed, Wait::No, KEY_BYTES + 1, VALUE_BYTES, OTHERS_KEYS)?;
    let load = load_of(address);
    let others = Workload {
        connections: OTHERS,
        keys: Keys::Random(OTHERS_KEYS),
        duration: settings.turn,
        rate: Some(OTHERS_RATE),
        ..load.clone()
    };
    let over = AtomicBool::new(false);
    let (report, moved) = std::thread::scope(|scope| {
        let moving = scope.spawn(|| load::run(&load, &resp, &over));
        let report = load::run(&others, &small, stop);
        over.store(true, Ordering::Relaxed);
        (report, moving.join())
    });
    let report = report.map_err(|error| error.to_string())?;
    let moved = moved.map_err(|_| "the load panicked")?.map_err(|error| error.to_string())?;
    if stop.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok((report, moved)) }
}
