//! A store with one leader gets a leader in each of two regions, and one again, while clients write.

use std::time::{Duration, Instant};

use serde_json::json;
use trireme_crds::StoreStatus;

use crate::{
    harness::{
        Case, Failure, Outcome, Stage, Store, ensure, figures,
        load::{LiveLoad, answered},
        stage::{KUBERNETES, poll},
    },
    leaderless::verify,
    multi_leader::{leader, names},
};

pub const CASES: &[Case] = &[Case { name: "change_of_mode", faults: false, run: change }];

/// Regions, each of which is a node of the cluster for tests.
const REGIONS: [&str; 2] = ["r1", "r2"];
/// Longest time until what was written in one region is read in the other.
const FED: Duration = Duration::from_secs(20);
/// Longest wait of a client: a rolling restart's hand-overs are in it.
const PAUSE: Duration = Duration::from_millis(1_500);

fn change(stage: &Stage) -> Outcome {
    let one = json!({ "mode": "SingleLeader", "regions": null });
    let store = stage.store("carts", &json!({ "mode": "SingleLeader", "n": 3, "w": 2 }))?;
    store.all_pods_ready(3)?;
    let first = store.leader()?;
    ensure(answered(&store, &first, &["SET", "before", "1"])? == "OK", || "SET was not answered OK".to_owned())?;
    let load = LiveLoad::start(&store)?;
    let mark = load.mark()?;
    // A leader in each region: the replicas that are there are those of the first.
    let began = Instant::now();
    store.patch(&json!({ "mode": "MultiLeader", "regions": REGIONS.map(|name| json!({ "name": name })) }))?;
    let of = |status: &StoreStatus| status.groups.len() == 2 && status.groups.iter().all(|g| g.serving);
    let status = store.wait(KUBERNETES, "two groups that serve", of)?;
    println!("    two regions serve after {} ms", began.elapsed().as_millis());
    let found: Vec<(u32, &str)> = status.groups.iter().map(|g| (g.group, g.region.as_str())).collect();
    ensure(found == [(0, "r1"), (2, "r2")], || format!("groups {found:?}"))?;
    made(&store, &["carts", "carts-r2"], &["carts-r1", "carts-r2"])?;
    store.all_pods_ready(6)?;
    store.ready(KUBERNETES)?;
    let there = leader(&store, REGIONS[1])?;
    poll(FED, "what was there before in the new region", || {
        Ok((answered(&store, &there, &["GET", "before"])? == "1").then_some(()))
    })?;
    ensure(answered(&store, &there, &["SET", "between", "2"])? == "OK", || "SET was not answered OK".to_owned())?;
    verify(&store)?;
    // One again: what the region acknowledged that leaves is in the one that stays.
    let began = Instant::now();
    store.patch(&one)?;
    let single = |status: &StoreStatus| {
        status.groups.len() == 1 && status.groups[0].region.is_empty() && status.groups[0].serving
    };
    store.wait(KUBERNETES, "one group that serves", single)?;
    println!("    one leader again after {} ms", began.elapsed().as_millis());
    store.all_pods_ready(3)?;
    store.ready(KUBERNETES)?;
    made(&store, &["carts"], &["carts"])?;
    for pod in store.pods() {
        let kept = (answered(&store, &pod, &["GET", "before"])?, answered(&store, &pod, &["GET", "between"])?);
        ensure(kept == ("1".to_owned(), "2".to_owned()), || format!("{} has {kept:?}", pod.name))?;
    }
    let all = load.all(&mark);
    // A pod that is restarted ends its connections.
    ensure(all.errors == all.broken, || format!("{} errors: {}", all.errors, load.first_error()))?;
    ensure(all.gap <= figures::allowed(PAUSE), || format!("a client waited for {:?}", all.gap))?;
    figures::spread("mode", &[all.gap], &load.finish()?.to_string());
    verify(&store)
}

/// These StatefulSets and budgets are there, and no others.
fn made(store: &Store<'_>, sets: &[&str], budgets: &[&str]) -> Outcome {
    for (kind, expected) in [("statefulsets", sets), ("poddisruptionbudgets", budgets)] {
        let what = format!("{kind} {expected:?}");
        poll(FED, &what, || Ok((names(store, kind)? == expected).then_some(()))).map_err(|Failure(why)| {
            Failure(format!("{why}: there are {:?}", names(store, kind).unwrap_or_default()))
        })?;
    }
    Ok(())
}
