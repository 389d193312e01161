//! A store that runs on this machine, as the commands ask it: over the control socket in its directory.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use trireme_cli::{Answer, Failure, Happened, Line, Output, Request, Store, history::from_rfc3339};
use trireme_crds::StoreStatus;
use trireme_local::{
    Event, Verification,
    control::{self, Control},
};

/// How much of the end of each replica's log is looked through.
const LOG_BYTES_MAX: u64 = 4 << 20;

/// Which running store, and how to answer.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// The directory that the store runs in.
    #[arg(long)]
    dir: PathBuf,
    /// For people or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

/// A connection to the process that runs a store.
#[derive(Debug)]
pub struct Running {
    dir: PathBuf,
    control: Control,
}

impl Which {
    /// The store that is meant.
    ///
    /// # Errors
    /// Where there is no store, or it is not running.
    pub async fn open(&self) -> Result<Running, Failure> {
        Running::open(&self.dir).await
    }
}

impl Running {
    /// The store that runs in this directory.
    ///
    /// # Errors
    /// Where there is no store, or it is not running.
    pub async fn open(dir: &Path) -> Result<Running, Failure> {
        let control = Control::connect(dir).await.map_err(Failure::from_error)?;
        Ok(Running { dir: dir.to_owned(), control })
    }

    /// Makes of it what this YAML describes; what comes of it is heard from [`Store::answer`].
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn apply(&mut self, text: String) -> Result<(), Failure> {
        self.control.ask(&control::Request::Apply { text }).await.map_err(Failure::from_error)
    }
}

impl Store for Running {
    async fn status(&mut self) -> Result<StoreStatus, Failure> {
        self.control.status().await.map_err(Failure::from_error)
    }

    async fn ask(&mut self, request: &Request) -> Result<(), Failure> {
        let request = match request.clone() {
            Request::Promote { replica, force } => control::Request::Promote { replica, force },
            Request::Switchover { to } => control::Request::Switchover { to },
        };
        self.control.ask(&request).await.map_err(Failure::from_error)
    }

    async fn answer(&mut self) -> Result<Answer, Failure> {
        loop {
            match self.control.answer().await.map_err(Failure::from_error)? {
                control::Answer::Event(event) => return Ok(Answer::Happened(happened(&event)?)),
                control::Answer::Done(message) => return Ok(Answer::Done(message)),
                control::Answer::Refused(why) => return Ok(Answer::Refused(why)),
                control::Answer::Invalid(why) => return Err(Failure::Input(why)),
                control::Answer::Status(_) => {}
            }
        }
    }

    async fn verify(&mut self, within: Duration) -> Result<Verification, Failure> {
        let status = self.status().await?;
        let names: Vec<String> = status.replicas.iter().map(|r| r.name.clone()).collect();
        trireme_local::verify(&self.dir, &names, within).await.map_err(Failure::from_error)
    }

    async fn history(&mut self) -> Result<Vec<Happened>, Failure> {
        self.control.ask(&control::Request::History).await.map_err(Failure::from_error)?;
        let mut all = Vec::new();
        loop {
            match self.answer().await? {
                Answer::Happened(happened) => all.push(happened),
                Answer::Done(_) => return Ok(all),
                Answer::Refused(why) => return Err(Failure::Failed(why)),
            }
        }
    }

    async fn lines(&mut self, from_ms: u64, to_ms: u64) -> Result<Vec<Line>, Failure> {
        let status = self.status().await?;
        let mut lines = Vec::new();
        for replica in &status.replicas {
            let path = trireme_local::directory::log_path(&self.dir, &replica.name);
            let text = end_of(&path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
            lines.extend(text.lines().filter_map(|line| printed(&replica.name, line)));
        }
        lines.retain(|line| (from_ms..=to_ms).contains(&line.at_ms));
        Ok(lines)
    }
}

fn happened(event: &Event) -> Result<Happened, Failure> {
    let json = match serde_json::to_value(event).map_err(Failure::from_error)? {
        Value::Object(json) => json,
        _ => serde_json::Map::new(),
    };
    Ok(Happened { at_ms: event.at_ms, message: event.message().to_owned(), json })
}

/// A line of a replica's log begins with its time; what does not is left out.
fn printed(replica: &str, line: &str) -> Option<Line> {
    let (time, text) = line.split_once(' ')?;
    Some(Line { at_ms: from_rfc3339(time)?, replica: replica.to_owned(), text: text.trim_start().to_owned() })
}

fn end_of(path: &Path) -> io::Result<String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // A replica that has not been started yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
