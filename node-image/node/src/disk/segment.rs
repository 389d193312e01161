//! One file of the log: a header, then frames; behind the last frame, zeros.
//!
//! A **frame** is what one write put there: the records of one batch. Its header says where in the file everything is durable that stands before it
//! (`synced`), and how many of the 512-byte sectors it touches were all zeros when it was written. With these two numbers a bad frame is told apart:
//!
//! - A crash leaves some sectors of an unfinished write as they were, which is zeros, or cuts it off. So the frame has more zero sectors than it had
//!   when it was written, or lacks its last byte. No frame behind it can say that it was durable.
//! - Anything else is **corruption**: a bad frame without that explanation, or one that a later frame declares durable, or any in a file that has a successor.
//!
//! ```text
//! header, 64 bytes:  magic 8, CRC32C of the rest u32, flags u32, serial u64, previous: seq u64, epoch u64, proposer u32, 0 u32, salt u64, length u64
//! frame:             magic u32, CRC32C of the next 24 bytes u32, payload length u32, zero sectors u32, synced u64, own offset XOR salt u64,
//!                    payload (records), zeros, trailer 8 bytes; begins and ends at multiples of 32, so that a header lies in one sector
//! ```
//!
//! The salt is random for each file, so that no payload can pose as a frame. All numbers are little-endian.

use crc_fast::{CrcAlgorithm, checksum};
use trireme_proto::{Epoch, Position};
use trireme_replica::log::record::{self, Kind, RecordError, RecordView};

/// Bytes before the first frame.
pub(super) const HEADER_BYTES: usize = 64;
/// Bytes of a frame before its payload.
pub(super) const FRAME_BYTES: usize = 32;
/// The header was made by a reset: it counts only once a checkpoint names it as the log's floor.
pub(super) const FLAG_RESET: u32 = 1;
const TRAILER_BYTES: usize = 8;
const ALIGN: usize = 32;
const SECTOR: usize = 512;
const MAGIC: &[u8; 8] = b"TRIRLOG1";
const FRAME_MAGIC: u32 = 0x4d52_4654;
const TRAILER: [u8; TRAILER_BYTES] = *b"TRIRMEND";
/// Top byte of every salt: the last byte of a frame's header is never 0.
const SALT_TOP: u64 = 0xa7 << 56;

/// What stands at the head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Rises with every segment made; later segments void what earlier ones hold from their own first record on.
    pub(super) serial: u64,
    /// The position that the first record follows.
    pub(super) previous: Position,
    /// Made by a reset.
    pub(super) reset: bool,
    /// Random.
    pub(super) salt: u64,
    /// Bytes of the file.
    pub(super) length: u64,
}

impl Header {
    /// A header for a new segment; `random` becomes its salt.
    pub(super) fn new(serial: u64, previous: Position, reset: bool, random: u64, length: u64) -> Header {
        Header { serial, previous, reset, salt: (random >> 8) | SALT_TOP, length }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[12..16].copy_from_slice(&(if self.reset { FLAG_RESET } else { 0 }).to_le_bytes());
        out[16..24].copy_from_slice(&self.serial.to_le_bytes());
        out[24..32].copy_from_slice(&self.previous.seq.to_le_bytes());
        out[32..40].copy_from_slice(&self.previous.epoch.number.to_le_bytes());
        out[40..44].copy_from_slice(&self.previous.epoch.proposer.to_le_bytes());
        out[48..56].copy_from_slice(&self.salt.to_le_bytes());
        out[56..64].copy_from_slice(&self.length.to_le_bytes());
        let sum = crc(&out[12..]);
        out[8..12].copy_from_slice(&sum.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Header, &'static str> {
        if bytes.len() < HEADER_BYTES {
            return Err("the file is shorter than a segment's header");
        }
        if &bytes[..8] != MAGIC || u32_at(bytes, 8) != crc(&bytes[12..HEADER_BYTES]) {
            return Err("the segment's header is damaged");
        }
        let epoch = Epoch { number: u64_at(bytes, 32), proposer: u32_at(bytes, 40) };
        Ok(Header {
            serial: u64_at(bytes, 16),
            previous: Position { epoch, seq: u64_at(bytes, 24) },
            reset: u32_at(bytes, 12) & FLAG_RESET != 0,
            salt: u64_at(bytes, 48),
            length: u64_at(bytes, 56),
        })
    }
}

/// File name of a segment.
pub(super) fn name(serial: u64, previous: Position) -> String {
    format!("{serial:010}-{:020}.log", previous.seq + 1)
}

/// Serial and first seq in a segment's file name.
pub(super) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (serial, first) = name.strip_suffix(".log")?.split_once('-')?;
    Some((serial.parse().ok()?, first.parse().ok()?))
}

/// Bytes that a frame with this payload takes.
pub(super) fn frame_bytes(payload: usize) -> usize {
    (FRAME_BYTES + payload + TRAILER_BYTES).next_multiple_of(ALIGN)
}

/// Makes `frame`, which holds room for the header and then the payload, a whole frame that is to stand at `offset`.
pub(super) fn seal_frame(frame: &mut Vec<u8>, offset: u64, synced: u64, salt: u64) {
    let payload = frame.len() - FRAME_BYTES;
    let total = frame_bytes(payload);
    frame.resize(total - TRAILER_BYTES, 0);
    frame.extend_from_slice(&TRAILER);
    frame[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
    frame[8..12].copy_from_slice(&(payload as u32).to_le_bytes());
    frame[16..24].copy_from_slice(&synced.to_le_bytes());
    frame[24..32].copy_from_slice(&(offset ^ salt).to_le_bytes());
    let zeros = zero_sectors(frame, offset);
    frame[12..16].copy_from_slice(&zeros.to_le_bytes());
    let sum = crc(&frame[8..FRAME_BYTES]);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// Sectors that hold nothing but zeros of these bytes, which stand at `offset` of the file.
fn zero_sectors(bytes: &[u8], offset: u64) -> u32 {
    let first = (SECTOR - offset as usize % SECTOR).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    std::iter::once(head).chain(rest.chunks(SECTOR)).filter(|sector| sector.iter().all(|b| *b == 0)).count() as u32
}

/// A frame's header, read.
struct Frame {
    payload: usize,
    total: usize,
    zeros: u32,
    synced: u64,
}

/// The frame whose header stands at `at`. The file may be cut off before its end.
fn frame_at(bytes: &[u8], at: usize, salt: u64) -> Option<Frame> {
    let head = bytes.get(at..at.checked_add(FRAME_BYTES)?)?;
    if u32_at(head, 0) != FRAME_MAGIC
        || u64_at(head, 24) != at as u64 ^ salt
        || u32_at(head, 4) != crc(&head[8..FRAME_BYTES])
    {
        return None;
    }
    let payload = u32_at(head, 8) as usize;
    Some(Frame { payload, total: frame_bytes(payload), zeros: u32_at(head, 12), synced: u64_at(head, 16) })
}

/// What is there of a frame's payload.
fn payload_of<'a>(bytes: &'a [u8], at: usize, frame: &Frame) -> &'a [u8] {
    let from = at + FRAME_BYTES;
    &bytes[from..(from + frame.payload).min(bytes.len())]
}

/// How a segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With zeros, or where the caller's limit was reached.
    Clean,
    /// With a write that a crash left unfinished: so many bytes from `Scan::end` on are to be zeroed.
    Torn(u64),
    /// With damage.
    Corrupt {
        /// Where.
        offset: u64,
        /// What.
        what: String,
    },
}

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Offset behind the last good frame, or behind the one in which the limit was reached.
    pub(super) end: u64,
    /// Last record's position, or the header's previous.
    pub(super) last: Position,
    /// How it ends.
    pub(super) how: End,
    /// The limit was reached: records behind it stand there still, and are void.
    pub(super) limited: bool,
}

/// Why a frame's payload is not good.
enum Bad {
    /// Checksums or lengths: a crash may explain it.
    Bytes(u64, RecordError),
    /// The checksums are right: no crash explains it.
    Order(u64, String),
}

/// Verifies every record of a segment, before the seq `limit`. `bytes` is the whole file; where it is shorter than its header says, zeros are missing.
pub(super) fn scan(bytes: &[u8], header: &Header, limit: u64) -> Scan {
    let mut at = HEADER_BYTES;
    let mut last = header.previous;
    while let Some(frame) = frame_at(bytes, at, header.salt) {
        let payload = payload_of(bytes, at, &frame);
        let mut reached = last;
        let mut verified = verify(payload, (at + FRAME_BYTES) as u64, limit, &mut reached);
        if matches!(verified, Ok(false)) && payload.len() < frame.payload {
            let why = RecordError::Short { needed: frame.payload, found: payload.len() };
            verified = Err(Bad::Bytes((at + FRAME_BYTES) as u64, why));
        }
        match verified {
            Ok(true) => {
                return Scan { end: (at + frame.total) as u64, last: reached, how: End::Clean, limited: true };
            }
            Ok(false) => {
                at += frame.total;
                last = reached;
            }
            Err(Bad::Order(offset, what)) => {
                return Scan { end: at as u64, last, how: End::Corrupt { offset, what }, limited: false };
            }
            Err(Bad::Bytes(offset, why)) => {
                let whole = &bytes[at..(at + frame.total).min(bytes.len())];
                let cut = whole.len() < frame.total || whole.last() == Some(&0);
                let torn = cut || zero_sectors(whole, at as u64) > frame.zeros;
                return Scan {
                    end: at as u64,
                    last,
                    how: judge(bytes, at, header.salt, torn, offset, &why.to_string()),
                    limited: false,
                };
            }
        }
    }
    let head = bytes.get(at..at + FRAME_BYTES).unwrap_or_default();
    let torn = head.iter().all(|b| *b == 0) || nonzero_end(bytes, at) < at + FRAME_BYTES;
    Scan {
        end: at as u64,
        last,
        how: judge(bytes, at, header.salt, torn, at as u64, "the header of a write is damaged"),
        limited: false,
    }
}

/// Judges what stands at `at`, where no good frame is.
fn judge(bytes: &[u8], at: usize, salt: u64, torn: bool, offset: u64, what: &str) -> End {
    let end = nonzero_end(bytes, at);
    if end == at {
        return End::Clean;
    }
    let mut later = (at + ALIGN).min(end);
    while later < end {
        if frame_at(bytes, later, salt).is_some_and(|frame| frame.synced > at as u64) {
            let what = format!("{what}, and a later write at byte {later} says that it was durable");
            return End::Corrupt { offset, what };
        }
        later += ALIGN;
    }
    if torn { End::Torn((end - at) as u64) } else { End::Corrupt { offset, what: what.to_owned() } }
}

/// Whether some write in this segment says that the segment itself was durable, and with it everything before it.
pub(super) fn was_durable(bytes: &[u8], header: &Header) -> bool {
    (HEADER_BYTES..bytes.len()).step_by(ALIGN).any(|at| frame_at(bytes, at, header.salt).is_some_and(|f| f.synced > 0))
}

/// Offset behind the last byte from `at` on that is not 0; `at` if there is none.
fn nonzero_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().rposition(|b| *b != 0).map_or(0, |index| index + 1)
}

/// Checks the records of one payload. `true`: the limit was reached.
fn verify(payload: &[u8], offset: u64, limit: u64, last: &mut Position) -> Result<bool, Bad> {
    let mut at = 0;
    while at < payload.len() {
        if last.seq + 1 >= limit {
            return Ok(true);
        }
        let record = record::read(&payload[at..]).map_err(|why| Bad::Bytes(offset + at as u64, why))?;
        if follows(&record, last).map_err(|what| Bad::Order(offset + at as u64, what))? {
            *last = record.position;
        }
        at += record.bytes;
    }
    Ok(false)
}

/// Whether a record is an entry (`true`) or a note, and stands where it may.
pub(super) fn follows(record: &RecordView<'_>, last: &Position) -> Result<bool, String> {
    let position = record.position;
    match record.kind {
        Kind::Commit if position.seq <= last.seq => Ok(false),
        Kind::Commit => Err(format!("a note says that {} is committed, and the log ends at {last}", position.seq)),
        _ if position.seq == last.seq + 1 && position.epoch >= last.epoch => Ok(true),
        _ => Err(format!("record {position} cannot follow {last}")),
    }
}

/// Reads the records of verified bytes.
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    salt: u64,
    /// Records and notes above this seq are not wanted.
    last: u64,
    /// Seq of the last record handed out.
    reached: u64,
    /// Where the next frame begins, and where frames end.
    frame: usize,
    end: usize,
    /// Where the next record begins, and where the payload ends.
    at: usize,
    until: usize,
}

impl<'a> Records<'a> {
    /// `bytes` must have been [`scan`]ned, with this end and this last seq.
    pub(super) fn new(bytes: &'a [u8], header: &Header, end: u64, last: u64) -> Records<'a> {
        let (salt, reached) = (header.salt, header.previous.seq);
        Records { bytes, salt, last, reached, frame: HEADER_BYTES, end: end as usize, at: 0, until: 0 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (RecordView<'a>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.until {
            let frame = frame_at(&self.bytes[..self.end.min(self.bytes.len())], self.frame, self.salt)?;
            self.at = self.frame + FRAME_BYTES;
            self.until = self.at + payload_of(self.bytes, self.frame, &frame).len();
            self.frame += frame.total;
        }
        let record = record::read_trusted(&self.bytes[self.at..self.until]).ok()?;
        if record.position.seq > self.last {
            return None;
        }
        if record.position.seq <= self.reached {
            // A note. Behind the last record that is wanted nothing was verified.
            record::read(&self.bytes[self.at..self.until]).ok()?;
        }
        self.reached = self.reached.max(record.position.seq);
        let whole = &self.bytes[self.at..self.at + record.bytes];
        self.at += record.bytes;
        Some((record, whole))
    }
}

pub(super) fn crc(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}
