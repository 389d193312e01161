//! Deltas joined into the state, and the deltas of a cut suffix made anew.

use trireme_proto::ids::{Dot, Origin};

use super::bytes::Reader;
use super::delta::{Change, Context, Header, Part, next_change, put_change};
use super::moved::too_old;
use super::slot::slot_of;
use super::state::edit::Write;
use super::{At, DeltaError, Engine, Heard, ReceivedSet};

/// Joins between two looks at what deletion left behind, at least.
const SWEEP_EVERY: usize = 64;

impl Engine {
    /// Joins a delta, of any origin, in any order. One that was received before changes nothing.
    ///
    /// # Errors
    /// The bytes are no delta: nothing has changed.
    pub fn join(&mut self, delta: &[u8], at: &At) -> Result<(), DeltaError> {
        self.loading = false;
        let mut reader = Reader { rest: delta };
        let header = Header::read(&mut reader)?;
        if self.received.contains(header.dot) {
            return Ok(());
        }
        if !header.context.within(&self.received) {
            self.ahead.causes.merge(&header.context.to_set());
        }
        self.state.begin();
        self.state.set_time(at.now_ms);
        self.state.seq = at.seq;
        let joined = self.join_changes(reader, &header, at.seq);
        let before = self.clock;
        self.clock = before.max(header.clock);
        self.received.insert(header.dot);
        header.names.iter().for_each(|name| self.moved.push(*name, header.dot));
        if let Err(error) = joined {
            self.state.end(at.seq, before, Some(header.dot), header.names.len(), true);
            self.undo_last();
            self.state.notes.take();
            return Err(error);
        }
        self.alone &= header.dot.origin.group == self.origin.group;
        self.hear(&header);
        if !at.keep_undo {
            self.committed.insert(header.dot);
        }
        self.sweep_sometimes();
        self.state.end(at.seq, before, Some(header.dot), header.names.len(), at.keep_undo);
        Ok(())
    }

    fn join_changes(&mut self, mut reader: Reader<'_>, header: &Header, seq: u64) -> Result<(), DeltaError> {
        let mut write = Write {
            dot: header.dot,
            clock: header.clock,
            seq,
            context: Some(&header.context),
            covers: header.context.covers(&self.received),
            within: header.context.within(&self.received),
            in_order: self.received.upto(header.dot.origin) + 1 >= header.dot.seq,
            extra: None,
            known: false,
        };
        let (mut key, mut last) = (None, None);
        while let Some(change) = next_change(&mut reader, &mut key)? {
            if key != last {
                write.extra = None;
                last = key;
            }
            if let Some(key) = key {
                self.state.apply(slot_of(key), key, change, &mut write);
            }
        }
        Ok(())
    }

    /// Remembers what an origin had received, for as long as there may be resets that wait for it.
    fn hear(&mut self, header: &Header) {
        if self.state.sided.is_empty() {
            self.heard.clear();
            return;
        }
        if header.dot.origin == self.origin {
            return;
        }
        let Dot { origin, seq } = header.dot;
        let mut received = header.context.to_set();
        received.insert(header.dot);
        let all = self.received.upto(origin);
        // A write in a client's name says less than what its origin had received; with its name, a heartbeat says the rest.
        if let Some(same) = self.heard.iter_mut().find(|h| h.origin == origin && h.seq == seq) {
            return same.received.merge(&received);
        }
        // At most two are kept: the newest that can be used now, and the newest of all.
        let usable = self.heard.iter().filter(|h| h.origin == origin && h.seq <= all).map(|h| h.seq).max();
        let newest = self.heard.iter().filter(|h| h.origin == origin).map(|h| h.seq).max();
        if newest.is_none_or(|n| seq > n) || (seq <= all && usable.is_none_or(|u| seq > u)) {
            self.heard.push(Heard { origin, seq, received });
            let usable = self.heard.iter().filter(|h| h.origin == origin && h.seq <= all).map(|h| h.seq).max();
            let newest = self.heard.iter().filter(|h| h.origin == origin).map(|h| h.seq).max();
            self.heard.retain(|h| h.origin != origin || Some(h.seq) == usable || Some(h.seq) == newest);
        }
    }

    /// Within a unit of work: looks now and then at what deletion left behind.
    pub(super) fn sweep_sometimes(&mut self) {
        self.joins_since_sweep += 1;
        let sided = self.state.sided.len();
        if sided > 0 && self.joins_since_sweep >= SWEEP_EVERY.max(sided / 4) {
            self.sweep();
        }
    }

    /// Forgets what deletion left behind and is needed no more. A reset is spent once every increment has arrived that its
    /// origin made before it saw the reset. The own group's deltas come in the order of its log, so that is so at once.
    pub(super) fn sweep(&mut self) {
        if self.loading {
            return; // Nobody has said yet whose state this is to be.
        }
        self.joins_since_sweep = 0;
        let Engine { state, committed, heard, origin, .. } = self;
        let has = |set: &ReceivedSet, dots: &[Dot]| dots.iter().all(|d| set.contains(*d));
        state.sweep(committed, &|reset| {
            (reset.origin.group == origin.group && has(committed, &reset.dots))
                || heard.iter().any(|h| {
                    h.origin == reset.origin && has(&h.received, &reset.dots) && committed.upto(h.origin) >= h.seq
                })
        });
    }

    /// What an origin had received when it had produced so many deltas, said beside its deltas: so that what waits for it is forgotten although the origin
    /// has nothing to write.
    pub fn hear_of(&mut self, dot: Dot, received: &ReceivedSet) {
        if dot.seq > 0 && !self.state.sided.is_empty() {
            let context = Context::Set(received.clone());
            self.hear(&Header { dot, clock: 0, context, names: Vec::new() });
        }
    }

    /// Whether everything that its origin had seen when it made a delta has been received.
    #[must_use]
    pub fn is_ready(&self, delta: &[u8]) -> bool {
        Header::read(&mut Reader { rest: delta }).is_ok_and(|header| header.context.within(&self.received))
    }

    /// The name of a delta, without a look at the rest of it.
    ///
    /// # Errors
    /// The bytes are no delta.
    pub fn dot_of(delta: &[u8]) -> Result<Dot, DeltaError> {
        Header::read_dot(&mut Reader { rest: delta }).map(|(_, dot)| dot)
    }

    /// The slots of the keys that a delta changes, as far as it can be read; one may come several times.
    pub(crate) fn slots_of(delta: &[u8]) -> impl Iterator<Item = u16> {
        let (mut reader, mut key) = (Reader { rest: delta }, None);
        let header = Header::read(&mut reader);
        std::iter::from_fn(move || {
            let Ok(Some(_)) = header.as_ref().ok().map_or(Ok(None), |_| next_change(&mut reader, &mut key)) else {
                return None;
            };
            key.map(slot_of)
        })
    }

    /// Who produced a delta.
    ///
    /// # Errors
    /// The bytes are no delta.
    pub fn origin_of(delta: &[u8]) -> Result<Origin, DeltaError> {
        Ok(Engine::dot_of(delta)?.origin)
    }

    /// Whether a delta is so many generations old that it is no longer made anew.
    pub fn is_too_old(&self, delta: &[u8]) -> bool {
        Engine::origin_of(delta).is_ok_and(|origin| too_old(origin, &self.received))
    }

    /// Makes a delta of a cut suffix anew: its changes go into `out` under a new dot of this origin, with the context they had,
    /// so that nothing newer is overwritten, and are joined here. False, and nothing appended, if that would change nothing or
    /// the delta is older than what is recovered at all (64 generations of its group).
    ///
    /// # Errors
    /// The bytes are no delta: nothing has changed.
    pub fn readdress(&mut self, delta: &[u8], at: &At, out: &mut Vec<u8>) -> Result<bool, DeltaError> {
        let mut reader = Reader { rest: delta };
        let header = Header::read(&mut reader)?;
        let mut names = header.names.clone();
        names.push(header.dot);
        let known = |name: &Dot| self.received.contains(*name) || self.moved.has(*name);
        if names.iter().any(|name| known(name) || too_old(name.origin, &self.received)) {
            return Ok(false);
        }
        let dot = self.next_dot();
        let context = self.moved.translate(&header.context.to_set());
        if Context::Set(context.clone()).contains(dot) {
            return reader.error("a context that names what has not happened");
        }
        let begin = out.len();
        let clock = self.clock_below(reader, &context, header.clock)?;
        Header::write(out, dot, clock, Some(&context), &names);
        if let Err(error) = self.copy_changes(reader, dot, out) {
            out.truncate(begin);
            return Err(error);
        }
        let before = self.state.digest_total;
        if let Err(error) = self.join(&out[begin..], &At { keep_undo: true, ..*at }) {
            out.truncate(begin);
            return Err(error);
        }
        let changed = self.state.digest_total != before;
        if !changed {
            self.undo_last();
            self.state.notes.take();
            out.truncate(begin);
        } else if !at.keep_undo {
            self.state.forget_last();
            self.committed.insert(dot);
        }
        Ok(changed)
    }

    /// The clock of a delta that is made anew: below all that it would compete with and had not seen, so that it never wins.
    fn clock_below(&self, mut reader: Reader<'_>, seen: &ReceivedSet, clock: u64) -> Result<u64, DeltaError> {
        let (mut key, mut clock) = (None, clock);
        while let Some(change) = next_change(&mut reader, &mut key)? {
            let (part, name) = match change {
                Change::Set { .. } | Change::Expire { .. } => (Part::Value, &[][..]),
                Change::Put { part, name, .. } => (part, name),
                _ => continue,
            };
            if let Some(newer) = key.and_then(|key| self.state.oldest_unseen(key, part, name, seen)) {
                clock = clock.min(newer.saturating_sub(1));
            }
        }
        Ok(clock)
    }

    /// Copies changes. What was counted by the origin that was cut is counted by this one.
    fn copy_changes(&self, mut reader: Reader<'_>, dot: Dot, out: &mut Vec<u8>) -> Result<(), DeltaError> {
        type Running<'a> = (&'a [u8], Part, &'a [u8], i64, (u64, i64));
        let mut running: Vec<Running<'_>> = Vec::new();
        let (mut key, mut last_key) = (None, None);
        while let Some(change) = next_change(&mut reader, &mut key)? {
            let Some(key) = key else { continue };
            let Change::Count { part, name, by, .. } = change else {
                if matches!(
                    change,
                    Change::Clear { .. } | Change::Set { .. } | Change::Put { .. } | Change::Remove { .. }
                ) {
                    running.retain(|r| r.0 != key);
                }
                put_change(out, &mut last_key, key, &change);
                continue;
            };
            let at = running.iter().position(|r| r.0 == key && r.1 == part && r.2 == name).unwrap_or_else(|| {
                let own = self.state.own_count(slot_of(key), key, (part, name), self.origin);
                let (total, base) = own.unwrap_or((0, (dot.seq, 0)));
                running.push((key, part, name, total, base));
                running.len() - 1
            });
            let (_, _, _, total, base) = &mut running[at];
            *total = total.wrapping_add(by);
            put_change(out, &mut last_key, key, &Change::Count { part, name, total: *total, by, base: *base });
        }
        Ok(())
    }
}
