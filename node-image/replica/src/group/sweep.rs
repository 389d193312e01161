//! Walking the slots, a few in each turn, while writes go on: for a checkpoint and for a snapshot alike.
//!
//! A slot is taken once its last write is committed, so that what leaves is committed state. The slots that never are, because they are written all the
//! time, are taken at the end, at a moment without uncommitted entries, which the leader makes by letting commands wait for one round trip.

use std::collections::VecDeque;

use trireme_proto::{SLOTS, message::SlotImage};

use crate::engine::Engine;

/// Which slots are still to be taken.
#[derive(Debug)]
pub(crate) struct Sweep {
    left: VecDeque<u16>,
    /// Slots looked at in a row that were not committed.
    skipped: usize,
}

impl Sweep {
    pub(crate) fn new() -> Sweep {
        Sweep { left: (0..SLOTS).collect(), skipped: 0 }
    }

    /// Only slots that are being written are left.
    pub(crate) fn needs_quiet(&self) -> bool {
        !self.left.is_empty() && self.skipped >= self.left.len()
    }

    /// How many slots are done.
    pub(crate) fn taken(&self) -> u32 {
        u32::from(SLOTS) - self.left.len() as u32
    }

    pub(crate) fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// Takes slots whose last write is committed until there are `bytes_max` of them, or `slots_max` were looked at. Slots that were never written have
    /// no image.
    pub(crate) fn take(&mut self, engine: &Engine, commit: u64, bytes_max: usize, slots_max: usize) -> Vec<SlotImage> {
        let (mut images, mut bytes) = (Vec::new(), 0);
        for _ in 0..slots_max {
            if bytes >= bytes_max || self.needs_quiet() {
                break;
            }
            let Some(slot) = self.left.pop_front() else { break };
            if engine.last_write(slot) > commit {
                self.left.push_back(slot);
                self.skipped += 1;
                continue;
            }
            self.skipped = 0;
            let mut image = Vec::new();
            engine.export_slot(slot, &mut image);
            if !image.is_empty() {
                bytes += image.len();
                images.push(SlotImage { slot: slot.into(), digest: engine.digest(slot), image: image.into() });
            }
        }
        images
    }

    /// The moment without uncommitted entries has come: what was skipped may be taken.
    pub(crate) fn quiet(&mut self) {
        self.skipped = 0;
    }
}
