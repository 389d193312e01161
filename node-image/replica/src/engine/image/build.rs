//! A key made of its records.

use std::collections::BTreeMap;

use super::{KeyImage, Record};
use crate::engine::delta::Part;
use crate::engine::state::cells::{Handle, stamp_of};
use crate::engine::state::key::{Expiry, Key};
use crate::engine::state::register::{Count, Register, Sibling};
use crate::engine::state::{State, version_of};

impl State {
    /// Puts a key with these records in place of what stands in the slot's table.
    pub(super) fn rebuild(&mut self, slot: u16, name: &[u8], old: Option<Handle>, image: KeyImage) -> bool {
        let before = old.map_or(0, |h| self.digest_of(h));
        let new = self.build(slot, name, image);
        let after = new.map_or(0, |h| self.digest_of(h));
        self.replace_top(slot, old, new);
        self.xor(slot, before ^ after);
        before != after
    }

    fn build(&mut self, slot: u16, name: &[u8], image: KeyImage) -> Option<Handle> {
        if image.records.is_empty() {
            return None;
        }
        if let (1, Some(((Part::Value, _, 0, dot), Record::Value { clock, value }))) =
            (image.records.len(), image.records.first_key_value())
            && image.version == version_of(*dot)
        {
            return Some(self.cells.put_key(name, *dot, *clock, value));
        }
        let mut registers: BTreeMap<(Part, Box<[u8]>), Register> = BTreeMap::new();
        let mut key = Key { version: image.version, ..Key::default() };
        // When it was used is not in an image: it was written by then, and what was only counted is as good as new.
        let mut used = 0;
        for ((part, element, _, dot), record) in image.records {
            match record {
                Record::Value { clock, value } => {
                    used = used.max(clock);
                    registers.entry((part, element)).or_default().siblings.push(Sibling { dot, clock, value });
                }
                Record::Count { total, base } => {
                    let counts = &mut registers.entry((part, element)).or_default().counts;
                    // Of one origin only the last counts; records are in order of their dots.
                    counts.retain(|c| c.dot.origin != dot.origin);
                    counts.push(Count { dot, total, base });
                }
                Record::Expiry { clock, at_ms } => {
                    used = used.max(clock);
                    key.expiry.push(Expiry { dot, clock, at_ms });
                }
            }
        }
        key.used = if used > 0 { stamp_of(used) } else { self.now };
        key.value = registers.remove(&(Part::Value, Box::default())).unwrap_or_default();
        key.value.name = name.into();
        let index = self.keys.put(Box::new(key));
        // It counts when it stands in its table, with all that it has.
        let live = self.live;
        for ((part, element), mut register) in registers {
            let handle = match (&*register.siblings, register.counts.is_empty()) {
                ([only], true) => self.cells.put(&element, only.dot, only.clock, &only.value),
                _ => {
                    register.name = element;
                    self.cells.put_register(Box::new(register))
                }
            };
            self.swap_element(index, part, None, Some(handle));
        }
        self.live = live;
        self.recount(slot, index);
        Some(Handle::key(index))
    }
}
