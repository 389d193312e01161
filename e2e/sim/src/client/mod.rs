//! A client: it sends pipelines of commands to one replica, reads the replies, and goes to another replica when its own is gone.
//!
//! `asks`: what it asks for. `travel`: clients whose session goes with them.

mod asks;
mod travel;

use std::collections::VecDeque;

use trireme_proto::ReplicaId;

pub use travel::Luggage;
use travel::{Step, Visit};

use crate::{
    clock::Micros,
    history::{History, KEYS, Outcome},
    resp::{self, Reply},
};

/// Errors that say: this has not happened and never will.
const REFUSALS: [&str; 9] = [
    "NOREPLICAS",
    "TRYAGAIN",
    "DISKFULL",
    "LOADING",
    "STALE",
    "EXECABORT",
    "CLUSTERDOWN",
    "REGIONLEAVES",
    "HOMEUNREACHABLE",
];

/// The client that sets [`LEVELS`].
const LEVELS_WRITER: u32 = 1;

/// Whether an error says that the command was refused.
pub fn is_refusal(code: &str) -> bool {
    REFUSALS.contains(&code)
}

/// A reply that the client waits for.
#[derive(Clone, Debug)]
enum Expected {
    /// To a command of the history.
    Operation(usize),
    /// To EXEC, with these commands of the history.
    Exec(Vec<usize>),
    /// To MULTI or READONLY, or to a command of a transaction.
    Formal,
    /// To WATCH, and to the GET after it.
    Watch,
    Watched(usize),
    /// To the GET of what another region set.
    Cause(usize),
    /// To a command of a session that goes from replica to replica.
    Visit(Step),
}

/// Whose keys a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The store's: there is nobody else.
    Store,
    /// Those of its region: nobody in another one does.
    Region(u32),
    /// Those that clients of all regions use, from its own.
    Between(u32),
}

/// Its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Which replica.
    pub replica: ReplicaId,
    /// Which process of it.
    pub life: u64,
    /// The number there.
    pub number: u64,
}

/// A client.
pub struct Client {
    /// Its number.
    pub id: u32,
    /// It reads from its own replica, said READONLY.
    pub readonly: bool,
    /// Whose keys it uses.
    pub scope: Scope,
    /// The store has no leader, or several: which keys behave like those of one machine, and whether w + r > n makes them so.
    pub leaderless: Option<bool>,
    /// How many connections it has had.
    pub session: u64,
    /// Its connection, where it has one.
    pub connection: Option<Connection>,
    /// Nothing sent to the replica, and nothing sent by it, overtakes what was sent before.
    pub last_up: Micros,
    /// The same for replies.
    pub last_down: Micros,
    /// It may send only what is asked for by the end of the run.
    pub finishing: bool,
    expected: VecDeque<Expected>,
    received: Vec<u8>,
    counter: u64,
    /// WATCH was answered OK; and what the watched key held then.
    watching: bool,
    watched: Option<Option<String>>,
    /// What another region was seen to have set.
    cause: Option<u64>,
    /// Its sessions go with it: the one that is at its replica now.
    pub travels: bool,
    visit: Option<Visit>,
    asked: usize,
    /// It was shown what its session may not be shown.
    pub shown: Option<String>,
}

impl Client {
    /// A client without a connection.
    pub fn new(id: u32, readonly: bool) -> Client {
        Client {
            id,
            readonly,
            scope: Scope::Store,
            leaderless: None,
            session: 0,
            connection: None,
            last_up: 0,
            last_down: 0,
            finishing: false,
            expected: VecDeque::new(),
            received: Vec::new(),
            counter: 0,
            watching: false,
            watched: None,
            cause: None,
            travels: false,
            visit: None,
            asked: 0,
            shown: None,
        }
    }

    /// What a key is called in the store.
    fn name(&self, key: usize) -> String {
        let name = KEYS[key].name;
        match self.scope {
            Scope::Region(region) => format!("{region}/{name}"),
            _ => name.to_owned(),
        }
    }

    /// Nothing is under way.
    pub fn idle(&self) -> bool {
        self.expected.is_empty()
    }

    /// It has a new connection: what it has to say first.
    pub fn connected(&mut self, connection: Connection) -> Vec<Vec<Vec<u8>>> {
        self.connection = Some(connection);
        self.session += 1;
        self.received.clear();
        let mut greeting = Vec::new();
        if self.readonly && (self.leaderless.is_none() || self.travels) {
            self.expected.push_back(Expected::Formal);
            greeting.push(vec![b"READONLY".to_vec()]);
        }
        self.arrive(&mut greeting);
        greeting
    }

    /// The store that it asks is to know nothing of what the client has seen.
    pub fn forget(&mut self) {
        self.cause = None;
    }

    /// The connection is gone: what was under way is unknown.
    pub fn disconnected(&mut self, history: &mut History) {
        self.connection = None;
        (self.watching, self.watched) = (false, None);
        for expected in std::mem::take(&mut self.expected) {
            match expected {
                Expected::Operation(index) | Expected::Watched(index) | Expected::Cause(index) => {
                    history.entries[index].outcome = Outcome::Unknown;
                }
                Expected::Exec(indices) => {
                    for index in indices {
                        history.entries[index].outcome = Outcome::Unknown;
                    }
                }
                Expected::Visit(step) => self.doubt(&step),
                Expected::Formal | Expected::Watch => {}
            }
        }
    }

    /// Bytes came from the replica. `still_strict` says whether reads answered here now are still linearizable.
    ///
    /// # Errors
    /// Where they are no replies, or replies to nothing: a message for a person.
    pub fn receive(
        &mut self,
        now: Micros,
        bytes: &[u8],
        still_strict: bool,
        history: &mut History,
    ) -> Result<(), String> {
        self.received.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((reply, length)) = resp::parse(&self.received[at..])? {
            at += length;
            let expected =
                self.expected.pop_front().ok_or_else(|| format!("client {}: {reply} answers nothing", self.id))?;
            match expected {
                Expected::Operation(index) => end(now, index, reply, still_strict, history),
                Expected::Formal => {}
                Expected::Cause(index) => {
                    self.cause = match &reply {
                        Reply::Bulk(text) => String::from_utf8_lossy(text).parse().ok(),
                        _ => None,
                    };
                    end(now, index, reply, still_strict, history);
                }
                Expected::Visit(step) => {
                    if let Err(what) = self.seen(step, reply) {
                        self.shown.get_or_insert(what);
                    }
                }
                Expected::Watch => self.watching = reply == Reply::ok(),
                Expected::Watched(index) => {
                    self.watched = match &reply {
                        Reply::Null => Some(None),
                        Reply::Bulk(text) => Some(Some(String::from_utf8_lossy(text).into_owned())),
                        _ => None,
                    }
                    .filter(|_| self.watching);
                    end(now, index, reply, still_strict, history);
                }
                Expected::Exec(indices) => {
                    (self.watching, self.watched) = (false, None); // EXEC forgets what is watched.
                    self.executed(now, &indices, reply, still_strict, history)?;
                }
            }
        }
        self.received.drain(..at);
        Ok(())
    }

    fn executed(
        &self,
        now: Micros,
        indices: &[usize],
        reply: Reply,
        still_strict: bool,
        history: &mut History,
    ) -> Result<(), String> {
        match reply {
            Reply::Array(replies) if replies.len() == indices.len() => {
                for (index, reply) in indices.iter().zip(replies) {
                    end(now, *index, reply, still_strict, history);
                }
                Ok(())
            }
            Reply::Null => {
                for index in indices {
                    history.entries[*index].outcome = Outcome::Refused(now, "what it watched has changed".to_owned());
                }
                Ok(())
            }
            Reply::Error(text) => {
                for index in indices {
                    end(now, *index, Reply::Error(text.clone()), still_strict, history);
                }
                Ok(())
            }
            other => Err(format!("client {}: EXEC of {} commands was answered {other}", self.id, indices.len())),
        }
    }
}

fn end(now: Micros, index: usize, reply: Reply, still_strict: bool, history: &mut History) {
    let entry = &mut history.entries[index];
    entry.strict &= still_strict || !entry.reads;
    entry.outcome = match reply.error_code() {
        Some("INDOUBT") => Outcome::Unknown,
        Some(code) if is_refusal(code) => Outcome::Refused(now, reply.to_string()),
        _ => Outcome::Answered(now, reply),
    };
}
