//! The subcommands, one per file.

use std::{future::Future, process::ExitCode};

use clap::{Parser, Subcommand};

use trireme_cli::Failure;

mod apply;
mod demo;
mod edge;
mod explain;
mod file;
mod lag;
mod logs;
mod node;
mod promote;
mod status;
mod up;
mod validate;
mod verify;

/// Replicated key-value stores that speak the Redis protocol: single-leader, multi-leader or leaderless.
#[derive(Debug, Parser)]
#[command(name = "trireme", version, propagate_version = true)]
pub struct Trireme {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a store, kill its leader under load, and check every acknowledged write.
    Demo(demo::Arguments),
    /// Run a store from its YAML, as processes on this machine, until SIGINT or SIGTERM.
    Up(up::Arguments),
    /// Change a running store to what a YAML says: its n, w, r and other settings, while clients read and write.
    Apply(apply::Arguments),
    /// Show a running store: its leader, its replicas, its last failovers.
    Status(status::Arguments),
    /// Run an edge of a store that runs elsewhere: a region of one, which works offline and exchanges what was written when it sees any region.
    Edge(edge::Arguments),
    /// Print the token that an edge joins with, where the store runs. Who has it can read and write the store.
    EdgeToken(edge::Token),
    /// Follow how far each replica is behind.
    Lag(lag::Arguments),
    /// Show what was decided about a running store, and what its replicas printed around the last change of leader.
    Logs(logs::Arguments),
    /// Make a replica the leader when the present one is gone.
    Promote(promote::Promote),
    /// Hand the leadership over without a failure.
    Switchover(promote::Switchover),
    /// Compare all 16,384 digests of all replicas.
    Verify(verify::Arguments),
    /// Say what a choice of mode, n, w and r survives, what blocks it, and what may be stale.
    Explain(explain::Arguments),
    /// Check a store's YAML without starting anything.
    Validate(validate::Arguments),
    /// Run one replica: what `up` and the container image start.
    Node(Box<node::Arguments>),
}

/// Does what was asked for.
pub fn run(arguments: Trireme) -> ExitCode {
    let result = match arguments.command {
        Command::Demo(arguments) => wait(demo::run(arguments)),
        Command::Up(arguments) => wait(up::run(arguments)),
        Command::Apply(arguments) => wait(apply::run(arguments)),
        Command::Status(arguments) => wait(status::run(arguments)),
        Command::Edge(arguments) => wait(edge::run(arguments)),
        Command::EdgeToken(arguments) => edge::token(&arguments),
        Command::Lag(arguments) => wait(lag::run(arguments)),
        Command::Logs(arguments) => wait(logs::run(arguments)),
        Command::Promote(arguments) => wait(promote::promote(arguments)),
        Command::Switchover(arguments) => wait(promote::switchover(arguments)),
        Command::Verify(arguments) => wait(verify::run(arguments)),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Node(arguments) => node::run(*arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn wait(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::from_error)?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn arguments_make_sense() {
        super::Trireme::command().debug_assert();
    }
}
