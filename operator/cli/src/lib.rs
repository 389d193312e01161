//! How stores are talked about: what the commands ask of a store, and how its answers are shown. `trireme` and `kubectl trireme` are made of it.
//!
//! ```text
//!   trireme ──────────▶ status, lag, request, verify, explain, history ◀────────── kubectl trireme
//!      │                                     │ Store                                    │
//!      └─ the store in a directory, over its control socket      a store in a cluster, over the API server
//! ```
//!
//! * [`store`]: the trait that both implement.
//! * [`status`], [`lag`], [`request`], [`verify`], [`history`], [`explain`]: one file per question: its arguments, its words as text, its JSON.
//! * [`chart`]: lag over time on a terminal. `peers`: the words of [`status`] and [`lag`] where there is no leader.
//! * [`ledger`], [`resp`]: clients that remember what a store told them, and the check that it kept its word: the demo's, and the live tests'.
//! * [`output`], [`table`]: human or JSON, colours and width only where somebody looks; which exit status says what.
//!
//! # Invariants
//!
//! * Nothing is decided here: the planner decides, and a command asks it and shows what came of it.
//! * The same status gives the same words wherever the store runs; `tests/golden` has every screen.
//! * A command ends with 0 where what was asked for was done and holds, with 1 where not, and with 2 where the question itself makes no sense; then
//!   nothing was started or changed.
//! * Nothing here knows Kubernetes, so that `cargo demo` builds none of it (`e2e/tests/architecture` sees to it).

pub mod chart;
pub mod explain;
pub mod history;
pub mod lag;
pub mod ledger;
pub mod output;
mod peers;
pub mod request;
pub mod resp;
mod slo;
pub mod status;
pub mod store;
pub mod table;
pub mod verify;

pub use output::{Failure, Output, Screen};
pub use store::{Answer, Happened, Line, Request, Store};
