//! The disk of one replica.

mod types;

use std::path::Path;

use trireme_proto::{ReplicaId, topology::Durability};
use trireme_replica::io::DiskOp;

pub use self::types::{
    Applied, Corruption, DiskError, OpenError, Opened, RecoverError, Recovered, Restore, Sizes, Space,
};

/// An opened directory: owns its files. Synchronous; a disk thread carries it.
#[derive(Debug)]
pub struct Disk {
    _private: (),
}

/// Creates or opens `dir` and locks it.
///
/// # Errors
/// See [`OpenError`]; the directory is untouched then.
pub fn open(
    dir: &Path,
    _store: &str,
    _id: ReplicaId,
    _group: u32,
    _durability: Durability,
    _sizes: Sizes,
) -> Result<Opened<Disk>, OpenError> {
    Err(OpenError::Io { dir: dir.into(), source: std::io::ErrorKind::Unsupported.into() })
}

impl Disk {
    /// Hands everything that is on the disk to `into`. Must come first, once.
    ///
    /// # Errors
    /// See [`RecoverError`].
    pub fn recover<R: Restore>(&mut self, _into: &mut R) -> Result<Recovered, RecoverError<R::Error>> {
        Err(DiskError::Stopped(String::new()).into())
    }

    /// Carries out a batch, in order, and empties it. Durable on return if `durability` is Disk.
    ///
    /// # Errors
    /// See [`DiskError`]; all but `Full` are fatal.
    pub fn apply(&mut self, _batch: &mut Vec<(u64, DiskOp)>) -> Result<Applied, DiskError> {
        Err(DiskError::Stopped(String::new()))
    }

    /// Makes everything durable: once a second where `durability` is Memory.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn sync_now(&mut self) -> Result<(), DiskError> {
        Err(DiskError::Stopped(String::new()))
    }

    /// When copies count from now on.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn set_durability(&mut self, _durability: Durability) -> Result<(), DiskError> {
        Err(DiskError::Stopped(String::new()))
    }

    /// How much room the log has, after trying to get more: to be asked after a batch and about once a second.
    pub fn space(&mut self) -> Space {
        Space { full: false, reserved: 0 }
    }

    /// A clean stop: everything durable, and marked so.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn close(self) -> Result<(), DiskError> {
        Err(DiskError::Stopped(String::new()))
    }
}
