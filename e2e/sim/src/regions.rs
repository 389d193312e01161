//! A store with a leader in each region: a world for each group, and the network between them.
//!
//! Within its region each world is as any other, with its own authority, workers, clients and faults: all invariants of a store with one leader hold there,
//! for keys that only its clients use. Between regions there are other delays, other partitions, and keys that clients of all regions use.

mod between;
mod edge;
mod hand;
mod homes;
mod modes;

use std::collections::BTreeSet;

use fastrand::Rng;
use trireme_crds::HomeRule;
use trireme_proto::{ReplicaId, ids::Peer, topology::Mode};

use self::{edge::Edge, modes::Modes};

use crate::{
    client::Luggage,
    clock::Micros,
    history::History,
    invariants::{Found, Violation, causal, counters, homes as at_home, liveness, names::Names, same::Same, sets},
    machine::Machine,
    network::{ConnectionId, Delays, Network},
    queue::Queue,
    scenario::{Focus, Scenario, group_of, has_short_logs},
    trace::Keep,
    world::{Summary, World},
};

/// How often operators of several groups know of each other's replicas.
const TELL_US: Micros = 20_000;
/// How long clients go on after the last fault.
const CALM_US: Micros = 600_000;

/// What happens between regions.
#[derive(Clone, Copy)]
enum Event {
    /// The first packet at an end of a connection arrives.
    Deliver(ConnectionId, usize),
    /// Two replicas try to connect.
    Dial(Peer, Peer),
    /// Something goes wrong.
    Fault,
    /// What went wrong ends.
    Heal,
    /// Those who plan for one group hear what replicas of the others said.
    Tell,
    /// A region's others hear that it is there.
    Join(usize),
    /// A person takes a region away, or wants it again after all.
    Leave(usize, bool),
    /// A person wants a leader in each region, or one for all.
    Mode(bool),
    /// An edge goes elsewhere.
    Roam,
    /// It comes by a region that is about to be taken away; and it loses its disk.
    LastVisit(usize),
    Lose,
}

/// The regions of one store.
pub struct Regions {
    /// One for each group; an edge's, where there is one, is the last.
    pub worlds: Vec<World>,
    network: Network,
    queue: Queue<Event>,
    rng: Rng,
    delays: Delays,
    dialing: BTreeSet<(Peer, Peer)>,
    fault_every_us: Micros,
    faults_over: bool,
    same: Same,
    /// The keys that one region writes, where the store has any; and the versions of the records from which the regions were last told of it.
    home: Option<HomeRule>,
    told: Vec<u64>,
    /// Where the mode changes: how far that is.
    modes: Option<Modes>,
    edge: Option<Edge>,
    names: Names,
}

impl Regions {
    /// The regions of a seed, before anything has happened.
    pub fn new(seed: u64, keep: Keep) -> Regions {
        let mut scenarios = Scenario::regions(seed);
        let changes = Focus::of(seed) == Focus::Modes;
        // Regions that come later do so when the mode has changed.
        scenarios.iter_mut().filter(|_| changes).for_each(|scenario| scenario.begins_at = 0);
        let mut regions = Regions::of(&scenarios, Rng::with_seed(seed ^ 0x7472_6972_656d_6505), keep);
        if changes {
            regions.begin_with_one();
            return regions;
        }
        let leaves = leaves(&scenarios, &mut regions.rng, &mut regions.queue);
        regions.draw_home(seed, &scenarios);
        regions.draw_edge(seed, &scenarios, leaves, keep);
        regions
    }

    /// The regions of these scenarios, none of which leaves.
    fn of(scenarios: &[Scenario], mut rng: Rng, keep: Keep) -> Regions {
        let far = rng.u64(1_000..40_000);
        let mut delays = Delays {
            min_us: far,
            spread_us: far / 4 + 100,
            slow_one_in: rng.u32(20..400),
            slow_us: rng.u64(10_000..200_000),
        };
        let mut fault_every_us = rng.u64(200_000..1_500_000);
        if has_short_logs(scenarios[0].seed) {
            (delays.slow_one_in, delays.slow_us, fault_every_us) = (3, 150_000, 600_000);
        }
        let all: Vec<u32> = scenarios.iter().map(|scenario| scenario.place.group).collect();
        let mut queue = Queue::default();
        queue.after(rng.u64(100_000..fault_every_us), Event::Fault);
        queue.after(TELL_US, Event::Tell);
        let late = scenarios.len() - 1;
        if scenarios[late].begins_at > 0 {
            queue.at(scenarios[late].begins_at, Event::Join(late));
        }
        let begun: Vec<u32> = scenarios.iter().filter(|s| s.begins_at == 0).map(|s| s.place.group).collect();
        let known = |scenario: &Scenario| if scenario.begins_at == 0 { &begun } else { &all };
        let worlds =
            scenarios.iter().map(|scenario| World::in_region(scenario.clone(), known(scenario), keep)).collect();
        let (network, dialing, same) = (Network::default(), BTreeSet::new(), Same::default());
        Regions {
            worlds,
            network,
            queue,
            rng,
            delays,
            dialing,
            fault_every_us,
            faults_over: false,
            same,
            home: None,
            told: Vec::new(),
            modes: None,
            edge: None,
            names: Names::default(),
        }
    }

    fn now(&self) -> Micros {
        self.queue.now()
    }

    fn at(&self, peer: Peer) -> Option<usize> {
        let Peer::Replica(id) = peer else { return None };
        self.worlds.iter().position(|world| world.scenario.place.group == group_of(id))
    }

    fn machine(&self, peer: Peer) -> Option<&Machine> {
        let Peer::Replica(id) = peer else { return None };
        self.worlds[self.at(peer)?].machines.get(&id)
    }

    /// Runs all regions until `end`, or until an invariant does not hold.
    ///
    /// # Errors
    /// The violation.
    pub fn run_until(&mut self, end: Micros) -> Found {
        loop {
            for (time, connection, side) in std::mem::take(&mut self.network.arm) {
                self.queue.at(time, Event::Deliver(connection, side));
            }
            let times = self.worlds.iter().filter_map(|world| world.queue.peek()).chain(self.queue.peek());
            let now = times.min().filter(|time| *time <= end).unwrap_or(end);
            self.tell_of_home();
            for i in 0..self.worlds.len() {
                // Time goes on everywhere, so that whatever one says to another is not in the other's past.
                self.worlds[i].run_until(now)?;
                self.take_abroad(i)?;
            }
            self.hand_on_luggage();
            while let Some(event) = self.queue.next(now) {
                self.happen(event);
            }
            let more = self.worlds.iter().filter_map(|world| world.queue.peek()).chain(self.queue.peek());
            if now == end && self.network.arm.is_empty() && more.min().is_none_or(|time| time > end) {
                return Ok(());
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(connection, side) => self.deliver(connection, side),
            Event::Dial(a, b) => self.dial(a, b),
            Event::Fault => self.fault(),
            Event::Heal => {
                let now = self.now();
                self.network.unblock_all(now, &mut self.rng);
                self.worlds.iter_mut().for_each(|world| world.paused_with.clear());
                self.hide_edge();
            }
            Event::Tell => {
                self.tell();
                self.change_mode();
            }
            Event::Mode(many) => self.want_mode(many),
            Event::Roam => self.roam(),
            Event::LastVisit(i) => self.visit_last(i),
            Event::Lose => self.lose_edge(),
            Event::Join(i) => {
                let group = self.worlds[i].scenario.place.group;
                self.others(i).for_each(|world| world.others.push(group));
            }
            Event::Leave(i, leaves) => {
                let group = self.worlds[i].scenario.place.group;
                self.worlds[i].leaves = leaves && !self.worlds[i].has_left();
                for world in self.others(i) {
                    if leaves {
                        world.leave.insert(group)
                    } else {
                        world.leave.remove(&group)
                    };
                }
                if leaves && self.home.as_ref().is_some_and(|home| home.region == region_name(group)) {
                    self.move_home();
                }
            }
        }
    }

    /// Clients that are done somewhere go on with their sessions wherever there are clients.
    fn hand_on_luggage(&mut self) {
        let luggage: Vec<Luggage> = self.worlds.iter_mut().flat_map(|world| world.luggage.drain(..)).collect();
        if luggage.is_empty() {
            return;
        }
        let open: Vec<usize> = (0..self.worlds.len()).filter(|i| self.worlds[*i].has_travellers()).collect();
        for one in luggage {
            if !open.is_empty() {
                let to = open[self.rng.usize(0..open.len())];
                self.worlds[to].luggage.push_back(one);
            }
        }
    }

    /// All but one.
    fn others(&mut self, i: usize) -> impl Iterator<Item = &mut World> {
        self.worlds.iter_mut().enumerate().filter(move |(at, _)| *at != i).map(|(_, world)| world)
    }

    /// What is known of one group's replicas reaches those who plan for others; and of a group that has left, that it has.
    fn tell(&mut self) {
        self.queue.after(TELL_US, Event::Tell);
        self.note_what_is_held();
        for i in 0..self.regions().len() {
            if self.worlds[i].leaves || self.worlds[i].record().is_none() {
                let all = self.regions().iter().enumerate().filter(|(at, _)| *at != i);
                self.worlds[i].elsewhere = all.flat_map(|(_, world)| world.told()).collect();
            }
            if self.worlds[i].has_left() && !self.worlds[i].quiet {
                let group = self.worlds[i].scenario.place.group;
                self.others(i).for_each(|world| world.others.retain(|other| *other != group));
                self.worlds[i].faults_over = true;
                self.worlds[i].quiet = self.worlds[i].ended();
            }
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn run(&mut self) -> Result<Summary, Violation> {
        let until = self.worlds.iter().map(|world| world.scenario.faults_until).max().unwrap_or(0);
        self.run_until(until)?;
        self.faults_over = true;
        self.worlds.iter_mut().for_each(World::end_faults);
        self.settle_edge();
        self.happen(Event::Heal);
        self.run_until(self.now() + CALM_US)?;
        self.worlds.iter_mut().for_each(|world| world.quiet = true);
        let leaders = self.converge()?;
        let mut summary = Summary::default();
        for (world, leader) in self.worlds.iter_mut().zip(&leaders) {
            if let Some(leader) = leader {
                world.read_all(&[1, world.scenario.clients], *leader)?;
            }
            let part = world.judge(leader.is_none())?;
            summary.add(&Summary { down: part.down && !world.has_left() && !world.is_none_yet, ..part });
        }
        summary.digests_compared += self.same.compared();
        self.judge(self.is_down())?;
        Ok(summary)
    }

    /// Waits until every region serves, and all of them hold the same. `None` for one that must stay down.
    fn converge(&mut self) -> Result<Vec<Option<ReplicaId>>, Violation> {
        let bound = self.worlds.iter().map(|world| liveness::bound(&world.scenario)).max().unwrap_or(0);
        let (begin, mut missing) = (self.now(), String::new());
        while self.now() < begin + bound {
            self.run_until(self.now() + 50_000)?;
            match self.settled() {
                Ok(leaders) => return Ok(leaders),
                Err(why) => missing = why,
            }
        }
        liveness::late(bound, &missing)?;
        Ok(Vec::new())
    }

    fn settled(&self) -> Result<Vec<Option<ReplicaId>>, String> {
        let (mut leaders, mut first) = (Vec::new(), None);
        let stuck = self.is_down();
        self.is_in_mode().map_or(Ok(()), |why| if stuck { Ok(()) } else { Err(why) })?;
        for world in &self.worlds {
            let group = world.scenario.place.group;
            if world.leaves && !stuck && !world.ended() {
                return Err(format!("region {group} has not left"));
            }
            // One that is added to a store waits for those that are there.
            let waits = world.is_none_yet || stuck && world.record().is_none();
            if world.has_left() || world.must_stay_down() || waits {
                leaders.push(None);
                continue;
            }
            if !world.clients.iter().all(crate::client::Client::idle) {
                return Err(format!("clients of region {group} still wait"));
            }
            let leader = world.settled().map_err(|why| format!("region {group}: {why}"))?;
            leaders.push(Some(leader));
            let Some(machine) = world.machines.get(&leader) else { continue };
            let Some(replica) = machine.process.as_ref().map(|process| &process.replica) else { continue };
            let holds = (replica.received().clone(), replica.report(machine.now(self.now())).digest);
            let (by, theirs) = first.get_or_insert_with(|| (leader, holds.clone()));
            if *theirs != holds {
                return Err(format!("replica {leader} holds {holds:?}, replica {by} {theirs:?}"));
            }
        }
        Ok(leaders)
    }

    /// Whether a region must stay down, which may have what no other one has.
    fn is_down(&self) -> bool {
        self.worlds.iter().any(|world| !world.has_left() && world.must_stay_down())
    }

    /// Looks at what clients of all regions saw of what all of them use.
    fn judge(&self, down: bool) -> Found {
        if down || self.worlds.iter().any(|world| world.decided.lossy()) {
            return Ok(());
        }
        // What was read last is what is there at the end, but where a region had left before that.
        let parts = self.worlds.iter().flat_map(|world| {
            let left = world.has_left();
            world.histories().1.entries.into_iter().filter(move |entry| !(left && entry.reads))
        });
        let history = History { entries: parts.collect() };
        // Numbers of transactions are those of a client, of which each region has its own.
        self.worlds.iter().try_for_each(|world| causal::end(&world.histories().1))?;
        if let Some(home) = &self.home {
            self.worlds.iter().try_for_each(|world| at_home::sessions(&world.histories().1))?;
            at_home::end(&history, !home.accept_locally)?;
        }
        counters::end(&history)?;
        sets::end(&history, false)
    }

    /// One line for each region.
    pub fn describe(&self) -> String {
        let lines: Vec<String> = self.worlds.iter().map(|world| world.scenario.describe()).collect();
        lines.join("\n")
    }
}

/// Sometimes a region is taken away, sometimes with second thoughts in between: which, and when first.
fn leaves(scenarios: &[Scenario], rng: &mut Rng, queue: &mut Queue<Event>) -> Option<(usize, Micros)> {
    if rng.bool() {
        return None;
    }
    let who = rng.usize(0..scenarios.len());
    let until = scenarios[who].faults_until;
    let first = scenarios[who].begins_at + rng.u64(200_000..until);
    queue.at(first, Event::Leave(who, true));
    if rng.u8(0..3) == 0 {
        let kept = first + rng.u64(1_000..100_000);
        queue.at(kept, Event::Leave(who, false));
        queue.at(kept + rng.u64(1_000..500_000), Event::Leave(who, true));
    }
    Some((who, first))
}

impl World {
    /// The world of one of a store's groups.
    fn in_region(scenario: Scenario, all: &[u32], keep: Keep) -> World {
        debug_assert!(scenario.settings.mode() == Mode::MultiLeader, "a store with several groups");
        let own = scenario.place.group;
        let mut world = World::new(scenario, keep);
        world.others = all.iter().copied().filter(|group| *group != own).collect();
        world
    }
}

/// What a group's region is called.
pub(crate) fn region_name(group: u32) -> String {
    format!("region{group}")
}

/// Plays a seed.
///
/// # Errors
/// What it found.
pub fn play(seed: u64, keep: Keep) -> Result<Summary, Violation> {
    Regions::new(seed, keep).run()
}
