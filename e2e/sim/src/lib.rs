//! Replicas, planner and authority in one deterministic world with faults.
//!
//! ```text
//!                       seed
//!                        │
//!   clients ⇄ processes ⇄ network ⇄ workers ⇄ authority        one thread, one queue of events, simulated time
//!                │                      │
//!          trireme_replica        trireme_planner               the real ones
//!                │
//!          disks, clocks                                        with faults, each drawn from the seed
//! ```
//!
//! * [`scenario`]: what a seed decides: members, w, settings, which faults.
//! * [`regions`]: several worlds, one for each group of a store with a leader in each region, and the network between them; and an edge.
//! * [`world`]: the queue of events and what each does; [`machine`], [`network`], [`disk`], [`clock`] are its parts.
//! * [`client`], [`model`], [`history`]: what is asked of the store, what one machine would answer, what was answered.
//! * [`invariants`]: what must hold, one file each. [`linear`]: the search behind one of them.
//! * [`trace`]: everything that happened, as a hash and as lines.
//! * [`campaign`]: many seeds, and the seed that finds a rule broken on purpose.
//!
//! **Invariant of this crate:** the same seed gives the same bytes. So no clock, no randomness but the seed's, no thread, and no map whose order depends on
//! anything but its keys. `tests/determinism.rs` runs before everything else.
//!
//! What is not simulated: the shell around the replica (its own crate tests that), bytes damaged on a disk (the disk's tests do), and TLS.

pub mod campaign;
pub mod client;
pub mod clock;
pub mod disk;
pub mod history;
pub mod invariants;
pub mod linear;
pub mod machine;
pub mod model;
pub mod network;
pub mod queue;
pub mod regions;
pub mod resp;
pub mod scenario;
pub mod shadow;
pub mod trace;
pub mod world;
