//! What is shown, as JSON.

use std::collections::VecDeque;

use serde::Serialize;
use trireme_crds::{ConditionStatus, Digests, StorePhase, StoreStatus};

use crate::history::{History, Lag};

/// Longest text of an event or of a reason, in bytes.
const TEXT_BYTES_MAX: usize = 600;
/// Replicas of one store that are shown.
const REPLICAS_MAX: usize = 128;
/// Points of the small line in the list of stores.
pub(crate) const RECENT: usize = 60;

/// A store in the list of stores.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub store: String,
    mode: &'static str,
    phase: StorePhase,
    ready: String,
    leader: String,
    digests: Digests,
    /// The first thing that is not as it should be.
    #[serde(skip_serializing_if = "String::is_empty")]
    trouble: String,
}

impl Row {
    pub fn of(store: &str, status: &StoreStatus) -> Row {
        let bad = |kind: &str| if kind == "Ready" { ConditionStatus::False } else { ConditionStatus::True };
        let troubles = ["Ready", "Degraded", "RolloutStalled", "Paused"];
        let trouble = troubles.iter().find_map(|kind| {
            status.conditions.iter().find(|c| c.kind == *kind && c.status == bad(kind) && !c.message.is_empty())
        });
        Row {
            store: store.to_owned(),
            mode: mode(status),
            phase: status.phase,
            ready: status.ready.clone(),
            leader: clip(&status.leader, TEXT_BYTES_MAX),
            digests: status.digests(),
            trouble: trouble.map(|condition| clip(&condition.message, TEXT_BYTES_MAX)).unwrap_or_default(),
        }
    }
}

/// The mode, as the status shows it.
fn mode(status: &StoreStatus) -> &'static str {
    match status.groups.as_slice() {
        groups if groups.iter().any(|group| group.r.is_some()) => "Leaderless",
        groups if groups.iter().any(|group| !group.region.is_empty()) => "MultiLeader",
        [] => "",
        _ => "SingleLeader",
    }
}

/// Something that happened to a store.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Happened {
    pub at_ms: u64,
    pub message: String,
    /// The change that it came with.
    #[serde(skip)]
    pub change: u64,
}

/// All of one store but its history.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Detail<'a> {
    store: &'a str,
    status: &'a StoreStatus,
    /// Names of the replicas that are known to differ.
    differ: Vec<&'a str>,
    /// Replicas that are not shown.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// As JSON, with a bound on its length whatever the store says.
pub(crate) fn detail(store: &str, status: &StoreStatus) -> String {
    let left_out = status.replicas.len().saturating_sub(REPLICAS_MAX);
    let differs = |replica: &&trireme_crds::status::ReplicaStatus| status.digest_differs(replica);
    let differ: Vec<&str> = status.replicas.iter().filter(differs).map(|replica| replica.name.as_str()).collect();
    let mut shown = status.clone();
    shown.replicas.truncate(REPLICAS_MAX);
    shown.groups.truncate(REPLICAS_MAX);
    for condition in &mut shown.conditions {
        condition.message = clip(&condition.message, 4 * TEXT_BYTES_MAX);
    }
    json(&Detail { store, status: &shown, differ, left_out })
}

/// Everything, for somebody who has nothing yet.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hello<'a> {
    pub version: &'static str,
    pub at_ms: u64,
    pub period_ms: u64,
    pub source: crate::Source,
    /// How many stores there are; the list may have fewer.
    pub count: usize,
    pub rows: Vec<Listed<'a>>,
    /// The store that is looked at, if it is known.
    pub chosen: Option<Chosen<'a>>,
}

/// A row with its lag of late.
#[derive(Serialize)]
pub(crate) struct Listed<'a> {
    #[serde(flatten)]
    pub row: &'a Row,
    pub recent: Vec<Option<u32>>,
}

/// The store that is looked at.
#[derive(Serialize)]
pub(crate) struct Chosen<'a> {
    pub detail: &'a serde_json::value::RawValue,
    pub history: &'a History,
    pub events: &'a VecDeque<Happened>,
}

/// A new point of all lines: of each store how far it is behind at most, of the one that is looked at each line's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tick<'a> {
    pub at_ms: u64,
    pub worst: Vec<(&'a str, Option<u32>)>,
    pub lines: Vec<(&'a str, Lag)>,
}

/// Rows that have changed, and stores that are gone.
#[derive(Serialize)]
pub(crate) struct Rows<'a> {
    pub rows: Vec<&'a Row>,
    pub gone: Vec<&'a str>,
}

/// JSON; what is shown here always is.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// The beginning of a text.
pub(crate) fn clip(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{} …", &text[..end])
}

/// The longest text of an event.
pub(crate) fn clip_event(text: &str) -> String {
    clip(text, TEXT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use trireme_crds::{Condition, status::ReplicaStatus};

    use super::*;

    #[test]
    fn a_store_with_much_to_say_is_still_bounded() {
        let condition = |kind: &str| Condition {
            kind: kind.to_owned(),
            status: ConditionStatus::True,
            message: "é".repeat(100_000),
            ..Condition::default()
        };
        let status = StoreStatus {
            conditions: vec![condition("Degraded"), condition("Ready")],
            replicas: vec![ReplicaStatus::default(); 1_000],
            ..StoreStatus::default()
        };
        assert!(json(&Row::of("a/b", &status)).len() < 2_000);
        let detail = detail("a/b", &status);
        assert!(detail.len() < 100_000, "{}", detail.len());
        assert!(detail.contains("\"leftOut\":872"), "{}", &detail[detail.len() - 80..]);
    }
}
