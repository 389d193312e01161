//! Keys that one region writes: whoever is asked for it, wherever the home moves, and what happens where it is not reached.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    regions::{TWO, agreed, assert_same, firewall, leader, region},
    support::{Replica, Store},
    tools::{eventually, isolated},
};

/// Two regions, and a home for keys that begin with `at:`.
fn spec(home: &str) -> String {
    format!("{TWO}  homeRegions:\n  - {{prefix: 'at:', region: {home}}}\n")
}

/// Counts one key up at every replica at once until told to stop: all numbers that were given, and the longest wait for one.
fn count_while(store: &Store, mut meanwhile: impl FnMut()) -> (Vec<String>, Duration) {
    let stop = AtomicBool::new(false);
    let count = |replica: &Replica| {
        let (mut client, mut numbers, mut longest) = (replica.client(), Vec::new(), Duration::ZERO);
        while !stop.load(Relaxed) {
            let begin = Instant::now();
            let number = client.call(&["INCR", "at:count"]).unwrap();
            longest = longest.max(begin.elapsed());
            assert!(number.starts_with(':'), "{number}");
            // What it was told there, it sees here.
            let seen = client.call(&["GET", "at:count"]).unwrap();
            let least = number[1..].parse::<u64>().unwrap();
            assert!(seen[1..].parse::<u64>().unwrap() >= least, "{seen} after {number} at {}", replica.name);
            numbers.push(number);
        }
        (numbers, longest)
    };
    /// Also where the test has failed.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    thread::scope(|scope| {
        let ends = Ends(&stop);
        let counting: Vec<_> = store.replicas.iter().map(|replica| scope.spawn(move || count(replica))).collect();
        meanwhile();
        drop(ends);
        let all: Vec<_> = counting.into_iter().map(|thread| thread.join().unwrap()).collect();
        let longest = all.iter().map(|(_, longest)| *longest).max().unwrap();
        (all.into_iter().flat_map(|(numbers, _)| numbers).collect(), longest)
    })
}

/// Each number was given once, and they are all there are.
fn assert_once(store: &Store, numbers: &[String]) {
    let different: BTreeSet<&String> = numbers.iter().collect();
    assert_eq!(different.len(), numbers.len(), "a number was given twice");
    agreed(store, &["GET", "at:count"], &format!("${}", numbers.len()));
    assert_same(store);
}

#[test]
fn a_home_moves_under_clients_of_all_regions_and_every_write_is_done_once() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &spec("eu"), &[]);
    let (numbers, longest) =
        count_while(&store, || ["us", "eu", "us"].iter().for_each(|home| store.apply(&spec(home))));
    println!("{} writes, longest wait {longest:?}", numbers.len());
    store.wait_for(|e| e["decision"] == "homeMoved" && e["region"] == "us");
    assert_once(&store, &numbers);
    store.stop();
}

#[test]
fn a_homes_leader_is_killed_and_clients_of_another_region_wait_for_the_next_one() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &spec("eu"), &[]);
    let killed = leader(&store, "eu").clone();
    store.replicas.retain(|replica| replica.name.starts_with("orders-us-"));
    let (numbers, longest) = count_while(&store, || {
        let mut client = store.replicas[0].client();
        let mut counted = |more: u64| {
            let mut count = || client.call(&["GET", "at:count"]).unwrap()[1..].parse::<u64>().unwrap_or(0);
            let begin = count();
            eventually("more writes", || count() >= begin + more);
        };
        counted(50);
        killed.signal(Signal::KILL);
        let another = |group: &serde_json::Value| {
            group["region"] == "eu" && group["serving"] == true && group["leader"] != *killed.name
        };
        store.wait_status("another leader", |status| status["groups"].as_array().unwrap().iter().any(another));
        counted(50);
    });
    println!("{} writes, longest wait {longest:?}", numbers.len());
    store.wait_whole();
    store.look_again();
    assert_once(&store, &numbers);
    store.stop();
}

#[test]
fn couch_a_home_that_is_not_reached_is_not_written_or_is_as_the_spec_says() {
    if !isolated("homes::couch_a_home_that_is_not_reached_is_not_written_or_is_as_the_spec_says") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let both = format!("{}  - {{tag: any, region: eu, whenUnreachable: AcceptLocally}}\n", spec("eu"));
    let mut store = Store::up(root.path(), &both, &[]);
    let (eu, us) = (region(&store, "eu"), region(&store, "us"));
    let mut there = us[1].client();
    assert_eq!(there.call(&["SET", "at:x", "1"]).unwrap(), "+OK");
    assert_eq!(there.call(&["INCR", "n{any}"]).unwrap(), ":1");
    let flush = there.call(&["FLUSHALL"]).unwrap();
    assert!(
        flush.starts_with("-CROSSHOME FLUSHALL would write keys of every home region: nothing was done"),
        "{flush}"
    );
    firewall("-A", &eu, &us);
    let mut refused = String::new();
    eventually("a refusal", || {
        refused = there.call(&["SET", "at:x", "2"]).unwrap();
        refused.starts_with("-HOMEUNREACHABLE")
    });
    assert!(refused.contains("'at:' is written in region eu, whose leader has not been heard for"), "{refused}");
    assert!(refused.ends_with("ms; nothing was done"), "{refused}");
    assert_eq!(there.call(&["GET", "at:x"]).unwrap(), "$1", "reads are served");
    assert_eq!(there.call(&["SET", "free", "us"]).unwrap(), "+OK");
    assert_eq!(there.call(&["INCR", "n{any}"]).unwrap(), ":2", "accepted here");
    let mut here = eu[0].client();
    assert_eq!(here.call(&["SET", "at:x", "3"]).unwrap(), "+OK");
    assert_eq!(here.call(&["INCR", "n{any}"]).unwrap(), ":2", "and at home");
    firewall("-D", &eu, &us);
    agreed(&store, &["GET", "n{any}"], "$3");
    agreed(&store, &["GET", "at:x"], "$3");
    eventually("writes go home again", || there.call(&["SET", "at:x", "4"]).unwrap() == "+OK");
    agreed(&store, &["GET", "at:x"], "$4");
    assert_same(&store);
    store.stop();
}
