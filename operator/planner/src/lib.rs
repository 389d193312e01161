//! The decisions: desired, observed and recorded state in, a plan out. Pure.
//!
//! ```text
//!   Desired (the resource) ─┐
//!   Observed ───────────────┼──▶ plan() ──▶ Plan ──▶ record (compare-and-swap) ──▶ tell, provision, publish
//!     record, reports       │      │                     └─ fails: nothing else is done, observe anew
//!   now_ms ─────────────────┘      └── Memory: since when; may be forgotten
//! ```
//!
//! * [`desired`], [`observed`]: what goes in. "Not heard from" is a value.
//! * `edges`: replicas outside the cluster, as the store sees them, and as each sees itself.
//! * `groups`: where each region has a leader, which group has which number. Each group is planned by itself: one [`Desired`] of [`Desired::groups`], one
//!   [`Observed`], one [`Memory`], one record, one turn; [`merge()`] makes one status of theirs.
//! * `homes`: there, which group writes which keys, and how that moves.
//! * [`plan()`]: the rules of creation, failover, hand-over, change, restarts and replacement, one file each.
//! * `plan/leaderless`: the same where there is no leader: names, members, w and r, who is quarantined, and what quorums are left.
//! * [`decision`]: what was decided, as data and as a sentence.
//! * [`status()`]: what users see. [`slo`]: how well the store keeps what it promises.
//! * [`record`]: the record as an object of the API.
//! * [`backend`]: the world as a trait, and [`turn`], one round of observe, plan, record, act. [`conformance`] is what every backend must pass.
//!
//! There is no clock, no randomness, no task and no I/O here: the simulation drives the same code as Kubernetes does.
//!
//! # Invariants
//!
//! 1. The record changes at most once in a turn, and only by compare-and-swap over the version that was observed; its version and epoch never fall.
//! 2. A new epoch is above every epoch that was seen in any report or record.
//! 3. A leader is recorded only when n - w + 1 members of the configuration in force, and of the one being left, have promised the epoch, or the former
//!    leader itself has, in the life of its process that led. Where policy or force goes on with less, the generation rises.
//! 4. Whatever the policy, a leader is recorded only when no older one can answer any more (a person's force vouches for members that are missing).
//! 5. A replica counts only in the life of its disk that is a member.
//! 6. At most one change of members or w is under way; until it is complete, both configurations are in the record.
//! 7. At most one replica is taken away by the operator's own doing, restarted or replaced. It stands in the record before it is touched, and until it is a
//!    member that has caught up again.
//! 8. A disk is given up only where the machine is known to be gone, and every seal and w copies of every acknowledged write remain without it.
//! 9. A person's force counts for those members that were missing when the person asked, and no others.
//! 10. Every wait has a deadline or a condition that says what it waits for, mostly both.
//!
//! # What is missing
//!
//! Leadership does not move back to the preferred region by itself: the region breaks ties. Cooling down between changes of members is
//! `giveUpAfter` alone.

pub mod backend;
pub mod conformance;
pub mod decision;
pub mod desired;
mod edges;
mod groups;
mod homes;
pub mod observed;
pub mod plan;
pub mod record;
pub mod slo;
pub mod status;

pub use backend::{Backend, RecordError, Turned, turn};
pub use decision::{Cause, Decision};
pub use desired::{Desired, DesiredReplica, Failover, GIVE_UP, PAUSE_FEEDS, PAUSED, QUARANTINE};
pub use groups::first_replica;
pub use homes::DesiredHome;
pub use observed::{Elsewhere, HumanRequest, Observed, Process, Seen};
pub use plan::{Memory, Plan, plan};
pub use status::{merge, status};
