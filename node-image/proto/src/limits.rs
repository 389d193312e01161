//! What clients may take of a replica, as the record has it.

/// What clients may take of a replica. Of each, 0 is the default.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ClientLimits {
    /// Connections.
    #[prost(uint64, tag = "1")]
    pub clients: u64,
    /// Seconds until a connection that says nothing is closed.
    #[prost(uint64, tag = "2")]
    pub idle_seconds: u64,
    /// Memory that a replica may take, in bytes: beyond it keys are evicted, or commands that need more are refused.
    #[prost(uint64, tag = "3")]
    pub memory_bytes: u64,
    /// The longest command, in bytes.
    #[prost(uint64, tag = "4")]
    pub query_bytes: u64,
    /// Replies that a client may leave unread; none: the default.
    #[prost(message, optional, tag = "6")]
    pub replies: Option<OutputLimit>,
    /// Messages and replies that a client that subscribes may leave unread; none: the default.
    #[prost(message, optional, tag = "7")]
    pub subscribers: Option<OutputLimit>,
    /// Which keys go where memory has reached its bound.
    #[prost(enumeration = "Eviction", tag = "8")]
    pub eviction: i32,
}

/// What a client may leave unread before its connection is closed. Of each, 0 is no bound.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct OutputLimit {
    /// At no time more, in bytes.
    #[prost(uint64, tag = "1")]
    pub hard_bytes: u64,
    /// Not more for longer than `soft_seconds`, in bytes.
    #[prost(uint64, tag = "2")]
    pub soft_bytes: u64,
    /// See there.
    #[prost(uint64, tag = "3")]
    pub soft_seconds: u64,
}

/// Which keys go where memory has reached its bound. Leaders remove them, by entries like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Eviction {
    /// None: commands that need memory are refused.
    NoEviction = 0,
    /// Those that were not used for longest, by sample.
    AllKeysLru = 1,
    /// Of those that expire the next ones.
    VolatileTtl = 2,
}
