//! What all tests of this folder begin with.

use trireme_crds::{ReplicatedStore, ReplicatedStoreSpec, store::Metadata};
use trireme_planner::Desired;

/// What is wanted of a store `s` with this spec.
pub fn desired(spec: ReplicatedStoreSpec) -> Desired {
    let store = ReplicatedStore {
        api_version: trireme_crds::API_VERSION.to_owned(),
        kind: trireme_crds::STORE_KIND.to_owned(),
        metadata: Metadata { name: "s".to_owned(), ..Metadata::default() },
        spec,
        status: None,
    };
    Desired::from_store(&store, "uid")
}
