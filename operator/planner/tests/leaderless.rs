//! Random runs of a small model of a store without a leader under the real planner as its authority: where w + r > n is wanted, every read finds every write
//! that was acknowledged before it, whatever happens to members, w and r on the way, and no name is used twice; each rule of the planner that this rests on,
//! when broken, is found to break it.
//!
//! The replicas here are only what the rules need of them: a record that they know, a name, entries received of each origin in order. Records and reports are
//! late or lost, processes end, disks and tails are lost, the operator forgets everything, n, w and r change.

#![allow(clippy::unwrap_used)] // Helpers of tests: clippy's exception knows only functions that are tests themselves.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use trireme_crds::{Mode, ReplicatedStoreSpec};
use trireme_planner::{Desired, DesiredReplica, Memory, Observed, Process, Seen, plan};
use trireme_proto::{
    Epoch, Origin, Report, Topology,
    breakage::{self, Breakage},
    report::{FollowerReport, OriginSeq, Role},
    topology::{Config, Durability},
};

const NODES: u32 = 5;
const STEPS: u32 = 400;

/// (replica, generation, number).
type Entry = (u32, u32, u64);
type Check = Result<(), &'static str>;

#[derive(Clone)]
struct Node {
    incarnation: u64,
    boot: u64,
    up: bool,
    record: Topology,
    received: BTreeMap<(u32, u32), u64>,
    whole: bool,
    /// Generations of this life that must not be written under any more.
    spent: u32,
}

struct World {
    rng: Rng,
    now: u64,
    nodes: BTreeMap<u32, Node>,
    record: Option<Topology>,
    reported: BTreeMap<u32, (Report, u64)>,
    cut: BTreeSet<u32>,
    desired: Desired,
    memory: Memory,
    acknowledged: Vec<Entry>,
    written: BTreeSet<Entry>,
    reads: u32,
    changes: u32,
}

fn store(n: u32, w: u32, r: u32) -> Desired {
    let mut spec = ReplicatedStoreSpec::new(Mode::Leaderless);
    (spec.n, spec.w, spec.r) = (Some(n), Some(w), Some(r));
    support::groups(spec, &[], &[]).remove(0)
}

impl Node {
    fn new(incarnation: u64, boot: u64) -> Node {
        let (record, received) = (Topology::default(), BTreeMap::new());
        Node { incarnation, boot, up: true, record, received, whole: false, spent: 0 }
    }

    /// The name under which it writes, if it may.
    fn name(&self, id: u32) -> Option<(u32, u32)> {
        let row = self.record.replica(id).filter(|row| row.incarnation == self.incarnation)?;
        (row.generation > self.spent).then_some((id, row.generation))
    }

    fn lose_power(&mut self, id: u32) {
        self.boot += 1;
        self.spent = self.record.replica(id).map_or(self.spent, |row| row.generation);
    }

    fn holds(&self, entry: &Entry) -> bool {
        self.received.get(&(entry.0, entry.1)).is_some_and(|upto| *upto >= entry.2)
    }

    fn learn(&mut self, from: &BTreeMap<(u32, u32), u64>) {
        for (origin, upto) in from {
            let mine = self.received.entry(*origin).or_default();
            *mine = (*mine).max(*upto);
        }
    }
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let n = *rng.choice(&[1, 2, 3, 3, 4, 5]).unwrap();
        let w = rng.u32(1..=n);
        let mut desired = store(n, w, rng.u32(n - w + 1..=n));
        desired.settings.durability = if rng.bool() { Durability::Memory } else { Durability::Disk } as i32;
        World {
            rng,
            now: 1_000,
            nodes: (1..=NODES).map(|id| (id, Node::new(u64::from(id) * 100, u64::from(id) * 1_000))).collect(),
            record: None,
            reported: BTreeMap::new(),
            cut: BTreeSet::new(),
            desired,
            memory: Memory::default(),
            acknowledged: Vec::new(),
            written: BTreeSet::new(),
            reads: 0,
            changes: 0,
        }
    }

    fn step(&mut self) -> Check {
        match self.rng.u32(0..100) {
            0..20 => self.write()?,
            20..38 => self.read()?,
            38..50 => self.spread(),
            50..64 => self.report_all(),
            64..82 => self.authority(),
            82..88 => self.now += self.rng.u64(0..100),
            88 => self.now += self.rng.u64(0..2_000),
            89 => {
                let id = self.rng.u32(1..=NODES);
                if !self.cut.remove(&id) {
                    self.cut.insert(id);
                }
            }
            90 => self.cut.clear(),
            91 => {
                let id = self.rng.u32(1..=NODES);
                self.nodes.get_mut(&id).unwrap().up = false;
            }
            92 | 93 => self.restart(),
            94 => self.lose(true),
            95 => self.lose(false),
            96 | 97 => self.want(),
            98 => self.gossip(),
            _ => self.memory = Memory::default(),
        }
        Ok(())
    }

    /// Those of a configuration that take part in what this record says: up, in the life that is meant, and not knowing a newer record.
    fn part(&self, config: &Config, epoch: Epoch) -> Vec<u32> {
        let takes = |id: u32, life: u64| {
            let node = &self.nodes[&id];
            // One that may have lost what it acknowledged answers for nothing before it has a new name.
            let intact = self.desired.settings.durability != Durability::Memory as i32 || node.name(id).is_some();
            node.up && node.incarnation == life && node.record.epoch <= epoch && intact
        };
        config.members.iter().filter(|m| takes(m.id, m.incarnation)).map(|m| m.id).collect()
    }

    fn coordinator(&mut self) -> Option<(u32, Topology, (u32, u32))> {
        let id = self.rng.u32(1..=NODES);
        let node = &self.nodes[&id];
        let member = node.record.config.has(id, node.incarnation);
        (node.up && member).then_some(())?;
        Some((id, node.record.clone(), node.name(id)?))
    }

    /// One write, which reaches some of those that could take it.
    fn write(&mut self) -> Check {
        let Some((id, record, name)) = self.coordinator() else { return Ok(()) };
        let node = self.nodes.get_mut(&id).unwrap();
        let upto = node.received.entry(name).or_default();
        *upto += 1;
        let entry = (name.0, name.1, *upto);
        if !self.written.insert(entry) {
            return Err("a name was used twice");
        }
        let mine = self.nodes[&id].received.clone();
        let mut held = BTreeSet::from([id]);
        let old = record.old.iter().flat_map(|old| self.part(old, record.epoch));
        let all: BTreeSet<u32> = self.part(&record.config, record.epoch).into_iter().chain(old).collect();
        for to in all {
            if self.rng.u32(0..3) > 0 {
                // Entries of one origin come in order.
                let upto = mine[&name];
                self.nodes.get_mut(&to).unwrap().learn(&BTreeMap::from([(name, upto)]));
                held.insert(to);
            }
        }
        let enough = |config: &Config| {
            config
                .members
                .iter()
                .filter(|m| held.contains(&m.id) && self.nodes[&m.id].incarnation == m.incarnation)
                .count()
                >= config.w as usize
        };
        if enough(&record.config) && record.old.as_ref().is_none_or(enough) {
            self.acknowledged.push(entry);
        }
        Ok(())
    }

    /// A read of everything at once, from some r of those that could answer.
    fn read(&mut self) -> Check {
        let Some((id, record, _)) = self.coordinator() else { return Ok(()) };
        let mut asked = BTreeSet::new();
        for config in [Some(&record.config), record.old.as_ref()].into_iter().flatten() {
            let r = (record.settings.r as usize).min(config.members.len());
            let mut able = self.part(config, record.epoch);
            self.rng.shuffle(&mut able);
            // Itself first, where it is one of them.
            able.sort_by_key(|member| *member != id);
            if able.len() < r {
                return Ok(());
            }
            asked.extend(able.into_iter().take(r));
        }
        self.reads += 1;
        let found = |entry: &Entry| asked.iter().any(|id| self.nodes[id].holds(entry));
        match self.acknowledged.iter().all(found) {
            true => Ok(()),
            false => Err("a read missed an acknowledged write"),
        }
    }

    /// One replica learns all that another one has; a learner is whole then.
    fn spread(&mut self) {
        let (from, to) = (self.rng.u32(1..=NODES), self.rng.u32(1..=NODES));
        let source = self.nodes[&from].clone();
        let known =
            |node: &Node, id: u32| node.record.replica(id).is_some_and(|row| row.incarnation == node.incarnation);
        if !source.up || !self.nodes[&to].up || !known(&source, from) || !known(&self.nodes[&to], to) {
            return;
        }
        let member = source.record.config.has(from, source.incarnation);
        let node = self.nodes.get_mut(&to).unwrap();
        node.learn(&source.received);
        node.whole |= member && from != to;
    }

    /// A replica hears of the record from another one.
    fn gossip(&mut self) {
        let (from, to) = (self.rng.u32(1..=NODES), self.rng.u32(1..=NODES));
        let record = self.nodes[&from].record.clone();
        if self.nodes[&from].up && self.nodes[&to].up {
            self.obey(to, &record);
        }
    }

    fn restart(&mut self) {
        for node in self.nodes.values_mut().filter(|node| !node.up) {
            (node.up, node.boot) = (true, node.boot + 1);
        }
    }

    /// A member loses its disk, or the end of what it held; only where nothing that was acknowledged can be lost for good with it.
    fn lose(&mut self, disk: bool) {
        let id = self.rng.u32(1..=NODES);
        let Some(record) = &self.record else { return };
        let intact = |m: &trireme_proto::topology::Member| self.nodes[&m.id].incarnation == m.incarnation && m.id != id;
        let spare = record.config.members.iter().filter(|m| intact(m)).count();
        let settled = record.old.is_none() && self.nodes.values().all(|n| n.record.version == record.version || !n.up);
        let member = record.config.member(id).or(record.old.as_ref().and_then(|old| old.member(id))).is_some();
        if member && (!settled || spare + 1 < record.config.members.len() || record.config.w < 2) {
            return;
        }
        // What r members of the rest cannot find any more is lost whatever anybody does.
        let r = (record.settings.r as usize).min(spare.max(1));
        let rest: Vec<u32> = record.config.members.iter().map(|m| m.id).filter(|m| *m != id).collect();
        let copies = |entry: &Entry| rest.iter().filter(|m| self.nodes[m].holds(entry)).count();
        if member && !self.acknowledged.iter().all(|entry| copies(entry) + r > rest.len()) {
            return;
        }
        let node = self.nodes.get_mut(&id).unwrap();
        if disk {
            *node = Node::new(node.incarnation + 1, node.boot + 1);
        } else if self.desired.settings.durability == Durability::Memory as i32 {
            node.lose_power(id);
            let cut = self.rng.u64(0..3);
            node.received.values_mut().for_each(|upto| *upto = upto.saturating_sub(cut));
        } else {
            // What it acknowledged is on its disk; what it sent, at the same time as it wrote it, need not be.
            node.lose_power(id);
            for (origin, upto) in node.received.iter_mut().filter(|(origin, _)| origin.0 == id) {
                let kept = self.acknowledged.iter().filter(|e| (e.0, e.1) == *origin).map(|e| e.2).max();
                *upto = kept.unwrap_or(0);
            }
        }
    }

    fn want(&mut self) {
        self.changes += 1;
        let mut ids: Vec<u32> = self.desired.replicas.iter().map(|r| r.id).collect();
        let id = self.rng.u32(1..=NODES);
        match ids.iter().position(|other| *other == id) {
            Some(at) if ids.len() > 1 => drop(ids.remove(at)),
            Some(_) => {}
            None => ids.push(id),
        }
        if self.rng.bool() {
            ids.sort_unstable();
            let row = |id: &u32| DesiredReplica { id: *id, name: format!("s-{id}"), region: String::new() };
            self.desired.replicas = ids.iter().map(row).collect();
        }
        let n = self.desired.n() as u32;
        self.desired.w = self.rng.u32(1..=n);
        self.desired.settings.r = self.rng.u32(n - self.desired.w + 1..=n);
    }

    fn report_all(&mut self) {
        for id in 1..=NODES {
            if self.rng.u32(0..3) > 0 {
                self.report(id);
            }
        }
    }

    fn report(&mut self, id: u32) {
        let node = &self.nodes[&id];
        if !node.up || self.cut.contains(&id) {
            return;
        }
        let member = node.record.config.has(id, node.incarnation);
        let known = node.record.replica(id).is_some_and(|row| row.incarnation == node.incarnation);
        let origin = |(group, generation): (u32, u32)| Origin { group, generation };
        let row = |(other, there): (&u32, &Node)| FollowerReport {
            id: *other,
            incarnation: there.incarnation,
            reachable: there.up,
            ..FollowerReport::default()
        };
        let report = Report {
            id,
            incarnation: node.incarnation,
            boot: node.boot,
            role: if member {
                Role::Peer
            } else if known {
                Role::Learner
            } else {
                Role::Idle
            } as i32,
            promise: node.record.epoch,
            topology_version: node.record.version,
            serving: member && node.name(id).is_some(),
            whole: node.whole || (member && node.record.version <= 1),
            origin_spent: known && node.name(id).is_none(),
            received: node
                .received
                .iter()
                .map(|(o, upto)| OriginSeq { origin: origin(*o), upto: *upto, gaps: 0 })
                .collect(),
            followers: self.nodes.iter().filter(|(other, _)| **other != id).map(row).collect(),
            ..Report::default()
        };
        self.reported.insert(id, (report, self.now));
    }

    fn authority(&mut self) {
        let mut replicas = BTreeMap::new();
        for (id, node) in &self.nodes {
            let reported = self.reported.get(id);
            let same_process = reported.is_some_and(|(report, _)| report.boot == node.boot);
            let seen = Seen {
                process: if !node.up && same_process { Process::Ended } else { Process::Unknown },
                connected: node.up && !self.cut.contains(id) && same_process,
                silent_ms: reported.map_or(u64::MAX, |(_, at)| self.now - at),
                report: reported.map(|(report, _)| report.clone()),
                ..Seen::default()
            };
            replicas.insert(*id, seen);
        }
        let observed = Observed { record: self.record.clone(), replicas, ..Observed::default() };
        let plan = plan(&self.desired, &observed, &mut self.memory, self.now);
        if let Some(next) = plan.record {
            assert!(next.version > self.record.as_ref().map_or(0, |record| record.version), "versions rise");
            self.record = Some(next);
        }
        let Some(record) = self.record.clone() else { return };
        for id in plan.tell {
            if self.rng.u32(0..5) > 0 && self.nodes[&id].up && !self.cut.contains(&id) {
                self.obey(id, &record);
            }
        }
    }

    fn obey(&mut self, id: u32, record: &Topology) {
        let node = self.nodes.get_mut(&id).unwrap();
        if record.order() > node.record.order() {
            node.whole |= record.version == 1;
            node.record = record.clone();
        }
    }
}

/// One run: what was violated, and how many reads there were.
fn run(seed: u64) -> (Check, u32, u32) {
    let mut world = World::new(seed);
    while world.record.is_none() {
        (1..=NODES).for_each(|id| world.report(id));
        world.authority();
        world.now += 10;
    }
    for _ in 0..STEPS {
        if let Err(violation) = world.step() {
            return (Err(violation), world.reads, world.record.unwrap().epoch.number as u32);
        }
    }
    (Ok(()), world.reads, world.record.unwrap().epoch.number as u32)
}

#[test]
fn every_read_finds_every_acknowledged_write_and_no_name_is_used_twice() {
    let (mut reads, mut epochs) = (0, 0);
    for seed in 0..10_000 {
        let (result, read, epoch) = run(seed);
        assert_eq!(result, Ok(()), "seed {seed}");
        (reads, epochs) = (reads + u64::from(read), epochs + u64::from(epoch));
    }
    assert!(reads > 100_000 && epochs > 30_000, "runs that do nothing prove nothing: {reads} reads, {epochs} epochs");
}

fn found(rule: Breakage) {
    breakage::set(Some(rule));
    let first = (0..10_000).find(|seed| run(*seed).0.is_err());
    breakage::set(None);
    assert!(first.is_some(), "{rule:?} was not found");
}

#[test]
fn leaving_a_configuration_at_once_is_found() {
    found(Breakage::NoDoubleSeal);
}

#[test]
fn counting_members_before_everything_has_spread_is_found() {
    found(Breakage::CountLearners);
}

#[test]
fn counting_an_empty_disk_is_found() {
    found(Breakage::CountEmptyDisk);
}
