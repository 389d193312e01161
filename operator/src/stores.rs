//! The stores that there are, each with tasks of its own, for as long as this operator is the one that acts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::{Resource as _, core::DeserializeGuard};
use tokio::sync::mpsc;
use trireme_crds::{Condition, ConditionStatus, StoreStatus, kubernetes::ReplicatedStore};

use crate::{
    cluster::{self, News},
    context::{Context, timestamp, why},
    store::{Happening, Key, Store, requests, voice, wanted::Wanted},
};

/// Runs every store until dropped.
pub(crate) async fn run(context: Arc<Context>, news: &mut mpsc::Receiver<News>) {
    context.cluster.filled().await;
    let mut stores = Stores { context: Arc::clone(&context), running: BTreeMap::new() };
    for store in context.cluster.stores.all() {
        if let Some(key) = cluster::key(&*store) {
            stores.resource(key);
        }
    }
    while let Some(one) = news.recv().await {
        match one {
            News::Resource(key) => stores.resource(key),
            News::Listed => {
                let gone = stores.running.keys().filter(|key| !is_there(&context, key)).cloned().collect::<Vec<_>>();
                gone.into_iter().for_each(|key| stores.resource(key));
                forget_gone(&context);
            }
            News::Belonging(key) => {
                if let Some(store) = stores.running.get(&key) {
                    store.tell(Happening::Changed);
                }
            }
        }
    }
}

/// Shows all stores as they were last written.
pub(crate) fn show_all(context: &Context) {
    forget_gone(context);
    let keys = context.cluster.stores.all().into_iter().filter_map(|store| cluster::key(&*store));
    keys.for_each(|key| show(context, &News::Resource(key)));
}

/// Whether there is a store of this name that is not being deleted.
pub(crate) fn is_there(context: &Context, key: &Key) -> bool {
    let cached = context.cluster.stores.get(&key.namespace, &key.name);
    cached.is_some_and(|store| store.meta().deletion_timestamp.is_none())
}

/// The page shows no store that is not there.
fn forget_gone(context: &Context) {
    let stores = context.cluster.stores.all();
    let there = |store: &&Arc<DeserializeGuard<ReplicatedStore>>| store.meta().deletion_timestamp.is_none();
    let names: BTreeSet<String> =
        stores.iter().filter(there).filter_map(|store| Some(cluster::key(&**store)?.to_string())).collect();
    context.page.keep(|name| names.contains(name));
}

/// Shows a store as it was last written, where it is that which has changed.
pub(crate) fn show(context: &Context, one: &News) {
    let key = match one {
        News::Resource(key) => key,
        News::Listed => return forget_gone(context),
        News::Belonging(_) => return,
    };
    let cached = context.cluster.stores.get(&key.namespace, &key.name);
    match cached.as_deref().map(|guarded| &guarded.0) {
        Some(Ok(store)) if store.metadata.deletion_timestamp.is_none() => {
            context.page.publish(&key.to_string(), &store.status.clone().unwrap_or_default());
        }
        // What it was before somebody wrote what nobody can make sense of.
        Some(Err(_)) => {}
        _ => context.page.forget(&key.to_string()),
    }
}

struct Stores {
    context: Arc<Context>,
    running: BTreeMap<Key, Store>,
}

impl Stores {
    /// A resource was made, changed or deleted: whatever it is now is what counts.
    fn resource(&mut self, key: Key) {
        let cached = self.context.cluster.stores.get(&key.namespace, &key.name);
        let Some(guarded) = cached.filter(|store| store.meta().deletion_timestamp.is_none()) else {
            // What it owned goes with it: the API server sees to that.
            if self.running.remove(&key).is_some() {
                tracing::info!(store = %key, "the store is deleted");
            }
            // Also of one that nobody took care of: it was shown by an operator that stood by.
            self.context.metrics.forget(&key);
            self.context.page.forget(&key.to_string());
            return;
        };
        let store = match guarded.as_ref() {
            DeserializeGuard(Ok(store)) => store,
            DeserializeGuard(Err(error)) => return self.invalid(&key, &error.error.to_string()),
        };
        match Wanted::parse(store, &self.context.operator) {
            Ok(wanted) => self.wanted(key, store, Arc::new(wanted)),
            Err(error) => self.invalid(&key, &error.to_string()),
        }
    }

    fn wanted(&mut self, key: Key, store: &ReplicatedStore, wanted: Arc<Wanted>) {
        let asked = requests::find(store.metadata.annotations.as_ref());
        let running = self.running.entry(key).or_insert_with_key(|key| {
            tracing::info!(store = %key, "the store is taken care of");
            Store::start(Arc::clone(&self.context), Arc::clone(&wanted))
        });
        if running.is_finished() {
            self.context.metrics.error("task");
            tracing::error!(store = wanted.desired.store, "its task has ended, which is a defect; it is started again");
            *running = Store::start(Arc::clone(&self.context), Arc::clone(&wanted));
        }
        running.tell(Happening::Wanted(wanted));
        if !asked.is_empty() {
            running.tell(Happening::Asked(asked));
        }
    }

    /// One that nobody can make sense of. A store that runs goes on as it was wanted last; the others are none of its business.
    fn invalid(&self, key: &Key, problem: &str) {
        self.context.metrics.error("invalid");
        tracing::warn!(store = %key, problem, "the resource cannot be used");
        let goes_on = match self.running.contains_key(key) {
            true => "; the store goes on as it was wanted before",
            false => "",
        };
        let status = StoreStatus {
            conditions: vec![Condition {
                kind: "Ready".to_owned(),
                status: ConditionStatus::Unknown,
                reason: "InvalidSpec".to_owned(),
                message: format!("{problem}{goes_on}"),
                observed_generation: 0,
                last_transition_time: timestamp(),
            }],
            ..StoreStatus::default()
        };
        let (context, key) = (Arc::clone(&self.context), key.clone());
        tokio::spawn(async move {
            if let Err(error) = voice::write(&context, &key, &status).await {
                tracing::warn!(store = %key, error = why(&error), "the status could not be written");
            }
        });
    }
}
