//! The disk of one replica: a directory with its log, its checkpoint and what it has promised.
//!
//! | path | what | changed by |
//! | --- | --- | --- |
//! | `identity` | format, store, replica, group, incarnation (`identity`) | replaced as a whole |
//! | `mark` | how the directory is had: boot id of the machine, durability, clean stop | replaced as a whole |
//! | `meta` | what the core remembers outside the log (`meta`) | replaced as a whole |
//! | `log/SERIAL-FIRST.log` | segments of the log (`log`, `segment`) | appended |
//! | `log/spare-N`, `log/prepare-N` | segments to be, made ahead (`spares`) | |
//! | `checkpoint/current` | the checkpoint in force (`checkpoint`); `checkpoint/next` is being written | replaced as a whole |
//! | `cut-EPOCH-SEQ.log` | records that were cut off, one after the other; bounded, the oldest goes first | written once |
//! | `corrupt-*` | damaged files, as they were found | never |
//! | `lock` | locked by the process that has the directory, and its number | |
//! | `reserve` | space for replacing `meta` when the disk is full | |
//!
//! **What changes takes effect in one step**: a frame that is whole, or a rename of a file that is durable. No state needs two of them. A snapshot replaces
//! log and checkpoint by the rename of the checkpoint, which says which segments count. A cut is a new segment, whose head voids what older ones hold from there on.
//!
//! **What is found is judged before anything is changed** (`recover`): an unfinished write at the end is cut; anything else is damage, which is kept under
//! another name and costs the replica its incarnation, so that it counts for nothing until it has caught up.
//!
//! All access goes through `files`, of which the tests have an implementation that loses what was not synced, sector by sector and name by name.

mod building;
mod checkpoint;
#[cfg(test)]
mod crash;
mod files;
mod identity;
mod log;
mod meta;
mod real;
mod recover;
mod segment;
mod spares;
#[cfg(test)]
mod tests;
mod types;

use std::{fs, path::Path};

use trireme_proto::{Position, ReplicaId, topology::Durability};
use trireme_replica::io::{DiskOp, Identity};

pub use self::building::{CheckpointWork, InForce};
pub use self::log::Reached;
pub use self::types::{
    Applied, Corruption, DiskError, OpenError, Opened, RecoverError, Recovered, Restore, Sizes, Space,
};
use self::{
    building::Building,
    files::{File, Files, failed, replace, unsynced},
    identity::Found,
    log::Log,
    real::Real,
};

/// An opened directory: owns its files. Synchronous; a disk thread carries it.
#[derive(Debug)]
pub struct Disk<F: Files = Real> {
    files: F,
    identity: Identity,
    durability: Durability,
    sizes: Sizes,
    background: bool,
    log: Option<Log<F>>,
    building: Building<F>,
    /// Start of the checkpoint in force, and serial of the first segment that counts.
    start: u64,
    floor: u64,
    retain: u64,
    /// There is space aside for promises; looked at anew after each.
    reserve: bool,
    /// Something failed for good.
    stopped: Option<String>,
    /// Last, so that everything else has ended when it is released.
    _lock: Option<fs::File>,
}

/// Work that waits for the device and needs nothing but itself.
pub type SyncWork = Box<dyn FnOnce() -> Result<Reached, DiskError> + Send>;

/// Creates or opens `dir` and locks it, for as long as the disk lives.
///
/// # Errors
/// See [`OpenError`]; the directory is left as it was then.
pub fn open(
    dir: &Path,
    store: &str,
    id: ReplicaId,
    group: u32,
    durability: Durability,
    sizes: Sizes,
) -> Result<Opened<Disk>, OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    if !dir.exists() {
        fs::create_dir_all(dir).map_err(io)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(io)?;
        }
    }
    let files = Real::new(dir);
    admit(&files, dir, store, id)?;
    let lock = match files.lock().map_err(io)? {
        Ok(lock) => lock,
        Err(pid) => return Err(OpenError::Locked { dir: dir.to_owned(), pid }),
    };
    let wanted = Wanted { store, id, group, durability };
    let mut opened = open_in(files, dir, &wanted, sizes, true)?;
    opened.disk._lock = Some(lock);
    Ok(opened)
}

/// Who is to have the directory.
struct Wanted<'a> {
    store: &'a str,
    id: ReplicaId,
    group: u32,
    durability: Durability,
}

/// Opens a directory that nobody else has.
fn open_in<F: Files>(
    files: F,
    dir: &Path,
    wanted: &Wanted<'_>,
    sizes: Sizes,
    background: bool,
) -> Result<Opened<Disk<F>>, OpenError> {
    let disk = |error: DiskError| OpenError::Io { dir: dir.to_owned(), source: std::io::Error::other(error) };
    let found = admit(&files, dir, wanted.store, wanted.id)?;
    let mut identity = Identity {
        store: wanted.store.to_owned(),
        id: wanted.id,
        incarnation: 0,
        boot: identity::random(&files).map_err(disk)?,
        group: wanted.group,
        durability: wanted.durability,
    };
    let fresh = found.is_none();
    match found {
        Some((incarnation, group)) => (identity.incarnation, identity.group) = (incarnation, group),
        None => {
            identity.incarnation = identity::random(&files).map_err(disk)?;
            identity::write(&files, &identity).map_err(disk)?;
        }
    }
    let disk = Disk {
        files,
        identity: identity.clone(),
        durability: wanted.durability,
        sizes,
        background,
        log: None,
        building: Building::nothing(),
        start: 0,
        floor: 0,
        retain: 0,
        reserve: false,
        stopped: None,
        _lock: None,
    };
    Ok(Opened { disk, identity, fresh })
}

/// Whether the directory may be had, without touching it: incarnation and group if it has an identity.
fn admit<F: Files>(files: &F, dir: &Path, store: &str, id: ReplicaId) -> Result<Option<(u64, u32)>, OpenError> {
    let dir = dir.to_owned();
    match identity::read(files) {
        Err(error) => Err(OpenError::Io { dir, source: std::io::Error::other(error) }),
        Ok(Found::Newer(found)) => Err(OpenError::Newer { dir, found, known: identity::FORMAT }),
        Ok(Found::Damaged(what)) => Err(OpenError::Damaged { dir, what }),
        Ok(Found::Identity { store: found_store, id: found_id, group, incarnation }) => {
            if found_store == store && found_id == id {
                Ok(Some((incarnation, group)))
            } else {
                Err(OpenError::Foreign { dir, found_store, found_id, store: store.to_owned(), id })
            }
        }
        Ok(Found::Nothing) => {
            let names = files.list("").map_err(|source| OpenError::Io { dir: dir.clone(), source })?;
            let ours = ["lock", "identity.tmp", "lost+found"];
            match names.into_iter().find(|name| !ours.contains(&name.as_str())) {
                Some(name) => Err(OpenError::NotOurs { dir, name }),
                None => Ok(None),
            }
        }
    }
}

impl<F: Files> Disk<F> {
    /// Hands everything that is on the disk to `into`. Must come first, once.
    ///
    /// # Errors
    /// See [`RecoverError`].
    pub fn recover<R: Restore>(&mut self, into: &mut R) -> Result<Recovered, RecoverError<R::Error>> {
        if self.log.is_some() {
            return Err(DiskError::Order("recovered a second time".to_owned()).into());
        }
        let resumed =
            recover::recover(&self.files, &self.identity, self.durability, self.sizes, self.background, into)?;
        self.identity = resumed.recovered.identity.clone();
        if let Some((start, floor)) = resumed.checkpoint {
            (self.start, self.floor) = (start.seq, floor);
        }
        self.log = Some(resumed.log);
        Ok(resumed.recovered)
    }

    /// Carries out a batch, in order, and empties it: one write, and one fdatasync if `durability` is Disk and records are among it.
    ///
    /// # Errors
    /// [`DiskError::Full`]: nothing was harmed, and what was not carried out is still in the batch. All others are fatal.
    pub fn apply(&mut self, batch: &mut Vec<(u64, DiskOp)>) -> Result<Applied, DiskError> {
        self.usable()?;
        let result = self.run(batch);
        self.note(result)
    }

    /// Makes everything durable: once a second where `durability` is Memory.
    ///
    /// # Errors
    /// See [`DiskError`]; all are fatal.
    pub fn sync_now(&mut self) -> Result<(), DiskError> {
        self.usable()?;
        let result = self.log()?.sync();
        self.note(result)
    }

    /// What [`Disk::sync_now`] would do, to be run on another thread while this disk is written; `None` if everything is durable. What comes of it goes to
    /// [`Disk::synced`].
    ///
    /// # Errors
    /// See [`DiskError`]; all are fatal.
    pub fn sync_work(&mut self) -> Result<Option<SyncWork>, DiskError> {
        self.usable()?;
        let result = self.log()?.unsynced();
        let unsynced = self.note(result)?;
        Ok(unsynced.map(|unsynced| Box::new(move || unsynced.sync()) as SyncWork))
    }

    /// Takes note of what became of [`Disk::sync_work`].
    ///
    /// # Errors
    /// The sync failed: fatal, like any other.
    pub fn synced(&mut self, result: Result<Reached, DiskError>) -> Result<(), DiskError> {
        let reached = self.note(result)?;
        self.usable()?;
        self.log()?.synced(reached);
        Ok(())
    }

    /// When copies count from now on.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn set_durability(&mut self, durability: Durability) -> Result<(), DiskError> {
        if self.durability == durability {
            return Ok(());
        }
        self.sync_now()?;
        let result = identity::mark(&self.files, durability, false);
        self.note(result)?;
        self.durability = durability;
        self.log()?.spares().write_zeros(durability == Durability::Disk);
        Ok(())
    }

    /// How much room the log has, after trying to get more: to be asked after a batch and, while it is full, about once a second.
    pub fn space(&mut self) -> Space {
        let Some(log) = self.log.as_mut() else { return Space { full: false, reserved: 0 } };
        log.spares().replenish();
        let full = log.spares().full();
        if !full && !self.reserve {
            // Without it only a promise on a full disk can fail, and says so.
            self.reserve = meta::reserve(&self.files).is_ok();
        }
        Space { full, reserved: log.reserved() }
    }

    /// A clean stop: everything durable, and marked so.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn close(mut self) -> Result<(), DiskError> {
        if self.log.is_none() {
            return Ok(());
        }
        self.sync_now()?;
        identity::mark(&self.files, self.durability, true)
    }

    fn usable(&self) -> Result<(), DiskError> {
        match &self.stopped {
            Some(why) => Err(DiskError::Stopped(why.clone())),
            None if self.log.is_none() => Err(DiskError::Stopped("it was not recovered".to_owned())),
            None => Ok(()),
        }
    }

    fn log(&mut self) -> Result<&mut Log<F>, DiskError> {
        self.log.as_mut().ok_or_else(|| DiskError::Stopped("it was not recovered".to_owned()))
    }

    /// After a failure that is not lack of space nothing more is written.
    fn note<T>(&mut self, result: Result<T, DiskError>) -> Result<T, DiskError> {
        if let Err(error) = &result
            && !matches!(error, DiskError::Full { .. })
        {
            self.stopped = Some(error.to_string());
        }
        result
    }

    fn run(&mut self, batch: &mut Vec<(u64, DiskOp)>) -> Result<Applied, DiskError> {
        let (mut payload, mut parts, mut dirty) = (0, 0, false);
        for (_, op) in batch.iter() {
            match op {
                DiskOp::Append { bytes, .. } => (payload, parts) = (payload + bytes.len() as u64, parts + 1),
                DiskOp::Commit(_) => parts += 1,
                _ => {}
            }
        }
        let room = if parts == 0 { 0 } else { log::room_for(payload, parts) };
        let wait = self.durability == Durability::Disk;
        self.log()?.make_room(room, wait)?;
        let mut result = Ok(());
        let mut done = 0usize;
        for (_, op) in batch.iter() {
            dirty |= matches!(op, DiskOp::Append { .. });
            result = self.step(op, room);
            if result.is_err() {
                break;
            }
            done += 1;
        }
        let full = match result {
            Ok(()) => None,
            Err(DiskError::Full { needed, .. }) => Some(needed),
            Err(fatal) => return Err(fatal),
        };
        // What was carried out counts, whether or not the rest found space.
        let sync = dirty && wait;
        let log = self.log()?;
        if sync {
            log.sync()?;
        } else {
            log.write()?;
        }
        let ticket = done.checked_sub(1).map(|index| batch[index].0);
        batch.drain(..done);
        self.drop_old()?;
        match full {
            Some(needed) => Err(DiskError::Full { done: ticket, needed }),
            None => Ok(Applied { ticket }),
        }
    }

    /// One operation. `room`: bytes of frames that the whole batch may take.
    fn step(&mut self, op: &DiskOp, room: u64) -> Result<(), DiskError> {
        match op {
            DiskOp::Append { first, last, bytes } => self.log()?.append(*first, *last, bytes),
            DiskOp::Commit(seq) => {
                self.log()?.commit(*seq);
                Ok(())
            }
            DiskOp::Meta(meta) => {
                self.log()?.sync()?;
                self.reserve = false;
                meta::write(&self.files, meta)
            }
            DiskOp::Truncate { last } => self.truncate(*last, room),
            DiskOp::KeepAside { after } => match self.log()?.cut_off(*after)? {
                Some((first, cut, _)) => self.keep_cut(first, &cut),
                None => Ok(()),
            },
            DiskOp::Reset { .. } if self.building.is_dropped() => {
                Err(DiskError::Stopped("the leader's snapshot did not fit: the disk needs more room".to_owned()))
            }
            DiskOp::Reset { position } => self.log()?.reset(*position, room),
            DiskOp::Retain { from } => {
                self.retain = self.retain.max(*from);
                Ok(())
            }
            DiskOp::Snapshot(step) => self.snapshot(step),
        }
    }

    fn truncate(&mut self, last: u64, room: u64) -> Result<(), DiskError> {
        let start = self.start;
        let log = self.log()?;
        if log.pending_floor().is_none() && last < start {
            return Err(DiskError::Order(format!("cannot cut after {last}: the checkpoint is at {start}")));
        }
        let Some((first, cut, stays)) = log.cut_off(last)? else { return Ok(()) };
        self.keep_cut(first, &cut)?;
        self.log()?.truncate(stays, room)
    }

    /// Keeps records that are about to be cut in a file of their own, and drops the oldest such files beyond the bound.
    fn keep_cut(&mut self, first: Position, cut: &[u8]) -> Result<(), DiskError> {
        let epoch = first.epoch;
        let name = format!("cut-{:010}.{}-{:020}.log", epoch.number, epoch.proposer, first.seq);
        replace(&self.files, &name, cut)?;
        let mut kept = Vec::new();
        for other in self.files.list("").map_err(failed(".", "list"))? {
            if other.starts_with("cut-") && other.ends_with(".log") && other != name {
                let length = self.files.open(&other).and_then(|file| file.length()).map_err(failed(&other, "open"))?;
                kept.push((other, length));
            }
        }
        // Sorted by epoch, and so by age.
        let (mut files, mut bytes) = (1, cut.len() as u64);
        for (other, length) in kept.iter().rev() {
            files += 1;
            bytes += length;
            if files > self.sizes.cut_files || bytes > self.sizes.cut_bytes {
                self.files.remove(other).map_err(failed(other, "remove"))?;
            }
        }
        self.files.sync_folder("").map_err(unsynced("."))
    }

    /// Drops what neither peers nor a restart need.
    fn drop_old(&mut self) -> Result<(), DiskError> {
        let from = self.retain.min(self.start + 1);
        self.log()?.retain(from)
    }
}
