//! The slowest answers while checkpoints are written.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

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
    peers::trireme::{Durability, Spec, Trireme},
};

/// Different keys.
const KEYS: u64 = 100_000;
/// Log that is kept where checkpoints are written all the time, and where none is in the time of a run.
const MANY: &str = "16Mi";
const NONE: &str = "4Gi";
/// How many times the slowest answers may take with checkpoints what they take without.
const CHECKPOINTS_MAX: f64 = 3.0;

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
