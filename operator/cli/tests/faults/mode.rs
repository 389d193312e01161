//! One leader becomes a leader in each region, and one again, under its clients.

use std::{collections::BTreeSet, thread};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    regions::{agreed, assert_same, leader, region},
    support::{Replica, Store},
    tools::{Load, acknowledged, assert_all_hold, assert_undisturbed},
};

/// Addresses are taken for what it becomes: MultiLeader.
const ONE: &str = "  mode: SingleLeader # and MultiLeader later\n";
const TWO: &str = "  mode: MultiLeader\n  regions: [{name: eu}, {name: us}]\n";

fn names(store: &Store) -> BTreeSet<String> {
    store.replicas.iter().map(|replica| replica.name.clone()).collect()
}

/// The number of each group and its region.
fn groups(store: &Store) -> Vec<(u64, String)> {
    let status = store.status();
    let groups = status["groups"].as_array().unwrap();
    groups.iter().map(|g| (g["group"].as_u64().unwrap(), g["region"].as_str().unwrap_or("").to_owned())).collect()
}

/// The decisions of this kind among events so far, to the first that fits.
fn decided(store: &mut Store, decision: &str, key: &str, value: &str) -> Value {
    store.wait_for(|event| event["decision"] == decision && event[key] == value)
}

#[test]
fn a_store_changes_its_mode_and_back_and_its_clients_see_a_pause() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), ONE, &[]);
    let (first, pids) = (names(&store), store.replicas.iter().map(|r| r.pid).collect::<Vec<_>>());
    let here = store.replicas.clone();
    let load = Load::start_reading("stay", &here);
    // A connection whose session goes on, and one that waits for something all the time.
    let mut session = here[1].client();
    let mut waits = here[2].client();
    let waiting = thread::spawn(move || waits.call(&["BLPOP", "work", "0"]).map(|_| waits.reply()));
    for number in 1..=50 {
        assert_eq!(session.call(&["INCR", "counter"]).unwrap(), format!(":{number}"));
        assert_eq!(session.call(&["SADD", "set", &number.to_string()]).unwrap(), ":1");
    }
    store.apply(TWO);
    decided(&mut store, "modeChanges", "to", "MultiLeader");
    store.wait_whole();
    store.look_again();
    assert_eq!(groups(&store), [(0, "eu".to_owned()), (2, "us".to_owned())]);
    assert!(first.is_subset(&names(&store)) && names(&store).len() == 6, "{:?}", names(&store));
    let now: Vec<i32> = here.iter().map(|replica| store.replica(&replica.name).pid).collect();
    assert_eq!(now, pids, "no process was started again");
    // What was there before is in the new region, whose clients write for themselves.
    agreed(&store, &["GET", "counter"], "$50");
    agreed(&store, &["SCARD", "set"], ":50");
    let there = Load::start("us", region(&store, "us"));
    let mut abroad = leader(&store, "us").client();
    for number in 51..=100 {
        assert!(abroad.call(&["INCR", "counter"]).unwrap().starts_with(':'));
        assert!(session.call(&["INCR", "counter"]).unwrap().starts_with(':'));
        assert_eq!(abroad.call(&["SADD", "set", &format!("us{number}")]).unwrap(), ":1");
    }
    let there = there.finish();
    assert_undisturbed(&there);
    agreed(&store, &["GET", "counter"], "$150");
    assert_same(&store);
    // And back: what was acknowledged in the region that leaves is in the one that stays.
    store.apply(ONE);
    decided(&mut store, "ended", "region", "us");
    decided(&mut store, "modeChanges", "to", "SingleLeader");
    store.wait_whole();
    store.look_again();
    assert_eq!(names(&store), first);
    assert_eq!(groups(&store), [(0, String::new())]);
    assert_eq!(session.call(&["INCR", "counter"]).unwrap(), ":151");
    assert_eq!(session.call(&["RPUSH", "work", "done"]).unwrap(), ":1");
    assert_eq!(waiting.join().unwrap().unwrap().unwrap(), "$work");
    let here = load.finish();
    let gap = here.iter().map(crate::tools::Log::gap).max().unwrap();
    println!("longest gap of a client that stayed: {gap:?}");
    assert_undisturbed(&here);
    agreed(&store, &["SCARD", "set"], ":100");
    assert_all_hold(&store, &[acknowledged(&here), acknowledged(&there)].concat());
    assert_same(&store);
    store.stop();
}

#[test]
fn the_leader_dies_while_the_mode_changes_and_the_store_is_stopped_in_between() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), ONE, &[]);
    let leads = store.leader();
    let survivors: Vec<Replica> = store.replicas.iter().filter(|r| r.name != leads).cloned().collect();
    let load = Load::start("stay", &survivors);
    let killed = store.replica(&leads).clone();
    thread::scope(|scope| {
        scope.spawn(|| killed.signal(Signal::KILL));
        store.apply(TWO);
    });
    store.wait_whole();
    let here = load.finish();
    assert_undisturbed(&here);
    store.look_again();
    assert_eq!(leader(&store, "us").client().call(&["SET", "there", "1"]).unwrap(), "+OK");
    // The other region stays this time; it is asked for while nobody runs.
    store.stop();
    std::fs::write(
        &store.yaml,
        std::fs::read_to_string(&store.yaml).unwrap().replace(TWO, "  mode: SingleLeader\n  regions: [{name: us}]\n"),
    )
    .unwrap();
    store.start(&[]);
    decided(&mut store, "modeChanges", "to", "SingleLeader");
    store.wait_whole();
    store.look_again();
    assert!(names(&store).iter().all(|name| name.starts_with("orders-us-")), "{:?}", names(&store));
    assert_eq!(groups(&store), [(2, String::new())]);
    assert_all_hold(&store, &acknowledged(&here));
    agreed(&store, &["GET", "there"], "$1");
    // A region that comes then is a new one, whatever its name was before.
    store.apply(TWO);
    store.wait_whole();
    store.look_again();
    assert_eq!(groups(&store), [(2, "us".to_owned()), (3, "eu".to_owned())]);
    assert_same(&store);
    assert_all_hold(&store, &acknowledged(&here));
    store.stop();
}

#[test]
fn what_would_break_a_promise_is_refused_with_what_to_change_first() {
    let root = tempfile::tempdir().unwrap();
    let refused = |store: &Store, spec: &str, what: &str| {
        let path = root.path().join("other.yaml");
        let head = "apiVersion: trireme.dev/v1alpha1\nkind: ReplicatedStore\nmetadata:\n  name: orders\nspec:\n";
        std::fs::write(&path, format!("{head}{spec}")).unwrap();
        let output = store.run(&["apply", path.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(what), "{spec}: {said}");
    };
    let spread = "  mode: SingleLeader\n  regions: [{name: eu}, {name: us}]\n";
    let mut store = Store::up(root.path(), spread, &[]);
    refused(&store, TWO, "spec.mode: the replicas of its one leader are in several regions");
    refused(&store, "  mode: Leaderless\n", "spec.mode: the mode cannot be changed to Leaderless");
    store.stop();
    let other = root.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let mut store = Store::up(&other, TWO, &[]);
    refused(&store, spread, "spec.regions: the replicas of one of the regions stay, and of no more");
    let home = "  mode: SingleLeader\n  homeRegions: [{prefix: at, region: eu}]\n  regions: [{name: eu}]\n";
    refused(&store, home, "spec.homeRegions: in mode SingleLeader regions do not write for themselves");
    let asia = "  mode: SingleLeader\n  regions: [{name: asia}]\n";
    refused(&store, asia, "allowed: the one of its regions that stays, or none for the one whose group has the lowest");
    assert_eq!(groups(&store).len(), 2);
    store.stop();
}
