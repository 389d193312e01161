//! Load on one server: what to ask, how often, over how many connections, and what came of it.
//!
//! [`run`] is the whole interface: a [`Workload`] and a [`Protocol`] in, a [`Report`] out. The loop in `engine` knows sockets and time but no protocol;
//! [`resp`] and [`grpc`] know bytes but neither sockets nor time.

mod connection;
mod engine;
pub mod grpc;
mod report;
pub mod resp;

use std::{net::SocketAddr, sync::atomic::AtomicBool, time::Duration};

pub use engine::run;
pub use report::Report;

/// How much load, and on whom.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The servers; connections are spread over them in turn.
    pub addresses: Vec<SocketAddr>,
    /// Connections, all opened before the clock starts.
    pub connections: usize,
    /// Requests that a connection sends at once. The next ones follow when all have been answered.
    pub pipeline: usize,
    /// Which keys are used.
    pub keys: Keys,
    /// How long before measuring starts, so that connections, caches and branch predictors are warm.
    pub warm_up: Duration,
    /// How long is measured.
    pub duration: Duration,
    /// Requests a second over all connections, each with an intended start; `None` is the closed loop: as fast as answers come.
    pub rate: Option<f64>,
    /// End after so many requests, if the time has not run out before.
    pub requests_max: Option<u64>,
}

/// Which key a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Any of this many, at random.
    Random(u64),
    /// This many, one after the other, from the first: for filling a store.
    Sequential(u64),
    /// This many for each connection, one after the other, touched by no other connection: with one request in flight each, the value of a key can
    /// only be the last one acknowledged or the one after it. Acknowledgements are recorded in [`Report::acknowledged`].
    Own(u64),
}

impl Keys {
    /// How many keys there are with this many connections.
    pub fn total(self, connections: usize) -> u64 {
        match self {
            Keys::Random(keys) | Keys::Sequential(keys) => keys,
            Keys::Own(keys) => keys * connections as u64,
        }
    }
}

/// What came back for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Done.
    Ok,
    /// Done, but there was no such key.
    Miss,
    /// Refused, or not what was asked for: a short name of the kind of error.
    Failed(&'a str),
}

/// What the bytes received so far hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Not a whole answer yet.
    Partial,
    /// So many bytes are dealt with; no request is finished by them.
    Consumed(usize),
    /// So many bytes are dealt with, and the oldest `requests` in flight are finished by them.
    Finished {
        /// Bytes.
        consumed: usize,
        /// How many requests this answers.
        requests: usize,
        /// How they ended.
        outcome: Outcome<'a>,
    },
    /// These bytes are not of this protocol; the connection is of no use any more.
    Broken(&'static str),
}

/// One request: which key, and the number that its value carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Number of the key, from 0.
    pub key: u64,
    /// Number of this request in its connection, from 1.
    pub number: u64,
}

/// Bytes out, bytes in.
pub trait Protocol {
    /// What it remembers of a connection.
    type Connection: Default;

    /// Appends what a new connection says first.
    fn open(&self, out: &mut Vec<u8>);

    /// Appends a batch of requests, at least one.
    fn requests(&self, connection: &mut Self::Connection, batch: &[Request], out: &mut Vec<u8>);

    /// Looks at the bytes received and not dealt with yet; may append what has to be said in between.
    fn receive<'a>(&self, connection: &mut Self::Connection, input: &'a [u8], out: &mut Vec<u8>) -> Step<'a>;
}

/// Set when the run is to end early: a signal came.
pub type Stop = AtomicBool;
