//! What one seed decides before the world begins: the store, its surroundings, and which faults may happen.

mod fault;

use fastrand::Rng;
use trireme_proto::{
    ReplicaId,
    topology::{ConflictList, Durability, Mode, ReadRepair, Settings, Unreplicated, WriteOrder},
};

pub use self::fault::Fault;
use crate::{clock::Micros, network::Delays};

/// Replica numbers go up to here: a store can grow to this.
pub const REPLICAS_MAX: u32 = 6;

/// Where a store has several groups, the replicas of group g are numbered from here times g on.
pub const NUMBERS_PER_GROUP: u32 = 100;

/// The group of a replica; 0 where there is only one.
pub fn group_of(id: ReplicaId) -> u32 {
    id / NUMBERS_PER_GROUP
}

/// What happens where too few members can be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Stay down.
    NeverLose,
    /// Go on with the best, and count what is at risk.
    PreferAvailable,
}

/// What a run looks at more closely than others: its members, its timing and its faults are then those in which one kind of mistake shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Focus {
    /// Nothing in particular: everything is drawn from the seed.
    Everything,
    /// Leaders that are cut off while clients still reach them, leases that outlive suspicion, and people who change leaders meanwhile.
    Leases,
    /// One change of leaders after the other, with members cut off in turn.
    Elections,
    /// Changes of w and members, interrupted.
    Changes,
    /// Clients whose leader is elsewhere, and links to it that break while commits are slow.
    Requests,
    /// Disks that are slow, and machines that lose what was not synced.
    Disks,
    /// New revisions, machines that are gone, and what else makes the operator restart or replace replicas.
    Upkeep,
    /// Stores without a leader: seeds from [`LEADERLESS`] on.
    Leaderless,
    /// Stores with a leader in each region: seeds from [`REGIONS`] on.
    Regions,
    /// Stores that have one leader first, then one in each region, and sometimes one again: seeds from [`MODES`] on.
    Modes,
    /// Clients whose sessions go with them, in stores of all three modes: seeds from [`SESSIONS`] on.
    Sessions,
}

/// The first seed of stores without a leader.
pub const LEADERLESS: u64 = 1_000_000_000;
/// The first seed of stores with a leader in each region.
pub const REGIONS: u64 = 2_000_000_000;
/// The first seed of stores whose mode changes.
pub const MODES: u64 = 3_000_000_000;
/// The first seed of stores with clients whose sessions go with them.
pub const SESSIONS: u64 = 4_000_000_000;

/// Whether a seed's store has several groups.
pub fn has_regions(seed: u64) -> bool {
    match Focus::of(seed) {
        Focus::Regions | Focus::Modes => true,
        Focus::Sessions => seed % 3 == 2,
        _ => false,
    }
}

/// Whether regions are away from each other for longer than their logs are kept, and what they have missed comes bit by bit: nothing else goes wrong there.
pub fn has_short_logs(seed: u64) -> bool {
    Focus::of(seed) == Focus::Regions && seed % 16 == 5
}

impl Focus {
    /// The focus of a seed: six of eight seeds have one.
    pub fn of(seed: u64) -> Focus {
        if seed >= SESSIONS {
            return Focus::Sessions;
        }
        if seed >= MODES {
            return Focus::Modes;
        }
        if seed >= REGIONS {
            return Focus::Regions;
        }
        if seed >= LEADERLESS {
            return Focus::Leaderless;
        }
        match seed % 8 {
            2 => Focus::Upkeep,
            3 => Focus::Leases,
            4 => Focus::Elections,
            5 => Focus::Changes,
            6 => Focus::Requests,
            7 => Focus::Disks,
            _ => Focus::Everything,
        }
    }
}

/// Which of a store's groups a world is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 1; 0 where it is the only one.
    pub group: u32,
    /// Its replicas' numbers begin above this.
    pub first: ReplicaId,
    /// Its last clients use the keys that those of all regions use: so many.
    pub between: u32,
}

/// What one seed decides.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// Replicas at first.
    pub n: u32,
    /// Copies that count.
    pub w: u32,
    /// What replicas are told.
    pub settings: Settings,
    /// See the type.
    pub policy: Policy,
    /// Clients.
    pub clients: u32,
    /// Clients whose sessions go with them, and how many sessions there are at first.
    pub travellers: u32,
    /// See [`Scenario::travellers`].
    pub sessions: usize,
    /// Mean time that a client thinks between pipelines.
    pub think_us: Micros,
    /// How long faults go on.
    pub faults_until: Micros,
    /// How long [`Fault::Isolate`] lasts: at least, at most.
    pub isolated_us: (Micros, Micros),
    /// Mean time between faults.
    pub fault_every_us: Micros,
    /// Which faults.
    pub faults: Vec<Fault>,
    /// Who starts processes can prove that one has ended.
    pub proves_ends: bool,
    /// After how long a replica is replaced that is lost with its machine.
    pub replace_lost_after_ms: Option<u64>,
    /// How long messages take.
    pub delays: Delays,
    /// How long a sync takes, in microseconds: at least, and spread.
    pub sync_us: (u64, u64),
    /// How wrong monotonic clocks run at most, in millionths.
    pub drift_ppm: i64,
    /// How far wall clocks are off at most, in milliseconds.
    pub wall_ms: i64,
    /// Which group it is.
    pub place: Place,
    /// When its replicas and clients start: a region may be added later than the others.
    pub begins_at: Micros,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn new(seed: u64) -> Scenario {
        let focus = Focus::of(seed);
        let mut rng = Rng::with_seed(seed ^ 0x7472_6972_656d_6502);
        let mut scenario = Scenario::drawn(seed);
        if focus == Focus::Everything {
            return scenario;
        }
        if focus == Focus::Leaderless {
            scenario.without_leader(&mut rng);
            return scenario;
        }
        if focus == Focus::Sessions {
            scenario.with_sessions(seed, &mut rng);
            return scenario;
        }
        scenario.policy = Policy::NeverLose;
        scenario.clients = 5;
        scenario.think_us = rng.u64(2_000..12_000);
        scenario.fault_every_us = rng.u64(40_000..160_000);
        scenario.faults_until = 2_500_000;
        scenario.settings.suspicion_ms = 300;
        scenario.settings.request_timeout_ms = 2_000;
        scenario.focus_on(focus, &mut rng);
        scenario
    }

    /// Clients whose sessions go with them, where nothing that was acknowledged is ever lost.
    fn with_sessions(&mut self, seed: u64, rng: &mut Rng) {
        if seed % 3 == 1 {
            self.without_leader(rng);
            // So that effects overtake their causes.
            (self.delays.slow_one_in, self.delays.slow_us) = (rng.u32(5..40), rng.u64(5_000..100_000));
            // The last disk that has something may go where one copy is enough.
            self.faults.retain(|fault| self.w > 1 || !matches!(fault, Fault::MachineLost | Fault::DiskLoss));
        } else {
            self.focus_on([Focus::Elections, Focus::Changes, Focus::Requests, Focus::Disks][rng.usize(0..4)], rng);
            self.settings.r = 1;
        }
        self.policy = Policy::NeverLose;
        self.faults.retain(|fault| *fault != Fault::Force);
        self.clients = 2;
        self.think_us = rng.u64(2_000..10_000);
        (self.travellers, self.sessions) = (4, 3);
    }

    fn focus_on(&mut self, focus: Focus, rng: &mut Rng) {
        (self.n, self.w) = [(3, 2), (5, 3), (5, 2), (4, 3), (3, 2)][rng.usize(0..5)];
        match focus {
            Focus::Everything | Focus::Leaderless | Focus::Regions | Focus::Modes | Focus::Sessions => {}
            Focus::Leases => {
                self.settings.lease_ms = [250, 1_000][rng.usize(0..2)];
                self.fault_every_us = rng.u64(300_000..900_000);
                self.faults_until = 5_000_000;
                self.isolated_us = (800_000, 2_500_000);
                self.faults = vec![Fault::Isolate, Fault::Isolate, Fault::Switchover, Fault::Pause];
            }
            Focus::Elections => {
                (self.n, self.w) = [(3, 2), (5, 3), (5, 4)][rng.usize(0..3)];
                self.faults = vec![Fault::Isolate, Fault::Isolate, Fault::Isolate, Fault::Kill, Fault::Worker];
                self.fault_every_us = rng.u64(100_000..300_000);
                self.faults_until = 4_000_000;
                self.isolated_us = (300_000, 800_000);
                self.delays.spread_us = rng.u64(20..10_000);
            }
            Focus::Changes => {
                (self.n, self.w) = [(3, 1), (3, 3), (4, 2), (5, 1), (5, 4), (2, 1)][rng.usize(0..6)];
                self.faults =
                    vec![Fault::ChangeW, Fault::ChangeW, Fault::ChangeN, Fault::Isolate, Fault::Kill, Fault::Pause];
            }
            Focus::Requests => {
                self.faults = vec![Fault::Cut, Fault::Cut, Fault::Cut, Fault::Kill, Fault::Isolate];
                self.sync_us = (2_000, 20_000);
            }
            Focus::Disks => {
                self.faults = vec![Fault::PowerLoss, Fault::PowerLoss, Fault::Kill, Fault::SlowDisk, Fault::DiskLoss];
                self.sync_us = (1_000, 10_000);
            }
            Focus::Upkeep => {
                if rng.bool() {
                    (self.n, self.w) = [(3, 2), (3, 2), (3, 3), (5, 3), (2, 2), (1, 1)][rng.usize(0..6)];
                    self.faults = vec![Fault::Upgrade, Fault::Upgrade, Fault::Kill, Fault::Worker];
                    self.faults.push([Fault::ChangeN, Fault::Isolate, Fault::Cut, Fault::MachineLost][rng.usize(0..4)]);
                } else {
                    (self.n, self.w) = [(3, 2), (5, 3), (4, 2), (3, 3)][rng.usize(0..4)];
                    self.faults = vec![Fault::MachineLost, Fault::MachineLost, Fault::Worker];
                    self.faults.push([Fault::Kill, Fault::Upgrade, Fault::Isolate, Fault::ChangeW][rng.usize(0..4)]);
                }
                self.fault_every_us = rng.u64(300_000..1_000_000);
                self.faults_until = 7_000_000;
                self.replace_lost_after_ms = Some(rng.u64(100..800));
            }
        }
    }

    /// A store without a leader: mostly one whose quorums meet, with clocks that are off, replicas that come and go, and a log that is often too short for them.
    fn without_leader(&mut self, rng: &mut Rng) {
        (self.n, self.w) = [(3, 2), (3, 2), (3, 2), (3, 1), (3, 3), (4, 2), (5, 3), (5, 2)][rng.usize(0..8)];
        let meets = rng.u8(0..8) > 0;
        self.settings.r = if meets { (self.n - self.w + 1).max(2) } else { (self.n - self.w).max(1) };
        self.settings.mode = Mode::Leaderless as i32;
        self.settings.write_order = WriteOrder::Strict as i32;
        self.settings.read_repair =
            if meets { ReadRepair::Blocking } else { [ReadRepair::Async, ReadRepair::Off][rng.usize(0..2)] } as i32;
        self.settings.feed_bytes_per_second = [0, 0, 200_000][rng.usize(0..3)];
        self.settings.log_bytes_max = [2 << 10, 16 << 10, 64 << 20][rng.usize(0..3)];
        self.settings.request_timeout_ms = [500, 2_000][rng.usize(0..2)];
        self.policy = Policy::NeverLose;
        self.clients = 5;
        self.think_us = rng.u64(2_000..20_000);
        self.wall_ms = [0, 200, 2_000][rng.usize(0..3)];
        self.faults_until = rng.u64(1_500_000..4_000_000);
        self.fault_every_us = rng.u64(60_000..400_000);
        // There is no leader to hand over.
        let all = Fault::ALL.into_iter().filter(|f| *f != Fault::Switchover);
        self.faults = all.filter(|_| rng.u8(0..3) == 0).collect();
        self.faults.extend(Fault::LEADERLESS.into_iter().filter(|_| rng.u8(0..5) == 0));
        match rng.u8(0..8) {
            0 => {
                // Members, w and r change all the time, and disks are lost meanwhile.
                self.faults = vec![Fault::ChangeN, Fault::ChangeN, Fault::ChangeW, Fault::ChangeR];
                self.faults.extend([Fault::DiskLoss, Fault::Kill, Fault::Isolate, Fault::Worker]);
                self.fault_every_us = rng.u64(100_000..400_000);
                self.faults_until = 4_000_000;
            }
            1 => {
                // The operator restarts and replaces replicas.
                self.faults = vec![Fault::MachineLost, Fault::MachineLost, Fault::Upgrade, Fault::Worker];
                self.faults.push([Fault::Kill, Fault::ChangeN, Fault::Isolate, Fault::ChangeW][rng.usize(0..4)]);
                self.fault_every_us = rng.u64(300_000..1_000_000);
                self.faults_until = 7_000_000;
                self.replace_lost_after_ms = Some(rng.u64(100..800));
                if rng.bool() {
                    // One copy is enough, and the others are slow to have theirs: a lost machine may be the last that has something.
                    (self.n, self.w, self.settings.r) = (3, 1, 3);
                    self.settings.read_repair = ReadRepair::Blocking as i32;
                    self.faults = vec![Fault::MachineLost, Fault::MachineLost, Fault::SlowDisk, Fault::SlowDisk];
                }
            }
            2 => {
                // Disks are lost, and little is sent: what a new one lacks comes as entries and as state, beside each other.
                self.faults = vec![Fault::DiskLoss, Fault::DiskLoss, Fault::Worker];
                self.settings.feed_bytes_per_second = rng.u64(20_000..100_000);
                self.settings.log_bytes_max = 16 << 10;
                self.think_us = rng.u64(2_000..8_000);
                self.fault_every_us = rng.u64(100_000..400_000);
            }
            3 => return self.with_narrow_ways(rng),
            _ => {}
        }
        if rng.u8(0..4) == 0 {
            // Disks that are slow, and machines that lose what was not synced, one after the other.
            self.faults = vec![Fault::PowerLoss, Fault::Kill, Fault::Isolate, Fault::SlowDisk];
            self.settings.durability = Durability::Disk as i32;
            self.sync_us = (2_000, 30_000);
            self.fault_every_us = rng.u64(20_000..120_000);
        }
    }

    /// What is written comes to one other replica and not to the next: whoever is shown it there has everybody shown it afterwards.
    fn with_narrow_ways(&mut self, rng: &mut Rng) {
        (self.n, self.w, self.settings.r) = [(4, 3, 2), (5, 4, 2)][rng.usize(0..2)];
        self.settings.read_repair = ReadRepair::Blocking as i32;
        self.settings.feed_bytes_per_second = 0;
        self.faults = vec![Fault::Narrow];
        self.fault_every_us = rng.u64(200_000..500_000);
        self.think_us = rng.u64(1_000..5_000);
    }

    /// The groups of a store with a leader in each region.
    pub fn regions(seed: u64) -> Vec<Scenario> {
        let mut rng = Rng::with_seed(seed ^ 0x7472_6972_656d_6504);
        let (groups, n) = ([2, 2, 3][rng.usize(0..3)], [1, 3, 3][rng.usize(0..3)]);
        let log_bytes_max = [4 << 10, 64 << 20, 64 << 20][rng.usize(0..3)];
        let faults_until = rng.u64(1_500_000..4_000_000);
        let region = |group: u32| {
            let mut scenario = Scenario::drawn(seed.wrapping_mul(8).wrapping_add(group.into()));
            scenario.seed = seed;
            (scenario.n, scenario.w) = (n, n / 2 + 1);
            scenario.settings.mode = Mode::MultiLeader as i32;
            (scenario.settings.r, scenario.settings.log_bytes_max) = (1, log_bytes_max);
            // Leaders write down what met, as deltas of their own.
            let lists = (seed % 4 == 3).then(|| ConflictList { name: "met".to_owned(), length: 20 });
            scenario.settings.conflicts = lists;
            scenario.policy = Policy::NeverLose;
            (scenario.clients, scenario.think_us) = (5, rng.u64(5_000..30_000));
            scenario.faults_until = faults_until;
            // One replica and no other has nobody to give it its disk back.
            scenario.faults.retain(|fault| *fault != Fault::Force && (n > 1 || *fault != Fault::MachineLost));
            scenario.place = Place { group, first: NUMBERS_PER_GROUP * group, between: 2 };
            if has_short_logs(seed) {
                scenario.settings.log_bytes_max = 2 << 10;
                (scenario.think_us, scenario.faults_until) = (3_000, 4_000_000);
                scenario.faults.clear();
            }
            scenario
        };
        let mut scenarios: Vec<Scenario> = (1..=groups).map(region).collect();
        if Focus::of(seed) == Focus::Sessions {
            scenarios.iter_mut().for_each(|scenario| (scenario.travellers, scenario.clients) = (3, 3));
            scenarios[0].sessions = 4;
        }
        // The last one may be added to a store that has been used for a while.
        if let Some(last) = scenarios.last_mut().filter(|_| rng.u8(0..4) == 0) {
            last.begins_at = rng.u64(300_000..faults_until / 2);
        }
        scenarios
    }

    /// Whether there is no leader.
    pub fn is_leaderless(&self) -> bool {
        self.settings.mode() == Mode::Leaderless
    }

    /// Without a leader: whether every read meets every write, whatever has changed by then.
    pub fn quorums_meet(&self) -> bool {
        self.w + self.settings.r > self.n && self.settings.read_repair() == ReadRepair::Blocking
    }

    /// A scenario without a focus.
    pub(crate) fn drawn(seed: u64) -> Scenario {
        let mut rng = Rng::with_seed(seed ^ 0x7472_6972_656d_6501);
        let n = [1, 2, 3, 3, 3, 3, 4, 5][rng.usize(0..8)];
        let w = if rng.bool() { n / 2 + 1 } else { rng.u32(1..=n) };
        let policy = match w {
            1 if rng.u8(0..4) > 0 => Policy::PreferAvailable,
            1 => Policy::NeverLose,
            _ if rng.u8(0..8) == 0 => Policy::PreferAvailable,
            _ => Policy::NeverLose,
        };
        let mut faults: Vec<Fault> = Fault::ALL.into_iter().filter(|_| rng.u8(0..3) == 0).collect();
        // Drawn apart, so that what is drawn here does not move what is drawn after it.
        let mut later = Rng::with_seed(seed ^ 0x7472_6972_656d_6503);
        faults.extend(Fault::UPKEEP.into_iter().filter(|_| later.u8(0..5) == 0));
        let slow_network = rng.u8(0..4) == 0;
        Scenario {
            seed,
            n,
            w,
            settings: Scenario::settings(&mut rng),
            policy,
            clients: rng.u32(2..=5),
            travellers: 0,
            sessions: 0,
            think_us: rng.u64(5_000..60_000),
            faults_until: rng.u64(1_500_000..4_000_000),
            isolated_us: (50_000, 900_000),
            fault_every_us: rng.u64(80_000..600_000),
            faults,
            proves_ends: later.bool(),
            replace_lost_after_ms: later.bool().then(|| later.u64(100..2_000)),
            delays: Delays {
                min_us: rng.u64(20..200),
                spread_us: if slow_network { 20_000 } else { rng.u64(20..2_000) },
                slow_one_in: rng.u32(20..400),
                slow_us: rng.u64(1_000..100_000),
            },
            sync_us: (rng.u64(50..500), rng.u64(50..5_000)),
            drift_ppm: if rng.u8(0..4) == 0 { 10_000 } else { 1_000 },
            wall_ms: rng.i64(0..2_000),
            place: Place::default(),
            begins_at: 0,
        }
    }

    fn settings(rng: &mut Rng) -> Settings {
        Settings {
            durability: if rng.u8(0..4) == 0 { Durability::Memory } else { Durability::Disk } as i32,
            r: if rng.bool() { 1 } else { 2 },
            unreplicated: if rng.u8(0..4) == 0 { Unreplicated::Discard } else { Unreplicated::Recover } as i32,
            suspicion_ms: [300, 500, 1_000][rng.usize(0..3)],
            request_timeout_ms: [500, 2_000, 10_000][rng.usize(0..3)],
            log_bytes_max: if rng.u8(0..3) == 0 { 4 << 10 } else { 64 << 20 },
            ..Settings::standard()
        }
    }

    /// Whether a kind of fault may happen.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// The replicas at first.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> {
        self.place.first + 1..=self.place.first + self.n
    }

    /// One line for a person.
    pub fn describe(&self) -> String {
        let s = &self.settings;
        format!(
            "seed {} ({:?}): n={} w={} r={} {:?} {:?} {:?}, suspicion {} ms, request time-out {} ms, log {} KiB, {} clients, drift {} ppm, faults {:?}",
            self.seed,
            Focus::of(self.seed),
            self.n,
            self.w,
            s.r,
            s.durability(),
            self.policy,
            s.unreplicated(),
            s.suspicion_ms,
            s.request_timeout_ms,
            s.log_bytes_max >> 10,
            self.clients,
            self.drift_ppm,
            self.faults
        )
    }
}
