//! The web page of a store that this process runs.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{broadcast, broadcast::error::RecvError, watch},
    task::JoinHandle,
};
use trireme_cli::Failure;
use trireme_local::{Event, Local, View};
use trireme_page::{Hub, Source};

/// How often a point of each replica's lag is taken: 600 of them are five minutes.
const POINTS_EVERY: Duration = Duration::from_millis(500);

/// Where it is.
#[derive(Clone, Debug, clap::Args)]
pub struct PageArguments {
    /// Port of the web page that shows the store, on 127.0.0.1; without it, any that is free.
    #[arg(long, value_name = "PORT")]
    page_port: Option<u16>,
    /// No web page.
    #[arg(long, conflicts_with = "page_port")]
    no_page: bool,
}

/// A page that is served until it is dropped.
#[derive(Debug)]
pub struct Page {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Page {
    /// Opens it, unless none is wanted.
    ///
    /// # Errors
    /// Where its port is taken.
    pub async fn open(local: &Local, arguments: &PageArguments) -> Result<Option<Page>, Failure> {
        if arguments.no_page {
            return Ok(None);
        }
        let port = arguments.page_port.unwrap_or(0);
        let failure = |error: io::Error| Failure::Failed(format!("the page cannot be served on port {port}: {error}"));
        // Before anything is waited for: nothing has happened yet.
        let (view, events) = (local.view(), local.events());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failure)?;
        let address = listener.local_addr().map_err(failure)?;
        let hub = Arc::new(Hub::new(Source::Local, POINTS_EVERY));
        let name = local.name().to_owned();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = trireme_page::serve(Arc::clone(&hub), Some(listener)) => {}
                () = follow(&hub, &name, view, events) => {}
            }
        });
        Ok(Some(Page { address, task }))
    }

    /// Where a browser finds it.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on how the store stands and what happens to it, until it ends.
async fn follow(hub: &Hub, name: &str, mut view: watch::Receiver<View>, mut events: broadcast::Receiver<Event>) {
    loop {
        tokio::select! {
            changed = view.changed() => match changed {
                Ok(()) => hub.publish(name, &view.borrow_and_update().status),
                Err(_) => return,
            },
            event = events.recv() => match event {
                Ok(event) => {
                    // Whoever hears of it finds the store at least as new.
                    hub.publish(name, &view.borrow_and_update().status);
                    hub.happened(name, event.at_ms, event.message());
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}
