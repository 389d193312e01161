//! Metrics in Prometheus's text format, written from one report.

use std::fmt::{Display, Write};

use trireme_proto::{Report, ids::Peer, report::Role};

use crate::shell::Shell;

/// All metrics.
pub(super) fn write(shell: &Shell, report: &Report) -> String {
    let mut page = Page::default();
    position(&mut page, report);
    followers(&mut page, report);
    counters(&mut page, report);
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
    let replicas = shell.links.connected().into_iter().filter(|peer| matches!(peer, Peer::Replica(_))).count();
    page.gauge("peers_connected", "Other replicas that are connected.", replicas);
    page.text
}

fn position(page: &mut Page, report: &Report) {
    page.head("role", "What the replica does: 1 for its role, 0 for the others.", "gauge");
    for (role, name) in
        [(Role::Idle, "idle"), (Role::Follower, "follower"), (Role::Learner, "learner"), (Role::Leader, "leader")]
    {
        page.row("role", &format!("{{role=\"{name}\"}}"), u8::from(report.role() == role));
    }
    page.gauge("serving", "1 where the replica leads and serves clients.", u8::from(report.serving));
    page.gauge("epoch", "Number of the highest epoch promised to.", report.promise.number);
    page.gauge("log_last_seq", "Last entry in the durable log.", report.last.seq);
    page.gauge("log_first_seq", "First entry that the log still holds.", report.log_start);
    page.gauge("commit_seq", "Last entry known to be committed.", report.commit);
    page.gauge("applied_seq", "Last entry in the state.", report.applied);
    page.gauge("keys", "Keys in the state.", report.keys);
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

fn followers(page: &mut Page, report: &Report) {
    if report.followers.is_empty() {
        return;
    }
    let label = |id: u32| format!("{{replica=\"{id}\"}}");
    page.head("follower_reachable", "1 where this leader hears the replica.", "gauge");
    report.followers.iter().for_each(|f| page.row("follower_reachable", &label(f.id), u8::from(f.reachable)));
    page.head("follower_lag_entries", "Entries that the replica is behind this leader.", "gauge");
    report.followers.iter().for_each(|f| page.row("follower_lag_entries", &label(f.id), f.lag_entries));
    page.head("follower_lag_bytes", "Bytes of log that the replica is behind this leader.", "gauge");
    report.followers.iter().for_each(|f| page.row("follower_lag_bytes", &label(f.id), f.lag_bytes));
    page.head("follower_lag_seconds", "Age of the oldest entry that the replica lacks.", "gauge");
    report.followers.iter().for_each(|f| page.row("follower_lag_seconds", &label(f.id), f.lag_ms as f64 / 1e3));
}

fn counters(page: &mut Page, report: &Report) {
    let counters = &report.counters;
    page.counter("commands_total", "Client commands executed here.", counters.commands);
    page.counter("no_replicas_total", "Commands answered NOREPLICAS.", counters.no_replicas);
    page.counter("in_doubt_total", "Commands answered INDOUBT.", counters.in_doubt);
    page.counter("digests_compared_total", "Slots found the same as the leader's.", counters.digests_compared);
    page.counter("digest_mismatches_total", "Slots found different from the leader's.", counters.digest_mismatches);
    page.counter("clock_refusals_total", "Messages refused for a clock too far ahead.", counters.clock_refusals);
    page.counter("snapshots_received_total", "Snapshots received.", counters.snapshots_received);
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "gauge");
        self.row(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.row(name, "", value);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.write(format_args!("# HELP trireme_{name} {help}\n# TYPE trireme_{name} {kind}\n"));
    }

    fn row(&mut self, name: &str, labels: &str, value: impl Display) {
        self.write(format_args!("trireme_{name}{labels} {value}\n"));
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(arguments);
    }
}
