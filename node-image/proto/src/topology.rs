//! The authority's record of one group: what has been decided. It changes only by compare-and-swap on [`Topology::version`].

use bytes::Bytes;

use crate::ids::{Dot, Epoch, Incarnation, ReplicaId};

pub use crate::limits::{ClientLimits, Eviction, OutputLimit};

/// The record. Replicas obey the largest ([`Topology::epoch`], [`Topology::version`]) that they have seen, from the operator or from a peer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Topology {
    /// Unique name of the store (its resource's UID; a random one in local mode): a replica refuses another store's record.
    #[prost(string, tag = "1")]
    pub store: String,
    /// The group within the store.
    #[prost(uint32, tag = "2")]
    pub group: u32,
    /// Raised by one with every change of the record.
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// The current epoch.
    #[prost(message, required, tag = "4")]
    pub epoch: Epoch,
    /// What the epoch is in.
    #[prost(enumeration = "Phase", tag = "5")]
    pub phase: i32,
    /// Who leads the epoch; 0 while sealing, and always in [`Mode::Leaderless`], where the phase is Active from the first record on.
    #[prost(uint32, tag = "6")]
    pub leader: ReplicaId,
    /// The members and w in force.
    #[prost(message, required, tag = "7")]
    pub config: Config,
    /// The configuration being left, until the start entry is committed under the new one: as long as it is here, both must be sealed. In
    /// [`Mode::Leaderless`], until no replica coordinates under it alone: as long as it is here, a write needs w and a read r of both.
    #[prost(message, optional, tag = "8")]
    pub old: Option<Config>,
    /// Every replica of the group with its address. Those that are no members are learners.
    #[prost(message, repeated, tag = "9")]
    pub replicas: Vec<Replica>,
    /// The group's generation as an origin of deltas. In [`Mode::Leaderless`] each replica is a group: see [`Replica::generation`].
    #[prost(uint32, tag = "10")]
    pub generation: u32,
    /// Not 0: the leader accepts no more writes, brings this member up to its end and says `drained`, so that it can take over.
    #[prost(uint32, tag = "11")]
    pub handover: ReplicaId,
    /// What the user asked for that replicas need to know.
    #[prost(message, required, tag = "12")]
    pub settings: Settings,
    /// The member that the previous epoch was led by; 0 at first. Its uncommitted suffix, when cut, is recovered where `settings` say so.
    #[prost(uint32, tag = "13")]
    pub previous_leader: ReplicaId,
    /// The replica that the operator restarts, or replaces on a new disk, of its own accord: one at a time. 0 for none. Replicas do not look at it.
    #[prost(uint32, tag = "14")]
    pub restarting: ReplicaId,
    /// [`Mode::MultiLeader`] only: the store's other groups, with which this one has feeds.
    #[prost(message, repeated, tag = "15")]
    pub groups: Vec<Group>,
    /// [`Mode::MultiLeader`] only: whether the group stays, or how far it is on its way out of the store.
    #[prost(enumeration = "Leaving", tag = "20")]
    pub leaving: i32,
    /// [`Mode::MultiLeader`] only: the group was given up by a person before the others held all that it had acknowledged. So many of its entries are known that
    /// none of them held.
    #[prost(uint64, optional, tag = "21")]
    pub given_up: Option<u64>,
    /// [`Mode::MultiLeader`] only: keys that one group alone writes, by the beginning of their names or by their hash tags.
    #[prost(message, repeated, tag = "16")]
    pub homes: Vec<Home>,
    /// [`Mode::MultiLeader`] only: no group of the store was ever given a number above this, as far as is known here.
    #[prost(uint32, tag = "23")]
    pub last_group: u32,
}

/// Keys that are written in one region only, as one group's record knows them.
///
/// The home moves by its epoch, like leadership: the group that is left says in its record that it executes none of their commands any more, and what it had
/// written until then; only then the record of the group that comes names itself, and that one executes none before it has received all of this.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Home {
    /// Keys whose names begin with this; where `tag` is not empty, none.
    #[prost(string, tag = "1")]
    pub prefix: String,
    /// Keys with this hash tag, whatever their names begin with.
    #[prost(string, tag = "2")]
    pub tag: String,
    /// The group that writes them.
    #[prost(uint32, tag = "3")]
    pub group: u32,
    /// Rises with each move.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// Of each of these origins, everything up to there must have been received before the group of this record executes a command: what others wrote
    /// while it was theirs.
    #[prost(message, repeated, tag = "5")]
    pub after: Vec<Dot>,
    /// The group of this record is not their home, and its leader has said that it executes no command on them any more.
    #[prost(message, optional, tag = "6")]
    pub ceded: Option<Ceded>,
    /// Where their home is not heard, other groups execute commands themselves, and what both sides wrote is merged. Else they refuse them.
    #[prost(bool, tag = "7")]
    pub accept_locally: bool,
}

/// What a group has written of keys that are at home elsewhere now: nothing beyond this.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Ceded {
    /// Of each of these origins, all up to there.
    #[prost(message, repeated, tag = "1")]
    pub upto: Vec<Dot>,
}

impl Home {
    /// Whether both are about the same keys.
    pub fn is_of(&self, other: &Home) -> bool {
        (&self.prefix, &self.tag) == (&other.prefix, &other.tag)
    }

    /// What people call them: the beginning of their names, or their tag.
    pub fn keys(&self) -> String {
        if self.tag.is_empty() { format!("'{}'", self.prefix) } else { format!("'{{{}}}'", self.tag) }
    }
}

/// Another group of the store, as this group's record knows it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Group {
    /// Its number, from 1. No number is ever used for two groups of a store: it is part of the name of every delta.
    #[prost(uint32, tag = "1")]
    pub group: u32,
    /// Its region.
    #[prost(string, tag = "2")]
    pub region: String,
    /// Its replicas, whichever of them leads. Numbers of replicas are unique in the whole store.
    #[prost(message, repeated, tag = "3")]
    pub replicas: Vec<Replica>,
    /// The feeds with it are paused on request: nothing is sent there and nothing is taken from there; what is written meanwhile waits.
    #[prost(bool, tag = "4")]
    pub paused: bool,
    /// Its region is being taken away: it takes no more writes.
    #[prost(bool, tag = "20")]
    pub leaving: bool,
    /// It is an edge, and how that one is known again. Its region has the edge's name.
    #[prost(message, optional, tag = "21")]
    pub edge: Option<Edge>,
}

/// A region of one outside the machines that the operator looks after: it comes and goes, and nobody waits for it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Edge {
    /// See [`crate::edge::verifier`].
    #[prost(bytes = "bytes", tag = "1")]
    pub verifier: Bytes,
    /// It is not let in any more.
    #[prost(bool, tag = "2")]
    pub revoked: bool,
    /// Random, from when the row was made: its key is made from this, too. So where records are lost and numbers given again, no key fits that was given before.
    #[prost(fixed64, tag = "3")]
    pub nonce: u64,
}

impl Group {
    /// Whether the group is an edge, revoked or not.
    pub fn is_edge(&self) -> bool {
        self.edge.is_some()
    }

    /// Whether it was an edge.
    pub fn is_revoked(&self) -> bool {
        self.edge.as_ref().is_some_and(|edge| edge.revoked)
    }

    /// Whether feeds with it are wanted now.
    pub fn is_fed(&self) -> bool {
        !self.paused && !self.is_revoked()
    }
}

/// How a group leaves its store. It never comes back: a region that is wanted again gets another group, with another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Leaving {
    /// It does not.
    Stays = 0,
    /// It takes no more writes; what it has committed goes to the groups that stay. This can still be taken back.
    Drains = 1,
    /// The groups that stay hold everything that it has acknowledged, or it was given up: its replicas end.
    Gone = 2,
    /// None of its replicas is left. The record stays, because it has the number that is not to be used again.
    Ended = 3,
}

/// What an epoch is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Phase {
    /// Members promise to accept nothing older; nobody leads.
    Sealing = 0,
    /// [`Topology::leader`] leads.
    Active = 1,
}

/// Members and how many of them an entry needs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Config {
    /// The members. An incarnation that differs is another member.
    #[prost(message, repeated, tag = "1")]
    pub members: Vec<Member>,
    /// How many members must hold an entry durably (the leader included) before it is committed.
    #[prost(uint32, tag = "2")]
    pub w: u32,
}

/// One member of a configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Member {
    /// Which replica.
    #[prost(uint32, tag = "1")]
    pub id: ReplicaId,
    /// Which life of its disk.
    #[prost(fixed64, tag = "2")]
    pub incarnation: Incarnation,
}

/// Where a replica is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Replica {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub id: ReplicaId,
    /// Its name as users see it: `orders-0`.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its region; empty where there is only one.
    #[prost(string, tag = "3")]
    pub region: String,
    /// `host:port` of its peer port.
    #[prost(string, tag = "4")]
    pub peer_address: String,
    /// `host:port` where clients reach it.
    #[prost(string, tag = "5")]
    pub client_address: String,
    /// [`Mode::Leaderless`] only: the life of its disk that this row knows, member or learner; 0 while it has not been heard.
    #[prost(fixed64, tag = "6")]
    pub incarnation: Incarnation,
    /// [`Mode::Leaderless`] only: that life's number as an origin of deltas. It rises with each incarnation, and when a life's name is spent
    /// ([`crate::Report::origin_spent`]), so that no name is used twice. A replica coordinates nothing before the row has its own incarnation with a
    /// generation that it has not spent.
    #[prost(uint32, tag = "7")]
    pub generation: u32,
    /// [`Mode::Leaderless`] only: set aside on request, because what it holds is not trusted. It counts for no quorum of anybody, is asked nothing, gives no
    /// state and coordinates nothing; entries and state still come to it, so that it is up to date when this is taken back.
    #[prost(bool, tag = "8")]
    pub quarantined: bool,
}

/// How a store's replicas move deltas: who produces them, and when a client is told OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Mode {
    /// One group of n replicas; its leader produces them.
    SingleLeader = 0,
    /// One group per region, each with a leader, and feeds between them.
    MultiLeader = 1,
    /// Every replica is a group of one that leads itself; w of the n hold a write, r of the n are asked for a read.
    Leaderless = 2,
}

/// What keeps a later write from losing to an earlier one of a faster clock, where there is no leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum WriteOrder {
    /// A coordinator brings its clock above that of n - w + 1 replicas before it writes.
    Strict = 0,
    /// The clocks are trusted.
    Clock = 1,
}

/// When replicas get what a read found them to lack, where there is no leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ReadRepair {
    /// Before the client gets its answer: what one read has shown, every later one shows.
    Blocking = 0,
    /// After it.
    Async = 1,
    /// Not by reads.
    Off = 2,
}

/// When a copy counts for w.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Durability {
    /// When it has been fsynced.
    Disk = 0,
    /// When the operating system has it; fsynced once a second.
    Memory = 1,
}

/// What to do with entries that a failover cut off a former leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Unreplicated {
    /// Append them again under new dots with their old context.
    Recover = 0,
    /// Keep them in a file and count them.
    Discard = 1,
}

/// What is done to messages between groups that have leaders, so that fewer bytes go from region to region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum FeedCompression {
    /// LZ4, where it makes them smaller.
    Lz4 = 0,
    /// Nothing.
    Off = 1,
}

/// The parts of the spec that replicas need.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Settings {
    /// When a copy counts.
    #[prost(enumeration = "Durability", tag = "1")]
    pub durability: i32,
    /// How many replicas confirm a read: 1 lets followers answer from their own state, more makes them ask the leader.
    #[prost(uint32, tag = "2")]
    pub r: u32,
    /// Milliseconds between heartbeats.
    #[prost(uint32, tag = "3")]
    pub heartbeat_ms: u32,
    /// Milliseconds that a leader may answer after its members last acknowledged it.
    #[prost(uint32, tag = "4")]
    pub lease_ms: u32,
    /// Milliseconds of silence after which a peer is suspect.
    #[prost(uint32, tag = "5")]
    pub suspicion_ms: u32,
    /// What happens to a cut suffix.
    #[prost(enumeration = "Unreplicated", tag = "6")]
    pub unreplicated: i32,
    /// Milliseconds that a client's command may wait for a leader or for its copies.
    #[prost(uint32, tag = "7")]
    pub request_timeout_ms: u32,
    /// Bytes of log kept for followers that are behind.
    #[prost(uint64, tag = "8")]
    pub log_bytes_max: u64,
    /// How the store's replicas move deltas.
    #[prost(enumeration = "Mode", tag = "9")]
    pub mode: i32,
    /// [`Mode::Leaderless`]: what orders writes.
    #[prost(enumeration = "WriteOrder", tag = "10")]
    pub write_order: i32,
    /// [`Mode::Leaderless`]: when stale replicas get what a read found.
    #[prost(enumeration = "ReadRepair", tag = "11")]
    pub read_repair: i32,
    /// Bytes a second that a replica sends to each peer at most of what that one missed: backlog and repair, never live entries. 0 for no cap.
    #[prost(uint64, tag = "12")]
    pub feed_bytes_per_second: u64,
    /// [`Mode::MultiLeader`]: how messages to other groups are made smaller.
    #[prost(enumeration = "FeedCompression", tag = "50")]
    pub feed_compression: i32,
    /// [`Mode::MultiLeader`]: where conflicts are written down; none where they are not.
    #[prost(message, optional, tag = "51")]
    pub conflicts: Option<ConflictList>,
    /// What clients may take of a replica; none where everything is the default.
    #[prost(message, optional, tag = "60")]
    pub limits: Option<ClientLimits>,
    /// Guarantees that sessions do not have, as bits: 1 ReadYourWrites, 2 MonotonicReads, 4 WritesFollowReads, 8 MonotonicWrites, 16 ConsistentPrefix.
    #[prost(uint32, tag = "62")]
    pub session_off: u32,
    /// Milliseconds that a command waits for what its session has seen; none: the default.
    #[prost(uint32, optional, tag = "63")]
    pub session_wait_ms: Option<u32>,
    /// Classes of keyspace events that are told, as letters of Redis's `notify-keyspace-events`, unless CONFIG SET has said otherwise since.
    #[prost(string, tag = "70")]
    pub keyspace_events: String,
    /// Number of the change that made it so, in all records of the store alike: what CONFIG SET said before it is over.
    #[prost(uint64, tag = "71")]
    pub keyspace_events_revision: u64,
}

/// Lists of conflicts that a user can read, one for each region.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConflictList {
    /// What their keys begin with; `:` and the region's name follow.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Elements that each keeps.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

impl Settings {
    /// The defaults of the API, where a field is 0 or a test does not care.
    pub fn standard() -> Settings {
        Settings {
            durability: Durability::Disk as i32,
            r: 1,
            heartbeat_ms: 50,
            lease_ms: 250,
            suspicion_ms: 1_000,
            unreplicated: Unreplicated::Recover as i32,
            request_timeout_ms: 10_000,
            log_bytes_max: 64 << 20,
            mode: Mode::SingleLeader as i32,
            write_order: WriteOrder::Strict as i32,
            read_repair: ReadRepair::Blocking as i32,
            feed_bytes_per_second: 0,
            feed_compression: FeedCompression::Lz4 as i32,
            conflicts: None,
            limits: None,
            session_off: 0,
            session_wait_ms: None,
            keyspace_events: String::new(),
            keyspace_events_revision: 0,
        }
    }
}

impl Config {
    /// How many members must be sealed so that every set of w of them is met: n - w + 1.
    pub fn seal_quorum(&self) -> usize {
        (self.members.len() + 1).saturating_sub(self.w as usize).max(1)
    }

    /// How many members must acknowledge a leader for it to hold the lease: w, or a majority where w is 1.
    pub fn lease_quorum(&self) -> usize {
        if self.w <= 1 { self.members.len() / 2 + 1 } else { self.w as usize }
    }

    /// The member with this number, if there is one.
    pub fn member(&self, id: ReplicaId) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    /// Whether this life of this replica is a member.
    pub fn has(&self, id: ReplicaId, incarnation: Incarnation) -> bool {
        self.members.contains(&Member { id, incarnation })
    }
}

impl Topology {
    /// What orders records: a replica obeys the largest it has seen.
    pub fn order(&self) -> (Epoch, u64) {
        (self.epoch, self.version)
    }

    /// Whether this life of this replica is a member of the configuration, or of the one being left.
    pub fn has(&self, id: ReplicaId, incarnation: Incarnation) -> bool {
        self.config.has(id, incarnation) || self.old.as_ref().is_some_and(|old| old.has(id, incarnation))
    }

    /// Whether this replica is set aside: see [`Replica::quarantined`].
    pub fn is_quarantined(&self, id: ReplicaId) -> bool {
        self.replica(id).is_some_and(|row| row.quarantined)
    }

    /// The directory's row of a replica.
    pub fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        self.replicas.iter().find(|r| r.id == id)
    }
}
