//! The state in memory: 16,384 slots, each a table of keys with its digest and last write.
//!
//! - [`cells`]: plain records (one sibling, nothing else), in slabs (`slab`); what nearly all keys, fields and members are. `table`: where they are found.
//! - [`register`]: the general form of a value: siblings and counter part.
//! - [`key`]: the general form of a key: value, expiry, collections; and what deletion leaves behind ([`key::Side`]).
//! - [`order`]: the elements of sorted sets and lists by rank.
//! - [`undo`]: every change notes what it replaced; an old cell is kept, not copied.
//! - [`gone`]: which keys have gone lately.
//! - [`weight`]: what keys take in memory, and when they were used.
//! - [`apply`]: the changes of a delta, one by one. [`edit`]: what they are made of. `notes`: which of them are conflicts.

pub(crate) mod apply;
pub(crate) mod cells;
pub(crate) mod counters;
pub(crate) mod edit;
pub(crate) mod gone;
pub(crate) mod key;
pub(crate) mod notes;
pub(crate) mod order;
pub(crate) mod register;
mod slab;
pub(crate) mod table;
pub(crate) mod undo;
pub(crate) mod weight;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use trireme_proto::ids::{Dot, Origin};

use self::cells::{Cells, Handle, Pool};
use self::gone::Gone;
use self::key::{Key, Path, Side};
use self::register::Register;
use self::table::Table;
use self::undo::Journal;
use super::conflicts::Notes;
use super::delta::Part;
use super::digest;
use super::slot::{SLOTS, slot_of};
use super::vector::ReceivedSet;

/// The hash of names within tables. Its seed is fixed: the same calls give the same engine, on every machine.
pub(crate) fn hash(name: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(0x7472_6972_656d_6531).build_hasher();
    hasher.write(name);
    hasher.finish()
}

/// Rare things of a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotSide {
    /// What is reflected here although it may not have been received: it came by joined state.
    pub(crate) seen: ReceivedSet,
    pub(crate) keys: BTreeMap<Box<[u8]>, Side>,
}

/// One part of the key space. All of it is in one line of the processor's cache.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Slot {
    pub(crate) table: Table,
    pub(crate) digest: u64,
    pub(crate) last_write: u64,
    pub(crate) side: Option<Box<SlotSide>>,
    /// Number of the last unit of work that changed it.
    pub(crate) touched: u64,
}

/// All of it.
pub(crate) struct State {
    pub(crate) slots: Vec<Slot>,
    pub(crate) keys: Pool<Box<Key>>,
    pub(crate) cells: Cells,
    pub(crate) journal: Journal,
    pub(crate) digest_total: u64,
    /// Keys of which a client can see something, expiry aside.
    pub(crate) present: u64,
    /// Bytes that all keys take: see [`weight`].
    pub(crate) live: u64,
    /// The time of the unit of work at hand, as a stamp.
    pub(crate) now: u32,
    /// That of the first one: when all that is older was read from a disk.
    pub(crate) first: u32,
    /// By time, every key with an expiry.
    pub(crate) expiries: BTreeSet<(u64, Box<[u8]>)>,
    /// Slots with a [`SlotSide`].
    pub(crate) sided: BTreeSet<u16>,
    /// Conflicts that joining has found.
    pub(crate) notes: Notes,
    /// The log's seq of the unit of work at hand.
    pub(crate) seq: u64,
    pub(crate) gone: Gone,
}

impl State {
    pub(crate) fn new() -> State {
        State {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            keys: Pool::default(),
            cells: Cells::default(),
            journal: Journal::default(),
            digest_total: 0,
            present: 0,
            live: 0,
            now: 0,
            first: 0,
            expiries: BTreeSet::new(),
            sided: BTreeSet::new(),
            notes: Notes::default(),
            seq: 0,
            gone: Gone::default(),
        }
    }

    pub(crate) fn slot(&self, slot: u16) -> &Slot {
        &self.slots[usize::from(slot)]
    }

    pub(crate) fn slot_mut(&mut self, slot: u16) -> &mut Slot {
        &mut self.slots[usize::from(slot)]
    }

    /// The name of what stands in a slot's table.
    pub(crate) fn name(&self, handle: Handle) -> &[u8] {
        name(&self.keys, &self.cells, handle)
    }

    pub(crate) fn find(&self, slot: u16, key: &[u8]) -> Option<Handle> {
        self.find_hashed(slot, hash(key), key)
    }

    /// The same for a key whose hash is known.
    pub(crate) fn find_hashed(&self, slot: u16, hashed: u64, key: &[u8]) -> Option<Handle> {
        self.slot(slot).table.find(hashed, |h| self.name(h) == key)
    }

    pub(crate) fn key(&self, index: u32) -> Option<&Key> {
        self.keys.get(index).map(|k| &**k)
    }

    pub(crate) fn find_element(&self, key: u32, part: Part, name: &[u8]) -> Option<Handle> {
        let collection = self.key(key)?.part(part)?;
        collection.table.find(hash(name), |h| self.cells.name(h) == name)
    }

    pub(crate) fn side(&self, slot: u16, key: &[u8]) -> Option<&Side> {
        self.slot(slot).side.as_ref()?.keys.get(key)
    }

    /// The latest reset of a counter's origin.
    pub(crate) fn reset(&self, slot: u16, key: &[u8], part: Part, name: &[u8], origin: Origin) -> Option<(u64, i64)> {
        self.side(slot, key)?.reset(part, name, origin)
    }

    /// Whether a record must not come in here: it was seen to come and go, or a removal that arrived earlier names it.
    pub(crate) fn blocked(&self, slot: u16, key: &[u8], path: Path<'_>, dot: Dot) -> bool {
        let Some(side) = &self.slot(slot).side else { return false };
        side.seen.contains(dot) || side.keys.get(key).is_some_and(|s| s.seen.contains(dot) || s.removes(path, dot))
    }

    /// Whether a delta is reflected in a key although it may not have been received.
    pub(crate) fn reflected(&self, slot: u16, key: &[u8], dot: Dot) -> bool {
        let Some(side) = &self.slot(slot).side else { return false };
        side.seen.contains(dot) || side.keys.get(key).is_some_and(|s| s.seen.contains(dot))
    }

    /// What is reflected in a key although it may not have been received.
    pub(crate) fn seen_of(&self, slot: u16, key: &[u8]) -> ReceivedSet {
        let Some(side) = &self.slot(slot).side else { return ReceivedSet::default() };
        let mut seen = side.seen.clone();
        if let Some(side) = side.keys.get(key) {
            seen.merge(&side.seen);
        }
        seen
    }

    /// Whether a client can see something of the key, expiry aside.
    pub(crate) fn is_present(&self, handle: Handle) -> bool {
        handle.as_key().is_none_or(|index| self.key(index).is_some_and(|k| k.present))
    }

    /// A number that changes with every change of a key.
    pub(crate) fn version_at(&self, handle: Handle) -> u64 {
        match handle.as_key() {
            Some(index) => self.key(index).map_or(0, |k| k.version),
            None => self.cells.plain(handle).map_or(0, |p| version_of(p.dot)),
        }
    }

    /// XOR of the key's records.
    pub(crate) fn digest_of(&self, handle: Handle) -> u64 {
        match (handle.as_key(), self.cells.plain(handle)) {
            (Some(index), _) => self.key(index).map_or(0, |k| k.digest),
            (None, Some(p)) => digest::plain(p.name, &p),
            (None, None) => 0,
        }
    }

    /// XOR of an element's records.
    pub(crate) fn element_digest(&self, slot: u16, key: &[u8], part: Part, handle: Handle) -> u64 {
        if let Some(p) = self.cells.plain(handle) {
            return digest::value(part, key, p.name, p.dot, p.clock, p.value);
        }
        let Some(register) = self.cells.register(handle) else { return 0 };
        digest::register(part, key, register, &|o| self.reset(slot, key, part, &register.name, o))
    }

    /// Whether an element counts for a client.
    pub(crate) fn element_visible(&self, slot: u16, key: &[u8], part: Part, handle: Handle) -> bool {
        let Some(register) = self.cells.register(handle) else { return true };
        register.visible(&|o| self.reset(slot, key, part, &register.name, o))
    }

    /// The lowest clock among the siblings of a value (and of a key's expiries) that are not in `seen`.
    pub(crate) fn oldest_unseen(&self, key: &[u8], part: Part, name: &[u8], seen: &ReceivedSet) -> Option<u64> {
        let unseen = |dot: Dot, clock: u64| (!seen.contains(dot)).then_some(clock);
        let of_register = |r: &Register| r.siblings.iter().filter_map(|s| unseen(s.dot, s.clock)).min();
        let top = self.find(slot_of(key), key)?;
        if let Some(p) = self.cells.plain(top) {
            return unseen(p.dot, p.clock).filter(|_| part == Part::Value);
        }
        let (index, found) = (top.as_key()?, self.key(top.as_key()?)?);
        if part == Part::Value {
            let expiry = found.expiry.iter().filter_map(|e| unseen(e.dot, e.clock)).min();
            return of_register(&found.value).into_iter().chain(expiry).min();
        }
        let element = self.find_element(index, part, name)?;
        match self.cells.plain(element) {
            Some(p) => unseen(p.dot, p.clock),
            None => self.cells.register(element).and_then(of_register),
        }
    }

    /// When the key in a slot's table expires.
    pub(crate) fn expires_at(&self, handle: Handle) -> Option<u64> {
        self.key(handle.as_key()?)?.expires_at()
    }
}

pub(crate) fn name<'a>(keys: &'a Pool<Box<Key>>, cells: &'a Cells, handle: Handle) -> &'a [u8] {
    match handle.as_key() {
        Some(index) => keys.get(index).map_or(&[], |k| &k.value.name),
        None => cells.name(handle),
    }
}

/// A number that stands for a delta, never 0: a key's version.
pub(crate) fn version_of(dot: Dot) -> u64 {
    let origin = u64::from(dot.origin.group) << 32 | u64::from(dot.origin.generation);
    (dot.seq ^ origin.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1)
}
