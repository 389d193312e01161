//! A replica's disk: operations take effect in order, become durable later, and a crash keeps any prefix of what was not.
//!
//! ```text
//!   handed out ──▶ pending ──write──▶ written ──sync──▶ durable (Image)
//!   durability Disk:    Persisted is said after the sync
//!   durability Memory:  Persisted is said after the write; a sync comes once a second
//! ```
//!
//! * A process that is killed loses some suffix of `pending`; the operating system still has the rest.
//! * A machine that loses power loses some suffix of `written` and all that is younger.
//! * The last append that survives may be torn: its bytes end anywhere, and whole records before the tear count.
//! * A snapshot being installed (Reset ... Finish) is all or nothing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use trireme_proto::{Epoch, Position};
use trireme_replica::{
    io::{CheckpointOp, DiskOp, Meta},
    log::record,
};

/// A log: the records after `base`, without gaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// The position that the first record follows.
    pub base: Position,
    /// The records with their positions.
    pub records: VecDeque<(Position, Bytes)>,
}

impl Log {
    /// Position of the last record, or the base.
    pub fn last(&self) -> Position {
        self.records.back().map_or(self.base, |(position, _)| *position)
    }

    /// The record with this seq.
    pub fn get(&self, seq: u64) -> Option<&(Position, Bytes)> {
        self.records.get(usize::try_from(seq.checked_sub(self.base.seq + 1)?).ok()?)
    }

    /// Appends the whole records of `bytes`; what follows the last whole one was torn.
    fn append(&mut self, bytes: &Bytes) {
        let mut at = 0;
        while let Ok(view) = record::read(&bytes[at..]) {
            let (position, length) = (view.position, view.bytes);
            assert_eq!(position.seq, self.last().seq + 1, "records are appended without gaps");
            self.records.push_back((position, bytes.slice(at..at + length)));
            at += length;
        }
    }

    fn truncate(&mut self, last: u64) {
        while self.last().seq > last && self.records.pop_back().is_some() {}
    }

    fn drop_before(&mut self, from: u64) {
        while self.records.front().is_some_and(|(position, _)| position.seq < from) {
            if let Some((position, _)) = self.records.pop_front() {
                self.base = position;
            }
        }
    }
}

/// A checkpoint that was finished.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The log goes on from the entry after this one.
    pub start: Position,
    /// The core's state that belongs to no slot.
    pub meta: Bytes,
    /// Slots that are not empty.
    pub slots: BTreeMap<u16, Bytes>,
    /// The state is whole once the log has been applied up to this seq.
    pub whole_at: u64,
}

/// What a disk holds: all that a start finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// What is remembered outside the log.
    pub meta: Option<Meta>,
    /// The log.
    pub log: Log,
    /// Everything up to here was noted as committed.
    pub commit: u64,
    /// The checkpoint in force.
    pub checkpoint: Option<Checkpoint>,
    /// Records cut off the log: kept aside.
    pub cut: Vec<(Position, Bytes)>,
    building: Option<Checkpoint>,
    reset: Option<Log>,
    retain: u64,
}

impl Image {
    fn apply(&mut self, op: &DiskOp) {
        match op {
            DiskOp::Meta(meta) => self.meta = Some((**meta).clone()),
            DiskOp::Append { first, last, bytes } => {
                let log = self.reset.as_mut().unwrap_or(&mut self.log);
                assert_eq!(*first, log.last().seq + 1, "an append follows the end of the log");
                log.append(bytes);
                assert_eq!(*last, log.last().seq, "an append says what it holds");
            }
            DiskOp::Commit(seq) => self.commit = self.commit.max(*seq),
            DiskOp::Truncate { last } => {
                let log = self.reset.as_mut().unwrap_or(&mut self.log);
                self.cut.extend(log.records.iter().filter(|(position, _)| position.seq > *last).cloned());
                log.truncate(*last);
            }
            DiskOp::KeepAside { after } => {
                self.cut.extend(self.log.records.iter().filter(|(position, _)| position.seq > *after).cloned());
            }
            DiskOp::Reset { position } => self.reset = Some(Log { base: *position, records: VecDeque::new() }),
            DiskOp::Retain { from } => self.retain = *from,
            DiskOp::Snapshot(step) => self.checkpoint_step(step, false),
        }
        self.release();
    }

    /// A step of the checkpoint of the replica's own state, which no log comes with, or of a snapshot. Both are written in the same place.
    fn checkpoint_step(&mut self, step: &CheckpointOp, own: bool) {
        match step {
            CheckpointOp::Begin { start, meta } => {
                self.building = Some(Checkpoint { start: *start, meta: meta.clone(), ..Checkpoint::default() });
            }
            CheckpointOp::Slot { slot, image } => {
                let building = self.building.as_mut().expect("a slot belongs to a checkpoint that has begun");
                building.slots.insert(*slot, image.clone());
            }
            CheckpointOp::Finish { whole_at } => {
                let mut building = self.building.take().expect("only what has begun is finished");
                building.whole_at = *whole_at;
                match own {
                    true => assert!(self.reset.is_none(), "a snapshot is not finished by a checkpoint"),
                    false => self.log = self.reset.take().expect("a snapshot comes with a log"),
                }
                assert!(self.log.last().seq >= *whole_at, "the log reaches as far as the checkpoint needs");
                assert!(self.log.base.seq <= building.start.seq, "the log goes on from the checkpoint");
                self.checkpoint = Some(building);
            }
        }
    }

    /// Drops records that nobody needs and the checkpoint covers.
    fn release(&mut self) {
        if let Some(checkpoint) = &self.checkpoint {
            let from = self.retain.min(checkpoint.start.seq + 1);
            self.log.drop_before(from);
        }
    }

    /// The last operation that survived was torn: some of its bytes are there.
    fn tear(&mut self, op: &DiskOp, rng: &mut Rng) {
        if let (DiskOp::Append { bytes, .. }, None) = (op, &self.reset) {
            self.log.append(&bytes.slice(..rng.usize(0..bytes.len())));
        }
    }

    /// What a start does first: what was not finished is dropped.
    fn settle(&mut self) {
        (self.building, self.reset) = (None, None);
    }
}

/// How a process ended, as its disk sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process was killed; the operating system lives on.
    Process,
    /// The machine lost its power.
    Power,
}

/// A disk with its queues.
#[derive(Debug, Default)]
pub struct Disk {
    /// What would be there after a loss of power, but for what luck adds.
    durable: Image,
    written: VecDeque<DiskOp>,
    pending: VecDeque<(u64, DiskOp)>,
    promise_written: Epoch,
    /// How many of `pending` the operation under way covers; 0: none is.
    under_way: usize,
    /// Steps of the replica's own checkpoint that wait, and those that are under way, beside all that.
    steps: Vec<CheckpointOp>,
    doing: Vec<CheckpointOp>,
}

impl Disk {
    /// Takes operations over, in order, and steps of the replica's own checkpoint, which are carried out beside them. Of those none goes on once a snapshot
    /// begins. True: some were dropped for that, which counts as done.
    pub fn submit(
        &mut self,
        ops: impl Iterator<Item = (u64, DiskOp)>,
        steps: impl Iterator<Item = CheckpointOp>,
    ) -> bool {
        let before = self.pending.len();
        self.pending.extend(ops);
        let begins = |(_, op): &(u64, DiskOp)| matches!(op, DiskOp::Snapshot(CheckpointOp::Begin { .. }));
        let dropped = !self.steps.is_empty() && self.pending.iter().skip(before).any(begins);
        if dropped {
            self.steps.clear();
        }
        self.steps.extend(steps);
        dropped
    }

    fn has_snapshot(&self) -> bool {
        self.pending.iter().any(|(_, op)| matches!(op, DiskOp::Snapshot(_)))
    }

    /// Starts to write everything that waits, unless that goes on already; says whether it began. A snapshot waits for steps of a checkpoint.
    pub fn start(&mut self) -> bool {
        if self.under_way > 0 || self.pending.is_empty() || (!self.doing.is_empty() && self.has_snapshot()) {
            return false;
        }
        self.under_way = self.pending.len();
        true
    }

    /// Starts the steps that wait; says whether it did.
    pub fn start_checkpoint(&mut self) -> bool {
        if self.steps.is_empty() || !self.doing.is_empty() || self.under_way > 0 || self.has_snapshot() {
            return false;
        }
        self.doing = std::mem::take(&mut self.steps);
        true
    }

    /// The steps under way are done. The end of a checkpoint makes durable what the operating system has of the log.
    pub fn checkpoint_done(&mut self) {
        // Both are written in the same place, one after the other.
        if self.written.iter().any(|op| matches!(op, DiskOp::Snapshot(_))) {
            self.sync();
        }
        for step in std::mem::take(&mut self.doing) {
            if matches!(step, CheckpointOp::Finish { .. }) {
                self.sync();
            }
            self.durable.checkpoint_step(&step, true);
            self.durable.release();
        }
    }

    /// The last positions, one per epoch, that the operation under way makes durable; the base of a snapshot counts as one.
    pub fn appending(&self) -> BTreeMap<Epoch, u64> {
        let mut last = BTreeMap::new();
        for (_, op) in self.pending.iter().take(self.under_way) {
            match op {
                DiskOp::Append { bytes, .. } => {
                    let mut at = 0;
                    while let Ok(view) = record::read_trusted(&bytes[at..]) {
                        last.insert(view.position.epoch, view.position.seq);
                        at += view.bytes;
                    }
                }
                DiskOp::Reset { position } => {
                    last.insert(position.epoch, position.seq);
                }
                DiskOp::Truncate { last: kept } => last.values_mut().for_each(|seq| *seq = (*seq).min(*kept)),
                _ => {}
            }
        }
        last
    }

    /// The highest promise that the disk remembers: the operating system's memory counts as well, where the store's durability says so.
    pub fn promised(&self) -> Epoch {
        let durable =
            self.durable.meta.as_ref().map_or(Epoch::ZERO, |meta| meta.promise).max(self.durable.log.last().epoch);
        self.promise_written.max(durable)
    }

    /// What was started is done: durable if `sync`, else with the operating system. The last ticket of it.
    pub fn done(&mut self, sync: bool) -> Option<u64> {
        let mut ticket = None;
        for _ in 0..std::mem::take(&mut self.under_way) {
            let (number, op) = self.pending.pop_front()?;
            ticket = Some(number);
            if let DiskOp::Meta(meta) = &op {
                self.promise_written = self.promise_written.max(meta.promise);
            }
            self.written.push_back(op);
        }
        if sync {
            self.sync();
        }
        ticket
    }

    /// Everything that the operating system has becomes durable.
    pub fn sync(&mut self) {
        for op in self.written.drain(..) {
            self.durable.apply(&op);
        }
    }

    /// The process or its machine is gone: what survives of what was under way is luck.
    pub fn crash(&mut self, crash: Crash, rng: &mut Rng) {
        (self.under_way, self.promise_written) = (0, Epoch::ZERO);
        if crash == Crash::Process {
            self.sync();
        }
        // Of the steps of a checkpoint only the last is seen, and it is done or not.
        if self.doing.iter().any(|step| matches!(step, CheckpointOp::Finish { .. })) && rng.bool() {
            self.checkpoint_done();
        }
        self.doing.clear();
        self.steps.clear();
        let mut young: Vec<DiskOp> = self.written.drain(..).collect();
        young.extend(self.pending.drain(..).map(|(_, op)| op));
        let kept = rng.usize(0..=young.len());
        for op in &young[..kept] {
            self.durable.apply(op);
        }
        if let Some(op) = young.get(kept) {
            self.durable.tear(op, rng);
        }
        self.durable.settle();
    }

    /// A clean end: everything is written and durable.
    pub fn close(&mut self) {
        self.under_way = 0;
        self.doing.clear();
        self.steps.clear();
        self.written.extend(self.pending.drain(..).map(|(_, op)| op));
        self.sync();
        self.durable.settle();
    }

    /// What a start finds. Only after [`Disk::crash`] or [`Disk::close`].
    pub fn image(&self) -> &Image {
        &self.durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_replica::log::record::Kind;

    fn append(seqs: std::ops::RangeInclusive<u64>) -> DiskOp {
        let (first, last, mut bytes) = (*seqs.start(), *seqs.end(), Vec::new());
        for seq in seqs {
            let position = Position { epoch: Epoch::ZERO.next(), seq };
            record::append(&mut bytes, position, Kind::Delta, None, |out| out.extend_from_slice(b"some payload"));
        }
        DiskOp::Append { first, last, bytes: bytes.into() }
    }

    fn filled(rng: &mut Rng) -> Disk {
        let mut disk = Disk::default();
        disk.submit([(1, append(1..=3)), (2, DiskOp::Commit(2))].into_iter(), std::iter::empty());
        assert!(disk.start() && !disk.start());
        disk.submit(
            [(3, append(4..=6)), (4, DiskOp::Truncate { last: 5 }), (5, append(6..=9))].into_iter(),
            std::iter::empty(),
        );
        assert_eq!(disk.done(rng.bool()), Some(2));
        disk
    }

    #[test]
    fn a_crash_keeps_what_was_durable_and_some_prefix_of_the_rest() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let mut rng = Rng::with_seed(seed);
            let mut disk = filled(&mut rng);
            disk.crash(Crash::Process, &mut rng);
            let last = disk.image().log.last().seq;
            assert!((3..=9).contains(&last) && disk.image().commit == 2);
            seen.insert(last);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn power_loss_takes_what_was_only_written() {
        let lost = (0..500).any(|seed| {
            let mut rng = Rng::with_seed(seed);
            let mut disk = filled(&mut rng);
            disk.crash(Crash::Power, &mut rng);
            disk.image().log.last().seq < 3
        });
        assert!(lost);
    }

    #[test]
    fn a_snapshot_is_installed_as_a_whole_or_not_at_all() {
        let position = Position { epoch: Epoch { number: 4, proposer: 0 }, seq: 20 };
        let ops = [
            DiskOp::Reset { position },
            DiskOp::Snapshot(CheckpointOp::Begin { start: position, meta: Bytes::from_static(b"m") }),
            DiskOp::Snapshot(CheckpointOp::Slot { slot: 3, image: Bytes::from_static(b"s") }),
            append(21..=22),
            DiskOp::Snapshot(CheckpointOp::Finish { whole_at: 22 }),
        ];
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let mut disk = Disk::default();
            disk.submit([(1, append(1..=3))].into_iter(), std::iter::empty());
            disk.start();
            disk.done(true);
            disk.submit(ops.iter().cloned().map(|op| (2, op)), std::iter::empty());
            disk.crash(Crash::Process, &mut rng);
            let image = disk.image();
            match &image.checkpoint {
                None => assert_eq!((image.log.base.seq, image.log.last().seq), (0, 3)),
                Some(checkpoint) => {
                    assert_eq!((image.log.base.seq, image.log.last().seq, checkpoint.slots.len()), (20, 22, 1));
                }
            }
        }
    }
}
