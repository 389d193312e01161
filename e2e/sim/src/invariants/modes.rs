//! A store's mode changes with an epoch: whoever leads one does everything in it by one mode.
//!
//! Looked at when a record is written, against the one that its writer had observed.

use trireme_planner::Observed;
use trireme_proto::Topology;

use super::{Found, violated};

/// Looks at the step from one record to the next.
///
/// # Errors
/// The step that changes the mode under a leader.
pub fn step(observed: &Observed, next: &Topology) -> Found {
    let mode = |record: &Topology| record.settings.mode();
    match observed.record.as_ref().filter(|before| mode(before) != mode(next) && before.epoch == next.epoch) {
        Some(before) => violated(
            "modes",
            format!("the mode changes from {:?} to {:?} within epoch {}", mode(before), mode(next), next.epoch),
        ),
        None => Ok(()),
    }
}
