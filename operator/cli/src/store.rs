//! A store that somebody asks about, wherever it runs.

use std::{future::Future, time::Duration};

use serde_json::{Map, Value};
use trireme_crds::StoreStatus;
use trireme_link::Verification;

use crate::output::Failure;

/// What the commands need of a store. Local mode answers over the socket in the store's directory, Kubernetes over the API server.
pub trait Store {
    /// How it stands, as its operator last said.
    fn status(&mut self) -> impl Future<Output = Result<StoreStatus, Failure>>;

    /// The same with what its replicas say of themselves at this moment, where that is newer.
    fn look(&mut self) -> impl Future<Output = Result<StoreStatus, Failure>> {
        self.status()
    }

    /// Asks for another leader. What comes of it is heard from [`Store::answer`].
    fn ask(&mut self, request: &Request) -> impl Future<Output = Result<(), Failure>>;

    /// What comes of it next: what happens on the way, then once [`Answer::Done`] or [`Answer::Refused`], within a bounded time.
    fn answer(&mut self) -> impl Future<Output = Result<Answer, Failure>>;

    /// Compares the digests of all replicas, for at most `within`.
    fn verify(&mut self, within: Duration) -> impl Future<Output = Result<Verification, Failure>>;

    /// What has happened to it as far as is remembered, the oldest first.
    fn history(&mut self) -> impl Future<Output = Result<Vec<Happened>, Failure>>;

    /// What its replicas printed between two moments, in milliseconds since 1970, in any order.
    fn lines(&mut self, from_ms: u64, to_ms: u64) -> impl Future<Output = Result<Vec<Line>, Failure>>;
}

/// A change of leader that a person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make this replica the leader although the present one cannot hand over.
    Promote {
        /// Its name.
        replica: String,
        /// Even where fewer than n - w + 1 members can be sealed.
        force: bool,
    },
    /// Hand the leadership over, without a failure.
    Switchover {
        /// To whom; else to the follower that is furthest on.
        to: Option<String>,
    },
}

/// What comes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Something happened on the way.
    Happened(Happened),
    /// It is done.
    Done(String),
    /// It will not be done, or was not done in time: why.
    Refused(String),
}

/// Something that happened to a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What, for people.
    pub message: String,
    /// The same for programs: `event`, `atMs`, `message`, and what else is known.
    pub json: Map<String, Value>,
}

/// A line that a replica printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Name of the replica.
    pub replica: String,
    /// What it printed.
    pub text: String,
}
