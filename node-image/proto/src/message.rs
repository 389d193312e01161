//! Messages on the peer port.

use bytes::Bytes;

pub use crate::{connection::*, feed::*, probe::*, published::*};
use crate::{
    ids::{Epoch, Incarnation, Origin, Position},
    report::Report,
    topology::Topology,
};

/// One frame.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Frame {
    /// Its content; a frame of a later version may have one that is not known here.
    #[prost(
        oneof = "Message",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 30, 31, 50, 61, 62"
    )]
    pub message: Option<Message>,
}

/// Everything that is said.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Message {
    /// First frame of both sides.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// Operator or peer to replica: the record.
    #[prost(message, tag = "2")]
    Topology(Box<Topology>),
    /// Replica to operator.
    #[prost(message, tag = "3")]
    Report(Box<Report>),
    /// Leader to replica: entries, or a heartbeat.
    #[prost(message, tag = "4")]
    Append(Append),
    /// Replica to leader.
    #[prost(message, tag = "5")]
    AppendAck(AppendAck),
    /// Replica to a leader whose epoch is too old.
    #[prost(message, tag = "6")]
    Fenced(Fenced),
    /// Replica to leader: what my log looks like.
    #[prost(message, tag = "7")]
    LogState(LogState),
    /// Leader to replica: where our logs agree.
    #[prost(message, tag = "8")]
    Resume(Resume),
    /// Leader to replica: a snapshot begins.
    #[prost(message, tag = "9")]
    SnapshotBegin(SnapshotBegin),
    /// Leader to replica: some of its slots.
    #[prost(message, tag = "10")]
    SnapshotSlots(SnapshotSlots),
    /// Leader to replica: it is whole.
    #[prost(message, tag = "11")]
    SnapshotEnd(SnapshotEnd),
    /// Replica to leader: how far it has got.
    #[prost(message, tag = "12")]
    SnapshotAck(SnapshotAck),
    /// Replica to leader: clients' commands.
    #[prost(message, tag = "13")]
    Forward(Forward),
    /// Leader to replica: their replies.
    #[prost(message, tag = "14")]
    ForwardReply(ForwardReply),
    /// Former leader to leader: entries that the failover cut off.
    #[prost(message, tag = "15")]
    CutSuffix(CutSuffix),
    /// Leader to replica, or replica to a tool that asked: slot digests.
    #[prost(message, tag = "16")]
    Digests(Digests),
    /// Leader to replica: the log from a snapshot's start to where its state is whole.
    #[prost(message, tag = "17")]
    SnapshotEntries(SnapshotEntries),
    /// Who watched over a replica's process to whoever calls it, after a Hello without an incarnation.
    #[prost(message, tag = "18")]
    Ended(Ended),
    /// Leader to replica: what it offered of a cut suffix has been appended again, as far as it had to be.
    #[prost(message, tag = "19")]
    SuffixTaken(SuffixTaken),
    /// Replica to replica, where there are several groups: what one turn has for a peer.
    #[prost(message, tag = "20")]
    Feed(Box<Feed>),
    /// Replica to replica: digests of some slots, to find those that differ.
    #[prost(message, tag = "21")]
    Compare(Compare),
    /// The answer: those that do.
    #[prost(message, tag = "22")]
    Differ(Differ),
    /// And their state.
    #[prost(message, tag = "23")]
    States(States),
    /// A group's leader to all replicas of other groups, with its heartbeats: here is who executes.
    #[prost(message, tag = "24")]
    Leads(Leads),
    /// A group's leader to an edge: what its record says that the edge needs to know.
    #[prost(message, tag = "25")]
    Regions(Box<Regions>),
    /// A group's leader to an edge that it lets in no more, before it closes the connection. An older edge hears it where it knocks next.
    #[prost(message, tag = "26")]
    TurnedAway(TurnedAway),
    /// Replica to replica: what clients have published. An older one does not know it: its clients hear nothing from elsewhere.
    #[prost(message, tag = "30")]
    Published(Published),
    /// Replica to replica, when it changes and on each new connection. An older one does not know it: what its clients do makes no events.
    #[prost(message, tag = "31")]
    KeyspaceEvents(KeyspaceEvents),
    /// Only to who said in its Hello that it unpacks: a piece of a stream of frames.
    #[prost(message, tag = "50")]
    Packed(Packed),
    /// Operator to replica: write nothing, and tell when that is acknowledged.
    #[prost(message, tag = "61")]
    Probe(Probe),
    /// Whoever leads, or coordinates, to the operator: it is.
    #[prost(message, tag = "62")]
    Probed(Probed),
}

/// "I lead my group, and serve."
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Leads {
    /// In this epoch.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
}

/// Entries in order, or a heartbeat where there are none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Append {
    /// The leader's epoch.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
    /// The entry before the first of `entries`.
    #[prost(message, required, tag = "2")]
    pub previous: Position,
    /// Everything up to here is committed.
    #[prost(uint64, tag = "3")]
    pub commit: u64,
    /// Whole log records, one after the other: the same bytes that the leader's disk has.
    #[prost(bytes = "bytes", tag = "4")]
    pub entries: Bytes,
    /// The leader's monotonic clock in microseconds when it was sent: the acknowledgement brings it back, and the lease runs from it.
    #[prost(uint64, tag = "5")]
    pub sent_us: u64,
    /// The leader's hybrid logical clock.
    #[prost(fixed64, tag = "6")]
    pub clock: u64,
    /// Milliseconds that the lease asked for runs.
    #[prost(uint32, tag = "7")]
    pub lease_ms: u32,
    /// Milliseconds since the leader last heard this follower: where only one direction of a path is lost, the other end learns of it by this.
    #[prost(uint32, tag = "8")]
    pub unheard_ms: u32,
    /// The leader had its lease: nobody else had committed anything when this was sent.
    #[prost(bool, tag = "60")]
    pub leased: bool,
    /// Other groups' entries: by how many milliseconds the leader is behind with them, at most, and how many it lacks, as far as it has heard.
    #[prost(uint64, tag = "61")]
    pub behind_ms: u64,
    /// See `behind_ms`.
    #[prost(uint64, tag = "62")]
    pub behind_entries: u64,
}

/// What the sender holds durably.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AppendAck {
    /// The leader's epoch: acknowledgements of an older one count for nothing.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
    /// Everything up to here is durable and the same as the leader's.
    #[prost(uint64, tag = "2")]
    pub durable: u64,
    /// Largest [`Append::sent_us`] heard, which grants the lease it asked for; 0 grants none.
    #[prost(uint64, tag = "3")]
    pub sent_us: u64,
    /// Clients wait here for what their sessions have seen: commits are to be told at once, until an acknowledgement says otherwise.
    #[prost(bool, tag = "4")]
    pub awaits_commit: bool,
}

/// "I have promised more than your epoch."
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Fenced {
    /// The sender's promise.
    #[prost(message, required, tag = "1")]
    pub promise: Epoch,
    /// The epoch that was refused.
    #[prost(message, required, tag = "2")]
    pub refused: Epoch,
}

/// What the sender's log looks like, for the leader to find where both agree (the epoch tables of KIP-101 and KIP-279, in one round).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LogState {
    /// The leader's epoch.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
    /// Each epoch of the log with its first seq, ascending.
    #[prost(message, repeated, tag = "2")]
    pub table: Vec<Position>,
    /// Last seq.
    #[prost(uint64, tag = "3")]
    pub last: u64,
    /// Known to be committed, and in the state.
    #[prost(uint64, tag = "4")]
    pub commit: u64,
    /// Sender's incarnation.
    #[prost(fixed64, tag = "5")]
    pub incarnation: Incarnation,
}

/// Answer to [`LogState`]: cut your log after `agreed`; what follows comes as [`Append`], or first a snapshot.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Resume {
    /// The leader's epoch.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
    /// Last entry that both logs have.
    #[prost(message, required, tag = "2")]
    pub agreed: Position,
}

/// Begin of a snapshot.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotBegin {
    /// The leader's epoch.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
    /// Position at its start: the log goes on from the entry after it.
    #[prost(message, required, tag = "2")]
    pub start: Position,
    /// The epoch table up to `start`.
    #[prost(message, repeated, tag = "3")]
    pub table: Vec<Position>,
    /// The engine's state that belongs to no slot, at `start`.
    #[prost(bytes = "bytes", tag = "4")]
    pub meta: Bytes,
    /// Tells this transfer from an earlier one.
    #[prost(uint64, tag = "5")]
    pub transfer: u64,
}

/// Some slots of a snapshot.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotSlots {
    /// Which transfer.
    #[prost(uint64, tag = "1")]
    pub transfer: u64,
    /// The slots.
    #[prost(message, repeated, tag = "2")]
    pub slots: Vec<SlotImage>,
}

/// All keys of one slot.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SlotImage {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub slot: u32,
    /// Its digest, checked after it has been read in.
    #[prost(fixed64, tag = "2")]
    pub digest: u64,
    /// The engine's own encoding.
    #[prost(bytes = "bytes", tag = "3")]
    pub image: Bytes,
}

/// Entries that a snapshot needs: its slots were taken at different times, and these make them one state.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotEntries {
    /// Which transfer.
    #[prost(uint64, tag = "1")]
    pub transfer: u64,
    /// Whole log records, going on from the snapshot's start or from those sent before.
    #[prost(bytes = "bytes", tag = "2")]
    pub entries: Bytes,
}

/// End of a snapshot.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotEnd {
    /// Which transfer.
    #[prost(uint64, tag = "1")]
    pub transfer: u64,
    /// The state is whole once the log has been applied up to here: everything up to here was sent, and is committed.
    #[prost(uint64, tag = "2")]
    pub whole_at: u64,
}

/// Progress of a snapshot at its receiver.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotAck {
    /// Which transfer.
    #[prost(uint64, tag = "1")]
    pub transfer: u64,
    /// Bytes taken in so far, of images and entries.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// Commands of clients that are connected to the sender.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Forward {
    /// The epoch of the leader that the sender means.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
    /// In order, per connection.
    #[prost(message, repeated, tag = "2")]
    pub requests: Vec<Request>,
    /// Connections that have ended: their replies need not be kept.
    #[prost(uint64, repeated, tag = "3")]
    pub ended: Vec<u64>,
    /// Requests whose time to wait is over before it was: if they still wait, they are answered now.
    #[prost(message, repeated, tag = "4")]
    pub released: Vec<Released>,
}

/// A request that is to wait no longer.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Released {
    /// Its connection.
    #[prost(uint64, tag = "1")]
    pub connection: u64,
    /// Its number.
    #[prost(uint64, tag = "2")]
    pub number: u64,
}

/// One unit of work of one client: a command, or a whole transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Together with the sender's incarnation: whose.
    #[prost(uint64, tag = "1")]
    pub connection: u64,
    /// Together with these: which. Rises by one per request of the connection.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// Every reply up to this number has reached the forwarder.
    #[prost(uint64, tag = "3")]
    pub confirmed: u64,
    /// One command; more are a transaction.
    #[prost(message, repeated, tag = "4")]
    pub commands: Vec<Command>,
    /// Execute only if these keys are as they were.
    #[prost(message, repeated, tag = "5")]
    pub watched: Vec<Watched>,
    /// The client speaks RESP3.
    #[prost(bool, tag = "6")]
    pub resp3: bool,
    /// It is a transaction, even of one command or none.
    #[prost(bool, tag = "7")]
    pub transaction: bool,
    /// How many microseconds it may wait until its keys have something, if it is a command that does; the largest number: for ever.
    #[prost(uint64, tag = "8")]
    pub wait_us: u64,
    /// To another group only: what its client has been shown, or may have been. It is executed where all of it has been received.
    #[prost(message, repeated, tag = "9")]
    pub seen: Vec<Seen>,
    /// Where `seen` is what its session has seen, for how many milliseconds it is waited for; 0 where it is not.
    #[prost(uint32, tag = "60")]
    pub seen_wait_ms: u32,
    /// A read: by how many milliseconds who executes it may be behind other groups.
    #[prost(uint64, optional, tag = "61")]
    pub max_lag_ms: Option<u64>,
    /// The same in entries.
    #[prost(uint64, optional, tag = "62")]
    pub max_lag_entries: Option<u64>,
    /// A read: its client wants to know with the reply how far behind that was.
    #[prost(bool, tag = "63")]
    pub tells_staleness: bool,
    /// A read whose sender may be told that another group has what it needs.
    #[prost(bool, tag = "64")]
    pub may_be_fetched: bool,
}

/// A command as the client sent it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Command {
    /// Name and arguments.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub args: Vec<Bytes>,
}

/// A watched key and the version that was seen.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Watched {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The engine's version of it when it was watched; 0: clients saw none.
    #[prost(fixed64, tag = "2")]
    pub version: u64,
    /// The log's seq of the state that was looked at.
    #[prost(uint64, tag = "3")]
    pub seq: u64,
    /// The version of what there was of it although clients saw none.
    #[prost(fixed64, tag = "4")]
    pub hidden: u64,
    /// Whose log that was; an older version does not say.
    #[prost(message, optional, tag = "5")]
    pub origin: Option<Origin>,
}

/// Replies to forwarded requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ForwardReply {
    /// The leader's epoch.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
    /// In the order in which they became ready.
    #[prost(message, repeated, tag = "2")]
    pub replies: Vec<Reply>,
}

/// One reply.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Reply {
    /// Whose.
    #[prost(uint64, tag = "1")]
    pub connection: u64,
    /// To which request.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// The bytes for the client.
    #[prost(bytes = "bytes", tag = "3")]
    pub bytes: Bytes,
    /// The forwarder reads its own state for this client only once it has applied this seq (read-your-own-writes).
    #[prost(uint64, tag = "4")]
    pub seq: u64,
    /// Of another group only: what its client has been shown by this. The forwarder's own state is shown to this client only once it has received all of it.
    #[prost(message, repeated, tag = "5")]
    pub seen: Vec<Seen>,
    /// Nothing was executed here, now or earlier: the keys are at home elsewhere.
    #[prost(message, optional, tag = "6")]
    pub moved: Option<Moved>,
}

/// Where a request belongs.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Moved {
    /// Its keys' home, as far as the sender knows.
    #[prost(uint32, tag = "1")]
    pub group: u32,
    /// The home's epoch that it knows that from.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// Entries that a failover cut off the sender's log, as records, in order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CutSuffix {
    /// The epoch whose leader cut them.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
    /// Whole log records.
    #[prost(bytes = "bytes", tag = "2")]
    pub entries: Bytes,
    /// Not 0: here ends what the sender offers, its so manieth offer. The leader says when it has taken it.
    #[prost(uint64, tag = "3")]
    pub ends: u64,
}

/// Everything of a cut suffix that was offered has been appended again, as far as it had to be.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SuffixTaken {
    /// Which offer: see [`CutSuffix::ends`].
    #[prost(uint64, tag = "1")]
    pub ends: u64,
    /// The end of the leader's log then: once this is committed, nothing of the offer can be lost any more.
    #[prost(message, required, tag = "2")]
    pub at: Position,
}

/// Digests of slots, each with the seq of the slot's last write: where that is the same on two replicas, the digest must be.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Digests {
    /// True: the sender asks for all of them; nothing else is set.
    #[prost(bool, tag = "1")]
    pub ask: bool,
    /// First slot.
    #[prost(uint32, tag = "2")]
    pub first_slot: u32,
    /// Seq of the last write of each slot from there on.
    #[prost(uint64, repeated, tag = "3")]
    pub last_writes: Vec<u64>,
    /// Digest of each.
    #[prost(fixed64, repeated, tag = "4")]
    pub digests: Vec<u64>,
    /// What the sender had applied.
    #[prost(uint64, tag = "5")]
    pub applied: u64,
}
