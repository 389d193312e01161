//! Rules that refuse an object: what can never be right of the store itself.

use super::{Check, DURATION_MS_MAX, LOG_BYTES_MIN, N_MAX, NAME_MAX, Rule};
use crate::store::{Mode, Settled};

fn name_is_label(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    first && name.len() <= NAME_MAX && name.bytes().all(ok) && !name.ends_with('-')
}

fn durations(s: &Settled) -> [u64; 5] {
    [s.suspicion_ms, s.give_up_after_ms, s.lease_ms, s.heartbeat_ms, s.request_timeout_ms]
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "name",
        path: "metadata.name",
        cel: "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 50",
        check: Check::Object(|store, _| name_is_label(store.name)),
        message: |store, _| format!("'{}' is no name for a store", store.name),
        allowed: "1 to 50 of a-z, 0-9 and '-', beginning with a letter and not ending with '-'",
    },
    Rule {
        id: "mode-supported",
        path: "spec.mode",
        cel: "self.mode == 'SingleLeader'",
        check: Check::Object(|_, s| s.mode == Mode::SingleLeader),
        message: |_, s| format!("{:?} is not in this version yet", s.mode),
        allowed: "SingleLeader",
    },
    Rule {
        id: "n-range",
        path: "spec.n",
        cel: "!has(self.n) || (self.n >= 1 && self.n <= 9)",
        check: Check::Object(|_, s| (1..=N_MAX).contains(&s.n)),
        message: |_, s| format!("n is {}", s.n),
        allowed: "1 to 9",
    },
    Rule {
        id: "w-range",
        path: "spec.w",
        cel: "!has(self.w) || (self.w >= 1 && self.w <= (has(self.n) ? self.n : 3))",
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
        cel: "!has(self.r) || (self.r >= 1 && self.r <= (has(self.n) ? self.n : 3))",
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
    Rule {
        id: "regions-covered",
        path: "spec.regions",
        cel: "!has(self.regions) || size(self.regions) <= (has(self.n) ? self.n : 3)",
        check: Check::Object(|_, s| s.n == 0 || s.regions.len() <= s.n as usize),
        message: |_, s| format!("{} regions cannot each have one of n = {} replicas", s.regions.len(), s.n),
        allowed: "at most n regions",
    },
    Rule {
        id: "regions-named",
        path: "spec.regions",
        cel: "!has(self.regions) || self.regions.all(a, a.name != '' && self.regions.exists_one(b, b.name == a.name))",
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
        check: Check::Object(|_, s| s.preferred_region.is_empty() || s.regions.contains(&s.preferred_region)),
        message: |_, s| format!("'{}' is none of the regions", s.preferred_region),
        allowed: "the name of one of spec.regions",
    },
    Rule {
        id: "lease-below-suspicion",
        path: "spec.failover.lease",
        cel: "duration(has(self.failover) && has(self.failover.lease) ? self.failover.lease : '250ms') < duration(has(self.failover) && has(self.failover.suspicion) ? self.failover.suspicion : '1s')",
        check: Check::Object(|_, s| s.lease_ms < s.suspicion_ms && s.lease_ms > 0),
        message: |_, s| {
            format!(
                "the lease is {} ms, and a leader is suspect after {} ms: it must have run out by then",
                s.lease_ms, s.suspicion_ms
            )
        },
        allowed: "more than 0 and less than spec.failover.suspicion",
    },
    Rule {
        id: "heartbeat-within-lease",
        path: "spec.failover.heartbeat",
        cel: "duration(has(self.failover) && has(self.failover.heartbeat) ? self.failover.heartbeat : '50ms') * 3 <= duration(has(self.failover) && has(self.failover.lease) ? self.failover.lease : '250ms')",
        check: Check::Object(|_, s| s.heartbeat_ms > 0 && s.heartbeat_ms.saturating_mul(3) <= s.lease_ms),
        message: |_, s| {
            format!("with a heartbeat each {} ms, two lost ones end the lease of {} ms", s.heartbeat_ms, s.lease_ms)
        },
        allowed: "more than 0 and at most a third of spec.failover.lease",
    },
    Rule {
        id: "durations-bounded",
        path: "spec.failover",
        cel: "!has(self.failover) || [has(self.failover.suspicion) ? self.failover.suspicion : '1s', has(self.failover.giveUpAfter) ? self.failover.giveUpAfter : '30s', has(self.failover.lease) ? self.failover.lease : '250ms', has(self.failover.heartbeat) ? self.failover.heartbeat : '50ms'].all(d, duration(d) <= duration('1h'))",
        check: Check::Object(|_, s| durations(s).iter().all(|ms| *ms <= DURATION_MS_MAX)),
        message: |_, s| format!("a duration of {} ms is too long", durations(s).iter().max().copied().unwrap_or(0)),
        allowed: "durations of at most 1h",
    },
    Rule {
        id: "request-timeout-positive",
        path: "spec.requestTimeout",
        cel: "!has(self.requestTimeout) || duration(self.requestTimeout) > duration('0s')",
        check: Check::Object(|_, s| s.request_timeout_ms > 0),
        message: |_, _| "every command would time out at once".to_owned(),
        allowed: "more than 0",
    },
    Rule {
        id: "log-retention-useful",
        path: "spec.logRetention.bytes",
        cel: "!has(self.logRetention) || !has(self.logRetention.bytes) || quantity(self.logRetention.bytes).compareTo(quantity('1Mi')) >= 0",
        check: Check::Object(|_, s| s.log_bytes_max >= LOG_BYTES_MIN),
        message: |_, s| format!("a log of {} bytes holds less than one batch", s.log_bytes_max),
        allowed: "at least 1Mi",
    },
];
