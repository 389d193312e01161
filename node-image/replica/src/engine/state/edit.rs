//! The steps that changes are made of. Each notes in the journal what it replaced and keeps digests and counts true.

use trireme_proto::ids::Dot;

use super::cells::Handle;
use super::key::{Expiry, Key, Leftovers, Path, Side, work};
use super::register::{Count, Register, Sibling};
use super::undo::Pre;
use super::{SlotSide, State, hash, version_of};
use crate::engine::delta::{Context, Part};
use crate::engine::digest;
use crate::engine::vector::ReceivedSet;

/// Who writes, and what it had seen.
pub(crate) struct Write<'w> {
    pub(crate) dot: Dot,
    pub(crate) clock: u64,
    pub(crate) seq: u64,
    /// None at the origin itself: it has seen everything that is here.
    pub(crate) context: Option<&'w Context>,
    /// The context covers all that was received here.
    pub(crate) covers: bool,
    /// All of the context has been received here.
    pub(crate) within: bool,
    /// All earlier deltas of this origin have been received here.
    pub(crate) in_order: bool,
    /// For the key at hand: what the origin had seen by joined state.
    pub(crate) extra: Option<ReceivedSet>,
    /// For the key at hand: this delta is already reflected here by joined state.
    pub(crate) known: bool,
}

impl Write<'_> {
    /// Whether a removal takes a record with this dot.
    pub(crate) fn takes(&self, dot: Dot) -> bool {
        let Some(context) = self.context else { return true };
        (dot == self.dot && !self.known)
            || context.contains(dot)
            || self.extra.as_ref().is_some_and(|e| e.contains(dot))
    }
}

impl State {
    /// Notes that this unit of work writes to a slot.
    pub(crate) fn touch(&mut self, slot: u16, seq: u64) {
        if self.note_slot(slot) {
            let at = &mut self.slots[usize::from(slot)];
            at.last_write = at.last_write.max(seq);
        }
    }

    /// Notes what a slot was before this unit of work. Says whether that was not known.
    pub(crate) fn note_slot(&mut self, slot: u16) -> bool {
        let unit = self.journal.current;
        let at = &mut self.slots[usize::from(slot)];
        if at.touched == unit {
            return false;
        }
        at.touched = unit;
        self.journal.push(Pre::Slot { slot, digest: at.digest, last_write: at.last_write });
        true
    }

    pub(crate) fn xor(&mut self, slot: u16, change: u64) {
        self.slots[usize::from(slot)].digest ^= change;
        self.digest_total ^= change;
    }

    /// Replaces a key in its slot's table; the digest is the caller's.
    pub(crate) fn replace_top(&mut self, slot: u16, old: Option<Handle>, new: Option<Handle>) {
        if let Some(old) = old.filter(|old| self.is_present(*old))
            && !new.is_some_and(|new| self.is_present(new))
        {
            self.gone.note(self.seq, hash(self.name(old)), self.version_at(old));
        }
        self.swap_top(slot, old, new);
        self.journal.push(Pre::Top { slot, old, new });
    }

    /// Replaces what deletion left behind of a whole slot.
    pub(crate) fn replace_sides(&mut self, slot: u16, sides: Option<Box<SlotSide>>) {
        let old = self.swap_sides(slot, sides);
        self.journal.push(Pre::Sides { slot, old });
    }

    /// Notes that a key in general form changes: its digest by this much.
    pub(crate) fn note_key(&mut self, slot: u16, index: u32, change: u64, dot: Dot) {
        let Some(key) = self.keys.get_mut(index) else { return };
        self.journal.push(Pre::Key {
            key: index,
            digest: key.digest,
            version: key.version,
            hidden: key.hidden,
            present: key.present,
        });
        key.digest ^= change;
        key.used = self.now;
        if change != 0 {
            key.version = version_of(dot);
        }
        self.xor(slot, change);
    }

    /// The key in general form: made of what is there, or new.
    pub(crate) fn general(&mut self, slot: u16, name: &[u8], old: Option<Handle>) -> u32 {
        if let Some(index) = old.and_then(Handle::as_key) {
            return index;
        }
        let mut key =
            Key { value: Register { name: name.into(), ..Register::default() }, used: self.now, ..Key::default() };
        if let Some(handle) = old {
            key.digest = self.digest_of(handle);
            key.present = true;
            if let Some(p) = self.cells.plain(handle) {
                key.version = version_of(p.dot);
                key.value.siblings.push(Sibling { dot: p.dot, clock: p.clock, value: p.value.into() });
            }
        }
        let index = self.keys.put(Box::new(key));
        self.replace_top(slot, old, Some(Handle::key(index)));
        index
    }

    /// Brings a key in general form up to date after changes: whether it is there at all, and whether a cell does for it.
    pub(crate) fn settle(&mut self, slot: u16, index: u32) {
        let Some(key) = self.keys.get(index) else { return };
        if key.is_empty() {
            return self.replace_top(slot, Some(Handle::key(index)), None);
        }
        let collections = key.parts.iter().any(|(_, c)| !c.table.is_empty());
        if let ([only], true) =
            (&*key.value.siblings, key.value.counts.is_empty() && key.expiry.is_empty() && !collections)
            // A cell's version is that of its record: what changed last must have been that.
            && key.version == version_of(only.dot)
        {
            let cell = self.cells.put_key(&key.value.name, only.dot, only.clock, &only.value);
            return self.replace_top(slot, Some(Handle::key(index)), Some(cell));
        }
        let name = &key.value.name;
        let present = [Part::Hash, Part::Set, Part::SortedSet, Part::List].iter().any(|p| key.visible_in(*p) > 0)
            || key.value.visible(&|o| self.reset(slot, name, Part::Value, &[], o));
        let was = key.present;
        if present != was {
            // The step that notes what the key was stands before this one in the journal: every change of a key makes one.
            if let Some(key) = self.keys.get_mut(index) {
                key.present = present;
            }
            self.present = if present { self.present + 1 } else { self.present - 1 };
            if !present {
                let handle = Handle::key(index);
                self.gone.note(self.seq, hash(self.name(handle)), self.version_at(handle));
            }
        }
    }

    /// Digest and visibility of a key's own value (no element), or of an element.
    pub(crate) fn look(&self, slot: u16, index: u32, part: Part, element: Option<Handle>) -> (u64, bool) {
        let Some(key) = self.key(index) else { return (0, true) };
        let name = &key.value.name;
        match element {
            Some(h) => (self.element_digest(slot, name, part, h), self.element_visible(slot, name, part, h)),
            None => {
                let reset = |o| self.reset(slot, name, Part::Value, &[], o);
                (digest::register(Part::Value, name, &key.value, &reset), true)
            }
        }
    }

    /// Changes a value in general form in place: the key's own, or an element that is a register. `change` notes it in the journal, and says whether it
    /// was one.
    fn edit_register(
        &mut self,
        slot: u16,
        index: u32,
        at: (Part, Option<Handle>),
        dot: Dot,
        change: impl FnOnce(&mut State) -> bool,
    ) {
        let (part, element) = at;
        let before = self.look(slot, index, part, element);
        let moved = element.map(|element| (index, part, element));
        if self.reordering(moved.as_slice(), change) {
            let after = self.look(slot, index, part, element);
            self.note_key(slot, index, before.0 ^ after.0, dot);
            self.count_hidden(index, part, before.1, after.1);
        }
    }

    /// Puts what an origin has counted by now in the place of what it had counted, where that is in this value, and not later. False: it is not.
    pub(crate) fn put_count(&mut self, slot: u16, index: u32, at: (Part, &[u8]), count: Count) -> bool {
        let (part, name) = at;
        let element = match part {
            Part::Value => None,
            _ => self.find_element(index, part, name),
        };
        let place = (part, element);
        let of_origin = |own: &Count| own.dot.origin == count.dot.origin && own.dot.seq <= count.dot.seq;
        let found = self.register(index, place).and_then(|register| register.counts.iter().position(of_origin));
        let Some(nth) = found else { return false };
        self.edit_register(slot, index, place, count.dot, |state| {
            let old = state.swap_count(index, place, nth, count);
            state.journal.push(Pre::Count { key: index, part, element, nth: nth as u32, old });
            true
        });
        true
    }

    /// The change itself, with its step in the journal. False: it changed nothing.
    fn edit_in_place(&mut self, index: u32, at: (Part, Option<Handle>), f: impl FnOnce(&mut Register)) -> bool {
        let (part, element) = at;
        let edited = self.change_register(index, at, |register| {
            let (siblings, counts) = (register.siblings.clone(), register.counts.clone());
            f(register);
            let changed = register.siblings != siblings || register.counts != counts;
            changed.then_some((siblings, counts))
        });
        let Some(Some((siblings, counts))) = edited else { return false };
        self.journal.push(Pre::Register { key: index, part, element, siblings, counts });
        true
    }

    /// An element becomes visible or is hidden. The key's step in the journal has been made.
    fn count_hidden(&mut self, index: u32, part: Part, before: bool, after: bool) {
        if let Some(key) = self.keys.get_mut(index) {
            let hidden = &mut key.hidden[part as usize];
            *hidden = *hidden + u32::from(!after) - u32::from(!before);
        }
    }

    /// Replaces an element of a collection, digest included.
    pub(crate) fn replace_element(
        &mut self,
        slot: u16,
        index: u32,
        part: Part,
        old: Option<Handle>,
        new: Option<Handle>,
        dot: Dot,
    ) {
        let look = |h: Option<Handle>| h.map_or((0, true), |h| self.look(slot, index, part, Some(h)));
        let (before, after) = (look(old), look(new));
        self.swap_element(index, part, old, new);
        self.journal.push(Pre::Element { key: index, part, old, new });
        self.note_key(slot, index, before.0 ^ after.0, dot);
        self.count_hidden(index, part, before.1, after.1);
    }

    /// Changes a value, whatever its form: a key's own (part Value) or an element's. It is made if it is not there and
    /// dropped if nothing is left of it.
    pub(crate) fn edit(&mut self, slot: u16, index: u32, at: (Part, &[u8]), dot: Dot, f: impl FnOnce(&mut Register)) {
        let (part, name) = at;
        if part == Part::Value {
            let at = (part, None);
            return self.edit_register(slot, index, at, dot, |state| state.edit_in_place(index, at, f));
        }
        let old = self.find_element(index, part, name);
        let general = match old {
            Some(handle) if handle.as_register().is_some() => handle,
            _ => {
                let mut register = Box::new(Register { name: name.into(), ..Register::default() });
                if let Some(p) = old.and_then(|h| self.cells.plain(h)) {
                    register.siblings.push(Sibling { dot: p.dot, clock: p.clock, value: p.value.into() });
                }
                let new = self.cells.put_register(register);
                self.replace_element(slot, index, part, old, Some(new), dot);
                new
            }
        };
        let place = (part, Some(general));
        self.edit_register(slot, index, place, dot, |state| state.edit_in_place(index, place, f));
        let Some(at) = general.as_register() else { return };
        let Some(register) = self.cells.registers.get(at) else { return };
        if register.is_empty() {
            return self.replace_element(slot, index, part, Some(general), None, dot);
        }
        let ([only], true) = (&*register.siblings, register.counts.is_empty()) else { return };
        let only = only.clone();
        let cell = self.cells.put(name, only.dot, only.clock, &only.value);
        self.replace_element(slot, index, part, Some(general), Some(cell), dot);
    }

    /// Replaces a key's expiries, digest included.
    pub(crate) fn edit_expiry(&mut self, slot: u16, index: u32, expiry: Vec<Expiry>, dot: Dot) {
        let Some(key) = self.keys.get(index) else { return };
        if key.expiry == expiry {
            return;
        }
        let name = &key.value.name;
        let hash = |all: &[Expiry]| all.iter().fold(0, |h, e| h ^ digest::expiry(name, e.dot, e.clock, e.at_ms));
        let change = hash(&key.expiry) ^ hash(&expiry);
        let old = self.swap_expiry(index, expiry);
        self.journal.push(Pre::Expiry { key: index, old });
        self.note_key(slot, index, change, dot);
    }

    /// Changes what deletion left behind of one value. Its digest, and whether it is visible, are the caller's.
    pub(crate) fn edit_leftovers(&mut self, slot: u16, key: &[u8], name: &[u8], f: impl FnOnce(&mut Leftovers)) {
        let old = self.side(slot, key).and_then(|side| side.values.get(name)).cloned();
        let mut left = old.clone().unwrap_or_default();
        work::count(|| left.pending.len() + left.resets.len());
        f(&mut left);
        if old.unwrap_or_default() == left {
            return;
        }
        let old = self.swap_leftovers(slot, key, name, (!left.is_empty()).then(|| Box::new(left)));
        self.journal.push(Pre::Leftovers { slot, key: key.into(), name: name.into(), old });
    }

    /// Changes all that deletion left behind of a key: to be done seldom. `f` must not change what anything is worth.
    pub(crate) fn edit_side(&mut self, slot: u16, key: &[u8], f: impl FnOnce(&mut Side)) {
        let old = self.side(slot, key).cloned();
        work::count(|| old.as_ref().map_or(0, Side::len));
        let mut side = old.clone().unwrap_or_default();
        f(&mut side);
        if old.as_ref().is_some_and(|o| *o == side) || (old.is_none() && side.is_empty()) {
            return;
        }
        let old = self.swap_side(slot, key.into(), (!side.is_empty()).then(|| Box::new(side)));
        self.journal.push(Pre::Side { slot, key: key.into(), old });
    }

    /// Whether a record may come in.
    pub(crate) fn admits(&self, slot: u16, key: &[u8], path: Path<'_>, dot: Dot) -> bool {
        self.slot(slot).side.is_none() || !self.blocked(slot, key, path, dot)
    }
}
