//! What is wanted: the store's resource, with every default filled in.

use trireme_crds::{Durability, Policy, ReplicatedStore, Unreplicated};
use trireme_proto::{ReplicaId, topology};

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
    /// Its name: the store's and its number minus one.
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
    /// Region preferred for the leader among equals; empty for none.
    pub preferred_region: String,
}

impl Desired {
    /// What a resource that [`trireme_crds::validate`] accepted asks for. `uid` is the store's unique name.
    pub fn from_store(store: &ReplicatedStore, uid: &str) -> Desired {
        let settled = store.spec.settle();
        let ms = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let replica = |id: u32| DesiredReplica {
            id,
            name: format!("{}-{}", store.metadata.name, id - 1),
            region: settled.regions[(id as usize - 1) % settled.regions.len()].clone(),
        };
        Desired {
            store: uid.to_owned(),
            name: store.metadata.name.clone(),
            group: 0,
            replicas: (1..=settled.n).map(replica).collect(),
            w: settled.w,
            settings: topology::Settings {
                durability: match settled.durability {
                    Durability::Disk => topology::Durability::Disk as i32,
                    Durability::Memory => topology::Durability::Memory as i32,
                },
                r: settled.r,
                heartbeat_ms: ms(settled.heartbeat_ms),
                lease_ms: ms(settled.lease_ms),
                suspicion_ms: ms(settled.suspicion_ms),
                unreplicated: match settled.unreplicated {
                    Unreplicated::Recover => topology::Unreplicated::Recover as i32,
                    Unreplicated::Discard => topology::Unreplicated::Discard as i32,
                },
                request_timeout_ms: ms(settled.request_timeout_ms),
                log_bytes_max: settled.log_bytes_max,
            },
            failover: Failover {
                policy: settled.policy,
                give_up_after_ms: settled.give_up_after_ms,
                preferred_region: settled.preferred_region,
            },
            generation: store.metadata.generation.unwrap_or(0),
            warnings: trireme_crds::warnings(store),
        }
    }

    /// Number of members wanted.
    pub fn n(&self) -> usize {
        self.replicas.len()
    }

    /// The replica with this number, if it is wanted.
    pub fn replica(&self, id: ReplicaId) -> Option<&DesiredReplica> {
        self.replicas.iter().find(|r| r.id == id)
    }
}
