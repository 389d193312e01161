//! A running store as its user sees it.

use std::{net::SocketAddr, path::PathBuf};

use trireme_crds::{StorePhase, StoreStatus};

/// A moment of a running store.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// As the resource's `.status` has it.
    pub status: StoreStatus,
    /// The leaders that serve: one, none, or where each region has one, one for each that does.
    pub leaders: Vec<String>,
    /// How many leaders there should be.
    pub regions: usize,
    /// Clients are served: by each leader that there should be, or where there is none by a replica that reaches enough others.
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

    /// Whether a replica is a leader that serves.
    pub fn leads(&self, name: &str) -> bool {
        self.leaders.iter().any(|leader| leader == name)
    }

    /// Who serves, in words.
    pub fn who_serves(&self) -> String {
        match (self.leaders.as_slice(), self.leaderless) {
            ([leader], _) if self.regions == 1 => format!("{leader} leads"),
            ([_, ..], _) => format!("{} lead", self.leaders.join(", ")),
            ([], true) if self.serving => "every member takes reads and writes".to_owned(),
            ([], true) => "nobody takes reads and writes".to_owned(),
            ([], false) => "none leads".to_owned(),
        }
    }

    /// Some clients are served, in some region.
    pub fn serves_somebody(&self) -> bool {
        self.serving || !self.leaders.is_empty()
    }

    /// Clients are served everywhere and every replica is ready.
    pub fn is_whole(&self) -> bool {
        self.serving && self.status.phase == StorePhase::Ready && self.ready() == self.replicas.len()
    }
}
