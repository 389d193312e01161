//! An edge: a group of one outside the store's own machines, which sees the regions now and then, and perhaps only one of them.
//!
//! Nobody but itself plans for it, from its ticket and what leaders tell it. It comes by a door, which is each leader's: see `node-image/node/src/peers/doors.rs`.

use fastrand::Rng;
use trireme_proto::{
    ReplicaId,
    edge::Ticket,
    ids::Peer,
    topology::{Durability, Leaving, Mode, Settings},
};
use trireme_replica::Replica;

use super::{Event, Regions, region_name};
use crate::{
    clock::Micros,
    machine::STORE,
    scenario::{Fault, NUMBERS_PER_GROUP, Place, Policy, Scenario, group_of},
    trace::Keep,
    world::World,
};

/// What may befall the machine of an edge; its disk is lost in a way of its own.
const FAULTS: [Fault; 6] =
    [Fault::Kill, Fault::Kill, Fault::PowerLoss, Fault::Terminate, Fault::Pause, Fault::SlowDisk];

/// How long a client thinks that has gone elsewhere.
const AWAY_US: Micros = 60_000_000;

/// Where an edge is.
pub(super) struct Edge {
    /// Its world's place among all.
    at: usize,
    /// The groups that it sees now.
    sees: Vec<u32>,
    /// A region that never leaves.
    stays: usize,
    /// Its disk may be lost.
    loses: bool,
    /// All that its clients had been told by then is held by a region that stays, or stayed then.
    held: Micros,
    rng: Rng,
}

impl Scenario {
    /// An edge of a store, as its group of this number.
    fn edge(seed: u64, group: u32, faults_until: Micros, rng: &mut Rng) -> Scenario {
        let mut scenario = Scenario::drawn(seed.wrapping_mul(8).wrapping_add(group.into()));
        scenario.seed = seed;
        (scenario.n, scenario.w, scenario.policy) = (1, 1, Policy::NeverLose);
        let durability = if rng.u8(0..4) == 0 { Durability::Memory } else { Durability::Disk };
        scenario.settings =
            Settings { mode: Mode::MultiLeader as i32, durability: durability as i32, ..Settings::standard() };
        (scenario.clients, scenario.think_us) = (4, rng.u64(10_000..60_000));
        scenario.faults_until = faults_until;
        scenario.faults = FAULTS.into_iter().filter(|_| rng.u8(0..3) == 0).collect();
        scenario.replace_lost_after_ms = None;
        scenario.place = Place { group, first: NUMBERS_PER_GROUP * group, between: 2 };
        scenario
    }
}

impl Regions {
    /// Whether there is an edge in this seed. Drawn by itself: without one, a seed is what it would be.
    pub(super) fn draw_edge(&mut self, seed: u64, scenarios: &[Scenario], leaves: Option<(usize, Micros)>, keep: Keep) {
        let mut rng = Rng::with_seed(seed ^ 0x7472_6972_656d_6507);
        if rng.u8(0..3) > 0 {
            return;
        }
        let (at, group) = (scenarios.len(), scenarios.iter().map(|s| s.place.group).max().unwrap_or(0) + 1);
        let mut world = World::new(Scenario::edge(seed, group, scenarios[0].faults_until, &mut rng), keep);
        world.ticket = Some(Ticket {
            name: "store".to_owned(),
            store: STORE.to_owned(),
            edge: region_name(group),
            group,
            replica: world.scenario.place.first + 1,
            key: Vec::new(),
            doors: Vec::new(),
        });
        self.worlds.iter_mut().for_each(|world| world.edges.push(group));
        self.worlds.push(world);
        let stay: Vec<usize> = (0..at).filter(|i| leaves.is_none_or(|(who, _)| who != *i)).collect();
        let (stays, loses) = (stay[rng.usize(0..stay.len())], rng.bool());
        // It may have been cut off from the beginning.
        let sees = if rng.bool() { Vec::new() } else { scenarios.iter().map(|s| s.place.group).collect() };
        self.queue.after(rng.u64(100_000..1_500_000), Event::Roam);
        if let Some((who, leaves_at)) = leaves.filter(|_| loses && rng.bool()) {
            self.queue.at(leaves_at.saturating_sub(rng.u64(50_000..300_000)), Event::LastVisit(who));
            self.queue.at(leaves_at + rng.u64(100_000..600_000), Event::Lose);
        }
        self.edge = Some(Edge { at, sees, stays, loses, held: 0, rng });
        self.hide_edge();
    }

    /// The worlds of the store's own machines.
    pub(super) fn regions(&self) -> &[World] {
        &self.worlds[..self.edge.as_ref().map_or(self.worlds.len(), |edge| edge.at)]
    }

    /// It goes elsewhere, for a while; perhaps its disk is lost, or people keep it out.
    pub(super) fn roam(&mut self) {
        if self.faults_over {
            return;
        }
        let all: Vec<u32> = self.regions().iter().map(|world| world.scenario.place.group).collect();
        let Some(edge) = &mut self.edge else { return };
        let at = edge.at;
        let lasts = match edge.rng.u8(0..10) {
            0..5 => {
                edge.sees.clear();
                edge.rng.u64(200_000..2_000_000)
            }
            5..8 => {
                edge.sees = vec![all[edge.rng.usize(0..all.len())]];
                edge.rng.u64(100_000..1_000_000)
            }
            _ => {
                edge.sees = all;
                edge.rng.u64(50_000..600_000)
            }
        };
        let lost = edge.loses && edge.rng.u8(0..5) == 0;
        let kept_out = edge.rng.u8(0..6) == 0;
        self.queue.after(lasts, Event::Roam);
        self.show_edge();
        self.hide_edge();
        let group = self.worlds[at].scenario.place.group;
        for world in &mut self.worlds[..at] {
            world.paused_with.remove(&group);
            if kept_out {
                world.paused_with.insert(group);
            }
        }
        if lost {
            self.lose_edge();
        }
    }

    /// Its disk is lost.
    pub(super) fn lose_edge(&mut self) {
        if let Some(edge) = self.edge.as_ref().filter(|_| !self.faults_over) {
            self.worlds[edge.at].lose_edge(edge.held);
        }
    }

    /// The clients of a region have left it before it is taken away, and it is cut off from the others: what the edge brings there is nowhere else for a while.
    pub(super) fn visit_last(&mut self, i: usize) {
        let Some(edge) = self.edge.as_mut().filter(|_| !self.faults_over) else { return };
        edge.sees = vec![self.worlds[i].scenario.place.group];
        let (lasts, others) = (edge.rng.u64(200_000..1_500_000), 0..edge.at);
        self.show_edge();
        self.worlds[i].scenario.think_us = AWAY_US;
        let ids = |world: &World| world.machines.keys().map(|id| Peer::Replica(*id)).collect::<Vec<_>>();
        let others: Vec<Peer> = others.filter(|other| *other != i).flat_map(|other| ids(&self.worlds[other])).collect();
        for (one, other) in
            ids(&self.worlds[i]).into_iter().flat_map(|one| others.iter().map(move |other| (one, *other)))
        {
            self.network.block(one, other);
            self.network.block(other, one);
        }
        self.hide_edge();
        self.queue.after(lasts, Event::Heal);
    }

    /// Nothing goes wrong any more: it sees all regions, or one that stays, through which all else has to go.
    pub(super) fn settle_edge(&mut self) {
        let all: Vec<u32> = self.regions().iter().map(|world| world.scenario.place.group).collect();
        let down = self.is_down();
        let Some(edge) = &mut self.edge else { return };
        let stays = &self.worlds[edge.stays];
        // A region without a record waits for those that are down.
        let serves = !(stays.must_stay_down() || down && stays.record().is_none());
        let one = edge.rng.bool() && serves;
        edge.sees = if one { vec![stays.scenario.place.group] } else { all };
        self.show_edge();
    }

    fn show_edge(&mut self) {
        let Some(group) = self.edge.as_ref().map(|edge| self.worlds[edge.at].scenario.place.group) else { return };
        let is_edge = |peer| matches!(peer, Peer::Replica(id) if group_of(id) == group);
        self.network.unblock(self.queue.now(), is_edge, &mut self.rng);
    }

    /// It does not reach those whom it does not see, and they do not reach it. Its connections with them may take a while to end.
    pub(super) fn hide_edge(&mut self) {
        let Some(edge) = &mut self.edge else { return };
        let (now, me) = (self.queue.now(), Peer::Replica(self.worlds[edge.at].scenario.place.first + 1));
        let hidden = self.worlds[..edge.at].iter().filter(|world| !edge.sees.contains(&world.scenario.place.group));
        for other in hidden.flat_map(|world| world.machines.keys()).map(|id| Peer::Replica(*id)) {
            self.network.block(me, other);
            self.network.block(other, me);
            if edge.rng.bool() {
                let after = [edge.rng.u64(100..500_000), edge.rng.u64(100..500_000)];
                self.network.cut_between(now, me, other, after, &mut self.rng);
            }
        }
    }

    /// Who of two is a region's replica, where the other one is the edge's.
    fn at_door(&self, a: Peer, b: Peer) -> Option<(ReplicaId, u32)> {
        let edge = self.worlds[self.edge.as_ref()?.at].scenario.place.group;
        let (Peer::Replica(a), Peer::Replica(b)) = (a, b) else { return None };
        match (group_of(a) == edge, group_of(b) == edge) {
            (true, false) => Some((b, edge)),
            (false, true) => Some((a, edge)),
            _ => None,
        }
    }

    /// Whether two may be connected: an edge only with a leader whose record lets it in.
    pub(super) fn lets_in(&self, a: Peer, b: Peer) -> bool {
        let Some((id, edge)) = self.at_door(a, b) else { return true };
        let process = self.machine(Peer::Replica(id)).and_then(|machine| machine.process.as_ref());
        process.is_some_and(|process| is_open(&process.replica, edge))
    }

    /// A replica has taken a turn: the edge is cut off where it would not be let in any more.
    pub(super) fn look_after_door(&mut self, id: ReplicaId) {
        let Some(edge) = &self.edge else { return };
        let (a, b) = (Peer::Replica(id), Peer::Replica(self.worlds[edge.at].scenario.place.first + 1));
        if a != b && self.network.connected(a, b) && !self.lets_in(a, b) {
            let after = [self.rng.u64(1..100), self.rng.u64(1..100)];
            self.network.cut_between(self.queue.now(), a, b, after, &mut self.rng);
        }
    }

    /// Looks whether a region that stays holds all that the edge has acknowledged.
    pub(super) fn note_what_is_held(&mut self) {
        let Some(edge) = &self.edge else { return };
        let group = self.worlds[edge.at].scenario.place.group;
        let own = |world: &World, id: &ReplicaId| {
            let machine = world.machines.get(id)?;
            let replica = machine.process.as_ref().map(|process| &process.replica);
            let report = replica.filter(|replica| replica.speaks_for_group())?.report(machine.now(world.now()));
            let seen = report.received.into_iter().filter(|seen| seen.origin.group == group);
            Some(seen.map(|seen| (seen.origin, seen.upto)).collect::<Vec<_>>())
        };
        let Some(mine) = own(&self.worlds[edge.at], &(self.worlds[edge.at].scenario.place.first + 1)) else { return };
        let holds = |theirs: Vec<_>| {
            mine.iter().all(|(origin, upto)| theirs.iter().any(|(other, held)| other == origin && held >= upto))
        };
        let stays =
            |world: &&World| !world.leaves && world.record().is_some_and(|record| record.leaving() == Leaving::Stays);
        let regions = self.regions().iter().filter(stays);
        let now = self.queue.now();
        if regions.flat_map(|world| world.machines.keys().filter_map(|id| own(world, id))).any(holds)
            && let Some(edge) = &mut self.edge
        {
            edge.held = now;
        }
    }
}

/// Whether this replica's door is open for an edge.
fn is_open(replica: &Replica, edge: u32) -> bool {
    let known = |row: &&trireme_proto::topology::Group| row.group == edge && row.is_edge() && row.is_fed();
    replica.speaks_for_group()
        && replica.topology().is_some_and(|topology| topology.groups.iter().any(|row| known(&row)))
}
