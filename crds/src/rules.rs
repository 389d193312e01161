//! Which resources make sense: one list of rules, checked here for local mode, and by the API server from the same list as CEL.

use crate::store::{Durability, Mode, Policy, ReplicatedStore, Settled};

/// Most replicas that one group may have: every write goes to all of them, and a seal asks most of them.
pub const N_MAX: u32 = 9;
/// Longest duration that a spec may hold, in milliseconds: an hour.
pub const DURATION_MS_MAX: u64 = 3_600_000;
/// Smallest log that may be kept, in bytes.
pub const LOG_BYTES_MIN: u64 = 1 << 20;
/// Longest name: names of replicas and services are made from it and must stay within 63 characters.
pub const NAME_MAX: usize = 50;

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name; never reused.
    pub id: &'static str,
    /// The field that it is about.
    pub path: &'static str,
    /// The same as an expression for the API server, with `self` being the spec (for [`Check::Object`] the object, which it checks itself). Empty where
    /// the schema or the server already says it.
    pub cel: &'static str,
    /// When it holds.
    pub check: Check,
    /// What is wrong, with the values at hand.
    pub message: fn(&ReplicatedStore, &Settled) -> String,
    /// What would be right.
    pub allowed: &'static str,
}

/// When a rule holds.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Of an object by itself; a violation refuses it.
    Object(fn(&ReplicatedStore, &Settled) -> bool),
    /// Of a change from the first to the second; a violation refuses it.
    Transition(fn(&ReplicatedStore, &ReplicatedStore) -> bool),
    /// Of an object; it is accepted all the same, and the condition `ConfigurationWarning` says the message.
    Advice(fn(&ReplicatedStore, &Settled) -> bool),
}

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// [`Rule::id`].
    pub rule: &'static str,
    /// [`Rule::path`].
    pub path: &'static str,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub allowed: &'static str,
}

/// Rules that refuse an object.
pub fn validate(store: &ReplicatedStore) -> Vec<Violation> {
    let settled = store.spec.settle();
    let holds = |rule: &&Rule| matches!(rule.check, Check::Object(check) if !check(store, &settled));
    RULES.iter().filter(holds).map(|rule| rule.violation(store, &settled)).collect()
}

/// Rules that refuse a change of an object.
pub fn validate_change(before: &ReplicatedStore, after: &ReplicatedStore) -> Vec<Violation> {
    let settled = after.spec.settle();
    let holds = |rule: &&Rule| matches!(rule.check, Check::Transition(check) if !check(before, after));
    RULES.iter().filter(holds).map(|rule| rule.violation(after, &settled)).collect()
}

/// What is accepted, but has a price that the user should know, in plain numbers.
pub fn warnings(store: &ReplicatedStore) -> Vec<String> {
    let settled = store.spec.settle();
    let applies = |rule: &&Rule| matches!(rule.check, Check::Advice(check) if !check(store, &settled));
    RULES.iter().filter(applies).map(|rule| (rule.message)(store, &settled)).collect()
}

impl Rule {
    fn violation(&self, store: &ReplicatedStore, settled: &Settled) -> Violation {
        Violation { rule: self.id, path: self.path, what: (self.message)(store, settled), allowed: self.allowed }
    }
}

fn name_is_label(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    name.len() <= NAME_MAX && name.bytes().all(ok) && first && !name.ends_with('-')
}

fn durations(s: &Settled) -> [u64; 5] {
    [s.suspicion_ms, s.give_up_after_ms, s.lease_ms, s.heartbeat_ms, s.request_timeout_ms]
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "name",
        path: "metadata.name",
        cel: "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 50",
        check: Check::Object(|store, _| name_is_label(&store.metadata.name)),
        message: |store, _| format!("'{}' is no name for a store", store.metadata.name),
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
    Rule {
        id: "mode-immutable",
        path: "spec.mode",
        cel: "self.mode == oldSelf.mode",
        check: Check::Transition(|before, after| before.spec.mode == after.spec.mode),
        message: |_, s| {
            format!("the mode cannot be changed to {:?}: data is laid out for the one it was created with", s.mode)
        },
        allowed: "the mode it was created with; copy the data to a new store to change it",
    },
    Rule {
        id: "name-immutable",
        path: "metadata.name",
        cel: "",
        check: Check::Transition(|before, after| before.metadata.name == after.metadata.name),
        message: |store, _| format!("the name cannot be changed to '{}'", store.metadata.name),
        allowed: "the name it was created with",
    },
    Rule {
        id: "storage-class-immutable",
        path: "spec.storage.storageClassName",
        cel: "(has(self.storage) && has(self.storage.storageClassName) ? self.storage.storageClassName : '') == (has(oldSelf.storage) && has(oldSelf.storage.storageClassName) ? oldSelf.storage.storageClassName : '')",
        check: Check::Transition(|before, after| {
            let class =
                |store: &ReplicatedStore| store.spec.storage.as_ref().and_then(|s| s.storage_class_name.clone());
            class(before) == class(after)
        }),
        message: |_, _| "the storage class of disks that exist cannot be changed".to_owned(),
        allowed: "the storage class it was created with",
    },
    Rule {
        id: "one-replica",
        path: "spec.n",
        cel: "",
        check: Check::Advice(|_, s| s.n != 1),
        message: |_, _| {
            "n = 1: there is no second copy; while the replica is down nothing is served, and its disk is all there is."
                .to_owned()
        },
        allowed: "",
    },
    Rule {
        id: "two-replicas",
        path: "spec.n",
        cel: "",
        check: Check::Advice(|_, s| s.n != 2 || s.w == 1),
        message: |_, _| {
            "n = 2, w = 2: no write is lost with either replica, but writes stop while either is down; n = 3 goes on."
                .to_owned()
        },
        allowed: "",
    },
    Rule {
        id: "asynchronous",
        path: "spec.w",
        cel: "",
        check: Check::Advice(|_, s| s.w != 1 || s.n == 1),
        message: |_, s| match s.policy {
            Policy::PreferAvailable => format!(
                "w = 1 of {}: a write is acknowledged when the leader alone has it; when the leader is lost, writes that the others had not received are at risk until it returns, and lost if its disk is.",
                s.n
            ),
            Policy::NeverLose => format!(
                "w = 1 of {} with NeverLose: a failover needs all {} members, so when any one of them and the leader are lost, nothing is served until they return.",
                s.n, s.n
            ),
        },
        allowed: "",
    },
    Rule {
        id: "synchronous-all",
        path: "spec.w",
        cel: "",
        check: Check::Advice(|_, s| s.w != s.n || s.n <= 2),
        message: |_, s| {
            format!(
                "w = n = {}: every replica has every acknowledged write, and writes stop while any one of the {} is down.",
                s.n, s.n
            )
        },
        allowed: "",
    },
    Rule {
        id: "even-n",
        path: "spec.n",
        cel: "",
        check: Check::Advice(|_, s| s.n <= 2 || !s.n.is_multiple_of(2)),
        message: |_, s| {
            format!(
                "n = {} is even: with a majority as w it survives {} lost replicas, no more than n = {} does.",
                s.n,
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
        check: Check::Advice(|store, s| s.n == 1 || s.w + s.r > s.n || store.spec.r.is_none()),
        message: |_, s| {
            let who = if s.r == 1 {
                "a READONLY client of a follower may read what is older than an acknowledged write.".to_owned()
            } else {
                format!(
                    "{} replicas need not include one that has the latest acknowledged write, so followers must ask the leader.",
                    s.r
                )
            };
            format!("w + r = {} is not more than n = {}: {who}", s.w + s.r, s.n)
        },
        allowed: "",
    },
    Rule {
        id: "memory",
        path: "spec.durability",
        cel: "",
        check: Check::Advice(|_, s| s.durability == Durability::Disk),
        message: |_, s| {
            format!(
                "durability Memory: a copy counts before it is on disk; if {} machines lose power at once, up to a second of acknowledged writes is lost with them.",
                s.w
            )
        },
        allowed: "",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{API_VERSION, Failover, Metadata, ReplicatedStoreSpec, STORE_KIND};

    fn store(n: u32, w: u32) -> ReplicatedStore {
        ReplicatedStore {
            api_version: API_VERSION.to_owned(),
            kind: STORE_KIND.to_owned(),
            metadata: Metadata { name: "orders".to_owned(), ..Metadata::default() },
            spec: ReplicatedStoreSpec { n: Some(n), w: Some(w), ..ReplicatedStoreSpec::new(Mode::SingleLeader) },
            status: None,
        }
    }

    fn ids(store: &ReplicatedStore) -> Vec<&'static str> {
        validate(store).iter().map(|v| v.rule).collect()
    }

    #[test]
    fn rules_have_names_of_their_own_and_say_what_is_allowed() {
        for (i, rule) in RULES.iter().enumerate() {
            assert!(RULES[..i].iter().all(|other| other.id != rule.id), "{}", rule.id);
            assert_eq!(rule.allowed.is_empty(), matches!(rule.check, Check::Advice(_)), "{}", rule.id);
            assert!(rule.path.starts_with("spec.") || rule.path.starts_with("metadata."), "{}", rule.id);
        }
    }

    #[test]
    fn every_n_and_w_in_range_is_accepted_and_nothing_else() {
        for n in 0..=11 {
            for w in 0..=11 {
                let legal = (1..=9).contains(&n) && (1..=n).contains(&w);
                assert_eq!(validate(&store(n, w)).is_empty(), legal, "n = {n}, w = {w}");
            }
        }
    }

    #[test]
    fn times_must_fit_each_other() {
        let ms = |v| Some(crate::quantity::Millis(v));
        let with = |lease, suspicion, heartbeat| {
            let mut s = store(3, 2);
            s.spec.failover = Some(Failover {
                lease: ms(lease),
                suspicion: ms(suspicion),
                heartbeat: ms(heartbeat),
                ..Failover::default()
            });
            ids(&s)
        };
        assert!(with(250, 1_000, 50).is_empty());
        assert!(with(999, 1_000, 333).is_empty());
        assert_eq!(with(1_000, 1_000, 50), ["lease-below-suspicion"]);
        assert_eq!(with(250, 1_000, 84), ["heartbeat-within-lease"]);
        assert_eq!(with(250, 1_000, 0), ["heartbeat-within-lease"]);
        assert_eq!(with(250, 3_600_001, 50), ["durations-bounded"]);
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        let (before, mut after) = (store(3, 2), store(5, 3));
        assert!(validate_change(&before, &after).is_empty());
        after.spec.mode = Mode::Leaderless;
        after.metadata.name = "other".to_owned();
        after.spec.storage = Some(crate::store::Storage {
            size: crate::quantity::Bytes(1),
            storage_class_name: Some("fast".to_owned()),
        });
        let rules: Vec<_> = validate_change(&before, &after).iter().map(|v| v.rule).collect();
        assert_eq!(rules, ["mode-immutable", "name-immutable", "storage-class-immutable"]);
    }

    #[test]
    fn risky_choices_are_accepted_and_explained() {
        assert!(warnings(&store(3, 2)).is_empty());
        assert!(warnings(&store(5, 3)).is_empty());
        for (n, w, part) in
            [(1, 1, "n = 1"), (2, 2, "n = 2"), (3, 1, "w = 1 of 3"), (3, 3, "w = n = 3"), (4, 3, "even")]
        {
            let said = warnings(&store(n, w));
            assert_eq!(said.len(), 1, "n = {n}, w = {w}: {said:?}");
            assert!(said[0].contains(part), "{said:?}");
        }
        let mut memory = store(3, 2);
        memory.spec.durability = Some(Durability::Memory);
        memory.spec.r = Some(1);
        assert_eq!(warnings(&memory).len(), 2);
    }
}
