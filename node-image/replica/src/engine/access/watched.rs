//! Whether a key has changed since it was watched.

use super::Access;
use crate::engine::state::hash;

impl Access<'_> {
    /// For WATCH: 0 if there is no such key, else a number that changes with every change of it and never comes back.
    pub fn version(&mut self, key: &[u8]) -> u64 {
        self.visible(key).map_or(0, |(_, handle, _)| self.state().version_at(handle))
    }

    /// The same of what there is of a key although clients see nothing of it: one that has expired and was not removed.
    pub fn hidden_version(&mut self, key: &[u8]) -> u64 {
        self.find(key).1.map_or(0, |handle| self.state().version_at(handle))
    }

    /// Whether a key that clients do not see, and did not when the log had come to `seq` and its [`Access::hidden_version`] was `hidden`, may have been there
    /// in between. It may where very many keys have gone since, or nobody `looks` among them.
    pub fn has_been(&mut self, key: &[u8], seq: u64, hidden: u64, looks: bool) -> bool {
        let (slot, handle) = self.find(key);
        if self.state().slot(slot).last_write <= seq {
            return false;
        }
        match handle {
            Some(handle) => self.state().version_at(handle) != hidden,
            // What had expired may have gone by itself.
            None => !looks || self.state().gone.has_gone(seq, hash(key), hidden),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::{At, Engine};

    /// A key that has expired and still stands; whether it has been there since, after these writes.
    fn after(writes: impl Fn(&mut super::Access<'_>, u64)) -> bool {
        let mut engine = Engine::new();
        let at = |seq| At { seq, now_ms: 1_000 + seq, keep_undo: false };
        let mut delta = Vec::new();
        engine.execute(&at(1), &mut delta, |a| {
            a.put_string(b"k", b"v", false);
            a.set_expiry(b"k", Some(1_002));
        });
        let look = |a: &mut super::Access<'_>| (a.version(b"k"), a.hidden_version(b"k"));
        let (version, hidden) = engine.execute(&at(5), &mut delta, look).0;
        assert_eq!((version, hidden == 0), (0, false));
        for seq in 6..9 {
            engine.execute(&at(seq), &mut delta, |a| writes(a, seq));
        }
        assert_eq!(engine.execute(&at(9), &mut delta, look).0.0, 0);
        engine.execute(&at(9), &mut delta, |a| a.has_been(b"k", 5, hidden, true)).0
    }

    #[test]
    fn a_key_that_goes_by_itself_has_not_been_there_and_one_that_was_written_and_removed_has() {
        assert!(!after(|_, _| {}));
        assert!(!after(|a, seq| {
            if seq == 7 {
                a.clear(b"k");
            }
        }));
        assert!(after(|a, seq| match seq {
            6 => a.put_string(b"k", b"w", false),
            7 => a.clear(b"k"),
            _ => {}
        }));
    }
}
