//! Replicas are replaced one by one, the leader last, while clients write; a bad image stops a rollout before it does harm.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use trireme_crds::{ConditionStatus, StorePhase};

use crate::harness::{
    Case, Outcome, Stage, Store, ensure, figures,
    load::{A_WHILE, LiveLoad},
    stage::KUBERNETES,
    store::pod_of,
};

pub const CASES: &[Case] = &[
    Case { name: "rolling_update", faults: false, run: rolling_update },
    Case { name: "bad_image", faults: false, run: bad_image },
    Case { name: "image_missing_from_the_start", faults: false, run: image_missing_from_the_start },
];

/// Longest time for the replacement of three replicas.
const ROLLED: Duration = Duration::from_secs(180);
/// Longest write gap.
const GAP_MAX: Duration = Duration::from_secs(1);

/// Waits until no pod is one of these, never two being replaced at once; the names in the order in which they went.
fn replaced(store: &Store<'_>, before: &BTreeMap<String, String>) -> Outcome<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    let (mut fewest, mut fewest_ready) = (usize::MAX, usize::MAX);
    store.stage.pods.wait(ROLLED, "every replica to be replaced", |pods| {
        let all: Vec<_> = pods.values().filter_map(|pod| pod_of(&store.name, pod)).collect();
        fewest = fewest.min(all.len());
        fewest_ready = fewest_ready.min(all.iter().filter(|pod| pod.ready).count());
        for (name, uid) in before {
            let still = pods.get(name).is_some_and(|pod| {
                pod["metadata"]["uid"] == **uid && pod["metadata"].get("deletionTimestamp").is_none()
            });
            if !still && !order.contains(name) {
                order.push(name.clone());
            }
        }
        let new = all.iter().filter(|pod| pod.ready && before.get(&pod.name) != Some(&pod.uid)).count();
        (new == before.len()).then_some(())
    })?;
    println!("    at least {fewest_ready} of {} pods were ready all the time", before.len());
    ensure(fewest + 1 >= before.len(), || format!("at one moment only {fewest} replicas were running"))?;
    Ok(order)
}

fn uids(store: &Store<'_>) -> BTreeMap<String, String> {
    store.pods().into_iter().map(|pod| (pod.name, pod.uid)).collect()
}

type Change = fn(&Store<'_>) -> Outcome;

/// Everything that replaces the replicas, one change after the other, under a load of which nothing may fail: its longest waits. A leader, where there is
/// one, must go last.
pub(crate) fn each_rollout(store: &Store<'_>, load: &LiveLoad<'_>, led: bool) -> Outcome<Vec<Duration>> {
    let changes: [(&str, Change); 2] = [
        ("a restart", |store| store.annotate("restart", Some("once"))),
        ("other resources", |store| store.patch(&json!({ "resources": { "requests": { "memory": "48Mi" } } }))),
    ];
    let mut gaps = Vec::new();
    for (what, change) in changes {
        let leader = if led { Some(store.leader()?.name) } else { None };
        let before = uids(store);
        let mark = load.mark()?;
        let began = Instant::now();
        change(store)?;
        let order = replaced(store, &before)?;
        store.ready(KUBERNETES)?;
        thread::sleep(A_WHILE);
        let seen = load.all(&mark);
        let failed = seen.errors - seen.broken;
        println!(
            "    {what}: {} s, in the order {order:?} (the leader was {}), longest wait {} ms, {} connections broken",
            began.elapsed().as_secs(),
            leader.as_deref().unwrap_or("nobody"),
            seen.gap.as_millis(),
            seen.broken
        );
        if let Some(leader) = leader {
            ensure(order.last() == Some(&leader), || format!("the leader {leader} was not the last: {order:?}"))?;
        }
        ensure(failed == 0, || format!("{failed} requests failed, the first: {}", load.first_error()))?;
        gaps.push(seen.gap);
    }
    Ok(gaps)
}

fn rolling_update(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    let gaps = each_rollout(&store, &load, true)?;
    let ledger = load.finish()?;
    figures::spread("rolling", &gaps, &format!("{ledger}, no failed request"));
    let allowed = figures::allowed(GAP_MAX);
    ensure(gaps.iter().all(|gap| *gap <= allowed), || format!("the write gaps were {gaps:?}"))
}

/// The first replica that does not come back halts the rollout; the store serves; the right image heals it.
fn bad_image(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    store.patch(&json!({ "image": "localhost/trireme-node:missing" }))?;
    let message = store.condition("Degraded", ConditionStatus::True, "trireme-node:missing", KUBERNETES)?;
    ensure(message.contains("pod orders-"), || format!("the condition names no pod: {message}"))?;
    thread::sleep(Duration::from_secs(8));
    let ready = store.pods().iter().filter(|pod| pod.ready).count();
    ensure(ready == 2, || format!("{ready} of 3 replicas are ready: a rollout that cannot go on must halt"))?;
    let status = store.status()?;
    ensure(status.groups.first().is_some_and(|g| g.serving), || "nobody leads".to_owned())?;
    store.patch(&json!({ "image": null }))?;
    store.ready(ROLLED)?;
    store.all_pods_ready(3)?;
    load.finish().map(drop)
}

fn image_missing_from_the_start(stage: &Stage) -> Outcome {
    let spec = json!({ "mode": "SingleLeader", "image": "localhost/trireme-node:missing" });
    let store = stage.apply_store("orders", &spec)?;
    let message = store.condition("Degraded", ConditionStatus::True, "trireme-node:missing", KUBERNETES)?;
    ensure(message.contains("pod orders-"), || format!("the condition names no pod: {message}"))?;
    ensure(store.status()?.phase != StorePhase::Ready, || "it says that it is ready".to_owned())?;
    store.patch(&json!({ "image": null }))?;
    store.ready(ROLLED).map(drop)
}
