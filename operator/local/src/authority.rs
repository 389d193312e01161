//! The authority's record on this machine: one file, replaced as a whole, by compare-and-swap on its version.
//!
//! Only the holder of the directory's lock has one, so what it wrote last is what is there. Where a write fails half way, the file is read again
//! before anything else is decided.

use std::{fs, io, path::PathBuf};

use prost::Message as _;
use trireme_planner::RecordError;
use trireme_proto::Topology;

use crate::directory::{Directory, DirectoryError, at, write_durably};

/// The record's file.
#[derive(Debug)]
pub(crate) struct Authority {
    path: PathBuf,
    /// What the file has; `None` where that is to be looked up.
    known: Option<Option<Topology>>,
}

impl Authority {
    /// Reads the record, if there is one.
    pub fn open(directory: &Directory) -> Result<Authority, DirectoryError> {
        let mut authority = Authority { path: directory.path().join("topology.pb"), known: None };
        if let Some(record) = authority.read()?
            && record.store != directory.owner().uid
        {
            let reason = format!("is the record of the store {}, not of {}", record.store, directory.owner().uid);
            return Err(DirectoryError::Damaged { path: authority.path, reason });
        }
        Ok(authority)
    }

    /// The record.
    pub fn read(&mut self) -> Result<Option<Topology>, DirectoryError> {
        if let Some(known) = &self.known {
            return Ok(known.clone());
        }
        let record = match fs::read(&self.path) {
            Ok(bytes) => Some(Topology::decode(bytes.as_slice()).map_err(|error| DirectoryError::Damaged {
                path: self.path.clone(),
                reason: format!("is not a record of this version: {error}"),
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&self.path)(error)),
        };
        self.known = Some(record.clone());
        Ok(record)
    }

    /// Compare-and-swap.
    pub fn write(&mut self, expected_version: u64, next: &Topology) -> Result<(), RecordError> {
        let stored = self.read().map_err(|error| RecordError::Unknown(error.to_string()))?;
        if stored.map_or(0, |record| record.version) != expected_version {
            return Err(RecordError::Conflict);
        }
        // Until it is known to be there, it is not known what is there.
        self.known = None;
        write_durably(&self.path, &next.encode_to_vec()).map_err(|error| RecordError::Unknown(error.to_string()))?;
        self.known = Some(Some(next.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(directory: &Directory, version: u64) -> Topology {
        Topology { store: directory.owner().uid.clone(), version, ..Topology::default() }
    }

    #[test]
    fn compare_and_swap_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path(), "orders").unwrap();
        let mut authority = Authority::open(&directory).unwrap();
        assert_eq!(authority.read().unwrap(), None);
        assert_eq!(authority.write(1, &record(&directory, 2)), Err(RecordError::Conflict));
        assert_eq!(authority.write(0, &record(&directory, 1)), Ok(()));
        assert_eq!(authority.write(0, &record(&directory, 1)), Err(RecordError::Conflict));
        let mut again = Authority::open(&directory).unwrap();
        assert_eq!(again.read().unwrap(), Some(record(&directory, 1)));
        assert_eq!(again.write(1, &record(&directory, 2)), Ok(()));
    }

    #[test]
    fn a_write_that_failed_is_looked_up_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path(), "orders").unwrap();
        let mut authority = Authority::open(&directory).unwrap();
        // The file to be renamed into place cannot be made: a directory has its name.
        fs::create_dir(directory.path().join("topology.new")).unwrap();
        assert!(matches!(authority.write(0, &record(&directory, 1)), Err(RecordError::Unknown(_))));
        fs::remove_dir(directory.path().join("topology.new")).unwrap();
        assert_eq!(authority.read().unwrap(), None);
        assert_eq!(authority.write(0, &record(&directory, 1)), Ok(()));
    }

    #[test]
    fn another_stores_record_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path(), "orders").unwrap();
        let foreign = Topology { store: "other".to_owned(), ..Topology::default() };
        fs::write(directory.path().join("topology.pb"), foreign.encode_to_vec()).unwrap();
        assert!(matches!(Authority::open(&directory), Err(DirectoryError::Damaged { .. })));
    }
}
