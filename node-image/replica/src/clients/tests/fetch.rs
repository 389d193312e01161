//! Reads of sessions that are asked of somebody who has what has not come here.

use trireme_proto::topology::WriteOrder;

use super::{
    rig::Rig,
    sessions::{C, D, token, with_key},
};
use crate::io::Input;

/// Three regions of two replicas. Region 1, which has written, does not reach region 3; region 2 has what it wrote, and passes nothing on.
fn third_region_behind() -> (Rig, String) {
    let mut rig = with_key(Rig::regions(3, 2, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    for (one, other) in [(1, 21), (1, 22), (2, 21), (2, 22)] {
        rig.disconnect(one, other);
    }
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    let token = token(&mut rig, 1);
    (rig, token)
}

#[test]
fn a_read_goes_to_a_region_that_has_what_its_session_has_seen() {
    for at in [21, 22] {
        let (mut rig, token) = third_region_behind();
        rig.starved.insert((11, 21));
        rig.run(200);
        assert_eq!(rig.ask(at, C, &format!("SESSION RESUME {token}")), "+OK");
        rig.say(at, C, "GET a");
        rig.run(900);
        assert_eq!(rig.heard(at, C), "", "at {at}: it waits first");
        rig.run(1_300);
        assert_eq!(rig.heard(at, C), "$1 2", "at {at}: then region 2 is asked");
        // It has waited: the next one does not.
        rig.say(at, C, "GET a");
        rig.run(20);
        assert_eq!(rig.heard(at, C), "$1 2", "at {at}");
        // A write is not sent elsewhere, and another connection's reads are none of the session's.
        rig.say(at, C, "SET b 1");
        rig.run(2_300);
        let heard = rig.heard(at, C);
        assert!(heard.starts_with("-STALE"), "at {at}: {heard}");
        rig.open(at, D);
        assert_eq!(rig.ask(at, D, "GET a"), "$1 1", "at {at}");
        // What was shown there is seen: the next token names it.
        rig.starved.clear();
        rig.run(400);
        assert_eq!([rig.ask(at, C, "GET a"), rig.ask(at, C, "SET b 1")], ["$1 2", "+OK"], "at {at}");
    }
}

#[test]
fn what_was_shown_elsewhere_is_part_of_the_session() {
    let (mut rig, token) = third_region_behind();
    rig.starved.insert((11, 21));
    rig.run(200);
    assert_eq!(rig.ask(11, C, "SET c 1"), "+OK");
    assert_eq!(rig.ask(21, C, &format!("SESSION RESUME {token}")), "+OK");
    rig.say(21, C, "GET c");
    rig.run(2_300);
    assert_eq!(rig.heard(21, C), "$1 1", "nothing of it was in the token");
    // Now the region is gone: what it has shown is not taken back.
    for other in [21, 22] {
        rig.disconnect(11, other);
        rig.disconnect(12, other);
    }
    rig.say(21, C, "GET c");
    rig.run(2_300);
    let heard = rig.heard(21, C);
    assert!(heard.starts_with("-STALE 2 entries"), "{heard}");
}

/// So many replicas without a leader, one of which is asked. 3 hears nothing of what 1 has written, 2 has it and does not pass it on, and others are away.
fn third_member_behind(n: u32) -> (Rig, String) {
    let mut rig = with_key(Rig::peers_with(n, 1, 1, |record| {
        record.settings.write_order = WriteOrder::Clock as i32;
    }));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    rig.disconnect(1, 3);
    (4..=n).for_each(|away| (1..4).for_each(|id| rig.disconnect(id, away)));
    rig.starved.insert((2, 3));
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    rig.run(100);
    let token = token(&mut rig, 1);
    (rig, token)
}

#[test]
fn where_nobody_leads_one_member_that_has_it_is_enough() {
    let (mut rig, token) = third_member_behind(4);
    assert_eq!(rig.ask(3, C, "GET a"), "$1 1", "r = 1: no token, no promise");
    assert_eq!(rig.ask(3, C, &format!("SESSION RESUME {token}")), "+OK");
    // That nothing is seen without its cause would take so many as meet every write, and one of them is away.
    assert_eq!(rig.ask(3, C, "SESSION GUARANTEES ReadYourWrites MonotonicReads"), "+OK");
    rig.say(3, C, "GET a");
    rig.run(900);
    assert_eq!(rig.heard(3, C), "");
    rig.run(200);
    assert_eq!(rig.heard(3, C), "$1 2");
    assert_eq!(rig.ask(3, C, "GET b"), "$-1", "at once, and of the same");
}

#[test]
fn hello_goes_on_with_a_session() {
    let mut rig = with_key(Rig::serving(3, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    rig.disconnect(1, 3);
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    let token = token(&mut rig, 1);
    let (head, tail) = token.split_at(10);
    let forged = format!("{head}{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, &tail[1..]);
    for (words, error) in [
        (format!("HELLO 3 SESSION {forged}"), "-BADTOKEN it was changed"),
        ("HELLO 3 SETNAME n SESSION".to_owned(), "-ERR Syntax error in HELLO option 'SESSION'"),
        (format!("HELLO 9 SESSION {token}"), "-NOPROTO"),
        (format!("HELLO 3 COLOUR blue SESSION {token}"), "-ERR Syntax error in HELLO option 'COLOUR'"),
    ] {
        let heard = rig.ask(3, C, &words);
        assert!(heard.starts_with(error), "{words}: {heard}");
    }
    assert_eq!(rig.ask(3, C, "READONLY"), "+OK");
    assert_eq!(rig.ask(3, C, "GET a"), "$1 1", "nothing was resumed by any of them");
    let heard = rig.ask(3, C, &format!("HELLO 2 SETNAME session SESSION {token}"));
    assert!(heard.starts_with("*14 $6 server"), "{heard}");
    assert_eq!(rig.ask(3, C, "CLIENT GETNAME"), "$7 session");
    assert_eq!(rig.ask(3, C, "GET a"), "", "it waits");
    rig.connect(1, 3);
    rig.run(100);
    assert_eq!(rig.heard(3, C), "$1 2");
}

#[test]
fn hello_looks_at_the_password_before_the_session() {
    let mut rig = with_key(Rig::serving(1, 1));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    let token = token(&mut rig, 1);
    rig.step(1, Input::Password(b"secret"));
    for (client, words, error) in [
        (50, "HELLO 3 SESSION nonsense".to_owned(), "-NOAUTH HELLO must be called"),
        (50, format!("HELLO 3 SESSION {token}"), "-NOAUTH HELLO must be called"),
        (50, "HELLO 3 AUTH default wrong SESSION nonsense".to_owned(), "-WRONGPASS"),
        (50, "HELLO 3 SESSION nonsense AUTH default wrong".to_owned(), "-WRONGPASS"),
        (50, "HELLO 9 AUTH default secret SESSION nonsense".to_owned(), "-NOPROTO"),
        (50, "PING".to_owned(), "-NOAUTH"),
        // As with whatever else is wrong behind it, the password has been said, and nothing else.
        (50, "HELLO 3 AUTH default secret SETNAME n SESSION nonsense".to_owned(), "-BADTOKEN"),
        (50, "PING".to_owned(), "+PONG"),
        (50, "CLIENT GETNAME".to_owned(), "$-1"),
        (51, format!("HELLO 3 SESSION {token} AUTH default secret SETNAME n"), "%7 $6 server"),
        (51, "CLIENT GETNAME".to_owned(), "$1 n"),
    ] {
        if !rig.replica(1).clients.map.contains_key(&client) {
            rig.open(1, client);
        }
        let heard = rig.ask(1, client, &words);
        assert!(heard.starts_with(error), "{words}: {heard}");
    }
    assert_eq!(rig.report(1).counters.session_refusals, 1, "who may not come in has no token looked at");
}

#[test]
fn a_follower_without_a_leader_says_that_it_is_stale() {
    let mut rig = with_key(Rig::serving(3, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    rig.disconnect(1, 3);
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    let token = token(&mut rig, 1);
    assert_eq!(rig.ask(3, C, "READONLY"), "+OK");
    assert_eq!(rig.ask(3, C, &format!("SESSION RESUME {token}")), "+OK");
    rig.say(3, C, "GET a");
    rig.run(12_000);
    let heard = rig.heard(3, C);
    assert!(heard.starts_with("-STALE") && heard.contains("the leader, replica 1, does not answer"), "{heard}");
}

#[test]
fn many_that_wait_are_looked_at_once_in_a_while() {
    let mut rig = with_key(Rig::serving(3, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    rig.disconnect(1, 3);
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    let token = token(&mut rig, 1);
    for id in 100..300 {
        rig.open(3, id);
        for command in ["READONLY", &format!("SESSION RESUME {token}"), "GET a"] {
            rig.say(3, id, command);
        }
    }
    rig.run(20);
    (100..300).for_each(|id| assert_eq!(rig.heard(3, id), "+OK +OK", "client {id}"));
    rig.connect(1, 3);
    rig.run(100);
    for id in 100..300 {
        assert_eq!(rig.heard(3, id), "$1 2", "client {id}");
    }
}

#[test]
fn nothing_of_a_connection_overtakes_a_read_that_is_asked_elsewhere() {
    let (mut rig, token) = third_region_behind();
    rig.starved.insert((11, 21));
    rig.run(200);
    assert_eq!(rig.ask(22, C, &format!("SESSION RESUME {token}")), "+OK");
    assert_eq!(rig.ask(22, C, "SESSION GUARANTEES ReadYourWrites MonotonicReads"), "+OK");
    // A write stands behind it that the leader may execute before another group could answer.
    rig.say(22, C, "GET a");
    rig.say(22, C, "SET c 1");
    rig.run(2_300);
    let heard = rig.heard(22, C);
    assert!(heard.starts_with("-STALE") && heard.ends_with("+OK"), "{heard}");
    rig.say(22, C, "GET a");
    rig.run(2_300);
    assert_eq!(rig.heard(22, C), "$1 2");
    // What it writes here is not there yet: its read is not asked there before.
    rig.starved.insert((21, 11));
    rig.say(22, C, "SET a 9");
    rig.say(22, C, "GET a");
    rig.run(20);
    let heard = rig.heard(22, C);
    assert!(heard == "+OK" || heard == "+OK $1 9", "{heard}");
}

#[test]
fn a_read_comes_back_when_who_was_asked_is_gone() {
    let (mut rig, token) = third_region_behind();
    rig.starved.insert((11, 21));
    rig.run(200);
    assert_eq!(rig.ask(22, C, &format!("SESSION RESUME {token}")), "+OK");
    rig.say(22, C, "GET a");
    rig.run(2_300);
    assert_eq!(rig.heard(22, C), "$1 2");
    // Its leader does not answer, and then its connection breaks.
    rig.nodes.get_mut(&11).unwrap().running = false;
    rig.say(22, C, "GET a");
    rig.run(200);
    assert_eq!(rig.heard(22, C), "");
    rig.disconnect(11, 22);
    rig.disconnect(11, 21);
    rig.run(2_300);
    let heard = rig.heard(22, C);
    assert!(heard.starts_with("-STALE 1 entries"), "{heard}");
}

#[test]
fn where_nobody_leads_what_a_bound_asks_for_is_asked_beside_what_a_session_needs() {
    let (mut rig, token) = third_member_behind(3);
    assert_eq!(rig.ask(3, C, &format!("SESSION RESUME {token}")), "+OK");
    assert_eq!(rig.ask(3, C, "CONSISTENCY maxlag=1ms"), "+OK");
    rig.say(3, C, "GET a");
    rig.run(3_000);
    let heard = rig.heard(3, C);
    assert!(heard.starts_with("-STALE"), "one member that has it is not all that the bound asks: {heard}");
}
