//! Keys that have gone lately: who watches a key that is not there is to learn that it has come and gone meanwhile.
//!
//! Bounded, and part of no digest: where it is not known any more what has gone, a key may have.

use std::collections::VecDeque;

/// So many removals are known.
const KEPT: usize = 4096;

/// The latest removals of keys, in order.
#[derive(Default)]
pub(crate) struct Gone {
    /// The log's seq, and the hash of the key.
    latest: VecDeque<(u64, u64)>,
    /// Of those up to this seq not all are known.
    forgotten: u64,
}

impl Gone {
    /// A key that clients could see goes.
    pub(crate) fn note(&mut self, seq: u64, hashed: u64) {
        if self.latest.len() == KEPT
            && let Some((oldest, _)) = self.latest.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.latest.push_back((seq, hashed));
    }

    /// What came from this seq on is undone.
    pub(crate) fn undo_from(&mut self, seq: u64) {
        while self.latest.pop_back_if(|last| last.0 >= seq).is_some() {}
    }

    /// What has gone up to here is not known: the state was read as it was later.
    pub(crate) fn forget(&mut self, upto: u64) {
        self.forgotten = self.forgotten.max(upto);
    }

    /// How often a key has gone after this seq, where that is known.
    pub(crate) fn since(&self, seq: u64, hashed: u64) -> Option<usize> {
        let later = self.latest.iter().rev().take_while(|last| last.0 > seq);
        (seq >= self.forgotten).then(|| later.filter(|last| last.1 == hashed).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_gone_is_known_for_a_while_and_undone() {
        let mut gone = Gone::default();
        (1..=10).for_each(|seq| gone.note(seq, seq % 2));
        assert_eq!([0, 4, 9, 10].map(|seq| gone.since(seq, 1)), [Some(5), Some(3), Some(0), Some(0)]);
        gone.undo_from(7);
        assert_eq!([0, 4, 6].map(|seq| gone.since(seq, 1)), [Some(3), Some(1), Some(0)]);
        gone.forget(4);
        assert_eq!([3, 4].map(|seq| gone.since(seq, 1)), [None, Some(1)]);
        (0..2 * KEPT as u64).for_each(|more| gone.note(7 + more, 7));
        let kept = KEPT as u64;
        assert_eq!((gone.latest.len(), gone.since(5 + kept, 7), gone.since(6 + kept, 7)), (KEPT, None, Some(KEPT)));
    }
}
