//! Where names and values live: one cell per plain record, in slabs of cells of one size, without an allocation of its own.
//!
//! A plain record is a key, a field or a member with exactly one sibling and nothing else. Its cell is
//! `name length (varint), name, head, sequence (varint), clock, value`, 10 to 14 bytes beside name and value. The name comes first, so that finding a key
//! decodes nothing else. The head is a byte: how many bytes the cell has behind its value, and the origin, if it is one of the few that nearly all are; the
//! clock has 7 bytes then. Of other origins, and of clocks that no machine has, the head is followed by group and generation (varints), and the clock has 8.
//! Cells are never changed, only replaced: the old one waits in the undo journal. But a key's cell ends with a stamp, when the key was last used, where the
//! size leaves room for it; and where keys are removed by that ([`Cells::stamp_all`]) always. Of others the last write is known, by their clock.

use trireme_proto::ids::{Dot, Origin};

use super::register::Register;
use super::slab::{CHUNK_BYTES, Slab, Spares};
use crate::engine::bytes::{DeltaError, Reader, put_bytes, put_number};

/// Bytes between two sizes of cells.
const STEP: usize = 8;
/// Number of sizes: up to 1 KiB; what is longer has an allocation of its own.
const SIZES: usize = 128;
/// Of what keys take this part may be kept in slabs for cells to come, and so many bytes: beyond it cells are moved.
const LOOSE_PART: u64 = 8;
const LOOSE_BYTES: u64 = 1 << 20;
/// Cells that may be moved for each one that was freed: enough where all slabs have just as much to spare as they may.
const MOVES_PER_FREE: u32 = 8;
/// And for all that were freed while there was little to spare.
const MOVES_MAX: u32 = 1 << 20;
/// Sizes with this bit are cells that end with a stamp, in the same slabs.
const STAMPED: u8 = 128;
/// As many sizes can have one: the numbers above are those of other things.
const STAMPED_SIZES: usize = (BIG - STAMPED) as usize;
const STAMP_BYTES: usize = 4;
/// Bytes of a line of the processor's cache.
const LINE: usize = 64;
/// A stamp's unit in milliseconds is 2 to the power of this: 64, so that stamps come again after 8 years.
const STAMP_SHIFT: u32 = 6;
/// Bits of a head that are the number of bytes behind the value; the origin's are above, and the highest is of a head that has no origin.
const BEHIND_BITS: u32 = 3;
const LONG: u8 = 1 << 7;
/// Origins that a head has room for.
const GROUPS: u32 = 4;
const GENERATIONS: u32 = 4;
/// The first clock that has a short form, of 2020, and the bits that it has: enough until 2054.
const CLOCK_FIRST: u64 = 1_577_836_800_000 << 16;
const CLOCK_BITS: usize = 56;
const BIG: u8 = 253;
const REGISTER: u8 = 254;
const KEY: u8 = 255;

/// Names a cell, a register or a key: 5 bytes, so that a table of them stays small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle([u8; 5]);

impl Handle {
    /// Of nothing.
    pub(crate) const NONE: Handle = Handle([0; 5]);

    /// Bytes at the end of its cell that are a stamp.
    fn stamp_bytes(self) -> usize {
        if self.0[0] >= STAMPED { STAMP_BYTES } else { 0 }
    }

    fn new(class: u8, index: u32) -> Handle {
        let [a, b, c, d] = index.to_le_bytes();
        Handle([class, a, b, c, d])
    }

    pub(crate) fn key(index: u32) -> Handle {
        Handle::new(KEY, index)
    }

    fn index(self) -> u32 {
        let [_, a, b, c, d] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }

    /// Whether both are the same cell: it is not known of one by itself whether it has a stamp.
    pub(crate) fn is_cell(self, cell: Handle) -> bool {
        (self.0[0] & !STAMPED, self.index()) == (cell.0[0], cell.index()) && self.0[0] < BIG
    }

    /// The index of a general key, if it is one.
    pub(crate) fn as_key(self) -> Option<u32> {
        (self.0[0] == KEY).then(|| self.index())
    }

    /// The index of a general element, if it is one.
    pub(crate) fn as_register(self) -> Option<u32> {
        (self.0[0] == REGISTER).then(|| self.index())
    }
}

/// A time as a stamp, from milliseconds since 1970.
pub(crate) fn stamp(ms: u64) -> u32 {
    (ms >> STAMP_SHIFT) as u32
}

/// Milliseconds between two stamps, the earlier one first. What seems to be later is of a clock that is ahead: nothing.
pub(crate) fn ms_between(earlier: u32, later: u32) -> u64 {
    let steps = later.wrapping_sub(earlier);
    if steps > u32::MAX / 2 { 0 } else { u64::from(steps) << STAMP_SHIFT }
}

/// The stamp of a hybrid logical clock.
pub(crate) fn stamp_of(clock: u64) -> u32 {
    stamp(clock >> 16)
}

/// The size for so many bytes, and whether such a cell has a stamp. A size that is none stands for an allocation of its own.
fn size_for(bytes: usize, is_key: bool, stamp_all: bool) -> (usize, bool) {
    let size = (bytes - 1) / STEP;
    let has_room = (size + 1) * STEP - bytes >= STAMP_BYTES && size < STAMPED_SIZES;
    match is_key {
        true if has_room => (size, true),
        true if stamp_all => {
            let size = (bytes + STAMP_BYTES - 1) / STEP;
            (if size < STAMPED_SIZES { size } else { SIZES }, true)
        }
        _ => (size, false),
    }
}

/// A head with the bytes behind the value left out, sequence and clock.
fn put_dot(out: &mut Vec<u8>, dot: Dot, clock: u64) {
    let Origin { group, generation } = dot.origin;
    let since = clock.checked_sub(CLOCK_FIRST).filter(|since| *since < 1 << CLOCK_BITS);
    match since {
        Some(since) if group < GROUPS && generation < GENERATIONS => {
            out.push(((group * GENERATIONS + generation) as u8) << BEHIND_BITS);
            put_number(out, dot.seq);
            out.extend_from_slice(&since.to_le_bytes()[..CLOCK_BITS / 8]);
        }
        _ => {
            out.push(LONG);
            put_number(out, group.into());
            put_number(out, generation.into());
            put_number(out, dot.seq);
            out.extend_from_slice(&clock.to_le_bytes());
        }
    }
}

/// What [`put_dot`] has put, and the bytes behind the value.
fn read_dot(reader: &mut Reader<'_>) -> Result<(Dot, u64, usize), DeltaError> {
    let head = reader.byte()?;
    let behind = usize::from(head & ((1 << BEHIND_BITS) - 1));
    if head & LONG != 0 {
        let origin = Origin { group: reader.small()?, generation: reader.small()? };
        let dot = Dot { origin, seq: reader.number()? };
        return Ok((dot, reader.fixed()?, behind));
    }
    let origin = u32::from(head >> BEHIND_BITS);
    let origin = Origin { group: origin / GENERATIONS, generation: origin % GENERATIONS };
    let dot = Dot { origin, seq: reader.number()? };
    let Some((since, rest)) = reader.rest.split_first_chunk::<{ CLOCK_BITS / 8 }>() else {
        return reader.error("cut off");
    };
    reader.rest = rest;
    let [a, b, c, d, e, f, g] = *since;
    Ok((dot, CLOCK_FIRST + u64::from_le_bytes([a, b, c, d, e, f, g, 0]), behind))
}

/// A plain record, read in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) dot: Dot,
    pub(crate) clock: u64,
    pub(crate) value: &'a [u8],
}

/// Things by index, with reuse.
pub(crate) struct Pool<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool { items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Pool<T> {
    pub(crate) fn put(&mut self, item: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.items[index as usize] = Some(item);
            return index;
        }
        self.items.push(Some(item));
        (self.items.len() - 1) as u32
    }

    pub(crate) fn take(&mut self, index: u32) -> Option<T> {
        let item = self.items.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(item)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.items.get(index as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.items.get_mut(index as usize)?.as_mut()
    }
}

/// All cells and general elements of one engine.
pub(crate) struct Cells {
    slabs: Vec<Slab>,
    spares: Spares,
    /// Bytes of the cells in slabs that are not free.
    live: u64,
    /// Bytes of chunks.
    held: u64,
    /// Cells that may be moved.
    moves: u32,
    /// The next cell that is moved, if its chunk is being emptied.
    moving: Option<Handle>,
    /// The size whose cells were moved last.
    tidied: usize,
    big: Pool<Box<[u8]>>,
    /// Each key's cell has a stamp.
    stamp_all: bool,
    pub(crate) registers: Pool<Box<Register>>,
    head: Vec<u8>,
}

impl Default for Cells {
    fn default() -> Self {
        Cells {
            slabs: (1..=SIZES).map(|steps| Slab::new(steps * STEP)).collect(),
            spares: Spares::default(),
            live: 0,
            held: 0,
            moves: 0,
            moving: None,
            tidied: 0,
            big: Pool::default(),
            stamp_all: false,
            registers: Pool::default(),
            head: Vec::with_capacity(64),
        }
    }
}

impl Cells {
    /// A new cell with these contents: an element's.
    pub(crate) fn put(&mut self, name: &[u8], dot: Dot, clock: u64, value: &[u8]) -> Handle {
        self.put_any(name, dot, clock, value, false)
    }

    /// The same for a key.
    pub(crate) fn put_key(&mut self, name: &[u8], dot: Dot, clock: u64, value: &[u8]) -> Handle {
        self.put_any(name, dot, clock, value, true)
    }

    /// The same key in a new cell.
    pub(crate) fn put_again(&mut self, handle: Handle) -> Option<Handle> {
        let Plain { name, dot, clock, value } = self.plain(handle)?;
        let (name, value) = (name.to_vec(), value.to_vec());
        Some(self.put_key(&name, dot, clock, &value))
    }

    /// Whether a key's cell should have a stamp and has none.
    pub(crate) fn wants_stamp(&self, handle: Handle) -> bool {
        self.stamp_all && handle.0[0] < STAMPED
    }

    /// From now on each key's cell has a stamp, or again only those with room.
    pub(crate) fn stamp_all(&mut self, all: bool) {
        self.stamp_all = all;
    }

    fn put_any(&mut self, name: &[u8], dot: Dot, clock: u64, value: &[u8], is_key: bool) -> Handle {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        put_bytes(&mut head, name);
        let at = head.len();
        put_dot(&mut head, dot, clock);
        let size = head.len() + value.len();
        let (class, stamped) = size_for(size, is_key, self.stamp_all);
        if class < SIZES {
            let behind = (class + 1) * STEP - size - if stamped { STAMP_BYTES } else { 0 };
            head[at] |= behind as u8;
        }
        let stamp = stamp_of(clock).to_le_bytes();
        let handle = if class < SIZES {
            let index = self.take(class);
            let cell = self.slabs[class].get_mut(index);
            let (to_head, to_value) = cell[..size].split_at_mut(head.len());
            to_head.copy_from_slice(&head);
            to_value.copy_from_slice(value);
            if stamped {
                let at = cell.len() - STAMP_BYTES;
                cell[at..].copy_from_slice(&stamp);
            }
            Handle::new(class as u8 | if stamped { STAMPED } else { 0 }, index)
        } else {
            let mut cell = Vec::with_capacity(size + STAMP_BYTES);
            cell.extend_from_slice(&head);
            cell.extend_from_slice(value);
            cell.extend_from_slice(&stamp);
            Handle::new(BIG, self.big.put(cell.into_boxed_slice()))
        };
        self.head = head;
        handle
    }

    fn take(&mut self, class: usize) -> u32 {
        let slab = &mut self.slabs[class];
        let before = slab.count();
        let index = slab.take(&mut self.spares);
        self.held += ((slab.count() - before) * CHUNK_BYTES) as u64;
        self.live += slab.cell_bytes() as u64;
        index
    }

    fn give(&mut self, class: usize, index: u32) {
        let slab = &mut self.slabs[class];
        let before = slab.count();
        slab.free(index, &mut self.spares);
        self.held -= ((before - slab.count()) * CHUNK_BYTES) as u64;
        self.live -= slab.cell_bytes() as u64;
    }

    /// A general element.
    pub(crate) fn put_register(&mut self, register: Box<Register>) -> Handle {
        Handle::new(REGISTER, self.registers.put(register))
    }

    /// Gives a cell or a general element back.
    pub(crate) fn free(&mut self, handle: Handle) {
        match handle.0[0] {
            BIG => drop(self.big.take(handle.index())),
            REGISTER => drop(self.registers.take(handle.index())),
            KEY => {}
            class => {
                self.give(usize::from(class & !STAMPED), handle.index());
                self.moves = (self.moves + MOVES_PER_FREE).min(MOVES_MAX);
            }
        }
    }

    fn bytes(&self, handle: Handle) -> &[u8] {
        match handle.0[0] {
            BIG => self.big.get(handle.index()).map_or(&[], |b| b),
            class => self.slabs[usize::from(class & !STAMPED)].get(handle.index()),
        }
    }

    /// Reads a little of each line of the processor's cache that a small cell is in, or what an element in general form is looked at for.
    pub(crate) fn glance(&self, handle: Handle) -> u64 {
        if let Some(register) = self.register(handle) {
            let (name, count) = (register.name.first(), register.counts.first());
            return name.map_or(0, |byte| u64::from(*byte)) + count.map_or(0, |count| count.dot.seq);
        }
        if handle.0[0] >= REGISTER {
            return 0;
        }
        self.bytes(handle).iter().step_by(LINE).take(3).map(|byte| u64::from(*byte)).sum()
    }

    /// Bytes that a cell takes; 0 for a general element or key.
    pub(crate) fn size(&self, handle: Handle) -> u64 {
        match handle.0[0] {
            BIG => self.big.get(handle.index()).map_or(0, |cell| (cell.len() + size_of::<Box<[u8]>>()) as u64),
            REGISTER | KEY => 0,
            class => ((usize::from(class & !STAMPED) + 1) * STEP) as u64,
        }
    }

    /// Bytes that are kept for cells to come.
    pub(crate) fn spare_bytes(&self) -> u64 {
        self.held + (self.spares.count() * CHUNK_BYTES) as u64 - self.live
    }

    /// Bytes that are kept for cells to come beyond what may be, where all keys take so many.
    pub(crate) fn loose_bytes(&self, all: u64) -> u64 {
        (self.held - self.live).saturating_sub(all / LOOSE_PART + LOOSE_BYTES)
    }

    /// The next cell that should be moved so that its chunk can go, if too much is kept for cells to come.
    pub(crate) fn next_to_move(&mut self, all: u64) -> Option<Handle> {
        if self.moves == 0 || self.loose_bytes(all) == 0 {
            return None;
        }
        self.moves -= 1;
        let after = self.moving.and_then(|last| self.slabs[usize::from(last.0[0])].next_leaving(last.index() + 1));
        if let (Some(last), Some(index)) = (self.moving, after) {
            self.moving = Some(Handle::new(last.0[0], index));
            return self.moving;
        }
        self.stop_moving();
        // One size after the other: what cannot be moved of one must not keep the others waiting.
        let after = |step: usize| (self.tidied + step) % SIZES;
        let class = (1..=SIZES).map(after).find(|class| self.slabs[*class].loose() > 0)?;
        self.tidied = class;
        let slab = &mut self.slabs[class];
        let first = slab.leave()?;
        self.moving = Some(Handle::new(class as u8, slab.next_leaving(first).unwrap_or(first)));
        self.moving
    }

    /// The chunk whose cells are being moved keeps those that it has.
    pub(crate) fn stop_moving(&mut self) {
        if let Some(handle) = self.moving.take() {
            self.slabs[usize::from(handle.0[0])].stay();
        }
    }

    /// The same contents in another cell of this size, if there is room for it.
    pub(crate) fn put_moved(&mut self, handle: Handle) -> Option<Handle> {
        let class = usize::from(handle.0[0] & !STAMPED);
        if !self.slabs.get(class)?.has_room() {
            return None;
        }
        let index = self.take(class);
        self.slabs[class].copy(handle.index(), index);
        Some(Handle::new(handle.0[0], index))
    }

    /// Gives a cell back whose contents have been moved.
    pub(crate) fn free_moved(&mut self, handle: Handle) {
        self.give(usize::from(handle.0[0] & !STAMPED), handle.index());
    }

    /// When a key was last used: by its stamp, or by its clock if there is none.
    pub(crate) fn used(&self, handle: Handle) -> u32 {
        match handle.0[0] {
            STAMPED..=BIG => self.bytes(handle).last_chunk().map_or(0, |stamp| u32::from_le_bytes(*stamp)),
            _ => self.plain(handle).map_or(0, |p| stamp_of(p.clock)),
        }
    }

    /// A key is used, at the time of this stamp.
    pub(crate) fn touch(&mut self, handle: Handle, stamp: u32) {
        let index = handle.index();
        let cell = match handle.0[0] {
            BIG => self.big.get_mut(index).map(|cell| &mut **cell),
            class @ STAMPED..BIG => Some(self.slabs[usize::from(class & !STAMPED)].get_mut(index)),
            _ => None,
        };
        if let Some(at) = cell.and_then(|cell| cell.last_chunk_mut()) {
            *at = stamp.to_le_bytes();
        }
    }

    /// The plain record in a cell; none for a general element or key.
    pub(crate) fn plain(&self, handle: Handle) -> Option<Plain<'_>> {
        if handle.0[0] >= REGISTER {
            return None;
        }
        let mut reader = Reader { rest: self.bytes(handle) };
        let name = reader.bytes().ok()?;
        let (dot, clock, behind) = read_dot(&mut reader).ok()?;
        let value = reader.rest.len().checked_sub(behind + handle.stamp_bytes())?;
        Some(Plain { name, dot, clock, value: reader.rest.get(..value)? })
    }

    /// A general element; none for a cell or a key.
    pub(crate) fn register(&self, handle: Handle) -> Option<&Register> {
        self.registers.get(handle.as_register()?).map(|register| &**register)
    }

    /// The name of a cell or general element.
    pub(crate) fn name(&self, handle: Handle) -> &[u8] {
        match handle.as_register() {
            Some(_) => self.register(handle).map_or(&[], |register| &register.name),
            None if handle.as_key().is_some() => &[],
            None => Reader { rest: self.bytes(handle) }.bytes().unwrap_or(&[]),
        }
    }
}
