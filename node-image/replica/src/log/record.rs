//! One entry of the log as bytes: encoded once, by the leader that appends it; the same bytes stand on every disk and go to every peer.
//!
//! ```text
//! 0   u32  length of everything after the checksum
//! 4   u32  CRC32C of everything after the checksum
//! 8   u64  seq
//! 16  u64  epoch: number
//! 24  u32  epoch: proposer
//! 28  u8   kind
//! 29  u8   flags: 1 = a request follows
//! 30       request, if any: connection's incarnation u64, connection u64, number u64, confirmed u64, reply length u32, reply
//!          payload: by kind
//! ```
//!
//! All numbers are little-endian. A length of 0 is the unwritten end of a preallocated file.

use crc_fast::{CrcAlgorithm, checksum};
use trireme_proto::{Epoch, Incarnation, Position};

/// Bytes before the checksummed part.
pub const PREFIX_BYTES: usize = 8;
const FIXED_BYTES: usize = 22;
const REQUEST_BYTES: usize = 36;
const FLAG_REQUEST: u8 = 1;
/// Largest record accepted, in bytes after the prefix: a length beyond it is damage.
pub const RECORD_BYTES_MAX: usize = 514 << 20;

/// What a record's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First entry of an epoch: nothing of an older epoch is committed before it is.
    Start = 1,
    /// A delta of the engine.
    Delta = 2,
    /// Requests that need no longer be remembered (see `clients::requests`).
    Forget = 3,
    /// Not an entry but a note of this disk alone: seq is known to be committed.
    Commit = 4,
    /// State that came from another group instead of entries: see `feeds::landing`.
    State = 5,
}

/// A request that an entry answers: kept with it so that a client never executes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestView<'a> {
    /// Incarnation of the replica that forwarded it.
    pub forwarder: Incarnation,
    /// Its connection.
    pub connection: u64,
    /// Number within the connection.
    pub number: u64,
    /// Replies up to this number have reached the forwarder.
    pub confirmed: u64,
    /// The reply.
    pub reply: &'a [u8],
}

/// A record, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Where it stands.
    pub position: Position,
    /// What it is.
    pub kind: Kind,
    /// The request it answers.
    pub request: Option<RequestView<'a>>,
    /// By kind.
    pub payload: &'a [u8],
    /// Length of the whole record in bytes.
    pub bytes: usize,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A length of 0: the unwritten end.
    #[error("the end of what was written")]
    End,
    /// Fewer bytes than the length says.
    #[error("a record of {needed} bytes is cut off after {found}")]
    Short {
        /// Bytes that the record needs.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The length cannot be one.
    #[error("a record cannot have {0} bytes")]
    Length(usize),
    /// The checksum is wrong.
    #[error("a record of {0} bytes has a wrong checksum")]
    Checksum(usize),
    /// The checksum is right and the content is not: written by another version.
    #[error("a record has an unknown kind or shape ({0}): it was written by a newer version")]
    Unknown(u8),
}

/// Appends one record to `out`: the payload is what `write` adds.
pub fn append(
    out: &mut Vec<u8>,
    position: Position,
    kind: Kind,
    request: Option<&RequestView<'_>>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let begin = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    out.extend_from_slice(&position.seq.to_le_bytes());
    out.extend_from_slice(&position.epoch.number.to_le_bytes());
    out.extend_from_slice(&position.epoch.proposer.to_le_bytes());
    out.push(kind as u8);
    out.push(if request.is_some() { FLAG_REQUEST } else { 0 });
    if let Some(request) = request {
        for number in [request.forwarder, request.connection, request.number, request.confirmed] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&(request.reply.len() as u32).to_le_bytes());
        out.extend_from_slice(request.reply);
    }
    write(out);
    seal(&mut out[begin..]);
}

/// Writes length and checksum of the one record that `record` is.
fn seal(record: &mut [u8]) {
    let (prefix, body) = record.split_at_mut(PREFIX_BYTES);
    prefix[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    prefix[4..].copy_from_slice(&crc(body).to_le_bytes());
}

fn crc(body: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, body) as u32
}

/// Reads the first record of `bytes`, checksum included.
///
/// # Errors
/// See [`RecordError`].
pub fn read(bytes: &[u8]) -> Result<RecordView<'_>, RecordError> {
    let length = whole_length(bytes)?;
    let body = &bytes[PREFIX_BYTES..length];
    if crc(body) != u32_at(bytes, 4) {
        return Err(RecordError::Checksum(length));
    }
    view(bytes, length)
}

/// Reads the first record of bytes whose checksum has been verified before.
///
/// # Errors
/// See [`RecordError`].
pub fn read_trusted(bytes: &[u8]) -> Result<RecordView<'_>, RecordError> {
    let length = whole_length(bytes)?;
    view(bytes, length)
}

fn whole_length(bytes: &[u8]) -> Result<usize, RecordError> {
    if bytes.len() < 4 {
        return Err(if bytes.iter().all(|b| *b == 0) {
            RecordError::End
        } else {
            RecordError::Short { needed: PREFIX_BYTES, found: bytes.len() }
        });
    }
    let length = u32_at(bytes, 0) as usize;
    match length {
        0 => Err(RecordError::End),
        _ if !(FIXED_BYTES..=RECORD_BYTES_MAX).contains(&length) => Err(RecordError::Length(length)),
        _ if bytes.len() < PREFIX_BYTES + length => {
            Err(RecordError::Short { needed: PREFIX_BYTES + length, found: bytes.len() })
        }
        _ => Ok(PREFIX_BYTES + length),
    }
}

fn view(bytes: &[u8], length: usize) -> Result<RecordView<'_>, RecordError> {
    let epoch = Epoch { number: u64_at(bytes, 16), proposer: u32_at(bytes, 24) };
    let kind = match bytes[28] {
        1 => Kind::Start,
        2 => Kind::Delta,
        3 => Kind::Forget,
        4 => Kind::Commit,
        5 => Kind::State,
        other => return Err(RecordError::Unknown(other)),
    };
    let mut rest = &bytes[PREFIX_BYTES + FIXED_BYTES..length];
    let request = match bytes[29] {
        0 => None,
        FLAG_REQUEST if rest.len() >= REQUEST_BYTES => {
            let reply_end = REQUEST_BYTES + u32_at(rest, 32) as usize;
            let reply = rest.get(REQUEST_BYTES..reply_end).ok_or(RecordError::Unknown(bytes[29]))?;
            let request = RequestView {
                forwarder: u64_at(rest, 0),
                connection: u64_at(rest, 8),
                number: u64_at(rest, 16),
                confirmed: u64_at(rest, 24),
                reply,
            };
            rest = &rest[reply_end..];
            Some(request)
        }
        other => return Err(RecordError::Unknown(other)),
    };
    Ok(RecordView { position: Position { epoch, seq: u64_at(bytes, 8) }, kind, request, payload: rest, bytes: length })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

/// The little-endian number at `at`, where there must be one.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let position = Position { epoch: Epoch { number: 3, proposer: 1 }, seq: 9 };
        let request = RequestView { forwarder: 1, connection: 2, number: 3, confirmed: 2, reply: b"+OK\r\n" };
        let mut out = Vec::new();
        append(&mut out, position, Kind::Delta, Some(&request), |out| out.extend_from_slice(b"payload"));
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = sample();
        let record = read(&bytes).unwrap();
        assert_eq!((record.kind, record.payload, record.bytes), (Kind::Delta, &b"payload"[..], bytes.len()));
        assert_eq!(record.request.unwrap().reply, b"+OK\r\n");
        assert_eq!(record.position.seq, 9);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let whole = sample();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(read(&bytes).is_err(), "byte {at} bit {bit}");
            }
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
