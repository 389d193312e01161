//! The suite of every backend, against the API server that KUBECONFIG names: it must know the CRDs. Part of the tests on a cluster.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};
use trireme_crds::kubernetes::ReplicatedStore;
use trireme_planner::conformance;

use super::{
    wanted::{Operator, Wanted},
    world::World,
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
        boot,
        operator: operator(),
    };
    let (happenings, _happened) = mpsc::channel(64);
    (World::new(Arc::new(context), Arc::clone(wanted), happenings), watches, news)
}

#[tokio::test]
async fn kubernetes_does_what_every_backend_must_do() {
    let client = Client::try_default().await.unwrap();
    let name = format!("conformance-{:x}", random_u64().unwrap());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = Namespace {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();

    // It is paused: an operator of the cluster, if there is one, leaves it alone.
    let store: ReplicatedStore = serde_json::from_value(json!({
        "apiVersion": "trireme.dev/v1alpha1",
        "kind": "ReplicatedStore",
        "metadata": { "name": "orders", "annotations": { "trireme.dev/paused": "true" } },
        "spec": { "mode": "SingleLeader" },
    }))
    .unwrap();
    let api: Api<ReplicatedStore> = Api::namespaced(client.clone(), &name);
    let store = api.create(&PostParams::default(), &store).await.unwrap();
    assert_eq!(store.name_any(), "orders");
    let mut wanted = Wanted::parse(&store, &operator()).unwrap();
    // The suite's records name this store.
    wanted.desired.store = "conformance".to_owned();
    let wanted = Arc::new(wanted);
    let (mut one, _watches, _news) = world(&client, 1, &wanted).await;
    let (mut other, _others, _their_news) = world(&client, 2, &wanted).await;
    let outcome =
        conformance::suite(&mut one, &mut other, async || tokio::time::sleep(Duration::from_millis(20)).await).await;
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    outcome.unwrap();
}
