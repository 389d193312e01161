//! What becomes of data: a volume that is lost, a store that is deleted and made again, volumes that go with it, a record that is lost.

use serde_json::{Value, json};
use trireme_crds::{ConditionStatus, StorePhase};

use crate::harness::{
    Case, Failure, Outcome, Stage, Store, ensure,
    load::{LiveLoad, call},
    stage::{KUBERNETES, poll},
};
use trireme_cli::resp::Reply;

pub const CASES: &[Case] = &[
    Case { name: "volume_lost", faults: false, run: volume_lost },
    Case { name: "made_again_over_its_volumes", faults: false, run: made_again_over_its_volumes },
    Case { name: "volumes_deleted", faults: false, run: volumes_deleted },
    Case { name: "volumes_grow", faults: false, run: volumes_grow },
    Case { name: "record_lost", faults: false, run: record_lost },
];

/// A replica that comes back with an empty disk is another life of it: it learns everything, and is a member then.
fn volume_lost(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    let lost = store.follower()?;
    let life = |store: &Store<'_>| -> Outcome<String> {
        let status = store.status()?;
        let replica = status.replicas.iter().find(|replica| replica.name == lost.name);
        Ok(replica.map(|replica| replica.incarnation.clone()).unwrap_or_default())
    };
    let before = life(&store)?;
    stage.kubectl(&["delete", "pvc", &format!("data-{}", lost.name), "--wait=false"])?;
    stage.kubectl(&["delete", "pod", &lost.name, "--wait=false"])?;
    let what = "another life of it to be a member that has caught up";
    store.wait(KUBERNETES, what, |status| {
        let replica = status.replicas.iter().find(|replica| replica.name == lost.name);
        let another = replica.is_some_and(|r| r.member && !r.incarnation.is_empty() && r.incarnation != before);
        another && status.phase == StorePhase::Ready
    })?;
    store.all_pods_ready(3)?;
    load.finish().map(drop)
}

fn set(store: &Store<'_>, key: &str, value: &str) -> Outcome {
    poll(KUBERNETES, "a write through the Service", || {
        let reply = call(store, store.service("rw")?, &["SET", key, value])?;
        Ok((reply == Reply::Bytes(b"OK".to_vec())).then_some(()))
    })
}

fn get(store: &Store<'_>, key: &str) -> Outcome<Reply> {
    poll(KUBERNETES, "a read through the Service", || call(store, store.service("rw")?, &["GET", key]).map(Some))
}

fn gone(stage: &Stage, kind: &str) -> Outcome {
    poll(KUBERNETES, &format!("every {kind} to be gone"), || {
        let left = stage.get(&[kind, "-l", "trireme.dev/store=orders"])?;
        Ok(left["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
}

fn made_again_over_its_volumes(stage: &Stage) -> Outcome {
    let spec = json!({ "mode": "SingleLeader" });
    let store = stage.store("orders", &spec)?;
    set(&store, "kept", "yes")?;
    stage.kubectl(&["delete", "replicatedstore", "orders", "--timeout=60s"])?;
    gone(stage, "pods")?;
    for kind in
        ["statefulsets", "services", "storetopologies", "networkpolicies", "poddisruptionbudgets", "serviceaccounts"]
    {
        gone(stage, kind)?;
    }
    let claims = stage.get(&["pvc"])?["items"].as_array().map_or(0, Vec::len);
    ensure(claims == 3, || format!("{claims} of 3 volumes are left"))?;
    let store = stage.store("orders", &spec)?;
    let found = get(&store, "kept")?;
    ensure(found == Reply::Bytes(b"yes".to_vec()), || format!("the store that was made again answers {found:?}"))?;
    set(&store, "after", "yes")
}

fn volumes_deleted(stage: &Stage) -> Outcome {
    let spec = json!({ "mode": "SingleLeader", "volumes": "Delete" });
    let store = stage.store("orders", &spec)?;
    set(&store, "kept", "no")?;
    stage.kubectl(&["delete", "replicatedstore", "orders", "--timeout=60s"])?;
    gone(stage, "pods")?;
    poll(KUBERNETES, "every volume to be gone", || {
        Ok(stage.get(&["pvc"])?["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })?;
    let store = stage.store("orders", &spec)?;
    let found = get(&store, "kept")?;
    ensure(found == Reply::Nothing, || format!("a store without volumes answers {found:?}"))
}

/// More is wanted of each volume: where its class allows that the claims are grown; elsewhere the claim is named that could not be.
fn volumes_grow(stage: &Stage) -> Outcome {
    let class = |name: &str, grows: bool| -> Outcome {
        let classes = stage.get(&["storageclasses"])?["items"].as_array().cloned().unwrap_or_default();
        let default = |class: &&Value| {
            class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == json!("true")
        };
        let provisioner = classes.iter().find(default).map(|class| class["provisioner"].clone());
        let provisioner = provisioner.ok_or_else(|| Failure("the cluster has no default storage class".to_owned()))?;
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name }, "provisioner": provisioner,
            "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": grows,
        });
        stage.apply(&class.to_string()).map(drop)
    };
    let grown = |name: &str, grows: bool| -> Outcome {
        class(name, grows)?;
        let storage = |size: &str| json!({ "size": size, "storageClassName": name });
        let store = stage
            .store("orders", &json!({ "mode": "SingleLeader", "storage": storage("1Gi"), "volumes": "Delete" }))?;
        store.patch(&json!({ "storage": storage("2Gi") }))?;
        if grows {
            poll(KUBERNETES, "every claim to ask for 2Gi", || {
                let claims = stage.get(&["pvc"])?["items"].as_array().cloned().unwrap_or_default();
                let asks = |claim: &&Value| claim["spec"]["resources"]["requests"]["storage"] == json!("2Gi");
                Ok((claims.iter().filter(asks).count() == 3).then_some(()))
            })?;
            stage.event("VolumeGrows", "data-orders-0", KUBERNETES)?;
        } else {
            store.condition("Degraded", ConditionStatus::True, "data-orders-0 could not grow to 2Gi", KUBERNETES)?;
            store.ready(KUBERNETES)?;
        }
        stage.kubectl(&["delete", "replicatedstore", "orders", "--timeout=60s"])?;
        gone(stage, "pods")
    };
    let outcome = grown("trireme-grows", true).and_then(|()| grown("trireme-fixed", false));
    stage.kubectl(&["delete", "storageclass", "--ignore-not-found", "trireme-grows", "trireme-fixed"])?;
    outcome
}

/// The record is rebuilt from what the replicas know; nothing that was acknowledged is lost, and the epoch never goes back.
fn record_lost(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let load = LiveLoad::start(&store)?;
    let (epoch, uid) = (store.epoch()?, stage.get(&["storetopology", "orders"])?["metadata"]["uid"].clone());
    stage.kubectl(&["delete", "storetopology", "orders"])?;
    poll(KUBERNETES, "the record to be there again", || {
        let record = stage.get(&["storetopology", "orders"])?;
        Ok((record["metadata"]["uid"] != uid).then_some(()))
    })?;
    stage.event("Rebuilt", "", KUBERNETES)?;
    store.ready(KUBERNETES)?;
    let after = store.epoch()?;
    ensure(after >= epoch, || format!("the epoch went back from {epoch} to {after}"))?;
    load.finish().map(drop)
}
