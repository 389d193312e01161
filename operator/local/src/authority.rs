//! The authority's records on this machine, one for each group: one file, the object `StoreTopology` as JSON, replaced as a whole by compare-and-swap on the
//! version of the record that changes.
//!
//! Only the holder of the directory's lock has one. The file is read anew for every decision, so there is no other truth than what is on disk.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use trireme_crds::{API_VERSION, StoreTopology, store::Metadata, topology::TOPOLOGY_KIND};
use trireme_planner::{RecordError, record};
use trireme_proto::Topology;

use crate::directory::{Directory, DirectoryError, Owner, at, write_durably};

/// The records' file.
#[derive(Debug)]
pub(crate) struct Authority {
    path: PathBuf,
    /// Name of the store.
    name: String,
    /// The bytes that were last read and what they mean: bytes that are the same mean the same.
    last: Option<(Vec<u8>, Vec<Topology>)>,
}

impl Authority {
    /// The record of the store in a directory that another process may hold: only to be read.
    pub fn read_only(dir: &Path, owner: &Owner) -> Authority {
        Authority { path: dir.join("topology.json"), name: owner.name.clone(), last: None }
    }

    /// Reads the record, if there is one.
    pub fn open(directory: &Directory) -> Result<Authority, DirectoryError> {
        let mut authority = Authority::read_only(directory.path(), directory.owner());
        if let Some(record) = authority.read()?.iter().find(|record| record.store != directory.owner().uid) {
            let (theirs, uid) = (record.store.clone(), &directory.owner().uid);
            return Err(authority.damaged(format!("is the record of the store {theirs}, not of {uid}")));
        }
        Ok(authority)
    }

    /// All records as the object that they are; none where there is no file.
    pub fn object(&self) -> Result<Option<StoreTopology>, DirectoryError> {
        self.bytes()?.map(|bytes| self.object_of(&bytes)).transpose()
    }

    /// The records, in order of their groups; none where there is no file.
    pub fn read(&mut self) -> Result<Vec<Topology>, DirectoryError> {
        let Some(bytes) = self.bytes()? else { return Ok(Vec::new()) };
        match &self.last {
            Some((known, records)) if *known == bytes => Ok(records.clone()),
            _ => {
                let records = self.parse(&bytes)?;
                self.last = Some((bytes, records.clone()));
                Ok(records)
            }
        }
    }

    fn bytes(&self) -> Result<Option<Vec<u8>>, DirectoryError> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&self.path)(error)),
        }
    }

    fn object_of(&self, bytes: &[u8]) -> Result<StoreTopology, DirectoryError> {
        let object: StoreTopology = serde_json::from_slice(bytes).map_err(|error| self.damaged(error))?;
        if object.groups.is_empty() {
            return Err(self.damaged("has no group"));
        }
        Ok(object)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Vec<Topology>, DirectoryError> {
        let object = self.object_of(bytes)?;
        let records = object.groups.iter().map(|group| record::from_object(&object.store, group));
        records.collect::<Result<_, _>>().map_err(|error| self.damaged(error))
    }

    fn damaged(&self, what: impl std::fmt::Display) -> DirectoryError {
        DirectoryError::Damaged { path: self.path.clone(), reason: format!("is not a record that can be used: {what}") }
    }

    /// Compare-and-swap of the record of one group; those of others stay as they are.
    pub fn write(&mut self, expected_version: u64, next: &Topology) -> Result<(), RecordError> {
        let mut records = self.read().map_err(|error| RecordError::Unknown(error.to_string()))?;
        let at = records.iter().position(|record| record.group == next.group);
        if at.map_or(0, |at| records[at].version) != expected_version {
            return Err(RecordError::Conflict);
        }
        match at {
            Some(at) => records[at] = next.clone(),
            None => records.insert(records.partition_point(|record| record.group < next.group), next.clone()),
        }
        let object = StoreTopology {
            api_version: API_VERSION.to_owned(),
            kind: TOPOLOGY_KIND.to_owned(),
            metadata: Metadata { name: self.name.clone(), ..Metadata::default() },
            store: next.store.clone(),
            groups: records.iter().map(record::to_object).collect(),
        };
        let json = serde_json::to_vec_pretty(&object).map_err(|error| RecordError::Unknown(error.to_string()))?;
        write_durably(&self.path, &json).map_err(|error| RecordError::Unknown(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use trireme_proto::{
        Epoch,
        topology::{Config, Settings},
    };

    use super::*;

    fn record(directory: &Directory, version: u64) -> Topology {
        Topology {
            store: directory.owner().uid.clone(),
            version,
            epoch: Epoch::ZERO,
            config: Config { members: Vec::new(), w: 1 },
            settings: Settings::standard(),
            ..Topology::default()
        }
    }

    #[test]
    fn compare_and_swap_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path(), "orders").unwrap();
        let mut authority = Authority::open(&directory).unwrap();
        assert_eq!(authority.read().unwrap(), []);
        assert_eq!(authority.write(1, &record(&directory, 2)), Err(RecordError::Conflict));
        assert_eq!(authority.write(0, &record(&directory, 1)), Ok(()));
        assert_eq!(authority.write(0, &record(&directory, 1)), Err(RecordError::Conflict));
        let mut again = Authority::open(&directory).unwrap();
        assert_eq!(again.read().unwrap(), [record(&directory, 1)]);
        assert_eq!(again.write(1, &record(&directory, 2)), Ok(()));
        // Each group has a record of its own.
        let of = |group, version| Topology { group, ..record(&directory, version) };
        assert_eq!(again.write(2, &of(3, 1)), Err(RecordError::Conflict));
        assert_eq!([again.write(0, &of(3, 1)), again.write(0, &of(2, 7))], [Ok(()), Ok(())]);
        assert_eq!(authority.write(7, &of(2, 8)), Ok(()));
        assert_eq!(again.read().unwrap(), [of(0, 2), of(2, 8), of(3, 1)]);
    }

    #[test]
    fn a_write_that_failed_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path(), "orders").unwrap();
        let mut authority = Authority::open(&directory).unwrap();
        // The file to be renamed into place cannot be made: a directory has its name.
        fs::create_dir(directory.path().join("topology.new")).unwrap();
        assert!(matches!(authority.write(0, &record(&directory, 1)), Err(RecordError::Unknown(_))));
        fs::remove_dir(directory.path().join("topology.new")).unwrap();
        assert_eq!(authority.read().unwrap(), []);
        assert_eq!(authority.write(0, &record(&directory, 1)), Ok(()));
    }

    #[test]
    fn another_stores_record_and_a_damaged_one_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path(), "orders").unwrap();
        let foreign = Topology { store: "other".to_owned(), ..record(&directory, 1) };
        let mut authority = Authority::open(&directory).unwrap();
        authority.write(0, &foreign).unwrap();
        assert!(matches!(Authority::open(&directory), Err(DirectoryError::Damaged { .. })));
        fs::write(directory.path().join("topology.json"), "{").unwrap();
        assert!(matches!(Authority::open(&directory), Err(DirectoryError::Damaged { .. })));
        assert!(matches!(authority.write(1, &record(&directory, 2)), Err(RecordError::Unknown(_))));
    }
}
