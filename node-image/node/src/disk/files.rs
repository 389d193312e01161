//! What the disk needs of a file system: small enough that tests have one that forgets what was not synced.

use std::io;

use super::types::DiskError;

/// A directory with folders one deep. Paths are relative: `name` or `folder/name`; the folder `""` is the directory itself.
pub trait Files: Clone + std::fmt::Debug + Send + 'static {
    /// An open file.
    type File: File;

    /// Names in a folder, sorted; none if there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Makes a folder unless it is there; durable after `sync_folder("")`.
    fn make_folder(&self, name: &str) -> io::Result<()>;
    /// Opens an existing file to read and write.
    fn open(&self, path: &str) -> io::Result<Self::File>;
    /// Makes an empty file, in place of one that may be there.
    fn create(&self, path: &str) -> io::Result<Self::File>;
    /// Gives a file another name, in place of a file that may have it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes names made, changed and removed in a folder durable.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// Another string after each restart of the machine.
    fn boot_id(&self) -> io::Result<String>;
    /// A random number.
    fn random(&self) -> io::Result<u64>;
}

/// An open file.
pub trait File: std::fmt::Debug + Send + 'static {
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Reads some bytes; 0 at the end.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the file this long, with space on the disk for all of it; what is new reads as zeros.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// Reads a whole file into `into`, in place of what is there: a buffer used again is not cleared first.
pub(super) fn read_whole<F: File>(file: &F, into: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
    into.resize(length, 0);
    let mut at = 0;
    while at < length {
        match file.read_at(&mut into[at..], at as u64)? {
            0 => break,
            read => at += read,
        }
    }
    into.truncate(at);
    Ok(())
}

/// Whether an error means that there is no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Says which file and what was tried; lack of space becomes [`DiskError::Full`].
pub(super) fn failed<'a>(file: &'a str, action: &'static str) -> impl FnOnce(io::Error) -> DiskError + 'a {
    move |source| {
        if is_full(&source) {
            DiskError::Full { done: None, needed: 0 }
        } else {
            DiskError::Io { file: file.to_owned(), action, source }
        }
    }
}

/// Says which file could not be synced.
pub(super) fn unsynced(file: &str) -> impl FnOnce(io::Error) -> DiskError + '_ {
    move |source| DiskError::Sync { file: file.to_owned(), source }
}

/// Replaces a file of the directory as a whole: after a crash it holds the old bytes or the new.
pub(super) fn replace<F: Files>(files: &F, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let beside = format!("{name}.tmp");
    let file = files.create(&beside).map_err(failed(&beside, "create"))?;
    let written = file.write_at(bytes, 0).map_err(failed(&beside, "write"));
    if let Err(error) = written {
        // Gives back what little space it took; the error that matters is the one above.
        let _ = files.remove(&beside);
        return Err(error);
    }
    file.sync().map_err(unsynced(&beside))?;
    files.rename(&beside, name).map_err(failed(name, "rename"))?;
    files.sync_folder("").map_err(unsynced(name))
}

/// Reads a small file; `None` if there is none.
pub(super) fn read_small<F: Files>(files: &F, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
    match files.open(name) {
        Ok(file) => {
            let mut bytes = Vec::new();
            read_whole(&file, &mut bytes).map_err(failed(name, "read"))?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(name, "open")(error)),
    }
}
