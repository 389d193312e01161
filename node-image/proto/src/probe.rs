//! Writes of nothing, by which an operator measures.

use crate::ids::Dot;

/// "Write nothing": whoever leads, or where nobody does whoever is asked, makes an entry without a change and answers when it is committed, or has its copies.
/// Who cannot do so at once does not do it, and does not answer.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Probe {
    /// Number of the question.
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

/// A write of nothing is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Probed {
    /// Number of the question.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Its place in the log of the group that made it.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// Its name everywhere.
    #[prost(message, required, tag = "3")]
    pub dot: Dot,
}
