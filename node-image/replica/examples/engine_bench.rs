//! Measures the engine alone: nanoseconds per SET executed and joined, and bytes of memory per pair.
//!
//! Run: `cargo run --release -p trireme-replica --example engine_bench`

use std::time::Instant;

use trireme_replica::engine::{At, Engine};

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn main() {
    const PAIRS: u64 = 1_000_000;
    let value = [b'v'; 100];
    let key = |i: u64| format!("{:016}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % PAIRS);
    let keys: Vec<String> = (0..PAIRS).map(key).collect();
    let unique = keys.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
    let (mut leader, mut follower) = (Engine::new(), Engine::new());
    let mut delta = Vec::new();
    for round in ["new keys", "old keys"] {
        let before = resident_bytes();
        let begin = Instant::now();
        for (i, key) in keys.iter().enumerate() {
            delta.clear();
            let seq = leader.received().origins().first().map_or(0, |s| s.upto) + 1;
            let at = At { seq, now_ms: 1_800_000_000_000 + i as u64 / 200, keep_undo: true };
            leader.execute(&at, &mut delta, |a| a.put_string(key.as_bytes(), &value, false));
            if i % 64 == 0 {
                leader.forget_undo(seq.saturating_sub(1));
            }
        }
        let nanoseconds = begin.elapsed().as_nanos() as u64 / PAIRS;
        let bytes = (resident_bytes() - before) / unique;
        println!(
            "SET, {round}: execute {nanoseconds} ns, {bytes} resident bytes per pair, delta of {} bytes",
            delta.len()
        );
    }
    let mut log: Vec<Vec<u8>> = Vec::new();
    let mut origin = Engine::new();
    for (i, key) in keys.iter().enumerate() {
        let mut delta = Vec::new();
        let at = At { seq: i as u64 + 1, now_ms: 1_800_000_000_000 + i as u64 / 200, keep_undo: false };
        origin.execute(&at, &mut delta, |a| a.put_string(key.as_bytes(), &value, false));
        log.push(delta);
    }
    let begin = Instant::now();
    for (i, delta) in log.iter().enumerate() {
        let at = At { seq: i as u64 + 1, now_ms: 0, keep_undo: false };
        if let Err(error) = follower.join(delta, &at) {
            println!("{error}");
        }
    }
    println!("SET: join {} ns", begin.elapsed().as_nanos() as u64 / PAIRS);
    let begin = Instant::now();
    let mut found = 0;
    for key in &keys {
        let at = At { seq: 0, now_ms: 0, keep_undo: false };
        found +=
            follower.execute(&at, &mut delta, |a| a.string(key.as_bytes()).map_or(0, |v| v.map_or(0, |v| v.len()))).0;
    }
    println!("GET: {} ns ({found} bytes)", begin.elapsed().as_nanos() as u64 / PAIRS);
    assert_eq!(origin.digest_total(), follower.digest_total());
}
