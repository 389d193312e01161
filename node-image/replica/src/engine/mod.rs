//! The delta engine: every command that changes data becomes a small delta that can be joined into any replica's state in any
//! order, any number of times, with the same result. Pure: time comes in as an argument, and there is no randomness and no IO.
//!
//! - [`access`]: what commands are written against. It changes the state at once and notes the change in the delta.
//! - [`evict`]: which keys go where memory is bounded.
//! - `position`: where an element of a list stands among the others.
//! - `delta`: the bytes of a delta. `join`: a delta joined, or made anew under another name (`moved`).
//! - [`conflicts`]: what was joined beside, or against, something that its writer had not seen.
//! - `state`: keys and values in memory, the undo journal, and the changes themselves (one code for origin and join).
//! - [`events`]: what commands do to keys, for who listens to that.
//! - `ahead`: whether the state is one that causality allows to be shown. [`vector`]: received sets. [`clock`]: hybrid logical clock. `digest`, [`slot`]. `image`: state as bytes, and its join.
//!
//! **The rule, for every type: a command removes only what it has seen; what it has not seen survives.** A record is named by the
//! dot of the delta that made it. A removal carries the context, what its origin had seen; whether a dot that is absent here
//! was removed or never seen is decided by the received set, so deletes need no tombstones. Two things are left behind for a
//! while, beside the slot, never in a digest: removals that name what has not arrived, and resets of counters.
//! What an origin does to its own counter needs no reset: its removals' contexts name all its earlier increments.
//!
//! When several types meet on one key, the visible one is the first of string, hash, set, sorted set, list.

pub mod access;
mod ahead;
pub mod bytes;
pub mod clock;
pub mod command;
pub mod conflicts;
mod delta;
mod digest;
pub mod events;
pub mod evict;
mod image;
mod join;
mod moved;
mod position;
pub mod slot;
mod state;
#[cfg(test)]
mod tests;
pub mod vector;
pub(crate) mod warm;

pub use access::{Access, IncrementError, Kind, WrongType};
pub use bytes::DeltaError;
pub use clock::{ClockDrift, DRIFT_MS_MAX};
pub use conflicts::Noted;
pub use image::{BUCKETS, Scope};
pub use slot::{SLOTS, slot_of};
pub use vector::ReceivedSet;

use std::ops::Bound;

use trireme_proto::breakage::{Breakage, broken};
use trireme_proto::ids::{Dot, Origin};

use self::ahead::Ahead;
use self::delta::Header;
use self::events::{Classes, Event, Events};
use self::evict::Eviction;
use self::moved::Moved;
use self::state::State;

/// Keys that have expired of which one call of [`Engine::expire`] looks whether it may remove them.
const EXPIRED_LOOKED_AT: usize = 20_000;

/// Where and when an entry is executed or joined.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Seq that the entry has or will get in the group's log: it becomes its slots' last write.
    pub seq: u64,
    /// Wall clock, milliseconds since 1970.
    pub now_ms: u64,
    /// Keep what undoes the entry until [`Engine::forget_undo`].
    pub keep_undo: bool,
}

/// What an execution did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Bytes were appended to the delta.
    pub wrote: bool,
    /// The highest log seq among the last writes of the slots it touched, before this call.
    pub depends_on: u64,
}

/// What one origin is known to have received when it had produced so many deltas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    origin: Origin,
    seq: u64,
    received: ReceivedSet,
}

/// The state of one replica and all that joins deltas into it.
pub struct Engine {
    state: State,
    origin: Origin,
    received: ReceivedSet,
    /// The same without what may still be undone: what an image may claim to hold.
    committed: ReceivedSet,
    clock: u64,
    heard: Vec<Heard>,
    /// Deltas of cut suffixes that were appended again.
    moved: Moved,
    ahead: Ahead,
    events: Events,
    /// State is being read from images: no delta has been executed or joined yet.
    loading: bool,
    /// No other group has written so far: adding a member that is there need not be told anybody.
    alone: bool,
    /// Keys that a command reads count as used.
    uses: bool,
    eviction: Eviction,
    /// The last of the keys that had expired and were not to be removed here: the next look goes on behind it.
    kept_expired: Option<(u64, Box<[u8]>)>,
    /// Other groups write at the same time, whether or not anything of theirs has arrived.
    shared: bool,
    joins_since_sweep: usize,
}

impl Default for Engine {
    fn default() -> Self {
        Engine::new()
    }
}

impl Engine {
    /// An empty engine, of group 1 and generation 0 until [`Engine::set_origin`].
    #[must_use]
    pub fn new() -> Engine {
        Engine {
            state: State::new(),
            origin: Origin { group: 1, generation: 0 },
            received: ReceivedSet::default(),
            committed: ReceivedSet::default(),
            clock: 0,
            heard: Vec::new(),
            moved: Moved::default(),
            ahead: Ahead::default(),
            events: Events::default(),
            loading: true,
            alone: true,
            uses: true,
            eviction: Eviction::default(),
            kept_expired: None,
            shared: false,
            joins_since_sweep: 0,
        }
    }

    /// Who this engine writes as from now on.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
        self.alone = self.received.origins().iter().all(|s| s.origin.group == origin.group);
        self.moved.forget_old(&self.received);
    }

    /// Who this engine writes as.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Other groups write into the same state from now on.
    pub fn share(&mut self) {
        self.shared = true;
    }

    /// Runs `f` as one unit of work, one command or one whole transaction, and appends its changes to `delta` as one delta.
    /// No changes: no bytes, and no dot is used.
    pub fn execute<R>(&mut self, at: &At, delta: &mut Vec<u8>, f: impl FnOnce(&mut Access<'_>) -> R) -> (R, Effect) {
        self.loading = false;
        self.events.told.clear();
        self.state.begin();
        self.state.set_time(at.now_ms);
        self.state.seq = at.seq;
        let dot = self.next_dot();
        let clock = clock::tick(self.clock, at.now_ms);
        let mut access = Access::new(self, at, delta, dot, clock);
        let result = f(&mut access);
        let effect = access.effect();
        if effect.wrote {
            self.received.insert(dot);
            let before = std::mem::replace(&mut self.clock, clock);
            if !at.keep_undo {
                self.committed.insert(dot);
            }
            self.sweep_sometimes();
            self.state.end(at.seq, before, Some(dot), 0, at.keep_undo);
        }
        (result, effect)
    }

    fn next_dot(&self) -> Dot {
        Dot { origin: self.origin, seq: self.received.highest(self.origin) + 1 }
    }

    /// Whether what was received is exactly this origin's deltas before `dot`: then a context is written in one bit.
    fn only_before(&self, dot: Dot) -> bool {
        match self.received.origins() {
            [] => dot.seq == 1,
            [only] => only.origin == dot.origin && only.beyond.is_empty() && only.upto + 1 == dot.seq,
            _ => false,
        }
    }

    /// The state is that of this log seq, or was read while it moved up to there: what has gone before is not known.
    pub fn begins_at(&mut self, seq: u64) {
        self.state.gone.forget(seq);
    }

    /// Undoes everything with a log seq above this one, in reverse order.
    pub fn undo_after(&mut self, seq: u64) {
        while self.state.journal.last_seq().is_some_and(|last| last > seq) {
            self.undo_last();
        }
        if self.is_ahead() || !self.state.sided.is_empty() {
            self.shows_less();
        }
        let received = &self.received;
        self.heard.retain(|h| received.upto(h.origin) >= h.seq);
    }

    fn undo_last(&mut self) {
        let Some(unit) = self.state.undo_last() else { return };
        self.clock = unit.clock;
        if let Some(dot) = unit.dot {
            self.received.remove(dot);
        }
        if let Some(landed) = unit.landed {
            self.received = landed.before;
        }
        (0..unit.names).for_each(|_| self.moved.pop());
    }

    /// Everything up to this log seq is committed: what undoes it is dropped.
    pub fn forget_undo(&mut self, upto: u64) {
        while self.state.journal.first_seq().is_some_and(|first| first <= upto) {
            let Some(unit) = self.state.forget_first() else { return };
            if let Some(dot) = unit.dot {
                self.committed.insert(dot);
            }
            if let Some(landed) = unit.landed {
                self.committed.merge(&landed.added);
            }
        }
    }

    /// Removes up to `keys_max` keys that have expired, as one delta of this origin: those that it may remove, of 20,000 that have. The next call looks at
    /// those behind them, and the one after the last begins again. Says how many it has removed: where these are `keys_max`, there may be more.
    pub fn expire(
        &mut self,
        at: &At,
        delta: &mut Vec<u8>,
        keys_max: usize,
        may: impl Fn(&[u8]) -> bool,
    ) -> (usize, Effect) {
        let before = self.kept_expired.take();
        let from = before.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let due = self.state.expiries.range((from, Bound::Unbounded)).take_while(|e| e.0 <= at.now_ms);
        let (mut keys, mut kept, mut left) = (Vec::new(), None, EXPIRED_LOOKED_AT);
        for expired in due {
            match may(&expired.1) {
                true => keys.push(expired.1.clone()),
                false => kept = Some(expired),
            }
            left -= 1;
            if keys.len() >= keys_max || left == 0 {
                break;
            }
        }
        let all_seen = keys.len() < keys_max && left > 0;
        self.kept_expired = kept.cloned().or(before).filter(|_| !all_seen);
        if keys.is_empty() {
            return (0, Effect::default());
        }
        let remove = |access: &mut Access<'_>| keys.iter().for_each(|key| _ = access.remove(key));
        (keys.len(), self.execute(at, delta, remove).1)
    }

    /// Whether keys that commands read from now on count as used.
    pub fn count_uses(&mut self, on: bool) {
        self.uses = on;
    }

    /// Whether each key that is written from now on has room for when it is used, which may cost it up to 8 bytes; else those whose size leaves it.
    pub fn keep_uses(&mut self, all: bool) {
        self.state.cells.stamp_all(all);
    }

    /// About how many bytes keys and values take, without what only the journal holds.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.state.live
    }

    /// Bytes that are kept for values to come.
    #[must_use]
    pub fn spare_bytes(&self) -> u64 {
        self.state.cells.spare_bytes()
    }

    /// Of these the bytes that are more than may be: keys are moved closer until there are none, as far as that can be done.
    #[must_use]
    pub fn loose_bytes(&self) -> u64 {
        self.state.cells.loose_bytes(self.state.live)
    }

    /// Moves keys closer in memory, where they stand loosely: so many at most. To be called now and then, and after much was removed.
    pub fn tidy(&mut self, moves_max: usize) {
        self.state.tidy(moves_max);
    }

    /// When the next key expires, in milliseconds since 1970.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.state.expiries.first().map(|e| e.0)
    }

    /// Log seq of the slot's last write; 0: never written.
    #[must_use]
    pub fn last_write(&self, slot: u16) -> u64 {
        self.state.slot(slot).last_write
    }

    /// Digest of a slot.
    #[must_use]
    pub fn digest(&self, slot: u16) -> u64 {
        self.state.slot(slot).digest
    }

    /// Digest of one key: 0 where there is none. Two replicas that have the same one show clients the same of it.
    #[must_use]
    pub fn key_digest(&self, key: &[u8]) -> u64 {
        let handle = self.state.find(slot_of(key), key);
        handle.map_or(0, |handle| self.state.digest_of(handle))
    }

    /// Digests of a slot's buckets.
    #[must_use]
    pub fn bucket_digests(&self, slot: u16) -> [u64; BUCKETS] {
        let mut digests = [0; BUCKETS];
        for handle in self.state.slot(slot).table.iter() {
            digests[usize::from(image::bucket_of(self.state.name(handle)))] ^= self.state.digest_of(handle);
        }
        digests
    }

    /// How many keys a slot has, with those that are kept and show nothing.
    #[must_use]
    pub fn keys_of(&self, slot: u16) -> usize {
        self.state.slot(slot).table.len()
    }

    /// Whether something beside the slot waits for deltas to arrive: its digest does not tell all of it.
    #[must_use]
    pub fn is_sided(&self, slot: u16) -> bool {
        self.state.slot(slot).side.is_some()
    }

    /// Whether that is so of any slot.
    #[must_use]
    pub fn is_any_sided(&self) -> bool {
        !self.state.sided.is_empty()
    }

    /// XOR of all slots' digests.
    #[must_use]
    pub fn digest_total(&self) -> u64 {
        self.state.digest_total
    }

    /// Everything that was received, with the gaps.
    #[must_use]
    pub fn received(&self) -> &ReceivedSet {
        &self.received
    }

    /// The same without what may still be undone.
    #[must_use]
    pub fn committed(&self) -> &ReceivedSet {
        &self.committed
    }

    /// Of entries that are not here, how many are by another name, because they were appended again, and the intervals of the others.
    pub(crate) fn moved_of(&self, seen: &vector::Seen) -> (u64, Vec<(u64, u64)>) {
        self.moved.count_of(seen, &self.committed)
    }

    /// The hybrid logical clock: the highest one that was executed, joined or observed.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Merges a clock that was heard.
    ///
    /// # Errors
    /// It is more than [`DRIFT_MS_MAX`] ahead of this machine's: nothing is merged.
    pub fn observe_clock(&mut self, clock: u64, now_ms: u64) -> Result<(), ClockDrift> {
        clock::check(clock, now_ms)?;
        self.clock = self.clock.max(clock);
        Ok(())
    }

    /// Number of keys, with those that have expired and were not removed yet.
    #[must_use]
    pub fn key_count(&self) -> u64 {
        self.state.present
    }

    /// Conflicts are noted from now on: see [`Engine::take_conflicts`].
    pub fn note_conflicts(&mut self) {
        self.state.notes.on = true;
    }

    /// The conflicts that were noted since the last call: to be called after each unit of work, so that what is undone is not mixed with others.
    pub fn take_conflicts(&mut self) -> Noted {
        if self.state.notes.is_empty() { Noted::default() } else { self.state.notes.take() }
    }

    /// Which keyspace events are told from now on.
    pub fn tell_events(&mut self, classes: Classes) {
        self.events.classes = classes;
    }

    /// What the last unit of work has told so far, in order, since the last call: to be called after it, as the next one begins with nothing.
    pub fn take_events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.told.drain(..)
    }

    fn write_header(&self, out: &mut Vec<u8>, dot: Dot, clock: u64) {
        let alone = self.only_before(dot) || broken(Breakage::DropContext);
        let context = if alone { None } else { Some(&self.received) };
        Header::write(out, dot, clock, context, &[]);
    }
}
