//! Rules that refuse an object: what can never be right of keyspace events.

use super::{Check, Rule};

/// All letters there are.
const LETTERS: &str = "AKEg$lshzxetdmn";

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "keyspace-events-known",
        path: "spec.keyspaceEvents",
        cel: "!has(self.keyspaceEvents) || self.keyspaceEvents.matches('^[AKEg$lshzxetdmn]*$')",
        says: "'\\'' + self.keyspaceEvents + '\\' has a letter that is no class of events'",
        check: Check::Object(|_, s| s.keyspace_events.chars().all(|letter| LETTERS.contains(letter))),
        message: |_, s| format!("'{}' has a letter that is no class of events", s.keyspace_events),
        allowed: "letters of AKEg$lshzxetdmn, as Redis's notify-keyspace-events has them",
    },
    Rule {
        id: "keyspace-events-told",
        path: "spec.keyspaceEvents",
        cel: "!has(self.keyspaceEvents) || self.keyspaceEvents == '' || (self.keyspaceEvents.matches('[KE]') && self.keyspaceEvents.matches('[^KE]'))",
        says: "'with \\'' + self.keyspaceEvents + '\\' nothing would be told'",
        check: Check::Object(|_, s| {
            let form = |letter| matches!(letter, 'K' | 'E');
            let all = &s.keyspace_events;
            all.is_empty() || (all.chars().any(form) && all.chars().any(|letter| !form(letter)))
        }),
        message: |_, s| format!("with '{}' nothing would be told", s.keyspace_events),
        allowed: "K (by keys), E (by events) or both, and classes of events, as in KEA",
    },
];
