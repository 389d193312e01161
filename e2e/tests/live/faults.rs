//! The leader is lost in every way, while clients write through the other replicas.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use trireme_cli::ledger::Survivors;

use crate::harness::{
    Case, Failure, Outcome, Stage, Store, ensure, figures,
    load::{A_WHILE, LiveLoad},
    operator,
    registers::Registers,
    runner::long,
    shell::fault,
    stage::KUBERNETES,
    store::{Pod, epoch_of},
};

pub const CASES: &[Case] = &[
    Case { name: "leader_process_killed", faults: true, run: leader_process_killed },
    Case { name: "leader_container_killed", faults: true, run: leader_container_killed },
    Case { name: "leader_pod_deleted", faults: false, run: leader_pod_deleted },
    Case { name: "leader_node_cut_off", faults: true, run: leader_node_cut_off },
    Case { name: "leader_cut_off_one_way", faults: true, run: leader_cut_off_one_way },
    Case { name: "leader_node_stopped", faults: true, run: leader_node_stopped },
];

/// Longest time until clients of the others are served again, whatever happened to the leader.
const SERVED: Duration = Duration::from_secs(20);
/// Longest write gap when a process ends.
const GAP_MAX: Duration = Duration::from_secs(1);
/// The same where silence is all that is noticed: a leader is suspect after 1 s where nothing is said.
const SUSPECTED: Duration = Duration::from_secs(3);

/// How the leader is lost, and how that is mended.
struct Loss {
    /// The row of its figures.
    row: &'static str,
    /// How often.
    times: usize,
    /// Its node is lost, too: then the operator that acts must be on another one, or the Lease has to run out first.
    node: bool,
    lose: fn(&Store<'_>, &Pod) -> Outcome,
    mend: fn(&Pod) -> Outcome,
}

/// Loses the leader of a store under load, and waits each time until everything is whole again.
fn lose_leader(stage: &Stage, loss: &Loss) -> Outcome<Vec<Survivors>> {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader", "r": 2 }))?;
    store.all_pods_ready(3)?;
    let (load, registers) = (LiveLoad::start(&store)?, Registers::start(&store)?);
    let mut seen = Vec::new();
    for _ in 0..loss.times {
        if loss.node {
            lead_apart_from_operator(&store)?;
        }
        let (leader, epoch) = (store.leader()?, store.epoch()?);
        let mark = load.mark()?;
        (loss.lose)(&store, &leader)?;
        let next = store.wait(SERVED, "another leader that serves", |status| {
            epoch_of(status) > epoch && status.groups.first().is_some_and(|group| group.serving)
        });
        let served = next.and_then(|_| load.served(&mark, &leader, Instant::now(), SERVED));
        (loss.mend)(&leader)?;
        served?;
        store.ready_after(epoch, KUBERNETES)?;
        store.all_pods_ready(3)?;
        let survivors = load.survivors(&mark, &leader);
        println!("    {} lost: write gap {} ms, {} errors", leader.name, survivors.gap.as_millis(), survivors.errors);
        seen.push(survivors);
        thread::sleep(A_WHILE);
    }
    let first_error = load.first_error();
    let found = registers.finish()?;
    let ledger = load.finish()?;
    let errors: u64 = seen.iter().map(|s| s.errors).sum();
    let gaps: Vec<Duration> = seen.iter().map(|s| s.gap).collect();
    let more = format!("{ledger}, {errors} errors");
    figures::spread(loss.row, &gaps, &more);
    println!("    {} reads and writes of registers, linearizable", found.answered);
    ensure(errors == 0, || format!("clients of surviving replicas saw {errors} errors, the first: {first_error}"))?;
    Ok(seen)
}

/// Sees to it that the leader is on another node than the operator that acts.
fn lead_apart_from_operator(store: &Store<'_>) -> Outcome {
    operator::whole()?;
    let holder = operator::holder()?;
    let (leader, epoch) = (store.leader()?, store.epoch()?);
    if leader.node != holder.node {
        return Ok(());
    }
    let elsewhere = store.pods().into_iter().find(|pod| pod.node != holder.node);
    let to = elsewhere.ok_or_else(|| Failure(format!("all replicas are on {}, with the operator", holder.node)))?;
    store.annotate("switchover", Some(&to.name))?;
    store.ready_after(epoch, KUBERNETES).map(drop)
}

fn nothing(_: &Pod) -> Outcome {
    Ok(())
}

fn heal(leader: &Pod) -> Outcome {
    fault(&["heal", &leader.node])
}

fn longest(seen: &[Survivors], allowed: Duration) -> Outcome {
    let (gaps, allowed): (Vec<Duration>, Duration) = (seen.iter().map(|s| s.gap).collect(), figures::allowed(allowed));
    ensure(gaps.iter().all(|gap| *gap <= allowed), || format!("a write gap above {allowed:?}: {gaps:?}"))
}

fn leader_process_killed(stage: &Stage) -> Outcome {
    let lose = |store: &Store<'_>, leader: &Pod| store.fault("kill-replica", leader);
    let seen = lose_leader(stage, &Loss { row: "kill-replica", times: 20, node: false, lose, mend: nothing })?;
    longest(&seen, GAP_MAX)
}

fn leader_container_killed(stage: &Stage) -> Outcome {
    let lose = |store: &Store<'_>, leader: &Pod| store.fault("kill-container", leader);
    let seen = lose_leader(stage, &Loss { row: "kill-container", times: 5, node: false, lose, mend: nothing })?;
    longest(&seen, SUSPECTED)
}

fn leader_pod_deleted(stage: &Stage) -> Outcome {
    let lose = |store: &Store<'_>, leader: &Pod| {
        store.stage.kubectl(&["delete", "pod", &leader.name, "--wait=false"]).map(drop)
    };
    let seen = lose_leader(stage, &Loss { row: "delete-pod", times: 5, node: false, lose, mend: nothing })?;
    longest(&seen, GAP_MAX)
}

fn leader_node_cut_off(stage: &Stage) -> Outcome {
    let times = if long() { 5 } else { 2 };
    let lose = |_: &Store<'_>, leader: &Pod| fault(&["cut", &leader.node]);
    let seen = lose_leader(stage, &Loss { row: "cut-node", times, node: true, lose, mend: heal })?;
    longest(&seen, SUSPECTED)
}

/// In one round nothing that the leader says is heard, in another it hears nothing.
fn leader_cut_off_one_way(stage: &Stage) -> Outcome {
    let lose = |_: &Store<'_>, leader: &Pod| {
        let way = if leader.index.is_multiple_of(2) { "cut-out" } else { "cut-in" };
        println!("    {way} of {}", leader.name);
        fault(&[way, &leader.node, &leader.address.to_string()])
    };
    let seen = lose_leader(stage, &Loss { row: "cut-one-way", times: 2, node: false, lose, mend: heal })?;
    longest(&seen, SUSPECTED)
}

fn leader_node_stopped(stage: &Stage) -> Outcome {
    let lose = |_: &Store<'_>, leader: &Pod| fault(&["stop-node", &leader.node]);
    let mend = |leader: &Pod| fault(&["start-node", &leader.node]);
    let seen = lose_leader(stage, &Loss { row: "stop-node", times: 1, node: true, lose, mend })?;
    longest(&seen, SUSPECTED)
}
