//! Every member of a group has lost its disk: there is nothing left that could be chosen.
//!
//! That is certain once all of them are heard as other lives of their disks, have promised this epoch, and every lease that the former ones can have granted
//! has run out. What the group held is gone, so nobody but a person begins anew: by a forced promotion. The generation rises, so no name of a delta is used
//! again; where other regions have what this one had sent them, it comes back from there under the names that it had.

use std::collections::BTreeSet;

use trireme_proto::{
    Topology,
    topology::{Config, Member, Phase},
};

use super::{MemberPhase, Turn, leave, turn::members};
use crate::{decision::Decision, observed::HumanRequest};

/// Begins anew with the replicas that are there, if a person wants one of them to lead and nothing is left to be lost. Says whether that was done.
pub(crate) fn from_nothing(turn: &mut Turn<'_>, record: &Topology, replaced: &BTreeSet<Member>) -> bool {
    let wanted = turn.memory.requests.iter().find_map(|request| match request {
        HumanRequest::Promote { replica, force: true } => Some(*replica),
        _ => None,
    });
    let lost = members(record);
    let Some(leader) = wanted.filter(|_| lost.iter().all(|member| replaced.contains(member))) else { return false };
    let promised = |id| turn.observed.live_report(id).filter(|report| report.promise == record.epoch);
    let there: Vec<Member> = turn
        .desired
        .replicas
        .iter()
        .filter_map(|replica| Some(Member { id: replica.id, incarnation: promised(replica.id)?.incarnation }))
        .collect();
    if !there.iter().any(|member| member.id == leader) {
        return false;
    }
    let mut next = record.clone();
    let w = turn.desired.w.min(u32::try_from(there.len()).unwrap_or(u32::MAX)).max(1);
    (next.phase, next.leader, next.handover) = (Phase::Active as i32, leader, 0);
    (next.config, next.old) = (Config { members: there, w }, None);
    next.generation += 1;
    let alone = leave::alone(turn, record);
    if let Some(change) = turn.memory.change(record.epoch) {
        (change.phase, change.to, change.at_risk) = (MemberPhase::Chosen, leader, alone);
        (change.may_have_lost, change.forced) = (true, true);
    }
    turn.decide(Decision::BegunAnew {
        leader: turn.name(leader),
        epoch: record.epoch.to_string(),
        lost: turn.names(lost.iter().map(|member| member.id)),
        alone,
        elsewhere: next.groups.iter().filter(|group| !group.is_revoked()).map(|group| group.region.clone()).collect(),
    });
    turn.record(next);
    true
}
