//! Stores on a real cluster: real API server, controllers, kubelets and containers; the operator installed with its chart; faults while clients write.
//!
//! ```text
//! e2e/cluster/up && e2e/cluster/images load
//! e2e/cluster/exec cargo test -p trireme-e2e --features live --test live [-- PART...]
//! ```
//!
//! Any kubeconfig will do, as long as pods and Services can be reached from here and the images are on the nodes. Tests that break machines, networks
//! or processes need the faults of `e2e/cluster` besides, and say so where there are none.
//!
//! * [`harness`]: what the tests are made of. Each other module is one subject, and a table of its tests.
//! * Clients write all the time; a test passes only when every acknowledged write is found on every replica afterwards.
//! * A fault is a fault of one thing. What it is called, and what undoes it, is in `e2e/cluster/README.md`.

mod conflicts;
mod control_plane;
mod create;
mod edges;
mod faults;
mod harness;
mod invalid;
mod leaderless;
mod leaderless_changes;
mod leaderless_faults;
mod modes;
mod multi_leader;
mod network;
mod nodes;
mod operators;
mod ownership;
mod requests;
mod rollout;
mod scale;
mod sessions;
mod slo;
mod volumes;

use std::process::ExitCode;

use harness::Case;

/// All tests, in the order in which they run: what everything else rests on first.
const SUBJECTS: &[&[Case]] = &[
    create::CASES,
    faults::CASES,
    leaderless::CASES,
    leaderless_faults::CASES,
    leaderless_changes::CASES,
    multi_leader::CASES,
    modes::CASES,
    conflicts::CASES,
    edges::CASES,
    nodes::CASES,
    requests::CASES,
    rollout::CASES,
    scale::CASES,
    volumes::CASES,
    ownership::CASES,
    invalid::CASES,
    network::CASES,
    operators::CASES,
    control_plane::CASES,
    slo::CASES,
    sessions::CASES,
];

fn main() -> ExitCode {
    let cases: Vec<&Case> = SUBJECTS.iter().copied().flatten().collect();
    harness::runner::main(&cases)
}
