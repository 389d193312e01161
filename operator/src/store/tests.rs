//! The suite of every backend, against the API server that KUBECONFIG names: it must know the CRDs. Part of the tests on a cluster.

#![allow(clippy::unwrap_used)] // Helpers of tests: clippy's exception knows only functions that are tests themselves.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};
use trireme_crds::kubernetes::ReplicatedStore;
use trireme_page::{Hub, Source};
use trireme_planner::{Backend as _, RecordError, conformance};
use trireme_proto::{
    Topology,
    topology::{Config, Mode, Settings},
};

use super::{
    wanted::{Operator, Wanted},
    world::{InGroup, World},
};
use crate::{
    cluster::{self, News},
    context::{Context, random_u64},
    metrics::Metrics,
};

fn operator() -> Operator {
    Operator { node_image: "none".to_owned(), namespace: "none".to_owned() }
}

/// A backend of the store, and what must be kept for it to see.
async fn world(client: &Client, boot: u64, wanted: &Arc<Wanted>) -> (World, JoinSet<()>, mpsc::Receiver<News>) {
    let metrics = Arc::new(Metrics::default());
    let (cluster, news, watches) = cluster::watch(client, std::slice::from_ref(&wanted.namespace), &metrics);
    cluster.filled().await;
    let context = Context {
        client: client.clone(),
        cluster,
        identity: "conformance".to_owned(),
        metrics,
        page: Arc::new(Hub::new(Source::StandsBy, Duration::from_secs(1))),
        boot,
        operator: operator(),
    };
    let (happenings, _happened) = mpsc::channel(64);
    (World::new(Arc::new(context), Arc::clone(wanted), happenings), watches, news)
}

/// A namespace of its own, with a store of this spec. It is paused: an operator of the cluster, if there is one, leaves it alone.
async fn store(client: &Client, spec: serde_json::Value) -> Wanted {
    let name = format!("conformance-{:x}", random_u64().unwrap());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = Namespace {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let store: ReplicatedStore = serde_json::from_value(json!({
        "apiVersion": "trireme.dev/v1alpha1",
        "kind": "ReplicatedStore",
        "metadata": { "name": "orders", "annotations": { "trireme.dev/paused": "true" } },
        "spec": spec,
    }))
    .unwrap();
    let api: Api<ReplicatedStore> = Api::namespaced(client.clone(), &name);
    let store = api.create(&PostParams::default(), &store).await.unwrap();
    assert_eq!(store.name_any(), "orders");
    Wanted::parse(&store, &operator()).unwrap()
}

async fn end(client: Client, namespace: &str) {
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(namespace, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn kubernetes_does_what_every_backend_must_do() {
    let client = Client::try_default().await.unwrap();
    let mut wanted = store(&client, json!({ "mode": "SingleLeader" })).await;
    // The suite's records name this store.
    wanted.desired.store = "conformance".to_owned();
    let wanted = Arc::new(wanted);
    let (mut one, _watches, _news) = world(&client, 1, &wanted).await;
    let (mut other, _others, _their_news) = world(&client, 2, &wanted).await;
    let mut here = InGroup { world: &mut one, group: 0 };
    let mut there = InGroup { world: &mut other, group: 0 };
    let outcome =
        conformance::suite(&mut here, &mut there, async || tokio::time::sleep(Duration::from_millis(20)).await).await;
    end(client, &wanted.namespace).await;
    outcome.unwrap();
}

/// What two operators write of two groups of one store: each as (group, version), in order.
async fn found(world: &mut World) -> Vec<(u32, u64)> {
    let mut all = Vec::new();
    for group in [1, 2] {
        let record = InGroup { world: &mut *world, group }.observe().await.record;
        all.extend(record.map(|record| (record.group, record.version)));
    }
    all
}

async fn write(world: &mut World, group: u32, expected: u64) -> Result<(), RecordError> {
    let config = Config { members: Vec::new(), w: 1 };
    let settings = Settings { mode: Mode::MultiLeader as i32, ..Settings::standard() };
    let (store, version) = (world.groups()[0].store.clone(), expected + 1);
    let next = Topology { store, group, version, config, settings, ..Topology::default() };
    InGroup { world, group }.record(expected, &next).await
}

#[tokio::test]
async fn records_of_groups_in_one_object_lose_nothing_of_each_other() {
    let client = Client::try_default().await.unwrap();
    let regions = json!([{ "name": "eu" }, { "name": "us" }]);
    let wanted = Arc::new(store(&client, json!({ "mode": "MultiLeader", "regions": regions })).await);
    let (mut one, _watches, _news) = world(&client, 1, &wanted).await;
    let (mut other, _others, _their_news) = world(&client, 2, &wanted).await;
    // Of two groups in one round the second one's write is over the first one's.
    assert_eq!(found(&mut one).await, []);
    assert_eq!([write(&mut one, 2, 0).await, write(&mut one, 1, 0).await], [Ok(()), Ok(())]);
    assert_eq!(found(&mut one).await, [(1, 1), (2, 1)]);
    assert_eq!(write(&mut other, 2, 0).await, Err(RecordError::Conflict));
    while found(&mut other).await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Two operators change different groups: the later one has not seen the earlier one's, and is told so.
    assert_eq!(write(&mut one, 1, 1).await, Ok(()));
    assert_eq!(write(&mut other, 2, 1).await, Err(RecordError::Conflict));
    assert_eq!(found(&mut other).await, [(1, 2), (2, 1)]);
    assert_eq!(write(&mut other, 2, 1).await, Ok(()));
    assert_eq!(write(&mut one, 1, 2).await, Err(RecordError::Conflict));
    assert_eq!(found(&mut one).await, [(1, 2), (2, 2)]);
    assert_eq!([write(&mut one, 1, 2).await, write(&mut one, 2, 2).await], [Ok(()), Ok(())]);
    while found(&mut other).await != [(1, 3), (2, 3)] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    end(client, &wanted.namespace).await;
}
