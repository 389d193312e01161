//! What a replica says of itself to the operator: on every change that matters to a decision, and with every heartbeat.

use crate::ids::{Epoch, Incarnation, Origin, Position, ReplicaId};
use crate::message::Regions;

/// A replica's state as it sees it. Where `promise` equals the record's epoch, this is its answer to the seal: `last` can no longer change but by
/// that epoch's leader.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Report {
    /// Who.
    #[prost(uint32, tag = "1")]
    pub id: ReplicaId,
    /// Which life of its disk.
    #[prost(fixed64, tag = "2")]
    pub incarnation: Incarnation,
    /// Random number of this process: another one means that it started again.
    #[prost(fixed64, tag = "3")]
    pub boot: u64,
    /// What it does.
    #[prost(enumeration = "Role", tag = "4")]
    pub role: i32,
    /// The highest epoch it has durably promised to.
    #[prost(message, required, tag = "5")]
    pub promise: Epoch,
    /// Version of the newest record it has seen.
    #[prost(uint64, tag = "6")]
    pub topology_version: u64,
    /// Its last durable entry.
    #[prost(message, required, tag = "7")]
    pub last: Position,
    /// The highest seq it knows to be committed.
    #[prost(uint64, tag = "8")]
    pub commit: u64,
    /// The highest seq whose effect is in its state.
    #[prost(uint64, tag = "9")]
    pub applied: u64,
    /// The first seq its log still holds.
    #[prost(uint64, tag = "10")]
    pub log_start: u64,
    /// What is left of the lease that it granted to a leader of an older epoch than `promise`, in milliseconds.
    #[prost(uint32, tag = "11")]
    pub lease_remaining_ms: u32,
    /// Milliseconds since it last heard from its leader, or since its leader last heard it, by what the leader said: whichever is longer. 0 on the leader
    /// itself.
    #[prost(uint32, tag = "12")]
    pub leader_silence_ms: u32,
    /// Leader only: the start entry is committed and clients are served. No leader: it can coordinate; whether enough others are there is not meant.
    #[prost(bool, tag = "13")]
    pub serving: bool,
    /// Leader only: a hand-over was asked for and the member named holds everything.
    #[prost(bool, tag = "14")]
    pub drained: bool,
    /// It was told to end (SIGTERM) and waits for its leadership to be taken over.
    #[prost(bool, tag = "15")]
    pub leaving: bool,
    /// Leader only: how each other replica stands. No leader: how each other one stands to this one's own entries.
    #[prost(message, repeated, tag = "16")]
    pub followers: Vec<FollowerReport>,
    /// Its disk is full: it refuses writes.
    #[prost(bool, tag = "17")]
    pub disk_full: bool,
    /// Entries that were cut off its log when it last rejoined.
    #[prost(message, optional, tag = "18")]
    pub cut: Option<Cut>,
    /// Leader only: cut entries of former leaders that it appended again, in this epoch.
    #[prost(uint64, tag = "19")]
    pub recovered: u64,
    /// Counters of what was refused and found.
    #[prost(message, required, tag = "20")]
    pub counters: Counters,
    /// Keys in its state.
    #[prost(uint64, tag = "21")]
    pub keys: u64,
    /// Milliseconds since the last write was refused or in doubt began; the measured write gap of the last change of leaders, at this leader.
    #[prost(uint32, tag = "22")]
    pub write_gap_ms: u32,
    /// XOR of all slot digests at `applied`; two replicas with the same `applied` must have the same, where there is no leader those with the same
    /// `received`.
    #[prost(fixed64, tag = "23")]
    pub digest: u64,
    /// Follower and learner only: its connection to its leader has ended, in this epoch, and none has been made since. More than silence: a process that
    /// ends closes its connections at once.
    #[prost(bool, tag = "24")]
    pub leader_link_closed: bool,
    /// No leader only: its name as an origin is spent. Its machine restarted without a clean stop, so it may have sent entries that its own disk lost: it
    /// coordinates nothing until the record gives it a new generation.
    #[prost(bool, tag = "25")]
    pub origin_spent: bool,
    /// No leader, and leaders with other groups: what is held for good of each origin.
    #[prost(message, repeated, tag = "26")]
    pub received: Vec<OriginSeq>,
    /// No leader only: its state holds everything that some member held when it joined, so that it may count.
    #[prost(bool, tag = "27")]
    pub whole: bool,
    /// No leader, and leaders with other groups: what comparing and mending has done since the process started, or began to lead.
    #[prost(message, optional, tag = "28")]
    pub repair: Option<Repair>,
    /// No leader, and leaders with other groups: by how many milliseconds the clock of a peer is ahead of its own, the most of all that were heard within the suspicion time; 0 where
    /// none is. A peer that is behind finds the others ahead.
    #[prost(sint64, tag = "29")]
    pub clock_offset_ms: i64,
    /// No leader only: how long others took, of late, as far as enough has been seen.
    #[prost(message, repeated, tag = "32")]
    pub paces: Vec<Pace>,
    /// The last epoch that an earlier process on its disk has led. None leads it again.
    #[prost(message, optional, tag = "33")]
    pub led_before: Option<Epoch>,
    /// A leader with other groups: how each of them stands to what this one wrote.
    #[prost(message, repeated, tag = "34")]
    pub feeds: Vec<FeedReport>,
    /// A leader with other groups: its group takes no more writes, as the record of `topology_version` says, and all that it has written is in `received`.
    #[prost(bool, tag = "40")]
    pub closed: bool,
    /// A leader with other groups: everything that it executed before it knew the record of this version is committed. So nothing that a later record
    /// forbids can come any more; see [`crate::topology::Home`].
    #[prost(uint64, tag = "35")]
    pub settled_version: u64,
    /// An edge only: the store as leaders have told it since the process started, the last word of each group.
    #[prost(message, repeated, tag = "41")]
    pub regions: Vec<Regions>,
    /// An edge only: which door it was turned away from last, and why, until one lets it in.
    #[prost(string, tag = "42")]
    pub turned_away: String,
}

/// How a group's leader sees another group.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct FeedReport {
    /// Which.
    #[prost(uint32, tag = "1")]
    pub group: u32,
    /// The replica that speaks for it, as its leader; 0 while none is heard.
    #[prost(uint32, tag = "2")]
    pub replica: ReplicaId,
    /// Connected and heard from within the suspicion time.
    #[prost(bool, tag = "3")]
    pub reachable: bool,
    /// Entries that this group has committed and the other one has not, as it last said.
    #[prost(uint64, tag = "4")]
    pub lag_entries: u64,
    /// Bytes of log from the oldest of them on.
    #[prost(uint64, tag = "5")]
    pub lag_bytes: u64,
    /// Age of the oldest of them in milliseconds.
    #[prost(uint64, tag = "6")]
    pub lag_ms: u64,
    /// Entries that the other group wrote and held when it was last heard, and that this one does not hold.
    #[prost(uint64, tag = "20")]
    pub lacks: u64,
    /// The most entries that it lacked since it last lacked none.
    #[prost(uint64, tag = "21")]
    pub backlog_entries: u64,
    /// It gets state, where no log has what it lacks: slots that are still to be compared or sent.
    #[prost(uint32, optional, tag = "22")]
    pub slots_left: Option<u32>,
}

/// How long another replica took, of late: what 50, 90 and 99 of 100 did not exceed, in microseconds; empty where too little was seen.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pace {
    /// Who.
    #[prost(uint32, tag = "1")]
    pub id: ReplicaId,
    /// From an entry's being sent until it was said to be held durably.
    #[prost(uint32, repeated, tag = "2")]
    pub copies_us: Vec<u32>,
    /// From a question's being sent until it was answered.
    #[prost(uint32, repeated, tag = "3")]
    pub answers_us: Vec<u32>,
}

/// How much of an origin's entries a replica holds.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct OriginSeq {
    /// Whose entries.
    #[prost(message, required, tag = "1")]
    pub origin: Origin,
    /// All up to this one, and
    #[prost(uint64, tag = "2")]
    pub upto: u64,
    /// beyond that one some with so many gaps between.
    #[prost(uint32, tag = "3")]
    pub gaps: u32,
}

impl OriginSeq {
    /// As people read it: whose, which life, up to where, and how many are missing below the last one.
    pub fn told(&self, whose: impl std::fmt::Display) -> String {
        let gaps = if self.gaps > 0 { format!("+{} gaps", self.gaps) } else { String::new() };
        format!("{whose}.{}:{}{gaps}", self.origin.life(), self.upto)
    }
}

/// What comparing slots with peers has found and mended.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Repair {
    /// Slots that differ from a peer's as last compared, and are not mended yet.
    #[prost(uint64, tag = "1")]
    pub slots_differing: u64,
    /// Keys that were not the same here before slots were compared with a peer's.
    #[prost(uint64, tag = "2")]
    pub keys_repaired: u64,
    /// Bytes of digests and state sent.
    #[prost(uint64, tag = "3")]
    pub bytes_sent: u64,
    /// Bytes of digests and state received.
    #[prost(uint64, tag = "4")]
    pub bytes_received: u64,
    /// Keys that reads coordinated here found stale, here or elsewhere, and mended.
    #[prost(uint64, tag = "5")]
    pub read_repairs: u64,
}

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Role {
    /// Knows no leader, or is sealed.
    Idle = 0,
    /// Copies its leader's log, and counts for w.
    Follower = 1,
    /// Copies its leader's log, or where there is none everybody's entries, and counts for nothing yet.
    Learner = 2,
    /// Leads.
    Leader = 3,
    /// No leader: counts for n, w and r, and coordinates whatever clients ask of it.
    Peer = 4,
}

/// How a leader sees another replica.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct FollowerReport {
    /// Who.
    #[prost(uint32, tag = "1")]
    pub id: ReplicaId,
    /// Which life of its disk.
    #[prost(fixed64, tag = "2")]
    pub incarnation: Incarnation,
    /// Connected and heard from within the suspicion time.
    #[prost(bool, tag = "3")]
    pub reachable: bool,
    /// The highest seq it acknowledged as durable in this epoch.
    #[prost(uint64, tag = "4")]
    pub acknowledged: u64,
    /// Entries behind the leader's end.
    #[prost(uint64, tag = "5")]
    pub lag_entries: u64,
    /// Bytes of log behind the leader's end.
    #[prost(uint64, tag = "6")]
    pub lag_bytes: u64,
    /// Milliseconds behind: age of the oldest entry it lacks.
    #[prost(uint64, tag = "7")]
    pub lag_ms: u64,
    /// It is being sent a snapshot: slots done so far, of 16,384.
    #[prost(uint32, optional, tag = "8")]
    pub snapshot_slots: Option<u32>,
}

/// A suffix that was cut off a log.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Cut {
    /// Its first entry.
    #[prost(message, required, tag = "1")]
    pub first: Position,
    /// How many entries.
    #[prost(uint64, tag = "2")]
    pub entries: u64,
    /// The epoch whose leader's log it diverged from.
    #[prost(message, required, tag = "3")]
    pub by: Epoch,
}

/// Counts since the process started.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Counters {
    /// Slots whose digest differed from the leader's at the same position, or where there is no leader from a peer's that had received exactly the same, as
    /// often as that was seen: never, unless there is a bug, bad memory or a disk that lost what it had said was kept.
    #[prost(uint64, tag = "1")]
    pub digest_mismatches: u64,
    /// Messages refused for a clock too far ahead.
    #[prost(uint64, tag = "2")]
    pub clock_refusals: u64,
    /// Connections refused for another store, version, replica number or incarnation.
    #[prost(uint64, tag = "3")]
    pub peer_refusals: u64,
    /// Slots compared with the leader's, or a peer's, and found the same.
    #[prost(uint64, tag = "4")]
    pub digests_compared: u64,
    /// Client commands executed here.
    #[prost(uint64, tag = "5")]
    pub commands: u64,
    /// Commands answered `-NOREPLICAS`.
    #[prost(uint64, tag = "6")]
    pub no_replicas: u64,
    /// Commands answered `-INDOUBT`.
    #[prost(uint64, tag = "7")]
    pub in_doubt: u64,
    /// Snapshots received.
    #[prost(uint64, tag = "8")]
    pub snapshots_received: u64,
    /// Concurrent writes at one place, or of one key's type, that were joined here: what CONFLICTS lists.
    #[prost(uint64, tag = "9")]
    pub conflicts: u64,
    /// Session tokens refused.
    #[prost(uint64, tag = "20")]
    pub session_refusals: u64,
    /// Commands that waited for what their session has seen.
    #[prost(uint64, tag = "21")]
    pub session_waits: u64,
    /// Commands answered `-STALE`.
    #[prost(uint64, tag = "22")]
    pub stale_answers: u64,
    /// Commands answered `-LOSTWRITE`.
    #[prost(uint64, tag = "23")]
    pub lost_writes_told: u64,
    /// Keys evicted by this replica while it led, because memory had reached its bound.
    #[prost(uint64, tag = "30")]
    pub evicted_keys: u64,
    /// Commands answered `-OOM`.
    #[prost(uint64, tag = "31")]
    pub out_of_memory: u64,
}
