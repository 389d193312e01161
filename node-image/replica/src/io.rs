//! What goes into a replica and what comes out of it: the contract between the core and its shell.

use bytes::Bytes;
use trireme_proto::{Epoch, Incarnation, Message, Position, ReplicaId, Topology, ids::Peer, topology::Durability};

/// The time, as the shell sees it when it calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock in microseconds, from any start: leases, time-outs, deadlines.
    pub mono_us: u64,
    /// Wall clock in milliseconds since 1970: expiry and the hybrid logical clock.
    pub wall_ms: u64,
}

/// A client connection of this replica. The shell chooses the number, from 1, and never uses one twice within a process.
pub type ClientId = u64;

/// What happens to a replica.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client has connected.
    ClientOpened(ClientId),
    /// Where a client is, and where it connected to, as `address:port`: for CLIENT LIST and its like.
    ClientFrom {
        /// Who.
        client: ClientId,
        /// Its own address.
        address: &'a str,
        /// This replica's.
        local_address: &'a str,
    },
    /// A client is gone.
    ClientClosed(ClientId),
    /// A client sent a command: its name and arguments. Never while the client is paused ([`Output::paused`]).
    Command {
        /// Who.
        client: ClientId,
        /// Name and arguments, at least the name.
        args: &'a [&'a [u8]],
    },
    /// Nothing more is executed for a client: once everything it sent before is answered, these bytes are said and its connection is closed.
    LastWords {
        /// Who.
        client: ClientId,
        /// The end of what it is sent; may be empty.
        words: &'a [u8],
    },
    /// Clients that connect from now on must say this password before anything else; empty lets in everybody. Those that are in stay.
    Password(&'a [u8]),
    /// So many bytes of memory the process has: what needs more is refused where that is more than it may have. To be said from time to time.
    Memory(u64),
    /// What the store's session tokens are sealed with; empty: none are given or taken.
    SessionKey(&'a [u8]),
    /// A peer connection is up: both sides have said Hello and accepted it.
    PeerOpened {
        /// Who.
        peer: Peer,
        /// Its incarnation; 0 for an operator.
        incarnation: Incarnation,
        /// The group that it says it is of.
        group: u32,
    },
    /// A peer connection is gone.
    PeerClosed(Peer),
    /// Much of what was sent to a peer waits to be taken by its line, or no longer does.
    PeerBusy(Peer, bool),
    /// A peer said something.
    Peer {
        /// Who.
        peer: Peer,
        /// What.
        message: Message,
    },
    /// Everything in [`Output::persist`] up to and including this ticket is as durable as the store's `durability` asks for.
    Persisted(u64),
    /// Everything that was handed out in [`Output::checkpoint`] is done.
    Checkpointed,
    /// The disk has become full (true: the log may grow no more), or has room again.
    DiskFull(bool),
    /// SIGTERM: hand over what is led, let every client go when it has its answers, then [`Output::finished`].
    Shutdown,
    /// The deadline has come.
    Tick,
}

/// What a replica wants done. The shell takes it after every batch of inputs, hands it back empty, and keeps to the duties in the crate's front page.
#[derive(Debug, Default)]
pub struct Output {
    /// Disk operations, in order. When all of a turn's are durable, the shell answers [`Input::Persisted`] with the last ticket.
    pub persist: Vec<(u64, DiskOp)>,
    /// Steps of the checkpoint of this replica's own state, in order among themselves: no other operation waits for them, nor they for others. When they are
    /// done, the shell answers [`Input::Checkpointed`]; until then no more are handed out.
    pub checkpoint: Vec<CheckpointOp>,
    /// Messages, in order per peer. What depends on durability is only handed out when that has been reported.
    pub send: Vec<(Peer, Message)>,
    /// Clients for whom [`crate::Replica::take_replies`] has bytes.
    pub ready: Vec<ClientId>,
    /// Clients from whom no more commands are to be read, for now.
    pub paused: Vec<ClientId>,
    /// Clients from whom commands may be read again.
    pub resumed: Vec<ClientId>,
    /// Clients whose connection is to be closed once their replies are written.
    pub close: Vec<ClientId>,
    /// Clients whose connection is to be closed at once, whatever they were to be told.
    pub cut: Vec<ClientId>,
    /// What a person may want to know, in order.
    pub events: Vec<Event>,
    /// When to call again with [`Input::Tick`] at the latest: monotonic microseconds.
    pub deadline_us: u64,
    /// The replica may end: nothing is led here any more, and every client has its answers.
    pub finished: bool,
    /// The replica cannot go on; the shell says why and ends the process.
    pub fatal: Option<String>,
}

/// One operation on the disk. They take effect in order.
#[derive(Clone, Debug, PartialEq)]
pub enum DiskOp {
    /// Replace what is remembered outside the log.
    Meta(Box<Meta>),
    /// Append whole records: the same bytes that peers are sent.
    Append {
        /// Seq of the first record.
        first: u64,
        /// Seq of the last record.
        last: u64,
        /// The records, one after the other.
        bytes: Bytes,
    },
    /// Note in the log that everything up to here is committed: a restart applies this much by itself. Need not be durable before it is reported.
    Commit(u64),
    /// Cut the log after this seq. The records cut off are kept in a file of their own.
    Truncate {
        /// The last seq that stays.
        last: u64,
    },
    /// Keep a copy of the records after this seq in a file of their own: they diverge from the leader's log, and a snapshot will replace log and state.
    KeepAside {
        /// The last seq that does not diverge.
        after: u64,
    },
    /// Begin a log anew after this position: a snapshot is being installed, what the log held before is void once [`CheckpointOp::Finish`] is durable.
    /// Both take effect as one: a crash between them finds either the old log and checkpoint or the new.
    Reset {
        /// The position that the next record follows.
        position: Position,
    },
    /// Records before this seq are no longer needed by anybody; they may go once a checkpoint covers them.
    Retain {
        /// The first seq that must stay.
        from: u64,
    },
    /// A step of writing a checkpoint that came as a snapshot. If one of [`Output::checkpoint`] is unfinished, it is dropped.
    Snapshot(CheckpointOp),
}

/// A checkpoint is written in steps, beside the one in force, and replaces it when finished.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckpointOp {
    /// A new one begins; an unfinished one is dropped.
    Begin {
        /// The log goes on from the entry after this one.
        start: Position,
        /// The core's state that belongs to no slot, at `start`, as [`crate::Recovery::checkpoint`] takes it.
        meta: Bytes,
    },
    /// One slot that is not empty.
    Slot {
        /// Its number.
        slot: u16,
        /// The engine's own encoding.
        image: Bytes,
    },
    /// It is complete: make it durable, and make it the one in force.
    Finish {
        /// The state is whole once the log has been applied up to this seq. The log is durable up to there when this is handed out.
        whole_at: u64,
    },
}

/// What a replica remembers outside its log: small, replaced as a whole, durable before anything that follows it is answered.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Meta {
    /// The highest epoch promised to.
    #[prost(message, required, tag = "1")]
    pub promise: Epoch,
    /// The highest epoch led by this replica: it is led only once.
    #[prost(message, required, tag = "2")]
    pub led: Epoch,
    /// The newest record of the authority that was seen.
    #[prost(message, optional, tag = "3")]
    pub topology: Option<Topology>,
    /// Where every replica is an origin: how often a process on this disk may have sent entries that the disk then lost, in this life of it.
    #[prost(uint32, tag = "4")]
    pub lives: u32,
    /// The process wrote everything down before it ended: the next one may go on under its name.
    #[prost(bool, tag = "5")]
    pub clean: bool,
}

/// Who a replica is: written once on an empty disk, checked at every start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Unique name of the store.
    pub store: String,
    /// Its number within the store.
    pub id: ReplicaId,
    /// Which life of its disk.
    pub incarnation: Incarnation,
    /// Random number of this process.
    pub boot: u64,
    /// The group it belongs to.
    pub group: u32,
    /// When copies count, before a record says otherwise.
    pub durability: Durability,
}

/// Something that a person may want to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It writes under this name from now on.
    Named(trireme_proto::ids::Origin),
    /// A seal was promised.
    Promised(Epoch),
    /// It leads now; its start entry is not committed yet.
    Leads(Epoch),
    /// It serves clients as leader.
    Serves(Epoch),
    /// It follows this leader now.
    Follows(ReplicaId, Epoch),
    /// It was deposed: so many uncommitted entries were undone.
    Deposed {
        /// By this epoch.
        by: Epoch,
        /// Entries undone.
        undone: u64,
    },
    /// Its log was cut after this position: so many entries were kept aside.
    Cut {
        /// The last entry that stayed.
        last: Position,
        /// Entries cut.
        entries: u64,
    },
    /// Entries that were cut off a former leader were appended again.
    Recovered {
        /// The former leader.
        from: ReplicaId,
        /// How many.
        entries: u64,
    },
    /// Entries that were cut off a former leader are too many generations old to be appended again.
    NotRecovered {
        /// The former leader.
        from: ReplicaId,
        /// How many.
        entries: u64,
    },
    /// A snapshot from the leader was installed.
    SnapshotInstalled(Position),
    /// A checkpoint was finished.
    CheckpointFinished(Position),
    /// A slot differs from the leader's at the same position.
    DigestMismatch {
        /// The slot.
        slot: u16,
        /// Its last write.
        seq: u64,
    },
    /// The disk is full, or has room again.
    DiskFull(bool),
}
