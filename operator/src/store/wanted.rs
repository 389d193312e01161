//! A store's resource, parsed once: nothing later reads the spec.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        core::v1::{
            Affinity, EnvVar, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
        },
        networking::v1::NetworkPolicyPeer,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource as _, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use trireme_crds::{
    kubernetes::ReplicatedStore,
    objects::{ImagePullPolicy, Password, ServiceType, Volumes},
};
use trireme_planner::Desired;
use trireme_proto::{Topology, topology::Durability};

use super::Key;
use crate::context::random_u64;

/// Annotation: a new value restarts every replica, one by one.
pub(crate) const RESTART: &str = "trireme.dev/restart";
/// A leader hands over within this part of its pod's grace period, in milliseconds; the rest is for closing its disk.
const HANDOVER_MS_MAX: i64 = 10_000;

/// Why a resource cannot be used. The API server has checked it against the CRD's schema and rules: what is left is a CRD of another version, or a value
/// whose form the schema leaves open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidStore {
    /// Rules that it breaks.
    #[error("{0}")]
    Rules(String),
    /// A value that is none of its kind.
    #[error("{path}: {source}")]
    Value {
        /// The field.
        path: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Where the password of clients is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    /// There is none.
    None,
    /// In a Secret of this name, which the operator makes.
    Generated(String),
    /// In a Secret of this name, which the user makes.
    Named(String),
}

/// What every store has from the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    /// What replicas run where a resource names no image.
    pub node_image: String,
    /// Its own namespace.
    pub namespace: String,
}

/// What is wanted, in full.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What everything that belongs to it is owned by.
    pub owner: OwnerReference,
    /// What the planner works towards in the first of its groups, before anything has been decided: its name, w and settings are those of every group.
    pub desired: Desired,
    /// What all groups are planned from: name, annotations and spec.
    resource: ReplicatedStore,
    /// Names of its regions, in the order in which replicas go to them; one without a name where none is named.
    pub regions: Vec<String>,
    /// The replicas' image.
    pub image: String,
    /// When it is pulled; the cluster decides where nothing is said.
    pub image_pull_policy: Option<String>,
    /// Secrets with which it is pulled.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// CPU and memory of each replica.
    pub resources: Option<ResourceRequirements>,
    /// Where the password is.
    pub auth: Auth,
    /// `Retain` or `Delete`.
    pub volumes: String,
    /// Size of each volume.
    pub storage_size: String,
    /// Their class; the cluster's default where nothing is said.
    pub storage_class: Option<String>,
    /// More labels of pods.
    pub pod_labels: BTreeMap<String, String>,
    /// More annotations of pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// Labels that nodes must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that pods tolerate.
    pub tolerations: Vec<Toleration>,
    /// Rules for the choice of a node.
    pub affinity: Option<Affinity>,
    /// How pods are spread, instead of the operator's own way.
    pub spread: Vec<TopologySpreadConstraint>,
    /// Their priority class.
    pub priority_class: Option<String>,
    /// More environment variables.
    pub env: Vec<EnvVar>,
    /// Seconds that a pod has to end by itself.
    pub grace_s: i64,
    /// Annotations of the Services for clients.
    pub service_annotations: BTreeMap<String, String>,
    /// Their type.
    pub service_type: String,
    /// Who may be a client (nobody named: everybody), where a NetworkPolicy is made.
    pub clients: Option<Vec<NetworkPolicyPeer>>,
    /// Labels of the PodMonitor, where one is made.
    pub monitor: Option<BTreeMap<String, String>>,
    /// Namespace of the operator, whose calls replicas take.
    pub operator_namespace: String,
}

impl Wanted {
    /// Parses a resource. `operator` is what the operator itself brings to it.
    ///
    /// # Errors
    /// [`InvalidStore`]
    pub fn parse(store: &ReplicatedStore, operator: &Operator) -> Result<Wanted, InvalidStore> {
        let violations = trireme_crds::validate(store);
        if !violations.is_empty() {
            let each = violations.iter().map(|v| format!("{}: {}; allowed: {}", v.path, v.what, v.allowed));
            return Err(InvalidStore::Rules(each.collect::<Vec<_>>().join("; ")));
        }
        let (spec, objects) = (&store.spec, store.spec.settle_objects());
        let (namespace, name) = (store.namespace().unwrap_or_default(), store.name_any());
        let pod = &spec.pod;
        let mut pod_annotations = pod.annotations.clone();
        pod_annotations.extend(store.annotations().get(RESTART).map(|value| (RESTART.to_owned(), value.clone())));
        Ok(Wanted {
            // A store's identity on its disks and wires is its name: one that is made again over retained volumes finds its data.
            desired: Desired::groups(store, &format!("{namespace}/{name}"), &[]).remove(0),
            resource: planned_from(store),
            owner: store.controller_owner_ref(&()).unwrap_or_default(),
            regions: spec.settle().regions,
            image: spec.image.clone().unwrap_or_else(|| operator.node_image.clone()),
            image_pull_policy: spec.image_pull_policy.map(|policy| {
                match policy {
                    ImagePullPolicy::Always => "Always",
                    ImagePullPolicy::IfNotPresent => "IfNotPresent",
                    ImagePullPolicy::Never => "Never",
                }
                .to_owned()
            }),
            image_pull_secrets: spec
                .image_pull_secrets
                .iter()
                .map(|s| LocalObjectReference { name: s.name.clone() })
                .collect(),
            resources: one("spec.resources", spec.resources.as_ref())?,
            auth: match objects.password {
                Password::Off => Auth::None,
                Password::Generated => Auth::Generated(format!("{name}-auth")),
                Password::Secret(secret) => Auth::Named(secret),
            },
            volumes: match objects.volumes {
                Volumes::Retain => "Retain".to_owned(),
                Volumes::Delete => "Delete".to_owned(),
            },
            storage_size: objects.storage.to_string(),
            storage_class: objects.storage_class,
            pod_labels: pod.labels.clone(),
            pod_annotations,
            node_selector: pod.node_selector.clone(),
            tolerations: many("spec.pod.tolerations", &pod.tolerations)?,
            affinity: one("spec.pod.affinity", pod.affinity.as_ref())?,
            spread: many("spec.pod.topologySpreadConstraints", &pod.topology_spread_constraints)?,
            priority_class: pod.priority_class_name.clone(),
            env: many("spec.pod.env", &pod.env)?,
            grace_s: objects.grace_seconds,
            service_annotations: spec.service.annotations.clone(),
            service_type: match objects.service_type {
                ServiceType::ClusterIP => "ClusterIP",
                ServiceType::NodePort => "NodePort",
                ServiceType::LoadBalancer => "LoadBalancer",
            }
            .to_owned(),
            clients: match objects.network_policy {
                true => Some(many("spec.networkPolicy.clients", &spec.network_policy.clients)?),
                false => None,
            },
            operator_namespace: operator.namespace.clone(),
            monitor: objects.pod_monitor.then(|| spec.monitoring.labels.clone()),
            namespace,
            name,
        })
    }

    /// What the planner works towards in each group, where these are the records that exist. `edges` is what the keys of edges are made from; where it is not
    /// known yet, new edges are not let in.
    pub fn groups(&self, records: &[Topology], edges: Option<&[u8]>) -> Vec<Desired> {
        let mut groups = Desired::groups(&self.resource, &self.desired.store, records);
        if let Some(secret) = edges {
            Desired::know_edges(&mut groups, secret, || random_u64().ok());
        }
        groups
    }

    /// Whether there are replicas outside the cluster.
    pub fn has_edges(&self) -> bool {
        !self.resource.spec.edges.is_empty()
    }

    /// Its namespace and name.
    pub fn key(&self) -> Key {
        Key { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// When copies count, as replicas are told before they have seen a record.
    pub fn durability(&self) -> &'static str {
        if self.desired.settings.durability == Durability::Memory as i32 { "memory" } else { "disk" }
    }

    /// How long a leader that is told to end may take to hand over, in milliseconds.
    pub fn handover_grace_ms(&self) -> i64 {
        (self.grace_s * 1_000 / 2).min(HANDOVER_MS_MAX)
    }
}

/// A resource without what changes by itself: what is wanted is the same as long as nobody wants something else.
fn planned_from(store: &ReplicatedStore) -> ReplicatedStore {
    let mut resource = ReplicatedStore { status: None, ..store.clone() };
    (resource.metadata.resource_version, resource.metadata.managed_fields) = (None, None);
    resource
}

fn one<T: DeserializeOwned>(path: &'static str, value: Option<&Value>) -> Result<Option<T>, InvalidStore> {
    value.map(|value| T::deserialize(value)).transpose().map_err(|source| InvalidStore::Value { path, source })
}

fn many<T: DeserializeOwned>(path: &'static str, values: &[Value]) -> Result<Vec<T>, InvalidStore> {
    values
        .iter()
        .map(|value| T::deserialize(value))
        .collect::<Result<_, _>>()
        .map_err(|source| InvalidStore::Value { path, source })
}
