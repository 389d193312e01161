//! Linearizability: whether the operations on one key can be put into an order, each at a moment between its call and its return, in which one
//! machine would have given the same replies.
//!
//! This is the search of Wing and Gong with Lowe's memory of what was tried: a configuration (which operations have been placed, and the value they
//! leave) is entered once. An operation whose outcome is unknown may be placed at any time after its call, or nowhere; it is tried last, because most
//! of them can stay out. Of the crates that do this, `stateright` brings a web server and has no memory of configurations, `todc-utils` has no
//! bound on its search and places unknown operations first, which is exponential in their number; this is 100 lines and has both.

use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use crate::{
    clock::Micros,
    model::{Act, Undo, Value},
    resp::Reply,
};

/// One operation on the key.
#[derive(Clone, Debug)]
pub struct Operation {
    /// When it was sent.
    pub call: Micros,
    /// When and what was answered; `None` where that is unknown.
    pub answer: Option<(Micros, Reply)>,
    /// What was asked for.
    pub act: Act,
}

/// The answer of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none: the answered operations that could not be placed after the longest order found, and the value it leaves.
    Violation {
        /// Indices of answered operations that were never placed in the order that came furthest.
        stuck: Vec<usize>,
        /// The value that this order leaves.
        value: Value,
    },
    /// The bound was reached before an answer.
    Undecided,
}

/// Where the search is: one value, changed and taken back in place, and which operations have been placed.
struct Search<'a> {
    operations: &'a [Operation],
    value: Value,
    placed: Vec<bool>,
    /// What tells one set of placed operations from another: both are kept up to date with each step.
    placed_hash: u64,
    answered: usize,
}

/// One operation that was placed, and what may come after it.
struct Step {
    /// Which, and how to take it back; `None` at the bottom.
    taken: Option<(usize, Undo)>,
    /// Everything before this one has been placed.
    first: usize,
    /// What may come next, the best last.
    next: Vec<usize>,
}

/// A quick hash: the search makes one of a whole value with each step. Fingerprints themselves are numbers already, which it leaves as they are.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Searches for an order, entering at most `bound` configurations. The operations must be sorted by their call.
pub fn check(operations: &[Operation], bound: usize) -> Verdict {
    let total = operations.iter().filter(|op| op.answer.is_some()).count();
    let mut search = Search {
        operations,
        value: Value::default(),
        placed: vec![false; operations.len()],
        placed_hash: 0,
        answered: 0,
    };
    let mut seen: HashSet<u64, BuildHasherDefault<Quick>> = HashSet::default();
    let mut stack = vec![search.step(None, 0)];
    let mut best = (0, search.placed.clone(), Value::default());
    while let Some(top) = stack.last_mut() {
        if search.answered == total {
            return Verdict::Linearizable;
        }
        let Some(index) = top.next.pop() else {
            if search.answered > best.0 {
                best = (search.answered, search.placed.clone(), search.value.clone());
            }
            if let Some((index, undo)) = stack.pop().and_then(|step| step.taken) {
                search.take_back(index, undo);
            }
            continue;
        };
        let first = top.first;
        let Some(undo) = search.place(index) else { continue };
        if !seen.insert(search.fingerprint()) {
            search.take_back(index, undo);
            continue;
        }
        if seen.len() > bound {
            return Verdict::Undecided;
        }
        stack.push(search.step(Some((index, undo)), first));
    }
    let (_, placed, value) = best;
    let stuck = (0..operations.len()).filter(|i| operations[*i].answer.is_some() && !placed[*i]).collect();
    Verdict::Violation { stuck, value }
}

impl Search<'_> {
    /// Places an operation, where its reply would have been the one that was given.
    fn place(&mut self, index: usize) -> Option<Undo> {
        let operation = &self.operations[index];
        let (reply, undo) = self.value.try_out(&operation.act);
        if operation.answer.as_ref().is_some_and(|(_, expected)| *expected != reply) {
            self.value.undo(undo);
            return None;
        }
        self.note(index, true);
        Some(undo)
    }

    fn take_back(&mut self, index: usize, undo: Undo) {
        self.value.undo(undo);
        self.note(index, false);
    }

    fn note(&mut self, index: usize, placed: bool) {
        self.placed[index] = placed;
        self.placed_hash ^= spread(index as u64 + 1);
        let answered = usize::from(self.operations[index].answer.is_some());
        self.answered = if placed { self.answered + answered } else { self.answered - answered };
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = Quick::default();
        self.value.hash(&mut hasher);
        spread(self.placed_hash ^ spread(hasher.finish()))
    }

    /// What may come next: operations that were called before every other one that is not placed had returned: unknown ones first, then by return, the
    /// earliest last.
    fn step(&self, taken: Option<(usize, Undo)>, mut first: usize) -> Step {
        let returned = |index: usize| self.operations[index].answer.as_ref().map_or(Micros::MAX, |(time, _)| *time);
        while self.placed.get(first).is_some_and(|placed| *placed) {
            first += 1;
        }
        let mut earliest = Micros::MAX;
        let mut next = Vec::new();
        for (index, operation) in self.operations.iter().enumerate().skip(first) {
            if operation.call > earliest {
                break;
            }
            if !self.placed[index] {
                earliest = earliest.min(returned(index));
                next.push(index);
            }
        }
        next.sort_by_key(|index| std::cmp::Reverse((returned(*index), *index)));
        Step { taken, first, next }
    }
}

/// A number that shares no bits with those of its neighbours (splitmix64).
fn spread(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    const BOUND: usize = 100_000;

    fn op(call: Micros, answer: Option<(Micros, Reply)>, act: Act) -> Operation {
        Operation { call, answer, act }
    }
    fn set(call: Micros, ret: Option<Micros>, value: &str) -> Operation {
        op(call, ret.map(|time| (time, Reply::ok())), Act::Set(value.to_owned()))
    }
    fn get(call: Micros, ret: Micros, value: &str) -> Operation {
        op(call, Some((ret, Reply::Bulk(value.as_bytes().to_vec()))), Act::Get)
    }

    #[test]
    fn a_stale_read_is_rejected() {
        let history = [set(0, Some(1), "a"), set(2, Some(3), "b"), get(4, 5, "a")];
        let Verdict::Violation { stuck, value } = check(&history, BOUND) else { panic!("accepted") };
        assert_eq!((stuck, value), (vec![2], Value::Text(b"b".to_vec())));
    }

    #[test]
    fn a_read_during_a_write_may_see_either_but_not_go_back() {
        let writes = [set(0, Some(1), "a"), set(2, Some(10), "b")];
        let with = |reads: [Operation; 2]| check(&[writes.to_vec(), reads.to_vec()].concat(), BOUND);
        assert_eq!(with([get(3, 4, "a"), get(5, 6, "b")]), Verdict::Linearizable);
        assert!(matches!(with([get(3, 4, "b"), get(5, 6, "a")]), Verdict::Violation { .. }));
    }

    #[test]
    fn an_unknown_write_may_happen_late_or_never_but_once() {
        let incr = |call, ret| op(call, Some((ret, Reply::Integer(call as i64))), Act::Incr);
        let unknown = op(0, None, Act::Incr);
        assert_eq!(check(&[unknown.clone(), incr(1, 1), incr(2, 2)], BOUND), Verdict::Linearizable);
        assert_eq!(check(&[unknown.clone(), incr(1, 1), incr(3, 3)], BOUND), Verdict::Linearizable);
        assert!(matches!(check(&[unknown, incr(1, 1), incr(4, 4)], BOUND), Verdict::Violation { .. }));
    }

    #[test]
    fn a_lost_acknowledged_write_is_rejected() {
        let history = [set(0, Some(1), "a"), op(2, Some((3, Reply::Null)), Act::Get)];
        assert!(matches!(check(&history, BOUND), Verdict::Violation { .. }));
    }

    /// A random history that one machine gave, with calls and returns stretched around each moment, and some answers lost.
    fn random_history(rng: &mut Rng, length: usize) -> Vec<Operation> {
        let (mut value, mut history) = (Value::default(), Vec::new());
        for n in 0..length as u64 {
            let act = match rng.u8(0..8) {
                0 | 1 => Act::Set(format!("{n}")),
                2 => Act::Append(format!("{}", n % 10)),
                3 => Act::Del,
                4 => Act::IncrBy(1),
                _ => Act::Get,
            };
            let reply = value.execute(&act);
            let (call, ret) = ((n * 10).saturating_sub(rng.u64(0..40)), n * 10 + rng.u64(0..40));
            let lost = rng.u8(0..10) == 0;
            history.push(op(call, (!lost).then_some((ret, reply)), act));
        }
        history.sort_by_key(|op| op.call);
        history
    }

    #[test]
    fn histories_of_one_machine_are_accepted_and_altered_replies_are_not() {
        let (mut rejected, mut undecided) = (0, 0);
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let mut history = random_history(&mut rng, 60);
            let verdict = check(&history, BOUND);
            assert!(!matches!(verdict, Verdict::Violation { .. }), "seed {seed}: {verdict:?}");
            undecided += u32::from(verdict == Verdict::Undecided);
            let reads: Vec<_> = (0..history.len()).filter(|i| history[*i].act == Act::Get).collect();
            let victim = reads[rng.usize(0..reads.len())];
            if let Some((_, reply)) = &mut history[victim].answer {
                *reply = Reply::Bulk(b"never written".to_vec());
                assert!(!matches!(check(&history, BOUND), Verdict::Linearizable), "seed {seed}");
                rejected += 1;
            }
        }
        assert!(rejected > 100 && undecided < 4, "{undecided} of 200 were too many operations at once to decide");
    }
}
