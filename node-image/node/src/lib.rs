//! The shell around a replica: sockets, disk, admin port. One call, [`run`], is one replica process.
//!
//! ```text
//!   clients ── server ── client (a task each) ──┐            ┌── writer ── disk thread, threads beside it ── disk
//!   peers ──── peers ─── link (a task each) ────┼── core ── pump ── outboxes of clients and links
//!   HTTP ───── admin ───────────────────────────┘
//! ```
//!
//! # How a turn goes
//!
//! One thread owns the replica and all sockets. Every connection is a local task: it reads what came, parses it in place ([`resp`], [`incoming`]), steps the core
//! directly, and rings for the pump. The pump is one more task, so it runs after all connections that were ready: it takes what the core asks for,
//! and what all of them caused together is one write to disk, one frame per peer and one write per client. There is no channel, lock, timer or
//! allocation per command.
//!
//! # The disk
//!
//! Where copies count when they are fsynced, a batch goes to the disk thread ([`disk`] is synchronous), and what comes up meanwhile is the next batch. Where they
//! count when the operating system has them, the core's thread writes them; only what waits for the device goes to the thread. Checkpoints, the sync once a
//! second, and segments to be made ready or removed have threads of their own: no batch waits for any of them.
//!
//! # Start and end
//!
//! What the disk holds is read on a thread of its own; the HTTP port is open meanwhile and says how far that has come. SIGTERM has the replica hand over what
//! it leads and let every client go when it has its answers. That a replica was killed is told by its parent, if it has one that does: [`supervise`].
//!
//! # Bounds
//!
//! A client that does not read its replies is not read from, and cut at a limit; a peer that does not read is cut; when the disk falls behind, nothing is
//! read from anybody; a turn executes a bounded number of commands per client. Connections, greetings, operators and questions over HTTP are counted and limited.
//!
//! # Whom it trusts
//!
//! Everybody who reaches the peer port and says the right Hello: there is no TLS yet. Edges come by a port of their own, and show a key. Clients must say the password, where [`NodeConfig::password_file`] has
//! one; before that they may send little. What a client sends can close only that client's connection.

mod adapter;
mod admin;
mod ahead;
mod beside;
mod client;
pub mod config;
pub mod disk;
pub mod incoming;
mod memory;
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

use std::{io::IsTerminal, sync::Arc};

use tokio::{runtime::Builder, sync::oneshot, task::LocalSet};
use tracing_subscriber::EnvFilter;
use trireme_replica::{Recovery, Replica, io::Input};

use self::{
    admin::{Counted, Progress},
    disk::{Disk, Opened, Recovered},
    shell::Clock,
};
pub use self::{
    config::{Edge, ExitReason, NodeConfig, NodeError, Parent},
    process::Listening,
    supervisor::{Supervised, supervise},
};

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
    let clock = Clock::start();
    config.check()?;
    let password = config.password_file.as_deref().map(password::read).transpose()?;
    let session_key = config.session_key_file.as_deref().and_then(password::session_key);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| NodeError::System { what: "the runtime", source })?;
    let opened = disk::open(&config.dir, &config.store, config.id, config.group, config.durability, config.sizes)?;
    LocalSet::new().block_on(&runtime, async move {
        let mut admin = process::Admin::open(&config)?;
        let (disk, mut core) = recover(&config, opened, clock, &mut admin.asked).await?;
        if let Some(password) = password {
            core.step(Input::Password(&password), clock.now());
        }
        if let Some(key) = session_key {
            core.step(Input::SessionKey(&key), clock.now());
        }
        let identity = core.identity().clone();
        // Signals count from here on: before, they end the process, which has changed nothing yet.
        let stop = stop()?;
        let parts = process::Parts { core, disk: Box::new(disk), identity, admin, clock };
        process::serve(parts, config, listening, stop).await
    })
}

/// Makes a replica of what the directory holds, on a thread of its own: meanwhile the HTTP port says how far that has come.
async fn recover(
    config: &NodeConfig,
    opened: Opened<Disk>,
    clock: Clock,
    asked: &mut admin::Asked,
) -> Result<(Disk, Box<Replica>), NodeError> {
    let labels = admin::labels(config, opened.identity.group);
    let progress = Arc::new(Progress::default());
    let (done, recovered) = oneshot::channel();
    let (counted, parent) = (Arc::clone(&progress), config.parent);
    let read = move || {
        let Opened { mut disk, fresh, .. } = opened;
        let mut recovery = Recovery::new();
        let found = disk.recover(&mut Counted { recovery: &mut recovery, progress: &counted });
        let made = found.map(|found| {
            tell(&found, fresh);
            let mut identity = found.identity;
            identity.boot = parent.map_or(identity.boot, |parent| parent.boot);
            let mut replica = Replica::new(identity, recovery, clock.now());
            replica.set_stopwatch(Box::new(move || clock.now().mono_us));
            (disk, Box::new(replica))
        });
        // Whoever started this waits for it.
        let _ = done.send(made);
    };
    let failed = |source| NodeError::System { what: "the thread that reads the disk", source };
    std::thread::Builder::new().name("recovery".into()).spawn(read).map_err(failed)?;
    let made = asked.answer_recovering(labels, &progress, recovered).await;
    let made = made.ok_or_else(|| NodeError::Fatal("the thread that reads the disk has panicked".into()))?;
    made.map_err(|error| NodeError::Recovery { dir: config.dir.clone(), why: error.to_string() })
}

/// Tells people what was found on the disk.
fn tell(found: &Recovered, fresh: bool) {
    tracing::info!(
        store = found.identity.store,
        id = found.identity.id,
        incarnation = format!("{:016x}", found.identity.incarnation),
        last = %found.last,
        records = found.records,
        fresh,
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
