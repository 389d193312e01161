//! The operator's decisions, as Events of a store.

use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    api::{ListParams, WatchParams},
};
use serde_json::{Map, Value};
use trireme_cli::{Failure, Happened};
use trireme_crds::STORE_KIND;

use crate::cluster::Cluster;

/// Most Events of one store that are looked at.
const EVENTS_MAX: u32 = 500;

/// All Events of the cluster's namespace.
pub fn api(cluster: &Cluster) -> Api<Event> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

/// What selects a store's Events.
fn fields(store: &str) -> String {
    format!("involvedObject.kind={STORE_KIND},involvedObject.name={store}")
}

/// What watches a store's Events: those that there are first.
pub fn watched(store: &str) -> WatchParams {
    WatchParams::default().fields(&fields(store))
}

/// A store's Events, the oldest first.
///
/// # Errors
/// Where they cannot be listed.
pub async fn list(cluster: &Cluster, store: &str) -> Result<Vec<Event>, Failure> {
    let wanted = ListParams::default().fields(&fields(store)).limit(EVENTS_MAX);
    let list = api(cluster).list(&wanted).await;
    let mut events = list.map_err(|error| cluster.failure(&format!("list the Events of {store}"), &error))?.items;
    events.sort_by_key(at_ms);
    Ok(events)
}

/// What an Event says.
pub fn happened(event: &Event) -> Happened {
    let at_ms = at_ms(event);
    let message = event.message.clone().unwrap_or_default();
    let reason = event.reason.clone().unwrap_or_default();
    let mut json = Map::new();
    json.insert("event".to_owned(), Value::from("decision"));
    json.insert("atMs".to_owned(), Value::from(at_ms));
    json.insert("message".to_owned(), Value::from(message.clone()));
    json.insert("decision".to_owned(), Value::from(camel(&reason)));
    Happened { at_ms, message, json }
}

/// Whether it says that what was asked for will not be done.
pub fn refuses(event: &Event) -> bool {
    matches!(event.reason.as_deref(), Some("Refused" | "HandoverFailed"))
}

/// When it happened last, as exactly as is known.
fn at_ms(event: &Event) -> u64 {
    let exact =
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).or(event.event_time.as_ref());
    let coarse = event.last_timestamp.as_ref().or(event.first_timestamp.as_ref());
    let created = event.metadata.creation_timestamp.as_ref();
    let time = exact.map(|time| time.0).or_else(|| coarse.or(created).map(|time| time.0));
    time.and_then(|time| u64::try_from(time.as_millisecond()).ok()).unwrap_or(0)
}

/// `HandingOver` as local mode says it: `handingOver`.
fn camel(reason: &str) -> String {
    let mut letters = reason.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
