//! The operator's own HTTP port: `/livez`, `/readyz`, `/metrics`, and the page of all stores.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};
use trireme_page::{Hosts, Hub};

use crate::metrics::Metrics;

#[derive(Clone)]
struct Shown {
    metrics: Arc<Metrics>,
    /// Everything has been seen once: this operator could act, or acts.
    ready: watch::Receiver<bool>,
}

/// Opens the port.
///
/// # Errors
/// Where it cannot be listened on.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves it for ever.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, page: Arc<Hub>, ready: watch::Receiver<bool>) {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route(
            "/metrics",
            get(async |State(shown): State<Shown>| {
                ([(CONTENT_TYPE, "text/plain; version=0.0.4")], shown.metrics.text())
            }),
        )
        .with_state(Shown { metrics, ready })
        .merge(trireme_page::router(Arc::clone(&page), Hosts::Any));
    tokio::select! {
        served = axum::serve(listener, router) => if let Err(error) = served {
            tracing::error!(%error, "the HTTP port has failed");
        },
        () = trireme_page::serve(page, None) => {}
    }
}

async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    match *shown.ready.borrow() {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "waiting: the API server has not shown every kind of object yet\n"),
    }
}
