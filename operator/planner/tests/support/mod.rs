//! What all tests of this folder begin with.

use trireme_crds::{ReplicatedStore, ReplicatedStoreSpec, store::Metadata};
use trireme_planner::Desired;
use trireme_proto::Topology;

/// What is wanted of the groups of a store `s` with this spec, where there are these records.
pub fn groups(spec: ReplicatedStoreSpec, records: &[Topology]) -> Vec<Desired> {
    let store = ReplicatedStore {
        api_version: trireme_crds::API_VERSION.to_owned(),
        kind: trireme_crds::STORE_KIND.to_owned(),
        metadata: Metadata { name: "s".to_owned(), ..Metadata::default() },
        spec,
        status: None,
    };
    Desired::groups(&store, "uid", records)
}
