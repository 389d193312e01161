//! `ReplicatedStore` as the API server has it, one at a time: an object that this version cannot read hides no other.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use serde::Deserialize;
use serde_json::Value;
use trireme_cli::Failure;
use trireme_crds::{ReplicatedStoreSpec, STORE_KIND, StoreStatus};

use crate::cluster::{Cluster, is_absent};

/// Most stores that are looked at.
const STORES_MAX: u32 = 1_000;

/// A store, as far as it can be read.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its name, namespace, annotations.
    pub metadata: ObjectMeta,
    spec: Value,
    status: Value,
}

impl From<DynamicObject> for Object {
    fn from(object: DynamicObject) -> Object {
        let part = |name: &str| object.data.get(name).cloned().unwrap_or_default();
        Object { spec: part("spec"), status: part("status"), metadata: object.metadata }
    }
}

impl Object {
    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Its version.
    pub fn version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }

    /// What is wanted.
    ///
    /// # Errors
    /// Where it is of another version.
    pub fn spec(&self) -> Result<ReplicatedStoreSpec, Failure> {
        ReplicatedStoreSpec::deserialize(&self.spec).map_err(|error| self.unreadable("spec", &error))
    }

    /// What is; a store that no operator has seen yet is being created.
    ///
    /// # Errors
    /// Where it is of another version.
    pub fn status(&self) -> Result<StoreStatus, Failure> {
        match &self.status {
            Value::Null => Ok(StoreStatus::default()),
            status => StoreStatus::deserialize(status).map_err(|error| self.unreadable("status", &error)),
        }
    }

    fn unreadable(&self, part: &str, error: &serde_json::Error) -> Failure {
        let (name, version) = (self.name(), env!("CARGO_PKG_VERSION"));
        Failure::Failed(format!(
            "the {part} of {name} is not what kubectl-trireme {version} knows: {error}. Is the operator of another version?"
        ))
    }
}

/// The stores of a namespace, or of all of them.
pub fn api(cluster: &Cluster, namespace: Option<&str>) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("trireme.dev", "v1alpha1", STORE_KIND));
    match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &kind),
        None => Api::all_with(cluster.client.clone(), &kind),
    }
}

/// All stores of a namespace, or of all of them, by name.
///
/// # Errors
/// Where the API server does not answer, or refuses.
pub async fn list(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Object>, Failure> {
    let what = match namespace {
        Some(namespace) => format!("list the stores of the namespace {namespace}"),
        None => "list the stores of all namespaces".to_owned(),
    };
    let list = api(cluster, namespace).list(&ListParams::default().limit(STORES_MAX)).await;
    let list = list.map_err(|error| cluster.failure(&what, &error))?;
    let mut stores: Vec<Object> = list.items.into_iter().map(Object::from).collect();
    stores.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
    Ok(stores)
}

/// One store.
///
/// # Errors
/// Where there is none of this name: with those that there are.
pub async fn get(cluster: &Cluster, name: &str) -> Result<Object, Failure> {
    match api(cluster, Some(&cluster.namespace)).get(name).await {
        Ok(object) => Ok(object.into()),
        Err(error) if is_absent(&error) => Err(absent(cluster, name).await),
        Err(error) => Err(cluster.failure(&format!("see the store {name}"), &error)),
    }
}

/// What there is instead.
async fn absent(cluster: &Cluster, name: &str) -> Failure {
    let namespace = &cluster.namespace;
    let here = list(cluster, Some(namespace)).await.unwrap_or_default();
    // Whoever may not look elsewhere is told of this namespace alone.
    let all = list(cluster, None).await.unwrap_or_default();
    let elsewhere = all.iter().filter(|store| store.namespace() != namespace);
    let same = elsewhere.clone().find(|store| store.name() == name);
    let names = |stores: &mut dyn Iterator<Item = String>| stores.collect::<Vec<_>>().join(", ");
    let there = match (here.as_slice(), same) {
        (_, Some(same)) => format!("it is in the namespace {0}: try -n {0}", same.namespace()),
        ([], None) if all.is_empty() => "there is none there".to_owned(),
        ([], None) => {
            let others = &mut elsewhere.map(|store| format!("{}/{}", store.namespace(), store.name()));
            format!("there is none there; elsewhere: {}", names(others))
        }
        (here, None) => format!("there is: {}", names(&mut here.iter().map(|store| store.name().to_owned()))),
    };
    Failure::Failed(format!("there is no store {name} in the namespace {namespace}; {there}"))
}
