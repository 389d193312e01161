//! Replicas, planner and authority in one deterministic world with faults.
pub mod clock;
pub mod disk;
pub mod linear;
pub mod model;
pub mod network;
pub mod queue;
pub mod resp;
