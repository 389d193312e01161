//! Counters beside their records: what was seen of them, and when what deletion left behind is no longer needed.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table::Entry};
use trireme_proto::ids::{Dot, Origin};

use super::State;
use super::cells::Handle;
use super::key::{Leftovers, Reset, Side};
use super::register::{Count, Register};
use crate::engine::delta::Part;
use crate::engine::vector::ReceivedSet;

/// One origin's last count of one value: (part, name, dot, total).
pub(crate) type Total = (Part, Box<[u8]>, Dot, i64);

/// Totals as they are gathered: of each value one for each origin, the latest.
#[derive(Default)]
struct Totals {
    list: Vec<Total>,
    /// Places in `list`, by value and origin: a hash may have very many counters.
    places: HashTable<usize>,
    hasher: FixedState,
    /// How often one was looked at.
    #[cfg(test)]
    looks: u64,
}

impl Totals {
    fn add(&mut self, new: Total) {
        let Totals { list, places, hasher, .. } = self;
        let hash = |t: &Total| hasher.hash_one((t.0, &t.1, t.2.origin));
        #[cfg(test)]
        let looks = std::cell::Cell::new(0);
        let same = |place: &usize| {
            #[cfg(test)]
            looks.set(looks.get() + 1);
            let t = &list[*place];
            t.0 == new.0 && t.1 == new.1 && t.2.origin == new.2.origin
        };
        match places.entry(hash(&new), same, |place| hash(&list[*place])) {
            Entry::Occupied(place) => {
                let old = &mut list[*place.get()];
                if (old.2.seq, old.3) < (new.2.seq, new.3) {
                    *old = new;
                }
            }
            Entry::Vacant(place) => {
                place.insert(list.len());
                list.push(new);
            }
        }
        #[cfg(test)]
        {
            self.looks += looks.get();
        }
    }
}

impl State {
    fn own_register(&self, slot: u16, key: &[u8], at: (Part, &[u8])) -> Option<&Register> {
        let index = self.find(slot, key)?.as_key()?;
        let element = match at {
            (Part::Value, _) => None,
            (part, name) => Some(self.find_element(index, part, name)?),
        };
        self.register(index, (at.0, element))
    }

    /// Running total and base from which an origin counts on; none: it starts anew.
    pub(crate) fn own_count(&self, slot: u16, key: &[u8], at: (Part, &[u8]), own: Origin) -> Option<(i64, (u64, i64))> {
        let counts = &self.own_register(slot, key, at)?.counts;
        let count = counts.iter().find(|c| c.dot.origin == own)?;
        let reset = self.reset(slot, key, at.0, at.1, own);
        count.worth(reset)?;
        Some((count.total, reset.map_or(count.base, |r| count.settled(r))))
    }

    /// What is live of counters, or known to be cancelled: of the whole key, or of one value.
    pub(crate) fn seen_totals(&self, slot: u16, key: &[u8], of: Option<(Part, &[u8])>) -> Vec<Total> {
        let mut seen = Totals::default();
        let mut cancelled = |left: &Leftovers| {
            for r in left.resets.iter().filter(|r| of.is_none_or(|(part, _)| part == r.part)) {
                seen.add((r.part, r.name.clone(), Dot { origin: r.origin, seq: r.seq }, r.total));
            }
        };
        match (self.side(slot, key), of) {
            (Some(side), Some((_, name))) => side.values.get(name).into_iter().for_each(&mut cancelled),
            (Some(side), None) => side.values.values().for_each(&mut cancelled),
            (None, _) => {}
        }
        let Some(found) = self.find(slot, key).and_then(Handle::as_key).and_then(|i| self.key(i)) else {
            return seen.list;
        };
        let mut counts = |part: Part, name: &[u8], counts: &[Count]| {
            counts.iter().for_each(|c| seen.add((part, name.into(), c.dot, c.total)));
        };
        match of {
            Some((part, name)) if part != Part::Value => {
                if let Some(register) = self.own_register(slot, key, (part, name)) {
                    counts(part, name, &register.counts);
                }
            }
            _ => {
                counts(Part::Value, &[], &found.value.counts);
                for (part, collection) in &found.parts {
                    let registers = collection.table.iter().filter_map(|h| self.cells.register(h));
                    registers.filter(|_| of.is_none()).for_each(|r| counts(*part, &r.name, &r.counts));
                }
            }
        }
        seen.list
    }

    /// Forgets what deletion left behind and is needed no more: removals all of whose context is in `received`, and the
    /// resets that `spent` says are. What is live remembers those.
    pub(crate) fn sweep(&mut self, received: &ReceivedSet, spent: &dyn Fn(&Reset) -> bool) {
        let sided: Vec<u16> = self.sided.iter().copied().collect();
        for slot in sided {
            let Some(side) = &mut self.slots[usize::from(slot)].side else { continue };
            if received.covers(&side.seen) {
                side.seen = ReceivedSet::default();
            }
            let keys: Vec<Box<[u8]>> = side.keys.keys().cloned().collect();
            if keys.is_empty() && side.seen.is_empty() {
                self.slots[usize::from(slot)].side = None;
                self.sided.remove(&slot);
            }
            for key in keys {
                self.sweep_key(slot, &key, received, spent);
            }
        }
    }

    fn sweep_key(&mut self, slot: u16, key: &[u8], received: &ReceivedSet, spent: &dyn Fn(&Reset) -> bool) {
        let resets = self.side(slot, key).into_iter().flat_map(Side::resets);
        let resets: Vec<Reset> = resets.filter(|r| spent(r)).cloned().collect();
        for reset in &resets {
            self.settle_reset(slot, key, reset);
        }
        self.edit_side(slot, key, |side| {
            if received.covers(&side.seen) {
                side.seen = ReceivedSet::default();
            }
            side.values.retain(|_, left| {
                left.pending.retain(|(_, context)| !received.covers(context));
                left.resets.retain(|r| !spent(r));
                !left.is_empty()
            });
        });
    }

    /// What is live of a counter remembers a reset. What it is worth stays the same.
    fn settle_reset(&mut self, slot: u16, key: &[u8], reset: &Reset) {
        let Some(index) = self.find(slot, key).and_then(Handle::as_key) else { return };
        if self.own_register(slot, key, (reset.part, &reset.name)).is_none() {
            return;
        }
        let dot = reset.dots.first().copied().unwrap_or(Dot { origin: reset.origin, seq: reset.seq });
        self.edit(slot, index, (reset.part, &reset.name), dot, |register| {
            for count in register.counts.iter_mut().filter(|c| c.dot.origin == reset.origin) {
                count.base = count.settled((reset.seq, reset.total));
            }
        });
    }
}

impl State {
    /// Computes anew what a key in general form keeps up to date otherwise: digest, hidden elements, presence.
    pub(crate) fn recount(&mut self, slot: u16, index: u32) {
        let Some(key) = self.key(index) else { return };
        let name = &key.value.name;
        let (mut digest, visible) = (self.look(slot, index, Part::Value, None).0, {
            key.value.visible(&|o| self.reset(slot, name, Part::Value, &[], o))
        });
        let mut hidden = [0; 5];
        let mut present = visible;
        for e in &key.expiry {
            digest ^= crate::engine::digest::expiry(name, e.dot, e.clock, e.at_ms);
        }
        for (part, collection) in &key.parts {
            for handle in collection.table.iter() {
                let (change, seen) = self.look(slot, index, *part, Some(handle));
                digest ^= change;
                present |= seen;
                hidden[*part as usize] += u32::from(!seen);
            }
        }
        if let Some(key) = self.keys.get_mut(index) {
            (key.digest, key.hidden, key.present) = (digest, hidden, present);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_totals_are_looked_at_as_there_are() {
        let mut totals = Totals::default();
        let origins = [1, 2, 3].map(|group| Origin { group, generation: 1 });
        let fields = 20_000_u64;
        for round in [1, 2, 1] {
            for field in 0..fields {
                for origin in origins {
                    let name = field.to_le_bytes().into();
                    totals.add((Part::Hash, name, Dot { origin, seq: field + round }, 1));
                }
            }
        }
        let each = 3 * fields;
        assert_eq!(totals.list.len() as u64, each);
        assert!(totals.list.iter().zip(0..).all(|(total, at)| total.2.seq == at / 3 + 2), "the latest, in order");
        // Each is found twice; a few more have the same bits of their hash in the table.
        assert!(totals.looks < 3 * each, "{} looks at {each} totals", totals.looks);
    }
}
