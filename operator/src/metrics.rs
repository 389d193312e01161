//! What is counted, and how it is shown to Prometheus.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::http::{Method, Uri};
use trireme_crds::{
    Budget, ConditionStatus, Quorums, StoreStatus,
    status::{FeedStatus, GroupStatus, ReplicaStatus},
};

use crate::store::{Key, wanted::Wanted};

/// Counters and the latest of each store.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    leader: bool,
    errors: BTreeMap<&'static str, u64>,
    turns: BTreeMap<&'static str, u64>,
    requests: BTreeMap<&'static str, u64>,
    stores: BTreeMap<Key, Gauges>,
}

/// How a store stood when it was last looked at.
#[derive(Clone, Debug, Default, PartialEq)]
struct Gauges {
    /// By region, where each has a leader; else one without a name.
    groups: BTreeMap<String, GroupGauges>,
    read_quorum: Option<f64>,
    slots_differing: Option<f64>,
    clock_offset_s: Option<f64>,
    quarantined: Option<f64>,
    ready: f64,
    degraded: f64,
    paused: f64,
    rollout_stalled: f64,
    diverged: f64,
    lag_s: f64,
    lag_entries: f64,
    failovers: f64,
    write_gap_s: Option<f64>,
    lost: f64,
    /// What is left of its objectives, by their names.
    slo: BTreeMap<&'static str, Budget>,
    /// Epoch of the newest failover that was counted, by region.
    counted: BTreeMap<String, String>,
}

/// How a group stood.
#[derive(Clone, Debug, Default, PartialEq)]
struct GroupGauges {
    epoch: f64,
    generation: f64,
    members: f64,
    reachable: f64,
    write_quorum: f64,
    /// By the other region: whether it is reached, and entries, bytes and seconds that it is behind what this one wrote.
    feeds: BTreeMap<String, [f64; 4]>,
}

impl Metrics {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What a thread left that panicked is still a count.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something could not be done; `kind` is one word.
    pub fn error(&self, kind: &'static str) {
        *self.inner().errors.entry(kind).or_default() += 1;
    }

    /// A turn was taken; `result` is one word.
    pub fn turn(&self, result: &'static str) {
        *self.inner().turns.entry(result).or_default() += 1;
    }

    /// A request goes to the API server.
    pub fn request(&self, method: &Method, uri: &Uri) {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let kind = match method.as_str() {
            _ if path.contains("/leases/") => "lease",
            "GET" if query.contains("watch=true") => "watch",
            "GET" => "get",
            "POST" => "create",
            "PUT" | "PATCH" => "write",
            "DELETE" => "delete",
            _ => "other",
        };
        *self.inner().requests.entry(kind).or_default() += 1;
    }

    /// Whether this operator is the one that acts.
    pub fn leader(&self, leads: bool) {
        self.inner().leader = leads;
    }

    /// How a store stands.
    pub fn store(&self, wanted: &Wanted, status: &StoreStatus) {
        let mut inner = self.inner();
        let gauges = inner.stores.entry(wanted.key()).or_default();
        gauges.take(status);
        gauges.take_quorums(wanted.desired.quorums(), status);
    }

    /// A store that is gone.
    pub fn forget(&self, key: &Key) {
        self.inner().stores.remove(key);
    }

    /// All of it, as Prometheus reads it.
    pub fn text(&self) -> String {
        let inner = self.inner();
        let mut out = String::new();
        family(&mut out, "trireme_operator_leader", "gauge", "1 on the operator that acts, 0 on those that stand by.");
        let _ = writeln!(out, "trireme_operator_leader {}", u8::from(inner.leader));
        counters(
            &mut out,
            "trireme_operator_reconciles_total",
            "result",
            "Turns taken, by how they ended.",
            &inner.turns,
        );
        counters(
            &mut out,
            "trireme_operator_errors_total",
            "kind",
            "What could not be done, by what it was.",
            &inner.errors,
        );
        counters(
            &mut out,
            "trireme_operator_api_requests_total",
            "kind",
            "Requests to the API server, by kind; those for the Lease of whatever kind are of their own.",
            &inner.requests,
        );
        for (name, help, value) in GROUP_FAMILIES {
            family(&mut out, name, "gauge", help);
            for (key, gauges) in &inner.stores {
                let (namespace, store) = (&key.namespace, &key.name);
                for (region, group) in &gauges.groups {
                    let region = if region.is_empty() { String::new() } else { format!(",region=\"{region}\"") };
                    let value = value(group);
                    let _ = writeln!(out, "{name}{{namespace=\"{namespace}\",store=\"{store}\"{region}}} {value}");
                }
            }
        }
        let pairs = |gauges: &Gauges| gauges.groups.values().any(|group| !group.feeds.is_empty());
        for (i, (name, help)) in FEEDS.into_iter().enumerate().filter(|_| inner.stores.values().any(pairs)) {
            family(&mut out, name, "gauge", help);
            for (key, gauges) in &inner.stores {
                let (namespace, store) = (&key.namespace, &key.name);
                for (region, to, values) in gauges.pairs() {
                    let labels = format!("namespace=\"{namespace}\",store=\"{store}\",region=\"{region}\",to=\"{to}\"");
                    let _ = writeln!(out, "{name}{{{labels}}} {}", values[i]);
                }
            }
        }
        for (name, kind, help, value) in STORE_FAMILIES {
            family(&mut out, name, kind, help);
            for (key, gauges) in &inner.stores {
                if let Some(value) = value(gauges) {
                    let (namespace, store) = (&key.namespace, &key.name);
                    let _ = writeln!(out, "{name}{{namespace=\"{namespace}\",store=\"{store}\"}} {value}");
                }
            }
        }
        inner.write_objectives(&mut out);
        out
    }
}

impl Inner {
    /// What stores promise, and how they keep it: of each that promises something, a line for each objective.
    fn write_objectives(&self, out: &mut String) {
        for (name, kind, help, value) in SLO_FAMILIES.iter().filter(|_| self.stores.values().any(|s| !s.slo.is_empty()))
        {
            family(out, name, kind, help);
            for (key, gauges) in &self.stores {
                let (namespace, store) = (&key.namespace, &key.name);
                for (objective, budget) in &gauges.slo {
                    let labels = format!("namespace=\"{namespace}\",store=\"{store}\",objective=\"{objective}\"");
                    let _ = writeln!(out, "{name}{{{labels}}} {}", value(budget));
                }
            }
        }
    }
}

type SloFamily = (&'static str, &'static str, &'static str, fn(&Budget) -> f64);

const SLO_FAMILIES: &[SloFamily] = &[
    ("trireme_slo_measurements_total", "counter", "Measurements of an objective that this operator has made.", |b| {
        b.counted.1 as f64
    }),
    ("trireme_slo_failed_total", "counter", "Those that failed.", |b| b.counted.0 as f64),
    ("trireme_slo_may_fail_ratio", "gauge", "The share of them that may fail.", |b| b.may_fail()),
    ("trireme_slo_window_seconds", "gauge", "Over how long that is counted.", |b| b.window.0 as f64 / 1_000.0),
    ("trireme_slo_within_seconds", "gauge", "The time that is promised.", |b| b.within.0 as f64 / 1_000.0),
    (
        "trireme_slo_budget_left_ratio",
        "gauge",
        "What is left of those that may fail within the window: 1 is all; less than 0, more have failed.",
        |b| b.budget_left,
    ),
    (
        "trireme_slo_burn_rate",
        "gauge",
        "How fast that went in the last hour: 1 would spend all of it in one window.",
        |b| b.burn_rate,
    ),
];

type Family = (&'static str, &'static str, &'static str, fn(&Gauges) -> Option<f64>);

type GroupFamily = (&'static str, &'static str, fn(&GroupGauges) -> f64);

/// What each leader's group has for itself: where each region has one there is a line for each, with its name.
const GROUP_FAMILIES: &[GroupFamily] = &[
    ("trireme_store_epoch", "Epoch in force.", |g| g.epoch),
    (
        "trireme_store_generation",
        "Generation: has risen with every failover that may have lost acknowledged writes.",
        |g| g.generation,
    ),
    ("trireme_store_members", "Members in force.", |g| g.members),
    ("trireme_store_members_reachable", "Members that the operator hears.", |g| g.reachable),
    (
        "trireme_store_write_quorum",
        "Members that a write needs: w in force; without a leader at least n - w + 1, whose clocks it asks.",
        |g| g.write_quorum,
    ),
];

const STORE_FAMILIES: &[Family] = &[
    (
        "trireme_store_read_quorum",
        "gauge",
        "Without a leader: members that a read needs: r in force, and w where it repairs before it answers.",
        |g| g.read_quorum,
    ),
    (
        "trireme_store_ready",
        "gauge",
        "1 while a leader serves and reaches w members, in each region that has one; without a leader, while a replica reaches enough for reads and writes.",
        |g| Some(g.ready),
    ),
    (
        "trireme_store_slots_differing",
        "gauge",
        "Without a leader: slots that differ from another replica's and are not mended yet, of the replica with most of them.",
        |g| g.slots_differing,
    ),
    (
        "trireme_store_clock_offset_seconds",
        "gauge",
        "Without a leader: how far another replica's clock is ahead of a replica's own, at most.",
        |g| g.clock_offset_s,
    ),
    ("trireme_store_quarantined", "gauge", "Without a leader: replicas that count for no quorum as asked.", |g| {
        g.quarantined
    }),
    ("trireme_store_degraded", "gauge", "1 while something is missing that the store should have.", |g| {
        Some(g.degraded)
    }),
    ("trireme_store_paused", "gauge", "1 while a person keeps the operator from it.", |g| Some(g.paused)),
    ("trireme_store_rollout_stalled", "gauge", "1 while a replica that was restarted does not come back.", |g| {
        Some(g.rollout_stalled)
    }),
    (
        "trireme_store_diverged",
        "gauge",
        "Slots that were found to differ between replicas: never, unless there is a defect.",
        |g| Some(g.diverged),
    ),
    (
        "trireme_store_lag_seconds",
        "gauge",
        "How far the replica that is furthest behind is behind its leader, or the others.",
        |g| Some(g.lag_s),
    ),
    ("trireme_store_lag_entries", "gauge", "The same in entries.", |g| Some(g.lag_entries)),
    ("trireme_store_failovers_total", "counter", "Changes of leader that this operator has seen.", |g| {
        Some(g.failovers)
    }),
    (
        "trireme_store_write_gap_seconds",
        "gauge",
        "How long writes waited in the last change of leader, as the new leader measured it.",
        |g| g.write_gap_s,
    ),
    ("trireme_store_lost_entries", "gauge", "Entries lost in the last change of leader.", |g| Some(g.lost)),
];

/// What is shown of a pair of regions, in the order of [`FEEDS`].
fn feed_gauges(feed: &FeedStatus) -> [f64; 4] {
    let reachable = f64::from(u8::from(feed.reachable));
    [reachable, feed.lag_entries as f64, feed.lag_bytes as f64, feed.lag_ms as f64 / 1_000.0]
}

/// A leader in each region: gauges of each pair.
const FEEDS: [(&str, &str); 4] = [
    ("trireme_store_feed_reachable", "1 where the leader of one region hears that of the other."),
    ("trireme_store_feed_lag_entries", "Entries committed in one region that the other lacks."),
    ("trireme_store_feed_lag_bytes", "Bytes of log from the oldest of them on."),
    ("trireme_store_feed_lag_seconds", "Age of the oldest of them."),
];

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn counters(out: &mut String, name: &str, label: &str, help: &str, values: &BTreeMap<&'static str, u64>) {
    family(out, name, "counter", help);
    for (value, count) in values {
        let _ = writeln!(out, "{name}{{{label}=\"{value}\"}} {count}");
    }
}

impl Gauges {
    /// Each region with each other one, where each has a leader.
    fn pairs(&self) -> impl Iterator<Item = (&String, &String, &[f64; 4])> {
        let groups = self.groups.iter();
        groups.flat_map(|(region, group)| group.feeds.iter().map(move |(to, values)| (region, to, values)))
    }

    /// What only a store without a leader has; `wanted`: what w and r need by its spec, of which n, w and r in force are the record's.
    fn take_quorums(&mut self, wanted: Option<Quorums>, status: &StoreStatus) {
        let (Some(wanted), Some(group)) = (wanted, status.groups.first()) else { return };
        let quorums = Quorums { n: group.n, w: group.w, r: group.r.unwrap_or(wanted.r).min(group.n.max(1)), ..wanted };
        if let Some(only) = self.groups.values_mut().next() {
            only.write_quorum = quorums.writes_need().into();
        }
        self.read_quorum = Some(quorums.reads_need().into());
        let peers = || status.replicas.iter().filter_map(|replica| replica.peer.as_ref());
        let ahead = |ms: i64| ms.max(0) as f64 / 1_000.0;
        self.slots_differing = Some(peers().map(|peer| peer.slots_differing).max().unwrap_or(0) as f64);
        self.clock_offset_s = Some(peers().map(|peer| ahead(peer.clock_offset_ms)).fold(0.0, f64::max));
        self.quarantined = Some(status.replicas.iter().filter(|r| r.role == "Quarantined").count() as f64);
    }

    fn take(&mut self, status: &StoreStatus) {
        let holds = |kind: &str| {
            let holds = status.conditions.iter().any(|c| c.kind == kind && c.status == ConditionStatus::True);
            f64::from(u8::from(holds))
        };
        self.take_groups(status);
        let slo = status.slo.as_ref();
        let budgets = [
            ("writeGap", slo.and_then(|slo| slo.write_gap.clone())),
            ("staleness", slo.and_then(|slo| slo.staleness.clone())),
        ];
        self.slo = budgets.into_iter().filter_map(|(name, budget)| Some((name, budget?))).collect();
        (self.ready, self.degraded) = (holds("Ready"), holds("Degraded"));
        (self.paused, self.rollout_stalled) = (holds("Paused"), holds("RolloutStalled"));
        self.diverged = status.replicas.iter().map(|r| r.digest_mismatches as f64).sum();
        self.lag_s = status.replicas.iter().filter_map(|r| r.lag_ms).max().unwrap_or(0) as f64 / 1_000.0;
        self.lag_entries = status.replicas.iter().filter_map(|r| r.lag_entries).max().unwrap_or(0) as f64;
        let regions: BTreeSet<&str> = status.failovers.iter().map(|f| f.region.as_str()).collect();
        for region in regions {
            self.take_failovers(region, status);
        }
        let complete = status.failovers.iter().find(|f| f.active_ms.is_some());
        if let Some(last) = complete {
            self.write_gap_s = last.write_gap_ms.map(|ms| ms as f64 / 1_000.0);
            self.lost = last.lost as f64;
        }
    }

    fn take_groups(&mut self, status: &StoreStatus) {
        let reachable = |group: &GroupStatus| {
            let own = |r: &&ReplicaStatus| group.region.is_empty() || r.region == group.region;
            status.replicas.iter().filter(own).filter(|r| r.member && r.reachable).count()
        };
        let gauges = |group: &GroupStatus| {
            let number = group.epoch.split('.').next().and_then(|number| number.parse().ok());
            let before = self.groups.get(&group.region).map_or(0.0, |before| before.epoch);
            let gauges = GroupGauges {
                epoch: number.unwrap_or(before),
                generation: group.generation.into(),
                members: group.members.len() as f64,
                reachable: reachable(group) as f64,
                write_quorum: group.w.into(),
                feeds: group.feeds.iter().map(|feed| (feed.region.clone(), feed_gauges(feed))).collect(),
            };
            (group.region.clone(), gauges)
        };
        if !status.groups.is_empty() {
            self.groups = status.groups.iter().map(gauges).collect();
        } else if self.groups.is_empty() {
            self.groups.insert(String::new(), GroupGauges::default());
        }
    }

    /// Counts the failovers of a region since the last one that was counted.
    fn take_failovers(&mut self, region: &str, status: &StoreStatus) {
        let counted = self.counted.get(region);
        let own = status.failovers.iter().filter(|f| f.region == region);
        let newest: Vec<_> = own.take_while(|f| counted != Some(&f.epoch)).filter(|f| f.active_ms.is_some()).collect();
        // What an earlier operator has seen stands in the first status: it is not counted again.
        if counted.is_some() {
            self.failovers += newest.iter().filter(|f| !f.from.is_empty()).count() as f64;
        }
        if let Some(last) = newest.first() {
            self.counted.insert(region.to_owned(), last.epoch.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use trireme_crds::{
        Condition, ReadRepair, SloStatus, WriteOrder,
        status::{FailoverStatus, PeerStatus},
    };

    use super::*;

    fn failover(epoch: &str, from: &str) -> FailoverStatus {
        FailoverStatus {
            epoch: epoch.to_owned(),
            from: from.to_owned(),
            active_ms: Some(9),
            write_gap_ms: Some(250),
            ..FailoverStatus::default()
        }
    }

    #[test]
    fn a_failover_is_counted_once_and_a_creation_is_none() {
        let mut gauges = Gauges::default();
        let mut status = StoreStatus { failovers: vec![failover("1", "")], ..StoreStatus::default() };
        gauges.take(&status);
        assert_eq!(gauges.failovers, 0.0);
        status.failovers.insert(0, failover("2", "orders-0"));
        for _ in 0..3 {
            gauges.take(&status);
            assert_eq!((gauges.failovers, gauges.write_gap_s), (1.0, Some(0.25)));
        }
        status.failovers.insert(0, failover("3", "orders-1"));
        status.failovers.insert(0, failover("4", "orders-2"));
        gauges.take(&status);
        assert_eq!(gauges.failovers, 3.0);
    }

    #[test]
    fn conditions_are_shown_as_numbers() {
        let holds = |kind: &str, status| Condition {
            kind: kind.to_owned(),
            status,
            reason: String::new(),
            message: String::new(),
            observed_generation: 1,
            last_transition_time: String::new(),
        };
        let mut gauges = Gauges::default();
        let conditions = vec![holds("Ready", ConditionStatus::Unknown), holds("RolloutStalled", ConditionStatus::True)];
        gauges.take(&StoreStatus { conditions, ..StoreStatus::default() });
        assert_eq!((gauges.ready, gauges.paused, gauges.rollout_stalled), (0.0, 0.0, 1.0));
    }

    #[test]
    fn without_a_leader_both_quorums_are_shown() {
        let peer = |slots_differing, clock_offset_ms| {
            let peer = PeerStatus { slots_differing, clock_offset_ms, ..PeerStatus::default() };
            ReplicaStatus { peer: Some(peer), ..ReplicaStatus::default() }
        };
        let wanted = Quorums { n: 5, w: 2, r: 4, order: WriteOrder::Strict, repair: ReadRepair::Blocking };
        // The record is behind: three members, and r is all of them.
        let group = GroupStatus { n: 3, w: 1, r: Some(4), ..GroupStatus::default() };
        let replicas = vec![peer(2, -9_000), peer(7, 1_500), ReplicaStatus::default()];
        let mut gauges = Gauges::default();
        let status = StoreStatus { groups: vec![group], replicas, ..StoreStatus::default() };
        gauges.take(&status);
        gauges.take_quorums(Some(wanted), &status);
        assert_eq!((gauges.groups[""].write_quorum, gauges.read_quorum), (3.0, Some(3.0)));
        assert_eq!((gauges.slots_differing, gauges.clock_offset_s), (Some(7.0), Some(1.5)));
        let mut led = Gauges::default();
        led.take_quorums(None, &status);
        assert_eq!(
            (led.read_quorum, led.slots_differing, led.clock_offset_s, led.quarantined),
            (None, None, None, None)
        );
    }

    #[test]
    fn where_each_region_has_a_leader_each_has_its_own_lines() {
        let group = |region: &str, epoch: &str| GroupStatus {
            region: region.to_owned(),
            epoch: epoch.to_owned(),
            w: 2,
            ..GroupStatus::default()
        };
        let replica = |region: &str, reachable| ReplicaStatus {
            region: region.to_owned(),
            member: true,
            reachable,
            ..ReplicaStatus::default()
        };
        let of = |region: &str, epoch: &str| FailoverStatus { region: region.to_owned(), ..failover(epoch, "x") };
        let feed = FeedStatus {
            region: "us".to_owned(),
            reachable: true,
            lag_entries: 12,
            lag_bytes: 3_400,
            lag_ms: 250,
            ..FeedStatus::default()
        };
        let mut status = StoreStatus {
            groups: vec![GroupStatus { feeds: vec![feed], ..group("eu", "7") }, group("us", "3")],
            replicas: vec![replica("eu", true), replica("us", true), replica("us", false)],
            failovers: vec![of("us", "3"), of("eu", "7")],
            ..StoreStatus::default()
        };
        let metrics = Metrics::default();
        let mut gauges = Gauges::default();
        gauges.take(&status);
        assert_eq!(gauges.failovers, 0.0);
        // One that is complete later than another region's newer one is counted, too.
        status.failovers.splice(0..0, [of("us", "4"), FailoverStatus { active_ms: None, ..of("eu", "8") }]);
        gauges.take(&status);
        assert_eq!(gauges.failovers, 1.0);
        status.failovers[1].active_ms = Some(5);
        gauges.take(&status);
        assert_eq!(gauges.failovers, 2.0);
        metrics.inner().stores.insert(Key { namespace: "a".to_owned(), name: "b".to_owned() }, gauges);
        let text = metrics.text();
        for line in [
            "epoch{namespace=\"a\",store=\"b\",region=\"eu\"} 7",
            "members_reachable{namespace=\"a\",store=\"b\",region=\"us\"} 1",
            "feed_reachable{namespace=\"a\",store=\"b\",region=\"eu\",to=\"us\"} 1",
            "feed_lag_entries{namespace=\"a\",store=\"b\",region=\"eu\",to=\"us\"} 12",
            "feed_lag_bytes{namespace=\"a\",store=\"b\",region=\"eu\",to=\"us\"} 3400",
            "feed_lag_seconds{namespace=\"a\",store=\"b\",region=\"eu\",to=\"us\"} 0.25",
        ] {
            assert!(text.contains(&format!("\ntrireme_store_{line}\n")), "{text}");
        }
    }

    #[test]
    fn requests_are_counted_by_kind() {
        let metrics = Metrics::default();
        let asked = |method: &Method, uri: &'static str| metrics.request(method, &Uri::from_static(uri));
        asked(&Method::GET, "/apis/trireme.dev/v1alpha1/replicatedstores?watch=true&resourceVersion=1");
        asked(&Method::GET, "/api/v1/namespaces/a/secrets/b");
        asked(&Method::PATCH, "/apis/coordination.k8s.io/v1/namespaces/a/leases/trireme-operator");
        let kinds: Vec<_> = metrics.inner().requests.iter().map(|(kind, count)| (*kind, *count)).collect();
        assert_eq!(kinds, [("get", 1), ("lease", 1), ("watch", 1)]);
    }

    #[test]
    fn every_family_says_what_it_is() {
        let metrics = Metrics::default();
        metrics.error("watch");
        let mut gauges = Gauges::default();
        gauges.take(&StoreStatus::default());
        metrics.inner().stores.insert(Key { namespace: "a".to_owned(), name: "b".to_owned() }, gauges);
        let text = metrics.text();
        assert!(text.contains("trireme_operator_errors_total{kind=\"watch\"} 1\n"), "{text}");
        assert!(text.contains("trireme_store_epoch{namespace=\"a\",store=\"b\"} 0\n"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }
    /// Names of metrics in a text.
    fn names(text: &str) -> BTreeSet<&str> {
        let word = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        text.split(word).filter(|name| name.starts_with("trireme_")).collect()
    }

    #[test]
    fn alerts_and_dashboard_ask_for_what_is_exported() {
        let feed = FeedStatus { region: "us".to_owned(), ..FeedStatus::default() };
        let group = GroupStatus { region: "eu".to_owned(), feeds: vec![feed], ..GroupStatus::default() };
        let failovers = vec![failover("1", "orders-0")];
        let slo = Some(SloStatus { write_gap: Some(Budget::default()), staleness: None });
        let status = StoreStatus { groups: vec![group], failovers, slo, ..StoreStatus::default() };
        let wanted = Quorums { n: 3, w: 2, r: 2, order: WriteOrder::Strict, repair: ReadRepair::Blocking };
        let metrics = Metrics::default();
        let mut gauges = Gauges::default();
        gauges.take(&status);
        gauges.take_quorums(Some(wanted), &status);
        metrics.inner().stores.insert(Key { namespace: "a".to_owned(), name: "b".to_owned() }, gauges);
        let text = metrics.text();
        let exported = names(&text);
        let alerts = include_str!("../../charts/trireme/templates/_alerts.tpl");
        let is_asked = |line: &&str| line.contains(" expr: ") || line.contains("trireme_slo_");
        let asked: String = alerts.lines().filter(is_asked).collect();
        let dashboard = include_str!("../../charts/trireme/files/dashboards/trireme.json");
        let dashboard: String = dashboard.lines().filter(|line| line.contains("\"expr\": ")).collect();
        for (whose, text) in [("an alert", asked), ("the dashboard", dashboard)] {
            let prefixes = ["trireme_store_", "trireme_operator_", "trireme_slo_"];
            let own = |name: &&str| prefixes.iter().any(|prefix| name.starts_with(prefix));
            let names: Vec<&str> = names(&text).into_iter().filter(own).collect();
            assert!(names.len() > 10, "{names:?}");
            let missing: Vec<&&str> = names.iter().filter(|name| !exported.contains(*name)).collect();
            assert!(missing.is_empty(), "{whose} asks for what the operator does not export: {missing:?}");
        }
    }
}
