//! `ReplicatedStore`: what a user writes.
//!
//! [`ReplicatedStoreSpec`] is the text as written, with `None` where the user left a field out; [`ReplicatedStoreSpec::settle`] fills every default
//! in and is the only place that knows them. Nothing after it looks at the spec again.

use std::collections::BTreeMap;

#[cfg(feature = "kubernetes")]
use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    conflicts::Conflicts,
    edges::Edge,
    homes::{HomeRegion, HomeRule},
    limits::Limits,
    objects::{Auth, ImagePullPolicy, Monitoring, NetworkPolicy, PodSettings, SecretName, ServiceSettings, Volumes},
    quantity::{Bytes, Millis},
    session::Session,
    slo::{Objectives, Slo},
    status::StoreStatus,
};

/// API group and version of everything here.
pub const API_VERSION: &str = "trireme.dev/v1alpha1";
/// Kind of [`ReplicatedStore`].
pub const STORE_KIND: &str = "ReplicatedStore";

/// A replicated key-value store. `M` is what is known of it as an object: [`Metadata`] as a user writes it, or all that an API server has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicatedStore<M = Metadata> {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Always [`STORE_KIND`].
    pub kind: String,
    /// Name and labels.
    pub metadata: M,
    /// What is wanted.
    pub spec: ReplicatedStoreSpec,
    /// What is. Written by the operator; ignored in what a user writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StoreStatus>,
}

/// Name and labels of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name, unique in its namespace; the replicas are named after it.
    pub name: String,
    /// Namespace; not used in local mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Rises with every change of the spec; set by the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Unique for ever; set by the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// What everybody needs to know of an object, whoever keeps it.
pub trait Meta {
    /// Its name; empty where it has none yet.
    fn name(&self) -> &str;
    /// Generation of its spec; 0 where nobody counts.
    fn generation(&self) -> i64;
    /// The value of this annotation, if it has it.
    fn annotation(&self, key: &str) -> Option<&str>;
}

impl Meta for Metadata {
    fn name(&self) -> &str {
        &self.name
    }

    fn generation(&self) -> i64 {
        self.generation.unwrap_or(0)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }
}

/// Who may produce changes, and when a client is told OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum Mode {
    /// One leader; OK when w of n replicas have the entry.
    SingleLeader,
    /// One leader in each region; other regions follow.
    MultiLeader,
    /// Every replica takes writes; OK when w of n replicas have them.
    Leaderless,
}

/// When a copy counts for w.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum Durability {
    /// When it is fsynced.
    #[default]
    Disk,
    /// When the other process has it; fsynced once a second.
    Memory,
}

/// What a failover does when too few members answer to be sure that nothing acknowledged is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum Policy {
    /// Stay down and say who is missing.
    NeverLose,
    /// After `giveUpAfter`, go on with the best of those that answered, and count what is at risk.
    PreferAvailable,
}

/// What becomes of entries that only a former leader had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum Unreplicated {
    /// They are appended again when it returns; newer data is never overwritten.
    #[default]
    Recover,
    /// They are kept in a file and counted.
    Discard,
}

/// What keeps a later write from losing to an earlier one of a faster clock, where there is no leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum WriteOrder {
    /// Whoever takes a write first brings its clock above that of n - w + 1 replicas: one more message.
    #[default]
    Strict,
    /// The clocks are trusted: a write may lose to an earlier one.
    Clock,
}

/// When replicas get what a read found them to lack, where there is no leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum ReadRepair {
    /// Before the client gets its answer: what one read has shown, every later one shows.
    #[default]
    Blocking,
    /// After it: a later read may show what is older.
    Async,
    /// Not by reads.
    Off,
}

/// What is done to what goes from region to region, so that it is fewer bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum FeedCompression {
    /// LZ4, where it makes it smaller.
    #[default]
    Lz4,
    /// Nothing.
    Off,
}

/// What is wanted. Only `mode` is required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicatedStoreSpec {
    /// The replication mode. SingleLeader becomes MultiLeader and back while clients go on: the replicas that are there become those of their region, or of the first
    /// one named; and the others leave, as each region does that is taken away, before the last one's leader is the only one. Leaderless is for life.
    pub mode: Mode,
    /// Number of replicas, 1 to 9; in mode MultiLeader, of each region. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// Replicas that must hold a write before the client is told OK, 1 to n; in mode MultiLeader, of the region that took it. Default: a majority of n.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<u32>,
    /// Replicas that confirm a read, 1 to n; in mode MultiLeader, of the region that is asked. Default 1; in mode Leaderless a majority of n.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<u32>,
    /// Mode Leaderless: what keeps a later write from losing to an earlier one of a faster clock. Default Strict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_order: Option<WriteOrder>,
    /// Mode Leaderless: when replicas get what a read found them to lack. Default Blocking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_repair: Option<ReadRepair>,
    /// Modes MultiLeader and Leaderless: how many bytes a second a feed from one replica to another carries, at most, of what that one has missed. What is
    /// written now is never held back. Default: no limit but the clients, who come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed_bytes_per_second: Option<Bytes>,
    /// Mode MultiLeader: how what goes from region to region is made smaller. Default Lz4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed_compression: Option<FeedCompression>,
    /// Failure domains that the replicas are spread over, in turn. Default: one without a name. Cannot be changed: replica i belongs to region
    /// (i - 1) modulo their count. In mode MultiLeader, 1 to 15, each of which has n replicas and a leader of its own; more can be added. When that becomes
    /// SingleLeader the one that is named stays, or the one whose group has the lowest number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// Mode MultiLeader: keys that are written in one region only, so that nothing about them is concurrent. Default: none, all keys are written everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub home_regions: Vec<HomeRegion>,
    /// Mode MultiLeader: conflicts are written down in lists that users can read. Default: CONFLICTS alone shows the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<Conflicts>,
    /// Mode MultiLeader: replicas outside the cluster, on a laptop or a device, each a region of one that is offline most of the time: `trireme edge`. One that
    /// is taken out of the list is not let in any more. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<Edge>,
    /// What a client's session is promised, whichever replica it comes to. Default: all guarantees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// What is told of keys to clients that subscribe to it, as letters of Redis's notify-keyspace-events: KEA tells of everything but misses and new keys.
    /// CONFIG SET may say otherwise, at any replica, until all of them have ended. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyspace_events: Option<String>,
    /// What the store promises of writes and reads, which the operator then measures: status.slo says what is left of what may fail. Default: nothing, and
    /// nothing is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
    /// When a copy counts for w. Default Disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// The disk of each replica. Local mode uses the directory it is given instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// What happens when a leader is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
    /// How long a client's command may wait for a leader or for its copies. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<Millis>,
    /// How much log is kept for replicas that are behind; past it they get a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_retention: Option<LogRetention>,
    /// What clients may take of each replica: connections, memory, what they leave unread. Default: as Redis has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What becomes of the replicas' volumes when the store is deleted, and when n is lowered. Default Retain. Only Kubernetes uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Volumes>,
    /// Image of the replicas. Default: the one that belongs to the operator's version. A change replaces the replicas one by one, the leader last.
    /// Only Kubernetes uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When the image is pulled. Default: IfNotPresent, or Always for an image with the tag latest or none, as Kubernetes does it. Only Kubernetes uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets of the store's namespace with which the image is pulled. Only Kubernetes uses them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<SecretName>,
    /// CPU and memory of each replica: requests and limits, as a container has them. Default: none. Only Kubernetes uses them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "kubernetes", schemars(with = "Option<core::ResourceRequirements>"))]
    pub resources: Option<Value>,
    /// The password of clients. Only Kubernetes uses it; local mode's replicas listen on the loopback interface only, without a password.
    #[serde(default, skip_serializing_if = "Auth::is_default")]
    pub auth: Auth,
    /// What the replicas' pods have beyond what the operator gives them. Only Kubernetes uses it.
    #[serde(default, skip_serializing_if = "PodSettings::is_default")]
    pub pod: PodSettings,
    /// The Services for clients: NAME-rw (the leader), NAME-ro (followers) and NAME-r (any). Only Kubernetes uses it.
    #[serde(default, skip_serializing_if = "ServiceSettings::is_default")]
    pub service: ServiceSettings,
    /// Who may connect to the replicas. Only Kubernetes uses it.
    #[serde(default, skip_serializing_if = "NetworkPolicy::is_default")]
    pub network_policy: NetworkPolicy,
    /// How Prometheus finds the replicas. Only Kubernetes uses it.
    #[serde(default, skip_serializing_if = "Monitoring::is_default")]
    pub monitoring: Monitoring,
}

/// A named failure domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Region {
    /// Its name, unique among the regions.
    pub name: String,
}

/// The disk of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// Its size, for example 10Gi, which is the default. It can be raised where the storage class allows that, never lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// Its storage class; the cluster's default where left out. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
}

/// What happens when a leader is lost, and how fast.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failover {
    /// What to do when too few members answer. Default: NeverLose where w >= 2, PreferAvailable where w = 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Silence after which a replica is suspect. Default 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<Millis>,
    /// PreferAvailable: how long to wait for members that do not answer. Default 30s; 1s where w = 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up_after: Option<Millis>,
    /// How long a leader may answer after its members last acknowledged it. Default 250ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Millis>,
    /// Time between heartbeats. Default 50ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Millis>,
    /// What becomes of entries that only a former leader had. Default Recover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreplicated: Option<Unreplicated>,
    /// Mode SingleLeader: region whose members are preferred as leader among equals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_region: Option<String>,
    /// How long a replica may be gone, its volume or its node with it, before it is replaced by an empty one that learns everything anew.
    /// Default: never; a person deletes its pod and its volume instead. Only Kubernetes uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_lost_after: Option<Millis>,
}

/// How much log is kept for replicas that are behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogRetention {
    /// At most this much. Default 64Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
}

/// A spec with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The replication mode.
    pub mode: Mode,
    /// Number of replicas; in mode MultiLeader, of each region.
    pub n: u32,
    /// Copies before OK.
    pub w: u32,
    /// Replicas that confirm a read.
    pub r: u32,
    /// What orders writes where there is no leader.
    pub write_order: WriteOrder,
    /// When replicas get what a read found, where there is no leader.
    pub read_repair: ReadRepair,
    /// Bytes a second to each other replica of what it has missed; 0 for no limit.
    pub feed_bytes_per_second: u64,
    /// How what goes from region to region is made smaller.
    pub feed_compression: FeedCompression,
    /// Never empty, the default region has an empty name. Region of replica i is number i modulo their count; in mode MultiLeader each has n replicas.
    pub regions: Vec<String>,
    /// Keys that one region writes.
    pub homes: Vec<HomeRule>,
    /// Where conflicts are written down.
    pub conflicts: Option<Conflicts>,
    /// Names of replicas outside the cluster.
    pub edges: Vec<String>,
    /// What a session is promised.
    pub session: Session,
    /// Classes of keyspace events that are told, as letters.
    pub keyspace_events: String,
    /// When a copy counts.
    pub durability: Durability,
    /// What to do when too few members answer a seal.
    pub policy: Policy,
    /// Silence after which a replica is suspect, in milliseconds.
    pub suspicion_ms: u64,
    /// How long PreferAvailable waits for members that do not answer, in milliseconds.
    pub give_up_after_ms: u64,
    /// How long a leader may answer after its members last acknowledged it, in milliseconds.
    pub lease_ms: u64,
    /// Time between heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// What becomes of entries that only a former leader had.
    pub unreplicated: Unreplicated,
    /// Region preferred for the leader; empty where there is none.
    pub preferred_region: String,
    /// How long a command may wait, in milliseconds.
    pub request_timeout_ms: u64,
    /// Log kept for replicas that are behind, in bytes.
    pub log_bytes_max: u64,
    /// What clients may take.
    pub limits: Limits,
    /// How long a replica may be gone before it is replaced by an empty one, in milliseconds; `None` for never.
    pub replace_lost_after_ms: Option<u64>,
    /// What is promised and measured.
    pub slo: Option<Objectives>,
}

impl ReplicatedStoreSpec {
    /// A spec of this mode with everything else left out.
    pub fn new(mode: Mode) -> ReplicatedStoreSpec {
        ReplicatedStoreSpec {
            mode,
            n: None,
            w: None,
            r: None,
            write_order: None,
            read_repair: None,
            feed_bytes_per_second: None,
            feed_compression: None,
            regions: Vec::new(),
            home_regions: Vec::new(),
            conflicts: None,
            edges: Vec::new(),
            session: None,
            keyspace_events: None,
            slo: None,
            durability: None,
            storage: None,
            failover: None,
            request_timeout: None,
            log_retention: None,
            limits: None,
            volumes: None,
            image: None,
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            resources: None,
            auth: Auth::default(),
            pod: PodSettings::default(),
            service: ServiceSettings::default(),
            network_policy: NetworkPolicy::default(),
            monitoring: Monitoring::default(),
        }
    }

    /// The spec with every default filled in. Makes sense of any spec, also of one that [`crate::validate`] refuses.
    pub fn settle(&self) -> Settled {
        let failover = self.failover.clone().unwrap_or_default();
        let n = self.n.unwrap_or(3);
        let w = self.w.unwrap_or(n / 2 + 1);
        let regions: Vec<String> = self.regions.iter().map(|region| region.name.clone()).collect();
        let ms = |value: Option<Millis>, default: u64| value.map_or(default, |v| v.0);
        Settled {
            mode: self.mode,
            n,
            w,
            r: self.r.unwrap_or(if self.mode == Mode::Leaderless { n / 2 + 1 } else { 1 }),
            write_order: self.write_order.unwrap_or_default(),
            read_repair: self.read_repair.unwrap_or_default(),
            feed_bytes_per_second: self.feed_bytes_per_second.map_or(0, |bytes| bytes.0),
            feed_compression: self.feed_compression.unwrap_or_default(),
            regions: if regions.is_empty() { vec![String::new()] } else { regions },
            homes: self.home_regions.iter().map(HomeRegion::settle).collect(),
            conflicts: self.conflicts.as_ref().map(Conflicts::settle),
            edges: self.edges.iter().map(|edge| edge.name.clone()).collect(),
            session: self.session.clone().unwrap_or_default().settle(),
            keyspace_events: self.keyspace_events.clone().unwrap_or_default(),
            durability: self.durability.unwrap_or_default(),
            policy: failover.policy.unwrap_or(if w >= 2 { Policy::NeverLose } else { Policy::PreferAvailable }),
            suspicion_ms: ms(failover.suspicion, 1_000),
            give_up_after_ms: ms(failover.give_up_after, if w >= 2 { 30_000 } else { 1_000 }),
            lease_ms: ms(failover.lease, 250),
            heartbeat_ms: ms(failover.heartbeat, 50),
            unreplicated: failover.unreplicated.unwrap_or_default(),
            preferred_region: failover.preferred_region.unwrap_or_default(),
            request_timeout_ms: ms(self.request_timeout, 10_000),
            slo: self.slo.as_ref().map(Slo::settle),
            replace_lost_after_ms: failover.replace_lost_after.map(|v| v.0),
            log_bytes_max: self.log_retention.as_ref().and_then(|l| l.bytes).map_or(64 << 20, |b| b.0),
            limits: self.limits.clone().unwrap_or_default().settle(),
        }
    }
}
