//! The clocks of one machine: each runs a little wrong, in its own way.

use fastrand::Rng;
use trireme_replica::io::Now;

/// World time in microseconds since the run began.
pub type Micros = u64;

/// Wall clock of the world's beginning, in milliseconds since 1970.
const WALL_BEGIN_MS: u64 = 1_760_000_000_000;
/// Millionths, of which rates are counted.
const MILLION: u128 = 1_000_000;

/// One machine's monotonic and wall clock.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Monotonic reading when the world began, in microseconds.
    begin_us: u64,
    /// How many microseconds it counts in a million of the world's.
    rate: u128,
    /// How far the wall clock is off, in milliseconds.
    wall_ms: i64,
    /// How far ahead it has ever been: what was said by it then is still known.
    most_ms: i64,
}

impl Clock {
    /// A clock that runs at most `drift_ppm` too fast or too slow, its wall clock at most `wall_ms` off.
    pub fn new(rng: &mut Rng, drift_ppm: i64, wall_ms: i64) -> Clock {
        let drift = rng.i64(-drift_ppm..=drift_ppm);
        let begin_us = rng.u64(1_000_000..1_000_000_000);
        let wall_ms = rng.i64(-wall_ms..=wall_ms);
        Clock { begin_us, rate: (1_000_000 + drift) as u128, wall_ms, most_ms: wall_ms }
    }

    /// The wall clock is set so far ahead of what it shows, or behind.
    pub fn set_off(&mut self, by_ms: i64) {
        self.wall_ms += by_ms;
        self.most_ms = self.most_ms.max(self.wall_ms);
    }

    /// How far off the wall clock is, and was at most.
    pub fn off_ms(&self) -> (i64, i64) {
        (self.wall_ms, self.most_ms)
    }

    /// What it shows at `time`.
    pub fn now(&self, time: Micros) -> Now {
        Now {
            mono_us: self.begin_us + (u128::from(time) * self.rate / MILLION) as u64,
            wall_ms: (WALL_BEGIN_MS + time / 1_000).saturating_add_signed(self.wall_ms),
        }
    }

    /// The first world time at which the monotonic clock shows `mono_us` or more.
    pub fn when(&self, mono_us: u64) -> Micros {
        let local = u128::from(mono_us.saturating_sub(self.begin_us));
        u64::try_from((local * MILLION).div_ceil(self.rate)).unwrap_or(Micros::MAX)
    }

    /// The machine has started again: its monotonic clock begins anew, the rate of its crystal stays.
    pub fn reboot(&mut self, rng: &mut Rng) {
        self.begin_us = rng.u64(1_000_000..1_000_000_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_first_time_at_which_a_deadline_has_come() {
        let mut rng = Rng::with_seed(1);
        for _ in 0..1_000 {
            let clock = Clock::new(&mut rng, 20_000, 5_000);
            let deadline = clock.now(0).mono_us + rng.u64(0..10_000_000);
            let time = clock.when(deadline);
            assert!(clock.now(time).mono_us >= deadline);
            assert!(time == 0 || clock.now(time - 1).mono_us < deadline);
        }
    }
}
