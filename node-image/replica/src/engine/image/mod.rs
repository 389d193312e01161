//! State as bytes: one slot, with what its sender had seen, and what belongs to no slot. Reading an image is a join: nothing that is newer here
//! is lost, what the sender had seen come and go does not come back.
//!
//! [`bytes`] is how an image is written, [`build`] makes a key of its records, [`beside`] finds conflicts.
//!
//! An image is the same for the same state, whatever happened before: keys and elements are in order.

mod beside;
mod build;
mod bytes;

use std::collections::{BTreeMap, BTreeSet};

use trireme_proto::ids::Dot;

use self::bytes::{read_key, read_side, write_key, write_side};
use super::bytes::{DeltaError, Reader, put_bytes, put_number};
use super::delta::Part;
use super::moved::Moved;
use super::state::State;
use super::state::cells::Handle;
use super::state::key::{Path, Side};
use super::state::register::{Register, later_base};
use super::state::undo::Landed;
use super::state::{hash, version_of};
use super::vector::ReceivedSet;
use super::{At, Engine};

const FORMAT: u8 = 2;

/// Buckets of a slot, by the hash of keys: what is compared where a slot differs that holds many.
pub const BUCKETS: usize = 16;

/// What of a slot an image speaks of: what it does not name there was not there at its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Slot,
    /// The keys of one bucket.
    Bucket(u8),
    /// The keys that it names.
    Named,
}

impl Scope {
    fn to_byte(self) -> u8 {
        match self {
            Scope::Slot => 0,
            Scope::Named => 1,
            Scope::Bucket(bucket) => 2 + bucket,
        }
    }

    fn from_byte(byte: u8) -> Option<Scope> {
        match byte {
            0 => Some(Scope::Slot),
            1 => Some(Scope::Named),
            bucket => (usize::from(bucket) < 2 + BUCKETS).then(|| Scope::Bucket(bucket - 2)),
        }
    }

    fn has(self, key: &[u8], named: impl Fn(&[u8]) -> bool) -> bool {
        match self {
            Scope::Slot => true,
            Scope::Named => named(key),
            Scope::Bucket(bucket) => bucket_of(key) == bucket,
        }
    }
}

/// The bucket of a key within its slot.
pub(crate) fn bucket_of(key: &[u8]) -> u8 {
    // Of a table of very many keys these bits choose the place, too: that costs nothing but longer searches there.
    (hash(key) >> 32) as u8 % BUCKETS as u8
}

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

/// An image, read.
pub(super) struct Image<'a> {
    scope: Scope,
    last_write: u64,
    /// What its sender had seen.
    pub(super) seen: ReceivedSet,
    keys: BTreeMap<&'a [u8], KeyImage>,
    pub(super) sides: Vec<(&'a [u8], Side)>,
}

/// By key: removals that are still to come, and what was seen of that key alone, here and at the image's sender.
type Pending = BTreeMap<Box<[u8]>, Side>;
type Single = BTreeMap<Box<[u8]>, (ReceivedSet, ReceivedSet)>;

/// Reads an image.
///
/// # Errors
/// The bytes are none.
pub(super) fn parse(image: &[u8]) -> Result<Image<'_>, DeltaError> {
    let mut reader = Reader { rest: image };
    if reader.byte()? != FORMAT {
        return reader.error("an image of another version");
    }
    let Some(scope) = Scope::from_byte(reader.byte()?) else { return reader.error("an unknown part of a slot") };
    let last_write = reader.number()?;
    let seen = ReceivedSet::read(&mut reader)?;
    let mut keys: BTreeMap<&[u8], KeyImage> = BTreeMap::new();
    for _ in 0..reader.count(3)? {
        let key = reader.bytes()?;
        keys.insert(key, read_key(&mut reader)?);
    }
    let mut sides: Vec<(&[u8], Side)> = Vec::new();
    for _ in 0..reader.count(3)? {
        sides.push((reader.bytes()?, read_side(&mut reader)?));
    }
    if !reader.rest.is_empty() {
        return reader.error("bytes after the end");
    }
    Ok(Image { scope, last_write, seen, keys, sides })
}

impl Engine {
    /// Appends a slot's image: its keys, last write, and what this engine has seen. Nothing for a slot that is empty and was never written.
    /// The slot's last write must be committed: what may still be undone is not among what the image says was seen.
    pub fn export_slot(&self, slot: u16, out: &mut Vec<u8>) {
        let at = self.state.slot(slot);
        if at.table.is_empty() && at.last_write == 0 && at.side.is_none() {
            return;
        }
        self.export(slot, Scope::Slot, &[], out);
    }

    /// Appends the image of a part of a slot: of one bucket, or of the keys named, which are there or not. The same holds as for a whole slot.
    pub fn export_part(&self, slot: u16, scope: Scope, named: &[&[u8]], out: &mut Vec<u8>) {
        self.export(slot, scope, named, out);
    }

    fn export(&self, slot: u16, scope: Scope, named: &[&[u8]], out: &mut Vec<u8>) {
        let at = self.state.slot(slot);
        out.extend_from_slice(&[FORMAT, scope.to_byte()]);
        put_number(out, at.last_write);
        let mut seen = self.committed.clone();
        if let Some(side) = &at.side {
            seen.merge(&side.seen);
        }
        seen.write(out);
        let is_named = |key: &[u8]| named.contains(&key);
        let mut handles: Vec<Handle> = match scope {
            Scope::Named => named.iter().filter_map(|key| self.state.find(slot, key)).collect(),
            _ => at.table.iter().filter(|h| scope.has(self.state.name(*h), is_named)).collect(),
        };
        handles.sort_unstable_by(|a, b| self.state.name(*a).cmp(self.state.name(*b)));
        let absent: Vec<&[u8]> = named.iter().copied().filter(|key| self.state.find(slot, key).is_none()).collect();
        put_number(out, (handles.len() + absent.len()) as u64);
        for key in absent {
            put_bytes(out, key);
            out.extend_from_slice(&[0, 0]);
        }
        for handle in handles {
            write_key(&self.state, handle, out);
        }
        let none = BTreeMap::new();
        let sides = at.side.as_ref().map_or(&none, |s| &s.keys);
        let sides: Vec<_> = sides.iter().filter(|(key, _)| scope.has(key, is_named)).collect();
        put_number(out, sides.len() as u64);
        for (key, side) in sides {
            put_bytes(out, key);
            write_side(side, out);
        }
    }

    /// Joins a slot's image into this engine's slot, with its last write: not to be called while something may be undone.
    ///
    /// # Errors
    /// The bytes are no image: nothing has changed.
    pub fn import_slot(&mut self, slot: u16, image: &[u8]) -> Result<(), DeltaError> {
        if image.is_empty() {
            return Ok(());
        }
        self.state.begin();
        let imported = self.import(slot, image, false);
        self.state.end(0, self.clock, None, 0, false);
        let (last_write, _) = imported?;
        let at = self.state.slot_mut(slot);
        at.last_write = at.last_write.max(last_write);
        Ok(())
    }

    /// Joins the image of a slot of another group, or of a part of it: it becomes the slot's last write, at this seq of the own log. Says in how many
    /// keys a client can come to see a difference.
    ///
    /// # Errors
    /// The bytes are no image: nothing has changed.
    pub fn import_part(&mut self, slot: u16, image: &[u8], at: &At) -> Result<usize, DeltaError> {
        self.loading = false;
        self.state.begin();
        self.state.seq = at.seq;
        self.state.note_slot(slot);
        let imported = self.import(slot, image, self.state.notes.on);
        if imported.as_ref().is_ok_and(|(_, changed)| *changed > 0) {
            let slot = self.state.slot_mut(slot);
            slot.last_write = slot.last_write.max(at.seq);
        }
        if at.keep_undo {
            self.state.journal.blind = at.seq;
        }
        self.state.end(at.seq, self.clock, None, 0, at.keep_undo && imported.is_ok());
        Ok(imported?.1)
    }

    /// Whether an image speaks of all of its slot.
    pub(crate) fn is_whole_slot(image: &[u8]) -> bool {
        image.get(1).copied().and_then(Scope::from_byte) == Some(Scope::Slot)
    }

    /// Whether an image has a record that is in this set, by its name.
    pub(crate) fn image_has_any(image: &[u8], set: &ReceivedSet) -> bool {
        let has_any = |key: &KeyImage| key.records.keys().any(|place| set.contains(place.3));
        parse(image).is_ok_and(|image| image.keys.values().any(has_any))
    }

    /// Joins an image: the slot's last write at its sender, and how many keys are not what they were.
    fn import(&mut self, slot: u16, image: &[u8], notes: bool) -> Result<(u64, usize), DeltaError> {
        let Image { scope, last_write, seen, keys, sides } = parse(image)?;
        if keys.keys().any(|key| super::slot_of(key) != slot) {
            return Err(DeltaError { what: "a key of another slot", left: 0 });
        }
        Ok((last_write, self.join_image(slot, scope, (&seen, notes), keys, sides)))
    }

    fn join_image(
        &mut self,
        slot: u16,
        scope: Scope,
        (seen, notes): (&ReceivedSet, bool),
        mut keys: BTreeMap<&[u8], KeyImage>,
        sides: Vec<(&[u8], Side)>,
    ) -> usize {
        // What is reflected here: while images are read, a slot that is still empty reflects nothing.
        let empty = self.state.slot(slot).table.is_empty() && self.state.slot(slot).side.is_none();
        let mut ours = if self.loading && empty { ReceivedSet::default() } else { self.received.clone() };
        if let Some(side) = &self.state.slot(slot).side {
            ours.merge(&side.seen);
        }
        let (pending, single) = self.beside(slot, &sides);
        let named: BTreeSet<Box<[u8]>> = keys.keys().chain(sides.iter().map(|(k, _)| k)).map(|k| (*k).into()).collect();
        let handles: Vec<Handle> = match scope {
            Scope::Named => named.iter().filter_map(|key| self.state.find(slot, key)).collect(),
            _ => self.state.slot(slot).table.iter().collect(),
        };
        let mut held: Vec<(Box<[u8]>, Handle, KeyImage)> = Vec::new();
        for handle in handles {
            let name = self.state.name(handle);
            if scope.has(name, |key| named.contains(key)) {
                held.push((name.into(), handle, key_image(&self.state, handle)));
            }
        }
        let join = |key: &[u8], mine: KeyImage, theirs: KeyImage| match single.get(key) {
            None => join_keys(mine, theirs, &ours, seen),
            Some((more_here, more_there)) => {
                let (mut here, mut there) = (ours.clone(), seen.clone());
                here.merge(more_here);
                there.merge(more_there);
                join_keys(mine, theirs, &here, &there)
            }
        };
        let mut joined: Vec<(Box<[u8]>, Option<Handle>, KeyImage)> = Vec::new();
        for (key, handle, ours_here) in held {
            let theirs = keys.remove(&*key).unwrap_or_default();
            let both = join(&key, ours_here, theirs);
            joined.push((key, Some(handle), both));
        }
        for (key, theirs) in keys {
            joined.push((key.into(), None, join(key, KeyImage::default(), theirs)));
        }
        let reflected: Option<BTreeSet<Box<[u8]>>> =
            (scope != Scope::Slot).then(|| joined.iter().map(|(key, ..)| key.clone()).chain(named).collect());
        self.join_sides(slot, seen, sides, reflected);
        let mut changed = 0;
        for (key, old, mut image) in joined {
            pending.get(&key).into_iter().for_each(|side| drop_pending(&mut image, side));
            if notes {
                beside::note(&mut self.state.notes, &key, &image, &ours, seen);
            }
            changed += usize::from(self.state.rebuild(slot, &key, old, image));
        }
        changed
    }

    /// What is beside single keys of a slot, here and in an image: removals that are still to come, and what was seen here and there.
    fn beside(&self, slot: u16, sides: &[(&[u8], Side)]) -> (Pending, Single) {
        let (mut pending, mut single) = (Pending::new(), Single::new());
        let mut wait = |key: &[u8], side: &Side| {
            let removals = side.pending().cloned();
            removals.for_each(|(target, context)| pending.entry(key.into()).or_default().add_pending(target, context));
        };
        let here = self.state.slot(slot).side.iter().flat_map(|side| &side.keys);
        for (key, side) in here {
            wait(key, side);
            single.entry(key.clone()).or_default().0.merge(&side.seen);
        }
        for (key, side) in sides {
            wait(key, side);
            single.entry((*key).into()).or_default().1.merge(&side.seen);
        }
        (pending, single)
    }

    /// `reflected`: the keys in which what the other side had seen is reflected now; none where that is so of the whole slot.
    fn join_sides(
        &mut self,
        slot: u16,
        seen: &ReceivedSet,
        sides: Vec<(&[u8], Side)>,
        reflected: Option<BTreeSet<Box<[u8]>>>,
    ) {
        let received = &self.received;
        let before = &self.state.slot(slot).side;
        if before.is_none() && sides.is_empty() && received.covers(seen) {
            return;
        }
        let mut all = before.as_deref().cloned().unwrap_or_default();
        for (key, theirs) in sides {
            let side = all.keys.entry(key.into()).or_default();
            for left in theirs.values.into_values() {
                for (target, context) in left.pending {
                    if !received.covers(&context) {
                        side.add_pending(target, context);
                    }
                }
                left.resets.into_iter().for_each(|r| side.add_reset(r));
            }
            if !received.covers(&theirs.seen) {
                self.ahead.shown.merge(&theirs.seen);
                side.seen.merge(&theirs.seen);
            }
        }
        if !received.covers(seen) {
            self.ahead.shown.merge(seen);
            match reflected {
                None => all.seen.merge(seen),
                Some(keys) => keys.into_iter().for_each(|key| all.keys.entry(key).or_default().seen.merge(seen)),
            }
        }
        all.keys.retain(|_, side| !side.is_empty());
        let is_empty = all.keys.is_empty() && all.seen.is_empty();
        self.state.replace_sides(slot, (!is_empty).then(|| Box::new(all)));
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

impl Engine {
    /// Everything in this set is reflected here: the images of all slots in which it was have been joined.
    pub fn import_received(&mut self, received: &ReceivedSet, at: &At) {
        let before = self.received.clone();
        self.received.merge(received);
        self.state.begin();
        if at.keep_undo {
            return self.state.end_landing(at.seq, self.clock, Landed { before, added: received.clone() });
        }
        self.committed.merge(received);
        self.sweep();
        self.state.end(at.seq, self.clock, None, 0, false);
    }
}

/// Removes what removals name that arrived before it.
fn drop_pending(image: &mut KeyImage, side: &Side) {
    if !side.values.is_empty() {
        image.records.retain(|place, _| !side.removes(path(place), place.3));
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
            (Some(Record::Count { base, .. }), Record::Count { base: other, .. }) => *base = later_base(*base, other),
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
        for element in collection.table.iter() {
            if let Some(p) = state.cells.plain(element) {
                let place = (*part, p.name.into(), 0, p.dot);
                image.records.insert(place, Record::Value { clock: p.clock, value: p.value.into() });
            } else if let Some(register) = state.cells.register(element) {
                add_register(&mut image.records, *part, register);
            }
        }
    }
    image
}
