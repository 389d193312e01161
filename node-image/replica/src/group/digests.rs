//! The running proof that replicas are identical: the leader sends its slots' digests, a few at a time, each with the seq of the slot's last write; a
//! follower whose slot was last written by the same entry must have the same digest.

use trireme_proto::{Message, ReplicaId, SLOTS, message::Digests};

use crate::{io::Event, replica::Replica};

use super::Role;

/// Slots in one message: the whole map goes round in 64 of them.
const SLOTS_PER_MESSAGE: u16 = 256;
/// Microseconds between two of them.
const PERIOD_US: u64 = 250_000;

impl Replica {
    /// Sends the next part of the map, when it is time.
    pub(super) fn send_digests(&mut self) {
        let now = self.now.mono_us;
        let Role::Leader(leader) = &mut self.role else { return };
        if !leader.serving || now < leader.digest_due_us {
            return;
        }
        leader.digest_due_us = now + PERIOD_US;
        let first = leader.digest_slot;
        leader.digest_slot = (first + SLOTS_PER_MESSAGE) % SLOTS;
        let followers: Vec<ReplicaId> =
            leader.followers.iter().filter(|(_, f)| f.connected).map(|(id, _)| *id).collect();
        let digests = self.digests(first, SLOTS_PER_MESSAGE);
        for id in followers {
            self.send(id, Message::Digests(digests.clone()));
        }
    }

    /// Compares a part of the leader's map with this replica's own.
    pub(crate) fn on_digests(&mut self, from: ReplicaId, theirs: &Digests) {
        if !matches!(&self.role, Role::Follower(follower) if follower.leader == from && follower.aligned)
            || !self.whole()
        {
            return;
        }
        for (i, (last_write, digest)) in theirs.last_writes.iter().zip(&theirs.digests).enumerate() {
            let Some(slot) = u16::try_from(theirs.first_slot as usize + i).ok().filter(|slot| *slot < SLOTS) else {
                return;
            };
            if *last_write > self.commit || self.engine.last_write(slot) != *last_write {
                continue;
            }
            self.counters.digests_compared += 1;
            if self.engine.digest(slot) != *digest {
                self.counters.digest_mismatches += 1;
                self.event(Event::DigestMismatch { slot, seq: *last_write });
            }
        }
    }
}
