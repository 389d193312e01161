//! What the operator owns is put back; what it does not own is left alone.

use serde_json::json;
use trireme_crds::ConditionStatus;

use crate::harness::{
    Case, Outcome, Stage, ensure,
    stage::{KUBERNETES, poll},
};

pub const CASES: &[Case] = &[
    Case { name: "edits_are_put_back", faults: false, run: edits_are_put_back },
    Case { name: "what_is_deleted_comes_again", faults: false, run: what_is_deleted_comes_again },
    Case { name: "others_objects_are_left_alone", faults: false, run: others_objects_are_left_alone },
];

fn edits_are_put_back(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let epoch = store.epoch()?;
    let edits = [
        ("service", "orders-rw", "/spec/selector/trireme.dev~1role", json!("nobody")),
        ("networkpolicy", "orders", "/spec/ingress", json!([])),
        ("poddisruptionbudget", "orders", "/spec/maxUnavailable", json!(3)),
        ("statefulset", "orders", "/spec/template/spec/containers/0/image", json!("localhost/other:1")),
    ];
    for (kind, name, path, value) in edits {
        let before = stage.get(&[kind, name])?;
        let wanted = before.pointer(path).cloned();
        let patch = json!([{ "op": "replace", "path": path, "value": value }]).to_string();
        stage.kubectl(&["patch", kind, name, "--type=json", "-p", &patch])?;
        poll(KUBERNETES, &format!("{kind} {name} to be put back"), || {
            Ok((stage.get(&[kind, name])?.pointer(path).cloned() == wanted).then_some(()))
        })?;
        let named = format!("{name} had been edited");
        stage.event("PutBack", &named, KUBERNETES)?;
    }
    let after = store.epoch()?;
    ensure(after == epoch, || {
        format!("an edit that was put back cost a change of leaders: epoch {epoch}, now {after}")
    })?;
    // What others set, and the operator does not, is theirs.
    stage.kubectl(&["annotate", "service", "orders-rw", "example.org/mine=yes"])?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let service = stage.get(&["service", "orders-rw"])?;
    let mine = service["metadata"]["annotations"]["example.org/mine"] == "yes";
    ensure(mine, || format!("an annotation of somebody else was removed: {service}"))
}

fn what_is_deleted_comes_again(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    for (kind, name) in [("service", "orders-rw"), ("poddisruptionbudget", "orders"), ("statefulset", "orders")] {
        let uid = stage.get(&[kind, name])?["metadata"]["uid"].clone();
        stage.kubectl(&["delete", kind, name, "--cascade=orphan"])?;
        poll(KUBERNETES, &format!("{kind} {name} to be there again"), || {
            Ok((stage.get(&[kind, name])?["metadata"]["uid"] != uid).then_some(()))
        })?;
        stage.event("Restored", &format!("{name} had been deleted"), KUBERNETES)?;
    }
    store.ready(KUBERNETES)?;
    store.all_pods_ready(3)
}

fn others_objects_are_left_alone(stage: &Stage) -> Outcome {
    let service = r#"{apiVersion: v1, kind: Service, metadata: {name: orders-rw}, spec: {selector: {app: shop}, ports: [{port: 80}]}}"#;
    stage.apply(service)?;
    let before = stage.get(&["service", "orders-rw"])?;
    let store = stage.apply_store("orders", &json!({ "mode": "SingleLeader" }))?;
    let message = store.condition("Degraded", ConditionStatus::True, "Service orders-rw", KUBERNETES)?;
    println!("    {message}");
    std::thread::sleep(std::time::Duration::from_secs(3));
    let after = stage.get(&["service", "orders-rw"])?;
    ensure(after["spec"] == before["spec"] && after["metadata"]["ownerReferences"].is_null(), || {
        format!("a Service that belongs to nobody was taken over: {after}")
    })?;
    // One object that cannot be keeps nothing else from being; and when the cause goes, it heals.
    store.wait(KUBERNETES, "a leader all the same", |status| status.groups.first().is_some_and(|g| g.serving))?;
    stage.kubectl(&["delete", "service", "orders-rw"])?;
    store.condition("Degraded", ConditionStatus::False, "", KUBERNETES)?;
    let owned = stage.get(&["service", "orders-rw"])?["metadata"]["ownerReferences"][0]["name"] == "orders";
    ensure(owned, || "the Service was not made when its name was free".to_owned())?;
    // The same of what replicas run from, and of the password.
    stage.apply(
        r#"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: taken}, spec: {replicas: 0, serviceName: taken, selector: {matchLabels: {app: shop}},
            template: {metadata: {labels: {app: shop}}, spec: {containers: [{name: shop, image: shop}]}}}}"#,
    )?;
    stage.apply(r#"{apiVersion: v1, kind: Secret, metadata: {name: taken-auth}, stringData: {password: theirs}}"#)?;
    let taken = stage.apply_store("taken", &json!({ "mode": "SingleLeader" }))?;
    for what in ["StatefulSet taken", "Secret taken-auth"] {
        taken.condition("Degraded", ConditionStatus::True, what, KUBERNETES)?;
    }
    let replicas = &stage.get(&["statefulset", "taken"])?["spec"]["replicas"];
    ensure(*replicas == 0, || format!("a StatefulSet that belongs to nobody was changed: {replicas} replicas"))
}
