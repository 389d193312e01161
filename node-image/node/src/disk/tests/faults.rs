//! A full disk and a failing one.

use super::{super::DiskError, *};

fn one(seq: u64) -> Bytes {
    record_of(at(1, seq), &[seq as u8; 300])
}

/// Appends records one by one until the disk is full; returns the last seq that was accepted.
fn fill(disk: &mut Disk<Model>, from: u64) -> u64 {
    for seq in from..from + 1000 {
        let mut batch = tickets(vec![append(&[one(seq)])]);
        match disk.apply(&mut batch) {
            Ok(_) => assert!(batch.is_empty()),
            Err(DiskError::Full { done, .. }) => {
                assert_eq!((done, batch.len()), (None, 1), "refused whole, and kept");
                return seq - 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk never filled");
}

#[test]
fn a_full_disk_refuses_appends_says_so_before_and_heals() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Disk);
    model.set_capacity(model.used() + 5000);
    let mut seq = 0;
    while !disk.space().full {
        seq += 1;
        apply(&mut disk, vec![append(&[one(seq)])]);
    }
    assert!(disk.space().reserved >= SIZES.segment, "it is said while there is still a segment");
    let last = fill(&mut disk, seq + 1);
    assert!(last > seq, "what is under way still fits");
    apply(&mut disk, vec![DiskOp::Meta(Box::new(meta_of(5)))]);
    let (_, recovered, seen) = start(&model.copy(), Durability::Disk);
    assert_eq!((recovered.last.seq, recovered.corruption), (last, None));
    assert_eq!(seen.meta, Some(meta_of(5)), "a promise is possible on a full disk");
    model.set_capacity(u64::MAX);
    assert!(!disk.space().full, "it heals by itself");
    apply(&mut disk, vec![append(&[one(last + 1)])]);
}

#[test]
fn a_checkpoint_that_does_not_fit_is_given_up_and_the_log_goes_on() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Disk);
    apply(&mut disk, vec![append(&[one(1)])]);
    apply(&mut disk, checkpoint_ops(at(1, 1), &[(1, b"old")], 1));
    model.set_capacity(model.used() + 1000);
    let mut ops = checkpoint_ops(at(1, 1), &[(1, &[1; 1 << 20]), (2, &[2; 100])], 1);
    ops.push(append(&[one(2)]));
    apply(&mut disk, ops);
    let (_, recovered, seen) = start(&model, Durability::Disk);
    assert_eq!(recovered.last, at(1, 2));
    assert_eq!(seen.checkpoint.unwrap().slots[&1], b"old");
}

#[test]
fn a_snapshot_that_does_not_fit_waits_for_space() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Disk);
    apply(&mut disk, vec![append(&[one(1)]), DiskOp::Reset { position: at(2, 9) }]);
    model.set_capacity(model.used() + 1000);
    let mut batch = tickets(checkpoint_ops(at(2, 9), &[(1, &[1; 1 << 20]), (2, &[2; 100])], 9));
    let Err(DiskError::Full { done, .. }) = disk.apply(&mut batch) else { panic!("it fits") };
    assert_eq!((done, batch.len()), (Some(2), 2), "the first slot is gathered; the second has to wait");
    assert_eq!(start(&model.copy(), Durability::Disk).1.last, at(1, 1), "until then the old log holds");
    model.set_capacity(u64::MAX);
    disk.apply(&mut batch).unwrap();
    let (_, recovered, seen) = start(&model, Durability::Disk);
    assert_eq!((recovered.last, seen.checkpoint.unwrap().slots.len()), (at(2, 9), 2));
}

#[test]
fn a_failed_sync_is_final() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Disk);
    apply(&mut disk, vec![append(&[one(1)])]);
    model.break_sync("log/");
    let mut batch = tickets(vec![append(&[one(2)])]);
    assert!(matches!(disk.apply(&mut batch), Err(DiskError::Sync { .. })));
    model.mend_sync();
    let mut batch = tickets(vec![append(&[one(3)])]);
    assert!(matches!(disk.apply(&mut batch), Err(DiskError::Stopped(_))), "it is never tried again");
    assert!(matches!(disk.sync_now(), Err(DiskError::Stopped(_))));
}

#[test]
fn a_sync_beside_the_writes_covers_closed_segments_and_its_failure_is_final() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Memory);
    // Writing does not wait for the device, also where segments fill up.
    model.break_sync("log/0");
    for seq in 1..=20 {
        apply(&mut disk, vec![append(&[one(seq)])]);
    }
    model.mend_sync();
    let work = disk.sync_work().unwrap().unwrap();
    apply(&mut disk, vec![append(&[one(21)])]);
    disk.synced(work()).unwrap();
    let crashed = model.copy();
    crashed.crash(3);
    let (_, recovered, seen) = start(&crashed, Durability::Memory);
    assert!(recovered.tail_lost && recovered.corruption.is_none());
    assert!(seen.records.len() >= 20, "what was written before it began is durable: {}", seen.records.len());
    model.break_sync("log/");
    let work = disk.sync_work().unwrap().unwrap();
    assert!(matches!(disk.synced(work()), Err(DiskError::Sync { .. })));
    model.mend_sync();
    let mut batch = tickets(vec![append(&[one(22)])]);
    assert!(matches!(disk.apply(&mut batch), Err(DiskError::Stopped(_))), "it is never tried again");
    assert!(disk.sync_work().is_err());
}

#[test]
fn damage_before_what_was_durable_is_not_taken_for_a_lost_tail() {
    let model = Model::new(1);
    let (mut disk, ..) = start(&model, Durability::Memory);
    for seq in 1..=20 {
        apply(&mut disk, vec![append(&[one(seq)])]);
    }
    for seq in 21..=30 {
        disk.sync_now().unwrap();
        apply(&mut disk, vec![append(&[one(seq)])]);
    }
    disk.sync_now().unwrap();
    let first = model.paths().into_iter().find(|path| path.ends_with(".log")).unwrap();
    model.crash(3);
    let mut bytes = model.bytes(&first);
    bytes[512..].fill(0);
    model.set_bytes(&first, bytes);
    let (_, recovered, _) = start(&model, Durability::Memory);
    assert!(recovered.tail_lost && recovered.corruption.is_some());
}

#[test]
fn durability_memory_syncs_when_told_and_a_clean_stop_loses_nothing() {
    let model = Model::new(1);
    let (mut disk, first, _) = start(&model, Durability::Memory);
    let before = model.counts().1;
    apply(&mut disk, vec![append(&[one(1)])]);
    assert_eq!(model.counts().1, before);
    disk.sync_now().unwrap();
    assert_eq!(model.counts().1, before + 1);
    apply(&mut disk, vec![append(&[one(2)])]);
    disk.close().unwrap();
    model.crash(9);
    let (disk, recovered, _) = start(&model, Durability::Memory);
    assert_eq!((recovered.last.seq, recovered.tail_lost), (2, false));
    assert_eq!(recovered.identity.incarnation, first.identity.incarnation);
    drop(disk);
    model.crash(10);
    let (_, recovered, _) = start(&model, Durability::Memory);
    assert!(recovered.tail_lost);
    assert_ne!(recovered.identity.incarnation, first.identity.incarnation);
}
