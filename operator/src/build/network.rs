//! How replicas are reached, by whom, and how many of them may be evicted.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort, ServiceSpec},
        networking::v1::{
            NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use trireme_proto::topology::Mode;

use super::{
    CLIENT_PORT, EDGE_PORT, Groups, HTTP_PORT, OPERATOR, PEER_PORT, ROLE, in_region, metadata, regional_name, selector,
};
use crate::store::wanted::Wanted;

/// `-peers` names every pod, ready or not; `-rw` is the leader, `-ro` are followers, `-r` is any replica that is ready. Where there is no leader `-rw` is any
/// that is ready, too, and there is no `-ro`. Where each region has a leader these are all leaders, all followers, all replicas, and each region has its own,
/// named after it. `-edges` is the door of all leaders for edges, where there are any.
pub(super) fn services(wanted: &Wanted) -> Vec<Service> {
    let peers = Service {
        metadata: metadata(wanted, peers_name(wanted)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector(wanted)),
            ports: Some(vec![port("redis", CLIENT_PORT), port("peers", PEER_PORT), port("http", HTTP_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    let by_role = |region: &str| {
        [("rw", Some("leader")), ("ro", Some("follower")), ("r", None)]
            .map(|(suffix, role)| clients(wanted, region, suffix, role))
    };
    let edges = wanted.has_edges().then(|| outward(wanted, "", "edges", Some("leader"), port("edges", EDGE_PORT)));
    let all = match wanted.desired.settings.mode() {
        Mode::Leaderless => vec![peers, clients(wanted, "", "rw", None), clients(wanted, "", "r", None)],
        Mode::SingleLeader => [peers].into_iter().chain(by_role("")).collect(),
        Mode::MultiLeader => {
            let each = wanted.regions.iter().flat_map(|region| by_role(region));
            [peers].into_iter().chain(by_role("")).chain(each).collect()
        }
    };
    all.into_iter().chain(edges).collect()
}

/// Name of the headless Service.
pub(super) fn peers_name(wanted: &Wanted) -> String {
    format!("{}-peers", wanted.name)
}

/// The Service for clients of a region, or where none is named, of the store.
fn clients(wanted: &Wanted, region: &str, suffix: &str, role: Option<&str>) -> Service {
    outward(wanted, region, suffix, role, port("redis", CLIENT_PORT))
}

/// A Service for those who are no replicas, of the type that the user chose.
fn outward(wanted: &Wanted, region: &str, suffix: &str, role: Option<&str>, port: ServicePort) -> Service {
    let mut metadata = metadata(wanted, format!("{}-{suffix}", regional_name(wanted, region)));
    metadata.labels = metadata.labels.map(|labels| in_region(labels, region));
    metadata.annotations = Some(wanted.service_annotations.clone()).filter(|annotations| !annotations.is_empty());
    let mut selector = in_region(selector(wanted), region);
    selector.extend(role.map(|role| (ROLE.to_owned(), role.to_owned())));
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(wanted.service_type.clone()),
            selector: Some(selector),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number.into(),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

/// As many may be evicted as can be missing while writes go on; at least one, because a store that nobody may evict keeps its nodes from ever being
/// drained: with w = n writes wait for the moment that takes, which the store's warning says. Where there is no leader reads count, too: as many as can be
/// missing while both go on. Where each region has a leader, each has its own writes, and so its own budget; also those that are to leave before a store has one
/// leader, whose budgets are as they were.
pub(super) fn budgets(wanted: &Wanted, groups: &Groups) -> Vec<PodDisruptionBudget> {
    match wanted.desired.settings.mode() {
        Mode::MultiLeader => wanted.regions.iter().map(|region| budget(wanted, region)).collect(),
        Mode::SingleLeader if groups.len() > 1 => Vec::new(),
        Mode::SingleLeader | Mode::Leaderless => vec![budget(wanted, "")],
    }
}

/// Budgets of another mode, where the store has been in that: nothing can be evicted that two of them are about.
pub(crate) fn superseded_budgets(wanted: &Wanted, groups: &Groups) -> Vec<String> {
    match wanted.desired.settings.mode() {
        Mode::MultiLeader => vec![wanted.name.clone()],
        Mode::SingleLeader if groups.len() == 1 => {
            let regions: BTreeSet<&String> = groups.values().flatten().map(|replica| &replica.region).collect();
            let named = regions.into_iter().filter(|region| !region.is_empty());
            named.map(|region| regional_name(wanted, region)).collect()
        }
        Mode::SingleLeader | Mode::Leaderless => Vec::new(),
    }
}

fn budget(wanted: &Wanted, region: &str) -> PodDisruptionBudget {
    let (n, w) = (wanted.desired.n(), wanted.desired.w as usize);
    let spare = match (wanted.desired.quorums(), w) {
        (Some(quorums), _) => quorums.all_goes_on_with_down() as usize,
        (None, 1) => n - n / 2 - 1,
        (None, w) => n.saturating_sub(w),
    };
    let spare = i32::try_from(spare.max(1)).unwrap_or(1);
    let mut metadata = metadata(wanted, regional_name(wanted, region));
    metadata.labels = metadata.labels.map(|labels| in_region(labels, region));
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(spare)),
            selector: Some(select(in_region(selector(wanted), region))),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

/// Clients to the client port, peers and the operator to the peer port, anybody to the door for edges, where there are any, and anybody to the port for health and metrics, which changes nothing.
pub(super) fn policy(wanted: &Wanted) -> Option<NetworkPolicy> {
    let clients = wanted.clients.clone()?;
    let peers = NetworkPolicyPeer { pod_selector: Some(select(selector(wanted))), ..NetworkPolicyPeer::default() };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(select(BTreeMap::from([(
            "kubernetes.io/metadata.name".to_owned(),
            wanted.operator_namespace.clone(),
        )]))),
        pod_selector: Some(select(BTreeMap::from([(OPERATOR.to_owned(), "true".to_owned())]))),
        ..NetworkPolicyPeer::default()
    };
    let rule = |number: u16, from: Vec<NetworkPolicyPeer>| NetworkPolicyIngressRule {
        from: Some(from).filter(|from| !from.is_empty()),
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::Int(number.into())),
            protocol: Some("TCP".to_owned()),
            ..NetworkPolicyPort::default()
        }]),
    };
    let rules = [
        Some(rule(CLIENT_PORT, clients)),
        Some(rule(PEER_PORT, vec![peers, operator])),
        Some(rule(HTTP_PORT, Vec::new())),
        // Whoever comes there shows a key.
        wanted.has_edges().then(|| rule(EDGE_PORT, Vec::new())),
    ];
    Some(NetworkPolicy {
        metadata: metadata(wanted, wanted.name.clone()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(select(selector(wanted))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules.into_iter().flatten().collect()),
            ..NetworkPolicySpec::default()
        }),
    })
}

fn select(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}
