//! The authority's record of one store: the object `StoreTopology`, changed only by compare-and-swap on its `resourceVersion`.
//!
//! What is known of it comes from this operator's own reads and writes, and from the watch; whether it is the newest, only a write tells: one over an
//! older version conflicts, and then it is read anew, past every cache. So an idle store costs no request, and a stale one can decide nothing.

use std::time::Duration;

use kube::{Api, Client, ResourceExt as _, api::PostParams, core::ObjectMeta};
use tokio::time::timeout;
use trireme_crds::kubernetes::StoreTopology;
use trireme_planner::{RecordError, record};
use trireme_proto::Topology;

use super::wanted::Wanted;
use crate::{build, context::why};

/// The record that is known.
#[derive(Clone, Debug)]
struct Known {
    /// `None`: there was none when it was read.
    record: Option<Topology>,
    /// The object's, for the compare-and-swap.
    resource_version: Option<String>,
}

/// Reads and writes the record of one store.
#[derive(Debug)]
pub(crate) struct Authority {
    api: Api<StoreTopology>,
    known: Option<Known>,
}

/// Why the record could not be read.
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

/// Longest wait for the API server's answer about the record.
const PATIENCE: Duration = Duration::from_secs(5);

impl Authority {
    /// The record of this store, not read yet.
    pub fn new(client: Client, namespace: &str) -> Authority {
        Authority { api: Api::namespaced(client, namespace), known: None }
    }

    /// The record that is known; read past every cache where none is.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn read(&mut self, wanted: &Wanted) -> Result<Option<Topology>, ReadError> {
        if let Some(known) = &self.known {
            return Ok(known.record.clone());
        }
        let name = wanted.name.clone();
        let answer = match timeout(PATIENCE, self.api.get_opt(&name)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(source)) => return Err(ReadError::Api { name, source }),
            Err(_) => return Err(ReadError::Late(name)),
        };
        self.take(answer.as_ref(), wanted)?;
        Ok(self.known.as_ref().and_then(|known| known.record.clone()))
    }

    /// The record that is known; `None` where there is none, or none has been read.
    pub fn known(&self) -> Option<&Topology> {
        self.known.as_ref()?.record.as_ref()
    }

    /// What the watch shows; `None` where there is no such object. What is older than what is known is not news; that it is gone is, and is read again.
    pub fn watched(&mut self, object: Option<&StoreTopology>, wanted: &Wanted) {
        let Some(known) = &self.known else { return };
        match (object, &known.record) {
            (None, None) => {}
            (None, Some(_)) => self.known = None,
            (Some(object), before) => {
                let newest = object.groups.iter().map(|group| group.version).max().unwrap_or(0);
                let newer = before.as_ref().is_none_or(|record| newest > record.version);
                if newer || object.resource_version() == known.resource_version {
                    // Damage is found when it is read.
                    self.known = None;
                    let _ = self.take(Some(object), wanted);
                }
            }
        }
    }

    fn take(&mut self, object: Option<&StoreTopology>, wanted: &Wanted) -> Result<(), ReadError> {
        let Some(object) = object else {
            self.known = Some(Known { record: None, resource_version: None });
            return Ok(());
        };
        let damaged = |what: String| ReadError::Damaged { name: wanted.name.clone(), what };
        let [group] = object.groups.as_slice() else {
            return Err(damaged(format!("it has {} groups, not one", object.groups.len())));
        };
        let record = record::from_object(&object.store, group).map_err(|error| damaged(error.to_string()))?;
        if record.store != wanted.desired.store {
            return Err(damaged(format!("it is the record of the store {}", record.store)));
        }
        self.known = Some(Known { record: Some(record), resource_version: object.resource_version() });
        Ok(())
    }

    /// Compare-and-swap. After a conflict, and after any answer that leaves it open whether the record was written, the next read asks the API server.
    pub async fn write(&mut self, wanted: &Wanted, expected: u64, next: &Topology) -> Result<(), RecordError> {
        let version = |known: &Known| known.record.as_ref().map_or(0, |record| record.version);
        let Some(known) = self.known.take_if(|known| version(known) == expected) else {
            return Err(RecordError::Conflict);
        };
        let object = object(wanted, next, known.resource_version);
        let params = PostParams { field_manager: Some(build::MANAGER.to_owned()), ..PostParams::default() };
        let writing = async {
            match known.record {
                None => self.api.create(&params, &object).await,
                Some(_) => self.api.replace(&wanted.name, &params, &object).await,
            }
        };
        match timeout(PATIENCE, writing).await {
            Ok(Ok(written)) => {
                self.known = Some(Known { record: Some(next.clone()), resource_version: written.resource_version() });
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

fn object(wanted: &Wanted, record: &Topology, resource_version: Option<String>) -> StoreTopology {
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
        store: record.store.clone(),
        groups: vec![record::to_object(record)],
    }
}
