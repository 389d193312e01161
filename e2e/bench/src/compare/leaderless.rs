//! What only a store without a leader has to show: nobody waits when a replica dies, one that differs is mended, and a pair takes no more memory.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{
    Settings,
    failover::under_load,
    median,
    table::Row,
    throughput::{fill, write},
};
use crate::{
    client::Client,
    load::{Keys, Stop},
    peers::{
        START_MAX,
        trireme::{Durability, Spec, Trireme},
        wait_for,
    },
};

/// Keys of each connection.
const KEYS_EACH: u64 = 100;
/// How long the load runs before the replica is hit, and after.
const HALF: Duration = Duration::from_millis(1000);
/// The most that a kill may add to the worst request.
const KILL_MAX_MS: f64 = 10.0;
/// Keys that differ.
const DIFFERING: u64 = 1000;
/// Writes of one key that push the others out of the log.
const PUSH: u64 = 30_000;
/// How long finding and mending them may take, and how much may be moved.
const REPAIR_MAX: (f64, f64) = (1.0, 2.0);
/// How often something is done again.
const TIMES: usize = 3;
/// How much more memory a pair may take than with a leader, and how much it may take there, in bytes.
const MEMORY_MAX: (f64, f64) = (1.1, 150.0);
/// Memory is at rest when it has not grown or shrunk by more than so many bytes for so long.
const AT_REST: (u64, Duration) = (256 << 10, Duration::from_secs(4));
/// How long that may take.
const REST_MAX: Duration = Duration::from_secs(60);

/// A replica is killed under load on the others; before that, the same load without.
///
/// # Errors
/// When the store cannot be started, driven or does not heal.
pub fn kill(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let store = Trireme::start(&settings.trireme, &settings.folder, Spec::leaderless(Durability::Disk), stop)?;
    let (mut more, mut worst, mut errors, mut acknowledged) = (Vec::new(), 0.0_f64, Vec::new(), 0);
    for number in 0..settings.kills {
        store.healed(stop)?;
        let replicas = store.replicas();
        let victim = replicas.get(number % replicas.len().max(1)).ok_or("a store without replicas")?;
        let others =
            || replicas.iter().filter(|replica| replica.name != victim.name).map(|replica| replica.address).collect();
        let calm = under_load(others(), KEYS_EACH, None, (HALF, HALF), stop, || Ok(()))?;
        let hit =
            under_load(others(), KEYS_EACH, None, (HALF, HALF), stop, || store.signal(&victim.name, Signal::KILL))?;
        let (before, with) = (calm.latency_ms(1.0), hit.latency_ms(1.0));
        say(format!(
            "{}/{}: {} killed: worst request {with:.1} ms, {before:.1} without; errors {}",
            number + 1,
            settings.kills,
            victim.name,
            hit.errors_text()
        ));
        more.push(with - before);
        worst = worst.max(with);
        acknowledged += hit.finished;
        errors.extend((hit.errors_total() > 0).then(|| hit.errors_text()));
    }
    let middle = median(&more);
    Ok(Row {
        what: format!("Leaderless: replica killed under load on the others, {} times", more.len()),
        ours: format!(
            "worst request {middle:+.1} ms to the run without (median), {worst:.0} ms at most; {acknowledged} acknowledged"
        ),
        peer: String::new(),
        ratio: String::new(),
        goal: format!("no error, ≤ +{KILL_MAX_MS:.0} ms"),
        reached: Some(errors.is_empty() && middle <= KILL_MAX_MS),
        errors,
    })
}

/// A replica comes back without what no log has any more: how long until it is the same as the others, and how much is moved for it.
///
/// # Errors
/// When the store cannot be started, driven or does not heal.
pub fn repair(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let spec = Spec { log_retention: Some("1Mi"), ..Spec::leaderless(Durability::Memory) };
    let store = Trireme::start(&settings.trireme, &settings.folder, spec, stop)?;
    let first = store.healed(stop)?;
    fill(first.address, settings.pairs, stop)?;
    let (mut seconds, mut mebibytes) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        store.healed(stop)?;
        let victim = store.replicas().last().ok_or("a store without replicas")?.clone();
        store.signal(&victim.name, Signal::KILL)?;
        // It is started again after a second; before that, it has missed all this.
        fill(first.address, DIFFERING, stop)?;
        write(first.address, Keys::Random(1), PUSH, stop)?;
        let moved_before = moved(&store);
        let lacks = |look: &serde_json::Value| {
            look["peer"].is_object() && look["peersConnected"].as_array().is_some_and(|c| c.len() == 2)
        };
        wait_for("the replica to be back", START_MAX, stop, || Ok(store.looks(&victim).filter(lacks).map(drop)))?;
        let start = Instant::now();
        wait_for("equal digests", START_MAX, stop, || {
            let looks: Vec<_> = store.replicas().iter().filter_map(|replica| store.looks(replica)).collect();
            let same = |look: &serde_json::Value| {
                look["digest"] == looks[0]["digest"] && look["peer"]["received"] == looks[0]["peer"]["received"]
            };
            Ok((looks.len() == 3 && looks[0]["digest"] != "0000000000000000" && looks.iter().all(same)).then_some(()))
        })?;
        seconds.push(start.elapsed().as_secs_f64());
        mebibytes.push((moved(&store) - moved_before) / f64::from(1 << 20));
        say(format!(
            "the same after {:.2} s, {:.2} MiB",
            seconds.last().copied().unwrap_or_default(),
            mebibytes.last().copied().unwrap_or_default()
        ));
    }
    let (time, size) = (median(&seconds), median(&mebibytes));
    Ok(Row {
        what: format!(
            "Leaderless: {} pairs, of which {DIFFERING} differ and no log has them: found and mended",
            settings.pairs
        ),
        ours: format!("{time:.2} s, {size:.2} MiB moved"),
        peer: String::new(),
        ratio: String::new(),
        goal: format!("≤ {} s, ≤ {} MiB", REPAIR_MAX.0, REPAIR_MAX.1),
        reached: Some(time <= REPAIR_MAX.0 && size <= REPAIR_MAX.1),
        errors: Vec::new(),
    })
}

/// Bytes that comparing and mending has moved, of all replicas that answer: what one sends.
fn moved(store: &Trireme) -> f64 {
    let looks = store.replicas().iter().filter_map(|replica| store.looks(replica));
    looks.filter_map(|look| look["peer"]["repairBytesSent"].as_f64()).sum()
}

/// Memory of each replica, once it is at rest: an allocator gives back later.
fn at_rest(store: &Trireme, stop: &Stop) -> Result<Vec<u64>, String> {
    let (mut last, mut since) = (Vec::<u64>::new(), Instant::now());
    wait_for("memory at rest", REST_MAX, stop, || {
        let now: Vec<u64> = store.replicas().iter().map(|r| store.resident_bytes(&r.name)).collect::<Result<_, _>>()?;
        let same = now.len() == last.len() && now.iter().zip(&last).all(|(now, last)| now.abs_diff(*last) < AT_REST.0);
        if !same {
            (last, since) = (now, Instant::now());
        }
        Ok((since.elapsed() > AT_REST.1).then(|| last.clone()))
    })
}

/// Memory that a pair takes beyond the empty process, with a leader and without, at the replica where it is most: of replicas that have just been started, as
/// what an allocator keeps of a load says more about the load.
///
/// # Errors
/// When a store cannot be started or driven.
pub fn memory(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let each = |spec: Spec| -> Result<f64, String> {
        let mut store = Trireme::start(&settings.trireme, &settings.folder, spec, stop)?;
        let first = store.healed(stop)?;
        let empty = at_rest(&store, stop)?;
        fill(first.address, settings.pairs, stop)?;
        store.down();
        store.up(stop)?;
        let first = store.healed(stop)?;
        let count = Client::connect(first.address)?.bulk(&[b"DBSIZE"])?.unwrap_or_default();
        if count != settings.pairs.to_string().into_bytes() {
            return Err(format!("{} keys were written, {} are there", settings.pairs, String::from_utf8_lossy(&count)));
        }
        let full = at_rest(&store, stop)?;
        let most = full.iter().zip(&empty).map(|(full, empty)| full.saturating_sub(*empty)).max().unwrap_or(0);
        Ok(most as f64 / settings.pairs as f64)
    };
    // The log that is kept takes memory, too, in both: as little as may be.
    let little = |spec: Spec| Spec { log_retention: Some("1Mi"), ..spec };
    let without = each(little(Spec::leaderless(Durability::Memory)))?;
    let with = each(little(Spec::single_leader(Durability::Memory)))?;
    say(format!("{without:.0} bytes a pair without a leader, {with:.0} with one"));
    let ratio = without / with.max(1.0);
    Ok(Row {
        what: format!("Leaderless: memory of a replica with {} pairs", settings.pairs),
        ours: format!("{without:.0} bytes a pair"),
        peer: format!("SingleLeader: {with:.0} bytes a pair"),
        ratio: format!("{ratio:.2}"),
        goal: format!("≤ {} x, ≤ {} bytes", MEMORY_MAX.0, MEMORY_MAX.1),
        reached: Some(ratio <= MEMORY_MAX.0 && with <= MEMORY_MAX.1),
        errors: Vec::new(),
    })
}
