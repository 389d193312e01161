//! The world: everything that one seed sets in motion, in one thread, one event at a time.
//!
//! * `nodes`: processes take turns; what a turn hands out goes to disk, peers and clients.
//! * `users`: clients connect, send, read, go elsewhere.
//! * `edge`: where nobody but itself plans for its only replica.
//! * `operator`: the authority, and the workers that drive the planner against it.
//! * `upkeep`: what the operator does to replicas of its own accord, and what makes it do so.
//! * `faults`: what goes wrong, and how it ends.
//! * `ending`: faults stop; the store must serve, converge, and show what was written.

mod edge;
mod ending;
mod faults;
mod nodes;
mod operator;
mod upkeep;
mod users;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use trireme_planner::{DesiredHome, Elsewhere, HumanRequest};
use trireme_proto::{Message, ReplicaId, Topology, edge::Ticket, ids::Peer, topology::Mode};
use trireme_replica::io::Output;

pub use self::{
    ending::{Ended, Summary},
    operator::{Authority, Worker},
};
use crate::{
    client::{Client, Luggage, Scope},
    clock::{Clock, Micros},
    history::History,
    invariants::{Decided, Found, Violation, Watch},
    machine::{Arrival, Machine},
    network::{ConnectionId, Network},
    queue::Queue,
    scenario::Scenario,
    trace::{Keep, Trace},
};

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// The first packet at an end of a connection arrives.
    Deliver(ConnectionId, usize),
    /// Something arrives at a process.
    Arrive(ReplicaId, u64, Box<Arrival>),
    /// A process takes in what has arrived.
    Turn(ReplicaId, u64),
    /// A process's deadline comes.
    Tick(ReplicaId, u64, Micros),
    /// A disk has done what it was at.
    DiskDone(ReplicaId, u64),
    /// The steps of a checkpoint that are under way are done.
    CheckpointDone(ReplicaId, u64),
    /// The operating system writes everything down, once a second.
    DiskSync(ReplicaId, u64),
    /// A machine starts its process.
    Start(ReplicaId),
    /// A process that was asked to end is killed, if it is still there.
    Kill(ReplicaId, u64),
    /// A stopped process goes on.
    Resume(ReplicaId, u64),
    /// Two peers try to connect.
    Dial(Peer, Peer),
    /// Bytes arrive at a client, on its connection of this number.
    Reply(u32, u64, Bytes),
    /// A client's connection is gone.
    HangUp(u32, u64),
    /// A client does something.
    Act(u32),
    /// A client that still waits at the same place gives up.
    GiveUp(u32, u64, usize),
    /// A worker looks at the world.
    Observe(u32),
    /// A worker decides on what it has seen.
    Decide(u32),
    /// Something goes wrong.
    Fault,
    /// Something that went wrong ends.
    Heal(Healing),
}

/// What ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Healing {
    /// Partitions.
    Network,
    /// A slow disk.
    Disk(ReplicaId),
    /// A full disk.
    Space(ReplicaId),
    /// The authority's silence.
    Authority,
    /// The second of two workers at once.
    Worker(u32),
    /// A machine that is gone.
    Machine(ReplicaId),
    /// A replica that somebody keeps down.
    Held(ReplicaId),
    /// A pause of the operator.
    Paused,
}

/// What is of interest in other regions.
#[derive(Debug)]
pub(crate) enum Abroad {
    /// One of this region's says something to one of another's.
    Says(ReplicaId, ReplicaId, Box<Message>),
    /// A process has started.
    Started(ReplicaId),
    /// It has ended, and who is connected notices after so many microseconds.
    Ended(ReplicaId, Micros),
    /// It has taken a turn.
    Turned(ReplicaId),
    /// It hands these records to its disk.
    Appended(ReplicaId, Bytes),
}

/// Everything.
pub struct World {
    /// What the seed decided.
    pub scenario: Scenario,
    /// What happened.
    pub trace: Trace,
    /// What clients saw.
    pub history: History,
    /// What must hold.
    pub watch: Watch,
    /// What the authority decided.
    pub decided: Decided,
    /// The authority.
    pub authority: Authority,
    pub(crate) queue: Queue<Event>,
    pub(crate) rng: Rng,
    pub(crate) network: Network,
    pub(crate) machines: BTreeMap<ReplicaId, Machine>,
    pub(crate) workers: BTreeMap<u32, Worker>,
    pub(crate) workers_issued: u32,
    pub(crate) clients: Vec<Client>,
    /// Sessions that go from client to client, between two of them.
    pub(crate) luggage: VecDeque<Luggage>,
    pub(crate) sessions: BTreeMap<(ReplicaId, u64, u64), u32>,
    pub(crate) dialing: BTreeSet<(Peer, Peer)>,
    pub(crate) requests: Vec<HumanRequest>,
    /// Members and w that people want now.
    pub(crate) wanted: (u32, u32),
    /// Without a leader, r that people want now.
    pub(crate) wanted_r: u32,
    /// Which revision of program and settings people want now, and those that do not start.
    pub(crate) revision: u32,
    pub(crate) bad_revisions: BTreeSet<u32>,
    /// Reconciliation is paused.
    pub(crate) paused: bool,
    pub(crate) faults_over: bool,
    /// Clients ask for nothing new.
    pub(crate) quiet: bool,
    pub(crate) output: Output,
    /// Numbers of the store's other groups.
    pub(crate) others: Vec<u32>,
    /// Those of the store's edges.
    pub(crate) edges: Vec<u32>,
    /// It is an edge, with this ticket; and that has lost its disk, with what clients were told that it holds.
    pub(crate) ticket: Option<Ticket>,
    pub(crate) forgot: bool,
    /// Those of other groups and edges whose feeds people want paused.
    pub(crate) paused_with: BTreeSet<u32>,
    /// Those of them whose regions are not wanted any more; and whether that is so here.
    pub(crate) leave: BTreeSet<u32>,
    pub(crate) leaves: bool,
    /// The mode that people want of its group now; and its region is one to which others come later: nobody plans for it yet.
    pub(crate) mode: Mode,
    pub(crate) is_none_yet: bool,
    /// When its replicas end, once it has left.
    pub(crate) ends_at: Option<Micros>,
    /// What the operator knows of other groups' replicas.
    pub(crate) elsewhere: BTreeMap<ReplicaId, Elsewhere>,
    /// Keys that one of the store's groups writes.
    pub(crate) homes: Vec<DesiredHome>,
    /// For other regions: what is said to their replicas, and what becomes of processes here.
    pub(crate) abroad: Vec<Abroad>,
    /// What was heard on connections that are no client's of this world: see [`crate::regions::Regions::ask`].
    pub(crate) outside: BTreeMap<(ReplicaId, u64), Vec<u8>>,
    pub(crate) violation: Option<Violation>,
    pub(crate) events: u64,
}

impl World {
    /// The world of a scenario, before anything has happened.
    pub fn new(scenario: Scenario, keep: Keep) -> World {
        // Each region's world draws its own, incarnations among them: those of two disks are never the same.
        let mut rng = Rng::with_seed(scenario.seed ^ (u64::from(scenario.place.group) << 48));
        let mut machines = BTreeMap::new();
        let place = scenario.place;
        for id in place.first + 1..=place.first + crate::scenario::REPLICAS_MAX {
            let clock = Clock::new(&mut rng, scenario.drift_ppm, scenario.wall_ms);
            let mut machine = Machine::new(id, place.group, clock, &mut rng);
            machine.wanted = id <= place.first + scenario.n;
            machines.insert(id, machine);
        }
        let mode = scenario.settings.mode();
        let clients = clients_of(&scenario);
        let luggage = Luggage::new(scenario.sessions).collect();
        let mut world = World {
            wanted: (scenario.n, scenario.w),
            wanted_r: scenario.settings.r,
            revision: 0,
            bad_revisions: BTreeSet::new(),
            paused: false,
            scenario,
            trace: Trace::new(keep),
            history: History::default(),
            others: Vec::new(),
            edges: Vec::new(),
            ticket: None,
            forgot: false,
            paused_with: BTreeSet::new(),
            leave: BTreeSet::new(),
            leaves: false,
            mode,
            is_none_yet: false,
            ends_at: None,
            elsewhere: BTreeMap::new(),
            homes: Vec::new(),
            abroad: Vec::new(),
            outside: BTreeMap::new(),
            watch: Watch::default(),
            decided: Decided::default(),
            authority: Authority::default(),
            queue: Queue::default(),
            rng,
            network: Network::default(),
            machines,
            workers: BTreeMap::new(),
            workers_issued: 0,
            clients,
            luggage,
            sessions: BTreeMap::new(),
            dialing: BTreeSet::new(),
            requests: Vec::new(),
            faults_over: false,
            quiet: false,
            output: Output::default(),
            violation: None,
            events: 0,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let begins_at = self.scenario.begins_at;
        for id in self.scenario.replicas() {
            let at = self.rng.u64(0..20_000);
            self.queue.at(begins_at + at, Event::Start(id));
        }
        self.new_worker();
        for client in 1..=self.scenario.clients + self.scenario.travellers {
            let at = self.rng.u64(50_000..200_000);
            self.queue.at(begins_at + at, Event::Act(client));
        }
        let first = 200_000 + self.rng.u64(0..self.scenario.fault_every_us);
        self.queue.at(begins_at + first, Event::Fault);
    }

    /// World time.
    pub fn now(&self) -> Micros {
        self.queue.now()
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Runs until `end`, or until an invariant does not hold.
    ///
    /// # Errors
    /// The violation.
    pub fn run_until(&mut self, end: Micros) -> Found {
        loop {
            for (time, connection, side) in std::mem::take(&mut self.network.arm) {
                self.queue.at(time, Event::Deliver(connection, side));
            }
            let Some(event) = self.queue.next(end) else { return Ok(()) };
            self.events += 1;
            self.happen(event);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(connection, side) => self.deliver(connection, side),
            Event::Arrive(id, life, arrival) => self.arrive(id, life, *arrival),
            Event::Turn(id, life) => self.turn(id, life),
            Event::Tick(id, life, at) => self.tick(id, life, at),
            Event::DiskDone(id, life) => self.disk_done(id, life),
            Event::CheckpointDone(id, life) => self.checkpoint_done(id, life),
            Event::DiskSync(id, life) => self.disk_sync(id, life),
            Event::Start(id) => self.start(id),
            Event::Kill(id, life) => self.kill_late(id, life),
            Event::Resume(id, life) => self.resume(id, life),
            Event::Dial(a, b) => self.dial(a, b),
            Event::Reply(client, session, bytes) => self.reply(client, session, &bytes),
            Event::HangUp(client, session) => self.hang_up(client, session),
            Event::Act(client) => self.act(client),
            Event::GiveUp(client, session, sent) => self.give_up(client, session, sent),
            Event::Observe(worker) => self.observe(worker),
            Event::Decide(worker) => self.decide(worker),
            Event::Fault => self.fault(),
            Event::Heal(healing) => self.heal(healing),
        }
    }

    /// An invariant does not hold: the run ends after this event.
    pub(crate) fn found(&mut self, found: Found) {
        if let Err(violation) = found
            && self.violation.is_none()
        {
            self.violation = Some(violation);
        }
    }

    /// The leader of the record, where it has one.
    pub(crate) fn leader(&self) -> Option<ReplicaId> {
        self.authority.record().map(|record| record.leader).filter(|leader| *leader != 0)
    }

    /// The record.
    pub(crate) fn record(&self) -> Option<&Topology> {
        self.authority.record()
    }

    /// Whether somebody runs at this address.
    pub(crate) fn lives(&self, peer: Peer) -> bool {
        match peer {
            Peer::Replica(id) => self.machines.get(&id).is_some_and(|machine| machine.process.is_some()),
            Peer::Operator(number) => self.workers.contains_key(&number),
        }
    }
}

/// Its clients: those of its own keys, those of keys that all regions use, and those whose sessions go with them.
fn clients_of(scenario: &Scenario) -> Vec<Client> {
    let place = scenario.place;
    let registers = scenario.is_leaderless().then(|| scenario.quorums_meet());
    let client = |id: u32| {
        let mut client = Client::new(id, id.is_multiple_of(3));
        client.leaderless = registers;
        if place.group > 0 {
            client.scope = Scope::Region(place.group);
        }
        if id + place.between > scenario.clients {
            (client.scope, client.leaderless) = (Scope::Between(place.group), Some(false));
        }
        client
    };
    let mut clients: Vec<Client> = (1..=scenario.clients).map(client).collect();
    clients.extend((1..=scenario.travellers).map(|number| {
        let mut client = Client::new(scenario.clients + number, false);
        (client.leaderless, client.travels) = (registers, true);
        client
    }));
    clients
}
