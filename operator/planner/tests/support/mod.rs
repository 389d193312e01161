//! What all tests of this folder begin with.

use trireme_crds::{ReplicatedStore, ReplicatedStoreSpec, store::Metadata};
use trireme_planner::Desired;
use trireme_proto::Topology;

/// What is wanted of the groups of a store `s` with this spec and these annotations, where there are these records.
pub fn groups(spec: ReplicatedStoreSpec, annotations: &[(&str, &str)], records: &[Topology]) -> Vec<Desired> {
    let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let store = ReplicatedStore {
        api_version: trireme_crds::API_VERSION.to_owned(),
        kind: trireme_crds::STORE_KIND.to_owned(),
        metadata: Metadata { name: "s".to_owned(), annotations, ..Metadata::default() },
        spec,
        status: None,
    };
    Desired::groups(&store, "uid", records)
}
