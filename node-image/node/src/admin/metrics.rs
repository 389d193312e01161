//! Metrics in Prometheus's text format, written from one report. Every sample names its store, group and replica.

use std::fmt::{Display, Write};

use trireme_proto::{Report, Topology, ids::Peer, report::Role};

use crate::{
    config::NodeConfig,
    peers::Sent,
    shell::Shell,
    writer::{BUCKETS, Times},
};

/// The labels of every sample.
pub(crate) fn labels(config: &NodeConfig, group: u32) -> String {
    format!("store=\"{}\",group=\"{group}\",replica=\"{}\"", escaped(&config.store), escaped(&config.name))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All metrics.
pub(super) fn write(shell: &Shell, report: &Report) -> String {
    let mut page = Page::new(labels(&shell.config, shell.identity.group));
    page.build();
    page.gauge("recovering", "1 while the disk is being read after a start.", 0);
    let started = shell.clock.started().as_secs_f64();
    page.gauge("start_time_seconds", "When the process was started, in seconds since 1970.", started);
    page.gauge("leaving", "1 where the process was told to end.", u8::from(report.leaving));
    position(&mut page, report);
    followers(&mut page, report, shell.core.borrow().topology());
    counters(&mut page, report);
    conflicts(&mut page, shell);
    peer(&mut page, report);
    feeds(&mut page, report, shell.core.borrow().topology());
    sent(&mut page, shell, shell.core.borrow().topology());
    memory_and_disk(&mut page, shell, report);
    connections(&mut page, shell, report);
    page.text
}

fn position(page: &mut Page, report: &Report) {
    page.head("role", "What the replica does: 1 for its role, 0 for the others.", "gauge");
    for (role, name) in [
        (Role::Idle, "idle"),
        (Role::Follower, "follower"),
        (Role::Learner, "learner"),
        (Role::Leader, "leader"),
        (Role::Peer, "peer"),
    ] {
        page.row("role", &format!("role=\"{name}\""), u8::from(report.role() == role));
    }
    page.gauge(
        "serving",
        "1 where the replica leads and serves clients, or nobody leads and it takes commands.",
        u8::from(report.serving),
    );
    page.gauge("epoch", "Number of the highest epoch promised to.", report.promise.number);
    page.gauge("log_last_seq", "Last entry in the durable log.", report.last.seq);
    page.gauge("log_first_seq", "First entry that the log still holds.", report.log_start);
    page.gauge("commit_seq", "Last entry known to be committed.", report.commit);
    page.gauge("applied_seq", "Last entry in the state.", report.applied);
    page.gauge(
        "leader_silence_seconds",
        "Time since the leader was last heard.",
        f64::from(report.leader_silence_ms) / 1e3,
    );
    page.gauge(
        "write_gap_seconds",
        "Write gap measured at the last change of leaders.",
        f64::from(report.write_gap_ms) / 1e3,
    );
    page.gauge("disk_full", "1 where writes are refused because the disk is full.", u8::from(report.disk_full));
}

fn followers(page: &mut Page, report: &Report, topology: Option<&Topology>) {
    let followers = &report.followers;
    if followers.is_empty() {
        return;
    }
    let names: Vec<String> = followers
        .iter()
        .map(|follower| {
            let row = topology.and_then(|t| t.replicas.iter().find(|replica| replica.id == follower.id));
            let name = row.map_or_else(|| follower.id.to_string(), |replica| escaped(&replica.name));
            format!("follower=\"{name}\"")
        })
        .collect();
    let mut each = |name: &str, help: &str, value: &dyn Fn(usize) -> f64| {
        page.head(name, help, "gauge");
        names.iter().enumerate().for_each(|(i, labels)| page.row(name, labels, value(i)));
    };
    each("follower_reachable", "1 where this leader hears the replica.", &|i| f64::from(followers[i].reachable));
    each("follower_lag_entries", "Entries that the replica is behind this leader.", &|i| {
        followers[i].lag_entries as f64
    });
    each("follower_lag_bytes", "Bytes of log that the replica is behind this leader.", &|i| {
        followers[i].lag_bytes as f64
    });
    each("follower_lag_seconds", "Age of the oldest entry that the replica lacks.", &|i| {
        followers[i].lag_ms as f64 / 1e3
    });
    each("follower_snapshot", "1 where the replica is being sent a snapshot.", &|i| {
        f64::from(u8::from(followers[i].snapshot_slots.is_some()))
    });
}

fn counters(page: &mut Page, report: &Report) {
    let counters = &report.counters;
    page.counter("commands_total", "Client commands executed here.", counters.commands);
    page.counter("no_replicas_total", "Commands answered NOREPLICAS.", counters.no_replicas);
    page.counter("in_doubt_total", "Commands answered INDOUBT.", counters.in_doubt);
    page.counter(
        "evicted_keys_total",
        "Keys evicted here because memory had reached its bound.",
        counters.evicted_keys,
    );
    page.counter("out_of_memory_total", "Commands answered OOM.", counters.out_of_memory);
    page.counter("session_tokens_refused_total", "Session tokens refused.", counters.session_refusals);
    page.counter(
        "session_waits_total",
        "Commands that waited for what their session has seen.",
        counters.session_waits,
    );
    page.counter("stale_total", "Commands answered STALE.", counters.stale_answers);
    page.counter("lost_writes_told_total", "Commands answered LOSTWRITE.", counters.lost_writes_told);
    page.counter("digests_compared_total", "Slots found the same as the leader's.", counters.digests_compared);
    page.counter("digest_mismatches_total", "Slots found different from the leader's.", counters.digest_mismatches);
    page.counter("clock_refusals_total", "Messages refused for a clock too far ahead.", counters.clock_refusals);
    page.counter("snapshots_received_total", "Snapshots received.", counters.snapshots_received);
}

/// Every replica of a group joins the same: the numbers of one are those of the region, since that one has started.
fn conflicts(page: &mut Page, shell: &Shell) {
    let name = "conflicts_total";
    page.head(name, "Concurrent writes at one place, or of one key's type, that were joined here.", "counter");
    for (family, count) in shell.core.borrow().conflict_counts() {
        page.row(name, &format!("type=\"{family}\""), count);
    }
}

/// What only a replica without a leader has.
fn peer(page: &mut Page, report: &Report) {
    let Some(repair) = &report.repair else { return };
    page.gauge(
        "whole",
        "1 where the replica holds everything that could have been acknowledged before.",
        u8::from(report.whole),
    );
    page.gauge(
        "clock_offset_seconds",
        "How far another replica's clock is ahead of this one's.",
        report.clock_offset_ms as f64 / 1e3,
    );
    page.gauge(
        "repair_slots_differing",
        "Slots that differ from another replica's and are not mended yet.",
        repair.slots_differing,
    );
    page.counter("repair_keys_total", "Keys joined with another replica's state.", repair.keys_repaired);
    page.counter("repair_sent_bytes_total", "Bytes of digests and state sent.", repair.bytes_sent);
    page.counter("repair_received_bytes_total", "Bytes of digests and state received.", repair.bytes_received);
    page.counter("read_repairs_total", "Keys that reads coordinated here found stale somewhere.", repair.read_repairs);
}

/// What only a leader with other groups has.
fn feeds(page: &mut Page, report: &Report, topology: Option<&Topology>) {
    let feeds = &report.feeds;
    if feeds.is_empty() {
        return;
    }
    let region = |group: u32| topology.and_then(|t| t.groups.iter().find(|row| row.group == group));
    let name = |group| region(group).map_or_else(|| group.to_string(), |row| escaped(&row.region));
    let names: Vec<String> = feeds.iter().map(|feed| format!("to=\"{}\"", name(feed.group))).collect();
    let mut each = |name: &str, help: &str, value: &dyn Fn(usize) -> f64| {
        page.head(name, help, "gauge");
        names.iter().enumerate().for_each(|(i, labels)| page.row(name, labels, value(i)));
    };
    each("feed_reachable", "1 where this leader hears the other region's.", &|i| f64::from(feeds[i].reachable));
    each("feed_lag_entries", "Entries committed here that the other region lacks.", &|i| feeds[i].lag_entries as f64);
    each("feed_lag_bytes", "Bytes of log from the oldest entry that the other region lacks.", &|i| {
        feeds[i].lag_bytes as f64
    });
    each("feed_lag_seconds", "Age of the oldest entry that the other region lacks.", &|i| feeds[i].lag_ms as f64 / 1e3);
}

/// Who leads no more has sent something all the same.
fn sent(page: &mut Page, shell: &Shell, topology: Option<&Topology>) {
    let groups = topology.map_or(&[][..], |topology| &topology.groups);
    let mut each = |name: &str, help: &str, value: &dyn Fn(Sent) -> u64| {
        page.head(name, help, "counter");
        for row in groups.iter().filter(|row| !row.is_revoked()) {
            page.row(name, &format!("to=\"{}\"", escaped(&row.region)), value(shell.links.sent_to(row.group)));
        }
    };
    if !groups.is_empty() {
        each("feed_sent_bytes_total", "Bytes of messages sent to the other region.", &|sent| sent.plain);
        each("feed_compressed_bytes_total", "The same bytes as they went over the wire.", &|sent| sent.wire);
    }
}

fn memory_and_disk(page: &mut Page, shell: &Shell, report: &Report) {
    page.gauge("keys", "Keys in the state.", report.keys);
    page.gauge("log_bytes", "Bytes of log that are kept.", shell.core.borrow().log_bytes());
    if let Some(bytes) = crate::memory::resident_bytes() {
        page.gauge("resident_memory_bytes", "Memory of the process that is in use.", bytes);
    }
    let Times { counts, seconds } = shell.disk_times.get();
    let name = "disk_write_seconds";
    page.head(name, "Time that a batch took to be as durable as asked for; in memory, that a sync took.", "histogram");
    let mut count = 0;
    for (i, more) in counts.iter().enumerate() {
        count += more;
        let bound = BUCKETS.get(i).map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound}"));
        page.row("disk_write_seconds_bucket", &format!("le=\"{bound}\""), count);
    }
    page.row("disk_write_seconds_sum", "", seconds);
    page.row("disk_write_seconds_count", "", count);
}

fn connections(page: &mut Page, shell: &Shell, report: &Report) {
    let clients = shell.clients.borrow().len();
    page.gauge("clients_connected", "Client connections that are open.", clients);
    page.counter("clients_total", "Client connections that were served.", shell.clients_opened.get());
    page.counter(
        "clients_refused_total",
        "Client connections refused because there were too many.",
        shell.clients_refused.get(),
    );
    page.counter(
        "protocol_errors_total",
        "Client connections closed for what was no command.",
        shell.protocol_errors.get(),
    );
    page.counter(
        "peer_refusals_total",
        "Peer connections refused for another store, version or replica.",
        report.counters.peer_refusals + shell.links.refusals(),
    );
    page.counter(
        "peer_unreadable_total",
        "Peer connections closed for what could not be read.",
        shell.links.unreadable(),
    );
    let replicas = shell.links.connected().into_iter().filter(|peer| matches!(peer, Peer::Replica(_))).count();
    page.gauge("peers_connected", "Other replicas that are connected.", replicas);
    for (what, count) in shell.core.borrow().pubsub_counts() {
        match what {
            "_clients" => page.gauge("pubsub_clients", "Clients that listen to channels.", count),
            "_dropped" => page.counter(
                "pubsub_dropped_total",
                "Published messages that some other replica was not sent, for what waits for it.",
                count,
            ),
            _ => {}
        }
    }
}

/// A page of metrics as it is written.
pub(super) struct Page {
    labels: String,
    pub(super) text: String,
}

impl Page {
    pub(super) fn new(labels: String) -> Page {
        Page { labels, text: String::new() }
    }

    /// What runs here.
    pub(super) fn build(&mut self) {
        self.head("build_info", "The version that runs, as a label.", "gauge");
        self.row("build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "gauge");
        self.row(name, "", value);
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.row(name, "", value);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "# HELP trireme_{name} {help}\n# TYPE trireme_{name} {kind}\n");
    }

    /// A sample, with labels besides those that all have.
    fn row(&mut self, name: &str, labels: &str, value: impl Display) {
        let (all, comma) = (&self.labels, if labels.is_empty() { "" } else { "," });
        let _ = writeln!(self.text, "trireme_{name}{{{all}{comma}{labels}}} {value}");
    }
}
