//! Leaders that stop, end, or are left alone.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    support::{Replica, Store},
    tools::{Load, SPEC, acknowledged, assert_healed, assert_undisturbed, eventually},
};

/// The arguments of a replica's process.
fn arguments(replica: &Replica) -> Vec<String> {
    let line = fs::read(format!("/proc/{}/cmdline", replica.pid)).unwrap();
    line.split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .map(|part| String::from_utf8(part.to_vec()).unwrap())
        .collect()
}

/// Starts a replica by hand. It ends with its input.
fn start(arguments: &[String]) -> Child {
    let mut command = Command::new(&arguments[0]);
    command.args(&arguments[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Kills two of three replicas, which stay down; the third, and the arguments of one of the dead.
fn leave_one(store: &mut Store, survivor_leads: bool) -> (Replica, Vec<String>, [String; 2]) {
    let leader = store.leader();
    let survivor = store.replicas.iter().find(|r| (r.name == leader) == survivor_leads).unwrap().clone();
    let dead: Vec<Replica> = store.replicas.iter().filter(|r| r.name != survivor.name).cloned().collect();
    let arguments = arguments(&dead[0]);
    assert_eq!(survivor.client().call(&["SET", "before", "before"]).unwrap(), "+OK");
    store.wait_status("committed everywhere", |s| {
        let replicas = s["replicas"].as_array().unwrap();
        replicas.iter().all(|r| r["keys"] == 1)
    });
    dead.iter().for_each(|replica| replica.signal(Signal::KILL));
    for _ in &dead {
        store.wait_for(|e| e["event"] == "ended");
    }
    (survivor, arguments, [dead[0].name.clone(), dead[1].name.clone()])
}

fn too_few(survivor_leads: bool, is_refusal: impl Fn(&str, &[String; 2]) -> bool) {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{SPEC}  requestTimeout: 1s\n"), &["--no-restart"]);
    let (survivor, arguments, dead) = leave_one(&mut store, survivor_leads);
    let mut client = survivor.client();
    let mut reader = survivor.client();
    assert_eq!(reader.call(&["READONLY"]).unwrap(), "+OK");
    let begin = Instant::now();
    // It may not have noticed yet: then the write is begun, and answered when its time is over.
    let first = client.call(&["SET", "first", "first"]).unwrap();
    assert!(begin.elapsed() < Duration::from_millis(1_500), "{:?}", begin.elapsed());
    assert!(first.starts_with("-INDOUBT ") || is_refusal(&first, &dead), "{first}");
    for _ in 0..3 {
        let begin = Instant::now();
        let reply = client.call(&["SET", "k", "v"]).unwrap();
        assert!(is_refusal(&reply, &dead), "{reply}");
        assert!(begin.elapsed() < Duration::from_millis(1_500), "requestTimeout is 1 s: {:?}", begin.elapsed());
        assert_eq!(reader.call(&["GET", "before"]).unwrap(), "$before");
    }
    store.wait_status("both named", |s| {
        let conditions = s["conditions"].as_array().unwrap();
        let named = |c: &Value| dead.iter().all(|name| c["message"].as_str().unwrap().contains(name));
        s["phase"] != "Ready" && conditions.iter().any(named)
    });
    if survivor_leads {
        let mut returned = start(&arguments);
        eventually("writes accepted", || survivor.client().call(&["SET", "after", "after"]).unwrap() == "+OK");
        drop(returned.stdin.take());
        returned.wait().unwrap();
        store.stop();
    } else {
        // A process that somebody else started is none of the store's: it counts for no seal, so everything is started again.
        store.stop();
        store.start(&[]);
        assert_eq!(store.replica(&survivor.name).client().call(&["SET", "after", "after"]).unwrap(), "+OK");
        assert_healed(&store, &["before".into(), "after".into()]);
        store.stop();
    }
}

#[test]
fn a_leader_left_alone_says_who_is_missing() {
    too_few(true, |reply, [first, second]| {
        let reached = "-NOREPLICAS 1 of the n=3 members are reachable, w=2 are needed";
        reply == format!("{reached}; missing: {first}, {second}; nothing was done")
    });
}

#[test]
fn a_follower_left_alone_says_who_is_missing() {
    too_few(false, |reply, _| {
        reply.starts_with("-NOREPLICAS ")
            && reply.contains("; 1 of the n=3 members are reachable, w=2 are needed; missing: ")
            && reply.ends_with("nothing was done")
    });
}

#[test]
fn a_leader_that_is_stopped_under_load_acknowledges_nothing_wrong_when_it_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let leader = store.replica(&store.leader()).clone();
    let survivors: Vec<Replica> = store.replicas.iter().filter(|r| r.name != leader.name).cloned().collect();
    let (there, here) = (Load::start("s", &survivors), Load::start("l", [&leader]));
    thread::sleep(Duration::from_millis(300));
    leader.signal(Signal::STOP);
    store.wait_for(|e| e["decision"] == "serving" && e["leader"] != leader.name.as_str());
    thread::sleep(Duration::from_millis(300));
    leader.signal(Signal::CONT);
    store.wait_whole();
    thread::sleep(Duration::from_millis(100));
    let (there, here) = (there.finish(), here.finish());
    assert_undisturbed(&there);
    for log in &there {
        assert!(log.gap() <= Duration::from_millis(1_500), "suspicion is 1 s: {:?}", log.gap());
    }
    assert!(here[0].errors.iter().all(|error| error.starts_with("-INDOUBT ")), "{:?}", here[0].errors);
    assert!(here[0].errors.len() <= 1 && here[0].ended.is_none(), "{here:?}");
    let keys: Vec<String> = acknowledged(&there).into_iter().chain(acknowledged(&here)).collect();
    assert_healed(&store, &keys);
    store.stop();
}

fn handed_over(spec: &str) {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), spec, &[]);
    let leader = store.replica(&store.leader()).clone();
    let survivors: Vec<Replica> = store.replicas.iter().filter(|r| r.name != leader.name).cloned().collect();
    let (there, here) = (Load::start("s", &survivors), Load::start("l", [&leader]));
    thread::sleep(Duration::from_millis(300));
    leader.signal(Signal::TERM);
    store.wait_for(|e| e["decision"] == "handingOver" && e["from"] == leader.name.as_str());
    let chosen = store.wait_for(|e| e["decision"] == "chosen");
    let answered = chosen["sealed"].as_array().unwrap().contains(&leader.name.as_str().into());
    assert!(answered && chosen["mayHaveLost"] == false, "it is there until another leads: {chosen}");
    store.wait_for(|e| e["event"] == "started" && e["replica"] == leader.name.as_str());
    let (there, here) = (there.finish(), here.finish());
    assert_undisturbed(&there);
    assert_eq!(here[0].errors, Vec::<String>::new(), "its own clients are disconnected, and get no error");
    // It is disconnected behind an answer: what it had asked by then was done and answered, what it asked after that was not done.
    let next = format!("l:{}:{}", leader.name, here[0].acknowledged.len());
    assert_eq!(survivors[0].client().call(&["EXISTS", &next]).unwrap(), ":0", "{here:?}");
    for log in &there {
        assert!(log.gap() <= Duration::from_millis(300), "{:?}", log.gap());
    }
    let keys: Vec<String> = acknowledged(&there).into_iter().chain(acknowledged(&here)).collect();
    let status = assert_healed(&store, &keys);
    let handover = &status["failovers"][0];
    assert_eq!(
        (&handover["from"], &handover["atRisk"], &handover["lost"]),
        (&leader.name.as_str().into(), &0.into(), &0.into())
    );
    store.stop();
}

#[test]
fn a_leader_that_is_told_to_end_hands_over_first() {
    handed_over(SPEC);
}

#[test]
fn a_leader_of_asynchronous_replicas_that_is_told_to_end_hands_over_first() {
    handed_over("  mode: SingleLeader\n  w: 1\n");
}
