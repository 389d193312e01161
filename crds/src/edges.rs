//! Edge replicas: those outside the cluster.

use serde::{Deserialize, Serialize};

/// A replica outside the cluster, on a laptop or a device: a region of one that serves its own clients from its own disk whether or not it is connected, and
/// exchanges what was written with the regions when it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Edge {
    /// Its name, unique among the edges and the regions. Taken out of the list it is not let in any more; put back, it is another edge, with another token.
    pub name: String,
}
