//! Which of the sealed members leads.

use trireme_proto::{
    Epoch, Report, Topology,
    breakage::{Breakage, broken},
};

use super::Turn;

/// The member with the largest (last epoch, seq); among equals first one of the configuration in force, then the one leadership is handed over to,
/// then the leader until now, then one that is neither ending nor full, then the preferred region, then the smallest number.
pub(crate) fn choose<'r>(turn: &Turn<'_>, record: &Topology, sealed: &[&'r Report]) -> Option<&'r Report> {
    let region = |id: u32| turn.desired.replica(id).map_or("", |r| r.region.as_str());
    let preferred = turn.desired.failover.preferred_region.as_str();
    let key = |r: &Report| {
        (
            position(r),
            record.config.member(r.id).is_some(),
            r.id == record.handover,
            !r.leaving && !r.disk_full,
            r.id == record.previous_leader,
            !preferred.is_empty() && region(r.id) == preferred,
            std::cmp::Reverse(r.id),
        )
    };
    sealed.iter().copied().max_by_key(|report| key(report))
}

/// What logs are compared by.
pub(crate) fn position(report: &Report) -> (Epoch, u64) {
    let epoch = if broken(Breakage::ChooseBySeqAlone) { Epoch::ZERO } else { report.last.epoch };
    (epoch, report.last.seq)
}
