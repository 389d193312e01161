//! Rules that refuse an object: what can never be right of the store itself.

use super::{Check, DURATION_MS_MAX, FEED_RATE_MIN, LOG_BYTES_MIN, N_MAX, NAME_MAX, REGIONS_MAX, Rule};
use crate::{
    quantity::{Bytes, Millis},
    store::{Failover, Mode},
};

fn name_is_label(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    first && name.len() <= NAME_MAX && name.bytes().all(ok) && !name.ends_with('-')
}

/// n as an expression.
macro_rules! n {
    () => {
        "(has(self.n) ? self.n : 3)"
    };
}

/// A field that means something only where there is no leader: its rule's name, its names in YAML and here, why, and what is allowed.
macro_rules! only_leaderless {
    ($id:literal, $yaml:literal, $field:ident, $why:literal, $allowed:literal) => {
        Rule {
            id: $id,
            path: concat!("spec.", $yaml),
            cel: concat!("!has(self.", $yaml, ") || self.mode == 'Leaderless'"),
            says: concat!("'in mode ' + self.mode + ' ", $why, "'"),
            check: Check::Object(|store, s| store.spec.$field.is_none() || s.mode == Mode::Leaderless),
            message: |_, s| format!(concat!("in mode {:?} ", $why), s.mode),
            allowed: $allowed,
        }
    };
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "name",
        path: "metadata.name",
        cel: "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 50",
        says: "'\\'' + self.metadata.name + '\\' is no name for a store'",
        check: Check::Object(|store, _| name_is_label(store.name)),
        message: |store, _| format!("'{}' is no name for a store", store.name),
        allowed: "1 to 50 of a-z, 0-9 and '-', beginning with a letter and not ending with '-'",
    },
    Rule {
        id: "n-range",
        path: "spec.n",
        cel: "!has(self.n) || (self.n >= 1 && self.n <= 9)",
        says: concat!("'n is ' + ", text!(n!())),
        check: Check::Object(|_, s| (1..=N_MAX).contains(&s.n)),
        message: |_, s| format!("n is {}", s.n),
        allowed: "1 to 9",
    },
    Rule {
        id: "w-range",
        path: "spec.w",
        cel: concat!("!has(self.w) || ", n!(), " < 1 || (self.w >= 1 && self.w <= ", n!(), ")"),
        says: concat!(
            "'w is ' + ",
            text!("self.w"),
            " + (self.w < 1 ? ': a write must be held by at least the leader' : ', but there are only n = ' + ",
            text!(n!()),
            " + ' replicas')"
        ),
        check: Check::Object(|_, s| s.n == 0 || (s.w >= 1 && s.w <= s.n)),
        message: |_, s| {
            if s.w == 0 {
                "w is 0: a write must be held by at least the leader".to_owned()
            } else {
                format!("w is {}, but there are only n = {} replicas", s.w, s.n)
            }
        },
        allowed: "1 to n",
    },
    Rule {
        id: "r-range",
        path: "spec.r",
        cel: concat!("!has(self.r) || ", n!(), " < 1 || (self.r >= 1 && self.r <= ", n!(), ")"),
        says: concat!(
            "'r is ' + ",
            text!("self.r"),
            " + (self.r < 1 ? ': a read must be answered by somebody' : ', but there are only n = ' + ",
            text!(n!()),
            " + ' replicas')"
        ),
        check: Check::Object(|_, s| s.n == 0 || (s.r >= 1 && s.r <= s.n)),
        message: |_, s| {
            if s.r == 0 {
                "r is 0: a read must be answered by somebody".to_owned()
            } else {
                format!("r is {}, but there are only n = {} replicas", s.r, s.n)
            }
        },
        allowed: "1 to n",
    },
    only_leaderless!(
        "write-order-leaderless",
        "writeOrder",
        write_order,
        "the leader that takes a write orders it",
        "Strict or Clock, and only with mode Leaderless"
    ),
    only_leaderless!(
        "read-repair-leaderless",
        "readRepair",
        read_repair,
        "reads find nothing to repair",
        "Blocking, Async or Off, and only with mode Leaderless"
    ),
    Rule {
        id: "feed-rate-has-feeds",
        path: "spec.feedBytesPerSecond",
        cel: "!has(self.feedBytesPerSecond) || self.mode != 'SingleLeader'",
        says: "",
        check: Check::Object(|store, s| store.spec.feed_bytes_per_second.is_none() || s.mode != Mode::SingleLeader),
        message: |_, _| "in mode SingleLeader followers take all from the leader".to_owned(),
        allowed: "at least 64Ki, and only with mode MultiLeader or Leaderless",
    },
    Rule {
        id: "feed-rate-useful",
        path: "spec.feedBytesPerSecond",
        cel: "!has(self.feedBytesPerSecond) || quantity(self.feedBytesPerSecond).compareTo(quantity('64Ki')) >= 0",
        says: "'with ' + self.feedBytesPerSecond + ' a second a replica that missed something would hardly ever catch up'",
        check: Check::Object(|store, _| store.spec.feed_bytes_per_second.is_none_or(|rate| rate.0 >= FEED_RATE_MIN)),
        message: |_, s| {
            let rate = Bytes(s.feed_bytes_per_second);
            format!("with {rate} a second a replica that missed something would hardly ever catch up")
        },
        allowed: "at least 64Ki, and only with mode MultiLeader or Leaderless",
    },
    Rule {
        id: "feed-compression-between-regions",
        path: "spec.feedCompression",
        cel: "!has(self.feedCompression) || self.mode == 'MultiLeader'",
        says: "'in mode ' + self.mode + ' replicas are sent the bytes that are on the disk'",
        check: Check::Object(|store, s| store.spec.feed_compression.is_none() || s.mode == Mode::MultiLeader),
        message: |_, s| format!("in mode {:?} replicas are sent the bytes that are on the disk", s.mode),
        allowed: "Lz4 or Off, and only with mode MultiLeader",
    },
    Rule {
        id: "failover-has-leader",
        path: "spec.failover.policy",
        cel: "self.mode != 'Leaderless' || !has(self.failover) || !(has(self.failover.policy) || has(self.failover.giveUpAfter) || has(self.failover.preferredRegion))",
        says: "",
        check: Check::Object(|store, s| {
            let about_leaders =
                |f: &Failover| f.policy.is_some() || f.give_up_after.is_some() || f.preferred_region.is_some();
            s.mode != Mode::Leaderless || !store.spec.failover.as_ref().is_some_and(about_leaders)
        }),
        message: |_, _| {
            "policy, giveUpAfter and preferredRegion are about leaders, and mode Leaderless has none".to_owned()
        },
        allowed: "NeverLose or PreferAvailable, and only with leaders",
    },
    Rule {
        id: "regions-covered",
        path: "spec.regions",
        cel: concat!(
            "self.mode == 'MultiLeader' || !has(self.regions) || ",
            n!(),
            " < 1 || size(self.regions) <= ",
            n!()
        ),
        says: concat!(
            text!("size(self.regions)"),
            " + ' regions cannot each have one of n = ' + ",
            text!(n!()),
            " + ' replicas'"
        ),
        check: Check::Object(|_, s| s.mode == Mode::MultiLeader || s.n == 0 || s.regions.len() <= s.n as usize),
        message: |_, s| format!("{} regions cannot each have one of n = {} replicas", s.regions.len(), s.n),
        allowed: "at most n regions",
    },
    Rule {
        id: "regions-required",
        path: "spec.regions",
        cel: "self.mode != 'MultiLeader' || (has(self.regions) && size(self.regions) > 0)",
        says: "",
        check: Check::Object(|store, s| s.mode != Mode::MultiLeader || !store.spec.regions.is_empty()),
        message: |_, _| "in mode MultiLeader each region has a leader, and no region is named".to_owned(),
        allowed: "1 to 15 regions, each of which has n replicas",
    },
    Rule {
        id: "regions-bounded",
        path: "spec.regions",
        cel: "",
        says: "",
        check: Check::Object(|store, s| s.mode != Mode::MultiLeader || store.spec.regions.len() <= REGIONS_MAX),
        message: |_, s| format!("there are {} regions, and each has feeds to all others", s.regions.len()),
        allowed: "1 to 15 regions, each of which has n replicas",
    },
    Rule {
        id: "regions-named",
        path: "spec.regions",
        cel: "!has(self.regions) || self.regions.all(a, a.name != '' && self.regions.exists_one(b, b.name == a.name))",
        says: "",
        check: Check::Object(|store, _| {
            let regions = &store.spec.regions;
            regions.iter().enumerate().all(|(i, a)| !a.name.is_empty() && regions[..i].iter().all(|b| b.name != a.name))
        }),
        message: |_, _| "two regions have the same name, or one has none".to_owned(),
        allowed: "a name for each region, used once",
    },
    Rule {
        id: "preferred-region-known",
        path: "spec.failover.preferredRegion",
        cel: "!has(self.failover) || !has(self.failover.preferredRegion) || (has(self.regions) && self.regions.exists(a, a.name == self.failover.preferredRegion))",
        says: "'\\'' + self.failover.preferredRegion + '\\' is none of the regions'",
        check: Check::Object(|_, s| s.preferred_region.is_empty() || s.regions.contains(&s.preferred_region)),
        message: |_, s| format!("'{}' is none of the regions", s.preferred_region),
        allowed: "the name of one of spec.regions",
    },
    Rule {
        id: "preferred-region-single-leader",
        path: "spec.failover.preferredRegion",
        cel: "self.mode != 'MultiLeader' || !has(self.failover) || !has(self.failover.preferredRegion)",
        says: "",
        check: Check::Object(|_, s| s.mode != Mode::MultiLeader || s.preferred_region.is_empty()),
        message: |_, _| {
            "in mode MultiLeader each region has a leader of its own, and none can lead another one".to_owned()
        },
        allowed: "the name of one of spec.regions, and only with mode SingleLeader",
    },
    Rule {
        id: "lease-below-suspicion",
        path: "spec.failover.lease",
        cel: concat!(
            "duration(",
            lease!(),
            ") > duration('0s') && duration(",
            lease!(),
            ") < duration(",
            suspicion!(),
            ")"
        ),
        says: concat!(
            "'the lease is ' + ",
            lease!(),
            " + ', and a leader is suspect after ' + ",
            suspicion!(),
            " + ': it must have run out by then'"
        ),
        check: Check::Object(|_, s| s.lease_ms < s.suspicion_ms && s.lease_ms > 0),
        message: |_, s| {
            let (lease, suspicion) = (Millis(s.lease_ms), Millis(s.suspicion_ms));
            format!("the lease is {lease}, and a leader is suspect after {suspicion}: it must have run out by then")
        },
        allowed: "more than 0 and less than spec.failover.suspicion",
    },
    Rule {
        id: "heartbeat-within-lease",
        path: "spec.failover.heartbeat",
        cel: concat!(
            "duration(",
            heartbeat!(),
            ") > duration('0s') && duration(",
            heartbeat!(),
            ") + duration(",
            heartbeat!(),
            ") + duration(",
            heartbeat!(),
            ") <= duration(",
            lease!(),
            ")"
        ),
        says: concat!(
            "'with a heartbeat each ' + ",
            heartbeat!(),
            " + ', two lost ones end the lease of ' + ",
            lease!()
        ),
        check: Check::Object(|_, s| s.heartbeat_ms > 0 && s.heartbeat_ms.saturating_mul(3) <= s.lease_ms),
        message: |_, s| {
            let (heartbeat, lease) = (Millis(s.heartbeat_ms), Millis(s.lease_ms));
            format!("with a heartbeat each {heartbeat}, two lost ones end the lease of {lease}")
        },
        allowed: "more than 0 and at most a third of spec.failover.lease",
    },
    Rule {
        id: "suspicion-bounded",
        path: "spec.failover.suspicion",
        cel: "!has(self.failover) || !has(self.failover.suspicion) || duration(self.failover.suspicion) <= duration('1h')",
        says: "'a leader that is lost would be missed after ' + self.failover.suspicion",
        check: Check::Object(|_, s| s.suspicion_ms <= DURATION_MS_MAX),
        message: |_, s| format!("a leader that is lost would be missed after {}", Millis(s.suspicion_ms)),
        allowed: "at most 1h",
    },
    Rule {
        id: "give-up-after-bounded",
        path: "spec.failover.giveUpAfter",
        cel: "!has(self.failover) || !has(self.failover.giveUpAfter) || duration(self.failover.giveUpAfter) <= duration('1h')",
        says: "'a store would wait ' + self.failover.giveUpAfter + ' for members that do not answer'",
        check: Check::Object(|_, s| s.give_up_after_ms <= DURATION_MS_MAX),
        message: |_, s| format!("a store would wait {} for members that do not answer", Millis(s.give_up_after_ms)),
        allowed: "at most 1h; the policy NeverLose never gives up",
    },
    Rule {
        id: "request-timeout-range",
        path: "spec.requestTimeout",
        cel: "!has(self.requestTimeout) || (duration(self.requestTimeout) > duration('0s') && duration(self.requestTimeout) <= duration('1h'))",
        says: "'every command would time out after ' + self.requestTimeout",
        check: Check::Object(|_, s| (1..=DURATION_MS_MAX).contains(&s.request_timeout_ms)),
        message: |_, s| format!("every command would time out after {}", Millis(s.request_timeout_ms)),
        allowed: "more than 0 and at most 1h",
    },
    Rule {
        id: "log-retention-useful",
        path: "spec.logRetention.bytes",
        cel: "!has(self.logRetention) || !has(self.logRetention.bytes) || quantity(self.logRetention.bytes).compareTo(quantity('1Mi')) >= 0",
        says: "'a log of ' + self.logRetention.bytes + ' holds less than one batch'",
        check: Check::Object(|_, s| s.log_bytes_max >= LOG_BYTES_MIN),
        message: |_, s| format!("a log of {} holds less than one batch", Bytes(s.log_bytes_max)),
        allowed: "at least 1Mi",
    },
];
