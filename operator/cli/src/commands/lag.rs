//! `trireme lag`: follows how far each replica is behind, until interrupted.

use std::time::Duration;

use serde::Serialize;
use trireme_crds::StoreStatus;
use trireme_local::control::Control;

use super::Running;
use crate::output::{Failure, Output, Screen, put, table, thousands};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    running: Running,
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
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut control = Control::connect(&arguments.running.dir).await.map_err(Failure::from_error)?;
    let mut screen = Screen::new();
    let mut lines = 0;
    let mut looks = 0;
    while arguments.count.is_none_or(|count| looks < count) {
        if looks > 0 {
            tokio::time::sleep(Duration::from_millis(arguments.interval)).await;
        }
        looks += 1;
        let status = control.status().await.map_err(Failure::from_error)?;
        match arguments.running.output {
            Output::Json => put(&json(&status)?),
            Output::Human => {
                let text = text(&status, &screen);
                screen.redraw(&text, lines);
                lines = text.lines().count();
            }
        }
    }
    Ok(())
}

fn json(status: &StoreStatus) -> Result<String, Failure> {
    let mut text = String::new();
    for r in &status.replicas {
        let line = Line {
            at_ms: trireme_local::unix_ms(),
            replica: &r.name,
            role: &r.role,
            lag_entries: r.lag_entries,
            lag_bytes: r.lag_bytes,
            lag_ms: r.lag_ms,
            snapshot_slots: r.snapshot_slots,
        };
        text.push_str(&serde_json::to_string(&line).map_err(Failure::from_error)?);
        text.push('\n');
    }
    Ok(text)
}

fn text(status: &StoreStatus, screen: &Screen) -> String {
    let heads = ["REPLICA", "ROLE", "POSITION", "ENTRIES BEHIND", "BYTES BEHIND", "MS BEHIND", "SNAPSHOT"];
    let mut rows = vec![heads.map(|head| screen.dim(head)).to_vec()];
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), thousands);
    for r in &status.replicas {
        let snapshot = r.snapshot_slots.map_or_else(|| "-".to_owned(), |done| format!("{}%", done * 100 / 16_384));
        rows.push(vec![
            screen.name(&r.name),
            if r.reachable { r.role.clone() } else { screen.bad("unreachable") },
            r.position.clone(),
            number(r.lag_entries),
            number(r.lag_bytes),
            number(r.lag_ms),
            snapshot,
        ]);
    }
    table(&rows)
}
