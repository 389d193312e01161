//! Which other groups there are, and who speaks for each.
//!
//! Where every replica is a group of one, it speaks for itself. A group that has a leader is spoken for by its leader: a leader says what it holds to all
//! replicas of a group until one of them answers as the leader, and goes on with that one. Who is not a leader takes nothing of this in.

use trireme_proto::{
    Epoch, Message, ReplicaId,
    ids::{Origin, Peer},
    message::{Feed, Holds},
    topology::Mode,
};

use crate::{engine::ReceivedSet, group::Role, replica::Replica};

use super::{Feeds, Link, names_of, sets};

impl Replica {
    /// Whether the store has several groups, each with a leader.
    pub(crate) fn is_multi_leader(&self) -> bool {
        self.meta.topology.as_ref().is_some_and(|topology| topology.settings.mode() == Mode::MultiLeader)
    }

    /// The other group that a connected replica speaks for, if the record names that.
    pub(crate) fn group_of(&self, id: ReplicaId) -> Option<u32> {
        let topology = self.meta.topology.as_ref()?;
        if topology.settings.mode() == Mode::Leaderless {
            return Some(id);
        }
        let group = self.peers.get(&id)?.group;
        topology.groups.iter().any(|row| row.group == group && row.is_fed()).then_some(group)
    }

    /// Whether a connected replica shares this one's log, or where nobody leads, its record.
    pub(crate) fn is_of_this_group(&self, id: ReplicaId) -> bool {
        self.peers.get(&id).is_some_and(|peer| peer.group == self.identity.group)
    }

    /// A leader whose start entry is committed has feeds from now on. Nothing in its state can be undone at this moment.
    pub(crate) fn begin_feeds(&mut self) {
        if !self.is_multi_leader() || self.feeds.is_some() {
            return;
        }
        let received = self.engine.received().clone();
        let gone = received.without(&self.shippable());
        let mut feeds = Feeds::new(received, gone, self.commit);
        feeds.origin = Some(self.engine.origin());
        self.feeds = Some(Box::new(feeds));
        self.links_changed();
        self.tell_edges();
    }

    /// A leader no more.
    pub(crate) fn end_feeds(&mut self) {
        self.feeds = None;
    }

    /// What the log can give as entries, as far as it is committed.
    pub(crate) fn shippable(&self) -> ReceivedSet {
        let (mut set, mut seq) = (ReceivedSet::default(), self.log.before().seq);
        while let Some((last, bytes)) = self.log.read_after(seq, usize::MAX) {
            names_of(&bytes).for_each(|dot| {
                set.insert(dot);
            });
            seq = last;
        }
        set
    }

    /// Part of the log has left memory.
    pub(crate) fn note_trimmed(&mut self, trimmed: &[bytes::Bytes]) {
        if let Some(feeds) = &mut self.feeds {
            for dot in trimmed.iter().flat_map(|bytes| names_of(bytes)) {
                feeds.gone.insert(dot);
            }
        }
    }

    /// Links to those that the record names, and to nobody else.
    pub(crate) fn links_changed(&mut self) {
        let (id, now_us, leaderless) = (self.identity.id, self.now.mono_us, self.is_leaderless());
        let (Some(feeds), Some(topology)) = (&mut self.feeds, &self.meta.topology) else { return };
        if !leaderless {
            feeds.keep_links(|group| topology.groups.iter().any(|row| row.group == group && row.is_fed()));
            return self.say_what_is_held();
        }
        let named: Vec<ReplicaId> = topology.replicas.iter().map(|replica| replica.id).filter(|r| *r != id).collect();
        feeds.keep_links(|id| named.contains(&id));
        let connected: Vec<ReplicaId> = named
            .into_iter()
            .filter(|id| self.peers.contains_key(id) && feeds.links.get(id).is_none_or(|link| !link.connected))
            .collect();
        for id in connected {
            let Some(incarnation) = self.peers.get(&id).map(|state| state.incarnation) else { continue };
            feeds.connect(id, id, incarnation, now_us);
        }
        self.say_what_is_held();
    }

    /// A connection to another group is up or gone.
    pub(crate) fn link_opened(&mut self, id: ReplicaId) {
        self.link_closed(id);
        self.links_changed();
        self.tell_edge(id);
        if self.is_leaderless() {
            self.ask_again(id);
        }
    }

    pub(crate) fn link_closed(&mut self, id: ReplicaId) {
        let Some(feeds) = &mut self.feeds else { return };
        if let Some((group, link)) = feeds.links.iter_mut().find(|(_, link)| link.replica == id) {
            link.reset(false);
            let group = *group;
            feeds.forget_incoming(group);
            feeds.promised.retain(|(_, to, _)| *to != group);
            feeds.forget_waiting(id);
        }
        self.clients.wake = true;
    }

    /// The group that a message of a feed comes from, if this replica takes it in: it leads, and so does who sent it.
    pub(super) fn feed_from(&mut self, from: ReplicaId, epoch: Option<Epoch>) -> Option<u32> {
        let (group, now_us) = (self.group_of(from)?, self.now.mono_us);
        let (leaderless, edge) = (self.is_leaderless(), self.is_edge(group));
        let incarnation = self.peers.get(&from)?.incarnation;
        let feeds = self.feeds.as_mut()?;
        if leaderless {
            return Some(group);
        }
        let known = feeds.links.get(&group);
        // An edge on another disk begins with another epoch, which may be a lower one: nobody is left who knows the last.
        let another = |link: &Link| edge && !link.connected && link.incarnation != incarnation;
        let newer = epoch.is_some_and(|epoch| known.is_none_or(|link| link.epoch <= epoch || another(link)));
        match known {
            Some(link) if link.replica == from && link.connected => {}
            _ if newer => {
                let link = feeds.connect(group, from, incarnation, now_us);
                // Entries are joined in order there: what was missed goes first.
                link.live = false;
                self.say_what_is_held();
            }
            _ => return None,
        }
        Some(group)
    }

    /// With each heartbeat: what is held here.
    pub(crate) fn say_what_is_held(&mut self) {
        let (digest, leaderless) = (self.engine.digest_total(), self.is_leaderless());
        // A leader that has lost its lease does not know what its group has.
        let as_of_us = (leaderless || self.lease_holds()).then_some(self.now.mono_us);
        let (Some(feeds), Some(topology)) = (&mut self.feeds, &self.meta.topology) else { return };
        let holds = Holds {
            received: sets::to_message(&feeds.held),
            digest: if feeds.nothing_lands() { digest } else { 0 },
            origin: feeds.origin,
            as_of_us,
        };
        for link in feeds.links.values_mut().filter(|link| link.connected) {
            link.out.holds = Some(holds.clone());
        }
        if leaderless {
            return;
        }
        // Who leads there is not known: it is said to all of them.
        let known = |group: u32| feeds.links.get(&group).is_some_and(|link| link.connected);
        let unknown = topology.groups.iter().filter(|row| row.is_fed() && !known(row.group));
        let (epoch, version, clock) = (topology.epoch, topology.version, self.engine.clock());
        for row in unknown.flat_map(|group| &group.replicas).filter(|row| self.peers.contains_key(&row.id)) {
            let feed = Feed { epoch, version, clock, holds: Some(holds.clone()), ..Feed::default() };
            self.output.send.push((Peer::Replica(row.id), Message::Feed(Box::new(feed))));
        }
    }

    /// Says something to whoever speaks for a group.
    pub(super) fn send_to_group(&mut self, group: u32, message: Message) {
        let link = self.feeds.as_ref().and_then(|feeds| feeds.links.get(&group)).filter(|link| link.connected);
        if let Some(replica) = link.map(|link| link.replica) {
            self.send(replica, message);
        }
    }

    /// Up to here in the log what is there is held here for good: durable, and where this group has a leader, committed.
    pub(super) fn held_upto(&self) -> u64 {
        if matches!(self.role, Role::Leader(_)) { self.commit } else { self.durable }
    }

    /// This group's number, as origin of deltas.
    pub(super) fn own_group(&self) -> u32 {
        if self.is_leaderless() { self.identity.id } else { self.identity.group }
    }

    /// Whether this group, under its present name or an earlier one, is an origin.
    pub(crate) fn is_own(&self, origin: Origin) -> bool {
        origin.group == self.own_group()
    }
}

impl Feeds {
    /// These groups stay, and no others.
    fn keep_links(&mut self, stays: impl Fn(u32) -> bool) {
        self.links.retain(|group, _| stays(*group));
        self.incoming.take_if(|incoming| !stays(incoming.from));
    }

    /// This replica speaks for a group, on a new connection.
    fn connect(&mut self, group: u32, replica: ReplicaId, incarnation: u64, now_us: u64) -> &mut Link {
        self.promised.retain(|(_, to, _)| *to != group);
        self.forget_incoming(group);
        let link = self.links.entry(group).or_insert_with(|| Link::new(replica, incarnation, now_us));
        if (link.replica, link.incarnation) != (replica, incarnation) {
            *link = Link::new(replica, incarnation, now_us);
        }
        link.reset(true);
        link.heard_us = now_us;
        link
    }
}
