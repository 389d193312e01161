//! What a disk had, on its way into a replica.

use bytes::{Bytes, BytesMut};
use trireme_proto::Position;

use crate::{
    clients::requests::Requests,
    engine::Engine,
    io::Meta,
    log::{AppendError, Log, epochs::EpochTable},
};

/// Bytes of log that are gathered into one piece of memory: a size that allocators have, and not so large that what has left memory keeps others' pages.
const CHUNK_BYTES: usize = 64 << 10;

/// Why what the disk had cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The checkpoint's own state is unreadable.
    #[error("the checkpoint's header cannot be read: it is damaged or of another version")]
    Checkpoint,
    /// A slot is unreadable.
    #[error("slot {slot} of the checkpoint cannot be read: {why}")]
    Slot {
        /// Which.
        slot: u16,
        /// Why.
        why: String,
    },
    /// A record is unreadable.
    #[error("the log cannot be read: {0}")]
    Log(#[from] AppendError),
}

/// Gathers what a disk had: first [`Recovery::meta`], then the checkpoint with its slots, then the log's records and its notes of what was committed.
pub struct Recovery {
    meta: Meta,
    engine: Engine,
    requests: Requests,
    start: Position,
    whole_at: u64,
    log: Log,
    chunk: BytesMut,
    commit: u64,
    checkpoint_bytes: u64,
}

/// What came of it.
pub(crate) struct Recovered {
    pub(crate) meta: Meta,
    pub(crate) engine: Engine,
    pub(crate) requests: Requests,
    /// The state is that of this seq.
    pub(crate) start: u64,
    pub(crate) whole_at: u64,
    pub(crate) log: Log,
    pub(crate) commit: u64,
    pub(crate) checkpoint_bytes: u64,
    /// The end of the log could not be read.
    pub(crate) error: Option<RecoveryError>,
}

impl Default for Recovery {
    fn default() -> Recovery {
        Recovery::new()
    }
}

impl Recovery {
    /// An empty disk.
    pub fn new() -> Recovery {
        Recovery {
            meta: Meta::default(),
            engine: Engine::new(),
            requests: Requests::default(),
            start: Position::ZERO,
            whole_at: 0,
            log: Log::after(Position::ZERO, EpochTable::after(Position::ZERO)),
            chunk: BytesMut::new(),
            commit: 0,
            checkpoint_bytes: 0,
        }
    }

    /// What was remembered outside the log.
    pub fn meta(&mut self, meta: Meta) {
        self.meta = meta;
    }

    /// The checkpoint in force: see [`crate::io::CheckpointOp`].
    ///
    /// # Errors
    /// Where `meta` is not what a replica wrote.
    pub fn checkpoint(&mut self, start: Position, whole_at: u64, meta: &[u8]) -> Result<(), RecoveryError> {
        let (requests, rest) = Requests::import(meta).ok_or(RecoveryError::Checkpoint)?;
        self.engine = Engine::new();
        self.engine.import_meta(rest).map_err(|_| RecoveryError::Checkpoint)?;
        self.engine.begins_at(start.seq.max(whole_at));
        self.requests = requests;
        (self.start, self.whole_at, self.commit) = (start, whole_at, whole_at);
        self.log = Log::after(start, EpochTable::after(start));
        Ok(())
    }

    /// One slot of the checkpoint.
    ///
    /// # Errors
    /// Where the image is not what an engine wrote.
    pub fn slot(&mut self, slot: u16, image: &[u8]) -> Result<(), RecoveryError> {
        self.checkpoint_bytes += image.len() as u64;
        self.engine.import_slot(slot, image).map_err(|why| RecoveryError::Slot { slot, why: why.to_string() })
    }

    /// One whole record of the log. Records from before the checkpoint are kept for followers: the log then begins with them.
    ///
    /// # Errors
    /// Where it does not follow the one before.
    pub fn record(&mut self, record: &[u8]) -> Result<(), RecoveryError> {
        if self.chunk.len() + record.len() > CHUNK_BYTES {
            self.flush()?;
        }
        if self.chunk.capacity() == 0 {
            self.chunk = BytesMut::with_capacity(CHUNK_BYTES.max(record.len()));
        }
        self.chunk.extend_from_slice(record);
        Ok(())
    }

    /// A note in the log: this much was committed.
    pub fn committed(&mut self, seq: u64) {
        self.commit = self.commit.max(seq);
    }

    fn flush(&mut self) -> Result<(), RecoveryError> {
        let chunk = std::mem::take(&mut self.chunk);
        if chunk.is_empty() {
            return Ok(());
        }
        // What is not used of a piece would stay with it.
        let full = chunk.len() >= chunk.capacity() / 4 * 3;
        let bytes = if full { chunk.freeze() } else { Bytes::copy_from_slice(&chunk) };
        if self.log.bytes() == 0 {
            self.begin_log(&bytes)?;
        }
        self.log.append(bytes, false, 0)?;
        Ok(())
    }

    /// The log may begin before the checkpoint: what followers may still need is kept longer than what recovery needs.
    fn begin_log(&mut self, bytes: &[u8]) -> Result<(), RecoveryError> {
        let first = crate::log::record::read_trusted(bytes).map_err(AppendError::from)?.position;
        if first.seq != 0 && first.seq <= self.log.last().seq {
            let before = Position { epoch: first.epoch, seq: first.seq - 1 };
            let before = if before.seq == 0 { Position::ZERO } else { before };
            self.log = Log::after(before, EpochTable::after(before));
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Recovered {
        let error = self.flush().err();
        Recovered {
            error,
            meta: self.meta,
            engine: self.engine,
            requests: self.requests,
            start: self.start.seq,
            whole_at: self.whole_at,
            log: self.log,
            commit: self.commit,
            checkpoint_bytes: self.checkpoint_bytes,
        }
    }
}
