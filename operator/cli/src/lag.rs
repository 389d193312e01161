//! `lag`: follows how far each replica is behind, until interrupted: on a terminal as a chart, elsewhere as tables.

use std::time::Duration;

use serde::Serialize;
use trireme_crds::{
    StoreStatus,
    status::{FeedStatus, GroupStatus, ReplicaStatus},
};

use crate::{
    chart::Chart,
    output::{Failure, Output, Screen, json_line, put, thousands, unix_ms},
    peers,
    status::dash,
    store::Store,
};

/// A region that is less behind than this is not said to be catching up.
const BEHIND_MS: u64 = 1_000;

/// How often, and how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Pace {
    /// Milliseconds between two looks.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    interval: u64,
    /// End after so many looks; without it, on SIGINT or when the store stops.
    #[arg(long)]
    count: Option<u64>,
    /// Look once, and show the numbers as a table also on a terminal.
    #[arg(long, conflicts_with = "count")]
    once: bool,
}

/// One replica's lag, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    at_ms: u64,
    replica: &'a str,
    role: &'a str,
    lag_entries: Option<u64>,
    lag_bytes: Option<u64>,
    lag_ms: Option<u64>,
    snapshot_slots: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots_differing: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_repaired: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_repairs: Option<u64>,
}

/// How far a region is behind what another one wrote, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Between<'a> {
    at_ms: u64,
    from: &'a str,
    to: &'a str,
    reachable: bool,
    lag_entries: u64,
    lag_bytes: u64,
    lag_ms: u64,
    backlog_entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots_left: Option<u32>,
}

/// Shows it again and again: on a terminal as a chart, in place; elsewhere as a table, in new lines.
///
/// # Errors
/// Where the store does not answer.
pub async fn run(store: &mut impl Store, pace: &Pace, output: Output) -> Result<(), Failure> {
    let mut chart = (Screen::new().is_terminal() && !pace.once).then(Chart::for_locale);
    let mut lines = 0;
    let mut looks = 0;
    let count = if pace.once { Some(1) } else { pace.count };
    while count.is_none_or(|count| looks < count) {
        if looks > 0 {
            tokio::time::sleep(Duration::from_millis(pace.interval)).await;
        }
        looks += 1;
        let status = store.look().await?;
        match output {
            Output::Json => put(&json(&status, unix_ms())?),
            Output::Text => {
                // A terminal may have another size by now.
                let mut screen = Screen::new();
                let text = match &mut chart {
                    Some(chart) => {
                        chart.add(&status);
                        chart.text(&screen, pace.interval)
                    }
                    None => text(&status, &screen),
                };
                screen.redraw(&text, lines);
                lines = text.lines().count();
            }
        }
    }
    Ok(())
}

/// A line of JSON for each replica, and for each pair of regions that have leaders.
///
/// # Errors
/// None that is known of.
pub fn json(status: &StoreStatus, at_ms: u64) -> Result<String, Failure> {
    let line = |r: &ReplicaStatus| {
        json_line(&Line {
            at_ms,
            replica: &r.name,
            role: &r.role,
            lag_entries: r.lag_entries,
            lag_bytes: r.lag_bytes,
            lag_ms: r.lag_ms,
            snapshot_slots: r.snapshot_slots,
            slots_differing: r.peer.as_ref().map(|peer| peer.slots_differing),
            keys_repaired: r.peer.as_ref().map(|peer| peer.keys_repaired),
            read_repairs: r.peer.as_ref().map(|peer| peer.read_repairs),
        })
    };
    let between = |(group, feed): (&GroupStatus, &FeedStatus)| {
        json_line(&Between {
            at_ms,
            from: &group.region,
            to: &feed.region,
            reachable: feed.reachable,
            lag_entries: feed.lag_entries,
            lag_bytes: feed.lag_bytes,
            lag_ms: feed.lag_ms,
            backlog_entries: feed.backlog_entries,
            slots_left: feed.slots_left,
        })
    };
    status.replicas.iter().map(line).chain(pairs(status).map(between)).collect()
}

/// Each region that has a leader, with each other one.
fn pairs(status: &StoreStatus) -> impl Iterator<Item = (&GroupStatus, &FeedStatus)> {
    status.groups.iter().flat_map(|group| group.feeds.iter().map(move |feed| (group, feed)))
}

/// The lag for people.
pub fn text(status: &StoreStatus, screen: &Screen) -> String {
    if status.groups.iter().any(|group| group.r.is_some()) {
        return peers::lags(status, screen);
    }
    let heads = ["REPLICA", "ROLE", "POSITION", "ENTRIES BEHIND", "BYTES BEHIND", "MS BEHIND", "SNAPSHOT"];
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), thousands);
    let row = |r: &ReplicaStatus| {
        let snapshot = r.snapshot_slots.map_or_else(|| "-".to_owned(), |done| format!("{}%", done * 100 / 16_384));
        vec![
            screen.name(&r.name),
            if r.reachable { r.role.clone() } else { screen.bad("unreachable") },
            dash(&r.position),
            number(r.lag_entries),
            number(r.lag_bytes),
            number(r.lag_ms),
            snapshot,
        ]
    };
    let mut text = screen.table(&heads, &status.replicas.iter().map(row).collect::<Vec<_>>());
    let rows: Vec<_> = pairs(status).map(|(group, feed)| between(group, feed, screen)).collect();
    if !rows.is_empty() {
        let heads = ["WRITTEN IN", "RECEIVED IN", "ENTRIES BEHIND", "BYTES BEHIND", "MS BEHIND", "CATCHING UP"];
        text.push('\n');
        text.push_str(&screen.table(&heads, &rows));
    }
    text
}

/// How far another region is behind what this one wrote.
fn between(group: &GroupStatus, feed: &FeedStatus, screen: &Screen) -> Vec<String> {
    vec![
        screen.name(&group.region),
        if feed.reachable { feed.region.clone() } else { screen.bad(format!("{} (not reached)", feed.region)) },
        thousands(feed.lag_entries),
        thousands(feed.lag_bytes),
        thousands(feed.lag_ms),
        catching_up(feed).unwrap_or_else(|| "-".to_owned()),
    ]
}

/// How much of what it missed a region has got by now, where it is more than a moment behind.
pub(crate) fn catching_up(feed: &FeedStatus) -> Option<String> {
    let done = feed.backlog_entries.saturating_sub(feed.lag_entries);
    let by_state = feed.slots_left.map(|left| format!("state, {} slots to go", thousands(left.into())));
    let by_entries = || {
        let behind = feed.lag_ms >= BEHIND_MS && feed.reachable && feed.backlog_entries > 0;
        behind.then(|| format!("{}% of {}", 100 * done / feed.backlog_entries.max(1), thousands(feed.backlog_entries)))
    };
    by_state.or_else(by_entries)
}
