//! One replica process: from its ports to its end.

use std::{io::Write, net::SocketAddr, rc::Rc};

use serde::Serialize;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::spawn_local,
};
use trireme_replica::io::Identity;

use crate::{
    admin,
    config::{ExitReason, NodeConfig, NodeError},
    password,
    peers::{self, Door},
    pump::{Ending, Pump},
    server,
    shell::{Clock, Core, Shell},
    writer::{Store, Writer},
};

/// Where a replica listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// For clients.
    pub client: SocketAddr,
    /// For peers and the operator.
    pub peer: SocketAddr,
    /// For HTTP.
    pub admin: SocketAddr,
    /// For edges, where some are expected.
    pub edge: Option<SocketAddr>,
}

impl Listening {
    /// Prints it on standard output as one line of JSON, for whoever started the process; who that is may have gone.
    pub fn announce(&self) {
        #[derive(Serialize)]
        struct Line {
            event: &'static str,
            client: SocketAddr,
            peer: SocketAddr,
            admin: SocketAddr,
            #[serde(skip_serializing_if = "Option::is_none")]
            edge: Option<SocketAddr>,
        }
        let Listening { client, peer, admin, edge } = *self;
        let line = Line { event: "listening", client, peer, admin, edge };
        let mut out = std::io::stdout().lock();
        if let Ok(line) = serde_json::to_string(&line) {
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }
}

/// The HTTP port, which is open from the first moment.
pub(crate) struct Admin {
    /// What is asked there.
    pub(crate) asked: admin::Asked,
    at: SocketAddr,
}

impl Admin {
    /// Opens it.
    pub(crate) fn open(config: &NodeConfig) -> Result<Admin, NodeError> {
        let (at, listener) = listen("HTTP", config, config.admin_port)?;
        Ok(Admin { asked: admin::open(listener), at })
    }
}

fn listen(what: &'static str, config: &NodeConfig, port: u16) -> Result<(SocketAddr, TcpListener), NodeError> {
    let address = SocketAddr::new(config.listen, port);
    let opened = server::listen(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
    opened.map_err(|source| NodeError::Listen { what, address, source })
}

/// What a replica's process is made of.
pub(crate) struct Parts {
    pub(crate) core: Box<dyn Core>,
    pub(crate) disk: Box<dyn Store>,
    pub(crate) identity: Identity,
    pub(crate) admin: Admin,
    pub(crate) clock: Clock,
}

/// Runs a replica made of this until it ends.
pub(crate) async fn serve(
    parts: Parts,
    mut config: NodeConfig,
    listening: impl FnOnce(&Listening),
    stop: impl Future<Output = ()> + 'static,
) -> Result<ExitReason, NodeError> {
    let Parts { core, disk, identity, admin, clock } = parts;
    let (client_at, clients) = listen("clients", &config, config.client_port)?;
    let (peer_at, peers) = listen("peers", &config, config.peer_port)?;
    let edges = config.edge_port.map(|port| listen("edges", &config, port)).transpose()?;
    let at = Listening { client: client_at, peer: peer_at, admin: admin.at, edge: edges.as_ref().map(|(at, _)| *at) };
    (config.client_port, config.peer_port, config.admin_port) = (at.client.port(), at.peer.port(), at.admin.port());
    let durability = config.durability;
    let shell = Shell::new(core, identity, config, clock);
    let writer = Writer::start(disk, durability, shell.wake.clone())
        .map_err(|source| NodeError::System { what: "the disk thread", source })?;
    let stopping = Rc::clone(&shell);
    let parent = shell.config.exit_with_stdin.then(stdin_closed).transpose()?;
    let ending = Rc::clone(&shell);
    let mut tasks: Vec<_> = edges
        .map(|(_, listener)| spawn_local(peers::accept(Rc::clone(&shell), listener, Door::Edges)))
        .into_iter()
        .collect();
    let doors = shell.config.edge.iter().flat_map(|edge| edge.doors.iter().cloned());
    tasks.extend(doors.map(|door| spawn_local(peers::doors::keep_knocking(Rc::clone(&shell), door))));
    tasks.extend([
        spawn_local(async move {
            if let Some(parent) = parent {
                parent.await;
                tracing::info!("standard input closed: the store ends");
                ending.end();
            }
        }),
        spawn_local(async move {
            stop.await;
            stopping.stop();
        }),
        spawn_local(server::accept_clients(Rc::clone(&shell), clients)),
        spawn_local(peers::accept(Rc::clone(&shell), peers, Door::Peers)),
        spawn_local(admin.asked.answer(Rc::clone(&shell))),
        spawn_local(password::follow(Rc::clone(&shell))),
        spawn_local(password::follow_key(Rc::clone(&shell))),
    ]);
    listening(&at);
    let (ending, writer) = Pump::new(shell, writer).run().await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let closed = writer.close();
    match ending {
        Ending::Fatal(why) => Err(NodeError::Fatal(why)),
        Ending::Finished => closed.map(|()| ExitReason::Finished).map_err(NodeError::Close),
        Ending::OutOfTime => closed.map(|()| ExitReason::OutOfTime).map_err(NodeError::Close),
    }
}

/// Ready when standard input closes. A thread of its own waits for it: it may be a pipe, a file or a terminal.
fn stdin_closed() -> Result<impl Future<Output = ()> + 'static, NodeError> {
    let (closed, wait) = tokio::sync::oneshot::channel::<()>();
    let read = move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(closed);
    };
    let started = std::thread::Builder::new().name("stdin".to_owned()).spawn(read);
    started.map_err(|source| NodeError::System { what: "the thread that watches standard input", source })?;
    Ok(async move {
        let _ = wait.await;
    })
}

/// Ready when the process is told to end: SIGTERM or SIGINT.
pub(crate) fn told_to_end() -> Result<impl Future<Output = ()> + 'static, NodeError> {
    let listen = |kind| signal(kind).map_err(|source| NodeError::System { what: "the signal handler", source });
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("told to end by SIGTERM"),
            _ = interrupt.recv() => tracing::info!("told to end by SIGINT"),
        }
    })
}
