//! `lag`: follows how far each replica is behind, until interrupted.

use std::time::Duration;

use serde::Serialize;
use trireme_crds::{StoreStatus, status::ReplicaStatus};

use crate::{
    output::{Failure, Output, Screen, json_line, put, thousands, unix_ms},
    peers,
    status::dash,
    store::Store,
};

/// How often, and how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Pace {
    /// Milliseconds between two looks.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    interval: u64,
    /// End after so many looks; without it, on SIGINT or when the store stops.
    #[arg(long)]
    count: Option<u64>,
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

/// Shows it again and again: on a terminal in place, elsewhere in new lines.
///
/// # Errors
/// Where the store does not answer.
pub async fn run(store: &mut impl Store, pace: &Pace, output: Output) -> Result<(), Failure> {
    let mut screen = Screen::new();
    let mut lines = 0;
    let mut looks = 0;
    while pace.count.is_none_or(|count| looks < count) {
        if looks > 0 {
            tokio::time::sleep(Duration::from_millis(pace.interval)).await;
        }
        looks += 1;
        let status = store.look().await?;
        match output {
            Output::Json => put(&json(&status, unix_ms())?),
            Output::Text => {
                let text = text(&status, &screen);
                screen.redraw(&text, lines);
                lines = text.lines().count();
            }
        }
    }
    Ok(())
}

/// A line of JSON for each replica.
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
    status.replicas.iter().map(line).collect()
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
    screen.table(&heads, &status.replicas.iter().map(row).collect::<Vec<_>>())
}
