//! The directory of a store on this machine.
//!
//! ```text
//! DIR/uid            format, name and unique name of the store: what makes DIR a store's, or an edge's of it
//! DIR/store.yaml     the specification, as the user gave it
//! DIR/edges.secret   what the keys of the store's edges are made from (see `edge`)
//! DIR/session.key    what its session tokens are sealed with
//! DIR/token          at an edge: what it joined with; an edge has no store.yaml
//! DIR/lock           held while a process runs the store; its content is that process's number
//! DIR/topology.json  the authority's record (see `authority`)
//! DIR/addresses.json where its replicas listen (see `addresses`)
//! DIR/replicas/NAME  a replica's own disk: this crate never looks into it
//! DIR/gone/GROUP/NAME that of one whose region has left the store: nothing looks at it, and it may be deleted
//! DIR/logs/NAME.log  what a replica's process printed
//! DIR/control.sock   where `trireme status`, `promote` ... reach the process that runs the store
//! ```
//!
//! A directory that cannot be used is refused before anything in it is touched.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::edge;

/// Format of the directory that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Something else is in it.
    #[error(
        "{path}: holds files, but no store (there is no file `uid`); nothing was touched. Choose an empty or a new directory"
    )]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// Nothing is in it.
    #[error("{path}: holds no store. `trireme up FILE --dir {path}` creates one")]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another store.
    #[error(
        "{path}: belongs to the store `{found}`, but the file describes `{wanted}`; nothing was touched. Choose another directory, or the file of that store"
    )]
    OtherStore {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should have been.
        wanted: String,
    },
    /// A later version wrote it.
    #[error(
        "{path}: was written in format {found}, this version reads up to {FORMAT}; nothing was touched. Use the version of trireme that wrote it, or a later one"
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// An edge has joined from it, or it has a store of its own and no edge.
    #[error("{path}: {}; nothing was touched. Choose another directory", if *.edge { "an edge has joined its store from here: `trireme edge --dir` starts it" } else { "holds a store, and no edge of one" })]
    Kind {
        /// The directory.
        path: PathBuf,
        /// An edge is what is there.
        edge: bool,
    },
    /// A process runs the store.
    #[error(
        "{path}: is in use by process {pid}, which runs this store; nothing was touched. Stop it first, or use another directory"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its number, or `unknown`.
        pid: String,
    },
    /// A file of it makes no sense.
    #[error("{path}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system says no.
    #[error("{path}: {error}")]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// Attaches the path to an error of the operating system.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> DirectoryError + '_ {
    move |error| DirectoryError::Io { path: path.to_path_buf(), error }
}

/// Which store a directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name of the store's resource.
    pub name: String,
    /// Unique name, made when the directory was; at an edge, the store's that it joined.
    pub uid: String,
}

impl Owner {
    /// Reads whose the directory is, without locking or changing it.
    ///
    /// # Errors
    /// Where it is no store's, or a newer version's.
    pub fn read(dir: &Path) -> Result<Owner, DirectoryError> {
        let path = dir.join("uid");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = dir.to_path_buf();
                return Err(match is_unused(dir)? {
                    true => DirectoryError::Empty { path },
                    false => DirectoryError::NotAStore { path },
                });
            }
            Err(error) => return Err(at(&path)(error)),
        };
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let damaged = |what: &str| DirectoryError::Damaged {
            path: path.clone(),
            reason: format!("has no line `{what} ...`: it is damaged, or not trireme's"),
        };
        let format: u32 = value("format").and_then(|v| v.parse().ok()).ok_or_else(|| damaged("format"))?;
        if format > FORMAT {
            return Err(DirectoryError::NewerFormat { path: dir.to_path_buf(), found: format });
        }
        let name = value("store").ok_or_else(|| damaged("store"))?.to_owned();
        let uid = value("uid").ok_or_else(|| damaged("uid"))?.to_owned();
        Ok(Owner { name, uid })
    }
}

/// A store's directory, locked: dropping it and its clones lets others in.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    owner: Owner,
    _lock: Arc<File>,
}

impl Directory {
    /// Locks the directory of the store `name`, and makes it if there is none.
    ///
    /// # Errors
    /// Where it is another's, in use, newer than this version, or the operating system refuses; it is untouched then.
    pub fn open(path: &Path, name: &str) -> Result<Directory, DirectoryError> {
        Directory::open_as(path, name, None)
    }

    /// The same for an edge of a store that is known by this unique name elsewhere.
    ///
    /// # Errors
    /// As [`Directory::open`].
    pub(crate) fn open_as(path: &Path, name: &str, uid: Option<&str>) -> Result<Directory, DirectoryError> {
        let owner = match Owner::read(path) {
            Ok(owner) if owner.name != name || uid.is_some_and(|uid| uid != owner.uid) => {
                return Err(DirectoryError::OtherStore {
                    path: path.to_path_buf(),
                    found: owner.name,
                    wanted: name.to_owned(),
                });
            }
            Ok(_) if uid.is_none() && edge::is_edges(path) => {
                return Err(DirectoryError::Kind { path: path.to_path_buf(), edge: true });
            }
            Ok(_) if uid.is_some() && path.join("store.yaml").exists() => {
                return Err(DirectoryError::Kind { path: path.to_path_buf(), edge: false });
            }
            Ok(owner) => Some(owner),
            Err(DirectoryError::Empty { .. }) => None,
            Err(error) => return Err(error),
        };
        fs::create_dir_all(path).map_err(at(path))?;
        // Absolute, so that what is passed on to the replicas' processes does not depend on where they run.
        let path = fs::canonicalize(path).map_err(at(path))?;
        let lock = take_lock(&path)?;
        let owner = match owner {
            Some(owner) => owner,
            None => {
                let uid = uid.map_or_else(random_uid, |uid| Ok(uid.to_owned())).map_err(at(&path))?;
                let owner = Owner { name: name.to_owned(), uid };
                let text = format!("format {FORMAT}\nstore {}\nuid {}\n", owner.name, owner.uid);
                write_durably(&path.join("uid"), text.as_bytes())?;
                owner
            }
        };
        for part in ["replicas", "logs"] {
            let part = path.join(part);
            fs::create_dir_all(&part).map_err(at(&part))?;
        }
        Ok(Directory { path, owner, _lock: Arc::new(lock) })
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Keeps the specification as the user gave it.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub fn keep_specification(&self, text: &str) -> Result<(), DirectoryError> {
        write_durably(&self.path.join("store.yaml"), text.as_bytes())
    }

    /// A replica's own directory.
    pub fn replica(&self, name: &str) -> PathBuf {
        self.path.join("replicas").join(name)
    }

    /// A replica's own directory, if there is one, is that of a group that has left.
    ///
    /// # Errors
    /// Where it cannot be moved; it is where it was then.
    pub fn set_aside(&self, name: &str, group: u32) -> Result<(), DirectoryError> {
        let (from, to) = (self.replica(name), self.path.join("gone").join(group.to_string()));
        if !from.exists() {
            return Ok(());
        }
        fs::create_dir_all(&to).map_err(at(&to))?;
        fs::rename(&from, to.join(name)).map_err(at(&from))
    }

    /// What a replica's process prints.
    pub fn log(&self, name: &str) -> PathBuf {
        log_path(&self.path, name)
    }

    /// Where tools reach the process that runs the store.
    pub fn control(&self) -> PathBuf {
        control_path(&self.path)
    }
}

/// Where a replica's process of the store in this directory prints.
pub fn log_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("logs").join(format!("{name}.log"))
}

/// Where tools reach the process that runs the store in this directory.
pub fn control_path(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// Whether a store may be made here: nothing is there yet, or only what a first start that was interrupted left.
fn is_unused(dir: &Path) -> Result<bool, DirectoryError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.all(|e| e.is_ok_and(|e| e.file_name() == "lock" || e.file_name() == "uid.new"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(at(dir)(error)),
    }
}

fn take_lock(dir: &Path) -> Result<File, DirectoryError> {
    let path = dir.join("lock");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(at(&path))?;
            file.write_all(std::process::id().to_string().as_bytes()).map_err(at(&path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The number is for the message only; the lock itself has already answered.
            if file.read_to_string(&mut pid).is_err() || pid.is_empty() {
                pid = "unknown".to_owned();
            }
            Err(DirectoryError::Locked { path: dir.to_path_buf(), pid })
        }
        Err(TryLockError::Error(error)) => Err(at(&path)(error)),
    }
}

/// Replaces a file as a whole: after this returns, a crash finds the new content; before, the old.
///
/// # Errors
/// Where the operating system refuses; the old content is still there then.
pub fn write_durably(path: &Path, content: &[u8]) -> Result<(), DirectoryError> {
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(at(&new))?;
    file.write_all(content).map_err(at(&new))?;
    file.sync_all().map_err(at(&new))?;
    replace_durably(&new, path)
}

/// Puts a file that is whole in the place of another one.
pub(crate) fn replace_durably(new: &Path, path: &Path) -> Result<(), DirectoryError> {
    fs::rename(new, path).map_err(at(path))?;
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(at(parent))
}

/// Random bytes of the operating system.
pub(crate) fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn random_uid() -> io::Result<String> {
    Ok(format!("{:016x}{:016x}", random_u64()?, random_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_found_again_and_only_by_its_own_store() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/orders");
        let first = Directory::open(&path, "orders").unwrap();
        let owner = first.owner().clone();
        drop(first);
        assert_eq!(Directory::open(&path, "orders").unwrap().owner(), &owner);
        let error = Directory::open(&path, "carts").unwrap_err();
        assert!(matches!(&error, DirectoryError::OtherStore { found, .. } if found == "orders"), "{error}");
    }

    #[test]
    fn a_running_process_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let _running = Directory::open(dir.path(), "orders").unwrap();
        let error = Directory::open(dir.path(), "orders").unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    }

    #[test]
    fn what_is_not_a_store_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(Directory::open(dir.path(), "orders"), Err(DirectoryError::NotAStore { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was created");
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("uid"), "format 2\nstore orders\nuid x\n").unwrap();
        let error = Directory::open(dir.path(), "orders").unwrap_err();
        assert!(matches!(error, DirectoryError::NewerFormat { found: 2, .. }), "{error}");
        assert!(!dir.path().join("lock").exists(), "something was created");
    }

    #[test]
    fn an_interrupted_first_start_is_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lock"), "1").unwrap();
        fs::write(dir.path().join("uid.new"), "form").unwrap();
        assert!(Directory::open(dir.path(), "orders").is_ok());
    }
}
