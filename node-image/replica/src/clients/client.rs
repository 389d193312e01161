//! One client connection: its replies in order, what it has under way, its session.

use std::collections::VecDeque;

use bytes::Bytes;
use smallvec::SmallVec;
use trireme_proto::{
    ids::Dot,
    message::{Command, Request, Watched},
};

use super::{
    held::Reach,
    session::{Session, fetch::Asks},
};
use crate::engine::{ReceivedSet, command::connection::ConnectionState};
use crate::io::ClientId;
use crate::quorum::level::{Level, Quorum};

/// Commands of one client that wait here before it is paused.
pub(crate) const WAITING_MAX: usize = 64;

/// Bytes that may be under way for one client, in replies that wait and in requests; beyond it, its commands wait. Also bytes of commands that wait before
/// it is paused.
pub(crate) const PENDING_BYTES_MAX: usize = 1 << 20;
/// What an argument costs in memory besides its bytes.
const ARG_BYTES: usize = 32;

/// Memory that commands take, in bytes.
pub(crate) fn bytes_of(commands: &[Command]) -> usize {
    commands.iter().flat_map(|command| &command.args).map(|arg| arg.len() + ARG_BYTES).sum()
}

/// A command's arguments, borrowed.
pub(crate) type Args<'a> = SmallVec<[&'a [u8]; 8]>;

/// A command that waits until it can be executed or forwarded.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Its arguments, one after the other, and where each ends.
    bytes: Box<[u8]>,
    ends: SmallVec<[usize; 4]>,
    pub(crate) since_us: u64,
    /// The round that brings what it needs, where it needs one.
    pub(crate) round: Option<u64>,
}

impl Waiting {
    pub(crate) fn new(args: &[&[u8]], since_us: u64, round: Option<u64>) -> Waiting {
        let mut end = 0;
        let ends = args.iter().map(|arg| {
            end += arg.len();
            end
        });
        Waiting { ends: ends.collect(), bytes: args.concat().into(), since_us, round }
    }

    pub(crate) fn args(&self) -> Args<'_> {
        let mut begin = 0;
        let arg = |end: &usize| &self.bytes[std::mem::replace(&mut begin, *end)..*end];
        self.ends.iter().map(arg).collect()
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * ARG_BYTES
    }
}

/// A reply's place in the pipeline of a client whose commands are forwarded.
#[derive(Debug)]
pub(crate) enum Place {
    /// Forwarded: its reply has not come.
    Asked {
        /// What was asked, to ask it again after a change of leaders.
        request: Request,
        /// When it was first asked; where it may wait for keys, when it has waited for them long enough.
        since_us: u64,
        /// It was handed to some leader at least once.
        sent: bool,
        /// The client wants no reply to it (CLIENT REPLY).
        mute: bool,
        /// It may write.
        writes: bool,
        /// The group whose leader was asked, or is to be; and the newest epoch of its keys' home that it is known to be from.
        group: u32,
        home_epoch: u64,
        /// Memory that it takes, in bytes.
        bytes: usize,
    },
    /// Its reply waits for those before it.
    Answered(Bytes),
}

impl Place {
    /// Whether it waits for the reply to the request of this number.
    pub(crate) fn is_of(&self, asked: u64) -> bool {
        matches!(self, Place::Asked { request, .. } if request.number == asked)
    }

    fn bytes(&self) -> usize {
        match self {
            Place::Asked { bytes, .. } => *bytes,
            Place::Answered(reply) => reply.len() + ARG_BYTES,
        }
    }
}

/// Why nothing more of a client is run for now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blocked {
    /// It waits for copies (WAIT).
    Copies(Wait),
    /// It waits until a key has something (BLPOP and its like).
    Keys(KeyWait),
    /// It sleeps until then (DEBUG SLEEP).
    Sleep(u64),
}

/// A client that waits until a key has something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyWait {
    /// When it has waited long enough.
    pub(crate) until_us: u64,
    /// Its number among those who wait, where this replica tries for it, and the command stands first among those that wait. Else 0: its request stands in
    /// the last place.
    pub(crate) number: u64,
    /// It is to be tried again.
    pub(crate) ready: bool,
    /// It ends before its time, and the client is told this.
    pub(crate) error: Option<&'static str>,
}

/// A client that waits for copies (WAIT).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// Last write that must have been copied.
    pub(crate) seq: u64,
    /// The same where nobody leads.
    pub(crate) wrote: Option<Dot>,
    /// How many other replicas must have it.
    pub(crate) replicas: usize,
    /// When to answer anyway.
    pub(crate) until_us: u64,
    /// WAITAOF: its answer names this replica's own copy first.
    pub(crate) local: bool,
    /// It ends before its time, and the client is told this.
    pub(crate) error: Option<&'static str>,
}

/// What CONSISTENCY was told on a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Consistency {
    pub(crate) level: Level,
    /// That of the request at hand.
    pub(crate) once: Option<Level>,
    /// Whose copies its replies wait for that are held.
    pub(crate) queue: Quorum,
    /// It has used the command: what its answers reach is noted when they are given.
    pub(crate) tracks: bool,
    /// It wants that with each answer.
    pub(crate) reports: bool,
    /// Its last answer to a command on data.
    pub(crate) last: Option<Reach>,
}

/// What of a connection has been executed in other groups.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    /// Those whose leaders have been asked: they are told when the connection ends.
    pub(crate) groups: SmallVec<[u32; 2]>,
    /// Those of them that were asked to write.
    pub(crate) wrote: SmallVec<[u32; 2]>,
    /// What was shown there: nothing without it is shown here.
    pub(crate) seen: ReceivedSet,
}

/// A client connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) state: ConnectionState,
    /// Replies, in order; `out[..ready]` may go to the socket.
    pub(crate) out: Vec<u8>,
    pub(crate) ready: usize,
    /// Bytes of the longest of these.
    pub(crate) longest: usize,
    /// Replies in `out` after `ready` that wait for a commit.
    pub(crate) held: usize,
    /// Announced in `Output::ready` and not taken yet.
    pub(crate) announced: bool,
    /// Commands not executed yet.
    pub(crate) waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    pub(crate) paused: bool,
    /// Forwarded commands, and replies that come after them.
    pub(crate) places: VecDeque<Place>,
    places_bytes: usize,
    /// Number of the last request forwarded, and of the last whose reply (and all before it) has come.
    pub(crate) asked: u64,
    pub(crate) confirmed: u64,
    /// Queued commands of an open transaction.
    pub(crate) transaction: Option<Vec<Command>>,
    /// Memory that they take.
    pub(crate) transaction_bytes: usize,
    /// One of them was refused: EXEC will be, too.
    pub(crate) transaction_refused: bool,
    pub(crate) watched: Vec<Watched>,
    /// READONLY was said: its reads may be answered here, however many confirm a read otherwise.
    pub(crate) readonly: bool,
    /// The state that this client has seen: it is never shown an older one.
    pub(crate) session_seq: u64,
    /// The same of what it has written.
    pub(crate) written_seq: u64,
    /// What it has said of its session; none as long as it has said nothing.
    pub(crate) session: Option<Box<Session>>,
    /// Its last write where nobody leads: under which name, and its sequence.
    pub(crate) wrote: Option<Dot>,
    /// Where it has been executed for in other groups: in which, and what it was shown there of all groups, as far as that is not known to have come here.
    pub(crate) elsewhere: Elsewhere,
    pub(crate) blocked: Option<Blocked>,
    /// When its last command came, and its name.
    pub(crate) last_us: u64,
    pub(crate) last_command: &'static str,
    /// Its next command is held back (CLIENT PAUSE).
    pub(crate) postponed: bool,
    pub(crate) consistency: Consistency,
    /// Nothing more is executed for it: when all is answered, this is said and the connection closed.
    pub(crate) last_words: Option<Box<[u8]>>,
}

impl Client {
    pub(crate) fn new(id: ClientId) -> Client {
        Client {
            state: ConnectionState { id, ..ConnectionState::default() },
            out: Vec::new(),
            ready: 0,
            longest: 0,
            held: 0,
            announced: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            paused: false,
            places: VecDeque::new(),
            places_bytes: 0,
            asked: 0,
            confirmed: 0,
            transaction: None,
            transaction_bytes: 0,
            transaction_refused: false,
            watched: Vec::new(),
            readonly: false,
            session_seq: 0,
            written_seq: 0,
            session: None,
            wrote: None,
            elsewhere: Elsewhere::default(),
            blocked: None,
            last_us: 0,
            last_command: "NULL",
            postponed: false,
            consistency: Consistency::default(),
            last_words: None,
        }
    }

    /// The next so many bytes of `out`, which are one reply, may go.
    pub(crate) fn may_hear(&mut self, bytes: usize) {
        self.ready += bytes;
        self.longest = self.longest.max(bytes);
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

    /// The group that has an open request of it.
    pub(crate) fn open_group(&self) -> Option<u32> {
        self.last_open().map(|(group, _)| group)
    }

    fn last_open(&self) -> Option<(u32, u64)> {
        self.places.iter().rev().find_map(|place| match place {
            Place::Asked { group, home_epoch, .. } => Some((*group, *home_epoch)),
            Place::Answered(_) => None,
        })
    }

    /// Whether a command of this epoch of a home, or of none, may be under way together with what is: it cannot be executed before that.
    pub(crate) fn may_follow(&self, group: u32, home_epoch: u64) -> bool {
        self.last_open().is_none_or(|last| last == (group, 0) || last == (group, home_epoch))
    }

    /// A group's leader is asked: if it is another group's, that is told when the connection ends.
    pub(crate) fn note_elsewhere(&mut self, group: u32, own: u32, writes: bool) {
        let Elsewhere { groups, wrote, .. } = &mut self.elsewhere;
        for noted in [Some(groups), Some(wrote).filter(|_| writes)].into_iter().flatten() {
            if group != own && !noted.contains(&group) {
                noted.push(group);
            }
        }
    }

    /// It waits for keys.
    pub(crate) fn key_wait(&self) -> Option<KeyWait> {
        match self.blocked {
            Some(Blocked::Keys(wait)) => Some(wait),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(crate) fn key_wait_mut(&mut self) -> Option<&mut KeyWait> {
        match &mut self.blocked {
            Some(Blocked::Keys(wait)) => Some(wait),
            _ => None,
        }
    }

    /// Keeps no memory for replies, if there is none and it has said nothing since then.
    pub(crate) fn let_go(&mut self, since_us: u64) {
        if self.last_us < since_us && self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// Its next command is not to be run: it waits for something, or so much is under way.
    pub(crate) fn is_halted(&self) -> bool {
        self.blocked.is_some_and(|blocked| !matches!(blocked, Blocked::Keys(wait) if wait.ready)) || self.is_backed_up()
    }

    /// So much is under way for it that its next command has to wait.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.out.len() - self.ready + self.places_bytes > PENDING_BYTES_MAX
    }

    pub(crate) fn push_place(&mut self, place: Place) {
        self.places_bytes += place.bytes();
        self.places.push_back(place);
    }

    /// The group that a request is asked of, if that still waits for its reply, and whether it may write.
    pub(crate) fn group_of_place(&self, asked: u64) -> Option<(u32, bool)> {
        self.places.iter().find(|place| place.is_of(asked)).and_then(|place| match place {
            Place::Asked { group, writes, .. } => Some((*group, *writes)),
            Place::Answered(_) => None,
        })
    }

    /// Puts a reply into its request's place: whether that may have written.
    pub(crate) fn answer_place(&mut self, asked: u64, reply: Bytes) -> bool {
        let Some(place) = self.places.iter_mut().find(|place| place.is_of(asked)) else { return false };
        let wrote = matches!(place, Place::Asked { writes: true, .. });
        self.places_bytes -= place.bytes();
        let mute = matches!(place, Place::Asked { mute: true, .. });
        *place = Place::Answered(if mute { Bytes::new() } else { reply });
        self.places_bytes += place.bytes();
        wrote
    }

    /// Puts replies into places, wherever there is one for them.
    pub(crate) fn answer_places(&mut self, mut reply_to: impl FnMut(&Place) -> Option<Bytes>) {
        for place in &mut self.places {
            if let Some(reply) = reply_to(place) {
                self.places_bytes -= place.bytes();
                *place = Place::Answered(reply);
                self.places_bytes += place.bytes();
            }
        }
    }

    pub(crate) fn push_waiting(&mut self, waiting: Waiting) {
        self.waiting_bytes += waiting.bytes();
        self.waiting.push_back(waiting);
    }

    /// The next command that waits.
    pub(crate) fn pop_waiting(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.waiting_bytes -= waiting.bytes();
        Some(waiting)
    }

    /// Its time has not come.
    pub(crate) fn put_back(&mut self, waiting: Waiting) {
        self.waiting_bytes += waiting.bytes();
        self.waiting.push_front(waiting);
    }

    /// Bytes of commands that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(crate) fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// As many commands wait as one client may have, over this many.
    pub(crate) fn waits_for_much(&self, part: usize) -> bool {
        self.waiting.len() >= WAITING_MAX / part || self.waiting_bytes >= PENDING_BYTES_MAX / part
    }

    /// Moves replies that nothing is before any more into `out`: how many bytes that were.
    pub(crate) fn settle(&mut self) -> usize {
        let before = self.out.len();
        while let Some(place) = self.places.pop_front_if(|place| matches!(place, Place::Answered(_))) {
            self.places_bytes -= place.bytes();
            if let Place::Answered(bytes) = place {
                self.out.extend_from_slice(&bytes);
            }
        }
        self.out.len() - before
    }

    /// The level of the request at hand.
    pub(crate) fn level(&self) -> Level {
        let level = self.consistency.once.unwrap_or(self.consistency.level);
        match self.session.as_ref().and_then(|session| session.asks) {
            Some(Asks { quorum, member }) => Level { r: quorum.unwrap_or(level.r), with: member, ..level },
            None => level,
        }
    }

    /// Whether a reply of it may wait for the copies of this quorum: all of its replies that wait are in one queue.
    pub(crate) fn may_wait_for(&self, quorum: Quorum) -> bool {
        self.held == 0 || self.consistency.queue == quorum
    }

    /// Everything it has asked is answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.held == 0 && self.places.is_empty() && self.waiting.is_empty() && self.blocked.is_none()
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
        self.session = None;
        // What is under way keeps the queue that it is in.
        self.consistency = Consistency { queue: self.consistency.queue, ..Consistency::default() };
    }
}
