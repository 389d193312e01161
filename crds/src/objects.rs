//! What a user says about the objects in Kubernetes that a store is made of. Local mode reads it and does nothing with it.
//!
//! Values that are Kubernetes' own types are kept as they are written, as [`serde_json::Value`]: local mode needs no library for them. In Kubernetes
//! the API server checks them against their schema before anybody here sees them.

use std::collections::BTreeMap;

#[cfg(feature = "kubernetes")]
use k8s_openapi::api::{core::v1 as core, networking::v1 as networking};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{quantity::Bytes, store::ReplicatedStoreSpec};

/// Shortest grace period that a pod may have, in seconds: a leader hands over within it when it is told to end.
pub const GRACE_SECONDS_MIN: i64 = 10;
/// Size of a volume where nothing is said.
const STORAGE_BYTES_DEFAULT: u64 = 10 << 30;
/// Grace period of a pod where nothing is said, in seconds: Kubernetes' own default.
const GRACE_SECONDS_DEFAULT: i64 = 30;

/// What becomes of volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum Volumes {
    /// They stay; a store that is made again under the same name finds its data.
    #[default]
    Retain,
    /// They are deleted, and the data with them.
    Delete,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum ImagePullPolicy {
    /// Each time a replica starts.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Not at all: the node must have it.
    Never,
}

/// How a Service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum ServiceType {
    /// From within the cluster.
    #[default]
    ClusterIP,
    /// Also through a port of each node.
    NodePort,
    /// Also through a load balancer of the cloud.
    LoadBalancer,
}

/// Names a Secret of the store's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretName {
    /// Its name.
    pub name: String,
}

/// The password of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// Whether clients must say a password. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Secret of the store's namespace whose key `password` is the password. Default: NAME-auth, which the operator makes with a password of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// What pods have beyond what the operator gives them. A change replaces the replicas one by one, the leader last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSettings {
    /// More labels. Those under `trireme.dev/` and `app.kubernetes.io/` belong to the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// More annotations. Those under `trireme.dev/` belong to the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have to run a replica.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that replicas tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "kubernetes", schemars(with = "Vec<core::Toleration>"))]
    pub tolerations: Vec<Value>,
    /// Rules for the choice of a node. Default: replicas of a store prefer nodes that have none of it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "kubernetes", schemars(with = "Option<core::Affinity>"))]
    pub affinity: Option<Value>,
    /// How replicas are spread over hosts and zones. Default: evenly over both, as far as there are enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "kubernetes", schemars(with = "Vec<core::TopologySpreadConstraint>"))]
    pub topology_spread_constraints: Vec<Value>,
    /// Priority class of the pods; the cluster's default where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// More environment variables of the replicas' container, for example RUST_LOG. POD_NAME and ORDINAL belong to the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "kubernetes", schemars(with = "Vec<core::EnvVar>"))]
    pub env: Vec<Value>,
    /// Seconds that a replica has to end by itself, 10 to 3600. Default 30. A leader uses up to 10 of them to hand over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<i64>,
}

/// The Services for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSettings {
    /// More annotations, for example those that a cloud's load balancer reads. Those under `trireme.dev/` belong to the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// How they are reached. Default ClusterIP.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ServiceType>,
}

/// Who may connect to the replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPolicy {
    /// Whether a NetworkPolicy is made: clients reach only port 6379; the peer port is for the store's replicas and the operator. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Who may connect as a client, as a NetworkPolicy's `from` says it. Default: everybody who reaches the pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "kubernetes", schemars(with = "Vec<networking::NetworkPolicyPeer>"))]
    pub clients: Vec<Value>,
}

/// How Prometheus finds the replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Monitoring {
    /// Whether a PodMonitor (monitoring.coreos.com/v1) is made. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_monitor: Option<bool>,
    /// Labels of the PodMonitor, by which a Prometheus selects it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

macro_rules! is_default {
    ($($kind:ty),+) => {$(
        impl $kind {
            /// Whether nothing is said: then it is not written either.
            pub fn is_default(&self) -> bool {
                *self == <$kind>::default()
            }
        }
    )+};
}

is_default!(Auth, PodSettings, ServiceSettings, NetworkPolicy, Monitoring);

/// Where the password of clients comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// There is none.
    Off,
    /// From the Secret NAME-auth, which the operator makes.
    Generated,
    /// From this Secret of the user's.
    Secret(String),
}

/// What only Kubernetes uses of a spec, with every default filled in that does not depend on the operator or on the cluster. What a default cannot change
/// is read from the spec: labels, annotations, tolerations and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledObjects {
    /// Size of each replica's volume.
    pub storage: Bytes,
    /// Its storage class; `None` for the cluster's default.
    pub storage_class: Option<String>,
    /// What becomes of volumes.
    pub volumes: Volumes,
    /// Where the password of clients comes from.
    pub password: Password,
    /// How the Services for clients are reached.
    pub service_type: ServiceType,
    /// Whether a NetworkPolicy is made.
    pub network_policy: bool,
    /// Whether a PodMonitor is made.
    pub pod_monitor: bool,
    /// Seconds that a pod has to end by itself.
    pub grace_seconds: i64,
}

impl ReplicatedStoreSpec {
    /// What only Kubernetes uses, with its defaults filled in.
    pub fn settle_objects(&self) -> SettledObjects {
        let storage = self.storage.as_ref();
        SettledObjects {
            storage: storage.and_then(|s| s.size).unwrap_or(Bytes(STORAGE_BYTES_DEFAULT)),
            storage_class: storage.and_then(|s| s.storage_class_name.clone()),
            volumes: self.volumes.unwrap_or_default(),
            password: match (self.auth.enabled.unwrap_or(true), &self.auth.secret_name) {
                (false, _) => Password::Off,
                (true, None) => Password::Generated,
                (true, Some(name)) => Password::Secret(name.clone()),
            },
            service_type: self.service.kind.unwrap_or_default(),
            network_policy: self.network_policy.enabled.unwrap_or(true),
            pod_monitor: self.monitoring.pod_monitor.unwrap_or(false),
            grace_seconds: self.pod.termination_grace_period_seconds.unwrap_or(GRACE_SECONDS_DEFAULT),
        }
    }
}
