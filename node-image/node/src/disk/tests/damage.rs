//! Cuts at every byte and flips of every byte: never a panic, never a wrong state, never silence.

use super::*;

/// Three durable batches; returns the records.
fn small(model: &Model) -> Vec<Bytes> {
    let (mut disk, ..) = start(model, Durability::Disk);
    apply(&mut disk, vec![DiskOp::Meta(Box::new(meta_of(2)))]);
    let records: Vec<_> = (1..=6)
        .map(|seq| {
            let mut payload = vec![seq as u8; 90];
            if seq % 2 == 0 {
                payload.resize(1100, 0);
            }
            record_of(at(1, seq), &payload)
        })
        .collect();
    for pair in records.chunks(2) {
        apply(&mut disk, vec![append(pair), DiskOp::Commit(position_of(&pair[0]).seq)]);
    }
    records
}

fn segments(model: &Model) -> Vec<String> {
    model.paths().into_iter().filter(|path| path.starts_with("log/") && path.ends_with(".log")).collect()
}

/// As [`start`], with segments that hold several writes.
fn start_large(model: &Model) -> (Disk<Model>, Recovered, Seen) {
    let wanted = Wanted { store: "demo", id: 1, group: 1, durability: Durability::Disk };
    let sizes = Sizes { segment: 16 << 10, ..SIZES };
    let mut disk = open_in(model.clone(), Path::new("model"), &wanted, sizes, false).unwrap().disk;
    let mut seen = Seen::default();
    let recovered = disk.recover(&mut seen).unwrap();
    (disk, recovered, seen)
}

/// What is left when the newest segment is cut (or cleared) at `at`, must be whole batches.
#[test]
fn the_log_cut_at_every_byte_of_its_last_write_keeps_all_before() {
    for clear in [false, true] {
        let model = Model::new(7);
        let (mut disk, ..) = start_large(&model);
        let records: Vec<_> = (1..=6).map(|seq| record_of(at(1, seq), &[seq as u8; 400])).collect();
        let mut ends = vec![];
        let path = segments(&model)[0].clone();
        let end = |model: &Model| model.bytes(&path).iter().rposition(|b| *b != 0).unwrap() + 1;
        for pair in records.chunks(2) {
            apply(&mut disk, vec![append(pair)]);
            ends.push(end(&model));
        }
        for at in ends[1]..ends[2] {
            let broken = model.copy();
            let mut bytes = broken.bytes(&path);
            if clear {
                bytes[at..].fill(0);
            } else {
                bytes.truncate(at);
            }
            broken.set_bytes(&path, bytes);
            let (mut disk, recovered, seen) = start_large(&broken);
            assert_eq!(recovered.corruption, None, "cut at {at}");
            // Only the padding behind it may be missing for the last write to count.
            assert!(seen.records == records[..4] || (seen.records == records && at + 40 > ends[2]), "cut at {at}");
            // And the log goes on.
            let next = record_of(super::at(2, recovered.last.seq + 1), b"next");
            apply(&mut disk, vec![append(std::slice::from_ref(&next))]);
            let (_, again, seen) = start_large(&broken);
            assert_eq!((again.torn_bytes, again.corruption), (0, None), "cut at {at}");
            assert_eq!(seen.records.last(), Some(&next));
        }
    }
}

/// After a flip, either everything is found, or the damage is reported and what is found is a prefix, under a new incarnation, and the disk goes on.
fn judge_flip(model: &Model, whole: &Seen, incarnation: u64, what: &str) {
    let (mut disk, recovered, seen) = start(model, Durability::Disk);
    assert!(!recovered.tail_lost || what.starts_with("mark"), "{what}");
    if recovered.corruption.is_some() {
        assert_ne!(recovered.identity.incarnation, incarnation, "{what}");
        assert!(model.paths().iter().any(|path| path.starts_with("corrupt-")), "{what}: nothing was kept");
        assert!(seen.meta.is_none() || seen.meta == whole.meta, "{what}");
        assert!(seen.checkpoint.is_none() || seen.checkpoint == whole.checkpoint, "{what}");
        let skipped = seen.records.first().map_or(0, |first| whole.records.iter().position(|r| r == first).unwrap());
        assert!(whole.records[skipped..].starts_with(&seen.records), "{what}: not a prefix");
        if let Some(checkpoint) = &seen.checkpoint {
            assert!(recovered.last.seq >= checkpoint.whole_at, "{what}: not whole");
        } else {
            assert!(seen.records.is_empty() || position_of(&seen.records[0]).seq == 1, "{what}: no beginning");
        }
    } else {
        assert_eq!(&seen, whole, "{what}: lost in silence");
    }
    let next = record_of(at(9, recovered.last.seq + 1), b"next");
    apply(&mut disk, vec![append(std::slice::from_ref(&next)), DiskOp::Meta(Box::new(meta_of(9)))]);
    let (_, again, seen) = start(model, Durability::Disk);
    assert_eq!((again.corruption, again.identity.incarnation), (None, recovered.identity.incarnation), "{what}: again");
    assert_eq!(seen.records.last(), Some(&next), "{what}: again");
}

fn flip_everywhere(model: &Model, paths: &[String], flips: &[u8]) {
    let (_, recovered, whole) = start(&model.copy(), Durability::Disk);
    for path in paths {
        let bytes = model.bytes(path);
        for at in 0..bytes.len() {
            for flip in flips {
                let broken = model.copy();
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                broken.set_bytes(path, bytes);
                judge_flip(&broken, &whole, recovered.identity.incarnation, &format!("{path} byte {at} flip {flip:x}"));
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_the_log_is_noticed() {
    let model = Model::new(3);
    small(&model);
    flip_everywhere(&model, &segments(&model), &[0x01, 0xff]);
}

#[test]
fn every_flipped_byte_of_meta_and_mark_is_noticed() {
    let model = Model::new(3);
    small(&model);
    flip_everywhere(&model, &["meta".to_owned(), "mark".to_owned()], &[0x01, 0x80, 0xff]);
}

#[test]
fn every_flipped_byte_of_a_checkpoint_is_noticed() {
    let model = Model::new(3);
    small(&model);
    let (mut disk, ..) = start(&model, Durability::Disk);
    apply(&mut disk, checkpoint_ops(at(1, 2), &[(1, b"one"), (7, &[0; 40]), (16383, b"last")], 5));
    flip_everywhere(&model, &["checkpoint/current".to_owned()], &[0x01, 0xff]);
    flip_everywhere(&model, &segments(&model), &[0x80]);
}

#[test]
fn what_was_cut_does_not_come_back_when_the_segment_that_cut_it_is_damaged() {
    let model = Model::new(3);
    let (mut disk, ..) = start_large(&model);
    let records: Vec<_> = (1..=6).map(|seq| record_of(at(1, seq), &[seq as u8; 90])).collect();
    for three in records.chunks(3) {
        apply(&mut disk, vec![append(three)]);
    }
    // Within a write, so that what stays and what goes have one frame.
    apply(&mut disk, vec![DiskOp::Truncate { last: 5 }, append(&[record_of(at(2, 6), b"new")])]);
    drop(disk);
    let (_, before, whole) = start_large(&model.copy());
    assert_eq!(whole.records.len(), 6);
    let cut = segments(&model).pop().unwrap();
    let bytes = model.bytes(&cut);
    for at in 0..400 {
        let broken = model.copy();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x01;
        broken.set_bytes(&cut, bytes);
        judge_flip(&broken, &whole, before.identity.incarnation, &format!("{cut} byte {at}"));
    }
    // Nor is what is written afterwards lost.
    let mut bytes = bytes;
    bytes[0] ^= 1;
    model.set_bytes(&cut, bytes);
    let (mut disk, recovered, _) = start_large(&model);
    assert_eq!((recovered.corruption.is_some(), recovered.last), (true, at(1, 5)));
    let next = record_of(at(3, 6), b"next");
    apply(&mut disk, vec![append(std::slice::from_ref(&next))]);
    drop(disk);
    let (_, again, seen) = start_large(&model);
    assert_eq!((again.corruption, seen.records.last()), (None, Some(&next)));
}

#[test]
fn a_spare_that_is_not_empty_does_not_become_a_segment() {
    let model = Model::new(3);
    small(&model);
    for at in [0, 64, 100, 2047] {
        let broken = model.copy();
        let spare = broken.paths().into_iter().find(|path| path.starts_with("log/spare-")).unwrap();
        let mut bytes = broken.bytes(&spare);
        bytes[at] = 1;
        broken.set_bytes(&spare, bytes);
        let (mut disk, recovered, _) = start(&broken, Durability::Disk);
        let records: Vec<_> =
            (1..=6).map(|more| record_of(super::at(1, recovered.last.seq + more), &[7; 900])).collect();
        records.iter().for_each(|one| apply(&mut disk, vec![append(std::slice::from_ref(one))]));
        let (_, again, seen) = start(&broken, Durability::Disk);
        assert_eq!((recovered.corruption, again.corruption), (None, None), "byte {at}");
        assert!(seen.records.ends_with(&records));
    }
}

#[test]
fn without_a_beginning_of_the_log_a_damaged_checkpoint_leaves_nothing() {
    let model = Model::new(3);
    small(&model);
    let (mut disk, ..) = start(&model, Durability::Disk);
    apply(&mut disk, checkpoint_ops(at(1, 6), &[(1, b"one")], 6));
    apply(&mut disk, vec![DiskOp::Retain { from: 7 }]);
    let more = record_of(at(1, 7), &[1; 1500]);
    apply(&mut disk, vec![append(&[more])]);
    flip_everywhere(&model, &["checkpoint/current".to_owned()], &[0x10]);
    flip_everywhere(&model, &segments(&model), &[0x10]);
}

#[test]
fn every_flipped_byte_of_the_identity_refuses_the_directory() {
    let model = Model::new(3);
    small(&model);
    let bytes = model.bytes("identity");
    for at in 0..bytes.len() {
        let broken = model.copy();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x04;
        broken.set_bytes("identity", bytes);
        let error = open_model(&broken, Durability::Disk).unwrap_err();
        assert!(matches!(error, super::super::OpenError::Damaged { .. }), "byte {at}: {error}");
    }
}

#[test]
fn every_missing_segment_is_noticed() {
    let model = Model::new(3);
    small(&model);
    let (_, recovered, whole) = start(&model.copy(), Durability::Disk);
    for path in segments(&model) {
        let broken = model.copy();
        broken.remove(&path).unwrap();
        let (_, found, seen) = start(&broken, Durability::Disk);
        // The last one leaves no trace; all others do.
        if segments(&model).last() != Some(&path) {
            assert!(found.corruption.is_some(), "{path}");
            assert_ne!(found.identity.incarnation, recovered.identity.incarnation);
        }
        assert!(whole.records.starts_with(&seen.records));
    }
}

#[test]
fn a_bad_record_with_good_ones_after_it_is_kept_and_the_rest_set_aside() {
    let model = Model::new(3);
    let records = small(&model);
    let path = segments(&model)[0].clone();
    let mut bytes = model.bytes(&path);
    let inside = bytes.iter().position(|b| *b == 1).unwrap_or(0).max(200);
    bytes[inside] ^= 1;
    model.set_bytes(&path, bytes.clone());
    let (_, recovered, seen) = start(&model, Durability::Disk);
    let damage = recovered.corruption.unwrap();
    assert_eq!(damage.file, path);
    assert!(records.starts_with(&seen.records) && seen.records.len() < records.len());
    let kept = format!("corrupt-{}", path.replace('/', "-"));
    assert_eq!(model.bytes(&kept), bytes, "the damaged file is kept as it was found");
}

#[test]
fn zeros_in_a_write_that_a_later_one_calls_durable_are_damage_and_no_crash() {
    let model = Model::new(3);
    let (mut disk, ..) = start_large(&model);
    let records: Vec<_> = (1..=2).map(|seq| record_of(at(1, seq), &[7; 1500])).collect();
    for one in &records {
        apply(&mut disk, vec![append(std::slice::from_ref(one))]);
    }
    let path = segments(&model)[0].clone();
    let whole = model.bytes(&path);
    let clear = |sectors: std::ops::Range<usize>| {
        let broken = model.copy();
        let mut bytes = whole.clone();
        bytes[sectors.start * 512..sectors.end * 512].fill(0);
        broken.set_bytes(&path, bytes);
        start_large(&broken).1
    };
    assert!(clear(1..2).corruption.is_some_and(|damage| damage.what.contains("a later write")));
    let torn = clear(4..6);
    assert_eq!((torn.corruption, torn.last), (None, at(1, 1)), "at the end it is an unfinished write");
}
