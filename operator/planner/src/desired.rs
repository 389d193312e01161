//! What is wanted: the store's resource, with every default filled in.

use trireme_crds::{Policy, Quorums, ReplicatedStore, store::Meta, topology::SettingsRecord};
use trireme_proto::{ReplicaId, topology};

use crate::record;

/// The annotation of a store that pauses its reconciliation, where its value is `true`.
pub const PAUSED: &str = "trireme.dev/paused";

/// The annotation of a store that names replicas which are to count for no quorum, separated by commas; mode Leaderless only. Absent or empty: none.
pub const QUARANTINE: &str = "trireme.dev/quarantine";

/// What is wanted of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Unique name of the store.
    pub store: String,
    /// Its name as users see it.
    pub name: String,
    /// The group.
    pub group: u32,
    /// The replicas that are to be members.
    pub replicas: Vec<DesiredReplica>,
    /// Copies before OK.
    pub w: u32,
    /// What replicas need to know.
    pub settings: topology::Settings,
    /// What happens when a leader is lost.
    pub failover: Failover,
    /// Nothing is to be begun: see [`crate::plan()`].
    pub paused: bool,
    /// Names of replicas that are to count for no quorum.
    pub quarantine: Vec<String>,
    /// Generation of the resource.
    pub generation: i64,
    /// Accepted but risky choices, for the condition `ConfigurationWarning`.
    pub warnings: Vec<String>,
}

/// One replica that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredReplica {
    /// Its number, from 1.
    pub id: ReplicaId,
    /// Its name, which is its pod's: the store's and its number minus one, or, where regions are named, the store's, its region's, and its number there.
    pub name: String,
    /// Its region; empty where there is only one.
    pub region: String,
}

/// What happens when a leader is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// What to do when too few members answer a seal.
    pub policy: Policy,
    /// How long `PreferAvailable` waits for them, in milliseconds.
    pub give_up_after_ms: u64,
    /// A replica that has been unreachable for this long, and whose machine is known to be gone, is replaced on a new disk. `None`: only by a person.
    pub replace_lost_after_ms: Option<u64>,
    /// Region preferred for the leader among equals; empty for none.
    pub preferred_region: String,
}

impl Desired {
    /// What a resource that [`trireme_crds::validate`] accepted asks for. `uid` is the store's unique name.
    ///
    /// Replica i of n, from 1, is in region (i - 1) mod R, and is that region's number (i - 1) / R: growing by one region's worth adds one to each.
    pub fn from_store<M: Meta>(store: &ReplicatedStore<M>, uid: &str) -> Desired {
        let settled = store.spec.settle();
        let ms = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let name = store.metadata.name();
        let regions = settled.regions.len();
        let replica = |id: u32| {
            let (region, k) = (&settled.regions[(id as usize - 1) % regions], (id as usize - 1) / regions);
            let name = if region.is_empty() { format!("{name}-{k}") } else { format!("{name}-{region}-{k}") };
            DesiredReplica { id, name, region: region.clone() }
        };
        Desired {
            store: uid.to_owned(),
            name: store.metadata.name().to_owned(),
            group: 0,
            replicas: (1..=settled.n).map(replica).collect(),
            w: settled.w,
            settings: record::settings_from_object(&SettingsRecord {
                durability: settled.durability,
                r: settled.r,
                heartbeat_ms: ms(settled.heartbeat_ms),
                lease_ms: ms(settled.lease_ms),
                suspicion_ms: ms(settled.suspicion_ms),
                unreplicated: settled.unreplicated,
                request_timeout_ms: ms(settled.request_timeout_ms),
                log_bytes_max: settled.log_bytes_max,
                mode: settled.mode,
                write_order: settled.write_order,
                read_repair: settled.read_repair,
                feed_bytes_per_second: settled.feed_bytes_per_second,
            }),
            failover: Failover {
                policy: settled.policy,
                give_up_after_ms: settled.give_up_after_ms,
                replace_lost_after_ms: settled.replace_lost_after_ms,
                preferred_region: settled.preferred_region,
            },
            paused: store.metadata.annotation(PAUSED) == Some("true"),
            quarantine: names(store.metadata.annotation(QUARANTINE).unwrap_or_default()),
            generation: store.metadata.generation(),
            warnings: trireme_crds::warnings(store),
        }
    }

    /// Number of members wanted.
    pub fn n(&self) -> usize {
        self.replicas.len()
    }

    /// What w and r need, where there is no leader.
    pub fn quorums(&self) -> Option<Quorums> {
        let n = u32::try_from(self.n()).unwrap_or(u32::MAX);
        (self.settings.mode() == topology::Mode::Leaderless).then(|| record::quorums(n, self.w, &self.settings))
    }

    /// The replica with this number, if it is wanted.
    pub fn replica(&self, id: ReplicaId) -> Option<&DesiredReplica> {
        self.replicas.iter().find(|r| r.id == id)
    }
}

/// Names separated by commas.
fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
