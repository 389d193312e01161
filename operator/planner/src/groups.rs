//! The groups of a store whose regions have a leader each: their numbers, their replicas' numbers and names, and what each is told of the others.
//!
//! A group's number is in the name of every delta that it made, so it belongs to its region for ever: it is read from the records, each of which names its
//! own region and all others, and a region that none of them knows gets one above every number that any of them has.

use std::collections::BTreeMap;

use trireme_crds::rules::N_MAX;
use trireme_proto::{
    ReplicaId, Topology,
    topology::{Group, Replica},
};

use crate::desired::DesiredReplica;

/// Numbers of replicas that each group has for itself.
const NUMBERS: u32 = 16;
const _: () = assert!(N_MAX <= NUMBERS, "replicas of two groups would have one number");

/// The number of the first replica of a group: its others follow without a gap where each region has a leader, and where the store has one group, number 0,
/// as its regions share them.
pub fn first_replica(group: u32) -> ReplicaId {
    group.saturating_sub(1) * NUMBERS + 1
}

/// Replica k, from 0, of this group, from 1: its number is unique in the store.
fn replica(store: &str, group: u32, region: &str, k: u32) -> DesiredReplica {
    let name = if region.is_empty() { format!("{store}-{k}") } else { format!("{store}-{region}-{k}") };
    DesiredReplica { id: first_replica(group) + k, name, region: region.to_owned() }
}

/// One group as it is wanted, and the others as it is to be told of them.
pub(crate) struct Wanted {
    /// Its number, from 1.
    pub group: u32,
    /// Its region.
    pub region: String,
    /// Its replicas.
    pub replicas: Vec<DesiredReplica>,
    /// The store's other groups in order of their numbers: those that are wanted, and those that a record knows.
    pub others: Vec<Group>,
}

/// One group for each region, with n replicas each, in order of the groups' numbers. Regions that are new together are numbered in the order given here.
pub(crate) fn wanted(store: &str, n: u32, regions: &[String], records: &[Topology]) -> Vec<Wanted> {
    let mut numbers = numbers(records);
    let mut last = numbers.keys().last().copied().unwrap_or(0);
    for region in regions {
        if !numbers.values().any(|known| known.as_deref() == Some(region)) {
            last += 1;
            numbers.insert(last, Some(region.clone()));
        }
    }
    let regions_of = numbers.into_iter().filter_map(|(group, region)| Some((group, region?)));
    let all: Vec<(Group, Option<Vec<DesiredReplica>>)> = regions_of
        .map(|(group, region)| {
            let replicas: Option<Vec<DesiredReplica>> =
                regions.contains(&region).then(|| (0..n).map(|k| replica(store, group, &region, k)).collect());
            let rows = rows(group, replicas.as_deref().unwrap_or_default(), records);
            (Group { group, region, replicas: rows, paused: false }, replicas)
        })
        .collect();
    let others =
        |group: u32| all.iter().map(|(other, _)| other).filter(|other| other.group != group).cloned().collect();
    all.iter()
        .filter_map(|(group, replicas)| {
            let (region, replicas) = (group.region.clone(), replicas.clone()?);
            Some(Wanted { group: group.group, region, replicas, others: others(group.group) })
        })
        .collect()
}

/// Every number that was ever given to a group, with its region where that is known.
fn numbers(records: &[Topology]) -> BTreeMap<u32, Option<String>> {
    let mut numbers = BTreeMap::new();
    for record in records.iter().filter(|record| record.group != 0) {
        let own = record.replicas.first().map(|row| row.region.clone());
        let others = record.groups.iter().map(|other| (other.group, Some(other.region.clone())));
        for (group, region) in others.chain([(record.group, own)]) {
            let known: &mut Option<String> = numbers.entry(group).or_default();
            *known = known.take().or(region);
        }
    }
    numbers
}

/// A group's replicas as others are to know them: those that are wanted, and those that its record still has, with the addresses that records know.
fn rows(group: u32, wanted: &[DesiredReplica], records: &[Topology]) -> Vec<Replica> {
    let own = records.iter().find(|record| record.group == group).map(|record| &record.replicas);
    let told = || records.iter().flat_map(|record| &record.groups).find(|other| other.group == group);
    let known: &[Replica] = own.or_else(|| told().map(|other| &other.replicas)).map_or(&[], Vec::as_slice);
    let row = |id: ReplicaId, name: &str, region: &str| {
        let before = known.iter().find(|row| row.id == id);
        let address = |of: fn(&Replica) -> &String| before.map(of).cloned().unwrap_or_default();
        Replica {
            id,
            name: name.to_owned(),
            region: region.to_owned(),
            peer_address: address(|row| &row.peer_address),
            client_address: address(|row| &row.client_address),
            ..Replica::default()
        }
    };
    let mut rows: Vec<Replica> = wanted.iter().map(|r| row(r.id, &r.name, &r.region)).collect();
    for before in known {
        if !rows.iter().any(|row| row.id == before.id) {
            rows.push(row(before.id, &before.name, &before.region));
        }
    }
    rows.sort_by_key(|row| row.id);
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(regions: &[&str]) -> Vec<String> {
        regions.iter().map(|region| (*region).to_owned()).collect()
    }

    fn numbers_of(wanted: &[Wanted]) -> Vec<(u32, &str)> {
        wanted.iter().map(|group| (group.group, group.region.as_str())).collect()
    }

    /// The record of a group that was made as it was wanted, its replicas being at an address of their own.
    fn record(wanted: &Wanted) -> Topology {
        let row = |r: &DesiredReplica| Replica {
            id: r.id,
            name: r.name.clone(),
            region: r.region.clone(),
            peer_address: format!("10.0.0.{}:7600", r.id),
            client_address: format!("10.0.0.{}:6379", r.id),
            ..Replica::default()
        };
        let replicas = wanted.replicas.iter().map(row).collect();
        Topology { group: wanted.group, replicas, groups: wanted.others.clone(), ..Topology::default() }
    }

    #[test]
    fn numbers_and_names_of_replicas_are_unique_in_the_store() {
        let regions: Vec<String> = (0..15).map(|i| format!("r{i}")).collect();
        let groups = wanted("s", N_MAX, &regions, &[]);
        let replicas: Vec<&DesiredReplica> = groups.iter().flat_map(|group| &group.replicas).collect();
        let ids: BTreeSet<u32> = replicas.iter().map(|replica| replica.id).collect();
        let unique: BTreeSet<&str> = replicas.iter().map(|replica| replica.name.as_str()).collect();
        assert_eq!((ids.len(), unique.len()), (135, 135));
        assert_eq!(replicas[0].name, "s-r0-0");
        assert_eq!((replicas[134].id, replicas[134].name.as_str()), (14 * 16 + 9, "s-r14-8"));
    }

    #[test]
    fn a_region_keeps_its_number_and_a_new_one_gets_the_next() {
        let first = wanted("s", 3, &names(&["eu", "us"]), &[]);
        assert_eq!(numbers_of(&first), [(1, "eu"), (2, "us")]);
        let records: Vec<Topology> = first.iter().map(record).collect();
        let more = wanted("s", 3, &names(&["ap", "us", "sa", "eu"]), &records);
        assert_eq!(numbers_of(&more), [(1, "eu"), (2, "us"), (3, "ap"), (4, "sa")]);
        // Each record names all groups: one of them is enough to know every number.
        assert_eq!(numbers_of(&wanted("s", 3, &names(&["us", "eu"]), &records[1..])), [(1, "eu"), (2, "us")]);
        // A region that is not wanted keeps its number, and the others go on to know it.
        let fewer = wanted("s", 3, &names(&["eu", "ap"]), &records);
        assert_eq!(numbers_of(&fewer), [(1, "eu"), (3, "ap")]);
        assert_eq!(fewer[0].others.iter().map(|other| other.group).collect::<Vec<_>>(), [2, 3]);
        // And so does one of which nothing is known but its number.
        let nameless = Topology { group: 7, ..Topology::default() };
        assert_eq!(numbers_of(&wanted("s", 3, &names(&["eu"]), &[nameless])), [(8, "eu")]);
    }

    #[test]
    fn others_are_named_with_all_their_replicas_and_what_records_know_of_them() {
        let first = wanted("s", 3, &names(&["eu", "us"]), &[]);
        let addresses = |group: &Wanted| -> Vec<(u32, String)> {
            group.others[0].replicas.iter().map(|row| (row.id, row.peer_address.clone())).collect()
        };
        let unknown = [17, 18, 19].map(|id| (id, String::new()));
        assert_eq!(addresses(&first[0]), unknown);
        let records: Vec<Topology> = first.iter().map(record).collect();
        let known = [17, 18, 19].map(|id| (id, format!("10.0.0.{id}:7600")));
        assert_eq!(addresses(&wanted("s", 3, &names(&["eu", "us"]), &records)[0]), known);
        // Replicas that are to leave are there until the group's own record is without them.
        assert_eq!(addresses(&wanted("s", 2, &names(&["eu", "us"]), &records)[0]), known);
    }
}
