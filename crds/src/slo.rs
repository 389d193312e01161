//! Service-level objectives: what a user promises of a store, and how much of what it allows has been used.

use serde::{Deserialize, Serialize};

use crate::quantity::Millis;

/// What is promised if nothing else is said, in parts of a million.
const OBJECTIVE: u32 = 999_000;
/// Over how long: 30 days.
const WINDOW: Millis = Millis(720 * 3_600_000);

/// What a store promises. It is measured from when the store first serves; each of the two has a budget of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slo {
    /// Writes: a client that begins now, and tries again, is told OK within this time. From 50ms to 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_gap: Option<Millis>,
    /// Reads: a replica lacks no write that was acknowledged longer ago than this. From 100ms to 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staleness: Option<Millis>,
    /// For how many of 100, from 50% to 99.999%. Default 99.9%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<String>,
    /// Over how long that is counted, from 1h to 2160h (90 days). Default 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Millis>,
}

/// The same with every default filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objectives {
    /// Longest time until a write is acknowledged, in milliseconds.
    pub write_gap_ms: Option<u64>,
    /// Highest age of an acknowledged write that a replica lacks, in milliseconds.
    pub staleness_ms: Option<u64>,
    /// How much has to be so, in parts of a million.
    pub objective_ppm: u32,
    /// Over how long, in milliseconds.
    pub window_ms: u64,
}

impl Slo {
    /// Every default filled in; what is no percentage is taken as the default.
    pub fn settle(&self) -> Objectives {
        Objectives {
            write_gap_ms: self.write_gap.map(|ms| ms.0),
            staleness_ms: self.staleness.map(|ms| ms.0),
            objective_ppm: self.objective.as_deref().and_then(ppm).unwrap_or(OBJECTIVE),
            window_ms: self.window.unwrap_or(WINDOW).0,
        }
    }
}

impl Objectives {
    /// As a percentage.
    pub fn objective(&self) -> String {
        percent(self.objective_ppm)
    }

    /// What is promised, for people.
    pub fn explain(&self) -> String {
        let ms = |ms: u64| Millis(ms).to_string();
        let write = self.write_gap_ms.map(|gap| format!("a write is acknowledged within {}", ms(gap)));
        let stale = self.staleness_ms.map(|age| format!("no replica lacks a write for longer than {}", ms(age)));
        let what: Vec<String> = [write, stale].into_iter().flatten().collect();
        let allowed_ms = (u128::from(self.window_ms) * u128::from(1_000_000 - self.objective_ppm) / 1_000_000) as u64;
        format!(
            "Objectives: {} of the time {}; in {} they may fail for {} altogether. Measured by the operator with writes that no client sees.",
            self.objective(),
            what.join(", and "),
            ms(self.window_ms),
            ms(if allowed_ms >= 60_000 { allowed_ms / 1_000 * 1_000 } else { allowed_ms }),
        )
    }
}

/// `99.9%` in parts of a million, if it is one from 50 % to less than 100 %.
pub(crate) fn ppm(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 2 || !digits(whole, 2) || !digits(part, 3) {
        return None;
    }
    let part: u32 = format!("{part:0<4}").parse().ok()?;
    let ppm = whole.parse::<u32>().ok()? * 10_000 + part;
    (500_000..1_000_000).contains(&ppm).then_some(ppm)
}

/// Parts of a million as a percentage.
fn percent(ppm: u32) -> String {
    let text = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// How the store has kept what it promises.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SloStatus {
    /// Writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_gap: Option<Budget>,
    /// Reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staleness: Option<Budget>,
}

/// An objective and what is left of its budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Budget {
    /// The time that is promised.
    pub within: Millis,
    /// For how many of 100.
    pub objective: String,
    /// Over how long.
    pub window: Millis,
    /// How long of that has been measured so far.
    pub measured: Millis,
    /// Measurements within the window that failed.
    pub bad: u64,
    /// All of them.
    pub total: u64,
    /// What is left of the measurements that may fail, of those made so far: 1 is all, 0 is nothing, less is more than was allowed.
    pub budget_left: f64,
    /// How fast it went in the last hour: 1 is as fast as the objective allows for ever, 10 spends all of it in a tenth of the window.
    pub burn_rate: f64,
    /// Failed measurements and all of them since the process began that measures: not a part of the status.
    #[serde(skip)]
    pub counted: (u64, u64),
}

impl Budget {
    /// The share of all measurements that may fail.
    pub fn may_fail(&self) -> f64 {
        f64::from(1_000_000 - ppm(&self.objective).unwrap_or(OBJECTIVE)) / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_and_written() {
        for (text, parts) in
            [("99.9%", 999_000), ("50%", 500_000), ("99.999%", 999_990), ("99.05%", 990_500), ("99%", 990_000)]
        {
            assert_eq!(ppm(text), Some(parts), "{text}");
            assert_eq!(percent(parts), text);
        }
        for text in ["", "%", "99.9", "100%", "49.9%", "9.9%", "99.%", "99.9999%", "-9%", "99,9%", "9e1%", " 99%"] {
            assert_eq!(ppm(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_promised_is_said() {
        let slo = Slo { write_gap: Some(Millis(500)), staleness: Some(Millis(1_000)), ..Slo::default() };
        assert_eq!(
            slo.settle().explain(),
            "Objectives: 99.9% of the time a write is acknowledged within 500ms, and no replica lacks a write for longer than 1s; in 720h they may fail for \
             43m12s altogether. Measured by the operator with writes that no client sees."
        );
    }
}
