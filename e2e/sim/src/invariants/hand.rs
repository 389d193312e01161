//! The operator takes at most one replica away at a time: it ends no process of its own accord before the one that it ended last is a member again.

use std::collections::BTreeMap;

use trireme_proto::{ReplicaId, report::Role};

use super::{Found, Turn, violated};

/// Replicas that the operator has ended and that are not back.
#[derive(Debug, Default)]
pub struct Hand {
    /// Which of its processes was ended.
    away: BTreeMap<ReplicaId, u64>,
    restarts: u64,
}

impl Hand {
    /// The operator ends a process.
    ///
    /// # Errors
    /// Where another one is away.
    pub fn restarted(&mut self, id: ReplicaId, life: u64) -> Found {
        self.restarts += 1;
        let others: Vec<ReplicaId> = self.away.keys().copied().filter(|other| *other != id).collect();
        self.away.insert(id, life);
        match others.as_slice() {
            [] => Ok(()),
            _ => {
                violated("hand", format!("replica {id} is restarted, and {others:?} that were restarted are not back"))
            }
        }
    }

    /// A replica is no longer wanted.
    pub fn unwanted(&mut self, id: ReplicaId) {
        self.away.remove(&id);
    }

    /// Restarts of running processes so far.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_>) {
        let member = matches!(turn.report.role(), Role::Follower | Role::Leader | Role::Peer);
        if member && self.away.get(&turn.id).is_some_and(|life| turn.life > *life) {
            self.away.remove(&turn.id);
        }
    }
}
