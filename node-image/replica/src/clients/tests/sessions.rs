//! Sessions that go on at another replica.

use trireme_proto::{
    Message,
    topology::{Home, WriteOrder},
};

use super::rig::Rig;
use crate::io::Input;

pub(super) const C: u64 = 7;
pub(super) const D: u64 = 8;

pub(super) fn with_key(mut rig: Rig) -> Rig {
    let ids: Vec<u32> = rig.nodes.keys().copied().collect();
    for id in ids {
        rig.step(id, Input::SessionKey(b"a secret of the store"));
        rig.open(id, C);
    }
    rig
}

pub(super) fn token(rig: &mut Rig, id: u32) -> String {
    let heard = rig.ask(id, C, "SESSION TOKEN");
    let (length, token) = heard.split_once(' ').unwrap_or_else(|| panic!("{heard}"));
    assert!(length.starts_with('$'), "{heard}");
    token.to_owned()
}

/// What is written at 1 does not come to 2 for now.
fn behind(rig: &mut Rig, from: u32, to: u32, command: &str) {
    rig.disconnect(from, to);
    assert_eq!(rig.ask(from, C, command), "+OK");
}

#[test]
fn a_token_brings_reads_after_what_was_written_elsewhere() {
    let mut rig = with_key(Rig::serving(3, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    behind(&mut rig, 1, 3, "SET a 2");
    let token = token(&mut rig, 1);
    assert!(token.len() <= 64);
    assert_eq!(rig.ask(3, C, "READONLY"), "+OK");
    assert_eq!(rig.ask(3, C, "GET a"), "$1 1", "no token: what is here is shown");
    assert_eq!(rig.ask(3, C, &format!("SESSION RESUME {token}")), "+OK");
    // The negative control: without guarantees the older value is shown.
    assert_eq!(rig.ask(3, C, "SESSION GUARANTEES NONE"), "+OK");
    assert_eq!(rig.ask(3, C, "GET a"), "$1 1");
    assert_eq!(rig.ask(3, C, "SESSION GUARANTEES MonotonicReads"), "+OK");
    assert_eq!(rig.ask(3, C, "GET a"), "", "it waits");
    rig.connect(1, 3);
    rig.run(100);
    assert_eq!(rig.heard(3, C), "$1 2");
    let waits = rig.report(3).counters.session_waits;
    assert_eq!((waits, rig.ask(3, C, "GET a").as_str()), (1, "$1 2"));
    assert_eq!(rig.report(3).counters.session_waits, 1, "what has come is not looked at again");
}

#[test]
fn the_leader_tells_a_commit_at_once_where_a_session_waits_for_it() {
    let mut rig = with_key(Rig::serving(3, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    assert_eq!(rig.ask(3, C, "READONLY"), "+OK");
    assert_eq!(rig.ask_at_once(1, C, "SET a 2"), "+OK");
    let token = rig.ask_at_once(1, C, "SESSION TOKEN");
    let (_, token) = token.split_once(' ').unwrap();
    assert_eq!(rig.ask_at_once(3, C, "GET a"), "$1 1", "the commit is told in a millisecond");
    assert_eq!(rig.ask_at_once(3, C, &format!("SESSION RESUME {token}")), "+OK");
    assert_eq!(rig.ask_at_once(3, C, "GET a"), "$1 2", "no time has passed");
    // Nobody waits any more: the next one comes with the others again.
    assert_eq!(rig.ask_at_once(1, C, "SET a 3"), "+OK");
    assert_eq!(rig.ask_at_once(3, C, "GET a"), "$1 2");
}

#[test]
fn what_does_not_come_in_time_is_asked_of_the_leader() {
    let mut rig = with_key(Rig::serving(3, 2));
    rig.nodes.get_mut(&3).unwrap().disk = false;
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    let token = token(&mut rig, 1);
    // It hears its leader, and its disk does not answer: what is committed is applied nevertheless, so its state is held back otherwise.
    rig.nodes.get_mut(&3).unwrap().disk = true;
    rig.run(60);
    assert_eq!(rig.ask(3, C, "READONLY"), "+OK");
    assert_eq!(rig.ask(3, C, &format!("SESSION RESUME {token}")), "+OK");
    assert_eq!(rig.ask(3, C, "GET a"), "$1 1");
    // Without its leader, the read waits for the time of a session, then for a leader.
    behind(&mut rig, 1, 3, "SET a 2");
    let token = self::token(&mut rig, 1);
    assert_eq!(rig.ask(3, C, &format!("SESSION RESUME {token}")), "+OK");
    rig.say(3, C, "GET a");
    rig.run(1_200);
    assert_eq!(rig.heard(3, C), "");
    rig.connect(1, 3);
    rig.run(100);
    assert_eq!(rig.heard(3, C), "$1 2");
}

#[test]
fn each_guarantee_by_itself() {
    let mut rig = with_key(Rig::serving(3, 2));
    rig.open(1, D);
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    rig.disconnect(1, 3);
    assert_eq!(rig.ask(1, D, "SET b 1"), "+OK");
    // One connection has read and not written.
    assert_eq!(rig.ask(1, D, "GET b"), "$1 1");
    rig.step(1, Input::ClientClosed(D));
    rig.open(1, D);
    assert_eq!(rig.ask(1, D, "GET b"), "$1 1");
    let heard = rig.ask(1, D, "SESSION TOKEN");
    let read = heard.split_once(' ').unwrap().1;
    for command in ["READONLY", &format!("SESSION RESUME {read}"), "SESSION GUARANTEES ReadYourWrites"] {
        assert_eq!(rig.ask(3, C, command), "+OK");
    }
    assert_eq!(rig.ask(3, C, "GET b"), "$-1", "it has not written that, and monotonic reads are not wanted");
    assert_eq!(rig.ask(3, C, "SESSION GUARANTEES MonotonicReads"), "+OK");
    assert_eq!(rig.ask(3, C, "GET b"), "");
    rig.connect(1, 3);
    rig.run(100);
    assert_eq!(rig.heard(3, C), "$1 1");
}

#[test]
fn a_token_that_cannot_be_gone_on_from_says_why() {
    let mut rig = with_key(Rig::serving(2, 2));
    rig.ask(1, C, "SET a 1");
    let token = token(&mut rig, 1);
    let mut forged = token.clone().into_bytes();
    forged[10] = if forged[10] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let heard = rig.ask(2, C, &format!("SESSION RESUME {forged}"));
    assert!(heard.starts_with("-BADTOKEN it was changed"), "{heard}");
    let heard = rig.ask(2, C, "SESSION RESUME hello");
    assert!(heard.starts_with("-BADTOKEN it is no session token"), "{heard}");
    assert_eq!(rig.report(2).counters.session_refusals, 2);
    rig.step(2, Input::SessionKey(b"another secret, newer"));
    assert_eq!(rig.ask(2, C, &format!("SESSION RESUME {token}")), "+OK", "not all have the newer one yet");
    rig.step(2, Input::SessionKey(b"a third secret of it"));
    let heard = rig.ask(2, C, &format!("SESSION RESUME {token}"));
    assert!(heard.starts_with("-BADTOKEN it was made under another key"), "{heard}");
    rig.step(2, Input::SessionKey(b""));
    assert!(rig.ask(2, C, "SESSION TOKEN").starts_with("-ERR this replica has no key"));
    assert!(rig.ask(2, C, "SESSION HELP").starts_with("*15 +SESSION <subcommand>"));
    assert_eq!(rig.ask(2, C, "SESSION RESET"), "+OK");
    assert!(rig.ask(2, C, "SESSION GUARANTEES all").starts_with("-ERR SESSION GUARANTEES takes ReadYourWrites"));
}

/// One copy is enough; the leader goes with an acknowledged write, and the group goes on without it.
fn lose(rig: &mut Rig) -> String {
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    rig.isolate(1);
    // The lease still runs.
    rig.say(1, C, "SET a 2");
    rig.say(1, C, "SET b 2");
    rig.say(1, C, "SESSION TOKEN");
    rig.run(5);
    let heard = rig.heard(1, C);
    let token = heard.rsplit(' ').next().unwrap().to_owned();
    assert!(heard.starts_with("+OK +OK $"), "{heard}");
    rig.nodes.get_mut(&1).unwrap().running = false;
    rig.record.generation = 2;
    rig.fail_over(2);
    while !rig.serves(2) {
        rig.run(1);
    }
    token
}

#[test]
fn what_a_failover_has_lost_is_said_once() {
    for work in ["GET a", "SET c 1"] {
        for at in [2, 3] {
            let mut rig = with_key(Rig::serving(3, 1));
            let token = lose(&mut rig);
            rig.run(100);
            assert_eq!(rig.ask(at, C, &format!("SESSION RESUME {token}")), "+OK");
            let heard = rig.ask(at, C, work);
            assert!(heard.starts_with("-LOSTWRITE 2 entries"), "at {at}: {heard}");
            let expected = if work == "GET a" { "$1 1" } else { "+OK" };
            assert_eq!(rig.ask(at, C, work), expected, "once");
            let status = rig.ask(at, C, "SESSION STATUS");
            assert!(status.ends_with("$12 entries_lost :2 $17 entries_recovered :0"), "{status}");
        }
    }
}

#[test]
fn the_old_leader_takes_nothing_for_here_that_the_store_has_lost() {
    let mut rig = with_key(Rig::serving(3, 1));
    let token = lose(&mut rig);
    // It goes on and hears of the new record, and still has in its state what nobody else has.
    rig.nodes.get_mut(&1).unwrap().running = true;
    rig.tell();
    assert_eq!(rig.ask(1, C, &format!("SESSION RESUME {token}")), "+OK");
    rig.say(1, C, "GET a");
    rig.connect(1, 2);
    rig.connect(1, 3);
    rig.run(400);
    let heard = rig.heard(1, C);
    // What was lost has been recovered from here by the time that it follows: that, or the loss, is said, and no older value.
    assert!(heard == "$1 2" || heard.starts_with("-LOSTWRITE"), "{heard}");
}

#[test]
fn own_writes_are_named_by_the_next_token_too() {
    let mut rig = with_key(Rig::serving(3, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    behind(&mut rig, 1, 3, "SET a 2");
    let first = token(&mut rig, 1);
    assert_eq!(rig.ask(2, C, &format!("SESSION RESUME {first}")), "+OK");
    rig.run(60);
    assert_eq!([rig.ask(2, C, "READONLY"), rig.ask(2, C, "GET a")], ["+OK", "$1 2"].map(str::to_owned));
    let second = token(&mut rig, 2);
    let commands = ["READONLY", "SESSION GUARANTEES ReadYourWrites", &format!("SESSION RESUME {second}")];
    commands.iter().for_each(|command| assert_eq!(rig.ask(3, C, command), "+OK"));
    assert_eq!(rig.ask(3, C, "GET a"), "", "it waits for what the session wrote two replicas ago");
    rig.connect(1, 3);
    rig.run(100);
    assert_eq!(rig.heard(3, C), "$1 2");
}

#[test]
fn what_was_lost_and_is_recovered_is_said_too() {
    let mut rig = with_key(Rig::serving(3, 1));
    let token = lose(&mut rig);
    assert_eq!(rig.ask(2, C, &format!("SESSION RESUME {token}")), "+OK");
    assert!(rig.ask(2, C, "GET b").starts_with("-LOSTWRITE 2 entries"));
    rig.nodes.get_mut(&1).unwrap().running = true;
    rig.tell();
    rig.connect(1, 2);
    rig.connect(1, 3);
    rig.run(300);
    assert_eq!(rig.ask(2, C, "GET b"), "$1 2");
    let status = rig.ask(2, C, "SESSION STATUS");
    assert!(status.ends_with("$12 entries_lost :0 $17 entries_recovered :2"), "{status}");
    // Who comes now with the same token misses nothing.
    rig.open(2, D);
    assert_eq!(rig.ask(2, D, &format!("SESSION RESUME {token}")), "+OK");
    assert_eq!(rig.ask(2, D, "GET b"), "$1 2");
}

#[test]
fn in_another_region_a_token_is_waited_for() {
    let mut rig = with_key(Rig::regions(2, 2, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    for (one, other) in [(1, 11), (1, 12), (2, 11), (2, 12)] {
        rig.disconnect(one, other);
    }
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    let token = token(&mut rig, 1);
    for at in [11, 12] {
        assert_eq!(rig.ask(at, C, &format!("SESSION RESUME {token}")), "+OK");
        rig.say(at, C, "GET a");
        rig.run(900);
        assert_eq!(rig.heard(at, C), "", "at {at}");
        rig.run(1_300);
        let heard = rig.heard(at, C);
        assert!(heard.starts_with("-STALE 1 entries") && heard.contains("1 of region r1, generation 1"), "{heard}");
        // A write would be executed without what its session has read.
        rig.say(at, C, "SET b 1");
        rig.run(2_300);
        let heard = rig.heard(at, C);
        assert!(heard.starts_with("-STALE 1 entries"), "at {at}: {heard}");
        // The negative controls: with what is promised left out, it reads what is older, and writes what would be seen before its cause.
        assert_eq!(rig.ask(at, C, "SESSION GUARANTEES ReadYourWrites MonotonicWrites"), "+OK");
        rig.say(at, C, "SET b 1");
        rig.run(2_300);
        assert!(rig.heard(at, C).starts_with("-STALE 1 entries"), "it was the session's own write");
        assert_eq!(rig.ask(at, C, "SESSION GUARANTEES MonotonicReads"), "+OK");
        assert_eq!(rig.ask(at, C, "SET b 1"), "+OK");
        assert_eq!(rig.ask(at, C, "SESSION GUARANTEES MonotonicWrites"), "+OK");
        assert_eq!(rig.ask(at, C, "GET a"), "$1 1");
        assert_eq!(rig.ask(at, C, "SESSION GUARANTEES DEFAULT"), "+OK");
    }
    for (one, other) in std::mem::take(&mut rig.cut) {
        rig.connect(one, other);
    }
    rig.run(300);
    for at in [11, 12] {
        assert_eq!([rig.ask(at, C, "GET a"), rig.ask(at, C, "SET b 1")], ["$1 2", "+OK"], "at {at}");
    }
}

#[test]
fn where_nobody_leads_all_members_are_asked_for_what_has_not_come() {
    // With the clocks of all, one that is cut off could not write.
    let mut rig = with_key(Rig::peers_with(3, 1, 1, |record| {
        record.settings.write_order = WriteOrder::Clock as i32;
    }));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(60);
    rig.disconnect(1, 3);
    rig.disconnect(2, 3);
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    rig.run(60);
    let token = token(&mut rig, 1);
    assert!(token.len() <= 64);
    assert_eq!(rig.ask(3, C, "GET a"), "$1 1", "r = 1: no token, no promise");
    assert_eq!(rig.ask(3, C, &format!("SESSION RESUME {token}")), "+OK");
    rig.say(3, C, "GET a");
    rig.run(900);
    assert_eq!(rig.heard(3, C), "");
    rig.run(200);
    let heard = rig.heard(3, C);
    assert!(heard.starts_with("-STALE 1 entries") && heard.contains("1 of s-0, generation "), "{heard}");
    rig.connect(1, 3);
    rig.connect(2, 3);
    rig.run(200);
    assert_eq!(rig.ask(3, C, "GET a"), "$1 2");
}

#[test]
fn a_token_goes_from_hand_to_hand() {
    let mut rig = with_key(Rig::regions(3, 1, 1));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    let first = token(&mut rig, 1);
    assert_eq!(rig.ask(11, C, &format!("SESSION RESUME {first}")), "+OK");
    assert_eq!(rig.ask(11, C, "SET b 1"), "+OK");
    let second = token(&mut rig, 11);
    assert!(second.len() <= 64, "{second}");
    assert_eq!(rig.ask(21, C, &format!("SESSION RESUME {second}")), "+OK");
    assert_eq!([rig.ask(21, C, "GET a"), rig.ask(21, C, "GET b")], ["$1 1", "$1 1"]);
    assert_eq!(rig.ask(21, C, "SESSION RESET"), "+OK");
}

#[test]
fn a_bound_on_how_old_answers_are_is_kept_or_said() {
    let mut rig = with_key(Rig::serving(3, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(120);
    assert_eq!(rig.ask(3, C, "READONLY"), "+OK");
    let told = |rig: &mut Rig| {
        let info = rig.ask(3, C, "INFO replication");
        let of = |name: &str| {
            let line = info.split(' ').find_map(|line| line.strip_prefix(name)).unwrap();
            line.parse::<i64>().unwrap()
        };
        (of("replica_staleness_ms:"), of("replica_lag_entries:"))
    };
    let (ms, entries) = told(&mut rig);
    assert!((0..=60).contains(&ms) && entries == 0, "{ms} {entries}");
    // It hears its leader, and what that one has committed has not come: half of the path is lost.
    rig.disconnect(1, 3);
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    rig.run(300);
    let (ms, _) = told(&mut rig);
    assert!((300..=450).contains(&ms), "{ms}");
    assert_eq!(rig.ask(3, C, "GET a"), "$1 1", "no bound");
    for (bound, within) in [("maxlag=10000ms", true), ("maxlag=200ms", false), ("maxlag=off", true)] {
        assert_eq!(rig.ask(3, C, &format!("CONSISTENCY {bound}")), "+OK");
        let mut heard = rig.ask(3, C, "GET a");
        if !within {
            assert_eq!(heard, "", "{bound}: it may come yet");
            rig.run(1_000);
            heard = rig.heard(3, C);
        }
        assert_eq!(heard == "$1 1", within, "{bound}: {heard}");
        assert_eq!(heard.starts_with("-STALE this replica is"), !within, "{bound}: {heard}");
    }
    rig.connect(1, 3);
    rig.run(120);
    assert_eq!([rig.ask(3, C, "CONSISTENCY maxlag=200ms"), rig.ask(3, C, "GET a")], ["+OK", "$1 2"].map(str::to_owned));
    // Nothing is this fresh: the leader answers, and its own are never old.
    assert_eq!([rig.ask(3, C, "CONSISTENCY maxlag=0ms"), rig.ask(3, C, "GET a")], ["+OK", "$1 2"].map(str::to_owned));
    assert_eq!([rig.ask(1, C, "CONSISTENCY maxlag=0ms"), rig.ask(1, C, "GET a")], ["+OK", "$1 2"].map(str::to_owned));
    assert!(rig.ask(1, C, "CONSISTENCY QUORUM").starts_with("-ERR CONSISTENCY is for stores of mode Leaderless"));
}

#[test]
fn what_is_read_says_how_old_it_is_where_that_is_wanted() {
    let mut rig = with_key(Rig::serving(2, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(120);
    rig.ask(2, C, "HELLO 3");
    for command in ["READONLY", "CONSISTENCY REPORT ON"] {
        assert_eq!(rig.ask(2, C, command), "+OK");
    }
    let heard = rig.ask(2, C, "GET a");
    assert!(heard.starts_with("|1 $9 staleness %2 $2 ms :") && heard.ends_with("$7 entries :0 $1 1"), "{heard}");
    assert_eq!([rig.ask(2, C, "CONSISTENCY REPORT OFF"), rig.ask(2, C, "GET a")], ["+OK", "$1 1"].map(str::to_owned));
}

#[test]
fn where_nobody_leads_as_many_are_asked_as_a_bound_needs() {
    let mut rig = with_key(Rig::peers(3, 2, 1));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(120);
    let info = rig.ask(3, C, "INFO replication");
    let ms =
        info.split(' ').find_map(|line| line.strip_prefix("replica_staleness_ms:")).unwrap().parse::<i64>().unwrap();
    assert!((0..=70).contains(&ms), "{ms}");
    rig.disconnect(1, 3);
    rig.disconnect(2, 3);
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    rig.run(400);
    assert_eq!(rig.ask(3, C, "GET a"), "$1 1", "no bound");
    assert_eq!(rig.ask(3, C, "CONSISTENCY maxlag=200ms"), "+OK");
    rig.say(3, C, "GET a");
    rig.run(1_100);
    let heard = rig.heard(3, C);
    assert!(heard.starts_with("-STALE this replica is"), "{heard}");
    rig.connect(2, 3);
    rig.run(20);
    assert_eq!(rig.ask(3, C, "GET a"), "$1 2", "two of three are enough, as a write has two copies");
}

#[test]
fn another_region_is_as_old_as_its_last_word() {
    let mut rig = with_key(Rig::regions(2, 2, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(200);
    for at in [11, 12] {
        for (command, reply) in [("READONLY", "+OK"), ("CONSISTENCY maxlag=200ms", "+OK"), ("GET a", "$1 1")] {
            assert_eq!(rig.ask(at, C, command), reply, "at {at}");
        }
    }
    for (one, other) in [(1, 11), (1, 12), (2, 11), (2, 12)] {
        rig.disconnect(one, other);
    }
    rig.run(400);
    for at in [11, 12] {
        rig.say(at, C, "GET a");
        rig.run(1_100);
        let heard = rig.heard(at, C);
        assert!(heard.starts_with("-STALE this replica is"), "at {at}: {heard}");
    }
}

/// Time passes in which what these messages are does not arrive.
fn run_without(rig: &mut Rig, ms: u64, lost: impl Fn(u32, u32, &Message) -> bool) {
    for _ in 0..ms {
        rig.now_us += 1_000;
        for _ in 0..6 {
            rig.under_way.retain(|(from, to, message)| !lost(*from, *to, message));
            rig.turn();
        }
    }
}

#[test]
fn what_was_said_before_a_stop_is_not_new_after_it() {
    let mut rig = with_key(Rig::serving(3, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(300);
    for command in ["READONLY", "CONSISTENCY maxlag=1000ms"] {
        assert_eq!(rig.ask(3, C, command), "+OK");
    }
    // A heartbeat is on its way when 3 is stopped, and read when it goes on.
    while rig.under_way.is_empty() {
        rig.now_us += 1_000;
        rig.turn_of(1);
    }
    let (kept, others): (Vec<_>, Vec<_>) = rig.under_way.drain(..).partition(|(_, to, _)| *to == 3);
    assert!(kept.iter().any(|(.., message)| matches!(message, Message::Append(_))));
    rig.under_way.extend(others);
    rig.nodes.get_mut(&3).unwrap().running = false;
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    rig.run(10_000);
    rig.nodes.get_mut(&3).unwrap().running = true;
    kept.into_iter().for_each(|message| rig.deliver(message));
    rig.say(3, C, "GET a");
    rig.turn_of(3);
    assert_eq!(rig.heard(3, C), "");
    rig.run(400);
    assert_eq!(rig.heard(3, C), "$1 2");
}

#[test]
fn a_machine_that_slept_knows_that_it_is_old() {
    let mut rig = with_key(Rig::serving(3, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(300);
    rig.disconnect(1, 3);
    for (command, reply) in [("READONLY", "+OK"), ("CONSISTENCY maxlag=5000ms", "+OK"), ("GET a", "$1 1")] {
        assert_eq!(rig.ask(3, C, command), reply);
    }
    // Its monotonic clock stood still.
    rig.skew_ms.insert(3, 3_600_000);
    rig.run(1);
    assert_eq!(rig.ask(3, C, "GET a"), "");
    rig.run(1_000);
    assert!(rig.heard(3, C).starts_with("-STALE this replica is unknown ms"));
}

#[test]
fn a_leader_without_a_lease_says_nothing_of_its_region() {
    let mut rig = with_key(Rig::regions(2, 2, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(300);
    // Another one may lead there, and not be heard from here.
    rig.disconnect(1, 2);
    rig.disconnect(2, 11);
    rig.disconnect(2, 12);
    rig.run(1_500);
    assert_eq!(rig.ask(11, C, "CONSISTENCY maxlag=1000ms"), "+OK");
    rig.say(11, C, "GET a");
    rig.run(1_100);
    let heard = rig.heard(11, C);
    assert!(heard.starts_with("-STALE this replica is"), "{heard}");
}

#[test]
fn what_may_still_be_undone_is_not_here() {
    let mut rig = with_key(Rig::regions(2, 2, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(300);
    rig.nodes.get_mut(&12).unwrap().disk = false;
    assert_eq!(rig.ask(1, C, "SET a 2"), "+OK");
    rig.run(60);
    assert_eq!(rig.ask(11, C, "GET a"), "", "it has come, and is not committed there");
    rig.open(11, D);
    let info = rig.ask(11, D, "INFO replication");
    assert!(info.contains("replica_lag_entries:1 "), "{info}");
    rig.nodes.get_mut(&12).unwrap().disk = true;
    rig.run(20);
    let info = rig.ask(11, D, "INFO replication");
    assert!(info.contains("replica_lag_entries:0 "), "{info}");
}

#[test]
fn who_executes_looks_at_the_bound_too() {
    let mut rig = with_key(Rig::regions(2, 2, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(300);
    for command in ["READONLY", "CONSISTENCY maxlag=150ms"] {
        assert_eq!(rig.ask(12, C, command), "+OK");
    }
    // The last that 12 hears of its leader is that this one has just heard the other region, which it then does not any more.
    for (one, other) in [(1, 11), (1, 12), (2, 11), (2, 12)] {
        rig.disconnect(one, other);
    }
    run_without(&mut rig, 400, |from, to, message| (from, to) == (11, 12) && matches!(message, Message::Append(_)));
    rig.say(12, C, "GET a");
    rig.run(900);
    assert_eq!(rig.heard(12, C), "", "the leader waits for the other region");
    rig.run(400);
    let heard = rig.heard(12, C);
    assert!(heard.starts_with("-STALE this replica is"), "{heard}");
}

#[test]
fn a_bound_waits_where_everybody_does() {
    let mut rig = with_key(Rig::serving(3, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    assert_eq!(rig.ask(1, C, "CONSISTENCY maxlag=100ms"), "+OK");
    rig.disconnect(1, 2);
    rig.disconnect(1, 3);
    rig.run(400);
    // The lease is over.
    assert_eq!(rig.ask(1, C, "GET a"), "");
    rig.connect(1, 2);
    rig.run(200);
    assert_eq!(rig.heard(1, C), "$1 1");
    // A follower in a failover.
    assert_eq!(rig.ask(3, C, "READONLY"), "+OK");
    assert_eq!(rig.ask(3, C, "CONSISTENCY maxlag=100ms"), "+OK");
    rig.seal(2);
    assert_eq!(rig.ask(3, C, "GET a"), "");
    rig.activate(2);
    rig.run(400);
    assert_eq!(rig.heard(3, C), "$1 1");
}

#[test]
fn reports_tell_it_wherever_the_answer_comes_from() {
    let mut rig = with_key(Rig::serving(2, 2));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(300);
    rig.ask(2, C, "HELLO 3");
    for command in ["READONLY", "CONSISTENCY REPORT ON", "CONSISTENCY maxlag=0ms"] {
        assert_eq!(rig.ask(2, C, command), "+OK");
    }
    let heard = rig.ask(2, C, "GET a");
    assert_eq!(heard, "|1 $9 staleness %2 $2 ms :0 $7 entries :0 $1 1", "the leader's");
    let mut rig = with_key(Rig::peers(3, 2, 1));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.run(300);
    rig.ask(3, C, "HELLO 3");
    assert_eq!(rig.ask(3, C, "CONSISTENCY REPORT ON"), "+OK");
    let heard = rig.ask(3, C, "GET a");
    assert!(heard.starts_with("|2 $11 consistency %2 $1 w :") && heard.contains(" $9 staleness %2 $2 ms :"), "{heard}");
    assert!(rig.ask(3, C, "SET a 2").starts_with("|1 $11 consistency %2 $1 w :"), "of writes there is nothing to say");
}

#[test]
fn a_bound_does_not_lead_past_what_was_seen_at_home() {
    let mut rig = with_key(Rig::regions(2, 2, 2));
    let home = Home { prefix: "eu:".into(), group: 1, epoch: 1, ..Home::default() };
    for record in std::iter::once(&mut rig.record).chain(&mut rig.others) {
        record.version += 1;
        record.homes = vec![home.clone()];
    }
    rig.tell();
    rig.run(300);
    for command in ["READONLY", "CONSISTENCY maxlag=100ms"] {
        assert_eq!(rig.ask(12, C, command), "+OK");
    }
    let to_12 = |from: u32, to: u32, message: &Message| (from, to) == (11, 12) && matches!(message, Message::Append(_));
    let to_11 = |from: u32, to: u32, message: &Message| (from, to) == (1, 11) && matches!(message, Message::Feed(_));
    run_without(&mut rig, 150, to_12);
    rig.say(12, C, "SET eu:k 1");
    run_without(&mut rig, 20, |from, to, message| to_12(from, to, message) || to_11(from, to, message));
    assert_eq!(rig.heard(12, C), "+OK");
    rig.say(12, C, "GET eu:k");
    run_without(&mut rig, 20, |from, to, message| to_12(from, to, message) || to_11(from, to, message));
    assert_eq!(rig.heard(12, C), "");
    rig.run(800);
    assert_eq!(rig.heard(12, C), "$1 1");
}
