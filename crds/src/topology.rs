//! `StoreTopology`: the authority's record, an object of its own that only the operator writes. Never edit it by hand.
//!
//! A field that is not known refuses the record: whoever does not understand all of it must not decide anything by it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::store::{FeedCompression, Metadata, Mode, ReadRepair, WriteOrder};

/// Kind of [`StoreTopology`].
pub const TOPOLOGY_KIND: &str = "StoreTopology";

/// What has been decided about a store: one record per group, each changed only by compare-and-swap. `M` is as in [`crate::ReplicatedStore`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreTopology<M = Metadata> {
    /// Always [`crate::API_VERSION`].
    pub api_version: String,
    /// Always [`TOPOLOGY_KIND`].
    pub kind: String,
    /// Named as the store.
    pub metadata: M,
    /// Unique name of the store that this belongs to.
    pub store: String,
    /// The groups' records.
    pub groups: Vec<GroupRecord>,
}

/// The record of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupRecord {
    /// The group's number.
    pub group: u32,
    /// Rises with every change of the record.
    pub version: u64,
    /// The current epoch's number.
    pub epoch: u64,
    /// Who proposed it; 0 is the operator.
    #[serde(default)]
    pub proposer: u32,
    /// Sealing or Active.
    pub phase: RecordPhase,
    /// Number of the leader; 0 while sealing.
    pub leader: u32,
    /// Members and w in force.
    pub config: ConfigRecord,
    /// The configuration being left, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<ConfigRecord>,
    /// Every replica with its addresses; those that are no members are learners.
    pub replicas: Vec<ReplicaRecord>,
    /// The group's generation as an origin of deltas.
    pub generation: u32,
    /// Member that the leader hands over to; 0 for none.
    #[serde(default)]
    pub handover: u32,
    /// Number of the leader of the epoch before; 0 at first.
    #[serde(default)]
    pub previous_leader: u32,
    /// The replica that the operator restarts, or replaces on a new disk, of its own accord: one at a time; 0 for none.
    #[serde(default)]
    pub restarting: u32,
    /// Mode MultiLeader: the store's other groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<OtherGroupRecord>,
    /// Mode MultiLeader: how far the group is on its way out of the store.
    #[serde(default, skip_serializing_if = "is_default")]
    pub leaving: LeavingRecord,
    /// Mode MultiLeader: a person gave the group up before the others held all that it had acknowledged: so many of its entries are known that none of them held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<u64>,
    /// Mode MultiLeader: keys that one group alone writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<HomeRecord>,
    /// Mode MultiLeader: no group of the store was ever given a number above this.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_group: u32,
    /// What replicas need to know of the spec.
    pub settings: SettingsRecord,
}

/// Another group of the store, with which this one has feeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OtherGroupRecord {
    /// The group's number.
    pub group: u32,
    /// Its region.
    pub region: String,
    /// Its replicas with their addresses.
    pub replicas: Vec<ReplicaRecord>,
    /// The feeds with it are paused, because a person asked for that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
    /// Its region is being taken away: it takes no more writes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub leaving: bool,
    /// It is a replica outside the cluster; its region has that one's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeRecord>,
}

/// A replica outside the cluster: how it is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EdgeRecord {
    /// Hash of its key, hexadecimal. It lets nobody in.
    pub verifier: String,
    /// Random, 16 hexadecimal digits: its key is made from this and the store's secret.
    pub nonce: String,
    /// It is not let in any more. The row stays, because its number is not to be used again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revoked: bool,
}

impl EdgeRecord {
    /// The nonce as a number; none where somebody edited it.
    pub fn nonce_number(&self) -> Option<u64> {
        u64::from_str_radix(&self.nonce, 16).ok()
    }
}

/// The row of the edge that has this name now, in the records of these groups.
///
/// # Errors
/// The names that there are, in words that stand behind one that is none of them; empty where there are none.
pub fn edge_named<'a>(groups: &'a [GroupRecord], name: &str) -> Result<(&'a OtherGroupRecord, &'a EdgeRecord), String> {
    let rows = || groups.iter().flat_map(|group| &group.groups);
    let edges = || rows().filter_map(|row| Some((row, row.edge.as_ref().filter(|edge| !edge.revoked)?)));
    edges().find(|(row, _)| row.region == name).ok_or_else(|| {
        let names: BTreeSet<&str> = edges().map(|(row, _)| row.region.as_str()).collect();
        match names.is_empty() {
            true => String::new(),
            false => format!(" (it has {})", names.into_iter().collect::<Vec<_>>().join(", ")),
        }
    })
}

/// How far a group is on its way out of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum LeavingRecord {
    /// It stays.
    #[default]
    Stays,
    /// It takes no more writes, and the groups that stay get what they lack of its own.
    Drains,
    /// They have it, or it was given up: its replicas end.
    Gone,
    /// None of its replicas is left. The record stays, because its number is not to be used again.
    Ended,
}

/// Keys that one group alone writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HomeRecord {
    /// Those that begin with this; empty where `tag` is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Those with this hash tag.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// Number of the group that writes them.
    pub group: u32,
    /// Rises with each move.
    pub epoch: u64,
    /// What the group of this record must have received before it executes a command on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<DotRecord>,
    /// The group of this record executes no command on them any more, and everything that it wrote of them is within this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceded: Option<Vec<DotRecord>>,
    /// Others write them while that group cannot be reached.
    #[serde(default, skip_serializing_if = "is_default")]
    pub accept_locally: bool,
}

/// All entries of an origin up to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DotRecord {
    /// The origin's group.
    pub group: u32,
    /// Its generation.
    pub generation: u32,
    /// Up to this one.
    pub seq: u64,
}

/// What an epoch is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum RecordPhase {
    /// Members promise to accept nothing older; nobody leads.
    Sealing,
    /// The leader leads.
    Active,
}

/// Members and w.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigRecord {
    /// The members.
    pub members: Vec<MemberRecord>,
    /// Copies before OK.
    pub w: u32,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberRecord {
    /// Number of the replica.
    pub id: u32,
    /// Which life of its disk, as 16 hexadecimal digits: JSON numbers are not exact that far.
    pub incarnation: String,
}

/// Where a replica is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicaRecord {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its region; empty where there is only one.
    pub region: String,
    /// `host:port` of its peer port.
    pub peer_address: String,
    /// `host:port` where clients reach it.
    pub client_address: String,
    /// Mode Leaderless: which life of its disk this row knows, as 16 hexadecimal digits; empty while it has not been heard.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub incarnation: String,
    /// Mode Leaderless: that life's number as an origin of deltas.
    #[serde(default, skip_serializing_if = "is_default")]
    pub generation: u32,
    /// Mode Leaderless: it counts for no quorum and takes no commands, because a person asked for that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub quarantined: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn single_leader() -> Mode {
    Mode::SingleLeader
}

fn is_single_leader(mode: &Mode) -> bool {
    *mode == Mode::SingleLeader
}

/// What replicas need to know of the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettingsRecord {
    /// When a copy counts.
    pub durability: crate::store::Durability,
    /// Replicas that confirm a read.
    pub r: u32,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u32,
    /// Milliseconds that a leader may answer after its members last acknowledged it.
    pub lease_ms: u32,
    /// Milliseconds of silence after which a peer is suspect.
    pub suspicion_ms: u32,
    /// What becomes of entries that only a former leader had.
    pub unreplicated: crate::store::Unreplicated,
    /// Milliseconds that a command may wait.
    pub request_timeout_ms: u32,
    /// Bytes of log kept for replicas that are behind.
    pub log_bytes_max: u64,
    /// How replicas move deltas.
    #[serde(default = "single_leader", skip_serializing_if = "is_single_leader")]
    pub mode: Mode,
    /// Mode Leaderless: what orders writes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub write_order: WriteOrder,
    /// Mode Leaderless: when replicas get what a read found them to lack.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_repair: ReadRepair,
    /// Bytes a second that a replica sends to each peer at most of what that one missed; 0 for no cap.
    #[serde(default, skip_serializing_if = "is_default")]
    pub feed_bytes_per_second: u64,
    /// Mode MultiLeader: how messages from region to region are made smaller.
    #[serde(default, skip_serializing_if = "is_default")]
    pub feed_compression: FeedCompression,
    /// Mode MultiLeader: where conflicts are written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<crate::conflicts::Conflicts>,
    /// What sessions are promised, where that is not everything, and how long they wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<crate::session::Session>,
    /// Classes of keyspace events that are told, as letters.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keyspace_events: String,
    /// Number of the change that made it so: what CONFIG SET said before it is over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keyspace_events_revision: u64,
    /// What clients may take, where that is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<crate::limits::Limits>,
}
