//! State as bytes: one slot, with what its sender had seen, and what belongs to no slot. Reading an image is a join: nothing that is newer here
//! is lost, what the sender had seen come and go does not come back.
//!
//! An image is the same for the same state, whatever happened before: keys and elements are in order.

use std::collections::BTreeMap;

use trireme_proto::ids::Dot;

use super::Engine;
use super::bytes::{DeltaError, Reader, put_bytes, put_number, put_signed};
use super::delta::{Part, put_dot, read_dot};
use super::moved::Moved;
use super::state::State;
use super::state::cells::Handle;
use super::state::key::{Expiry, Key, Path, Reset, Side, Target};
use super::state::register::{Count, Register, Sibling};
use super::state::{SlotSide, version_of};
use super::vector::ReceivedSet;

const FORMAT: u8 = 1;

/// What a record holds, beside its place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Record {
    Value { clock: u64, value: Box<[u8]> },
    Count { total: i64, base: (u64, i64) },
    Expiry { clock: u64, at_ms: u64 },
}

/// A record's place within its key: part, name, kind of record, dot.
type Place = (Part, Box<[u8]>, u8, Dot);

/// A key's records, and its version.
#[derive(Default)]
struct KeyImage {
    version: u64,
    records: BTreeMap<Place, Record>,
}

impl Engine {
    /// Appends a slot's image: its keys, last write, and what this engine has seen. Nothing for a slot that is empty and was never written.
    /// The slot's last write must be committed: what may still be undone is not among what the image says was seen.
    pub fn export_slot(&self, slot: u16, out: &mut Vec<u8>) {
        let at = self.state.slot(slot);
        if at.table.is_empty() && at.last_write == 0 && at.side.is_none() {
            return;
        }
        out.push(FORMAT);
        put_number(out, at.last_write);
        let mut seen = self.committed.clone();
        if let Some(side) = &at.side {
            seen.merge(&side.seen);
        }
        seen.write(out);
        let mut handles: Vec<Handle> = at.table.iter().copied().collect();
        handles.sort_unstable_by(|a, b| self.state.name(*a).cmp(self.state.name(*b)));
        put_number(out, handles.len() as u64);
        for handle in handles {
            write_key(&self.state, handle, out);
        }
        let none = BTreeMap::new();
        let sides = at.side.as_ref().map_or(&none, |s| &s.keys);
        put_number(out, sides.len() as u64);
        for (key, side) in sides {
            put_bytes(out, key);
            write_side(side, out);
        }
    }

    /// Joins a slot's image into this engine's slot. Not to be called while something may be undone.
    ///
    /// # Errors
    /// The bytes are no image: nothing has changed.
    pub fn import_slot(&mut self, slot: u16, image: &[u8]) -> Result<(), DeltaError> {
        if image.is_empty() {
            return Ok(());
        }
        let mut reader = Reader { rest: image };
        if reader.byte()? != FORMAT {
            return reader.error("an image of another version");
        }
        let last_write = reader.number()?;
        let seen = ReceivedSet::read(&mut reader)?;
        let mut keys: BTreeMap<&[u8], KeyImage> = BTreeMap::new();
        for _ in 0..reader.count(3)? {
            let key = reader.bytes()?;
            if super::slot_of(key) != slot {
                return reader.error("a key of another slot");
            }
            keys.insert(key, read_key(&mut reader)?);
        }
        let mut sides: Vec<(&[u8], Side)> = Vec::new();
        for _ in 0..reader.count(3)? {
            sides.push((reader.bytes()?, read_side(&mut reader)?));
        }
        if !reader.rest.is_empty() {
            return reader.error("bytes after the end");
        }
        self.join_image(slot, &seen, keys, sides);
        let at = self.state.slot_mut(slot);
        at.last_write = at.last_write.max(last_write);
        Ok(())
    }

    fn join_image(
        &mut self,
        slot: u16,
        seen: &ReceivedSet,
        mut keys: BTreeMap<&[u8], KeyImage>,
        sides: Vec<(&[u8], Side)>,
    ) {
        // What is reflected here: while images are read, a slot that is still empty reflects nothing.
        let empty = self.state.slot(slot).table.is_empty() && self.state.slot(slot).side.is_none();
        let mut ours = if self.loading && empty { ReceivedSet::default() } else { self.received.clone() };
        if let Some(side) = &self.state.slot(slot).side {
            ours.merge(&side.seen);
        }
        let mut pending: BTreeMap<Box<[u8]>, Vec<(Target, ReceivedSet)>> = BTreeMap::new();
        if let Some(side) = &self.state.slot(slot).side {
            for (key, side) in side.keys.iter().filter(|(_, s)| !s.pending.is_empty()) {
                pending.insert(key.clone(), side.pending.clone());
            }
        }
        for (key, side) in &sides {
            pending.entry((*key).into()).or_default().extend(side.pending.iter().cloned());
        }
        let handles: Vec<Handle> = self.state.slot(slot).table.iter().copied().collect();
        let mut held: Vec<(Box<[u8]>, Handle, KeyImage)> = Vec::new();
        for handle in handles {
            held.push((self.state.name(handle).into(), handle, key_image(&self.state, handle)));
        }
        let mut joined: Vec<(Box<[u8]>, Option<Handle>, KeyImage)> = Vec::new();
        for (key, handle, ours_here) in held {
            let theirs = keys.remove(&*key).unwrap_or_default();
            joined.push((key, Some(handle), join_keys(ours_here, theirs, &ours, seen)));
        }
        for (key, theirs) in keys {
            joined.push((key.into(), None, join_keys(KeyImage::default(), theirs, &ours, seen)));
        }
        self.join_sides(slot, seen, sides);
        for (key, old, mut image) in joined {
            if let Some(pending) = pending.get(&key) {
                image.records.retain(|place, _| {
                    !pending.iter().any(|(t, c)| t.takes(path(place), place.3) && c.contains(place.3))
                });
            }
            self.state.rebuild(slot, &key, old, image);
        }
    }

    fn join_sides(&mut self, slot: u16, seen: &ReceivedSet, sides: Vec<(&[u8], Side)>) {
        let received = &self.received;
        let at = self.state.slot_mut(slot);
        let mut all: SlotSide = at.side.take().map(|s| *s).unwrap_or_default();
        for (key, theirs) in sides {
            let side = all.keys.entry(key.into()).or_default();
            for entry in theirs.pending {
                if !received.covers(&entry.1) {
                    side.add_pending(entry.0, entry.1);
                }
            }
            theirs.resets.into_iter().for_each(|r| side.add_reset(r));
        }
        all.keys.retain(|_, side| !side.is_empty());
        if !received.covers(seen) {
            all.seen.merge(seen);
        }
        if !(all.keys.is_empty() && all.seen.is_empty()) {
            at.side = Some(Box::new(all));
            self.state.sided.insert(slot);
        } else {
            self.state.sided.remove(&slot);
        }
    }

    /// Appends what belongs to no slot: received set, clock, recovered names. What may still be undone is left out: it belongs to the log
    /// position up to which everything is committed.
    pub fn export_meta(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        self.committed.write(out);
        put_number(out, self.clock);
        self.moved.write(out);
    }

    /// Joins what belongs to no slot. For an empty engine before or after the slots; for any other after all of them.
    ///
    /// # Errors
    /// The bytes are no such image: nothing has changed.
    pub fn import_meta(&mut self, bytes: &[u8]) -> Result<(), DeltaError> {
        let mut reader = Reader { rest: bytes };
        if reader.byte()? != FORMAT {
            return reader.error("an image of another version");
        }
        let received = ReceivedSet::read(&mut reader)?;
        let clock = reader.number()?;
        let moved = Moved::read(&mut reader)?;
        self.received.merge(&received);
        self.committed.merge(&received);
        self.clock = self.clock.max(clock);
        self.moved.merge(&moved);
        self.moved.forget_old(&self.received);
        self.alone = self.received.origins().iter().all(|s| s.origin.group == self.origin.group);
        self.state.begin();
        self.sweep();
        self.state.end(0, 0, None, 0, false);
        Ok(())
    }
}

fn path(place: &Place) -> Path<'_> {
    match place.2 {
        0 => Path::Value(place.0, &place.1),
        1 => Path::Count(place.0, &place.1),
        _ => Path::Expiry,
    }
}

/// Two replicas' records of one key: what the one lacks and had seen was removed there; what it had not seen is new to it.
fn join_keys(ours: KeyImage, theirs: KeyImage, ours_seen: &ReceivedSet, theirs_seen: &ReceivedSet) -> KeyImage {
    let mut records = ours.records;
    // Whether the result differs from what was here, and from what came.
    let (before, mut changed, mut alone) = (records.len(), false, false);
    records.retain(|place, _| {
        let both = theirs.records.contains_key(place);
        let stays = both || !theirs_seen.contains(place.3);
        alone |= stays && !both;
        stays
    });
    changed |= records.len() != before;
    for (place, record) in theirs.records {
        match (records.get_mut(&place), record) {
            (Some(Record::Count { base, .. }), Record::Count { base: other, .. }) => *base = (*base).max(other),
            (Some(_), _) => {}
            (None, _) if ours_seen.contains(place.3) => alone = true,
            (None, record) => {
                changed = true;
                records.insert(place, record);
            }
        }
    }
    let version = match (changed, alone) {
        (false, _) => ours.version,
        (true, false) if theirs.version != ours.version => theirs.version,
        _ => ours.version.wrapping_add(theirs.version).max(1),
    };
    KeyImage { version, records }
}

fn add_register(records: &mut BTreeMap<Place, Record>, part: Part, register: &Register) {
    let name = || if part == Part::Value { Box::default() } else { register.name.clone() };
    for s in &register.siblings {
        records.insert((part, name(), 0, s.dot), Record::Value { clock: s.clock, value: s.value.clone() });
    }
    for c in &register.counts {
        records.insert((part, name(), 1, c.dot), Record::Count { total: c.total, base: c.base });
    }
}

fn key_image(state: &State, handle: Handle) -> KeyImage {
    let mut image = KeyImage::default();
    if let Some(p) = state.cells.plain(handle) {
        let place = (Part::Value, Box::default(), 0, p.dot);
        image.records.insert(place, Record::Value { clock: p.clock, value: p.value.into() });
        image.version = version_of(p.dot);
    }
    let Some(key) = handle.as_key().and_then(|i| state.key(i)) else { return image };
    image.version = key.version;
    add_register(&mut image.records, Part::Value, &key.value);
    for e in &key.expiry {
        let place = (Part::Value, Box::default(), 2, e.dot);
        image.records.insert(place, Record::Expiry { clock: e.clock, at_ms: e.at_ms });
    }
    for (part, collection) in &key.parts {
        for element in &collection.table {
            if let Some(p) = state.cells.plain(*element) {
                let place = (*part, p.name.into(), 0, p.dot);
                image.records.insert(place, Record::Value { clock: p.clock, value: p.value.into() });
            } else if let Some(register) = element.as_register().and_then(|i| state.cells.registers.get(i)) {
                add_register(&mut image.records, *part, register);
            }
        }
    }
    image
}

fn write_key(state: &State, handle: Handle, out: &mut Vec<u8>) {
    put_bytes(out, state.name(handle));
    if let Some(p) = state.cells.plain(handle) {
        put_number(out, version_of(p.dot));
        put_number(out, 1);
        let place = (Part::Value, Box::default(), 0, p.dot);
        write_place(&place, out);
        out.extend_from_slice(&p.clock.to_le_bytes());
        return put_bytes(out, p.value);
    }
    let image = key_image(state, handle);
    put_number(out, image.version);
    put_number(out, image.records.len() as u64);
    for (place, record) in &image.records {
        write_place(place, out);
        match record {
            Record::Value { clock, value } => {
                out.extend_from_slice(&clock.to_le_bytes());
                put_bytes(out, value);
            }
            Record::Count { total, base } => {
                put_signed(out, *total);
                put_number(out, base.0);
                put_signed(out, base.1);
            }
            Record::Expiry { clock, at_ms } => {
                out.extend_from_slice(&clock.to_le_bytes());
                put_number(out, *at_ms);
            }
        }
    }
}

fn write_place(place: &Place, out: &mut Vec<u8>) {
    out.push(place.0 as u8 | place.2 << 4);
    put_bytes(out, &place.1);
    put_dot(out, place.3);
}

fn read_part(reader: &mut Reader<'_>) -> Result<(Part, u8), DeltaError> {
    let byte = reader.byte()?;
    match Part::from_bits(byte & 0xf) {
        Some(part) => Ok((part, byte >> 4)),
        None => reader.error("an unknown part"),
    }
}

fn read_key(reader: &mut Reader<'_>) -> Result<KeyImage, DeltaError> {
    let mut image = KeyImage { version: reader.number()?, records: BTreeMap::new() };
    for _ in 0..reader.count(6)? {
        let (part, kind) = read_part(reader)?;
        let (name, dot) = (reader.bytes()?, read_dot(reader)?);
        if part == Part::Value && !name.is_empty() || part != Part::Value && kind == 2 {
            return reader.error("a record out of place");
        }
        let record = match kind {
            0 => Record::Value { clock: reader.fixed()?, value: reader.bytes()?.into() },
            1 => Record::Count { total: reader.signed()?, base: (reader.number()?, reader.signed()?) },
            2 => Record::Expiry { clock: reader.fixed()?, at_ms: reader.number()? },
            _ => return reader.error("an unknown record"),
        };
        image.records.insert((part, name.into(), kind, dot), record);
    }
    Ok(image)
}

fn write_side(side: &Side, out: &mut Vec<u8>) {
    put_number(out, side.pending.len() as u64);
    for (target, context) in &side.pending {
        match target {
            Target::Key { keep_expiry } => out.push(u8::from(*keep_expiry)),
            Target::Expiry => out.push(2),
            Target::Element(part, name) => {
                out.extend_from_slice(&[3, *part as u8]);
                put_bytes(out, name);
            }
            Target::Count(part, name, origin) => {
                out.extend_from_slice(&[4, *part as u8]);
                put_bytes(out, name);
                put_dot(out, Dot { origin: *origin, seq: 1 });
            }
        }
        context.write(out);
    }
    put_number(out, side.resets.len() as u64);
    for reset in &side.resets {
        out.push(reset.part as u8);
        put_bytes(out, &reset.name);
        put_dot(out, Dot { origin: reset.origin, seq: reset.seq });
        put_signed(out, reset.total);
        put_number(out, reset.dots.len() as u64);
        reset.dots.iter().for_each(|d| put_dot(out, *d));
    }
}

fn read_side(reader: &mut Reader<'_>) -> Result<Side, DeltaError> {
    let mut side = Side::default();
    for _ in 0..reader.count(2)? {
        let target = match reader.byte()? {
            keep @ 0..=1 => Target::Key { keep_expiry: keep == 1 },
            2 => Target::Expiry,
            3 => Target::Element(read_part(reader)?.0, reader.bytes()?.into()),
            4 => Target::Count(read_part(reader)?.0, reader.bytes()?.into(), read_dot(reader)?.origin),
            _ => return reader.error("an unknown removal"),
        };
        side.pending.push((target, ReceivedSet::read(reader)?));
    }
    for _ in 0..reader.count(7)? {
        let (part, name, dot, total) = (read_part(reader)?.0, reader.bytes()?, read_dot(reader)?, reader.signed()?);
        let mut dots = Vec::new();
        for _ in 0..reader.count(3)? {
            dots.push(read_dot(reader)?);
        }
        dots.sort_unstable();
        dots.dedup();
        side.add_reset(Reset { part, name: name.into(), origin: dot.origin, seq: dot.seq, total, dots });
    }
    Ok(side)
}

impl State {
    /// Puts a key with these records in place of what stands in the slot's table. Cannot be undone.
    fn rebuild(&mut self, slot: u16, name: &[u8], old: Option<Handle>, image: KeyImage) {
        let before = old.map_or(0, |h| self.digest_of(h));
        let new = self.build(slot, name, image);
        let after = new.map_or(0, |h| self.digest_of(h));
        self.swap_top(slot, old, new);
        if let Some(old) = old {
            self.free_top(old);
        }
        self.xor(slot, before ^ after);
    }

    fn build(&mut self, slot: u16, name: &[u8], image: KeyImage) -> Option<Handle> {
        if image.records.is_empty() {
            return None;
        }
        if let (1, Some(((Part::Value, _, 0, dot), Record::Value { clock, value }))) =
            (image.records.len(), image.records.first_key_value())
            && image.version == version_of(*dot)
        {
            return Some(self.cells.put(name, *dot, *clock, value));
        }
        let mut registers: BTreeMap<(Part, Box<[u8]>), Register> = BTreeMap::new();
        let mut key = Key { version: image.version, ..Key::default() };
        for ((part, element, _, dot), record) in image.records {
            match record {
                Record::Value { clock, value } => {
                    registers.entry((part, element)).or_default().siblings.push(Sibling { dot, clock, value });
                }
                Record::Count { total, base } => {
                    let counts = &mut registers.entry((part, element)).or_default().counts;
                    // Of one origin only the last counts; records are in order of their dots.
                    counts.retain(|c| c.dot.origin != dot.origin);
                    counts.push(Count { dot, total, base });
                }
                Record::Expiry { clock, at_ms } => key.expiry.push(Expiry { dot, clock, at_ms }),
            }
        }
        key.value = registers.remove(&(Part::Value, Box::default())).unwrap_or_default();
        key.value.name = name.into();
        let index = self.keys.put(Box::new(key));
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
        self.recount(slot, index);
        Some(Handle::key(index))
    }
}
