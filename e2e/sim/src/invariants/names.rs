//! Without a leader: no name is used twice. A dot is one delta, wherever it is found.

use std::collections::BTreeMap;

use trireme_proto::{ReplicaId, ids::Dot};

use super::{Found, violated};
use crate::shadow::hash;

/// Every delta that was ever appended anywhere.
#[derive(Debug, Default)]
pub struct Names {
    /// Hash of its bytes, and who had it first.
    known: BTreeMap<Dot, (u64, ReplicaId)>,
}

impl Names {
    /// A replica appends a delta.
    ///
    /// # Errors
    /// Where another delta has its name.
    pub fn appended(&mut self, id: ReplicaId, dot: Dot, delta: &[u8]) -> Found {
        let hash = hash(delta);
        let (known, by) = *self.known.entry(dot).or_insert((hash, id));
        if known == hash {
            return Ok(());
        }
        violated("names", format!("{dot:?} is one delta at replica {id}, and was another one at replica {by}"))
    }
}
