//! Who counts, and what has enough copies.

use std::collections::BTreeMap;

use trireme_proto::{
    ReplicaId, Topology,
    breakage::{Breakage, broken},
    ids::Dot,
    topology::{Config, Member},
};

use crate::{engine::ReceivedSet, feeds::Link, group::Role, replica::Replica};

use super::{
    Peer,
    level::{Level, Quorum, Side},
};

impl Replica {
    /// Whether the record has set this replica aside.
    pub(crate) fn is_quarantined(&self, id: ReplicaId) -> bool {
        self.meta.topology.as_ref().is_some_and(|topology| topology.is_quarantined(id))
    }

    /// Whether in every configuration in force so many members, by its own numbers, have something.
    pub(crate) fn enough(&self, need: impl Fn(&Config) -> usize, has: impl Fn(ReplicaId) -> bool) -> bool {
        let Some(topology) = &self.meta.topology else { return false };
        configs(topology).all(|config| {
            let mut there = config.members.iter().filter(|member| self.counts(member, &has)).count();
            if broken(Breakage::LearnersInQuorums) {
                there += topology.replicas.iter().filter(|r| config.member(r.id).is_none() && has(r.id)).count();
            }
            there >= need(config)
        })
    }

    /// Whether a member has something. A member is who it is in the life that the record knows; one that is quarantined has nothing.
    fn counts(&self, member: &Member, has: impl Fn(ReplicaId) -> bool) -> bool {
        let (Some(feeds), Some(topology)) = (&self.feeds, &self.meta.topology) else { return false };
        let known = *member == Member { id: self.identity.id, incarnation: self.identity.incarnation }
            || feeds
                .links
                .get(&member.id)
                .is_some_and(|link| link.incarnation == member.incarnation && link.epoch <= topology.epoch);
        known && has(member.id) && !topology.is_quarantined(member.id)
    }

    /// How many members of the configuration have something.
    pub(crate) fn how_many(&self, has: impl Fn(ReplicaId) -> bool) -> usize {
        let members = self.meta.topology.iter().flat_map(|topology| &topology.config.members);
        members.filter(|member| self.counts(member, &has)).count()
    }

    /// Whether in every configuration in force the members of a quorum have something.
    pub(crate) fn met(&self, side: Side, quorum: Quorum, has: impl Fn(ReplicaId) -> bool) -> bool {
        match quorum {
            Quorum::Local | Quorum::Each => {
                let Some(topology) = &self.meta.topology else { return false };
                configs(topology).flat_map(|config| self.regions_needed(config, quorum)).all(|members| {
                    members.iter().filter(|member| self.counts(member, &has)).count() >= majority(members.len())
                })
            }
            _ => self.enough(|config| self.number_in(config, side, quorum), has),
        }
    }

    /// How many members of a configuration are a quorum.
    fn number_in(&self, config: &Config, side: Side, quorum: Quorum) -> usize {
        let n = config.members.len();
        match (quorum, side) {
            (Quorum::Store, Side::Writes) => Replica::w_of(config),
            (Quorum::Store, Side::Reads) => (self.settings().r.max(1) as usize).min(n),
            // While n grows the configuration that is left has fewer.
            (Quorum::Count(count), _) => (count as usize).min(n),
            (Quorum::Majority, _) => majority(n),
            (Quorum::All, _) => n,
            (Quorum::Local | Quorum::Each, _) => {
                self.regions_needed(config, quorum).map(|members| majority(members.len())).sum()
            }
        }
    }

    /// How many members are a quorum of the configuration now, and n.
    pub(crate) fn number_of(&self, side: Side, quorum: Quorum) -> (usize, usize) {
        let config = self.meta.topology.as_ref().map(|topology| &topology.config);
        config.map_or((0, 0), |config| (self.number_in(config, side, quorum), config.members.len()))
    }

    /// A configuration's members by region. Where none is in this replica's own, as long as that one is in force all of them stand for it.
    fn regions_of<'a>(&'a self, config: &'a Config) -> BTreeMap<&'a str, Vec<Member>> {
        let mut regions: BTreeMap<&str, Vec<Member>> = BTreeMap::new();
        for member in &config.members {
            regions.entry(self.region_of(member.id)).or_default().push(*member);
        }
        let mine = self.region_of(self.identity.id);
        if !regions.contains_key(mine) {
            regions.insert(mine, config.members.clone());
        }
        regions
    }

    /// The members of each region of which a quorum by regions needs a majority.
    fn regions_needed<'a>(&'a self, config: &'a Config, quorum: Quorum) -> impl Iterator<Item = Vec<Member>> {
        let needed = move |region: &str| quorum == Quorum::Each || self.is_mine(region);
        self.regions_of(config).into_iter().filter(move |(region, _)| needed(region)).map(|(_, members)| members)
    }

    fn region_of(&self, id: ReplicaId) -> &str {
        let row = self.meta.topology.as_ref().and_then(|topology| topology.replica(id));
        row.map_or("", |row| row.region.as_str())
    }

    fn is_mine(&self, region: &str) -> bool {
        region == self.region_of(self.identity.id)
    }

    /// Why a level asks for what no such store can give, if it does.
    pub(crate) fn impossible(&self, level: Level) -> Option<String> {
        let config = &self.meta.topology.as_ref()?.config;
        let n = config.members.len();
        let (letter, count) =
            [("w", level.w), ("r", level.r)].into_iter().find_map(|(letter, quorum)| match quorum {
                Quorum::Count(count) if count == 0 || count as usize > n => Some((letter, count)),
                _ => None,
            })?;
        let regions = self.regions_of(config);
        let here = match regions.len() {
            1 => String::new(),
            _ => regions
                .iter()
                .filter(|(region, _)| self.is_mine(region))
                .map(|(region, members)| format!(", {} of them in this replica's region {region}", members.len()))
                .collect(),
        };
        Some(format!(
            "ERR CONSISTENCY {letter}={count} is not possible: the store has n={n} members{here}; from 1 to {n} are"
        ))
    }

    /// w, as each configuration has it.
    pub(crate) fn w_of(config: &Config) -> usize {
        config.w.max(1) as usize
    }

    /// n - w + 1: one of so many has each write that was acknowledged.
    pub(crate) fn all_but_w(config: &Config) -> usize {
        config.members.len() + 1 - Replica::w_of(config).min(config.members.len())
    }

    /// Moves on over own entries that have w copies, and lets go of the replies that waited for them.
    pub(crate) fn settle_writes(&mut self) {
        let durable = self.durable;
        let Role::Peer(peer) = &self.role else { return };
        let Some(feeds) = &self.feeds else { return };
        let (origin, me) = (feeds.origin.unwrap_or_default(), self.identity.id);
        let mut enough = 0;
        for (seq, own) in &peer.unsettled {
            let dot = Dot { origin, seq: *own };
            let has = |id: ReplicaId| {
                if id == me {
                    durable >= *seq
                } else {
                    feeds.links.get(&id).is_some_and(|l| l.acknowledged.contains(dot))
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
        self.release_leveled();
    }

    /// The last own delta that has enough copies.
    pub(crate) fn last_written(&self) -> Option<Dot> {
        let Role::Peer(peer) = &self.role else { return None };
        let Some(feeds) = &self.feeds else { return None };
        let origin = feeds.origin?;
        let seq = peer.unsettled.front().map_or_else(|| self.engine.received().highest(origin), |(_, own)| own - 1);
        Some(Dot { origin, seq })
    }

    /// Up to where replies may go: what is committed, and where every replica is a group of one, what has enough copies.
    pub(crate) fn settled(&self) -> u64 {
        match &self.role {
            Role::Peer(peer) => peer.settled,
            _ => self.commit,
        }
    }

    /// Without a leader: what another member holds, the first time in the epoch of the record that it is heard to obey at least as new a one.
    pub(crate) fn note_target(&mut self, from: ReplicaId, received: &ReceivedSet, is_new: bool) {
        if let Role::Peer(peer) = &mut self.role
            && is_new
        {
            peer.targets.entry(from).or_insert_with(|| received.clone());
        }
        self.look_if_whole();
    }

    /// Whether this replica holds everything that n - w + 1 members held when they were heard in the epoch of the record: then it holds every write that was
    /// acknowledged before all of them obeyed it, whichever w members have that. One member alone may itself lack some.
    pub(crate) fn look_if_whole(&mut self) {
        let me = self.identity.id;
        let Role::Peer(peer) = &self.role else { return };
        let Some(feeds) = &self.feeds else { return };
        let has = |id: ReplicaId| id == me || peer.targets.get(&id).is_some_and(|target| feeds.held.covers(target));
        let whole = self.enough(Replica::all_but_w, has);
        let Role::Peer(peer) = &mut self.role else { return };
        self.report_due |= peer.whole != whole;
        peer.whole = whole;
    }

    /// Whether this replica removes what has expired: the first member that is in reach does, so that not all of them say the same.
    pub(crate) fn expires(&self) -> bool {
        let (Some(feeds), Some(topology)) = (&self.feeds, &self.meta.topology) else { return false };
        let me = self.identity.id;
        let earlier = |id: ReplicaId| {
            id < me && !topology.is_quarantined(id) && feeds.links.get(&id).is_some_and(|link| link.connected)
        };
        self.may_coordinate() && !topology.config.members.iter().any(|member| earlier(member.id))
    }

    /// Fewer members are in reach than a unit of work needs: the error, for nothing has been done. `clocks`: it needs those of n - w + 1 members, too.
    pub(crate) fn too_few_peers(&self, side: Side, quorum: Quorum, clocks: bool) -> Option<String> {
        let Some(feeds) = &self.feeds else { return None };
        let topology = self.meta.topology.as_ref()?;
        let oldest_us = self.now.mono_us.saturating_sub(u64::from(topology.settings.suspicion_ms) * 1_000);
        let me = self.identity.id;
        let has = |id: ReplicaId| {
            id == me || feeds.links.get(&id).is_some_and(|link| link.connected && link.heard_us >= oldest_us)
        };
        let met = self.met(side, quorum, has);
        let clocked = !clocks || self.enough(Replica::all_but_w, has);
        if met && clocked {
            return None;
        }
        let letter = if side == Side::Writes { "w" } else { "r" };
        let (number, n) = self.number_of(side, quorum);
        let needed = match (met, quorum) {
            (true, _) => format!("the clocks of {} are needed before a write", Replica::all_but_w(&topology.config)),
            (false, Quorum::Store) => format!("{letter}={number} are needed"),
            (false, _) => format!("{letter}={number} are needed by CONSISTENCY {}", quorum.name()),
        };
        let there = |member: &&Member| has(member.id) && !topology.is_quarantined(member.id);
        let name_of = |member: &Member| {
            let row = topology.replica(member.id);
            let name = row.map_or("?", |row| row.name.as_str());
            if row.is_some_and(|row| row.quarantined) { format!("{name} (quarantined)") } else { name.to_owned() }
        };
        let missing: Vec<String> = topology.config.members.iter().filter(|m| !there(m)).map(name_of).collect();
        let fits = |count: &u32| clocked && self.met(side, Quorum::Count(*count), has);
        let still = (1..=n as u32).rev().find(fits).map_or(String::new(), |count| {
            format!("; what works now is up to {letter}={count} (CONSISTENCY {letter}={count})")
        });
        Some(format!(
            "NOREPLICAS {} of the n={n} members are reachable, {needed}; missing: {}{still}; nothing was done",
            n - missing.len(),
            if missing.is_empty() { "none, but a configuration being left".to_owned() } else { missing.join(", ") }
        ))
    }

    /// What a reply at a level of its own depends on: this replica's own entries from the first that has not w copies to this seq of the log.
    pub(crate) fn own_upto(&self, seq: u64) -> (u64, u64) {
        let Role::Peer(peer) = &self.role else { return (0, 0) };
        let end = peer.unsettled.partition_point(|(at, _)| *at <= seq);
        match (peer.unsettled.front(), end.checked_sub(1).and_then(|last| peer.unsettled.get(last))) {
            (Some((_, first)), Some((_, last))) => (*first, *last),
            _ => (0, 0),
        }
    }

    /// Whether a replica holds these own entries durably, as it has said.
    fn has_own(&self, id: ReplicaId, (first, last): (u64, u64)) -> bool {
        let Some(feeds) = &self.feeds else { return false };
        let origin = feeds.origin.unwrap_or_default();
        let copied = |link: &Link| link.acknowledged.contains_range(origin, first, last);
        id == self.identity.id || last == 0 || feeds.links.get(&id).is_some_and(copied)
    }

    /// Whether what a reply depends on is durable here, and has the copies of this quorum.
    pub(crate) fn has_copies(&self, quorum: Quorum, seq: u64, own: (u64, u64)) -> bool {
        self.durable >= seq && (own.1 == 0 || self.met(Side::Writes, quorum, |id| self.has_own(id, own)))
    }

    /// How many other members hold everything up to an own entry; without one, how many others are connected.
    pub(crate) fn copies_elsewhere(&self, wrote: Option<Dot>) -> usize {
        let Some(feeds) = &self.feeds else { return 0 };
        let holds = |link: &Link| match wrote {
            None => link.connected,
            // Acknowledgements are of the present name; of one before it, what heartbeats say.
            Some(Dot { origin, seq }) => {
                let said = link.holds.as_ref().map_or(0, |holds| holds.upto(origin));
                said.max(link.acknowledged.upto(origin)) >= seq
            }
        };
        self.how_many(|id| feeds.links.get(&id).is_some_and(holds))
    }

    /// How many members hold these own entries.
    pub(crate) fn copies_of_own(&self, own: (u64, u64)) -> usize {
        self.how_many(|id| self.has_own(id, own))
    }
}

/// The configuration, and the one that is being left.
fn configs(topology: &Topology) -> impl Iterator<Item = &Config> {
    let old = topology.old.as_ref();
    let (only_old, only_new) = (broken(Breakage::SealOldOnly) && old.is_some(), broken(Breakage::SealNewOnly));
    [Some(&topology.config).filter(|_| !only_old), old.filter(|_| !only_new)].into_iter().flatten()
}

fn majority(members: usize) -> usize {
    members / 2 + 1
}

impl Peer {
    /// An own entry was appended.
    pub(crate) fn note_own(&mut self, seq: u64, own: u64) {
        self.unsettled.push_back((seq, own));
    }
}
