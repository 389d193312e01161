//! How replicas stand to each other where there is no leader.

use trireme_crds::status::PeerStatus;
use trireme_proto::{Report, Topology, report::FollowerReport};

use crate::observed::Observed;

/// What a replica lacks of everybody's entries, as those say that are heard: entries and bytes in all, and the age of the oldest.
pub(super) fn lag(report: &Report, observed: &Observed) -> Option<FollowerReport> {
    let others = observed.replicas.keys().filter(|id| **id != report.id).filter_map(|id| observed.live_report(*id));
    let rows = others
        .filter_map(|other| other.followers.iter().find(|f| f.id == report.id && f.incarnation == report.incarnation));
    rows.copied().reduce(|sum, row| FollowerReport {
        lag_entries: sum.lag_entries + row.lag_entries,
        lag_bytes: sum.lag_bytes + row.lag_bytes,
        lag_ms: sum.lag_ms.max(row.lag_ms),
        snapshot_slots: sum.snapshot_slots.or(row.snapshot_slots),
        ..sum
    })
}

/// The part of a replica's status that only peers have.
pub(super) fn peer(record: &Topology, report: &Report, name: &impl Fn(u32) -> String) -> PeerStatus {
    let repair = report.repair.unwrap_or_default();
    let reached = |id: u32, life: u64| {
        id == report.id || report.followers.iter().any(|f| f.id == id && f.incarnation == life && f.reachable)
    };
    PeerStatus {
        generation: record.replica(report.id).map_or(0, |row| row.generation),
        coordinates: report.serving,
        whole: report.whole,
        reaches: record.config.members.iter().filter(|m| reached(m.id, m.incarnation)).map(|m| name(m.id)).collect(),
        received: report.received.iter().map(|part| part.told(name(part.origin.group))).collect(),
        slots_differing: repair.slots_differing,
        keys_repaired: repair.keys_repaired,
        read_repairs: repair.read_repairs,
        repair_bytes: repair.bytes_sent + repair.bytes_received,
        clock_offset_ms: report.clock_offset_ms,
    }
}
