//! Edges: what the store's records say of them, and what an edge's own record is to be.
//!
//! In the store an edge is a row of every group's record: its number, and what its key is known by. Nothing waits for it: it counts for no w, no region that
//! leaves and no home that moves waits until it has said something, and that it is away is no trouble.
//!
//! On its own machine it is a group with one replica, planned by the same rules from a record of its own, as nobody else may be there. What that record says of
//! the other groups and of homes a leader of the store has told it ([`Regions`]); while none does, what it was told before holds.

use std::collections::BTreeMap;

use trireme_crds::Policy;
use trireme_proto::{
    Incarnation, Topology,
    breakage::{Breakage, broken},
    edge::{self, Ticket},
    message::Regions,
    topology::{Durability, Group, Home, Mode, Settings},
};

use crate::{
    desired::{Desired, DesiredReplica, Failover},
    homes::DesiredHome,
};

impl Desired {
    /// What the keys of edges are known by, in what is wanted of all groups of a store, made from the store's secret, and for edges that are new from `chance`,
    /// which is to be another number each time. Where there is none, they are not let in yet.
    pub fn know_edges(groups: &mut [Desired], secret: &[u8], chance: impl FnOnce() -> Option<u64>) {
        let rows = || groups.iter().flat_map(|desired| &desired.others);
        let new = rows().any(|row| row.edge.as_ref().is_some_and(|edge| edge.nonce == 0));
        // All groups are told the same.
        let nonce = if new { chance().unwrap_or(0) } else { 0 };
        for row in groups.iter_mut().flat_map(|desired| &mut desired.others) {
            let group = row.group;
            let Some(edge) = &mut row.edge else { continue };
            if edge.nonce == 0 {
                edge.nonce = nonce;
            }
            if edge.nonce != 0 {
                edge.verifier = edge::verifier(&edge::key(secret, group, edge.nonce)).into();
            }
        }
    }

    /// What an edge's own group is to be: this ticket's, with what leaders of the store have told it, or else with what its record has.
    ///
    /// Leaders may tell of different moments: one whose region is cut off from those who decide does not know the newest. So all that any of them knows counts,
    /// and of a home the newest epoch, which the record may have.
    pub fn edge(ticket: &Ticket, durability: Durability, told: &[Regions], known: Option<&Topology>) -> Desired {
        let mut others: BTreeMap<u32, Group> = BTreeMap::new();
        for tells in told {
            for row in &tells.groups {
                // Of its own group a leader knows most.
                if row.group == tells.told_by || !others.contains_key(&row.group) {
                    others.insert(row.group, row.clone());
                }
            }
        }
        if told.is_empty() {
            others.extend(known.iter().flat_map(|record| &record.groups).map(|row| (row.group, row.clone())));
        }
        others.remove(&ticket.group);
        let (keyspace_events, keyspace_events_revision) = keyspace_events(told, known);
        let settings = Settings {
            mode: Mode::MultiLeader as i32,
            durability: durability as i32,
            keyspace_events,
            keyspace_events_revision,
            ..Settings::standard()
        };
        let replica = DesiredReplica { id: ticket.replica, name: ticket.edge.clone(), region: ticket.edge.clone() };
        Desired {
            store: ticket.store.clone(),
            name: ticket.name.clone(),
            group: ticket.group,
            region: ticket.edge.clone(),
            replicas: vec![replica],
            others: others.into_values().collect(),
            leaving: false,
            given_up: false,
            mode_waits_for: Vec::new(),
            edge: true,
            homes: homes(told, known),
            w: 1,
            settings,
            failover: Failover {
                // There is nobody else, so there is nothing to give up.
                policy: Policy::NeverLose,
                give_up_after_ms: 0,
                replace_lost_after_ms: None,
                preferred_region: String::new(),
            },
            slo: None,
            paused: false,
            quarantine: Vec::new(),
            generation: 0,
            warnings: Vec::new(),
        }
    }
}

/// Homes as the edge's record is to have them: never its own.
fn homes(told: &[Regions], known: Option<&Topology>) -> Vec<DesiredHome> {
    let mut homes: Vec<Home> = Vec::new();
    let rows = || told.iter().flat_map(|tells| &tells.homes);
    let before = known.iter().flat_map(|record| &record.homes);
    let stays = |home: &&Home| told.is_empty() || rows().any(|row| row.is_of(home));
    for home in rows().chain(before.filter(stays)) {
        match homes.iter_mut().find(|row| row.is_of(home)) {
            Some(row) if row.epoch < home.epoch => *row = home.clone(),
            Some(_) => {}
            None => homes.push(home.clone()),
        }
    }
    let desired = |home| DesiredHome { home: Home { after: Vec::new(), ceded: None, ..home }, waits_for: Vec::new() };
    homes.into_iter().map(desired).collect()
}

/// Which keyspace events the edge tells, and the number of the change that made it so: the newest that anybody knows, which may be its record.
fn keyspace_events(told: &[Regions], known: Option<&Topology>) -> (String, u64) {
    let known = known.map(|record| &record.settings);
    let known = known.map(|settings| (settings.keyspace_events_revision, &settings.keyspace_events));
    let told = told.iter().map(|tells| (tells.keyspace_events_revision, &tells.keyspace_events));
    // Who does not know of events says nothing, with the number of a store that never had any.
    let newest = known.into_iter().chain(told).max_by_key(|(revision, classes)| (*revision, !classes.is_empty()));
    newest.map_or_else(Default::default, |(revision, classes)| (classes.clone(), revision))
}

/// The generation under which an edge that begins on an empty disk writes.
///
/// No two lives of an edge may write under one name, and an edge that has lost its disk can ask only those whom it sees, which need not be those who have what it
/// wrote before. So the name is drawn: it is a part of the random number that every new disk has. Half of all numbers are left to rise from there.
pub(crate) fn first_generation(incarnation: Incarnation) -> u32 {
    if broken(Breakage::EdgeAsBefore) {
        return 1;
    }
    ((incarnation >> 33) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use trireme_proto::topology::Edge;

    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            name: "carts".into(),
            store: "uid".into(),
            edge: "anna".into(),
            group: 3,
            replica: 33,
            key: vec![1],
            doors: Vec::new(),
        }
    }

    fn group(group: u32, region: &str) -> Group {
        Group { group, region: region.into(), ..Group::default() }
    }

    #[test]
    fn an_edge_has_what_anybody_told_it_and_else_what_it_knew() {
        let known = Topology { groups: vec![group(1, "eu")], ..Topology::default() };
        let tells = |by: u32, groups: &[u32], epoch: u64| Regions {
            groups: groups.iter().map(|number| group(*number, "r")).collect(),
            homes: vec![Home { prefix: "x".into(), group: 1, epoch, ..Home::default() }],
            told_by: by,
            ..Regions::default()
        };
        let of = |told: &[Regions], known: Option<&Topology>| -> (Vec<u32>, Vec<u64>) {
            let desired = Desired::edge(&ticket(), Durability::Disk, told, known);
            let epochs = desired.homes.iter().map(|home| home.home.epoch).collect();
            (desired.others.iter().map(|row| row.group).collect(), epochs)
        };
        assert_eq!(of(&[], None), (vec![], vec![]));
        assert_eq!(of(&[], Some(&known)), (vec![1], vec![]));
        assert_eq!(of(&[tells(1, &[1, 3, 4], 2)], Some(&known)), (vec![1, 4], vec![2]), "not itself");
        // One of them is behind: it takes nothing away, nor does one that is behind the record.
        assert_eq!(of(&[tells(1, &[1, 4], 5), tells(4, &[1, 4, 6], 3)], None), (vec![1, 4, 6], vec![5]));
        let newer = Topology { homes: tells(1, &[], 9).homes, ..known };
        assert_eq!(of(&[tells(1, &[1], 5)], Some(&newer)), (vec![1], vec![9]));
    }

    #[test]
    fn an_edge_tells_the_events_that_the_newest_record_it_has_heard_of_says() {
        let tells = |classes: &str, revision: u64| Regions {
            keyspace_events: classes.into(),
            keyspace_events_revision: revision,
            ..Regions::default()
        };
        let of = |told: &[Regions], known: Option<&Topology>| {
            let settings = Desired::edge(&ticket(), Durability::Disk, told, known).settings;
            (settings.keyspace_events, settings.keyspace_events_revision)
        };
        let known = |classes: &str, keyspace_events_revision: u64| Topology {
            settings: Settings { keyspace_events: classes.into(), keyspace_events_revision, ..Settings::standard() },
            ..Topology::default()
        };
        assert_eq!(of(&[], None), (String::new(), 0));
        assert_eq!(of(&[], Some(&known("KA", 1))), ("KA".into(), 1), "while nobody tells");
        assert_eq!(of(&[tells("Kx", 2), tells("KA", 1)], Some(&known("KA", 1))), ("Kx".into(), 2));
        assert_eq!(of(&[tells("", 3), tells("Kx", 2)], Some(&known("Kx", 2))), (String::new(), 3), "and none again");
        assert_eq!(
            of(&[tells("Kx", 2)], Some(&known("", 3))),
            (String::new(), 3),
            "one that is behind says nothing new"
        );
    }

    #[test]
    fn a_key_is_known_by_its_number_and_the_stores_secret() {
        let mut desired = Desired::edge(&ticket(), Durability::Disk, &[], None);
        desired.others = vec![group(1, "eu"), Group { edge: Some(Edge::default()), ..group(4, "ben") }];
        let known = |edge: &Edge| edge.nonce != 0 && !edge.verifier.is_empty();
        let mut groups = [desired];
        Desired::know_edges(&mut groups, b"secret", || None);
        assert!(!groups[0].others.iter().filter_map(|row| row.edge.as_ref()).any(known), "without chance");
        Desired::know_edges(&mut groups, b"secret", || Some(7));
        // Nothing is drawn where nobody is new.
        Desired::know_edges(&mut groups, b"secret", || panic!("all are known"));
        let [desired] = groups;
        let verifiers: Vec<usize> =
            desired.others.iter().filter_map(|row| row.edge.as_ref()).map(|edge| edge.verifier.len()).collect();
        assert_eq!(verifiers, [32]);
        assert_eq!(desired.others[1].edge.as_ref().unwrap().verifier, edge::verifier(&edge::key(b"secret", 4, 7)));
    }

    #[test]
    fn a_new_disk_has_a_generation_of_its_own_with_room_above() {
        assert_eq!(first_generation(u64::MAX), u32::MAX >> 1);
        assert_eq!(first_generation(7), 1);
        assert_ne!(first_generation(1 << 40), first_generation(1 << 41));
    }
}
