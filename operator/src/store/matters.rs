//! Which reports are worth a turn of the planner at once.

use trireme_proto::{Report, Topology};

/// Whether a report says something else than the one before, beyond having moved on.
pub(crate) fn matters(before: &Report, now: &Report, record: Option<&Topology>) -> bool {
    let fixed = |r: &Report| {
        let own = (r.origin_spent, r.whole, r.closed);
        (
            r.incarnation,
            r.boot,
            r.role,
            r.promise,
            r.topology_version,
            r.serving,
            r.drained,
            r.leaving,
            r.disk_full,
            own,
        )
    };
    let reach =
        |r: &Report| r.followers.iter().map(|f| (f.id, f.reachable, f.snapshot_slots.is_some())).collect::<Vec<_>>();
    let suspicion_ms = record.map_or(u32::MAX, |record| record.settings.suspicion_ms);
    let deaf = |r: &Report| r.leader_silence_ms >= suspicion_ms;
    fixed(before) != fixed(now)
        || before.leader_link_closed != now.leader_link_closed
        || deaf(before) != deaf(now)
        || reach(before) != reach(now)
        || (now.last != before.last && record.is_some_and(|record| record.handover != 0))
}
