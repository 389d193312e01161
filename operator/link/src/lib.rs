//! The operator's end of a replica's peer port, for whoever drives the planner over real replicas: local mode, Kubernetes, tools.
//!
//! * [`link`]: one connection that is kept up: the newest record goes down, the newest report comes up.
//! * [`heard`]: what has been heard of one replica over it, and of which of its processes.
//! * [`mod@verify`]: the comparison of all slot digests of all replicas.
//!
//! Invariants:
//!
//! * Nothing is queued: the record and the report are states, so a link that comes up again sends the newest and hears the newest.
//! * Every wait has a bound, and a link ends when it is dropped.
//! * Who answers at an address is believed only after its Hello named the store and the replica that were meant.

pub mod heard;
pub mod link;
pub mod verify;

pub use heard::Heard;
pub use link::{Connection, Link, OpenError, Orders, Said, Target};
pub use verify::{Slots, Verification, compare, verify};
