//! The groups of a store whose regions have a leader each: their numbers, their replicas' numbers and names, and what each is told of the others.
//!
//! A group's number is in the name of every delta that it made, so it belongs to its region for ever: it is read from the records, each of which names its
//! own region and all others, and a region that none of them knows gets one above every number that any of them has. The record of a group that has left the
//! store stays for its number's sake; a region that comes back is a new one, once nothing is left of what had its name. Edges are numbered with them, and so each
//! record keeps the rows of those that were revoked.
//!
//! Between one leader and a leader in each region a store changes by steps, and so do the groups that it is to have: see [`course`]. Its replicas keep their
//! names and numbers whatever the mode is, so the store's only group, number 0, goes on under the store's own name in the region that it becomes, and the last
//! region's group under the region's when it is the only one.

use std::collections::BTreeMap;

use trireme_crds::{Mode, Settled, rules::N_MAX};
use trireme_proto::{
    ReplicaId, Topology,
    topology::{self, Edge, Group, Leaving, Replica},
};

use crate::desired::DesiredReplica;

/// Numbers of replicas that each group has for itself.
const NUMBERS: u32 = 16;
/// So many edges that were revoked are known by name.
const REVOKED_MAX: usize = 32;
const _: () = assert!(N_MAX <= NUMBERS, "replicas of two groups would have one number");

/// The number of the first replica of a group: its others follow without a gap; but where the store has one group, number 0, in several regions, these share
/// the numbers.
pub fn first_replica(group: u32) -> ReplicaId {
    group.saturating_sub(1) * NUMBERS + 1
}

/// What is to become of a store whose mode has changed, or not: the next step, by what the records say.
pub(crate) struct Course {
    /// The mode that its groups are to have now.
    pub mode: Mode,
    /// The regions that are to have a group.
    pub regions: Vec<String>,
    /// Regions that are to go before the mode becomes what is wanted.
    pub waits_for: Vec<String>,
}

/// One step after the other. From one leader to several: the group that is there becomes that of its region, or of the first one that is named where it has none;
/// then those of the other regions are made. And back: one region stays, which the resource names, or the first by its group's number; all others leave; then
/// its group is the only one.
pub(crate) fn course(settled: &Settled, records: &[Topology]) -> Course {
    let there: Vec<&Topology> = records.iter().filter(|record| record.leaving() != Leaving::Ended).collect();
    let to = |mode, regions| Course { mode, regions, waits_for: Vec::new() };
    let only = there.iter().find(|record| record.settings.mode() == topology::Mode::SingleLeader);
    match (settled.mode, only) {
        (Mode::SingleLeader, Some(only)) => to(Mode::SingleLeader, vec![region_of(only).to_owned()]),
        (Mode::SingleLeader, None) => {
            let stays =
                there.iter().filter(|record| record.leaving() == Leaving::Stays).min_by_key(|record| record.group);
            let stays = match settled.regions.as_slice() {
                [named] if !named.is_empty() => named.clone(),
                _ => stays.map_or_else(String::new, |record| region_of(record).to_owned()),
            };
            let others = there.iter().map(|record| region_of(record)).filter(|region| *region != stays);
            let waits_for: Vec<String> = others.map(str::to_owned).collect();
            let mode = if waits_for.is_empty() { Mode::SingleLeader } else { Mode::MultiLeader };
            Course { mode, regions: vec![stays], waits_for }
        }
        (_, Some(only)) if region_of(only).is_empty() => to(settled.mode, settled.regions[..1].to_vec()),
        (_, Some(only)) => to(settled.mode, vec![region_of(only).to_owned()]),
        (_, None) => to(settled.mode, settled.regions.clone()),
    }
}

/// These records, the one of a store's only group being of the region that it becomes.
pub(crate) fn in_region(records: &[Topology], course: &Course) -> Vec<Topology> {
    let mut records = records.to_vec();
    let nameless = records.iter_mut().flat_map(|record| &mut record.replicas).filter(|row| row.region.is_empty());
    if let Some(region) = course.regions.first() {
        nameless.for_each(|row| row.region.clone_from(region));
    }
    records
}

/// The region of a group: all its replicas are there.
fn region_of(record: &Topology) -> &str {
    record.replicas.first().map_or("", |row| &row.region)
}

/// What the names of a group's replicas begin with: the store's and the region's, or what those that it has are called.
fn set_of(store: &str, group: u32, region: &str, known: &[Replica]) -> String {
    let plain = |row: &Replica| {
        Some(row.name.as_str()) == row.id.checked_sub(first_replica(group)).map(|k| format!("{store}-{k}")).as_deref()
    };
    if region.is_empty() || known.iter().any(plain) { store.to_owned() } else { format!("{store}-{region}") }
}

/// One group as it is wanted, and the others as it is to be told of them.
pub(crate) struct Wanted {
    /// Its number.
    pub group: u32,
    /// Its region.
    pub region: String,
    /// Its replicas.
    pub replicas: Vec<DesiredReplica>,
    /// The store's other groups in order of their numbers: those that are wanted, and those that a record knows and that have not left.
    pub others: Vec<Group>,
    /// Its region is not wanted any more.
    pub leaving: bool,
}

/// One group for each region, with n replicas each, in order of the groups' numbers, and one for each that a record has and that is to leave. Regions that are
/// new together are numbered in the order given here.
pub(crate) fn wanted(store: &str, n: u32, regions: &[String], edges: &[String], records: &[Topology]) -> Vec<Wanted> {
    let mut numbers = numbers(records);
    let mut last = last_number(records);
    for region in regions {
        // One whose replicas have not all ended keeps the region's name: it is that of volumes and processes, too.
        if !numbers.values().any(|known| known.as_deref() == Some(region)) {
            last += 1;
            numbers.insert(last, Some(region.clone()));
        }
    }
    let edges = edge_rows(edges, last, records);
    let all: Vec<(Group, Standing, Vec<DesiredReplica>)> = numbers
        .into_iter()
        .filter_map(|(group, region)| Some((group, region?)))
        .map(|(group, region)| {
            let standing = standing(group, &region, regions, records);
            let set = set_of(store, group, &region, known(group, records));
            let replica = |k: u32| DesiredReplica {
                id: first_replica(group) + k,
                name: format!("{set}-{k}"),
                region: region.clone(),
            };
            let replicas: Vec<DesiredReplica> = match standing {
                Standing::Wanted | Standing::Leaving => (0..n).map(replica).collect(),
                Standing::Gone | Standing::Unknown => Vec::new(),
            };
            let (rows, leaving) = (rows(group, &replicas, records), standing == Standing::Leaving);
            (Group { group, region, replicas: rows, leaving, ..Group::default() }, standing, replicas)
        })
        .collect();
    let others = |group: u32| {
        let others = all.iter().filter(|(other, standing, _)| other.group != group && *standing != Standing::Gone);
        let mut others: Vec<Group> = others.map(|(other, ..)| other).chain(&edges).cloned().collect();
        others.sort_by_key(|other| other.group);
        others
    };
    let planned = all.iter().filter(|(_, standing, _)| *standing != Standing::Unknown);
    let with = |(group, standing, replicas): &(Group, Standing, Vec<DesiredReplica>)| Wanted {
        group: group.group,
        region: group.region.clone(),
        replicas: replicas.clone(),
        others: others(group.group),
        leaving: *standing != Standing::Wanted,
    };
    planned.map(with).collect()
}

/// How a group stands to what is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Wanted,
    /// Its region is not, and it has a record.
    Leaving,
    /// It is no group of the store any more; its replicas end.
    Gone,
    /// Its region is not wanted, and nothing but its number is known.
    Unknown,
}

fn standing(group: u32, region: &String, regions: &[String], records: &[Topology]) -> Standing {
    let record = records.iter().find(|record| record.group == group);
    match record.map(Topology::leaving) {
        Some(Leaving::Gone | Leaving::Ended) => Standing::Gone,
        _ if regions.contains(region) => Standing::Wanted,
        Some(Leaving::Stays | Leaving::Drains) => Standing::Leaving,
        None => Standing::Unknown,
    }
}

/// The highest number that was ever given to a group.
fn last_number(records: &[Topology]) -> u32 {
    let all = records.iter().map(last_number_of);
    // Number 0 has the replicas' numbers that 1 would have.
    all.max().map_or(0, |last| last.max(1))
}

/// The highest that this record knows of.
pub(crate) fn last_number_of(record: &Topology) -> u32 {
    let rows = record.groups.iter().map(|row| row.group);
    rows.chain([record.group, record.last_group]).max().unwrap_or(0)
}

/// A row for each edge that is wanted, and for the last of those that were, so that they are told so: of older ones the number is enough, which all records know. New ones are numbered from behind `last` on, in the order given here.
fn edge_rows(wanted: &[String], mut last: u32, records: &[Topology]) -> Vec<Group> {
    let mut rows: BTreeMap<u32, Group> = BTreeMap::new();
    for known in records.iter().flat_map(|record| &record.groups).filter(|row| row.is_edge()) {
        let row = rows.entry(known.group).or_insert_with(|| edge(known.group, &known.region));
        let revoked = known.edge.as_ref().is_some_and(|edge| edge.revoked) || !wanted.contains(&known.region);
        let before = known.edge.clone().unwrap_or_default();
        if let Some(edge) = &mut row.edge {
            // Once one record says so it is so: whoever reads another one later does not let it in again.
            edge.revoked |= revoked;
            if edge.nonce == 0 {
                (edge.nonce, edge.verifier) = (before.nonce, before.verifier);
            }
        }
    }
    for name in wanted {
        if !rows.values().any(|row| row.region == *name && !row.is_revoked()) {
            last += 1;
            rows.insert(last, edge(last, name));
        }
    }
    let known = |group: u32| records.iter().all(|record| record.last_group >= group);
    let old: Vec<u32> = rows.values().rev().filter(|row| row.is_revoked()).skip(REVOKED_MAX).map(|r| r.group).collect();
    rows.retain(|group, _| !(old.contains(group) && known(*group)));
    rows.into_values().collect()
}

/// An edge's row, without what its key is known by: that is made of a secret, by who runs the store. Where it is not at hand, what the records say holds.
fn edge(group: u32, name: &str) -> Group {
    let replica =
        Replica { id: first_replica(group), name: name.to_owned(), region: name.to_owned(), ..Replica::default() };
    Group { group, region: name.to_owned(), replicas: vec![replica], edge: Some(Edge::default()), ..Group::default() }
}

/// Every number that was ever given to a region's group, with its region where that is known and its replicas have not all ended.
fn numbers(records: &[Topology]) -> BTreeMap<u32, Option<String>> {
    let mut numbers = BTreeMap::new();
    for record in records {
        let own = record.replicas.first().map(|row| row.region.clone());
        let others = record.groups.iter().filter(|other| !other.is_edge());
        let others = others.map(|other| (other.group, Some(other.region.clone())));
        for (group, region) in others.chain([(record.group, own)]) {
            let known: &mut Option<String> = numbers.entry(group).or_default();
            *known = known.take().or(region);
        }
    }
    for ended in records.iter().filter(|record| record.leaving() == Leaving::Ended) {
        numbers.insert(ended.group, None);
    }
    numbers
}

/// A group's replicas as its own record knows them, or that of another group.
fn known(group: u32, records: &[Topology]) -> &[Replica] {
    let own = records.iter().find(|record| record.group == group).map(|record| &record.replicas);
    let told = || records.iter().flat_map(|record| &record.groups).find(|other| other.group == group);
    own.or_else(|| told().map(|other| &other.replicas)).map_or(&[], Vec::as_slice)
}

/// A group's replicas as others are to know them: those that are wanted, and those that its record still has, with the addresses that records know.
fn rows(group: u32, wanted: &[DesiredReplica], records: &[Topology]) -> Vec<Replica> {
    let known = known(group, records);
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

    /// The same without edges.
    fn wanted(store: &str, n: u32, regions: &[String], records: &[Topology]) -> Vec<Wanted> {
        super::wanted(store, n, regions, &[], records)
    }

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
        // A region of which nothing is known but its name keeps its number, and the others go on to know it.
        let fewer = wanted("s", 3, &names(&["eu", "ap"]), &records[..1]);
        assert_eq!(numbers_of(&fewer), [(1, "eu"), (3, "ap")]);
        assert_eq!(fewer[0].others.iter().map(|other| other.group).collect::<Vec<_>>(), [2, 3]);
        // And so does one of which nothing is known but its number.
        let nameless = Topology { group: 7, ..Topology::default() };
        assert_eq!(numbers_of(&wanted("s", 3, &names(&["eu"]), &[nameless])), [(8, "eu")]);
    }

    #[test]
    fn a_region_that_is_not_wanted_any_more_has_a_group_until_it_has_ended_and_comes_back_as_another() {
        let first = wanted("s", 3, &names(&["eu", "us"]), &[]);
        let mut records: Vec<Topology> = first.iter().map(record).collect();
        // Each group with the number of its replicas, and the others; `-` stands behind one that leaves.
        let told = |groups: &[Wanted]| -> Vec<String> {
            let mark = |leaving: bool| if leaving { "-" } else { "" };
            let group = |group: &Wanted| {
                let others: Vec<String> =
                    group.others.iter().map(|other| format!("{}{}", other.group, mark(other.leaving))).collect();
                format!("{}{} {}: {}", group.group, mark(group.leaving), group.replicas.len(), others.join(" "))
            };
            groups.iter().map(group).collect()
        };
        let (eu, both) = (names(&["eu"]), names(&["eu", "us"]));
        assert_eq!(told(&wanted("s", 3, &eu, &records)), ["1 3: 2-", "2- 3: 1"]);
        records[1].leaving = Leaving::Drains as i32;
        assert_eq!(told(&wanted("s", 3, &eu, &records)), ["1 3: 2-", "2- 3: 1"]);
        // It is wanted again before it has left.
        assert_eq!(told(&wanted("s", 3, &both, &records)), ["1 3: 2", "2 3: 1"]);
        // Later it has to end first: what it leaves behind has its name.
        records[1].leaving = Leaving::Gone as i32;
        assert_eq!(told(&wanted("s", 3, &eu, &records)), ["1 3: ", "2- 0: 1"]);
        assert_eq!(told(&wanted("s", 3, &both, &records)), ["1 3: ", "2- 0: 1"]);
        records[1].leaving = Leaving::Ended as i32;
        assert_eq!(told(&wanted("s", 3, &eu, &records)), ["1 3: "]);
        let new = wanted("s", 3, &both, &records);
        assert_eq!(told(&new), ["1 3: 3", "3 3: 1"]);
        assert_eq!((new[1].replicas[0].id, new[1].replicas[0].name.as_str()), (33, "s-us-0"));
    }

    #[test]
    fn an_edge_keeps_its_number_and_one_that_was_revoked_is_never_let_in_again() {
        let regions = names(&["eu", "us"]);
        let edges = |edges: &[&str], records: &[Topology]| super::wanted("s", 3, &regions, &names(edges), records);
        // The rows of each group's record; `!` stands behind one that was revoked.
        let told = |groups: &[Wanted]| -> Vec<String> {
            let mark = |row: &Group| match &row.edge {
                Some(edge) if edge.revoked => "!",
                _ => "",
            };
            let row = |row: &Group| format!("{}{}{}", row.group, row.region, mark(row));
            groups.iter().map(|group| group.others.iter().map(row).collect::<Vec<_>>().join(" ")).collect()
        };
        let records = |groups: &[Wanted]| groups.iter().map(record).collect::<Vec<Topology>>();
        let first = edges(&["anna", "ben"], &[]);
        assert_eq!(told(&first), ["2us 3anna 4ben", "1eu 3anna 4ben"]);
        assert_eq!((first[0].others[1].replicas[0].id, first.len()), (33, 2));
        let without = edges(&["ben"], &records(&first));
        assert_eq!(told(&without), ["2us 3anna! 4ben", "1eu 3anna! 4ben"]);
        // One record says so, the other one is an older one.
        let half = [record(&without[0]), record(&first[1])];
        let again = edges(&["ben", "anna"], &half);
        assert_eq!(told(&again), ["2us 3anna! 4ben 5anna", "1eu 3anna! 4ben 5anna"]);
        // A region gets a number of its own, whatever was an edge's.
        let more = super::wanted("s", 3, &names(&["eu", "us", "anna"]), &[], &records(&again));
        assert_eq!(numbers_of(&more), [(1, "eu"), (2, "us"), (6, "anna")]);
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
