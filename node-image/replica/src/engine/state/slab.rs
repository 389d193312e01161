//! Cells of one size, in chunks that go back to the allocator when nothing is left in them.
//!
//! A chunk has as many bytes whatever its cells have: one that was given back serves cells of any size, and its bytes are a size that allocators have, so
//! that nothing is lost to rounding. The cells that were freed are chained within their chunk, so that they are gone with it.

/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that are kept for the next that is wanted, of whatever size its cells are: who puts and frees in turns asks no allocator.
const SPARES_MAX: usize = 16;
/// No cell, or no place.
const NONE: u32 = u32::MAX;
/// What a freed cell begins with, before the number of the next one: no cell does, as the length of its name would be more than the cell has.
const FREED: [u8; 2] = [0xff; 2];
/// Chunks that are looked at for the one with the fewest cells.
const LOOKS: usize = 4;

struct Chunk {
    /// Empty where it was given back.
    bytes: Box<[u8]>,
    /// Cells that are not free.
    live: u32,
    /// Cells that ever were not.
    used: u32,
    /// The first one of the freed.
    freed: u32,
    /// Where it stands among those with room.
    open: u32,
}

/// Chunks without cells.
#[derive(Default)]
pub(super) struct Spares(Vec<Box<[u8]>>);

impl Spares {
    fn take(&mut self) -> Box<[u8]> {
        self.0.pop().unwrap_or_else(|| vec![0; CHUNK_BYTES].into_boxed_slice())
    }

    fn give(&mut self, bytes: Box<[u8]>) {
        if self.0.len() < SPARES_MAX {
            self.0.push(bytes);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// All cells of one size.
pub(super) struct Slab {
    cell_bytes: usize,
    per_chunk: u32,
    /// So many bits of an index are the cell's place in its chunk.
    bits: u32,
    chunks: Vec<Chunk>,
    /// Chunks with room. The last one gets the next cell.
    open: Vec<u32>,
    /// Chunks that were given back.
    vacant: Vec<u32>,
    /// The chunk that is being emptied: it gets no cells.
    leaving: u32,
    /// Where among those with room was looked last.
    looked: usize,
    /// Cells that are not free.
    live: usize,
}

impl Slab {
    pub(super) fn new(cell_bytes: usize) -> Slab {
        let per_chunk = (CHUNK_BYTES / cell_bytes) as u32;
        Slab {
            cell_bytes,
            per_chunk,
            bits: per_chunk.next_power_of_two().trailing_zeros(),
            chunks: Vec::new(),
            open: Vec::new(),
            vacant: Vec::new(),
            leaving: NONE,
            looked: 0,
            live: 0,
        }
    }

    /// Bytes of a cell.
    pub(super) fn cell_bytes(&self) -> usize {
        self.cell_bytes
    }

    /// Chunks that are there.
    pub(super) fn count(&self) -> usize {
        self.chunks.len() - self.vacant.len()
    }

    fn place(&self, index: u32) -> (usize, u32) {
        ((index >> self.bits) as usize, index & ((1 << self.bits) - 1))
    }

    /// A cell's bytes; none where its chunk was given back.
    pub(super) fn get(&self, index: u32) -> &[u8] {
        let (chunk, cell) = self.place(index);
        let begin = cell as usize * self.cell_bytes;
        self.chunks.get(chunk).and_then(|chunk| chunk.bytes.get(begin..begin + self.cell_bytes)).unwrap_or(&[])
    }

    /// The same to be written.
    pub(super) fn get_mut(&mut self, index: u32) -> &mut [u8] {
        let (chunk, cell) = self.place(index);
        let begin = cell as usize * self.cell_bytes;
        let chunk = self.chunks.get_mut(chunk);
        chunk.and_then(|chunk| chunk.bytes.get_mut(begin..begin + self.cell_bytes)).unwrap_or(&mut [])
    }

    /// A cell to be written, in a chunk with room or a new one.
    pub(super) fn take(&mut self, spares: &mut Spares) -> u32 {
        let at = self.open.last().copied().unwrap_or_else(|| self.add(spares));
        let (cell_bytes, per_chunk) = (self.cell_bytes, self.per_chunk);
        let chunk = &mut self.chunks[at as usize];
        let cell = match chunk.freed {
            NONE => {
                chunk.used += 1;
                chunk.used - 1
            }
            cell => {
                chunk.freed = next_freed(&chunk.bytes[cell as usize * cell_bytes..]);
                cell
            }
        };
        chunk.live += 1;
        self.live += 1;
        if chunk.live == per_chunk {
            chunk.open = NONE;
            self.open.pop();
        }
        at << self.bits | cell
    }

    fn add(&mut self, spares: &mut Spares) -> u32 {
        let open = self.open.len() as u32;
        let chunk = Chunk { bytes: spares.take(), live: 0, used: 0, freed: NONE, open };
        let at = match self.vacant.pop() {
            Some(at) => {
                self.chunks[at as usize] = chunk;
                at
            }
            None => {
                self.chunks.push(chunk);
                (self.chunks.len() - 1) as u32
            }
        };
        self.open.push(at);
        at
    }

    /// A cell is free; with the last one of its chunk the chunk goes.
    pub(super) fn free(&mut self, index: u32, spares: &mut Spares) {
        let (at, cell) = self.place(index);
        let begin = cell as usize * self.cell_bytes;
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Some(bytes) = chunk.bytes.get_mut(begin..begin + self.cell_bytes) else { return };
        let [a, b, c, d] = chunk.freed.to_le_bytes();
        bytes[..6].copy_from_slice(&[FREED[0], FREED[1], a, b, c, d]);
        (chunk.freed, chunk.live) = (cell, chunk.live - 1);
        self.live -= 1;
        if chunk.live == 0 {
            spares.give(std::mem::take(&mut chunk.bytes));
            self.close(at as u32);
            self.vacant.push(at as u32);
            self.leaving = if self.leaving == at as u32 { NONE } else { self.leaving };
        } else if chunk.open == NONE && self.leaving != at as u32 {
            self.reopen(at as u32);
        }
    }

    fn reopen(&mut self, at: u32) {
        self.chunks[at as usize].open = self.open.len() as u32;
        self.open.push(at);
    }

    /// A chunk is not among those with room any more.
    fn close(&mut self, at: u32) {
        let open = std::mem::replace(&mut self.chunks[at as usize].open, NONE);
        if open == NONE {
            return;
        }
        self.open.swap_remove(open as usize);
        if let Some(moved) = self.open.get(open as usize) {
            self.chunks[*moved as usize].open = open;
        }
    }

    /// Begins to empty a chunk with few cells, where the others with room can take them: the place of its first cell.
    pub(super) fn leave(&mut self) -> Option<u32> {
        let count = self.open.len();
        if count < 2 || self.leaving != NONE {
            return None;
        }
        let looks = (0..LOOKS.min(count)).map(|step| self.open[(self.looked + step) % count]);
        let at = looks.min_by_key(|at| self.chunks[*at as usize].live)?;
        self.looked = (self.looked + LOOKS) % count;
        self.close(at);
        self.leaving = at;
        Some(at << self.bits)
    }

    /// The next cell of the chunk that is being emptied that is not free, from this one on.
    pub(super) fn next_leaving(&self, from: u32) -> Option<u32> {
        let (at, cell) = self.place(from);
        let chunk = self.chunks.get(at).filter(|_| at as u32 == self.leaving)?;
        let cells = (cell..chunk.used).map(|cell| at << self.bits as usize | cell as usize);
        cells.map(|index| index as u32).find(|index| !self.get(*index).starts_with(&FREED))
    }

    /// The chunk stays after all, if it is still there.
    pub(super) fn stay(&mut self) {
        let at = std::mem::replace(&mut self.leaving, NONE);
        if at != NONE {
            self.reopen(at);
        }
    }

    /// Copies a cell into another one, of another chunk.
    pub(super) fn copy(&mut self, from: u32, to: u32) {
        let [(from, source), (to, target)] = [from, to].map(|index| self.place(index));
        let [source, target] = [source, target].map(|cell| cell as usize * self.cell_bytes);
        if let Ok([from, to]) = self.chunks.get_disjoint_mut([from, to]) {
            to.bytes[target..target + self.cell_bytes].copy_from_slice(&from.bytes[source..source + self.cell_bytes]);
        }
    }

    /// Whether there is room without another chunk.
    pub(super) fn has_room(&self) -> bool {
        !self.open.is_empty()
    }

    /// Chunks that could go if the cells stood as close as they can.
    pub(super) fn loose(&self) -> usize {
        (self.count() * self.per_chunk as usize - self.live) / self.per_chunk as usize
    }
}

fn next_freed(cell: &[u8]) -> u32 {
    cell.get(FREED.len()..).and_then(|rest| rest.first_chunk()).map_or(NONE, |next| u32::from_le_bytes(*next))
}
