//! Real directories: whose they are, and that the real file system does what the model does.

use std::fs;

use super::{super::OpenError, *};

fn open(dir: &Path, store: &str, id: u32) -> Result<Opened<Disk>, OpenError> {
    super::super::open(dir, store, id, 1, Durability::Disk, Sizes { segment: 1 << 16, ..Sizes::default() })
}

fn listing(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn a_real_directory_holds_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/one");
    let mut opened = open(&path, "demo", 1).unwrap();
    assert!(opened.fresh);
    opened.disk.recover(&mut Seen::default()).unwrap();
    let records: Vec<_> = (1..=200).map(|seq| record_of(at(1, seq), &[seq as u8; 900])).collect();
    for one in &records {
        apply(&mut opened.disk, vec![append(std::slice::from_ref(one))]);
    }
    apply(&mut opened.disk, checkpoint_ops(at(1, 150), &[(3, b"three")], 200));
    apply(&mut opened.disk, vec![DiskOp::Retain { from: 150 }]);
    opened.disk.log().unwrap().spares().settle();
    assert!(!opened.disk.space().full);
    opened.disk.close().unwrap();
    let mut again = open(&path, "demo", 1).unwrap();
    assert!(!again.fresh);
    let mut seen = Seen::default();
    let recovered = again.disk.recover(&mut seen).unwrap();
    assert_eq!((recovered.last, recovered.corruption, recovered.tail_lost), (at(1, 200), None, false));
    assert_eq!(recovered.identity.incarnation, opened.identity.incarnation);
    assert!(records.ends_with(&seen.records) && seen.records.len() >= 51 && seen.records.len() < 200);
}

#[test]
fn a_directory_is_refused_with_its_reason_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let held = open(path, "demo", 1).unwrap();
    let before = listing(path);
    let error = open(path, "demo", 1).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { pid, .. } if *pid == std::process::id().to_string()), "{error}");
    drop(held);
    for (store, id) in [("other", 1), ("demo", 2)] {
        let error = open(path, store, id).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    }
    assert_eq!(listing(path), before);
    let json = r#"{"format":2,"anything":[]}"#;
    let sum = super::super::segment::crc(json.as_bytes());
    fs::write(path.join("identity"), format!("{json}\n{sum:08x}\n")).unwrap();
    let before = listing(path);
    let error = open(path, "demo", 1).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    assert_eq!(listing(path), before);
}

#[test]
fn a_directory_with_other_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("holiday.jpg"), b"beach").unwrap();
    let error = open(dir.path(), "demo", 1).unwrap_err();
    assert!(matches!(&error, OpenError::NotOurs { name, .. } if name == "holiday.jpg"), "{error}");
    assert_eq!(listing(dir.path()).len(), 1);
}
