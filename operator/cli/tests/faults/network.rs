//! A leader that is cut off from the others and from the operator, but not from its clients.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use crate::{
    support::{Replica, Store},
    tools::{Load, SPEC, acknowledged, assert_healed, assert_undisturbed, eventually, firewall, isolated},
};

/// What a client at the leader that is cut off saw.
#[derive(Default)]
struct Seen {
    /// Reads that were answered with a value although a larger one had been acknowledged before they were asked.
    stale: Vec<(Instant, String)>,
    /// When reads were answered with a value.
    answered: Vec<Instant>,
    errors: Vec<String>,
}

/// Raises a number at a replica, one step after the other.
fn raise(replica: &Replica, stop: &AtomicBool, acknowledged: &AtomicU64) {
    let mut client = replica.client();
    for number in 1.. {
        if stop.load(SeqCst) {
            return;
        }
        assert_eq!(client.call(&["SET", "number", &number.to_string()]).unwrap(), "+OK");
        acknowledged.store(number, SeqCst);
    }
}

/// Reads the number.
fn watch(replica: &Replica, stop: &AtomicBool, acknowledged: &AtomicU64) -> Seen {
    let (mut client, mut seen) = (replica.client(), Seen::default());
    while !stop.load(SeqCst) {
        let least = acknowledged.load(SeqCst);
        let reply = client.call(&["GET", "number"]).unwrap();
        match reply.strip_prefix('$').map(|number| number.parse::<i64>().unwrap()) {
            Some(number) => {
                seen.answered.push(Instant::now());
                if number.max(0) < least as i64 {
                    seen.stale.push((Instant::now(), format!("{number} when {least} was acknowledged")));
                }
            }
            None => seen.errors.push(reply),
        }
    }
    seen
}

/// Ends the clients also where the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn a_leader_that_is_cut_off_answers_nothing_after_its_lease() {
    if !isolated("network::a_leader_that_is_cut_off_answers_nothing_after_its_lease") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{SPEC}  requestTimeout: 2s\n"), &[]);
    let leader = store.replica(&store.leader()).clone();
    let survivors: Vec<Replica> = store.replicas.iter().filter(|r| r.name != leader.name).cloned().collect();
    let (stop, number) = (AtomicBool::new(false), AtomicU64::new(0));
    let (there, here) = (Load::start("s", &survivors), Load::start("l", [&leader]));
    let (cut, mended, seen) = thread::scope(|scope| {
        let end = Stop(&stop);
        scope.spawn(|| raise(&survivors[0], &stop, &number));
        let watcher = scope.spawn(|| watch(&leader, &stop, &number));
        thread::sleep(Duration::from_millis(300));
        firewall("-A", &leader);
        let cut = Instant::now();
        store.wait_for(|e| e["decision"] == "serving" && e["leader"] != leader.name.as_str());
        let before = number.load(SeqCst);
        eventually("more writes", || number.load(SeqCst) > before + 100);
        thread::sleep(Duration::from_millis(1_500));
        let mended = Instant::now();
        firewall("-D", &leader);
        store.wait_whole();
        let last = number.load(SeqCst);
        eventually("more writes", || number.load(SeqCst) > last + 20);
        drop(end);
        (cut, mended, watcher.join().unwrap())
    });
    let (there, here) = (there.finish(), here.finish());
    assert_undisturbed(&there);
    for log in &there {
        assert!(log.gap() <= Duration::from_millis(1_500), "suspicion is 1 s: {:?}", log.gap());
    }
    // Later it is a follower, and with r = 1 answers from what it has.
    let stale: Vec<_> = seen.stale.iter().filter(|(at, _)| *at < mended).collect();
    assert!(stale.is_empty(), "{stale:?}");
    let lease = Duration::from_millis(250);
    let within = |at: &&Instant| **at > cut + lease && **at < mended;
    assert_eq!(seen.answered.iter().filter(within).count(), 0, "a read was answered without a lease");
    assert!(seen.answered.iter().any(|at| *at < cut) && seen.answered.iter().any(|at| *at > mended));
    // The first read may stand behind a write that nobody else has: what it read is then not known to be committed.
    let refused = |e: &String| e.starts_with("-NOREPLICAS ") || e.starts_with("-TRYAGAIN ");
    assert!(!seen.errors.is_empty() && seen.errors.iter().all(refused), "{:?}", seen.errors);
    // An acknowledgement that was already with it may just have been passed on.
    let late = here[0].at.iter().filter(|at| **at > cut + Duration::from_millis(50) && **at < mended).count();
    assert_eq!(late, 0, "a write was acknowledged that nobody else can have");
    let known = |e: &String| e.starts_with("-NOREPLICAS ") || e.starts_with("-INDOUBT ");
    assert!(!here[0].errors.is_empty() && here[0].errors.iter().all(known), "{:?}", here[0].errors);
    let keys: Vec<String> = acknowledged(&there).into_iter().chain(acknowledged(&here)).collect();
    assert_healed(&store, &keys);
    store.stop();
}
