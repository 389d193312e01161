//! How long other replicas take: what the operator reckons with where quorums do not meet.

use trireme_proto::{ReplicaId, report::Pace};

use super::Link;

/// Latencies that are remembered.
const SAMPLES: usize = 256;
/// With fewer than these nothing is said.
const ENOUGH: usize = 32;
/// What is said: what so many of 100 did not exceed.
const PERCENT: [usize; 3] = [50, 90, 99];

/// The last latencies, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    last: Vec<u32>,
    next: usize,
    /// The same in order: each report asks for it, and to sort them all then would take longer than all else in it.
    sorted: Vec<u32>,
}

impl Latencies {
    pub(crate) fn note(&mut self, us: u64) {
        let us = u32::try_from(us).unwrap_or(u32::MAX);
        if self.last.len() < SAMPLES {
            self.last.push(us);
        } else {
            let oldest = std::mem::replace(&mut self.last[self.next], us);
            self.next = (self.next + 1) % SAMPLES;
            let at = self.sorted.partition_point(|other| *other < oldest);
            self.sorted.remove(at);
        }
        let at = self.sorted.partition_point(|other| *other < us);
        self.sorted.insert(at, us);
    }

    fn quantiles(&self) -> Vec<u32> {
        let n = self.sorted.len();
        if n < ENOUGH {
            return Vec::new();
        }
        PERCENT.iter().map(|percent| self.sorted[(n * percent / 100).min(n - 1)]).collect()
    }
}

impl Link {
    pub(crate) fn pace(&self, id: ReplicaId) -> Pace {
        Pace { id, copies_us: self.copies.quantiles(), answers_us: self.answers.quantiles() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_latencies_are_told_once_there_are_enough() {
        let mut latencies = Latencies::default();
        (0..ENOUGH as u64 - 1).for_each(|us| latencies.note(us));
        assert!(latencies.quantiles().is_empty());
        (0..SAMPLES as u64).for_each(|us| latencies.note(1_000 + us));
        assert_eq!(latencies.quantiles(), [1_128, 1_230, 1_253], "what was before is forgotten");
        latencies.note(u64::MAX);
        assert_eq!(latencies.last.iter().filter(|us| **us == u32::MAX).count(), 1);
        let mut again = latencies.last.clone();
        again.sort_unstable();
        assert_eq!(latencies.sorted, again);
    }
}
