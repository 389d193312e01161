//! Linearizability: whether the operations on one key can be put into an order, each at a moment between its call and its return, in which one
//! machine would have given the same replies.
//!
//! This is the search of Wing and Gong with Lowe's memory of what was tried: a configuration (which operations have been placed, and the value they
//! leave) is entered once. An operation whose outcome is unknown may be placed at any time after its call, or nowhere; it is tried last, because most
//! of them can stay out. Of the crates that do this, `stateright` brings a web server and has no memory of configurations, `todc-utils` has no
//! bound on its search and places unknown operations first, which is exponential in their number; this is 100 lines and has both.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{BuildHasherDefault, Hash, Hasher},
};

use crate::{
    clock::Micros,
    model::{Act, Value},
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

/// A set of operations by index.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Placed(Vec<u64>);

impl Placed {
    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }
    fn add(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }
}

struct Step {
    placed: Placed,
    value: Value,
    /// Answered operations among those placed.
    answered: usize,
    /// What may come next, the best last.
    next: Vec<usize>,
}

/// Searches for an order, entering at most `bound` configurations. The operations must be sorted by their call.
pub fn check(operations: &[Operation], bound: usize) -> Verdict {
    let total = operations.iter().filter(|op| op.answer.is_some()).count();
    let mut seen: HashSet<u64, BuildHasherDefault<DefaultHasher>> = HashSet::default();
    let placed = Placed(vec![0; operations.len().div_ceil(64)]);
    let next = candidates(operations, &placed);
    let mut stack = vec![Step { placed, value: Value::default(), answered: 0, next }];
    let mut best: Option<(usize, Placed, Value)> = None;
    while let Some(top) = stack.last_mut() {
        if top.answered == total {
            return Verdict::Linearizable;
        }
        let Some(index) = top.next.pop() else {
            if best.as_ref().is_none_or(|(answered, ..)| top.answered > *answered) {
                best = Some((top.answered, top.placed.clone(), top.value.clone()));
            }
            stack.pop();
            continue;
        };
        let operation = &operations[index];
        let mut value = top.value.clone();
        let reply = value.execute(&operation.act);
        if operation.answer.as_ref().is_some_and(|(_, expected)| *expected != reply) {
            continue;
        }
        let mut placed = top.placed.clone();
        placed.add(index);
        let answered = top.answered + usize::from(operation.answer.is_some());
        if !seen.insert(fingerprint(&placed, &value)) {
            continue;
        }
        if seen.len() > bound {
            return Verdict::Undecided;
        }
        let next = candidates(operations, &placed);
        stack.push(Step { placed, value, answered, next });
    }
    let (_, placed, value) = best.unwrap_or((0, Placed(vec![0; operations.len().div_ceil(64)]), Value::default()));
    let stuck = (0..operations.len()).filter(|i| operations[*i].answer.is_some() && !placed.has(*i)).collect();
    Verdict::Violation { stuck, value }
}

/// Operations that were called before every other one that is not placed had returned: unknown ones first, then by return, the earliest last.
fn candidates(operations: &[Operation], placed: &Placed) -> Vec<usize> {
    let returned = |index: usize| operations[index].answer.as_ref().map_or(Micros::MAX, |(time, _)| *time);
    let mut earliest = Micros::MAX;
    let mut next = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        if operation.call > earliest {
            break;
        }
        if !placed.has(index) {
            earliest = earliest.min(returned(index));
            next.push(index);
        }
    }
    next.sort_by_key(|index| std::cmp::Reverse((returned(*index), *index)));
    next
}

fn fingerprint(placed: &Placed, value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    (placed, value).hash(&mut hasher);
    hasher.finish()
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
