//! What happens to a store, as people and programs are told.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use trireme_planner::Decision;

use crate::view::View;

/// One thing that happened. In JSON: `event` (its kind), `atMs`, `message`, and the kind's own fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its kind: `ready`, `decision`, `started`, `ended`, `refused`, `turnedAway`.
    #[serde(rename = "event")]
    kind: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    message: String,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Event {
    fn new(kind: &str, message: String, fields: Value) -> Event {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Event { kind: kind.to_owned(), at_ms: unix_ms(), message, fields }
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// One of its own fields, as in JSON.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field)
    }

    /// What happened, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The store serves clients.
    pub(crate) fn ready(store: &str, view: &View) -> Event {
        let replicas: Vec<Value> = view
            .replicas
            .iter()
            .map(|r| {
                json!({
                    "name": r.name,
                    "region": r.region,
                    "address": r.address.to_string(),
                    "pid": r.pid,
                    "directory": r.directory.display().to_string(),
                })
            })
            .collect();
        let who = view.who_serves();
        let message = format!("{store} is ready: {who}, {} of {} replicas", view.ready(), replicas.len());
        Event::new("ready", message, json!({ "store": store, "replicas": replicas }))
    }

    /// The planner decided something.
    pub(crate) fn decision(decision: &Decision) -> Event {
        let fields = serde_json::to_value(decision).unwrap_or_default();
        Event::new("decision", decision.to_string(), fields)
    }

    /// A replica's process was started.
    pub(crate) fn started(replica: &str, pid: u32) -> Event {
        Event::new(
            "started",
            format!("{replica} was started, process {pid}"),
            json!({ "replica": replica, "pid": pid }),
        )
    }

    /// A replica's process has ended.
    pub(crate) fn ended(replica: &str, pid: u32, how: &str, restart_in_ms: Option<u64>, log: &str) -> Event {
        let process = if pid == 0 { String::new() } else { format!(", process {pid},") };
        let then = match restart_in_ms {
            Some(ms) => format!("; it is started again in {} s", ms as f64 / 1000.0),
            None => "; it stays down".to_owned(),
        };
        // One that ended by itself has said why; one that was killed has not.
        let why = if how.contains("status") { format!("; why is in {log}") } else { String::new() };
        Event::new(
            "ended",
            format!("{replica}{process} {how}{then}{why}"),
            json!({ "replica": replica, "pid": pid, "how": how, "restartInMs": restart_in_ms, "log": log }),
        )
    }

    /// An edge is not let in.
    pub(crate) fn turned_away(edge: &str, why: &str) -> Event {
        Event::new(
            "turnedAway",
            format!("{edge} is turned away and goes on by itself: {why}"),
            json!({ "replica": edge, "why": why }),
        )
    }

    /// Whoever answers at a replica's address is not that replica.
    pub(crate) fn refused(replica: &str, why: &str) -> Event {
        Event::new(
            "refused",
            format!("what answers at the address of {replica} is not it: {why}"),
            json!({ "replica": replica, "why": why }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object_and_comes_back() {
        let event = Event::decision(&Decision::Changed { to: "n = 3, w = 2".to_owned() });
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(
            (&json["event"], &json["decision"], &json["to"]),
            (&json!("decision"), &json!("changed"), &json!("n = 3, w = 2"))
        );
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }
}
