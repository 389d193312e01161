//! Looking keys up ahead, several side by side. Where there are more keys than the processor's caches hold, a search waits for memory three times in a row:
//! for the slot, for its table, for the key's cell. Searches that do not depend on each other wait at the same time. So before some are made one after the
//! other, all take these steps together, with no other effect than that what they will read is near.

use std::hint::black_box;

use smallvec::SmallVec;

pub(crate) use super::delta::first_key;
use super::{Engine, slot::slot_of, state::hash};

/// As many keys are looked up side by side: about as many as a processor can wait for at a time.
pub const TOGETHER: usize = 16;
/// For fewer it is not worth it.
const TOGETHER_MIN: usize = 4;

/// Keys that will be looked up next.
pub(crate) type Keys<'a> = SmallVec<[&'a [u8]; TOGETHER]>;

impl Engine {
    /// Brings near what searches for these keys will read.
    pub(crate) fn warm(&self, keys: &[&[u8]]) {
        if keys.len() < TOGETHER_MIN {
            return;
        }
        let state = &self.state;
        let places: SmallVec<[(u16, u64); TOGETHER]> = keys.iter().map(|key| (slot_of(key), hash(key))).collect();
        black_box(places.iter().map(|(slot, _)| state.slot(*slot).table.len()).sum::<usize>());
        // The first that has the key's tag is nearly always the key's.
        let handles: SmallVec<[_; TOGETHER]> =
            places.iter().filter_map(|(slot, hashed)| state.slot(*slot).table.find(*hashed, |_| true)).collect();
        black_box(handles.iter().map(|handle| state.cells.glance(*handle)).sum::<u64>());
    }
}
