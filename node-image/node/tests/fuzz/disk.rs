//! What a disk holds: a folder that a replica has written, damaged by bits, pieces, lengths and whole files, and then opened as a start does.
//!
//! It is refused with a reason, or recovered: then a replica goes on from it, what it writes is there the next time, and nothing of the damage is found again.
//! Where checksums were not made right again, each record that is found is one that was written.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use fastrand::Rng;
use trireme_node::disk::{self, Disk, DiskError, Opened, Restore, Sizes};
use trireme_proto::{
    Position, Topology,
    topology::{Durability, Settings},
};
use trireme_replica::{
    Recovery, RecoveryError,
    io::{DiskOp, Meta},
    log::record,
};

use crate::{
    damage::damage,
    harness::{Ran, fuzz},
    world::World,
};

/// What a seed may take: a file at a time, and the replica that comes of all of them.
const MEMORY_MAX: usize = 32 << 20;
const SIZES: Sizes = Sizes { segment: 4096, reserve: 1, cut_files: 3, cut_bytes: 8192 };
const COMMANDS: [&str; 12] = [
    "SET a 1",
    "SET {a}b 22222222222222222222",
    "INCR c",
    "DEL a c",
    "SADD s x y z",
    "HSET h f v g w",
    "HINCRBY h n 2",
    "RPUSH l 1 2 3",
    "ZADD z 1 m 2 n",
    "EXPIRE a 100",
    "LPOP l",
    "SREM s x",
];

/// In memory where there is a place for it: a device would be waited for.
fn folder() -> tempfile::TempDir {
    let fast = Path::new("/dev/shm");
    if fast.is_dir() { tempfile::tempdir_in(fast) } else { tempfile::tempdir() }.unwrap()
}

fn open(dir: &Path) -> Result<Opened<Disk>, String> {
    disk::open(dir, "s", 1, 1, Durability::Disk, SIZES).map_err(|error| error.to_string())
}

/// Recovery, beside all records that it is given.
#[derive(Default)]
struct Found {
    recovery: Recovery,
    records: Vec<Bytes>,
}

impl Restore for Found {
    type Error = RecoveryError;

    fn meta(&mut self, meta: Meta) {
        self.recovery.meta(meta);
    }

    fn checkpoint(&mut self, start: Position, whole_at: u64, meta: &[u8]) -> Result<(), RecoveryError> {
        self.recovery.checkpoint(start, whole_at, meta)
    }

    fn slot(&mut self, slot: u16, image: &[u8]) -> Result<(), RecoveryError> {
        self.recovery.slot(slot, image)
    }

    fn record(&mut self, record: &[u8]) -> Result<(), RecoveryError> {
        self.records.push(Bytes::copy_from_slice(record));
        self.recovery.record(record)
    }

    fn committed(&mut self, seq: u64) {
        self.recovery.committed(seq);
    }
}

/// What a folder was made of.
struct Written {
    record: Topology,
    /// All records that were ever in it.
    records: BTreeSet<Bytes>,
}

/// A folder as a replica leaves it, after commands of all types and checkpoints.
fn write(rng: &mut Rng, dir: &Path) -> Written {
    let mut disk = open(dir).unwrap().disk;
    disk.recover(&mut Found::default()).unwrap();
    let settings = Settings { log_bytes_max: rng.u64(500..8_000), ..Settings::standard() };
    let mut world = World::serving_with(1, 1, settings);
    world.open(1, 7);
    let mut records = BTreeSet::new();
    for _ in 0..rng.usize(2..80) {
        for _ in 0..rng.usize(1..4) {
            let command = format!("{}\r\n", COMMANDS[rng.usize(..COMMANDS.len())]);
            world.feed(1, 7, command.as_bytes(), &|_| false);
        }
        world.run(2);
        world.nodes[&1].disk.iter().for_each(|op| note_records(op, &mut records));
        carry_out(&mut disk, &mut world).unwrap();
    }
    if rng.bool() {
        disk.close().unwrap();
    }
    Written { record: world.records[0].clone(), records }
}

/// Does what a replica has asked of its disk.
fn carry_out(disk: &mut Disk, world: &mut World) -> Result<(), DiskError> {
    let node = world.nodes.get_mut(&1).unwrap();
    disk.apply(&mut (1..).zip(std::mem::take(&mut node.disk)).collect())?;
    let steps = std::mem::take(&mut node.checkpoint);
    if steps.is_empty() {
        return Ok(());
    }
    let work = disk.checkpoint_work(steps)?;
    disk.checkpointed(work())
}

fn note_records(op: &DiskOp, records: &mut BTreeSet<Bytes>) {
    let DiskOp::Append { bytes, .. } = op else { return };
    let mut at = 0;
    while at < bytes.len() {
        let length = record::read(&bytes[at..]).unwrap().bytes;
        records.insert(bytes.slice(at..at + length));
        at += length;
    }
}

/// All files of a folder that a start reads.
fn files(dir: &Path) -> Vec<PathBuf> {
    let folders = [dir.to_owned(), dir.join("log"), dir.join("checkpoint")];
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.retain(|path| !["lock", "reserve"].iter().any(|name| path.ends_with(name)));
    files.sort();
    files
}

/// Damages a folder: whether by bytes whose checksums were made right again.
fn spoil(rng: &mut Rng, dir: &Path) -> bool {
    let mut sealed = false;
    for _ in 0..[1, 1, 2, 3][rng.usize(..4)] {
        let files = files(dir);
        // The small files are soon known.
        let large = |path: &&PathBuf| path.parent() != Some(dir);
        let (chosen, again) = (&files[rng.usize(..files.len())], &files[rng.usize(..files.len())]);
        let path = Some(chosen).filter(|path| large(path) || rng.u8(..3) == 0).unwrap_or(again);
        let mut bytes = std::fs::read(path).unwrap();
        match rng.u8(..12) {
            0 => std::fs::remove_file(path).unwrap(),
            1 => {
                let other = &files[rng.usize(..files.len())];
                std::fs::copy(path, other).unwrap();
            }
            2 => std::fs::rename(path, path.with_file_name("0000000099-00000000000000000007.log")).unwrap(),
            3..7 => {
                // What is written of it, not the zeros behind.
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                let zeros = bytes.split_off(end);
                damage(rng, &mut bytes);
                if rng.bool() {
                    bytes.extend_from_slice(&zeros);
                }
                std::fs::write(path, bytes).unwrap();
            }
            7 => {
                let at = rng.usize(..=bytes.len());
                let end = (at + rng.usize(..1_500)).min(bytes.len());
                bytes[at..end].fill(0);
                std::fs::write(path, bytes).unwrap();
            }
            _ => {
                sealed |= reseal(rng, &mut bytes);
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
    sealed
}

/// Changes what a checksum covers, and then the checksum: whether there is one at such a place. It is found by trial: 4 bytes that are the CRC32C of what
/// follows them, for the length that stands before them or one of the fixed ones.
fn reseal(rng: &mut Rng, bytes: &mut [u8]) -> bool {
    let mut sealed = Vec::new();
    for at in (8..bytes.len().saturating_sub(8)).filter(|at| bytes[*at..*at + 4] != [0; 4]) {
        let sum = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = u32::from_le_bytes([bytes[at - 4], bytes[at - 3], bytes[at - 2], bytes[at - 1]]) as usize;
        // A record, the head of a checkpoint or `meta`; a slot, whose number is covered, too; a frame's header; a segment's; a footer.
        for covered in [length, length.saturating_add(2), 24, 52, 16] {
            let body = bytes.get(at + 4..(at + 4).saturating_add(covered));
            if covered > 0 && body.is_some_and(|body| checksum(body) == sum) {
                sealed.push((at, covered));
            }
        }
    }
    let Some((at, covered)) = sealed.get(rng.usize(..sealed.len().max(1))).copied() else { return false };
    let mut body = bytes[at + 4..at + 4 + covered].to_vec();
    damage(rng, &mut body);
    body.resize(covered, rng.u8(..));
    bytes[at + 4..at + 4 + covered].copy_from_slice(&body);
    let sum = checksum(&body);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    true
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Opens a folder and recovers what is there, or says why not.
fn start(dir: &Path) -> Result<(Disk, disk::Recovered, Found), String> {
    let mut disk = open(dir)?.disk;
    let mut found = Found::default();
    let recovered = disk.recover(&mut found).map_err(|error| error.to_string())?;
    Ok((disk, recovered, found))
}

fn one(rng: &mut Rng) -> Ran {
    let dir = folder();
    let written = write(rng, dir.path());
    let sealed = spoil(rng, dir.path());
    let mut ran = Ran { inputs: 1, understood: 0 };
    let (mut disk, recovered, found) = match start(dir.path()) {
        Ok(started) => started,
        Err(why) => {
            assert!(why.len() > 20, "{why:?} says nothing");
            return ran;
        }
    };
    if !sealed {
        let strange = found.records.iter().find(|record| !written.records.contains(*record));
        assert_eq!(strange, None, "this was never written");
    }
    // A replica goes on from it, unless its log cannot be read.
    let last = recovered.last;
    let mut world = World::again(recovered.identity.clone(), found.recovery, written.record);
    world.run(2);
    if world.nodes[&1].fatal.is_some() {
        return ran;
    }
    ran.understood = 1;
    let mut record = world.records[0].clone();
    (record.version, record.epoch.number) = (2, 1 + last.epoch.number.min(1 << 40));
    record.config.members[0].incarnation = recovered.identity.incarnation;
    world.records = vec![record];
    world.tell();
    world.run(5);
    world.open(1, 7);
    world.feed(1, 7, b"set fuzz ok\r\nget a\r\nget c\r\nlrange l 0 -1\r\nhgetall h\r\nkeys *\r\n", &|_| false);
    world.run(20);
    let told = &world.nodes[&1].clients[&7].replies;
    crate::replies::count(told).unwrap();
    let carried_out = carry_out(&mut disk, &mut world);
    drop(disk);
    if sealed {
        // What says the wrong thing under a right checksum may not be seen before it matters.
        let _ = start(dir.path());
        return ran;
    }
    carried_out.unwrap();
    let (_disk, again, _) = start(dir.path()).unwrap_or_else(|why| panic!("the second start fails: {why}"));
    let incarnation = recovered.identity.incarnation;
    assert_eq!((again.corruption, again.identity.incarnation, again.torn_bytes), (None, incarnation, 0));
    assert!(again.last >= last, "{} after {last}", again.last);
    ran
}

#[test]
fn disks_hold_anything() {
    let ran = fuzz("disks_hold_anything", MEMORY_MAX, one);
    assert!(ran.understood > ran.inputs / 4, "{} of {} folders are recovered", ran.understood, ran.inputs);
}
