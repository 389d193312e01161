//! The general form of a value: siblings, and the counter part with what was reset of it.

use std::borrow::Cow;

use trireme_proto::ids::{Dot, Origin};

/// One of several values that are there at once because none of their writers saw the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sibling {
    pub(crate) dot: Dot,
    pub(crate) clock: u64,
    pub(crate) value: Box<[u8]>,
}

/// What one origin has counted: its running total, and the base (sequence, total) below which it does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) dot: Dot,
    pub(crate) total: i64,
    pub(crate) base: (u64, i64),
}

/// Base sequence of a count that a reset, forgotten by now, cancelled whole.
pub(crate) const CANCELLED: u64 = u64::MAX;

impl Count {
    /// What it adds, given the latest reset of its origin; none if the reset cancels it whole.
    pub(crate) fn worth(&self, reset: Option<(u64, i64)>) -> Option<i64> {
        let reset = reset.filter(|r| r.0 >= self.base.0);
        if self.base.0 == CANCELLED || reset.is_some_and(|r| r.0 >= self.dot.seq) {
            return None;
        }
        Some(self.total.wrapping_sub(reset.unwrap_or(self.base).1))
    }

    /// Its base once the reset need not be remembered apart.
    pub(crate) fn settled(&self, reset: (u64, i64)) -> (u64, i64) {
        match reset {
            r if r.0 < self.base.0 => self.base,
            r if r.0 >= self.dot.seq => (CANCELLED, 0),
            r => r,
        }
    }
}

/// The later of two bases of the same count. A new start stands at the sequence of its first increment, with total 0; a reset of exactly that
/// increment has the same sequence and what it counted, be it less than 0, and comes after the start.
pub(crate) fn later_base(one: (u64, i64), other: (u64, i64)) -> (u64, i64) {
    std::cmp::max_by_key(one, other, |base| (base.0, base.1.unsigned_abs(), base.1))
}

/// A key's string, a field, a member, in its general form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Register {
    pub(crate) name: Box<[u8]>,
    pub(crate) siblings: Vec<Sibling>,
    pub(crate) counts: Vec<Count>,
}

/// Finds the latest reset of an origin.
pub(crate) type ResetOf<'a> = &'a dyn Fn(Origin) -> Option<(u64, i64)>;

impl Register {
    pub(crate) fn is_empty(&self) -> bool {
        self.siblings.is_empty() && self.counts.is_empty()
    }

    /// The last write: by clock, then origin.
    pub(crate) fn winner(&self) -> Option<&Sibling> {
        self.siblings.iter().max_by_key(|s| (s.clock, s.dot))
    }

    pub(crate) fn visible(&self, reset: ResetOf<'_>) -> bool {
        !self.siblings.is_empty() || self.counts.iter().any(|c| c.worth(reset(c.dot.origin)).is_some())
    }

    /// The sum of the counter part; none if nothing counts.
    pub(crate) fn sum(&self, reset: ResetOf<'_>) -> Option<i64> {
        let worths = self.counts.iter().filter_map(|c| c.worth(reset(c.dot.origin)));
        worths.fold(None, |sum: Option<i64>, worth| Some(sum.unwrap_or(0).wrapping_add(worth)))
    }

    /// What a client reads: the winner, plus the counter part where both are numbers.
    pub(crate) fn value(&self, reset: ResetOf<'_>) -> Option<Cow<'_, [u8]>> {
        let winner = self.winner().map(|s| &*s.value);
        let Some(sum) = self.sum(reset) else { return winner.map(Cow::Borrowed) };
        let base = match winner {
            None => 0,
            Some(value) => match integer(value) {
                Some(number) => number,
                None => return Some(Cow::Borrowed(value)),
            },
        };
        Some(Cow::Owned(itoa::Buffer::new().format(base.wrapping_add(sum)).as_bytes().to_vec()))
    }
}

/// A 64-bit signed integer in its one decimal form, as Redis takes it: no sign but a minus, no leading zero.
pub(crate) fn integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut number = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(digit - b'0');
        number = number.checked_mul(10)?;
        number = if negative { number.checked_sub(digit)? } else { number.checked_add(digit)? };
    }
    Some(number)
}
