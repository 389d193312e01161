//! Messages between groups: entries, what reads and writes ask, and state where entries are no longer to be had.

use bytes::Bytes;

use crate::ids::{Epoch, Origin};

/// What one turn of a replica has for another one, where each leads a group of its own: entries, acknowledgements, and what reads and writes ask.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Feed {
    /// The epoch of the record that the sender obeys: who coordinates by an older one does not count what is said here.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
    /// That record's version.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// The sender's hybrid logical clock.
    #[prost(fixed64, tag = "3")]
    pub clock: u64,
    /// Whole log records of deltas, as they stand on the sender's disk, in pieces.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub entries: Vec<Bytes>,
    /// What the sender holds durably of the receiver's entries, under its present name.
    #[prost(message, optional, tag = "5")]
    pub acknowledged: Option<Seen>,
    /// What the sender asks.
    #[prost(message, repeated, tag = "6")]
    pub rounds: Vec<Round>,
    /// What the sender was asked.
    #[prost(message, repeated, tag = "7")]
    pub answers: Vec<Answer>,
    /// State that the receiver lacks.
    #[prost(message, repeated, tag = "8")]
    pub mends: Vec<Mend>,
    /// Rounds whose mends the sender holds durably.
    #[prost(uint64, repeated, tag = "9")]
    pub mended: Vec<u64>,
    /// With every heartbeat: what the sender holds.
    #[prost(message, optional, tag = "10")]
    pub holds: Option<Holds>,
}

/// What is held of one origin's entries.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Seen {
    /// Whose.
    #[prost(message, required, tag = "1")]
    pub origin: Origin,
    /// Every sequence up to here.
    #[prost(uint64, tag = "2")]
    pub upto: u64,
    /// Beyond that: first and last of each interval, in order.
    #[prost(uint64, repeated, tag = "3")]
    pub beyond: Vec<u64>,
}

/// What a replica holds of everybody's entries.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Holds {
    /// Durably, of each origin.
    #[prost(message, repeated, tag = "1")]
    pub received: Vec<Seen>,
    /// XOR of its slots' digests, where it holds nothing else; 0 otherwise.
    #[prost(fixed64, tag = "2")]
    pub digest: u64,
    /// The name under which it writes; none before it may.
    #[prost(message, optional, tag = "3")]
    pub origin: Option<Origin>,
    /// The sender's monotonic clock in microseconds, where nothing of its own was committed by then that is not in here. None where somebody else may lead
    /// its group without its knowledge; an older version does not say.
    #[prost(uint64, optional, tag = "60")]
    pub as_of_us: Option<u64>,
}

/// A question to everybody: the clock, and the state of keys. First by their slots: who has nothing there that the sender lacks need not look at keys.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Round {
    /// Its number at the sender.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Keys.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub keys: Vec<Bytes>,
    /// What the sender has of each, as a digest.
    #[prost(fixed64, repeated, tag = "3")]
    pub digests: Vec<u64>,
    /// Slots, in order.
    #[prost(uint32, repeated, tag = "4")]
    pub slots: Vec<u32>,
    /// Where there are slots: what the sender has received, durably or not.
    #[prost(message, repeated, tag = "5")]
    pub received: Vec<Seen>,
}

/// The answer to a [`Round`]. The clock is the message's.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Answer {
    /// Which round.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Keys of which something else is held here.
    #[prost(message, repeated, tag = "2")]
    pub states: Vec<KeyState>,
    /// Slots in which more may be held here than the asker has received.
    #[prost(uint32, repeated, tag = "3")]
    pub ahead: Vec<u32>,
    /// Where slots were asked: what is held here, durably.
    #[prost(message, repeated, tag = "4")]
    pub holds: Vec<Seen>,
}

/// What is held of one key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyState {
    /// Which of the round's keys.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// Its digest.
    #[prost(fixed64, tag = "2")]
    pub digest: u64,
    /// The engine's own encoding.
    #[prost(bytes = "bytes", tag = "3")]
    pub image: Bytes,
}

/// State of keys that the receiver was found to lack.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Mend {
    /// The round that found it.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The images.
    #[prost(message, repeated, tag = "2")]
    pub images: Vec<PartImage>,
}

/// The state of a part of a slot.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PartImage {
    /// The slot.
    #[prost(uint32, tag = "1")]
    pub slot: u32,
    /// The engine's own encoding, which says what part of it.
    #[prost(bytes = "bytes", tag = "2")]
    pub image: Bytes,
}

/// Digests of some slots of the sender, which the receiver compares with its own.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Compare {
    /// Number of the comparison at the sender.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// First slot.
    #[prost(uint32, tag = "2")]
    pub first_slot: u32,
    /// Digest of each slot from there on.
    #[prost(fixed64, repeated, tag = "3")]
    pub digests: Vec<u64>,
    /// The sender's hybrid logical clock.
    #[prost(fixed64, tag = "4")]
    pub clock: u64,
    /// What the sender has received, where the digests are of exactly that and nothing is on its way in: one that has received the same and has other
    /// digests is another than it ought to be. Empty where that cannot be said.
    #[prost(message, repeated, tag = "5")]
    pub received: Vec<Seen>,
    /// In the first part: what the sender holds durably. When the comparison has ended, the receiver will have all of it.
    #[prost(message, repeated, tag = "6")]
    pub base: Vec<Seen>,
}

/// The answer to [`Compare`]; and to the last [`States`], with a count of 0: slots that have changed since they were compared.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Differ {
    /// Which comparison.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// First slot of the part that was compared.
    #[prost(uint32, tag = "2")]
    pub first_slot: u32,
    /// How many slots were.
    #[prost(uint32, tag = "3")]
    pub count: u32,
    /// Those that differ.
    #[prost(message, repeated, tag = "4")]
    pub slots: Vec<SlotBuckets>,
    /// The sender's hybrid logical clock.
    #[prost(fixed64, tag = "5")]
    pub clock: u64,
}

/// A slot that differs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SlotBuckets {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub slot: u32,
    /// Digests of its buckets, where it holds many keys.
    #[prost(fixed64, repeated, tag = "2")]
    pub buckets: Vec<u64>,
}

/// The state of slots that differ.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct States {
    /// Which comparison.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The images.
    #[prost(message, repeated, tag = "2")]
    pub images: Vec<PartImage>,
    /// At the end: every slot was compared and joined, so the receiver holds what the sender held when it began.
    #[prost(bool, tag = "3")]
    pub ended: bool,
    /// That.
    #[prost(message, repeated, tag = "4")]
    pub received: Vec<Seen>,
    /// The sender's hybrid logical clock: none of the records is newer.
    #[prost(fixed64, tag = "5")]
    pub clock: u64,
}
