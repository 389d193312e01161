//! One client connection: its replies in order, what it has under way, its session.

use std::collections::VecDeque;

use bytes::Bytes;
use smallvec::SmallVec;
use trireme_proto::message::{Command, Request, Watched};

use crate::engine::command::connection::ConnectionState;
use crate::io::ClientId;

/// Commands of one client that wait here before it is paused.
pub(crate) const WAITING_MAX: usize = 64;

/// A command's arguments, borrowed.
pub(crate) type Args<'a> = SmallVec<[&'a [u8]; 8]>;

/// A command that waits until it can be executed or forwarded.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) args: Vec<Bytes>,
    pub(crate) since_us: u64,
}

/// A reply's place in the pipeline of a client whose commands are forwarded.
#[derive(Debug)]
pub(crate) enum Place {
    /// Forwarded: its reply has not come.
    Asked {
        /// What was asked, to ask it again after a change of leaders.
        request: Request,
        /// When it was first asked.
        since_us: u64,
        /// It was handed to some leader at least once.
        sent: bool,
        /// The client wants no reply to it (CLIENT REPLY).
        mute: bool,
    },
    /// Its reply waits for those before it.
    Answered(Bytes),
}

/// A client that waits for copies (WAIT).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// Last write that must have been copied.
    pub(crate) seq: u64,
    /// How many other replicas must have it.
    pub(crate) replicas: usize,
    /// When to answer anyway.
    pub(crate) until_us: u64,
    /// WAITAOF: its answer names this replica's own copy first.
    pub(crate) local: bool,
}

/// A client connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) state: ConnectionState,
    /// Replies, in order; `out[..ready]` may go to the socket.
    pub(crate) out: Vec<u8>,
    pub(crate) ready: usize,
    /// Replies in `out` after `ready` that wait for a commit.
    pub(crate) held: usize,
    /// Announced in `Output::ready` and not taken yet.
    pub(crate) announced: bool,
    /// Commands not executed yet.
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) paused: bool,
    /// Forwarded commands, and replies that come after them.
    pub(crate) places: VecDeque<Place>,
    /// Number of the last request forwarded, and of the last whose reply (and all before it) has come.
    pub(crate) asked: u64,
    pub(crate) confirmed: u64,
    /// Queued commands of an open transaction.
    pub(crate) transaction: Option<Vec<Command>>,
    /// One of them was refused: EXEC will be, too.
    pub(crate) transaction_refused: bool,
    pub(crate) watched: Vec<Watched>,
    /// READONLY was said: its reads may be answered here, however many confirm a read otherwise.
    pub(crate) readonly: bool,
    /// The state that this client has seen: it is never shown an older one.
    pub(crate) session_seq: u64,
    pub(crate) blocked: Option<Wait>,
    /// Nothing more is executed for it: when all is answered, this is said and the connection closed.
    pub(crate) last_words: Option<Box<[u8]>>,
}

impl Client {
    pub(crate) fn new(id: ClientId) -> Client {
        Client {
            state: ConnectionState { id, ..ConnectionState::default() },
            out: Vec::new(),
            ready: 0,
            held: 0,
            announced: false,
            waiting: VecDeque::new(),
            paused: false,
            places: VecDeque::new(),
            asked: 0,
            confirmed: 0,
            transaction: None,
            transaction_refused: false,
            watched: Vec::new(),
            readonly: false,
            session_seq: 0,
            blocked: None,
            last_words: None,
        }
    }

    /// Nothing before the next reply is under way: it may be written at once.
    pub(crate) fn in_order(&self) -> bool {
        self.places.is_empty()
    }

    /// The first request without a reply, and when it was asked. Nothing answered stands before it: that has moved on.
    pub(crate) fn first_open(&self) -> Option<(&Request, u64)> {
        self.places.iter().find_map(|place| match place {
            Place::Asked { request, since_us, .. } => Some((request, *since_us)),
            Place::Answered(_) => None,
        })
    }

    /// Moves replies that nothing is before any more into `out`: how many bytes that were.
    pub(crate) fn settle(&mut self) -> usize {
        let before = self.out.len();
        while let Some(Place::Answered(bytes)) = self.places.pop_front_if(|place| matches!(place, Place::Answered(_))) {
            self.out.extend_from_slice(&bytes);
        }
        self.out.len() - before
    }

    /// It has said goodbye, or its connection ends: no further command is taken.
    pub(crate) fn is_ending(&self) -> bool {
        self.state.close || self.last_words.is_some()
    }

    /// Ends an open transaction without executing it.
    pub(crate) fn discard(&mut self) {
        self.transaction = None;
        self.transaction_refused = false;
        self.watched.clear();
    }

    /// Back to a new connection's state, as RESET does it; what is under way stays.
    pub(crate) fn reset(&mut self) {
        self.discard();
        self.readonly = false;
    }
}
