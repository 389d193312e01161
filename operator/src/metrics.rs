//! What is counted, and how it is shown to Prometheus.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::http::{Method, Uri};
use trireme_crds::{ConditionStatus, Quorums, StoreStatus};

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
    epoch: f64,
    generation: f64,
    members: f64,
    reachable: f64,
    write_quorum: f64,
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
    /// The newest failover that was counted.
    counted: String,
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
        for (name, kind, help, value) in STORE_FAMILIES {
            family(&mut out, name, kind, help);
            for (key, gauges) in &inner.stores {
                if let Some(value) = value(gauges) {
                    let (namespace, store) = (&key.namespace, &key.name);
                    let _ = writeln!(out, "{name}{{namespace=\"{namespace}\",store=\"{store}\"}} {value}");
                }
            }
        }
        out
    }
}

type Family = (&'static str, &'static str, &'static str, fn(&Gauges) -> Option<f64>);

const STORE_FAMILIES: &[Family] = &[
    ("trireme_store_epoch", "gauge", "Epoch in force.", |g| Some(g.epoch)),
    (
        "trireme_store_generation",
        "gauge",
        "Generation: has risen with every failover that may have lost acknowledged writes.",
        |g| Some(g.generation),
    ),
    ("trireme_store_members", "gauge", "Members in force.", |g| Some(g.members)),
    ("trireme_store_members_reachable", "gauge", "Members that the operator hears.", |g| Some(g.reachable)),
    (
        "trireme_store_write_quorum",
        "gauge",
        "Members that a write needs: w in force; without a leader at least n - w + 1, whose clocks it asks.",
        |g| Some(g.write_quorum),
    ),
    (
        "trireme_store_read_quorum",
        "gauge",
        "Without a leader: members that a read needs: r in force, and w where it repairs before it answers.",
        |g| g.read_quorum,
    ),
    (
        "trireme_store_ready",
        "gauge",
        "1 while a leader serves and reaches w members; without a leader, while a replica reaches enough for reads and writes.",
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
    /// What only a store without a leader has; `wanted`: what w and r need by its spec, of which n, w and r in force are the record's.
    fn take_quorums(&mut self, wanted: Option<Quorums>, status: &StoreStatus) {
        let (Some(wanted), Some(group)) = (wanted, status.groups.first()) else { return };
        let quorums = Quorums { n: group.n, w: group.w, r: group.r.unwrap_or(wanted.r).min(group.n.max(1)), ..wanted };
        self.write_quorum = quorums.writes_need().into();
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
        let count = |n: usize| n as f64;
        if let Some(group) = status.groups.first() {
            let number = group.epoch.split('.').next().and_then(|number| number.parse().ok());
            self.epoch = number.unwrap_or(self.epoch);
            self.generation = group.generation.into();
            self.members = count(group.members.len());
            self.write_quorum = group.w.into();
        }
        self.reachable = count(status.replicas.iter().filter(|r| r.member && r.reachable).count());
        (self.ready, self.degraded) = (holds("Ready"), holds("Degraded"));
        (self.paused, self.rollout_stalled) = (holds("Paused"), holds("RolloutStalled"));
        self.diverged = status.replicas.iter().map(|r| r.digest_mismatches as f64).sum();
        self.lag_s = status.replicas.iter().filter_map(|r| r.lag_ms).max().unwrap_or(0) as f64 / 1_000.0;
        self.lag_entries = status.replicas.iter().filter_map(|r| r.lag_entries).max().unwrap_or(0) as f64;
        let complete =
            status.failovers.iter().take_while(|f| f.epoch != self.counted).filter(|f| f.active_ms.is_some());
        let newest: Vec<_> = complete.collect();
        // What an earlier operator has seen stands in the first status: it is not counted again.
        if !self.counted.is_empty() {
            self.failovers += count(newest.iter().filter(|f| !f.from.is_empty()).count());
        }
        if let Some(last) = newest.first() {
            self.counted.clone_from(&last.epoch);
            self.write_gap_s = last.write_gap_ms.map(|ms| ms as f64 / 1_000.0);
            self.lost = last.lost as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use trireme_crds::{
        Condition, ReadRepair, WriteOrder,
        status::{FailoverStatus, GroupStatus, PeerStatus, ReplicaStatus},
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
        gauges.take_quorums(Some(wanted), &status);
        assert_eq!((gauges.write_quorum, gauges.read_quorum), (3.0, Some(3.0)));
        assert_eq!((gauges.slots_differing, gauges.clock_offset_s), (Some(7.0), Some(1.5)));
        let mut led = Gauges::default();
        led.take_quorums(None, &status);
        assert_eq!(
            (led.read_quorum, led.slots_differing, led.clock_offset_s, led.quarantined),
            (None, None, None, None)
        );
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
        metrics.inner().stores.insert(Key { namespace: "a".to_owned(), name: "b".to_owned() }, Gauges::default());
        let text = metrics.text();
        assert!(text.contains("trireme_operator_errors_total{kind=\"watch\"} 1\n"), "{text}");
        assert!(text.contains("trireme_store_epoch{namespace=\"a\",store=\"b\"} 0\n"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }
}
