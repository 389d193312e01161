//! Who may connect to whom: clients to the client port, and nobody but replicas and the operator to the peer port; and who is told to read metrics.

use serde_json::json;

use crate::harness::{
    Case, Outcome, Stage, ensure,
    stage::{KUBERNETES, poll},
};

pub const CASES: &[Case] = &[
    Case { name: "peer_port_is_closed", faults: false, run: peer_port_is_closed },
    Case { name: "monitored", faults: false, run: monitored },
];

fn peer_port_is_closed(stage: &Stage) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader" }))?;
    store.all_pods_ready(3)?;
    let target = store.leader()?.address;
    // A policy takes a moment to hold for a pod that has just been made: the client waits before it tries.
    let script = format!(
        "sleep 5; for port in 6379 7600 9600; do echo | timeout 5 nc -w 3 {target} $port >/dev/null 2>&1 && echo $port open || echo $port closed; done"
    );
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "stranger", "labels": { "app": "shop" } },
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "client", "image": "localhost/busybox:1", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    });
    stage.apply(&pod.to_string())?;
    stage.pods.wait(KUBERNETES, "the client to end", |pods| {
        let phase = pods.get("stranger")?["status"]["phase"].as_str()?;
        matches!(phase, "Succeeded" | "Failed").then_some(())
    })?;
    let said = stage.kubectl(&["logs", "stranger"])?;
    ensure(said.contains("6379 open") && said.contains("7600 closed"), || {
        format!("a pod without any label found: {said}")
    })?;
    // The store goes on: the operator and its peers are let in.
    store.ready(KUBERNETES)?;
    store.patch(&json!({ "networkPolicy": { "enabled": false } }))?;
    poll(KUBERNETES, "the policy to be gone", || {
        Ok(stage.get(&["networkpolicies"])?["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
}

/// Prometheus' operator is told of the pods when that is wanted; its kind of object is made here, as a cluster for tests has none.
fn monitored(stage: &Stage) -> Outcome {
    let kind = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "podmonitors.monitoring.coreos.com" },
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": { "kind": "PodMonitor", "plural": "podmonitors" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    });
    stage.apply(&kind.to_string())?;
    let outcome = with_monitors(stage);
    stage.kubectl(&["delete", "crd", "podmonitors.monitoring.coreos.com"])?;
    outcome
}

fn with_monitors(stage: &Stage) -> Outcome {
    let monitors = |count: usize| {
        poll(KUBERNETES, &format!("{count} PodMonitors"), || {
            let found = stage.get(&["podmonitors.monitoring.coreos.com"])?["items"].as_array().map_or(0, Vec::len);
            Ok((found == count).then_some(()))
        })
    };
    stage.kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd/podmonitors.monitoring.coreos.com",
        "--timeout=30s",
    ])?;
    let store = stage.store("orders", &json!({ "mode": "SingleLeader", "monitoring": { "podMonitor": true } }))?;
    monitors(1)?;
    store.patch(&json!({ "monitoring": { "podMonitor": false } }))?;
    monitors(0)
}
