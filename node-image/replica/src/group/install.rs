//! Receiving a snapshot: taken in beside the state in force, checked slot by slot, swapped in when it is whole and durable.

use trireme_proto::{
    Message, Position, ReplicaId,
    message::{SnapshotAck, SnapshotBegin, SnapshotEnd, SnapshotEntries, SnapshotSlots},
};

use crate::{
    clients::requests::Requests,
    disk_queue::Becomes,
    engine::Engine,
    io::{CheckpointOp, DiskOp, Event},
    log::{Log, epochs::EpochTable},
    replica::Replica,
};

use super::{Role, checkpoint::Checkpoint};

/// Bytes between two acknowledgements.
const BYTES_PER_ACK: u64 = 1 << 20;

/// A snapshot that is being received.
pub(crate) struct Install {
    transfer: u64,
    start: Position,
    engine: Engine,
    requests: Requests,
    /// The log from its start.
    log: Log,
    bytes: u64,
    acknowledged: u64,
    whole_at: u64,
}

impl Replica {
    /// A snapshot begins; one that was under way is dropped.
    pub(crate) fn on_snapshot_begin(&mut self, from: ReplicaId, begin: &SnapshotBegin) {
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.leader != from || follower.epoch != begin.epoch || self.installing.is_some() {
            return;
        }
        let mut engine = Engine::new();
        let requests = Requests::import(&begin.meta).filter(|(_, rest)| engine.import_meta(rest).is_ok());
        let Some((requests, _)) = requests else { return self.drop_install() };
        follower.aligned = false;
        follower.install = Some(Box::new(Install {
            transfer: begin.transfer,
            start: begin.start,
            engine,
            requests,
            log: Log::after(begin.start, EpochTable::from_rows(begin.start, &begin.table)),
            bytes: 0,
            acknowledged: 0,
            whole_at: 0,
        }));
        self.checkpointing = None;
        let op = CheckpointOp::Begin { start: begin.start, meta: begin.meta.clone() };
        self.persist(DiskOp::Snapshot(op), None);
    }

    /// Some slots of it.
    pub(crate) fn on_snapshot_slots(&mut self, from: ReplicaId, slots: SnapshotSlots) {
        let Some(install) = self.install_of(from, slots.transfer) else { return };
        let mut ops = Vec::with_capacity(slots.slots.len());
        for image in slots.slots {
            let slot = u16::try_from(image.slot).ok().filter(|slot| *slot < trireme_proto::SLOTS);
            let taken = slot.filter(|slot| {
                install.engine.import_slot(*slot, &image.image).is_ok() && install.engine.digest(*slot) == image.digest
            });
            let Some(slot) = taken else { return self.drop_install() };
            install.bytes += image.image.len() as u64;
            ops.push(DiskOp::Snapshot(CheckpointOp::Slot { slot, image: image.image }));
        }
        for op in ops {
            self.persist(op, None);
        }
        self.acknowledge_install(from);
    }

    /// Some of the log from its start.
    pub(crate) fn on_snapshot_entries(&mut self, from: ReplicaId, entries: &SnapshotEntries) {
        let now_us = self.now.mono_us;
        let Some(install) = self.install_of(from, entries.transfer) else { return };
        install.bytes += entries.entries.len() as u64;
        if install.log.append(entries.entries.clone(), true, now_us).is_err() {
            return self.drop_install();
        }
        self.acknowledge_install(from);
    }

    fn acknowledge_install(&mut self, from: ReplicaId) {
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(install) = &mut follower.install else { return };
        if install.bytes < install.acknowledged + BYTES_PER_ACK {
            return;
        }
        install.acknowledged = install.bytes;
        let ack = SnapshotAck { transfer: install.transfer, bytes: install.bytes };
        self.send(from, Message::SnapshotAck(ack));
    }

    /// It is whole: it takes the place of log and state as soon as it is durable, the log up to there included.
    pub(crate) fn on_snapshot_end(&mut self, from: ReplicaId, end: &SnapshotEnd) {
        if self.install_of(from, end.transfer).is_none() {
            return;
        }
        let Some(mut install) = self.role.follower_mut().and_then(|follower| follower.install.take()) else { return };
        if install.log.last().seq < end.whole_at {
            return self.drop_install();
        }
        install.whole_at = end.whole_at;
        self.persist(DiskOp::Reset { position: install.start }, None);
        let mut seq = install.start.seq;
        while let Some((last, bytes)) = install.log.read_after(seq, usize::MAX) {
            self.persist(DiskOp::Append { first: seq + 1, last, bytes }, None);
            seq = last;
        }
        let finish = CheckpointOp::Finish { whole_at: end.whole_at };
        self.persist(DiskOp::Snapshot(finish), Some(Becomes::Installed));
        self.installing = Some(install);
    }

    /// It is durable: from now on this is the state, whoever leads by now, and the log goes on from its end.
    pub(crate) fn snapshot_installed(&mut self) {
        let Some(install) = self.installing.take() else { return };
        self.fail_replies(self.commit, "this replica's state was replaced by its leader's");
        let Install { start, mut engine, requests, log, whole_at, bytes, .. } = *install;
        engine.set_origin(self.engine.origin());
        engine.begins_at(start.seq.max(whole_at));
        (self.engine, self.requests, self.log) = (engine, requests, log);
        let last = self.log.last().seq;
        (self.commit, self.applied) = (start.seq, start.seq);
        let (at_ms, busy) = (self.now.wall_ms, self.checkpoint.busy);
        self.checkpoint = Checkpoint { seq: start.seq, at_ms, log_offset: 0, bytes, busy };
        (self.durable, self.whole_at, self.batch_last) = (last, whole_at, last);
        self.advance_commit(whole_at);
        self.engine.note_conflicts();
        self.counters.snapshots_received += 1;
        self.event(Event::SnapshotInstalled(start));
        self.report_due = true;
        if let Role::Follower(follower) = &mut self.role {
            (follower.aligned, follower.asked) = (false, true);
            let leader = follower.leader;
            self.send_log_state(leader);
        }
        self.take_role();
    }

    /// A snapshot is on its way in.
    pub(super) fn installs(&self) -> bool {
        self.installing.is_some() || matches!(&self.role, Role::Follower(follower) if follower.install.is_some())
    }

    /// It did not arrive as it was sent: the leader is asked to begin again.
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
