//! Who counts, and what has enough copies.

use trireme_proto::{
    ReplicaId,
    breakage::{Breakage, broken},
    ids::Dot,
    topology::{Config, Member},
};

use crate::{group::Role, replica::Replica};

use super::Peer;

impl Replica {
    /// Whether the record has set this replica aside.
    pub(crate) fn is_quarantined(&self, id: ReplicaId) -> bool {
        self.meta.topology.as_ref().is_some_and(|topology| topology.is_quarantined(id))
    }

    /// Whether in every configuration in force so many members, by its own numbers, have something. A member is who it is in the life that the record knows;
    /// one that is quarantined has nothing.
    pub(crate) fn enough(&self, need: impl Fn(&Config) -> usize, has: impl Fn(ReplicaId) -> bool) -> bool {
        let (Role::Peer(peer), Some(topology)) = (&self.role, &self.meta.topology) else { return false };
        let me = Member { id: self.identity.id, incarnation: self.identity.incarnation };
        let counts = |member: &Member| {
            let known = *member == me
                || peer
                    .links
                    .get(&member.id)
                    .is_some_and(|link| link.incarnation == member.incarnation && link.epoch <= topology.epoch);
            known && has(member.id) && !topology.is_quarantined(member.id)
        };
        [Some(&topology.config), topology.old.as_ref()].into_iter().flatten().all(|config| {
            let mut there = config.members.iter().filter(|member| counts(member)).count();
            if broken(Breakage::LearnersInQuorums) {
                there += topology.replicas.iter().filter(|r| config.member(r.id).is_none() && has(r.id)).count();
            }
            there >= need(config)
        })
    }

    /// w, as each configuration has it.
    pub(crate) fn w_of(config: &Config) -> usize {
        config.w.max(1) as usize
    }

    /// r: how many answer for a read.
    pub(crate) fn r_of(&self) -> impl Fn(&Config) -> usize + use<> {
        let r = self.settings().r.max(1) as usize;
        move |config| r.min(config.members.len())
    }

    /// n - w + 1: one of so many has each write that was acknowledged.
    pub(crate) fn all_but_w(config: &Config) -> usize {
        config.members.len() + 1 - Replica::w_of(config).min(config.members.len())
    }

    /// Moves on over own entries that have w copies, and lets go of the replies that waited for them.
    pub(crate) fn settle_writes(&mut self) {
        let durable = self.durable;
        let Role::Peer(peer) = &self.role else { return };
        let (origin, me) = (peer.origin.unwrap_or_default(), self.identity.id);
        let mut enough = 0;
        for (seq, own) in &peer.unsettled {
            let dot = Dot { origin, seq: *own };
            let has = |id: ReplicaId| {
                if id == me {
                    durable >= *seq
                } else {
                    peer.links.get(&id).is_some_and(|l| l.acknowledged.contains(dot))
                }
            };
            if durable < *seq || !self.enough(Replica::w_of, has) {
                break;
            }
            enough += 1;
        }
        let Role::Peer(peer) = &mut self.role else { return };
        peer.unsettled.drain(..enough);
        let settled = peer.unsettled.front().map_or(durable, |(seq, _)| durable.min(seq - 1));
        if settled > peer.settled {
            peer.settled = settled;
            self.release_replies();
        }
    }

    /// Up to where replies may go: what is committed, and where every replica is a group of one, what has enough copies.
    pub(crate) fn settled(&self) -> u64 {
        match &self.role {
            Role::Peer(peer) => peer.settled,
            _ => self.commit,
        }
    }

    /// Whether this replica holds everything that n - w + 1 members held when they were heard in the epoch of the record: then it holds every write that was
    /// acknowledged before all of them obeyed it, whichever w members have that. One member alone may itself lack some.
    pub(super) fn look_if_whole(&mut self) {
        let me = self.identity.id;
        let Role::Peer(peer) = &self.role else { return };
        let has = |id: ReplicaId| id == me || peer.targets.get(&id).is_some_and(|target| peer.durable.covers(target));
        let whole = self.enough(Replica::all_but_w, has);
        let Role::Peer(peer) = &mut self.role else { return };
        self.report_due |= peer.whole != whole;
        peer.whole = whole;
    }

    /// Whether this replica removes what has expired: the first member that is in reach does, so that not all of them say the same.
    pub(crate) fn expires(&self) -> bool {
        let (Role::Peer(peer), Some(topology)) = (&self.role, &self.meta.topology) else { return false };
        let me = self.identity.id;
        let earlier = |id: ReplicaId| {
            id < me && !topology.is_quarantined(id) && peer.links.get(&id).is_some_and(|link| link.connected)
        };
        self.may_coordinate() && !topology.config.members.iter().any(|member| earlier(member.id))
    }

    /// Fewer members are in reach than a unit of work needs: the error, for nothing has been done.
    pub(crate) fn too_few_peers(&self, writes: bool) -> Option<String> {
        let Role::Peer(peer) = &self.role else { return None };
        let topology = self.meta.topology.as_ref()?;
        let oldest_us = self.now.mono_us.saturating_sub(u64::from(topology.settings.suspicion_ms) * 1_000);
        let (me, r) = (self.identity.id, self.r_of());
        let need = |config: &Config| if writes { Replica::w_of(config) } else { r(config) };
        let has = |id: ReplicaId| {
            id == me || peer.links.get(&id).is_some_and(|link| link.connected && link.heard_us >= oldest_us)
        };
        if self.enough(need, has) {
            return None;
        }
        let (what, number) = if writes { ("w", topology.config.w) } else { ("r", topology.settings.r) };
        let name_of = |member: &Member| {
            let row = topology.replica(member.id);
            let name = row.map_or("?", |row| row.name.as_str());
            if row.is_some_and(|row| row.quarantined) { format!("{name} (quarantined)") } else { name.to_owned() }
        };
        let there = |member: &&Member| has(member.id) && !topology.is_quarantined(member.id);
        let missing: Vec<String> = topology.config.members.iter().filter(|m| !there(m)).map(name_of).collect();
        let n = topology.config.members.len();
        Some(format!(
            "NOREPLICAS {} of the n={n} members are reachable, {what}={number} are needed; missing: {}; nothing was done",
            n - missing.len(),
            if missing.is_empty() { "none, but a configuration being left".to_owned() } else { missing.join(", ") }
        ))
    }
}

impl Peer {
    /// An own entry was appended.
    pub(super) fn note_own(&mut self, seq: u64, own: u64) {
        self.unsettled.push_back((seq, own));
    }
}
