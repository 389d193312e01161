//! Build and apply: a store's objects are kept as they are wanted, pods are labelled, restarted, replaced. A task of its own, so that no failover waits
//! for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use trireme_crds::kubernetes::ReplicatedStore;
use trireme_planner::DesiredReplica;

use super::{Happening, Key, keep::Keeper, requests, until, voice::Note, wanted::Wanted};
use crate::{
    build::Groups,
    context::{Context, why},
};

/// Orders that may wait.
const ORDERS_MAX: usize = 64;
/// After something could not be applied it is tried again after this long, doubling up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What is to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Work {
    /// The store.
    pub wanted: Arc<Wanted>,
    /// The replicas that must exist, by group. A group that no turn was taken for yet is left as it is.
    pub groups: Groups,
    /// Regions that have left the store: what they had goes.
    pub gone: Vec<Gone>,
    /// What each pod's label says that it does.
    pub roles: BTreeMap<String, &'static str>,
}

/// A region that has left the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Its name.
    pub region: String,
    /// Its replicas' names.
    pub replicas: Vec<String>,
    /// Their volumes go, too.
    pub volumes: bool,
}

impl Work {
    /// All replicas that must exist.
    pub fn replicas(&self) -> impl Iterator<Item = &DesiredReplica> {
        self.groups.values().flatten()
    }
}

/// What is to be done once.
#[derive(Clone, Debug, PartialEq)]
enum Order {
    Restart { pod: String, only: Preconditions },
    Replace { pod: String, only: Option<Preconditions> },
    TakenUp(requests::Asked),
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What was done that people should know.
    pub notes: Vec<Note>,
    /// What is not as it is wanted, and why; empty where all is.
    pub trouble: Vec<String>,
}

/// The handle to the task; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Hands {
    work: watch::Sender<(u64, Option<Work>)>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Hands {
    pub fn start(context: Arc<Context>, key: Key, happenings: mpsc::Sender<Happening>) -> Hands {
        let (work, followed) = watch::channel((0, None));
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let doer = Doer { keeper: Keeper::new(Arc::clone(&context), key.clone()), context, key };
        Hands { work, orders, task: tokio::spawn(doer.run(followed, ordered, happenings)) }
    }

    /// What is to be from now on.
    pub fn work(&self, work: Work) {
        self.work.send_if_modified(|(_, before)| {
            let changed = before.as_ref() != Some(&work);
            if changed {
                *before = Some(work);
            }
            changed
        });
    }

    /// Something may have changed: look again.
    pub fn look(&self) {
        self.work.send_modify(|(looks, _)| *looks += 1);
    }

    /// Ends this very pod, gently.
    pub fn restart(&self, pod: &str, only: &Preconditions) {
        self.order(Order::Restart { pod: pod.to_owned(), only: only.clone() });
    }

    /// Gives up this pod and its volume.
    pub fn replace(&self, pod: &str, only: Option<&Preconditions>) {
        self.order(Order::Replace { pod: pod.to_owned(), only: only.cloned() });
    }

    /// Removes a person's request from the resource.
    pub fn taken_up(&self, asked: requests::Asked) {
        self.order(Order::TakenUp(asked));
    }

    fn order(&self, order: Order) {
        // What does not fit is asked for again: the planner and the resource both remember.
        let _ = self.orders.try_send(order);
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Doer {
    context: Arc<Context>,
    key: Key,
    keeper: Keeper,
}

impl Doer {
    async fn run(
        mut self,
        mut work: watch::Receiver<(u64, Option<Work>)>,
        mut orders: mpsc::Receiver<Order>,
        happenings: mpsc::Sender<Happening>,
    ) {
        let (mut retry, mut wake) = (RETRY_FIRST, None);
        loop {
            tokio::select! {
                changed = work.changed() => if changed.is_err() { return },
                order = orders.recv() => {
                    let Some(order) = order else { return };
                    self.order(&order).await;
                    continue;
                }
                () = until(wake) => {}
            }
            let Some(now) = work.borrow_and_update().1.clone() else { continue };
            let outcome = self.keeper.keep(&now).await;
            if outcome.trouble.is_empty() {
                (retry, wake) = (RETRY_FIRST, None);
            } else {
                wake = Some(Instant::now() + retry);
                retry = (retry * 2).min(RETRY_MAX);
            }
            // The receiver is only gone when everything ends.
            let _ = happenings.send(Happening::Provisioned(outcome)).await;
        }
    }

    async fn order(&self, order: &Order) {
        let done = match order {
            Order::Restart { pod, only } => self.delete_pod(pod, only.clone(), None).await,
            Order::Replace { pod, only } => self.replace(pod, only.clone()).await,
            Order::TakenUp(asked) => self.take_up(asked).await,
        };
        if let Err(error) = done
            && !overtaken(&error)
        {
            // It is ordered again while it is wanted.
            self.context.metrics.error("order");
            tracing::warn!(store = %self.key, ?order, error = why(&error), "could not be done");
        }
    }

    async fn delete_pod(&self, pod: &str, only: Preconditions, grace_s: Option<u32>) -> kube::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let params =
            DeleteParams { preconditions: Some(only), grace_period_seconds: grace_s, ..DeleteParams::default() };
        api.delete(pod, &params).await.map(drop)
    }

    /// The claim first: it stays until the pod is gone, and a new pod cannot take hold of one that is being deleted.
    async fn replace(&self, pod: &str, only: Option<Preconditions>) -> kube::Result<()> {
        let name = format!("data-{pod}");
        if let Some(claim) = self.context.cluster.claims.get(&self.key.namespace, &name) {
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
            let only_this = Preconditions { uid: claim.uid(), resource_version: None };
            let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
            match api.delete(&name, &params).await {
                Err(error) if !overtaken(&error) => return Err(error),
                _ => {}
            }
        }
        match only {
            // What becomes of it matters no more: its volume is given up.
            Some(only) => self.delete_pod(pod, Preconditions { resource_version: None, ..only }, Some(0)).await,
            None => Ok(()),
        }
    }

    async fn take_up(&self, asked: &requests::Asked) -> kube::Result<()> {
        let api: Api<ReplicatedStore> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let patch = json!({ "metadata": { "annotations": { asked.annotation: null } } });
        api.patch(&self.key.name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
    }
}

/// What was to be changed is not there any more, or is not what it was: somebody else was faster, and what is then is looked at anew.
pub(crate) fn overtaken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.is_conflict())
}
