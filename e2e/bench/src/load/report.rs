//! What a run came to.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The longest latency that is told apart from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(600);

/// Counts and latencies of one run, warm-up excluded.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests answered well within the measured time.
    pub finished: u64,
    /// Of these, reads that found no such key.
    pub misses: u64,
    /// Requests that did not end well, by kind.
    pub errors: BTreeMap<String, u64>,
    /// The time that `finished` was counted over.
    pub elapsed: Duration,
    /// Microseconds from each request's intended start to its answer; those answered while the run drained are in it too.
    pub latency_us: Histogram<u64>,
    /// For [`super::Keys::Own`]: the number of the last request acknowledged on each key, 0 for none.
    pub acknowledged: Vec<u64>,
}

impl Report {
    /// An empty one.
    pub fn new(recorded_keys: usize) -> Self {
        let latency_us = Histogram::new_with_max(LATENCY_MAX.as_micros() as u64, 3)
            .unwrap_or_else(|_| unreachable!("three significant digits are legal"));
        Report {
            finished: 0,
            misses: 0,
            errors: BTreeMap::new(),
            elapsed: Duration::ZERO,
            latency_us,
            acknowledged: vec![0; recorded_keys],
        }
    }

    /// Forgets what the warm-up brought, except acknowledgements: a promise counts whenever it was made.
    pub(super) fn restart(&mut self) {
        self.finished = 0;
        self.misses = 0;
        self.errors.clear();
        self.latency_us.reset();
    }

    /// Notes a latency.
    pub(super) fn latency(&mut self, latency: Duration) {
        self.latency_us.saturating_record(latency.as_micros() as u64);
    }

    /// Counts errors of a kind.
    pub(super) fn error(&mut self, kind: &str, count: u64) {
        if count > 0 {
            match self.errors.get_mut(kind) {
                Some(errors) => *errors += count,
                None => _ = self.errors.insert(kind.to_owned(), count),
            }
        }
    }

    /// Requests a second.
    pub fn per_second(&self) -> f64 {
        self.finished as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// All errors.
    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The latency that this share (0 to 1) of the requests did not exceed, in milliseconds.
    pub fn latency_ms(&self, share: f64) -> f64 {
        self.latency_us.value_at_quantile(share) as f64 / 1000.0
    }

    /// Errors by kind, as one line.
    pub fn errors_text(&self) -> String {
        let kinds: Vec<String> = self.errors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        if kinds.is_empty() { "none".into() } else { kinds.join(", ") }
    }

    /// The same as the text that [`std::fmt::Display`] gives, for programs.
    pub fn json(&self) -> Value {
        json!({
            "ops_per_second": self.per_second(),
            "finished": self.finished,
            "misses": self.misses,
            "errors": self.errors,
            "seconds": self.elapsed.as_secs_f64(),
            "latency_ms": {
                "p50": self.latency_ms(0.5),
                "p99": self.latency_ms(0.99),
                "p99.9": self.latency_ms(0.999),
                "max": self.latency_ms(1.0),
            },
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        writeln!(f, "{:>12.0} ops/s  ({} in {seconds:.2} s)", self.per_second(), self.finished)?;
        let latency = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
        write!(f, "{:>12} ", "latency")?;
        for (name, share) in latency {
            write!(f, " {name} {:.3} ms ", self.latency_ms(share))?;
        }
        writeln!(f)?;
        writeln!(f, "{:>12}  {}", "errors", self.errors_text())?;
        if self.misses > 0 {
            writeln!(f, "{:>12}  {} reads found no such key", "misses", self.misses)?;
        }
        Ok(())
    }
}
