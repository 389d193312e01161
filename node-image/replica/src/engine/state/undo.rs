//! The undo journal: what each unit of work replaced, so that an uncommitted suffix can be taken back exactly.

use std::collections::{BTreeMap, VecDeque};

use trireme_proto::ids::Dot;

use super::cells::Handle;
use super::key::{Collection, Expiry, Leftovers, Side};
use super::register::{Count, Register, Sibling};
use super::{SlotSide, State, hash, name};
use crate::engine::{delta::Part, vector::ReceivedSet};

/// What one step replaced.
pub(crate) enum Pre {
    Slot {
        slot: u16,
        digest: u64,
        last_write: u64,
    },
    Top {
        slot: u16,
        old: Option<Handle>,
        new: Option<Handle>,
    },
    Element {
        key: u32,
        part: Part,
        old: Option<Handle>,
        new: Option<Handle>,
    },
    /// A register changed in place: an element's, or without a handle the key's own.
    Register {
        key: u32,
        part: Part,
        element: Option<Handle>,
        siblings: Vec<Sibling>,
        counts: Vec<Count>,
    },
    /// What an origin had counted in such a value, the nth there.
    Count {
        key: u32,
        part: Part,
        element: Option<Handle>,
        nth: u32,
        old: Count,
    },
    Parts {
        key: u32,
        parts: Vec<(Part, Collection)>,
        words: u32,
    },
    Expiry {
        key: u32,
        old: Vec<Expiry>,
    },
    Key {
        key: u32,
        digest: u64,
        version: u64,
        hidden: [u32; 5],
        present: bool,
    },
    /// What deletion left behind of one value.
    Leftovers {
        slot: u16,
        key: Box<[u8]>,
        name: Box<[u8]>,
        old: Option<Box<Leftovers>>,
    },
    /// What it left behind of a whole key.
    Side {
        slot: u16,
        key: Box<[u8]>,
        old: Option<Box<Side>>,
    },
    /// What deletion left behind of a whole slot: state was joined into it.
    Sides {
        slot: u16,
        old: Option<Box<SlotSide>>,
    },
}

/// One unit of work: one entry of the log.
pub(crate) struct Unit {
    pub(crate) seq: u64,
    /// The delta it received, if it was new.
    pub(crate) dot: Option<Dot>,
    /// How many earlier names the delta had.
    pub(crate) names: usize,
    /// The clock before.
    pub(crate) clock: u64,
    /// What was received by joined state.
    pub(crate) landed: Option<Box<Landed>>,
    steps: usize,
}

/// Deltas that count as received because state was joined that shows them.
pub(crate) struct Landed {
    /// What had been received before.
    pub(crate) before: ReceivedSet,
    pub(crate) added: ReceivedSet,
}

#[derive(Default)]
pub(crate) struct Journal {
    units: VecDeque<Unit>,
    steps: VecDeque<Pre>,
    /// Number of steps that belong to finished units.
    finished: usize,
    /// Number of the unit that is being worked on.
    pub(crate) current: u64,
    /// Seq of the last unit that may be undone and does not show in its slot's last write: state was joined that a client sees no difference in.
    pub(crate) blind: u64,
}

impl Journal {
    pub(crate) fn push(&mut self, step: Pre) {
        self.steps.push_back(step);
    }

    pub(crate) fn last_seq(&self) -> Option<u64> {
        self.units.back().map(|u| u.seq)
    }

    pub(crate) fn first_seq(&self) -> Option<u64> {
        self.units.front().map(|u| u.seq)
    }
}

impl State {
    /// A unit of work begins.
    pub(crate) fn begin(&mut self) {
        self.journal.current += 1;
    }

    /// It ends. Without `keep` it can no longer be undone.
    pub(crate) fn end(&mut self, seq: u64, clock: u64, dot: Option<Dot>, names: usize, keep: bool) {
        let steps = self.journal.steps.len() - self.journal.finished;
        if keep {
            if dot.is_some() || steps > 0 {
                self.journal.units.push_back(Unit { seq, dot, names, clock, landed: None, steps });
                self.journal.finished += steps;
            }
            return;
        }
        for _ in 0..steps {
            if let Some(step) = self.journal.steps.pop_back() {
                self.forget_step(step);
            }
        }
    }

    /// It ends, can be undone, and these deltas count as received by it.
    pub(crate) fn end_landing(&mut self, seq: u64, clock: u64, landed: Landed) {
        let steps = self.journal.steps.len() - self.journal.finished;
        self.journal.units.push_back(Unit { seq, dot: None, names: 0, clock, landed: Some(Box::new(landed)), steps });
        self.journal.finished += steps;
    }

    /// Drops what undoes the first unit.
    pub(crate) fn forget_first(&mut self) -> Option<Unit> {
        let unit = self.journal.units.pop_front()?;
        self.journal.finished -= unit.steps;
        for _ in 0..unit.steps {
            if let Some(step) = self.journal.steps.pop_front() {
                self.forget_step(step);
            }
        }
        Some(unit)
    }

    /// Undoes the last unit.
    pub(crate) fn undo_last(&mut self) -> Option<Unit> {
        let unit = self.journal.units.pop_back()?;
        self.journal.finished -= unit.steps;
        for _ in 0..unit.steps {
            if let Some(step) = self.journal.steps.pop_back() {
                self.undo_step(step);
            }
        }
        self.gone.undo_from(unit.seq);
        Some(unit)
    }

    /// Drops what undoes the last unit.
    pub(crate) fn forget_last(&mut self) -> Option<Unit> {
        let unit = self.journal.units.pop_back()?;
        self.journal.finished -= unit.steps;
        for _ in 0..unit.steps {
            if let Some(step) = self.journal.steps.pop_back() {
                self.forget_step(step);
            }
        }
        Some(unit)
    }

    fn forget_step(&mut self, step: Pre) {
        match step {
            Pre::Top { old: Some(old), .. } => self.free_top(old),
            Pre::Element { old: Some(old), .. } => self.cells.free(old),
            Pre::Parts { parts, .. } => self.free_parts(&parts),
            _ => {}
        }
    }

    fn free_parts(&mut self, parts: &[(Part, Collection)]) {
        for handle in parts.iter().flat_map(|(_, c)| c.table.iter()) {
            self.cells.free(handle);
        }
    }

    pub(crate) fn free_top(&mut self, handle: Handle) {
        match handle.as_key() {
            Some(index) => {
                if let Some(key) = self.keys.take(index) {
                    self.free_parts(&key.parts);
                }
            }
            None => self.cells.free(handle),
        }
    }

    fn undo_step(&mut self, step: Pre) {
        match step {
            Pre::Slot { slot, digest, last_write } => {
                let now = &mut self.slots[usize::from(slot)];
                self.digest_total ^= now.digest ^ digest;
                (now.digest, now.last_write) = (digest, last_write);
            }
            Pre::Top { slot, old, new } => {
                self.swap_top(slot, new, old);
                if let Some(new) = new {
                    self.free_top(new);
                }
            }
            Pre::Element { key, part, old, new } => {
                self.swap_element(key, part, new, old);
                if let Some(new) = new {
                    self.cells.free(new);
                }
            }
            Pre::Register { key, part, element, siblings, counts } => {
                let back = |register: &mut Register| (register.siblings, register.counts) = (siblings, counts);
                let moved = element.map(|element| (key, part, element));
                self.reordering(moved.as_slice(), |state| state.change_register(key, (part, element), back));
            }
            Pre::Count { key, part, element, nth, old } => {
                let moved = element.map(|element| (key, part, element));
                self.reordering(moved.as_slice(), |state| state.swap_count(key, (part, element), nth as usize, old));
            }
            Pre::Parts { key, parts, words } => {
                if let Some(key) = self.keys.get_mut(key) {
                    key.parts = parts;
                }
                self.weigh_elements(key, 0, words);
            }
            Pre::Expiry { key, old } => drop(self.swap_expiry(key, old)),
            Pre::Key { key, digest, version, hidden, present } => {
                if let Some(key) = self.keys.get_mut(key) {
                    self.present = self.present + u64::from(present) - u64::from(key.present);
                    (key.digest, key.version, key.hidden, key.present) = (digest, version, hidden, present);
                }
            }
            Pre::Leftovers { slot, key, name, old } => drop(self.swap_leftovers(slot, &key, &name, old)),
            Pre::Side { slot, key, old } => drop(self.swap_side(slot, key, old)),
            Pre::Sides { slot, old } => drop(self.swap_sides(slot, old)),
        }
    }

    /// Replaces what stands in a slot's table, with the count of keys and the index of expiries.
    pub(crate) fn swap_top(&mut self, slot: u16, old: Option<Handle>, new: Option<Handle>) {
        if let Some(any) = old.or(new) {
            self.swap_hashed(slot, hash(self.name(any)), old, new);
        }
    }

    /// The same for a key whose hash is known.
    pub(crate) fn swap_hashed(&mut self, slot: u16, hashed: u64, old: Option<Handle>, new: Option<Handle>) {
        for (handle, comes) in [(old, false), (new, true)] {
            let Some(handle) = handle else { continue };
            let present = u64::from(self.is_present(handle));
            self.present = if comes { self.present + present } else { self.present - present };
            let weight = self.weight(handle);
            self.live = if comes { self.live + weight } else { self.live.saturating_sub(weight) };
            if let Some(at_ms) = self.expires_at(handle) {
                let entry = (at_ms, self.name(handle).into());
                if comes {
                    self.expiries.insert(entry)
                } else {
                    self.expiries.remove(&entry)
                };
            }
        }
        let State { slots, keys, cells, .. } = self;
        let table = &mut slots[usize::from(slot)].table;
        let hash_of = |handle: Handle| hash(name(keys, cells, handle));
        table.swap(hashed, old, new, hash_of);
    }

    /// Replaces an element in its collection.
    pub(crate) fn swap_element(&mut self, key: u32, part: Part, old: Option<Handle>, new: Option<Handle>) {
        if let Some(old) = old {
            self.unplace(key, part, old);
        }
        let [before, after] = [old, new].map(|handle| handle.map_or(0, |handle| self.words(part, handle)));
        self.weigh_elements(key, before, after);
        self.swap_in_table(key, part, old, new);
        if let Some(new) = new {
            self.place(key, part, new);
        }
    }

    fn swap_in_table(&mut self, key: u32, part: Part, old: Option<Handle>, new: Option<Handle>) {
        let State { keys, cells, .. } = self;
        let (Some(key), Some(any)) = (keys.get_mut(key), old.or(new)) else { return };
        let table = &mut key.part_mut(part).table;
        let hash_of = |handle: Handle| hash(cells.name(handle));
        table.swap(hash_of(any), old, new, hash_of);
    }

    /// Replaces a key's expiries, with their index. The key stands in its slot's table.
    pub(crate) fn swap_expiry(&mut self, index: u32, expiry: Vec<Expiry>) -> Vec<Expiry> {
        let weight = self.own_weight(index);
        let Some(key) = self.keys.get_mut(index) else { return Vec::new() };
        let before = key.expires_at();
        let old = std::mem::replace(&mut key.expiry, expiry);
        let after = key.expires_at();
        if before != after {
            if let Some(at_ms) = before {
                self.expiries.remove(&(at_ms, key.value.name.clone()));
            }
            if let Some(at_ms) = after {
                self.expiries.insert((at_ms, key.value.name.clone()));
            }
        }
        self.weigh_own(index, weight);
        old
    }

    /// Changes a value in general form, a key's own or an element's, with what it takes.
    pub(super) fn change_register<R>(
        &mut self,
        index: u32,
        at: (Part, Option<Handle>),
        change: impl FnOnce(&mut Register) -> R,
    ) -> Option<R> {
        let (part, element) = at;
        let Some(handle) = element.filter(|handle| handle.as_register().is_some()) else {
            let weight = self.own_weight(index);
            let result = self.keys.get_mut(index).map(|key| change(&mut key.value));
            self.weigh_own(index, weight);
            return result;
        };
        let before = self.words(part, handle);
        let register = handle.as_register().and_then(|at| self.cells.registers.get_mut(at));
        let result = register.map(|register| change(register));
        let after = self.words(part, handle);
        self.weigh_elements(index, before, after);
        result
    }

    /// A value in general form: a key's own, or an element's.
    pub(crate) fn register(&self, index: u32, at: (Part, Option<Handle>)) -> Option<&Register> {
        match at.1 {
            Some(element) => self.cells.register(element),
            None if at.0 == Part::Value => self.key(index).map(|key| &key.value),
            None => None,
        }
    }

    /// Replaces what an origin has counted, the nth of a value.
    pub(super) fn swap_count(&mut self, index: u32, at: (Part, Option<Handle>), nth: usize, count: Count) -> Count {
        let registers = &mut self.cells.registers;
        let counts = match at.1 {
            Some(element) => element.as_register().and_then(|i| registers.get_mut(i)).map(|r| &mut r.counts),
            None => self.keys.get_mut(index).map(|key| &mut key.value.counts),
        };
        counts.and_then(|counts| counts.get_mut(nth)).map_or(count, |old| std::mem::replace(old, count))
    }

    /// Replaces what deletion left behind of one value.
    pub(crate) fn swap_leftovers(
        &mut self,
        slot: u16,
        key: &[u8],
        name: &[u8],
        left: Option<Box<Leftovers>>,
    ) -> Option<Box<Leftovers>> {
        let before = self.side(slot, key).and_then(|side| side.values.get(name));
        let moved =
            self.reset_elements(slot, key, &mut before.into_iter().chain(left.as_deref()).flat_map(|l| &l.resets));
        self.reordering(&moved, |state| state.swap_leftovers_alone(slot, key, name, left))
    }

    fn swap_leftovers_alone(
        &mut self,
        slot: u16,
        key: &[u8],
        name: &[u8],
        left: Option<Box<Leftovers>>,
    ) -> Option<Box<Leftovers>> {
        let Some(side) = self.slots[usize::from(slot)].side.as_mut().and_then(|sides| sides.keys.get_mut(key)) else {
            let values = left.map(|left| BTreeMap::from([(name.into(), *left)])).unwrap_or_default();
            let side = Side { values, ..Side::default() };
            self.swap_side_alone(slot, key.into(), (!side.is_empty()).then(|| Box::new(side)));
            return None;
        };
        let old = match left {
            Some(left) => side.values.insert(name.into(), *left),
            None => side.values.remove(name),
        };
        if side.is_empty() {
            self.swap_side_alone(slot, key.into(), None);
        }
        old.map(Box::new)
    }

    /// Replaces all that deletion left behind of a key.
    pub(crate) fn swap_side(&mut self, slot: u16, key: Box<[u8]>, side: Option<Box<Side>>) -> Option<Box<Side>> {
        let before = self.side(slot, &key);
        let moved =
            self.reset_elements(slot, &key, &mut before.into_iter().chain(side.as_deref()).flat_map(Side::resets));
        self.reordering(&moved, |state| state.swap_side_alone(slot, key, side))
    }

    /// Replaces what deletion left behind of a whole slot. The keys that it is about are rebuilt with it.
    pub(crate) fn swap_sides(&mut self, slot: u16, sides: Option<Box<SlotSide>>) -> Option<Box<SlotSide>> {
        match sides {
            Some(_) => self.sided.insert(slot),
            None => self.sided.remove(&slot),
        };
        std::mem::replace(&mut self.slots[usize::from(slot)].side, sides)
    }

    fn swap_side_alone(&mut self, slot: u16, key: Box<[u8]>, side: Option<Box<Side>>) -> Option<Box<Side>> {
        let at = &mut self.slots[usize::from(slot)].side;
        let sides = at.get_or_insert_default();
        let old = match side {
            Some(side) => sides.keys.insert(key, *side),
            None => sides.keys.remove(&key),
        };
        if sides.keys.is_empty() && sides.seen.is_empty() {
            *at = None;
            self.sided.remove(&slot);
        } else {
            self.sided.insert(slot);
        }
        old.map(Box::new)
    }
}
