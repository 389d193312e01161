//! Status and Events of one store, in their own time; and what metrics and the page show of it, which wait for no API server.
//!
//! What a person or a script acts on (conditions, leader, members, roles) is written at once; what only moves on (positions, lag, keys) with it, or every
//! [`MOVES_EVERY`] while it moves. A store that nobody writes to costs no request.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Resource as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use trireme_crds::{Condition, ConditionStatus, StoreStatus, kubernetes::ReplicatedStore};
use trireme_planner::Decision;

use super::{Key, until, wanted::Wanted};
use crate::{
    build::MANAGER,
    context::{Context, why},
    stores::is_there,
};

/// Events that may wait to be written; what does not fit is left out, and logged.
const NOTES_MAX: usize = 256;
/// How often what only moves on is written.
const MOVES_EVERY: Duration = Duration::from_secs(30);
/// After a status could not be written it is tried again after this long.
const RETRY: Duration = Duration::from_secs(2);
/// What stands for the leader's name where the mode has none.
const NO_LEADER: &str = "-";
/// Longest note of an Event, in bytes: the API server's limit is 1024.
const NOTE_BYTES_MAX: usize = 1_000;

/// Something to say as an Event of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    warning: bool,
    reason: String,
    text: String,
}

impl Note {
    /// Nothing to worry about.
    pub fn normal(reason: &str, text: String) -> Note {
        Note { warning: false, reason: reason.to_owned(), text }
    }

    /// Something to look at.
    pub fn warning(reason: &str, text: String) -> Note {
        Note { warning: true, reason: reason.to_owned(), text }
    }

    /// A decision: its kind is the reason.
    pub fn decision(decision: &Decision) -> Note {
        let kind = serde_json::to_value(decision).ok().and_then(|v| v["decision"].as_str().map(str::to_owned));
        let mut reason = kind.unwrap_or_else(|| "Decided".to_owned());
        if let Some(first) = reason.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let warning = matches!(
            decision,
            Decision::HandoverFailed { .. }
                | Decision::Refused { .. }
                | Decision::Rebuilt { .. }
                | Decision::BegunAnew { .. }
                | Decision::Left { given_up: Some(_), .. }
                | Decision::Chosen { may_have_lost: true, .. }
        );
        let text = match decision {
            // The reason says already that it waits.
            Decision::Waiting { what } => what.clone(),
            other => other.to_string(),
        };
        Note { warning, reason, text }
    }
}

/// The handle to the task; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Voice {
    newest: watch::Sender<Newest>,
    notes: mpsc::Sender<Note>,
    tasks: [JoinHandle<()>; 2],
}

/// What is to be said.
#[derive(Clone, Debug)]
struct Newest {
    wanted: Arc<Wanted>,
    status: Option<StoreStatus>,
    trouble: Vec<String>,
}

impl Voice {
    pub fn start(context: Arc<Context>, wanted: Arc<Wanted>) -> Voice {
        let (newest, followed) = watch::channel(Newest { wanted, status: None, trouble: Vec::new() });
        let (notes, noted) = mpsc::channel(NOTES_MAX);
        let tasks = [
            tokio::spawn(show(Arc::clone(&context), newest.subscribe())),
            tokio::spawn(speak(context, followed, noted)),
        ];
        Voice { newest, notes, tasks }
    }

    /// The resource has changed.
    pub fn wanted(&self, wanted: Arc<Wanted>) {
        self.newest.send_modify(|newest| newest.wanted = wanted);
    }

    /// How the store stands.
    pub fn status(&self, status: StoreStatus) {
        self.newest.send_if_modified(|newest| {
            let changed = newest.status.as_ref() != Some(&status);
            newest.status = Some(status);
            changed
        });
    }

    /// What could not be provisioned.
    pub fn provisioned(&self, trouble: Vec<String>) {
        self.newest.send_if_modified(|newest| {
            let changed = newest.trouble != trouble;
            newest.trouble = trouble;
            changed
        });
    }

    /// Says it as an Event.
    pub fn note(&self, note: Note) {
        if let Err(error) = self.notes.try_send(note) {
            tracing::warn!(%error, "too many Events at once: one was left out");
        }
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Newest {
    /// The status as it is told.
    fn told(&self) -> Option<StoreStatus> {
        self.status.clone().map(|status| with_trouble(steady(status), &self.trouble))
    }
}

/// Shows the newest, to those who ask this process.
async fn show(context: Arc<Context>, mut newest: watch::Receiver<Newest>) {
    while newest.changed().await.is_ok() {
        let newest = newest.borrow_and_update().clone();
        let key = newest.wanted.key();
        // What was said last of a store that is gone would be shown for ever.
        if let Some(status) = newest.told().filter(|_| is_there(&context, &key)) {
            context.metrics.store(&newest.wanted, &status);
            context.page.publish(&key.to_string(), &status);
        }
    }
}

async fn speak(context: Arc<Context>, mut newest: watch::Receiver<Newest>, mut notes: mpsc::Receiver<Note>) {
    let mut written: Option<StoreStatus> = None;
    let (mut due, mut last) = (None, Instant::now());
    loop {
        tokio::select! {
            note = notes.recv() => {
                let Some(note) = note else { return };
                let wanted = Arc::clone(&newest.borrow().wanted);
                say(&context, &wanted, note).await;
                continue;
            }
            changed = newest.changed() => if changed.is_err() { return },
            () = until(due) => {}
        }
        let newest = newest.borrow_and_update().clone();
        let Some(status) = newest.told() else { continue };
        let wanted = newest.wanted;
        if written.as_ref() == Some(&status) {
            due = None;
            continue;
        }
        let moved_only = written.as_ref().is_some_and(|before| significant(before) == significant(&status));
        if moved_only && last.elapsed() < MOVES_EVERY {
            due = Some(last + MOVES_EVERY);
            continue;
        }
        match write(&context, &wanted.key(), &status).await {
            Ok(()) => (written, last, due) = (Some(status), Instant::now(), None),
            Err(error) => {
                context.metrics.error("status");
                tracing::warn!(store = wanted.desired.store, error = why(&error), "the status could not be written");
                due = Some(Instant::now() + RETRY);
            }
        }
    }
}

/// Writes the whole status: what is not in it any more goes.
pub(crate) async fn write(context: &Context, store: &Key, status: &StoreStatus) -> kube::Result<()> {
    let api: Api<ReplicatedStore> = Api::namespaced(context.client.clone(), &store.namespace);
    let body = json!({
        "apiVersion": ReplicatedStore::api_version(&()),
        "kind": ReplicatedStore::kind(&()),
        "metadata": { "name": store.name },
        "status": status,
    });
    match api.patch_status(&store.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&body)).await {
        // It was deleted meanwhile: nobody wants to know.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

/// Writes an Event of its own for each: kube's recorder would count those of one reason as one, and keep the first one's words.
async fn say(context: &Context, wanted: &Wanted, note: Note) {
    let mut text = note.text;
    if text.len() > NOTE_BYTES_MAX {
        let cut = (0..=NOTE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push_str(" ...");
    }
    let event = Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", wanted.name)),
            namespace: Some(wanted.namespace.clone()),
            ..ObjectMeta::default()
        },
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        action: Some(note.reason.clone()),
        reason: Some(note.reason),
        note: Some(text),
        regarding: Some(ObjectReference {
            api_version: Some(ReplicatedStore::api_version(&()).into_owned()),
            kind: Some(ReplicatedStore::kind(&()).into_owned()),
            namespace: Some(wanted.namespace.clone()),
            name: Some(wanted.name.clone()),
            uid: Some(wanted.owner.uid.clone()),
            ..ObjectReference::default()
        }),
        event_time: Some(MicroTime(jiff::Timestamp::now())),
        reporting_controller: Some(MANAGER.to_owned()),
        reporting_instance: Some(context.identity.clone()),
        ..Event::default()
    };
    let api: Api<Event> = Api::namespaced(context.client.clone(), &wanted.namespace);
    if let Err(error) = api.create(&PostParams::default(), &event).await {
        context.metrics.error("event");
        tracing::warn!(store = wanted.desired.store, error = why(&error), "an Event could not be written");
    }
}

/// As it is shown: how long a replica has been silent is of interest where it cannot be reached; else it would change with every look. And an empty column
/// of `kubectl get` would look as if somebody should lead where nobody ever does.
fn steady(mut status: StoreStatus) -> StoreStatus {
    if status.groups.iter().any(|group| group.r.is_some()) {
        NO_LEADER.clone_into(&mut status.leader);
    }
    for replica in status.replicas.iter_mut().filter(|replica| replica.reachable) {
        replica.silent_ms = None;
    }
    status
}

/// What cannot be provisioned makes a store Degraded, and is named with the object to look at.
fn with_trouble(mut status: StoreStatus, trouble: &[String]) -> StoreStatus {
    if trouble.is_empty() {
        return status;
    }
    let what = trouble.join("; ");
    match status.conditions.iter_mut().find(|condition| condition.kind == "Degraded") {
        Some(condition) if condition.status == ConditionStatus::True => {
            condition.message = format!("{}; {what}", condition.message);
        }
        Some(condition) => {
            condition.status = ConditionStatus::True;
            condition.reason = "NotProvisioned".to_owned();
            condition.message = what;
        }
        None => status.conditions.push(Condition {
            kind: "Degraded".to_owned(),
            status: ConditionStatus::True,
            reason: "NotProvisioned".to_owned(),
            message: what,
            observed_generation: status.observed_generation,
            last_transition_time: crate::context::timestamp(),
        }),
    }
    status
}

/// A status without what only moves on.
fn significant(status: &StoreStatus) -> StoreStatus {
    let mut status = status.clone();
    // Whoever has to act on it is told by alerts.
    status.slo = None;
    for condition in &mut status.conditions {
        condition.last_transition_time.clear();
    }
    for feed in status.groups.iter_mut().flat_map(|group| &mut group.feeds) {
        (feed.lag_entries, feed.lag_bytes, feed.lag_ms) = (0, 0, 0);
    }
    for r in &mut status.replicas {
        (r.commit, r.applied, r.keys, r.conflicts) = (0, 0, 0, None);
        (r.lag_entries, r.lag_bytes, r.lag_ms, r.silent_ms, r.snapshot_slots) = (None, None, None, None, None);
        if let Some(peer) = &mut r.peer {
            (peer.received, peer.clock_offset_ms) = (Vec::new(), 0);
            (peer.slots_differing, peer.keys_repaired, peer.read_repairs, peer.repair_bytes) = (0, 0, 0, 0);
        }
        r.position.clear();
        r.digest.clear();
    }
    status
}
