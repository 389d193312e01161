//! Rules that refuse an object: what can never be right of sessions.

use super::{Check, Rule};

/// Longest wait, in milliseconds: a client has given up before.
const WAIT_MS_MAX: u32 = 60_000;

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "session-guarantees-once",
        path: "spec.session.guarantees",
        cel: "",
        says: "",
        check: Check::Object(|subject, _| {
            let named =
                subject.spec.session.as_ref().and_then(|session| session.guarantees.as_deref()).unwrap_or_default();
            named.iter().enumerate().all(|(i, one)| !named[..i].contains(one))
        }),
        message: |_, _| "a guarantee is named twice".to_owned(),
        allowed: "each of ReadYourWrites, MonotonicReads, WritesFollowReads, MonotonicWrites and ConsistentPrefix at most once",
    },
    Rule {
        id: "session-wait-range",
        path: "spec.session.waitMs",
        cel: "!has(self.session) || !has(self.session.waitMs) || self.session.waitMs <= 60000",
        says: "",
        check: Check::Object(|_, s| s.session.wait_ms() <= WAIT_MS_MAX),
        message: |_, _| "a command would wait too long for what its session has seen".to_owned(),
        allowed: "0 to 60000",
    },
];
