//! What a store promises, measured while it is broken.

use std::{thread, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::Store;

const QUIET: &str = "  mode: SingleLeader\n  \"n\": 3\n  w: 2\n  durability: Memory\n";
const LEADERLESS: &str = "  mode: Leaderless\n  \"n\": 3\n  w: 2\n  r: 2\n  durability: Memory\n";
const SLO: &str = "  slo:\n    writeGap: 300ms\n    staleness: 300ms\n    objective: 99%\n    window: 1h\n";

fn count(status: &Value, objective: &str, which: &str) -> u64 {
    status["slo"][objective][which].as_u64().unwrap_or(0)
}

/// Waits until so much more was measured.
fn measure(store: &Store, more: u64) -> Value {
    let before = count(&store.status(), "writeGap", "total");
    store.wait_status("measured", |s| count(s, "writeGap", "total") >= before + more)
}

#[test]
fn what_a_store_promises_is_measured_while_its_replicas_are_stopped() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), QUIET, &[]);
    let leader = store.replica(&store.leader()).clone();
    store.wait_whole();
    assert_eq!(store.status()["slo"], Value::Null, "nothing is promised");

    // Nothing happens: nothing is spent, and nothing of it is to be seen.
    store.apply(&format!("{QUIET}{SLO}"));
    store.wait_status("measured", |s| count(s, "writeGap", "total") >= 20 && count(s, "staleness", "total") >= 20);
    let quiet = measure(&store, 30);
    let bad = |status: &Value| (count(status, "writeGap", "bad"), count(status, "staleness", "bad"));
    assert_eq!(bad(&quiet), (0, 0), "{:#}", quiet["slo"]);
    let promised = &quiet["slo"]["writeGap"];
    assert!(
        promised["objective"] == "99%" && promised["within"] == "300ms" && promised["window"] == "1h",
        "{promised:#}"
    );
    let mut client = leader.client();
    assert_eq!(client.call(&["DBSIZE"]).unwrap(), ":0");
    assert_eq!(client.call(&["SET", "a", "1"]).unwrap(), "+OK");
    assert_eq!(client.call(&["DBSIZE"]).unwrap(), ":1");
    store.wait_status("the same everywhere", |s| {
        let digests: Vec<&Value> = s["replicas"].as_array().unwrap().iter().map(|r| &r["digest"]).collect();
        digests.iter().all(|digest| *digest == digests[0])
    });

    // A follower that is stopped is not known to have ended: whoever reads there may be shown what is old.
    let follower = store.replicas.iter().find(|r| r.name != leader.name).unwrap().clone();
    follower.signal(Signal::STOP);
    store.wait_status("stale", |s| count(s, "staleness", "bad") >= 10);
    follower.signal(Signal::CONT);
    store.wait_whole();
    let stale = measure(&store, 10);
    let again = measure(&store, 20);
    assert_eq!(bad(&again), bad(&stale), "it has caught up");
    assert_eq!(bad(&again).0, 0, "writes went on: {:#}", again["slo"]);

    // A leader that is stopped is found out after a second: writes wait for longer than is promised.
    leader.signal(Signal::STOP);
    store.wait_for(|e| e["decision"] == "serving" && e["leader"] != leader.name.as_str());
    let gap = measure(&store, 10);
    leader.signal(Signal::CONT);
    assert!((8..=60).contains(&bad(&gap).0), "{:#}", gap["slo"]);
    assert!(gap["slo"]["writeGap"]["burnRate"].as_f64().unwrap() > 1.0, "{:#}", gap["slo"]);

    let text = String::from_utf8(store.run(&["status"]).stdout).unwrap();
    assert!(text.contains("writes acknowledged within 300ms") && text.contains("reads no older than 300ms"), "{text}");
    // One that has ended shows nobody what is old.
    store.wait_whole();
    let before = measure(&store, 10);
    let follower = store.replicas.iter().find(|r| r.name != store.leader()).unwrap().name.clone();
    store.kill(&follower);
    store.wait_whole();
    let after = measure(&store, 10);
    assert!(bad(&after).1 <= bad(&before).1 + 2, "{:#}{:#}", before["slo"], after["slo"]);
    store.stop();
}

#[test]
fn without_a_leader_writes_go_on_and_who_is_stopped_is_stale() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{LEADERLESS}{SLO}"), &[]);
    store.wait_status("measured", |s| count(s, "writeGap", "total") >= 30);
    let quiet = measure(&store, 20);
    assert_eq!(count(&quiet, "staleness", "bad"), 0, "{:#}", quiet["slo"]);
    let last = store.replicas.last().unwrap().clone();
    last.signal(Signal::STOP);
    store.wait_status("stale", |s| count(s, "staleness", "bad") >= 5);
    thread::sleep(Duration::from_millis(300));
    last.signal(Signal::CONT);
    let after = store.wait_whole();
    assert_eq!(count(&after, "writeGap", "bad"), 0, "{:#}", after["slo"]);
    let mut client = last.client();
    assert_eq!(client.call(&["DBSIZE"]).unwrap(), ":0");
    store.stop();
}
