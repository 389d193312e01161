//! What a store owns in Kubernetes, as objects. Pure: the same arguments give the same objects.
//!
//! Each object is built whole, from what is wanted and nothing else, and applied by the server under one field manager: a field that is not built here
//! belongs to whoever set it.

mod access;
mod monitor;
mod network;
mod pods;

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::collections::BTreeMap;
use trireme_planner::DesiredReplica;

pub(crate) use access::{EDGES_KEY, PASSWORD_KEY, SESSION_KEY, edges_name, no_session_key, with_value};
pub(crate) use network::superseded_budgets;
pub(crate) use pods::{regional_name, revision_of, set_of};

use crate::store::wanted::Wanted;

/// Who manages the fields of what is built here.
pub(crate) const MANAGER: &str = "trireme-operator";
/// Label of everything that belongs to a store; its value is the store's name.
pub(crate) const STORE: &str = "trireme.dev/store";
/// Label of pods: what the replica does.
pub(crate) const ROLE: &str = "trireme.dev/role";
/// Label of pods and StatefulSets: the region, where regions are named.
pub(crate) const REGION: &str = "trireme.dev/region";
/// Label of the operator's own pods: replicas take calls to their peer port from nobody else but each other.
pub(crate) const OPERATOR: &str = "trireme.dev/operator";

/// Port for clients.
pub(crate) const CLIENT_PORT: u16 = 6379;
/// Port for peers and the operator.
pub(crate) const PEER_PORT: u16 = 7600;
/// Door for edges.
pub(crate) const EDGE_PORT: u16 = trireme_proto::edge::PORT;
/// Port for health, metrics and status.
pub(crate) const HTTP_PORT: u16 = 9600;

/// The replicas that must exist, by their group's number: those that are wanted, and members that have not left yet.
pub(crate) type Groups = BTreeMap<u32, Vec<DesiredReplica>>;

/// Everything that a store owns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Objects {
    /// One per group, or per region of a group that is in several.
    pub statefulsets: Vec<StatefulSet>,
    /// `-peers`, `-rw`, `-ro`, `-r`; where each region has a leader the last three for each region, too.
    pub services: Vec<Service>,
    /// The replicas' own, without any right.
    pub account: ServiceAccount,
    /// Made once, with a password of chance, and never changed; `None` where the user names one, or wants none.
    pub secret: Option<Secret>,
    /// What session tokens are sealed with: made once, and never changed.
    pub session: Secret,
    /// What the keys of edges are made from: made once, and never changed; `None` where there are no edges.
    pub edges: Option<Secret>,
    /// How many replicas may be evicted at once; where each region has a leader, of each region.
    pub budgets: Vec<PodDisruptionBudget>,
    /// Who may call the replicas; `None` where the user makes the rules.
    pub policy: Option<NetworkPolicy>,
    /// A PodMonitor, which is no type of Kubernetes' own; `None` where none is asked for.
    pub monitor: Option<serde_json::Value>,
}

/// Builds everything.
pub(crate) fn objects(wanted: &Wanted, groups: &Groups) -> Objects {
    Objects {
        statefulsets: pods::statefulsets(wanted, groups),
        services: network::services(wanted),
        account: access::account(wanted),
        secret: access::secret(wanted),
        session: access::session(wanted),
        edges: access::edges(wanted),
        budgets: network::budgets(wanted, groups),
        policy: network::policy(wanted),
        monitor: monitor::pod_monitor(wanted),
    }
}

/// Labels of everything that belongs to the store.
pub(crate) fn labels(wanted: &Wanted) -> BTreeMap<String, String> {
    let mut labels = selector(wanted);
    labels.insert("app.kubernetes.io/component".to_owned(), "replica".to_owned());
    labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    labels
}

/// Labels that select the store's pods. Cannot change: StatefulSets keep their selector for life.
fn selector(wanted: &Wanted) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "trireme".to_owned()),
        ("app.kubernetes.io/instance".to_owned(), wanted.name.clone()),
        (STORE.to_owned(), wanted.name.clone()),
    ])
}

/// The same in a region, where regions are named.
fn in_region(labels: BTreeMap<String, String>, region: &str) -> BTreeMap<String, String> {
    let region = (!region.is_empty()).then(|| (REGION.to_owned(), region.to_owned()));
    labels.into_iter().chain(region).collect()
}

/// Metadata of an owned object.
fn metadata(wanted: &Wanted, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(wanted.namespace.clone()),
        labels: Some(labels(wanted)),
        owner_references: Some(vec![wanted.owner.clone()]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests;
