//! `/status`: the report, who the replica is, and its connections, as JSON.

use serde::Serialize;
use trireme_proto::{
    Report,
    ids::Peer,
    report::{Counters, Cut, FollowerReport, Repair, Role},
};

use crate::shell::Shell;

/// Everything. Random numbers are strings, as JSON's numbers are too small for them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    store: String,
    group: u32,
    id: u32,
    name: String,
    incarnation: String,
    boot: String,
    address: String,
    client_port: u16,
    peer_port: u16,
    admin_port: u16,
    version: &'static str,
    /// In milliseconds since 1970.
    started_at_ms: u64,
    role: &'static str,
    serving: bool,
    drained: bool,
    leaving: bool,
    disk_full: bool,
    promise: String,
    topology_version: u64,
    leader: Option<u32>,
    last: String,
    commit: u64,
    applied: u64,
    log_start: u64,
    log_bytes: u64,
    keys: u64,
    digest: String,
    lease_remaining_ms: u32,
    leader_silence_ms: u32,
    write_gap_ms: u32,
    recovered: u64,
    cut: Option<CutStatus>,
    followers: Vec<Follower>,
    /// Where there is no leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<PeerPart>,
    peers_connected: Vec<u32>,
    operators_connected: usize,
    clients_connected: usize,
    last_peer_refusal: Option<String>,
    counters: Counts,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CutStatus {
    first: String,
    entries: u64,
    by: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Follower {
    id: u32,
    incarnation: String,
    reachable: bool,
    acknowledged: u64,
    lag_entries: u64,
    lag_bytes: u64,
    lag_ms: u64,
    snapshot_slots: Option<u32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerPart {
    whole: bool,
    origin_spent: bool,
    clock_offset_ms: i64,
    /// What is held durably of each origin, as `group.generation:sequence`, with the number of gaps where there are any.
    received: Vec<String>,
    slots_differing: u64,
    keys_repaired: u64,
    read_repairs: u64,
    repair_bytes_sent: u64,
    repair_bytes_received: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    commands: u64,
    no_replicas: u64,
    in_doubt: u64,
    peer_refusals: u64,
    clock_refusals: u64,
    digests_compared: u64,
    digest_mismatches: u64,
    snapshots_received: u64,
    evicted_keys: u64,
    out_of_memory: u64,
    clients: u64,
    clients_refused: u64,
    protocol_errors: u64,
}

/// The status now.
pub(super) fn of(shell: &Shell, report: &Report) -> Status {
    let config = &shell.config;
    let connected = shell.links.connected();
    Status {
        store: shell.identity.store.clone(),
        group: shell.identity.group,
        id: report.id,
        name: config.name.clone(),
        incarnation: hex(report.incarnation),
        boot: hex(report.boot),
        address: config.listen.to_string(),
        client_port: config.client_port,
        peer_port: config.peer_port,
        admin_port: config.admin_port,
        version: env!("CARGO_PKG_VERSION"),
        started_at_ms: shell.clock.started().as_millis() as u64,
        role: role(report.role()),
        serving: report.serving,
        drained: report.drained,
        leaving: report.leaving,
        disk_full: report.disk_full,
        promise: report.promise.to_string(),
        topology_version: report.topology_version,
        leader: shell.core.borrow().topology().map(|topology| topology.leader).filter(|leader| *leader != 0),
        last: report.last.to_string(),
        commit: report.commit,
        applied: report.applied,
        log_start: report.log_start,
        log_bytes: shell.core.borrow().log_bytes(),
        keys: report.keys,
        digest: hex(report.digest),
        lease_remaining_ms: report.lease_remaining_ms,
        leader_silence_ms: report.leader_silence_ms,
        write_gap_ms: report.write_gap_ms,
        recovered: report.recovered,
        cut: report.cut.as_ref().map(cut),
        followers: report.followers.iter().map(follower).collect(),
        peer: report.repair.map(|repair| peer(report, &repair)),
        peers_connected: connected
            .iter()
            .filter_map(|p| if let Peer::Replica(id) = p { Some(*id) } else { None })
            .collect(),
        operators_connected: connected.iter().filter(|peer| matches!(peer, Peer::Operator(_))).count(),
        clients_connected: shell.clients.borrow().len(),
        last_peer_refusal: shell.links.last_refusal(),
        counters: counts(shell, &report.counters),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Idle => "Idle",
        Role::Follower => "Follower",
        Role::Learner => "Learner",
        Role::Leader => "Leader",
        Role::Peer => "Peer",
    }
}

fn cut(cut: &Cut) -> CutStatus {
    CutStatus { first: cut.first.to_string(), entries: cut.entries, by: cut.by.to_string() }
}

fn follower(follower: &FollowerReport) -> Follower {
    Follower {
        id: follower.id,
        incarnation: hex(follower.incarnation),
        reachable: follower.reachable,
        acknowledged: follower.acknowledged,
        lag_entries: follower.lag_entries,
        lag_bytes: follower.lag_bytes,
        lag_ms: follower.lag_ms,
        snapshot_slots: follower.snapshot_slots,
    }
}

fn peer(report: &Report, repair: &Repair) -> PeerPart {
    PeerPart {
        whole: report.whole,
        origin_spent: report.origin_spent,
        clock_offset_ms: report.clock_offset_ms,
        received: report.received.iter().map(|part| part.told(part.origin.group)).collect(),
        slots_differing: repair.slots_differing,
        keys_repaired: repair.keys_repaired,
        read_repairs: repair.read_repairs,
        repair_bytes_sent: repair.bytes_sent,
        repair_bytes_received: repair.bytes_received,
    }
}

fn counts(shell: &Shell, counters: &Counters) -> Counts {
    Counts {
        commands: counters.commands,
        no_replicas: counters.no_replicas,
        in_doubt: counters.in_doubt,
        peer_refusals: counters.peer_refusals + shell.links.refusals(),
        clock_refusals: counters.clock_refusals,
        digests_compared: counters.digests_compared,
        digest_mismatches: counters.digest_mismatches,
        snapshots_received: counters.snapshots_received,
        evicted_keys: counters.evicted_keys,
        out_of_memory: counters.out_of_memory,
        clients: shell.clients_opened.get(),
        clients_refused: shell.clients_refused.get(),
        protocol_errors: shell.protocol_errors.get(),
    }
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}
