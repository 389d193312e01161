//! Rules that advise: what is accepted and has a price, in plain numbers.

use super::{Check, Rule};
use crate::store::{Durability, Mode, Policy, Settled};

/// What stands after a number that each region has for itself; these words where the mode has regions like that, or none.
fn each(s: &Settled, words: &'static str) -> &'static str {
    if s.mode == Mode::MultiLeader { words } else { "" }
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "one-region",
        path: "spec.regions",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| s.mode != Mode::MultiLeader || s.regions.len() > 1),
        message: |_, _| {
            "1 region: no other one takes writes or has a copy of what this one holds, so that MultiLeader does no more than SingleLeader until there is a second region."
                .to_owned()
        },
        allowed: "",
    },
    Rule {
        id: "one-replica",
        path: "spec.n",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| s.n != 1),
        message: |_, s| {
            let what = match s.mode {
                Mode::MultiLeader => {
                    "n = 1 in each region: there is no failover within a region; while its replica is down a region serves nothing, and what it alone had is lost with its disk."
                }
                _ => {
                    "n = 1: there is no second copy; while the replica is down nothing is served, and its disk is all there is."
                }
            };
            what.to_owned()
        },
        allowed: "",
    },
    Rule {
        id: "two-replicas",
        path: "spec.n",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| s.n != 2 || s.w == 1),
        message: |_, s| {
            format!(
                "n = 2, w = 2{}: no write is lost with either replica, but writes{} stop while either is down; n = 3 goes on.",
                each(s, " in each region"),
                each(s, " there")
            )
        },
        allowed: "",
    },
    Rule {
        id: "asynchronous",
        path: "spec.w",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| s.w != 1 || s.n == 1 || s.mode == Mode::Leaderless),
        message: |_, s| match s.policy {
            Policy::PreferAvailable => format!(
                "w = 1 of {}{}: a write is acknowledged when the leader alone has it; when the leader is lost, writes that the others had not received are at risk until it returns, and lost if its disk is.",
                s.n,
                each(s, " in each region")
            ),
            Policy::NeverLose => format!(
                "w = 1 of {}{} with NeverLose: a failover needs all {} members, so when any one of them and the leader are lost, nothing is served{} until they return.",
                s.n,
                each(s, " in each region"),
                s.n,
                each(s, " there")
            ),
        },
        allowed: "",
    },
    Rule {
        id: "synchronous-all",
        path: "spec.w",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| s.w != s.n || s.n <= 2),
        message: |_, s| {
            format!(
                "w = n = {}{}: every replica has every acknowledged write{}, and writes{} stop while any one of the {} is down.",
                s.n,
                each(s, " in each region"),
                each(s, " of its region"),
                each(s, " there"),
                s.n
            )
        },
        allowed: "",
    },
    Rule {
        id: "even-n",
        path: "spec.n",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| s.n <= 2 || !s.n.is_multiple_of(2)),
        message: |_, s| {
            format!(
                "n = {}{} is even: with a majority as w it survives {} lost replicas, no more than n = {} does.",
                s.n,
                each(s, " in each region"),
                s.n / 2 - 1,
                s.n - 1
            )
        },
        allowed: "",
    },
    Rule {
        id: "reads-may-be-stale",
        path: "spec.r",
        cel: "",
        says: "",
        check: Check::Advice(|store, s| {
            s.n == 1 || s.w + s.r > s.n || store.spec.r.is_none() || s.mode == Mode::Leaderless
        }),
        message: |_, s| {
            let who = if s.r == 1 {
                format!(
                    "a client of a follower may read what is older than an acknowledged write{}.",
                    each(s, " of the same region")
                )
            } else {
                format!(
                    "{} replicas need not include one that has the latest acknowledged write, so followers must ask the leader.",
                    s.r
                )
            };
            format!("w + r = {} is not more than n = {}{}: {who}", s.w + s.r, s.n, each(s, " in each region"))
        },
        allowed: "",
    },
    Rule {
        id: "memory",
        path: "spec.durability",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| s.durability == Durability::Disk),
        message: |_, s| {
            format!(
                "durability Memory: a copy counts before it is on disk; if {} machines{} lose power at once, up to a second of acknowledged writes is lost with them.",
                s.w,
                each(s, " of a region")
            )
        },
        allowed: "",
    },
];
