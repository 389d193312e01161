//! The disk against a file system that forgets, damages and fills up; and against the real one.

mod crashes;
mod damage;
mod directory;
mod faults;

use std::{collections::BTreeMap, convert::Infallible, path::Path};

use bytes::Bytes;
use trireme_proto::{Epoch, Position, topology::Durability};
use trireme_replica::{
    io::{CheckpointOp, DiskOp, Meta},
    log::record::{self, Kind},
};

use super::{
    CheckpointWork, Disk, DiskError, InForce, Recovered, Restore, Sizes, SyncWork, Wanted,
    crash::Model,
    files::Files,
    open_in,
    types::{Opened, RecoverError},
};

/// Small enough that everything happens often.
pub const SIZES: Sizes = Sizes { segment: 2048, reserve: 2, cut_files: 3, cut_bytes: 8192 };

/// A checkpoint as it is handed out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    pub start: Position,
    pub whole_at: u64,
    pub meta: Vec<u8>,
    pub slots: BTreeMap<u16, Vec<u8>>,
}

/// Remembers what it is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub meta: Option<Meta>,
    pub checkpoint: Option<Checkpoint>,
    pub records: Vec<Bytes>,
    pub committed: u64,
}

impl Restore for Seen {
    type Error = Infallible;

    fn meta(&mut self, meta: Meta) {
        self.meta = Some(meta);
    }

    fn checkpoint(&mut self, start: Position, whole_at: u64, meta: &[u8]) -> Result<(), Infallible> {
        self.checkpoint = Some(Checkpoint { start, whole_at, meta: meta.to_vec(), slots: BTreeMap::new() });
        Ok(())
    }

    fn slot(&mut self, slot: u16, image: &[u8]) -> Result<(), Infallible> {
        self.checkpoint.as_mut().unwrap().slots.insert(slot, image.to_vec());
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> Result<(), Infallible> {
        self.records.push(Bytes::copy_from_slice(record));
        Ok(())
    }

    fn committed(&mut self, seq: u64) {
        assert!(seq <= self.records.last().map_or(seq, |last| position_of(last).seq), "a note above the log's end");
        self.committed = self.committed.max(seq);
    }
}

pub fn position_of(bytes: &[u8]) -> Position {
    record::read(bytes).unwrap().position
}

pub fn at(epoch: u64, seq: u64) -> Position {
    Position { epoch: Epoch { number: epoch, proposer: 0 }, seq }
}

pub fn record_of(position: Position, payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    record::append(&mut out, position, Kind::Delta, None, |out| out.extend_from_slice(payload));
    out.into()
}

pub fn append(records: &[Bytes]) -> DiskOp {
    let (first, last) = (position_of(&records[0]).seq, position_of(&records[records.len() - 1]).seq);
    DiskOp::Append { first, last, bytes: records.concat().into() }
}

pub fn meta_of(promise: u64) -> Meta {
    Meta { promise: Epoch { number: promise, proposer: 0 }, led: Epoch::ZERO, ..Meta::default() }
}

pub fn checkpoint_ops(start: Position, slots: &[(u16, &[u8])], whole_at: u64) -> Vec<DiskOp> {
    let mut ops = vec![DiskOp::Snapshot(CheckpointOp::Begin { start, meta: Bytes::from_static(b"core") })];
    for (slot, image) in slots {
        ops.push(DiskOp::Snapshot(CheckpointOp::Slot { slot: *slot, image: Bytes::copy_from_slice(image) }));
    }
    ops.push(DiskOp::Snapshot(CheckpointOp::Finish { whole_at }));
    ops
}

pub fn tickets(ops: Vec<DiskOp>) -> Vec<(u64, DiskOp)> {
    (1..).zip(ops).collect()
}

pub fn open_model(model: &Model, durability: Durability) -> Result<Opened<Disk<Model>>, super::OpenError> {
    let wanted = Wanted { store: "demo", id: 1, group: 1, durability };
    open_in(model.clone(), Path::new("model"), &wanted, SIZES, false)
}

/// Opens and recovers; everything must go well.
pub fn start(model: &Model, durability: Durability) -> (Disk<Model>, Recovered, Seen) {
    let (disk, result, seen) = try_start(model, durability);
    (disk, result.unwrap(), seen)
}

/// Opens and recovers.
pub fn try_start(
    model: &Model,
    durability: Durability,
) -> (Disk<Model>, Result<Recovered, RecoverError<Infallible>>, Seen) {
    let mut disk = open_model(model, durability).unwrap().disk;
    let mut seen = Seen::default();
    let result = disk.recover(&mut seen);
    (disk, result, seen)
}

pub fn apply<F: Files>(disk: &mut Disk<F>, ops: Vec<DiskOp>) {
    let mut batch = tickets(ops);
    let last = batch.last().map(|(ticket, _)| *ticket);
    assert_eq!(disk.apply(&mut batch).unwrap().ticket, last);
    assert!(batch.is_empty());
}

#[test]
fn what_was_written_is_found() {
    let model = Model::new(1);
    let (mut disk, recovered, seen) = start(&model, Durability::Disk);
    assert_eq!((recovered.last, seen), (Position::ZERO, Seen::default()));
    let records: Vec<_> = (1..=40).map(|seq| record_of(at(1, seq), &[seq as u8; 100])).collect();
    apply(&mut disk, vec![DiskOp::Meta(Box::new(meta_of(3)))]);
    for pair in records.chunks(2) {
        apply(&mut disk, vec![append(&pair[..1]), append(&pair[1..]), DiskOp::Commit(position_of(&pair[0]).seq)]);
    }
    let (_, again, seen) = start(&model, Durability::Disk);
    assert_eq!(again.identity.incarnation, recovered.identity.incarnation);
    assert_eq!((again.last, again.records, again.torn_bytes), (at(1, 40), 40, 0));
    assert_eq!(seen, Seen { meta: Some(meta_of(3)), checkpoint: None, records, committed: 39 });
}

#[test]
fn a_batch_is_one_write_and_one_sync() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Disk);
    let before = model.counts();
    let records: Vec<_> = (1..=4).map(|seq| record_of(at(1, seq), b"x")).collect();
    apply(&mut disk, vec![append(&records[..2]), DiskOp::Commit(1), append(&records[2..]), DiskOp::Retain { from: 2 }]);
    let after = model.counts();
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));
    apply(&mut disk, vec![DiskOp::Commit(4)]);
    assert_eq!(model.counts().1, after.1, "a note need not be durable");
}

#[test]
fn a_cut_keeps_what_it_cuts_and_the_log_goes_on() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Disk);
    let old: Vec<_> = (1..=30).map(|seq| record_of(at(1, seq), &[7; 150])).collect();
    for one in &old {
        apply(&mut disk, vec![append(std::slice::from_ref(one))]);
    }
    let new: Vec<_> = (6..=9).map(|seq| record_of(at(2, seq), b"new")).collect();
    apply(&mut disk, vec![DiskOp::Truncate { last: 20 }, DiskOp::Truncate { last: 5 }, append(&new)]);
    let (_, recovered, seen) = start(&model, Durability::Disk);
    assert_eq!(recovered.last, at(2, 9));
    assert_eq!(seen.records, [&old[..5], &new[..]].concat());
    let cut = model.bytes("cut-0000000001.0-00000000000000000006.log");
    assert_eq!(cut, old[5..20].concat());
    assert_eq!(model.bytes("cut-0000000001.0-00000000000000000021.log"), old[20..].concat());
}

#[test]
fn cut_files_are_bounded() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Disk);
    for epoch in 1..=10 {
        apply(&mut disk, vec![append(&[record_of(at(epoch, 1), &[1; 500])]), DiskOp::Truncate { last: 0 }]);
    }
    let kept: Vec<_> = model.paths().into_iter().filter(|path| path.starts_with("cut-")).collect();
    assert_eq!(kept.len(), SIZES.cut_files);
    assert!(kept[2].starts_with("cut-0000000010"), "{kept:?}");
}

#[test]
fn segments_go_once_a_checkpoint_covers_them_and_nobody_needs_them() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Disk);
    for seq in 1..=60 {
        apply(&mut disk, vec![append(&[record_of(at(1, seq), &[7; 150])])]);
    }
    let segments = || model.paths().iter().filter(|path| path.ends_with(".log")).count();
    let all = segments();
    apply(&mut disk, vec![DiskOp::Retain { from: 50 }]);
    assert_eq!(segments(), all, "no checkpoint covers them");
    apply(&mut disk, checkpoint_ops(at(1, 30), &[(1, b"one"), (9, b"nine")], 60));
    let half = segments();
    assert!(half < all);
    let (_, _, seen) = start(&model, Durability::Disk);
    assert!(position_of(&seen.records[0]).seq <= 31, "the log begins at or before the checkpoint");
    assert_eq!(seen.checkpoint.unwrap().slots.len(), 2);
    apply(&mut disk, checkpoint_ops(at(1, 55), &[], 60));
    assert!(segments() < half);
    let (_, _, seen) = start(&model, Durability::Disk);
    let first = position_of(&seen.records[0]).seq;
    assert!(first <= 50 && first > 30, "begins at {first}");
}

#[test]
fn a_record_larger_than_a_segment_gets_its_own() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Disk);
    let records = vec![record_of(at(1, 1), &[1; 10_000]), record_of(at(1, 2), &[0; 5000]), record_of(at(1, 3), b"x")];
    for one in &records {
        apply(&mut disk, vec![append(std::slice::from_ref(one))]);
    }
    assert_eq!(start(&model, Durability::Disk).2.records, records);
}

#[test]
fn what_does_not_follow_is_refused_and_nothing_more_is_written() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Disk);
    apply(&mut disk, vec![append(&[record_of(at(1, 1), b"a")])]);
    let mut wrong = tickets(vec![append(&[record_of(at(1, 3), b"c")])]);
    assert!(matches!(disk.apply(&mut wrong), Err(super::DiskError::Order(_))));
    let mut right = tickets(vec![append(&[record_of(at(1, 2), b"b")])]);
    assert!(matches!(disk.apply(&mut right), Err(super::DiskError::Stopped(_))));
    assert_eq!(start(&model, Durability::Disk).1.last, at(1, 1));
}
