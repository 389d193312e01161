//! Records and statuses in the words of scenarios.

use std::fmt::Write;

use trireme_crds::StoreStatus;
use trireme_proto::{
    Topology,
    ids::Dot,
    topology::{self, Config, Phase},
};

/// Reasons of conditions that are not worth a line.
pub const CALM: [&str; 6] = ["Stable", "ChangingLeader", "None", "NotPaused", "NotStalled", "NotDiverged"];

fn config(config: &Config) -> String {
    let members: Vec<String> =
        config
            .members
            .iter()
            .map(|m| {
                if u64::from(m.id) == m.incarnation { m.id.to_string() } else { format!("{}({})", m.id, m.incarnation) }
            })
            .collect();
    format!("{{{}}} w={}", members.join(" "), config.w)
}

pub fn record(record: &Topology) -> String {
    let mut text = match (record.group, record.settings.mode()) {
        (0, topology::Mode::SingleLeader | topology::Mode::Leaderless) => String::new(),
        (group, topology::Mode::SingleLeader) => format!("of the only group {group} "),
        (group, _) => format!("of group {group} "),
    };
    write!(text, "v{} epoch {} ", record.version, record.epoch).unwrap();
    text += &if record.settings.mode() == topology::Mode::Leaderless {
        let name = |r: &topology::Replica| format!("{}.{}", r.id, r.generation);
        let names: Vec<String> = record.replicas.iter().filter(|r| r.incarnation != 0).map(name).collect();
        let apart = record.replicas.iter().filter(|r| r.quarantined).map(|r| format!(" quarantined={}", r.id));
        format!("r={} names {}{}", record.settings.r, names.join(" "), apart.collect::<String>())
    } else if record.phase == Phase::Active as i32 {
        format!("Active leader={}", record.leader)
    } else {
        "Sealing".to_owned()
    };
    write!(text, " {}", config(&record.config)).unwrap();
    if let Some(old) = &record.old {
        write!(text, " old {}", config(old)).unwrap();
    }
    if record.handover != 0 {
        write!(text, " handover={}", record.handover).unwrap();
    }
    write!(text, " generation={}", record.generation).unwrap();
    if record.leaving() != topology::Leaving::Stays {
        write!(text, " {:?}", record.leaving()).unwrap();
    }
    if let Some(entries) = record.given_up {
        write!(text, " given-up={entries}").unwrap();
    }
    for other in &record.groups {
        let host = |address: &str| address.split(':').next().unwrap_or_default().to_owned();
        let rows: Vec<String> =
            other.replicas.iter().map(|row| format!("{}@{}", row.id, host(&row.peer_address))).collect();
        let paused = if other.paused { " (paused)" } else { "" };
        let leaving = if other.leaving { " (leaving)" } else { "" };
        write!(text, " | group {} {}{paused}{leaving}: {}", other.group, other.region, rows.join(" ")).unwrap();
    }
    for home in &record.homes {
        let dots = |dots: &[Dot]| -> String {
            dots.iter().map(|dot| format!(" {}.{}:{}", dot.origin.group, dot.origin.generation, dot.seq)).collect()
        };
        let ceded = home.ceded.as_ref().map_or(String::new(), |ceded| format!(" ceded{}", dots(&ceded.upto)));
        let after = if home.after.is_empty() { String::new() } else { format!(" after{}", dots(&home.after)) };
        write!(text, " | home {} of group {} by {}{after}{ceded}", home.prefix, home.group, home.epoch).unwrap();
    }
    text
}

/// What a person is shown of the replicas.
pub fn replicas(status: &StoreStatus) -> String {
    let mut out = format!("> {:?}, ready {}\n", status.phase, status.ready);
    for replica in &status.replicas {
        let heard = if replica.reachable { "heard" } else { "not heard" };
        writeln!(out, "> {}: {}, {heard}", replica.name, replica.role).unwrap();
    }
    out
}

/// What a person is shown of a store whose regions have a leader each.
pub fn store(status: &StoreStatus) -> String {
    let mut out =
        format!("> {:?}, ready {}, leader {}, lag {}\n", status.phase, status.ready, status.leader, status.lag);
    for group in &status.groups {
        let serving = if group.serving { "serving" } else { "not serving" };
        writeln!(
            out,
            "> group {} {}: epoch {} {} leader={} {serving}",
            group.group, group.region, group.epoch, group.phase, group.leader
        )
        .unwrap();
        for feed in &group.feeds {
            let reached = if feed.reachable { "reached" } else { "not reached" };
            writeln!(out, "> {} to {}: {reached}, {} entries behind", group.region, feed.region, feed.lag_entries)
                .unwrap();
        }
    }
    for c in status.conditions.iter().filter(|c| !CALM.contains(&c.reason.as_str())) {
        let since = &c.last_transition_time["1970-01-01T".len()..];
        writeln!(out, "> {} {:?} {} since {since}: {}", c.kind, c.status, c.reason, c.message).unwrap();
    }
    for f in &status.failovers {
        writeln!(
            out,
            "> {} {} epoch {} {} -> {}: {}",
            &f.at["1970-01-01T".len()..],
            f.region,
            f.epoch,
            f.from,
            f.to,
            f.cause
        )
        .unwrap();
    }
    out
}
