//! A leader in each region: what becomes of one is of no account to clients of the others, and what any of them wrote ends up in all.

use std::{collections::BTreeSet, thread};

use rustix::process::Signal;

use crate::{
    leaderless::one_way,
    support::{Client, Replica, Store},
    tools::{Load, acknowledged, assert_all_hold, assert_undisturbed, eventually, isolated},
};

const TWO: &str = "  mode: MultiLeader\n  regions: [{name: eu}, {name: us}]\n";
const THREE: &str = "  mode: MultiLeader\n  \"n\": 1\n  regions: [{name: eu}, {name: us}, {name: asia}]\n";

/// The replicas of a region.
fn region<'a>(store: &'a Store, name: &str) -> Vec<&'a Replica> {
    let prefix = format!("orders-{name}-");
    store.replicas.iter().filter(|replica| replica.name.starts_with(&prefix)).collect()
}

/// The leader of a region.
fn leader<'a>(store: &'a Store, name: &str) -> &'a Replica {
    let of = |status: &serde_json::Value| {
        let groups = status["groups"].as_array().unwrap().clone();
        groups.into_iter().find(|group| group["region"] == name && group["serving"] == true)
    };
    let status = store.wait_status("led", |status| of(status).is_some());
    store.replica(of(&status).unwrap()["leader"].as_str().unwrap())
}

/// What a replica answers from its own state.
fn local(replica: &Replica) -> Client {
    let mut client = replica.client();
    assert_eq!(client.call(&["READONLY"]).unwrap(), "+OK");
    client
}

/// All replicas come to answer this, from their own state.
fn agreed(store: &Store, command: &[&str], wanted: &str) {
    for replica in &store.replicas {
        let what = format!("{wanted} at {}", replica.name);
        eventually(&what, || local(replica).call(command).unwrap() == wanted);
    }
}

/// All digests of all replicas are the same.
fn assert_same(store: &Store) {
    eventually("the same digests", || store.run(&["verify"]).status.success());
}

/// Cuts (`-A`) or mends (`-D`) everything between the peer ports of these and those.
fn firewall(what: &str, these: &[&Replica], those: &[&Replica]) {
    for (a, b) in these.iter().flat_map(|a| those.iter().map(move |b| (a, b))) {
        one_way(what, a, b);
        one_way(what, b, a);
    }
}

#[test]
fn what_is_written_in_any_region_is_read_in_all_and_what_was_written_at_the_same_time_converges() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), TWO, &[]);
    let work = |number: usize, replica: &Replica| {
        let mut client = replica.client();
        for round in 0..50 {
            let value = format!("{number}:{round}");
            assert_eq!(client.call(&["SET", "register", &value]).unwrap(), "+OK");
            assert!(client.call(&["INCR", "counter"]).unwrap().starts_with(':'));
            assert_eq!(client.call(&["SADD", "set", &value]).unwrap(), ":1");
        }
    };
    thread::scope(|scope| {
        for (number, replica) in store.replicas.iter().enumerate() {
            scope.spawn(move || work(number, replica));
        }
    });
    agreed(&store, &["GET", "counter"], &format!("${}", 50 * store.replicas.len()));
    agreed(&store, &["SCARD", "set"], &format!(":{}", 50 * store.replicas.len()));
    assert_same(&store);
    let text = String::from_utf8(store.run(&["status"]).stdout).unwrap();
    assert!(text.contains("orders-eu-") && text.contains("orders-us-"), "{text}");
    store.stop();
}

#[test]
fn a_leader_that_is_killed_disturbs_nobody_in_another_region() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), TWO, &[]);
    let there = Load::start("us", region(&store, "us"));
    let killed = leader(&store, "eu").clone();
    let survivors: Vec<&Replica> = region(&store, "eu").into_iter().filter(|r| r.name != killed.name).collect();
    let here = Load::start("eu", survivors);
    killed.signal(Signal::KILL);
    store.wait_for(|e| e["event"] == "ended" && e["replica"] == *killed.name);
    store.wait_for(|e| e["decision"] == "serving");
    store.wait_whole();
    let (here, there) = (here.finish(), there.finish());
    assert_undisturbed(&there);
    assert_undisturbed(&here);
    let gap = there.iter().map(crate::tools::Log::gap).max().unwrap();
    println!("longest gap in the other region: {gap:?}");
    store.look_again();
    assert_same(&store);
    assert_all_hold(&store, &[acknowledged(&here), acknowledged(&there)].concat());
    store.stop();
}

#[test]
fn couch_a_region_that_is_cut_off_goes_on_and_both_sides_have_everything_afterwards() {
    if !isolated("regions::couch_a_region_that_is_cut_off_goes_on_and_both_sides_have_everything_afterwards") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), THREE, &[]);
    let (apart, rest) = (region(&store, "asia"), [region(&store, "eu"), region(&store, "us")].concat());
    let mut clients: Vec<Client> = store.replicas.iter().map(Replica::client).collect();
    assert_eq!(clients[0].call(&["SET", "gone", "old"]).unwrap(), "+OK");
    agreed(&store, &["GET", "gone"], "$old");
    firewall("-A", &apart, &rest);
    let offline = |status: &serde_json::Value| status["phase"] == "Degraded";
    store.wait_status("Degraded", offline);
    for round in 0..40 {
        for (number, client) in clients.iter_mut().enumerate() {
            assert!(client.call(&["INCR", "counter"]).unwrap().starts_with(':'));
            assert_eq!(client.call(&["SADD", "set", &format!("{number}:{round}")]).unwrap(), ":1");
        }
    }
    assert_eq!(clients[0].call(&["DEL", "gone"]).unwrap(), ":1");
    assert_eq!(clients[2].call(&["GET", "gone"]).unwrap(), "$old", "it does not know");
    firewall("-D", &apart, &rest);
    agreed(&store, &["GET", "counter"], "$120");
    agreed(&store, &["SCARD", "set"], ":120");
    agreed(&store, &["EXISTS", "gone"], ":0");
    store.wait_whole();
    assert_same(&store);
    store.stop();
}

#[test]
fn a_region_that_was_down_for_longer_than_any_log_gets_what_it_missed_and_keeps_what_it_had() {
    let root = tempfile::tempdir().unwrap();
    let spec = format!("{THREE}  logRetention:\n    bytes: 1Mi\n");
    let mut store = Store::up(root.path(), &spec, &["--no-restart"]);
    let mut clients: Vec<Client> = store.replicas.iter().map(Replica::client).collect();
    assert_eq!(clients[2].call(&["SADD", "set", "asia"]).unwrap(), ":1");
    agreed(&store, &["SCARD", "set"], ":1");
    region(&store, "asia")[0].signal(Signal::KILL);
    store.wait_for(|e| e["event"] == "ended");
    let value = "x".repeat(10_000);
    let mut keys = BTreeSet::new();
    for number in 0..400 {
        let key = format!("key{}", number % 150);
        assert_eq!(clients[number % 2].call(&["SET", &key, &format!("{number}{value}")]).unwrap(), "+OK");
        keys.insert(key);
    }
    assert_eq!(clients[0].call(&["SADD", "set", "eu"]).unwrap(), ":1");
    store.stop();
    store.start(&[]);
    for key in &keys {
        agreed(&store, &["EXISTS", key], ":1");
    }
    agreed(&store, &["SCARD", "set"], ":2");
    assert_same(&store);
    store.stop();
}

#[test]
fn a_region_that_lost_all_its_disks_begins_anew_by_force_and_gets_back_what_it_had_sent() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), TWO, &[]);
    let mut clients: Vec<Client> = ["eu", "us"].map(|name| leader(&store, name).client()).into();
    for number in 0..30 {
        for client in &mut clients {
            assert!(client.call(&["INCR", "counter"]).unwrap().starts_with(':'));
        }
        assert_eq!(clients[1].call(&["SET", &format!("us{number}"), "kept"]).unwrap(), "+OK");
    }
    agreed(&store, &["GET", "counter"], "$60");
    store.stop();
    for number in 0..3 {
        std::fs::remove_dir_all(store.dir.join(format!("replicas/orders-us-{number}"))).unwrap();
    }
    store.start(&[]);
    let nobody = |message: &str| message.contains("us") && message.contains("0 of 3 members answered");
    store.wait_status("sure that nothing is left", |status| {
        let conditions = status["conditions"].as_array().unwrap();
        conditions.iter().any(|c| c["reason"] == "MembersMissing" && nobody(c["message"].as_str().unwrap()))
    });
    let forced = store.run(&["promote", "orders-us-1", "--force", "--yes"]);
    assert!(forced.status.success(), "{forced:?}");
    store.wait_whole();
    store.look_again();
    agreed(&store, &["GET", "counter"], "$60");
    agreed(&store, &["EXISTS", "us0", "us29"], ":2");
    // Its new writes have names that nobody has seen.
    assert_eq!(leader(&store, "us").client().call(&["INCR", "counter"]).unwrap(), ":61");
    agreed(&store, &["GET", "counter"], "$61");
    assert_same(&store);
    store.stop();
}
