//! Keys that have gone lately: who watches a key that is not there is to learn that it has come and gone meanwhile.
//!
//! Bounded, and part of no digest: where it is not known any more what has gone, a key may have.

use std::collections::VecDeque;

/// So many removals are known.
const KEPT: usize = 4096;

/// What has gone.
struct Removal {
    /// The log's seq.
    seq: u64,
    /// The hash of the key.
    hashed: u64,
    /// The version that it had at last.
    version: u64,
}

/// The latest removals of keys, in order.
#[derive(Default)]
pub(crate) struct Gone {
    latest: VecDeque<Removal>,
    /// Of those up to this seq not all are known.
    forgotten: u64,
}

impl Gone {
    /// A key that clients could see goes.
    pub(crate) fn note(&mut self, seq: u64, hashed: u64, version: u64) {
        if self.latest.len() == KEPT
            && let Some(oldest) = self.latest.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest.seq);
        }
        self.latest.push_back(Removal { seq, hashed, version });
    }

    /// What came from this seq on is undone.
    pub(crate) fn undo_from(&mut self, seq: u64) {
        while self.latest.pop_back_if(|last| last.seq >= seq).is_some() {}
    }

    /// What has gone up to here is not known: the state was read as it was later.
    pub(crate) fn forget(&mut self, upto: u64) {
        self.forgotten = self.forgotten.max(upto);
    }

    /// Whether a key has gone after this seq with another version than `hidden`, or may have.
    pub(crate) fn has_gone(&self, seq: u64, hashed: u64, hidden: u64) -> bool {
        let mut later = self.latest.iter().rev().take_while(|last| last.seq > seq);
        seq < self.forgotten || later.any(|last| last.hashed == hashed && last.version != hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_gone_is_known_for_a_while_and_undone() {
        let mut gone = Gone::default();
        (1..=10).for_each(|seq| gone.note(seq, seq % 2, 100 + seq));
        let of = |gone: &Gone, seq| gone.has_gone(seq, 1, 0);
        assert_eq!([0, 8, 9, 10].map(|seq| of(&gone, seq)), [true, true, false, false]);
        assert!(!gone.has_gone(8, 1, 109), "it is what was hidden that has gone");
        assert!(gone.has_gone(6, 1, 109) && !gone.has_gone(9, 1, 0));
        gone.undo_from(7);
        assert_eq!([4, 5, 6].map(|seq| of(&gone, seq)), [true, false, false]);
        gone.forget(5);
        assert_eq!([4, 5].map(|seq| of(&gone, seq)), [true, false]);
        (0..2 * KEPT as u64).for_each(|more| gone.note(7 + more, 7, 1));
        let kept = KEPT as u64;
        assert_eq!((gone.latest.len(), of(&gone, 5 + kept), of(&gone, 6 + kept)), (KEPT, true, false));
    }
}
