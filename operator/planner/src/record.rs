//! The record as an object of the API, and back. Nothing is lost either way.

use trireme_crds::{
    Durability, Unreplicated,
    topology::{ConfigRecord, GroupRecord, MemberRecord, RecordPhase, ReplicaRecord, SettingsRecord},
};
use trireme_proto::{
    Epoch, Topology,
    topology::{self, Config, Member, Phase, Replica, Settings},
};

/// Why an object is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no incarnation: 16 hexadecimal digits are")]
pub struct RecordTextError(String);

/// A group's record as an object of the API.
pub fn to_object(record: &Topology) -> GroupRecord {
    GroupRecord {
        group: record.group,
        version: record.version,
        epoch: record.epoch.number,
        proposer: record.epoch.proposer,
        phase: if record.phase == Phase::Active as i32 { RecordPhase::Active } else { RecordPhase::Sealing },
        leader: record.leader,
        config: config_to_object(&record.config),
        old: record.old.as_ref().map(config_to_object),
        replicas: record
            .replicas
            .iter()
            .map(|r| ReplicaRecord {
                id: r.id,
                name: r.name.clone(),
                region: r.region.clone(),
                peer_address: r.peer_address.clone(),
                client_address: r.client_address.clone(),
            })
            .collect(),
        generation: record.generation,
        handover: record.handover,
        previous_leader: record.previous_leader,
        restarting: record.restarting,
        settings: SettingsRecord {
            durability: if record.settings.durability == topology::Durability::Memory as i32 {
                Durability::Memory
            } else {
                Durability::Disk
            },
            r: record.settings.r,
            heartbeat_ms: record.settings.heartbeat_ms,
            lease_ms: record.settings.lease_ms,
            suspicion_ms: record.settings.suspicion_ms,
            unreplicated: if record.settings.unreplicated == topology::Unreplicated::Discard as i32 {
                Unreplicated::Discard
            } else {
                Unreplicated::Recover
            },
            request_timeout_ms: record.settings.request_timeout_ms,
            log_bytes_max: record.settings.log_bytes_max,
        },
    }
}

fn config_to_object(config: &Config) -> ConfigRecord {
    let member = |m: &Member| MemberRecord { id: m.id, incarnation: format!("{:016x}", m.incarnation) };
    ConfigRecord { members: config.members.iter().map(member).collect(), w: config.w }
}

/// The record that an object of the API holds. `store` is the store's unique name.
///
/// # Errors
/// Where an incarnation is not 16 hexadecimal digits: somebody edited the object.
pub fn from_object(store: &str, object: &GroupRecord) -> Result<Topology, RecordTextError> {
    Ok(Topology {
        store: store.to_owned(),
        group: object.group,
        version: object.version,
        epoch: Epoch { number: object.epoch, proposer: object.proposer },
        phase: match object.phase {
            RecordPhase::Active => Phase::Active as i32,
            RecordPhase::Sealing => Phase::Sealing as i32,
        },
        leader: object.leader,
        config: config_from_object(&object.config)?,
        old: object.old.as_ref().map(config_from_object).transpose()?,
        replicas: object
            .replicas
            .iter()
            .map(|r| Replica {
                id: r.id,
                name: r.name.clone(),
                region: r.region.clone(),
                peer_address: r.peer_address.clone(),
                client_address: r.client_address.clone(),
                incarnation: 0,
                generation: 0,
            })
            .collect(),
        generation: object.generation,
        handover: object.handover,
        previous_leader: object.previous_leader,
        restarting: object.restarting,
        settings: Settings {
            durability: match object.settings.durability {
                Durability::Disk => topology::Durability::Disk as i32,
                Durability::Memory => topology::Durability::Memory as i32,
            },
            r: object.settings.r,
            heartbeat_ms: object.settings.heartbeat_ms,
            lease_ms: object.settings.lease_ms,
            suspicion_ms: object.settings.suspicion_ms,
            unreplicated: match object.settings.unreplicated {
                Unreplicated::Recover => topology::Unreplicated::Recover as i32,
                Unreplicated::Discard => topology::Unreplicated::Discard as i32,
            },
            request_timeout_ms: object.settings.request_timeout_ms,
            log_bytes_max: object.settings.log_bytes_max,
            ..Settings::standard()
        },
    })
}

fn config_from_object(config: &ConfigRecord) -> Result<Config, RecordTextError> {
    let member = |m: &MemberRecord| {
        let digits = m.incarnation.len() == 16;
        let incarnation = u64::from_str_radix(&m.incarnation, 16).ok().filter(|_| digits);
        incarnation
            .map(|incarnation| Member { id: m.id, incarnation })
            .ok_or_else(|| RecordTextError(m.incarnation.clone()))
    };
    Ok(Config { members: config.members.iter().map(member).collect::<Result<_, _>>()?, w: config.w })
}
