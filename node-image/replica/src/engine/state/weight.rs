//! What keys take in memory, kept up to date with each change, and when each was last used: what is needed to keep a bound by removing keys.
//!
//! It is what the tables refer to. What only the undo journal still holds does not count, as it goes with the next commit; nor does what deletion leaves
//! behind. The numbers beside names and values are near what the allocator takes and need not be exact: what the process has beyond is known from outside.

use super::State;
use super::cells::{Handle, stamp};
use super::key::Key;
use super::register::{Register, Sibling};
use crate::engine::{delta::Part, slot::slot_of};

/// Bytes of a place in a table, with the room that tables have to spare.
const PLACE_BYTES: u64 = 8;
/// Bytes of an element's place in the order of a sorted set or list.
const ORDER_BYTES: u64 = 24;
/// Bytes of an expiry and of its place in their order, without the name.
const EXPIRY_BYTES: u64 = 96;
/// Bytes of what one origin has counted.
const COUNT_BYTES: u64 = 48;
/// Unit of [`Key::words`], in bytes.
const WORD: u64 = 8;

/// A register without what it is boxed in.
fn register_bytes(register: &Register) -> u64 {
    let sibling = |sibling: &Sibling| (size_of::<Sibling>() + sibling.value.len()) as u64;
    let siblings: u64 = register.siblings.iter().map(sibling).sum();
    register.name.len() as u64 + siblings + COUNT_BYTES * register.counts.len() as u64
}

/// A key in general form without its elements.
fn own_bytes(key: &Key) -> u64 {
    let expiry = if key.expiry.is_empty() { 0 } else { EXPIRY_BYTES + 2 * key.value.name.len() as u64 };
    size_of::<Key>() as u64 + register_bytes(&key.value) + expiry
}

impl State {
    /// Bytes that what stands in a slot's table takes.
    pub(crate) fn weight(&self, handle: Handle) -> u64 {
        PLACE_BYTES
            + match handle.as_key() {
                Some(index) => self.own_weight(index) + self.key(index).map_or(0, |key| u64::from(key.words) * WORD),
                None => self.cells.size(handle),
            }
    }

    /// The same of a key in general form without its elements.
    pub(super) fn own_weight(&self, index: u32) -> u64 {
        self.key(index).map_or(0, own_bytes)
    }

    /// Words of an element.
    pub(super) fn words(&self, part: Part, handle: Handle) -> u32 {
        let bytes = match handle.as_register() {
            Some(index) => self
                .cells
                .registers
                .get(index)
                .map_or(0, |register| size_of::<Register>() as u64 + register_bytes(register)),
            None => self.cells.size(handle),
        };
        let order = if matches!(part, Part::SortedSet | Part::List) { ORDER_BYTES } else { 0 };
        u32::try_from((PLACE_BYTES + order + bytes).div_ceil(WORD)).unwrap_or(u32::MAX)
    }

    /// The elements of a key take so many words, and took so many before.
    pub(super) fn weigh_elements(&mut self, index: u32, before: u32, after: u32) {
        let Some(key) = self.keys.get_mut(index) else { return };
        key.words = key.words.saturating_sub(before).saturating_add(after);
        self.live = self.live.saturating_sub(u64::from(before) * WORD) + u64::from(after) * WORD;
    }

    /// A key in general form takes another number of bytes, its elements aside, than it took before.
    pub(super) fn weigh_own(&mut self, index: u32, before: u64) {
        self.live = self.live.saturating_sub(before) + self.own_weight(index);
    }

    /// When a key was last used, as a stamp.
    pub(crate) fn used(&self, handle: Handle) -> u32 {
        match handle.as_key() {
            Some(index) => self.key(index).map(|key| key.used).filter(|used| *used > 0).unwrap_or(self.first),
            None => self.cells.used(handle),
        }
    }

    /// A key is used now. Says what stands for it from now on: where all uses are kept, a cell without room for that gives way to one that has it, unless
    /// the journal may still name it.
    pub(crate) fn use_key(&mut self, slot: u16, handle: Handle) -> Handle {
        if let Some(index) = handle.as_key() {
            if let Some(key) = self.keys.get_mut(index) {
                key.used = self.now;
            }
            return handle;
        }
        let handle = if self.cells.wants_stamp(handle) { self.give_stamp(slot, handle) } else { handle };
        self.cells.touch(handle, self.now);
        handle
    }

    fn give_stamp(&mut self, slot: u16, old: Handle) -> Handle {
        if self.is_noted(slot) {
            return old;
        }
        let Some(new) = self.cells.put_again(old) else { return old };
        self.swap_top(slot, Some(old), Some(new));
        self.cells.free(old);
        new
    }

    /// Whether the journal may name what stands in a slot's table.
    fn is_noted(&self, slot: u16) -> bool {
        let (at, first) = (self.slot(slot), self.journal.first_seq());
        let noted = |first| at.last_write >= first || self.journal.blind >= first;
        at.touched == self.journal.current || first.is_some_and(noted)
    }

    /// Where slabs have too much to spare, moves cells of keys, so many at most, so that chunks of them become empty. Elements stay where they are: a cell
    /// does not say whose it is.
    pub(crate) fn tidy(&mut self, moves_max: usize) {
        for _ in 0..moves_max {
            let Some(cell) = self.cells.next_to_move(self.live) else { return };
            self.move_key(cell);
        }
    }

    /// Moves a key's cell, unless the journal may name it.
    pub(crate) fn move_key(&mut self, cell: Handle) {
        let name = self.cells.name(cell);
        let slot = slot_of(name);
        let found = self.find(slot, name).filter(|found| found.is_cell(cell) && !self.is_noted(slot));
        let Some(old) = found else { return };
        let Some(new) = self.cells.put_moved(old) else { return self.cells.stop_moving() };
        self.swap_top(slot, Some(old), Some(new));
        self.cells.free_moved(old);
    }

    /// It is now so late, in milliseconds since 1970.
    pub(crate) fn set_time(&mut self, now_ms: u64) {
        self.now = stamp(now_ms);
        if self.first == 0 {
            self.first = self.now;
        }
    }

    /// The sum of all weights, counted anew.
    #[cfg(test)]
    pub(crate) fn weighed(&self) -> u64 {
        let words = |key: &Key| {
            let of = |(part, collection): &(Part, super::key::Collection)| -> u32 {
                collection.table.iter().map(|handle| self.words(*part, handle)).sum()
            };
            key.parts.iter().map(of).sum::<u32>()
        };
        let of_key = |handle: Handle| match handle.as_key().and_then(|index| self.key(index)) {
            Some(key) => PLACE_BYTES + own_bytes(key) + u64::from(words(key)) * WORD,
            None => self.weight(handle),
        };
        self.slots.iter().flat_map(|slot| slot.table.iter()).map(of_key).sum()
    }
}
