//! What only a store with a leader in each region has to show: a cut that is mended, a leader's death that other regions do not notice, and how far they are
//! behind each other.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    Settings,
    failover::{lost, under_load},
    median,
    table::Row,
    throughput::{CONNECTIONS, KEY_BYTES, VALUE_BYTES, write},
};
use crate::{
    client::Client,
    load::{
        self, Keys, Stop, Workload,
        resp::{Command, Resp, Wait},
    },
    peers::{
        START_MAX,
        trireme::{Durability, REGIONS, Replica, Spec, Trireme},
        wait_for,
    },
};

/// Writes on each side of a cut, to as many keys, at random.
const WRITES: u64 = 100_000;
/// The region that is cut off.
const APART: usize = 2;
/// How long it may take until all is the same again, and how much may be sent for it.
const HEAL_MAX: (f64, f64) = (2.0, 1.2);
/// How often something is done again.
const TIMES: usize = 3;
/// What is looked at to see that feeds are paused, and for how long.
const PAUSED_LOOK: Duration = Duration::from_millis(100);
/// Keys of each connection.
const KEYS_EACH: u64 = 100;
/// Requests a second in each of two regions while a leader is killed.
const KILL_RATE: f64 = 2_000.0;
/// How long the load runs before that, and after.
const KILL_TIMES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(2500));
/// The longest write gap in the leader's region, median and at most, as with one leader.
const GAP_MAX_MS: (f64, f64) = (300.0, 500.0);
/// The most that a kill may add to the worst request in another region.
const ELSEWHERE_MAX_MS: f64 = 10.0;
/// Writes a second under which the lag is measured.
const LAG_RATE: f64 = 20_000.0;
/// The most that 99 of 100 probes may take.
const LAG_MAX_MS: f64 = 5.0;
/// Between two probes, and between two looks whether one has come.
const PROBE_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_micros(100));

/// Both sides of a cut are written to, and it is mended: how long until all regions have the same, and how much is sent for it.
///
/// # Errors
/// When the store cannot be started, driven or does not heal.
pub fn heal(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let spec = Spec { log_retention: Some("1Gi"), ..Spec::multi_leader(Durability::Memory, 1) };
    let store = Trireme::start(&settings.trireme, &settings.folder, spec, stop)?;
    let (mut seconds, mut shares, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        store.healed(stop)?;
        let leaders = leaders(&store, stop)?;
        store.apart(Some(APART))?;
        paused(&leaders, stop)?;
        let logs = || [0, APART].map(|side| store.looks(&leaders[side]).and_then(|look| look["logBytes"].as_f64()));
        let empty = logs();
        for side in [0, APART] {
            write(leaders[side].address, Keys::Random(WRITES), WRITES, stop)?;
        }
        agree(&store, &leaders[..APART], stop)?;
        let grown: Vec<f64> = logs().iter().zip(empty).filter_map(|(now, then)| Some((*now)? - then?)).collect();
        // What was written on this side goes there, and what was written there to both regions here.
        let needed = grown.iter().zip([1.0, 2.0]).map(|(bytes, times)| bytes * times).sum::<f64>();
        let before = sent(&store, &leaders);
        let start = Instant::now();
        store.apart(None)?;
        agree(&store, &leaders, stop)?;
        seconds.push(start.elapsed().as_secs_f64());
        let after = sent(&store, &leaders);
        shares.push((after.0 - before.0) / needed);
        packed.push((after.1 - before.1) / needed);
        say(format!(
            "the same after {:.2} s; {:.1} MiB for {:.1} MiB of entries, {:.1} MiB compressed",
            seconds.last().copied().unwrap_or_default(),
            mebibytes(after.0 - before.0),
            mebibytes(needed),
            mebibytes(after.1 - before.1),
        ));
    }
    let (time, share) = (median(&seconds), median(&shares));
    Ok(Row {
        what: format!(
            "MultiLeader: {WRITES} writes on each side of a cut, mended: until all three regions are the same"
        ),
        ours: format!("{time:.2} s, {share:.2} x the entries' bytes; {:.2} x compressed", median(&packed)),
        peer: String::new(),
        ratio: String::new(),
        goal: format!("≤ {} s, ≤ {} x", HEAL_MAX.0, HEAL_MAX.1),
        reached: Some(time <= HEAL_MAX.0 && share <= HEAL_MAX.1),
        errors: Vec::new(),
    })
}

/// The leaders of the regions, in order.
fn leaders(store: &Trireme, stop: &Stop) -> Result<Vec<Replica>, String> {
    (0..REGIONS.len()).map(|region| store.leader_of(region, stop)).collect()
}

/// Waits until what is written in the region that is cut off is not seen in another one.
fn paused(leaders: &[Replica], stop: &Stop) -> Result<(), String> {
    let (mut there, mut here) = (Client::connect(leaders[APART].address)?, Client::connect(leaders[0].address)?);
    let mut number = 0_u64;
    wait_for("feeds to be paused", START_MAX, stop, || {
        number += 1;
        let value = number.to_string().into_bytes();
        there.bulk(&[b"SET", b"paused", &value])?;
        std::thread::sleep(PAUSED_LOOK);
        Ok((here.bulk(&[b"GET", b"paused"])? != Some(value)).then_some(()))
    })
}

/// Waits until these have the same in their states.
fn agree(store: &Trireme, leaders: &[Replica], stop: &Stop) -> Result<(), String> {
    wait_for("equal digests", START_MAX, stop, || {
        let looks: Vec<_> = leaders.iter().filter_map(|leader| store.looks(leader)).collect();
        let same = |look: &serde_json::Value| look["digest"] == looks[0]["digest"];
        Ok((looks.len() == leaders.len() && looks.iter().all(same)).then_some(()))
    })
}

/// Bytes that regions have sent each other, before they were compressed and after.
fn sent(store: &Trireme, leaders: &[Replica]) -> (f64, f64) {
    let sum = |name: &str| leaders.iter().map(|leader| store.metric(leader, name, "to=")).sum();
    (sum("trireme_feed_sent_bytes_total"), sum("trireme_feed_compressed_bytes_total"))
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// The leader of a region is killed under a load there and in another region; before that, the same load without.
///
/// # Errors
/// When the store cannot be started, driven or does not heal.
pub fn kill(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let store = Trireme::start(&settings.trireme, &settings.folder, Spec::multi_leader(Durability::Disk, 3), stop)?;
    let (mut here, mut more, mut errors, mut acknowledged, mut gone) = (Vec::new(), Vec::new(), Vec::new(), 0, 0);
    for number in 0..settings.kills {
        store.healed(stop)?;
        let (victim, other) = (store.leader_of(0, stop)?, store.leader_of(1, stop)?);
        let survivors: Vec<&Replica> = store.region(0).into_iter().filter(|r| r.name != victim.name).collect();
        let survivor = survivors.get(number % survivors.len().max(1)).ok_or("a region of one has no survivors")?;
        let load = |address, act: &(dyn Fn() -> Result<(), String> + Sync)| {
            under_load(vec![address], KEYS_EACH, Some(KILL_RATE), KILL_TIMES, stop, act)
        };
        let both = |act: &(dyn Fn() -> Result<(), String> + Sync)| {
            std::thread::scope(|scope| {
                let there = scope.spawn(|| load(other.address, &|| Ok(())));
                let here = load(survivor.address, act)?;
                Ok::<_, String>((here, there.join().map_err(|_| "the load panicked")??))
            })
        };
        let calm = both(&|| Ok(()))?;
        let hit = both(&|| store.signal(&victim.name, Signal::KILL))?;
        let [gap, elsewhere, before] = [&hit.0, &hit.1, &calm.1].map(|report| report.latency_ms(1.0));
        let missing = lost(&store, KEYS_EACH, &hit.0, stop)?;
        say(format!(
            "{}/{}: {} killed: gap {gap:.0} ms, {missing} lost; elsewhere {elsewhere:.1} ms, {before:.1} without; errors {}, {}",
            number + 1,
            settings.kills,
            victim.name,
            hit.0.errors_text(),
            hit.1.errors_text()
        ));
        here.push(gap);
        more.push(elsewhere - before);
        acknowledged += hit.0.finished + hit.1.finished;
        gone += missing;
        errors.extend([&hit.0, &hit.1].into_iter().filter(|r| r.errors_total() > 0).map(|r| r.errors_text()));
    }
    let (gap, elsewhere, most) = (median(&here), median(&more), here.iter().copied().fold(0.0, f64::max));
    let (middle_max, most_max) = GAP_MAX_MS;
    Ok(Row {
        what: format!("MultiLeader: leader of a region killed, n = 3 in each of three, {} times", here.len()),
        ours: format!(
            "write gap there median {gap:.0}, max {most:.0} ms; in another region worst request {elsewhere:+.1} ms to the run without (median); \
             {acknowledged} acknowledged, {gone} lost"
        ),
        peer: String::new(),
        ratio: String::new(),
        goal: format!(
            "median ≤ {middle_max:.0}, max ≤ {most_max:.0} ms there, ≤ +{ELSEWHERE_MAX_MS:.0} ms elsewhere, no error, none lost"
        ),
        reached: Some(
            errors.is_empty() && gone == 0 && gap <= middle_max && most <= most_max && elsewhere <= ELSEWHERE_MAX_MS,
        ),
        errors,
    })
}

/// How long it takes from the OK of a write in one region until it is read in another one, under a steady load: both are looked at from this thread, by one clock.
///
/// # Errors
/// When the store cannot be started or driven.
pub fn lag(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let store = Trireme::start(&settings.trireme, &settings.folder, Spec::multi_leader(Durability::Memory, 1), stop)?;
    store.healed(stop)?;
    let leaders = leaders(&store, stop)?;
    let (mut middles, mut lates, mut rates, mut count) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..settings.rounds {
        let resp = Resp::new(Command::Set, Wait::No, KEY_BYTES, VALUE_BYTES, WRITES)?;
        let workload = Workload {
            addresses: vec![leaders[0].address],
            connections: CONNECTIONS,
            pipeline: 1,
            keys: Keys::Random(WRITES),
            warm_up: Duration::ZERO,
            duration: settings.turn,
            rate: Some(LAG_RATE),
            requests_max: None,
        };
        let over = AtomicBool::new(false);
        let (report, probes) = std::thread::scope(|scope| {
            let probing = scope.spawn(|| probe(&leaders[0], &leaders[1], round, &over));
            let report = load::run(&workload, &resp, stop);
            over.store(true, Ordering::Relaxed);
            (report, probing.join())
        });
        let report = report.map_err(|error| error.to_string())?;
        let mut probes = probes.map_err(|_| "the probes panicked")??;
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        probes.sort_by(f64::total_cmp);
        let at = |share: f64| probes.get((probes.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        say(format!(
            "round {}: {:.0} writes/s, errors {}; lag p50 {:.2}, p99 {:.2}, max {:.2} ms of {}",
            round + 1,
            report.per_second(),
            report.errors_text(),
            at(0.5),
            at(0.99),
            probes.last().copied().unwrap_or(f64::NAN),
            probes.len(),
        ));
        middles.push(at(0.5));
        lates.push(at(0.99));
        rates.push(report.per_second());
        count += probes.len();
    }
    let (late, rate) = (median(&lates), median(&rates));
    let missed = rate < LAG_RATE * 0.98;
    Ok(Row {
        what: format!("MultiLeader: from OK in a region to being read in another, {:.0} writes/s", LAG_RATE),
        ours: format!("p50 {:.2}, p99 {late:.2} ms ({count} probes, {rate:.0} writes/s)", median(&middles)),
        peer: String::new(),
        ratio: String::new(),
        goal: format!("p99 ≤ {LAG_MAX_MS:.0} ms"),
        reached: Some(late <= LAG_MAX_MS && !missed),
        errors: if missed { vec![format!("only {rate:.0} writes/s")] } else { Vec::new() },
    })
}

/// Writes at one replica, and looks when it is read at another, again and again until told to stop: the times in milliseconds.
fn probe(from: &Replica, to: &Replica, round: usize, over: &AtomicBool) -> Result<Vec<f64>, String> {
    let (mut from, mut to) = (Client::connect(from.address)?, Client::connect(to.address)?);
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let value = format!("{round}:{}", times.len()).into_bytes();
        from.bulk(&[b"SET", b"probe", &value])?;
        let start = Instant::now();
        while to.bulk(&[b"GET", b"probe"])?.as_ref() != Some(&value) {
            if start.elapsed() > START_MAX {
                return Err(format!(
                    "what one region has written is not in another one after {} s",
                    START_MAX.as_secs()
                ));
            }
            std::thread::sleep(PROBE_PAUSES.1);
        }
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        std::thread::sleep(PROBE_PAUSES.0);
    }
    Ok(times)
}
