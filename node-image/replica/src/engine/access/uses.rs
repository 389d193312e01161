//! When keys were last used.

use super::Access;
use crate::engine::state::cells::ms_between;

impl Access<'_> {
    /// What is read meanwhile is only looked at: no key counts as used.
    pub fn looking<R>(&mut self, look: impl FnOnce(&mut Self) -> R) -> R {
        let uses = std::mem::replace(&mut self.uses, false);
        let result = look(self);
        self.uses = uses;
        result
    }

    /// The key is used, whatever its type. False: there is none.
    pub fn touch(&mut self, key: &[u8]) -> bool {
        let Some((slot, handle, _)) = self.visible(key) else { return false };
        if self.uses {
            self.engine.state.use_key(slot, handle);
        }
        true
    }

    /// Milliseconds since the key was last used, as far as that is known; none if there is no such key. Where its cell has no room for that, since it was
    /// last written.
    pub fn idle_ms(&mut self, key: &[u8]) -> Option<u64> {
        let (_, handle, _) = self.visible(key)?;
        let state = self.state();
        Some(ms_between(state.used(handle), state.now))
    }
}
