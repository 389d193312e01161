//! Apply: one object at a time is made, or put back as it is wanted. What somebody else owns is left alone.
//!
//! Whether an object is as it is wanted is told by the part of it that was built here: right after an apply that part is remembered as the API server has
//! it (it writes quantities in its own way, for one); when it looks different later, somebody has edited it. So nothing is written while nothing changes.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{build::MANAGER, context::why};

/// How often it is tried to claim an object that others write at the same time.
const CLAIMS_MAX: usize = 10;

/// Why an object is not as it is wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// Somebody else's.
    #[error(
        "{kind} {name} exists and belongs to {owner}: it is left as it is; delete or rename it, or name the store otherwise"
    )]
    Foreign {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// The API server refused it, or did not answer.
    #[error("{kind} {name} could not be applied: {}", why(source))]
    Api {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why not.
        source: kube::Error,
    },
    /// It could not be written as JSON.
    #[error("{kind} {name} could not be written: {source}")]
    Json {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why not.
        source: serde_json::Error,
    },
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// It was made.
    Created,
    /// It had been deleted, and was made again.
    Restored,
    /// It was changed to what is wanted now.
    Updated,
    /// Somebody had edited it; it was put back.
    PutBack,
}

/// What an object looked like after it was last applied.
#[derive(Clone, Copy, Debug)]
struct Applied {
    wanted: u64,
    live: u64,
}

/// Remembers what was applied, so that only what has changed is applied again.
#[derive(Debug, Default)]
pub(crate) struct Applier {
    applied: BTreeMap<(String, String), Applied>,
}

impl Applier {
    /// Makes an object that is never written again; `None` where it is there.
    pub async fn make<K>(&self, api: &Api<K>, wanted: &K, owner: &str) -> Result<Option<K>, ApplyError>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let (kind, name) = (K::kind(&()).into_owned(), wanted.name_any());
        let failed = |source| ApplyError::Api { kind: kind.clone(), name: name.clone(), source };
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, wanted).await {
            Ok(made) => Ok(Some(made)),
            // The watch has not shown it yet, or it is not in the watch because it is not ours.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let there = api.get(&name).await.map_err(failed)?;
                owned(&there, owner).map(|()| None)
            }
            Err(source) => Err(failed(source)),
        }
    }

    /// Makes `wanted` so. `cached` is the object as the watch has it; `owner` is the uid of the store.
    pub async fn apply<K>(
        &mut self,
        api: &Api<K>,
        cached: Option<&K>,
        wanted: &K,
        owner: &str,
    ) -> Result<Change, ApplyError>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let (kind, name) = (K::kind(&()).into_owned(), wanted.name_any());
        let key = (kind.clone(), name.clone());
        let json = |object: &K| {
            serde_json::to_value(object).map_err(|source| ApplyError::Json {
                kind: kind.clone(),
                name: name.clone(),
                source,
            })
        };
        let failed = |source| ApplyError::Api { kind: kind.clone(), name: name.clone(), source };
        let mask = json(wanted)?;
        let before = self.applied.get(&key).copied();
        let digest = hash(&mask);
        let Some(live) = cached else {
            let Some(made) = self.make(api, wanted, owner).await? else { return Ok(Change::None) };
            let made = claim(api, made).await.map_err(failed)?;
            self.applied.insert(key, Applied { wanted: digest, live: hash(&project(&json(&made)?, &mask)) });
            return Ok(if before.is_some() { Change::Restored } else { Change::Created });
        };
        owned(live, owner)?;
        if live.meta().deletion_timestamp.is_some() {
            return Ok(Change::None);
        }
        let looks = hash(&project(&json(live)?, &mask));
        if before.is_some_and(|applied| applied.wanted == digest && applied.live == looks) {
            return Ok(Change::None);
        }
        let params = PatchParams::apply(MANAGER).force();
        let mut body = mask.clone();
        stamp::<K>(&mut body);
        let now = api.patch(&name, &params, &Patch::Apply(&body)).await.map_err(failed)?;
        let changed = now.resource_version() != live.resource_version();
        self.applied.insert(key, Applied { wanted: digest, live: hash(&project(&json(&now)?, &mask)) });
        Ok(match before {
            Some(before) if before.wanted == digest && changed => Change::PutBack,
            _ if changed => Change::Updated,
            _ => Change::None,
        })
    }
}

/// What a POST has made belongs to the POST: an apply that leaves a field out later would not remove it. So the fields are handed to applies.
async fn claim<K>(api: &Api<K>, made: K) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let mut made = made;
    let mut tries = 0;
    loop {
        tries += 1;
        let mut fields = made.managed_fields().to_vec();
        let ours = |entry: &&mut ManagedFieldsEntry| {
            entry.manager.as_deref() == Some(MANAGER)
                && entry.operation.as_deref() == Some("Update")
                && entry.subresource.is_none()
        };
        let Some(entry) = fields.iter_mut().find(ours) else { return Ok(made) };
        entry.operation = Some("Apply".to_owned());
        let body = json!({ "metadata": { "resourceVersion": made.resource_version(), "managedFields": fields } });
        match api.patch(&made.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await {
            // A controller was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() && tries < CLAIMS_MAX => {
                made = api.get(&made.name_any()).await?;
            }
            done => return done,
        }
    }
}

/// A server-side apply names version and kind, which typed objects leave out.
fn stamp<K: Resource<DynamicType = ()>>(body: &mut Value) {
    if let Value::Object(fields) = body {
        fields.insert("apiVersion".to_owned(), K::api_version(&()).into_owned().into());
        fields.insert("kind".to_owned(), K::kind(&()).into_owned().into());
    }
}

/// Whether an object is controlled by the store with this uid.
pub(crate) fn owned<K: Resource<DynamicType = ()>>(object: &K, owner: &str) -> Result<(), ApplyError> {
    let controller = object.owner_references().iter().find(|reference| reference.controller == Some(true));
    match controller {
        Some(reference) if reference.uid == owner => Ok(()),
        other => Err(ApplyError::Foreign {
            kind: K::kind(&()).into_owned(),
            name: object.name_any(),
            owner: other.map_or_else(|| "nobody".to_owned(), |r| format!("{} {}", r.kind, r.name)),
        }),
    }
}

/// The part of `live` whose fields `mask` has.
fn project(live: &Value, mask: &Value) -> Value {
    match (live, mask) {
        (Value::Object(live), Value::Object(mask)) => {
            let part = |(name, mask): (&String, &Value)| Some((name.clone(), project(live.get(name)?, mask)));
            Value::Object(mask.iter().filter_map(part).collect())
        }
        (Value::Array(live), Value::Array(mask)) if live.len() == mask.len() => {
            Value::Array(live.iter().zip(mask).map(|(live, mask)| project(live, mask)).collect())
        }
        _ => live.clone(),
    }
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_add_does_not_show_and_what_they_change_does() {
        let mask = json!({"spec": {"replicas": 3, "ports": [{"port": 1}], "labels": {"a": "b"}}});
        let live = json!({"spec": {"replicas": 3, "ports": [{"port": 1, "nodePort": 7}], "labels": {"a": "b", "c": "d"}}, "status": {}});
        assert_eq!(project(&live, &mask), mask);
        for (path, value) in [("/spec/replicas", json!(4)), ("/spec/ports", json!([])), ("/spec/labels/a", json!("x"))]
        {
            let mut edited = live.clone();
            *edited.pointer_mut(path).unwrap() = value;
            assert_ne!(project(&edited, &mask), mask, "{path}");
        }
        let mut without = live;
        without["spec"].as_object_mut().unwrap().remove("labels");
        assert_ne!(project(&without, &mask), mask);
    }
}
