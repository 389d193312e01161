//! What a connection is promised of what it has seen and written.

use serde::{Deserialize, Serialize};

/// Milliseconds that are waited if nothing is said.
const WAIT_MS: u32 = 1_000;

/// One promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum Guarantee {
    /// A read shows what the session has written.
    ReadYourWrites,
    /// A read shows no less than an earlier one of the session.
    MonotonicReads,
    /// A write is executed where everything is that the session has read.
    WritesFollowReads,
    /// A write is executed where the session's earlier writes are.
    MonotonicWrites,
    /// Entries become visible whole and in causal order. Where there are leaders that is how they are joined; where nobody leads reads of several keys wait for it.
    ConsistentPrefix,
}

impl Guarantee {
    /// All of them, in the order of their bits on the wire.
    pub const ALL: [Guarantee; 5] = [
        Guarantee::ReadYourWrites,
        Guarantee::MonotonicReads,
        Guarantee::WritesFollowReads,
        Guarantee::MonotonicWrites,
        Guarantee::ConsistentPrefix,
    ];
}

/// What a session is promised, and how long its commands wait for what it has seen elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Session {
    /// What every connection is promised, unless it chooses otherwise (SESSION GUARANTEES). Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarantees: Option<Vec<Guarantee>>,
    /// Milliseconds that a command waits at a replica for what its session has seen elsewhere, before it is asked of another one or answered STALE. Default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u32>,
}

impl Session {
    /// With every default filled in, in one order.
    pub fn settle(&self) -> Session {
        let mut guarantees = self.guarantees.clone().unwrap_or_else(|| Guarantee::ALL.to_vec());
        guarantees.sort_unstable();
        guarantees.dedup();
        Session { guarantees: Some(guarantees), wait_ms: Some(self.wait_ms()) }
    }

    /// How long is waited.
    pub fn wait_ms(&self) -> u32 {
        self.wait_ms.unwrap_or(WAIT_MS)
    }

    /// As bits: those that are not promised.
    pub fn left_out(&self) -> u32 {
        let Some(promised) = &self.guarantees else { return 0 };
        let out = Guarantee::ALL.iter().enumerate().filter(|(_, guarantee)| !promised.contains(guarantee));
        out.fold(0, |bits, (bit, _)| bits | 1 << bit)
    }

    /// From these bits, and how long is waited.
    pub fn without(bits: u32, wait_ms: Option<u32>) -> Session {
        let kept = Guarantee::ALL.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 0);
        Session { guarantees: Some(kept.map(|(_, guarantee)| *guarantee).collect()), wait_ms }.settle()
    }

    /// Whether nothing of it is said otherwise than it is anyway.
    pub fn is_standard(&self) -> bool {
        self.left_out() == 0 && self.wait_ms() == WAIT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guarantees_are_bits_on_the_wire() {
        assert!(Session::default().is_standard() && Session::default().settle().is_standard());
        let some =
            Session { guarantees: Some(vec![Guarantee::MonotonicReads, Guarantee::ReadYourWrites]), wait_ms: None };
        assert_eq!((some.left_out(), some.is_standard()), (0b11100, false));
        assert_eq!(Session::without(some.left_out(), Some(5)), Session { wait_ms: Some(5), ..some.settle() });
        assert_eq!(Session { guarantees: Some(Vec::new()), wait_ms: None }.left_out(), 0b11111);
    }
}
