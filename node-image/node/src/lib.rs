//! The shell around a replica: sockets, disk, admin port. One call, [`run`], is one replica process.
//!
//! ```text
//!   clients ── server ── client (a task each) ──┐            ┌── writer ── disk thread ── disk
//!   peers ──── peers ─── link (a task each) ────┼── core ── pump ── outboxes of clients and links
//!   HTTP ───── admin ───────────────────────────┘
//! ```
//!
//! # How a turn goes
//!
//! One thread owns the replica and all sockets. Every connection is a local task: it reads what came, parses it in place ([`resp`], frames), steps the core
//! directly, and rings for the pump. The pump is one more task, so it runs after all connections that were ready: it takes what the core asks for,
//! and what all of them caused together is one write to disk, one frame per peer and one write per client. There is no channel, lock, timer or
//! allocation per command.
//!
//! # The disk
//!
//! Where copies count when they are fsynced, a batch goes to the disk thread ([`disk`] is synchronous), and what comes up meanwhile is the next batch. Where they
//! count when the operating system has them, the core's thread writes them; only what waits for the device goes to the thread.
//!
//! # Bounds
//!
//! A client that does not read its replies is not read from, and cut at a limit; a peer that does not read is cut; when the disk falls behind, nothing is
//! read from anybody; a turn executes a bounded number of commands per client. Connections, greetings, operators and questions over HTTP are counted and limited.
//!
//! # Whom it trusts
//!
//! Everybody who reaches the peer port and says the right Hello: there is no TLS yet. Clients must say the password, where [`NodeConfig::password_file`] has
//! one; before that they may send little. What a client sends can close only that client's connection.

mod adapter;
mod admin;
mod client;
pub mod config;
pub mod disk;
mod outbox;
mod password;
mod peers;
mod process;
mod pump;
pub mod resp;
mod server;
mod shell;
mod supervisor;
mod writer;

use std::io::IsTerminal;

use tokio::{runtime::Builder, task::LocalSet};
use tracing_subscriber::EnvFilter;
use trireme_replica::{
    Recovery, Replica,
    io::{Identity, Input},
};

pub use self::{
    config::{ExitReason, NodeConfig, NodeError, Parent},
    process::Listening,
    supervisor::{Supervised, supervise},
};
use self::{disk::Disk, shell::Clock};

/// Runs a replica until SIGTERM or SIGINT, with logs on standard error and one line of JSON on standard output when its ports are open
/// (see [`Listening::announce`]). SIGTERM has it hand over what it leads, within [`NodeConfig::grace`].
///
/// # Errors
/// See [`NodeError`], and [`NodeError::exit_status`] for what to tell the system.
pub fn run(config: NodeConfig) -> Result<ExitReason, NodeError> {
    log_to_stderr();
    config.parent.map(supervisor::die_with).transpose()?;
    let result = start(config, Listening::announce, process::told_to_end);
    if let Err(error) = &result {
        tracing::error!(%error, "ended");
    }
    result
}

/// Runs a replica until `stop` is ready: for those who start several in one process. `listening` is told once where its ports are.
///
/// # Errors
/// See [`NodeError`].
pub fn run_until(
    config: NodeConfig,
    listening: impl FnOnce(&Listening),
    stop: impl Future<Output = ()> + 'static,
) -> Result<ExitReason, NodeError> {
    start(config, listening, || Ok(stop))
}

fn start<S: Future<Output = ()> + 'static>(
    config: NodeConfig,
    listening: impl FnOnce(&Listening),
    stop: impl FnOnce() -> Result<S, NodeError>,
) -> Result<ExitReason, NodeError> {
    config.check()?;
    let password = config.password_file.as_deref().map(password::read).transpose()?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| NodeError::System { what: "the runtime", source })?;
    let (disk, recovery, identity) = recover(&config)?;
    let clock = Clock::start();
    let mut core = Replica::new(identity.clone(), recovery, clock.now());
    if let Some(password) = password {
        core.step(Input::Password(&password), clock.now());
    }
    LocalSet::new().block_on(&runtime, async move {
        // Signals count from here on: before, they end the process, which has changed nothing yet.
        let stop = stop()?;
        process::serve(Box::new(core), Box::new(disk), identity, config, clock, listening, stop).await
    })
}

/// Opens the directory and reads what it holds.
fn recover(config: &NodeConfig) -> Result<(Disk, Recovery, Identity), NodeError> {
    let opened = disk::open(&config.dir, &config.store, config.id, config.group, config.durability, config.sizes)?;
    let (mut disk, mut recovery) = (opened.disk, Recovery::new());
    let found = disk
        .recover(&mut recovery)
        .map_err(|error| NodeError::Recovery { dir: config.dir.clone(), why: error.to_string() })?;
    tracing::info!(
        store = found.identity.store,
        id = found.identity.id,
        incarnation = format!("{:016x}", found.identity.incarnation),
        last = %found.last,
        records = found.records,
        fresh = opened.fresh,
        "started"
    );
    if found.torn_bytes > 0 {
        tracing::info!(bytes = found.torn_bytes, "an unfinished write at the end of the log was cut off: a crash");
    }
    if found.tail_lost {
        tracing::warn!("the machine went down while copies counted in memory: rejoins as a new member");
    }
    if let Some(damage) = &found.corruption {
        tracing::error!(%damage, "the disk is damaged: the file was kept, rejoins as a new member");
    }
    let mut identity = found.identity;
    if let Some(parent) = config.parent {
        identity.boot = parent.boot;
    }
    Ok((disk, recovery, identity))
}

/// Logs go to standard error, as text; `RUST_LOG` chooses what. A second call changes nothing.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

#[cfg(test)]
mod shell_tests;
#[cfg(test)]
mod testing;
