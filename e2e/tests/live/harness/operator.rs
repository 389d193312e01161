//! The operator, installed with the chart as a user does it.

use std::{fs, time::Duration};

use serde_json::Value;

use super::{
    Failure, Outcome, ensure, shell,
    stage::{KUBERNETES, poll},
};

/// Where it is installed.
pub const NAMESPACE: &str = "trireme-system";
/// Its Deployment and its Lease.
pub const NAME: &str = "trireme-operator";

/// One of its pods.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub node: String,
    pub address: String,
}

/// Installs it, or upgrades it to what is here.
pub fn install() -> Outcome {
    let values = "charts/trireme/ci/local-images-values.yaml";
    let labels = ["pod-security.kubernetes.io/enforce=restricted", "trireme.dev/live=operator"];
    let place = ["--namespace", NAMESPACE, "--create-namespace", "-f", values, "--wait", "--timeout", "120s"];
    shell::run("helm", &[&["upgrade", "--install", "trireme", "charts/trireme"], &place[..]].concat(), None)?;
    shell::kubectl(&[&["label", "--overwrite", "namespace", NAMESPACE], &labels[..]].concat())?;
    poll(KUBERNETES, "an operator that acts", || holder().map(Some)).map(drop)
}

/// Removes it, and its resources' kinds, which the chart leaves.
pub fn uninstall() -> Outcome {
    shell::run("helm", &["uninstall", "trireme", "--namespace", NAMESPACE, "--wait", "--timeout", "90s"], None)?;
    shell::kubectl(&["delete", "namespace", NAMESPACE, "--timeout=90s"])?;
    shell::kubectl(&["delete", "crd", "replicatedstores.trireme.dev", "storetopologies.trireme.dev"]).map(drop)
}

/// kubectl in its namespace.
pub fn kubectl(arguments: &[&str]) -> Outcome<String> {
    shell::kubectl(&[&["-n", NAMESPACE], arguments].concat())
}

/// All of its pods that run.
pub fn pods() -> Outcome<Vec<Pod>> {
    let list = shell::get(&["-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=operator"])?;
    let running =
        |pod: &&Value| pod["metadata"].get("deletionTimestamp").is_none() && pod["status"]["podIP"].is_string();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let pod = |pod: &Value| Pod {
        name: text(&pod["metadata"]["name"]),
        node: text(&pod["spec"]["nodeName"]),
        address: text(&pod["status"]["podIP"]),
    };
    Ok(items.iter().filter(running).map(pod).collect())
}

/// The pod that holds the Lease.
pub fn holder() -> Outcome<Pod> {
    let lease = shell::get(&["-n", NAMESPACE, "lease", NAME])?;
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    let found = pods()?.into_iter().find(|pod| pod.name == holder);
    found.ok_or_else(|| Failure(format!("the Lease is held by '{holder}', which is no pod that runs")))
}

/// Waits until another pod than this holds the Lease.
pub fn holder_other_than(name: &str, within: Duration) -> Outcome<Pod> {
    poll(within, "another operator to hold the Lease", || holder().map(|pod| (pod.name != name).then_some(pod)))
}

/// Waits until all of its pods are ready.
pub fn whole() -> Outcome {
    kubectl(&["rollout", "status", "deployment", NAME, "--timeout=90s"])?;
    poll(KUBERNETES, "an operator that acts", || holder().map(Some)).map(drop)
}

/// Kills the process of the operator that acts, without warning.
pub fn kill_holder() -> Outcome<Pod> {
    let pod = holder()?;
    kubectl(&["delete", "pod", &pod.name, "--grace-period=0", "--force"])?;
    Ok(pod)
}

/// What all of its pods have logged since `since`, as RFC 3339.
pub fn log(since: &str) -> Outcome<String> {
    let mut all = String::new();
    for pod in pods()? {
        all += &kubectl(&["logs", &pod.name, &format!("--since-time={since}")])?;
    }
    Ok(all)
}

/// Whether it was refused anything by the API server since then.
pub fn was_refused_nothing(since: &str) -> Outcome {
    let log = log(since)?;
    let refused = log.lines().find(|line| line.contains("Forbidden") || line.contains("is forbidden"));
    ensure(refused.is_none(), || format!("the operator's role lacks a rule: {}", refused.unwrap_or_default()))
}

/// Memory of its largest process, in MiB, where its processes are on this machine; `None` elsewhere.
pub fn memory_mib() -> Option<f64> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let operators = processes.filter(|p| {
        let name = fs::read_to_string(p.path().join("comm")).unwrap_or_default();
        // The kernel keeps 15 bytes of it.
        !name.trim().is_empty() && NAME.starts_with(name.trim()) && name.trim().len() == 15
    });
    let kib = operators.filter_map(|p| {
        let status = fs::read_to_string(p.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    });
    kib.reduce(f64::max).map(|kib| kib / 1024.0)
}

/// Its metrics, as Prometheus reads them.
pub fn metrics(pod: &Pod) -> Outcome<String> {
    shell::kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{NAMESPACE}/pods/{}:9600/proxy/metrics", pod.name)])
}
