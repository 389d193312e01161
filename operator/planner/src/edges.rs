//! Edges: what the store's records say of them, and what an edge's own record is to be.
//!
//! In the store an edge is a row of every group's record: its number, and what its key is known by. Nothing waits for it: it counts for no w, no region that
//! leaves and no home that moves waits until it has said something, and that it is away is no trouble.
//!
//! On its own machine it is a group with one replica, planned by the same rules from a record of its own, as nobody else may be there. What that record says of
//! the other groups and of homes a leader of the store has told it ([`Regions`]); while none does, what it was told before holds.

use trireme_crds::Policy;
use trireme_proto::{
    Incarnation, Topology,
    edge::{self, Ticket},
    message::Regions,
    topology::{Durability, Group, Home, Mode, Settings},
};

use crate::{
    desired::{Desired, DesiredReplica, Failover},
    homes::DesiredHome,
};

impl Desired {
    /// What the keys of edges are known by, made from the store's secret.
    pub fn know_edges(&mut self, secret: &[u8]) {
        for other in &mut self.others {
            let group = other.group;
            if let Some(edge) = &mut other.edge {
                edge.verifier = edge::verifier(&edge::key(secret, group)).into();
            }
        }
    }

    /// What an edge's own group is to be: this ticket's, with what a leader of the store has told it, or else with what its record has.
    pub fn edge(ticket: &Ticket, durability: Durability, told: Option<&Regions>, known: Option<&Topology>) -> Desired {
        let groups = told.map(|told| &told.groups).or_else(|| known.map(|record| &record.groups));
        let others: Vec<Group> =
            groups.into_iter().flatten().filter(|row| row.group != ticket.group).cloned().collect();
        let homes = told.map(|told| &told.homes).or_else(|| known.map(|record| &record.homes));
        let settings =
            Settings { mode: Mode::MultiLeader as i32, durability: durability as i32, ..Settings::standard() };
        let replica = DesiredReplica { id: ticket.replica, name: ticket.edge.clone(), region: ticket.edge.clone() };
        Desired {
            store: ticket.store.clone(),
            name: ticket.name.clone(),
            group: ticket.group,
            region: ticket.edge.clone(),
            replicas: vec![replica],
            others,
            leaving: false,
            given_up: false,
            mode_waits_for: Vec::new(),
            edge: true,
            homes: homes.into_iter().flatten().map(home).collect(),
            w: 1,
            settings,
            failover: Failover {
                // There is nobody else, so there is nothing to give up.
                policy: Policy::NeverLose,
                give_up_after_ms: 0,
                replace_lost_after_ms: None,
                preferred_region: String::new(),
            },
            paused: false,
            quarantine: Vec::new(),
            generation: 0,
            warnings: Vec::new(),
        }
    }
}

/// A home as the edge's record is to have it: never its own.
fn home(home: &Home) -> DesiredHome {
    DesiredHome { home: Home { after: Vec::new(), ceded: None, ..home.clone() }, waits_for: Vec::new() }
}

/// The generation under which an edge that begins on an empty disk writes.
///
/// No two lives of an edge may write under one name, and an edge that has lost its disk can ask only those whom it sees, which need not be those who have what it
/// wrote before. So the name is drawn: it is a part of the random number that every new disk has. Half of all numbers are left to rise from there.
pub(crate) fn first_generation(incarnation: Incarnation) -> u32 {
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
    fn an_edge_has_what_it_was_told_last_and_else_what_it_knew() {
        let known = Topology { groups: vec![group(1, "eu")], ..Topology::default() };
        let told = Regions { groups: vec![group(1, "eu"), group(3, "anna"), group(4, "us")], homes: Vec::new() };
        let others = |told, known| {
            let desired = Desired::edge(&ticket(), Durability::Disk, told, known);
            desired.others.iter().map(|row| row.group).collect::<Vec<_>>()
        };
        assert_eq!(others(None, None), [0; 0]);
        assert_eq!(others(None, Some(&known)), [1]);
        assert_eq!(others(Some(&told), Some(&known)), [1, 4], "not itself");
    }

    #[test]
    fn a_key_is_known_by_its_number_and_the_stores_secret() {
        let mut desired = Desired::edge(&ticket(), Durability::Disk, None, None);
        desired.others = vec![group(1, "eu"), Group { edge: Some(Edge::default()), ..group(4, "ben") }];
        desired.know_edges(b"secret");
        let verifiers: Vec<usize> =
            desired.others.iter().filter_map(|row| row.edge.as_ref()).map(|edge| edge.verifier.len()).collect();
        assert_eq!(verifiers, [32]);
        assert_eq!(desired.others[1].edge.as_ref().unwrap().verifier, edge::verifier(&edge::key(b"secret", 4)));
    }

    #[test]
    fn a_new_disk_has_a_generation_of_its_own_with_room_above() {
        assert_eq!(first_generation(u64::MAX), u32::MAX >> 1);
        assert_eq!(first_generation(7), 1);
        assert_ne!(first_generation(1 << 40), first_generation(1 << 41));
    }
}
