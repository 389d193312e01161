//! No leader: replicas that die, stop, or cannot reach each other, while clients read and write at the others. What Dynamo, Cassandra and Riak are known
//! for has the name of whoever is known for it.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    support::{Replica, Store},
    tools::{
        LEADERLESS, Load, acknowledged, assert_healed, assert_undisturbed, eventually, isolated, missing, run, slowest,
    },
};

/// Silence counts only after four seconds, so that whoever waited for that would be seen.
const SUSPICION: &str = "  failover: { suspicion: 4s }\n";
/// Longest that a request may take on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_millis(1_500);

/// What the status says of a replica.
pub fn of<'s>(status: &'s Value, name: &str) -> &'s Value {
    status["replicas"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap()
}

/// The condition of this kind.
pub fn condition<'s>(status: &'s Value, kind: &str) -> &'s Value {
    status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

/// It is said that a replica is missing, and that others serve.
pub fn is_missed(status: &Value, replica: &Replica) -> bool {
    let said =
        |kind: &str| condition(status, kind)["message"].as_str().is_some_and(|said| said.contains(&replica.name));
    said("Degraded") && !said("Ready")
}

/// The last replica, and the others.
pub fn one_and_others(store: &Store) -> (Replica, Vec<Replica>) {
    let (one, others) = store.replicas.split_last().unwrap();
    (one.clone(), others.to_vec())
}

/// So many requests more are answered.
fn more(replica: &Replica, count: u64) {
    let commands = || crate::tools::metric(replica, "trireme_commands_total");
    let before = commands();
    eventually("more requests", || commands() >= before + count);
}

/// No request at these failed, and none waited for anything but an answer.
fn assert_no_pause(logs: &[crate::tools::Log]) {
    assert_undisturbed(logs);
    let (worst, p99) = slowest(logs);
    println!("worst request {worst:?}, 99 of 100 within {p99:?}");
    assert!(worst < AT_ONCE, "{worst:?}");
}

#[test]
fn dynamo_any_node_takes_writes_and_reads() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), LEADERLESS, &[]);
    let load = Load::start_reading("l", &store.replicas);
    for (number, at) in store.replicas.iter().enumerate() {
        let mut writer = at.client();
        for round in 0..20 {
            let (key, value) = (format!("k:{number}:{round}"), format!("{round}"));
            assert_eq!(writer.call(&["SET", &key, &value]).unwrap(), "+OK");
            for other in &store.replicas {
                let read = other.client().call(&["GET", &key]).unwrap();
                assert_eq!(read, format!("${value}"), "written at {}, read at {}", at.name, other.name);
            }
        }
    }
    let logs = load.finish();
    assert_undisturbed(&logs);
    let status = assert_healed(&store, &acknowledged(&logs));
    assert!(status["groups"][0]["leader"] == "" && status["groups"][0]["r"] == 2, "{status}");
    store.stop();
}

#[test]
fn dynamo_a_killed_node_disturbs_nobody_and_gets_what_it_missed() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{LEADERLESS}{SUSPICION}"), &[]);
    let (killed, others) = one_and_others(&store);
    let load = Load::start_reading("l", &others);
    let there = Load::start("k", [&killed]);
    more(&others[0], 200);
    store.kill(&killed.name);
    more(&others[0], 200);
    store.wait_for(|e| e["event"] == "started" && e["replica"] == killed.name.as_str());
    more(&others[0], 200);
    let (logs, there) = (load.finish(), there.finish());
    assert_no_pause(&logs);
    // Its own clients were disconnected, and what it had answered them is not lost.
    assert!(there[0].errors.is_empty() && there[0].ended.is_some(), "{there:?}");
    let keys: Vec<String> = acknowledged(&logs).into_iter().chain(acknowledged(&there)).collect();
    let status = assert_healed(&store, &keys);
    assert!(of(&status, &killed.name)["peer"]["generation"].as_u64() > Some(0), "{status}");
    store.stop();
}

#[test]
fn dynamo_w_and_r_of_n_are_honoured_where_two_of_three_are_down() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{LEADERLESS}{SUSPICION}"), &["--no-restart"]);
    let (left, dead) = one_and_others(&store);
    let mut client = left.client();
    assert_eq!(client.call(&["SET", "before", "before"]).unwrap(), "+OK");
    dead.iter().for_each(|replica| replica.signal(Signal::KILL));
    for _ in &dead {
        store.wait_for(|e| e["event"] == "ended");
    }
    for command in [&["SET", "k", "v"][..], &["GET", "before"], &["INCR", "n"], &["DEL", "before"], &["SADD", "s", "m"]]
    {
        // A connection that ends is noticed at once, whatever the suspicion time is.
        let begin = Instant::now();
        let reply = client.call(command).unwrap();
        assert!(begin.elapsed() < AT_ONCE, "{command:?}: {:?}", begin.elapsed());
        let named = dead.iter().all(|replica| reply.contains(&replica.name));
        assert!(reply.starts_with("-NOREPLICAS ") && named && reply.contains("n=3"), "{command:?}: {reply}");
    }
    let status = store.wait_status("down", |s| condition(s, "Ready")["reason"] == "QuorumsLost");
    assert_eq!(status["phase"], "Down");
    let message = condition(&status, "Ready")["message"].as_str().unwrap();
    assert!(dead.iter().all(|replica| message.contains(&replica.name)), "{message}");
    assert_eq!(client.call(&["READONLY"]).unwrap(), "+OK");
    assert_eq!(client.call(&["SESSION", "GUARANTEES", "NONE"]).unwrap(), "+OK");
    assert_eq!(
        client.call(&["GET", "before"]).unwrap(),
        "$before",
        "what it has itself it says to whom that is enough"
    );
    store.stop();
    store.start(&[]);
    assert_healed(&store, &["before".into()]);
    assert_eq!(
        store.replicas[0].client().call(&["EXISTS", "k", "n", "s"]).unwrap(),
        ":0",
        "what was refused was not done"
    );
    store.stop();
}

#[test]
fn cassandra_one_copy_and_one_answer_go_on_where_two_of_three_are_down() {
    let root = tempfile::tempdir().unwrap();
    let spec = "  mode: Leaderless\n  w: 1\n  r: 1\n  writeOrder: Clock\n";
    let mut store = Store::up(root.path(), spec, &["--no-restart"]);
    let (left, dead) = one_and_others(&store);
    let load = Load::start_reading("l", [&left]);
    more(&left, 50);
    dead.iter().for_each(|replica| replica.signal(Signal::KILL));
    for _ in &dead {
        store.wait_for(|e| e["event"] == "ended");
    }
    more(&left, 200);
    let status = store.wait_status("said to be degraded", |s| {
        let message = condition(s, "Degraded")["message"].as_str().unwrap_or_default().to_owned();
        dead.iter().all(|replica| message.contains(&replica.name))
    });
    assert_eq!((&status["phase"], &condition(&status, "Ready")["status"]), (&"Degraded".into(), &"True".into()));
    let logs = load.finish();
    assert_no_pause(&logs);
    store.stop();
    store.start(&[]);
    assert_healed(&store, &acknowledged(&logs));
    store.stop();
}

#[test]
fn a_stopped_replica_slows_nobody_and_is_mended() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), LEADERLESS, &[]);
    let (stopped, others) = one_and_others(&store);
    let before = Load::start_reading("b", &others);
    more(&others[0], 500);
    let before = before.finish();
    assert_undisturbed(&before);
    stopped.signal(Signal::STOP);
    let load = Load::start_reading("l", &others);
    let status = store.wait_status("missed", |s| is_missed(s, &stopped));
    assert_eq!(condition(&status, "Ready")["status"], "True", "{status}");
    more(&others[0], 2_000);
    let logs = load.finish();
    assert_no_pause(&logs);
    let (with, without) = (slowest(&before).1, slowest(&logs).1);
    assert!(without < 5 * with + Duration::from_millis(20), "99 of 100: {without:?}, before {with:?}");
    stopped.signal(Signal::CONT);
    let keys: Vec<String> = acknowledged(&logs).into_iter().chain(acknowledged(&before)).collect();
    assert_healed(&store, &keys);
    store.stop();
}

/// Drops (`-A`) or lets through again (`-D`) what one replica's address sends to another's peer connections.
pub fn one_way(what: &str, from: &Replica, to: &Replica) {
    let (from, to) = (from.address.ip().to_string(), to.address.ip().to_string());
    let ports = ["-p", "tcp", "-m", "multiport", "--ports", "7600"];
    run("iptables", &[&["-w", what, "INPUT", "-s", &from, "-d", &to][..], &ports, &["-j", "DROP"]].concat());
}

#[test]
fn two_that_do_not_reach_each_other_go_on_by_way_of_the_third_in_each_direction() {
    if !isolated("leaderless::two_that_do_not_reach_each_other_go_on_by_way_of_the_third_in_each_direction") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), LEADERLESS, &[]);
    let [a, _, c] = [0, 1, 2].map(|i| store.replicas[i].clone());
    let mut keys = Vec::new();
    for (round, (from, to)) in [(&a, &c), (&c, &a)].into_iter().enumerate() {
        let load = Load::start_reading(&format!("l{round}"), &store.replicas);
        more(&a, 100);
        one_way("-A", from, to);
        let said = |s: &Value, who: &Replica| of(s, &who.name)["peer"]["reaches"].as_array().map_or(3, Vec::len) == 2;
        store.wait_status("said", |s| said(s, &a) && said(s, &c));
        let status = store.status();
        let message = condition(&status, "Degraded")["message"].as_str().unwrap();
        assert!(message.contains(&format!("does not reach {}", c.name)), "{message}");
        assert_eq!(condition(&status, "Ready")["status"], "True");
        more(&a, 300);
        let logs = load.finish();
        assert_no_pause(&logs);
        // They are not connected, and yet each has what was written at the other.
        keys.extend(acknowledged(&logs));
        for replica in [&a, &c] {
            eventually("handed on", || missing(replica, &keys).is_empty());
        }
        one_way("-D", from, to);
        store.wait_whole();
    }
    assert_healed(&store, &keys);
    store.stop();
}

#[test]
fn dynamo_who_is_cut_off_refuses_and_the_majority_goes_on_in_each_direction() {
    if !isolated("leaderless::dynamo_who_is_cut_off_refuses_and_the_majority_goes_on_in_each_direction") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{LEADERLESS}  requestTimeout: 2s\n"), &[]);
    let (cut, others) = one_and_others(&store);
    let mut keys = Vec::new();
    for (round, inwards) in [true, false].into_iter().enumerate() {
        let (here, there) =
            (Load::start_reading(&format!("o{round}"), &others), Load::start(&format!("c{round}"), [&cut]));
        let firewall = |what: &str| {
            for other in &others {
                let (from, to) = if inwards { (other, &cut) } else { (&cut, other) };
                one_way(what, from, to);
            }
        };
        more(&others[0], 100);
        firewall("-A");
        let alone = |s: &Value| of(s, &cut.name)["peer"]["reaches"].as_array().map(Vec::len) == Some(1);
        let status = store.wait_status("alone", alone);
        let degraded = condition(&status, "Degraded")["message"].as_str().unwrap().to_owned();
        assert!(degraded.contains(&cut.name), "{degraded}");
        more(&others[0], 200);
        let mut client = cut.client();
        let begin = Instant::now();
        let reply = client.call(&["GET", "nothing"]).unwrap();
        assert!(reply.starts_with("-NOREPLICAS ") && others.iter().all(|o| reply.contains(&o.name)), "{reply}");
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
        firewall("-D");
        eventually("answered again", || client.call(&["GET", "nothing"]).unwrap() == "$-1");
        thread::sleep(Duration::from_millis(50));
        let (here, there) = (here.finish(), there.finish());
        assert_no_pause(&here);
        let known = |e: &String| ["-NOREPLICAS ", "-INDOUBT "].iter().any(|kind| e.starts_with(kind));
        // A write that only waited for copies may have got them when the way was open again: then it saw no error.
        assert!(there[0].errors.iter().all(known), "{:?}", there[0].errors.first());
        keys.extend(acknowledged(&here).into_iter().chain(acknowledged(&there)));
    }
    assert_healed(&store, &keys);
    store.stop();
}
