//! What a person asks for: a hand-over, a pause, a look. By annotation, by `kubectl get`, and by the plugin.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use trireme_crds::{ConditionStatus, status::Outcome as Came};

use crate::harness::{
    Case, Outcome, Stage, ensure, figures,
    load::{LiveLoad, call},
    plugin::says,
    shell,
    stage::{KUBERNETES, poll},
};

pub const CASES: &[Case] = &[
    Case { name: "switchover", faults: false, run: switchover },
    Case { name: "pause", faults: false, run: pause },
    Case { name: "columns", faults: false, run: columns },
    Case { name: "plugin", faults: false, run: plugin },
];

/// Longest time until a request by annotation is answered.
const ANSWERED: Duration = Duration::from_secs(20);

fn switchover(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    let mut gaps = Vec::new();
    for named in [true, false, true] {
        let (leader, epoch, to) = (store.leader()?, store.epoch()?, store.follower()?);
        let mark = load.mark()?;
        store.annotate("switchover", Some(if named { &to.name } else { "" }))?;
        store.ready_after(epoch, ANSWERED)?;
        let now = store.leader()?;
        ensure(now.name != leader.name && (!named || now.name == to.name), || format!("{} leads now", now.name))?;
        store.wait(ANSWERED, "the request to be answered", |status| {
            status.request.as_ref().is_some_and(|request| request.outcome == Came::Done && request.replica == now.name)
        })?;
        thread::sleep(Duration::from_millis(500));
        let seen = load.all(&mark);
        ensure(seen.errors == 0, || format!("clients saw {} errors, the first: {}", seen.errors, load.first_error()))?;
        gaps.push(seen.gap);
    }
    store.annotate("switchover", Some("somebody-else"))?;
    store.wait(ANSWERED, "a request for a replica that there is not to be refused", |status| {
        status
            .request
            .as_ref()
            .is_some_and(|r| r.outcome == Came::Refused && r.message.contains("orders-0, orders-1, orders-2"))
    })?;
    poll(ANSWERED, "the annotation to be gone", || {
        let annotations = store.object()?["metadata"]["annotations"].to_string();
        Ok((!annotations.contains("switchover")).then_some(()))
    })?;
    let ledger = load.finish()?;
    figures::spread("switchover", &gaps, &format!("{ledger}, no error"));
    Ok(())
}

/// While a store is paused nothing is decided, and it serves.
fn pause(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    store.annotate("paused", Some("true"))?;
    let said = |status: &trireme_crds::StoreStatus| {
        status
            .conditions
            .iter()
            .any(|c| c.status == ConditionStatus::True && (c.kind == "Paused" || c.reason == "Paused"))
    };
    store.wait(ANSWERED, "a condition that says that it is paused", said)?;
    let (leader, epoch) = (store.leader()?, store.epoch()?);
    stage.kubectl(&["delete", "pod", &leader.name, "--grace-period=0", "--force"])?;
    thread::sleep(Duration::from_secs(5));
    let status = store.status()?;
    ensure(crate::harness::store::epoch_of(&status) == epoch, || "a failover was begun during the pause".to_owned())?;
    store.annotate("paused", None)?;
    store.ready_after(0, KUBERNETES)?;
    store.wait(KUBERNETES, "a leader after the pause", |s| s.groups.first().is_some_and(|g| g.serving))?;
    poll(KUBERNETES, "the leader's Service to answer after the pause", || {
        call(&store, store.service("rw")?, &["SET", "after", "the pause"]).map(Some)
    })?;
    store.ready(KUBERNETES).map(drop)
}

fn columns(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    let leader = store.leader()?.name;
    for kind in ["rst", "trireme"] {
        let text = stage.kubectl(&["get", kind])?;
        let mut lines = text.lines().filter(|line| line.starts_with("NAME") || line.contains("orders"));
        let heading: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        let row: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        let wanted = ["NAME", "MODE", "N", "W", "R", "READY", "LEADER", "LAG", "STATUS", "AGE"];
        ensure(heading == wanted, || format!("the columns are {heading:?}"))?;
        let parts = ["SingleLeader", "3", "2", "1", "3/3", &leader, "Ready"];
        ensure(parts.iter().all(|part| row.contains(part)), || {
            format!("the row is {row:?}, and should have {parts:?}")
        })?;
    }
    let text = shell::kubectl(&["explain", "replicatedstores.spec.failover"])?;
    ensure(text.contains("leader is lost"), || format!("kubectl explain says: {text}"))
}

fn plugin(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let says = |arguments: &[&str], status: i32, part: &str| says(&store, arguments, status, part).map(drop);
    let (leader, follower) = (store.leader()?.name, store.follower()?.name);
    says(&["status", "orders"], 0, &leader)?;
    says(&["status"], 0, "orders")?;
    says(&["status", "others"], 1, "orders")?;
    says(&["verify", "orders"], 0, "16,384")?;
    says(&["explain", "orders"], 0, "")?;
    let began = Instant::now();
    says(&["switchover", "orders", &follower], 0, &follower)?;
    println!("    kubectl trireme switchover took {} ms", began.elapsed().as_millis());
    poll(ANSWERED, "the follower to lead", || Ok((store.leader()?.name == follower).then_some(())))?;
    says(&["logs", "orders"], 0, &follower)?;
    says(&["pause", "orders"], 0, "")?;
    says(&["resume", "orders"], 0, "")?;
    says(&["promote", "orders", "nobody", "--yes"], 1, "orders-0")
        .or_else(|_| says(&["promote", "orders", "nobody"], 1, "nobody"))
}
