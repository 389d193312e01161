//! Service-level objectives, measured: plain arithmetic on what was asked of replicas and what they said. Whoever has the clock and the connections calls it.
//!
//! ```text
//!   every pace: tick ──▶ "write nothing" to who may be able to ──▶ probed: acknowledged, at this place in the log, under this name
//!                                                                 heard: a replica's report: what it has applied, or received
//! ```
//!
//! * Writes: a probe is a client that begins at that moment and tries again until it is told OK. It has failed if no write that was begun then or later is
//!   acknowledged within `writeGap`. The number of probes that fail is therefore what a gap is longer than that, in paces.
//! * Reads: with each probe every replica that clients may read from is looked at. It has failed if it lacks a write of nothing that was acknowledged longer
//!   ago than `staleness`, as its last report has it: whoever cannot be heard has not applied anything since. Where each region has a leader, its leader is looked at
//!   for the writes of the others.
//! * A replica whose process is known to have ended shows nobody anything old, and is not looked at; nor is one that is on its way in.
//! * A group is measured from when it has first acknowledged one. While whoever measures was stopped, nothing is known, and nothing counted.
//!
//! `budget`: what of it failed over a window.

mod budget;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use trireme_crds::{Objectives, SloStatus};
use trireme_proto::{
    ReplicaId, Report,
    message::Probed,
    report::{OriginSeq, Role},
};

pub use budget::Meter;

/// Longest and shortest time between two probes, in milliseconds.
const PACE_MAX_MS: u64 = 1_000;
const PACE_MIN_MS: u64 = 20;
/// Probes within the time that is promised.
const PACES: u64 = 5;
/// Probes that may wait for an answer, and acknowledged ones that a replica may lack: of more than these the oldest ones tell the same.
const WAITING_MAX: usize = 128;
/// A call that comes after so many paces comes late: whoever calls was stopped.
const LATE_PACES: u64 = 5;
/// The shortest time that counts as late, in milliseconds: a machine may be busy.
const LATE_MIN_MS: u64 = 1_000;

/// A replica that may be asked and looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which.
    pub id: ReplicaId,
    /// Its group.
    pub group: u32,
    /// Its process is known to have ended.
    pub ended: bool,
    /// The group has no leader: one replica is asked at a time, a different one each time.
    pub leaderless: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Prober {
    objectives: Objectives,
    targets: Vec<Target>,
    groups: BTreeMap<u32, Group>,
    replicas: BTreeMap<ReplicaId, Replica>,
    write: Option<Meter>,
    stale: Option<Meter>,
    /// Number of the last probe.
    number: u64,
    /// When it was sent.
    ticked_ms: u64,
}

#[derive(Debug, Default)]
struct Group {
    /// Probes that nobody has answered, the oldest first: number, and when it was sent.
    waiting: VecDeque<(u64, u64)>,
    /// It has acknowledged one.
    serves: bool,
}

#[derive(Debug, Default)]
struct Replica {
    role: Option<Role>,
    applied: u64,
    received: Vec<OriginSeq>,
    /// What was acknowledged and is not here as far as is known: when, and of which group.
    lacks: VecDeque<(u64, u32, Probed)>,
}

impl Prober {
    /// Goes on from what was counted before, as the status has it.
    pub fn new(objectives: Objectives, before: Option<&SloStatus>, wall_ms: u64) -> Prober {
        let meter = |within: Option<u64>, before: Option<&trireme_crds::Budget>| {
            within.map(|within_ms| Meter::new(objectives, within_ms, before, wall_ms))
        };
        Prober {
            objectives,
            targets: Vec::new(),
            groups: BTreeMap::new(),
            replicas: BTreeMap::new(),
            write: meter(objectives.write_gap_ms, before.and_then(|status| status.write_gap.as_ref())),
            stale: meter(objectives.staleness_ms, before.and_then(|status| status.staleness.as_ref())),
            number: 0,
            ticked_ms: 0,
        }
    }

    /// Milliseconds between two calls of [`Prober::tick`].
    pub fn pace_ms(&self) -> u64 {
        let within = [self.objectives.write_gap_ms, self.objectives.staleness_ms];
        let shortest = within.into_iter().flatten().min().unwrap_or(PACE_MAX_MS * PACES);
        (shortest / PACES).clamp(PACE_MIN_MS, PACE_MAX_MS)
    }

    /// The replicas that there are.
    pub fn targets(&mut self, targets: &[Target]) {
        self.targets = targets.to_vec();
        self.groups.retain(|group, _| targets.iter().any(|target| target.group == *group));
        self.replicas.retain(|id, _| targets.iter().any(|target| target.id == *id));
        for target in targets {
            self.groups.entry(target.group).or_default();
            let replica = self.replicas.entry(target.id).or_default();
            if target.ended {
                *replica = Replica::default();
            }
        }
    }

    /// It is time: what has failed by now is counted, and these are to be asked for a write of nothing, under this number.
    pub fn tick(&mut self, now_ms: u64, wall_ms: u64) -> (u64, Vec<ReplicaId>) {
        let late_ms = (self.pace_ms() * LATE_PACES).max(LATE_MIN_MS);
        if now_ms.saturating_sub(self.ticked_ms) > late_ms {
            self.groups.values_mut().for_each(|group| group.waiting.clear());
            self.replicas.values_mut().for_each(|replica| replica.lacks.clear());
        }
        self.ticked_ms = now_ms;
        self.count_writes(now_ms, wall_ms);
        self.count_reads(now_ms, wall_ms);
        self.number += 1;
        for group in self.groups.values_mut() {
            if group.waiting.len() == WAITING_MAX {
                group.waiting.pop_front();
            }
            group.waiting.push_back((self.number, now_ms));
        }
        let asked = self.groups.keys().flat_map(|group| self.asked(*group)).collect();
        (self.number, asked)
    }

    /// Whom of a group a client would try now.
    fn asked(&self, group: u32) -> Vec<ReplicaId> {
        let there = self.targets.iter().filter(|target| target.group == group && !target.ended);
        let ids: Vec<ReplicaId> = there.clone().map(|target| target.id).collect();
        match there.clone().any(|target| target.leaderless) {
            true => ids.get(self.number as usize % ids.len().max(1)).copied().into_iter().collect(),
            false => ids,
        }
    }

    fn count_writes(&mut self, now_ms: u64, wall_ms: u64) {
        let Some(meter) = &mut self.write else { return };
        let within_ms = meter.within_ms();
        for group in self.groups.values_mut() {
            while let Some((_, sent_ms)) = group.waiting.front()
                && sent_ms + within_ms < now_ms
            {
                group.waiting.pop_front();
                if group.serves {
                    meter.add(wall_ms, 1, 1);
                }
            }
        }
    }

    fn count_reads(&mut self, now_ms: u64, wall_ms: u64) {
        let Some(meter) = &mut self.stale else { return };
        let several = self.groups.len() > 1;
        for target in self.targets.iter().filter(|target| !target.ended) {
            let serves = self.groups.get(&target.group).is_some_and(|group| group.serves);
            let Some(replica) = self.replicas.get(&target.id).filter(|_| serves) else { continue };
            let looked_at = match replica.role {
                Some(Role::Follower | Role::Peer) => true,
                Some(Role::Leader) => several,
                Some(Role::Idle | Role::Learner) | None => false,
            };
            if looked_at {
                let oldest_ms = replica.lacks.iter().map(|(acknowledged_ms, ..)| *acknowledged_ms).min();
                let failed = oldest_ms.is_some_and(|oldest_ms| oldest_ms + meter.within_ms() < now_ms);
                meter.add(wall_ms, u64::from(failed), 1);
            }
        }
    }

    /// A replica says that a write of nothing is acknowledged.
    pub fn probed(&mut self, id: ReplicaId, probed: Probed, now_ms: u64, wall_ms: u64) {
        let Some(&Target { group: number, .. }) = self.targets.iter().find(|target| target.id == id) else { return };
        self.count_writes(now_ms, wall_ms);
        let Some(group) = self.groups.get_mut(&number) else { return };
        group.serves = true;
        // Whoever began before it has tried again, and is told OK by it.
        while group.waiting.pop_front_if(|(waits, _)| *waits <= probed.number).is_some() {
            if let Some(meter) = &mut self.write {
                meter.add(wall_ms, 0, 1);
            }
        }
        let targets: Vec<Target> =
            self.targets.iter().filter(|target| target.id != id && !target.ended).copied().collect();
        for target in targets {
            let Some(replica) = self.replicas.get_mut(&target.id) else { continue };
            let own = target.group == number;
            let is_told = own || replica.role == Some(Role::Leader);
            let looked_at = is_told && !matches!(replica.role, None | Some(Role::Learner));
            if looked_at && replica.lacks.len() < WAITING_MAX && !replica.has(own && !target.leaderless, &probed) {
                replica.lacks.push_back((now_ms, number, probed));
            }
        }
    }

    /// A replica reports.
    pub fn heard(&mut self, id: ReplicaId, report: &Report) {
        let Some(&target) = self.targets.iter().find(|target| target.id == id) else { return };
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let role = Role::try_from(report.role).unwrap_or(Role::Idle);
        (replica.role, replica.applied) = (Some(role), report.applied);
        replica.received.clone_from(&report.received);
        let mut lacks = std::mem::take(&mut replica.lacks);
        lacks.retain(|(_, group, probed)| {
            let own = *group == target.group;
            // What other regions wrote is its leader's business, and nobody's who is on his way in.
            let concerns = role != Role::Learner && (own || role == Role::Leader);
            concerns && !replica.has(own && !target.leaderless, probed)
        });
        replica.lacks = lacks;
    }

    /// What is left of the budgets; nothing before anything was measured.
    pub fn status(&mut self, wall_ms: u64) -> Option<SloStatus> {
        let status = |meter: &mut Option<Meter>| meter.as_mut().and_then(|meter| meter.budget(wall_ms));
        let (write_gap, staleness) = (status(&mut self.write), status(&mut self.stale));
        (write_gap.is_some() || staleness.is_some()).then_some(SloStatus { write_gap, staleness })
    }
}

impl Replica {
    /// Whether it has this one, by its place in the log that it shares, or by its name.
    fn has(&self, by_place: bool, probed: &Probed) -> bool {
        let origin = probed.dot.origin;
        // A group that has lost its name has lost what was under it; that is not for ever.
        let named = |seen: &OriginSeq| {
            let newer = seen.origin.group == origin.group && seen.origin.generation > origin.generation;
            newer || (seen.origin == origin && seen.upto >= probed.dot.seq)
        };
        if by_place { self.applied >= probed.seq } else { self.received.iter().any(named) }
    }
}
