//! The changes of a delta, applied to the state: the same code at the origin and where the delta is joined.

use super::State;
use super::cells::Handle;
use super::edit::Write;
use super::hash;
use super::key::{Expiry, Path, Reset, Target};
use super::register::{Count, Register, Sibling};
use super::undo::Pre;
use crate::engine::delta::{Change, Part};
use crate::engine::digest;

impl State {
    /// One change of one key, of this slot.
    pub(crate) fn apply(&mut self, slot: u16, key: &[u8], change: Change<'_>, w: &mut Write<'_>) {
        self.touch(slot, w.seq);
        w.known = w.context.is_some() && self.reflected(slot, key, w.dot);
        match change {
            Change::Seen(set) => w.extra = Some(set),
            Change::Reset { part, name, origin, seq, total } => {
                let reset = Reset { part, name: name.into(), origin, seq, total, dots: vec![w.dot] };
                self.reset_count(slot, key, reset, w);
            }
            Change::Clear { keep_expiry } => {
                let there = self.watches(w) && self.find(slot, key).is_some_and(|handle| self.is_present(handle));
                self.clear(slot, key, keep_expiry, w);
                if there {
                    self.note_clear(slot, key, w);
                }
            }
            Change::Set { keep_expiry, value } => self.set(slot, key, keep_expiry, value, w),
            Change::Remove { part, name } => self.remove_element(slot, key, part, name, w),
            Change::Put { part, name, value } => self.put_element(slot, key, (part, name), value, w),
            Change::Count { part, name, total, base, .. } => {
                self.count(slot, key, (part, name), Count { dot: w.dot, total, base }, w);
            }
            Change::Expire { at_ms } => self.expire(slot, key, Some(at_ms), w),
            Change::Persist => self.expire(slot, key, None, w),
        }
    }

    /// Whether a removal takes whatever is there.
    fn takes_all(&self, slot: u16, w: &Write<'_>) -> bool {
        w.context.is_none() || (w.covers && self.slot(slot).side.is_none())
    }

    /// Keeps a removal that names what has not arrived.
    fn pend(&mut self, slot: u16, key: &[u8], target: Target, w: &Write<'_>) {
        let Some(context) = w.context else { return };
        if w.within && w.extra.is_none() {
            return;
        }
        let mut context = context.to_set();
        if let Some(extra) = &w.extra {
            context.merge(extra);
        }
        let name: Box<[u8]> = target.name().into();
        self.edit_leftovers(slot, key, &name, |left| left.add_pending(target, context));
    }

    fn set(&mut self, slot: u16, key: &[u8], keep_expiry: bool, value: &[u8], w: &Write<'_>) {
        // Nearly always a plain string, or nothing, gives way to a plain string: one search, one look at the old cell.
        let hashed = hash(key);
        let old = self.find_hashed(slot, hashed, key);
        let (taken, before) = match old.map(|h| (h.as_key(), self.cells.plain(h))) {
            Some((_, Some(p))) => (self.takes_all(slot, w) || w.takes(p.dot), digest::plain(key, &p)),
            Some((Some(index), _)) => {
                (self.takes_all(slot, w) && !keep_expiry, self.key(index).map_or(0, |k| k.digest))
            }
            _ => (true, 0),
        };
        if taken && self.slot(slot).side.is_none() && (w.within && w.extra.is_none() || w.context.is_none()) {
            let new = self.cells.put_key(key, w.dot, w.clock, value);
            self.swap_hashed(slot, hashed, old, Some(new));
            self.journal.push(Pre::Top { slot, old, new: Some(new) });
            let after = digest::value(Part::Value, key, &[], w.dot, w.clock, value);
            return self.xor(slot, before ^ after);
        }
        self.clear(slot, key, keep_expiry, w);
        if !self.admits(slot, key, Path::Value(Part::Value, &[]), w.dot) {
            return;
        }
        let old = self.find(slot, key);
        let index = self.general(slot, key, old);
        self.edit(slot, index, (Part::Value, &[]), w.dot, |r| r.put(w, value));
        self.note_written(slot, index, (Part::Value, &[]), w);
        self.note_expiry(index, w);
        self.settle(slot, index);
    }

    fn clear(&mut self, slot: u16, key: &[u8], keep_expiry: bool, w: &Write<'_>) {
        self.pend(slot, key, Target::Key { keep_expiry }, w);
        let Some(old) = self.find(slot, key) else { return };
        let all = self.takes_all(slot, w);
        let Some(index) = old.as_key() else {
            if all || self.cells.plain(old).is_some_and(|p| w.takes(p.dot)) {
                let change = self.digest_of(old);
                self.replace_top(slot, Some(old), None);
                self.xor(slot, change);
            }
            return;
        };
        if all && !keep_expiry {
            let change = self.digest_of(old);
            self.replace_top(slot, Some(old), None);
            return self.xor(slot, change);
        }
        self.edit(slot, index, (Part::Value, &[]), w.dot, |r| r.clear(w));
        if all {
            self.drop_parts(slot, index, w);
        } else {
            self.filter_parts(slot, index, w);
        }
        if !keep_expiry {
            let left = self.key(index).map(|k| k.expiry.iter().copied().filter(|e| !w.takes(e.dot)).collect());
            self.edit_expiry(slot, index, left.unwrap_or_default(), w.dot);
        }
        self.settle(slot, index);
    }

    /// Drops all collections at once. The value has been cleared, so what is left in the digest is theirs and the expiries'.
    fn drop_parts(&mut self, slot: u16, index: u32, w: &Write<'_>) {
        let Some(key) = self.keys.get_mut(index) else { return };
        if key.parts.is_empty() {
            return;
        }
        let name = &key.value.name;
        let expiry = key.expiry.iter().fold(0, |h, e| h ^ digest::expiry(name, e.dot, e.clock, e.at_ms));
        let change = key.digest ^ expiry;
        let (parts, words) = (std::mem::take(&mut key.parts), key.words);
        self.note_key(slot, index, change, w.dot);
        if let Some(key) = self.keys.get_mut(index) {
            key.hidden = [0; 5];
        }
        self.weigh_elements(index, words, 0);
        self.journal.push(Pre::Parts { key: index, parts, words });
    }

    fn filter_parts(&mut self, slot: u16, index: u32, w: &Write<'_>) {
        let Some(key) = self.key(index) else { return };
        let mut taken: Vec<(Part, Handle)> = Vec::new();
        for (part, collection) in &key.parts {
            taken.extend(collection.table.iter().filter(|h| self.touches(*h, w)).map(|h| (*part, h)));
        }
        for (part, handle) in taken {
            self.take_from(slot, index, (part, handle), w);
        }
    }

    fn touches(&self, element: Handle, w: &Write<'_>) -> bool {
        match self.cells.plain(element) {
            Some(p) => w.takes(p.dot),
            None => true,
        }
    }

    /// Removes of one element what the writer has seen.
    fn take_from(&mut self, slot: u16, index: u32, at: (Part, Handle), w: &Write<'_>) {
        let (part, handle) = at;
        if self.cells.plain(handle).is_some() {
            return self.replace_element(slot, index, part, Some(handle), None, w.dot);
        }
        let name: Box<[u8]> = self.cells.name(handle).into();
        self.edit(slot, index, (part, &name), w.dot, |r| r.clear(w));
    }

    fn remove_element(&mut self, slot: u16, key: &[u8], part: Part, name: &[u8], w: &Write<'_>) {
        self.pend(slot, key, Target::Element(part, name.into()), w);
        let found = self.find(slot, key).and_then(Handle::as_key);
        let found = found.and_then(|index| Some((index, self.find_element(index, part, name)?)));
        let Some((index, element)) = found else { return self.note_missing(key, part, w) };
        if self.touches(element, w) {
            self.take_from(slot, index, (part, element), w);
            self.note_kept(slot, index, (part, name), w);
            self.settle(slot, index);
        } else {
            self.note_kept(slot, index, (part, name), w);
        }
    }

    fn put_element(&mut self, slot: u16, key: &[u8], at: (Part, &[u8]), value: &[u8], w: &Write<'_>) {
        let (part, name) = at;
        self.pend(slot, key, Target::Element(part, name.into()), w);
        let admitted = self.admits(slot, key, Path::Value(part, name), w.dot);
        if !admitted {
            return self.remove_element(slot, key, part, name, w);
        }
        let top = self.find(slot, key);
        let index = self.general(slot, key, top);
        let old = self.find_element(index, part, name);
        let plain = old.is_none_or(|h| self.cells.plain(h).is_some_and(|p| w.takes(p.dot)));
        if plain {
            let new = self.cells.put(name, w.dot, w.clock, value);
            self.replace_element(slot, index, part, old, Some(new), w.dot);
        } else {
            self.edit(slot, index, at, w.dot, |r| {
                r.clear(w);
                r.put(w, value);
            });
        }
        self.note_written(slot, index, at, w);
        self.settle(slot, index);
    }

    fn count(&mut self, slot: u16, key: &[u8], at: (Part, &[u8]), count: Count, w: &Write<'_>) {
        if !w.in_order {
            self.pend(slot, key, Target::Count(at.0, at.1.into(), w.dot.origin), w);
        }
        let admitted = self.admits(slot, key, Path::Count(at.0, at.1), w.dot);
        let top = self.find(slot, key);
        if !admitted && top.is_none() {
            return;
        }
        let index = self.general(slot, key, top);
        if !(admitted && self.put_count(slot, index, at, count)) {
            self.edit_count(slot, index, at, count, admitted);
        }
        self.note_written(slot, index, at, w);
        self.settle(slot, index);
    }

    /// The same where it does not take the place of an earlier one: it is the first of its origin, or one that must not come in and yet ends what was before it.
    fn edit_count(&mut self, slot: u16, index: u32, at: (Part, &[u8]), count: Count, admitted: bool) {
        self.edit(slot, index, at, count.dot, |r| {
            let own = r.counts.iter().position(|c| c.dot.origin == count.dot.origin);
            match own {
                Some(i) if !admitted && r.counts[i].dot.seq < count.dot.seq => drop(r.counts.remove(i)),
                None if admitted => {
                    let i = r.counts.partition_point(|c| c.dot < count.dot);
                    r.counts.insert(i, count);
                }
                Some(_) | None => {}
            }
        });
    }

    fn expire(&mut self, slot: u16, key: &[u8], at_ms: Option<u64>, w: &Write<'_>) {
        self.pend(slot, key, Target::Expiry, w);
        let top = self.find(slot, key);
        let at_ms = at_ms.filter(|_| self.admits(slot, key, Path::Expiry, w.dot));
        if at_ms.is_none() && top.is_none_or(|h| h.as_key().is_none()) {
            return;
        }
        let index = self.general(slot, key, top);
        let mut left: Vec<Expiry> = Vec::new();
        if let Some(key) = self.key(index) {
            left.extend(key.expiry.iter().filter(|e| !w.takes(e.dot)));
        }
        if let Some(at_ms) = at_ms {
            let i = left.partition_point(|e| e.dot < w.dot);
            left.insert(i, Expiry { dot: w.dot, clock: w.clock, at_ms });
        }
        self.edit_expiry(slot, index, left, w.dot);
        self.note_expiry(index, w);
        self.settle(slot, index);
    }

    /// Cancels what an origin has counted up to a total.
    pub(crate) fn reset_count(&mut self, slot: u16, key: &[u8], reset: Reset, w: &Write<'_>) {
        let (part, name) = (reset.part, reset.name.clone());
        let handle = self.find(slot, key).and_then(Handle::as_key);
        let before = handle.map(|index| self.look_at(slot, index, part, &name));
        self.edit_leftovers(slot, key, &name, |left| left.add_reset(reset));
        if let (Some(index), Some(before)) = (handle, before) {
            self.note_worth(slot, index, (part, &name), before, w);
            self.settle(slot, index);
        }
    }

    fn look_at(&self, slot: u16, index: u32, part: Part, name: &[u8]) -> (u64, bool) {
        if part == Part::Value {
            return self.look(slot, index, part, None);
        }
        self.find_element(index, part, name).map_or((0, true), |h| self.look(slot, index, part, Some(h)))
    }

    /// Notes that a value's worth has changed by what happened beside it.
    fn note_worth(&mut self, slot: u16, index: u32, at: (Part, &[u8]), before: (u64, bool), w: &Write<'_>) {
        let after = self.look_at(slot, index, at.0, at.1);
        if after != before {
            self.note_key(slot, index, before.0 ^ after.0, w.dot);
            if let Some(key) = self.keys.get_mut(index) {
                let hidden = &mut key.hidden[at.0 as usize];
                *hidden = *hidden + u32::from(!after.1) - u32::from(!before.1);
            }
        }
    }
}

impl Register {
    /// Removes what the writer has seen.
    fn clear(&mut self, w: &Write<'_>) {
        self.siblings.retain(|s| !w.takes(s.dot));
        self.counts.retain(|c| !w.takes(c.dot));
    }

    /// Adds a sibling, in place of one with the same dot.
    fn put(&mut self, w: &Write<'_>, value: &[u8]) {
        let new = Sibling { dot: w.dot, clock: w.clock, value: value.into() };
        match self.siblings.binary_search_by_key(&w.dot, |s| s.dot) {
            Ok(at) => self.siblings[at] = new,
            Err(at) => self.siblings.insert(at, new),
        }
    }
}
