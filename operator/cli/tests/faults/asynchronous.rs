//! w = 1: the leader alone acknowledges. What it had alone when it was lost is at risk, and accounted for.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    support::{Replica, Store},
    tools::{Load, acknowledged, assert_healed, assert_undisturbed, leader_alone, missing},
};

/// Writes that only the leader has: few, they have to be done before the others are started again.
const ALONE: usize = 10;

fn spec(give_up_after: &str, unreplicated: &str) -> String {
    format!(
        "  mode: SingleLeader\n  w: 1\n  failover: {{ giveUpAfter: {give_up_after}, unreplicated: {unreplicated} }}\n"
    )
}

#[test]
fn the_others_go_on_after_the_time_to_give_up() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &spec("400ms", "Recover"), &[]);
    let leader = store.leader();
    let others: Vec<Replica> = store.replicas.iter().filter(|r| r.name != leader).cloned().collect();
    let load = Load::start("l", &others);
    std::thread::sleep(Duration::from_millis(200));
    store.replica(&leader).signal(Signal::KILL);
    let served = store.wait_for(|e| e["decision"] == "serving" && e["leader"] != leader.as_str());
    let took = served["tookMs"].as_u64().unwrap();
    assert!((400..900).contains(&took), "giveUpAfter is 400 ms: {served}");
    std::thread::sleep(Duration::from_millis(200));
    let logs = load.finish();
    assert_undisturbed(&logs);
    let status = store.wait_whole();
    let failover = &status["failovers"][0];
    assert_eq!((&failover["from"], &failover["forced"]), (&leader.as_str().into(), &false.into()));
    assert_eq!(failover["lost"], 0);
    assert_healed(&store, &acknowledged(&logs));
    store.stop();
}

/// Has the leader acknowledge writes alone, and be replaced; it comes back when this returns. The keys, and the old leader's name.
fn lose_a_tail(store: &mut Store) -> (Vec<String>, String) {
    let leader = leader_alone(store);
    let mut client = leader.client();
    let keys: Vec<String> = (0..ALONE).map(|number| format!("alone:{number}")).collect();
    for key in &keys {
        assert_eq!(client.call(&["SET", key, key]).unwrap(), "+OK");
    }
    // It cannot send them to the others, which are started again after a second.
    leader.signal(Signal::STOP);
    store.wait_for(|e| e["decision"] == "serving" && e["leader"] != leader.name.as_str());
    let new = store.replica(&store.leader()).clone();
    assert_eq!(missing(&new, &keys), keys, "the new leader cannot have them");
    assert_eq!(new.client().call(&["SET", "alone:0", "newer"]).unwrap(), "+OK");
    leader.signal(Signal::KILL);
    (keys, leader.name)
}

fn failover<'s>(status: &'s Value, from: &str) -> &'s Value {
    let failovers = status["failovers"].as_array().unwrap();
    failovers.iter().find(|f| f["from"] == from).unwrap_or_else(|| panic!("no failover from {from}: {failovers:?}"))
}

#[test]
fn a_tail_that_only_the_old_leader_had_is_recovered() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &spec("300ms", "Recover"), &[]);
    let (keys, old) = lose_a_tail(&mut store);
    // The status is put together from what two replicas say, one after the other.
    let status = store.wait_status("recovered", |s| {
        let counted = failover(s, &old);
        s["phase"] == "Ready" && counted["recovered"] == ALONE && counted["atRisk"].as_u64() >= Some(ALONE as u64)
    });
    let counted = failover(&status, &old);
    assert_eq!((&counted["lost"], &counted["provablyUnacknowledged"]), (&0.into(), &0.into()), "{counted}");
    // What was written since is newer, and stays.
    assert_healed(&store, &keys[1..]);
    for replica in store.replicas.clone() {
        assert_eq!(replica.client().call(&["GET", "alone:0"]).unwrap(), "$newer");
    }
    store.stop();
}

#[test]
fn a_tail_that_is_to_be_discarded_is_counted_as_lost() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &spec("300ms", "Discard"), &[]);
    let (keys, old) = lose_a_tail(&mut store);
    let status = store.wait_status("cut", |s| s["phase"] == "Ready" && failover(s, &old)["lost"] == ALONE);
    let counted = failover(&status, &old);
    assert_eq!((&counted["recovered"], &counted["provablyUnacknowledged"]), (&0.into(), &0.into()), "{counted}");
    assert_healed(&store, &[]);
    for replica in &store.replicas {
        assert_eq!(missing(replica, &keys[1..]), keys[1..]);
    }
    store.stop();
}
