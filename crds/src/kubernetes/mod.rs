//! The same types as objects of an API server, and the definitions that make it know them.
//!
//! [`ReplicatedStore`] and [`StoreTopology`] here are those of local mode with all the metadata that an API server keeps; they can be used with
//! `kube::Api`. Wrapped in [`kube_core::DeserializeGuard`], one that cannot be read does not stop a list or a watch of the others.

mod crd;
mod schema;

use std::borrow::Cow;

pub use crd::{Definition, definitions};
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube_core::Resource;

use crate::{
    store::{self, Meta, STORE_KIND},
    topology::{self, TOPOLOGY_KIND},
};

/// API group of everything here.
pub const GROUP: &str = "trireme.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// What [`ReplicatedStore`] is called in an address.
pub const STORE_PLURAL: &str = "replicatedstores";
/// What [`StoreTopology`] is called in an address.
pub const TOPOLOGY_PLURAL: &str = "storetopologies";

/// A store as an API server has it.
pub type ReplicatedStore = store::ReplicatedStore<ObjectMeta>;
/// A store's record as an API server has it.
pub type StoreTopology = topology::StoreTopology<ObjectMeta>;

impl Meta for ObjectMeta {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    fn generation(&self) -> i64 {
        self.generation.unwrap_or(0)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

macro_rules! resource {
    ($type:ty, $kind:expr, $plural:expr) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                GROUP.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                VERSION.into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(ReplicatedStore, STORE_KIND, STORE_PLURAL);
resource!(StoreTopology, TOPOLOGY_KIND, TOPOLOGY_PLURAL);
