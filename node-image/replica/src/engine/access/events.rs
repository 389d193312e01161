//! Keyspace events, as commands tell them.

use bytes::Bytes;

use super::Access;
use crate::engine::events::{Classes, Event};
use crate::engine::state::cells::Handle;

impl Access<'_> {
    /// Whether somebody wants to hear of events of these classes.
    #[inline]
    pub fn tells(&self, any: Classes) -> bool {
        self.engine.events.classes.has(any)
    }

    /// Something has happened to a key.
    #[inline]
    pub fn tell(&mut self, class: Classes, name: &'static str, key: &[u8]) {
        if self.tells(class) {
            self.put_event(name, key);
        }
    }

    fn put_event(&mut self, name: &'static str, key: &[u8]) {
        self.engine.events.told.push(Event { name, key: Bytes::copy_from_slice(key) });
    }

    /// Something has been taken from a key: that, and that the key is gone if it was the last.
    #[inline]
    pub fn tell_taken(&mut self, class: Classes, name: &'static str, key: &[u8]) {
        self.tell(class, name, key);
        if self.tells(Classes::GENERIC) && self.kind(key).is_none() {
            self.put_event("del", key);
        }
    }

    /// A command reads a key: if there is none, that was a miss.
    #[inline]
    pub fn tell_miss(&mut self, key: &[u8]) {
        if self.tells(Classes::MISS) && self.kind(key).is_none() {
            self.put_event("keymiss", key);
        }
    }

    /// Removes a key. False: there was none.
    pub fn remove_and_tell(&mut self, key: &[u8]) -> bool {
        let there = self.remove(key);
        if there {
            self.tell(Classes::GENERIC, "del", key);
        }
        there
    }

    /// Removes what a key holds, of whatever type, so that a command's result can take its place. Where there is none (`!fills`) the key is gone.
    pub fn clear_for_result(&mut self, key: &[u8], fills: bool) {
        if !fills {
            self.remove_and_tell(key);
        } else if self.remove(key) {
            self.replaces = true;
        }
    }

    /// See [`Engine::take_events`](crate::engine::Engine::take_events).
    pub(crate) fn take_events(&mut self) -> std::vec::Drain<'_, Event> {
        self.engine.take_events()
    }

    /// Before a write into a key: what is left of it has expired, or it is new.
    #[inline]
    pub(super) fn tell_new(&mut self, key: &[u8]) {
        if !self.engine.events.classes.has(Classes::BEFORE_WRITES) {
            self.replaces = false;
            return;
        }
        let handle = self.find(key).1;
        self.tell_expired(key, handle);
        let new = handle.is_none_or(|handle| self.kind_of(handle).is_none());
        if !std::mem::take(&mut self.replaces) && new {
            self.tell(Classes::NEW, "new", key);
        }
    }

    /// Before what is left of a key is removed: it has gone by its time.
    pub(super) fn tell_expired(&mut self, key: &[u8], handle: Option<Handle>) {
        if !self.tells(Classes::EXPIRED) {
            return;
        }
        let found = handle.and_then(|handle| self.state().key(handle.as_key()?));
        let expired = |at_ms: u64| at_ms <= self.now_ms;
        if found.is_some_and(|found| found.present && found.expires_at().is_some_and(expired)) {
            self.tell(Classes::EXPIRED, "expired", key);
        }
    }
}
