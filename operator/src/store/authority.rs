//! The authority's records of one store, one for each of its groups: the object `StoreTopology`, changed only by compare-and-swap on its `resourceVersion`,
//! and on the version of the record that changes.
//!
//! All records are one object, so a write of one of them carries the others as they are known: where another operator has changed any since, it conflicts, and
//! nothing of theirs is lost. What one group's turn has written the next one's knows.
//!
//! What is known of it comes from this operator's own reads and writes, and from the watch; whether it is the newest, only a write tells: one over an
//! older version conflicts, and then it is read anew, past every cache. So an idle store costs no request, and a stale one can decide nothing.

use std::time::Duration;

use kube::{Api, Client, ResourceExt as _, api::PostParams, core::ObjectMeta};
use tokio::time::timeout;
use trireme_crds::kubernetes::StoreTopology;
use trireme_planner::{RecordError, record};
use trireme_proto::{Topology, topology::Mode};

use super::wanted::Wanted;
use crate::{build, context::why};

/// The records that are known.
#[derive(Clone, Debug)]
struct Known {
    /// In order of their groups; none: there was no object when it was read.
    records: Vec<Topology>,
    /// The object's, for the compare-and-swap.
    resource_version: Option<String>,
}

impl Known {
    /// Version of a group's record; 0 where it has none.
    fn version(&self, group: u32) -> u64 {
        self.records.iter().find(|record| record.group == group).map_or(0, |record| record.version)
    }
}

/// Reads and writes the records of one store.
#[derive(Debug)]
pub(crate) struct Authority {
    api: Api<StoreTopology>,
    known: Option<Known>,
}

/// Why the records could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The API server did not say.
    #[error("the StoreTopology {name} cannot be read: {}", why(source))]
    Api {
        /// Its name.
        name: String,
        /// Why not.
        source: kube::Error,
    },
    /// The API server did not answer.
    #[error("the StoreTopology {0} cannot be read: the API server did not answer within {PATIENCE:?}")]
    Late(String),
    /// Somebody edited it.
    #[error("the StoreTopology {name} is damaged: {what}; delete it, and it is rebuilt from the replicas")]
    Damaged {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
}

/// Longest wait for the API server's answer about the records.
const PATIENCE: Duration = Duration::from_secs(5);

impl Authority {
    /// The records of this store, not read yet.
    pub fn new(client: Client, namespace: &str) -> Authority {
        Authority { api: Api::namespaced(client, namespace), known: None }
    }

    /// Makes sure that it is known which records there are: read past every cache where it is not.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn read(&mut self, wanted: &Wanted) -> Result<(), ReadError> {
        if self.known.is_some() {
            return Ok(());
        }
        let name = wanted.name.clone();
        match timeout(PATIENCE, self.api.get_opt(&name)).await {
            Ok(Ok(answer)) => self.take(answer.as_ref(), wanted),
            Ok(Err(source)) => Err(ReadError::Api { name, source }),
            Err(_) => Err(ReadError::Late(name)),
        }
    }

    /// The records that are known, in order of their groups; none where there are none, or none have been read.
    pub fn records(&self) -> &[Topology] {
        self.known.as_ref().map_or(&[], |known| &known.records)
    }

    /// The record of a group that is known; `None` where there is none, or none has been read.
    pub fn record(&self, group: u32) -> Option<&Topology> {
        self.records().iter().find(|record| record.group == group)
    }

    /// What the watch shows; `None` where there is no such object. What is older than what is known is not news; that it is gone is, and is read again.
    pub fn watched(&mut self, object: Option<&StoreTopology>, wanted: &Wanted) {
        let Some(known) = &self.known else { return };
        match object {
            None if known.records.is_empty() => {}
            None => self.known = None,
            Some(object) => {
                // Writes follow each other, so an object in which one record is newer is newer in all.
                let newer = object.groups.iter().any(|group| group.version > known.version(group.group));
                if newer || object.resource_version() == known.resource_version {
                    // Damage is found when it is read.
                    self.known = None;
                    let _ = self.take(Some(object), wanted);
                }
            }
        }
    }

    fn take(&mut self, object: Option<&StoreTopology>, wanted: &Wanted) -> Result<(), ReadError> {
        let known = match object {
            Some(object) => {
                let damaged = |what: String| ReadError::Damaged { name: wanted.name.clone(), what };
                let records = records(object, wanted).map_err(damaged)?;
                Known { records, resource_version: object.resource_version() }
            }
            None => Known { records: Vec::new(), resource_version: None },
        };
        self.known = Some(known);
        Ok(())
    }

    /// Compare-and-swap of the record of one group; those of others are written as they are known. After a conflict, and after any answer that leaves it open
    /// whether the record was written, the next read asks the API server.
    pub async fn write(&mut self, wanted: &Wanted, expected: u64, next: &Topology) -> Result<(), RecordError> {
        let Some(known) = self.known.take_if(|known| known.version(next.group) == expected) else {
            return Err(RecordError::Conflict);
        };
        let (records, new) = (with(&known.records, next), known.records.is_empty());
        let object = object(wanted, &records, known.resource_version);
        let params = PostParams { field_manager: Some(build::MANAGER.to_owned()), ..PostParams::default() };
        let writing = async {
            match new {
                true => self.api.create(&params, &object).await,
                false => self.api.replace(&wanted.name, &params, &object).await,
            }
        };
        match timeout(PATIENCE, writing).await {
            Ok(Ok(written)) => {
                self.known = Some(Known { records, resource_version: written.resource_version() });
                Ok(())
            }
            Ok(Err(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Err(RecordError::Conflict)
            }
            Ok(Err(error)) => Err(RecordError::Unknown(why(&error))),
            Err(_) => Err(RecordError::Unknown(format!("the API server did not answer within {PATIENCE:?}"))),
        }
    }
}

/// The records in an object, in order of their groups, or what is wrong with it.
fn records(object: &StoreTopology, wanted: &Wanted) -> Result<Vec<Topology>, String> {
    let store = &object.store;
    if *store != wanted.desired.store {
        return Err(format!("it is the record of the store {store}"));
    }
    let records = object.groups.iter().map(|group| record::from_object(store, group));
    let mut records: Vec<Topology> = records.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    records.sort_by_key(|record| record.group);
    let groups: Vec<u32> = records.iter().map(|record| record.group).collect();
    // Each region's has a number from 1 on; a store's first only group has number 0, and replicas that a group 1 beside it would have.
    let sound = match wanted.desired.settings.mode() {
        Mode::MultiLeader | Mode::SingleLeader => {
            !groups.is_empty() && groups.is_sorted_by(|a, b| a < b) && !groups.starts_with(&[0, 1])
        }
        Mode::Leaderless => groups == [0],
    };
    if sound { Ok(records) } else { Err(format!("it has the groups {groups:?}, which no store of its mode has")) }
}

/// These records with the one of this group replaced, or put where it belongs.
fn with(records: &[Topology], next: &Topology) -> Vec<Topology> {
    let mut records = records.to_vec();
    match records.binary_search_by_key(&next.group, |record| record.group) {
        Ok(at) => records[at] = next.clone(),
        Err(at) => records.insert(at, next.clone()),
    }
    records
}

fn object(wanted: &Wanted, records: &[Topology], resource_version: Option<String>) -> StoreTopology {
    let metadata = ObjectMeta {
        resource_version,
        labels: Some(build::labels(wanted)),
        owner_references: Some(vec![wanted.owner.clone()]),
        name: Some(wanted.name.clone()),
        namespace: Some(wanted.namespace.clone()),
        ..ObjectMeta::default()
    };
    StoreTopology {
        api_version: trireme_crds::API_VERSION.to_owned(),
        kind: trireme_crds::topology::TOPOLOGY_KIND.to_owned(),
        metadata,
        store: wanted.desired.store.clone(),
        groups: records.iter().map(record::to_object).collect(),
    }
}
