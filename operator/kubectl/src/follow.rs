//! A request on its way: its annotation is taken up, decisions come as Events, the outcome as `.status.request`.

use std::{collections::HashSet, pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Event;
use kube::api::{DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};
use trireme_cli::{Answer, Failure, Request};
use trireme_crds::{
    StoreStatus,
    status::{Asked, Outcome, RequestStatus},
};

use crate::{
    cluster::Cluster,
    events,
    object::{self, Object},
};

/// Longest wait for what was asked for.
const FOLLOW_MAX: Duration = Duration::from_secs(60);
/// Longest wait, once the outcome is known, for the Events that led to it.
const EVENTS_LATE_MAX: Duration = Duration::from_millis(500);
/// Wait before a watch that has ended is begun again.
const WATCH_AGAIN: Duration = Duration::from_millis(500);
/// Whose fields the annotations are.
pub const MANAGER: &str = "kubectl-trireme";

type Watch<K> = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<K>>>>>;

/// A request that was made.
pub struct Following {
    cluster: Cluster,
    store: String,
    request: Request,
    /// The store before it was made.
    before: StoreStatus,
    stores: Watch<DynamicObject>,
    events: Option<Watch<Event>>,
    /// Versions of Events that were there before, or were told already.
    told: HashSet<String>,
    taken_up: bool,
    outcome: Option<Answer>,
    deadline: Instant,
}

/// The annotation that asks for it, and its value.
fn annotation(request: &Request) -> (&'static str, &str) {
    match request {
        Request::Switchover { to } => ("trireme.dev/switchover", to.as_deref().unwrap_or_default()),
        Request::Promote { replica, force: false } => ("trireme.dev/promote", replica),
        Request::Promote { replica, force: true } => ("trireme.dev/promote-force", replica),
    }
}

/// Sets or removes an annotation of a store.
///
/// # Errors
/// Where the API server does not answer, or refuses.
pub async fn annotate(cluster: &Cluster, store: &str, name: &str, value: Option<&str>) -> Result<Object, Failure> {
    let patch = json!({ "metadata": { "annotations": { name: value } } });
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patched = object::api(cluster, Some(&cluster.namespace)).patch(store, &parameters, &Patch::Merge(patch)).await;
    let object = patched.map_err(|error| cluster.failure(&format!("annotate the store {store}"), &error))?;
    Ok(object.into())
}

impl Following {
    /// Makes a request of a store that stands as `before`.
    ///
    /// # Errors
    /// Where the API server does not answer, or refuses.
    pub async fn begin(
        cluster: &Cluster,
        store: &str,
        request: &Request,
        before: StoreStatus,
    ) -> Result<Following, Failure> {
        // Whoever may not see Events is told the outcome alone.
        let (told, events) = match events::list(cluster, store).await {
            Ok(list) => (
                list.into_iter().filter_map(|e| e.metadata.resource_version).collect(),
                watch_events(cluster, store).await,
            ),
            Err(_) => (HashSet::new(), None),
        };
        let (name, value) = annotation(request);
        let asked = annotate(cluster, store, name, Some(value)).await?;
        Ok(Following {
            cluster: cluster.clone(),
            store: store.to_owned(),
            request: request.clone(),
            before,
            stores: watch_store(cluster, store, asked.version()).await?,
            events,
            told,
            taken_up: false,
            outcome: None,
            deadline: Instant::now() + FOLLOW_MAX,
        })
    }

    /// What comes of it next.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub async fn next(&mut self) -> Result<Answer, Failure> {
        loop {
            let events = async {
                match &mut self.events {
                    Some(events) => events.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                event = events => match event {
                    Some(Ok(WatchEvent::Added(event) | WatchEvent::Modified(event))) => {
                        if let Some(answer) = self.event(&event) {
                            return Ok(answer);
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => {
                        sleep(WATCH_AGAIN).await;
                        self.events = watch_events(&self.cluster, &self.store).await;
                    }
                },
                store = self.stores.next(), if self.outcome.is_none() => match store {
                    Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => self.look(&object.into())?,
                    Some(Ok(WatchEvent::Deleted(_))) => return Ok(Answer::Refused(format!("{} was deleted", self.store))),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => {
                        sleep(WATCH_AGAIN).await;
                        let object = object::get(&self.cluster, &self.store).await?;
                        self.stores = watch_store(&self.cluster, &self.store, object.version()).await?;
                        self.look(&object)?;
                    }
                },
                () = sleep_until(self.deadline) => return match self.outcome.take() {
                    Some(outcome) => Ok(outcome),
                    None => self.give_up().await,
                },
            }
        }
    }

    fn event(&mut self, event: &Event) -> Option<Answer> {
        let version = event.metadata.resource_version.clone().unwrap_or_default();
        if !self.told.insert(version) {
            return None;
        }
        if events::refuses(event) && self.outcome.is_none() {
            self.end(Answer::Refused(event.message.clone().unwrap_or_default()));
            return None;
        }
        Some(Answer::Happened(events::happened(event)))
    }

    /// Looks at the store for the outcome.
    fn look(&mut self, object: &Object) -> Result<(), Failure> {
        let status = object.status()?;
        let (name, _) = annotation(&self.request);
        let waits = object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(name));
        self.taken_up |= !waits;
        if let Some(answer) = self.outcome_in(&status) {
            self.end(answer);
        }
        Ok(())
    }

    fn outcome_in(&self, status: &StoreStatus) -> Option<Answer> {
        if let Some(said) = status.request.as_ref().filter(|said| self.is_mine(said)) {
            let words = |otherwise: String| if said.message.is_empty() { otherwise } else { said.message.clone() };
            return match said.outcome {
                Outcome::Pending => None,
                Outcome::Done => Some(Answer::Done(words(format!("{} leads", said.replica)))),
                Outcome::Refused => Some(Answer::Refused(words("it was refused".to_owned()))),
            };
        }
        // An operator that says nothing of requests: the leader itself is the answer.
        let new = self.taken_up.then(|| new_leader(&self.request, &self.before, status))?;
        new.map(|leader| Answer::Done(format!("{leader} leads")))
    }

    fn is_mine(&self, said: &RequestStatus) -> bool {
        let (asked, wanted) = match &self.request {
            Request::Switchover { to } => (Asked::Switchover, to.as_ref()),
            Request::Promote { replica, force: false } => (Asked::Promote, Some(replica)),
            Request::Promote { replica, force: true } => (Asked::PromoteForce, Some(replica)),
        };
        self.before.request.as_ref() != Some(said)
            && said.asked == asked
            && wanted.is_none_or(|wanted| *wanted == said.replica)
    }

    /// The outcome is known: the Events before it have a moment to arrive.
    fn end(&mut self, outcome: Answer) {
        self.outcome = Some(outcome);
        let wait = if self.events.is_some() { EVENTS_LATE_MAX } else { Duration::ZERO };
        self.deadline = Instant::now() + wait;
    }

    /// Nothing came of it in time. A request that nobody took up is withdrawn: it must not come true hours later.
    async fn give_up(&mut self) -> Result<Answer, Failure> {
        let (seconds, store) = (FOLLOW_MAX.as_secs(), &self.store);
        if self.taken_up {
            let see = format!("see `kubectl trireme status {store}`");
            return Ok(Answer::Refused(format!("it is not done after {seconds} s; it may still come to it: {see}")));
        }
        let (name, _) = annotation(&self.request);
        annotate(&self.cluster, store, name, None).await?;
        Ok(Answer::Refused(format!(
            "no operator took the request up within {seconds} s, and it was withdrawn: is trireme-operator running?"
        )))
    }
}

/// The leader that a request has made, if it has: where each region has one, in the region of the replica that it names.
fn new_leader(request: &Request, before: &StoreStatus, now: &StoreStatus) -> Option<String> {
    let wanted = match request {
        Request::Promote { replica, .. } | Request::Switchover { to: Some(replica) } => Some(replica),
        Request::Switchover { to: None } => None,
    };
    let mut serving = now.groups.iter().filter(|group| group.serving);
    let group = serving.find(|group| wanted.is_none_or(|wanted| *wanted == group.leader))?;
    let earlier = before.groups.iter().find(|earlier| earlier.group == group.group && earlier.serving);
    let is_new = earlier
        .is_none_or(|earlier| earlier.epoch != group.epoch && (wanted.is_some() || earlier.leader != group.leader));
    is_new.then(|| group.leader.clone())
}

/// The store whenever it changes after this version: one from before the request would look as if that had been taken up.
async fn watch_store(cluster: &Cluster, store: &str, version: &str) -> Result<Watch<DynamicObject>, Failure> {
    let wanted = WatchParams::default().fields(&format!("metadata.name={store}"));
    match object::api(cluster, Some(&cluster.namespace)).watch(&wanted, version).await {
        Ok(stream) => Ok(stream.boxed_local()),
        Err(error) => Err(cluster.failure(&format!("watch the store {store}"), &error)),
    }
}

/// The store's Events, those that there are first; nothing where they cannot be seen.
async fn watch_events(cluster: &Cluster, store: &str) -> Option<Watch<Event>> {
    let stream = events::api(cluster).watch(&events::watched(store), "0").await.ok()?;
    Some(stream.boxed_local())
}

#[cfg(test)]
mod tests {
    use trireme_crds::status::GroupStatus;

    use super::*;

    #[test]
    fn the_region_of_the_replica_that_is_named_counts() {
        let group = |group: u32, leader: &str, epoch: &str| GroupStatus {
            group,
            leader: leader.to_owned(),
            epoch: epoch.to_owned(),
            serving: true,
            ..GroupStatus::default()
        };
        let status = |eu: GroupStatus, us: GroupStatus| StoreStatus { groups: vec![eu, us], ..StoreStatus::default() };
        let before = status(group(1, "s-eu-0", "3"), group(2, "s-us-0", "3"));
        let to = |name: &str| Request::Switchover { to: Some(name.to_owned()) };
        let after = status(group(1, "s-eu-0", "4"), group(2, "s-us-1", "4"));
        assert_eq!(new_leader(&to("s-us-1"), &before, &before), None);
        assert_eq!(new_leader(&to("s-us-1"), &before, &after), Some("s-us-1".to_owned()));
        assert_eq!(new_leader(&to("s-eu-1"), &before, &after), None);
        // Where there is one leader, whoever it is after a hand-over without a name.
        let one =
            |leader: &str, epoch: &str| StoreStatus { groups: vec![group(0, leader, epoch)], ..StoreStatus::default() };
        let any = Request::Switchover { to: None };
        assert_eq!(new_leader(&any, &one("s-0", "3"), &one("s-0", "4")), None);
        assert_eq!(new_leader(&any, &one("s-0", "3"), &one("s-1", "4")), Some("s-1".to_owned()));
    }
}
