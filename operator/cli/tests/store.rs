//! A store on this machine, from its YAML to its end: real processes, real sockets, real disks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use rustix::process::Signal;
use support::{Client, Store};

#[allow(dead_code, reason = "shared with the tests of faults, which use more of it")]
mod support;

const SPEC: &str = "  mode: SingleLeader\n";

/// Writes numbered keys until told to stop; every one that was acknowledged, and every error.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<(Vec<String>, Vec<String>)>,
}

impl Writer {
    fn start(mut client: Client, name: &'static str) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut acknowledged, mut errors) = (Vec::new(), Vec::new());
            for number in 0.. {
                if told.load(Relaxed) {
                    break;
                }
                let key = format!("{name}:{number}");
                match client.call(&["SET", &key, &key]) {
                    Ok(reply) if reply == "+OK" => acknowledged.push(key),
                    Ok(error) => errors.push(error),
                    Err(error) => {
                        errors.push(error.to_string());
                        break;
                    }
                }
            }
            (acknowledged, errors)
        });
        Writer { stop, thread }
    }

    fn finish(self) -> (Vec<String>, Vec<String>) {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

/// Every key has itself as its value, on this replica's own state.
fn assert_holds(client: &mut Client, keys: &[String]) {
    assert_eq!(client.call(&["READONLY"]).unwrap(), "+OK");
    for key in keys {
        assert_eq!(client.call(&["GET", key]).unwrap(), format!("${key}"), "{key} was acknowledged");
    }
}

#[test]
fn a_store_is_stopped_without_a_trace_and_finds_its_data_again() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    assert_eq!(store.replicas.len(), 3);
    assert_eq!(store.replicas[0].clone().client().call(&["SET", "boat", "trireme"]).unwrap(), "+OK");
    store.stop();
    store.start(&[]);
    for replica in store.replicas.clone() {
        assert_eq!(replica.client().call(&["GET", "boat"]).unwrap(), "$trireme", "{}", replica.name);
    }
    store.stop();
    let gone = store.run(&["status"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("is not running"), "{gone:?}");
}

#[test]
fn clients_of_survivors_see_no_error_when_the_leader_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let leader = store.leader();
    let survivors: Vec<_> = store.replicas.iter().filter(|r| r.name != leader).cloned().collect();
    let writers = [Writer::start(survivors[0].client(), "a"), Writer::start(survivors[1].client(), "b")];
    thread::sleep(Duration::from_millis(300));
    store.replica(&leader).signal(Signal::KILL);
    store.wait_for(|e| e["event"] == "decision" && e["decision"] == "serving" && e["leader"] != leader.as_str());
    thread::sleep(Duration::from_millis(300));
    let (mut acknowledged, mut errors) = (Vec::new(), Vec::new());
    for writer in writers {
        let (more, wrong) = writer.finish();
        acknowledged.extend(more);
        errors.extend(wrong);
    }
    assert_eq!(errors, Vec::<String>::new());
    assert!(acknowledged.len() > 20, "only {} writes", acknowledged.len());
    store.wait_for(|e| e["event"] == "started" && e["replica"] == leader.as_str());
    store.wait_whole();
    let verified = store.run(&["verify", "--output", "json"]);
    assert!(verified.status.success(), "{verified:?}");
    for replica in store.replicas.clone() {
        assert_holds(&mut replica.client(), &acknowledged);
    }
    store.stop();
}

#[test]
fn a_stopped_leader_is_replaced_and_rejoins_when_it_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let leader = store.leader();
    let survivor = store.replicas.iter().find(|r| r.name != leader).unwrap().clone();
    let writer = Writer::start(survivor.client(), "s");
    store.replica(&leader).signal(Signal::STOP);
    store.wait_for(|e| e["event"] == "decision" && e["decision"] == "serving" && e["leader"] != leader.as_str());
    thread::sleep(Duration::from_millis(200));
    let (acknowledged, errors) = writer.finish();
    store.replica(&leader).signal(Signal::CONT);
    assert_eq!(errors, Vec::<String>::new());
    store.wait_whole();
    for replica in store.replicas.clone() {
        assert_holds(&mut replica.client(), &acknowledged);
    }
    store.stop();
}

#[test]
fn leadership_moves_when_a_person_asks() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let leader = store.leader();
    let others: Vec<String> = store.replicas.iter().map(|r| r.name.clone()).filter(|name| *name != leader).collect();
    let writer = Writer::start(store.replica(&others[0]).client(), "w");
    let moved = store.run(&["switchover", "--to", &others[0]]);
    assert!(moved.status.success(), "{moved:?}");
    assert_eq!(store.leader(), others[0]);
    store.wait_whole();
    let moved = store.run(&["promote", &others[1], "--output", "json"]);
    assert!(moved.status.success(), "{moved:?}");
    assert_eq!(store.leader(), others[1]);
    let (acknowledged, errors) = writer.finish();
    assert_eq!(errors, Vec::<String>::new());
    for wrong in [vec!["switchover", "--to", "nobody"], vec!["promote", others[1].as_str()]] {
        let refused = store.run(&wrong);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
    store.wait_whole();
    for replica in store.replicas.clone() {
        assert_holds(&mut replica.client(), &acknowledged);
    }
    let asked = store.run(&["promote", &others[0], "--force"]);
    assert_eq!(asked.status.code(), Some(2), "nobody is at a terminal, and nobody said --yes: {asked:?}");
    let forced = store.run(&["promote", &others[0], "--force", "--yes"]);
    assert!(forced.status.success(), "{forced:?}");
    let logs = store.run(&["logs", "--replicas"]);
    let text = String::from_utf8_lossy(&logs.stdout).into_owned();
    assert!(text.contains(&format!("hands over to {}", others[0])) && text.contains("INFO"), "{text}");
    let lag = store.run(&["lag", "--count", "1", "--output", "json"]);
    assert_eq!(String::from_utf8_lossy(&lag.stdout).lines().count(), 3, "{lag:?}");
    store.stop();
}

#[test]
fn a_replica_that_is_to_stay_down_stays_down() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &["--no-restart"]);
    let leader = store.leader();
    let follower = store.replicas.iter().find(|r| r.name != leader).unwrap().clone();
    follower.signal(Signal::KILL);
    let ended = store.wait_for(|e| e["event"] == "ended");
    assert_eq!((&ended["replica"], &ended["restartInMs"]), (&follower.name.as_str().into(), &serde_json::Value::Null));
    store.wait_status("Degraded", |s| s["phase"] == "Degraded");
    assert_eq!(store.replica(&leader).client().call(&["SET", "k", "v"]).unwrap(), "+OK", "w = 2 of 3");
    let verified = store.run(&["verify", "--within", "1"]);
    assert_eq!(verified.status.code(), Some(1), "a replica is missing: {verified:?}");
    store.stop();
}

#[test]
fn a_directory_in_use_or_of_another_store_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let yaml = store.yaml.to_str().unwrap().to_owned();
    let locked = store.run(&["up", &yaml]);
    assert_eq!(locked.status.code(), Some(2), "{locked:?}");
    assert!(String::from_utf8_lossy(&locked.stderr).contains("in use by process"), "{locked:?}");
    store.stop();
    let other = root.path().join("carts.yaml");
    std::fs::write(&other, std::fs::read_to_string(&yaml).unwrap().replace("name: orders", "name: carts")).unwrap();
    let foreign = store.run(&["up", other.to_str().unwrap()]);
    assert_eq!(foreign.status.code(), Some(2), "{foreign:?}");
    assert!(String::from_utf8_lossy(&foreign.stderr).contains("belongs to the store `orders`"), "{foreign:?}");
}
