//! The mode changes under a store's clients, between one leader and a leader in each region.
//!
//! What a replica does by the mode, to have feeds, to append again what a failover cut off, to write so that others can join it, it decides when it begins to
//! lead. So the mode changes with an epoch: the former leader, mostly the same replica, ends what it had begun under the one mode, is sealed, and begins under the
//! other, with a start entry between what it wrote in either. Clients see the pause of a switchover, and nothing moves: the group keeps its replicas, their names
//! and numbers, and the names of all that it has written.
//!
//! What comes before and after it is a matter of groups ([`crate::desired::Desired::groups`]): other regions are added when the mode has become MultiLeader, and
//! they have left before it becomes SingleLeader.

use trireme_proto::{
    Topology,
    breakage::{Breakage, broken},
    topology::Settings,
};

use super::{Turn, failover};
use crate::decision::{Cause, Decision, list};

/// Reason of the condition while the mode is not what is wanted.
const REASON: &str = "ModeChanges";

/// With a leader chosen: the mode becomes what is wanted of the group, or it is said what that waits for.
pub(crate) fn change(turn: &mut Turn<'_>, record: &Topology) {
    if !turn.desired.mode_waits_for.is_empty() {
        let regions = list(&turn.desired.mode_waits_for);
        return turn.decide_once(REASON, format!("the mode becomes SingleLeader when nothing is left of {regions}"));
    }
    let (from, to) = (record.settings.mode(), turn.desired.settings.mode());
    if from == to {
        return;
    }
    let Some(report) = turn.leading(record) else { return };
    let busy = record.old.is_some() || record.handover != 0 || report.leaving;
    let reachable = failover::reachable(&record.config, report);
    if busy || !report.serving || reachable < record.config.lease_quorum() {
        let what = format!(
            "the mode becomes {to:?} when its leader serves, reaches {} of its members, and no other change is under way",
            record.config.lease_quorum()
        );
        return turn.decide_once(REASON, what);
    }
    turn.decide(Decision::ModeChanges { from: format!("{from:?}"), to: format!("{to:?}") });
    let settings = Settings { mode: turn.desired.settings.mode, ..record.settings.clone() };
    let next = Topology { settings, ..record.clone() };
    if broken(Breakage::ModeWithoutEpoch) {
        return turn.record(next);
    }
    failover::begin(turn, &next, Cause::Mode, None, 0);
}
