//! One look at everything that a store owns: what is missing is made, what differs is put back, what is in the way is named.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trireme_crds::quantity::Bytes;
use trireme_planner::DesiredReplica;

use super::{
    Key,
    apply::{Applier, ApplyError, Change, owned},
    hands::{Gone, Outcome, Work, overtaken},
    pods,
    voice::Note,
    wanted::Auth,
};
use crate::{
    build::{self, EDGES_KEY, MANAGER, PASSWORD_KEY, REGION, ROLE, SESSION_KEY, STORE},
    context::{Context, password, why},
};

/// Keeps what one store owns.
pub(crate) struct Keeper {
    context: Arc<Context>,
    key: Key,
    applier: Applier,
    /// The PodMonitor as it was last applied: its kind is not watched, since it need not exist.
    monitor: Option<Value>,
}

/// What can be deleted here: objects in a namespace.
trait Owned:
    kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
}

impl<K> Owned for K where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
}

impl Keeper {
    pub fn new(context: Arc<Context>, key: Key) -> Keeper {
        Keeper { context, key, applier: Applier::default(), monitor: None }
    }

    fn api<K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.context.client.clone(), &self.key.namespace)
    }

    /// Makes everything as it is wanted, as far as that is possible: one object that cannot be keeps no other from being.
    pub async fn keep(&mut self, work: &Work) -> Outcome {
        let mut outcome = Outcome::default();
        let build::Objects { mut statefulsets, services, account, secret, session, edges, budgets, policy, monitor } =
            build::objects(&work.wanted, &work.groups);
        let owner = work.wanted.owner.uid.clone();
        let (context, namespace) = (Arc::clone(&self.context), self.key.namespace.clone());
        macro_rules! keep {
            ($cache:ident, $object:expr) => {{
                let cached = context.cluster.$cache.get(&namespace, &$object.name_any());
                let api = self.api();
                let applied = self.applier.apply(&api, cached.as_deref(), $object, &owner).await;
                outcome.take(&context, applied, $object);
            }};
        }
        keep!(accounts, &account);
        match &secret {
            Some(secret) => self.secret(secret, PASSWORD_KEY, &owner, &mut outcome).await,
            None => self.named_secret(work, &mut outcome).await,
        }
        self.secret(&session, SESSION_KEY, &owner, &mut outcome).await;
        self.session_secret(&session, &mut outcome).await;
        match &edges {
            Some(secret) => self.secret(secret, EDGES_KEY, &owner, &mut outcome).await,
            None => self.no_door(&owner, &mut outcome).await,
        }
        // What a region has for itself bears its name as a label.
        let left = |labels: &BTreeMap<String, String>| {
            labels.get(REGION).is_some_and(|region| work.gone.iter().any(|gone| gone.region == *region))
        };
        for service in services.iter().filter(|service| !left(service.labels())) {
            keep!(services, service);
        }
        match &policy {
            Some(policy) => keep!(policies, policy),
            None => self.no_policy(&owner, &mut outcome).await,
        }
        for budget in budgets.iter().filter(|budget| !left(budget.labels())) {
            keep!(budgets, budget);
        }
        self.no_other_budgets(work, &owner, &mut outcome).await;
        self.monitor(monitor, &mut outcome).await;
        // Last: a pod that starts finds everything that it needs.
        for set in &mut statefulsets {
            // A set's claim templates are for life; what they said first is kept, and claims are grown one by one.
            let live = context.cluster.statefulsets.get(&namespace, &set.name_any());
            if let (Some(spec), Some(before)) = (&mut set.spec, live.as_ref().and_then(|set| set.spec.as_ref())) {
                spec.volume_claim_templates.clone_from(&before.volume_claim_templates);
            }
            keep!(statefulsets, &*set);
        }
        for gone in &work.gone {
            self.remove(work, gone, &owner, &mut outcome).await;
        }
        self.grow(work, &mut outcome).await;
        self.label(work, &mut outcome).await;
        for replica in work.replicas() {
            let pod = context.cluster.pods.get(&namespace, &replica.name);
            let claim = context.cluster.claims.get(&namespace, &format!("data-{}", replica.name));
            outcome.trouble.extend(pod.and_then(|pod| pods::trouble(&pod, claim.as_deref())));
        }
        outcome
    }

    /// A password, or what the keys of edges are made from or tokens sealed with, is made once. A Secret that is there is never written again: somebody may have put another one into it.
    async fn secret(&mut self, secret: &Secret, key: &str, owner: &str, outcome: &mut Outcome) {
        let name = secret.name_any();
        if let Some(there) = self.context.cluster.secrets.get(&self.key.namespace, &name) {
            outcome.trouble.extend(owned(&*there, owner).err().map(|error| error.to_string()));
            return;
        }
        match password() {
            Ok(password) => {
                let made = build::with_value(secret, key, &password);
                let applied = self.applier.make(&self.api(), &made, owner).await;
                let applied = applied.map(|made| made.map_or(Change::None, |_| Change::Created));
                outcome.take(&self.context, applied, secret);
            }
            Err(error) => outcome.trouble.push(format!("no password could be made for Secret {name}: {error}")),
        }
    }

    /// Somebody else may have made the Secret with the session key, or put another one into it: replicas then go on without one, and warn.
    async fn session_secret(&self, session: &Secret, outcome: &mut Outcome) {
        let name = session.name_any();
        let there = match self.context.cluster.secrets.get(&self.key.namespace, &name) {
            Some(ours) => Some(Secret::clone(&ours)),
            // It is looked up only where there is trouble: else what was made is in the watch in a moment.
            None if outcome.trouble.is_empty() => None,
            None => self.api::<Secret>().get_opt(&name).await.unwrap_or_default(),
        };
        outcome.trouble.extend(there.as_ref().and_then(build::no_session_key));
    }

    /// The Secret that the user names is the user's. A pod waits for it without a word that is seen from here, so while one does not run it is looked for.
    async fn named_secret(&self, work: &Work, outcome: &mut Outcome) {
        let Auth::Named(name) = &work.wanted.auth else { return };
        let pod = |replica: &DesiredReplica| self.context.cluster.pods.get(&self.key.namespace, &replica.name);
        if work.replicas().all(|replica| pod(replica).is_some_and(|pod| !pods::stopped(&pod))) {
            return;
        }
        let what = "spec.auth.secretName names it, and replicas that start wait for its key password";
        match self.api::<Secret>().get_opt(name).await {
            Ok(Some(secret)) if secret.data.iter().flatten().any(|(key, _)| key == "password") => {}
            Ok(Some(_)) => outcome.trouble.push(format!("Secret {name} has no key password: {what}")),
            Ok(None) => outcome.trouble.push(format!("Secret {name} is missing: {what}")),
            Err(error) => outcome.trouble.push(format!("Secret {name} could not be looked at: {}", why(&error))),
        }
    }

    async fn no_policy(&self, owner: &str, outcome: &mut Outcome) {
        let there = self.context.cluster.policies.get(&self.key.namespace, &self.key.name);
        self.unwanted(there, owner, outcome).await;
    }

    /// Budgets that a store had in another mode.
    async fn no_other_budgets(&self, work: &Work, owner: &str, outcome: &mut Outcome) {
        for name in build::superseded_budgets(&work.wanted, &work.groups) {
            let there = self.context.cluster.budgets.get(&self.key.namespace, &name);
            self.unwanted(there, owner, outcome).await;
        }
    }

    /// The Service that edges come by goes with the last of them; the Secret stays, as the next ones' keys are made from it.
    async fn no_door(&self, owner: &str, outcome: &mut Outcome) {
        let there = self.context.cluster.services.get(&self.key.namespace, &build::edges_name(&self.key.name));
        self.unwanted(there, owner, outcome).await;
    }

    /// Deletes what is not wanted any more, if it is there and the store's own.
    async fn unwanted<K: Owned>(&self, there: Option<Arc<K>>, owner: &str, outcome: &mut Outcome) {
        if let Some(there) = there.filter(|there| owned(&**there, owner).is_ok()) {
            self.delete::<K>(&there.name_any(), "is not wanted, and", outcome).await;
        }
    }

    /// Deletes an object; `what` stands behind its name where that cannot be done.
    async fn delete<K: Owned>(&self, name: &str, what: &str, outcome: &mut Outcome) {
        match self.api::<K>().delete(name, &DeleteParams::default()).await {
            Err(error) if !overtaken(&error) => {
                let kind = K::kind(&());
                outcome.trouble.push(format!("{kind} {name} {what} could not be deleted: {}", why(&error)));
            }
            _ => {}
        }
    }

    /// What a region has for itself that has left the store: what somebody else owns stays.
    async fn remove(&self, work: &Work, gone: &Gone, owner: &str, outcome: &mut Outcome) {
        let (cluster, namespace) = (&self.context.cluster, &self.key.namespace);
        let name = build::regional_name(&work.wanted, &gone.region);
        macro_rules! remove {
            ($cache:ident, $kind:ty, $name:expr, $ours:expr) => {{
                let there = cluster.$cache.get(namespace, $name);
                let there = there.filter(|there| there.meta().deletion_timestamp.is_none());
                if there.is_some_and(|there| $ours(&there)) {
                    self.delete::<$kind>($name, "of a region that has left", outcome).await;
                }
            }};
        }
        let set = gone.replicas.first().map_or(name.as_str(), |replica| build::set_of(replica));
        remove!(statefulsets, StatefulSet, set, |there: &StatefulSet| owned(there, owner).is_ok());
        remove!(budgets, PodDisruptionBudget, &name, |there: &PodDisruptionBudget| owned(there, owner).is_ok());
        for suffix in ["rw", "ro", "r"] {
            remove!(services, Service, &format!("{name}-{suffix}"), |there: &Service| owned(there, owner).is_ok());
        }
        for replica in gone.replicas.iter().filter(|_| gone.volumes) {
            let ours = |there: &PersistentVolumeClaim| there.labels().get(STORE) == Some(&self.key.name);
            remove!(claims, PersistentVolumeClaim, &format!("data-{replica}"), ours);
        }
    }

    /// Prometheus' operator may not be there: then that is said, and nothing else suffers.
    async fn monitor(&mut self, monitor: Option<Value>, outcome: &mut Outcome) {
        if monitor == self.monitor {
            return;
        }
        let name = &self.key.name;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", "PodMonitor"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.client.clone(), &self.key.namespace, &kind);
        let done = match &monitor {
            Some(monitor) => {
                api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(monitor)).await.map(drop)
            }
            None => api.delete(name, &DeleteParams::default()).await.map(drop),
        };
        match done {
            Err(error) if !overtaken(&error) || monitor.is_some() => {
                outcome.trouble.push(format!("PodMonitor {name} could not be applied: {}", why(&error)));
            }
            _ => self.monitor = monitor,
        }
    }

    /// Volumes grow one by one, where their class allows it; they never shrink.
    async fn grow(&self, work: &Work, outcome: &mut Outcome) {
        let size = &work.wanted.storage_size;
        let bytes = |text: &str| text.parse::<Bytes>().ok().map(|bytes| bytes.0);
        for replica in work.replicas() {
            let name = format!("data-{}", replica.name);
            let Some(claim) = self.context.cluster.claims.get(&self.key.namespace, &name) else { continue };
            let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
            let now = requests.and_then(|requests| bytes(&requests.get("storage")?.0));
            if now.is_none() || now >= bytes(size) {
                continue;
            }
            let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
            let api = self.api::<PersistentVolumeClaim>();
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => outcome.notes.push(Note::normal("VolumeGrows", format!("{name} grows to {size}"))),
                Err(error) => {
                    outcome
                        .trouble
                        .push(format!("PersistentVolumeClaim {name} could not grow to {size}: {}", why(&error)));
                }
            }
        }
    }

    /// Pods say what their replicas do, and in which region, where they were made before one was named: Services and budgets choose by it.
    async fn label(&self, work: &Work, outcome: &mut Outcome) {
        for (name, role) in &work.roles {
            let Some(pod) = self.context.cluster.pods.get(&self.key.namespace, name) else { continue };
            let region = work.replicas().find(|replica| replica.name == *name).map_or("", |replica| &replica.region);
            let says =
                |label: &str, value: &str| value.is_empty() || pod.labels().get(label).is_some_and(|l| l == value);
            let ours = pod.labels().get(STORE) == Some(&self.key.name);
            if !ours || (says(ROLE, role) && says(REGION, region)) {
                continue;
            }
            let labels = [(ROLE, *role), (REGION, region)].into_iter().filter(|(_, value)| !value.is_empty());
            let labels: BTreeMap<&str, &str> = labels.collect();
            let patch = json!({ "metadata": { "labels": labels, "uid": pod.uid() } });
            match self.api::<Pod>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Err(error) if !overtaken(&error) => {
                    outcome.trouble.push(format!("pod {name} could not be labelled {role}: {}", why(&error)));
                }
                _ => {}
            }
        }
    }
}

impl Outcome {
    fn take<K>(&mut self, context: &Context, applied: Result<Change, ApplyError>, object: &K)
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let what = || format!("{} {}", K::kind(&()), object.name_any());
        let note = match applied {
            Ok(Change::None | Change::Updated) => return,
            Ok(Change::Created) => Note::normal("Provisioned", format!("{} was made", what())),
            Ok(Change::Restored) => {
                Note::warning("Restored", format!("{} had been deleted, and was made again", what()))
            }
            Ok(Change::PutBack) => {
                Note::warning("PutBack", format!("{} had been edited, and was put back as the store wants it", what()))
            }
            Err(error) => {
                context.metrics.error("apply");
                return self.trouble.push(error.to_string());
            }
        };
        self.notes.push(note);
    }
}
