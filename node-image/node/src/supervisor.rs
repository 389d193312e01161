//! The first process of a container: it runs the replica as its child, and vouches for its end.
//!
//! A replica that is killed cannot say so, and a connection that has closed proves nothing: the operator would have to wait until a lease has run out for
//! certain. The parent knows. When its child has ended it listens on the peer port in its place, and answers everybody who calls with a Hello without an
//! incarnation and one [`Message::Ended`], which names the process by its boot number. Once an operator has been told it ends as the child did, so
//! that whoever watches the container sees that and starts it again.
//!
//! It also does what a first process must: it passes SIGTERM and SIGINT on, and waits for orphans. It is a process of one thread that
//! holds nothing but its arguments.
//!
//! A child ends with its parent ([`die_with`]), whatever that one dies of: there is no replica that nobody vouches for.

use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getppid, kill_process, set_parent_process_death_signal, wait,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use trireme_proto::{
    Message, PROTOCOL_VERSION, ReplicaId, frame,
    message::{Ended, Hello},
};

use crate::{
    config::{NodeError, Parent},
    peers::hello,
    server,
};

/// How long it vouches for the end of its child where no operator calls.
const VOUCH_MAX: Duration = Duration::from_millis(1_500);
/// How long it goes on after the first operator was told: there may be another one, or a tool that only looked.
const VOUCH_AFTER: Duration = Duration::from_millis(200);
/// Whoever calls has to say who it is within this time.
const GREETING_MAX: Duration = Duration::from_millis(500);
/// Callers at the same time.
const CALLERS_MAX: usize = 64;
/// Pause between two attempts to listen: what is left of the child may hold the port for a moment.
const LISTEN_AGAIN: Duration = Duration::from_millis(5);

/// How a replica's allocator behaves, unless the environment says otherwise: a log and its batches come and go in large pieces.
const ALLOCATOR: [(&str, &str); 2] = [("MIMALLOC_ALLOW_THP", "0"), ("MIMALLOC_PURGE_DELAY", "2000")];

/// What is supervised.
#[derive(Clone, Debug)]
pub struct Supervised {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, without those that name its parent: they are added, as `--boot NUMBER --parent PID`.
    pub arguments: Vec<OsString>,
    /// Where the replica listens.
    pub listen: IpAddr,
    /// Its peer port.
    pub peer_port: u16,
    /// Its store.
    pub store: String,
    /// Its number.
    pub id: ReplicaId,
}

/// Runs the replica as a child until it ends, and returns the exit status to end with.
///
/// # Errors
/// The child could not be started, or nothing can be known of it.
pub fn supervise(supervised: &Supervised) -> Result<u8, NodeError> {
    super::log_to_stderr();
    if supervised.peer_port == 0 {
        return Err(NodeError::Config(
            "a supervised replica needs a peer port that is known: its parent listens there when it has ended".into(),
        ));
    }
    let failed = |source| NodeError::System { what: "the replica's process", source };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(run(supervised)).map_err(failed)
}

/// For the child: ends it as soon as its parent has ended.
///
/// # Errors
/// The parent has ended already, or the system refuses.
pub(crate) fn die_with(parent: Parent) -> Result<(), NodeError> {
    let failed = |source| NodeError::System { what: "a replica that ends with its parent", source };
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| failed(error.into()))?;
    // It may have ended before that was heard.
    let now = getppid().map_or(0, |pid| pid.as_raw_nonzero().get() as u32);
    if now != parent.pid {
        return Err(failed(io::Error::other(format!("process {} has ended, or was never its parent", parent.pid))));
    }
    Ok(())
}

async fn run(supervised: &Supervised) -> io::Result<u8> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut children = signal(SignalKind::child())?;
    let boot = random();
    let child = Command::new(&supervised.program)
        .args(&supervised.arguments)
        .args(["--boot", &boot.to_string(), "--parent", &std::process::id().to_string()])
        .envs(ALLOCATOR.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()))
        .spawn()?;
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("it has no number"))?;
    let mut told = false;
    let status = loop {
        let pass_on = tokio::select! {
            _ = children.recv() => match reap(pid)? {
                Some(status) => break status,
                None => continue,
            },
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => Signal::INT,
        };
        told = true;
        // Where it has ended in this moment, that is heard next.
        let _ = kill_process(pid, pass_on);
    };
    let how = describe(status);
    let exit = exit_status(status);
    if told && exit == 0 {
        return Ok(0);
    }
    tracing::error!(how, "the replica's process has ended");
    tokio::select! {
        () = vouch(supervised, Ended { boot, how }) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(exit)
}

/// Waits for every process that has ended: orphans of the container become children of its first process. The child's own end, if it is among them.
fn reap(child: Pid) -> io::Result<Option<WaitStatus>> {
    let mut found = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => found = Some(status),
            Ok(Some(_)) => {}
            // There are others that run, or none at all.
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(found),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells everybody who calls that the child has ended, until that is known or for as long as it may take.
async fn vouch(supervised: &Supervised, ended: Ended) {
    let mut until = Instant::now() + VOUCH_MAX;
    let address = SocketAddr::new(supervised.listen, supervised.peer_port);
    let listener = loop {
        match server::listen(address) {
            Ok(listener) => break listener,
            Err(error) if Instant::now() + LISTEN_AGAIN >= until => {
                return tracing::warn!(%address, %error, "nobody can be told that the replica has ended");
            }
            Err(_) => sleep_until(Instant::now() + LISTEN_AGAIN).await,
        }
    };
    let (told, mut operators) = mpsc::channel(CALLERS_MAX);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Ok(permit) = told.clone().try_reserve_owned() else { continue };
                    let (supervised, ended) = (supervised.clone(), ended.clone());
                    tokio::spawn(async move {
                        // Whoever says nothing, or something else, is told nothing.
                        if let Ok(Ok(0)) = timeout(GREETING_MAX, tell(stream, &supervised, ended)).await {
                            permit.send(());
                        }
                    });
                }
                Err(error) => server::rest_after(&error).await,
            },
            Some(()) = operators.recv() => until = until.min(Instant::now() + VOUCH_AFTER),
            () = sleep_until(until) => return,
        }
    }
}

/// Answers one caller, if it means this replica: who it was.
async fn tell(mut stream: TcpStream, supervised: &Supervised, ended: Ended) -> io::Result<ReplicaId> {
    let other = |_| io::Error::from(ErrorKind::InvalidData);
    let Hello { store, from, to, .. } = hello::listen(&mut stream).await.map_err(other)?.hello;
    if store != supervised.store || to != supervised.id {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut out = BytesMut::new();
    let answer =
        Hello { version: PROTOCOL_VERSION, store, from: supervised.id, to: from, boot: ended.boot, ..Hello::default() };
    frame::encode(Message::Hello(answer), &mut out);
    frame::encode(Message::Ended(ended), &mut out);
    stream.set_nodelay(true)?;
    stream.write_all(&out).await?;
    stream.shutdown().await?;
    Ok(from)
}

/// A number that no other process of this replica has had: never 0.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Its keys come from the system's random numbers.
    RandomState::new().hash_one((now.as_nanos(), std::process::id())).max(1)
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(9)) => "killed (SIGKILL)".to_owned(),
        (_, Some(signal)) => format!("ended by signal {signal}"),
        (Some(0), _) => "ended".to_owned(),
        (code, _) => format!("ended with status {}", code.unwrap_or(-1)),
    }
}

/// The child's exit status; where a signal has ended it, what a shell makes of that.
fn exit_status(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
