//! Two logs that have an entry at the same position have the same entry there, and the same before it.
//!
//! This is what makes "the largest (epoch, seq)" name a whole log: a seal compares positions alone. It breaks when two leaders share an epoch, when a
//! follower appends without looking at what stands before, or when it keeps a suffix that its leader does not have.

use std::collections::BTreeMap;

use trireme_proto::Position;

use super::{Found, Turn, violated};

/// Every entry ever appended anywhere.
#[derive(Default)]
pub struct Logs {
    entries: BTreeMap<Position, (u64, Position)>,
}

impl Logs {
    pub(super) fn turn(&mut self, turn: &Turn<'_>) -> Found {
        for entry in turn.shadow.latest(turn.added) {
            let known = *self.entries.entry(entry.position).or_insert((entry.hash, entry.previous));
            if known.0 != entry.hash {
                return violated(
                    "logs",
                    format!("replica {} has another entry at {} than it had before", turn.id, entry.position),
                );
            }
            if known.1 != entry.previous {
                let what = format!(
                    "replica {} has {} after {}, elsewhere it follows {}",
                    turn.id, entry.position, entry.previous, known.1
                );
                return violated("logs", what);
            }
        }
        Ok(())
    }
}
