//! The Kubernetes operator: the planner's decisions, carried out on a cluster.
//!
//! ```text
//!   API server ◀──watches── cluster ──news──▶ stores ──▶ one store each: fetch → validate → plan → build → apply → status
//!              ◀──requests───────────────────────────────────┘
//!   lease: of several operators one acts          http: /livez /readyz /metrics, and the page
//! ```
//!
//! * [`cluster`]: a copy of every object that matters, kept current by watches.
//! * [`stores`]: who is there; [`store`]: everything that is done for one of them, and in which order.
//! * [`build`]: the objects that a store owns, as a pure function of what is wanted.
//! * [`lease`]: of several operators one acts. [`metrics`], [`http`]: what is shown of it. [`mod@check`]: what `helm test` asks.
//!
//! Invariants:
//!
//! * What decides is [`trireme_planner`], the same as in local mode and in the simulation. Nothing here chooses a leader.
//! * Everything is level-triggered: an event says that something is to be looked at, never what is to be done.
//! * Nothing is polled but what has no event: an idle store costs no request.
//! * A resource that nobody can make sense of stops no other.
//! * Whatever was begun is finished by the next operator: all that must not be forgotten is in the record.

mod build;
mod check;
mod cluster;
mod config;
mod context;
mod http;
mod lease;
mod metrics;
mod store;
mod stores;

use std::{process::ExitCode, sync::Arc, time::Duration};

use axum::http::Request;
use clap::Parser as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Config,
    client::{Body, ClientBuilder},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tower::util::MapRequestLayer;
use trireme_page::{Hub, Source};

use crate::{
    check::CheckArguments,
    cluster::News,
    config::{Arguments, Command, RunArguments},
    context::{Context, random_u64},
    lease::Candidate,
    metrics::Metrics,
    store::wanted::Operator,
};

/// How often the page takes a point of each replica's lag: a turn of the planner that nothing else has caused comes as often.
const POINTS_EVERY: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime);
    match Arguments::parse().command {
        Command::Run(arguments) => {
            arguments.log();
            ended(runtime.and_then(|runtime| runtime.block_on(run(arguments))), |failure| {
                tracing::error!(%failure, "ended");
            })
        }
        Command::Check(arguments) => {
            ended(runtime.and_then(|runtime| runtime.block_on(check(&arguments))), |failure| eprintln!("{failure}"))
        }
    }
}

fn ended(result: Result<(), Failure>, say: impl FnOnce(Failure)) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(failure);
            ExitCode::FAILURE
        }
    }
}

async fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let client = Client::try_default().await.map_err(Failure::Client)?;
    check::check(client, arguments).await.map_err(Failure::Check)
}

/// Why the operator could not run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the runtime could not be started: {0}")]
    Runtime(std::io::Error),
    #[error("no cluster: {0}; run it in a pod, or with KUBECONFIG")]
    Client(kube::Error),
    #[error("no randomness: {0}")]
    Random(std::io::Error),
    #[error("the HTTP port {0} cannot be opened: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    #[error("signals cannot be waited for: {0}")]
    Signal(std::io::Error),
    #[error("{0}")]
    Check(String),
}

async fn run(arguments: RunArguments) -> Result<(), Failure> {
    let metrics = Arc::new(Metrics::default());
    let page = Arc::new(Hub::new(Source::StandsBy, POINTS_EVERY));
    let client = connect(&metrics).await?;
    let listener = http::listen(arguments.http_listen).await.map_err(|e| Failure::Listen(arguments.http_listen, e))?;
    let (cluster, news, watches) = cluster::watch(&client, &arguments.namespaces, &metrics);
    let (ready, readiness) = watch::channel(false);
    let context = Arc::new(Context {
        client: client.clone(),
        cluster,
        identity: arguments.identity.clone(),
        metrics: Arc::clone(&metrics),
        page: Arc::clone(&page),
        boot: random_u64().map_err(Failure::Random)?,
        operator: Operator { node_image: arguments.node_image.clone(), namespace: arguments.lease_namespace.clone() },
    });
    let mut candidate = Candidate::new(
        Api::<Lease>::namespaced(client, &arguments.lease_namespace),
        &arguments.lease_name,
        &arguments.identity,
    );
    let told = told_to_end()?;
    tracing::info!(identity = arguments.identity, namespaces = ?arguments.namespaces, "started");
    tokio::select! {
        () = told => tracing::info!("told to end"),
        () = http::serve(listener, metrics, page, readiness) => {}
        () = act(&context, &mut candidate, news, &ready) => {}
    }
    drop(watches);
    // Whatever was begun goes on under the next operator; it need not wait.
    candidate.release().await;
    Ok(())
}

/// A client whose requests are counted.
async fn connect(metrics: &Arc<Metrics>) -> Result<Client, Failure> {
    let config = Config::infer().await.map_err(|error| Failure::Client(kube::Error::InferConfig(error)))?;
    let metrics = Arc::clone(metrics);
    let counted = MapRequestLayer::new(move |request: Request<Body>| {
        metrics.request(request.method(), request.uri());
        request
    });
    let builder = ClientBuilder::try_from(config).map_err(Failure::Client)?;
    Ok(builder.with_layer(&counted).build())
}

/// Takes care of the stores while the Lease is held. Stands by otherwise, with everything in sight.
async fn act(
    context: &Arc<Context>,
    candidate: &mut Candidate,
    mut news: mpsc::Receiver<News>,
    ready: &watch::Sender<bool>,
) {
    // What is told meanwhile is of no account: all stores are looked at then. But a watch whose news nobody takes would wait, and never be filled.
    tokio::select! {
        () = context.cluster.filled() => {}
        () = async { while news.recv().await.is_some() {} } => return,
    }
    ready.send_replace(true);
    let (holds, mut held) = watch::channel(false);
    let caring = async {
        loop {
            // Who stands by looks on, so that the watches go on, and shows what the one that acts has written.
            stores::show_all(context);
            while !*held.borrow_and_update() {
                tokio::select! {
                    _ = held.changed() => {}
                    one = news.recv() => match one {
                        Some(one) => stores::show(context, &one),
                        None => return,
                    },
                }
            }
            tracing::info!("holds the Lease: acts");
            context.metrics.leader(true);
            context.page.source(Source::Operator);
            tokio::select! {
                () = stores::run(Arc::clone(context), &mut news) => return,
                _ = held.wait_for(|&held| !held) => {}
            }
            context.metrics.leader(false);
            context.page.source(Source::StandsBy);
            tracing::warn!("does not hold the Lease any more: stands by");
        }
    };
    tokio::select! {
        () = candidate.run(&holds) => {}
        () = caring => {}
    }
}

fn told_to_end() -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Signal)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
