//! Which entries stand where at the end of the own log: so that of a slot it can be said without a look at its keys whether somebody else's received set
//! has everything that this replica's state shows there.
//!
//! A slot's state is made by the entries that were received, and a slot's last write is the seq of the last of them. So who has received every entry of this
//! log up to that seq has nothing to learn here of that slot. Two things are not told by seqs: a slot that state was joined into which shows what has not been
//! received yet (`Engine::is_sided`), and what was received as the state of all slots, which counts as part of the base.

use std::collections::VecDeque;

use trireme_proto::ids::{Dot, Origin};

use crate::engine::ReceivedSet;

/// Entries whose places are known; what is before them is part of the base.
const ENTRIES_MAX: usize = 8192;
/// Of all entries, one of so many is remembered for longer: to say from where on somebody lacks something who is further behind.
const MARK_EVERY: u64 = 1024;
/// Of these, so many.
const MARKS_MAX: usize = 4096;

/// The places of the last entries.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// What was received before them, or as state.
    base: ReceivedSet,
    /// Seq in the own log, and name.
    entries: VecDeque<(u64, Dot)>,
    /// Some of all, however long ago.
    marks: VecDeque<(u64, Dot)>,
    pushed: u64,
}

impl Recent {
    /// Everything received so far is base.
    pub(super) fn new(base: ReceivedSet) -> Recent {
        Recent { base, ..Recent::default() }
    }

    /// An entry was appended to the log.
    pub(super) fn push(&mut self, seq: u64, dot: Dot) {
        if self.entries.len() >= ENTRIES_MAX
            && let Some((_, first)) = self.entries.pop_front()
        {
            self.base.insert(first);
        }
        self.entries.push_back((seq, dot));
        self.pushed += 1;
        if self.pushed.is_multiple_of(MARK_EVERY) {
            if self.marks.len() >= MARKS_MAX {
                self.marks.pop_front();
            }
            self.marks.push_back((seq, dot));
        }
    }

    /// This came as state: no seq tells where.
    pub(super) fn merge(&mut self, received: &ReceivedSet) {
        self.base.merge(received);
    }

    /// The seq of the first entry of these origins that `theirs` lacks, or a smaller one; 0 where nothing is known of it.
    pub(super) fn first_lacking(&self, theirs: &ReceivedSet, of: impl Fn(Origin) -> bool) -> u64 {
        let lacks = |(_, dot): &&(u64, Dot)| of(dot.origin) && !theirs.contains(*dot);
        if self.base.origins().iter().filter(|seen| of(seen.origin)).all(|seen| theirs.covers_part(seen)) {
            return self.entries.iter().find(lacks).map_or(0, |(seq, _)| *seq);
        }
        // Entries of an origin come in order: what is before one that is there is there.
        let holds = |(_, dot): &&(u64, Dot)| of(dot.origin) && theirs.contains(*dot);
        self.marks.iter().rfind(holds).map_or(0, |(seq, _)| seq + 1)
    }

    /// The seq of the own log up to which `theirs` has everything, at most `last`. It is known to have it up to `from`. What `passed` wrote is passed over.
    pub(crate) fn covered(&self, theirs: &ReceivedSet, from: u64, last: u64, passed: Option<Origin>) -> u64 {
        let base = self.base.origins().iter().filter(|seen| Some(seen.origin) != passed);
        if !base.clone().all(|seen| theirs.covers_part(seen)) {
            return 0;
        }
        let start = self.entries.partition_point(|(seq, _)| *seq <= from);
        let lacks = |(_, dot): &&(u64, Dot)| Some(dot.origin) != passed && !theirs.contains(*dot);
        self.entries.range(start..).find(lacks).map_or(last, |(seq, _)| seq - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(group: u32, seq: u64) -> Dot {
        Dot { origin: Origin { group, generation: 1 }, seq }
    }

    fn set(dots: &[Dot]) -> ReceivedSet {
        let mut set = ReceivedSet::default();
        for dot in dots {
            set.insert(*dot);
        }
        set
    }

    #[test]
    fn the_first_entry_that_is_lacked_ends_what_is_covered() {
        let mut recent = Recent::new(set(&[dot(1, 1)]));
        for (seq, entry) in [(5, dot(1, 2)), (6, dot(2, 1)), (7, dot(1, 3))] {
            recent.push(seq, entry);
        }
        let all = set(&[dot(1, 1), dot(1, 2), dot(1, 3), dot(2, 1)]);
        assert_eq!(recent.covered(&all, 0, 9, None), 9);
        let without = set(&[dot(1, 1), dot(1, 2), dot(1, 3)]);
        assert_eq!(recent.covered(&without, 0, 9, None), 5);
        assert_eq!(recent.covered(&without, 0, 9, Some(dot(2, 1).origin)), 9, "its own");
        assert_eq!(recent.covered(&set(&[dot(1, 2), dot(2, 1)]), 0, 9, None), 0, "the base");
    }

    #[test]
    fn how_far_somebody_is_behind_is_known_however_far_that_is() {
        let mut recent = Recent::default();
        let (mut theirs, count) = (ReceivedSet::default(), 5 * ENTRIES_MAX as u64);
        (1..=count).for_each(|seq| recent.push(2 * seq, dot(1, seq)));
        for held in [0, 1, 1_500, count / 2, count - ENTRIES_MAX as u64 / 2, count - 1, count] {
            (1..=held).for_each(|seq| _ = theirs.insert(dot(1, seq)));
            let first = recent.first_lacking(&theirs, |origin| origin.group == 1);
            let expected = if held == count { 0 } else { 2 * (held + 1) };
            assert!(
                first <= expected && expected < first + 2 * (MARK_EVERY + 1),
                "{held} held: {first}, not {expected}"
            );
        }
    }

    #[test]
    fn what_leaves_and_what_came_as_state_is_base() {
        let mut recent = Recent::default();
        for seq in 1..=ENTRIES_MAX as u64 + 1 {
            recent.push(seq, dot(1, seq));
        }
        let mut theirs = ReceivedSet::default();
        theirs.insert(dot(1, 2));
        assert_eq!(recent.covered(&theirs, 0, 9999, None), 0);
        theirs.insert(dot(1, 1));
        assert_eq!(recent.covered(&theirs, 0, 9999, None), 2);
        recent.merge(&set(&[dot(3, 1)]));
        assert_eq!(recent.covered(&theirs, 0, 9999, None), 0);
    }
}
