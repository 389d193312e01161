//! No leader: how a replica that missed something gets it: by a read, from logs, or, where no log has it any more, as the state of slots that differ.

use std::{fs, net::TcpStream};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    leaderless::{is_missed, of, one_and_others},
    support::{Client, Replica, Store},
    tools::{LEADERLESS, Load, acknowledged, assert_healed, assert_undisturbed, eventually, metric, missing},
};

/// Writes so many numbered keys of 16 KiB; their names.
fn write_much(client: &mut Client, name: &str, count: usize) -> Vec<String> {
    let value = "x".repeat(16 << 10);
    let key = |number| format!("{name}:{number}");
    for number in 0..count {
        assert_eq!(client.call(&["SET", &key(number), &value]).unwrap(), "+OK");
    }
    (0..count).map(key).collect()
}

/// How many of these keys a replica has in its own state.
fn held(replica: &Replica, keys: &[String]) -> usize {
    let mut client = replica.client();
    assert_eq!(client.call(&["READONLY"]).unwrap(), "+OK");
    assert_eq!(client.call(&["SESSION", "GUARANTEES", "NONE"]).unwrap(), "+OK");
    let count = |keys: &[String]| {
        let command: Vec<&str> = ["EXISTS"].into_iter().chain(keys.iter().map(String::as_str)).collect();
        client.call(&command).unwrap().trim_start_matches(':').parse::<usize>().unwrap()
    };
    keys.chunks(100).map(count).sum()
}

/// A number of the status's `peer`.
fn peer(status: &Value, name: &str, field: &str) -> u64 {
    of(status, name)["peer"][field].as_u64().unwrap()
}

/// Kills it, and waits until it has been started again.
fn start_again(store: &mut Store, replica: &Replica) {
    replica.signal(Signal::KILL);
    // The first one was started, too, and that may not have been read yet.
    store.wait_for(|e| e["event"] == "ended" && e["replica"] == replica.name.as_str());
    store.wait_for(|e| e["event"] == "started" && e["replica"] == replica.name.as_str());
    // Until the new process has reported, the status tells what the old one said last.
    eventually("listening again", || TcpStream::connect(replica.address).is_ok());
    store.look_again();
}

#[test]
fn cassandra_a_read_mends_a_stale_replica_before_it_is_answered() {
    let root = tempfile::tempdir().unwrap();
    // Catching up takes longer than this test: only a read can be what mends.
    let mut store = Store::up(root.path(), &format!("{LEADERLESS}  feedBytesPerSecond: 64Ki\n"), &[]);
    let [reads, writes, stale] = [0, 1, 2].map(|i| store.replicas[i].clone());
    stale.signal(Signal::STOP);
    store.wait_status("missed", |s| is_missed(s, &stale));
    let mut writer = writes.client();
    write_much(&mut writer, "before", 256);
    let keys: Vec<String> = (0..20).map(|number| format!("late:{number}")).collect();
    keys.iter().for_each(|key| assert_eq!(writer.call(&["SET", key, key]).unwrap(), "+OK"));
    start_again(&mut store, &stale);
    let stale = store.replica(&stale.name).clone();
    store.wait_status("back", |s| of(s, &stale.name)["peer"]["reaches"].as_array().map(Vec::len) == Some(3));
    // With the writer gone a read of two asks the one that is stale.
    writes.signal(Signal::STOP);
    store.wait_status("missed", |s| is_missed(s, &writes));
    assert_eq!(missing(&stale, &keys), keys, "it has caught up: nothing is left to be mended");
    let mut reader = reads.client();
    for (count, key) in keys.iter().enumerate() {
        assert_eq!(reader.call(&["GET", key]).unwrap(), format!("${key}"));
        assert_eq!(missing(&stale, &keys).len(), keys.len() - 1 - count, "it has {key} once the read is answered");
    }
    let status = store.wait_status("counted", |s| peer(s, &reads.name, "readRepairs") >= keys.len() as u64);
    assert!(of(&status, &stale.name)["lagEntries"].as_u64() > Some(0), "by reads alone: {status}");
    writes.signal(Signal::CONT);
    store.stop();
}

#[test]
fn cassandra_deleted_keys_do_not_come_back_with_a_replica_that_was_away_longer_than_any_log() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{LEADERLESS}  logRetention: {{ bytes: 1Mi }}\n"), &[]);
    let (away, others) = one_and_others(&store);
    let mut client = others[0].client();
    let (kept, deleted) = (write_much(&mut client, "kept", 40), write_much(&mut client, "deleted", 40));
    for member in ["a", "b"] {
        assert_eq!(client.call(&["SADD", "set", member]).unwrap(), ":1");
    }
    assert_eq!(client.call(&["SET", "counter", "7"]).unwrap(), "+OK");
    eventually("everywhere", || held(&away, &kept) + held(&away, &deleted) == 80);
    away.signal(Signal::STOP);
    store.wait_status("missed", |s| is_missed(s, &away));
    for key in &deleted {
        assert_eq!(client.call(&["DEL", key]).unwrap(), ":1");
    }
    assert_eq!(client.call(&["SREM", "set", "b"]).unwrap(), ":1");
    assert_eq!(client.call(&["INCR", "counter"]).unwrap(), ":8");
    let mut second = others[1].client();
    let new = [write_much(&mut client, "new", 200), write_much(&mut second, "other", 200)].concat();
    for other in &others {
        assert!(metric(other, "trireme_log_bytes") < 4 << 20, "the log holds what was missed");
    }
    start_again(&mut store, &away);
    assert_healed(&store, &[]);
    let status = store.status();
    assert!(peer(&status, &away.name, "keysRepaired") > 0, "it was not mended by comparing slots: {status}");
    assert!(peer(&status, &away.name, "repairBytes") > 0, "{status}");
    for replica in &store.replicas {
        let of = |keys: &[String]| held(replica, keys);
        assert_eq!((of(&kept), of(&new), of(&deleted)), (40, 400, 0), "{}", replica.name);
        let mut client = replica.client();
        for (command, reply) in
            [(&["SCARD", "set"][..], ":1"), (&["SISMEMBER", "set", "b"], ":0"), (&["GET", "counter"], "$8")]
        {
            assert_eq!(client.call(command).unwrap(), reply, "{command:?} at {}", replica.name);
        }
    }
    store.stop();
}

#[test]
fn riak_anti_entropy_mends_what_nobody_reads() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{LEADERLESS}  readRepair: Off\n"), &[]);
    let (away, others) = one_and_others(&store);
    away.signal(Signal::STOP);
    store.wait_status("missed", |s| is_missed(s, &away));
    let load = Load::start("l", &others);
    eventually("written", || metric(&others[0], "trireme_keys") > 500);
    start_again(&mut store, &away);
    let logs = load.finish();
    assert_undisturbed(&logs);
    let keys = acknowledged(&logs);
    assert_healed(&store, &keys);
    let status = store.status();
    for replica in &store.replicas {
        assert_eq!(peer(&status, &replica.name, "readRepairs"), 0, "nobody read: {status}");
    }
    store.stop();
}

#[test]
fn a_lost_disk_is_a_new_origin_that_learns_first() {
    let root = tempfile::tempdir().unwrap();
    // Slowly, so that it is seen to learn.
    let mut store = Store::up(root.path(), &format!("{LEADERLESS}  feedBytesPerSecond: 1Mi\n"), &[]);
    let (lost, others) = one_and_others(&store);
    let kept = write_much(&mut others[0].client(), "kept", 64);
    let mut there = lost.client();
    let theirs: Vec<String> = (0..50).map(|number| format!("theirs:{number}")).collect();
    theirs.iter().for_each(|key| assert_eq!(there.call(&["SET", key, key]).unwrap(), "+OK"));
    let before = store.status();
    let load = Load::start_reading("l", &others);
    store.kill(&lost.name);
    fs::remove_dir_all(store.dir.join("replicas").join(&lost.name)).unwrap();
    let learns = store.wait_status("a learner", |s| {
        let now = of(s, &lost.name);
        now["role"] == "Learner" || (now["reachable"] == true && now["member"] == false)
    });
    assert_eq!(of(&learns, &lost.name)["member"], false);
    let status = store.wait_status("a member", |s| {
        let now = of(s, &lost.name);
        s["phase"] == "Ready" && now["member"] == true && now["peer"]["whole"] == true
    });
    let (then, now) = (of(&before, &lost.name), of(&status, &lost.name));
    assert_ne!(now["incarnation"], then["incarnation"]);
    assert!(now["peer"]["generation"].as_u64() > then["peer"]["generation"].as_u64(), "a new name: {now}");
    assert_eq!(now["role"], "Peer");
    let logs = load.finish();
    assert_undisturbed(&logs);
    store.look_again();
    let keys: Vec<String> = acknowledged(&logs).into_iter().chain(theirs).collect();
    assert_healed(&store, &keys);
    store.replicas.iter().for_each(|replica| assert_eq!(held(replica, &kept), kept.len()));
    store.stop();
}
