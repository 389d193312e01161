//! Replicas and copies are added and taken away, one change at a time, while clients write.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use trireme_cli::resp::Reply;
use trireme_crds::ConditionStatus;

use crate::harness::{
    Case, Outcome, Stage, ensure, figures,
    load::{A_WHILE, LiveLoad, call},
    stage::{KUBERNETES, poll},
    store::CLIENT_PORT,
};

pub const CASES: &[Case] = &[
    Case { name: "scale_3_5_3", faults: false, run: scale_3_5_3 },
    Case { name: "change_w", faults: false, run: change_w },
    Case { name: "risky_is_explained", faults: false, run: risky_is_explained },
];

/// Longest time for two more replicas, or two fewer.
const SCALED: Duration = Duration::from_secs(120);

fn scale_3_5_3(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    let mark = load.mark()?;
    for (n, w) in [(5, 3), (3, 2)] {
        let began = Instant::now();
        store.patch(&json!({ "n": n }))?;
        let status = store.wait(SCALED, &format!("{n} members"), |status| {
            let group = status.groups.first();
            let members = group.is_some_and(|g| g.members.len() == n && g.old_members.is_empty() && g.w == w);
            members && status.phase == trireme_crds::StorePhase::Ready
        })?;
        store.all_pods_ready(n)?;
        println!("    n = {n}: {:.1} s, members {:?}", began.elapsed().as_secs_f32(), status.groups[0].members);
    }
    thread::sleep(A_WHILE);
    // Clients of the replicas that stay see nothing of it.
    let seen = load.all(&mark);
    let first_error = load.first_error();
    let ledger = load.finish()?;
    figures::spread("scale", &[seen.gap], &format!("{ledger}, {} errors", seen.errors));
    ensure(seen.errors == 0, || format!("clients saw {} errors, the first: {first_error}", seen.errors))?;
    let claims = stage.get(&["pvc"])?["items"].as_array().map_or(0, Vec::len);
    ensure(claims == 5, || format!("volumes are retained, and {claims} of 5 are there"))
}

/// w is changed while clients write, and holds: with w = 3 a write has to wait for every replica.
fn change_w(stage: &Stage) -> Outcome {
    let spec = json!({ "mode": "SingleLeader", "requestTimeout": "3s" });
    let store = stage.store("orders", &spec)?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    let mark = load.mark()?;
    for w in [3, 1, 2] {
        store.patch(&json!({ "w": w }))?;
        store.wait(KUBERNETES, &format!("w = {w} to be in force"), |status| {
            status.groups.first().is_some_and(|group| group.w == w && group.old_members.is_empty())
        })?;
        thread::sleep(A_WHILE);
    }
    let seen = load.all(&mark);
    ensure(seen.errors == 0, || format!("clients saw {} errors, the first: {}", seen.errors, load.first_error()))?;
    load.finish().map(drop)
}

/// What is legal and risky is taken, and explained in numbers.
fn risky_is_explained(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader", "w": 1 }))?;
    let message = store.condition("ConfigurationWarning", ConditionStatus::True, "w", KUBERNETES)?;
    println!("    w = 1: {message}");
    ensure(message.contains('1'), || format!("the warning has no numbers: {message}"))?;
    let leader = store.leader()?;
    let address = (leader.address, CLIENT_PORT).into();
    poll(KUBERNETES, "a write", || {
        Ok((call(&store, address, &["SET", "a", "b"])? == Reply::Bytes(b"OK".to_vec())).then_some(()))
    })?;
    store.patch(&json!({ "w": 2 }))?;
    store.condition("ConfigurationWarning", ConditionStatus::False, "", KUBERNETES).map(drop)
}
