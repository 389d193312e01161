//! Rules that refuse an object: what can never be right of objectives.

use super::{Check, Rule};
use crate::{
    quantity::Millis,
    slo::{Objectives, ppm},
    store::Settled,
};

/// Whether what is said of objectives, if there are any, is as it should be.
fn are(settled: &Settled, right: impl Fn(&Objectives) -> bool) -> bool {
    settled.slo.as_ref().is_none_or(right)
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "slo-promises",
        path: "spec.slo",
        cel: "!has(self.slo) || has(self.slo.writeGap) || has(self.slo.staleness)",
        says: "",
        check: Check::Object(|_, s| are(s, |slo| slo.write_gap_ms.is_some() || slo.staleness_ms.is_some())),
        message: |_, _| "objectives that promise nothing".to_owned(),
        allowed: "writeGap, staleness, or both",
    },
    Rule {
        id: "slo-write-gap-range",
        path: "spec.slo.writeGap",
        cel: "!has(self.slo) || !has(self.slo.writeGap) || (duration(self.slo.writeGap) >= duration('50ms') && duration(self.slo.writeGap) <= duration('1m'))",
        says: "'a gap of ' + self.slo.writeGap + ' is too short to be measured, or too long to be promised'",
        check: Check::Object(|_, s| are(s, |slo| slo.write_gap_ms.is_none_or(|ms| (50..=60_000).contains(&ms)))),
        message: |_, s| {
            let gap = Millis(s.slo.and_then(|slo| slo.write_gap_ms).unwrap_or(0));
            format!("a gap of {gap} is too short to be measured, or too long to be promised")
        },
        allowed: "50ms to 1m",
    },
    Rule {
        id: "slo-staleness-range",
        path: "spec.slo.staleness",
        cel: "!has(self.slo) || !has(self.slo.staleness) || (duration(self.slo.staleness) >= duration('100ms') && duration(self.slo.staleness) <= duration('1h'))",
        says: "'an age of ' + self.slo.staleness + ' is too short to be measured, or too long to be promised'",
        check: Check::Object(|_, s| are(s, |slo| slo.staleness_ms.is_none_or(|ms| (100..=3_600_000).contains(&ms)))),
        message: |_, s| {
            let age = Millis(s.slo.and_then(|slo| slo.staleness_ms).unwrap_or(0));
            format!("an age of {age} is too short to be measured, or too long to be promised")
        },
        allowed: "100ms to 1h",
    },
    Rule {
        id: "slo-staleness-heard",
        path: "spec.slo.staleness",
        cel: concat!(
            "!has(self.slo) || !has(self.slo.staleness) || duration(",
            heartbeat!(),
            ") + duration(",
            heartbeat!(),
            ") <= duration(self.slo.staleness)"
        ),
        says: concat!(
            "'with a heartbeat each ' + ",
            heartbeat!(),
            " + ', an age of ' + self.slo.staleness + ' is not heard in time'"
        ),
        check: Check::Object(|_, s| {
            are(s, |slo| slo.staleness_ms.is_none_or(|ms| s.heartbeat_ms.saturating_mul(2) <= ms))
        }),
        message: |_, s| {
            let age = Millis(s.slo.and_then(|slo| slo.staleness_ms).unwrap_or(0));
            format!("with a heartbeat each {}, an age of {age} is not heard in time", Millis(s.heartbeat_ms))
        },
        allowed: "at least two of spec.failover.heartbeat",
    },
    Rule {
        id: "slo-objective-percentage",
        path: "spec.slo.objective",
        cel: "!has(self.slo) || !has(self.slo.objective) || self.slo.objective.matches('^[5-9][0-9](\\\\.[0-9]{1,3})?%$')",
        says: "'\\'' + self.slo.objective + '\\' is no share that could be promised'",
        check: Check::Object(|subject, _| {
            let objective = subject.spec.slo.as_ref().and_then(|slo| slo.objective.as_deref());
            objective.is_none_or(|objective| ppm(objective).is_some())
        }),
        message: |subject, _| {
            let objective = subject.spec.slo.as_ref().and_then(|slo| slo.objective.clone()).unwrap_or_default();
            format!("'{objective}' is no share that could be promised")
        },
        allowed: "50% to 99.999%, as in 99.9%",
    },
    Rule {
        id: "slo-window-range",
        path: "spec.slo.window",
        cel: "!has(self.slo) || !has(self.slo.window) || (duration(self.slo.window) >= duration('1h') && duration(self.slo.window) <= duration('2160h'))",
        says: "'over ' + self.slo.window + ' nothing useful is counted'",
        check: Check::Object(|_, s| are(s, |slo| (3_600_000..=2_160 * 3_600_000).contains(&slo.window_ms))),
        message: |_, s| format!("over {} nothing useful is counted", Millis(s.slo.map_or(0, |slo| slo.window_ms))),
        allowed: "1h to 2160h",
    },
];
