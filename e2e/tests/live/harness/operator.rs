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

/// Whether its role lacks a rule for anything that it asked of the API server since then.
///
/// An API server that has just begun refuses everything until it has read the roles: that is no lack. So what was refused is asked
/// about once more, of the API server as it is now.
pub fn was_refused_nothing(since: &str) -> Outcome {
    // What a rule of another kind forbids, such as to write into a namespace that is going, is said in other words.
    for line in log(since)?.lines().filter(|line| line.contains("is forbidden") && line.contains(" cannot ")) {
        let allowed_now = Refusal::read(line).is_some_and(|refusal| refusal.is_allowed_now());
        ensure(allowed_now, || format!("the operator's role lacks a rule: {line}"))?;
    }
    Ok(())
}

/// What an API server refused, read from its words.
struct Refusal<'a> {
    user: &'a str,
    verb: &'a str,
    /// `pods`, or `pods/status`.
    resource: &'a str,
    group: &'a str,
    /// Of the object; none where many were asked for. A role may be for one name alone.
    name: Option<&'a str>,
    namespace: &'a str,
}

impl<'a> Refusal<'a> {
    /// From `R.G "NAME" is forbidden: User "U" cannot V resource "R" in API group "G" in the namespace "N"`.
    fn read(line: &'a str) -> Option<Self> {
        let between = |before: &str, after: &str| Some(line.split_once(before)?.1.split_once(after)?.0);
        // A text in the log has its quotation marks escaped.
        let quoted = |before: &str| Some(between(before, "\"")?.trim_end_matches('\\'));
        let mark = if line.contains("User \\\"") { "\\\"" } else { "\"" };
        Some(Self {
            user: quoted(&format!("User {mark}"))?,
            verb: between(" cannot ", " ")?,
            resource: quoted(&format!(" resource {mark}"))?,
            group: quoted(&format!("in API group {mark}"))?,
            name: line.split_once(" is forbidden")?.0.strip_suffix(mark).and_then(|head| head.rsplit(mark).next()),
            namespace: quoted(&format!("in the namespace {mark}")).unwrap_or_default(),
        })
    }

    fn is_allowed_now(&self) -> bool {
        let (kind, part) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let (mut kind, part) = (format!("{kind}.{}", self.group), format!("--subresource={part}"));
        kind.truncate(kind.trim_end_matches('.').len());
        if let Some(name) = self.name {
            kind += &format!("/{name}");
        }
        let place = if self.namespace.is_empty() {
            "--all-namespaces".to_owned()
        } else {
            format!("--namespace={}", self.namespace)
        };
        let asked = ["auth", "can-i", self.verb, &kind, &part, "--as", self.user, &place];
        shell::kubectl(&asked).is_ok()
    }
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
