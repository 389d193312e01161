//! What the disk is told and what it answers.

use std::path::PathBuf;

use trireme_proto::Position;
use trireme_replica::io::{Identity, Meta};

/// How large the disk's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of a log segment. A batch that is larger gets a segment of its own size.
    pub segment: u64,
    /// Empty segments kept ready, so that the log can go on for a while on a full disk; at least 1.
    pub reserve: usize,
    /// Files of cut suffixes that are kept; the oldest goes first.
    pub cut_files: usize,
    /// Bytes of all of them together.
    pub cut_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { segment: 16 << 20, reserve: 2, cut_files: 16, cut_bytes: 256 << 20 }
    }
}

/// Takes in what is found on the disk, in the order of the methods here: `meta` once, `checkpoint` and its slots if there is one, then the log.
///
/// The log begins at or before the entry after the checkpoint's start; earlier records are handed out too, for peers that lag.
pub trait Restore {
    /// Why it cannot go on.
    type Error: std::error::Error;

    /// What was remembered outside the log. Not called on a disk on which nothing was ever remembered.
    fn meta(&mut self, meta: Meta);

    /// A checkpoint follows.
    ///
    /// # Errors
    /// `meta` cannot be understood.
    fn checkpoint(&mut self, start: Position, whole_at: u64, meta: &[u8]) -> Result<(), Self::Error>;

    /// One slot of the checkpoint.
    ///
    /// # Errors
    /// `image` cannot be understood.
    fn slot(&mut self, slot: u16, image: &[u8]) -> Result<(), Self::Error>;

    /// The next record of the log, whole, with its checksum verified; seqs have no gaps.
    ///
    /// # Errors
    /// The record cannot be understood.
    fn record(&mut self, record: &[u8]) -> Result<(), Self::Error>;

    /// Everything up to this seq is committed. Not above the last record (or, before the first, the checkpoint's start).
    fn committed(&mut self, seq: u64);
}

/// Damage that no crash explains. The file was kept, under a name that begins with `corrupt-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// Path of the damaged file within the directory, as it was called.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl std::fmt::Display for Corruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is damaged at byte {}: {}", self.file, self.offset, self.what)
    }
}

/// What recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Who this replica is from now on: with a new incarnation if its tail is lost or something is corrupt.
    pub identity: Identity,
    /// The machine went down without a clean stop while `durability` was Memory: acknowledged records may be gone.
    /// What was found is a prefix of what was there.
    pub tail_lost: bool,
    /// Damage. What was restored is a prefix of what was there, possibly nothing.
    pub corruption: Option<Corruption>,
    /// Position of the last record, or what the first one will follow.
    pub last: Position,
    /// Records handed to the [`Restore`].
    pub records: u64,
    /// Bytes of a write that a crash left unfinished, cut off.
    pub torn_bytes: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Last ticket that is as durable as asked for; `None` for an empty batch.
    pub ticket: Option<u64>,
}

/// How much room the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The disk is full: nothing more should be appended. The log still has [`Space::reserved`] bytes for what is under way.
    pub full: bool,
    /// Bytes that the log can take without asking the file system.
    pub reserved: u64,
}

/// Why a directory was not opened. It was left as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{dir} is in use by process {pid}: stop it, or use another directory")]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process, as it wrote itself down.
        pid: String,
    },
    /// It belongs to another store or replica.
    #[error(
        "{dir} belongs to replica {found_id} of store {found_store}, not to replica {id} of store {store}: use the right directory, or an empty one"
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Store it belongs to.
        found_store: String,
        /// Replica it belongs to.
        found_id: u32,
        /// Store that was asked for.
        store: String,
        /// Replica that was asked for.
        id: u32,
    },
    /// A newer version wrote it.
    #[error("{dir} was written by a newer version (format {found}; this one reads up to {known}): use that version")]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// It holds files and no identity.
    #[error("{dir} is not empty and is no replica's directory (it has {name:?}): use an empty one")]
    NotOurs {
        /// The directory.
        dir: PathBuf,
        /// A file that is there.
        name: String,
    },
    /// Its identity cannot be read.
    #[error("{dir}/identity is damaged ({what}): restore it, or start with an empty directory as a new member")]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file system failed.
    #[error("{dir}: {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// How.
        source: std::io::Error,
    },
}

/// Why the disk could not carry out a batch.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No space. Nothing was harmed: operations up to `done` are durable and gone from the batch, the rest is still in it and can be tried again.
    #[error("the disk is full: {needed} bytes are needed")]
    Full {
        /// Last ticket that is durable, if any of this batch is.
        done: Option<u64>,
        /// Bytes that could not be had.
        needed: u64,
    },
    /// A sync failed: what is on the disk is unknown. Fatal; never tried again.
    #[error("{file}: sync failed ({source}): what is on the disk is unknown")]
    Sync {
        /// The file.
        file: String,
        /// How.
        source: std::io::Error,
    },
    /// Another operation failed. Fatal.
    #[error("{file}: {action} failed: {source}")]
    Io {
        /// The file.
        file: String,
        /// What was tried.
        action: &'static str,
        /// How.
        source: std::io::Error,
    },
    /// The operation does not fit what is on the disk: a defect of the caller. Fatal.
    #[error("out of order: {0}")]
    Order(String),
    /// An earlier operation failed, or the disk was not recovered first.
    #[error("the disk can no longer be written: {0}")]
    Stopped(String),
}

/// Why recovery could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError<E: std::error::Error> {
    /// The file system failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What was found has the right checksums and was not understood.
    #[error("{file}: {source}")]
    Restore {
        /// The file.
        file: String,
        /// Why.
        source: E,
    },
}

/// A fresh or existing directory, opened and locked.
#[derive(Debug)]
pub struct Opened<D> {
    /// The disk; to be recovered before anything else.
    pub disk: D,
    /// Who it says it is. [`Recovered::identity`] is what counts: recovery may have to choose a new incarnation.
    pub identity: Identity,
    /// There was nothing.
    pub fresh: bool,
}
