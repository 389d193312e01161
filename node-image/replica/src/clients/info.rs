//! The text of INFO, in the sections and with the fields that tools for this protocol look for.

use std::fmt::Write as _;

use trireme_proto::{Report, report::Role};

use crate::{
    quorum::level::{Quorum, Side},
    replica::Replica,
};

/// Sections that INFO shows when none is named.
const SECTIONS: [&str; 8] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "conflicts", "keyspace"];

impl Replica {
    /// The sections asked for, or all.
    pub(super) fn info(&self, asked: &[&[u8]]) -> String {
        let wanted = |section: &str| {
            asked.is_empty()
                || asked.iter().any(|name| {
                    [section, "all", "everything", "default"].iter().any(|n| name.eq_ignore_ascii_case(n.as_bytes()))
                })
        };
        let mut text = String::new();
        for section in SECTIONS.into_iter().filter(|section| wanted(section)) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            for line in self.info_section(section) {
                let _ = write!(text, "{line}\r\n");
            }
        }
        text
    }

    /// Where nobody leads: what this replica is among the others, the store's numbers, and how far behind each other one is with what is written here.
    fn info_of_peer(&self, report: &Report) -> Vec<String> {
        if !self.is_leaderless() {
            return Vec::new();
        }
        let state = match (self.is_quarantined(self.identity.id), report.role()) {
            (true, _) => "quarantined",
            (_, Role::Peer) => "member",
            (_, Role::Learner) => "learner",
            _ => "none",
        };
        let (w, n) = self.number_of(Side::Writes, Quorum::Store);
        let (r, _) = self.number_of(Side::Reads, Quorum::Store);
        let reached = report.followers.iter().filter(|follower| follower.reachable);
        let mut lines = vec![
            "mode:leaderless".to_owned(),
            format!("peer_state:{state}"),
            format!("n:{n}"),
            format!("w:{w}"),
            format!("r:{r}"),
            format!("peers_reached:{}", reached.count()),
            format!("clock_offset_ms:{}", report.clock_offset_ms),
        ];
        let topology = self.meta.topology.as_ref();
        lines.extend(report.followers.iter().map(|f| {
            format!(
                "peer{}:name={},state={},lag_entries={},lag_bytes={},lag_ms={}",
                f.id,
                topology.and_then(|topology| topology.replica(f.id)).map_or("?", |row| row.name.as_str()),
                match (self.is_quarantined(f.id), f.reachable) {
                    (true, _) => "quarantined",
                    (_, true) => "online",
                    _ => "offline",
                },
                f.lag_entries,
                f.lag_bytes,
                f.lag_ms
            )
        }));
        lines
    }

    /// Where there are other groups: how far behind each is with what is written in this one.
    fn info_of_feeds(&self, report: &Report) -> Vec<String> {
        let Some(topology) = self.meta.topology.as_ref().filter(|_| self.is_multi_leader()) else { return Vec::new() };
        let mut lines = vec!["mode:multi-leader".to_owned(), format!("group:{}", topology.group)];
        lines.extend(report.feeds.iter().map(|feed| {
            let region = topology.groups.iter().find(|row| row.group == feed.group).map_or("?", |row| &row.region);
            format!(
                "feed{}:region={region},state={},lag_entries={},lag_bytes={},lag_ms={}",
                feed.group,
                if feed.reachable { "online" } else { "offline" },
                feed.lag_entries,
                feed.lag_bytes,
                feed.lag_ms
            )
        }));
        lines
    }

    fn info_section(&self, section: &str) -> Vec<String> {
        let report = self.make_report(self.now);
        match section {
            "server" => vec![
                "# Server".into(),
                "redis_version:7.2.0".into(),
                format!("trireme_version:{}", env!("CARGO_PKG_VERSION")),
                "redis_mode:standalone".into(),
                format!("run_id:{:016x}{:016x}", self.identity.incarnation, self.identity.boot),
                format!("uptime_in_seconds:{}", (self.now.mono_us - self.started_us) / 1_000_000),
            ],
            "clients" => vec![
                "# Clients".into(),
                format!("connected_clients:{}", self.clients.len()),
                format!("maxclients:{}", self.tuning().clients_max),
                format!("blocked_clients:{}", self.blocked_clients()),
            ],
            "memory" => vec![
                "# Memory".into(),
                format!("used_memory:{}", self.used_memory()),
                format!("used_memory_rss:{}", self.clients.memory),
                format!("maxmemory:{}", self.tuning().memory),
                format!("used_memory_dataset:{}", self.engine.data_bytes()),
                format!("maxmemory_policy:{}", self.clients.parameters.policy()),
            ],
            "persistence" => vec![
                "# Persistence".into(),
                "loading:0".into(),
                format!("durability:{}", if self.durability_is_memory() { "Memory" } else { "Disk" }),
                format!("log_bytes:{}", self.log.bytes()),
                format!("durable_seq:{}", self.durable),
                format!("checkpoint_seq:{}", self.checkpoint.seq),
            ],
            "stats" => {
                let mut lines = vec!["# Stats".to_owned(), format!("evicted_keys:{}", self.counters.evicted_keys)];
                lines.extend(self.pubsub_counts().map(|(what, count)| format!("pubsub{what}:{count}")));
                lines
            }
            "replication" => self.info_of_replication(&report),
            "conflicts" => {
                let mut lines = vec!["# Conflicts".to_owned(), format!("conflicts_kept:{}", self.conflicts.kept())];
                lines.extend(self.conflict_counts().map(|(family, count)| format!("conflicts_{family}:{count}")));
                lines
            }
            _ => match self.engine.key_count() {
                0 => vec!["# Keyspace".into()],
                keys => vec!["# Keyspace".into(), format!("db0:keys={keys},expires=0,avg_ttl=0")],
            },
        }
    }

    fn info_of_replication(&self, report: &Report) -> Vec<String> {
        let mut lines = vec![
            "# Replication".into(),
            // Any of them takes writes where nobody leads.
            format!("role:{}", if self.leads() || self.is_leaderless() { "master" } else { "slave" }),
            format!("connected_slaves:{}", report.followers.iter().filter(|follower| follower.reachable).count()),
            format!("epoch:{}", self.meta.promise),
            format!("master_repl_offset:{}", report.commit),
            format!("applied_seq:{}", report.applied),
        ];
        let staleness = self.staleness();
        let told = |number: Option<u64>| number.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
        // -1: it is not known.
        lines.push(format!("replica_staleness_ms:{}", told(staleness.ms)));
        lines.push(format!("replica_lag_entries:{}", told(staleness.entries)));
        lines.extend(report.followers.iter().map(|f| {
            format!(
                "slave{}:state={},offset={},lag={}",
                f.id,
                if f.reachable { "online" } else { "offline" },
                f.acknowledged,
                f.lag_ms / 1_000
            )
        }));
        lines.extend(self.info_of_peer(report));
        lines.extend(self.info_of_feeds(report));
        lines
    }
}
