//! An API server that knows what the plugin asks for, and an operator behind it that does what each test says.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    process::{Command, Output},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::sync::watch;

/// What the API server holds.
#[derive(Default)]
pub struct Objects {
    pub stores: BTreeMap<(String, String), Value>,
    pub events: Vec<Value>,
    /// What a pod answers: `POD/path`.
    pub pods: BTreeMap<String, Value>,
    pub logs: BTreeMap<String, String>,
    /// Requests that are refused: the part of the path, and the status.
    pub refused: Vec<(&'static str, u16)>,
    /// Every request that changed something.
    pub patches: Vec<Value>,
    version: u64,
}

type Operator = fn(&mut Objects, &str);

/// The server.
#[derive(Clone)]
pub struct Api {
    objects: Arc<Mutex<Objects>>,
    changed: watch::Sender<u64>,
    operator: Operator,
    address: SocketAddr,
}

impl Objects {
    /// Puts a store there, or changes it.
    pub fn put_store(&mut self, mut store: Value) {
        self.version += 1;
        store["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let text = |field: &str| store["metadata"][field].as_str().unwrap().to_owned();
        self.stores.insert((text("namespace"), text("name")), store);
    }

    /// Changes a store of the namespace `shop`.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut store = self.stores[&("shop".to_owned(), name.to_owned())].clone();
        change(&mut store);
        self.put_store(store);
    }

    /// The operator decided something.
    pub fn decide(&mut self, store: &str, reason: &str, message: &str) {
        self.version += 1;
        let number = self.events.len();
        self.events.push(json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {
                "name": format!("{store}.{number}"), "namespace": "shop", "resourceVersion": self.version.to_string(),
            },
            "involvedObject": { "kind": "ReplicatedStore", "name": store, "namespace": "shop" },
            "reason": reason, "message": message,
            "eventTime": format!("2026-11-25T12:00:00.{:06}Z", 1_000 * number),
        }));
    }

    fn refusal(&self, path: &str) -> Option<Response> {
        let (_, code) = self.refused.iter().find(|(part, _)| path.contains(part))?;
        Some(failure(*code, "it is refused in this test", &json!({})))
    }
}

fn answer(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// What is asked for after the path.
fn asked(query: Option<String>) -> BTreeMap<String, String> {
    let query = query.unwrap_or_default().replace("%3D", "=").replace("%2C", ",");
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    query.split('&').filter_map(pair).collect()
}

fn failure(code: u16, message: &str, details: &Value) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Because", "code": code,
        "message": message, "details": details,
    });
    (StatusCode::from_u16(code).unwrap(), answer(&status)).into_response()
}

impl Api {
    /// Starts it; `operator` is called with the store's name after each change that the plugin makes.
    pub async fn start(operator: Operator) -> Api {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Api {
            objects: Arc::default(),
            changed: watch::channel(0).0,
            operator,
            address: listener.local_addr().unwrap(),
        };
        let of_namespace = "/apis/trireme.dev/v1alpha1/namespaces/{namespace}/replicatedstores";
        let router = Router::new()
            .route("/apis/trireme.dev/v1alpha1/replicatedstores", get(all_stores))
            .route(of_namespace, get(stores))
            .route(&format!("{of_namespace}/{{name}}"), get(store).patch(patch))
            .route("/api/v1/namespaces/{namespace}/events", get(events))
            .route("/api/v1/namespaces/{namespace}/pods", get(pods))
            .route("/api/v1/namespaces/{namespace}/pods/{pod}/log", get(log))
            .route("/api/v1/namespaces/{namespace}/pods/{pod}/proxy/{path}", get(proxy))
            .with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    pub fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap()
    }

    /// Runs the plugin against it.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        fs::write(&path, kubeconfig(self.address)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-trireme"));
        command.args(arguments).arg("--kubeconfig").arg(&path).stdin(std::process::Stdio::null());
        tokio::task::spawn_blocking(move || {
            let _dir = dir;
            command.output().unwrap()
        })
        .await
        .unwrap()
    }
}

/// A kubeconfig as kubectl has it, of the namespace `shop`.
pub fn kubeconfig(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": "shop" } }],
        "users": [{ "name": "test", "user": {} }],
    })
    .to_string()
}

async fn all_stores(State(api): State<Api>) -> Response {
    list(&api, |_| true)
}

async fn stores(State(api): State<Api>, Path(namespace): Path<String>, RawQuery(query): RawQuery) -> Response {
    let query = asked(query);
    if query.contains_key("watch") {
        let name = query["fieldSelector"].strip_prefix("metadata.name=").unwrap().to_owned();
        return follow(api, move |objects| {
            objects.stores.get(&(namespace.clone(), name.clone())).cloned().into_iter().collect()
        });
    }
    list(&api, |at| *at == namespace)
}

fn list(api: &Api, wanted: impl Fn(&String) -> bool) -> Response {
    let objects = api.objects();
    if let Some(refusal) = objects.refusal("replicatedstores") {
        return refusal;
    }
    let items: Vec<&Value> = objects.stores.iter().filter(|((at, _), _)| wanted(at)).map(|(_, store)| store).collect();
    answer(
        &json!({ "apiVersion": "trireme.dev/v1alpha1", "kind": "ReplicatedStoreList", "metadata": {}, "items": items }),
    )
}

async fn store(State(api): State<Api>, Path(at): Path<(String, String)>) -> Response {
    let objects = api.objects();
    match (objects.refusal("replicatedstores"), objects.stores.get(&at)) {
        (Some(refusal), _) => refusal,
        (None, Some(store)) => answer(store),
        (None, None) => failure(404, "not found", &json!({ "name": at.1, "kind": "replicatedstores" })),
    }
}

/// A merge patch of annotations.
async fn patch(State(api): State<Api>, Path(at): Path<(String, String)>, body: Bytes) -> Response {
    let patch: Value = serde_json::from_slice(&body).unwrap();
    let mut objects = api.objects();
    objects.patches.push(patch.clone());
    objects.change(&at.1, |store| {
        if store["metadata"]["annotations"].is_null() {
            store["metadata"]["annotations"] = json!({});
        }
        let annotations = store["metadata"]["annotations"].as_object_mut().unwrap();
        for (name, value) in patch["metadata"]["annotations"].as_object().unwrap() {
            match value {
                Value::Null => drop(annotations.remove(name)),
                value => drop(annotations.insert(name.clone(), value.clone())),
            }
        }
    });
    let patched = answer(&objects.stores[&at]);
    (api.operator)(&mut objects, &at.1);
    drop(objects);
    api.changed.send_modify(|version| *version += 1);
    patched
}

async fn events(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = asked(query);
    let name = query["fieldSelector"].rsplit('=').next().unwrap().to_owned();
    let of = move |objects: &Objects| -> Vec<Value> {
        objects.events.iter().filter(|event| event["involvedObject"]["name"] == name.as_str()).cloned().collect()
    };
    if let Some(refusal) = api.objects().refusal("events") {
        return refusal;
    }
    if query.contains_key("watch") {
        return follow(api, of);
    }
    let items = of(&api.objects());
    answer(&json!({ "apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": items }))
}

/// A watch: every version of these objects, as they are written.
fn follow(api: Api, of: impl Fn(&Objects) -> Vec<Value> + Send + Sync + 'static) -> Response {
    let changed = api.changed.subscribe();
    let stream = futures::stream::unfold(
        (api, changed, Vec::<Value>::new(), of),
        |(api, mut changed, mut told, of)| async move {
            loop {
                changed.borrow_and_update();
                let new: Vec<Value> = of(&api.objects()).into_iter().filter(|object| !told.contains(object)).collect();
                if !new.is_empty() {
                    let line = |object: &Value| format!("{}\n", json!({ "type": "MODIFIED", "object": object }));
                    let lines: String = new.iter().map(line).collect();
                    told.extend(new);
                    return Some((Ok::<_, std::io::Error>(lines), (api, changed, told, of)));
                }
                changed.changed().await.ok()?;
            }
        },
    );
    Body::from_stream(stream).into_response()
}

async fn pods(State(api): State<Api>) -> Response {
    let objects = api.objects();
    let items: Vec<Value> = objects.logs.keys().map(|name| json!({ "metadata": { "name": name } })).collect();
    answer(&json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items }))
}

async fn log(State(api): State<Api>, Path((_, pod)): Path<(String, String)>, RawQuery(query): RawQuery) -> Response {
    let query = asked(query);
    match (query.get("previous"), api.objects().logs.get(&pod)) {
        (None, Some(text)) => text.clone().into_response(),
        _ => failure(400, "previous terminated container not found", &json!({})),
    }
}

async fn proxy(State(api): State<Api>, Path((_, pod, path)): Path<(String, String, String)>) -> Response {
    let objects = api.objects();
    if let Some(refusal) = objects.refusal("proxy") {
        return refusal;
    }
    match objects.pods.get(&format!("{}/{path}", pod.strip_suffix(":9600").unwrap())) {
        Some(said) => answer(said),
        None => failure(503, "no endpoints available for the pod", &json!({})),
    }
}
