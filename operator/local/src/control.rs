//! How tools talk with the process that runs a store: JSON lines over a Unix socket in the store's directory.
//!
//! A request is one line. The answer is as many lines as it takes; the last is a status, `done`, `refused` or `invalid`.

use std::{fs, io, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use trireme_crds::StoreStatus;

use crate::{
    directory::{DirectoryError, Owner, at, control_path},
    events::Event,
    happening::Happening,
};

/// Longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// Most tools at the same time; others wait.
const TOOLS_MAX: usize = 32;
/// Answers that a tool may be behind by; a slower one misses events, never the last answer's place in order.
pub(crate) const ANSWERS_MAX: usize = 256;

/// What a tool asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    /// The store's status, as the resource has it.
    Status,
    /// Make this replica the leader although the present one cannot hand over.
    Promote {
        /// Its name.
        replica: String,
        /// Even where fewer than n - w + 1 members can be sealed: acknowledged writes may be lost.
        force: bool,
    },
    /// Hand the leadership over, without a failure.
    Switchover {
        /// To whom; else to the follower that is furthest on.
        to: Option<String>,
    },
    /// What has happened since the store was started, as far as it is remembered.
    History,
    /// Make of the store what this resource describes, while it runs.
    Apply {
        /// The YAML.
        text: String,
    },
}

/// One line of an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<StoreStatus>),
    /// Something happened, on the way or before.
    Event(Event),
    /// What was asked for is done.
    Done(String),
    /// It will not be done, or was not done in time: why.
    Refused(String),
    /// It makes no sense for this store: why. Nothing was changed.
    Invalid(String),
}

/// Why a tool got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It is no store's directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Nobody listens.
    #[error("{dir}: the store `{name}` is not running. `trireme up {dir}/store.yaml --dir {dir}` starts it")]
    NotRunning {
        /// The directory.
        dir: String,
        /// Its store.
        name: String,
    },
    /// The connection broke.
    #[error("the process that runs the store does not answer: {0}")]
    Io(#[from] io::Error),
    /// It says something else.
    #[error("the process that runs the store speaks another version: {0}")]
    Unknown(#[from] serde_json::Error),
}

/// A tool's end.
#[derive(Debug)]
pub struct Control {
    lines: BufReader<OwnedReadHalf>,
    output: OwnedWriteHalf,
}

impl Control {
    /// Connects to the process that runs the store in this directory.
    ///
    /// # Errors
    /// Where there is no store, or it is not running.
    pub async fn connect(dir: &Path) -> Result<Control, ControlError> {
        let owner = Owner::read(dir)?;
        match UnixStream::connect(control_path(dir)).await {
            Ok(stream) => {
                let (input, output) = stream.into_split();
                Ok(Control { lines: BufReader::new(input), output })
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Err(ControlError::NotRunning { dir: dir.display().to_string(), name: owner.name })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub async fn ask(&mut self, request: &Request) -> Result<(), ControlError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        Ok(self.output.write_all(&line).await?)
    }

    /// The next line of the answer.
    ///
    /// # Errors
    /// Where the connection breaks, or the other side is of another version.
    pub async fn answer(&mut self) -> Result<Answer, ControlError> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// The store's status.
    ///
    /// # Errors
    /// As [`Control::answer`].
    pub async fn status(&mut self) -> Result<StoreStatus, ControlError> {
        self.ask(&Request::Status).await?;
        loop {
            if let Answer::Status(status) = self.answer().await? {
                return Ok(*status);
            }
        }
    }
}

/// The store's end; dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct Server {
    task: JoinHandle<()>,
    path: std::path::PathBuf,
}

impl Server {
    /// Listens. The caller holds the directory's lock: a socket that is there is left from a process that has ended.
    pub fn start(path: &Path, happenings: mpsc::Sender<Happening>) -> Result<Server, DirectoryError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(path)(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(at(path))?;
        Ok(Server { task: tokio::spawn(accept(listener, happenings)), path: path.to_path_buf() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // Left behind it does no harm: the next one removes it.
        let _ = fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, happenings: mpsc::Sender<Happening>) {
    let places = Arc::new(Semaphore::new(TOOLS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: wait instead of spinning.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let happenings = happenings.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, happenings).await {
                tracing::debug!(%error, "a tool's connection ended");
            }
            drop(place);
        });
    }
}

async fn serve(stream: UnixStream, happenings: mpsc::Sender<Happening>) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    loop {
        let mut line = String::new();
        if (&mut input).take(REQUEST_BYTES_MAX).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
        match serde_json::from_str(&line) {
            Ok(request) => {
                if happenings.send(Happening::Asked { request, answers }).await.is_err() {
                    return Ok(());
                }
            }
            Err(error) => {
                // There is room: it is the first.
                let _ = answers.try_send(Answer::Refused(format!("not a request that is known here: {error}")));
                drop(answers);
            }
        }
        while let Some(answer) = answered.recv().await {
            let mut line = serde_json::to_vec(&answer)?;
            line.push(b'\n');
            output.write_all(&line).await?;
        }
    }
}
