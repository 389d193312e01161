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
    /// Somebody serves: the leader, or where there is none a replica that reaches enough others.
    pub serving: bool,
    /// The store has no leader: every member takes reads and writes.
    pub leaderless: bool,
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
    /// Leader, Follower, Peer, Learner, Idle or Unknown.
    pub role: String,
    /// It runs, is heard, and is a member that is up to date.
    pub ready: bool,
}

impl View {
    /// How many replicas are ready.
    pub fn ready(&self) -> usize {
        self.replicas.iter().filter(|r| r.ready).count()
    }

    /// Who serves, in words.
    pub fn who_serves(&self) -> String {
        match (&self.leader, self.leaderless) {
            (Some(leader), _) => format!("{leader} leads"),
            (None, true) if self.serving => "every member takes reads and writes".to_owned(),
            (None, true) => "nobody takes reads and writes".to_owned(),
            (None, false) => "none leads".to_owned(),
        }
    }

    /// Somebody serves and every replica is ready.
    pub fn is_whole(&self) -> bool {
        self.serving && self.status.phase == StorePhase::Ready && self.ready() == self.replicas.len()
    }
}
