//! What is known of all stores, and what has changed since when.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::sync::watch;
use trireme_crds::StoreStatus;

use crate::{
    history::History,
    model::{self, Chosen, Happened, Hello, Listed, RECENT, Row, Rows, Tick},
};

/// Stores that are shown; a cluster with more has a monitoring of its own.
const STORES_MAX: usize = 1_000;
/// Events that are kept of each store.
const EVENTS_MAX: usize = 100;

/// Where what is shown comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The processes of this machine, from the process that runs them.
    Local,
    /// The operator that acts, as it hears the replicas.
    Operator,
    /// An operator that stands by: what the one that acts has written, which for positions and lag may be half a minute old.
    StandsBy,
}

/// See the module.
#[derive(Debug)]
pub struct Hub {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    period: Duration,
}

#[derive(Debug)]
struct Inner {
    source: Source,
    /// Number of the last change, and of the last point.
    change: u64,
    point: (u64, u64),
    stores: BTreeMap<String, Store>,
}

#[derive(Debug)]
struct Store {
    status: StoreStatus,
    row: Row,
    history: History,
    events: VecDeque<Happened>,
    /// Number of the change that it came with.
    born: u64,
    /// Numbers of the last changes of the row and of anything.
    row_change: u64,
    change: u64,
    /// The status as JSON, since somebody has looked at it.
    detail: Option<String>,
}

/// What one browser has been told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The store that it looks at.
    chosen: String,
    /// With which change that one came, as far as it has been told of it: another one of the same name is another store.
    born: Option<u64>,
    /// The number of the last change, once it has been told anything.
    change: Option<u64>,
    source: Option<Source>,
    stores: BTreeSet<String>,
}

impl Told {
    /// One that looks at this store, or at whichever there is where it has no name.
    pub fn nothing(chosen: String) -> Told {
        Told { chosen, ..Told::default() }
    }
}

impl Hub {
    /// Without any store yet. `period`: between two points of a line, 600 of which are kept.
    pub fn new(source: Source, period: Duration) -> Hub {
        let inner = Inner { source, change: 0, point: (0, 0), stores: BTreeMap::new() };
        Hub { inner: Mutex::new(inner), changed: watch::Sender::new(0), period }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What a thread left that panicked is still what was last heard.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, inner: &Inner) {
        self.changed.send_replace(inner.change);
    }

    /// The number of the last change, now and whenever there is another one.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Between two points.
    pub(crate) fn period(&self) -> Duration {
        self.period
    }

    /// Where what is shown comes from, from now on.
    pub fn source(&self, source: Source) {
        let mut inner = self.inner();
        if inner.source != source {
            inner.source = source;
            inner.change += 1;
            self.tell(&inner);
        }
    }

    /// How a store stands.
    pub fn publish(&self, store: &str, status: &StoreStatus) {
        let mut inner = self.inner();
        let next = inner.change + 1;
        let known = inner.stores.len();
        match inner.stores.get_mut(store) {
            Some(there) if there.status == *status => return,
            Some(there) => {
                let row = Row::of(store, status);
                if there.row != row {
                    (there.row, there.row_change) = (row, next);
                }
                there.history.see(status);
                (there.change, there.detail) = (next, None);
                there.status.clone_from(status);
            }
            None if known == STORES_MAX => return,
            None => {
                let mut history = History::default();
                history.see(status);
                let (status, row) = (status.clone(), Row::of(store, status));
                let events = VecDeque::new();
                let new =
                    Store { status, row, history, events, born: next, row_change: next, change: next, detail: None };
                inner.stores.insert(store.to_owned(), new);
            }
        }
        inner.change = next;
        self.tell(&inner);
    }

    /// Something happened to a store that is known.
    pub fn happened(&self, store: &str, at_ms: u64, message: &str) {
        let mut inner = self.inner();
        let change = inner.change + 1;
        let Some(there) = inner.stores.get_mut(store) else { return };
        if there.events.len() == EVENTS_MAX {
            there.events.pop_front();
        }
        there.events.push_back(Happened { at_ms, message: model::clip_event(message), change });
        inner.change = change;
        self.tell(&inner);
    }

    /// A store that is gone.
    pub fn forget(&self, store: &str) {
        let mut inner = self.inner();
        if inner.stores.remove(store).is_some() {
            inner.change += 1;
            self.tell(&inner);
        }
    }

    /// Only these stay.
    pub fn keep(&self, stays: impl Fn(&str) -> bool) {
        let mut inner = self.inner();
        let before = inner.stores.len();
        inner.stores.retain(|name, _| stays(name));
        if inner.stores.len() < before {
            inner.change += 1;
            self.tell(&inner);
        }
    }

    /// The next point of every line.
    pub(crate) fn point(&self, at_ms: u64) {
        let mut inner = self.inner();
        inner.change += 1;
        inner.point = (inner.change, at_ms);
        inner.stores.values_mut().for_each(|store| store.history.point(at_ms, &store.status));
        self.tell(&inner);
    }

    /// Everything, with the store of this name, or the first one where there is none of it.
    pub(crate) fn hello(&self, told: &mut Told) -> String {
        let mut inner = self.inner();
        let first = inner.stores.keys().next().cloned();
        if !inner.stores.contains_key(&told.chosen)
            && let Some(first) = first.filter(|_| told.chosen.is_empty())
        {
            told.chosen = first;
        }
        (told.change, told.source) = (Some(inner.change), Some(inner.source));
        told.stores = inner.stores.keys().cloned().collect();
        told.born = inner.born(&told.chosen);
        inner.write_detail(&told.chosen);
        let raw = |text: &String| serde_json::value::RawValue::from_string(text.clone()).ok();
        let there = inner.stores.get(&told.chosen);
        let detail = there.and_then(|store| store.detail.as_ref()).and_then(raw);
        let chosen = there.zip(detail.as_deref()).map(|(store, detail)| Chosen {
            detail,
            history: &store.history,
            events: &store.events,
        });
        model::json(&Hello {
            version: env!("CARGO_PKG_VERSION"),
            at_ms: unix_ms(),
            period_ms: self.period.as_millis() as u64,
            source: inner.source,
            count: inner.stores.len(),
            rows: inner.stores.values().map(Listed::of).collect(),
            chosen,
        })
    }

    /// What has changed since, each with its name; empty where nothing has that this browser shows.
    pub(crate) fn since(&self, told: &mut Told) -> Vec<(&'static str, String)> {
        let mut inner = self.inner();
        // It looks at a store that came or went, or at whichever there is: everything is told anew.
        let looks = !told.chosen.is_empty() || inner.stores.is_empty();
        let same = looks && inner.born(&told.chosen) == told.born;
        let Some(since) = told.change.filter(|_| told.source == Some(inner.source) && same) else {
            drop(inner);
            return vec![("hello", self.hello(told))];
        };
        let mut all = Vec::new();
        told.change = Some(inner.change);
        let rows: Vec<&Row> = inner.stores.values().filter(|s| s.row_change > since).map(|s| &s.row).collect();
        let gone: Vec<&str> =
            told.stores.iter().map(String::as_str).filter(|s| !inner.stores.contains_key(*s)).collect();
        if !rows.is_empty() || !gone.is_empty() {
            all.push(("rows", model::json(&Rows { rows, gone })));
            if told.stores.len() != inner.stores.len() || told.stores.iter().any(|s| !inner.stores.contains_key(s)) {
                told.stores = inner.stores.keys().cloned().collect();
            }
        }
        if inner.stores.get(&told.chosen).is_some_and(|store| store.change > since) {
            inner.write_detail(&told.chosen);
        }
        if let Some(store) = inner.stores.get(&told.chosen) {
            all.extend(store.detail.as_ref().filter(|_| store.change > since).map(|text| ("store", text.clone())));
            let new = store.events.iter().filter(|event| event.change > since);
            all.extend(new.map(|event| ("happened", model::json(event))));
        }
        let (point, at_ms) = inner.point;
        if point > since {
            let all_stores = inner.stores.iter();
            let worst =
                all_stores.map(|(name, store)| (name.as_str(), store.history.worst(1).pop().flatten())).collect();
            let lines = inner.stores.get(&told.chosen).map(|store| store.history.last()).unwrap_or_default();
            all.push(("tick", model::json(&Tick { at_ms, worst, lines })));
        }
        all
    }
}

impl Inner {
    /// With which change a store came, where it is there.
    fn born(&self, name: &str) -> Option<u64> {
        self.stores.get(name).map(|store| store.born)
    }

    /// Makes sure that the JSON of this store is that of its newest status.
    fn write_detail(&mut self, name: &str) {
        if let Some(store) = self.stores.get_mut(name)
            && store.detail.is_none()
        {
            store.detail = Some(model::detail(name, &store.status));
        }
    }
}

impl<'a> Listed<'a> {
    fn of(store: &'a Store) -> Listed<'a> {
        Listed { row: &store.row, recent: store.history.worst(RECENT) }
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use trireme_crds::StorePhase;

    use super::*;

    fn names(told: &[(&'static str, String)]) -> Vec<&'static str> {
        told.iter().map(|(name, _)| *name).collect()
    }

    fn ready(text: &str) -> StoreStatus {
        StoreStatus { phase: StorePhase::Ready, ready: text.to_owned(), ..StoreStatus::default() }
    }

    #[test]
    fn a_browser_is_told_once_and_only_what_it_shows() {
        let hub = Hub::new(Source::Local, Duration::from_millis(500));
        hub.publish("a/one", &ready("3/3"));
        hub.publish("a/two", &ready("3/3"));
        let mut told = Told { chosen: "a/two".to_owned(), ..Told::default() };
        assert_eq!(names(&hub.since(&mut told)), ["hello"]);
        assert!(hub.since(&mut told).is_empty());
        hub.publish("a/two", &ready("3/3"));
        assert!(hub.since(&mut told).is_empty(), "nothing is new");
        hub.publish("a/one", &ready("2/3"));
        assert_eq!(names(&hub.since(&mut told)), ["rows"]);
        hub.publish("a/two", &ready("2/3"));
        hub.happened("a/two", 7, "a replica is gone");
        hub.happened("a/one", 7, "another one, too");
        hub.point(9);
        assert_eq!(names(&hub.since(&mut told)), ["rows", "store", "happened", "tick"]);
        // What only moves is no change of the list.
        hub.publish("a/two", &StoreStatus { observed_generation: 2, ..ready("2/3") });
        assert_eq!(names(&hub.since(&mut told)), ["store"]);
        hub.forget("a/one");
        let rows = hub.since(&mut told);
        assert_eq!(rows, [("rows", r#"{"rows":[],"gone":["a/one"]}"#.to_owned())]);
        assert!(hub.since(&mut told).is_empty());
        hub.source(Source::StandsBy);
        assert_eq!(names(&hub.since(&mut told)), ["hello"]);
    }

    #[test]
    fn who_names_no_store_sees_the_first_and_who_names_a_foreign_one_none() {
        let hub = Hub::new(Source::Local, Duration::from_millis(500));
        hub.publish("orders", &ready("3/3"));
        let mut told = Told::default();
        assert!(hub.hello(&mut told).contains(r#""chosen":{"detail":{"store":"orders""#));
        let mut told = Told { chosen: "carts".to_owned(), ..Told::default() };
        assert!(hub.hello(&mut told).contains(r#""chosen":null"#));
    }

    #[test]
    fn a_store_that_goes_and_comes_is_told_as_what_it_is() {
        let hub = Hub::new(Source::Operator, Duration::from_millis(500));
        let mut told = Told::nothing(String::new());
        assert!(hub.hello(&mut told).contains(r#""chosen":null"#));
        // Whoever looks at nothing yet sees the first one that comes.
        hub.publish("a/one", &ready("3/3"));
        let news = hub.since(&mut told);
        assert!(names(&news) == ["hello"] && news[0].1.contains(r#""store":"a/one""#), "{news:?}");
        hub.happened("a/one", 7, "it grows old");
        hub.point(9);
        hub.since(&mut told);
        hub.publish("a/two", &ready("3/3"));
        assert_eq!(names(&hub.since(&mut told)), ["rows"]);
        // It is deleted, and made again: nothing of what the first one was is shown of the second.
        hub.forget("a/one");
        let news = hub.since(&mut told);
        assert!(names(&news) == ["hello"] && news[0].1.contains(r#""chosen":null"#), "{news:?}");
        assert!(hub.since(&mut told).is_empty());
        hub.publish("a/one", &ready("1/3"));
        let news = hub.since(&mut told);
        assert!(names(&news) == ["hello"] && !news[0].1.contains("grows old"), "{news:?}");
        hub.forget("a/one");
        hub.publish("a/one", &ready("2/3"));
        assert_eq!(names(&hub.since(&mut told)), ["hello"], "between two looks");
        hub.keep(|name| name == "a/two");
        assert!(hub.since(&mut told)[0].1.contains(r#""count":1"#));
    }

    #[test]
    fn stores_and_events_are_bounded() {
        let hub = Hub::new(Source::Operator, Duration::from_millis(500));
        (0..STORES_MAX + 5).for_each(|i| hub.publish(&format!("s-{i}"), &StoreStatus::default()));
        (0..2 * EVENTS_MAX as u64).for_each(|i| hub.happened("s-1", i, &"x".repeat(10_000)));
        hub.happened("nobody", 1, "x");
        let inner = hub.inner();
        assert_eq!((inner.stores.len(), inner.stores["s-1"].events.len()), (STORES_MAX, EVENTS_MAX));
        assert!(inner.stores["s-1"].events.iter().all(|event| event.message.len() < 1_000));
    }
}
