//! Which resources make sense: one list of rules, checked here for local mode, and by the API server from the same list as CEL.

use crate::store::{Meta, ReplicatedStore, ReplicatedStoreSpec, Settled};

/// A small number as text in an expression. `string()` would do for any, but the API server reckons with the longest text that a string can be.
macro_rules! text {
    ($n:expr) => {
        concat!(
            "(",
            $n,
            " < 0 ? 'less than 0' : ",
            $n,
            " == 0 ? '0' : ",
            $n,
            " == 1 ? '1' : ",
            $n,
            " == 2 ? '2' : ",
            $n,
            " == 3 ? '3' : ",
            $n,
            " == 4 ? '4' : ",
            $n,
            " == 5 ? '5' : ",
            $n,
            " == 6 ? '6' : ",
            $n,
            " == 7 ? '7' : ",
            $n,
            " == 8 ? '8' : ",
            $n,
            " == 9 ? '9' : ",
            $n,
            " == 10 ? '10' : ",
            $n,
            " == 11 ? '11' : ",
            $n,
            " == 12 ? '12' : ",
            $n,
            " == 13 ? '13' : ",
            $n,
            " == 14 ? '14' : ",
            $n,
            " == 15 ? '15' : 'more than 15')"
        )
    };
}

/// A duration of `failover` as an expression: the text that it has, or its default.
macro_rules! failover {
    ($field:literal, $default:literal) => {
        concat!(
            "(has(self.failover) && has(self.failover.",
            $field,
            ") ? self.failover.",
            $field,
            " : '",
            $default,
            "')"
        )
    };
}

macro_rules! lease {
    () => {
        failover!("lease", "250ms")
    };
}

macro_rules! suspicion {
    () => {
        failover!("suspicion", "1s")
    };
}

macro_rules! heartbeat {
    () => {
        failover!("heartbeat", "50ms")
    };
}

mod advice;
mod changes;
mod conflicts;
mod edges;
mod events;
mod homes;
mod limits;
mod objects;
mod odds;
mod refused;
mod session;
mod slo;

/// Most replicas that one group may have: every write goes to all of them, and a seal asks most of them.
pub const N_MAX: u32 = 9;
/// Most regions of mode MultiLeader: each has feeds to all others. The schema says it, too.
pub const REGIONS_MAX: usize = 15;
/// Longest duration that a spec may hold, in milliseconds: an hour.
pub const DURATION_MS_MAX: u64 = 3_600_000;
/// Smallest log that may be kept, in bytes.
pub const LOG_BYTES_MIN: u64 = 1 << 20;
/// Lowest cap of what a replica sends of what another one missed, in bytes a second.
pub const FEED_RATE_MIN: u64 = 64 << 10;
/// Longest name: names of replicas and services are made from it and must stay within 63 characters.
pub const NAME_MAX: usize = 50;

/// Longest replacement time that a spec may hold, in milliseconds: a week.
pub const REPLACE_MS_MAX: u64 = 7 * 24 * DURATION_MS_MAX;
/// Shortest one: a node that restarts is back by then, as a rule.
pub const REPLACE_MS_MIN: u64 = 10_000;
/// Longest name of a store and a region together, with what stands between: Kubernetes adds 11 characters to it in a label of 63.
pub const REGION_NAME_MAX: usize = 52;

/// What rules are about: the object without what only the API server knows of it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The store's name.
    pub name: &'a str,
    /// What is wanted.
    pub spec: &'a ReplicatedStoreSpec,
}

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
    /// [`Rule::message`] as an expression, where it depends on the object and the API server checks it.
    pub says: &'static str,
    /// When it holds.
    pub check: Check,
    /// What is wrong, with the values at hand.
    pub message: fn(&Subject<'_>, &Settled) -> String,
    /// What would be right.
    pub allowed: &'static str,
}

/// When a rule holds.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Of an object by itself; a violation refuses it.
    Object(fn(&Subject<'_>, &Settled) -> bool),
    /// Of a change from the first to the second; a violation refuses it.
    Transition(fn(&Subject<'_>, &Subject<'_>) -> bool),
    /// Of an object; it is accepted all the same, and the condition `ConfigurationWarning` says the message.
    Advice(fn(&Subject<'_>, &Settled) -> bool),
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

/// All rules.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    let refusing = [
        refused::RULES,
        homes::RULES,
        conflicts::RULES,
        edges::RULES,
        session::RULES,
        events::RULES,
        limits::RULES,
        slo::RULES,
        objects::RULES,
        changes::RULES,
    ];
    refusing.into_iter().chain([advice::RULES, odds::RULES]).flatten()
}

/// Rules that refuse an object.
pub fn validate<M: Meta>(store: &ReplicatedStore<M>) -> Vec<Violation> {
    let (subject, settled) = (Subject::of(store), store.spec.settle());
    let broken = |rule: &&Rule| matches!(rule.check, Check::Object(check) if !check(&subject, &settled));
    all().filter(broken).map(|rule| rule.violation(&subject, &settled)).collect()
}

/// Rules that refuse a change of an object.
pub fn validate_change<M: Meta>(before: &ReplicatedStore<M>, after: &ReplicatedStore<M>) -> Vec<Violation> {
    let (before, settled) = (Subject::of(before), after.spec.settle());
    let after = Subject::of(after);
    let broken = |rule: &&Rule| matches!(rule.check, Check::Transition(check) if !check(&before, &after));
    all().filter(broken).map(|rule| rule.violation(&after, &settled)).collect()
}

/// What is accepted, but has a price that the user should know, in plain numbers.
pub fn warnings<M: Meta>(store: &ReplicatedStore<M>) -> Vec<String> {
    let (subject, settled) = (Subject::of(store), store.spec.settle());
    let applies = |rule: &&Rule| matches!(rule.check, Check::Advice(check) if !check(&subject, &settled));
    all().filter(applies).map(|rule| (rule.message)(&subject, &settled)).collect()
}

impl Subject<'_> {
    fn of<M: Meta>(store: &ReplicatedStore<M>) -> Subject<'_> {
        Subject { name: store.metadata.name(), spec: &store.spec }
    }
}

impl Rule {
    fn violation(&self, subject: &Subject<'_>, settled: &Settled) -> Violation {
        Violation { rule: self.id, path: self.path, what: (self.message)(subject, settled), allowed: self.allowed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::homes::HomeRegion;
    use crate::store::{API_VERSION, Durability, Failover, Metadata, Mode, Region, STORE_KIND};

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

    fn regions(names: &[&str]) -> Vec<Region> {
        names.iter().map(|name| Region { name: (*name).to_owned() }).collect()
    }

    fn multi_leader(n: u32, w: u32, names: &[&str]) -> ReplicatedStore {
        let mut store = store(n, w);
        (store.spec.mode, store.spec.regions) = (Mode::MultiLeader, regions(names));
        store
    }

    #[test]
    fn rules_have_names_of_their_own_and_say_what_is_allowed() {
        let rules: Vec<_> = all().collect();
        for (i, rule) in rules.iter().enumerate() {
            assert!(rules[..i].iter().all(|other| other.id != rule.id), "{}", rule.id);
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
        assert_eq!(with(250, 3_600_001, 50), ["suspicion-bounded"]);
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        let (before, mut after) = (store(3, 2), store(5, 3));
        assert!(validate_change(&before, &after).is_empty());
        after.spec.mode = Mode::Leaderless;
        after.metadata.name = "other".to_owned();
        after.spec.storage = Some(crate::store::Storage { size: None, storage_class_name: Some("fast".to_owned()) });
        let rules: Vec<_> = validate_change(&before, &after).iter().map(|v| v.rule).collect();
        assert_eq!(rules, ["mode-has-leaders", "name-immutable", "storage-class-immutable"]);
    }

    #[test]
    fn n_w_and_r_are_those_of_a_region_where_each_has_a_leader() {
        for n in 0..=11 {
            for w in 0..=11 {
                let legal = (1..=9).contains(&n) && (1..=n).contains(&w);
                assert_eq!(ids(&multi_leader(n, w, &["a", "b"])).is_empty(), legal, "n = {n}, w = {w}");
            }
        }
        let names: Vec<String> = (0..16).map(|i| format!("r{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(ids(&multi_leader(1, 1, &names[..15])), [""; 0]);
        assert_eq!(ids(&multi_leader(1, 1, &names)), ["regions-bounded"]);
        assert_eq!(ids(&multi_leader(3, 2, &[])), ["regions-required"]);
        assert_eq!(ids(&multi_leader(3, 2, &["a", "a"])), ["regions-named"]);
        let mut preferring = multi_leader(3, 2, &["a", "b"]);
        preferring.spec.failover = Some(Failover { preferred_region: Some("a".to_owned()), ..Failover::default() });
        assert_eq!(ids(&preferring), ["preferred-region-single-leader"]);
        let mut limited = multi_leader(3, 2, &["a", "b"]);
        limited.spec.feed_bytes_per_second = Some(crate::quantity::Bytes(1 << 20));
        limited.spec.feed_compression = Some(crate::FeedCompression::Off);
        assert_eq!(ids(&limited), [""; 0]);
    }

    #[test]
    fn regions_with_leaders_can_be_added_and_taken_away() {
        let before = multi_leader(3, 2, &["a", "b"]);
        let change = |names: &[&str]| -> Vec<_> {
            validate_change(&before, &multi_leader(3, 2, names)).iter().map(|v| v.rule).collect()
        };
        assert_eq!(change(&["a", "b", "c"]), [""; 0]);
        assert_eq!(change(&["c", "b", "a"]), [""; 0]);
        assert_eq!(change(&["a"]), [""; 0]);
        assert_eq!(change(&["c"]), [""; 0]);
        let mut single = before.clone();
        single.spec.mode = Mode::SingleLeader;
        let mut more = single.clone();
        more.spec.regions = regions(&["a", "b", "c"]);
        let rules: Vec<_> = validate_change(&single, &more).iter().map(|v| v.rule).collect();
        assert_eq!(rules, ["regions-immutable"]);
    }

    #[test]
    fn edges_have_names_of_their_own_where_regions_write_for_themselves() {
        let with = |mode: Mode, names: &[&str]| {
            let mut store = multi_leader(3, 2, &["a", "b"]);
            store.spec.mode = mode;
            store.spec.edges = names.iter().map(|name| crate::Edge { name: (*name).into() }).collect();
            ids(&store)
        };
        assert!(with(Mode::MultiLeader, &["anna", "ben-2"]).is_empty());
        assert_eq!(with(Mode::SingleLeader, &["anna"]), ["edges-multi-leader"]);
        assert_eq!(with(Mode::MultiLeader, &["anna", "anna"]), ["edges-once"]);
        assert_eq!(with(Mode::MultiLeader, &["a"]), ["edges-once"]);
        for bad in ["", "Anna", "-a", "a_b", &"x".repeat(41)] {
            assert_eq!(with(Mode::MultiLeader, &[bad]), ["edges-labels"], "{bad}");
        }
    }

    #[test]
    fn one_leader_becomes_a_leader_in_each_region_and_one_again() {
        let single = |names: &[&str]| {
            let mut store = store(3, 2);
            store.spec.regions = regions(names);
            store
        };
        let many = |names: &[&str]| multi_leader(1, 1, names);
        let change = |before: &ReplicatedStore, after: &ReplicatedStore| -> Vec<_> {
            validate_change(before, after).iter().map(|v| v.rule).collect()
        };
        assert_eq!(change(&single(&[]), &many(&["a", "b"])), [""; 0]);
        assert_eq!(change(&single(&["b"]), &many(&["a", "b"])), [""; 0]);
        assert_eq!(change(&single(&["c"]), &many(&["a", "b"])), ["mode-keeps-region"]);
        assert_eq!(change(&single(&["a", "b"]), &many(&["a", "b"])), ["mode-of-one-region"]);
        assert_eq!(change(&many(&["a", "b"]), &single(&[])), [""; 0]);
        assert_eq!(change(&many(&["a", "b"]), &single(&["b"])), [""; 0]);
        assert_eq!(change(&many(&["a", "b"]), &single(&["c"])), ["mode-one-stays"]);
        assert_eq!(change(&many(&["a", "b"]), &single(&["a", "b"])), ["mode-one-stays"]);
        // What only the mode has that is left is refused by itself.
        let mut with_home = single(&["a"]);
        with_home.spec.home_regions = vec![HomeRegion {
            prefix: Some("at".to_owned()),
            tag: None,
            region: "a".to_owned(),
            when_unreachable: None,
        }];
        assert_eq!(ids(&with_home), ["homes-multi-leader"]);
    }

    #[test]
    fn home_regions_name_keys_and_regions_that_are_there_and_do_not_overlap() {
        let home = |prefix: &str, tag: &str, region: &str| HomeRegion {
            prefix: Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()),
            tag: Some(tag.to_owned()).filter(|tag| !tag.is_empty()),
            region: region.to_owned(),
            when_unreachable: None,
        };
        let with = |homes: &[HomeRegion]| {
            let mut store = multi_leader(3, 2, &["a", "b"]);
            store.spec.home_regions = homes.to_vec();
            ids(&store)
        };
        assert_eq!(with(&[home("x:", "", "a"), home("y:", "", "b"), home("", "x:", "b")]), [""; 0]);
        assert_eq!(with(&[home("x:", "", "c")]), ["homes-region-known"]);
        assert_eq!(with(&[home("", "", "a")]), ["homes-name-keys"]);
        assert_eq!(with(&[home("x", "x", "a")]), ["homes-name-keys"]);
        assert_eq!(with(&[home("", "{x}", "a")]), ["homes-name-keys"]);
        assert_eq!(with(&[home("x:", "", "a"), home("x:1", "", "b")]), ["homes-apart"]);
        assert_eq!(with(&[home("x:1", "", "a"), home("x:", "", "a")]), ["homes-apart"]);
        assert_eq!(with(&[home("", "x", "a"), home("", "x", "a")]), ["homes-apart"]);
        let mut single = store(3, 2);
        single.spec.home_regions = vec![home("x:", "", "a")];
        assert_eq!(ids(&single), ["homes-multi-leader", "homes-region-known"]);
    }

    #[test]
    fn warnings_say_what_is_so_in_each_region() {
        assert_eq!(warnings(&multi_leader(3, 2, &["a", "b"])), [""; 0]);
        for (n, w, names, part) in [
            (3, 2, &["a"][..], "1 region:"),
            (1, 1, &["a", "b"], "no failover within a region"),
            (2, 2, &["a", "b"], "n = 2, w = 2 in each region"),
            (3, 1, &["a", "b"], "w = 1 of 3 in each region"),
            (3, 3, &["a", "b"], "every acknowledged write of its region"),
            (4, 3, &["a", "b"], "n = 4 in each region is even"),
        ] {
            let said = warnings(&multi_leader(n, w, names));
            assert_eq!(said.len(), 1, "n = {n}, w = {w}: {said:?}");
            assert!(said[0].contains(part), "{said:?}");
        }
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
