//! Replicas that have applied the same entries have the same state: the digest belongs to the position.
//!
//! A state that came from a checkpoint or snapshot taken while writes went on is whole only once the log has been applied up to a point that it names; before
//! that nothing is compared.

use std::collections::BTreeMap;

use trireme_proto::{Position, ReplicaId};

use super::{Found, Turn, violated};

/// The digest of every state that was seen.
#[derive(Default)]
pub struct Digests {
    known: BTreeMap<Position, (u64, ReplicaId)>,
    compared: u64,
}

impl Digests {
    pub(super) fn turn(&mut self, turn: &Turn<'_>) -> Found {
        let (applied, digest) = (turn.report.applied, turn.report.digest);
        if digest == 0 {
            return Ok(()); // A leader's state with what it has executed and not committed yet: its report says nothing of it.
        }
        let Some(position) = turn.shadow.state_at(applied) else { return Ok(()) };
        let (known, by) = *self.known.entry(position).or_insert((digest, turn.id));
        self.compared += u64::from(by != turn.id);
        if known != digest {
            return violated(
                "digests",
                format!("at {position} replica {} has digest {digest:016x}, replica {by} had {known:016x}", turn.id),
            );
        }
        Ok(())
    }

    /// How many times two replicas were compared.
    pub fn compared(&self) -> u64 {
        self.compared
    }
}
