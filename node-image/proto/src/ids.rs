//! Names of things: who, when in the order of leadership, and which delta.

use std::fmt;

/// A replica's number within its store, from 1; 0 means none. Stable over restarts; a lost disk keeps the number and changes the [`Incarnation`].
pub type ReplicaId = u32;

/// Random number that a replica writes on a new, empty disk; never 0. A replica that lost its disk, or its tail, has another one.
pub type Incarnation = u64;

/// Number of a group's leadership: raised for each new leader or configuration. Compared by number, then proposer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Epoch {
    /// Rises by at least one with every change.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Who proposed it: 0 is the operator. Members may later elect among themselves while it is away.
    #[prost(uint32, tag = "2")]
    pub proposer: u32,
}

impl Epoch {
    /// Before every epoch: what an empty log and a new replica have.
    pub const ZERO: Epoch = Epoch { number: 0, proposer: 0 };

    /// The operator's next epoch above this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch { number: self.number + 1, proposer: 0 }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.proposer {
            0 => write!(f, "{}", self.number),
            proposer => write!(f, "{}.{proposer}", self.number),
        }
    }
}

/// Where an entry stands in its group's log: the epoch that appended it, and its number. Compared in that order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Position {
    /// Epoch of the leader that appended the entry.
    #[prost(message, required, tag = "1")]
    pub epoch: Epoch,
    /// Number of the entry in the log, from 1, without gaps; 0 is before the first.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
}

impl Position {
    /// Before the first entry.
    pub const ZERO: Position = Position { epoch: Epoch::ZERO, seq: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.seq)
    }
}

/// A group seen as producer of deltas. The generation rises with each failover that may have lost acknowledged entries, so that no name is used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Origin {
    /// The group's number within the store.
    #[prost(uint32, tag = "1")]
    pub group: u32,
    /// See the type.
    #[prost(uint32, tag = "2")]
    pub generation: u32,
}

impl Origin {
    /// Bits of a generation, where there is no leader, that count the disk's own numbers within one of the record's.
    pub const LIVES_BITS: u32 = 12;

    /// The name under which a replica writes where there is no leader: the record's number for its disk, and the disk's own.
    #[must_use]
    pub fn of_life(group: u32, number: u32, lives: u32) -> Origin {
        Origin { group, generation: number << Self::LIVES_BITS | lives }
    }

    /// As a person reads a generation: where there is no leader, the record's number for the disk, then, unless it is 0, how often a process on that disk
    /// ended without a clean stop.
    #[must_use]
    pub fn life(self) -> String {
        let number = self.generation >> Self::LIVES_BITS;
        // A disk's own numbers begin with 1.
        let ends = (self.generation & ((1 << Self::LIVES_BITS) - 1)).saturating_sub(1);
        match (number, ends) {
            (0, _) => self.generation.to_string(),
            (_, 0) => number.to_string(),
            _ => format!("{number}.{ends}"),
        }
    }
}

/// The unique name of one delta.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Dot {
    /// Who produced it.
    #[prost(message, required, tag = "1")]
    pub origin: Origin,
    /// The origin's count of deltas, from 1, without gaps. Not the log's seq: a log also holds start entries and other origins' deltas.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
}

/// Who sits at the other end of a peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A replica of the same store.
    Replica(ReplicaId),
    /// An operator (or a tool that only looks), by the number of its connection: there may be several.
    Operator(u32),
}

#[cfg(test)]
mod tests {
    use super::Origin;

    #[test]
    fn a_generation_is_read_as_the_records_number_and_the_ends_without_a_clean_stop() {
        let read = |number, lives| Origin::of_life(3, number, lives).life();
        assert_eq!((read(1, 1), read(1, 3), read(2, 1)), ("1".to_owned(), "1.2".to_owned(), "2".to_owned()));
        assert_eq!(Origin { group: 0, generation: 7 }.life(), "7", "where there is a leader");
    }
}
