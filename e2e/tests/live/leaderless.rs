//! No leader: what a person sees of such a store, which quorum is lost is said, and a replica can be set aside.

use std::time::Duration;

use serde_json::{Value, json};
use trireme_crds::{ConditionStatus, StorePhase};

use crate::harness::{
    Case, Outcome, Stage, Store, ensure,
    load::{LiveLoad, answered, call, refused},
    plugin::says,
    stage::{KUBERNETES, poll},
    store::Pod,
};

pub const CASES: &[Case] = &[
    Case { name: "leaderless_created", faults: false, run: created },
    Case { name: "leaderless_says_which_quorum_is_lost", faults: true, run: says_which_quorum_is_lost },
    Case { name: "leaderless_quarantine", faults: false, run: quarantine },
];

/// Longest time until the operator says how a store stands.
const SAID: Duration = Duration::from_secs(20);

/// The spec of a store without a leader whose reads meet its writes.
pub fn strict() -> Value {
    json!({ "mode": "Leaderless", "n": 3, "w": 2, "r": 2 })
}

/// A store, whole, with all of its pods.
pub fn begin<'a>(stage: &'a Stage, spec: &Value) -> Outcome<Store<'a>> {
    let store = stage.store("carts", spec)?;
    store.all_pods_ready(spec["n"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(3))?;
    Ok(store)
}

/// Every digest of every replica is the same, as the plugin finds it.
pub fn verify(store: &Store<'_>) -> Outcome {
    says(store, &["verify", &store.name, "--within", "60"], 0, "16,384 of 16,384 slots are the same").map(drop)
}

/// Waits until a replica has a role in the store's status.
pub fn role(store: &Store<'_>, name: &str, role: &str) -> Outcome {
    let what = format!("{name} to be {role}");
    let holds = |status: &trireme_crds::StoreStatus| status.replicas.iter().any(|r| r.name == name && r.role == role);
    store.wait(SAID, &what, holds).map(drop)
}

fn created(stage: &Stage) -> Outcome {
    let store = begin(stage, &strict())?;
    let names = |kind: &str| -> Outcome<Vec<String>> {
        let items = stage.get(&[kind])?["items"].as_array().cloned().unwrap_or_default();
        Ok(items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect())
    };
    ensure(names("services")? == ["carts-peers", "carts-r", "carts-rw"], || {
        format!("Services: {:?}", names("services"))
    })?;
    ensure(names("statefulsets")? == ["carts"], || format!("StatefulSets: {:?}", names("statefulsets")))?;
    let budget = stage.get(&["poddisruptionbudget", "carts"])?["spec"]["maxUnavailable"].clone();
    ensure(budget == json!(1), || format!("{budget} of 3 replicas may be evicted"))?;
    let pods = store.pods();
    ensure(pods.iter().all(|pod| pod.role == "peer"), || format!("pods: {pods:?}"))?;
    // Any of them takes writes and reads, and so do both Services.
    for (pod, n) in pods.iter().zip(1..) {
        let sum = answered(&store, pod, &["INCR", "sum"])?;
        ensure(sum == n.to_string(), || format!("INCR number {n} answers {sum}"))?;
    }
    for suffix in ["rw", "r"] {
        let service = store.service(suffix)?;
        // A Service leads nowhere until every node's proxy has heard of the pods.
        poll(SAID, &format!("carts-{suffix} to lead somewhere"), || Ok(call(&store, service, &["PING"]).ok()))?;
        let reply = call(&store, service, &["INCR", "sum"])?;
        println!("    INCR through carts-{suffix}: {reply:?}");
    }
    ensure(answered(&store, &pods[2], &["GET", "sum"])? == "5", || "the sum of 5 INCRs is not 5".to_owned())?;
    let row = stage.kubectl(&["get", "rst", "carts", "--no-headers"])?;
    let row: Vec<&str> = row.split_whitespace().collect();
    ensure(["Leaderless", "3", "2", "3/3", "-", "Ready"].iter().all(|part| row.contains(part)), || {
        format!("kubectl get shows {row:?}")
    })?;
    says(&store, &["status", "carts"], 0, "no leader")?;
    says(&store, &["status"], 0, "Leaderless")?;
    says(&store, &["explain", "carts"], 0, "linearizable")?;
    for asked in [&["promote", "carts", "carts-1"][..], &["switchover", "carts"]] {
        // A question that makes no sense, or a request that was refused.
        says(&store, asked, 2, "no leader").or_else(|_| says(&store, asked, 1, "no leader"))?;
    }
    verify(&store)?;
    nobody_leads(stage)
}

/// What the store's Events and conditions say is about replicas: a leader appears only where somebody asked for one.
fn nobody_leads(stage: &Stage) -> Outcome {
    let said = stage.kubectl(&["describe", "replicatedstore", "carts"])?;
    let wrong: Vec<&str> = said
        .lines()
        .filter(|line| line.to_lowercase().replace("leaderless", "").contains("leader"))
        .filter(|line| !["no leader", "Leader:"].iter().any(|fine| line.contains(fine)))
        .collect();
    ensure(wrong.is_empty(), || format!("kubectl describe speaks of a leader: {wrong:#?}"))
}

/// n = 3: with w = r = 2 two lost replicas cost both; with w = 3 one costs the writes; with r = 3 one costs the reads; with w = r = 1 nothing does.
fn says_which_quorum_is_lost(stage: &Stage) -> Outcome {
    let store = begin(stage, &strict())?;
    let pods = store.pods();
    let (set, get) = (["SET", "a", "b"], ["GET", "a"]);
    answered(&store, &pods[0], &set)?;
    let lost = |count: usize, then: &dyn Fn() -> Outcome| -> Outcome {
        let gone: &[Pod] = &pods[3 - count..];
        gone.iter().try_for_each(|pod| store.fault("stop-container", pod))?;
        let outcome = then();
        gone.iter().try_for_each(|pod| store.fault("start-container", pod))?;
        outcome?;
        store.ready(KUBERNETES)?;
        store.all_pods_ready(3)
    };
    let numbers = |w: u32, r: u32, order: &str, repair: &str| -> Outcome {
        store.patch(&json!({ "w": w, "r": r, "writeOrder": order, "readRepair": repair }))?;
        store.wait(KUBERNETES, &format!("w = {w} and r = {r} to be in force"), |status| {
            let group = status.groups.first();
            group.is_some_and(|g| g.w == w && g.r == Some(r) && g.old_members.is_empty())
                && status.phase == StorePhase::Ready
        })?;
        Ok(())
    };
    lost(2, &|| {
        let said = store.condition("Ready", ConditionStatus::False, "reads and writes are refused", SAID)?;
        println!("    two of three lost: {said}");
        ensure(said.contains("carts-1 and carts-2"), || format!("who is missing is not said: {said}"))?;
        for command in [&set[..], &get] {
            let error = refused(&store, &pods[0], command)?;
            ensure(error.starts_with("NOREPLICAS"), || format!("{command:?} is answered {error}"))?;
        }
        stage.event("Waiting", "reads and writes are refused", SAID).map(drop)
    })?;
    numbers(3, 1, "Strict", "Blocking")?;
    lost(1, &|| {
        let said = store.condition("Ready", ConditionStatus::False, "writes are refused, reads go on", SAID)?;
        println!("    w = 3, one lost: {said}");
        let error = refused(&store, &pods[0], &set)?;
        ensure(error.starts_with("NOREPLICAS"), || format!("a write is answered {error}"))?;
        answered(&store, &pods[0], &get).map(drop)
    })?;
    numbers(1, 3, "Clock", "Off")?;
    lost(1, &|| {
        let said = store.condition("Ready", ConditionStatus::False, "reads are refused", SAID)?;
        println!("    r = 3, one lost: {said}");
        let error = refused(&store, &pods[0], &get)?;
        ensure(error.starts_with("NOREPLICAS"), || format!("a read is answered {error}"))?;
        answered(&store, &pods[0], &set).map(drop)
    })?;
    numbers(1, 1, "Clock", "Blocking")?;
    lost(2, &|| {
        store.condition("Degraded", ConditionStatus::True, "carts-1 and carts-2", SAID)?;
        answered(&store, &pods[0], &["SET", "a", "alone"])?;
        let found = answered(&store, &pods[0], &get)?;
        ensure(found == "alone", || format!("w = r = 1 alone answers {found}"))?;
        store.condition("Ready", ConditionStatus::True, "carts-0", SAID).map(drop)
    })?;
    verify(&store)
}

/// One that is not trusted counts for nothing while the annotation names it; a second one is refused; afterwards it has everything.
fn quarantine(stage: &Stage) -> Outcome {
    let store = begin(stage, &strict())?;
    let load = LiveLoad::start(&store)?;
    store.annotate("quarantine", Some("carts-2"))?;
    role(&store, "carts-2", "Quarantined")?;
    store.condition("Degraded", ConditionStatus::True, "carts-2", SAID)?;
    store.condition("Ready", ConditionStatus::True, "carts-0 and carts-1", SAID)?;
    let apart = store.pod("carts-2")?;
    let error = refused(&store, &apart, &["SET", "a", "b"])?;
    ensure(error.starts_with("NOREPLICAS"), || format!("the one that is set aside answers {error}"))?;
    answered(&store, &store.pod("carts-0")?, &["SET", "a", "b"])?;
    store.annotate("quarantine", Some("carts-2,carts-1"))?;
    let said = store.condition("Progressing", ConditionStatus::True, "carts-1 is not quarantined", SAID)?;
    println!("    a second one: {said}");
    stage.event("Refused", "quarantine carts-1", SAID)?;
    store.annotate("quarantine", None)?;
    role(&store, "carts-2", "Peer")?;
    store.ready(KUBERNETES)?;
    poll(SAID, "carts-2 to take commands again", || answered(&store, &apart, &["GET", "a"]).map(Some))?;
    println!("    {}", load.finish()?);
    verify(&store)
}
