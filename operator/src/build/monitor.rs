//! A PodMonitor for Prometheus' operator, whose types are no part of Kubernetes.

use serde_json::{Value, json};

use super::{labels, selector};
use crate::store::wanted::Wanted;

/// The PodMonitor, where one is asked for.
pub(super) fn pod_monitor(wanted: &Wanted) -> Option<Value> {
    let more = wanted.monitor.as_ref()?;
    let mut labels = labels(wanted);
    labels.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    Some(json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {
            "name": wanted.name,
            "namespace": wanted.namespace,
            "labels": labels,
            "ownerReferences": [wanted.owner],
        },
        "spec": {
            "selector": { "matchLabels": selector(wanted) },
            "podMetricsEndpoints": [{ "port": "http", "path": "/metrics" }],
        },
    }))
}
