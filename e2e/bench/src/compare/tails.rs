//! The slowest answers: while checkpoints are written, and beside connections that move large values.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{
    Settings, median, spread,
    table::Row,
    throughput::{CONNECTIONS, KEY_BYTES, VALUE_BYTES},
};
use crate::{
    client::Client,
    load::{
        self, Keys, Report, Stop, Workload,
        resp::{Command, Resp, Wait},
    },
    peers::{
        redis::{Persistence, Redis},
        trireme::{Durability, Spec, Trireme},
    },
};

/// Different keys.
const KEYS: u64 = 100_000;
/// Log that is kept where checkpoints are written all the time, and where none is in the time of a run.
const MANY: &str = "16Mi";
const NONE: &str = "4Gi";
/// How many times the slowest answers may take with checkpoints what they take without.
const CHECKPOINTS_MAX: f64 = 3.0;
/// Bytes of a large value, and connections that write such.
const LARGE_BYTES: usize = 1 << 20;
const LARGE_CONNECTIONS: usize = 100;
/// Connections beside them, and their requests a second, all together.
const OTHERS: usize = 10;
const OTHERS_RATE: f64 = 1_000.0;
/// What the slowest of their answers may take.
const OTHERS_MAX_MS: f64 = 50.0;

/// SETs at half of what the store can do: the slowest of a thousand, with checkpoints that are written all the time and without.
///
/// # Errors
/// When a store cannot be started or driven.
pub fn checkpoints(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let start = |log| {
        let spec = Spec { log_retention: Some(log), ..Spec::single_leader(Durability::Memory) };
        Trireme::start(&settings.trireme, &settings.folder, spec, stop)
    };
    let (with, without) = (start(MANY)?, start(NONE)?);
    let (leader, other) = (with.healed(stop)?.address, without.healed(stop)?.address);
    let most = sets(other, None, settings, stop)?.per_second();
    let rate = most / 2.0;
    let (mut ours, mut theirs, mut written) = (Vec::new(), Vec::new(), 0);
    for round in 0..settings.rounds {
        let before = last_save(leader)?;
        let own = sets(leader, Some(rate), settings, stop)?;
        written += u32::from(last_save(leader)? > before);
        let peer = sets(other, Some(rate), settings, stop)?;
        say(format!(
            "round {}: {:.0}/s of {most:.0}; p99.9 {:.3} ms, without checkpoints {:.3} ms; errors {}, {}",
            round + 1,
            own.per_second(),
            own.latency_ms(0.999),
            peer.latency_ms(0.999),
            own.errors_text(),
            peer.errors_text(),
        ));
        ours.push(own.latency_ms(0.999));
        theirs.push(peer.latency_ms(0.999));
    }
    let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(own, peer)| own / peer).collect();
    let ratio = median(&ratios);
    let missing = settings.rounds as u32 - written;
    Ok(Row {
        what: "SET at half of the most there is, w = 2 of 3, Memory: p99.9 with checkpoints".into(),
        ours: format!("{:.2} ms at {:.0}k/s", median(&ours), rate / 1000.0),
        peer: format!("without checkpoints: {:.2} ms", median(&theirs)),
        ratio: spread(&ratios),
        goal: format!("≤ {CHECKPOINTS_MAX} x"),
        reached: Some(ratio <= CHECKPOINTS_MAX && missing == 0),
        errors: if missing > 0 { vec![format!("no checkpoint in {missing} rounds")] } else { Vec::new() },
    })
}

fn sets(address: SocketAddr, rate: Option<f64>, settings: &Settings, stop: &Stop) -> Result<Report, String> {
    let resp = Resp::new(Command::Set, Wait::No, KEY_BYTES, VALUE_BYTES, KEYS)?;
    let workload = Workload {
        addresses: vec![address],
        connections: CONNECTIONS,
        pipeline: 1,
        keys: Keys::Random(KEYS),
        warm_up: Duration::from_millis(500),
        duration: settings.turn,
        rate,
        requests_max: None,
    };
    let report = load::run(&workload, &resp, stop).map_err(|error| error.to_string())?;
    if stop.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(report) }
}

/// When a server has last finished a checkpoint, in seconds since 1970.
fn last_save(address: SocketAddr) -> Result<u64, String> {
    let text = Client::connect(address)?.bulk(&[b"LASTSAVE"])?.unwrap_or_default();
    std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| "LASTSAVE says no time".into())
}

/// Connections that write large values as fast as they can, and what others wait meanwhile; the same at a single redis.
///
/// # Errors
/// When a server cannot be started or driven.
pub fn neighbours(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let store = Trireme::start(&settings.trireme, &settings.folder, Spec::single_leader(Durability::Memory), stop)?;
    let redis = Redis::start(&settings.folder, 0, Persistence::None, stop)?;
    let leader = store.healed(stop)?.address;
    let (mut ours, mut theirs, mut large) = (Vec::new(), Vec::new(), Vec::new());
    let mut errors = Vec::new();
    for round in 0..settings.rounds {
        let (own, moved) = beside_large(leader, settings, stop)?;
        let (peer, at_peer) = beside_large(redis.address(), settings, stop)?;
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
        large.push(moved.per_second());
    }
    let p99 = median(&ours);
    Ok(Row {
        what: format!("{LARGE_CONNECTIONS} connections that SET values of 1 MiB, w = 2 of 3, Memory: p99 of others"),
        ours: format!("{p99:.1} ms beside {:.0} large values a second", median(&large)),
        peer: format!("redis alone: {:.1} ms", median(&theirs)),
        ratio: format!("{:.2}", p99 / median(&theirs)),
        goal: format!("≤ {OTHERS_MAX_MS:.0} ms"),
        reached: Some(p99 <= OTHERS_MAX_MS && errors.is_empty()),
        errors,
    })
}

/// What others waited, and what was moved beside them.
fn beside_large(address: SocketAddr, settings: &Settings, stop: &Stop) -> Result<(Report, Report), String> {
    let large = Resp::new(Command::Set, Wait::No, KEY_BYTES, LARGE_BYTES, LARGE_CONNECTIONS as u64)?;
    let small = Resp::new(Command::Mixed, Wait::No, KEY_BYTES, VALUE_BYTES, KEYS)?;
    let load = Workload {
        addresses: vec![address],
        connections: LARGE_CONNECTIONS,
        pipeline: 1,
        keys: Keys::Random(LARGE_CONNECTIONS as u64),
        warm_up: Duration::from_millis(500),
        duration: settings.turn + Duration::from_secs(600),
        rate: None,
        requests_max: None,
    };
    let others = Workload {
        connections: OTHERS,
        keys: Keys::Random(KEYS),
        duration: settings.turn,
        rate: Some(OTHERS_RATE),
        ..load.clone()
    };
    let over = AtomicBool::new(false);
    let (report, moved) = std::thread::scope(|scope| {
        let moving = scope.spawn(|| load::run(&load, &large, &over));
        let report = load::run(&others, &small, stop);
        over.store(true, Ordering::Relaxed);
        (report, moving.join())
    });
    let report = report.map_err(|error| error.to_string())?;
    let moved = moved.map_err(|_| "the load panicked")?.map_err(|error| error.to_string())?;
    if stop.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok((report, moved)) }
}
