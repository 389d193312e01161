//! Receiving a snapshot: taken in beside the state in force, checked slot by slot, swapped in when it is whole and durable.

use trireme_proto::{
    Message, Position, ReplicaId,
    message::{SnapshotAck, SnapshotBegin, SnapshotEnd, SnapshotSlots},
};

use crate::{
    clients::requests::Requests,
    disk_queue::Becomes,
    engine::Engine,
    io::{CheckpointOp, DiskOp, Event},
    log::{Log, epochs::EpochTable},
    replica::Replica,
};

use super::Role;

/// Slots between two acknowledgements.
const SLOTS_PER_ACK: u32 = 256;

/// A snapshot that is being received.
pub(crate) struct Install {
    transfer: u64,
    start: Position,
    table: Vec<Position>,
    engine: Engine,
    requests: Requests,
    slots: u32,
    acknowledged: u32,
    whole_at: u64,
}

impl Replica {
    /// A snapshot begins; one that was under way is dropped.
    pub(crate) fn on_snapshot_begin(&mut self, from: ReplicaId, begin: &SnapshotBegin) {
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.leader != from || follower.epoch != begin.epoch {
            return;
        }
        let Some((requests, rest)) = Requests::import(&begin.meta) else { return };
        let mut engine = Engine::new();
        if engine.import_meta(rest).is_err() {
            return;
        }
        follower.aligned = false;
        follower.install = Some(Box::new(Install {
            transfer: begin.transfer,
            start: begin.start,
            table: begin.table.clone(),
            engine,
            requests,
            slots: 0,
            acknowledged: 0,
            whole_at: 0,
        }));
        self.checkpointing = None;
        let op = CheckpointOp::Begin { start: begin.start, meta: begin.meta.clone() };
        self.persist(DiskOp::Checkpoint(op), None);
    }

    /// Some slots of it.
    pub(crate) fn on_snapshot_slots(&mut self, from: ReplicaId, slots: SnapshotSlots) {
        let Some(install) = self.install_of(from, slots.transfer) else { return };
        let (mut ops, mut damaged) = (Vec::new(), false);
        for image in slots.slots {
            let Some(slot) = u16::try_from(image.slot).ok().filter(|slot| *slot < trireme_proto::SLOTS) else { return };
            install.slots += 1;
            damaged |=
                install.engine.import_slot(slot, &image.image).is_err() || install.engine.digest(slot) != image.digest;
            ops.push(DiskOp::Checkpoint(CheckpointOp::Slot { slot, image: image.image }));
        }
        let due = install.slots >= install.acknowledged + SLOTS_PER_ACK;
        if due {
            install.acknowledged = install.slots;
        }
        let ack = SnapshotAck { transfer: install.transfer, slots: install.slots };
        if damaged {
            return self.drop_install();
        }
        for op in ops {
            self.persist(op, None);
        }
        if due {
            self.send(from, Message::SnapshotAck(ack));
        }
    }

    /// It is whole: it takes the place of log and state as soon as it is durable.
    pub(crate) fn on_snapshot_end(&mut self, from: ReplicaId, end: &SnapshotEnd) {
        if self.install_of(from, end.transfer).is_none() {
            return;
        }
        let Some(mut install) = self.role.follower_mut().and_then(|follower| follower.install.take()) else { return };
        install.whole_at = end.whole_at;
        let (start, whole_at) = (install.start, end.whole_at);
        self.installing = Some(install);
        self.persist(DiskOp::Reset { position: start }, None);
        self.persist(DiskOp::Checkpoint(CheckpointOp::Finish { whole_at }), Some(Becomes::Installed));
    }

    /// It is durable: from now on this is the state, whoever leads by now, and the log goes on from the snapshot's start.
    pub(crate) fn snapshot_installed(&mut self) {
        let Some(install) = self.installing.take() else { return };
        self.fail_replies(self.commit, "this replica's state was replaced by its leader's");
        self.engine = install.engine;
        self.requests = install.requests;
        self.log = Log::after(install.start, EpochTable::from_rows(install.start, &install.table));
        let seq = install.start.seq;
        (self.durable, self.commit, self.applied) = (seq, seq, seq);
        (self.whole_at, self.checkpoint_seq, self.batch_last) = (install.whole_at, seq, seq);
        self.disk.cut(seq);
        self.counters.snapshots_received += 1;
        self.event(Event::SnapshotInstalled(install.start));
        self.report_due = true;
        if let Role::Follower(follower) = &mut self.role {
            (follower.aligned, follower.asked) = (false, true);
            let leader = follower.leader;
            self.send_log_state(leader);
        }
    }

    /// A snapshot is on its way in.
    pub(super) fn installs(&self) -> bool {
        self.installing.is_some() || matches!(&self.role, Role::Follower(follower) if follower.install.is_some())
    }

    /// A slot did not arrive as it was sent: the leader is asked to begin again.
    fn drop_install(&mut self) {
        if let Role::Follower(follower) = &mut self.role {
            (follower.install, follower.aligned, follower.asked) = (None, false, false);
        }
        self.report_due = true;
    }

    fn install_of(&mut self, from: ReplicaId, transfer: u64) -> Option<&mut Install> {
        let Role::Follower(follower) = &mut self.role else { return None };
        if follower.leader != from {
            return None;
        }
        follower.install.as_deref_mut().filter(|install| install.transfer == transfer)
    }
}
