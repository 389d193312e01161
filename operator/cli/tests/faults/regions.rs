//! A leader in each region: what becomes of one is of no account to clients of the others, and what any of them wrote ends up in all.

use std::{collections::BTreeSet, thread};

use rustix::process::Signal;

use crate::{
    leaderless::one_way,
    support::{Client, Replica, Store},
    tools::{Load, acknowledged, assert_all_hold, assert_undisturbed, eventually, isolated, metric},
};

pub const TWO: &str = "  mode: MultiLeader\n  regions: [{name: eu}, {name: us}]\n";
pub const THREE: &str = "  mode: MultiLeader\n  \"n\": 1\n  regions: [{name: eu}, {name: us}, {name: asia}]\n";

/// The replicas of a region.
pub fn region<'a>(store: &'a Store, name: &str) -> Vec<&'a Replica> {
    let prefix = format!("orders-{name}-");
    store.replicas.iter().filter(|replica| replica.name.starts_with(&prefix)).collect()
}

/// The leader of a region.
pub fn leader<'a>(store: &'a Store, name: &str) -> &'a Replica {
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
pub fn agreed(store: &Store, command: &[&str], wanted: &str) {
    for replica in &store.replicas {
        let what = format!("{wanted} at {}", replica.name);
        eventually(&what, || local(replica).call(command).unwrap() == wanted);
    }
}

/// All digests of all replicas are the same.
pub fn assert_same(store: &Store) {
    eventually("the same digests", || store.run(&["verify"]).status.success());
}

/// Cuts (`-A`) or mends (`-D`) everything between the peer ports of these and those.
pub fn firewall(what: &str, these: &[&Replica], those: &[&Replica]) {
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
fn what_goes_from_region_to_region_is_made_smaller_unless_that_is_switched_off() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), THREE, &[]);
    let sent = |leader: &Replica| {
        let bytes = ["trireme_feed_sent_bytes_total", "trireme_feed_compressed_bytes_total"];
        bytes.map(|name| metric(leader, name))
    };
    let eu = leader(&store, "eu").clone();
    let write = |round: usize| {
        let mut client = eu.client();
        for batch in 0..50 {
            let pairs =
                (0..50).flat_map(|i| [format!("key:{round}:{batch}:{i}"), format!("the value of {i} ").repeat(6)]);
            let command: Vec<String> = std::iter::once("MSET".to_owned()).chain(pairs).collect();
            assert_eq!(client.call(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap(), "+OK");
        }
        agreed(&store, &["DBSIZE"], &format!(":{}", 2_500 * (round + 1)));
    };
    write(0);
    let [plain, wire] = sent(&eu);
    assert!(plain > 2_500 * 80 && wire < plain / 2, "{plain} bytes went as {wire}");
    store.apply(&format!("{THREE}  feedCompression: Off\n"));
    // The record says so with its next version: what is sent until then is no matter.
    eventually("switched off", || {
        let [plain, wire] = sent(&eu);
        assert_eq!(eu.client().call(&["SET", "key:0:0:0", &"x".repeat(10_000)]).unwrap(), "+OK");
        agreed(&store, &["STRLEN", "key:0:0:0"], ":10000");
        assert_eq!(eu.client().call(&["SET", "key:0:0:0", "y"]).unwrap(), "+OK");
        agreed(&store, &["STRLEN", "key:0:0:0"], ":1");
        let [plain_now, wire_now] = sent(&eu);
        plain_now - plain == wire_now - wire
    });
    let [plain, wire] = sent(&eu);
    write(1);
    let [plain_now, wire_now] = sent(&eu);
    assert_eq!(plain_now - plain, wire_now - wire, "as it is");
    assert_same(&store);
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
    store.kill(&killed.name);
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
    // The record and all disks of the region are lost at once: nobody can force anything, and it goes on under names that were never used.
    store.stop();
    std::fs::remove_file(store.dir.join("topology.json")).unwrap();
    for number in 0..3 {
        std::fs::remove_dir_all(store.dir.join(format!("replicas/orders-us-{number}"))).unwrap();
    }
    store.start(&[]);
    store.wait_whole();
    store.look_again();
    let status = store.status();
    let group = status["groups"].as_array().unwrap().iter().find(|group| group["region"] == "us").unwrap();
    assert_eq!(group["generation"], 3, "{status:#}");
    agreed(&store, &["GET", "counter"], "$61");
    assert_eq!(leader(&store, "us").client().call(&["INCR", "counter"]).unwrap(), ":62");
    agreed(&store, &["GET", "counter"], "$62");
    assert_same(&store);
    store.stop();
}

#[test]
fn what_a_region_that_lost_its_disks_had_not_sent_is_counted_and_said() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), TWO, &[]);
    assert_eq!(leader(&store, "us").client().call(&["SET", "sent", "1"]).unwrap(), "+OK");
    agreed(&store, &["GET", "sent"], "$1");
    let apart = root.path().join("apart.yaml");
    let head = "apiVersion: trireme.dev/v1alpha1\nkind: ReplicatedStore\nmetadata:\n  name: orders\n  annotations: {trireme.dev/pause-feeds: us}\n";
    std::fs::write(&apart, format!("{head}spec:\n{TWO}")).unwrap();
    assert!(store.run(&["apply", apart.to_str().unwrap()]).status.success());
    for number in 0..30 {
        assert_eq!(leader(&store, "us").client().call(&["SET", &format!("us{number}"), "alone"]).unwrap(), "+OK");
    }
    let committed = |status: &serde_json::Value| {
        let replicas = status["replicas"].as_array().unwrap();
        replicas
            .iter()
            .filter(|r| r["name"].as_str().unwrap().contains("-us-"))
            .all(|r| r["commit"].as_u64() >= Some(32))
    };
    store.wait_status("heard of by the operator", committed);
    for replica in region(&store, "us") {
        replica.signal(Signal::KILL);
        std::fs::remove_dir_all(store.dir.join(format!("replicas/{}", replica.name))).unwrap();
    }
    let said = |message: &str| message.contains("at least 30 entries that it had are in no other region");
    store.wait_status("counted", |status| {
        let conditions = status["conditions"].as_array().unwrap();
        conditions.iter().any(|c| c["reason"] == "MembersMissing" && said(c["message"].as_str().unwrap()))
    });
    let forced = store.run(&["promote", "orders-us-1", "--force", "--yes"]);
    assert!(forced.status.success(), "{forced:?}");
    let begun = store.wait_for(|e| e["decision"] == "begunAnew");
    assert_eq!(begun["alone"], 30, "{begun}");
    store.apply(TWO);
    store.wait_whole();
    store.look_again();
    agreed(&store, &["EXISTS", "sent", "us0"], ":1");
    let newest = &store.status()["failovers"][0];
    assert_eq!((&newest["atRisk"], &newest["forced"]), (&30.into(), &true.into()), "{newest}");
    assert_same(&store);
    store.stop();
}

const WITHOUT_ASIA: &str = "  mode: MultiLeader\n  \"n\": 1\n  regions: [{name: eu}, {name: us}]\n";

#[test]
fn a_region_is_taken_away_under_load_and_nothing_that_it_acknowledged_is_lost_and_it_can_come_back() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), THREE, &[]);
    let asia = region(&store, "asia")[0].clone();
    let elsewhere = Load::start("stay", [region(&store, "eu"), region(&store, "us")].concat());
    // Clients there write until they are told that no more writes are taken.
    let writer = |number: usize| {
        let mut client = asia.client();
        thread::spawn(move || {
            for round in 0..u64::MAX {
                let answer = client.call(&["SADD", "set", &format!("{number}:{round}")]).unwrap();
                if answer != ":1" {
                    return (round, answer);
                }
            }
            (0, String::new())
        })
    };
    let writers: Vec<_> = (0..4).map(writer).collect();
    let mut waits = asia.client();
    let waiting = thread::spawn(move || waits.call(&["BLPOP", "nothing", "0"]).unwrap());
    eventually("some writes", || {
        let count = asia.client().call(&["SCARD", "set"]).unwrap();
        count[1..].parse::<u64>().unwrap() > 500
    });
    store.apply(WITHOUT_ASIA);
    let mut acknowledged = 0;
    for writer in writers {
        let (count, refused) = writer.join().unwrap();
        acknowledged += count;
        assert!(refused.starts_with("-REGIONLEAVES the region asia leaves the store"), "{refused}");
        assert!(refused.contains("Write in eu (127.") && refused.contains(" or us (127."), "{refused}");
    }
    assert!(waiting.join().unwrap().starts_with("-REGIONLEAVES "));
    assert_undisturbed(&elsewhere.finish());
    store.wait_for(|e| e["decision"] == "left" && e["region"] == "asia" && e["heldBy"].as_array().unwrap().len() == 2);
    store.wait_for(|e| e["decision"] == "ended");
    store.look_again();
    assert_eq!(store.replicas.len(), 2, "{:?}", store.replicas);
    assert!(!std::path::Path::new(&format!("/proc/{}", asia.pid)).exists(), "its process has ended");
    agreed(&store, &["SCARD", "set"], &format!(":{acknowledged}"));
    store.wait_whole();
    // A new region of the same name: its replicas and what they write have other numbers, and it gets everything.
    store.apply(THREE);
    store.wait_whole();
    store.look_again();
    let status = store.status();
    let group = |name: &str| status["groups"].as_array().unwrap().iter().find(|g| g["region"] == name).unwrap().clone();
    assert_eq!(group("asia")["group"], 4, "{status:#}");
    agreed(&store, &["SCARD", "set"], &format!(":{acknowledged}"));
    assert_eq!(region(&store, "asia")[0].client().call(&["SADD", "set", "again"]).unwrap(), ":1");
    agreed(&store, &["SCARD", "set"], &format!(":{}", acknowledged + 1));
    assert_same(&store);
    store.stop();
}

#[test]
fn a_region_that_is_down_does_not_leave_until_a_person_gives_it_up() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), THREE, &["--no-restart"]);
    let asia = region(&store, "asia")[0].clone();
    assert_eq!(asia.client().call(&["SET", "sent", "1"]).unwrap(), "+OK");
    agreed(&store, &["GET", "sent"], "$1");
    store.kill(&asia.name);
    let file = |annotations: &str| {
        let path = root.path().join("less.yaml");
        let head = "apiVersion: trireme.dev/v1alpha1\nkind: ReplicatedStore\nmetadata:\n  name: orders\n";
        std::fs::write(&path, format!("{head}{annotations}spec:\n{WITHOUT_ASIA}")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    thread::scope(|scope| {
        let (first, dir) = (file(""), store.dir.clone());
        let waits =
            scope.spawn(move || crate::support::trireme().args(["apply", &first, "--dir"]).arg(dir).output().unwrap());
        let message = |status: &serde_json::Value| {
            let conditions = status["conditions"].as_array().unwrap();
            conditions.iter().find(|c| c["reason"] == "RegionLeaves").map(|c| c["message"].as_str().unwrap().to_owned())
        };
        let status = store.wait_status("waiting", |status| message(status).is_some());
        let text = message(&status).unwrap();
        assert!(
            text.contains("its leader does not serve") && text.contains("trireme.dev/give-up-region: asia"),
            "{text}"
        );
        let given = store.run(&["apply", &file("  annotations: {trireme.dev/give-up-region: asia}\n")]);
        assert!(given.status.success(), "{given:?}");
        assert!(!waits.join().unwrap().status.success(), "another file has been applied since");
    });
    let left = store.wait_for(|e| e["decision"] == "left");
    assert_eq!((&left["region"], &left["givenUp"]), (&"asia".into(), &0.into()), "{left}");
    store.look_again();
    agreed(&store, &["GET", "sent"], "$1");
    store.wait_whole();
    assert_same(&store);
    store.stop();
}
