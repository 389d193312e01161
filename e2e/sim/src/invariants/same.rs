//! Without a leader: replicas that have received the same have the same state, whatever came as entries and what as state.
//!
//! Nothing is said of a replica into which something is on its way, or beside whose keys something waits for entries that have not come.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use trireme_proto::ReplicaId;
use trireme_replica::Replica;

use super::{Found, violated};

/// The digest of every state that was seen, by what had been received.
#[derive(Default)]
pub struct Same {
    known: BTreeMap<u64, (u64, ReplicaId)>,
    compared: u64,
}

impl Same {
    /// Looks at a replica after its turn.
    ///
    /// # Errors
    /// The state that is another one.
    pub fn turn(&mut self, id: ReplicaId, replica: &Replica) -> Found {
        let Some(digest) = replica.settled_digest() else { return Ok(()) };
        let (mut bytes, mut hasher) = (Vec::new(), DefaultHasher::new());
        replica.received().export(&mut bytes);
        bytes.hash(&mut hasher);
        let (known, by) = *self.known.entry(hasher.finish()).or_insert((digest, id));
        self.compared += u64::from(by != id);
        if known == digest {
            return Ok(());
        }
        let received = replica.received();
        violated("same", format!("replica {id} has digest {digest:016x}, replica {by} had {known:016x}: {received:?}"))
    }

    /// How many times two replicas were compared.
    pub fn compared(&self) -> u64 {
        self.compared
    }
}
