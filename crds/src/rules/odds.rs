//! Rules that advise where there is no leader: what may be missed, undone by a clock, or blocked, in plain numbers.

use super::{Check, Rule};
use crate::{
    explain::leaderless::odds,
    quorums::Quorums,
    store::{Mode, ReadRepair, Settled, WriteOrder},
};

fn leaderless(s: &Settled) -> bool {
    s.mode == Mode::Leaderless && s.n > 1
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "quorums-do-not-meet",
        path: "spec.r",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| !leaderless(s) || Quorums::of(s).meet()),
        message: |_, s| {
            format!("w + r = {} is not more than n = {}: {}", s.w + s.r, s.n, odds(Quorums::of(s).misses(), s.w, s.r))
        },
        allowed: "",
    },
    Rule {
        id: "one-copy",
        path: "spec.w",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| !leaderless(s) || s.w != 1),
        message: |_, s| {
            format!(
                "w = 1 of {}: a write is acknowledged when one replica alone has it; if that one is lost with its disk before others have it, so is the write.",
                s.n
            )
        },
        allowed: "",
    },
    Rule {
        id: "clocks-stop-writes",
        path: "spec.w",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| {
            !leaderless(s) || s.write_order == WriteOrder::Clock || Quorums::of(s).writes_need() == s.w
        }),
        message: |_, s| {
            let needed = Quorums::of(s).writes_need();
            format!(
                "w = {} of {} with writeOrder Strict: a write asks n - w + 1 = {needed} clocks before it begins, so writes go on with {} down, not with {}.",
                s.w,
                s.n,
                s.n - needed,
                s.n - s.w
            )
        },
        allowed: "",
    },
    Rule {
        id: "clocks-trusted",
        path: "spec.writeOrder",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| !leaderless(s) || s.write_order == WriteOrder::Strict),
        message: |_, _| {
            "writeOrder Clock: a write that was acknowledged loses to an earlier one whose replica's clock is ahead, by as much as clocks differ.".to_owned()
        },
        allowed: "",
    },
    Rule {
        id: "reads-not-monotonic",
        path: "spec.readRepair",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| !leaderless(s) || s.read_repair == ReadRepair::Blocking || s.r == 1),
        message: |_, s| {
            format!(
                "readRepair {:?}: of two reads during a write the later one may show what is older, although w + r = {} and n = {}.",
                s.read_repair,
                s.w + s.r,
                s.n
            )
        },
        allowed: "",
    },
];
