//! Obeying the authority: its record, the promises it asks for, and stepping down.

use trireme_proto::{
    Epoch, Message, ReplicaId, Topology,
    breakage::{Breakage, broken},
    message::Fenced,
    topology::{Mode, Phase},
};

use crate::{
    clients::{homes::Homes, session::freshness::Freshness},
    disk_queue::Becomes,
    io::{DiskOp, Event},
    replica::Replica,
};

use super::{Follower, Role};

impl Replica {
    /// A record, from the operator or from a peer: the largest one seen is obeyed, the others are ignored.
    pub(crate) fn obey(&mut self, topology: Topology) {
        if topology.store != self.identity.store || topology.group != self.identity.group {
            self.counters.peer_refusals += 1;
            return;
        }
        self.report_due = true;
        if self.meta.topology.as_ref().is_some_and(|known| known.order() >= topology.order()) {
            return;
        }
        let epoch = topology.epoch;
        if topology.settings.mode() == Mode::Leaderless {
            return self.obey_as_peer(topology);
        }
        if self.settings().lease_ms != topology.settings.lease_ms {
            self.ask_for_leases_anew();
        }
        self.homes = Homes::of_record(Some(&topology));
        self.meta.topology = Some(topology);
        if epoch > self.meta.promise {
            self.promise(epoch);
        } else {
            self.persist(DiskOp::Meta(Box::new(self.meta.clone())), None);
        }
        self.gossip();
        self.take_role();
        self.note_history();
        self.topology_changed();
        self.clients.wake = true;
    }

    /// What a leader decides by the record: whom it counts, whether it hands over.
    fn topology_changed(&mut self) {
        let version = self.meta.topology.as_ref().map_or(0, |topology| topology.version);
        if let Role::Leader(leader) = &mut self.role {
            leader.settling.obey(version, self.batch_last);
            leader.settling.commit(self.commit);
            self.links_changed();
            self.tell_edges();
            self.renew_lease();
            self.advance_leader_commit();
            self.release_waiters_that_would_write();
            self.say_who_leads();
            self.release_moved();
        }
    }

    /// Leads or follows, as the record says for the epoch promised to.
    pub(super) fn take_role(&mut self) {
        let Some(topology) = &self.meta.topology else { return };
        if topology.epoch != self.meta.promise || topology.phase() != Phase::Active {
            return;
        }
        let (leader, epoch) = (topology.leader, topology.epoch);
        let member =
            topology.config.has(self.identity.id, self.identity.incarnation) || broken(Breakage::CountEmptyDisk);
        if leader != self.identity.id {
            self.follow(leader, epoch);
        } else if member && self.meta.led < epoch && self.whole_or_empty() {
            self.prepare_to_lead(epoch);
        }
    }

    /// A state on its way to being whole cannot be led from: its log ends before what the checkpoint holds.
    fn whole_or_empty(&self) -> bool {
        self.log.last().seq >= self.whole_at && self.installing.is_none()
    }

    /// Follows this leader in this epoch, if it does not already.
    pub(crate) fn follow(&mut self, leader: ReplicaId, epoch: Epoch) {
        if matches!(&self.role, Role::Follower(follower) if follower.epoch == epoch && follower.leader == leader)
            || self.leads()
        {
            return;
        }
        self.role = Role::Follower(Follower {
            leader,
            epoch,
            aligned: false,
            asked: false,
            echo_us: 0,
            lease_ms: 0,
            heard_us: self.now.mono_us,
            link_closed: false,
            ack_due: false,
            await_due: false,
            offered: false,
            fresh: Freshness::default(),
            install: None,
        });
        self.event(Event::Follows(leader, epoch));
        self.report_due = true;
    }

    /// Promises to accept nothing older than this epoch. The promise counts when it is durable; what it forbids stops at once.
    pub(crate) fn promise(&mut self, epoch: Epoch) {
        assert!(epoch > self.meta.promise, "a promise only rises");
        if self.leads() {
            self.step_down(epoch);
        }
        self.end_feeds();
        self.role = Role::Idle;
        self.meta.promise = epoch;
        self.gap_since_us = self.now.mono_us;
        self.persist(DiskOp::Meta(Box::new(self.meta.clone())), Some(Becomes::Promise(epoch)));
        if broken(Breakage::PromiseBeforeFsync) {
            self.promise_durable = epoch;
        }
        self.event(Event::Promised(epoch));
        self.report_due = true;
    }

    /// Leads no more: what is not committed is taken out of the state (it stays in the log, and may come back by a commit of the next leader).
    fn step_down(&mut self, by: Epoch) {
        self.flush_batch();
        let undone = self.applied - self.commit;
        if !broken(Breakage::NoUndo) {
            self.undo_uncommitted();
            self.void_watched();
        }
        self.applied = self.commit;
        self.checkpointing = None;
        self.replies_out.clear();
        self.clients.held.forget_remote(|_| true);
        self.clients.waiters.forget_all();
        self.event(Event::Deposed { by, undone });
    }

    /// Takes what is not committed out of the state.
    pub(crate) fn undo_uncommitted(&mut self) {
        self.engine.undo_after(self.commit);
        self.forget_comparison();
        self.conflicts.forget_after(self.commit);
        self.requests.undo_after(self.commit);
    }

    /// A member has promised more than the epoch led here: somebody else is to lead, and nothing more can be committed.
    pub(crate) fn on_fenced(&mut self, fenced: &Fenced) {
        if fenced.promise > self.meta.promise {
            self.promise(fenced.promise);
            self.take_role();
        }
    }

    /// Refuses a message of an epoch that is too old.
    pub(crate) fn fence(&mut self, from: ReplicaId, refused: Epoch) {
        self.send(from, Message::Fenced(Fenced { promise: self.meta.promise, refused }));
        if let Some(topology) = self.meta.topology.clone() {
            self.send(from, Message::Topology(Box::new(topology)));
        }
    }

    /// Passes the record on to the peers: the operator may not reach all of them.
    pub(crate) fn gossip(&mut self) {
        let Some(topology) = self.meta.topology.clone() else { return };
        let peers: Vec<ReplicaId> = self.peers.keys().copied().filter(|id| self.is_of_this_group(*id)).collect();
        for peer in peers {
            self.send(peer, Message::Topology(Box::new(topology.clone())));
        }
    }

    /// A hand-over is asked for: no more commands are executed here.
    pub(crate) fn handing_over(&self) -> bool {
        self.meta
            .topology
            .as_ref()
            .is_some_and(|topology| topology.handover != 0 && topology.handover != self.identity.id)
    }
}
