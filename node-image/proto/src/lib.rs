//! What nodes and the operator say to each other on the peer port (7600).
//!
//! ```text
//!                    Topology (the record, as decided)
//!   operator  ───────────────────────────────────────────▶  every replica
//!             ◀───────────────────────────────────────────
//!                    Report (what it is, holds and sees)
//!
//!   leader    ── Append, Resume, Snapshot*, SuffixTaken ──▶  follower, learner
//!             ◀─ AppendAck, LogState, Fenced, CutSuffix ────
//!
//!   a parent  ── Ended ──▶ operator            in the place of its child, a replica that has ended
//!
//!   any       ── Forward ──▶ leader ── ForwardReply ──▶ any
//! ```
//!
//! * [`ids`]: epochs, positions, origins, dots.
//! * [`topology`]: the authority's record.
//! * [`report`]: what a replica answers to the operator; a report whose promise equals the record's epoch **is** the seal's answer.
//! * [`message`]: everything else, and [`message::Message`], the sum of it.
//! * [`frame`]: length-delimited frames of protobuf over a byte stream.
//! * [`pieces`]: what is to be sent, without a copy of what is large.
//! * [`edge`]: how a replica outside the store's own machines joins it.
//! * [`breakage`]: the safety rules that the simulation can switch off, one at a time.
//!
//! The operator speaks down in one message and is spoken to in one message, and both are states, not commands: sending either again is harmless,
//! and losing one is mended by the next.
//!
//! Compatibility: [`PROTOCOL_VERSION`] stands in the first frame; version k speaks with k-1. Fields are added, never renumbered.

pub mod breakage;
mod connection;
pub mod edge;
mod feed;
pub mod frame;
pub mod ids;
mod limits;
pub mod message;
pub mod pieces;
mod probe;
mod published;
pub mod report;
pub mod topology;

pub use ids::{Dot, Epoch, Incarnation, Origin, Position, ReplicaId};
pub use message::Message;
pub use report::Report;
pub use topology::Topology;

/// Version of the protocol between nodes and operator, sent in [`message::Hello`].
pub const PROTOCOL_VERSION: u32 = 1;
/// The oldest version this one still speaks with.
pub const PROTOCOL_VERSION_MIN: u32 = 1;
/// Number of slots of the key space (Redis Cluster's).
pub const SLOTS: u16 = 16_384;
