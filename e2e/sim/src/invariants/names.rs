//! Where entries go from group to group: no name is used twice. A dot is one delta, wherever it is found.
//!
//! A leader gives the name of what it has not committed again when that is lost; it is looked at where it has come to another group.

use std::collections::BTreeMap;

use trireme_proto::{ReplicaId, ids::Dot};
use trireme_replica::{
    engine::Engine,
    log::record::{self, Kind},
};

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

    /// A replica of this group hands records to its disk.
    ///
    /// # Errors
    /// Where another group's delta has the name of another one.
    pub fn landed(&mut self, id: ReplicaId, group: u32, bytes: &[u8]) -> Found {
        let mut at = 0;
        while let Ok(view) = record::read_trusted(&bytes[at..]) {
            at += view.bytes;
            let dot = (view.kind == Kind::Delta).then(|| Engine::dot_of(view.payload).ok()).flatten();
            if let Some(dot) = dot.filter(|dot| dot.origin.group != group) {
                self.appended(id, dot, view.payload)?;
            }
        }
        Ok(())
    }
}
