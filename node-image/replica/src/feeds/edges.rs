//! Feeds with edges: regions of one that come and go, whose records nobody writes but themselves.
//!
//! An edge dials leaders. Each tells it what its own record says of the store, when the edge comes and whenever that changes; the edge reports it, and whoever
//! writes its record takes it over. Everything else is as between any two groups.

use trireme_proto::{
    Message, ReplicaId,
    ids::Peer,
    message::Regions,
    topology::{Group, Leaving},
};

use crate::replica::Replica;

impl Replica {
    /// Whether this replica exchanges entries with other groups, for its own.
    pub fn speaks_for_group(&self) -> bool {
        self.is_multi_leader() && self.feeds.is_some()
    }

    /// Whether a group is an edge.
    pub(crate) fn is_edge(&self, group: u32) -> bool {
        let topology = self.meta.topology.as_ref();
        topology.is_some_and(|topology| topology.groups.iter().any(|row| row.group == group && row.is_edge()))
    }

    /// Says what the record says to every edge that is connected.
    pub(crate) fn tell_edges(&mut self) {
        let peers: Vec<ReplicaId> = self.peers.keys().copied().collect();
        peers.into_iter().for_each(|id| self.tell_edge(id));
    }

    /// Says what the record says to this one, if it is an edge.
    pub(crate) fn tell_edge(&mut self, id: ReplicaId) {
        let Some(topology) = self.meta.topology.as_ref().filter(|_| self.speaks_for_group()) else { return };
        if !self.group_of(id).is_some_and(|group| self.is_edge(group)) {
            return;
        }
        let own = Group {
            group: topology.group,
            region: topology.replicas.first().map_or_else(String::new, |row| row.region.clone()),
            replicas: topology.replicas.clone(),
            leaving: topology.leaving() != Leaving::Stays,
            ..Group::default()
        };
        let mut groups: Vec<Group> = topology.groups.iter().filter(|row| !row.is_edge()).cloned().collect();
        // What is paused between regions is not between them and the edge.
        groups.iter_mut().for_each(|row| row.paused = false);
        groups.push(own);
        groups.sort_by_key(|row| row.group);
        let regions = Regions {
            groups,
            homes: topology.homes.clone(),
            told_by: topology.group,
            keyspace_events: topology.settings.keyspace_events.clone(),
            keyspace_events_revision: topology.settings.keyspace_events_revision,
        };
        self.output.send.push((Peer::Replica(id), Message::Regions(Box::new(regions))));
    }

    /// A leader says what its record says. An edge reports it; others have records of their own.
    pub(crate) fn on_regions(&mut self, regions: Regions) {
        let group = regions.told_by;
        // As many may speak as there are groups.
        let known = regions.groups.iter().any(|row| row.group == group);
        if known && self.regions.get(&group) != Some(&regions) {
            self.regions.insert(group, regions);
            self.report_due = true;
        }
    }
}
