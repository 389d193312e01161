//! What clients see, in a small world of replicas: [`rig`].

mod admin;
mod blocking;
mod events;
mod evict;
mod expiry;
mod fetch;
mod lag;
mod probe;
mod pubsub;
pub(crate) mod rig;
mod room;
mod sessions;

use super::Limits;
use crate::io::{ClientId, Input};
use rig::Rig;

#[test]
fn a_read_behind_an_open_request_is_answered_by_a_leader_that_was_a_follower() {
    let mut rig = Rig::serving(3, 2);
    rig.open(2, 7);
    rig.open(1, 8);
    rig.say(1, 8, "SET b 1");
    rig.run(60);
    rig.isolate(1);
    rig.say(2, 7, "SET a 1");
    rig.run(2);
    rig.nodes.get_mut(&1).unwrap().running = false;
    rig.fail_over(2);
    while !rig.serves(2) {
        rig.turn();
    }
    // The write was asked again and is held; the read after it takes its place behind.
    rig.say(2, 7, "GET b");
    rig.run(100);
    assert_eq!(rig.heard(2, 7), "+OK $1 1");
}

#[test]
fn what_is_behind_a_wait_for_copies_is_answered_behind_it() {
    let mut rig = Rig::serving(2, 1);
    rig.open(1, 8);
    rig.say(1, 8, "SET a 1");
    rig.say(1, 8, "WAIT 5 15000");
    rig.say(1, 8, "GET a");
    rig.run(10_500);
    assert_eq!(rig.heard(1, 8), "+OK");
    rig.run(5_000);
    assert_eq!(rig.heard(1, 8), ":1 $1 1");
}

#[test]
fn a_transaction_is_refused_as_a_whole() {
    let mut rig = Rig::serving(2, 2);
    rig.open(1, 8);
    rig.isolate(2);
    rig.run(300); // The lease runs out: reads wait.
    rig.say(1, 8, "GET x");
    rig.say(1, 8, "MULTI");
    rig.run(51);
    rig.say(1, 8, "SET a 1");
    rig.say(1, 8, "EXEC");
    rig.run(9_960);
    rig.connect(1, 2);
    rig.run(200);
    let heard = rig.heard(1, 8);
    assert!(heard.starts_with("-NOREPLICAS") && !heard.contains("without MULTI"), "{heard}");
    rig.say(1, 8, "EXISTS a");
    rig.run(10);
    let expected = if heard.ends_with("+OK +QUEUED *1 +OK") { ":1" } else { ":0" };
    assert_eq!(rig.heard(1, 8), expected, "{heard}");
}

#[test]
fn a_late_reply_fails_its_own_client_and_no_other() {
    let mut rig = Rig::serving(3, 3);
    [(2, 7), (1, 8), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.nodes.get_mut(&3).unwrap().disk = false;
    rig.say(1, 8, "SET a 1");
    rig.run(9_900);
    rig.say(1, 8, "SET b 1");
    rig.say(1, 9, "SET c 1");
    rig.say(2, 7, "SET d 1");
    rig.run(200);
    assert_eq!(rig.heard(1, 8).matches("-INDOUBT").count(), 2, "one client's replies fail from the late one on");
    rig.nodes.get_mut(&3).unwrap().disk = true;
    rig.run(100);
    assert_eq!([rig.heard(1, 9), rig.heard(2, 7)], ["+OK", "+OK"]);
}

#[test]
fn nothing_is_executed_after_quit() {
    let mut rig = Rig::serving(2, 1);
    rig.open(1, 8);
    rig.say(1, 8, "WAIT 1 0"); // Has its copy at once.
    rig.say(1, 8, "QUIT");
    rig.say(1, 8, "SET a 1");
    rig.step(1, Input::LastWords { client: 8, words: b"" });
    rig.run(5);
    assert_eq!(rig.heard(1, 8), ":1 +OK");
    assert!(rig.nodes[&1].closed.contains(&8));
    // The same where all of it has to wait: behind a WAIT that is answered after a while.
    rig.open(1, 9);
    ["WAIT 5 500", "QUIT", "SET a 1"].iter().for_each(|command| rig.say(1, 9, command));
    rig.run(1_000);
    assert_eq!(rig.heard(1, 9), ":1 +OK");
    assert!(rig.nodes[&1].closed.contains(&9));
    rig.open(1, 10);
    rig.say(1, 10, "EXISTS a");
    rig.run(5);
    assert_eq!(rig.heard(1, 10), ":0");
}

#[test]
fn a_client_that_waits_for_copies_without_end_is_given_up_when_its_connection_ends() {
    let mut rig = Rig::serving(2, 1);
    [8, 9].into_iter().for_each(|client| rig.open(1, client));
    rig.say(1, 8, "WAIT 5 0");
    rig.say(1, 9, "WAIT 5 0");
    rig.say(1, 9, "WAIT 6 0");
    for client in [8, 9] {
        rig.step(1, Input::LastWords { client, words: b"-ERR\r\n" });
    }
    rig.run(10_100);
    assert_eq!(rig.heard(1, 8), ":1 -ERR");
    rig.run(10_100);
    assert_eq!(rig.heard(1, 9), ":1 :1 -ERR");
    assert_eq!(rig.nodes[&1].closed.len(), 2);
}

#[test]
fn a_client_that_saw_what_was_cut_may_watch() {
    let mut rig = Rig::serving(2, 2);
    rig.open(1, 8);
    rig.say(1, 8, "SET b 1");
    rig.run(5);
    rig.cut.insert((1, 2));
    (0..5).for_each(|_| rig.say(1, 8, "INCR n"));
    rig.run(5);
    rig.isolate(1);
    rig.fail_over(2);
    rig.connect(1, 2);
    rig.run(300);
    rig.heard(1, 8);
    rig.say(1, 8, "WATCH b");
    rig.run(5);
    assert_eq!(rig.heard(1, 8), "+OK");
}

/// Watches a key at one replica, lets something happen, and says whether EXEC there finds it changed.
fn changes(rig: &mut Rig, at: u32, client: ClientId, key: &str, happens: impl FnOnce(&mut Rig)) -> bool {
    assert_eq!(rig.ask(at, client, &format!("WATCH {key}")), "+OK");
    happens(rig);
    assert_eq!(rig.ask(at, client, "MULTI"), "+OK");
    assert_eq!(rig.ask(at, client, "PING"), "+QUEUED");
    rig.say(at, client, "EXEC");
    rig.run(100);
    match &*rig.heard(at, client) {
        "*-1" => true,
        "*1 +PONG" => false,
        other => panic!("{other}"),
    }
}

#[test]
fn a_watched_key_that_was_not_there_may_come_and_go() {
    for at in [1, 2] {
        let mut rig = Rig::serving(3, 2);
        rig.open(at, 7);
        rig.open(3, 8);
        let mut check = |key: &str, commands: &[&str], changed: bool| {
            let happens = |rig: &mut Rig| {
                for command in commands {
                    rig.say(3, 8, command);
                    rig.run(30);
                }
                rig.heard(3, 8);
            };
            assert_eq!(changes(&mut rig, at, 7, key, happens), changed, "at {at}: {commands:?}");
        };
        check("k", &[], false);
        check("k", &["DEL k", "GET k"], false);
        check("k", &["SET k 1", "DEL k"], true);
        check("k", &["SET k 1"], true);
        check("k", &["DEL k", "SET k 1"], true);
        check("k", &["DEL k"], true);
        check("k", &[], false);
        // The same slot; another type, whose last element goes; a time that is over, and one that goes on being.
        check("k", &["SET {k}2 1", "DEL {k}2"], false);
        check("k", &["RPUSH k 1", "LPOP k"], true);
        check("k", &["SET k 1 PX 1"], true);
        check("k", &["SET k 1 PX 1", "GET k", "GET k", "GET k"], true);
        check("k", &["HSET k f v", "HDEL k f"], true);
        check("k", &["MSET k 1 {k}2 1", "FLUSHALL"], true);
        check("k", &["FLUSHALL"], false);
    }
}

#[test]
fn a_watched_key_comes_and_goes_under_several_leaders() {
    let mut rig = Rig::serving(3, 2);
    rig.open(3, 7);
    rig.open(2, 8);
    let come_and_go = |rig: &mut Rig| {
        rig.say(2, 8, "SET k 1");
        rig.say(2, 8, "DEL k");
        rig.run(60);
        assert_eq!(rig.heard(2, 8), "+OK :1");
    };
    let gone = changes(&mut rig, 3, 7, "k", |rig| {
        come_and_go(rig);
        rig.isolate(1);
        rig.fail_over(2);
        rig.run(300);
    });
    assert!(gone, "who leads now has joined what has gone");
    assert!(!changes(&mut rig, 3, 7, "k", |rig| rig.run(300)));
    assert!(!changes(&mut rig, 3, 7, "k", |rig| {
        rig.connect(1, 2);
        rig.connect(1, 3);
        rig.fail_over(1);
        rig.run(300);
    }));
}

#[test]
fn what_waits_for_one_client_is_bounded_in_bytes() {
    let mut rig = Rig::serving(2, 2);
    [(1, 8), (2, 7)].into_iter().for_each(|(id, client)| rig.open(id, client));
    let long = "x".repeat(100_000);
    rig.say(1, 8, &format!("SET long {long}"));
    rig.run(60);
    assert_eq!(rig.heard(1, 8), "+OK");
    // Its replies are held; the shell is told to read no more, long before there are as many commands as may wait.
    rig.nodes.get_mut(&2).unwrap().disk = false;
    rig.say(1, 8, "SET a 1");
    (0..20).for_each(|_| rig.say(1, 8, "GET long"));
    rig.say(2, 7, "SET b 1");
    (0..40).for_each(|_| rig.say(2, 7, &format!("ECHO {long}")));
    rig.run(2);
    for (id, client, paused) in [(1, 8, false), (2, 7, true)] {
        let node = rig.nodes.get_mut(&id).unwrap();
        assert_eq!(node.paused.contains(&client), paused, "client {client}");
        let client = node.replica.clients.get_mut(client).unwrap();
        assert!(client.is_backed_up());
        assert!(!client.waiting.is_empty());
        assert!(client.out.len() < 1_200_000);
    }
    rig.nodes.get_mut(&2).unwrap().disk = true;
    rig.run(60);
    assert_eq!(rig.heard(1, 8).matches("$100000 x").count(), 20);
    assert_eq!(rig.heard(2, 7).matches("$100000 x").count(), 40);
    assert!(rig.nodes[&2].paused.is_empty());
}

#[test]
fn what_no_entry_can_hold_is_refused_and_undone() {
    let mut rig = Rig::serving(2, 2);
    [(1, 8), (2, 7)].into_iter().for_each(|(id, client)| rig.open(id, client));
    for node in rig.nodes.values_mut() {
        node.replica.clients.limits = Limits { unit_bytes: 1_000, entry_bytes: 1_200 };
    }
    let (long, half) = ("x".repeat(1_001), "x".repeat(600));
    for (id, client) in [(1, 8), (2, 7)] {
        let mut ask = |command: &str| {
            rig.say(id, client, command);
            rig.run(5);
            rig.heard(id, client)
        };
        assert!(ask(&format!("SET a {long}")).starts_with("-ERR a command may have 1000 bytes"));
        ask("MULTI");
        assert_eq!(ask(&format!("SET a {half}")), "+QUEUED");
        assert!(ask(&format!("SET b {half}")).starts_with("-ERR a transaction may have 1000 bytes"));
        assert_eq!(ask("SET c 1"), "+QUEUED");
        assert!(ask("EXEC").starts_with("-EXECABORT"));
        assert_eq!(ask(&format!("SET s {half}")), "+OK");
        ["MULTI", "COPY s t", "COPY s u", "COPY s v"].iter().for_each(|command| drop(ask(command)));
        assert!(ask("EXEC").starts_with("-ERR its changes have"));
        ["MULTI", "INCR n", "GET s", "GET s"].iter().for_each(|command| drop(ask(command)));
        // Where the client is on the leader, the reply is not in the entry.
        assert_eq!(ask("EXEC").starts_with("-ERR its changes have"), id == 2);
        assert_eq!(ask("EXISTS a b c t u v n"), if id == 2 { ":0" } else { ":1" });
        assert_eq!(ask("SET a 1"), "+OK");
        assert_eq!(ask("DEL a s"), ":2");
        ask("DEL n");
    }
    rig.run(100);
    let digests: Vec<u64> = rig.nodes.values().map(|node| node.replica.engine.digest_total()).collect();
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn connections_that_end_while_their_requests_wait_are_forgotten_after_them() {
    let mut rig = Rig::serving(3, 2);
    let remembered = |rig: &Rig| (20..40).filter(|c| rig.nodes[&1].replica.requests.remembers(12, 1 << 32 | c)).count();
    let hand_over = |rig: &mut Rig, to: u32| {
        rig.record.version += 1;
        rig.record.handover = to;
        rig.tell();
        rig.run(5);
    };
    rig.isolate(3);
    hand_over(&mut rig, 2);
    for client in 20..40 {
        rig.open(2, client);
        rig.say(2, client, "INCR n");
        rig.run(1);
        rig.step(2, Input::ClientClosed(client));
    }
    hand_over(&mut rig, 0);
    rig.run(200);
    rig.open(1, 8);
    rig.say(1, 8, "GET n");
    rig.run(5);
    assert_eq!(rig.heard(1, 8), "$2 20");
    assert_eq!(remembered(&rig), 20, "what was cut off the third one's log may still come");
    rig.connect(3, 1);
    rig.connect(3, 2);
    rig.run(200);
    assert_eq!(remembered(&rig), 0);
}

#[test]
fn a_client_that_saw_what_was_lost_may_watch_where_its_replica_leads_now() {
    let mut rig = Rig::serving(3, 1);
    rig.open(3, 7);
    // Its write's reply has come, and the entry has not.
    rig.nodes.get_mut(&3).unwrap().replica.clients.get_mut(7).unwrap().session_seq = 100;
    rig.isolate(1);
    rig.nodes.get_mut(&1).unwrap().running = false;
    rig.record.generation = 2;
    rig.fail_over(3);
    rig.run(500);
    rig.say(3, 7, "WATCH a");
    rig.run(60);
    assert_eq!(rig.heard(3, 7), "+OK");
}

#[test]
fn a_wait_for_copies_knows_the_writes_before_it() {
    let mut rig = Rig::serving(3, 1);
    rig.open(2, 7);
    rig.isolate(1);
    rig.say(2, 7, "SET a 1");
    rig.say(2, 7, "WAIT 2 0");
    rig.nodes.get_mut(&1).unwrap().running = false;
    rig.fail_over(2);
    rig.run(300);
    assert_eq!(rig.heard(2, 7), "+OK", "the third copy is missing");
    rig.nodes.get_mut(&1).unwrap().running = true;
    rig.tell();
    rig.connect(1, 2);
    rig.connect(1, 3);
    rig.run(300);
    assert_eq!(rig.heard(2, 7), ":2");
}

#[test]
fn a_leader_that_leaves_lets_its_clients_go_when_they_have_their_answers() {
    let mut rig = Rig::serving(3, 2);
    [7, 8, 9].into_iter().for_each(|client| rig.open(1, client));
    rig.step(1, Input::Shutdown);
    rig.run(20);
    rig.record.version += 1;
    rig.record.handover = 2;
    rig.tell();
    rig.run(5);
    for command in ["SET a 2", "GET a"] {
        rig.say(1, 8, command);
    }
    rig.run(5);
    assert_eq!(rig.heard(1, 8), "", "it hands over");
    assert!(rig.nodes[&1].closed.is_empty() && !rig.nodes[&1].finished, "it leads");
    rig.record.handover = 0;
    rig.fail_over(2);
    assert!(!rig.nodes[&1].finished);
    assert_eq!(rig.nodes[&1].closed.iter().copied().collect::<Vec<_>>(), [7, 9], "they have nothing under way");
    [7, 9].into_iter().for_each(|client| rig.step(1, Input::ClientClosed(client)));
    rig.say(1, 8, "INCR n");
    rig.run(100);
    assert_eq!(rig.heard(1, 8), "+OK $1 2 :1");
    assert!(rig.nodes[&1].closed.contains(&8) && rig.nodes[&1].finished);
    rig.say(1, 8, "INCR n");
    rig.run(10);
    assert_eq!((rig.heard(1, 8).as_str(), rig.nodes[&1].finished), ("", true), "nothing is executed for it any more");
}

#[test]
fn a_leader_that_was_stopped_does_not_blame_those_whom_it_could_not_hear() {
    let mut rig = Rig::serving(3, 2);
    rig.open(1, 7);
    rig.now_us += 1_300_000;
    rig.say(1, 7, "SET a 1");
    assert_eq!(rig.heard(1, 7), "", "what was said meanwhile is still to be read");
    rig.run(100);
    assert_eq!(rig.heard(1, 7), "+OK");
    // It is really alone now, and says so when it has listened.
    rig.isolate(1);
    rig.run(1_300);
    rig.say(1, 7, "SET a 2");
    rig.run(10);
    assert!(rig.heard(1, 7).starts_with("-NOREPLICAS"));
}
