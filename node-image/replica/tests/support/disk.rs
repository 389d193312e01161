//! A disk: operations take effect in order when the scenario says so (at once, if it says nothing), and a crash loses what had none.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use trireme_proto::Position;
use trireme_replica::{
    Recovery,
    io::{CheckpointOp, DiskOp, Meta},
    log::record,
};

/// A finished checkpoint.
#[derive(Default)]
struct Checkpoint {
    start: Position,
    whole_at: u64,
    meta: Bytes,
    slots: BTreeMap<u16, Bytes>,
}

#[derive(Default)]
struct Log {
    base: Position,
    records: VecDeque<(Position, Bytes)>,
}

impl Log {
    fn last(&self) -> u64 {
        self.records.back().map_or(self.base.seq, |(position, _)| position.seq)
    }

    fn append(&mut self, first: u64, last: u64, bytes: &Bytes) {
        assert_eq!(first, self.last() + 1, "an append follows the end of the log");
        let mut at = 0;
        while at < bytes.len() {
            let view = record::read(&bytes[at..]).unwrap();
            self.records.push_back((view.position, bytes.slice(at..at + view.bytes)));
            at += view.bytes;
        }
        assert_eq!(last, self.last(), "an append says what it holds");
    }
}

/// What a start finds, and what is on its way there.
#[derive(Default)]
pub struct Disk {
    pub pending: VecDeque<(u64, DiskOp)>,
    /// Steps of the replica's own checkpoint that are under way.
    steps: Vec<CheckpointOp>,
    /// Operations wait until the scenario lets them through.
    pub held: bool,
    meta: Meta,
    log: Log,
    commit: u64,
    retain: u64,
    checkpoint: Option<Checkpoint>,
    building: Option<Checkpoint>,
    reset: Option<Log>,
}

impl Disk {
    /// Takes over what a turn handed out. A snapshot waits for the steps under way.
    pub fn submit(
        &mut self,
        operations: impl Iterator<Item = (u64, DiskOp)>,
        steps: impl Iterator<Item = CheckpointOp>,
    ) {
        for (ticket, op) in operations {
            if matches!(op, DiskOp::Snapshot(CheckpointOp::Begin { .. })) {
                self.complete_checkpoint();
            }
            self.pending.push_back((ticket, op));
        }
        self.steps.extend(steps);
    }

    /// Carries out the steps of the replica's own checkpoint: whether there were any.
    pub fn complete_checkpoint(&mut self) -> bool {
        let steps = std::mem::take(&mut self.steps);
        let any = !steps.is_empty();
        steps.into_iter().for_each(|step| self.checkpoint_step(step));
        self.release();
        any
    }

    /// Carries out the next operations: the ticket of the last.
    pub fn complete(&mut self, count: usize) -> Option<u64> {
        let mut ticket = None;
        for _ in 0..count.min(self.pending.len()) {
            let (number, op) = self.pending.pop_front()?;
            self.apply(op);
            ticket = Some(number);
        }
        ticket
    }

    /// The process is gone: what was not carried out is lost, and so is a checkpoint that was not finished.
    pub fn crash(&mut self) {
        self.pending.clear();
        self.steps.clear();
        (self.building, self.reset, self.held) = (None, None, false);
    }

    fn apply(&mut self, op: DiskOp) {
        let log = self.reset.as_mut().unwrap_or(&mut self.log);
        match op {
            DiskOp::Meta(meta) => self.meta = *meta,
            DiskOp::Append { first, last, bytes } => log.append(first, last, &bytes),
            DiskOp::Commit(seq) => self.commit = seq,
            DiskOp::Truncate { last } => log.records.retain(|(position, _)| position.seq <= last),
            DiskOp::KeepAside { after } => assert!(log.records.iter().any(|(position, _)| position.seq > after)),
            DiskOp::Reset { position } => self.reset = Some(Log { base: position, records: VecDeque::new() }),
            DiskOp::Retain { from } => self.retain = from,
            DiskOp::Snapshot(step) => self.checkpoint_step(step),
        }
        self.release();
    }

    /// Drops records that nobody needs and the checkpoint covers.
    fn release(&mut self) {
        let covered = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.start.seq);
        while self.log.records.front().is_some_and(|(p, _)| p.seq < self.retain && p.seq <= covered) {
            self.log.base = self.log.records.pop_front().unwrap().0;
        }
    }

    fn checkpoint_step(&mut self, step: CheckpointOp) {
        match step {
            CheckpointOp::Begin { start, meta } => {
                self.building = Some(Checkpoint { start, meta, ..Checkpoint::default() });
            }
            CheckpointOp::Slot { slot, image } => {
                self.building.as_mut().expect("a slot belongs to a checkpoint").slots.insert(slot, image);
            }
            CheckpointOp::Finish { whole_at } => {
                let building = self.building.take().expect("what is finished has begun");
                match self.reset.take() {
                    Some(log) => (self.log, self.commit) = (log, 0),
                    None => assert!(self.log.last() >= whole_at, "the log reaches as far as the checkpoint needs"),
                }
                self.checkpoint = Some(Checkpoint { whole_at, ..building });
            }
        }
    }

    /// What the next process starts from.
    pub fn recover(&self) -> Recovery {
        let mut recovery = Recovery::new();
        recovery.meta(self.meta.clone());
        if let Some(checkpoint) = &self.checkpoint {
            recovery.checkpoint(checkpoint.start, checkpoint.whole_at, &checkpoint.meta).unwrap();
            for (slot, image) in &checkpoint.slots {
                recovery.slot(*slot, image).unwrap();
            }
        }
        for (_, bytes) in &self.log.records {
            recovery.record(bytes).unwrap();
        }
        recovery.committed(self.commit);
        recovery
    }

    /// In words.
    pub fn describe(&self) -> String {
        let mut text = format!("log {}..{}", self.log.base.seq + 1, self.log.last());
        if let Some(checkpoint) = &self.checkpoint {
            text += &format!(", checkpoint {} of {} slots", checkpoint.start, checkpoint.slots.len());
        }
        text + &format!(", promise {}, led {}", self.meta.promise, self.meta.led)
    }
}
