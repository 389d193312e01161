//! Housekeeping: expiry, what is kept of the log, notes of what is committed, and work that needs a moment without uncommitted entries.

use std::collections::VecDeque;

use crate::{engine::At, io::DiskOp, replica::Replica};

use super::Role;

/// Keys removed by one expiry entry.
const EXPIRED_KEYS_MAX: usize = 256;
/// Entries that remove keys and are not committed, with which the next one waits for its tick.
const REMOVALS_MAX: usize = 8;
/// A follower that takes a snapshot keeps up to this many times the usual log alive.
const SNAPSHOT_LOG_FACTOR: u64 = 4;
/// Microseconds until the next call while slots are being swept.
const SWEEP_PERIOD_US: u64 = 1_000;
/// Keys that are moved closer in memory in one turn.
const MOVES_PER_TURN: usize = 2_048;

/// What housekeeping has under way.
#[derive(Debug, Default)]
pub(crate) struct House {
    pub(crate) removing: Removing,
    /// A moment without uncommitted entries was wanted at the end of the last turn: commands may wait for it.
    quiet_wanted: bool,
}

/// What is under way of keys that go without a command: that have expired, or for which there is no room.
#[derive(Debug, Default)]
pub(crate) struct Removing {
    /// More had expired than one entry removes.
    pub(crate) expired: bool,
    /// Keys have gone, and there is still too little room.
    pub(crate) crowded: bool,
    /// Entries that are not known to be committed.
    entries: VecDeque<u64>,
}

impl Replica {
    /// Whether this replica may remove keys now that nobody told it to remove.
    pub(crate) fn may_remove_keys(&mut self) -> bool {
        let serving = match &self.role {
            Role::Leader(leader) => {
                let free = !self.handing_over() && !self.wants_quiet() && !self.is_leaving();
                leader.serving && self.lease_holds() && free
            }
            Role::Peer(_) => self.expires(),
            _ => false,
        };
        serving && !self.disk_full && self.shows_whole()
    }

    /// The leader removes what it sees expired; everybody else hides it when read.
    pub(crate) fn expire_keys(&mut self) {
        self.house.removing.expired = false;
        let due = self.engine.next_expiry_ms().is_some_and(|at_ms| at_ms <= self.now.wall_ms);
        if !due || !self.may_remove_keys() {
            return;
        }
        let at = At { seq: self.batch_last + 1, now_ms: self.now.wall_ms, keep_undo: true };
        self.delta.clear();
        let homes = std::mem::take(&mut self.homes);
        let group = self.identity.group;
        let at_home = |key: &[u8]| homes.of(key).is_none_or(|home| home.group == group);
        self.engine.tell_events(self.tuning().events);
        let (keys, effect) = self.engine.expire(&at, &mut self.delta, EXPIRED_KEYS_MAX, at_home);
        self.homes = homes;
        if effect.wrote {
            self.append_removal();
            self.house.removing.expired = keys == EXPIRED_KEYS_MAX;
        }
    }

    /// Appends the entry of a removal that was just executed.
    pub(crate) fn append_removal(&mut self) {
        let seq = self.append_delta(None);
        self.publish_events(seq);
        self.house.removing.entries.push_back(seq);
    }

    /// Where more is to go than one entry removes, each turn removes as much, and the next one comes at once: clients have theirs in between. How fast
    /// that is, the disks and followers say: few such entries are under way.
    pub(crate) fn remove_more(&mut self) {
        self.clients.evicted_rounds = 0;
        let committed = self.house.removing.entries.partition_point(|seq| *seq <= self.commit);
        self.house.removing.entries.drain(..committed);
        if self.removes_more() && self.house.removing.crowded {
            self.evict_keys();
        }
        if self.removes_more() && self.house.removing.expired {
            self.expire_keys();
        }
    }

    fn removes_more(&self) -> bool {
        let Removing { expired, crowded, entries } = &self.house.removing;
        (*expired || *crowded) && entries.len() < REMOVALS_MAX
    }

    /// A leader that has lost its members takes back what it executed for nothing: from here on it is in the state of one that has just begun, and serves
    /// again when everything in its log is committed. So it can bring up a member that lost its disk, which needs a state without uncommitted entries.
    fn suspend_if_stalled(&mut self) {
        let suspicion_us = u64::from(self.settings().suspicion_ms) * 1_000;
        let no_lease = !self.lease_holds();
        let lost = self.too_few_replicas().is_some();
        let Role::Leader(leader) = &mut self.role else { return };
        let stalled = lost || (no_lease && leader.lease_until_us + suspicion_us < self.now.mono_us);
        if !leader.serving || !stalled || self.applied == self.commit {
            return;
        }
        leader.serving = false;
        self.gap_since_us = self.now.mono_us;
        self.flush_batch();
        let last = self.log.last().seq;
        if let Role::Leader(leader) = &mut self.role {
            leader.start_seq = last;
        }
        self.undo_uncommitted();
        self.applied = self.commit;
        self.report_due = true;
    }

    /// What is due now and then.
    pub(crate) fn keep_house(&mut self) {
        self.suspend_if_stalled();
        self.trim_log();
        self.forget_ended();
        self.send_digests();
    }

    /// Lets go of log that is more than what is kept for followers. The disk keeps what a start needs by itself.
    pub(super) fn trim_log(&mut self) {
        let bytes_max = self.settings().log_bytes_max;
        let (mut keep, mut factor) = (self.commit.min(self.durable), 1);
        if let Some(start) = self.oldest_snapshot_start() {
            (keep, factor) = (keep.min(start), SNAPSHOT_LOG_FACTOR);
        }
        let before = self.log.before();
        let trimmed = self.log.trim(keep, bytes_max);
        self.note_trimmed(&trimmed);
        if factor > 1 {
            self.log.trim(self.commit.min(self.durable), bytes_max.saturating_mul(factor));
        }
        if self.log.before() != before {
            let from = self.log.before().seq + 1;
            self.persist(DiskOp::Retain { from }, None);
        }
    }

    /// Notes on the disk what is committed, so that a start applies it without being told.
    pub(crate) fn note_commit(&mut self) {
        let appended = self.output.persist.iter().any(|(_, op)| matches!(op, DiskOp::Append { .. }));
        let idle = self.commit == self.log.last().seq;
        if self.commit > self.commit_noted && self.commit <= self.durable && (appended || idle) {
            self.commit_noted = self.commit;
            self.persist(DiskOp::Commit(self.commit), None);
        }
    }

    /// Up to here the state cannot be undone. A group of one undoes nothing.
    pub(super) fn stable(&self) -> u64 {
        if matches!(self.role, Role::Peer(_)) { self.log.last().seq } else { self.commit }
    }

    /// A leader lets commands wait until everything is committed, for what needs that; a follower's state is always so.
    pub(crate) fn wants_quiet(&self) -> bool {
        self.checkpoint_due()
            || self.checkpoint_needs_quiet()
            || self.snapshot_wants_quiet()
            || self.exchange_wants_quiet()
    }

    /// Puts keys closer in memory, sweeps slots, and does what needs a moment without uncommitted entries, if this is one.
    pub(crate) fn run_quiet_work(&mut self) {
        let wanted = self.house.quiet_wanted || self.wants_quiet();
        self.engine.tidy(MOVES_PER_TURN);
        self.write_checkpoint();
        let quiet = self.batch.is_empty() && self.applied == self.stable();
        if quiet && self.wants_quiet() {
            if self.checkpoint_due() {
                self.begin_checkpoint();
            } else if self.checkpoint_needs_quiet() {
                self.end_checkpoint();
            }
            self.quiet_snapshots();
        }
        self.house.quiet_wanted = self.wants_quiet();
        // Who waited for it goes on, however it has ended: slots may have been committed meanwhile, so that none is needed.
        if wanted && !self.house.quiet_wanted {
            self.clients.wake = true;
            self.serve_backlog();
        }
    }

    /// When this replica has something to do before the next tick.
    pub(crate) fn soon_us(&self) -> Option<u64> {
        let sweeping = self.checkpoint_sweeps()
            || self.snapshot_has_room()
            || self.walks()
            || self.exchanges()
            || self.joins_more();
        let commit_due = match &self.role {
            Role::Leader(leader) => leader.commit_due_us,
            _ => None,
        };
        let at_once = (self.clients.wake || self.removes_more()).then_some(self.now.mono_us);
        [sweeping.then_some(self.now.mono_us + SWEEP_PERIOD_US), commit_due, at_once].into_iter().flatten().min()
    }
}
