//! What is wanted: the store's resource, with every default filled in.

use trireme_crds::{
    Mode, Objectives, Policy, Quorums, ReplicatedStore, Settled, store::Meta, topology::SettingsRecord,
};
use trireme_proto::{ReplicaId, Topology, topology};

use crate::{
    groups::{self, Wanted},
    homes::DesiredHome,
    record,
};

/// The annotation of a store that pauses its reconciliation, where its value is `true`.
pub const PAUSED: &str = "trireme.dev/paused";

/// The annotation of a store that names replicas which are to count for no quorum, separated by commas; mode Leaderless only. Absent or empty: none.
pub const QUARANTINE: &str = "trireme.dev/quarantine";

/// The annotation of a store that names regions whose feeds with all others are paused, separated by commas; mode MultiLeader only. Each goes on serving its
/// clients; what is written in it, and elsewhere, waits to be fed until the name is taken away.
pub const PAUSE_FEEDS: &str = "trireme.dev/pause-feeds";

/// The annotation of a store that names regions, separated by commas, which leave it without waiting until the others hold what they have acknowledged; mode
/// MultiLeader only, and only for regions that are not in `spec.regions` any more. What no other region has is lost, and whoever writes it vouches that no client
/// writes there any more.
pub const GIVE_UP: &str = "trireme.dev/give-up-region";

/// What is wanted of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Unique name of the store.
    pub store: String,
    /// Its name as users see it.
    pub name: String,
    /// The group: 0 where the store has had only one since it was made.
    pub group: u32,
    /// Mode MultiLeader: the region whose group it is; else empty.
    pub region: String,
    /// The replicas that are to be members.
    pub replicas: Vec<DesiredReplica>,
    /// Mode MultiLeader: the store's other groups in order of their numbers, with all their replicas and the addresses that their records know.
    pub others: Vec<topology::Group>,
    /// Mode MultiLeader: the region is not wanted any more; the group is to leave once the others hold what it has acknowledged.
    pub leaving: bool,
    /// And a person gave up what they do not hold.
    pub given_up: bool,
    /// Regions that are to go before the mode becomes SingleLeader, which is wanted; until then [`Desired::settings`] says MultiLeader.
    pub mode_waits_for: Vec<String>,
    /// The group is an edge's, on its own machine: there is nobody to ask but whoever it happens to see.
    pub edge: bool,
    /// Mode MultiLeader: keys that one region writes.
    pub homes: Vec<DesiredHome>,
    /// Copies before OK.
    pub w: u32,
    /// What replicas need to know.
    pub settings: topology::Settings,
    /// What happens when a leader is lost.
    pub failover: Failover,
    /// What the store promises: whoever carries decisions out measures it.
    pub slo: Option<Objectives>,
    /// Nothing is to be begun: see [`crate::plan()`].
    pub paused: bool,
    /// Names of replicas that are to count for no quorum.
    pub quarantine: Vec<String>,
    /// Generation of the resource.
    pub generation: i64,
    /// Accepted but risky choices, for the condition `ConfigurationWarning`.
    pub warnings: Vec<String>,
}

/// One replica that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredReplica {
    /// Its number, from 1, unique in the store.
    pub id: ReplicaId,
    /// Its name, which is its pod's, for life: the store's and its number minus one, or, where regions were named when it was made, the store's, its region's,
    /// and its number there.
    pub name: String,
    /// Its region; empty where there is only one.
    pub region: String,
}

/// What happens when a leader is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// What to do when too few members answer a seal.
    pub policy: Policy,
    /// How long `PreferAvailable` waits for them, in milliseconds.
    pub give_up_after_ms: u64,
    /// A replica that has been unreachable for this long, and whose machine is known to be gone, is replaced on a new disk. `None`: only by a person.
    pub replace_lost_after_ms: Option<u64>,
    /// Region preferred for the leader among equals; empty for none.
    pub preferred_region: String,
}

impl Desired {
    /// What a resource that [`trireme_crds::validate`] accepted asks for, one for each of its groups, in order of their numbers; never empty. `uid` is the
    /// store's unique name, `records` are those that exist: of all its groups, in any order.
    ///
    /// Modes SingleLeader and Leaderless have one group, number 0 where it was the store's first. Replica i of n, from 1, is in region (i - 1) mod R, and is that
    /// region's number (i - 1) / R: growing by one region's worth adds one to each.
    ///
    /// Mode MultiLeader has one group for each region, with n replicas each. Its number, from 1, is what the records say it is; a region that no record
    /// knows gets one above all that were ever used, so that no two regions ever have the same. A region that is not wanted any more has a group until nothing is
    /// left of it. Replica k, from 0, of group g has number (g - 1) 16 + k + 1. Where the first of them is the store's former only one, number 0, there is no
    /// number 1: both would have the same replicas' numbers.
    ///
    /// Between these two modes a store goes by steps; see `groups::course`.
    /// Where all records are lost at once, numbers are those of the regions' order, and a replica whose disk is another group's refuses them.
    pub fn groups<M: Meta>(store: &ReplicatedStore<M>, uid: &str, records: &[Topology]) -> Vec<Desired> {
        let mut groups = Desired::of_settings(store, uid, records);
        for desired in &mut groups {
            let topology::Settings { keyspace_events, keyspace_events_revision, .. } = &mut desired.settings;
            *keyspace_events_revision = events_revision(keyspace_events, records);
        }
        groups
    }

    /// The same without what numbers changes.
    fn of_settings<M: Meta>(store: &ReplicatedStore<M>, uid: &str, records: &[Topology]) -> Vec<Desired> {
        let settled = store.spec.settle();
        let name = store.metadata.name();
        let is_spread = settled.mode == Mode::SingleLeader && (records.is_empty() || settled.regions.len() > 1);
        if settled.mode == Mode::Leaderless || is_spread {
            return vec![Desired { replicas: spread(name, &settled), ..Desired::of_no_group(store, uid, settled) }];
        }
        let course = groups::course(&settled, records);
        let settled = Settled { mode: course.mode, ..settled };
        let records = &groups::in_region(records, &course);
        let wanted = groups::wanted(name, settled.n, &course.regions, &settled.edges, records);
        let number = |region: &str| {
            wanted.iter().find(|group| group.region == region && !group.leaving).map(|group| group.group)
        };
        let homes = DesiredHome::all(&settled.homes, number, records);
        let apart = names(store.metadata.annotation(PAUSE_FEEDS).unwrap_or_default());
        let lost = names(store.metadata.annotation(GIVE_UP).unwrap_or_default());
        let with = |(i, Wanted { group, region, replicas, mut others, leaving }): (usize, Wanted)| {
            for other in &mut others {
                other.paused = apart.contains(&region) || apart.contains(&other.region);
            }
            let mut common = Desired::of_no_group(store, uid, settled.clone());
            // It is refused whomever it names; once is enough.
            common.quarantine.retain(|_| i == 0);
            let given_up = leaving && lost.contains(&region);
            let region = if course.mode == Mode::MultiLeader { region } else { String::new() };
            let mode_waits_for = if leaving { Vec::new() } else { course.waits_for.clone() };
            Desired {
                group,
                region,
                replicas,
                others,
                leaving,
                given_up,
                mode_waits_for,
                homes: homes.clone(),
                ..common
            }
        };
        wanted.into_iter().enumerate().map(with).collect()
    }

    /// What is the same for all groups of a store.
    fn of_no_group<M: Meta>(store: &ReplicatedStore<M>, uid: &str, settled: Settled) -> Desired {
        let ms = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Desired {
            store: uid.to_owned(),
            name: store.metadata.name().to_owned(),
            group: 0,
            region: String::new(),
            replicas: Vec::new(),
            others: Vec::new(),
            leaving: false,
            given_up: false,
            mode_waits_for: Vec::new(),
            edge: false,
            homes: Vec::new(),
            w: settled.w,
            settings: record::settings_from_object(&SettingsRecord {
                durability: settled.durability,
                r: settled.r,
                heartbeat_ms: ms(settled.heartbeat_ms),
                lease_ms: ms(settled.lease_ms),
                suspicion_ms: ms(settled.suspicion_ms),
                unreplicated: settled.unreplicated,
                request_timeout_ms: ms(settled.request_timeout_ms),
                log_bytes_max: settled.log_bytes_max,
                mode: settled.mode,
                write_order: settled.write_order,
                read_repair: settled.read_repair,
                feed_bytes_per_second: settled.feed_bytes_per_second,
                feed_compression: settled.feed_compression,
                conflicts: settled.conflicts,
                session: Some(settled.session).filter(|session| !session.is_standard()),
                keyspace_events: settled.keyspace_events,
                keyspace_events_revision: 0,
                limits: Some(settled.limits).filter(|limits| !limits.is_standard()),
            }),
            failover: Failover {
                policy: settled.policy,
                give_up_after_ms: settled.give_up_after_ms,
                replace_lost_after_ms: settled.replace_lost_after_ms,
                preferred_region: settled.preferred_region,
            },
            slo: settled.slo,
            paused: store.metadata.annotation(PAUSED) == Some("true"),
            quarantine: names(store.metadata.annotation(QUARANTINE).unwrap_or_default()),
            generation: store.metadata.generation(),
            warnings: trireme_crds::warnings(store),
        }
    }

    /// Number of members wanted.
    pub fn n(&self) -> usize {
        self.replicas.len()
    }

    /// What w and r need, where there is no leader.
    pub fn quorums(&self) -> Option<Quorums> {
        let n = u32::try_from(self.n()).unwrap_or(u32::MAX);
        (self.settings.mode() == topology::Mode::Leaderless).then(|| record::quorums(n, self.w, &self.settings))
    }

    /// The replica with this number, if it is wanted.
    pub fn replica(&self, id: ReplicaId) -> Option<&DesiredReplica> {
        self.replicas.iter().find(|r| r.id == id)
    }
}

/// Number of the change that made keyspace events what they are to be: that of the newest there is in the store's records, or one more.
fn events_revision(wanted: &str, records: &[Topology]) -> u64 {
    let newest = records.iter().map(|record| &record.settings).max_by_key(|settings| settings.keyspace_events_revision);
    match newest {
        Some(newest) => newest.keyspace_events_revision + u64::from(newest.keyspace_events != wanted),
        None => u64::from(!wanted.is_empty()),
    }
}

/// The replicas of a store's only group, spread over its regions.
fn spread(store: &str, settled: &Settled) -> Vec<DesiredReplica> {
    let regions = settled.regions.len();
    let replica = |id: u32| {
        let (region, k) = (&settled.regions[(id as usize - 1) % regions], (id as usize - 1) / regions);
        let name = if region.is_empty() { format!("{store}-{k}") } else { format!("{store}-{region}-{k}") };
        DesiredReplica { id, name, region: region.clone() }
    };
    (1..=settled.n).map(replica).collect()
}

/// Names separated by commas.
fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_keyspace_events_has_one_number_in_all_records_and_going_back_is_another_change() {
        let record = |keyspace_events: &str, keyspace_events_revision: u64| Topology {
            settings: topology::Settings {
                keyspace_events: keyspace_events.into(),
                keyspace_events_revision,
                ..topology::Settings::standard()
            },
            ..Topology::default()
        };
        assert_eq!([events_revision("", &[]), events_revision("KA", &[])], [0, 1]);
        let same = [record("KA", 1), record("KA", 1)];
        assert_eq!([events_revision("KA", &same), events_revision("", &same)], [1, 2]);
        // The change is in one of the records only, or in none of a region that is new.
        for records in [[record("KA", 1), record("", 2)], [record("", 2), record("KA", 1)]] {
            assert_eq!([events_revision("", &records), events_revision("KA", &records)], [2, 3]);
        }
    }
}
