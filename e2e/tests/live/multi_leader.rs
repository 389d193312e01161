//! A leader in each region: what is made for each, what is written in one is read in the other, a leader that is lost is its own region's matter, and a region
//! is taken away and comes back as a new one.

use std::time::{Duration, Instant};

use serde_json::json;
use trireme_crds::{StoreStatus, status::Outcome as Came};

use crate::{
    harness::{
        Case, Failure, Outcome, Stage, Store, ensure, figures,
        load::{LiveLoad, answered, call},
        plugin::says,
        stage::{KUBERNETES, poll},
        store::Pod,
    },
    leaderless::verify,
};

pub const CASES: &[Case] = &[Case { name: "multi_leader_regions", faults: false, run: regions }];

/// Regions, each of which is a node of the cluster for tests.
const REGIONS: [&str; 2] = ["r1", "r2"];
/// Longest time until what was written in one region is read in the other.
const FED: Duration = Duration::from_secs(10);
/// Longest time until the operator says how a store stands, or answers a request.
const SAID: Duration = Duration::from_secs(20);
/// Longest wait of a client whose region has lost nothing.
const UNDISTURBED: Duration = Duration::from_millis(300);
/// How often a leader is lost.
const LOSSES: usize = 2;

/// The pod of the leader of a region, which serves.
pub fn leader(store: &Store<'_>, region: &str) -> Outcome<Pod> {
    let of = |status: &StoreStatus| {
        status.groups.iter().find(|group| group.region == region && group.serving).map(|group| group.leader.clone())
    };
    let status = store.wait(KUBERNETES, &format!("a leader that serves {region}"), |status| of(status).is_some())?;
    store.pod(&of(&status).unwrap_or_default())
}

fn is_in(name: &str, region: &str) -> bool {
    name.starts_with(&format!("carts-{region}-"))
}

fn regions(stage: &Stage) -> Outcome {
    let store = stage.store(
        "carts",
        &json!({ "mode": "MultiLeader", "n": 3, "w": 2, "regions": REGIONS.map(|name| json!({ "name": name })) }),
    )?;
    store.all_pods_ready(6)?;
    made_for_each_region(&store)?;
    written_in_one_read_in_the_other(&store)?;
    let load = LiveLoad::start(&store)?;
    let mut gaps = Vec::new();
    for round in 0..LOSSES {
        let (lost, other) = (REGIONS[round % 2], REGIONS[(round + 1) % 2]);
        gaps.push(lose_leader(&store, &load, lost, other)?);
    }
    handed_over(&store, &load)?;
    let ledger = load.finish()?;
    figures::spread("regions", &gaps, &format!("{ledger}, no error in the other region"));
    verify(&store)?;
    taken_away(&store)?;
    added_again(&store)
}

/// Names of objects of a kind.
pub fn names(store: &Store<'_>, kind: &str) -> Outcome<Vec<String>> {
    let items = store.stage.get(&[kind])?["items"].as_array().cloned().unwrap_or_default();
    Ok(items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

/// The second region leaves under writes: nothing that it acknowledged is lost, and nothing that was its own is left.
fn taken_away(store: &Store<'_>) -> Outcome {
    let (stays, leaves) = (REGIONS[0], REGIONS[1]);
    let there = leader(store, leaves)?;
    store.patch(&json!({ "regions": [{ "name": stays }] }))?;
    let began = Instant::now();
    let mut written = 0;
    // Until it hears of it, it takes writes; it may be gone before the next one.
    let refused = loop {
        match answered(store, &there, &["SADD", "last-words", &written.to_string()]) {
            Ok(_) if began.elapsed() < SAID => written += 1,
            Ok(_) => return Err(Failure(format!("{leaves} still takes writes"))),
            Err(Failure(why)) => break why,
        }
    };
    println!("    {leaves} after {written} writes: {refused}");
    let regional = |names: Vec<String>| names.into_iter().filter(|name| name.contains("carts-r2")).collect::<Vec<_>>();
    for kind in ["pods", "statefulsets", "services", "poddisruptionbudgets", "persistentvolumeclaims"] {
        let what = format!("{kind} of {leaves} to be gone");
        poll(KUBERNETES, &what, || Ok(regional(names(store, kind)?).is_empty().then_some(())))?;
    }
    println!("    {leaves} was taken away within {} ms", began.elapsed().as_millis());
    let leaving = |record: &serde_json::Value| record["groups"][1]["leaving"] == "Ended";
    poll(SAID, "its end to be recorded", || Ok(leaving(&store.stage.get(&["storetopology", "carts"])?).then_some(())))?;
    store.ready(KUBERNETES)?;
    for pod in store.pods() {
        let kept = (answered(store, &pod, &["SCARD", "last-words"])?, answered(store, &pod, &["GET", "from-r2"])?);
        // The answer to one more may have been lost with its connection.
        let all = [written, written + 1].map(|count: u32| count.to_string()).contains(&kept.0);
        ensure(all && kept.1 == "written in r2", || format!("{} has {kept:?} of {written}", pod.name))?;
    }
    says(store, &["lag", "carts", "--count", "1"], 0, "carts-r1-").map(drop)
}

/// A region of the same name is a new one: other numbers, new volumes, and everything that the store holds.
fn added_again(store: &Store<'_>) -> Outcome {
    store.patch(&json!({ "regions": REGIONS.map(|name| json!({ "name": name })) }))?;
    store.all_pods_ready(6)?;
    store.ready(KUBERNETES)?;
    let new = leader(store, REGIONS[1])?;
    let status = store.status()?;
    let group = status.groups.iter().find(|group| group.region == REGIONS[1]).map(|group| group.group);
    ensure(group == Some(3), || format!("{} has group {group:?}", REGIONS[1]))?;
    poll(FED, "everything in the new region", || {
        Ok((answered(store, &new, &["GET", "from-r2"])? == "written in r2").then_some(()))
    })?;
    says(store, &["lag", "carts", "--count", "1"], 0, "WRITTEN IN")?;
    verify(store)
}

/// Each region has a StatefulSet on its own nodes, a budget, and Services for its clients; the store has one record with a group for each.
fn made_for_each_region(store: &Store<'_>) -> Outcome {
    let services = [
        "carts-peers",
        "carts-r",
        "carts-r1-r",
        "carts-r1-ro",
        "carts-r1-rw",
        "carts-r2-r",
        "carts-r2-ro",
        "carts-r2-rw",
        "carts-ro",
        "carts-rw",
    ];
    for (kind, expected) in [
        ("services", &services[..]),
        ("statefulsets", &["carts-r1", "carts-r2"]),
        ("poddisruptionbudgets", &["carts-r1", "carts-r2"]),
        ("storetopologies", &["carts"]),
    ] {
        let found = names(store, kind)?;
        ensure(found == expected, || format!("{kind}: {found:?}"))?;
    }
    let record = store.stage.get(&["storetopology", "carts"])?;
    let groups = record["groups"].as_array().map_or(0, Vec::len);
    ensure(groups == REGIONS.len(), || format!("the record has {groups} groups"))?;
    let pods = store.pods();
    for region in REGIONS {
        let own: Vec<&Pod> = pods.iter().filter(|pod| is_in(&pod.name, region)).collect();
        ensure(own.len() == 3 && own.windows(2).all(|pair| pair[0].node == pair[1].node), || {
            format!("{region}: {own:?}")
        })?;
        let leads = own.iter().filter(|pod| pod.role == "leader").count();
        ensure(leads == 1, || format!("{leads} pods of {region} are labelled as its leader: {own:?}"))?;
    }
    let row = store.stage.kubectl(&["get", "rst", "carts", "--no-headers"])?;
    let row: Vec<&str> = row.split_whitespace().collect();
    let leaders = store.status()?.leader;
    ensure(
        leaders.split(',').count() == 2
            && ["MultiLeader", "3", "2", "6/6", &leaders, "Ready"].iter().all(|part| row.contains(part)),
        || format!("kubectl get shows {row:?}"),
    )?;
    says(store, &["status", "carts"], 0, "carts-r2-").map(drop)
}

/// Through each region's own Service, and at every replica of the other.
fn written_in_one_read_in_the_other(store: &Store<'_>) -> Outcome {
    for (from, to) in [(REGIONS[0], REGIONS[1]), (REGIONS[1], REGIONS[0])] {
        let service = store.service(&format!("{from}-rw"))?;
        // A Service leads nowhere until every node's proxy has heard of the pods.
        poll(SAID, &format!("carts-{from}-rw to lead somewhere"), || Ok(call(store, service, &["PING"]).ok()))?;
        let (key, text) = (format!("from-{from}"), format!("written in {from}"));
        let began = Instant::now();
        call(store, service, &["SET", &key, &text])?;
        for pod in store.pods().iter().filter(|pod| is_in(&pod.name, to)) {
            poll(FED, &format!("{key} at {}", pod.name), || {
                Ok((answered(store, pod, &["GET", &key])? == text).then_some(()))
            })?;
        }
        println!("    {key} was at all replicas of {to} within {} ms", began.elapsed().as_millis());
    }
    Ok(())
}

/// The leader of a region is killed with its pod: clients of the other region see nothing, its own only a pause, until it is whole again.
fn lose_leader(store: &Store<'_>, load: &LiveLoad<'_>, lost: &str, other: &str) -> Outcome<Duration> {
    let victim = leader(store, lost)?;
    let bystander = leader(store, other)?;
    let mark = load.mark()?;
    store.stage.kubectl(&["delete", "pod", &victim.name, "--grace-period=0", "--force", "--wait=false"])?;
    store.wait(KUBERNETES, &format!("another leader in {lost}"), |status| {
        let group = status.groups.iter().find(|group| group.region == lost);
        group.is_some_and(|group| group.serving && group.leader != victim.name)
    })?;
    store.ready(KUBERNETES)?;
    store.all_pods_ready(6)?;
    let there = load.survivors_where(&mark, |name| is_in(name, other));
    let here = load.survivors_where(&mark, |name| is_in(name, lost) && name != victim.name);
    println!(
        "    {} lost: longest wait in {other} {} ms with {} errors, in {lost} {} ms with {} errors",
        victim.name,
        there.gap.as_millis(),
        there.errors,
        here.gap.as_millis(),
        here.errors
    );
    ensure(there.errors == 0 && here.errors == 0, || {
        format!("{} errors in {other}, {} in {lost}, the first: {}", there.errors, here.errors, load.first_error())
    })?;
    let allowed = figures::allowed(UNDISTURBED);
    ensure(there.gap <= allowed, || format!("a client of {other} waited for {:?}", there.gap))?;
    let still = leader(store, other)?;
    ensure(still.uid == bystander.uid, || format!("{other} is led by {}, no more by {}", still.name, bystander.name))?;
    Ok(there.gap)
}

/// A hand-over says which region is meant by the replica that it names.
fn handed_over(store: &Store<'_>, load: &LiveLoad<'_>) -> Outcome {
    says(store, &["switchover", "carts"], 1, "each region has a leader of its own")?;
    store.annotate("switchover", Some(""))?;
    store.wait(SAID, "a hand-over of nobody to be refused", |status| {
        let asked = status.request.as_ref();
        asked.is_some_and(|request| request.outcome == Came::Refused && request.message.contains("each region"))
    })?;
    let before = leader(store, REGIONS[1])?;
    let to = store.pods().into_iter().find(|pod| is_in(&pod.name, REGIONS[1]) && pod.name != before.name);
    let to = to.ok_or_else(|| Failure("there is no follower".to_owned()))?;
    let mark = load.mark()?;
    says(store, &["switchover", "carts", &to.name], 0, &format!("{} leads", to.name))?;
    let now = leader(store, REGIONS[1])?;
    ensure(now.name == to.name, || format!("{} leads, not {}", now.name, to.name))?;
    let seen = load.all(&mark);
    ensure(seen.errors == 0, || format!("clients saw {} errors, the first: {}", seen.errors, load.first_error()))
}
