//! Sending a snapshot: to a learner, and to a follower that is behind the start of the log, or whose state cannot be patched.

use trireme_proto::{
    Message, ReplicaId,
    message::{SnapshotAck, SnapshotBegin, SnapshotEnd, SnapshotSlots},
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
/// Slots under way: the receiver takes them in at its own speed.
const SLOTS_IN_FLIGHT_MAX: u32 = 4_096;

impl Replica {
    /// A follower needs a snapshot. It begins at the next moment without uncommitted entries.
    pub(super) fn begin_snapshot(&mut self, to: ReplicaId) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.transfers += 1;
        let number = leader.transfers;
        let Some(progress) = leader.followers.get_mut(&to) else { return };
        progress.acknowledged = 0;
        let transfer = Transfer { number, start: None, sweep: Sweep::new(), sent: 0, taken: 0, ended: false };
        progress.stage = Stage::Snapshot(Box::new(transfer));
    }

    /// Whether some snapshot waits for a moment without uncommitted entries, to begin or to end.
    pub(super) fn snapshot_wants_quiet(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        leader.followers.values().any(|progress| match &progress.stage {
            Stage::Snapshot(transfer) => transfer.start.is_none() || (!transfer.ended && transfer.all_looked_at()),
            _ => false,
        })
    }

    /// At a moment without uncommitted entries: begins and ends what waits for it.
    pub(super) fn quiet_snapshots(&mut self) {
        let start = self.log.position(self.commit);
        let epochs = self.log.epochs().rows().to_vec();
        let epoch = self.meta.led;
        let Role::Leader(leader) = &mut self.role else { return };
        let (mut messages, mut ending) = (Vec::new(), Vec::new());
        let mut meta = None;
        for (id, progress) in leader.followers.iter_mut().filter(|(_, progress)| progress.connected) {
            let Stage::Snapshot(transfer) = &mut progress.stage else { continue };
            if transfer.start.is_none() {
                transfer.start = Some(start.seq);
                messages.push((*id, transfer.number));
            } else if !transfer.ended && transfer.all_looked_at() {
                transfer.sweep.quiet();
                ending.push(*id);
            }
        }
        for (id, transfer) in messages {
            let meta = meta.get_or_insert_with(|| self.state_meta()).clone();
            let table = epochs.clone();
            self.send(id, Message::SnapshotBegin(SnapshotBegin { epoch, start, table, meta, transfer }));
        }
        for id in ending {
            self.send_slots(id, usize::from(trireme_proto::SLOTS), true);
        }
    }

    /// Sends the next slots, as far as the receiver keeps up.
    pub(super) fn send_snapshot(&mut self, id: ReplicaId) {
        self.send_slots(id, SLOTS_PER_TURN, false);
    }

    fn send_slots(&mut self, id: ReplicaId, slots_max: usize, quiet: bool) {
        let commit = self.commit;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.followers.get_mut(&id) else { return };
        let Stage::Snapshot(transfer) = &mut progress.stage else { return };
        if transfer.start.is_none() || transfer.ended {
            return;
        }
        let number = transfer.number;
        let mut looked = 0;
        while looked < slots_max && (quiet || transfer.sent < transfer.taken + SLOTS_IN_FLIGHT_MAX) {
            let slots = transfer.sweep.take(&self.engine, commit, BYTES_PER_MESSAGE, SLOTS_PER_TURN);
            looked += SLOTS_PER_TURN;
            transfer.sent += slots.len() as u32;
            if !slots.is_empty() {
                self.output.send.push((
                    trireme_proto::ids::Peer::Replica(id),
                    Message::SnapshotSlots(SnapshotSlots { transfer: number, slots }),
                ));
            }
            if transfer.sweep.is_done() || transfer.sweep.needs_quiet() {
                break;
            }
        }
        if transfer.sweep.is_done() && !transfer.ended {
            transfer.ended = true;
            // Slots were taken at different times, each committed by now.
            self.send(id, Message::SnapshotEnd(SnapshotEnd { transfer: number, whole_at: commit }));
        }
    }

    /// The receiver has got further. When it is done it says what its log looks like, and the log goes on from the snapshot's start.
    pub(crate) fn on_snapshot_ack(&mut self, from: ReplicaId, ack: &SnapshotAck) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.followers.get_mut(&from) else { return };
        let Stage::Snapshot(transfer) = &mut progress.stage else { return };
        if transfer.number != ack.transfer {
            return;
        }
        transfer.taken = transfer.taken.max(ack.slots);
    }
}

impl Transfer {
    /// Only slots that are being written are left, or none.
    fn all_looked_at(&self) -> bool {
        self.sweep.needs_quiet()
    }
}
