//! What commands are written against: typed reads and writes within one unit of work. Every write takes effect at once, is noted in the
//! delta, and can be undone. An expired key is absent; the first write to it removes what was left.

mod events;
pub mod kept;
pub mod siblings;

use std::borrow::Cow;
use std::cell::Cell;

use trireme_proto::ids::Dot;

use super::delta::{Change, Header, Part, put_change};
use super::slot::slot_of;
use super::state::State;
use super::state::cells::Handle;
use super::state::edit::Write;
use super::state::register::integer;
use super::vector::ReceivedSet;
use super::{At, Effect, Engine};

mod lists;
mod sorted;
pub mod uses;
mod watched;

/// The type of a key, as a client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string, a counter, or both.
    String,
    /// Fields with values.
    Hash,
    /// Members.
    Set,
    /// Members with scores.
    SortedSet,
    /// Elements in order.
    List,
}

/// The key holds another type than the command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key holds another type of value")]
pub struct WrongType;

/// Why a number was not incremented. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IncrementError {
    /// See [`WrongType`].
    #[error(transparent)]
    WrongType(#[from] WrongType),
    /// What is there is not a 64-bit signed integer in its one decimal form.
    #[error("the value is not an integer")]
    NotAnInteger,
    /// The sum does not fit into 64 bits.
    #[error("the sum would overflow")]
    Overflow,
}

/// Typed access to the state within one unit of work: see [`Engine::execute`].
pub struct Access<'a> {
    engine: &'a mut Engine,
    delta: &'a mut Vec<u8>,
    now_ms: u64,
    dot: Dot,
    last_key: Option<(usize, usize)>,
    depends_on: Cell<u64>,
    wrote: bool,
    /// The next write into a key is in place of what it has held: it is not new.
    replaces: bool,
    /// Keys that are read count as used.
    uses: bool,
    w: Write<'static>,
}

/// A key that is there for clients, and where.
type Seen = (u16, Handle, Kind);

impl<'a> Access<'a> {
    pub(super) fn new(engine: &'a mut Engine, at: &At, delta: &'a mut Vec<u8>, dot: Dot, clock: u64) -> Access<'a> {
        let w = Write {
            dot,
            clock,
            seq: at.seq,
            context: None,
            covers: true,
            within: true,
            in_order: true,
            extra: None,
            known: false,
        };
        let (depends_on, uses) = (Cell::new(0), engine.uses);
        let (last_key, wrote, replaces) = (None, false, false);
        Access { engine, delta, now_ms: at.now_ms, dot, last_key, depends_on, wrote, replaces, uses, w }
    }

    pub(super) fn effect(&self) -> Effect {
        Effect { wrote: self.wrote, depends_on: self.depends_on.get() }
    }

    pub(super) fn state(&self) -> &State {
        &self.engine.state
    }

    /// Looks at a slot: the reply depends on its last write.
    fn look(&self, slot: u16) {
        let at = self.state().slot(slot);
        if at.touched != self.state().journal.current {
            self.depends_on.set(self.depends_on.get().max(at.last_write));
        }
    }

    fn find(&self, key: &[u8]) -> (u16, Option<Handle>) {
        let slot = slot_of(key);
        self.look(slot);
        (slot, self.state().find(slot, key))
    }

    fn kind_of(&self, handle: Handle) -> Option<Kind> {
        let Some(index) = handle.as_key() else { return Some(Kind::String) };
        let key = self.state().key(index)?;
        if !key.present || key.expires_at().is_some_and(|at_ms| at_ms <= self.now_ms) {
            return None;
        }
        let parts = [
            (Part::Hash, Kind::Hash),
            (Part::Set, Kind::Set),
            (Part::SortedSet, Kind::SortedSet),
            (Part::List, Kind::List),
        ];
        let slot = || slot_of(&key.value.name);
        let string = !key.value.siblings.is_empty()
            || (!key.value.counts.is_empty()
                && key.value.visible(&|o| self.state().reset(slot(), &key.value.name, Part::Value, &[], o)));
        let first = || parts.iter().find(|(part, _)| key.visible_in(*part) > 0).map(|(_, kind)| *kind);
        if string { Some(Kind::String) } else { first() }
    }

    fn visible(&self, key: &[u8]) -> Option<Seen> {
        let (slot, handle) = self.find(key);
        let handle = handle?;
        Some((slot, handle, self.kind_of(handle)?))
    }

    fn of_kind(&mut self, key: &[u8], kind: Kind) -> Result<Option<(u16, Handle)>, WrongType> {
        match self.visible(key) {
            Some((_, _, other)) if other != kind => Err(WrongType),
            Some((slot, handle, _)) if self.uses => Ok(Some((slot, self.engine.state.use_key(slot, handle)))),
            Some((slot, handle, _)) => Ok(Some((slot, handle))),
            None => Ok(None),
        }
    }

    /// A delta without a change: it has a name, and goes everywhere.
    pub(crate) fn write_nothing(&mut self) {
        if !self.wrote {
            self.wrote = true;
            self.engine.write_header(self.delta, self.dot, self.w.clock);
        }
    }

    /// Notes a change in the delta and makes it.
    pub(super) fn write(&mut self, key: &[u8], change: Change<'_>) {
        let slot = slot_of(key);
        self.look(slot);
        self.write_nothing();
        if self.engine.state.slot(slot).side.is_some() {
            let same = self.last_key.is_some_and(|(begin, end)| &self.delta[begin..end] == key);
            let seen = if same { ReceivedSet::default() } else { self.engine.state.seen_of(slot, key) };
            if !seen.is_empty() {
                put_change(self.delta, &mut self.last_key, key, &Change::Seen(seen));
            }
        }
        put_change(self.delta, &mut self.last_key, key, &change);
        self.engine.state.apply(slot, key, change, &mut self.w);
    }

    /// Before a removal: cancels what other origins have counted in what it removes, as far as it was seen.
    pub(super) fn write_resets(&mut self, key: &[u8], of: Option<(Part, &[u8])>) {
        let own = [self.engine.origin];
        if self.engine.received.origins().iter().all(|s| own.contains(&s.origin)) && self.engine.state.sided.is_empty()
        {
            return;
        }
        for (part, name, dot, total) in self.engine.state.seen_totals(slot_of(key), key, of) {
            if dot.origin != self.engine.origin {
                let reset = Change::Reset { part, name: &name, origin: dot.origin, seq: dot.seq, total };
                self.write(key, reset);
            }
        }
    }

    /// Removes all that was seen of a key.
    pub(super) fn clear(&mut self, key: &[u8]) {
        self.write_resets(key, None);
        self.write(key, Change::Clear { keep_expiry: false });
    }

    /// Before a write that needs the key to be there or not: what is left of an expired key goes.
    fn clean(&mut self, key: &[u8]) {
        self.tell_new(key);
        let (_, handle) = self.find(key);
        if handle.is_some_and(|h| self.kind_of(h).is_none()) {
            self.clear(key);
        }
    }

    /// After a removal: a key of which nothing is left loses its expiry too.
    fn drop_empty(&mut self, key: &[u8]) {
        let (_, handle) = self.find(key);
        if handle.is_some_and(|h| !self.state().is_present(h)) {
            self.clear(key);
        }
    }

    /// The time of this unit of work, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The visible type; none if there is no such key.
    pub fn kind(&mut self, key: &[u8]) -> Option<Kind> {
        self.visible(key).map(|(_, _, kind)| kind)
    }

    /// Removes the key, whatever its type. False: there was none.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let (_, Some(handle)) = self.find(key) else { return false };
        let there = self.kind_of(handle).is_some();
        self.tell_expired(key, Some(handle));
        self.clear(key);
        there
    }

    /// When the key expires, in milliseconds since 1970; none: never, or no such key.
    pub fn expires_at(&mut self, key: &[u8]) -> Option<u64> {
        let (_, handle, _) = self.visible(key)?;
        self.state().expires_at(handle)
    }

    /// Sets when the key expires, in milliseconds since 1970, or that it never does. False: no such key.
    pub fn set_expiry(&mut self, key: &[u8], at_ms: Option<u64>) -> bool {
        let Some((_, handle, _)) = self.visible(key) else { return false };
        match at_ms {
            Some(at_ms) => self.write(key, Change::Expire { at_ms }),
            None if self.state().expires_at(handle).is_some() => self.write(key, Change::Persist),
            None => {}
        }
        true
    }

    /// A string's value, its counter part included.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn string(&mut self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, WrongType> {
        let Some((slot, handle)) = self.of_kind(key, Kind::String)? else { return Ok(None) };
        let state = self.state();
        let Some(index) = handle.as_key() else { return Ok(state.cells.plain(handle).map(|p| Cow::Borrowed(p.value))) };
        let Some(found) = state.key(index) else { return Ok(None) };
        let name = &found.value.name;
        Ok(found.value.value(&|o| state.reset(slot, name, Part::Value, &[], o)))
    }

    /// SET: replaces whatever is there, of any type.
    pub fn put_string(&mut self, key: &[u8], value: &[u8], keep_expiry: bool) {
        let mut keep_expiry = keep_expiry;
        if keep_expiry && self.visible(key).is_none() {
            keep_expiry = false;
        }
        self.tell_new(key);
        self.write_resets(key, None);
        self.write(key, Change::Set { keep_expiry, value });
    }

    /// INCRBY: the value afterwards.
    ///
    /// # Errors
    /// See [`IncrementError`].
    pub fn increment(&mut self, key: &[u8], by: i64) -> Result<i64, IncrementError> {
        let old = self.string(key)?.map_or(Ok(0), |v| integer(&v).ok_or(IncrementError::NotAnInteger))?;
        let sum = old.checked_add(by).ok_or(IncrementError::Overflow)?;
        self.clean(key);
        self.count(key, (Part::Value, &[]), by);
        Ok(sum)
    }

    fn count(&mut self, key: &[u8], at: (Part, &[u8]), by: i64) {
        let (total, base) =
            self.engine.state.own_count(slot_of(key), key, at, self.engine.origin).unwrap_or((0, (self.dot.seq, 0)));
        let (part, name) = at;
        self.write(key, Change::Count { part, name, total: total.wrapping_add(by), by, base });
    }

    fn element(&mut self, key: &[u8], kind: Kind, part: Part, name: &[u8]) -> Result<Option<(u16, Handle)>, WrongType> {
        let Some((slot, handle)) = self.of_kind(key, kind)? else { return Ok(None) };
        let state = self.state();
        let found = handle.as_key().and_then(|index| state.find_element(index, part, name));
        Ok(found.filter(|h| state.element_visible(slot, key, part, *h)).map(|h| (slot, h)))
    }

    fn put_element(&mut self, key: &[u8], kind: Kind, at: (Part, &[u8]), value: &[u8]) -> Result<bool, WrongType> {
        let (part, name) = at;
        let new = self.element(key, kind, part, name)?.is_none();
        if part == Part::Set && !new && self.engine.alone && !self.engine.shared {
            return Ok(false);
        }
        self.clean(key);
        if part != Part::Set {
            self.write_resets(key, Some(at));
        }
        self.write(key, Change::Put { part, name, value });
        Ok(new)
    }

    fn remove_element(&mut self, key: &[u8], kind: Kind, at: (Part, &[u8])) -> Result<bool, WrongType> {
        let (part, name) = at;
        if self.element(key, kind, part, name)?.is_none() {
            return Ok(false);
        }
        if part != Part::Set {
            self.write_resets(key, Some(at));
        }
        self.write(key, Change::Remove { part, name });
        self.drop_empty(key);
        Ok(true)
    }

    /// The visible elements of what was found.
    fn elements(&self, found: Option<(u16, Handle)>, part: Part) -> impl Iterator<Item = (u16, Handle)> {
        let state = self.state();
        let collection = found.and_then(|(slot, h)| Some((slot, state.key(h.as_key()?)?)));
        let handles = collection.and_then(|(slot, k)| Some((slot, &k.value.name, k.part(part)?)));
        handles.into_iter().flat_map(move |(slot, name, c)| {
            let all = c.table.iter();
            all.filter(move |h| state.element_visible(slot, name, part, *h)).map(move |h| (slot, h))
        })
    }

    fn element_count(&mut self, key: &[u8], kind: Kind, part: Part) -> Result<usize, WrongType> {
        let found = self.of_kind(key, kind)?;
        let key = found.and_then(|(_, h)| self.state().key(h.as_key()?));
        Ok(key.map_or(0, |k| k.visible_in(part)))
    }

    /// HGET.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn field(&mut self, key: &[u8], field: &[u8]) -> Result<Option<Cow<'_, [u8]>>, WrongType> {
        let found = self.element(key, Kind::Hash, Part::Hash, field)?;
        let Some((slot, handle)) = found else { return Ok(None) };
        // The key's own copy of its name lives as long as the answer.
        let (_, Some(top)) = self.find(key) else { return Ok(None) };
        Ok(element_value(self.state(), slot, self.state().name(top), handle))
    }

    /// HSET. True: the field is new.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn put_field(&mut self, key: &[u8], field: &[u8], value: &[u8]) -> Result<bool, WrongType> {
        self.put_element(key, Kind::Hash, (Part::Hash, field), value)
    }

    /// HDEL. True: the field was there. With its last field the key goes.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn remove_field(&mut self, key: &[u8], field: &[u8]) -> Result<bool, WrongType> {
        self.remove_element(key, Kind::Hash, (Part::Hash, field))
    }

    /// HINCRBY: the value afterwards.
    ///
    /// # Errors
    /// See [`IncrementError`].
    pub fn increment_field(&mut self, key: &[u8], field: &[u8], by: i64) -> Result<i64, IncrementError> {
        let old = self.field(key, field)?.map_or(Ok(0), |v| integer(&v).ok_or(IncrementError::NotAnInteger))?;
        let sum = old.checked_add(by).ok_or(IncrementError::Overflow)?;
        self.clean(key);
        self.count(key, (Part::Hash, field), by);
        Ok(sum)
    }

    /// HLEN.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn field_count(&mut self, key: &[u8]) -> Result<usize, WrongType> {
        self.element_count(key, Kind::Hash, Part::Hash)
    }

    /// All fields and their values, in no order.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn fields(&mut self, key: &[u8]) -> Result<impl Iterator<Item = (&[u8], Cow<'_, [u8]>)>, WrongType> {
        let found = self.of_kind(key, Kind::Hash)?;
        let state = self.state();
        let name = found.map_or(&[][..], |(_, top)| state.name(top));
        let elements = self.elements(found, Part::Hash);
        Ok(elements.filter_map(move |(slot, h)| Some((state.cells.name(h), element_value(state, slot, name, h)?))))
    }

    /// SISMEMBER.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn contains(&mut self, key: &[u8], member: &[u8]) -> Result<bool, WrongType> {
        Ok(self.element(key, Kind::Set, Part::Set, member)?.is_some())
    }

    /// SADD. True: the member is new.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn add_member(&mut self, key: &[u8], member: &[u8]) -> Result<bool, WrongType> {
        self.put_element(key, Kind::Set, (Part::Set, member), &[])
    }

    /// SREM. True: the member was there. With its last member the key goes.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn remove_member(&mut self, key: &[u8], member: &[u8]) -> Result<bool, WrongType> {
        self.remove_element(key, Kind::Set, (Part::Set, member))
    }

    /// SCARD.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn member_count(&mut self, key: &[u8]) -> Result<usize, WrongType> {
        self.element_count(key, Kind::Set, Part::Set)
    }

    /// All members, in no order.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn members(&mut self, key: &[u8]) -> Result<impl Iterator<Item = &[u8]>, WrongType> {
        let found = self.of_kind(key, Kind::Set)?;
        let state = self.state();
        Ok(self.elements(found, Part::Set).map(move |(_, h)| state.cells.name(h)))
    }

    /// Number of keys, with those that have expired and were not removed yet. The reply depends on all that is not committed.
    #[must_use]
    pub fn key_count(&self) -> u64 {
        let last = self.state().journal.last_seq().unwrap_or(0);
        self.depends_on.set(self.depends_on.get().max(last));
        self.engine.key_count()
    }

    /// The visible keys of a slot, in no order.
    pub fn keys_in_slot(&mut self, slot: u16) -> impl Iterator<Item = &[u8]> {
        let slot = slot % super::SLOTS as u16;
        self.look(slot);
        let handles = self.state().slot(slot).table.iter();
        handles.filter(|h| self.kind_of(*h).is_some()).map(|h| self.state().name(h))
    }

    /// A visible key, chosen by this random number; none if there is none.
    pub fn random_key(&mut self, random: u64) -> Option<Vec<u8>> {
        let slots = super::SLOTS as u64;
        for step in 0..slots {
            let slot = ((random + step) % slots) as u16;
            let handles = self.state().slot(slot).table.iter();
            let keys: Vec<Handle> = handles.filter(|h| self.kind_of(*h).is_some()).collect();
            if !keys.is_empty() {
                self.look(slot);
                let chosen = keys[((random / slots) % keys.len() as u64) as usize];
                return Some(self.state().name(chosen).to_vec());
            }
        }
        None
    }
}

fn element_value<'s>(state: &'s State, slot: u16, key: &'s [u8], handle: Handle) -> Option<Cow<'s, [u8]>> {
    if let Some(p) = state.cells.plain(handle) {
        return Some(Cow::Borrowed(p.value));
    }
    let register = state.cells.register(handle)?;
    register.value(&|o| state.reset(slot, key, Part::Hash, &register.name, o))
}
