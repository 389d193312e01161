//! What the simulation knows of a replica's log: each entry's position and the hash of its bytes, as they went to the disk.

use std::collections::VecDeque;

use bytes::Bytes;
use trireme_proto::Position;
use trireme_replica::{
    io::{CheckpointOp, DiskOp},
    log::record,
};

use crate::disk::Log;

/// An entry: where it stands, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub position: Position,
    /// Hash of its bytes.
    pub hash: u64,
    /// Position of the entry before it.
    pub previous: Position,
}

/// A log without its bytes.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    base: Position,
    entries: VecDeque<Entry>,
    reset: Option<(Position, VecDeque<Entry>)>,
    /// The state is whole once the log has been applied up to here.
    whole_at: u64,
}

impl Shadow {
    /// The shadow of a log that a start found.
    pub fn new(log: &Log, whole_at: u64) -> Shadow {
        let mut shadow = Shadow { base: log.base, whole_at, ..Shadow::default() };
        for (_, bytes) in &log.records {
            shadow.append(bytes);
        }
        shadow
    }

    /// Follows an operation that was handed to the disk; says which entries it added.
    pub fn follow(&mut self, op: &DiskOp) -> usize {
        match op {
            DiskOp::Append { bytes, .. } => return self.append(bytes),
            DiskOp::Truncate { last } => {
                let entries = self.reset.as_mut().map_or(&mut self.entries, |(_, entries)| entries);
                while entries.pop_back_if(|entry| entry.position.seq > *last).is_some() {}
            }
            DiskOp::Reset { position } => self.reset = Some((*position, VecDeque::new())),
            DiskOp::Snapshot(CheckpointOp::Finish { whole_at }) => {
                if let Some((base, entries)) = self.reset.take() {
                    (self.base, self.entries, self.whole_at) = (base, entries, *whole_at);
                }
            }
            DiskOp::Meta(_)
            | DiskOp::Commit(_)
            | DiskOp::Retain { .. }
            | DiskOp::KeepAside { .. }
            | DiskOp::Snapshot(_) => {}
        }
        0
    }

    fn append(&mut self, bytes: &Bytes) -> usize {
        let (mut at, mut added) = (0, 0);
        while let Ok(view) = record::read_trusted(&bytes[at..]) {
            let hash = hash(&bytes[at..at + view.bytes]);
            let entry = Entry { position: view.position, hash, previous: self.last() };
            self.reset.as_mut().map_or(&mut self.entries, |(_, entries)| entries).push_back(entry);
            at += view.bytes;
            added += 1;
        }
        added
    }

    /// The last entry's position.
    pub fn last(&self) -> Position {
        let (base, entries) =
            self.reset.as_ref().map_or((self.base, &self.entries), |(base, entries)| (*base, entries));
        entries.back().map_or(base, |entry| entry.position)
    }

    /// The position before the first entry.
    pub fn base(&self) -> Position {
        self.reset.as_ref().map_or(self.base, |(base, _)| *base)
    }

    /// The entry with this seq, where the log has it.
    pub fn get(&self, seq: u64) -> Option<&Entry> {
        let (base, entries) =
            self.reset.as_ref().map_or((self.base, &self.entries), |(base, entries)| (*base, entries));
        entries.get(usize::try_from(seq.checked_sub(base.seq + 1)?).ok()?)
    }

    /// The position that a state with everything up to `applied` in it has; `None` where the state is not whole, or the position not known.
    pub fn state_at(&self, applied: u64) -> Option<Position> {
        if self.reset.is_some() || applied < self.whole_at {
            return None;
        }
        if applied == self.base.seq { Some(self.base) } else { self.get(applied).map(|entry| entry.position) }
    }

    /// The last `count` entries.
    pub fn latest(&self, count: usize) -> impl Iterator<Item = &Entry> {
        let entries = self.reset.as_ref().map_or(&self.entries, |(_, entries)| entries);
        entries.range(entries.len().saturating_sub(count)..)
    }
}

/// A hash of a record that is the same in every run.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut raw = [0; 8];
        raw[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(raw)).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(31);
    }
    hash
}
