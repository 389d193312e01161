//! How long clients of a survivor wait when the leader dies, and whether anything that they were promised is lost.
//!
//! Fifty connections to one survivor write in a closed loop, each to keys of its own, so that the value of a key must be the last one acknowledged or
//! a later one. The gap is the longest time that any request took. Afterwards every key is read and compared.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use rustix::process::Signal;

use super::{
    Settings, median,
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
        START_MAX,
        trireme::{Durability, Replica, Spec, Trireme},
        wait_for,
    },
};

/// Keys of each connection.
const KEYS_EACH: u64 = 400;
/// How long the load runs before the leader is hit.
const BEFORE: Duration = Duration::from_millis(500);
/// And after.
const AFTER: Duration = Duration::from_millis(2500);
/// How often the leader is stopped instead of killed.
const PAUSES: usize = 5;
/// A leader is suspected after so long a silence.
const SUSPICION_MS: f64 = 1000.0;

/// What several failures came to.
#[derive(Debug, Default)]
struct Failures {
    gaps_ms: Vec<f64>,
    acknowledged: u64,
    lost: u64,
    errors: Vec<String>,
}

/// Kills the leader, again and again.
///
/// # Errors
/// When the store cannot be started, driven or does not heal.
pub fn kill(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let failures = failures(settings.kills, Signal::KILL, settings, stop, say)?;
    Ok(row("write gap at a survivor, leader killed (SIGKILL)", "median ≤ 300, max ≤ 500 ms", &failures, 300.0, 500.0))
}

/// Stops the leader, so that only its silence tells.
///
/// # Errors
/// When the store cannot be started, driven or does not heal.
pub fn pause(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let most = SUSPICION_MS + 500.0;
    let failures = failures(PAUSES.min(settings.kills), Signal::STOP, settings, stop, say)?;
    let goal = format!("max ≤ {most:.0} ms");
    Ok(row("the same, leader stopped (SIGSTOP)", &goal, &failures, most, most))
}

fn failures(
    count: usize,
    signal: Signal,
    settings: &Settings,
    stop: &Stop,
    say: &mut dyn FnMut(String),
) -> Result<Failures, String> {
    let store = Trireme::start(&settings.trireme, &settings.folder, Spec::single_leader(Durability::Disk), stop)?;
    let mut failures = Failures::default();
    for number in 1..=count {
        let leader = store.healed(stop)?;
        let report = failure(&store, &leader, number, signal, stop)?;
        let lost = lost(&store, KEYS_EACH, &report, stop)?;
        let gap_ms = report.latency_ms(1.0);
        say(format!(
            "{number}/{count}: {} hit: gap {gap_ms:.0} ms, {} acknowledged, {lost} lost, errors {}",
            leader.name,
            report.finished,
            report.errors_text()
        ));
        failures.gaps_ms.push(gap_ms);
        failures.acknowledged += report.finished;
        failures.lost += lost;
        if report.errors_total() > 0 {
            failures.errors.push(report.errors_text());
        }
    }
    Ok(failures)
}

/// One failure of the leader under load on one of the others.
fn failure(store: &Trireme, leader: &Replica, number: usize, signal: Signal, stop: &Stop) -> Result<Report, String> {
    let survivors: Vec<&Replica> = store.replicas().iter().filter(|replica| replica.name != leader.name).collect();
    let survivor = survivors.get(number % survivors.len().max(1)).ok_or("a store of one has no survivors")?;
    let hit = || store.signal(&leader.name, signal);
    let report = under_load(vec![survivor.address], KEYS_EACH, None, (BEFORE, AFTER), stop, hit);
    if signal == Signal::STOP {
        store.signal(&leader.name, Signal::CONT)?;
    }
    report
}

/// A load on some replicas, so many requests a second or as many as are answered, each connection with so many keys of its own; after some time something is done, and the load goes on for some more.
///
/// # Errors
/// When that fails, or the load, and when the run is interrupted.
pub(super) fn under_load(
    addresses: Vec<SocketAddr>,
    keys_each: u64,
    rate: Option<f64>,
    (before, after): (Duration, Duration),
    stop: &Stop,
    act: impl FnOnce() -> Result<(), String>,
) -> Result<Report, String> {
    let resp = writes(keys_each)?;
    let workload = Workload {
        addresses,
        connections: CONNECTIONS,
        pipeline: 1,
        keys: Keys::Own(keys_each),
        warm_up: Duration::ZERO,
        duration: before + after,
        rate,
        requests_max: None,
    };
    let report = std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(&workload, &resp, stop));
        std::thread::sleep(before);
        let done = act();
        let report = load.join().map_err(|_| "the load panicked".to_owned());
        done.and(report)?.map_err(|error| error.to_string())
    })?;
    if stop.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(report) }
}

fn writes(keys_each: u64) -> Result<Resp, String> {
    let keys = Keys::Own(keys_each).total(CONNECTIONS);
    Resp::new(Command::Set, Wait::No, KEY_BYTES, VALUE_BYTES, keys)
}

/// How many keys hold something older than what was acknowledged.
pub(super) fn lost(store: &Trireme, keys_each: u64, report: &Report, stop: &Stop) -> Result<u64, String> {
    let resp = writes(keys_each)?;
    let keys: Vec<Vec<u8>> = (0..report.acknowledged.len() as u64).map(|key| resp.key(key)).collect();
    let values = wait_for("reading back", START_MAX, stop, || {
        let leader = store.leader(stop)?;
        Ok(Client::connect(leader.address).and_then(|mut client| client.values(&keys)).ok())
    })?;
    let stands = |value: &Option<Vec<u8>>| value.as_deref().and_then(Resp::number_in).unwrap_or(0);
    let pairs = values.iter().zip(&report.acknowledged);
    Ok(pairs.filter(|(value, acknowledged)| stands(value) < **acknowledged).count() as u64)
}

fn row(what: &str, goal: &str, failures: &Failures, median_max_ms: f64, max_ms: f64) -> Row {
    let middle = median(&failures.gaps_ms);
    let most = failures.gaps_ms.iter().copied().fold(0.0, f64::max);
    let Failures { gaps_ms, acknowledged, lost, errors } = failures;
    let clean = errors.is_empty() && *lost == 0 && !gaps_ms.is_empty();
    Row {
        what: format!("{what}, {} times", gaps_ms.len()),
        ours: format!("median {middle:.0}, max {most:.0} ms; {acknowledged} acknowledged, {lost} lost"),
        peer: String::new(),
        ratio: String::new(),
        goal: format!("{goal}, no error, none lost"),
        reached: Some(clean && middle <= median_max_ms && most <= max_ms),
        errors: errors.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_write_or_an_error_is_not_reached_however_short_the_gap() {
        let mut failures = Failures { gaps_ms: vec![100.0, 250.0], acknowledged: 9, ..Failures::default() };
        assert_eq!(row("gap", "goal", &failures, 300.0, 500.0).reached, Some(true));
        failures.lost = 1;
        assert_eq!(row("gap", "goal", &failures, 300.0, 500.0).reached, Some(false));
        failures.lost = 0;
        failures.errors.push("1 INDOUBT".into());
        assert_eq!(row("gap", "goal", &failures, 300.0, 500.0).reached, Some(false));
    }
}
