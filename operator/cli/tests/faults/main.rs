//! A store that is broken on purpose: wrong input, failing disks, dead and silent processes, a cut network. Every test uses the real command, real
//! processes, sockets and disks, and says exactly what a user must see.
//!
//! Some need a file system or a network of their own: they run once more in namespaces, so that nothing else on the machine is touched (see
//! [`tools::isolated`]).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "shared with the other tests of the command, which use more of it")]
#[path = "../support/mod.rs"]
mod support;
mod tools;

mod asynchronous;
mod causal;
mod change;
mod concurrent;
mod conflicts;
mod disk;
mod edges;
mod homes;
mod input;
mod leader;
mod leaderless;
mod limits;
mod mode;
mod network;
mod peers;
mod power;
mod regions;
mod repair;
mod sessions;
mod slo;
