//! The `trireme` command.
//!
//! ```text
//! commands/NAME.rs   one file per subcommand: its arguments, and what it does
//! page.rs            the web page of a store that this process runs
//! running.rs         a store that runs on this machine, as the commands of `trireme_cli` ask it
//! demo/              the course and the screen of `trireme demo`; its load and its check are `trireme_cli::ledger`
//! ```
//!
//! The stores are run by `trireme_local`, one replica by `trireme_node`, and what is said of stores is in `trireme_cli`, the library of this crate.

use std::process::ExitCode;

use clap::Parser as _;

mod commands;
mod demo;
mod page;
mod running;

/// Fewer bytes per pair and less jitter than the system's allocator: a replica is mostly memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(commands::Trireme::parse())
}
