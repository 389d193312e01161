//! Sending a snapshot: to a learner, and to a follower that is behind the start of the log, or whose state cannot be patched.
//!
//! Slots are taken while writes go on, each when its last write is committed; then the log from the snapshot's start follows, up to where the last slot was
//! taken. Both together are the state at that point, so a receiver installs something whole, or nothing.

use trireme_proto::{
    Message, ReplicaId,
    ids::Peer,
    message::{SnapshotAck, SnapshotBegin, SnapshotEnd, SnapshotEntries, SnapshotSlots},
};

use crate::replica::Replica;

use super::{
    Role,
    progress::{Stage, Transfer},
    sweep::Sweep,
};

/// Slots looked at in one turn, for one receiver.
const SLOTS_PER_TURN: usize = 256;
/// Bytes in one message.
const BYTES_PER_MESSAGE: usize = 256 << 10;

impl Replica {
    /// A follower needs a snapshot. It begins at the next moment without uncommitted entries.
    pub(super) fn begin_snapshot(&mut self, to: ReplicaId) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.transfers += 1;
        let number = leader.transfers;
        let Some(progress) = leader.followers.get_mut(&to) else { return };
        progress.acknowledged = 0;
        let transfer = Transfer {
            number,
            start: None,
            sweep: Sweep::new(),
            bytes_sent: 0,
            bytes_taken: 0,
            tail: None,
            ended: false,
        };
        progress.stage = Stage::Snapshot(Box::new(transfer));
    }

    /// Whether some snapshot waits for a moment without uncommitted entries, to begin or to end.
    pub(super) fn snapshot_wants_quiet(&self) -> bool {
        self.transfers().any(|transfer| transfer.wants_quiet())
    }

    /// Whether some snapshot can be sent further at once.
    pub(super) fn snapshot_has_room(&self) -> bool {
        self.transfers().any(|transfer| transfer.has_room() && !transfer.wants_quiet())
    }

    /// Receivers of snapshots need the log from here on.
    pub(super) fn oldest_snapshot_start(&self) -> Option<u64> {
        self.transfers().filter_map(|transfer| transfer.start).min()
    }

    fn transfers(&self) -> impl Iterator<Item = &Transfer> {
        let leader = match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        };
        leader.into_iter().flat_map(|leader| leader.followers.values()).filter_map(|progress| match &progress.stage {
            Stage::Snapshot(transfer) if progress.connected => Some(&**transfer),
            _ => None,
        })
    }

    fn transfer_mut(&mut self, id: ReplicaId) -> Option<&mut Transfer> {
        let Role::Leader(leader) = &mut self.role else { return None };
        match &mut leader.followers.get_mut(&id)?.stage {
            Stage::Snapshot(transfer) => Some(transfer),
            _ => None,
        }
    }

    /// At a moment without uncommitted entries: begins and ends what waits for it.
    pub(super) fn quiet_snapshots(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let ids: Vec<ReplicaId> =
            leader.followers.iter().filter(|(_, progress)| progress.connected).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(transfer) = self.transfer_mut(id).filter(|transfer| transfer.wants_quiet()) else { continue };
            if transfer.start.is_none() {
                self.start_transfer(id);
            } else {
                transfer.sweep.quiet();
                self.send_slots(id, true);
            }
        }
    }

    fn start_transfer(&mut self, id: ReplicaId) {
        let start = self.log.position(self.commit);
        let Some(transfer) = self.transfer_mut(id) else { return };
        transfer.start = Some(start.seq);
        let transfer = transfer.number;
        let (epoch, table, meta) = (self.meta.led, self.log.epochs().rows().to_vec(), self.state_meta());
        self.send(id, Message::SnapshotBegin(SnapshotBegin { epoch, start, table, meta, transfer }));
    }

    /// Sends the next part, as far as the receiver keeps up.
    pub(super) fn send_snapshot(&mut self, id: ReplicaId) {
        self.send_slots(id, false);
        self.send_tail(id);
    }

    /// Slots whose last write is committed. At a quiet moment that is all that are left, and they go at once.
    fn send_slots(&mut self, id: ReplicaId, quiet: bool) {
        let commit = self.commit;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.followers.get_mut(&id) else { return };
        let Stage::Snapshot(transfer) = &mut progress.stage else { return };
        let Some(start) = transfer.start.filter(|_| transfer.tail.is_none()) else { return };
        let mut looked = 0;
        while !transfer.sweep.is_done()
            && !transfer.sweep.needs_quiet()
            && (quiet || (looked < SLOTS_PER_TURN && transfer.has_room()))
        {
            let slots = transfer.sweep.take(&self.engine, commit, BYTES_PER_MESSAGE, SLOTS_PER_TURN);
            looked += SLOTS_PER_TURN;
            if slots.is_empty() {
                continue;
            }
            transfer.bytes_sent += slots.iter().map(|slot| slot.image.len() as u64).sum::<u64>();
            let slots = SnapshotSlots { transfer: transfer.number, slots };
            self.output.send.push((Peer::Replica(id), Message::SnapshotSlots(slots)));
        }
        if transfer.sweep.is_done() {
            transfer.tail = Some((commit, start));
        }
    }

    /// The log that makes the slots one state, then the end.
    fn send_tail(&mut self, id: ReplicaId) {
        loop {
            let before = self.log.before().seq;
            let Some(transfer) = self.transfer_mut(id).filter(|transfer| transfer.has_room()) else { return };
            let Some((whole_at, sent)) = transfer.tail else { return };
            let number = transfer.number;
            if sent >= whole_at {
                transfer.ended = true;
                return self.send(id, Message::SnapshotEnd(SnapshotEnd { transfer: number, whole_at }));
            }
            if sent < before {
                return self.begin_snapshot(id); // It took longer than the log is kept for it.
            }
            let Some((last, entries)) = self.log.read_after(sent, BYTES_PER_MESSAGE) else { return };
            let Some(transfer) = self.transfer_mut(id) else { return };
            transfer.tail = Some((whole_at, last));
            transfer.bytes_sent += entries.len() as u64;
            self.send(id, Message::SnapshotEntries(SnapshotEntries { transfer: number, entries }));
        }
    }

    /// The receiver has got further. When it is done it says what its log looks like, and the log goes on from there.
    pub(crate) fn on_snapshot_ack(&mut self, from: ReplicaId, ack: &SnapshotAck) {
        if let Some(transfer) = self.transfer_mut(from).filter(|transfer| transfer.number == ack.transfer) {
            transfer.bytes_taken = transfer.bytes_taken.max(ack.bytes.min(transfer.bytes_sent));
        }
    }
}
