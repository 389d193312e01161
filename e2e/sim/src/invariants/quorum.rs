//! What a leader calls committed was durable on w members of its configuration, past its own start entry.
//!
//! A log that has a later entry of the same epoch has this one, too (see [`super::logs`]).
//!
//! "Was", not "is": a disk may be lost after it has acknowledged. Durable means what the store's durability says: synced, or with the operating system.

use std::collections::BTreeMap;

use trireme_proto::{
    Epoch, Incarnation, Position, ReplicaId,
    report::Role,
    topology::{Config, Member},
};

use trireme_replica::io::Event;

use super::{Found, Turn, violated};

/// Who ever held what durably.
#[derive(Default)]
pub struct Quorum {
    /// By epoch: the last entry of it that each has held.
    holders: BTreeMap<Epoch, BTreeMap<(ReplicaId, Incarnation), u64>>,
    looked: BTreeMap<Epoch, u64>,
    /// What was committed when each epoch's leader began.
    began: BTreeMap<Epoch, u64>,
}

impl Quorum {
    /// An entry is durable on this disk now.
    pub fn durable(&mut self, id: ReplicaId, incarnation: Incarnation, position: Position) {
        let last = self.holders.entry(position.epoch).or_default().entry((id, incarnation)).or_default();
        *last = (*last).max(position.seq);
    }

    /// On how many disks of a configuration, without one, everything is that its leader of this epoch has called committed.
    pub fn copies(&self, config: &Config, epoch: Epoch, without: ReplicaId) -> usize {
        let (committed, holders) = (self.looked.get(&epoch).copied().unwrap_or(0), self.holders.get(&epoch));
        let last = |m: &Member| holders.and_then(|h| h.get(&(m.id, m.incarnation))).copied().unwrap_or(0);
        config.members.iter().filter(|m| m.id != without && last(m) >= committed).count()
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_>) -> Found {
        let Some(topology) = turn.topology else { return Ok(()) };
        if turn.report.role() != Role::Leader || topology.leader != turn.id {
            return Ok(());
        }
        let commit = turn.report.commit;
        for event in turn.events {
            if matches!(event, Event::Leads(_)) {
                self.began.insert(topology.epoch, commit);
            }
        }
        let began = self.began.get(&topology.epoch).copied().unwrap_or(u64::MAX);
        if let Some(entry) =
            turn.shadow.get(commit).filter(|entry| commit > began && entry.position.epoch < topology.epoch)
        {
            let what = format!(
                "leader {} of epoch {} calls {} committed before its start entry is",
                turn.id, topology.epoch, entry.position
            );
            return violated("quorum", what);
        }
        let looked = self.looked.entry(topology.epoch).or_default();
        let Some(entry) =
            turn.shadow.get(commit).filter(|entry| *looked < commit && entry.position.epoch == topology.epoch)
        else {
            return Ok(());
        };
        *looked = commit;
        let holders = self.holders.get(&topology.epoch);
        let last = |id, incarnation| holders.and_then(|holders| holders.get(&(id, incarnation))).copied().unwrap_or(0);
        let holds = |id, incarnation| last(id, incarnation) >= commit;
        let copies = topology.config.members.iter().filter(|m| holds(m.id, m.incarnation)).count();
        if copies < topology.config.w as usize {
            let what = format!(
                "leader {} calls {} committed, which was durable on {copies} of {} members, not on w = {}",
                turn.id,
                entry.position,
                topology.config.members.len(),
                topology.config.w
            );
            return violated("quorum", what);
        }
        Ok(())
    }
}
