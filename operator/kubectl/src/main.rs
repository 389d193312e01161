//! The kubectl plugin: `kubectl trireme` says of stores in a cluster what `trireme` says of a store on this machine, in the same words.
//!
//! It talks with the API server alone, with the rights of whoever runs it: nothing listens for it, and it opens no port to a pod.
//!
//! ```text
//! commands.rs   the subcommands: the words are trireme_cli's
//! live.rs       a store in a cluster, as the commands ask it
//!   object.rs     ReplicatedStore as the API server has it
//!   pods.rs       what replicas say of themselves, through the API server's proxy; what they printed
//!   events.rs     the operator's decisions
//!   follow.rs     a request, from its annotation to its outcome
//! edges.rs      what an edge joins with
//! stores.rs     all stores, a line each
//! cluster.rs    kubeconfig, and what refusals mean
//! ```
//!
//! # What it relies on
//!
//! * **`.status`** of the `ReplicatedStore` is what `trireme status` prints.
//! * **A request** is an annotation of the store, set by a merge patch:
//!
//!   | annotation | value | meaning |
//!   | --- | --- | --- |
//!   | `trireme.dev/switchover` | a replica's name, or empty | hand the leadership over |
//!   | `trireme.dev/promote` | a replica's name | make it the leader although the present one cannot hand over |
//!   | `trireme.dev/promote-force` | a replica's name | even where too few members answer |
//!   | `trireme.dev/paused` | `true`, or absent | the operator changes nothing |
//!   | `trireme.dev/quarantine` | names of replicas, separated by commas, or absent | these count for no quorum (mode Leaderless) |
//!   | `trireme.dev/restart` | any text | a new text restarts every replica, one by one |
//!
//!   The operator takes the first three up: it removes the annotation and writes `.status.request` with the outcome `Pending`; later the same request with
//!   the outcome `Done` or `Refused` and the decision's own sentence. A request that differs from the one that was there before is the answer; where no
//!   replica was named, its `replica` says which one was chosen. Where there is none, who leads a new epoch is the answer, or an Event with the reason
//!   `Refused` or `HandoverFailed`.
//! * **An Event** (`events.k8s.io/v1`, regarding the store) for each decision: `reason` is the decision's kind (`Sealing`, `Chosen`, `Serving`,
//!   `HandingOver` ...), `note` its sentence. They are what is shown on the way and in the log of failovers; nothing depends on one that is missing.
//! * **`GET /digests`** of every replica's HTTP port, through the API server's proxy of the pod (`pods/NAME:9600/proxy/digests`):
//!   `{"applied":7,"firstSlot":0,"lastWrites":[0, ...],"digests":["", "0123456789abcdef", ...]}`, both lists with one item for each of the 16,384 slots,
//!   taken at one moment. **`GET /status`** likewise, for lag that is newer than what the operator last wrote.
//! * Pods carry the label `trireme.dev/store=NAME` and have the replica's name; the replica's container is called `replica`.
//!
//! # Invariants
//!
//! * Where the API server refuses or is silent, a sentence says what can be done about it, and the exit status is 1.
//! * What can be done without (a replica's own words, Events) is not asked for twice, and its absence is said once.
//! * A request that nobody took up in time is withdrawn. Every wait has a bound.

use std::process::ExitCode;

use clap::Parser as _;
use trireme_cli::Failure;

mod cluster;
mod commands;
mod edges;
mod events;
mod follow;
mod live;
mod object;
mod pods;
mod stores;

fn main() -> ExitCode {
    let plugin = commands::Plugin::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::from_error);
    match runtime.and_then(|runtime| runtime.block_on(commands::run(plugin))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
