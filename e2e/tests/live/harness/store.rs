//! A store of a test, its status and its replicas' pods.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::Deserialize as _;
use serde_json::Value;
use trireme_crds::{ConditionStatus, StorePhase, StoreStatus};

use super::{Failure, Outcome, Stage, shell, stage::KUBERNETES};

/// Port for clients.
pub const CLIENT_PORT: u16 = 6379;

/// A store by its name.
pub struct Store<'a> {
    /// Where it is.
    pub stage: &'a Stage,
    /// Its name.
    pub name: String,
}

/// A replica's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name, which is its replica's.
    pub name: String,
    /// Its number among the store's pods, from 0.
    pub index: usize,
    /// Its node.
    pub node: String,
    /// Its address.
    pub address: IpAddr,
    /// Which one of its name.
    pub uid: String,
    /// What it does, as its label says.
    pub role: String,
    /// It answers its readiness probe.
    pub ready: bool,
}

impl Store<'_> {
    pub fn new<'a>(stage: &'a Stage, name: &str) -> Store<'a> {
        Store { stage, name: name.to_owned() }
    }

    /// As the watch has it.
    pub fn object(&self) -> Outcome<Value> {
        self.stage.stores.get(&self.name).ok_or_else(|| Failure(format!("there is no store {}", self.name)))
    }

    /// Its status as it was last written.
    pub fn status(&self) -> Outcome<StoreStatus> {
        status_of(&self.object()?).ok_or_else(|| Failure(format!("{} has no status yet", self.name)))
    }

    /// Waits for a status that is about the present spec.
    pub fn wait(&self, within: Duration, what: &str, holds: impl Fn(&StoreStatus) -> bool) -> Outcome<StoreStatus> {
        let found = self.stage.stores.wait(within, what, |stores| {
            let object = stores.get(&self.name)?;
            let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
            status_of(object).filter(|status| status.observed_generation >= generation && holds(status))
        });
        found.map_err(|failure| Failure(format!("{failure}\n{}", self.describe())))
    }

    /// Waits until a leader serves and every replica is a member that has caught up.
    pub fn ready(&self, within: Duration) -> Outcome<StoreStatus> {
        self.wait(within, &format!("{} to be ready", self.name), |status| status.phase == StorePhase::Ready)
    }

    /// Waits until it is ready in a later epoch than this.
    pub fn ready_after(&self, epoch: u64, within: Duration) -> Outcome<StoreStatus> {
        let what = format!("{} to be ready after epoch {epoch}", self.name);
        self.wait(within, &what, |status| status.phase == StorePhase::Ready && epoch_of(status) > epoch)
    }

    /// Waits for a condition: its type, its status and a part of its message.
    pub fn condition(&self, kind: &str, is: ConditionStatus, part: &str, within: Duration) -> Outcome<String> {
        let what = format!("{} to have the condition {kind} {is:?} with '{part}'", self.name);
        let message = |status: &StoreStatus| {
            let condition =
                status.conditions.iter().find(|c| c.kind == kind && c.status == is && c.message.contains(part));
            condition.map(|c| c.message.clone())
        };
        let status = self.wait(within, &what, |status| message(status).is_some())?;
        Ok(message(&status).unwrap_or_default())
    }

    /// The epoch in force.
    pub fn epoch(&self) -> Outcome<u64> {
        Ok(epoch_of(&self.status()?))
    }

    /// The pod of the replica that leads and serves.
    pub fn leader(&self) -> Outcome<Pod> {
        let status = self.wait(KUBERNETES, "a leader that serves", |s| s.groups.first().is_some_and(|g| g.serving))?;
        self.pod(&status.groups[0].leader)
    }

    /// A follower's pod: the first one that is not this.
    pub fn follower(&self) -> Outcome<Pod> {
        let leader = self.leader()?.name;
        let other = self.pods().into_iter().find(|pod| pod.name != leader);
        other.ok_or_else(|| Failure(format!("{} has no follower", self.name)))
    }

    /// This replica's pod, when it has an address.
    pub fn pod(&self, name: &str) -> Outcome<Pod> {
        let what = format!("pod {name} to have an address");
        self.stage.pods.wait(KUBERNETES, &what, |pods| pod_of(&self.name, pods.get(name)?))
    }

    /// All pods that have an address.
    pub fn pods(&self) -> Vec<Pod> {
        self.stage.pods.look(|pods| pods.values().filter_map(|pod| pod_of(&self.name, pod)).collect())
    }

    /// Waits until there are exactly this many pods, all ready, and all labelled with what they do.
    pub fn all_pods_ready(&self, count: usize) -> Outcome {
        self.stage.pods.wait(KUBERNETES, &format!("{count} pods of {} to be ready", self.name), |pods| {
            let all: Vec<Pod> = pods.values().filter_map(|pod| pod_of(&self.name, pod)).collect();
            (all.len() == count && all.iter().all(|pod| pod.ready && !pod.role.is_empty())).then_some(())
        })
    }

    /// The clients' password, where the operator made one.
    pub fn password(&self) -> Outcome<String> {
        let path = "go-template={{.data.password | base64decode}}";
        self.stage.kubectl(&["get", "secret", &format!("{}-auth", self.name), "-o", path])
    }

    /// Where clients reach a Service of it.
    pub fn service(&self, suffix: &str) -> Outcome<SocketAddr> {
        let service = self.stage.get(&["service", &format!("{}-{suffix}", self.name)])?;
        let address = service["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
        address.map(|ip| (ip, CLIENT_PORT).into()).ok_or_else(|| Failure(format!("Service {suffix} has no address")))
    }

    /// Changes the spec.
    pub fn patch(&self, spec: &Value) -> Outcome {
        let patch = serde_json::json!({ "spec": spec }).to_string();
        self.stage.kubectl(&["patch", "replicatedstore", &self.name, "--type=merge", "-p", &patch]).map(drop)
    }

    /// Sets an annotation under `trireme.dev/`, or removes it where the value is `None`.
    pub fn annotate(&self, name: &str, value: Option<&str>) -> Outcome {
        let text = value.map_or(format!("trireme.dev/{name}-"), |value| format!("trireme.dev/{name}={value}"));
        self.stage.kubectl(&["annotate", "--overwrite", "replicatedstore", &self.name, &text]).map(drop)
    }

    /// A fault of one of its pods.
    pub fn fault(&self, what: &str, pod: &Pod) -> Outcome {
        shell::fault(&[what, &pod.node, &format!("{}/{}", self.stage.namespace, pod.name)])
    }

    /// How it stands, for the text of a failure.
    pub fn describe(&self) -> String {
        let Ok(status) = self.status() else { return format!("{} has no status", self.name) };
        let mut text = format!("    {:?}, epoch {}", status.phase, epoch_of(&status));
        for condition in &status.conditions {
            text +=
                &format!("\n    {}={:?} {}: {}", condition.kind, condition.status, condition.reason, condition.message);
        }
        for r in &status.replicas {
            text +=
                &format!("\n    {} {} member={} reachable={} {}", r.name, r.role, r.member, r.reachable, r.position);
        }
        for pod in self.pods() {
            text += &format!("\n    pod {} on {} {} ready={} {}", pod.name, pod.node, pod.address, pod.ready, pod.role);
        }
        text
    }
}

fn status_of(object: &Value) -> Option<StoreStatus> {
    StoreStatus::deserialize(object.get("status")?).ok()
}

/// The operator's number of the epoch in force; 0 where there is none.
pub fn epoch_of(status: &StoreStatus) -> u64 {
    let text = status.groups.first().map_or("", |group| group.epoch.as_str());
    text.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What of an object is of interest, if it is a pod of this store that has an address and is not being deleted.
pub fn pod_of(store: &str, object: &Value) -> Option<Pod> {
    let (metadata, status) = (&object["metadata"], &object["status"]);
    if metadata["labels"]["trireme.dev/store"] != store || metadata.get("deletionTimestamp").is_some() {
        return None;
    }
    let name = metadata["name"].as_str()?.to_owned();
    let conditions = status["conditions"].as_array();
    Some(Pod {
        index: name.rsplit('-').next()?.parse().ok()?,
        node: object["spec"]["nodeName"].as_str()?.to_owned(),
        address: status["podIP"].as_str()?.parse().ok()?,
        uid: metadata["uid"].as_str()?.to_owned(),
        role: metadata["labels"]["trireme.dev/role"].as_str().unwrap_or_default().to_owned(),
        ready: conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")),
        name,
    })
}
