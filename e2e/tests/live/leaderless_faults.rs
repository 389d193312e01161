//! No leader: a replica is killed, cut off, has a wrong clock or loses its disk, while clients write and read through the others.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use trireme_crds::{ConditionStatus, StorePhase};

use crate::{
    harness::{
        Case, Failure, Outcome, Stage, Store, ensure, figures,
        load::{A_WHILE, LiveLoad, all_answered, answered},
        registers::Registers,
        shell::fault,
        stage::{KUBERNETES, poll},
        store::Pod,
    },
    leaderless::{begin, strict, verify},
};

pub const CASES: &[Case] = &[
    Case { name: "leaderless_replica_killed", faults: true, run: replica_killed },
    Case { name: "leaderless_cut_off", faults: true, run: cut_off },
    Case { name: "leaderless_clock_moved", faults: true, run: clock_moved },
    Case { name: "leaderless_disk_lost", faults: false, run: disk_lost },
    Case { name: "leaderless_long_apart", faults: true, run: long_apart },
    Case { name: "leaderless_both_sides_write", faults: true, run: both_sides_write },
];

/// Longest time until the operator says how a store stands.
const SAID: Duration = Duration::from_secs(20);
/// How far a clock is moved, in seconds.
const MINUTES: i64 = 120;

/// One thing that is done to a replica while clients write to it and to the others, and what undoes it.
type Step<'a> = &'a dyn Fn(&Pod, usize) -> Outcome;

/// Clients of the other replicas see no error, whatever is done to one, `times` times; and what they were told is what one machine would have said.
fn suffer(store: &Store<'_>, row: &str, times: usize, lose: Step<'_>, mend: Step<'_>) -> Outcome {
    let (load, registers) = (LiveLoad::start(store)?, Registers::start(store)?);
    let mut gaps = Vec::new();
    for round in 0..times {
        let pods = store.pods();
        let victim = pods.get(round % pods.len()).cloned().ok_or_else(|| Failure("there are no pods".to_owned()))?;
        let mark = load.mark()?;
        lose(&victim, round)?;
        thread::sleep(A_WHILE);
        mend(&victim, round)?;
        let seen = load.survivors(&mark, &victim);
        println!("    {}: longest wait at the others {} ms, {} errors", victim.name, seen.gap.as_millis(), seen.errors);
        ensure(seen.errors == 0, || {
            format!("clients of the others saw {} errors, the first: {}", seen.errors, load.first_error())
        })?;
        gaps.push(seen.gap);
        store.ready(KUBERNETES)?;
        store.all_pods_ready(pods.len())?;
    }
    let found = registers.finish()?;
    let ledger = load.finish()?;
    figures::spread(row, &gaps, &format!("{ledger}, no error"));
    println!("    {} reads and writes of registers, linearizable", found.answered);
    verify(store)
}

fn replica_killed(stage: &Stage) -> Outcome {
    let store = begin(stage, &strict())?;
    suffer(&store, "peer-killed", 10, &|pod, _| store.fault("kill-replica", pod), &|_, _| Ok(()))
}

/// In one round nothing that it says is heard, in the next it hears nothing, in the third both.
fn cut_off(stage: &Stage) -> Outcome {
    let store = begin(stage, &strict())?;
    let cut = |pod: &Pod, round: usize| {
        let ways: &[&str] = [&["cut-out"][..], &["cut-in"], &["cut-out", "cut-in"]][round % 3];
        println!("    {} of {}", ways.join(" and "), pod.name);
        ways.iter().try_for_each(|way| fault(&[way, &pod.node, &pod.address.to_string()]))?;
        let said = store.condition("Degraded", ConditionStatus::True, &pod.name, SAID)?;
        println!("    {said}");
        store.condition("Ready", ConditionStatus::True, "reads and writes are served", SAID).map(drop)
    };
    suffer(&store, "peer-cut", 3, &cut, &|pod, _| fault(&["heal", &pod.node]))
}

/// Its clock is minutes ahead, then minutes behind: the others refuse what it says, or it what they say, and nobody else notices.
fn clock_moved(stage: &Stage) -> Outcome {
    let store = begin(stage, &strict())?;
    let path = |pod: &Pod| format!("{}/{}", stage.namespace, pod.name);
    let moved = |pod: &Pod, round: usize| {
        let seconds = if round.is_multiple_of(2) { MINUTES } else { -MINUTES };
        println!("    the clock of {} is moved by {seconds} s", pod.name);
        fault(&["move-clock", &pod.node, &path(pod), &seconds.to_string()])?;
        let said = store.condition("Degraded", ConditionStatus::True, "clock", SAID)?;
        println!("    {said}");
        // Its own clients are nobody else's matter; a write at another replica is the newest there is.
        let other = store.pods().into_iter().find(|other| other.name != pod.name);
        let other = other.ok_or_else(|| Failure("there is no other replica".to_owned()))?;
        let text = format!("after {seconds}");
        answered(&store, &other, &["SET", "clock", &text])?;
        let found = answered(&store, &other, &["GET", "clock"])?;
        ensure(found == text, || format!("a write at {} is answered by '{found}'", other.name))
    };
    // A new process has the machine's clock.
    suffer(&store, "peer-clock", 2, &moved, &|pod, _| store.fault("kill-replica", pod))?;
    for pod in store.pods() {
        let text = format!("by {}", pod.name);
        answered(&store, &pod, &["SET", "clock", &text])?;
        for other in store.pods() {
            let found = answered(&store, &other, &["GET", "clock"])?;
            ensure(found == text, || format!("{} has '{found}', not '{text}': a clock was poisoned", other.name))?;
        }
    }
    Ok(())
}

fn disk_lost(stage: &Stage) -> Outcome {
    let store = begin(stage, &strict())?;
    let life = |name: &str| -> Outcome<String> {
        let status = store.status()?;
        Ok(status.replicas.iter().find(|r| r.name == name).map(|r| r.incarnation.clone()).unwrap_or_default())
    };
    let lose = |pod: &Pod, _: usize| {
        let before = life(&pod.name)?;
        stage.kubectl(&["delete", "pvc", &format!("data-{}", pod.name), "--wait=false"])?;
        stage.kubectl(&["delete", "pod", &pod.name, "--wait=false"])?;
        store.wait(KUBERNETES, "another life of it to be a member that has everything", |status| {
            let replica = status.replicas.iter().find(|replica| replica.name == pod.name);
            let another = replica.is_some_and(|r| r.member && !r.incarnation.is_empty() && r.incarnation != before);
            another && status.phase == StorePhase::Ready
        })?;
        stage.event("Named", "it has a new disk", SAID).map(drop)
    };
    suffer(&store, "peer-disk", 1, &lose, &|_, _| Ok(()))
}

/// It misses more than the others' logs keep, keys that are deleted among it: it gets them by comparing slots, and what was deleted stays so.
fn long_apart(stage: &Stage) -> Outcome {
    let spec = json!({ "mode": "Leaderless", "n": 3, "w": 2, "r": 2, "logRetention": { "bytes": "1Mi" } });
    let store = begin(stage, &spec)?;
    let pods = store.pods();
    let (writer, apart) = (&pods[0], &pods[2]);
    let value = "x".repeat(8_192);
    let key = |i: usize| format!("many:{i}");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    all_answered(&store, writer, (0..200).map(|i| words(&["SET", &key(i), "before"])))?;
    for way in ["cut-out", "cut-in"] {
        fault(&[way, &apart.node, &apart.address.to_string()])?;
    }
    store.condition("Degraded", ConditionStatus::True, &apart.name, SAID)?;
    let missed = (0..1_000).map(|i| match i % 5 {
        0 => words(&["DEL", &key(i / 5)]),
        _ => words(&["SET", &format!("missed:{i}"), &value]),
    });
    all_answered(&store, writer, missed)?;
    fault(&["heal", &apart.node])?;
    let began = Instant::now();
    let reached = poll(KUBERNETES, "all digests to be the same", || verify(&store).map(Some));
    let took = began.elapsed();
    reached?;
    for pod in &pods {
        let left = answered(&store, pod, &["DBSIZE"])?;
        ensure(left == "800", || format!("{} has {left} keys, not the 800 that were not deleted", pod.name))?;
    }
    let status = store.ready(KUBERNETES)?;
    let repaired: u64 = status.replicas.iter().filter_map(|r| r.peer.as_ref()).map(|peer| peer.keys_repaired).sum();
    let bytes: u64 = status.replicas.iter().filter_map(|r| r.peer.as_ref()).map(|peer| peer.repair_bytes).sum();
    figures::note(
        "peer-apart",
        &format!("{:.1} s; {repaired} keys by slots, {bytes} bytes moved for it", took.as_secs_f32()),
    );
    Ok(())
}

/// w = r = 1: both sides of a partition go on, and when it ends nothing of either is lost: sums add up, sets have all members, registers agree.
fn both_sides_write(stage: &Stage) -> Outcome {
    let spec = json!({ "mode": "Leaderless", "n": 3, "w": 1, "r": 1, "writeOrder": "Clock" });
    let store = begin(stage, &spec)?;
    let pods = store.pods();
    let (here, there) = (&pods[0], &pods[2]);
    answered(&store, here, &["SET", "register", "before"])?;
    for way in ["cut-out", "cut-in"] {
        fault(&[way, &there.node, &there.address.to_string()])?;
    }
    store.condition("Degraded", ConditionStatus::True, &there.name, SAID)?;
    // The probes of its own node still reach it, and so does whoever is there: the clients of that side are on its node.
    let node = format!("trireme-{}", there.node);
    let at = |arguments: &str| on_node(&store, &node, there, arguments);
    for n in 1..=5 {
        answered(&store, here, &["INCR", "sum"])?;
        answered(&store, here, &["SADD", "set", &format!("here-{n}")])?;
        answered(&store, here, &["SET", "register", &format!("here-{n}")])?;
    }
    at(
        "INCR sum\\r\\nINCR sum\\r\\nINCR sum\\r\\nSADD set there-1 there-2\\r\\nSET register there\\r\\nSET only-there yes\\r\\n",
    )?;
    fault(&["heal", &there.node])?;
    store.ready(KUBERNETES)?;
    poll(KUBERNETES, "all digests to be the same", || verify(&store).map(Some))?;
    let registers: Vec<String> =
        pods.iter().map(|pod| answered(&store, pod, &["GET", "register"])).collect::<Outcome<_>>()?;
    ensure(registers.windows(2).all(|pair| pair[0] == pair[1]), || format!("registers differ: {registers:?}"))?;
    for pod in &pods {
        let found: Vec<String> = [&["GET", "sum"][..], &["SCARD", "set"], &["GET", "only-there"]]
            .iter()
            .map(|command| answered(&store, pod, command))
            .collect::<Outcome<_>>()?;
        ensure(found == ["8", "7", "yes"], || format!("{} has {found:?}", pod.name))?;
    }
    println!("    both sides wrote: the register is {}", registers[0]);
    Ok(())
}

/// Commands to a pod from its own node, which a partition of the pod does not touch.
fn on_node(store: &Store<'_>, node: &str, pod: &Pod, commands: &str) -> Outcome {
    let password = crate::harness::load::password(store)?.map_or_else(String::new, |word| format!("AUTH {word}\\r\\n"));
    let script = format!("printf '{password}{commands}QUIT\\r\\n' | timeout 10 nc -w 5 {} 6379", pod.address);
    let namespace = format!("--net=/run/netns/{node}");
    let said = crate::harness::shell::run("nsenter", &[&namespace, "busybox", "sh", "-c", &script], None)?;
    ensure(!said.lines().any(|line| line.starts_with('-')), || format!("{} answers its own node: {said}", pod.name))
}
