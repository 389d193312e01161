//! How a replica is started, and why it could not be.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use trireme_proto::{ReplicaId, topology::Durability};

use crate::disk::{DiskError, OpenError, Sizes};

/// The port for clients.
pub const CLIENT_PORT: u16 = 6379;
/// The port for peers and the operator.
pub const PEER_PORT: u16 = 7600;
/// The port for probes, metrics and status over HTTP.
pub const ADMIN_PORT: u16 = 9600;

/// How one replica is started.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its directory; made if it is missing.
    pub dir: PathBuf,
    /// Unique name of the store.
    pub store: String,
    /// Its number within the store, from 1.
    pub id: ReplicaId,
    /// Its name as users see it.
    pub name: String,
    /// Its group within the store.
    pub group: u32,
    /// Address of all its ports, and the one that its own calls come from unless it means every address.
    pub listen: IpAddr,
    /// Port for clients; 0 chooses a free one.
    pub client_port: u16,
    /// Port for peers and the operator; 0 chooses a free one.
    pub peer_port: u16,
    /// Port for HTTP; 0 chooses a free one.
    pub admin_port: u16,
    /// Port for edges; `None` where none come.
    pub edge_port: Option<u16>,
    /// This replica is an edge.
    pub edge: Option<Edge>,
    /// When copies count, before a record says otherwise.
    pub durability: Durability,
    /// Clients at the same time, whatever the store's limits say: each has a file of the process.
    pub clients_max: usize,
    /// Time to hand over what is led here after SIGTERM.
    pub grace: Duration,
    /// End as soon as standard input closes, cleanly but without handing over: whoever started this process is gone, and the whole store with it.
    pub exit_with_stdin: bool,
    /// Clients must say AUTH with the password in this file; `None` lets everybody in.
    pub password_file: Option<PathBuf>,
    /// The store's session tokens are sealed with what is in this file; `None`: none are given or taken.
    pub session_key_file: Option<PathBuf>,
    /// The process that has started this one as its child and vouches for its end; `None` where nobody does.
    pub parent: Option<Parent>,
    /// Sizes of the files.
    pub sizes: Sizes,
}

/// How an edge comes to its store.
#[derive(Clone)]
pub struct Edge {
    /// What it is let in by.
    pub key: Vec<u8>,
    /// `host:port` of doors at which it knocks.
    pub doors: Vec<String>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret.
        f.debug_struct("Edge").field("doors", &self.doors).finish_non_exhaustive()
    }
}

/// What a [supervised](crate::supervise) replica is told by its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its process: this one ends with it.
    pub pid: u32,
    /// The random number that this process is known by.
    pub boot: u64,
}

impl NodeConfig {
    /// The defaults for this replica.
    pub fn new(dir: PathBuf, store: impl Into<String>, id: ReplicaId) -> NodeConfig {
        NodeConfig {
            dir,
            store: store.into(),
            id,
            name: format!("replica-{id}"),
            group: 0,
            listen: Ipv4Addr::LOCALHOST.into(),
            client_port: CLIENT_PORT,
            peer_port: PEER_PORT,
            admin_port: ADMIN_PORT,
            edge_port: None,
            edge: None,
            durability: Durability::Disk,
            clients_max: 65_000,
            grace: Duration::from_secs(10),
            exit_with_stdin: false,
            password_file: None,
            session_key_file: None,
            parent: None,
            sizes: Sizes::default(),
        }
    }

    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub(crate) fn check(&self) -> Result<(), NodeError> {
        let wrong = |what: &str| Err(NodeError::Config(what.to_owned()));
        match self {
            NodeConfig { id: 0, .. } => wrong("the replica's number is 0: numbers begin with 1"),
            NodeConfig { store, .. } if store.is_empty() => {
                wrong("the store's name is empty: every store needs one of its own")
            }
            NodeConfig { clients_max: 0, .. } => {
                wrong("no clients are allowed: the most at the same time must be at least 1")
            }
            NodeConfig { edge: Some(edge), .. } if edge.doors.is_empty() => {
                wrong("an edge knows no door of its store: its token has some")
            }
            NodeConfig { client_port, peer_port, admin_port, edge_port, .. } => {
                let ports = [client_port, peer_port, admin_port, edge_port.as_ref().unwrap_or(&0)];
                match ports.iter().any(|port| **port != 0 && ports.iter().filter(|other| other == &port).count() > 1) {
                    true => {
                        wrong("two of the ports for clients, peers, HTTP and edges are the same: each needs its own")
                    }
                    false => Ok(()),
                }
            }
        }
    }
}

/// How a replica has ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// It was told to, and had handed over what it led.
    Finished,
    /// It was told to, and the grace period was over before it had handed over what it led. Nothing is lost: its disk is closed cleanly.
    OutOfTime,
}

/// Why a replica was not started, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its configuration.
    #[error("{0}")]
    Config(String),
    /// Its directory.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// What its directory holds.
    #[error(
        "{dir}: what is stored there cannot be used: {why}; nothing was changed, start with an empty directory to rejoin as a new member"
    )]
    Recovery {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        why: String,
    },
    /// A port cannot be listened on.
    #[error(
        "the port for {what} cannot be opened at {address}: {source}; is another process there, or the address not this machine's?"
    )]
    Listen {
        /// What the port is for.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The system refused something else that it needs to start.
    #[error("{what} could not be started: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The disk could not be closed.
    #[error("the disk could not be closed cleanly: {0}")]
    Close(#[source] DiskError),
    /// It could not go on.
    #[error("the replica has stopped: {0}")]
    Fatal(String),
}

impl NodeError {
    /// The exit status for it: 2 where the configuration or the directory is to be changed, 1 otherwise.
    pub fn exit_status(&self) -> u8 {
        match self {
            NodeError::Config(_) | NodeError::Directory(_) | NodeError::Recovery { .. } => 2,
            NodeError::Listen { .. } | NodeError::System { .. } | NodeError::Close(_) | NodeError::Fatal(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        let good = NodeConfig { client_port: 0, peer_port: 0, ..NodeConfig::new("x".into(), "s", 1) };
        assert!(good.check().is_ok(), "several ports may be chosen freely");
        for (bad, word) in [
            (NodeConfig { id: 0, ..good.clone() }, "number"),
            (NodeConfig { store: String::new(), ..good.clone() }, "store"),
            (NodeConfig { peer_port: ADMIN_PORT, ..good.clone() }, "ports"),
            (NodeConfig { clients_max: 0, ..good }, "clients"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(error.exit_status(), 2);
        }
    }
}
