//! The `trireme` command.
//!
//! ```text
//! commands/NAME.rs   one file per subcommand: its arguments, and what it does
//! demo/              the load, the check and the screen of `trireme demo`
//! resp.rs            the client of the Redis protocol that the demo uses
//! output.rs          human or JSON, colours only where somebody looks
//! ```
//!
//! The stores are run by `trireme_local`, one replica by `trireme_node`; this crate only talks with people. It ends with 0 where what was asked for was
//! done and holds, with 1 where not, and with 2 where the question itself makes no sense; then nothing was started or changed.
//!
//! # Invariants
//!
//! * Nothing is decided here: the planner decides, and a subcommand asks it and shows what came of it.
//! * No Kubernetes library is reached from here, so that `cargo demo` builds none (`e2e/tests/architecture` sees to it).

use std::process::ExitCode;

use clap::Parser as _;

mod commands;
mod demo;
mod output;
mod resp;

/// Fewer bytes per pair and less jitter than the system's allocator: a replica is mostly memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(commands::Trireme::parse())
}
