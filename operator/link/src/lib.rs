//! The operator's end of a replica's peer port, for whoever drives the planner over real replicas: local mode, Kubernetes, tools.
//!
//! * [`link`]: one connection that is kept up: the newest record goes down, the newest report comes up.
//! * [`heard`]: what has been heard of one replica over it, and of which of its processes.
//! * [`prober`]: what a store promises, measured over connections of its own.
//! * [`mod@verify`]: the comparison of all slot digests of all replicas.
//!
//! A connection that has closed proves nothing of the process at its other end; what its parent says does ([`Said::Ended`]). A link therefore calls again within
//! milliseconds after a connection was closed: the parent stays for a moment only.
//!
//! Invariants:
//!
//! * Nothing is queued: the record and the report are states, so a link that comes up again sends the newest and hears the newest.
//! * Every wait has a bound, and a link ends when it is dropped.
//! * Who answers at an address is believed only after its Hello named the store and the replica that were meant.
//!
//! Missing: TLS. Whoever reaches the address of a replica can say that it is that replica, or its parent.

pub mod heard;
pub mod link;
pub mod prober;
pub mod verify;

pub use heard::Heard;
pub use link::{Connection, Link, OpenError, Orders, Said, Target};
pub use prober::{Place, Prober};
pub use verify::{By, Slots, Verification, compare, verify};
