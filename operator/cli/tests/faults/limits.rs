//! Clients that take too much: connections, bytes that they do not read, commands without an end, memory. And what is evicted, and what is not, while a leader
//! dies.

use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::{
    support::{Replica, Store},
    tools::{Raw, SPEC, assert_healed, command, eventually, metric},
};

const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";

/// The value of a parameter.
fn parameter(replica: &Replica, name: &str) -> String {
    let mut client = replica.client();
    assert_eq!(client.call(&["CONFIG", "GET", name]).unwrap(), "*2");
    assert_eq!(client.reply().unwrap(), format!("${name}"));
    client.reply().unwrap().trim_start_matches('$').to_owned()
}

fn wait_for_parameter(store: &Store, name: &str, value: &str) {
    for replica in &store.replicas {
        eventually(&format!("{name} {value}"), || parameter(replica, name) == value);
    }
}

fn follower(store: &Store) -> Replica {
    let leader = store.leader();
    store.replicas.iter().find(|replica| replica.name != leader).unwrap().clone()
}

#[test]
fn who_takes_too_much_is_cut_and_nobody_else() {
    let root = tempfile::tempdir().unwrap();
    let limits = "  limits:\n    queryBuffer: 1Mi\n    outputBuffers:\n      replies: {hard: 2Mi}\n      subscribers: {hard: 1Mi, soft: \"0\"}\n";
    let mut store = Store::up(root.path(), &format!("{SPEC}{limits}"), &[]);
    wait_for_parameter(&store, "client-query-buffer-limit", "1048576");
    let output = "normal 2097152 0 0 slave 268435456 67108864 60 pubsub 1048576 0 60";
    wait_for_parameter(&store, "client-output-buffer-limit", output);
    for replica in store.replicas.clone() {
        let mut others = replica.client();
        // A command without an end.
        let mut endless = Raw::connect(replica.address);
        endless.send(b"*3\r\n$3\r\nSET\r\n$7\r\nendless\r\n$8000000\r\n");
        endless.send(&vec![b'x'; 2 << 20]);
        assert!(endless.rest().is_empty());
        assert_eq!(others.call(&["EXISTS", "endless"]).unwrap(), ":0");
        // Replies that nobody reads: 64 MiB of them, of which the system holds a few.
        let large = "x".repeat(512 << 10);
        assert_eq!(others.call(&["SET", "large", &large]).unwrap(), "+OK");
        let mut slow = Raw::connect(replica.address);
        slow.send(&command(&["GET", "large"]).repeat(128));
        eventually("the slow reader gone", || others.call(&["CLIENT", "LIST"]).unwrap().lines().count() == 1);
        assert!(slow.rest().len() < 64 << 20, "it was cut");
        // Messages that nobody reads.
        let mut listener = Raw::connect(replica.address);
        listener.send(&command(&["SUBSCRIBE", "news"]));
        assert_eq!(listener.line(), "*3");
        let news = "x".repeat(256 << 10);
        eventually("the slow subscriber gone", || others.call(&["PUBLISH", "news", &news]).unwrap() == ":0");
        // Within the bounds all is as ever, for who reads what he gets.
        let mut reader = Raw::connect(replica.address);
        reader.send(&command(&["GET", "large"]));
        assert_eq!(reader.line(), format!("${}", large.len()));
        assert_eq!(reader.line(), large);
        assert_eq!(others.call(&["PING"]).unwrap(), "+PONG");
    }
    store.stop();
}

#[test]
fn connections_are_bounded_and_closed_when_they_are_idle_as_the_spec_says_now() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{SPEC}  limits: {{maxClients: 3}}\n"), &[]);
    wait_for_parameter(&store, "maxclients", "3");
    for replica in &store.replicas {
        let open = || {
            let mut client = Raw::connect(replica.address);
            client.send(&command(&["PING"]));
            let answer = client.line();
            (client, answer)
        };
        let mut taken = Vec::new();
        eventually("three connections", || {
            let (client, answer) = open();
            if answer == "+PONG" {
                taken.push(client);
            }
            taken.len() == 3
        });
        let (mut refused, answer) = open();
        assert_eq!(answer, "-ERR max number of clients reached");
        assert!(refused.rest().is_empty());
        taken.pop();
        eventually("room again", || open().1 == "+PONG");
    }
    // The running processes take over what the spec says now.
    store.apply(&format!("{SPEC}  limits: {{idleTimeout: 1s}}\n"));
    wait_for_parameter(&store, "timeout", "1");
    wait_for_parameter(&store, "maxclients", "10000");
    let pids: Vec<i32> = store.replicas.iter().map(|replica| replica.pid).collect();
    let replica = follower(&store);
    let mut idle = Raw::connect(replica.address);
    let (mut waits, mut listens) = (replica.client(), replica.client());
    idle.send(&command(&["PING"]));
    assert_eq!(idle.line(), "+PONG");
    let waiting = thread::spawn(move || waits.call(&["BLPOP", "nothing", "5"]).unwrap());
    assert_eq!(listens.call(&["SUBSCRIBE", "news"]).unwrap(), "*3");
    let mut busy = replica.client();
    let begin = Instant::now();
    thread::scope(|scope| {
        let closed = scope.spawn(|| idle.rest());
        while !closed.is_finished() {
            assert_eq!(busy.call(&["PING"]).unwrap(), "+PONG");
            assert!(begin.elapsed() < Duration::from_secs(30), "it is idle and not closed");
        }
        assert!(closed.join().unwrap().is_empty());
    });
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
    assert_eq!(waiting.join().unwrap(), "*-1", "who waits is not idle");
    assert_eq!(busy_publish(&replica), ":1", "nor who listens");
    store.look_again();
    assert_eq!(store.replicas.iter().map(|replica| replica.pid).collect::<Vec<_>>(), pids, "no process was restarted");
    store.stop();
}

fn busy_publish(replica: &Replica) -> String {
    replica.client().call(&["PUBLISH", "news", "x"]).unwrap()
}

/// Writes keys of these numbers with values of so many bytes, many at a time; the numbers that were not OK, with the reply.
fn write(
    connection: &mut Raw,
    name: &str,
    numbers: Range<u32>,
    bytes: usize,
    expire_s: Option<u32>,
) -> Vec<(u32, String)> {
    let mut refused = Vec::new();
    let value = "v".repeat(bytes);
    for begin in numbers.clone().step_by(100) {
        let batch = begin..numbers.end.min(begin + 100);
        let set = |number: u32| {
            let (key, seconds) = (format!("{name}:{number}"), expire_s.unwrap_or(0).to_string());
            let value = format!("{number}:{value}");
            let all = ["SET", &key, &value, "EX", &seconds];
            command(if expire_s.is_some() { &all } else { &all[..3] })
        };
        connection.send(&batch.clone().flat_map(set).collect::<Vec<u8>>());
        refused.extend(batch.map(|number| (number, connection.line())).filter(|(_, reply)| reply != "+OK"));
    }
    refused
}

/// Of the keys of these numbers those that a replica has, each with its own value.
fn there(replica: &Replica, name: &str, numbers: Range<u32>) -> BTreeSet<u32> {
    let mut connection = Raw::connect(replica.address);
    for words in [&["READONLY"][..], &["SESSION", "GUARANTEES", "NONE"], &["CLIENT", "NO-TOUCH", "on"]] {
        connection.send(&command(words));
        assert_eq!(connection.line(), "+OK");
    }
    let mut there = BTreeSet::new();
    for begin in numbers.clone().step_by(100) {
        let batch = begin..numbers.end.min(begin + 100);
        connection.send(&batch.clone().flat_map(|n| command(&["GET", &format!("{name}:{n}")])).collect::<Vec<u8>>());
        for number in batch {
            if connection.line() != "$-1" {
                assert!(connection.line().starts_with(&format!("{number}:v")), "{name}:{number}");
                there.insert(number);
            }
        }
    }
    there
}

fn keys(replica: &Replica) -> u32 {
    let mut client = replica.client();
    assert_eq!(client.call(&["READONLY"]).unwrap(), "+OK");
    client.call(&["DBSIZE"]).unwrap()[1..].parse().unwrap()
}

fn resident_bytes(replica: &Replica) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", replica.pid)).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    kib.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

#[test]
fn without_eviction_what_needs_memory_is_refused_until_there_is_some_again() {
    let root = tempfile::tempdir().unwrap();
    let spec = format!("{SPEC}  durability: Memory\n  logRetention: {{bytes: 1Mi}}\n  limits: {{maxMemory: 64Mi}}\n");
    let mut store = Store::up(root.path(), &spec, &[]);
    wait_for_parameter(&store, "maxmemory", &(64 << 20).to_string());
    let leader = store.replica(&store.leader()).clone();
    let mut connection = Raw::connect(follower(&store).address);
    let refused = write(&mut connection, "k", 0..100_000, 900, None);
    assert!(refused.len() > 20_000, "{} of 100,000 KiB were refused", refused.len());
    assert!(refused.iter().all(|(_, reply)| reply == OOM), "{:?}", refused[0]);
    assert_eq!(metric(&leader, "trireme_out_of_memory_total"), refused.len() as u64);
    assert_eq!(metric(&leader, "trireme_evicted_keys_total"), 0);
    eventually("all have the same", || store.replicas.iter().all(|r| keys(r) == 100_000 - refused.len() as u32));
    // Reads go on; and what is removed makes room at once, though the process keeps it.
    assert_eq!(there(&leader, "k", 0..1_000).len(), 1_000);
    let mut client = leader.client();
    for number in 0..20_000 {
        assert_eq!(client.call(&["DEL", &format!("k:{number}")]).unwrap(), ":1");
    }
    eventually("room again", || write(&mut connection, "more", 0..10_000, 900, None).is_empty());
    store.wait_whole();
    store.stop();
}

/// Keys that are written through a kill, at most: fewer than the store can hold.
const WRITTEN_MAX: u32 = 15_000;

/// A store whose leader evicts, under load while it is killed. Client writes keys `name` through a follower, before and after; those that were written last
/// are all there.
struct Evicting {
    _root: tempfile::TempDir,
    store: Store,
    client: Replica,
}

/// Tells a thread to stop, also where the test fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Evicting {
    fn up(eviction: &str) -> Evicting {
        let root = tempfile::tempdir().unwrap();
        let spec = format!(
            "{SPEC}  durability: Memory\n  logRetention: {{bytes: 1Mi}}\n  limits: {{maxMemory: 64Mi, eviction: {eviction}}}\n"
        );
        let store = Store::up(root.path(), &spec, &[]);
        let client = follower(&store);
        Evicting { _root: root, store, client }
    }

    /// Writes more keys in batches, kills the leader under way, and goes on until the next one has evicted, too. How many were written: all were OK.
    fn write_through_a_kill(&mut self, name: &str, expire_s: Option<u32>) -> (u32, Replica) {
        let (written, stop, address) = (AtomicU32::new(0), AtomicBool::new(false), self.client.address);
        let leader = self.store.leader();
        let (written, stop) = (&written, &stop);
        let store = &mut self.store;
        let next = thread::scope(|scope| {
            let _stops = Stops(stop);
            scope.spawn(move || {
                let mut connection = Raw::connect(address);
                while !stop.load(Relaxed) && written.load(Relaxed) < WRITTEN_MAX {
                    let next = written.load(Relaxed);
                    let refused = write(&mut connection, name, next..next + 100, 900, expire_s);
                    assert!(refused.is_empty(), "{:?}", refused[0]);
                    written.store(next + 100, Relaxed);
                }
            });
            let more = |by: u32| {
                let before = written.load(Relaxed);
                eventually("more is written", || written.load(Relaxed) >= before + by);
            };
            more(2_000);
            store.kill(&leader);
            more(2_000);
            store.look_again();
            let next = store.replica(&store.leader()).clone();
            assert_ne!(next.name, leader);
            eventually("the next leader evicts", || metric(&next, "trireme_evicted_keys_total") > 0);
            next
        });
        (written.load(Relaxed), next)
    }
}

#[test]
fn a_leader_that_evicts_what_nobody_uses_dies_and_nothing_else_is_lost() {
    let mut evicting = Evicting::up("AllKeysLru");
    wait_for_parameter(&evicting.store, "maxmemory-policy", "allkeys-lru");
    let leader = evicting.store.replica(&evicting.store.leader()).clone();
    let mut connection = Raw::connect(evicting.client.address);
    const OLD: u32 = 80_000;
    assert!(write(&mut connection, "old", 0..OLD, 900, None).is_empty());
    // Everything that is missing was evicted and counted, and followers have evicted nothing by themselves.
    eventually("all have the same", || {
        let evicted = metric(&leader, "trireme_evicted_keys_total") as u32;
        evicted > 0 && evicting.store.replicas.iter().all(|r| keys(r) == OLD - evicted)
    });
    for replica in evicting.store.replicas.iter().filter(|r| r.name != leader.name) {
        assert_eq!(metric(replica, "trireme_evicted_keys_total"), 0, "{}", replica.name);
    }
    let before = there(&leader, "old", 0..OLD);
    assert!(before.len() > 2 * WRITTEN_MAX as usize, "{}", before.len());
    let (written, next) = evicting.write_through_a_kill("new", None);
    // All that was acknowledged before, while and after it died is there, but for what nobody has used for longest.
    assert_eq!(there(&next, "new", 0..written).len(), written as usize);
    let left = there(&next, "old", 0..OLD);
    assert!(left.is_subset(&before), "what was evicted has come back");
    let limit = 64 << 20;
    let resident = resident_bytes(&next);
    assert!(resident < limit * 3 / 2, "{resident} bytes of {limit}");
    assert_healed(&evicting.store, &[]);
    evicting.store.stop();
}

#[test]
fn a_leader_that_evicts_what_expires_dies_and_nothing_else_is_lost() {
    let mut evicting = Evicting::up("VolatileTtl");
    wait_for_parameter(&evicting.store, "maxmemory-policy", "volatile-ttl");
    let leader = evicting.store.replica(&evicting.store.leader()).clone();
    let mut connection = Raw::connect(evicting.client.address);
    assert!(write(&mut connection, "for ever", 0..10_000, 900, None).is_empty());
    assert!(write(&mut connection, "passing", 0..60_000, 900, Some(5_000)).is_empty());
    assert!(metric(&leader, "trireme_evicted_keys_total") > 0);
    let (written, next) = evicting.write_through_a_kill("more", None);
    for replica in [&next, &evicting.client] {
        eventually("all is applied", || there(replica, "more", 0..written).len() == written as usize);
        assert_eq!(there(replica, "for ever", 0..10_000).len(), 10_000, "{}", replica.name);
    }
    assert_healed(&evicting.store, &[]);
    evicting.store.stop();
}
