//! The record as an object of the API, and back. Nothing is lost either way.

use trireme_crds::{
    Conflicts, Durability, FeedCompression, Mode, Quorums, ReadRepair, Unreplicated, WriteOrder,
    limits::{Eviction, Limits, OutputBuffers, OutputLimit},
    quantity::{Bytes, Millis},
    session::Session,
    topology::{
        ConfigRecord, DotRecord, EdgeRecord, GroupRecord, HomeRecord, LeavingRecord, MemberRecord, OtherGroupRecord,
        RecordPhase, ReplicaRecord, SettingsRecord,
    },
};
use trireme_proto::{
    Epoch, Topology,
    ids::{Dot, Origin},
    topology::{self, Ceded, ClientLimits, Config, Edge, Group, Home, Leaving, Member, Phase, Replica, Settings},
};

/// Why an object is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordTextError {
    /// An incarnation.
    #[error("'{0}' is no incarnation: 16 hexadecimal digits are")]
    Incarnation(String),
    /// What an edge's key is known by.
    #[error("'{0}' is no hash of an edge's key: hexadecimal digits are")]
    Verifier(String),
}

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
        replicas: record.replicas.iter().map(replica_to_object).collect(),
        generation: record.generation,
        handover: record.handover,
        previous_leader: record.previous_leader,
        restarting: record.restarting,
        groups: record.groups.iter().map(group_to_object).collect(),
        leaving: match record.leaving() {
            Leaving::Stays => LeavingRecord::Stays,
            Leaving::Drains => LeavingRecord::Drains,
            Leaving::Gone => LeavingRecord::Gone,
            Leaving::Ended => LeavingRecord::Ended,
        },
        given_up: record.given_up,
        homes: record.homes.iter().map(home_to_object).collect(),
        last_group: record.last_group,
        settings: settings_to_object(&record.settings),
    }
}

fn replica_to_object(row: &Replica) -> ReplicaRecord {
    ReplicaRecord {
        id: row.id,
        name: row.name.clone(),
        region: row.region.clone(),
        peer_address: row.peer_address.clone(),
        client_address: row.client_address.clone(),
        incarnation: if row.incarnation == 0 { String::new() } else { format!("{:016x}", row.incarnation) },
        generation: row.generation,
        quarantined: row.quarantined,
    }
}

fn group_to_object(group: &Group) -> OtherGroupRecord {
    OtherGroupRecord {
        group: group.group,
        region: group.region.clone(),
        replicas: group.replicas.iter().map(replica_to_object).collect(),
        paused: group.paused,
        leaving: group.leaving,
        edge: group.edge.as_ref().map(|edge| EdgeRecord {
            verifier: hex(&edge.verifier),
            nonce: format!("{:016x}", edge.nonce),
            revoked: edge.revoked,
        }),
    }
}

fn group_from_object(object: &OtherGroupRecord) -> Result<Group, RecordTextError> {
    Ok(Group {
        group: object.group,
        region: object.region.clone(),
        replicas: object.replicas.iter().map(replica_from_object).collect::<Result<_, _>>()?,
        paused: object.paused,
        leaving: object.leaving,
        edge: object.edge.as_ref().map(edge_from_object).transpose()?,
    })
}

fn edge_from_object(object: &EdgeRecord) -> Result<Edge, RecordTextError> {
    let verifier = bytes(&object.verifier).ok_or_else(|| RecordTextError::Verifier(object.verifier.clone()))?;
    Ok(Edge { verifier: verifier.into(), revoked: object.revoked, nonce: incarnation(&object.nonce)? })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    hex.len().is_multiple_of(2).then(|| hex.as_bytes().chunks(2).map(pair).collect())?
}

fn home_to_object(home: &Home) -> HomeRecord {
    let dots = |dots: &[Dot]| -> Vec<DotRecord> {
        let row = |dot: &Dot| DotRecord { group: dot.origin.group, generation: dot.origin.generation, seq: dot.seq };
        dots.iter().map(row).collect()
    };
    HomeRecord {
        prefix: home.prefix.clone(),
        tag: home.tag.clone(),
        group: home.group,
        epoch: home.epoch,
        after: dots(&home.after),
        ceded: home.ceded.as_ref().map(|ceded| dots(&ceded.upto)),
        accept_locally: home.accept_locally,
    }
}

fn home_from_object(object: &HomeRecord) -> Home {
    let dots = |rows: &[DotRecord]| -> Vec<Dot> {
        let dot =
            |row: &DotRecord| Dot { origin: Origin { group: row.group, generation: row.generation }, seq: row.seq };
        rows.iter().map(dot).collect()
    };
    Home {
        prefix: object.prefix.clone(),
        tag: object.tag.clone(),
        group: object.group,
        epoch: object.epoch,
        after: dots(&object.after),
        ceded: object.ceded.as_ref().map(|rows| Ceded { upto: dots(rows) }),
        accept_locally: object.accept_locally,
    }
}

fn settings_to_object(settings: &Settings) -> SettingsRecord {
    SettingsRecord {
        durability: if settings.durability == topology::Durability::Memory as i32 {
            Durability::Memory
        } else {
            Durability::Disk
        },
        r: settings.r,
        heartbeat_ms: settings.heartbeat_ms,
        lease_ms: settings.lease_ms,
        suspicion_ms: settings.suspicion_ms,
        unreplicated: if settings.unreplicated == topology::Unreplicated::Discard as i32 {
            Unreplicated::Discard
        } else {
            Unreplicated::Recover
        },
        request_timeout_ms: settings.request_timeout_ms,
        log_bytes_max: settings.log_bytes_max,
        mode: match settings.mode() {
            topology::Mode::SingleLeader => Mode::SingleLeader,
            topology::Mode::MultiLeader => Mode::MultiLeader,
            topology::Mode::Leaderless => Mode::Leaderless,
        },
        write_order: write_order(settings),
        read_repair: read_repair(settings),
        feed_bytes_per_second: settings.feed_bytes_per_second,
        feed_compression: match settings.feed_compression() {
            topology::FeedCompression::Lz4 => FeedCompression::Lz4,
            topology::FeedCompression::Off => FeedCompression::Off,
        },
        conflicts: settings
            .conflicts
            .as_ref()
            .map(|lists| Conflicts { list: lists.name.clone(), length: Some(lists.length) }),
        session: Some(Session::without(settings.session_off, settings.session_wait_ms))
            .filter(|session| !session.is_standard()),
        keyspace_events: settings.keyspace_events.clone(),
        keyspace_events_revision: settings.keyspace_events_revision,
        limits: settings.limits.as_ref().map(limits_to_object),
    }
}

/// Of a number 0 is the default, and of an object what is left out.
fn limits_to_object(limits: &ClientLimits) -> Limits {
    let some = |number: u64| (number > 0).then_some(number);
    let output = |limit: topology::OutputLimit| OutputLimit {
        hard: Some(Bytes(limit.hard_bytes)),
        soft: Some(Bytes(limit.soft_bytes)),
        soft_seconds: u32::try_from(limit.soft_seconds).ok(),
    };
    Limits {
        max_clients: some(limits.clients).map(|clients| u32::try_from(clients).unwrap_or(u32::MAX)),
        idle_timeout: some(limits.idle_seconds).map(|seconds| Millis(seconds.saturating_mul(1_000))),
        query_buffer: some(limits.query_bytes).map(Bytes),
        output_buffers: Some(OutputBuffers {
            replies: limits.replies.map(output),
            subscribers: limits.subscribers.map(output),
        })
        .filter(|buffers| *buffers != OutputBuffers::default()),
        max_memory: some(limits.memory_bytes).map(Bytes),
        eviction: Some(match limits.eviction() {
            topology::Eviction::NoEviction => Eviction::NoEviction,
            topology::Eviction::AllKeysLru => Eviction::AllKeysLru,
            topology::Eviction::VolatileTtl => Eviction::VolatileTtl,
        })
        .filter(|eviction| *eviction != Eviction::NoEviction),
    }
}

fn limits_from_object(limits: &Limits) -> ClientLimits {
    let output = |limit: &OutputLimit| topology::OutputLimit {
        hard_bytes: limit.hard.unwrap_or_default().0,
        soft_bytes: limit.soft.unwrap_or_default().0,
        soft_seconds: limit.soft_seconds.unwrap_or_default().into(),
    };
    let buffers = limits.output_buffers.as_ref();
    ClientLimits {
        clients: limits.max_clients.unwrap_or_default().into(),
        // What is no whole second is rounded up: 0 would be never.
        idle_seconds: limits.idle_timeout.unwrap_or_default().0.div_ceil(1_000),
        memory_bytes: limits.memory_bytes(),
        query_bytes: limits.query_buffer.unwrap_or_default().0,
        replies: buffers.and_then(|buffers| buffers.replies.as_ref()).map(output),
        subscribers: buffers.and_then(|buffers| buffers.subscribers.as_ref()).map(output),
        eviction: match limits.eviction() {
            Eviction::NoEviction => topology::Eviction::NoEviction,
            Eviction::AllKeysLru => topology::Eviction::AllKeysLru,
            Eviction::VolatileTtl => topology::Eviction::VolatileTtl,
        } as i32,
    }
}

fn write_order(settings: &Settings) -> WriteOrder {
    match settings.write_order() {
        topology::WriteOrder::Strict => WriteOrder::Strict,
        topology::WriteOrder::Clock => WriteOrder::Clock,
    }
}

fn read_repair(settings: &Settings) -> ReadRepair {
    match settings.read_repair() {
        topology::ReadRepair::Blocking => ReadRepair::Blocking,
        topology::ReadRepair::Async => ReadRepair::Async,
        topology::ReadRepair::Off => ReadRepair::Off,
    }
}

/// What n members with this w need for reads and writes where there is no leader. r above n means all of them.
pub(crate) fn quorums(n: u32, w: u32, settings: &Settings) -> Quorums {
    Quorums { n, w, r: settings.r.min(n.max(1)), order: write_order(settings), repair: read_repair(settings) }
}

fn config_to_object(config: &Config) -> ConfigRecord {
    let member = |m: &Member| MemberRecord { id: m.id, incarnation: format!("{:016x}", m.incarnation) };
    ConfigRecord { members: config.members.iter().map(member).collect(), w: config.w }
}

/// The record that an object of the API holds. `store` is the store's unique name.
///
/// # Errors
/// Where an incarnation or a hash is not in hexadecimal digits: somebody edited the object.
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
        replicas: object.replicas.iter().map(replica_from_object).collect::<Result<_, _>>()?,
        generation: object.generation,
        handover: object.handover,
        previous_leader: object.previous_leader,
        restarting: object.restarting,
        groups: object.groups.iter().map(group_from_object).collect::<Result<_, _>>()?,
        leaving: match object.leaving {
            LeavingRecord::Stays => Leaving::Stays as i32,
            LeavingRecord::Drains => Leaving::Drains as i32,
            LeavingRecord::Gone => Leaving::Gone as i32,
            LeavingRecord::Ended => Leaving::Ended as i32,
        },
        given_up: object.given_up,
        homes: object.homes.iter().map(home_from_object).collect(),
        last_group: object.last_group,
        settings: settings_from_object(&object.settings),
    })
}

fn replica_from_object(row: &ReplicaRecord) -> Result<Replica, RecordTextError> {
    Ok(Replica {
        id: row.id,
        name: row.name.clone(),
        region: row.region.clone(),
        peer_address: row.peer_address.clone(),
        client_address: row.client_address.clone(),
        incarnation: if row.incarnation.is_empty() { 0 } else { incarnation(&row.incarnation)? },
        generation: row.generation,
        quarantined: row.quarantined,
    })
}

/// What replicas need to know of the spec, as the wire has it.
pub(crate) fn settings_from_object(settings: &SettingsRecord) -> Settings {
    Settings {
        durability: match settings.durability {
            Durability::Disk => topology::Durability::Disk as i32,
            Durability::Memory => topology::Durability::Memory as i32,
        },
        r: settings.r,
        heartbeat_ms: settings.heartbeat_ms,
        lease_ms: settings.lease_ms,
        suspicion_ms: settings.suspicion_ms,
        unreplicated: match settings.unreplicated {
            Unreplicated::Recover => topology::Unreplicated::Recover as i32,
            Unreplicated::Discard => topology::Unreplicated::Discard as i32,
        },
        request_timeout_ms: settings.request_timeout_ms,
        log_bytes_max: settings.log_bytes_max,
        mode: match settings.mode {
            Mode::SingleLeader => topology::Mode::SingleLeader as i32,
            Mode::MultiLeader => topology::Mode::MultiLeader as i32,
            Mode::Leaderless => topology::Mode::Leaderless as i32,
        },
        write_order: match settings.write_order {
            WriteOrder::Strict => topology::WriteOrder::Strict as i32,
            WriteOrder::Clock => topology::WriteOrder::Clock as i32,
        },
        read_repair: match settings.read_repair {
            ReadRepair::Blocking => topology::ReadRepair::Blocking as i32,
            ReadRepair::Async => topology::ReadRepair::Async as i32,
            ReadRepair::Off => topology::ReadRepair::Off as i32,
        },
        feed_bytes_per_second: settings.feed_bytes_per_second,
        feed_compression: match settings.feed_compression {
            FeedCompression::Lz4 => topology::FeedCompression::Lz4 as i32,
            FeedCompression::Off => topology::FeedCompression::Off as i32,
        },
        conflicts: settings
            .conflicts
            .as_ref()
            .map(|lists| topology::ConflictList { name: lists.list.clone(), length: lists.length() }),
        limits: settings.limits.as_ref().map(limits_from_object),
        session_off: settings.session.as_ref().map_or(0, Session::left_out),
        session_wait_ms: settings.session.as_ref().map(Session::wait_ms),
        keyspace_events: settings.keyspace_events.clone(),
        keyspace_events_revision: settings.keyspace_events_revision,
    }
}

fn config_from_object(config: &ConfigRecord) -> Result<Config, RecordTextError> {
    let member = |m: &MemberRecord| Ok(Member { id: m.id, incarnation: incarnation(&m.incarnation)? });
    Ok(Config { members: config.members.iter().map(member).collect::<Result<_, _>>()?, w: config.w })
}

fn incarnation(text: &str) -> Result<u64, RecordTextError> {
    let parsed = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
    parsed.ok_or_else(|| RecordTextError::Incarnation(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use trireme_crds::{ReplicatedStore, ReplicatedStoreSpec, store::Metadata};

    use super::*;
    use crate::Desired;

    #[test]
    fn limits_come_back_as_they_were() {
        let limit = |number: u64| topology::OutputLimit {
            hard_bytes: number,
            soft_bytes: number / 2,
            soft_seconds: number % 100,
        };
        let all = ClientLimits {
            clients: 7,
            idle_seconds: 60,
            memory_bytes: 1 << 30,
            query_bytes: 1 << 20,
            replies: Some(limit(0)),
            subscribers: Some(limit(1 << 33)),
            eviction: topology::Eviction::VolatileTtl as i32,
        };
        let some = ClientLimits { clients: 0, replies: None, eviction: 0, ..all };
        for limits in [ClientLimits::default(), all, some, ClientLimits { subscribers: None, ..some }] {
            assert_eq!(limits_from_object(&limits_to_object(&limits)), limits);
        }
    }

    #[test]
    fn the_record_has_limits_where_the_spec_says_other_ones_than_redis_has() {
        let recorded = |limits: Option<Limits>| {
            let spec = ReplicatedStoreSpec { limits, ..ReplicatedStoreSpec::new(Mode::SingleLeader) };
            let store = ReplicatedStore {
                api_version: trireme_crds::API_VERSION.into(),
                kind: trireme_crds::STORE_KIND.into(),
                metadata: Metadata { name: "s".into(), ..Metadata::default() },
                spec,
                status: None,
            };
            Desired::groups(&store, "u", &[])[0].settings.limits
        };
        assert_eq!(recorded(None), None);
        assert_eq!(recorded(Some(Limits { max_clients: Some(10_000), ..Limits::default() })), None);
        let other = Limits {
            idle_timeout: Some(Millis(1_500)),
            max_memory: Some(Bytes(1 << 30)),
            eviction: Some(Eviction::AllKeysLru),
            ..Limits::default()
        };
        let limits = recorded(Some(other)).expect("they are recorded");
        assert_eq!((limits.idle_seconds, limits.memory_bytes, limits.clients), (2, 1 << 30, 10_000));
        assert_eq!(limits.eviction(), topology::Eviction::AllKeysLru);
        assert_eq!(limits.subscribers.map(|limit| limit.soft_seconds), Some(60));
    }
}
