//! `trireme up`: runs a store in the foreground until SIGINT or SIGTERM.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use serde_json::json;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::broadcast::{Receiver, error::RecvError},
};
use trireme_cli::{
    output::{Failure, Output, Screen, put},
    status,
};
use trireme_local::{Event, Local, Options, StartError, addresses::AddressError};

use crate::{
    commands::file,
    page::{Page, PageArguments},
};

/// How long all replicas are waited for before a store that serves is called ready without some of them.
const READY_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The store's YAML.
    file: PathBuf,
    /// Directory for its data, logs and record; made if it does not exist. Starting again on it finds all data.
    #[arg(long)]
    dir: PathBuf,
    /// Loopback address of the first replica; the others follow. Default: 127.0.0.11, or where they were the last time.
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// For people, or one JSON event a line for programs.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Leave replicas down whose process has ended, instead of starting them again after a back-off.
    #[arg(long)]
    no_restart: bool,
    #[command(flatten)]
    page: PageArguments,
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (store, text) = file::read(&arguments.file)?;
    // From here on both are handled, also while the store starts.
    let stop = Stop::new().map_err(Failure::from_error)?;
    let options = Options {
        dir: arguments.dir,
        address: arguments.address,
        restart: !arguments.no_restart,
        back_off_max: trireme_local::BACK_OFF_MAX,
        program: std::env::current_exe().map_err(Failure::from_error)?,
    };
    let local = Local::start(&store, &text, options).map_err(|error| start_failure(&error))?;
    watch(local, arguments.output, &arguments.page, stop).await
}

/// Tells what happens to a store, or an edge of one, until told to stop, and then stops it.
pub async fn watch(mut local: Local, output: Output, page: &PageArguments, mut stop: Stop) -> Result<(), Failure> {
    let events = local.events_from_start();
    let page = match Page::open(&local, page).await {
        Ok(page) => page,
        Err(failure) => {
            local.stop().await;
            return Err(failure);
        }
    };
    let url = page.as_ref().map(Page::url);
    let mut teller = Teller { output, screen: Screen::new(), began_ms: trireme_local::unix_ms(), page: url };
    teller.begin(&local);
    let told = tell(&mut teller, &local, events, &mut stop).await;
    teller.note("stopping all replicas");
    local.stop().await;
    teller.note("stopped");
    drop(page);
    told
}

/// A problem of what the user gave is told apart from one of the machine.
pub fn start_failure(error: &StartError) -> Failure {
    let message = error.to_string();
    match error {
        StartError::Addresses(AddressError::NoPorts(_) | AddressError::Taken { .. }) | StartError::Random(_) => {
            Failure::Failed(message)
        }
        _ => Failure::Input(message),
    }
}

/// Tells everything that happens until the process is told to stop.
async fn tell(teller: &mut Teller, local: &Local, mut events: Receiver<Event>, stop: &mut Stop) -> Result<(), Failure> {
    // "ready" is a program's first line, so what was decided on the way waits for it.
    let mut early = Vec::new();
    let mut ready = std::pin::pin!(local.wait_ready(READY_PATIENCE));
    let mut is_ready = false;
    loop {
        tokio::select! {
            () = stop.told() => return Ok(()),
            () = &mut ready, if !is_ready => {
                is_ready = true;
                // What led to it has happened already: it is in the channel.
                while let Ok(event) = events.try_recv() {
                    early.push(event);
                    teller.early(early.last());
                }
                teller.ready(local);
                early.drain(..).for_each(|event| teller.after_ready(&event));
            }
            event = events.recv() => match event {
                Ok(event) if is_ready => teller.event(&event),
                Ok(event) => {
                    teller.early(Some(&event));
                    early.push(event);
                }
                Err(RecvError::Lagged(missed)) => teller.note(&format!("{missed} events were not shown: they came too fast")),
                Err(RecvError::Closed) => return Err(Failure::Failed("the store's driver has ended: this is a bug".to_owned())),
            },
        }
    }
}

/// Says things in one of two ways.
#[derive(Debug)]
struct Teller {
    output: Output,
    screen: Screen,
    began_ms: u64,
    /// Where the page is.
    page: Option<String>,
}

impl Teller {
    fn begin(&mut self, local: &Local) {
        if self.output == Output::Text {
            let name = self.screen.bold(local.name());
            self.screen.line(&format!("{name}  data in {}", local.dir().display()));
            if let Some(page) = &self.page {
                self.screen.line(&format!("page  {page}"));
            }
        }
        if let Some(note) = local.note() {
            self.note(note);
        }
    }

    /// For people only; programs have events. It goes to standard error where a program reads standard output.
    fn note(&mut self, text: &str) {
        match self.output {
            Output::Text => {
                let text = self.screen.dim(text);
                self.screen.line(&text);
            }
            Output::Json => eprintln!("trireme: {text}"),
        }
    }

    fn event(&mut self, event: &Event) {
        match self.output {
            Output::Text => {
                let at = event.at_ms.saturating_sub(self.began_ms);
                let at = self.screen.dim(format!("{:>9.3} s", at as f64 / 1000.0));
                self.screen.line(&format!("{at}  {}", event.message()));
            }
            Output::Json => {
                if let Ok(json) = serde_json::to_string(event) {
                    put(&format!("{json}\n"));
                }
            }
        }
    }

    /// An event from before the store was ready: people see it at once, programs after "ready".
    fn early(&mut self, event: Option<&Event>) {
        if let (Output::Text, Some(event)) = (self.output, event) {
            self.event(event);
        }
    }

    fn after_ready(&mut self, event: &Event) {
        if self.output == Output::Json {
            self.event(event);
        }
    }

    fn ready(&mut self, local: &Local) {
        self.event(&local.ready());
        if let (Output::Json, Some(page)) = (self.output, &self.page) {
            let at_ms = trireme_local::unix_ms();
            let message = format!("the page is at {page}");
            put(&format!("{}\n", json!({ "event": "page", "atMs": at_ms, "message": message, "url": page })));
        }
        if self.output == Output::Text {
            let view = local.view().borrow().clone();
            let text = status::text(&view.status, &self.screen);
            self.screen.line(&format!("\n{text}"));
        }
    }
}

/// SIGINT and SIGTERM.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Handles both from now on.
    ///
    /// # Errors
    /// Where the system has no room for a handler.
    pub fn new() -> std::io::Result<Stop> {
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for either.
    pub async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
