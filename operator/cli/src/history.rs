//! `logs`: the log of failovers: what was decided, and what the replicas printed meanwhile, in the order of time.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use trireme_crds::StoreStatus;

use crate::{
    output::{Failure, Output, Screen, json_line, put},
    status,
    store::{Happened, Line, Store},
};

/// How much of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Depth {
    /// Show, too, what the replicas printed around the last change of leader.
    #[arg(long)]
    replicas: bool,
    /// Seconds around the last change of leader that count as around it.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    around: u64,
}

/// Shows it.
///
/// # Errors
/// Where the store does not answer.
pub async fn run(store: &mut impl Store, depth: &Depth, output: Output) -> Result<(), Failure> {
    let status = store.status().await?;
    let happened = store.history().await?;
    let lines = match (depth.replicas, last_change(&status, &happened)) {
        (true, Some((from_ms, to_ms))) => {
            let around_ms = Duration::from_secs(depth.around).as_millis() as u64;
            store.lines(from_ms.saturating_sub(around_ms), to_ms + around_ms).await?
        }
        _ => Vec::new(),
    };
    match output {
        Output::Json => put(&json(&status, &happened, &lines)?),
        Output::Text => put(&text(&status, &happened, &lines, &Screen::new())),
    }
    Ok(())
}

/// When the last change of leader began and ended, as far as is known.
fn last_change(status: &StoreStatus, happened: &[Happened]) -> Option<(u64, u64)> {
    let last = status.failovers.first();
    let last = last.and_then(|f| Some((from_rfc3339(&f.at)?, f.active_ms.unwrap_or(0))));
    match last {
        Some((at_ms, took_ms)) => Some((at_ms, at_ms + took_ms)),
        None => happened.last().map(|h| (h.at_ms, h.at_ms)),
    }
}

/// The log for people: the changes of leader as a table, then everything that is known of them.
pub fn text(status: &StoreStatus, happened: &[Happened], lines: &[Line], screen: &Screen) -> String {
    let mut text = match status.failovers.is_empty() {
        true => "the leader has never changed\n".to_owned(),
        false => status::failovers(status, screen),
    };
    let decided = happened.iter().map(|h| (h.at_ms, None, h.message.as_str()));
    let printed = lines.iter().map(|l| (l.at_ms, Some(l.replica.as_str()), l.text.as_str()));
    let mut all: Vec<(u64, Option<&str>, &str)> = decided.chain(printed).collect();
    // Stable: what happened in the same millisecond stays in its order.
    all.sort_by_key(|(at_ms, ..)| *at_ms);
    if !all.is_empty() {
        text.push('\n');
    }
    for (at_ms, replica, what) in all {
        let at = screen.dim(rfc3339(at_ms));
        match replica {
            None => text.push_str(&format!("{at}  {what}\n")),
            Some(replica) => text.push_str(&format!("{at}  {}  {}\n", screen.name(replica), screen.dim(what))),
        }
    }
    text
}

/// The same, an object a line: changes of leader as `failover`, what was decided as `event` says, and what was printed as `line`.
///
/// # Errors
/// None that is known of.
pub fn json(status: &StoreStatus, happened: &[Happened], lines: &[Line]) -> Result<String, Failure> {
    let failovers = status.failovers.iter().rev().map(|failover| json!({ "failover": failover }));
    let decided = happened.iter().map(|h| json!(h.json));
    let printed = lines.iter().map(|l| json!({ "line": l.text, "atMs": l.at_ms, "replica": l.replica }));
    failovers.chain(decided).chain(printed).map(|value| json_line(&value)).collect()
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub fn rfc3339(at_ms: u64) -> String {
    match i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        Some(time) => format!("{time:.3}"),
        None => format!("{at_ms} ms"),
    }
}

/// RFC 3339 as milliseconds since 1970.
pub fn from_rfc3339(text: &str) -> Option<u64> {
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back() {
        assert_eq!(rfc3339(1_795_446_000_123), "2026-11-23T15:00:00.123Z");
        assert_eq!(from_rfc3339("2026-11-23T15:00:00.123Z"), Some(1_795_446_000_123));
        assert_eq!(from_rfc3339("2026-11-23T16:00:00+01:00"), Some(1_795_446_000_000));
        assert_eq!(from_rfc3339("yesterday"), None);
    }
}
