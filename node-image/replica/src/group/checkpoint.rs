//! Checkpoints: the state written slot by slot while writes go on, so that the log before them may go and a start is quick.

use bytes::Bytes;
use trireme_proto::{Position, message::SlotImage};

use crate::{
    io::{CheckpointOp, Event},
    recovery::Recovered,
    replica::Replica,
};

use super::sweep::Sweep;

/// Slots looked at, and bytes written, in one turn.
const SLOTS_PER_TURN: usize = 256;
const BYTES_PER_TURN: usize = 64 << 10;
/// It is spread over the time in which the log grows by this part of what makes the next one due, so that clients are served meanwhile as ever; and where
/// little is written, it goes on with so many bytes a second.
const PACE_PART: u64 = 2;
const BYTES_PER_SECOND: u64 = 32 << 20;
/// A checkpoint is due when the log since the last one has grown to this part of what is kept for followers, and to the size of the last one: so no
/// more than twice the data is written for it, and a start reads no more log than state, and half of that again while the next one is written.
const LOG_PART: u64 = 2;

/// The checkpoint in force.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checkpoint {
    /// Seq at its start.
    pub(crate) seq: u64,
    /// When it was finished, or found: milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Where the log was at its start, in bytes of this log.
    pub(crate) log_offset: u64,
    /// Bytes of its slots.
    pub(crate) bytes: u64,
    /// Steps of the next one are handed out and not done.
    pub(crate) busy: bool,
}

impl Checkpoint {
    /// The one that a start has found.
    pub(crate) fn found(recovered: &Recovered, at_ms: u64) -> Checkpoint {
        let (seq, bytes) = (recovered.start, recovered.checkpoint_bytes);
        Checkpoint { seq, at_ms, log_offset: recovered.log.offset(seq), bytes, busy: false }
    }
}

/// One that is being written.
#[derive(Debug)]
pub(crate) struct Checkpointing {
    start: Position,
    begun_us: u64,
    log_offset: u64,
    bytes: u64,
    sweep: Sweep,
    /// Every slot is handed out: the state is whole at this seq.
    whole_at: Option<u64>,
    /// `Finish` is handed out.
    finishing: bool,
}

impl Checkpointing {
    fn needs_quiet(&self) -> bool {
        self.whole_at.is_none() && (self.sweep.needs_quiet() || self.sweep.is_done())
    }
}

impl Replica {
    /// There are slots that can be taken now.
    pub(super) fn checkpoint_sweeps(&self) -> bool {
        let sweeps = |checkpointing: &Checkpointing| checkpointing.whole_at.is_none() && !checkpointing.needs_quiet();
        !self.checkpoint.busy && self.checkpointing.as_ref().is_some_and(sweeps)
    }

    /// What is left of the slots is taken at a moment without uncommitted entries.
    pub(super) fn checkpoint_needs_quiet(&self) -> bool {
        !self.checkpoint.busy && self.checkpointing.as_ref().is_some_and(Checkpointing::needs_quiet)
    }

    /// Whether enough log has come together for a new checkpoint.
    pub(super) fn checkpoint_due(&self) -> bool {
        // The disk writes one checkpoint at a time, and a snapshot that comes in is one.
        // And a state that is not whole yet is none to start from.
        if self.installs() || self.applied < self.whole_at {
            return false;
        }
        let none = self.checkpointing.is_none() && !self.checkpoint.busy;
        none && self.commit > self.checkpoint.seq && self.log_since(self.checkpoint.log_offset) > self.log_enough()
    }

    /// By how many bytes the log has grown since then.
    fn log_since(&self, log_offset: u64) -> u64 {
        self.log.offset(self.log.last().seq).saturating_sub(log_offset)
    }

    /// How much of it makes a checkpoint due.
    fn log_enough(&self) -> u64 {
        (self.settings().log_bytes_max / LOG_PART).max(self.checkpoint.bytes)
    }

    /// Bytes that may be written by now of the one that is being written.
    fn checkpoint_pace(&self, checkpointing: &Checkpointing) -> u64 {
        let us = self.now.mono_us.saturating_sub(checkpointing.begun_us);
        let by_time = us.saturating_mul(BYTES_PER_SECOND) / 1_000_000;
        let all = self.checkpoint.bytes.max(self.engine.data_bytes());
        let grown = u128::from(all) * u128::from(self.log_since(checkpointing.log_offset));
        let by_log = grown / u128::from((self.log_enough() / PACE_PART).max(1));
        by_time.max(u64::try_from(by_log).unwrap_or(u64::MAX)).saturating_add(BYTES_PER_TURN as u64)
    }

    /// At a moment without uncommitted entries: begins one.
    pub(super) fn begin_checkpoint(&mut self) {
        let start = self.log.position(self.stable());
        let op = CheckpointOp::Begin { start, meta: self.state_meta() };
        self.checkpoint_step(op);
        let log_offset = self.log.offset(start.seq);
        self.checkpointing = Some(Checkpointing {
            start,
            begun_us: self.now.mono_us,
            log_offset,
            bytes: 0,
            sweep: Sweep::new(),
            whole_at: None,
            finishing: false,
        });
    }

    /// The state that belongs to no slot: requests and what the engine has.
    pub(super) fn state_meta(&self) -> Bytes {
        let mut meta = Vec::new();
        self.requests.export(&mut meta);
        self.engine.export_meta(&mut meta);
        meta.into()
    }

    fn checkpoint_step(&mut self, op: CheckpointOp) {
        self.output.checkpoint.push(op);
        self.checkpoint.busy = true;
    }

    /// Writes the next slots, when those before are written and it is time for them.
    pub(super) fn write_checkpoint(&mut self) {
        let (commit, durable) = (self.stable(), self.durable);
        // On a full disk nothing is written that it would disturb, and its end makes room.
        let paced = |it: &Checkpointing| it.whole_at.is_none() && !self.disk_full;
        let ahead = |it: &Checkpointing| paced(it) && it.bytes >= self.checkpoint_pace(it);
        if self.checkpointing.as_ref().is_some_and(ahead) {
            return;
        }
        let Some(checkpointing) = self.checkpointing.as_mut().filter(|_| !self.checkpoint.busy) else { return };
        if let Some(whole_at) = checkpointing.whole_at {
            // A start from it must find the log up to there.
            if durable >= whole_at && !checkpointing.finishing {
                checkpointing.finishing = true;
                self.checkpoint_step(CheckpointOp::Finish { whole_at });
            }
            return;
        }
        let images = checkpointing.sweep.take(&self.engine, commit, BYTES_PER_TURN, SLOTS_PER_TURN);
        self.write_slots(images);
    }

    fn write_slots(&mut self, images: Vec<SlotImage>) {
        if let Some(checkpointing) = &mut self.checkpointing {
            checkpointing.bytes += images.iter().map(|image| image.image.len() as u64).sum::<u64>();
        }
        for image in images {
            let slot = image.slot as u16;
            self.checkpoint_step(CheckpointOp::Slot { slot, image: image.image });
        }
    }

    /// At a moment without uncommitted entries: writes what was being written all the time, and ends.
    pub(super) fn end_checkpoint(&mut self) {
        let commit = self.stable();
        let Some(checkpointing) = &mut self.checkpointing else { return };
        checkpointing.sweep.quiet();
        let images = checkpointing.sweep.take(&self.engine, commit, usize::MAX, usize::from(trireme_proto::SLOTS));
        checkpointing.whole_at = Some(commit);
        self.write_slots(images);
        self.write_checkpoint();
    }

    /// What was handed out of it is done. In force, if it was the end: the log before it may go, where no follower needs it.
    pub(crate) fn checkpointed(&mut self) {
        self.checkpoint.busy = false;
        let Some(done) = self.checkpointing.take_if(|checkpointing| checkpointing.finishing) else { return };
        let (at_ms, log_offset, bytes) = (self.now.wall_ms, done.log_offset, done.bytes);
        self.checkpoint = Checkpoint { seq: done.start.seq, at_ms, log_offset, bytes, busy: false };
        self.event(Event::CheckpointFinished(done.start));
        self.trim_log();
    }
}
