//! Deltas of cut suffixes that were made anew: the names they had, and the name each has now.
//!
//! It answers two questions about a cut suffix that comes in: was this delta recovered before, and what does its context, which
//! speaks of earlier names, mean today. Names that follow one another are one run, so a whole suffix takes a few words. A run is
//! forgotten, and deltas of its origin are no longer recovered, when its group is [`GENERATIONS_MAX`] generations further.

use trireme_proto::ids::{Dot, Origin};

use super::bytes::{DeltaError, Reader, put_number};
use super::delta::{put_dot, read_dot};
use super::vector::{ReceivedSet, SEQ_MAX, Seen};

/// A cut suffix that is more generations old than this is no longer recovered.
pub(crate) const GENERATIONS_MAX: u32 = 64;

/// So many deltas with names from `was` on have names from `now` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    was: Dot,
    now: Dot,
    count: u64,
}

impl Run {
    fn covers(&self, other: &Run) -> bool {
        let origins = (self.was.origin, self.now.origin) == (other.was.origin, other.now.origin);
        let ahead = other.was.seq.checked_sub(self.was.seq);
        origins
            && ahead
                .is_some_and(|a| other.now.seq.checked_sub(self.now.seq) == Some(a) && a + other.count <= self.count)
    }
}

/// All of them, in the order in which they were made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    runs: Vec<Run>,
}

impl Moved {
    pub(crate) fn push(&mut self, was: Dot, now: Dot) {
        let follows = |first: Dot, count: u64, next: Dot| first.origin == next.origin && first.seq + count == next.seq;
        match self.runs.last_mut() {
            Some(run) if follows(run.was, run.count, was) && follows(run.now, run.count, now) => run.count += 1,
            _ => self.runs.push(Run { was, now, count: 1 }),
        }
    }

    /// Takes back the last [`Moved::push`].
    pub(crate) fn pop(&mut self) {
        match self.runs.last_mut() {
            Some(run) if run.count > 1 => run.count -= 1,
            _ => drop(self.runs.pop()),
        }
    }

    /// Whether a delta that once had this name was made anew.
    pub(crate) fn has(&self, was: Dot) -> bool {
        let inside = |r: &Run| was.seq.checked_sub(r.was.seq).is_some_and(|ahead| ahead < r.count);
        self.runs.iter().any(|r| r.was.origin == was.origin && inside(r))
    }

    /// How many entries of one origin have other names now and are in `here`, and the intervals of those that have none.
    pub(crate) fn count_of(&self, seen: &Seen, here: &ReceivedSet) -> (u64, Vec<(u64, u64)>) {
        let (mut all, mut moved) = (ReceivedSet::default(), ReceivedSet::default());
        for (first, last) in seen.intervals() {
            all.insert_range(seen.origin, first, last);
            for run in self.runs.iter().filter(|run| run.was.origin == seen.origin) {
                let (from, to) = (first.max(run.was.seq), last.min(run.was.seq + run.count - 1));
                let now = |seq: u64| run.now.seq + (seq - run.was.seq);
                if from <= to && here.contains_range(run.now.origin, now(from), now(to)) {
                    moved.insert_range(seen.origin, from, to);
                }
            }
        }
        let rest = all.without(&moved).seen(seen.origin).map(Seen::intervals).unwrap_or_default();
        let of = |intervals: Vec<(u64, u64)>| intervals.iter().map(|(first, last)| last - first + 1).sum::<u64>();
        (of(moved.seen(seen.origin).map(Seen::intervals).unwrap_or_default()), rest)
    }

    /// A context in today's names too.
    pub(crate) fn translate(&self, context: &ReceivedSet) -> ReceivedSet {
        let mut all = context.clone();
        for run in &self.runs {
            let Some(seen) = context.origins().iter().find(|s| s.origin == run.was.origin) else { continue };
            let end = run.was.seq + run.count - 1;
            for (first, last) in std::iter::once((1, seen.upto)).chain(seen.beyond.iter().copied()) {
                let (first, last) = (first.max(run.was.seq), last.min(end));
                if first <= last {
                    let ahead = |seq: u64| run.now.seq + (seq - run.was.seq);
                    all.insert_range(run.now.origin, ahead(first), ahead(last));
                }
            }
        }
        all
    }

    /// Forgets what is too old, given what has been received.
    pub(crate) fn forget_old(&mut self, received: &ReceivedSet) {
        self.runs.retain(|r| !too_old(r.was.origin, received));
    }

    pub(crate) fn merge(&mut self, other: &Moved) {
        for run in &other.runs {
            if !self.runs.iter().any(|r| r.covers(run)) {
                self.runs.retain(|r| !run.covers(r));
                self.runs.push(*run);
            }
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_number(out, self.runs.len() as u64);
        for run in &self.runs {
            put_dot(out, run.was);
            put_dot(out, run.now);
            put_number(out, run.count);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Moved, DeltaError> {
        let mut moved = Moved::default();
        for _ in 0..reader.count(7)? {
            let run = Run { was: read_dot(reader)?, now: read_dot(reader)?, count: reader.number()? };
            let room = SEQ_MAX - run.was.seq.max(run.now.seq);
            if run.count == 0 || run.count > room {
                return reader.error("a run of names out of range");
            }
            moved.runs.push(run);
        }
        Ok(moved)
    }
}

/// Whether deltas of this origin are no longer recovered.
pub(crate) fn too_old(origin: Origin, received: &ReceivedSet) -> bool {
    let of_group = received.origins().iter().filter(|s| s.origin.group == origin.group);
    let newest = of_group.map(|s| s.origin.generation).max().unwrap_or(0);
    newest.saturating_sub(origin.generation) > GENERATIONS_MAX
}
