//! The file system of the machine.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FallocateFlags, FlockOperation};

use super::files::{File, Files};

/// Zeros that are written in one go.
const ZEROS_BYTES: usize = 1 << 20;

/// A directory of the machine.
#[derive(Clone, Debug)]
pub struct Real {
    dir: Arc<PathBuf>,
}

impl Real {
    pub(super) fn new(dir: &Path) -> Real {
        Real { dir: Arc::new(dir.to_owned()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.dir.as_ref().clone() } else { self.dir.join(name) }
    }

    /// Locks the directory for as long as the returned file lives. `Ok(Err(pid))` if another process has it.
    pub(super) fn lock(&self) -> io::Result<Result<fs::File, String>> {
        let path = self.path("lock");
        let file = fs::File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = fs::read_to_string(&path).unwrap_or_default();
                let pid = pid.trim();
                return Ok(Err(if pid.is_empty() { "(unknown)".to_owned() } else { pid.to_owned() }));
            }
            Err(error) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)?;
        Ok(Ok(file))
    }
}

impl Files for Real {
    type File = fs::File;

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn make_folder(&self, name: &str) -> io::Result<()> {
        match fs::create_dir(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    fn open(&self, path: &str) -> io::Result<fs::File> {
        fs::File::options().read(true).write(true).open(self.path(path))
    }

    fn create(&self, path: &str) -> io::Result<fs::File> {
        fs::File::options().read(true).write(true).create(true).truncate(true).open(self.path(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        fs::File::open(self.path(folder))?.sync_all()
    }

    fn boot_id(&self) -> io::Result<String> {
        Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
    }

    fn random(&self) -> io::Result<u64> {
        use io::Read;
        let mut raw = [0; 8];
        fs::File::open("/dev/urandom")?.read_exact(&mut raw)?;
        Ok(u64::from_le_bytes(raw))
    }
}

impl File for fs::File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve: what is written has its space.
            Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(self, self.metadata()?.len(), length),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(self)?)
    }
}

/// Makes a file so long with zeros.
fn write_zeros(file: &fs::File, from: u64, length: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = from;
    while at < length {
        let step = (length - at).min(ZEROS_BYTES as u64);
        file.write_all_at(&zeros[..step as usize], at)?;
        at += step;
    }
    Ok(())
}
