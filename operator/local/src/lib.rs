//! A store as plain processes on loopback, driven by the planner that also drives Kubernetes.
//!
//! ```text
//!                        trireme_planner::turn
//!                               │ observe, record, tell, provision, publish
//!   control.sock ──asked──▶ ┌───┴───┐ ──events, view──▶ up, demo
//!                           │ drive │
//!   keeper (process) ─────▶ │ world │ ──CAS + fsync──▶ DIR/topology.json
//!   Link (peer port) ─────▶ └───────┘
//!        one of each per replica
//! ```
//!
//! * [`store`]: starting a store, and the handle to one that runs.
//! * `drive`: the loop: whatever happens causes a turn of the planner at once; time only passes where the planner asked for it.
//! * [`edge`]: replicas outside a store's own machine: what lets them in, and what each keeps.
//! * `apply`: another resource for a store that runs.
//! * `world`: what is known of the replicas, and the planner's `Backend`.
//! * `replica`: what is known of one of them. `process`: one replica's process, kept running. The operator's connection to it is [`trireme_link`]'s.
//! * `authority`: the record. [`directory`]: the layout of a store's directory, its lock. [`addresses`]: where replicas listen.
//! * [`control`]: how tools talk with a running store. [`events`], [`view`]: what is shown of it.
//!
//! Invariants:
//!
//! * One process runs a store: it holds the lock of the directory, and only it writes the record.
//! * The record is durable before anything that follows from it is done; it is read again for every decision.
//! * A replica's process is "ended" only for the boot number that was heard of the very process that was waited for.
//! * No replica's process outlives this one: its standard input closes, and it ends.
//! * Every queue, back-off and wait has a bound.
//!
//! Not here: resources, storage classes, Services; and an operator that moves, since one machine has one.

pub mod addresses;
mod apply;
mod authority;
pub mod control;
pub mod directory;
mod drive;
pub mod edge;
pub mod events;
mod happening;
mod process;
mod replica;
pub mod store;
pub mod view;
mod world;

pub use events::{Event, unix_ms};
pub use process::BACK_OFF_MAX;
pub use store::{JoinOptions, Local, Options, StartError, verify};
pub use trireme_link::Verification;
pub use trireme_planner::PAUSE_FEEDS;
pub use view::{ReplicaView, View};
