//! The authority and the operator's workers: the planner, driven in this world.
//!
//! A worker observes, and decides later: what it decides on is always a little old. It may vanish at any time with all that it remembered, and two may be
//! at work at once. The authority compares and swaps; at times it answers nothing, or does what was asked without saying so.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    pin::pin,
    task::{Context, Poll, Waker},
};

use trireme_crds::StoreStatus;
use trireme_planner::{
    Backend, Decision, Desired, DesiredReplica, Elsewhere, Failover, HumanRequest, Memory, Observed, Process,
    RecordError, Seen, turn,
};
use trireme_proto::{
    Message, ReplicaId, Report, Topology,
    ids::Peer,
    report::Role,
    topology::{Edge, Group, Leaving, Replica as Row, Settings},
};

use super::{Event, World};
use crate::{
    clock::Micros,
    disk::Crash,
    invariants::{modes, seal},
    machine::{Machine, STORE},
    network::Packet,
    regions::region_name,
    scenario::{NUMBERS_PER_GROUP, Policy, REPLICAS_MAX},
};

/// How long a worker takes between looking and doing, in microseconds.
const DECIDES_AFTER_US: std::ops::Range<u64> = 200..5_000;
/// How long `PreferAvailable` waits for missing members.
const GIVE_UP_MS: u64 = 700;

/// The authority: one record.
#[derive(Debug, Default)]
pub struct Authority {
    record: Option<Topology>,
    /// Nothing is answered before this time.
    pub(super) silent_until: Micros,
    /// One answer in so many is lost; 0: none.
    pub(super) forgetful: u32,
    /// Every record that was written, oldest first.
    pub written: Vec<Topology>,
}

impl Authority {
    /// The record.
    pub fn record(&self) -> Option<&Topology> {
        self.record.as_ref()
    }

    /// Compare-and-swap on the version.
    ///
    /// # Errors
    /// [`RecordError::Conflict`] where another version is stored.
    pub fn swap(&mut self, expected: u64, next: &Topology) -> Result<(), RecordError> {
        if self.record.as_ref().map_or(0, |record| record.version) != expected {
            return Err(RecordError::Conflict);
        }
        self.record = Some(next.clone());
        self.written.push(next.clone());
        Ok(())
    }

    /// The record is gone.
    pub(super) fn forget(&mut self) {
        self.record = None;
    }
}

/// What a worker knows of a replica.
#[derive(Debug, Default)]
struct Heard {
    connected: bool,
    at: Option<Micros>,
    report: Option<Report>,
}

/// One worker of the operator.
#[derive(Debug, Default)]
pub struct Worker {
    heard: BTreeMap<ReplicaId, Heard>,
    memory: Memory,
    observed: Option<Look>,
    /// When the next look is due: an earlier one replaces it.
    due: Micros,
}

/// What a worker saw when it looked.
#[derive(Clone, Debug, Default)]
struct Look {
    observed: Observed,
    /// Which pod of each replica, and whether a process ran in it.
    pods: BTreeMap<ReplicaId, Pod>,
}

/// A pod, as a worker saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod {
    pub(super) number: u64,
    pub(super) runs: bool,
}

impl Pod {
    pub(super) fn of(machine: &Machine) -> Pod {
        Pod { number: machine.pod, runs: machine.process.is_some() }
    }
}

/// What a worker acts upon: it decides on what it saw when it last looked.
struct InWorld<'a, 'w> {
    world: &'a RefCell<&'w mut World>,
    number: u32,
    look: Look,
    /// It has looked for this turn.
    looked: bool,
}

impl Backend for InWorld<'_, '_> {
    async fn observe(&mut self) -> Observed {
        if !self.looked {
            self.look = self.world.borrow_mut().look(self.number);
        }
        self.looked = false;
        self.look.observed.clone()
    }

    async fn record(&mut self, expected_version: u64, next: &Topology) -> Result<(), RecordError> {
        let world = &mut **self.world.borrow_mut();
        let now = world.now();
        let forgets = world.authority.forgetful > 0 && world.rng.u32(0..world.authority.forgetful) == 0;
        if now < world.authority.silent_until || (forgets && world.rng.bool()) {
            return Err(RecordError::Unknown("no answer".to_owned()));
        }
        world.authority.swap(expected_version, next)?;
        world.decided.note(next);
        if world.scenario.is_leaderless() {
            let (meets, before) = (world.scenario.quorums_meet(), self.look.observed.record.as_ref());
            let found = world.watch.peers_record(now, meets, before, next);
            world.found(found);
        } else {
            world.found(seal::step(&self.look.observed, next).and_then(|()| modes::step(&self.look.observed, next)));
        }
        world.trace.mix(&[now, 5, next.version, next.epoch.number, next.leader.into()]);
        world.trace.say(now, format_args!("operator {} records {next:?}", self.number));
        if forgets { Err(RecordError::Unknown("the answer was lost".to_owned())) } else { Ok(()) }
    }

    async fn tell(&mut self, replica: ReplicaId, topology: &Topology) {
        let world = &mut **self.world.borrow_mut();
        let (now, delays) = (world.now(), world.scenario.delays);
        let (from, to) = (Peer::Operator(self.number), Peer::Replica(replica));
        world.network.send(now, from, to, Message::Topology(Box::new(topology.clone())), delays, &mut world.rng);
    }

    async fn provision(&mut self, replicas: &[DesiredReplica]) {
        let wanted: Vec<ReplicaId> = replicas.iter().map(|replica| replica.id).collect();
        self.world.borrow_mut().provision(&wanted);
    }

    async fn restart(&mut self, replica: ReplicaId) {
        self.world.borrow_mut().restart(replica, self.look.pods.get(&replica).copied());
    }

    async fn replace(&mut self, replica: ReplicaId) {
        self.world.borrow_mut().replace(replica, self.look.pods.get(&replica).map(|pod| pod.number));
    }

    async fn publish(&mut self, decisions: &[Decision], _: &StoreStatus) {
        let world = &mut **self.world.borrow_mut();
        let now = world.now();
        for decision in decisions {
            world.trace.say(now, format_args!("operator {}: {decision}", self.number));
        }
    }
}

impl World {
    /// A new worker, with nothing in its memory.
    pub(super) fn new_worker(&mut self) -> u32 {
        self.workers_issued += 1;
        let number = self.workers_issued;
        self.workers.insert(number, Worker::default());
        self.trace.say(self.queue.now(), format_args!("operator {number} starts"));
        self.dial_all(Peer::Operator(number));
        self.look_by(number, 10_000);
        number
    }

    /// A worker is gone.
    pub(super) fn end_worker(&mut self, number: u32) {
        if self.workers.remove(&number).is_some() {
            let now = self.now();
            self.trace.say(now, format_args!("operator {number} is gone"));
            self.network.vanish(now, Peer::Operator(number), 500, &mut self.rng);
        }
    }

    /// A worker looks again after so long at the latest.
    fn look_by(&mut self, number: u32, after: Micros) {
        let time = self.now() + after;
        if let Some(worker) = self.workers.get_mut(&number)
            && (worker.due <= self.queue.now() || time < worker.due)
        {
            worker.due = time;
            self.queue.at(time, Event::Observe(number));
        }
    }

    pub(super) fn worker_hears(&mut self, number: u32, from: Peer, packet: Packet) {
        let now = self.now();
        let (Some(worker), Peer::Replica(id)) = (self.workers.get_mut(&number), from) else { return };
        let heard = worker.heard.entry(id).or_default();
        let mut news = true;
        match packet {
            Packet::Opened(_) => heard.connected = true,
            Packet::Closed => heard.connected = false,
            Packet::Message(Message::Report(report)) => {
                heard.at = Some(now);
                news = heard.report.as_ref().is_none_or(|old| differs(old, &report));
                heard.report = Some(*report);
            }
            Packet::Message(_) => heard.at = Some(now),
        }
        if news {
            self.look_by(number, 300);
        }
    }

    pub(super) fn observe(&mut self, number: u32) {
        let now = self.now();
        if self.workers.get(&number).is_none_or(|worker| worker.due != now || worker.observed.is_some()) {
            return;
        }
        if now < self.authority.silent_until {
            return self.look_by(number, 50_000);
        }
        let look = self.look(number);
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.observed = Some(look);
        }
        let delay = self.rng.u64(DECIDES_AFTER_US);
        self.queue.after(delay, Event::Decide(number));
    }

    /// What a worker sees now, with what people ask for.
    fn look(&mut self, number: u32) -> Look {
        self.vouch(number);
        let requests: Vec<HumanRequest> = std::mem::take(&mut self.requests);
        let observed = Observed { requests, ..self.seen_by(number) };
        Look { observed, pods: self.machines.iter().map(|(id, machine)| (*id, Pod::of(machine))).collect() }
    }

    /// What a worker sees now.
    pub(super) fn seen_by(&self, number: u32) -> Observed {
        let now = self.now();
        let Some(worker) = self.workers.get(&number) else { return Observed::default() };
        let mut replicas = BTreeMap::new();
        for (id, machine) in &self.machines {
            let heard = worker.heard.get(id);
            if heard.is_none() && !machine.wanted {
                continue;
            }
            let report = heard.and_then(|heard| heard.report.clone());
            let running = machine.process.as_ref().map(|process| process.replica.identity().boot);
            let process = match &report {
                Some(report) if running == Some(report.boot) => Process::Running,
                // Who starts processes on a machine knows when they have ended; not when the machine is gone.
                Some(_) if machine.end_known && self.scenario.proves_ends => Process::Ended,
                _ => Process::Unknown,
            };
            let silent_ms = heard.and_then(|heard| heard.at).map_or(u64::MAX, |at| (now - at) / 1_000);
            let connected = heard.is_some_and(|heard| heard.connected);
            let address = |port: u32| Some(format!("127.0.0.{}:{port}", 10 + id));
            let seen = Seen {
                process,
                connected,
                silent_ms,
                report,
                peer_address: address(7600),
                client_address: address(6379),
                outdated: self.outdated(machine),
                stopped: machine.process.is_none() && machine.end_known && machine.gone_since.is_none(),
                unready: false,
                machine_gone: machine.gone_since.is_some_and(|since| since <= now),
            };
            replicas.insert(*id, seen);
        }
        let (record, elsewhere) = (self.authority.record.clone(), self.elsewhere.clone());
        let there = self.machines.iter().filter(|(_, machine)| machine.wanted || machine.process.is_some());
        let remains = if self.has_left() { there.map(|(id, _)| id.to_string()).collect() } else { Vec::new() };
        Observed { record, replicas, elsewhere, remains, wall_ms: now / 1_000, ..Observed::default() }
    }

    /// Whether its region is none of the store's any more.
    pub(crate) fn has_left(&self) -> bool {
        self.record().is_some_and(|record| record.leaving() >= Leaving::Gone)
    }

    /// Whether nothing is left of it.
    pub(crate) fn ended(&self) -> bool {
        self.record().is_some_and(|record| record.leaving() == Leaving::Ended)
    }

    /// What the operator was told by replicas, for those that plan for other groups.
    pub(crate) fn told(&self) -> impl Iterator<Item = (ReplicaId, Elsewhere)> {
        let worker = self.workers.values().next();
        self.machines.iter().filter(|(_, machine)| machine.wanted).map(move |(id, machine)| {
            let Some(heard) = worker.and_then(|worker| worker.heard.get(id)) else {
                return (*id, Elsewhere::default());
            };
            let boot = machine.process.as_ref().map(|process| process.replica.identity().boot);
            let alive = heard.connected && heard.report.as_ref().map(|report| report.boot) == boot;
            (*id, Elsewhere { alive, report: heard.report.clone(), ..Elsewhere::default() })
        })
    }

    /// What people want now.
    pub(super) fn desired(&self) -> Desired {
        if let Some(ticket) = &self.ticket {
            let mut reports = self.workers.values().flat_map(|worker| worker.heard.values());
            let told = reports.find_map(|heard| Some(heard.report.as_ref()?.regions.as_slice())).unwrap_or_default();
            return Desired::edge(ticket, self.durability(), told, self.record());
        }
        let (n, w) = self.wanted;
        let settings = Settings { r: self.wanted_r, mode: self.mode as i32, ..self.scenario.settings.clone() };
        let place = self.scenario.place;
        let named = |group: u32| if group > 0 { region_name(group) } else { String::new() };
        let region = named(place.group);
        let replica = |k: u32| {
            let id = place.first + k;
            DesiredReplica { id, name: format!("store-{}", id - 1), region: region.clone() }
        };
        Desired {
            store: STORE.to_owned(),
            name: "store".to_owned(),
            group: place.group,
            region: region.clone(),
            replicas: if self.has_left() { Vec::new() } else { (1..=n).map(replica).collect() },
            leaving: self.leaves,
            given_up: false,
            mode_waits_for: Vec::new(),
            others: self
                .others
                .iter()
                .map(|group| Group {
                    paused: self.paused_with.contains(group),
                    leaving: self.leave.contains(group),
                    ..elsewhere(*group, &named(*group))
                })
                .chain(self.edges.iter().map(|group| {
                    let mut row = elsewhere(*group, &named(*group));
                    row.replicas.truncate(1);
                    Group { paused: self.paused_with.contains(group), edge: Some(Edge::default()), ..row }
                }))
                .collect(),
            edge: false,
            homes: self.homes.clone(),
            w,
            settings,
            failover: Failover {
                policy: match self.scenario.policy {
                    Policy::NeverLose => trireme_crds::Policy::NeverLose,
                    Policy::PreferAvailable => trireme_crds::Policy::PreferAvailable,
                },
                give_up_after_ms: GIVE_UP_MS,
                replace_lost_after_ms: self.scenario.replace_lost_after_ms,
                preferred_region: String::new(),
            },
            slo: None,
            // Before there is a record, nothing is begun where it is paused.
            paused: self.paused || self.is_none_yet,
            quarantine: Vec::new(),
            generation: 1,
            warnings: Vec::new(),
        }
    }

    pub(super) fn decide(&mut self, number: u32) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        let Some(look) = worker.observed.take() else { return };
        let mut memory = std::mem::take(&mut worker.memory);
        let desired = self.desired();
        let now_ms = self.now() / 1_000;
        let world = RefCell::new(&mut *self);
        let mut backend = InWorld { world: &world, number, look, looked: true };
        let turned = match pin!(turn(&mut backend, &desired, &mut memory, now_ms))
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(turned) => turned,
            Poll::Pending => unreachable!("nothing in this world waits"),
        };
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.memory = memory;
        }
        // One that heard nothing looks again all the same.
        let recheck = turned.recheck_ms.unwrap_or(200).clamp(1, 200);
        self.look_by(number, recheck * 1_000);
    }

    /// Makes exactly these replicas exist.
    fn provision(&mut self, wanted: &[ReplicaId]) {
        if self.has_left() {
            // Nobody waits for the end of what is not wanted any more: clients may be at it for a while.
            let lasts = self.rng.u64(0..400_000);
            let ends_at = *self.ends_at.get_or_insert(self.queue.now() + lasts);
            if self.queue.now() < ends_at {
                return;
            }
        }
        let ids: Vec<ReplicaId> = self.machines.keys().copied().collect();
        for id in ids {
            let Some(machine) = self.machines.get_mut(&id) else { continue };
            let is_wanted = wanted.contains(&id);
            if std::mem::replace(&mut machine.wanted, is_wanted) == is_wanted {
                continue;
            }
            self.trace
                .say(self.queue.now(), format_args!("replica {id} is {}", if is_wanted { "added" } else { "removed" }));
            machine.revision = self.revision;
            if is_wanted {
                self.queue.after(10_000, Event::Start(id));
            } else {
                self.watch.hand.unwanted(id);
                self.crash(id, Crash::Process);
                if let Some(machine) = self.machines.get_mut(&id) {
                    machine.lose_disk(&mut self.rng);
                    (machine.pod, machine.gone_since) = (machine.pod + 1, None);
                }
            }
        }
    }
}

/// Another group, with all the replicas that it may come to have.
fn elsewhere(group: u32, region: &str) -> Group {
    let row = |k: u32| {
        let id = NUMBERS_PER_GROUP * group + k;
        Row { id, name: format!("store-{}", id - 1), region: region.to_owned(), ..Row::default() }
    };
    let replicas = (1..=REPLICAS_MAX).map(row).collect();
    Group { group, replicas, region: region.to_owned(), ..Group::default() }
}

/// Whether a report says something that a decision may depend on.
fn differs(old: &Report, new: &Report) -> bool {
    let key = |r: &Report| {
        (r.boot, r.incarnation, r.role, r.promise, r.topology_version, r.serving, r.drained, (r.leaving, r.closed))
    };
    key(old) != key(new) || old.regions != new.regions || (new.role() != Role::Leader && old.last != new.last)
}

#[cfg(test)]
mod tests {
    use trireme_planner::conformance;

    use super::*;
    use crate::{scenario::Scenario, trace::Keep};

    fn suite(world: &mut World) {
        let (first, second) = (world.new_worker(), world.new_worker());
        let world = RefCell::new(world);
        let backend = |number| InWorld { world: &world, number, look: Look::default(), looked: false };
        let (mut one, mut other) = (backend(first), backend(second));
        let mut suite = pin!(conformance::suite(&mut one, &mut other, async || {}));
        match suite.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.unwrap(),
            Poll::Pending => panic!("nothing in this world waits"),
        }
    }

    #[test]
    fn it_does_what_every_backend_must_do() {
        suite(&mut World::new(Scenario::new(0), Keep::Nothing));
        let mut world = World::new(Scenario::new(0), Keep::Nothing);
        let mut until = 0;
        while world.record().is_none() {
            until += 10_000;
            assert!(until <= 5_000_000, "a store is created within 5 s");
            world.run_until(until).unwrap();
        }
        suite(&mut world);
    }
}
