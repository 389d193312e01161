//! What the watches know: a copy of every object that matters, kept current, and whose store is told when one changes.
//!
//! A copy may be behind. Nothing that must not be wrong is decided by it: the record is written by compare-and-swap, objects are applied by the server,
//! pods are ended by their uid.

use std::{fmt::Debug, sync::Arc};

use futures::StreamExt as _;
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::StatefulSet,
        core::v1::{Node, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};
use trireme_crds::kubernetes::{ReplicatedStore, StoreTopology};

use crate::{
    build::{EDGES_KEY, MANAGER, SESSION_KEY, STORE, edges_name},
    metrics::Metrics,
    store::Key,
};

/// News that may wait to be told; a watch that is ahead of them waits.
const NEWS_MAX: usize = 4_096;

/// A store whose resource, or something that belongs to it, has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Its resource.
    Resource(Key),
    /// Something that belongs to it.
    Belonging(Key),
    /// All resources have been listed anew: what is not there any more went unseen.
    Listed,
}

/// Copies of one kind: one per namespace that is watched, or one for all of them.
#[derive(Clone)]
pub(crate) struct Cache<K: Resource<DynamicType = ()> + 'static>(Vec<Store<K>>);

impl<K: Resource<DynamicType = ()> + Clone + 'static> Cache<K> {
    /// The object of this name, if there is one; the namespace of what has none is empty.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let mut key = ObjectRef::<K>::new(name);
        if !namespace.is_empty() {
            key = key.within(namespace);
        }
        self.0.iter().find_map(|store| store.get(&key))
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.0.iter().flat_map(Store::state).collect()
    }

    /// Waits until each copy has been filled once.
    async fn filled(&self) {
        for store in &self.0 {
            // The writer is only gone when everything ends.
            let _ = store.wait_until_ready().await;
        }
    }
}

/// A copy of everything.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// Resources, also those that nobody can make sense of.
    pub stores: Cache<DeserializeGuard<ReplicatedStore>>,
    /// Records.
    pub topologies: Cache<StoreTopology>,
    /// Pods.
    pub pods: Cache<Pod>,
    /// StatefulSets.
    pub statefulsets: Cache<StatefulSet>,
    /// Volume claims.
    pub claims: Cache<PersistentVolumeClaim>,
    /// Services.
    pub services: Cache<Service>,
    /// Accounts.
    pub accounts: Cache<ServiceAccount>,
    /// Passwords' Secrets, without the passwords, and what the keys of edges are made from.
    pub secrets: Cache<Secret>,
    /// Budgets.
    pub budgets: Cache<PodDisruptionBudget>,
    /// Policies.
    pub policies: Cache<NetworkPolicy>,
    /// Machines; `None` where the operator is limited to namespaces and may not see them.
    pub nodes: Option<Cache<Node>>,
}

/// Starts the watches. They end with the set of tasks.
pub(crate) fn watch(
    client: &Client,
    namespaces: &[String],
    metrics: &Arc<Metrics>,
) -> (Cluster, mpsc::Receiver<News>, JoinSet<()>) {
    let (news, told) = mpsc::channel(NEWS_MAX);
    let mut watcher = Watcher {
        client: client.clone(),
        namespaces: namespaces.to_vec(),
        metrics: Arc::clone(metrics),
        news,
        tasks: JoinSet::new(),
    };
    let everywhere = namespaces.is_empty();
    let ours = watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}"));
    let any = watcher::Config::default();
    let resource = |store: &DeserializeGuard<ReplicatedStore>| key(store).map(News::Resource);
    let cluster = Cluster {
        stores: watcher.namespaced(&any, resource, |_| {}),
        topologies: watcher.namespaced(&ours, belonging, |_| {}),
        pods: watcher.namespaced(&ours, belonging, |pod: &mut Pod| {
            // What is never looked at is not kept: a pod is mostly its spec.
            let node = pod.spec.take().and_then(|spec| spec.node_name);
            pod.spec = Some(k8s_openapi::api::core::v1::PodSpec { node_name: node, ..Default::default() });
        }),
        statefulsets: watcher.namespaced(&ours, belonging, |_| {}),
        claims: watcher.namespaced(&ours, belonging, |_| {}),
        services: watcher.namespaced(&ours, belonging, |_| {}),
        accounts: watcher.namespaced(&ours, belonging, |_| {}),
        secrets: watcher.namespaced(&ours, belonging, |secret: &mut Secret| {
            // A password is the replicas' business and its users'; what edges are known by is made here.
            let key = |key: &String, value: &mut ByteString| {
                if key == SESSION_KEY {
                    value.0.fill(0); // How long it is is enough to say that it is one.
                }
                key == EDGES_KEY || key == SESSION_KEY
            };
            secret.data.iter_mut().for_each(|data| data.retain(key));
        }),
        budgets: watcher.namespaced(&ours, belonging, |_| {}),
        policies: watcher.namespaced(&ours, belonging, |_| {}),
        nodes: everywhere.then(|| watcher.nodes(&any)),
    };
    (cluster, told, watcher.tasks)
}

impl Cluster {
    /// What the keys of a store's edges are made from, where it is known.
    pub fn edges_secret(&self, store: &Key) -> Option<Vec<u8>> {
        let secret = self.secrets.get(&store.namespace, &edges_name(&store.name))?;
        secret.data.as_ref()?.get(EDGES_KEY).map(|value| value.0.clone())
    }

    /// Waits until everything has been seen once.
    pub async fn filled(&self) {
        self.stores.filled().await;
        self.topologies.filled().await;
        self.pods.filled().await;
        self.statefulsets.filled().await;
        self.claims.filled().await;
        self.services.filled().await;
        self.accounts.filled().await;
        self.secrets.filled().await;
        self.budgets.filled().await;
        self.policies.filled().await;
    }
}

/// Namespace and name.
pub(crate) fn key<K: Resource<DynamicType = ()>>(object: &K) -> Option<Key> {
    Some(Key { namespace: object.namespace()?, name: object.name_any() })
}

/// The store that an object's label names.
fn belonging<K: Resource<DynamicType = ()>>(object: &K) -> Option<News> {
    let name = object.labels().get(STORE)?.clone();
    Some(News::Belonging(Key { namespace: object.namespace()?, name }))
}

struct Watcher {
    client: Client,
    namespaces: Vec<String>,
    metrics: Arc<Metrics>,
    news: mpsc::Sender<News>,
    tasks: JoinSet<()>,
}

impl Watcher {
    /// Watches a kind in all namespaces that are wanted.
    fn namespaced<K>(&mut self, config: &watcher::Config, about: fn(&K) -> Option<News>, slim: fn(&mut K)) -> Cache<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let apis: Vec<Api<K>> = match self.namespaces.as_slice() {
            [] => vec![Api::all(self.client.clone())],
            some => some.iter().map(|namespace| Api::namespaced(self.client.clone(), namespace)).collect(),
        };
        Cache(apis.into_iter().map(|api| self.start(api, config.clone(), about, slim)).collect())
    }

    fn nodes(&mut self, config: &watcher::Config) -> Cache<Node> {
        let slim = |node: &mut Node| {
            node.spec = None;
            let conditions = node.status.take().and_then(|status| status.conditions);
            node.status = Some(k8s_openapi::api::core::v1::NodeStatus { conditions, ..Default::default() });
        };
        let api = Api::all(self.client.clone());
        Cache(vec![self.start(api, config.clone(), |_: &Node| None, slim)])
    }

    fn start<K>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        about: fn(&K) -> Option<News>,
        slim: fn(&mut K),
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (store, writer) = reflector::store();
        let (metrics, news) = (Arc::clone(&self.metrics), self.news.clone());
        self.tasks.spawn(follow(api, config, writer, metrics, news, about, slim));
        store
    }
}

/// Keeps one copy current for ever. A watch that fails is begun again, ever more slowly.
async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
    metrics: Arc<Metrics>,
    news: mpsc::Sender<News>,
    about: fn(&K) -> Option<News>,
    slim: fn(&mut K),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let events = watcher(api, config).default_backoff().modify(move |object| {
        object.managed_fields_mut().clear();
        slim(object);
    });
    let mut events = std::pin::pin!(events.reflect(writer));
    while let Some(event) = events.next().await {
        let told = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object) | watcher::Event::InitApply(object)) => {
                about(&object)
            }
            Ok(watcher::Event::Init) => None,
            Ok(watcher::Event::InitDone) => Some(News::Listed),
            Err(error) => {
                metrics.error("watch");
                tracing::warn!(kind = %K::kind(&()), %error, "a watch failed; it is begun again");
                None
            }
        };
        if let Some(one) = told
            && news.send(one).await.is_err()
        {
            return;
        }
    }
}
