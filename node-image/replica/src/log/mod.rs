//! The group's log as the replica holds it in memory: the part that followers may still need, as the bytes that the disk has.
//!
//! * [`record`]: one entry as bytes.
//! * [`epochs`]: which epoch appended which part.
//!
//! Invariants: seqs are contiguous; epochs never fall; everything up to `before` has left memory and is in every checkpoint that counts.

pub mod epochs;
pub mod record;

use std::collections::VecDeque;

use bytes::Bytes;
use trireme_proto::Position;

use epochs::EpochTable;
use record::RecordError;

/// Entries that were appended together.
#[derive(Clone, Debug)]
struct Chunk {
    first: u64,
    last: u64,
    bytes: Bytes,
    /// Bytes of log up to its end, counted from where this log began.
    end: u64,
    /// When it was appended here, in monotonic microseconds: how long a follower has been behind.
    at_us: u64,
}

/// The tail of the log.
#[derive(Debug)]
pub struct Log {
    chunks: VecDeque<Chunk>,
    epochs: EpochTable,
    before: Position,
    last: Position,
    /// Bytes of log appended, and of these let go of at the front.
    end: u64,
    gone: u64,
}

impl Log {
    /// An empty log that goes on after this position.
    pub fn after(before: Position, epochs: EpochTable) -> Log {
        Log { chunks: VecDeque::new(), epochs, before, last: before, end: 0, gone: 0 }
    }

    /// The last entry.
    pub fn last(&self) -> Position {
        self.last
    }

    /// The entry before the first that is held.
    pub fn before(&self) -> Position {
        self.before
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.end - self.gone
    }

    /// Bytes up to the end of `seq`, counted from where this log began.
    pub fn offset(&self, seq: u64) -> u64 {
        self.end_of(seq)
    }

    /// The epoch table.
    pub fn epochs(&self) -> &EpochTable {
        &self.epochs
    }

    /// The position of an entry that is held, or of the one before the first.
    pub fn position(&self, seq: u64) -> Position {
        Position { epoch: self.epochs.epoch_of(seq), seq }
    }

    /// Appends whole records.
    ///
    /// # Errors
    /// Where the bytes are no records, or do not go on from the last: nothing is appended then.
    pub fn append(&mut self, bytes: Bytes, verify: bool, at_us: u64) -> Result<(u64, u64), AppendError> {
        let mut rest = &bytes[..];
        let (first, mut last, mut starts) = (self.last.seq + 1, self.last, Vec::new());
        while !rest.is_empty() {
            let record = if verify { record::read(rest) } else { record::read_trusted(rest) }?;
            if record.position.seq != last.seq + 1 || record.position.epoch < last.epoch {
                return Err(AppendError::Gap { last, found: record.position });
            }
            if record.position.epoch > last.epoch {
                starts.push(record.position);
            }
            last = record.position;
            rest = &rest[record.bytes..];
        }
        for start in starts {
            self.epochs.appended(start);
        }
        self.push(Chunk { first, last: last.seq, bytes, end: 0, at_us }, last);
        Ok((first, last.seq))
    }

    /// Appends records that this replica has just encoded itself: they end at `last`.
    pub fn append_own(&mut self, bytes: Bytes, last: Position, at_us: u64) -> u64 {
        let first = self.last.seq + 1;
        self.epochs.appended(Position { epoch: last.epoch, seq: first });
        self.push(Chunk { first, last: last.seq, bytes, end: 0, at_us }, last);
        first
    }

    fn push(&mut self, chunk: Chunk, last: Position) {
        if chunk.bytes.is_empty() {
            return;
        }
        self.end += chunk.bytes.len() as u64;
        self.last = last;
        self.chunks.push_back(Chunk { end: self.end, ..chunk });
    }

    /// Cuts everything after `seq`.
    pub fn truncate(&mut self, seq: u64) {
        assert!(seq >= self.before.seq, "a log is never cut below what has left memory");
        while let Some(chunk) = self.chunks.pop_back_if(|chunk| chunk.last > seq) {
            self.end -= chunk.bytes.len() as u64;
            let keep = offset_after(&chunk, seq);
            if keep > 0 {
                self.end += keep as u64;
                self.chunks.push_back(Chunk { last: seq, bytes: chunk.bytes.slice(..keep), end: self.end, ..chunk });
                break;
            }
        }
        self.last = self.position(seq.min(self.last.seq));
        self.epochs.truncate(seq);
    }

    /// Lets go of whole chunks up to `seq` while more than `bytes_max` are held. Returns what is let go of.
    pub fn trim(&mut self, seq: u64, bytes_max: u64) -> Vec<Bytes> {
        let mut gone = Vec::new();
        while self.bytes() > bytes_max {
            let Some(chunk) = self.chunks.pop_front_if(|chunk| chunk.last <= seq) else { break };
            gone.push(chunk.bytes.clone());
            self.gone += chunk.bytes.len() as u64;
            self.before = self.position(chunk.last);
        }
        self.epochs.trim(self.before.seq);
        gone
    }

    /// Records after `seq`, about `bytes_max` of them and at least one where there is one: the seq of the last, and the bytes. Without a copy.
    pub fn read_after(&self, seq: u64, bytes_max: usize) -> Option<(u64, Bytes)> {
        debug_assert!(seq >= self.before.seq, "what has left memory cannot be read");
        let chunk = self.chunk_of(seq + 1)?;
        let from = offset_after(chunk, seq);
        if chunk.bytes.len() - from <= bytes_max {
            return Some((chunk.last, chunk.bytes.slice(from..)));
        }
        let (mut to, mut last) = (from, seq);
        while to < chunk.bytes.len() && (to == from || to - from < bytes_max) {
            let Ok(record) = record::read_trusted(&chunk.bytes[to..]) else { break };
            (to, last) = (to + record.bytes, record.position.seq);
        }
        Some((last, chunk.bytes.slice(from..to)))
    }

    /// Bytes of log after `seq` up to and including `to`, in whole chunks.
    pub fn bytes_between(&self, seq: u64, to: u64) -> u64 {
        self.end_of(to).saturating_sub(self.end_of(seq))
    }

    /// Where the chunk that holds `seq` ends, in bytes.
    fn end_of(&self, seq: u64) -> u64 {
        match seq {
            _ if seq <= self.before.seq => self.gone,
            // Asked before every command: it must not search.
            _ if seq >= self.last.seq => self.end,
            _ => self.chunk_of(seq).map_or(self.end, |chunk| chunk.end),
        }
    }

    /// When the entry after `seq` was appended here.
    pub fn appended_at_us(&self, seq: u64) -> Option<u64> {
        self.chunk_of(seq + 1).map(|chunk| chunk.at_us)
    }

    fn chunk_of(&self, seq: u64) -> Option<&Chunk> {
        let at = self.chunks.partition_point(|chunk| chunk.last < seq);
        self.chunks.get(at)
    }
}

/// Where the first record after `seq` begins in a chunk.
fn offset_after(chunk: &Chunk, seq: u64) -> usize {
    let (mut at, mut next) = (0, chunk.first);
    while next <= seq && at < chunk.bytes.len() {
        let Ok(record) = record::read_trusted(&chunk.bytes[at..]) else { break };
        (at, next) = (at + record.bytes, next + 1);
    }
    at
}

/// Why entries from a leader were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// They are damaged.
    #[error("entries from the leader cannot be read: {0}")]
    Record(#[from] RecordError),
    /// They do not go on from the last one.
    #[error("an entry at {found} does not follow {last}")]
    Gap {
        /// The last entry of the log.
        last: Position,
        /// The entry found.
        found: Position,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use record::Kind;
    use trireme_proto::Epoch;

    fn records(epoch: u64, first: u64, last: u64) -> Bytes {
        let mut out = Vec::new();
        for seq in first..=last {
            let position = Position { epoch: Epoch { number: epoch, proposer: 0 }, seq };
            record::append(&mut out, position, Kind::Delta, None, |out| out.extend_from_slice(&seq.to_le_bytes()));
        }
        out.into()
    }

    fn log() -> Log {
        let mut log = Log::after(Position::ZERO, EpochTable::after(Position::ZERO));
        for (epoch, first, last) in [(1, 1, 3), (1, 4, 4), (2, 5, 9)] {
            log.append(records(epoch, first, last), true, 0).unwrap();
        }
        log
    }

    #[test]
    fn reading_gives_what_was_appended_from_any_seq() {
        let log = log();
        for after in 0..9 {
            let (mut seq, mut got) = (after, BytesMut::new());
            while let Some((last, bytes)) = log.read_after(seq, 60) {
                got.extend_from_slice(&bytes);
                seq = last;
            }
            let expected: Vec<u8> =
                (after + 1..=9).flat_map(|seq| records(if seq < 5 { 1 } else { 2 }, seq, seq)).collect();
            assert_eq!(got, expected, "after {after}");
        }
    }

    #[test]
    fn after_a_cut_appending_goes_on() {
        for cut in 0..9 {
            let mut log = log();
            log.truncate(cut);
            let left: u64 = (1..=cut).map(|seq| records(if seq < 5 { 1 } else { 2 }, seq, seq).len() as u64).sum();
            assert_eq!((log.last().seq, log.bytes()), (cut, left));
            log.append(records(3, cut + 1, cut + 2), true, 0).unwrap();
            assert_eq!(log.position(cut + 1).epoch.number, 3);
            assert!(log.append(records(3, cut + 4, cut + 4), true, 0).is_err(), "a gap");
        }
    }

    #[test]
    fn trimming_keeps_what_is_needed() {
        let mut log = log();
        log.trim(4, 0);
        assert_eq!((log.before().seq, log.before().epoch.number), (4, 1));
        assert_eq!(log.bytes(), records(2, 5, 9).len() as u64);
    }
}
