//! The record, and the name under which this group writes.
//!
//! A name is a number of the record's (the life of the disk) and one of the disk's own: how often a process on it may have sent entries that were then lost with
//! the end of its log. A process that ended without saying that all was written down may be one of those. So the operator is asked for a name once in a
//! disk's life, and a replica that was killed goes on by itself.

use std::collections::{BTreeMap, VecDeque};

use trireme_proto::{
    Topology,
    breakage::{Breakage, broken},
    ids::Origin,
    topology::Mode,
};

use crate::{
    disk_queue::Becomes,
    engine::ReceivedSet,
    feeds::Feeds,
    group::Role,
    io::{DiskOp, Event},
    replica::Replica,
};

use super::{Peer, Rounds};

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
        self.persist(DiskOp::Meta(Box::new(self.meta.clone())), newer.then_some(Becomes::Promise(epoch)));
        self.gossip();
        self.become_peer();
        self.note_history();
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
        let gone = received.without(&self.shippable());
        self.feeds = Some(Box::new(Feeds::new(received, gone, 0)));
        self.role = Role::Peer(Box::new(Peer {
            naming: None,
            unsettled: VecDeque::new(),
            settled: self.durable,
            rounds: Rounds::default(),
            targets: BTreeMap::new(),
            whole: false,
        }));
        self.links_changed();
        self.take_name();
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
        let Some(feeds) = &mut self.feeds else { return };
        let taken = peer.naming.or(feeds.origin);
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
        self.persist(DiskOp::Meta(Box::new(self.meta.clone())), Some(Becomes::Named(origin)));
    }

    /// So often has this disk lost the end of its log that it has no name left in the record's number.
    pub(crate) fn is_spent(&self) -> bool {
        self.meta.lives >> Origin::LIVES_BITS != 0
    }

    /// The name is this replica's: it may write.
    pub(crate) fn named(&mut self, origin: Origin) {
        let Role::Peer(peer) = &mut self.role else { return };
        let Some(feeds) = &mut self.feeds else { return };
        if peer.naming != Some(origin) {
            return;
        }
        (feeds.origin, peer.naming) = (Some(origin), None);
        for link in feeds.links.values_mut() {
            link.acknowledged = ReceivedSet::default();
        }
        self.engine.set_origin(origin);
        self.event(Event::Named(origin));
        self.say_what_is_held();
        self.report_due = true;
        self.clients.wake = true;
    }

    /// Told to end, and nothing more will be written: where nobody leads, the next process may go on under this name. Says whether that is on its way to the disk already.
    pub(crate) fn leave_name(&mut self) -> bool {
        let (last, leaderless) = (self.log.last().seq, self.is_leaderless());
        let Some(feeds) = self.feeds.as_mut().filter(|_| leaderless) else { return true };
        if feeds.origin.is_none() || self.meta.clean {
            return self.durable >= last;
        }
        feeds.origin = None;
        self.meta.clean = true;
        self.persist(DiskOp::Meta(Box::new(self.meta.clone())), Some(Becomes::Promise(self.meta.promise)));
        false
    }
}
