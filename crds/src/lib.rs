//! The API: what a user writes about a store, what is answered, and the rules that say which of it makes sense.
//!
//! ```text
//!   text ── parse ──▶ ReplicatedStore ── validate ──▶ problems (refused) and warnings (accepted, but risky)
//!                          │
//!                          └── spec.settle() ──▶ Settled: every default filled in; nothing later reads the spec
//! ```
//!
//! * [`store`]: `ReplicatedStore` as written, and its defaults, in one place.
//! * [`edges`]: the part of it that is about replicas outside the cluster.
//! * [`homes`]: the part of it that is about keys which one region writes.
//! * [`objects`]: the part of it that is about objects in Kubernetes.
//! * [`status`]: what is answered; the same in Kubernetes and in local mode.
//! * [`digests`]: whether replicas hold the same.
//! * [`topology`]: `StoreTopology`, the authority's record, as an object.
//! * [`rules`]: one list of rules, for local mode and for the API server.
//! * [`parse()`]: YAML with the place of every problem.
//! * [`explain()`]: what a choice of n, w, r, durability and policy means, in numbers; [`quorums`] counts where there is no leader.
//! * [`quantity`]: durations and sizes.
//!
//! * `kubernetes`: the same types as objects of an API server, and their definitions; only with the feature of that name.
//!
//! Without that feature no Kubernetes library is used: local mode needs these types too, and builds without any.

pub mod conflicts;
pub mod digests;
pub mod edges;
pub mod explain;
pub mod homes;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod limits;
pub mod objects;
pub mod parse;
pub mod quantity;
pub mod quorums;
pub mod rules;
pub mod session;
pub mod slo;
pub mod status;
pub mod store;
pub mod topology;

pub use conflicts::Conflicts;
pub use digests::Digests;
pub use edges::Edge;
pub use explain::{Explanation, Meaning, explain, meaning};
pub use homes::{HomeRegion, HomeRule, WhenUnreachable};
pub use limits::Limits;
pub use objects::{Password, SettledObjects, Volumes};
pub use parse::{Problem, parse};
pub use quorums::Quorums;
pub use rules::{validate, validate_change, warnings};
pub use slo::{Budget, Objectives, Slo, SloStatus};
pub use status::{Condition, ConditionStatus, StorePhase, StoreStatus};
pub use store::{
    API_VERSION, Durability, FeedCompression, Mode, Policy, ReadRepair, ReplicatedStore, ReplicatedStoreSpec,
    STORE_KIND, Settled, Unreplicated, WriteOrder,
};
pub use topology::StoreTopology;
