//! Large commands take turns. Everything is committed in the order in which it was executed, so a small command waits for all bytes before it on their way
//! to the disks and the other replicas: of large ones no more are executed than these take in a moment. The others wait, in the order in which they came.

use crate::replica::Replica;

use super::execute::Work;

/// A command with so many bytes is large.
const LARGE_BYTES: usize = 64 << 10;
/// Bytes that are executed and not committed, up to which one more large command is executed.
const UNCOMMITTED_MAX: u64 = 1 << 20;

/// Large commands of a leader's own clients.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Some wait, and whoever comes now comes behind them.
    waited_for: bool,
    /// Seq of the last one's entry.
    last: u64,
}

impl Replica {
    /// So much is not committed that no large command is executed, except for the first: others may have filled all room.
    fn is_crowded(&self) -> bool {
        let uncommitted = self.log.bytes_between(self.commit, self.log.last().seq) + self.batch.len() as u64;
        uncommitted >= UNCOMMITTED_MAX && self.clients.room.last > self.commit
    }

    /// Whether a command has to wait, at its leader, until more is committed.
    pub(super) fn waits_for_room(&mut self, work: &Work<'_>) -> bool {
        if work.bytes() < LARGE_BYTES || !work.writes() {
            return false;
        }
        let waits = self.clients.room.waited_for || self.is_crowded();
        match waits {
            true => self.clients.room.waited_for = true,
            false => self.clients.room.last = self.batch_last + 1,
        }
        waits
    }

    /// More is committed: who has waited for that goes on.
    pub(crate) fn look_for_room(&mut self) {
        self.clients.wake |= self.clients.room.waited_for && !self.is_crowded();
    }

    /// All who wait are looked at, in their order.
    pub(super) fn begin_to_make_room(&mut self) {
        self.clients.room.waited_for = false;
    }
}
