//! The status that users see.

use trireme_crds::StoreStatus;

use crate::{desired::Desired, observed::Observed, plan::Memory};

/// How the store stands. `wall_ms` is the wall clock in milliseconds since 1970.
pub fn status(_desired: &Desired, _observed: &Observed, _memory: &Memory, _now_ms: u64, _wall_ms: u64) -> StoreStatus {
    StoreStatus::default()
}
