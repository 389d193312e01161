//! The replicas' pods: one StatefulSet per region.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
        },
        core::v1::{
            Affinity, Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, NodeAffinity,
            NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectFieldSelector, PersistentVolumeClaim,
            PersistentVolumeClaimSpec, Pod, PodSecurityContext, PodSpec, PodTemplateSpec, PreferredSchedulingTerm,
            Probe, SeccompProfile, SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
            VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use trireme_planner::{DesiredReplica, first_replica};
use trireme_proto::{ReplicaId, topology::Mode};

use super::access::session_name;
use super::{
    CLIENT_PORT, EDGE_PORT, Groups, HTTP_PORT, PEER_PORT, in_region, labels, metadata, network::peers_name, selector,
};
use crate::store::wanted::{Auth, Wanted};

/// Whom replicas run as.
const USER: i64 = 65_532;
/// Name of the volume with a replica's data, and so of the claim template.
const DATA: &str = "data";
/// Seconds between two looks at a probe, and of them that may fail before a replica that hangs is ended.
const PROBE_S: i32 = 5;
const LIVENESS_FAILURES: i32 = 6;
/// A replica may take so long to read its disk: an hour.
const STARTUP_FAILURES: i32 = 3_600 / PROBE_S;

/// Name of what a region has for itself: its budget, and with a suffix its Services; and of its StatefulSet, where that was made for it.
pub(crate) fn regional_name(wanted: &Wanted, region: &str) -> String {
    if region.is_empty() { wanted.name.clone() } else { format!("{}-{region}", wanted.name) }
}

/// Name of the StatefulSet that a replica of this name is a pod of.
pub(crate) fn set_of(replica: &str) -> &str {
    replica.rsplit_once('-').map_or(replica, |(set, _)| set)
}

/// Which replicas are in a set: the one at place k, from 0, has number `first` + k `step`.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    group: u32,
    first: ReplicaId,
    step: u32,
}

impl Numbers {
    /// As long as the highest of these replicas that are in it demands.
    fn length(self, replicas: &[DesiredReplica]) -> i32 {
        let place = |r: &DesiredReplica| {
            let beyond = r.id.checked_sub(self.first)?;
            beyond.is_multiple_of(self.step).then_some(beyond / self.step)
        };
        let length = replicas.iter().filter_map(place).max().map_or(0, |last| last + 1);
        i32::try_from(length).unwrap_or(i32::MAX)
    }
}

/// One per group, whose replicas are numbered one after the other, and named after it; a group that is not known yet has none. Where a store's only group is in
/// several regions each has a set, and its replicas are numbered in turn with the others'.
pub(super) fn statefulsets(wanted: &Wanted, groups: &Groups) -> Vec<StatefulSet> {
    if wanted.desired.settings.mode() == Mode::MultiLeader || wanted.regions.len() == 1 {
        let set = |(group, replicas): (&u32, &Vec<DesiredReplica>)| {
            let (first, numbers) =
                (replicas.first()?, Numbers { group: *group, first: first_replica(*group), step: 1 });
            Some(statefulset(wanted, (set_of(&first.name), &first.region), numbers, numbers.length(replicas)))
        };
        return groups.iter().filter_map(set).collect();
    }
    let replicas = groups.get(&0).map_or(&[][..], Vec::as_slice);
    let step = u32::try_from(wanted.regions.len()).unwrap_or(u32::MAX);
    let set = |(first, region): (ReplicaId, &String)| {
        let numbers = Numbers { group: 0, first, step };
        statefulset(wanted, (&regional_name(wanted, region), region), numbers, numbers.length(replicas))
    };
    (first_replica(0)..).zip(&wanted.regions).map(set).collect()
}

fn statefulset(wanted: &Wanted, (name, region): (&str, &str), numbers: Numbers, length: i32) -> StatefulSet {
    let named = |labels: BTreeMap<String, String>| in_region(labels, region);
    // A set that bears the store's own name was made when no region was named: its selector is for life, and its volumes may be elsewhere.
    let place = if name == wanted.name { Place::Prefers(region) } else { Place::Needs(region) };
    let selected = if name == wanted.name { selector(wanted) } else { named(selector(wanted)) };
    let mut meta = metadata(wanted, name.to_owned());
    meta.labels = Some(named(labels(wanted)));
    StatefulSet {
        metadata: meta,
        spec: Some(StatefulSetSpec {
            replicas: Some(length),
            service_name: Some(peers_name(wanted)),
            selector: LabelSelector { match_labels: Some(selected), ..LabelSelector::default() },
            // A group is created once every replica was heard; and the planner decides which pod is replaced when.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(wanted.volumes.clone()),
                when_scaled: Some(wanted.volumes.clone()),
            }),
            revision_history_limit: Some(3),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(wanted.pod_labels.clone().into_iter().chain(named(labels(wanted))).collect()),
                    annotations: Some(wanted.pod_annotations.clone()).filter(|annotations| !annotations.is_empty()),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(wanted, place, numbers)),
            },
            volume_claim_templates: Some(vec![claim(wanted)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

/// The claim template is as it was when the set was made: sets cannot change it, so growing is done claim by claim.
fn claim(wanted: &Wanted) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(DATA.to_owned()), labels: Some(labels(wanted)), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: wanted.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(wanted.storage_size.clone()))])),
                ..VolumeResourceRequirements::default()
            }),
            volume_mode: Some("Filesystem".to_owned()),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn pod(wanted: &Wanted, place: Place<'_>, numbers: Numbers) -> PodSpec {
    let password = match &wanted.auth {
        Auth::None => None,
        Auth::Generated(name) | Auth::Named(name) => Some(name),
    };
    // Without a password nobody gets in; without a session key there are no tokens, and everything else goes on.
    let secret = |name: &str, of: String| Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(of),
            optional: (name == "session").then_some(true),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    PodSpec {
        service_account_name: Some(wanted.name.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        // A leader hands over within the grace that it is told of, then closes its disk.
        termination_grace_period_seconds: Some(wanted.grace_s),
        containers: vec![container(wanted, password.is_some(), numbers)],
        volumes: Some(
            (password.map(|name| secret("auth", name.clone())).into_iter())
                .chain([secret("session", session_name(&wanted.name))])
                .collect(),
        ),
        image_pull_secrets: some(wanted.image_pull_secrets.clone()),
        node_selector: Some(wanted.node_selector.clone()).filter(|selector| !selector.is_empty()),
        tolerations: some(wanted.tolerations.clone()),
        affinity: affinity(wanted, place),
        topology_spread_constraints: Some(spread(wanted)),
        priority_class_name: wanted.priority_class.clone(),
        ..PodSpec::default()
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}

fn container(wanted: &Wanted, password: bool, numbers: Numbers) -> Container {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let port = |name: &str, number: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let probe = |path: &str, period: i32, failures: i32| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(PROBE_S),
        failure_threshold: Some(failures),
        ..Probe::default()
    };
    Container {
        name: "replica".to_owned(),
        image: Some(wanted.image.clone()),
        image_pull_policy: wanted.image_pull_policy.clone(),
        args: Some(arguments(wanted, password, numbers)),
        env: Some(environment(wanted)),
        ports: Some(
            [port("redis", CLIENT_PORT), port("peers", PEER_PORT), port("http", HTTP_PORT)]
                .into_iter()
                .chain(wanted.has_edges().then(|| port("edges", EDGE_PORT)))
                .collect(),
        ),
        resources: wanted.resources.clone(),
        // Starting takes as long as its disk takes to read; then it lives as long as its thread turns, and is ready while it can answer clients.
        startup_probe: Some(probe("/livez", 1, STARTUP_FAILURES * PROBE_S)),
        liveness_probe: Some(probe("/livez", PROBE_S, LIVENESS_FAILURES)),
        readiness_probe: Some(probe("/readyz", 1, 2)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(
            [mount(DATA, "/data", false), mount("session", "/session", true)]
                .into_iter()
                .chain(password.then(|| mount("auth", "/auth", true)))
                .collect(),
        ),
        ..Container::default()
    }
}

fn arguments(wanted: &Wanted, password: bool, numbers: Numbers) -> Vec<String> {
    let (first, step, grace) = (numbers.first.to_string(), numbers.step.to_string(), wanted.handover_grace_ms());
    let (group, grace) = (numbers.group.to_string(), grace.to_string());
    let mut arguments = vec!["node", "--supervised", "--dir", "/data", "--store", &wanted.desired.store];
    arguments.extend(["--name", "$(POD_NAME)", "--ordinal", "$(ORDINAL)", "--first-id", &first, "--id-step", &step]);
    arguments.extend(["--listen", "0.0.0.0", "--durability", wanted.durability(), "--grace-ms", &grace]);
    // A store's only group is what a replica is in where nothing is said: to say it would restart every pod that an older operator has made.
    if numbers.group != 0 {
        arguments.extend(["--group", &group]);
    }
    let door = EDGE_PORT.to_string();
    if wanted.has_edges() {
        arguments.extend(["--edge-port", &door]);
    }
    arguments.extend(["--session-key-file", "/session/key"]);
    if password {
        arguments.extend(["--password-file", "/auth/password"]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

fn environment(wanted: &Wanted) -> Vec<EnvVar> {
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let value = |(name, value): (&str, &str)| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    };
    let own = [field("POD_NAME", "metadata.name"), field("ORDINAL", "metadata.labels['apps.kubernetes.io/pod-index']")];
    // A log and its batches come and go in large pieces: handing them back to the kernel at once, and taking them as huge pages that are cleared first,
    // costs a tenth of the writes.
    let allocator = [("MIMALLOC_ALLOW_THP", "0"), ("MIMALLOC_PURGE_DELAY", "2000")].map(value);
    let named: Vec<&str> = wanted.env.iter().map(|e| e.name.as_str()).collect();
    let mut all: Vec<EnvVar> = own.into_iter().chain(allocator).filter(|e| !named.contains(&e.name.as_str())).collect();
    all.extend(wanted.env.iter().cloned());
    all
}

/// On which nodes a set's pods are: those of a region; anywhere where it has no name.
#[derive(Clone, Copy)]
enum Place<'a> {
    Needs(&'a str),
    Prefers(&'a str),
}

/// What the user wants, and, where regions are named, nodes of the region.
fn affinity(wanted: &Wanted, place: Place<'_>) -> Option<Affinity> {
    let mut affinity = wanted.affinity.clone();
    let (Place::Needs(region) | Place::Prefers(region)) = place;
    if region.is_empty() {
        return affinity;
    }
    let here = NodeSelectorRequirement {
        key: "topology.kubernetes.io/region".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![region.to_owned()]),
    };
    let nodes = affinity.get_or_insert_default().node_affinity.get_or_insert_with(NodeAffinity::default);
    if matches!(place, Place::Prefers(_)) {
        let term = NodeSelectorTerm { match_expressions: Some(vec![here]), ..NodeSelectorTerm::default() };
        let preferred = nodes.preferred_during_scheduling_ignored_during_execution.get_or_insert_default();
        preferred.push(PreferredSchedulingTerm { weight: 100, preference: term });
        return affinity;
    }
    let required = nodes
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_with(|| NodeSelector { node_selector_terms: vec![NodeSelectorTerm::default()] });
    // Terms are alternatives: each of them is to be in the region.
    for term in &mut required.node_selector_terms {
        term.match_expressions.get_or_insert_default().push(here.clone());
    }
    affinity
}

/// Replicas are kept apart, as far as there are nodes and zones; the user's own rules replace ours.
fn spread(wanted: &Wanted) -> Vec<TopologySpreadConstraint> {
    if !wanted.spread.is_empty() {
        return wanted.spread.clone();
    }
    let over = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector { match_labels: Some(selector(wanted)), ..LabelSelector::default() }),
        ..TopologySpreadConstraint::default()
    };
    vec![over("kubernetes.io/hostname"), over("topology.kubernetes.io/zone")]
}

/// The revision of its template that a pod was made from.
pub(crate) fn revision_of(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get("controller-revision-hash").map(String::as_str)
}
