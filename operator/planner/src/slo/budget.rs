//! How much of what may fail has failed, over a window that moves on.

use std::collections::VecDeque;

use trireme_crds::{Budget, Objectives, quantity::Millis};

/// Parts that a window is counted in: the oldest leaves as a whole.
const PARTS: u64 = 120;
/// The rate is that of this time, counted in so many parts.
const RATE_MS: u64 = 3_600_000;
const RATE_PARTS: u64 = 60;
/// The share that is left, and the rate, have so many decimals: status changes with each.
const DECIMALS: f64 = 1_000.0;

/// One objective's measurements.
#[derive(Clone, Debug)]
pub struct Meter {
    objectives: Objectives,
    within_ms: u64,
    window: Counts,
    rate: Counts,
    /// Since this one began.
    counted: (u64, u64),
}

/// Measurements of the last while: failed, and all.
#[derive(Clone, Debug)]
struct Counts {
    length_ms: u64,
    part_ms: u64,
    /// Each with its beginning, the oldest first.
    parts: VecDeque<(u64, u64, u64)>,
}

impl Meter {
    /// Goes on from what was counted before, if that was of the same objective: evenly over the time that it was measured in, for more is not known of it.
    pub fn new(objectives: Objectives, within_ms: u64, before: Option<&Budget>, wall_ms: u64) -> Meter {
        let mut meter = Meter {
            objectives,
            within_ms,
            window: Counts::new(objectives.window_ms, PARTS),
            rate: Counts::new(RATE_MS.min(objectives.window_ms), RATE_PARTS),
            counted: (0, 0),
        };
        let same = |budget: &&Budget| {
            budget.within.0 == within_ms
                && budget.objective == objectives.objective()
                && budget.window.0 == objectives.window_ms
        };
        if let Some(budget) = before.filter(same) {
            meter.window.spread(wall_ms, budget.measured.0, budget.bad, budget.total);
        }
        meter
    }

    /// The time that is promised, in milliseconds.
    pub fn within_ms(&self) -> u64 {
        self.within_ms
    }

    /// So many failed, of so many.
    pub fn add(&mut self, wall_ms: u64, bad: u64, total: u64) {
        self.window.add(wall_ms, bad, total);
        self.rate.add(wall_ms, bad, total);
        self.counted = (self.counted.0 + bad, self.counted.1 + total);
    }

    /// What is left; nothing before anything was measured.
    pub fn budget(&mut self, wall_ms: u64) -> Option<Budget> {
        let (bad, total) = self.window.sum(wall_ms);
        let (bad_now, total_now) = self.rate.sum(wall_ms);
        let may_fail = f64::from(1_000_000 - self.objectives.objective_ppm) / 1e6;
        let spent = |bad: u64, total: u64| if total == 0 { 0.0 } else { bad as f64 / total as f64 / may_fail };
        let rounded = |value: f64| (value * DECIMALS).round() / DECIMALS;
        (total > 0).then(|| Budget {
            within: Millis(self.within_ms),
            objective: self.objectives.objective(),
            window: Millis(self.objectives.window_ms),
            measured: Millis(self.window.measured_ms(wall_ms)),
            bad,
            total,
            budget_left: rounded(1.0 - spent(bad, total)),
            burn_rate: rounded(spent(bad_now, total_now)),
            counted: self.counted,
        })
    }
}

impl Counts {
    fn new(length_ms: u64, parts: u64) -> Counts {
        Counts { length_ms, part_ms: (length_ms / parts).max(1), parts: VecDeque::new() }
    }

    fn add(&mut self, at_ms: u64, bad: u64, total: u64) {
        // A clock that is set back does not take anything out.
        let at_ms = self.parts.back().map_or(at_ms, |(begins_ms, ..)| at_ms.max(*begins_ms));
        match self.parts.back_mut().filter(|(begins_ms, ..)| at_ms < *begins_ms + self.part_ms) {
            Some((_, all_bad, all)) => (*all_bad, *all) = (*all_bad + bad, *all + total),
            None => self.parts.push_back((at_ms, bad, total)),
        }
        self.forget(at_ms);
    }

    /// Takes in what was counted over the last while, evenly.
    fn spread(&mut self, now_ms: u64, over_ms: u64, bad: u64, total: u64) {
        let over_ms = over_ms.min(self.length_ms);
        let parts = (over_ms / self.part_ms).clamp(1, PARTS);
        let share = |count: u64, part: u64| count * (part + 1) / parts - count * part / parts;
        for part in 0..parts {
            let at_ms = (now_ms + part * over_ms / parts).saturating_sub(over_ms);
            self.add(at_ms, share(bad, part), share(total, part));
        }
    }

    fn forget(&mut self, now_ms: u64) {
        let oldest_ms = now_ms.saturating_sub(self.length_ms);
        while self.parts.pop_front_if(|(begins_ms, ..)| *begins_ms + self.part_ms <= oldest_ms).is_some() {}
    }

    fn sum(&mut self, now_ms: u64) -> (u64, u64) {
        self.forget(now_ms);
        self.parts.iter().fold((0, 0), |(bad, total), part| (bad + part.1, total + part.2))
    }

    /// From the first measurement that is counted on, in whole minutes: what is shown to the millisecond would change with every look.
    fn measured_ms(&self, now_ms: u64) -> u64 {
        let first_ms = self.parts.front().map_or(now_ms, |(begins_ms, ..)| *begins_ms);
        (now_ms.saturating_sub(first_ms).min(self.length_ms) / 60_000).max(1) * 60_000
    }
}
