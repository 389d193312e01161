//! The checkpoint: one file, written beside the one in force and renamed over it when it is whole and durable.
//!
//! ```text
//! head:    magic 8, body length u32, CRC32C of the body u32; body: start seq u64, epoch u64, proposer u32, floor u64, meta
//! slot:    image length u32, CRC32C of the rest u32, slot u16, image
//! footer:  0xffffffff u32, CRC32C of the rest u32, whole_at u64, slots u32, CRC32C over the slots' checksums u32
//! ```
//!
//! `floor` is the serial of the first log segment that counts: with it a snapshot replaces checkpoint and log in one rename.

use trireme_proto::{Epoch, Position};

use super::{
    files::{File, Files, failed, is_full, unsynced},
    segment::{crc, u32_at, u64_at},
    types::{Corruption, DiskError},
};

/// The one in force.
pub(super) const CURRENT: &str = "checkpoint/current";
const NEXT: &str = "checkpoint/next";
const MAGIC: &[u8; 8] = b"TRIRCKP1";
const HEAD: usize = 16;
const FIXED: usize = 28;
const SLOT_HEAD: usize = 10;
const FOOTER: usize = 24;
const FOOTER_MARK: u32 = u32::MAX;
/// Written, and made durable, in steps of this size: so that no batch of the log waits behind a whole checkpoint.
const STEP: usize = 256 << 10;
/// Read in steps of this size.
const READ_STEP: usize = 1 << 20;

/// What the head of a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The log goes on after this.
    pub(super) start: Position,
    /// Serial of the first segment that counts.
    pub(super) floor: u64,
    /// The core's own.
    pub(super) meta: Vec<u8>,
}

/// A checkpoint being written.
#[derive(Debug)]
pub(super) struct Writer<F: Files> {
    files: F,
    file: F::File,
    head: Head,
    buffer: Vec<u8>,
    written: u64,
    slots: u32,
    sums: Vec<u8>,
}

impl<F: Files> Writer<F> {
    /// Begins one; an unfinished one is dropped.
    pub(super) fn begin(files: F, start: Position, meta: &[u8]) -> Result<Writer<F>, DiskError> {
        let file = files.create(NEXT).map_err(failed(NEXT, "create"))?;
        let head = Head { start, floor: 0, meta: meta.to_vec() };
        let buffer = vec![0; HEAD + FIXED + meta.len()];
        Ok(Writer { files, file, head, buffer, written: 0, slots: 0, sums: Vec::new() })
    }

    /// Where the log goes on.
    pub(super) fn start(&self) -> Position {
        self.head.start
    }

    /// Adds a slot. If there is no space, nothing has happened.
    pub(super) fn slot(&mut self, slot: u16, image: &[u8]) -> Result<(), DiskError> {
        if self.buffer.len() >= STEP {
            self.flush()?;
        }
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&(image.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&slot.to_le_bytes());
        self.buffer.extend_from_slice(image);
        let sum = crc(&self.buffer[at + 8..]).to_le_bytes();
        self.buffer[at + 4..at + 8].copy_from_slice(&sum);
        self.sums.extend_from_slice(&sum);
        self.slots += 1;
        Ok(())
    }

    /// Whole: durable, and in force. `floor` is the serial of the first log segment that counts from now on. If there is no space, nothing has happened.
    pub(super) fn finish(&mut self, whole_at: u64, floor: u64) -> Result<(), DiskError> {
        self.head.floor = floor;
        let before = self.buffer.len();
        let mut rest = Vec::with_capacity(FOOTER - 8);
        rest.extend_from_slice(&whole_at.to_le_bytes());
        rest.extend_from_slice(&self.slots.to_le_bytes());
        rest.extend_from_slice(&crc(&self.sums).to_le_bytes());
        self.buffer.extend_from_slice(&FOOTER_MARK.to_le_bytes());
        self.buffer.extend_from_slice(&crc(&rest).to_le_bytes());
        self.buffer.extend_from_slice(&rest);
        if let Err(error) = self.flush() {
            self.buffer.truncate(before);
            return Err(error);
        }
        // The head comes last: only now is it known which segment the log begins with.
        self.file.write_at(&self.encode_head(), 0).map_err(failed(NEXT, "write"))?;
        self.file.sync().map_err(unsynced(NEXT))?;
        self.files.rename(NEXT, CURRENT).map_err(failed(CURRENT, "rename"))?;
        self.files.sync_folder("checkpoint").map_err(unsynced("checkpoint"))
    }

    /// Gives it up.
    pub(super) fn abandon(self) -> Result<(), DiskError> {
        self.files.remove(NEXT).map_err(failed(NEXT, "remove"))
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.file.write_at(&self.buffer, self.written).map_err(|error| {
            if is_full(&error) {
                DiskError::Full { done: None, needed: self.buffer.len() as u64 }
            } else {
                failed(NEXT, "write")(error)
            }
        })?;
        self.file.sync().map_err(unsynced(NEXT))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn encode_head(&self) -> Vec<u8> {
        let Head { start, floor, meta } = &self.head;
        let mut out = Vec::with_capacity(HEAD + FIXED + meta.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&((FIXED + meta.len()) as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&start.seq.to_le_bytes());
        out.extend_from_slice(&start.epoch.number.to_le_bytes());
        out.extend_from_slice(&start.epoch.proposer.to_le_bytes());
        out.extend_from_slice(&floor.to_le_bytes());
        out.extend_from_slice(meta);
        let sum = crc(&out[HEAD..]);
        out[12..16].copy_from_slice(&sum.to_le_bytes());
        out
    }
}

/// Removes what an earlier process left unfinished.
pub(super) fn clear_unfinished<F: Files>(files: &F) -> std::io::Result<()> {
    for name in files.list("checkpoint")? {
        if name == "next" {
            files.remove(NEXT)?;
        }
    }
    Ok(())
}

/// Reads a file from its beginning, in large pieces.
struct Reader<'a, F: File> {
    file: &'a F,
    buffer: Vec<u8>,
    at: usize,
    offset: u64,
}

impl<F: File> Reader<'_, F> {
    /// The next `length` bytes, or fewer at the end of the file. They stay in the buffer until [`Reader::skip`].
    fn peek(&mut self, length: usize) -> std::io::Result<&[u8]> {
        if self.buffer.len() - self.at < length {
            self.buffer.drain(..self.at);
            self.at = 0;
            let mut have = self.buffer.len();
            self.buffer.resize(have.max(length).max(READ_STEP), 0);
            let from = self.offset;
            while have < self.buffer.len() {
                match self.file.read_at(&mut self.buffer[have..], from + have as u64)? {
                    0 => break,
                    read => have += read,
                }
            }
            self.buffer.truncate(have);
        }
        let end = self.buffer.len().min(self.at + length);
        Ok(&self.buffer[self.at..end])
    }

    fn skip(&mut self, length: usize) {
        self.at += length;
        self.offset += length as u64;
    }
}

/// Why a checkpoint could not be read to its end.
pub(super) enum ReadError<E> {
    /// Damage.
    Corrupt(Corruption),
    /// The file system failed.
    Disk(DiskError),
    /// The visitor refused a slot.
    Visitor(E),
}

/// Reads and verifies a checkpoint, handing each slot to `visit`. Returns its head and where the state is whole; `None` if there is no checkpoint.
pub(super) fn read<F: Files, E>(
    files: &F,
    mut visit: impl FnMut(u16, &[u8]) -> Result<(), E>,
) -> Result<Option<(Head, u64)>, ReadError<E>> {
    let file = match files.open(CURRENT) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::Disk(failed(CURRENT, "open")(error))),
    };
    let length = file.length().map_err(|error| ReadError::Disk(failed(CURRENT, "measure")(error)))?;
    let io = |error| ReadError::Disk(failed(CURRENT, "read")(error));
    let corrupt = |offset: u64, what: &str| {
        ReadError::Corrupt(Corruption { file: CURRENT.to_owned(), offset, what: what.to_owned() })
    };
    let mut reader = Reader { file: &file, buffer: Vec::new(), at: 0, offset: 0 };
    let head = decode_head(&mut reader, length).map_err(io)?.ok_or_else(|| corrupt(0, "its head is damaged"))?;
    let (mut slots, mut sums) = (0u32, Vec::new());
    loop {
        let at = reader.offset;
        let start = reader.peek(SLOT_HEAD).map_err(io)?;
        if start.len() < SLOT_HEAD {
            return Err(corrupt(at, "it ends before its footer"));
        }
        let (image, sum) = (u32_at(start, 0), u32_at(start, 4));
        if image == FOOTER_MARK {
            let footer = reader.peek(FOOTER).map_err(io)?;
            let good = footer.len() == FOOTER
                && length == at + FOOTER as u64
                && sum == crc(&footer[8..])
                && u32_at(footer, 16) == slots
                && u32_at(footer, 20) == crc(&sums);
            return if good { Ok(Some((head, u64_at(footer, 8)))) } else { Err(corrupt(at, "its footer is damaged")) };
        }
        let whole = SLOT_HEAD + image as usize;
        if at + whole as u64 > length {
            return Err(corrupt(at, "a slot is cut off"));
        }
        let bytes = reader.peek(whole).map_err(io)?;
        if bytes.len() < whole || sum != crc(&bytes[8..]) {
            return Err(corrupt(at, "a slot has a wrong checksum"));
        }
        visit(u16::from_le_bytes([bytes[8], bytes[9]]), &bytes[SLOT_HEAD..]).map_err(ReadError::Visitor)?;
        sums.extend_from_slice(&sum.to_le_bytes());
        slots = slots.saturating_add(1);
        reader.skip(whole);
    }
}

fn decode_head<F: File>(reader: &mut Reader<'_, F>, length: u64) -> std::io::Result<Option<Head>> {
    let start = reader.peek(HEAD)?;
    if start.len() < HEAD || &start[..8] != MAGIC {
        return Ok(None);
    }
    let (body, sum) = (u32_at(start, 8) as usize, u32_at(start, 12));
    if body < FIXED || (HEAD + body) as u64 > length {
        return Ok(None);
    }
    let bytes = &reader.peek(HEAD + body)?[HEAD..];
    if bytes.len() != body || sum != crc(bytes) {
        return Ok(None);
    }
    let epoch = Epoch { number: u64_at(bytes, 8), proposer: u32_at(bytes, 16) };
    let head = Head {
        start: Position { epoch, seq: u64_at(bytes, 0) },
        floor: u64_at(bytes, 20),
        meta: bytes[FIXED..].to_vec(),
    };
    reader.skip(HEAD + body);
    Ok(Some(head))
}
