//! Random choices that depend on nothing but the number given to the command: the same entry chooses the same on
//! every run.

/// A stream of numbers from one number (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        (wide >> 64) as usize
    }

    /// `count` different numbers below `bound` (all of them, when it is fewer), in no order.
    pub fn distinct(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        let count = count.min(bound);
        for at in 0..count {
            let other = at + self.below(bound - at);
            all.swap(at, other);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_same_seed_chooses_the_same() {
        assert_eq!(Random::new(7).distinct(5, 100), Random::new(7).distinct(5, 100));
        assert_ne!(Random::new(7).distinct(5, 100), Random::new(8).distinct(5, 100));
    }

    #[test]
    fn distinct_numbers_are_distinct_and_bounded() {
        let mut chosen = Random::new(1).distinct(50, 60);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 50);
        assert!(chosen.iter().all(|&number| number < 60));
        assert_eq!(Random::new(1).distinct(9, 3).len(), 3);
        assert_eq!(Random::new(1).distinct(9, 0), Vec::<usize>::new());
    }

    #[test]
    fn every_number_gets_its_turn() {
        let mut random = Random::new(3);
        let mut seen = [0; 10];
        for _ in 0..10_000 {
            seen[random.below(10)] += 1;
        }
        assert!(seen.iter().all(|&times| (800..1200).contains(&times)), "{seen:?}");
    }
}
