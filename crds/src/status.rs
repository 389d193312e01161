//! What the operator answers about a store: `.status` of the resource, and what `trireme status --output json` prints.
//!
//! A field that is missing has its default, and one that is not known is passed over: what one version wrote, the one before and the one after can read.
//! What is not known is left out: an API server takes no null.

use serde::{Deserialize, Serialize};

use crate::slo::SloStatus;

/// Status of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct StoreStatus {
    /// One word for the whole.
    pub phase: StorePhase,
    /// Generation of the spec that this status is about.
    pub observed_generation: i64,
    /// Replicas wanted; in mode MultiLeader, of each region.
    pub n: u32,
    /// Copies before OK that are wanted; what is in force stands in `groups`.
    pub w: u32,
    /// Replicas that confirm a read.
    pub r: u32,
    /// Replicas that serve, of those wanted: `2/3`.
    pub ready: String,
    /// Name of the leader, in mode MultiLeader of each group's that has one, with commas between; empty where nobody leads, and in mode Leaderless `-` or
    /// empty.
    pub leader: String,
    /// How far the follower that is most behind its own leader is behind: `0`, or a time as `12 ms`; empty where nobody leads.
    pub lag: String,
    /// What is true of the store, one per type.
    pub conditions: Vec<Condition>,
    /// Leadership of each group.
    pub groups: Vec<GroupStatus>,
    /// Each replica.
    pub replicas: Vec<ReplicaStatus>,
    /// The latest failovers and hand-overs, newest first.
    pub failovers: Vec<FailoverStatus>,
    /// How the store has kept what `spec.slo` promises; absent where that promises nothing, and before anything was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloStatus>,
    /// What a person last asked for, and what came of it; absent while nobody has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestStatus>,
}

/// One word for the whole store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum StorePhase {
    /// Replicas are being started, nothing has been decided yet.
    #[default]
    Creating,
    /// A leader serves and every replica is a caught-up member.
    Ready,
    /// A leader serves, but something is missing.
    Degraded,
    /// Leadership is being handed from one replica to another, and that goes on by itself.
    FailingOver,
    /// Nobody can lead until something named in the conditions happens.
    Down,
}

/// One thing that is true, false or unknown of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What it is about: Ready, Progressing, Degraded, ConfigurationWarning ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word of why, for programs.
    pub reason: String,
    /// Why, for people: with the numbers, and what is waited for.
    pub message: String,
    /// Generation of the spec that it is about.
    pub observed_generation: i64,
    /// When `status` last changed, as RFC 3339 in UTC; empty in a plan, which knows no wall clock.
    pub last_transition_time: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is not known.
    #[default]
    Unknown,
}

/// Leadership of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct GroupStatus {
    /// Number of the group.
    pub group: u32,
    /// Mode MultiLeader: its region.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Its current epoch, as text: a number, with the proposer after a point if that was not the operator.
    pub epoch: String,
    /// Sealing or Active.
    pub phase: String,
    /// Name of the leader; empty while sealing.
    pub leader: String,
    /// The leader has committed its start entry and serves clients.
    pub serving: bool,
    /// Number of members in force.
    pub n: u32,
    /// Copies before OK, in force.
    pub w: u32,
    /// Answers that a failover needs: n - w + 1.
    pub seal_quorum: u32,
    /// Names of the members in force.
    pub members: Vec<String>,
    /// Names of the members of the configuration being left; empty when none is.
    pub old_members: Vec<String>,
    /// Generation of the group as an origin: has risen with every failover that may have lost acknowledged entries.
    pub generation: u32,
    /// Version of the record.
    pub version: u64,
    /// Mode Leaderless: replicas that a read asks, in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r: Option<u32>,
    /// Mode MultiLeader: how each other region stands to what this one has written, as its leader says; empty while none serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<FeedStatus>,
}

/// How another region stands to what a region has written: what is lost with that one and its disks, at most, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct FeedStatus {
    /// The other region, or the edge.
    pub region: String,
    /// It is an edge, which may be away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub edge: bool,
    /// Somebody who speaks for it is connected, and was heard within the suspicion time.
    pub reachable: bool,
    /// Entries that it lacks, as it last said.
    pub lag_entries: u64,
    /// Bytes of log from the oldest of them on, an upper bound: what third regions wrote meanwhile stands there, too.
    pub lag_bytes: u64,
    /// Age of the oldest of them, in milliseconds.
    pub lag_ms: u64,
    /// The most entries that it lacked since it last lacked none: what of it `lagEntries` does not have any more has been caught up with.
    pub backlog_entries: u64,
    /// It is being sent state, because no log has all that it lacks: slots that are still to be compared or sent, of 16,384.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots_left: Option<u32>,
}

/// One replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaStatus {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Its region; empty where there is only one.
    pub region: String,
    /// Leader, Follower, Peer, Quarantined, Learner, Idle or Unknown.
    pub role: String,
    /// It counts for w and for seals.
    pub member: bool,
    /// The operator hears it.
    pub reachable: bool,
    /// Milliseconds since the operator last heard it; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// Last durable entry, as epoch/seq.
    pub position: String,
    /// Highest seq known to be committed.
    pub commit: u64,
    /// Highest seq in its state.
    pub applied: u64,
    /// Entries behind the leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_entries: Option<u64>,
    /// Bytes of log behind the leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// Age of the oldest entry that it lacks, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// Slots of a running snapshot that have arrived, of 16,384.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_slots: Option<u32>,
    /// Which life of its disk, in hexadecimal.
    pub incarnation: String,
    /// Its disk is full: it refuses writes.
    pub disk_full: bool,
    /// Keys in its state.
    pub keys: u64,
    /// XOR of its slot digests at `applied`, in hexadecimal.
    pub digest: String,
    /// Slots found to differ from the leader's, or where there is none another replica's, at the same position: never, unless there is a bug or bad memory.
    pub digest_mismatches: u64,
    /// Concurrent writes at one place that it has joined since its process started; absent where there were none. CONFLICTS lists the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<u64>,
    /// Connections it refused for another store, version, replica number or incarnation.
    pub peer_refusals: u64,
    /// `host:port` where clients reach it.
    pub client_address: String,
    /// Mode Leaderless: how it stands to the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerStatus>,
}

/// How a replica stands to the others where there is no leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct PeerStatus {
    /// Its number as an origin of deltas: rises with each life of its disk.
    pub generation: u32,
    /// It takes clients' commands: it knows its number, and so does the record.
    pub coordinates: bool,
    /// Its state holds everything that the others held when it joined.
    pub whole: bool,
    /// Names of the members that it reaches, itself included.
    pub reaches: Vec<String>,
    /// What it has received of each origin, as `replica.generation:entries`, with `+gaps` where some are missing below the last.
    pub received: Vec<String>,
    /// Slots that differ from another replica's and are not mended yet.
    pub slots_differing: u64,
    /// Keys mended by comparing slots, since its process started.
    pub keys_repaired: u64,
    /// Keys mended by reads that it coordinated, since its process started.
    pub read_repairs: u64,
    /// Bytes that comparing and mending has moved, both ways, since its process started.
    pub repair_bytes: u64,
    /// Largest difference between another replica's clock and its own, in milliseconds; positive where the other one is ahead.
    pub clock_offset_ms: i64,
}

/// One change of leaders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct FailoverStatus {
    /// When it was decided, as RFC 3339 in UTC.
    pub at: String,
    /// Mode MultiLeader: the region whose leader changed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Why.
    pub cause: String,
    /// Name of the former leader; empty if there was none.
    pub from: String,
    /// Name of the new leader; empty while none has been chosen.
    pub to: String,
    /// The new epoch, as text.
    pub epoch: String,
    /// Milliseconds from the last sign of life of the former leader to the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detect_ms: Option<u64>,
    /// Milliseconds from the decision until enough members had answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal_ms: Option<u64>,
    /// Milliseconds from the decision until the new leader served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_ms: Option<u64>,
    /// Milliseconds without acknowledged writes, measured at the new leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_gap_ms: Option<u64>,
    /// Acknowledged entries that may have been lost, as far as is known; 0 where n - w + 1 members answered.
    pub at_risk: u64,
    /// Entries of the former leader's cut suffix that were appended again.
    pub recovered: u64,
    /// Entries of it that may have been acknowledged and were not appended again.
    pub lost: u64,
    /// Entries of it that cannot have been acknowledged: the seal's numbers show it.
    pub provably_unacknowledged: u64,
    /// A person asked for it although too few members answered.
    pub forced: bool,
}

/// What a person asked for by an annotation of the store, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RequestStatus {
    /// What was asked for.
    pub asked: Asked,
    /// Name of the replica that is to lead; empty where none was named and none could be chosen.
    pub replica: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The decision's own words; empty while the outcome is Pending.
    pub message: String,
    /// When it was taken up, as RFC 3339 in UTC with milliseconds.
    pub at: String,
}

/// What a person can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum Asked {
    /// The annotation `trireme.dev/switchover`.
    Switchover,
    /// The annotation `trireme.dev/promote`.
    Promote,
    /// The annotation `trireme.dev/promote-force`.
    PromoteForce,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum Outcome {
    /// It was taken up.
    Pending,
    /// The replica leads.
    Done,
    /// It will not be done, or was not done in time.
    Refused,
}

impl ReplicaStatus {
    /// Entries and milliseconds that it is behind; `None` where nobody knows.
    pub fn lag(&self) -> Option<(u64, u64)> {
        self.lag_entries.map(|entries| lag(entries, self.lag_ms.unwrap_or(0)))
    }
}

impl FeedStatus {
    /// Entries and milliseconds that the other region is behind.
    pub fn lag(&self) -> (u64, u64) {
        lag(self.lag_entries, self.lag_ms)
    }
}

/// What is missing is at least a moment old, and what is not missing has no age.
fn lag(entries: u64, ms: u64) -> (u64, u64) {
    (entries, if entries > 0 { ms.max(1) } else { 0 })
}
