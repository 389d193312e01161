//! Two servers under the same load, in turns.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use super::{Scenario, Settings, median, spread, table::Row};
use crate::{
    load::{
        self, Keys, Report, Stop, Workload,
        grpc::EtcdPut,
        resp::{Command, Resp, Wait},
    },
    peers::{
        echo::Echo,
        etcd::Etcd,
        redis::{Persistence, Redis},
        trireme::{Durability, Spec, Trireme},
    },
};

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 100;
/// Different keys.
const KEYS: u64 = 100_000;
/// Connections, where nothing else is said.
pub const CONNECTIONS: usize = 50;
const WARM_UP: Duration = Duration::from_millis(500);

/// How a row is measured.
struct Plan {
    what: &'static str,
    command: Command,
    connections: usize,
    pipeline: usize,
    store: Spec,
    peer: PeerKind,
    goal: Goal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PeerKind {
    /// One redis.
    Redis,
    /// One redis with two replicas, WAIT 1, and this persistence.
    RedisWait(Persistence),
    Etcd,
    /// A server that knows nothing of what it is told.
    Echo,
    /// Trireme with a leader, and the same durability.
    SingleLeader(Durability),
    /// The same store, that promises nothing to sessions.
    WithoutSessions,
}

/// What should come out.
enum Goal {
    /// At least this many times the peer's requests a second.
    Ratio(f64),
    /// A median latency of at most so many milliseconds.
    LatencyMs(f64),
    /// For comparison only.
    None,
}

/// SET over many connections, one at a time.
fn set(what: &'static str, durability: Durability, peer: PeerKind, goal: Goal) -> Plan {
    Plan {
        what,
        command: Command::Set,
        connections: CONNECTIONS,
        pipeline: 1,
        store: Spec::single_leader(durability),
        peer,
        goal,
    }
}

/// What sessions are promised, against a store that promises nothing.
fn sessions(what: &'static str, command: Command) -> Plan {
    Plan { command, ..set(what, Durability::Memory, PeerKind::WithoutSessions, Goal::Ratio(0.97)) }
}

fn plan(scenario: Scenario) -> Plan {
    let get = |what, pipeline, goal| Plan {
        command: Command::Get,
        pipeline,
        ..set(what, Durability::Disk, PeerKind::Redis, goal)
    };
    let leaderless = |what, pipeline| Plan {
        pipeline,
        store: Spec::leaderless(Durability::Memory),
        ..set(what, Durability::Memory, PeerKind::Redis, Goal::Ratio(0.7))
    };
    let batch = |plan| Plan { pipeline: 16, ..plan };
    let of = |what, command| Plan { command, ..set(what, Durability::Memory, PeerKind::Redis, Goal::Ratio(0.8)) };
    let regions = |what, n| Plan {
        store: Spec::multi_leader(Durability::Memory, n),
        ..set(what, Durability::Memory, PeerKind::Redis, Goal::None)
    };
    let memory = PeerKind::RedisWait(Persistence::None);
    let always = PeerKind::RedisWait(Persistence::Always);
    match scenario {
        Scenario::SetMemory => set("SET, w = 2 of 3, Memory", Durability::Memory, memory, Goal::Ratio(2.5)),
        Scenario::SetMemoryEcho => {
            set("SET, w = 2 of 3, Memory, beside an echo server", Durability::Memory, PeerKind::Echo, Goal::Ratio(0.7))
        }
        Scenario::SetMemoryP16 => {
            batch(set("SET, w = 2 of 3, Memory, 16 in a batch", Durability::Memory, PeerKind::Redis, Goal::Ratio(1.2)))
        }
        Scenario::SetDisk => set("SET, w = 2 of 3, Disk", Durability::Disk, always, Goal::Ratio(2.2)),
        Scenario::SetDiskP16 => {
            batch(set("SET, w = 2 of 3, Disk, 16 in a batch", Durability::Disk, always, Goal::Ratio(1.5)))
        }
        Scenario::SetEtcd => {
            set("SET, w = 2 of 3, Disk, beside etcd", Durability::Disk, PeerKind::Etcd, Goal::Ratio(10.0))
        }
        Scenario::GetP16 => get("GET at the leader, 16 in a batch", 16, Goal::Ratio(1.0)),
        Scenario::ZAddP16 => batch(of("ZADD, w = 2 of 3, Memory, 16 in a batch", Command::ZAdd)),
        Scenario::HSetP16 => batch(of("HSET, w = 2 of 3, Memory, 16 in a batch", Command::HSet)),
        Scenario::LPushP16 => batch(of("LPUSH, w = 2 of 3, Memory, 16 in a batch", Command::LPush)),
        Scenario::SAddP16 => batch(of("SADD, w = 2 of 3, Memory, 16 in a batch", Command::SAdd)),
        Scenario::IncrP16 => batch(of("INCR, w = 2 of 3, Memory, 16 in a batch", Command::Incr)),
        Scenario::SetOne => Plan {
            connections: 1,
            ..set("SET, Disk, 1 connection: p50", Durability::Disk, always, Goal::LatencyMs(0.6))
        },
        Scenario::LeaderlessSet => leaderless("Leaderless: SET, w = r = 2 of 3, Memory", 1),
        Scenario::LeaderlessSetP16 => leaderless("Leaderless: SET, w = r = 2 of 3, Memory, 16 in a batch", 16),
        Scenario::LeaderlessGet => Plan { command: Command::Get, ..leaderless("Leaderless: GET, w = r = 2 of 3", 1) },
        Scenario::LeaderlessGetP16 => {
            Plan { command: Command::Get, ..leaderless("Leaderless: GET, w = r = 2 of 3, 16 in a batch", 16) }
        }
        Scenario::LeaderlessSetDisk => Plan {
            store: Spec::leaderless(Durability::Disk),
            goal: Goal::Ratio(0.95),
            ..set(
                "Leaderless: SET, w = 2 of 3, Disk",
                Durability::Disk,
                PeerKind::SingleLeader(Durability::Disk),
                Goal::None,
            )
        },
        Scenario::RegionsSet => {
            Plan { goal: Goal::Ratio(0.8), ..regions("MultiLeader: SET in one of three regions, n = 1, Memory", 1) }
        }
        Scenario::RegionsSetThree => regions("MultiLeader: SET in one of three regions, w = 2 of n = 3, Memory", 3),
        Scenario::SessionsSet => sessions("SET with what sessions are promised, w = 2 of 3, Memory", Command::Set),
        Scenario::SessionsGet => sessions("GET with what sessions are promised", Command::Get),
        // The others are not loads; a GET is what is left.
        _ => get("GET at the leader", 1, Goal::Ratio(0.95)),
    }
}

/// A running peer and how to load it.
struct Peer {
    name: &'static str,
    address: SocketAddr,
    wait: Wait,
    etcd: bool,
    // Ends with it.
    _process: Box<dyn std::any::Any>,
}

fn peer(kind: PeerKind, settings: &Settings, stop: &Stop) -> Result<Peer, String> {
    Ok(match kind {
        PeerKind::Etcd => {
            let etcd = Etcd::start(&settings.folder, stop)?;
            Peer { name: "etcd put", address: etcd.leader(), wait: Wait::No, etcd: true, _process: Box::new(etcd) }
        }
        PeerKind::Echo => {
            let echo = Echo::start(&settings.folder, stop)?;
            let address = echo.address();
            Peer { name: "bare echo server", address, wait: Wait::No, etcd: false, _process: Box::new(echo) }
        }
        PeerKind::SingleLeader(durability) => {
            let store = Trireme::start(&settings.trireme, &settings.folder, Spec::single_leader(durability), stop)?;
            let address = store.healed(stop)?.address;
            Peer { name: "SingleLeader", address, wait: Wait::No, etcd: false, _process: Box::new(store) }
        }
        PeerKind::WithoutSessions => {
            let spec = Spec { sessions: false, ..Spec::single_leader(Durability::Memory) };
            let store = Trireme::start(&settings.trireme, &settings.folder, spec, stop)?;
            let address = store.healed(stop)?.address;
            Peer { name: "without", address, wait: Wait::No, etcd: false, _process: Box::new(store) }
        }
        PeerKind::Redis => {
            let redis = Redis::start(&settings.folder, 0, Persistence::None, stop)?;
            let address = redis.address();
            Peer { name: "redis alone", address, wait: Wait::No, etcd: false, _process: Box::new(redis) }
        }
        PeerKind::RedisWait(persistence) => {
            let redis = Redis::start(&settings.folder, 2, persistence, stop)?;
            let name = match persistence {
                Persistence::None => "redis + WAIT 1",
                Persistence::Always => "redis always + WAIT 1",
            };
            let wait = Wait::WithBatch(1);
            Peer { name, address: redis.address(), wait, etcd: false, _process: Box::new(redis) }
        }
    })
}

/// Measures a row.
///
/// # Errors
/// When a server cannot be started or driven, and when the run is interrupted.
pub fn measure(
    scenario: Scenario,
    settings: &Settings,
    stop: &Stop,
    say: &mut dyn FnMut(String),
) -> Result<Row, String> {
    let plan = plan(scenario);
    let peer = peer(plan.peer, settings, stop)?;
    let store = Trireme::start(&settings.trireme, &settings.folder, plan.store, stop)?;
    let leader = store.healed(stop)?.address;
    if plan.command == Command::Get {
        fill(leader, KEYS, stop)?;
        fill(peer.address, KEYS, stop)?;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..settings.rounds {
        let own = || run(&plan, leader, Wait::No, false, settings, stop);
        let other = || run(&plan, peer.address, peer.wait, peer.etcd, settings, stop);
        // Whoever comes first in one round comes second in the next.
        let (own, other) = if round.is_multiple_of(2) {
            let own = own()?;
            (own, other()?)
        } else {
            let other = other()?;
            (own()?, other)
        };
        say(format!(
            "round {}: trireme {:.0}/s p50 {:.3} p99 {:.3} ms, errors {}; {} {:.0}/s p50 {:.3} p99 {:.3} ms, errors {}",
            round + 1,
            own.per_second(),
            own.latency_ms(0.5),
            own.latency_ms(0.99),
            own.errors_text(),
            peer.name,
            other.per_second(),
            other.latency_ms(0.5),
            other.latency_ms(0.99),
            other.errors_text(),
        ));
        ours.push(own);
        theirs.push(other);
    }
    Ok(row(&plan, peer.name, &ours, &theirs))
}

fn run(
    plan: &Plan,
    address: SocketAddr,
    wait: Wait,
    etcd: bool,
    settings: &Settings,
    stop: &Stop,
) -> Result<Report, String> {
    let resp = Resp::new(plan.command, wait, KEY_BYTES, VALUE_BYTES, KEYS)?;
    let workload = Workload {
        addresses: vec![address],
        connections: plan.connections,
        pipeline: plan.pipeline,
        keys: Keys::Random(KEYS),
        warm_up: WARM_UP,
        duration: settings.turn,
        rate: None,
        requests_max: None,
    };
    let report = if etcd {
        load::run(&workload, &EtcdPut::new(resp, VALUE_BYTES), stop)
    } else {
        load::run(&workload, &resp, stop)
    };
    let report = report.map_err(|error| error.to_string())?;
    if stop.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(report) }
}

/// Writes every key once.
///
/// # Errors
/// When a write fails.
pub fn fill(address: SocketAddr, keys: u64, stop: &Stop) -> Result<(), String> {
    write(address, Keys::Sequential(keys), keys, stop)
}

/// Writes so often, to these keys.
///
/// # Errors
/// When a write fails.
pub fn write(address: SocketAddr, keys: Keys, times: u64, stop: &Stop) -> Result<(), String> {
    let resp = Resp::new(Command::Set, Wait::No, KEY_BYTES, VALUE_BYTES, keys.total(CONNECTIONS))?;
    let workload = Workload {
        addresses: vec![address],
        connections: CONNECTIONS,
        pipeline: 16,
        keys,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(300),
        rate: None,
        requests_max: Some(times),
    };
    let report = load::run(&workload, &resp, stop).map_err(|error| error.to_string())?;
    if report.errors_total() > 0 { Err(format!("writing to {address}: {}", report.errors_text())) } else { Ok(()) }
}

fn row(plan: &Plan, peer: &str, ours: &[Report], theirs: &[Report]) -> Row {
    let rates = |reports: &[Report]| median(&reports.iter().map(Report::per_second).collect::<Vec<_>>());
    let latency =
        |reports: &[Report], share| median(&reports.iter().map(|report| report.latency_ms(share)).collect::<Vec<_>>());
    let by_latency = plan.connections == 1;
    let figure = |reports: &[Report]| {
        let (p50, p99) = (latency(reports, 0.5), latency(reports, 0.99));
        if by_latency {
            format!("{p50:.3} ms (p99 {p99:.2})")
        } else {
            format!("{:.1}k/s (p50 {p50:.2}, p99 {p99:.2} ms)", rates(reports) / 1000.0)
        }
    };
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(own, other)| {
            if by_latency { own.latency_ms(0.5) / other.latency_ms(0.5) } else { own.per_second() / other.per_second() }
        })
        .collect();
    let (goal, reached) = match plan.goal {
        Goal::Ratio(least) => (format!("≥ {least} x"), Some(median(&ratios) >= least)),
        Goal::LatencyMs(most) => (format!("≤ {most:.1} ms"), Some(latency(ours, 0.5) <= most)),
        Goal::None => (String::new(), None),
    };
    let mut errors: Vec<String> = Vec::new();
    for (name, reports) in [("trireme", ours), (peer, theirs)] {
        for report in reports.iter().filter(|report| report.errors_total() > 0) {
            errors.push(format!("{name}: {}", report.errors_text()));
        }
    }
    Row {
        what: plan.what.into(),
        ours: figure(ours),
        peer: format!("{peer}: {}", figure(theirs)),
        ratio: format!("{}{}", spread(&ratios), if by_latency { " of its p50" } else { "" }),
        goal,
        reached: reached.map(|reached| reached && errors.is_empty()),
        errors,
    }
}
