//! What w and r need where there is no leader, and what may go wrong where they do not meet, in numbers. Everybody who counts replicas of such a store
//! asks here: what is explained, warned about, said in conditions, and allowed to be evicted.

use crate::store::{ReadRepair, Settled, WriteOrder};

/// n, w, r and the rules that ask for more replicas than these alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorums {
    /// Members.
    pub n: u32,
    /// Copies before OK.
    pub w: u32,
    /// Replicas that a read asks.
    pub r: u32,
    /// What orders writes.
    pub order: WriteOrder,
    /// When replicas get what a read found them to lack.
    pub repair: ReadRepair,
}

impl Quorums {
    /// Those of a spec.
    pub fn of(settled: &Settled) -> Quorums {
        let Settled { n, w, r, write_order, read_repair, .. } = *settled;
        Quorums { n, w, r, order: write_order, repair: read_repair }
    }

    /// Members that a coordinator must reach, itself included, to write: w copies, and the clocks of n - w + 1 members before.
    pub fn writes_need(&self) -> u32 {
        let clocks = match self.order {
            WriteOrder::Strict => (self.n + 1).saturating_sub(self.w),
            WriteOrder::Clock => 1,
        };
        self.w.max(clocks).clamp(1, self.n.max(1))
    }

    /// Members that a coordinator must reach, itself included, to answer any read: r, and w where it repairs what differs before it answers.
    pub fn reads_need(&self) -> u32 {
        let repaired = if self.r > 1 && self.repair == ReadRepair::Blocking { self.w } else { 1 };
        self.r.max(repaired).clamp(1, self.n.max(1))
    }

    /// Members that may be down while every command goes on.
    pub fn all_goes_on_with_down(&self) -> u32 {
        self.n.saturating_sub(self.writes_need().max(self.reads_need()))
    }

    /// Whether each read asks at least one replica that has the latest acknowledged write.
    pub fn meet(&self) -> bool {
        self.w + self.r > self.n
    }

    /// Of so many reads, begun the moment a write is acknowledged on w members and no others, this many miss it: C(n - w, r) of C(n, r).
    pub fn misses(&self) -> (u64, u64) {
        (choose(self.n.saturating_sub(self.w), self.r), choose(self.n, self.r).max(1))
    }
}

/// In how many ways k can be taken of n.
fn choose(n: u32, k: u32) -> u64 {
    if k > n {
        return 0;
    }
    (1..=u64::from(k)).fold(1, |ways, i| ways * (u64::from(n) - u64::from(k) + i) / i)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorums(n: u32, w: u32, r: u32) -> Quorums {
        Quorums { n, w, r, order: WriteOrder::Strict, repair: ReadRepair::Blocking }
    }

    #[test]
    fn what_is_needed_meets_what_was_written() {
        for n in 1..=9 {
            for w in 1..=n {
                for r in 1..=n {
                    let q = quorums(n, w, r);
                    let (missed, of) = q.misses();
                    assert_eq!(q.meet(), missed == 0, "{q:?}");
                    assert!(missed <= of);
                    // The clocks that a write asks for include one of every earlier write.
                    assert!(q.writes_need() + w > n && q.writes_need() >= w && q.writes_need() <= n);
                    assert!(q.reads_need() >= r && q.reads_need() <= n);
                }
            }
        }
    }

    #[test]
    fn the_odds_are_those_that_can_be_counted_by_hand() {
        assert_eq!(quorums(3, 1, 1).misses(), (2, 3));
        assert_eq!(quorums(3, 2, 1).misses(), (1, 3));
        assert_eq!(quorums(5, 2, 2).misses(), (3, 10));
        assert_eq!(quorums(3, 2, 2).misses(), (0, 3));
        assert_eq!(quorums(5, 3, 3).all_goes_on_with_down(), 2);
        assert_eq!(quorums(3, 3, 1).all_goes_on_with_down(), 0);
        assert_eq!(Quorums { order: WriteOrder::Clock, ..quorums(3, 1, 1) }.all_goes_on_with_down(), 2);
    }
}
