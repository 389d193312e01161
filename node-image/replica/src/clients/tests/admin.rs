//! Commands about a replica and its clients: CLIENT KILL, LIST and PAUSE, CONFIG SET, SLOWLOG, LATENCY, ROLE, DEBUG SLEEP.

use std::sync::atomic::{AtomicU64, Ordering};

use trireme_proto::topology::ClientLimits;

use crate::{io::Input, replica::Replica};

use super::rig::Rig;

/// Three replicas, of which the first leads, with two clients of it and one of the second.
fn rig() -> Rig {
    let mut rig = Rig::serving(3, 2);
    [(1, 8), (1, 9), (2, 7)].into_iter().for_each(|(id, client)| rig.open(id, client));
    for (client, address) in [(8, "10.0.0.8:80"), (9, "10.0.0.9:90")] {
        rig.step(1, Input::ClientFrom { client, address, local_address: "10.0.0.1:6379" });
    }
    rig
}

fn closed(rig: &Rig, id: u32, client: u64) -> bool {
    rig.nodes[&id].closed.contains(&client)
}

#[test]
fn clients_are_killed_by_what_they_are() {
    for (command, killed, reply) in [
        ("CLIENT KILL 10.0.0.9:90", &[9][..], "+OK"),
        ("CLIENT KILL 10.0.0.8:80", &[8], "+OK"),
        ("CLIENT KILL 10.0.0.7:70", &[], "-ERR No such client"),
        ("CLIENT KILL ID 9", &[9], ":1"),
        ("CLIENT KILL ID 8", &[], ":0"),
        ("CLIENT KILL ID 8 SKIPME no", &[8], ":1"),
        ("CLIENT KILL ADDR 10.0.0.9:90 TYPE normal USER default", &[9], ":1"),
        ("CLIENT KILL ADDR 10.0.0.9:90 ID 8", &[], ":0"),
        ("CLIENT KILL LADDR 10.0.0.1:6379", &[9], ":1"),
        ("CLIENT KILL LADDR 10.0.0.1:6379 SKIPME NO", &[8, 9], ":2"),
        ("CLIENT KILL TYPE pubsub", &[], ":0"),
        ("CLIENT KILL TYPE replica", &[], ":0"),
    ] {
        let mut rig = rig();
        assert_eq!(rig.ask(1, 8, command), reply, "{command}");
        for client in [8, 9] {
            assert_eq!(closed(&rig, 1, client), killed.contains(&client), "{command}: {client}");
            let goes_on = if killed.contains(&client) { "" } else { "+PONG" };
            assert_eq!(rig.ask(1, client, "PING"), goes_on, "{command}: {client}");
        }
        assert_eq!(rig.ask(2, 7, "PING"), "+PONG", "another replica's clients are its own");
    }
}

#[test]
fn all_clients_of_a_replica_are_listed() {
    let mut rig = rig();
    rig.ask(1, 9, "CLIENT SETNAME nine");
    ["WATCH k", "MULTI", "SET k v"].iter().for_each(|command| drop(rig.ask(1, 9, command)));
    rig.run(3_000);
    let listed = rig.ask(1, 8, "CLIENT LIST");
    let lines: Vec<&str> = listed.lines().filter(|line| line.contains("addr=")).collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(lines[0].contains("id=8 addr=10.0.0.8:80 laddr=10.0.0.1:6379") && lines[0].contains("cmd=client|list"));
    assert!(lines[1].contains("name=nine age=3 idle=3 flags=x") && lines[1].contains("multi=1 watch=1"), "{listed}");
    assert!(
        rig.ask(1, 8, "CLIENT LIST ID 9 77").contains("id=9 ") && !rig.ask(1, 8, "CLIENT LIST ID 9").contains("id=8 ")
    );
    assert!(rig.ask(1, 9, "EXEC").ends_with("+OK"));
    assert!(rig.ask(1, 9, "CLIENT INFO").contains("cmd=client|info"));
}

#[test]
fn writes_are_held_back_and_then_done_in_their_order() {
    let mut rig = rig();
    assert_eq!(rig.ask(1, 8, "CLIENT PAUSE 100000 WRITE"), "+OK");
    for command in ["GET a", "SET a 1", "GET a"] {
        rig.say(1, 9, command);
    }
    // Longer than a command may wait for a leader.
    rig.run(12_000);
    assert_eq!(rig.heard(1, 9), "$-1", "the write, and what is behind it, waits");
    assert_eq!(rig.ask(1, 8, "GET a"), "$-1");
    assert_eq!(rig.ask(2, 7, "SET b 1"), "+OK", "it is the clients of this replica that are held back");
    // A shorter one changes nothing.
    assert_eq!(rig.ask(1, 8, "CLIENT PAUSE 1 WRITE"), "+OK");
    assert_eq!(rig.heard(1, 9), "");
    assert_eq!(rig.ask(1, 8, "CLIENT UNPAUSE"), "+OK");
    assert_eq!(rig.heard(1, 9), "+OK $1 1");
}

#[test]
fn everything_but_client_is_held_back_until_the_time_is_over() {
    let mut rig = rig();
    assert_eq!(rig.ask(1, 8, "CLIENT PAUSE 500"), "+OK");
    assert_eq!(rig.ask(1, 9, "PING"), "");
    assert_eq!(rig.ask(1, 8, "CLIENT ID"), ":8");
    rig.run(400);
    assert_eq!(rig.heard(1, 9), "");
    rig.run(100);
    assert_eq!(rig.heard(1, 9), "+PONG");
    // A transaction waits as a whole, where it writes.
    assert_eq!(rig.ask(1, 8, "CLIENT PAUSE 500 write"), "+OK");
    assert_eq!(["MULTI", "SET a 1", "EXEC"].map(|command| rig.ask(1, 9, command)), ["+OK", "+QUEUED", ""]);
    assert_eq!(["MULTI", "GET a", "EXEC"].map(|command| rig.ask(1, 8, command)), ["+OK", "+QUEUED", "*1 $-1"]);
    rig.run(500);
    assert_eq!(rig.heard(1, 9), "*1 +OK");
}

#[test]
fn a_client_sleeps_and_nobody_else() {
    let mut rig = rig();
    assert_eq!(rig.ask(1, 9, "DEBUG SLEEP 0.5"), "");
    rig.say(1, 9, "PING");
    assert_eq!(rig.ask(1, 8, "SET a 1"), "+OK");
    rig.run(400);
    assert_eq!(rig.heard(1, 9), "");
    rig.run(100);
    assert_eq!(rig.heard(1, 9), "+OK +PONG");
    for wrong in
        ["DEBUG SLEEP x", "DEBUG SLEEP -1", "DEBUG SLEEP 4000", "DEBUG SLEEP", "DEBUG SEGFAULT", "DEBUG OBJECT a"]
    {
        assert!(rig.ask(1, 9, wrong).starts_with("-ERR"), "{wrong}");
    }
}

#[test]
fn parameters_are_set_on_one_replica_and_given_back_there() {
    let mut rig = rig();
    assert_eq!(rig.ask(1, 8, "CONFIG SET hz 42 slowlog-max-len 9"), "+OK");
    assert_eq!(rig.ask(1, 9, "CONFIG GET hz"), "*2 $2 hz $2 42");
    assert_eq!(rig.ask(2, 7, "CONFIG GET hz"), "*2 $2 hz $2 10");
    assert!(rig.ask(1, 9, "CONFIG SET requirepass x").contains("can't set immutable config"));
    assert!(rig.ask(1, 9, "CONFIG SET hz 1 databases 4").starts_with("-ERR CONFIG SET failed"));
    assert_eq!(rig.ask(1, 9, "CONFIG GET hz"), "*2 $2 hz $2 42");
    ["MULTI", "CONFIG SET hz 1"].iter().for_each(|command| drop(rig.ask(1, 8, command)));
    assert!(rig.ask(1, 8, "EXEC").contains("cannot be part of a transaction"));
    assert_eq!(rig.ask(1, 9, "CONFIG GET hz"), "*2 $2 hz $2 42");
}

/// Every reading of it is so many microseconds after the one before.
fn step_by(replica: &mut Replica, us: u64) {
    let now = AtomicU64::new(0);
    replica.set_stopwatch(Box::new(move || now.fetch_add(us, Ordering::Relaxed)));
}

#[test]
fn what_needs_memory_is_refused_where_there_is_too_little() {
    let mut rig = rig();
    rig.decide(|record| {
        record.settings.limits = Some(ClientLimits { memory_bytes: 1_000_000, clients: 50, ..ClientLimits::default() });
    });
    assert_eq!(rig.ask(1, 8, "CONFIG GET maxclients maxmemory"), "*4 $10 maxclients $2 50 $9 maxmemory $7 1000000");
    rig.step(1, Input::Memory(1_000_000));
    assert_eq!(rig.ask(1, 8, "SET a 1"), "+OK");
    // What is kept for values to come does not count, so that it is more than one too many.
    rig.step(1, Input::Memory(1_100_000));
    let oom = "-OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(rig.ask(1, 8, "SET a 2"), oom);
    // What the leader has counts, wherever the client is.
    assert_eq!(rig.ask(2, 7, "RPUSH l a"), oom);
    assert_eq!(["GET a", "DEL a"].map(|command| rig.ask(1, 8, command)), ["$1 1", ":1"]);
    assert_eq!(
        ["MULTI", "SET a 1", "EXEC"].map(|command| rig.ask(1, 8, command)),
        [
            "+OK",
            "+QUEUED",
            "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'."
        ]
    );
    assert_eq!(["MULTI", "DEL a", "EXEC"].map(|command| rig.ask(1, 8, command)), ["+OK", "+QUEUED", "*1 :0"]);
    // Here a person knows better, until the record says something else.
    assert_eq!(rig.ask(1, 8, "CONFIG SET maxmemory 0 maxclients 7"), "+OK");
    assert_eq!(rig.ask(1, 8, "SET a 1"), "+OK");
    rig.decide(|record| record.settings.limits.as_mut().unwrap().memory_bytes = 2_000_000);
    assert_eq!(rig.ask(1, 8, "CONFIG GET maxclients maxmemory"), "*4 $10 maxclients $1 7 $9 maxmemory $7 2000000");
    rig.decide(|record| record.settings.limits = None);
    assert_eq!(rig.ask(1, 8, "CONFIG GET maxclients maxmemory"), "*4 $10 maxclients $5 10000 $9 maxmemory $1 0");
    assert!(rig.ask(1, 8, "INFO memory").contains("used_memory_rss:1100000 "));
}

#[test]
fn a_client_that_says_nothing_for_too_long_is_closed() {
    let mut rig = rig();
    rig.ask(1, 8, "CONFIG SET timeout 3");
    rig.say(1, 9, "BLPOP nothing 0");
    for _ in 0..3 {
        rig.run(2_000);
        assert_eq!(rig.ask(1, 8, "PING"), "+PONG");
    }
    assert!(!closed(&rig, 1, 9), "it waits for an answer");
    rig.run(5_000);
    assert!(closed(&rig, 1, 8) && !closed(&rig, 1, 9));
}

#[test]
fn what_takes_long_is_in_the_slow_log() {
    let mut rig = rig();
    rig.ask(1, 8, "CLIENT SETNAME me");
    assert_eq!(rig.ask(1, 8, "SLOWLOG GET"), "*0");
    step_by(&mut rig.nodes.get_mut(&1).unwrap().replica, 20_000);
    rig.ask(1, 8, "RPUSH l a b");
    assert_eq!(rig.ask(1, 8, "SLOWLOG LEN"), ":0", "a fast command is not measured");
    rig.ask(1, 8, "LRANGE l 0 -1");
    let now_s = rig.now_us / 1_000_000;
    let told = rig.ask(1, 8, "SLOWLOG GET");
    let expected = "*4 $6 LRANGE $1 l $1 0 $2 -1 $11 10.0.0.8:80 $2 me";
    assert!(told.starts_with("*1 *6 :0 :") && told.ends_with(&format!(":20000 {expected}")), "{told} at {now_s}");
    // Another replica's client, by that replica's name.
    rig.ask(2, 7, "SORT l ALPHA STORE m");
    let told = rig.ask(1, 8, "SLOWLOG GET 1");
    assert!(told.contains("$4 SORT") && told.starts_with("*1 *6 :1 "), "{told}");
    // A transaction is one.
    ["MULTI", "LRANGE l 0 -1", "EXEC"].iter().for_each(|command| drop(rig.ask(1, 8, command)));
    assert!(rig.ask(1, 8, "SLOWLOG GET -1").starts_with("*3 *6 :2 "));
    rig.ask(1, 8, "CONFIG SET slowlog-log-slower-than 30000");
    rig.ask(1, 8, "LRANGE l 0 -1");
    assert_eq!(rig.ask(1, 8, "SLOWLOG LEN"), ":3");
    // Below a millisecond everything is measured.
    rig.ask(1, 8, "CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 2");
    rig.ask(1, 8, "GET a");
    assert_eq!(rig.ask(1, 8, "SLOWLOG LEN"), ":2");
    rig.ask(1, 8, "CONFIG SET slowlog-log-slower-than -1");
    assert_eq!(rig.ask(1, 8, "SLOWLOG RESET"), "+OK");
    rig.ask(1, 8, "LRANGE l 0 -1");
    assert_eq!(rig.ask(1, 8, "SLOWLOG LEN"), ":0");
    for wrong in ["SLOWLOG GET x", "SLOWLOG GET -2", "SLOWLOG GET 1 2", "SLOWLOG NOTHING"] {
        assert!(rig.ask(1, 8, wrong).starts_with("-ERR"), "{wrong}");
    }
}

#[test]
fn long_arguments_are_cut_in_the_slow_log() {
    let mut rig = rig();
    step_by(&mut rig.nodes.get_mut(&1).unwrap().replica, 20_000);
    let keys: Vec<String> = (0..40).map(|key| format!("{key}{}", "x".repeat(200))).collect();
    rig.ask(1, 8, &format!("SINTER {}", keys.join(" ")));
    let told = rig.ask(1, 8, "SLOWLOG GET");
    assert!(told.contains("*32 $6 SINTER") && told.contains("... (73 more bytes)"), "{told}");
    assert!(told.contains("... (10 more arguments)"), "{told}");
}

#[test]
fn latencies_are_sampled_above_their_threshold() {
    let mut rig = rig();
    step_by(&mut rig.nodes.get_mut(&1).unwrap().replica, 20_000);
    rig.ask(1, 8, "LRANGE l 0 -1");
    assert_eq!(rig.ask(1, 8, "LATENCY LATEST"), "*0");
    assert_eq!(rig.ask(1, 8, "LATENCY HISTOGRAM"), "*2 $6 lrange *4 $5 calls :1 $14 histogram_usec *2 :32768 :1");
    assert_eq!(rig.ask(1, 8, "LATENCY HISTOGRAM get"), "*0");
    rig.ask(1, 8, "CONFIG SET latency-monitor-threshold 10");
    rig.ask(1, 8, "LRANGE l 0 -1");
    rig.run(2_000);
    rig.ask(1, 8, "LRANGE l 0 -1");
    let latest = rig.ask(1, 8, "LATENCY LATEST");
    assert!(latest.starts_with("*1 *4 $7 command :") && latest.ends_with(":20 :20"), "{latest}");
    assert!(rig.ask(1, 8, "LATENCY HISTORY command").starts_with("*2 *2 :"));
    assert_eq!(rig.ask(1, 8, "LATENCY HISTORY nothing"), "*0");
    assert!(rig.ask(1, 8, "LATENCY GRAPH command").contains("longest 20 ms"));
    assert_eq!(rig.ask(1, 8, "LATENCY GRAPH nothing"), "-ERR No samples available for event 'nothing'");
    assert_eq!(rig.ask(1, 8, "LATENCY RESET nothing"), ":0");
    assert_eq!(rig.ask(1, 8, "LATENCY RESET"), ":1");
    assert_eq!(rig.ask(1, 8, "LATENCY LATEST"), "*0");
    rig.ask(1, 8, "CONFIG RESETSTAT");
    assert_eq!(rig.ask(1, 8, "LATENCY HISTOGRAM"), "*0");
}

#[test]
fn a_replica_says_what_it_is() {
    let mut rig = rig();
    rig.decide(|record| record.replicas[0].client_address = "10.0.0.1:6379".into());
    let role = rig.ask(1, 8, "ROLE");
    assert!(role.starts_with("*3 $6 master :") && role.contains(" *2 *3 "), "{role}");
    let role = rig.ask(2, 7, "ROLE");
    assert!(role.starts_with("*5 $5 slave $8 10.0.0.1 :6379 $9 connected :"), "{role}");
    let (wall_s, saved) = (rig.now_of(1).wall_ms / 1_000, rig.ask(1, 8, "LASTSAVE"));
    let saved: u64 = saved[1..].parse().expect("seconds");
    assert!(saved <= wall_s && saved + 60 > wall_s, "{saved} is not long before {wall_s}");
    let mut rig = Rig::peers(3, 2, 2);
    rig.open(1, 8);
    assert!(rig.ask(1, 8, "ROLE").starts_with("*3 $6 master :"));
}
