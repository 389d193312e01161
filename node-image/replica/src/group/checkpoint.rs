//! Checkpoints: the state written slot by slot while writes go on, so that the log before them may go and a start is quick.

use bytes::Bytes;
use trireme_proto::Position;

use crate::{
    disk_queue::Becomes,
    io::{CheckpointOp, DiskOp, Event},
    replica::Replica,
};

use super::sweep::Sweep;

/// Slots looked at, and bytes written, in one turn.
const SLOTS_PER_TURN: usize = 256;
const BYTES_PER_TURN: usize = 256 << 10;
/// A checkpoint is due when the log since the last one has grown to this part of what is kept.
const LOG_PART: u64 = 2;

/// One that is being written.
#[derive(Debug)]
pub(crate) struct Checkpointing {
    start: Position,
    sweep: Sweep,
    /// Every slot is handed out: the state is whole at this seq.
    whole_at: Option<u64>,
    /// `Finish` is handed out.
    finishing: bool,
}

impl Checkpointing {
    /// There are slots that can be taken now.
    pub(crate) fn sweeps(&self) -> bool {
        self.whole_at.is_none() && !self.needs_quiet()
    }

    pub(crate) fn needs_quiet(&self) -> bool {
        self.whole_at.is_none() && (self.sweep.needs_quiet() || self.sweep.is_done())
    }
}

impl Replica {
    /// Whether enough log has come together for a new checkpoint.
    pub(super) fn checkpoint_due(&self) -> bool {
        // The disk writes one checkpoint at a time, and a snapshot that comes in is one.
        // And a state that is not whole yet is none to start from.
        if self.installs() || self.applied < self.whole_at {
            return false;
        }
        let since = self.log.bytes_between(self.checkpoint_seq.max(self.log.before().seq), self.log.last().seq);
        self.checkpointing.is_none()
            && self.commit > self.checkpoint_seq
            && since > self.settings().log_bytes_max / LOG_PART
    }

    /// At a moment without uncommitted entries: begins one.
    pub(super) fn begin_checkpoint(&mut self) {
        let start = self.log.position(self.commit);
        let op = CheckpointOp::Begin { start, meta: self.state_meta() };
        self.persist(DiskOp::Checkpoint(op), None);
        self.checkpointing = Some(Checkpointing { start, sweep: Sweep::new(), whole_at: None, finishing: false });
    }

    /// The state that belongs to no slot: requests and what the engine has.
    pub(super) fn state_meta(&self) -> Bytes {
        let mut meta = Vec::new();
        self.requests.export(&mut meta);
        self.engine.export_meta(&mut meta);
        meta.into()
    }

    /// Writes the next slots.
    pub(super) fn write_checkpoint(&mut self) {
        let (commit, durable) = (self.commit, self.durable);
        let Some(checkpointing) = &mut self.checkpointing else { return };
        if let Some(whole_at) = checkpointing.whole_at {
            // A start from it must find the log up to there.
            if durable >= whole_at && !checkpointing.finishing {
                checkpointing.finishing = true;
                let start = checkpointing.start;
                self.persist(DiskOp::Checkpoint(CheckpointOp::Finish { whole_at }), Some(Becomes::Checkpoint(start)));
            }
            return;
        }
        let images = checkpointing.sweep.take(&self.engine, commit, BYTES_PER_TURN, SLOTS_PER_TURN);
        for image in images {
            let slot = image.slot as u16;
            self.persist(DiskOp::Checkpoint(CheckpointOp::Slot { slot, image: image.image }), None);
        }
    }

    /// At a moment without uncommitted entries: writes what was being written all the time, and ends.
    pub(super) fn end_checkpoint(&mut self) {
        let commit = self.commit;
        let Some(checkpointing) = &mut self.checkpointing else { return };
        checkpointing.sweep.quiet();
        let images = checkpointing.sweep.take(&self.engine, commit, usize::MAX, usize::from(trireme_proto::SLOTS));
        checkpointing.whole_at = Some(commit);
        for image in images {
            let slot = image.slot as u16;
            self.persist(DiskOp::Checkpoint(CheckpointOp::Slot { slot, image: image.image }), None);
        }
        self.write_checkpoint();
    }

    /// It is in force: the log before it may go, where no follower needs it.
    pub(crate) fn checkpoint_finished(&mut self, start: Position) {
        self.checkpoint_seq = self.checkpoint_seq.max(start.seq);
        self.checkpointing = None;
        self.event(Event::CheckpointFinished(start));
        self.trim_log();
    }
}
