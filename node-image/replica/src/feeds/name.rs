//! The record, and the name under which this group writes.
//!
//! A name is a number of the record's (the life of the disk) and one of the disk's own: how often a process on it may have sent entries that were then lost with
//! the end of its log. A process that ended without saying that all was written down may be one of those. So the operator is asked for a name once in a
//! disk's life, and a replica that was killed goes on by itself.

use trireme_proto::{
    ReplicaId, Topology,
    breakage::{Breakage, broken},
    ids::Origin,
    topology::Mode,
};

use crate::{
    disk_queue::Becomes,
    engine::{Engine, ReceivedSet},
    group::Role,
    io::{DiskOp, Event},
    log::record::{self, Kind},
    replica::Replica,
};

use super::{Link, Peer, recent::Recent};

impl Replica {
    /// Whether the record says that each replica is a group of its own.
    pub(crate) fn is_leaderless(&self) -> bool {
        self.meta.topology.as_ref().is_some_and(|topology| topology.settings.mode() == Mode::Leaderless)
    }

    /// Obeys a record in which nobody leads: there is no promise that it could break.
    pub(crate) fn obey_as_peer(&mut self, topology: Topology) {
        let (epoch, newer) = (topology.epoch, topology.epoch > self.meta.promise);
        let lapsed = self.meta.topology.as_ref().is_none_or(|known| known.epoch != epoch);
        self.meta.topology = Some(topology);
        self.meta.promise = self.meta.promise.max(epoch);
        self.persist(DiskOp::Meta(self.meta.clone()), newer.then_some(Becomes::Promise(epoch)));
        self.gossip();
        self.become_peer();
        if let Role::Peer(peer) = &mut self.role
            && lapsed
        {
            // What members hold is asked anew: by the new configuration, others may have to be known.
            peer.targets.clear();
            peer.whole = false;
        }
        self.links_changed();
        self.take_name();
        self.look_if_whole();
        self.settle_writes();
        self.review_all_rounds();
        self.clients.wake = true;
    }

    /// From the first such record on, and with each start after it.
    pub(crate) fn become_peer(&mut self) {
        if matches!(self.role, Role::Peer(_)) {
            return;
        }
        self.meta.led = trireme_proto::Epoch { number: 1, proposer: 0 };
        self.batch_last = self.log.last().seq;
        self.engine.share();
        let received = self.engine.received().clone();
        self.role = Role::Peer(Box::new(Peer {
            origin: None,
            naming: None,
            links: Default::default(),
            gone: received.without(&self.shippable()),
            recent: Recent::new(received.clone()),
            durable: received,
            landing: Default::default(),
            states: Default::default(),
            unsettled: Default::default(),
            settled: self.durable,
            fresh: Vec::new(),
            rounds: Default::default(),
            promised: Default::default(),
            targets: Default::default(),
            whole: false,
            exchanges: self.identity.boot << 20,
            repair: Default::default(),
        }));
        self.links_changed();
        self.take_name();
    }

    /// What the log can give as entries.
    fn shippable(&self) -> ReceivedSet {
        let (mut set, mut seq) = (ReceivedSet::default(), self.log.before().seq);
        while let Some((last, bytes)) = self.log.read_after(seq, usize::MAX) {
            note_dots(&bytes, &mut set);
            seq = last;
        }
        set
    }

    /// Part of the log has left memory.
    pub(crate) fn note_trimmed(&mut self, trimmed: &[bytes::Bytes]) {
        if let Role::Peer(peer) = &mut self.role {
            trimmed.iter().for_each(|bytes| note_dots(bytes, &mut peer.gone));
        }
    }

    /// Links to those that the record names, and to nobody else.
    pub(super) fn links_changed(&mut self) {
        let (id, now_us) = (self.identity.id, self.now.mono_us);
        let (Role::Peer(peer), Some(topology)) = (&mut self.role, &self.meta.topology) else { return };
        let named: Vec<ReplicaId> = topology.replicas.iter().map(|replica| replica.id).filter(|r| *r != id).collect();
        peer.links.retain(|id, _| named.contains(id));
        let connected: Vec<ReplicaId> = named
            .into_iter()
            .filter(|id| self.peers.contains_key(id) && peer.links.get(id).is_none_or(|link| !link.connected))
            .collect();
        for id in connected {
            let Some(incarnation) = self.peers.get(&id).map(|state| state.incarnation) else { continue };
            let link = peer.links.entry(id).or_insert_with(|| Link::new(incarnation, now_us));
            if link.incarnation != incarnation {
                *link = Link::new(incarnation, now_us);
            }
            link.reset(true);
            link.heard_us = now_us;
        }
        self.say_what_is_held();
    }

    /// A connection to another group is up or gone.
    pub(crate) fn link_opened(&mut self, id: ReplicaId) {
        if let Role::Peer(peer) = &mut self.role
            && let Some(link) = peer.links.get_mut(&id)
        {
            link.connected = false;
        }
        self.links_changed();
        self.ask_again(id);
    }

    pub(crate) fn link_closed(&mut self, id: ReplicaId) {
        if let Role::Peer(peer) = &mut self.role
            && let Some(link) = peer.links.get_mut(&id)
        {
            link.reset(false);
            peer.promised.retain(|(_, to, _)| *to != id);
        }
        self.clients.wake = true;
    }

    /// Takes the name that the record gives to this life of the disk, once it is durable that it is taken.
    fn take_name(&mut self) {
        let id = self.identity.id;
        let row = self.meta.topology.as_ref().and_then(|topology| topology.replica(id));
        let Some(number) = row.filter(|row| row.incarnation == self.identity.incarnation).map(|row| row.generation)
        else {
            return;
        };
        let Role::Peer(peer) = &mut self.role else { return };
        let taken = peer.naming.or(peer.origin);
        if number == 0 || taken.is_some_and(|taken| taken.generation >> Origin::LIVES_BITS == number) {
            return;
        }
        if taken.is_none() {
            self.meta.lives += u32::from(!self.meta.clean && !broken(Breakage::ReuseNames));
            self.meta.clean = false;
        }
        let lives = self.meta.lives;
        if lives >> Origin::LIVES_BITS != 0 {
            self.report_due = true;
            return; // Spent: the record has to give another number.
        }
        let origin = Origin::of_life(id, number, lives);
        peer.naming = Some(origin);
        self.persist(DiskOp::Meta(self.meta.clone()), Some(Becomes::Named(origin)));
    }

    /// So often has this disk lost the end of its log that it has no name left in the record's number.
    pub(crate) fn is_spent(&self) -> bool {
        self.meta.lives >> Origin::LIVES_BITS != 0
    }

    /// The name is this replica's: it may write.
    pub(crate) fn named(&mut self, origin: Origin) {
        let Role::Peer(peer) = &mut self.role else { return };
        if peer.naming != Some(origin) {
            return;
        }
        (peer.origin, peer.naming) = (Some(origin), None);
        for link in peer.links.values_mut() {
            link.acknowledged = ReceivedSet::default();
        }
        self.engine.set_origin(origin);
        self.event(Event::Named(origin));
        self.say_what_is_held();
        self.report_due = true;
        self.clients.wake = true;
    }

    /// Told to end, and nothing more will be written: the next process may go on under this name. Says whether that is on its way to the disk already.
    pub(crate) fn leave_name(&mut self) -> bool {
        let last = self.log.last().seq;
        let Role::Peer(peer) = &mut self.role else { return true };
        if peer.origin.is_none() || self.meta.clean {
            return self.durable >= last;
        }
        peer.origin = None;
        self.meta.clean = true;
        self.persist(DiskOp::Meta(self.meta.clone()), Some(Becomes::Promise(self.meta.promise)));
        false
    }
}

/// Adds the names of all deltas among records.
fn note_dots(records: &[u8], set: &mut ReceivedSet) {
    let mut rest = records;
    while let Ok(record) = record::read_trusted(rest) {
        if record.kind == Kind::Delta
            && let Ok(dot) = Engine::dot_of(record.payload)
        {
            set.insert(dot);
        }
        rest = &rest[record.bytes..];
    }
}
