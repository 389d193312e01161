//! Disks that are full, and disks that are gone.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    support::{Client, Replica, Store},
    tools::{Load, SPEC, acknowledged, assert_healed, assert_undisturbed, eventually, isolated, metric, missing, run},
};

/// Gives every replica a small file system of its own, with what it had.
fn on_small_disks(store: &mut Store) {
    store.stop();
    for replica in &store.replicas {
        let dir = store.dir.join("replicas").join(&replica.name);
        let aside = dir.with_extension("aside");
        fs::rename(&dir, &aside).unwrap();
        fs::create_dir(&dir).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=160m", "tmpfs", dir.to_str().unwrap()]);
        run("cp", &["-a", &format!("{}/.", aside.display()), dir.to_str().unwrap()]);
        fs::remove_dir_all(&aside).unwrap();
    }
    store.start(&[]);
}

/// Takes all the room that is left, until removed.
fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    path
}

/// Writes 64 KiB and a small key with itself as its value.
fn write(client: &mut Client, number: u32) -> (String, String) {
    let key = format!("small:{number}");
    match client.call(&["SET", &format!("large:{}", number % 8), &"x".repeat(64 << 10)]).unwrap() {
        ok if ok == "+OK" => (client.call(&["SET", &key, &key]).unwrap(), key),
        error => (error, key),
    }
}

fn of<'s>(status: &'s Value, name: &str) -> &'s Value {
    status["replicas"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap()
}

#[test]
fn a_follower_whose_disk_is_full_harms_nobody_and_heals() {
    if !isolated("disk::a_follower_whose_disk_is_full_harms_nobody_and_heals") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{SPEC}  logRetention: {{ bytes: 4Mi }}\n"), &[]);
    on_small_disks(&mut store);
    let leader = store.replica(&store.leader()).clone();
    let full = store.replicas.iter().find(|r| r.name != leader.name).unwrap().clone();
    let filler = fill(&store.dir.join("replicas").join(&full.name));
    let mut client = leader.client();
    let mut keys = Vec::new();
    // More than the room that its log has in reserve: at the end it does not even take what is under way.
    for number in 0..1_200 {
        let (reply, key) = write(&mut client, number);
        assert_eq!(reply, "+OK", "the leader and the other follower are w = 2");
        keys.push(key);
    }
    let status = store.wait_status("full", |s| of(s, &full.name)["diskFull"] == true);
    assert_eq!(of(&status, &leader.name)["diskFull"], false);
    assert_eq!(metric(&full, "trireme_disk_full"), 1);
    let mut reader = full.client();
    assert_eq!(reader.call(&["READONLY"]).unwrap(), "+OK");
    assert_eq!(reader.call(&["GET", "small:0"]).unwrap(), "$small:0", "reads are served");
    fs::remove_file(filler).unwrap();
    let status = assert_healed(&store, &keys);
    assert_eq!(of(&status, &full.name)["diskFull"], false);
    assert_never_ended(&mut store);
}

#[test]
fn a_leader_whose_disk_is_full_refuses_writes_serves_reads_and_heals() {
    if !isolated("disk::a_leader_whose_disk_is_full_refuses_writes_serves_reads_and_heals") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{SPEC}  logRetention: {{ bytes: 4Mi }}\n"), &[]);
    on_small_disks(&mut store);
    let leader = store.replica(&store.leader()).clone();
    let follower = store.replicas.iter().find(|r| r.name != leader.name).unwrap().clone();
    let filler = fill(&store.dir.join("replicas").join(&leader.name));
    let mut client = leader.client();
    let mut keys = Vec::new();
    let refusal = (0..1_000).map(|number| write(&mut client, number)).find(|(reply, key)| {
        let ok = reply == "+OK";
        keys.extend(ok.then(|| key.clone()));
        !ok
    });
    let wanted = "-DISKFULL the leader's disk is full: writes are refused until it has room, reads are served";
    assert_eq!(refusal.unwrap().0, wanted);
    assert_eq!(follower.client().call(&["SET", "k", "v"]).unwrap(), wanted, "the same by way of a follower");
    for replica in [&leader, &follower] {
        assert_eq!(replica.client().call(&["GET", "small:0"]).unwrap(), "$small:0", "reads are served");
    }
    assert!(missing(&leader, &keys).is_empty());
    let status = store.wait_status("full", |s| of(s, &leader.name)["diskFull"] == true);
    assert_eq!(of(&status, &follower.name)["diskFull"], false);
    fs::remove_file(filler).unwrap();
    eventually("writes accepted", || client.call(&["SET", "small:x", "small:x"]).unwrap() == "+OK");
    keys.push("small:x".into());
    assert_healed(&store, &keys);
    assert_never_ended(&mut store);
}

/// Stops the store: no replica's process had ended until then.
fn assert_never_ended(store: &mut Store) {
    let pids: Vec<i32> = store.replicas.iter().map(|r| r.pid).collect();
    assert!(pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()), "a replica ended");
    store.stop();
}

/// Kills a replica and takes its directory away before it is started again.
fn lose_disk(store: &mut Store, lost: &Replica) {
    store.kill(&lost.name);
    fs::remove_dir_all(store.dir.join("replicas").join(&lost.name)).unwrap();
}

fn a_lost_disk_is_a_new_member(leads: bool) {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let leader = store.leader();
    let lost = store.replicas.iter().find(|r| (r.name == leader) == leads).unwrap().clone();
    let others: Vec<Replica> = store.replicas.iter().filter(|r| r.name != lost.name).cloned().collect();
    let before = of(&store.status(), &lost.name)["incarnation"].clone();
    let load = Load::start("l", &others);
    eventually("written", || metric(&others[0], "trireme_keys") > 100);
    lose_disk(&mut store, &lost);
    let learned = |e: &Value| e["event"] == "decision" && e["decision"] == "changed";
    let begin = Instant::now();
    store.wait_for(|e| {
        e["event"] == "decision" && e["decision"] == "changing" && e["message"].to_string().contains(&lost.name)
    });
    store.wait_for(learned);
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    let logs = load.finish();
    assert_undisturbed(&logs);
    let status = assert_healed(&store, &acknowledged(&logs));
    let now = of(&status, &lost.name);
    assert_ne!(now["incarnation"], before);
    assert_eq!((&now["member"], &now["role"]), (&true.into(), &"Follower".into()));
    assert_eq!(status["groups"][0]["oldMembers"], Value::Array(Vec::new()));
    store.stop();
}

#[test]
fn a_follower_that_lost_its_disk_becomes_a_member_again() {
    a_lost_disk_is_a_new_member(false);
}

#[test]
fn a_leader_that_lost_its_disk_becomes_a_member_again() {
    a_lost_disk_is_a_new_member(true);
}
