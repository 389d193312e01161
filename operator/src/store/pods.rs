//! What a pod says of its replica.

use k8s_openapi::api::core::v1::{ContainerStatus, Node, NodeCondition, PersistentVolumeClaim, Pod};
use kube::{ResourceExt as _, api::Preconditions};

/// Where its replica can be reached; `None` while it has no address, or has ended.
pub(crate) fn address(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    status.pod_ip.as_deref().filter(|ip| !ip.is_empty() && !over)
}

/// Whether no process of the replica runs, as far as its node has said.
pub(crate) fn stopped(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return true };
    let waits = |c: &ContainerStatus| c.state.as_ref().is_none_or(|state| state.running.is_none());
    match status.phase.as_deref() {
        Some("Running") => status.container_statuses.iter().flatten().all(waits),
        _ => true,
    }
}

/// What holds of this pod as long as a decision about it does: it is this very one; and where nothing runs in it, it has not changed, because what was no use
/// to anybody may be of use again.
pub(crate) fn only_this(pod: &Pod) -> Preconditions {
    Preconditions { uid: pod.uid(), resource_version: pod.resource_version().filter(|_| stopped(pod)) }
}

/// Whether Services lead clients to it.
pub(crate) fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether it is being deleted.
pub(crate) fn terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// What keeps it from running, and what to look at; `None` where it runs, or has not been there for long enough to tell.
pub(crate) fn trouble(pod: &Pod, claim: Option<&PersistentVolumeClaim>) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False")
        .and_then(|c| c.message.clone());
    if let Some(why) = unscheduled {
        // The scheduler does not say which claim, nor of which class.
        let claim = claim.filter(|_| why.contains("PersistentVolumeClaim")).and_then(unbound).unwrap_or_default();
        return Some(format!("pod {name} cannot be scheduled: {why}{claim}"));
    }
    status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        if matches!(reason, "ContainerCreating" | "PodInitializing") {
            return None;
        }
        let what = waiting.message.as_deref().unwrap_or("no more is said");
        Some(format!("pod {name} does not start: {reason}: {what}"))
    })
}

fn unbound(claim: &PersistentVolumeClaim) -> Option<String> {
    let bound = claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    let class = class.map_or_else(|| "no storage class".to_owned(), |class| format!("storage class {class}"));
    (!bound).then(|| format!("; PersistentVolumeClaim {} of {class} is not bound", claim.name_any()))
}

/// Whether those who watch machines have given this one up.
pub(crate) fn gone(node: &Node) -> bool {
    let ready = |c: &&NodeCondition| c.type_ == "Ready";
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|conditions| conditions.iter().find(ready).is_none_or(|c| c.status != "True"))
}
