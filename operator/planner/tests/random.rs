//! Random runs of a small model of replicas under the real planner as their authority: nothing committed is lost or forked, and no two leaders can
//! answer at once; each safety rule of the planner, when broken, is found to break that.
//!
//! The replicas here are only what the rules need of them: a promise, a log, a lease granted. Deposed leaders go on, messages are late or lost, reports
//! are stale, processes end, disks are lost, the operator forgets everything, members and w change, people ask for switch-overs.

#![allow(clippy::unwrap_used)] // Helpers of tests: clippy's exception knows only functions that are tests themselves.

use std::collections::BTreeMap;

use fastrand::Rng;
use trireme_crds::{Mode, Policy, ReplicatedStore, ReplicatedStoreSpec, store::Metadata};
use trireme_planner::{Desired, DesiredReplica, HumanRequest, Memory, Observed, Process, Seen, plan};
use trireme_proto::{
    Epoch, Position, Report, Topology,
    breakage::{self, Breakage},
    report::{FollowerReport, Role},
    topology::{Config, Phase},
};

const NODES: u32 = 6;
const LOG_MAX: usize = 24;
const EPOCH_MAX: u64 = 14;
const LEASE_MS: u64 = 250;

type Entry = (u64, u32);

struct Node {
    promise: u64,
    log: Vec<Entry>,
    incarnation: u64,
    boot: u64,
    led: u64,
    up: bool,
    topology: Topology,
    granted_until: u64,
    heard_at: u64,
}

struct Lead {
    node: u32,
    boot: u64,
    epoch: u64,
    config: Config,
    start: usize,
    serving: bool,
    matched: BTreeMap<u32, (u64, usize)>,
    acked_at: BTreeMap<u32, u64>,
}

struct World {
    rng: Rng,
    now: u64,
    nodes: BTreeMap<u32, Node>,
    leads: Vec<Lead>,
    record: Option<Topology>,
    reported: BTreeMap<u32, (Report, u64)>,
    cut: [bool; NODES as usize + 1],
    desired: Desired,
    memory: Memory,
    committed: Vec<Entry>,
    requests: u32,
    loses: bool,
    changes: u32,
    activations: u32,
}

type Check = Result<(), &'static str>;

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let n = *rng.choice(&[2, 3, 3, 4, 5]).unwrap();
        let mut spec = ReplicatedStoreSpec::new(Mode::SingleLeader);
        (spec.n, spec.w) = (Some(n), Some(rng.u32(1..=n)));
        let store = ReplicatedStore {
            api_version: trireme_crds::API_VERSION.to_owned(),
            kind: trireme_crds::STORE_KIND.to_owned(),
            metadata: Metadata { name: "s".to_owned(), ..Metadata::default() },
            spec,
            status: None,
        };
        let mut desired = Desired::groups(&store, "uid", &[]).remove(0);
        let loses = rng.u32(0..4) == 0;
        desired.failover.policy = if loses { Policy::PreferAvailable } else { Policy::NeverLose };
        desired.failover.give_up_after_ms = 300;
        let node = |id: u32| Node {
            promise: 0,
            log: Vec::new(),
            incarnation: u64::from(id) * 100,
            boot: u64::from(id) * 1_000,
            led: 0,
            up: true,
            topology: Topology::default(),
            granted_until: 0,
            heard_at: 0,
        };
        World {
            rng,
            now: 1_000,
            nodes: (1..=NODES).map(|id| (id, node(id))).collect(),
            leads: Vec::new(),
            record: None,
            reported: BTreeMap::new(),
            cut: [false; NODES as usize + 1],
            desired,
            memory: Memory::default(),
            committed: Vec::new(),
            requests: 0,
            loses,
            changes: 0,
            activations: 0,
        }
    }

    fn leading(&self, lead: &Lead) -> bool {
        let node = &self.nodes[&lead.node];
        node.up && node.boot == lead.boot && node.promise == lead.epoch
    }

    fn step(&mut self) -> Check {
        match self.rng.u32(0..100) {
            0..12 => self.request(),
            12..42 => self.replicate(),
            42..54 => self.commit()?,
            54..66 => self.report_all(),
            66..84 => self.authority()?,
            84..92 => self.now += self.rng.u64(0..60),
            92 => self.now += self.rng.u64(0..1_500),
            93 => {
                let id = self.somebody() as usize;
                self.cut[id] ^= true;
            }
            94 => self.cut = [false; NODES as usize + 1],
            95 => self.crash(),
            96 => self.restart(),
            97 if self.rng.u32(0..3) == 0 => self.lose_disk(),
            97 => self.restart(),
            98 => self.want(),
            _ => self.memory = Memory::default(),
        }
        Ok(())
    }

    fn pick_lead(&mut self) -> Option<usize> {
        if self.leads.is_empty() {
            return None;
        }
        let i = self.rng.usize(0..self.leads.len());
        self.leading(&self.leads[i]).then_some(i)
    }

    fn request(&mut self) {
        let Some(i) = self.pick_lead() else { return };
        let (id, epoch) = (self.leads[i].node, self.leads[i].epoch);
        let node = self.nodes.get_mut(&id).unwrap();
        if node.log.len() < LOG_MAX && node.topology.handover == 0 {
            self.requests += 1;
            node.log.push((epoch, self.requests));
            let end = (node.incarnation, node.log.len());
            self.leads[i].matched.insert(id, end);
        }
    }

    fn replicate(&mut self) {
        let Some(i) = self.pick_lead() else { return };
        let to = self.rng.u32(1..=NODES);
        let (id, epoch) = (self.leads[i].node, self.leads[i].epoch);
        if to == id || !self.nodes[&to].up || self.nodes[&to].promise > epoch {
            return;
        }
        let mine = self.nodes[&id].log.clone();
        let node = self.nodes.get_mut(&to).unwrap();
        let same = mine.iter().zip(&node.log).take_while(|(a, b)| a == b).count();
        let upto = self.rng.usize(same..=mine.len());
        node.promise = epoch;
        node.heard_at = self.now;
        node.granted_until = node.granted_until.max(self.now + LEASE_MS);
        self.leads[i].acked_at.insert(to, self.now);
        if upto > same || node.log.len() == same {
            node.log.truncate(same);
            node.log.extend_from_slice(&mine[same..upto]);
            let end = (node.incarnation, upto);
            let matched = self.leads[i].matched.entry(to).or_insert(end);
            *matched = if matched.0 == end.0 { (end.0, matched.1.max(upto)) } else { end };
        }
    }

    fn committed_at(lead: &Lead) -> usize {
        let held = |id: u32, life: u64| lead.matched.get(&id).filter(|m| m.0 == life).map_or(0, |m| m.1);
        let mut ends: Vec<usize> = lead.config.members.iter().map(|m| held(m.id, m.incarnation)).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.get(lead.config.w as usize - 1).copied().unwrap_or(0)
    }

    /// Whether this leader may answer reads now.
    fn has_lease(&self, lead: &Lead) -> bool {
        let acked = |id: u32| if id == lead.node { self.now } else { lead.acked_at.get(&id).copied().unwrap_or(0) };
        let mut times: Vec<u64> = lead.config.members.iter().map(|m| acked(m.id)).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        self.leading(lead) && times.get(lead.config.lease_quorum() - 1).is_some_and(|at| at + LEASE_MS > self.now)
    }

    fn commit(&mut self) -> Check {
        if self.leads.is_empty() {
            return Ok(());
        }
        let i = self.rng.usize(0..self.leads.len());
        let at = World::committed_at(&self.leads[i]);
        if at <= self.leads[i].start || !self.leading(&self.leads[i]) {
            return Ok(());
        }
        self.leads[i].serving = true;
        let lead = &self.leads[i];
        if self.has_lease(lead)
            && self.leads.iter().any(|older| older.epoch < lead.epoch && older.serving && self.has_lease(older))
        {
            return Err("two leaders can answer");
        }
        let prefix = self.nodes[&lead.node].log[..at].to_vec();
        let same = prefix.iter().zip(&self.committed).take_while(|(a, b)| a == b).count();
        if self.loses {
            self.committed = prefix;
        } else if same < prefix.len().min(self.committed.len()) {
            return Err("two histories were committed");
        } else if prefix.len() > self.committed.len() {
            self.committed = prefix;
        }
        Ok(())
    }

    /// Any replica, the leader half of the time.
    fn somebody(&mut self) -> u32 {
        let leader = self.record.as_ref().map_or(0, |record| record.leader);
        if leader != 0 && self.rng.bool() { leader } else { self.rng.u32(1..=NODES) }
    }

    fn crash(&mut self) {
        let id = self.somebody();
        self.nodes.get_mut(&id).unwrap().up = false;
    }

    fn restart(&mut self) {
        for node in self.nodes.values_mut().filter(|node| !node.up) {
            node.up = true;
            node.boot += 1;
        }
    }

    fn lose_disk(&mut self) {
        let id = self.rng.u32(1..=NODES);
        let node = self.nodes.get_mut(&id).unwrap();
        *node = Node {
            promise: 0,
            log: Vec::new(),
            incarnation: node.incarnation + 1,
            boot: node.boot + 1,
            led: 0,
            up: true,
            topology: Topology::default(),
            granted_until: 0,
            heard_at: 0,
        };
    }

    fn want(&mut self) {
        self.changes += 1;
        match self.rng.u32(0..3) {
            0 => {
                let id = self.rng.u32(1..=NODES);
                let before = self.desired.replicas.len();
                self.desired.replicas.retain(|r| r.id != id);
                if self.desired.replicas.len() == before {
                    self.desired.replicas.push(DesiredReplica { id, name: format!("s-{id}"), region: String::new() });
                }
                if self.desired.replicas.is_empty() {
                    self.desired.replicas.push(DesiredReplica { id, name: format!("s-{id}"), region: String::new() });
                }
                self.desired.replicas.sort_by_key(|r| r.id);
            }
            1 => {}
            _ => {
                let to = self.rng.u32(1..=NODES);
                let observed = Observed { requests: vec![HumanRequest::Switchover { to }], ..self.observe() };
                let _ = plan(&self.desired, &observed, &mut self.memory, self.now);
                return;
            }
        }
        self.desired.w = self.rng.u32(1..=self.desired.replicas.len() as u32);
    }

    /// Some replicas' reports reach the operator.
    fn report_all(&mut self) {
        for id in 1..=NODES {
            if self.rng.u32(0..3) > 0 {
                self.report(id);
            }
        }
    }

    fn report(&mut self, id: u32) {
        let node = &self.nodes[&id];
        if !node.up || self.cut[id as usize] {
            return;
        }
        let lead = self.leads.iter().find(|l| l.node == id && self.leading(l));
        let epoch = |number| Epoch { number, proposer: 0 };
        let end = node.log.len();
        let follower = |(to, (life, at)): (&u32, &(u64, usize))| FollowerReport {
            id: *to,
            incarnation: *life,
            reachable: lead.is_some_and(|l| l.acked_at.get(to).is_some_and(|t| t + 1_000 > self.now)),
            acknowledged: *at as u64,
            lag_entries: (end - at) as u64,
            lag_bytes: 0,
            lag_ms: 0,
            snapshot_slots: None,
        };
        let handover = node.topology.handover;
        let report = Report {
            id,
            incarnation: node.incarnation,
            boot: node.boot,
            role: if lead.is_some() { Role::Leader } else { Role::Follower } as i32,
            promise: epoch(node.promise),
            topology_version: node.topology.version,
            last: Position { epoch: epoch(node.log.last().map_or(0, |e| e.0)), seq: end as u64 },
            lease_remaining_ms: u32::try_from(node.granted_until.saturating_sub(self.now)).unwrap(),
            leader_silence_ms: u32::try_from(self.now - node.heard_at.min(self.now)).unwrap(),
            serving: lead.is_some_and(|l| l.serving),
            drained: lead.is_some_and(|l| handover != 0 && l.matched.get(&handover).is_some_and(|m| m.1 == end)),
            followers: lead.map_or_else(Vec::new, |l| l.matched.iter().map(follower).collect()),
            ..Report::default()
        };
        self.reported.insert(id, (report, self.now));
    }

    fn observe(&mut self) -> Observed {
        let mut replicas = BTreeMap::new();
        for (id, node) in &self.nodes {
            let reported = self.reported.get(id);
            let same_process = reported.is_some_and(|(report, _)| report.boot == node.boot);
            let seen = Seen {
                process: if !node.up && same_process { Process::Ended } else { Process::Unknown },
                connected: node.up && !self.cut[*id as usize] && same_process,
                silent_ms: reported.map_or(u64::MAX, |(_, at)| self.now - at),
                report: reported.map(|(report, _)| report.clone()),
                ..Seen::default()
            };
            replicas.insert(*id, seen);
        }
        Observed { record: self.record.clone(), replicas, ..Observed::default() }
    }

    fn authority(&mut self) -> Check {
        if self.record.as_ref().is_some_and(|record| record.epoch.number >= EPOCH_MAX) {
            return Ok(());
        }
        let observed = self.observe();
        let plan = plan(&self.desired, &observed, &mut self.memory, self.now);
        if let Some(next) = plan.record {
            assert!(next.version > self.record.as_ref().map_or(0, |record| record.version), "versions rise");
            self.record = Some(next);
        }
        let Some(record) = self.record.clone() else { return Ok(()) };
        for id in plan.tell {
            if self.rng.u32(0..5) > 0 && self.nodes[&id].up && !self.cut[id as usize] {
                self.obey(id, &record)?;
            }
        }
        Ok(())
    }

    /// A replica is sent the record.
    fn obey(&mut self, id: u32, record: &Topology) -> Check {
        let node = self.nodes.get_mut(&id).unwrap();
        let epoch = record.epoch.number;
        if epoch < node.promise || record.order() <= node.topology.order() {
            return Ok(());
        }
        node.topology = record.clone();
        if epoch > node.promise {
            // Silence counts from here on for the leader of this epoch.
            node.heard_at = self.now;
            node.promise = epoch;
        }
        let leads = record.phase == Phase::Active as i32
            && record.leader == id
            && record.config.has(id, node.incarnation)
            && node.led < epoch;
        if !leads {
            return Ok(());
        }
        node.led = epoch;
        let start = node.log.len();
        let whole = node.log.len() >= self.committed.len() && node.log[..self.committed.len()] == self.committed[..];
        node.log.push((epoch, 0));
        let lead = Lead {
            node: id,
            boot: node.boot,
            epoch,
            config: record.config.clone(),
            start,
            serving: false,
            matched: BTreeMap::from([(id, (node.incarnation, start + 1))]),
            acked_at: BTreeMap::new(),
        };
        self.leads.push(lead);
        self.activations += 1;
        if whole || self.loses { Ok(()) } else { Err("a committed entry is missing in a new leader") }
    }
}

/// One run: what was violated, and how many leaders there were.
fn run(seed: u64, steps: u32) -> (Check, u32) {
    let mut world = World::new(seed);
    // The group is created in peace.
    while world.leads.is_empty() {
        (1..=NODES).for_each(|id| world.report(id));
        if let Err(violation) = world.authority() {
            return (Err(violation), world.activations);
        }
        world.now += 10;
    }
    for _ in 0..steps {
        if let Err(violation) = world.step() {
            return (Err(violation), world.activations);
        }
    }
    (Ok(()), world.activations)
}

const STEPS: u32 = 250;

#[test]
fn nothing_is_lost_or_forked_and_no_two_leaders_answer() {
    let mut activations = 0;
    for seed in 0..20_000 {
        let (result, led) = run(seed, STEPS);
        assert_eq!(result, Ok(()), "seed {seed}");
        activations += u64::from(led);
    }
    assert!(activations > 40_000, "runs that do nothing prove nothing: {activations} leaders in all");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..50 {
        let of = |seed| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                let _ = world.step();
            }
            (world.record, world.committed, world.now)
        };
        assert_eq!(of(seed), of(seed));
    }
}

fn found(rule: Breakage, seeds: u64) {
    breakage::set(Some(rule));
    let first = (0..seeds).find(|seed| run(*seed, STEPS).0.is_err());
    breakage::set(None);
    assert!(first.is_some(), "{rule:?} was not found in {seeds} runs");
}

macro_rules! breakages {
    ($($name:ident $rule:ident $seeds:expr;)*) => {
        $(#[test] fn $name() { found(Breakage::$rule, $seeds); })*
    };
}

breakages! {
    sealing_one_less_is_found SealOneLess 20_000;
    choosing_by_seq_alone_is_found ChooseBySeqAlone 20_000;
    counting_an_empty_disk_is_found CountEmptyDisk 20_000;
    no_double_seal_is_found NoDoubleSeal 20_000;
    sealing_new_members_only_is_found SealNewOnly 20_000;
    sealing_old_members_only_is_found SealOldOnly 20_000;
    not_waiting_for_leases_is_found NoLeaseWait 20_000;
}
