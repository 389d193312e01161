//! What clients publish, on its way to the subscribers of other replicas.

use bytes::Bytes;

use crate::{feed::Seen, ids::ReplicaId};

/// What the clients of one replica published in one of its turns. It is no part of any log: what does not arrive is gone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Published {
    /// Whose clients; its sender may be another one, that passes it on to or from an edge.
    #[prost(uint32, tag = "1")]
    pub publisher: ReplicaId,
    /// The publisher's process.
    #[prost(fixed64, tag = "2")]
    pub boot: u64,
    /// Number of the first message, counted by that process: what came already by another way is not delivered again.
    #[prost(uint64, tag = "3")]
    pub first: u64,
    /// The publisher's group.
    #[prost(uint32, tag = "4")]
    pub group: u32,
    /// What was committed there, as far as the publisher knew: in its group they are delivered where that has been applied.
    #[prost(uint64, tag = "5")]
    pub commit: u64,
    /// And in other groups where this has been received.
    #[prost(message, repeated, tag = "6")]
    pub seen: Vec<Seen>,
    /// The messages, in order.
    #[prost(message, repeated, tag = "7")]
    pub messages: Vec<PublishedMessage>,
}

/// Which keyspace events a store's replicas tell: what CONFIG SET has said last of that, at any of them. A state: to hear it again changes nothing, and of two the
/// one with the larger (revision, clock, replica) is the later one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyspaceEvents {
    /// When it was said, in milliseconds since 1970 by the clock of who said it, and after all that it had heard.
    #[prost(uint64, tag = "1")]
    pub clock_ms: u64,
    /// At which replica.
    #[prost(uint32, tag = "2")]
    pub replica: ReplicaId,
    /// The classes, as letters.
    #[prost(string, tag = "3")]
    pub classes: String,
    /// In place of what the record had then: where it has something else now under the same revision, that counts.
    #[prost(string, tag = "4")]
    pub in_place_of: String,
    /// The newest revision of the record that was known to who said it: where the record has a newer one, that counts.
    #[prost(uint64, tag = "5")]
    pub revision: u64,
}

/// One message.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PublishedMessage {
    /// Where to.
    #[prost(bytes = "bytes", tag = "1")]
    pub channel: Bytes,
    /// What.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
    /// By SPUBLISH: to who has said SSUBSCRIBE.
    #[prost(bool, tag = "3")]
    pub shard: bool,
}
