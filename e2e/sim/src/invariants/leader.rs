//! An epoch has one leader, and is led once: a leader that starts again does not go on in the epoch that it led.

use std::collections::BTreeMap;

use trireme_proto::{Epoch, ReplicaId};
use trireme_replica::io::Event;

use super::{Found, Turn, violated};

/// Who led each epoch.
#[derive(Default)]
pub struct OneLeader {
    led: BTreeMap<Epoch, (ReplicaId, u64)>,
}

impl OneLeader {
    pub(super) fn turn(&mut self, turn: &Turn<'_>) -> Found {
        for event in turn.events {
            let Event::Leads(epoch) = event else { continue };
            if let Some((id, life)) = self.led.insert(*epoch, (turn.id, turn.life)) {
                let what = format!(
                    "epoch {epoch} is led by replica {} (process {}), and was led by {id} (process {life})",
                    turn.id, turn.life
                );
                return violated("leader", what);
            }
        }
        Ok(())
    }

    /// How many epochs were led.
    pub fn epochs(&self) -> usize {
        self.led.len()
    }
}
