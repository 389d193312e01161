//! Measures the engine alone, in nanoseconds of processor time per command (so that a busy machine matters little): SET executed
//! and joined, GET, with as many keys as fit into the cache and with many more; and bytes of memory per pair.
//!
//! Run on Linux: `cargo run --release -p trireme-replica --example engine_bench`

use trireme_replica::engine::{At, Engine};

const VALUE: [u8; 100] = [b'v'; 100];
const ROUNDS: u64 = 1_000_000;

fn number_in(file: &str, field: usize) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().nth(field).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn resident_bytes() -> u64 {
    number_in("/proc/self/statm", 1) * 4096
}

/// Nanoseconds of processor time that `f` takes, divided by [`ROUNDS`].
fn measure<R>(f: impl FnOnce() -> R) -> (u64, R) {
    let before = number_in("/proc/self/schedstat", 0);
    let result = f();
    ((number_in("/proc/self/schedstat", 0) - before) / ROUNDS, result)
}

fn at(seq: u64, keep_undo: bool) -> At {
    At { seq, now_ms: 1_800_000_000_000 + seq / 200, keep_undo }
}

/// A turn of a leader is 64 commands; what undoes them is dropped a turn later.
fn execute(leader: &mut Engine, keys: &[String], delta: &mut Vec<u8>, first: u64) {
    for (seq, key) in (first..).zip(keys) {
        delta.clear();
        leader.execute(&at(seq, true), delta, |a| a.put_string(key.as_bytes(), &VALUE, false));
        if seq % 64 == 0 {
            leader.forget_undo(seq.saturating_sub(64));
        }
    }
    leader.forget_undo(first + keys.len() as u64);
}

fn bench(pairs: u64) {
    let keys: Vec<String> =
        (0..ROUNDS).map(|i| format!("{:016}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % pairs)).collect();
    let unique = keys.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
    let (mut leader, mut follower, mut delta) = (Engine::new(), Engine::new(), Vec::new());
    let before = resident_bytes();
    let (new, ()) = measure(|| execute(&mut leader, &keys, &mut delta, 1));
    let bytes = resident_bytes().saturating_sub(before) / unique;
    let (old, ()) = measure(|| execute(&mut leader, &keys, &mut delta, ROUNDS + 1));
    let delta_bytes = delta.len();
    let mut log: Vec<Vec<u8>> = Vec::new();
    let mut origin = Engine::new();
    for (seq, key) in (1..).zip(&keys) {
        let mut delta = Vec::new();
        origin.execute(&at(seq, false), &mut delta, |a| a.put_string(key.as_bytes(), &VALUE, false));
        log.push(delta);
    }
    let (join, ()) = measure(|| {
        for (seq, delta) in (1..).zip(&log) {
            if let Err(error) = follower.join(delta, &at(seq, false)) {
                println!("{error}");
            }
        }
    });
    let (get, found) = measure(|| {
        let read = |key: &String| {
            let length = |a: &mut trireme_replica::engine::Access<'_>| {
                a.string(key.as_bytes()).map_or(0, |v| v.map_or(0, |v| v.len()))
            };
            follower.execute(&at(0, false), &mut delta, length).0
        };
        keys.iter().map(read).sum::<usize>()
    });
    assert_eq!((found as u64, origin.digest_total()), (ROUNDS * 100, follower.digest_total()));
    println!(
        "{unique} keys: SET executed {new} ns (new keys at first), {old} ns (old keys); joined {join} ns; GET {get} ns; \
         {bytes} bytes per pair; delta of {delta_bytes} bytes"
    );
}

fn main() {
    bench(ROUNDS);
    bench(1_000);
}
