//! The API: what a user writes about a store, what is answered, and the rules that say which of it makes sense.
//!
//! ```text
//!   text ── parse ──▶ ReplicatedStore ── validate ──▶ problems (refused) and warnings (accepted, but risky)
//!                          │
//!                          └── spec.settle() ──▶ Settled: every default filled in; nothing later reads the spec
//! ```
//!
//! * [`store`]: `ReplicatedStore` as written, and its defaults, in one place.
//! * [`status`]: what is answered; the same in Kubernetes and in local mode.
//! * [`topology`]: `StoreTopology`, the authority's record, as an object.
//! * [`quantity`]: durations and sizes.
//!
//! No Kubernetes library is used: local mode needs these types too, and builds without any.

pub mod quantity;
pub mod status;
pub mod store;
pub mod topology;

pub use status::{Condition, ConditionStatus, StorePhase, StoreStatus};
pub use store::{API_VERSION, Durability, Mode, Policy, ReplicatedStore, ReplicatedStoreSpec, STORE_KIND, Settled, Unreplicated};
pub use topology::StoreTopology;
