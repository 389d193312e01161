//! Machines go: one is drained by a person, one dies and does not come back.

use std::time::{Duration, Instant};

use serde_json::json;
use trireme_crds::StorePhase;

use crate::harness::{
    Case, Failure, Outcome, Stage, Store, ensure, figures,
    load::LiveLoad,
    operator, shell,
    shell::fault,
    stage::{KUBERNETES, poll},
    store::{Pod, epoch_of},
};

pub const CASES: &[Case] = &[
    Case { name: "node_drained", faults: false, run: node_drained },
    Case { name: "node_dead", faults: true, run: node_dead },
];

/// Longest time until clients of the others are served again.
const SERVED: Duration = Duration::from_secs(20);
/// Longest write gap when a leader is told to end.
const GAP_MAX: Duration = Duration::from_secs(1);
/// Longest time until Kubernetes says that a node is not ready, which is its own to decide, and the replica has started elsewhere.
const REPLACED: Duration = Duration::from_secs(180);

fn drain(node: &str, timeout: &str) -> Outcome<String> {
    let pods = ["--pod-selector", "trireme.dev/store=orders"];
    shell::kubectl(
        &[&["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", timeout], &pods[..]].concat(),
    )
}

fn uncordon(nodes: &[&Pod]) -> Outcome {
    nodes.iter().try_for_each(|pod| shell::kubectl(&["uncordon", &pod.node]).map(drop))
}

/// The leader hands over before its node is drained; the budget keeps the next node from being drained, too.
fn node_drained(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    let (leader, next, epoch) = (store.leader()?, store.follower()?, store.epoch()?);
    let mark = load.mark()?;
    let drained = drain(&leader.node, "60s")
        .and_then(|_| load.served(&mark, &leader, Instant::now(), SERVED))
        .and_then(|_| {
            store.wait(SERVED, "another leader that serves, with two of three replicas", |status| {
                epoch_of(status) > epoch && status.groups.first().is_some_and(|group| group.serving)
            })
        })
        .and_then(|_| match drain(&next.node, "10s") {
            Ok(said) => Err(Failure(format!("two of three replicas were drained: {said}"))),
            Err(Failure(said)) => {
                ensure(said.contains("disruption budget"), || format!("the second drain failed otherwise: {said}"))
            }
        });
    uncordon(&[&leader, &next])?;
    drained?;
    let seen = load.survivors(&mark, &leader);
    println!("    {} drained: write gap {} ms, {} errors", leader.node, seen.gap.as_millis(), seen.errors);
    store.all_pods_ready(3)?;
    load.finish()?;
    figures::spread("drain", &[seen.gap], "the budget kept the second node");
    ensure(seen.errors == 0, || format!("clients of the others saw {} errors", seen.errors))?;
    let allowed = figures::allowed(GAP_MAX);
    ensure(seen.gap <= allowed, || format!("a write gap of {:?}, above {allowed:?}", seen.gap))
}

/// A machine that is gone for good takes a volume with it. Where the store says so, its replica starts elsewhere, empty, and learns everything.
fn node_dead(stage: &Stage) -> Outcome {
    let spec = json!({ "mode": "SingleLeader", "failover": { "replaceLostAfter": "10s" } });
    let store = stage.store("orders", &spec)?;
    store.all_pods_ready(3)?;
    let (load, holder, leader) = (LiveLoad::start(&store)?, operator::holder()?, store.leader()?);
    let apart = |pod: &&Pod| pod.node != holder.node && pod.node != leader.node;
    let pods = store.pods();
    let lost =
        pods.iter().find(apart).ok_or_else(|| Failure("no replica is apart from leader and operator".to_owned()))?;
    let mark = load.mark()?;
    fault(&["kill-node", &lost.node])?;
    let began = Instant::now();
    let replaced = elsewhere(&store, lost);
    let seen = load.survivors(&mark, lost);
    fault(&["start-node", &lost.node])?;
    replaced?;
    println!(
        "    a member again on another node after {} s, write gap {} ms",
        began.elapsed().as_secs(),
        seen.gap.as_millis()
    );
    poll(KUBERNETES, "the node to be back", || {
        let node = shell::get(&["node", &lost.node])?;
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        Ok(conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True").then_some(()))
    })?;
    ensure(seen.errors == 0, || {
        format!("clients of the others saw {} errors, first: {}", seen.errors, load.first_error())
    })?;
    store.all_pods_ready(3)?;
    load.finish().map(drop)
}

/// Waits until the replica is a member again, on another node than it was.
fn elsewhere(store: &Store<'_>, lost: &Pod) -> Outcome {
    store.stage.event("Replacing", &lost.name, REPLACED)?;
    let what = "the replica to be a member again on another node";
    let member = store.wait(REPLACED, what, |status| {
        let moved = store.pods().iter().any(|pod| pod.name == lost.name && pod.node != lost.node && pod.ready);
        let member = status.replicas.iter().any(|r| r.name == lost.name && r.member && r.reachable);
        moved && member && status.phase == StorePhase::Ready
    });
    member.map(drop)
}
