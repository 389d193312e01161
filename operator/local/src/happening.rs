//! What the tasks around a store tell its drive loop.

use std::time::Duration;

use tokio::sync::mpsc;
use trireme_proto::{ReplicaId, Report};

use crate::control::{Answer, Request};

/// Something happened.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A replica's process was started.
    Started { id: ReplicaId, pid: u32 },
    /// A replica's process has ended.
    Ended { id: ReplicaId, pid: u32, how: String, restart_in: Option<Duration> },
    /// The link to a replica is up: both said Hello.
    Opened { id: ReplicaId, boot: u64 },
    /// A replica reported.
    Heard { id: ReplicaId, report: Box<Report> },
    /// The link to a replica is down.
    Closed { id: ReplicaId },
    /// Who answers at a replica's address is not that replica.
    Refused { id: ReplicaId, why: String },
    /// A tool asks for something.
    Asked { request: Request, answers: mpsc::Sender<Answer> },
}
