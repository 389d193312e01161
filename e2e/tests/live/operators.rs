//! The operator is lost, in the middle of what it does; another one goes on. Two never act at once.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{
    Case, Outcome, Stage, ensure, figures,
    load::LiveLoad,
    operator,
    registers::Registers,
    shell::fault,
    stage::{KUBERNETES, poll},
};

pub const CASES: &[Case] = &[
    Case { name: "operator_killed_during_failover", faults: true, run: operator_killed_during_failover },
    Case { name: "holder_killed", faults: false, run: holder_killed },
    Case { name: "operator_cut_off", faults: true, run: operator_cut_off },
    Case { name: "operator_killed_during_rollout", faults: false, run: operator_killed_during_rollout },
];

/// Longest time until another operator acts, when the one that acted has gone without a word: the Lease has to run out.
const TAKEN_OVER: Duration = Duration::from_secs(40);

/// The operator's pod and the leader's process are killed at the same moment: the next operator fails over.
fn operator_killed_during_failover(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader", "r": 2 }))?;
    store.all_pods_ready(3)?;
    let (load, registers) = (LiveLoad::start(&store)?, Registers::start(&store)?);
    let mut gaps = Vec::new();
    for pause_ms in [0, 30] {
        let (leader, epoch, holder) = (store.leader()?, store.epoch()?, operator::holder()?);
        let target = format!("{}/{}", operator::NAMESPACE, holder.name);
        let mark = load.mark()?;
        let began = Instant::now();
        store.fault("kill-container", &leader)?;
        thread::sleep(Duration::from_millis(pause_ms));
        fault(&["kill-container", &holder.node, &target])?;
        load.served(&mark, &leader, began, TAKEN_OVER)?;
        store.ready_after(epoch, KUBERNETES)?;
        store.all_pods_ready(3)?;
        gaps.push(load.survivors(&mark, &leader).gap);
        operator::whole()?;
    }
    registers.finish()?;
    let ledger = load.finish()?;
    figures::spread("operator-killed", &gaps, &format!("{ledger}"));
    Ok(())
}

/// Of two operators one acts; when it is killed the other does, and only one says that it acts.
fn holder_killed(stage: &Stage) -> Outcome {
    operator::kubectl(&["scale", "deployment", operator::NAME, "--replicas=2"])?;
    operator::whole()?;
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    let mark = load.mark()?;
    let killed = operator::kill_holder()?;
    let began = Instant::now();
    let now = operator::holder_other_than(&killed.name, TAKEN_OVER)?;
    println!("    another operator holds the Lease after {:.1} s", began.elapsed().as_secs_f32());
    operator::whole()?;
    let acting: Vec<String> = operator::pods()?
        .into_iter()
        .filter(|pod| {
            operator::metrics(pod).is_ok_and(|text| text.lines().any(|line| line == "trireme_operator_leader 1"))
        })
        .map(|pod| pod.name)
        .collect();
    ensure(acting == [now.name.clone()], || format!("{acting:?} say that they act; {} holds the Lease", now.name))?;
    // It acts: a change of the spec is carried out.
    store.annotate("switchover", Some(""))?;
    store.ready_after(store.epoch()?, KUBERNETES).or_else(|_| store.ready(KUBERNETES))?;
    let seen = load.all(&mark);
    ensure(seen.errors == 0, || format!("clients saw {} errors, the first: {}", seen.errors, load.first_error()))?;
    load.finish().map(drop)
}

/// An operator that hears nobody decides nothing, and stores serve; another one may act, or it goes on when it is healed.
fn operator_cut_off(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    let (epoch, holder) = (store.epoch()?, operator::holder()?);
    let mark = load.mark()?;
    fault(&["cut-out", &holder.node, &holder.address])?;
    fault(&["cut-in", &holder.node, &holder.address])?;
    thread::sleep(Duration::from_secs(8));
    fault(&["heal", &holder.node])?;
    let seen = load.all(&mark);
    ensure(seen.errors == 0 && seen.gap < figures::allowed(Duration::from_secs(1)), || {
        format!("clients noticed: {seen:?}, the first error: {}", load.first_error())
    })?;
    poll(TAKEN_OVER, "an operator that acts", || operator::holder().map(Some))?;
    let after = store.epoch()?;
    ensure(after == epoch, || format!("a change of leaders without cause: epoch {epoch}, now {after}"))?;
    // It hears everybody again.
    let leader = store.leader()?;
    stage.kubectl(&["delete", "pod", &leader.name, "--wait=false"])?;
    store.ready_after(epoch, KUBERNETES * 2)?;
    load.finish().map(drop)
}

/// What was begun is finished by the next operator.
fn operator_killed_during_rollout(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    let before: Vec<String> = store.pods().into_iter().map(|pod| pod.uid).collect();
    store.annotate("restart", Some("with another operator"))?;
    stage.pods.wait(KUBERNETES, "the first replica to be restarted", |pods| {
        let still = pods.values().filter(|pod| {
            before.iter().any(|uid| pod["metadata"]["uid"] == **uid)
                && pod["metadata"].get("deletionTimestamp").is_none()
        });
        (still.count() < before.len()).then_some(())
    })?;
    operator::kill_holder()?;
    stage.pods.wait(KUBERNETES * 2, "every replica to be restarted", |pods| {
        (!pods.values().any(|pod| before.iter().any(|uid| pod["metadata"]["uid"] == **uid))).then_some(())
    })?;
    store.ready(KUBERNETES)?;
    store.all_pods_ready(3)?;
    operator::whole()?;
    load.finish().map(drop)
}
