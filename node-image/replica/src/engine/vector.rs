//! Which deltas have been seen: per origin a contiguous prefix, and intervals beyond it.

use trireme_proto::ids::{Dot, Origin};

use super::bytes::{DeltaError, Reader, put_number};

/// Higher sequences are refused, so that arithmetic on them cannot overflow.
pub(crate) const SEQ_MAX: u64 = u64::MAX / 2;

/// One origin's part of a [`ReceivedSet`], in its only form: intervals in order, none empty, none touching its neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose.
    pub origin: Origin,
    /// Every sequence from 1 to here.
    pub upto: u64,
    /// Beyond a gap: (first, last), both inclusive.
    pub beyond: Vec<(u64, u64)>,
}

/// A version vector with the gaps: the set of dots that were received, or that a delta's origin had seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedSet {
    origins: Vec<Seen>,
}

impl ReceivedSet {
    /// Every origin of which something is in the set, in order.
    pub fn origins(&self) -> &[Seen] {
        &self.origins
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    fn of(&self, origin: Origin) -> Option<&Seen> {
        match self.origins.as_slice() {
            [only] => (only.origin == origin).then_some(only),
            many => many.iter().find(|s| s.origin == origin),
        }
    }

    /// Highest sequence up to which everything of this origin is in the set.
    pub fn upto(&self, origin: Origin) -> u64 {
        self.of(origin).map_or(0, |s| s.upto)
    }

    /// Highest sequence of this origin in the set, beyond gaps too.
    pub fn highest(&self, origin: Origin) -> u64 {
        self.of(origin).map_or(0, |s| s.beyond.last().map_or(s.upto, |b| b.1))
    }

    /// Whether the dot is in the set.
    pub fn contains(&self, dot: Dot) -> bool {
        self.of(dot.origin)
            .is_some_and(|s| dot.seq <= s.upto || s.beyond.iter().any(|&(a, b)| (a..=b).contains(&dot.seq)))
    }

    /// Whether all of these sequences of an origin are in the set, first and last included.
    pub(crate) fn contains_range(&self, origin: Origin, first: u64, last: u64) -> bool {
        self.of(origin)
            .is_some_and(|s| last <= s.upto || s.beyond.iter().any(|b| b.0 <= first.max(s.upto + 1) && last <= b.1))
    }

    /// Adds one dot. False: it was there.
    pub fn insert(&mut self, dot: Dot) -> bool {
        if dot.seq == 0 || self.contains(dot) {
            return false;
        }
        self.insert_range(dot.origin, dot.seq, dot.seq);
        true
    }

    pub(crate) fn insert_range(&mut self, origin: Origin, mut first: u64, mut last: u64) {
        let at = self.origins.binary_search_by_key(&origin, |s| s.origin).unwrap_or_else(|at| {
            self.origins.insert(at, Seen { origin, upto: 0, beyond: Vec::new() });
            at
        });
        let seen = &mut self.origins[at];
        if seen.beyond.is_empty() && first <= seen.upto + 1 {
            seen.upto = seen.upto.max(last);
            return;
        }
        if first <= seen.upto.saturating_add(1) {
            first = 1;
            last = last.max(seen.upto);
        }
        let begin = seen.beyond.partition_point(|b| b.1.saturating_add(1) < first);
        let end = begin + seen.beyond[begin..].partition_point(|b| b.0 <= last.saturating_add(1));
        if begin < end {
            first = first.min(seen.beyond[begin].0);
            last = last.max(seen.beyond[end - 1].1);
        }
        if first == 1 {
            seen.beyond.drain(..end);
            seen.upto = last;
        } else {
            seen.beyond.splice(begin..end, [(first, last)]);
        }
    }

    /// Adds everything of an origin up to a sequence.
    pub(crate) fn insert_prefix(&mut self, origin: Origin, upto: u64) {
        if upto > 0 {
            self.insert_range(origin, 1, upto);
        }
    }

    /// Takes one dot out again: the exact inverse of [`ReceivedSet::insert`].
    pub fn remove(&mut self, dot: Dot) {
        let Ok(at) = self.origins.binary_search_by_key(&dot.origin, |s| s.origin) else { return };
        let seen = &mut self.origins[at];
        if dot.seq <= seen.upto {
            if dot.seq < seen.upto {
                seen.beyond.insert(0, (dot.seq + 1, seen.upto));
            }
            seen.upto = dot.seq - 1;
        } else if let Some(i) = seen.beyond.iter().position(|&(a, b)| (a..=b).contains(&dot.seq)) {
            let (a, b) = seen.beyond[i];
            let parts = [(a, dot.seq - 1), (dot.seq + 1, b)].into_iter().filter(|(a, b)| a <= b);
            seen.beyond.splice(i..=i, parts);
        }
        if seen.upto == 0 && seen.beyond.is_empty() {
            self.origins.remove(at);
        }
    }

    /// Whether everything in `other` is in this set.
    pub fn covers(&self, other: &ReceivedSet) -> bool {
        other.origins.iter().all(|o| self.covers_part(o))
    }

    /// Whether everything in one origin's part of another set is in this one.
    pub fn covers_part(&self, other: &Seen) -> bool {
        self.of(other.origin).is_some_and(|s| {
            (other.upto == 0 || s.holds(1, other.upto)) && other.beyond.iter().all(|&(a, b)| s.holds(a, b))
        })
    }

    /// Adds everything in `other`.
    pub fn merge(&mut self, other: &ReceivedSet) {
        other.origins.iter().for_each(|seen| self.insert_seen(seen));
    }

    /// Adds what of one origin is in `seen`.
    pub(crate) fn insert_seen(&mut self, seen: &Seen) {
        if seen.upto > 0 {
            self.insert_range(seen.origin, 1, seen.upto);
        }
        for &(first, last) in &seen.beyond {
            self.insert_range(seen.origin, first, last);
        }
    }

    /// Whether none of it is in this set.
    pub(crate) fn lacks(&self, seen: &Seen) -> bool {
        let mut one = ReceivedSet::default();
        one.insert_seen(seen);
        one.without(self) == one
    }

    /// How many deltas are in it.
    pub(crate) fn count(&self) -> u64 {
        self.origins.iter().map(Seen::count).sum()
    }

    /// Everything that is not in `other`.
    #[must_use]
    pub fn without(&self, other: &ReceivedSet) -> ReceivedSet {
        let mut left = ReceivedSet::default();
        for seen in &self.origins {
            let theirs = other.of(seen.origin);
            let mut holes: Vec<(u64, u64)> = theirs.map(Seen::intervals).unwrap_or_default();
            holes.push((u64::MAX, u64::MAX));
            for (first, last) in seen.intervals() {
                let mut next = first;
                for &(from, to) in holes.iter().filter(|hole| hole.1 >= first) {
                    if next > last {
                        break;
                    }
                    if from > next {
                        left.insert_range(seen.origin, next, last.min(from - 1));
                    }
                    next = next.max(to.saturating_add(1));
                }
            }
        }
        left
    }

    /// One origin's part.
    pub fn seen(&self, origin: Origin) -> Option<&Seen> {
        self.of(origin)
    }

    /// Appends the set as bytes.
    pub fn export(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Reads a set; `None` where the bytes are none.
    pub fn import(bytes: &[u8]) -> Option<ReceivedSet> {
        let mut reader = Reader { rest: bytes };
        ReceivedSet::read(&mut reader).ok().filter(|_| reader.rest.is_empty())
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_number(out, self.origins.len() as u64);
        for seen in &self.origins {
            put_number(out, seen.origin.group.into());
            put_number(out, seen.origin.generation.into());
            put_number(out, seen.upto);
            put_number(out, seen.beyond.len() as u64);
            let mut end = seen.upto;
            for &(first, last) in &seen.beyond {
                put_number(out, first - end);
                put_number(out, last - first);
                end = last;
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<ReceivedSet, DeltaError> {
        let mut set = ReceivedSet::default();
        for _ in 0..reader.count(4)? {
            let origin = Origin { group: reader.small()?, generation: reader.small()? };
            let upto = reader.number()?;
            if upto > SEQ_MAX {
                return reader.error("a sequence out of range");
            }
            if upto > 0 {
                set.insert_range(origin, 1, upto);
            }
            let mut end = upto;
            for _ in 0..reader.count(2)? {
                let (Some(first), length) = (end.checked_add(reader.number()?), reader.number()?) else {
                    return reader.error("a sequence of more than 64 bits");
                };
                let Some(last) = first.checked_add(length).filter(|last| first > 0 && *last <= SEQ_MAX) else {
                    return reader.error("a sequence out of range");
                };
                set.insert_range(origin, first, last);
                end = last;
            }
        }
        Ok(set)
    }
}

impl Seen {
    /// How many sequences are in it.
    pub(crate) fn count(&self) -> u64 {
        self.intervals().iter().map(|(first, last)| last - first + 1).sum()
    }

    /// All of it, as intervals.
    pub(crate) fn intervals(&self) -> Vec<(u64, u64)> {
        let prefix = (self.upto > 0).then_some((1, self.upto));
        prefix.into_iter().chain(self.beyond.iter().copied()).collect()
    }

    fn holds(&self, first: u64, last: u64) -> bool {
        last <= self.upto || self.beyond.iter().any(|&(a, b)| a <= first && last <= b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(intervals: &[(u64, u64)]) -> ReceivedSet {
        let mut set = ReceivedSet::default();
        intervals.iter().for_each(|(a, b)| set.insert_range(Origin { group: 1, generation: 0 }, *a, *b));
        set
    }

    #[test]
    fn what_is_left_without_another_set() {
        for mask in 0..1u32 << 12 {
            let bits =
                |from: u32| (0..6u64).filter(move |i| mask >> (from + *i as u32) & 1 == 1).map(|i| (i + 1, i + 1));
            let (a, b): (Vec<_>, Vec<_>) = (bits(0).collect(), bits(6).collect());
            let left: Vec<_> = a.iter().copied().filter(|i| !b.contains(i)).collect();
            assert_eq!(set(&a).without(&set(&b)), set(&left), "{a:?} without {b:?}");
        }
    }
}
