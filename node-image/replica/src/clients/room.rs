//! Large commands take turns. Everything is committed in the order in which it was executed, so a small command waits for all bytes before it on their way
//! to the disks and the other replicas: of large ones no more are executed than these take in a moment. The others wait, in the order in which they came.

use crate::replica::Replica;

use super::execute::Work;

/// A command with so many bytes is large.
const LARGE_BYTES: usize = 64 << 10;
/// Bytes that are executed and not committed, up to which one more large command is executed.
const UNCOMMITTED_MAX: u64 = 2 << 20;

impl Replica {
    fn is_crowded(&self) -> bool {
        self.log.bytes_between(self.commit, self.log.last().seq) + self.batch.len() as u64 >= UNCOMMITTED_MAX
    }

    /// Whether a command has to wait, at its leader, until more is committed.
    pub(super) fn waits_for_room(&mut self, work: &Work<'_>) -> bool {
        let waits = work.bytes() >= LARGE_BYTES && work.writes() && self.is_crowded();
        self.clients.wait_for_room |= waits;
        waits
    }

    /// More is committed: who has waited for that goes on.
    pub(crate) fn look_for_room(&mut self) {
        if self.clients.wait_for_room && !self.is_crowded() {
            (self.clients.wait_for_room, self.clients.wake) = (false, true);
        }
    }
}
