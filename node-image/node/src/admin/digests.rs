//! `/digests`: every slot's last write and digest as JSON, for a comparison of replicas that can only be reached over HTTP.

use std::{
    cell::Cell,
    fmt::Write as _,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use trireme_proto::message::Digests;

use super::{Answer, JSON, TEXT};

/// Least time between two answers: one takes the replica's thread a few milliseconds.
const EVERY: Duration = Duration::from_millis(100);

/// When it was answered last.
#[derive(Default)]
pub(super) struct Gate(Cell<Option<Instant>>);

impl Gate {
    /// Answers, unless it was answered just now.
    pub(super) fn answer(&self, digests: impl FnOnce() -> Digests) -> Answer {
        if self.0.get().is_some_and(|last| last.elapsed() < EVERY) {
            let words = format!("digests are given every {} ms: ask again\n", EVERY.as_millis());
            return (StatusCode::TOO_MANY_REQUESTS, TEXT, words);
        }
        let body = write(&digests());
        self.0.set(Some(Instant::now()));
        (StatusCode::OK, JSON, body)
    }
}

/// Digests are strings of hexadecimal digits, as JSON's numbers are too small for them; a slot that was never written has 0 and an empty one.
fn write(digests: &Digests) -> String {
    let mut out = String::with_capacity(digests.digests.len() * 24);
    // Writing to a string does not fail.
    let _ = write!(out, "{{\"applied\":{},\"firstSlot\":{},\"lastWrites\":[", digests.applied, digests.first_slot);
    for (i, last_write) in digests.last_writes.iter().enumerate() {
        let _ = write!(out, "{}{last_write}", if i == 0 { "" } else { "," });
    }
    out.push_str("],\"digests\":[");
    for (i, digest) in digests.digests.iter().enumerate() {
        out.push_str(if i == 0 { "\"" } else { ",\"" });
        if *digest != 0 {
            let _ = write!(out, "{digest:016x}");
        }
        out.push('"');
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_given_whole_and_not_too_often() {
        let digests = || Digests {
            ask: false,
            first_slot: 0,
            last_writes: vec![7, 0],
            digests: vec![0xfedc_ba98_7654_3210, 0],
            applied: 9,
        };
        let gate = Gate::default();
        let (code, _, body) = gate.answer(digests);
        assert_eq!(code, StatusCode::OK);
        assert_eq!(
            body,
            "{\"applied\":9,\"firstSlot\":0,\"lastWrites\":[7,0],\"digests\":[\"fedcba9876543210\",\"\"]}"
        );
        assert_eq!(gate.answer(|| panic!("nothing is computed")).0, StatusCode::TOO_MANY_REQUESTS);
    }
}
