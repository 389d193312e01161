//! Messages about a connection itself: who is there, in what form its frames come, and that nobody is there any more.

use bytes::Bytes;

use crate::{
    ids::{Incarnation, ReplicaId},
    topology::{Group, Home},
};

/// First frame of both sides; anything else first, or anything wrong in it, closes the connection.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hello {
    /// [`crate::PROTOCOL_VERSION`] of the sender.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Store that the sender belongs to.
    #[prost(string, tag = "2")]
    pub store: String,
    /// Sender's number; 0 is an operator or a tool.
    #[prost(uint32, tag = "3")]
    pub from: ReplicaId,
    /// Sender's incarnation; 0 where its process has ended, and another one answers in its place to say so.
    #[prost(fixed64, tag = "4")]
    pub incarnation: Incarnation,
    /// Whom the sender means to talk to; the other side refuses if that is not it.
    #[prost(uint32, tag = "5")]
    pub to: ReplicaId,
    /// Random number of the sender's process.
    #[prost(fixed64, tag = "6")]
    pub boot: u64,
    /// The sender's group within the store.
    #[prost(uint32, tag = "7")]
    pub group: u32,
    /// The sender understands [`Packed`].
    #[prost(bool, tag = "50")]
    pub unpacks: bool,
    /// From an edge at a door for edges: its key. There `to` is 0, as it does not know who is behind the door.
    #[prost(bytes = "vec", tag = "8")]
    pub key: Vec<u8>,
    /// From an edge: whom it is connected to. Several doors may lead to one of them.
    #[prost(uint32, repeated, tag = "10")]
    pub connected: Vec<ReplicaId>,
    /// To an edge that is not let in: it is nothing against it, and may be otherwise soon.
    #[prost(bool, tag = "11")]
    pub not_now: bool,
    /// To an edge that is not let in: why.
    #[prost(string, tag = "9")]
    pub refused: String,
}

/// A piece of a stream of frames, made smaller; frames may go on from one piece to the next. It is the shell's own and never seen by a core.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Packed {
    /// Bytes of the piece.
    #[prost(uint32, tag = "1")]
    pub bytes: u32,
    /// The piece as one LZ4 block.
    #[prost(bytes = "bytes", tag = "2")]
    pub lz4: Bytes,
}

/// A replica's process has ended for certain: its parent has waited for it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Ended {
    /// Random number of that process, as in its Hello and its reports.
    #[prost(fixed64, tag = "1")]
    pub boot: u64,
    /// How it ended, for people.
    #[prost(string, tag = "2")]
    pub how: String,
}

/// The store as the sender's record knows it, for an edge, whose own record somebody else writes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Regions {
    /// The store's groups but for edges, the sender's own among them.
    #[prost(message, repeated, tag = "1")]
    pub groups: Vec<Group>,
    /// Keys that one group alone writes: which, and under which epoch.
    #[prost(message, repeated, tag = "2")]
    pub homes: Vec<Home>,
    /// The sender's group.
    #[prost(uint32, tag = "3")]
    pub told_by: u32,
    /// Classes of keyspace events that are told, by the sender's record.
    #[prost(string, tag = "4")]
    pub keyspace_events: String,
    /// Number of the change that made it so.
    #[prost(uint64, tag = "5")]
    pub keyspace_events_revision: u64,
}

/// An edge is not let in any more.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TurnedAway {
    /// Why, for people.
    #[prost(string, tag = "1")]
    pub why: String,
}
