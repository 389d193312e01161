//! What sessions are shown, in every mode, while replicas die and regions are apart: no less than what they did, saw, or what that depends on.

use std::{collections::BTreeSet, time::Duration};

use rustix::process::Signal;
use trireme_cli::ledger::{
    Places,
    roam::{Roamers, Seen, Travel},
};
use trireme_sessions::Guarantee;

use crate::{
    regions::{THREE, TWO, assert_same, region},
    support::{Replica, Store},
    tools::{LEADERLESS, eventually, firewall, isolated},
};

/// Neither writes nor reads ask another replica.
const ALONE: &str = "  mode: Leaderless\n  w: 1\n  r: 1\n  writeOrder: Clock\n";
const SINGLE: &str = "  mode: SingleLeader\n  r: 1\n";

fn roamers<'a>(at: impl IntoIterator<Item = &'a Replica>, sessions: usize, travel: Travel) -> Roamers {
    let addresses = at.into_iter().map(|replica| replica.address).collect();
    let places = Places { pause: Duration::from_millis(1), ..Places::fixed(addresses) };
    Roamers::start(places, sessions, &[&["READONLY"]], &[travel])
}

fn assert_kept(seen: &Seen, least: u64, what: &str) {
    println!("{what}: {} reads, {} writes, {} visits, {} errors", seen.reads, seen.writes, seen.visits, seen.errors);
    assert!(seen.found.is_empty(), "{what}: {:?}", seen.found.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert!(seen.reads > least && seen.writes > least / 4, "{what}: {seen:?}");
}

#[test]
fn each_connection_is_shown_no_less_than_it_may_be_also_when_a_replica_dies() {
    for (spec, what) in [(SINGLE, "SingleLeader"), (TWO, "MultiLeader"), (LEADERLESS, "Leaderless")] {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::up(root.path(), spec, &[]);
        let clients = roamers(&store.replicas, 2 * store.replicas.len(), Travel::Stays);
        for which in [0, 1] {
            let victim = store.replicas[which].name.clone();
            store.kill(&victim);
            store.wait_whole();
            store.look_again();
        }
        assert_kept(&clients.finish().unwrap(), 500, what);
        assert_same(&store);
        store.stop();
    }
}

#[test]
fn a_session_goes_anywhere_with_its_token_also_when_a_replica_dies() {
    for (spec, what) in [(SINGLE, "SingleLeader"), (TWO, "MultiLeader"), (LEADERLESS, "Leaderless"), (ALONE, "alone")] {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::up(root.path(), spec, &[]);
        let clients = roamers(&store.replicas, 2 * store.replicas.len(), Travel::Token);
        for which in [0, 1] {
            let victim = store.replicas[which].name.clone();
            store.kill(&victim);
            store.wait_whole();
            store.look_again();
        }
        let seen = clients.finish().unwrap();
        assert_kept(&seen, 300, what);
        assert!(seen.lost == 0 && seen.visits > 100, "{what}: {seen:?}");
        store.stop();
    }
}

#[test]
fn reads_that_are_left_out_of_a_session_are_missed() {
    if !isolated("causal::reads_that_are_left_out_of_a_session_are_missed") {
        return;
    }
    for spec in [SINGLE, ALONE] {
        let root = tempfile::tempdir().unwrap();
        let mut store =
            Store::up(root.path(), &format!("{spec}  requestTimeout: 1s\n  session: {{ waitMs: 100 }}\n"), &[]);
        let at = if spec == SINGLE { store.leader() } else { store.replicas[0].name.clone() };
        let behind = store.replicas.iter().find(|replica| replica.name != at).unwrap().clone();
        let (mut writer, mut reader) = (store.replica(&at).client(), behind.client());
        assert_eq!(writer.call(&["SET", "a", "1"]).unwrap(), "+OK");
        assert_eq!(reader.call(&["READONLY"]).unwrap(), "+OK");
        eventually("there", || reader.call(&["GET", "a"]).unwrap() == "$1");
        firewall("-A", &behind);
        assert_eq!(writer.call(&["SET", "a", "2"]).unwrap(), "+OK");
        let token = writer.call(&["SESSION", "TOKEN"]).unwrap();
        assert_eq!(reader.call(&["SESSION", "RESUME", token.trim_start_matches('$')]).unwrap(), "+OK");
        let kept = ["SESSION", "GUARANTEES", "WritesFollowReads", "MonotonicWrites"];
        assert_eq!(reader.call(&kept).unwrap(), "+OK");
        assert_eq!(reader.call(&["GET", "a"]).unwrap(), "$1", "{spec}: less than the session wrote");
        assert_eq!(reader.call(&["SESSION", "GUARANTEES", "DEFAULT"]).unwrap(), "+OK");
        let said = reader.call(&["GET", "a"]).unwrap();
        assert!(said.starts_with('-'), "{spec}: {said}");
        firewall("-D", &behind);
        eventually("come", || {
            let said = reader.call(&["GET", "a"]).unwrap();
            assert_ne!(said, "$1", "{spec}");
            said == "$2"
        });
        store.stop();
    }
}

#[test]
fn writes_that_are_left_out_of_a_session_are_missed() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), THREE, &[]);
    let [eu, us, asia] = ["eu", "us", "asia"].map(|name| region(&store, name)[0].clone());
    // What eu writes is seen nowhere else for a while.
    store.apply_with("  annotations: {trireme.dev/pause-feeds: eu}\n", THREE);
    let (mut first, mut second, mut reader) = (eu.client(), us.client(), asia.client());
    eventually("eu is apart", || {
        assert_eq!(first.call(&["INCR", "cause"]).unwrap().chars().next(), Some(':'));
        let seen = reader.call(&["GET", "cause"]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        reader.call(&["GET", "cause"]).unwrap() == seen && first.call(&["GET", "cause"]).unwrap() != seen
    });
    let cause = first.call(&["GET", "cause"]).unwrap();
    let token = first.call(&["SESSION", "TOKEN"]).unwrap();
    assert_eq!(second.call(&["SESSION", "RESUME", token.trim_start_matches('$')]).unwrap(), "+OK");
    let said = second.call(&["SET", "effect", "1"]).unwrap();
    assert!(said.starts_with("-STALE"), "writes follow reads, and the session's own writes: {said}");
    let kept = ["SESSION", "GUARANTEES", "ReadYourWrites", "MonotonicReads"];
    assert_eq!(second.call(&kept).unwrap(), "+OK");
    assert_eq!(second.call(&["SET", "effect", "1"]).unwrap(), "+OK");
    eventually("the effect", || reader.call(&["GET", "effect"]).unwrap() == "$1");
    assert_ne!(reader.call(&["GET", "cause"]).unwrap(), cause, "it is seen without its cause");
    store.stop();
}

#[test]
fn a_session_that_is_taken_elsewhere_without_its_token_is_shown_less() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), TWO, &[]);
    let clients = roamers(&store.replicas, 8, Travel::Lost);
    // Regions are apart for a while: what is written in one is not seen in the other.
    store.apply_with("  annotations: {trireme.dev/pause-feeds: us}\n", TWO);
    eventually("a hundred of them", || clients.found() > 100);
    let seen = clients.finish().unwrap();
    let missed: BTreeSet<Guarantee> = seen.found.iter().map(|violation| violation.guarantee).collect();
    for guarantee in [Guarantee::ReadYourWrites, Guarantee::MonotonicReads] {
        assert!(missed.contains(&guarantee), "{guarantee:?} is not missed: {seen:?}");
    }
    store.stop();
}

#[test]
fn nobody_is_shown_an_effect_before_its_cause_while_a_region_takes_in_state() {
    let root = tempfile::tempdir().unwrap();
    // So that it takes a while.
    let spec = format!("{THREE}  feedBytesPerSecond: 200Ki\n  logRetention:\n    bytes: 1Mi\n");
    let mut store = Store::up(root.path(), &spec, &[]);
    let [eu, us, asia] = ["eu", "us", "asia"].map(|name| region(&store, name)[0].clone());
    asia.signal(Signal::STOP);
    // Those of asia are answered when it goes on: they look from its first moment on.
    let clients = roamers([&eu, &us, &eu, &us, &asia, &asia], 6, Travel::Stays);
    let value = "x".repeat(10_000);
    let mut writers = [&eu, &us].map(Replica::client);
    for number in 0..400 {
        // Less than what is kept aside, and with all that is written over far more than the log.
        let key = format!("key{}", number % 60);
        assert_eq!(writers[number % 2].call(&["SET", &key, &format!("{number}{value}")]).unwrap(), "+OK");
    }
    let before = clients.reads();
    asia.signal(Signal::CONT);
    let mut there = asia.client();
    assert_eq!(there.call(&["READONLY"]).unwrap(), "+OK");
    eventually("all of it", || there.call(&["EXISTS", "key0", "key59"]).unwrap() == ":2");
    eventually("a hundred reads", || clients.reads() > before + 100);
    assert_same(&store);
    let seen = clients.finish().unwrap();
    assert_kept(&seen, 50, "while state comes");
    store.stop();
}
