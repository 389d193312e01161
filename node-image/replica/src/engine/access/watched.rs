//! Whether a key has changed since it was watched.

use super::Access;
use crate::engine::state::cells::Handle;
use crate::engine::state::{hash, version_of};

impl Access<'_> {
    /// For WATCH: 0 if there is no such key, else a number that changes with every change of it and never comes back.
    pub fn version(&mut self, key: &[u8]) -> u64 {
        self.visible(key).map_or(0, |(_, handle, _)| self.version_at(handle))
    }

    /// The same of what there is of a key although clients see nothing of it: one that has expired and was not removed.
    pub fn hidden_version(&mut self, key: &[u8]) -> u64 {
        self.find(key).1.map_or(0, |handle| self.version_at(handle))
    }

    /// Whether a key that clients do not see, and did not when the log had come to `seq` and its [`Access::hidden_version`] was `hidden`, may have been there
    /// in between. It may where very many keys have gone since.
    pub fn has_been(&mut self, key: &[u8], seq: u64, hidden: u64) -> bool {
        let (slot, handle) = self.find(key);
        if self.state().slot(slot).last_write <= seq {
            return false;
        }
        match handle {
            Some(handle) => self.version_at(handle) != hidden,
            // What had expired has gone by itself.
            None => self.state().gone.since(seq, hash(key)).is_none_or(|times| times > usize::from(hidden != 0)),
        }
    }

    fn version_at(&self, handle: Handle) -> u64 {
        let state = self.state();
        match handle.as_key() {
            Some(index) => state.key(index).map_or(0, |k| k.version),
            None => state.cells.plain(handle).map_or(0, |p| version_of(p.dot)),
        }
    }
}
