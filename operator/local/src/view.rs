//! A running store as its user sees it.

use std::{net::SocketAddr, path::PathBuf};

use trireme_crds::{StorePhase, StoreStatus};

/// A moment of a running store.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// As the resource's `.status` has it.
    pub status: StoreStatus,
    /// The leader that serves, if there is one.
    pub leader: Option<String>,
    /// The replicas, in order.
    pub replicas: Vec<ReplicaView>,
}

/// One replica.
#[derive(Clone, Debug)]
pub struct ReplicaView {
    /// Its name.
    pub name: String,
    /// Its region; empty where there is only one.
    pub region: String,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Number of its process; 0 while it has none.
    pub pid: u32,
    /// Its own directory.
    pub directory: PathBuf,
    /// Leader, Follower, Learner, Idle or Unknown.
    pub role: String,
    /// It runs, is heard, and is a member that is up to date.
    pub ready: bool,
}

impl View {
    /// How many replicas are ready.
    pub fn ready(&self) -> usize {
        self.replicas.iter().filter(|r| r.ready).count()
    }

    /// A leader serves and every replica is ready.
    pub fn is_whole(&self) -> bool {
        self.leader.is_some() && self.status.phase == StorePhase::Ready && self.ready() == self.replicas.len()
    }
}
