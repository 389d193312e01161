//! What the tasks around a store tell its drive loop.

use std::time::Duration;

use tokio::sync::mpsc;
use trireme_link::Said;
use trireme_proto::ReplicaId;

use crate::control::{Answer, Request};

/// Something happened.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A replica's process was started.
    Started { id: ReplicaId, pid: u32 },
    /// A replica's process has ended.
    Ended { id: ReplicaId, pid: u32, how: String, restart_in: Option<Duration> },
    /// Something was heard over the link to a replica.
    Link(Said),
    /// A tool asks for something.
    Asked { request: Request, answers: mpsc::Sender<Answer> },
}

impl From<Said> for Happening {
    fn from(said: Said) -> Happening {
        Happening::Link(said)
    }
}
