//! Levels, and registers under every kind of mishap, in a small world of replicas.

use std::collections::BTreeSet;

use fastrand::Rng;
use trireme_proto::topology::{Member, Topology, WriteOrder};

use crate::{clients::tests::rig::Rig, recovery::Recovery};

const C: u64 = 7;

fn open(rig: &mut Rig) {
    let ids: Vec<u32> = rig.nodes.keys().copied().collect();
    ids.into_iter().for_each(|id| rig.open(id, C));
}

fn by_clock(record: &mut Topology) {
    record.settings.write_order = WriteOrder::Clock as i32;
}

#[test]
fn a_level_is_told_set_and_dropped() {
    let mut rig = Rig::peers(3, 2, 2);
    open(&mut rig);
    assert_eq!(rig.ask(1, C, "CONSISTENCY"), "*8 $5 level $7 DEFAULT $1 w :2 $1 r :2 $1 n :3");
    assert_eq!(rig.ask(1, C, "consistency all"), "+OK");
    assert_eq!(rig.ask(1, C, "CONSISTENCY"), "*8 $5 level $3 ALL $1 w :3 $1 r :3 $1 n :3");
    assert_eq!(rig.ask(1, C, "CONSISTENCY r=1"), "+OK");
    assert_eq!(rig.ask(1, C, "CONSISTENCY"), "*8 $5 level $13 w=default r=1 $1 w :2 $1 r :1 $1 n :3");
    assert_eq!(rig.ask(1, C, "RESET"), "+RESET");
    assert_eq!(rig.ask(1, C, "CONSISTENCY"), "*8 $5 level $7 DEFAULT $1 w :2 $1 r :2 $1 n :3");
    for (words, why) in [
        ("w=4", "-ERR CONSISTENCY w=4 is not possible: the store has n=3 members; from 1 to 3 are"),
        ("w=2 r=0", "-ERR CONSISTENCY r=0 is not possible: the store has n=3 members; from 1 to 3 are"),
        ("r=9 CALL GET a", "-ERR CONSISTENCY r=9 is not possible: the store has n=3 members; from 1 to 3 are"),
        ("most", "-ERR CONSISTENCY takes ONE, TWO,"),
        ("ONE CALL", "-ERR CONSISTENCY takes ONE, TWO,"),
        ("ONE CALL PING", "-ERR CONSISTENCY calls a command on data"),
        ("ONE CALL GET", "-ERR wrong number of arguments for 'get' command"),
    ] {
        let heard = rig.ask(1, C, &format!("CONSISTENCY {words}"));
        assert!(heard.starts_with(why), "{words}: {heard}");
    }
    let mut rig = Rig::serving(2, 2);
    rig.open(1, C);
    let heard = rig.ask(1, C, "CONSISTENCY ONE");
    assert!(
        heard.starts_with("-ERR CONSISTENCY is for stores of mode Leaderless") && heard.contains("READONLY"),
        "{heard}"
    );
}

#[test]
fn before_the_record_is_known_commands_wait_and_nobody_says_that_there_is_a_leader() {
    let mut rig = Rig::peers(3, 2, 2);
    rig.start(3, Recovery::new());
    rig.open(3, C);
    for command in ["CONSISTENCY ALL CALL SET a 1", "GET a", "CONSISTENCY TWO", "MULTI", "SET b 2", "EXEC"] {
        rig.say(3, C, command);
    }
    rig.run(50);
    assert_eq!(rig.heard(3, C), "");
    [1, 2].into_iter().for_each(|other| rig.connect(other, 3));
    rig.tell();
    rig.run(500);
    assert_eq!(rig.heard(3, C), "+OK $1 1 +OK +OK +QUEUED *1 +OK");
    // Nor for ever.
    rig.start(3, Recovery::new());
    rig.open(3, C);
    rig.say(3, C, "CONSISTENCY ONE CALL GET a");
    rig.run(10_200);
    let heard = rig.heard(3, C);
    assert!(heard.starts_with("-NOREPLICAS no topology is known yet"), "{heard}");
}

#[test]
fn what_a_level_needs_and_cannot_have_is_refused_at_once() {
    let mut rig = Rig::peers(3, 2, 2);
    open(&mut rig);
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.isolate(3);
    assert_eq!(
        rig.ask(1, C, "CONSISTENCY ALL CALL SET a 2"),
        "-NOREPLICAS 2 of the n=3 members are reachable, w=3 are needed by CONSISTENCY ALL; missing: s-2; \
         what works now is up to w=2 (CONSISTENCY w=2); nothing was done"
    );
    assert_eq!([rig.ask(1, C, "SET a 3"), rig.ask(1, C, "CONSISTENCY TWO CALL GET a")], ["+OK", "$1 3"]);
    assert_eq!(rig.ask(3, C, "CONSISTENCY ONE CALL GET a"), "$1 1", "a weaker read shows what is here");
    rig.isolate(2);
    let heard = rig.ask(1, C, "GET a");
    assert!(
        heard.contains("r=2 are needed; missing: s-1, s-2; what works now is up to r=1 (CONSISTENCY r=1);"),
        "{heard}"
    );
    assert_eq!(rig.ask(1, C, "CONSISTENCY ONE CALL GET a"), "$1 3");
    assert_eq!(
        rig.ask(1, C, "CONSISTENCY ONE CALL SET a 4"),
        "-NOREPLICAS 1 of the n=3 members are reachable, the clocks of 2 are needed before a write; missing: s-1, s-2; \
         nothing was done"
    );
    rig.decide(by_clock);
    assert_eq!(rig.ask(1, C, "CONSISTENCY ONE CALL SET a 4"), "+OK");
    assert_eq!(rig.ask(1, C, "CONSISTENCY ONE CALL GET a"), "$1 4");
}

#[test]
fn copies_are_waited_for_at_each_level_and_nobody_else_waits() {
    let mut rig = Rig::peers(3, 2, 2);
    open(&mut rig);
    [8, 9].into_iter().for_each(|client| rig.open(1, client));
    rig.nodes.get_mut(&3).unwrap().disk = false;
    assert_eq!(rig.ask(1, C, "CONSISTENCY ALL CALL SET a 1"), "");
    assert_eq!(rig.ask(1, 8, "SET b 1"), "+OK", "what waits at another level is in nobody's way");
    // The same client's replies stay in their order, whatever each waits for.
    assert_eq!(rig.ask(1, C, "SET c 1"), "");
    assert_eq!(rig.ask(1, C, "PING"), "");
    rig.nodes.get_mut(&3).unwrap().disk = true;
    rig.run(50);
    assert_eq!(rig.heard(1, C), "+OK +OK +PONG");
    // In doubt, when they do not come.
    rig.nodes.get_mut(&3).unwrap().disk = false;
    rig.say(1, C, "CONSISTENCY ALL CALL SET a 2");
    rig.run(10_200);
    let heard = rig.heard(1, C);
    assert!(heard.starts_with("-INDOUBT"), "{heard}");
    // A weaker level waits for less: one copy, its own.
    rig.nodes.get_mut(&2).unwrap().disk = false;
    assert_eq!(rig.ask(1, 8, "SET d 1"), "");
    rig.open(1, 10);
    assert_eq!(rig.ask(1, 10, "CONSISTENCY w=1 CALL SET d 2"), "+OK");
}

#[test]
fn what_waited_for_members_that_leave_goes_on_without_them() {
    let mut rig = Rig::peers(5, 4, 2);
    open(&mut rig);
    [4, 5].into_iter().for_each(|id| rig.nodes.get_mut(&id).unwrap().disk = false);
    assert_eq!(rig.ask(1, C, "SET a 1"), "");
    assert_eq!(rig.ask(2, C, "GET a"), "", "it shows what is not on four yet");
    rig.decide(|record| {
        record.epoch.number += 1;
        record.config.members.retain(|member| member.id <= 3);
        record.config.w = 2;
    });
    assert_eq!([rig.heard(1, C), rig.heard(2, C)], ["+OK", "$1 1"]);
}

#[test]
fn who_becomes_a_member_is_asked_what_is_under_way() {
    let mut rig = Rig::peers(5, 2, 2);
    open(&mut rig);
    let members = |ids: [u32; 3]| ids.map(|id| Member { id, incarnation: u64::from(id) + 10 }).into();
    rig.decide(|record| record.config.members = members([1, 2, 3]));
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    rig.cut.extend([(1, 2), (1, 3)]);
    assert_eq!(rig.ask(1, C, "GET a"), "");
    rig.decide(|record| {
        record.epoch.number += 1;
        record.config.members = members([1, 4, 5]);
    });
    assert_eq!(rig.heard(1, C), "$1 1");
}

#[test]
fn what_a_lost_connection_was_to_mend_is_sent_on_the_next_one() {
    let mut rig = Rig::peers(3, 3, 2);
    open(&mut rig);
    rig.cut.extend([(1, 3), (2, 3)]);
    assert_eq!(rig.ask(1, C, "CONSISTENCY TWO CALL SET a 1"), "+OK");
    rig.cut.clear();
    rig.under_way.clear();
    rig.nodes.get_mut(&3).unwrap().disk = false;
    assert_eq!(rig.ask(2, C, "CONSISTENCY ALL CALL GET a"), "", "another's write, which a member lacks");
    // It starts again, without what it had not written to its disk.
    rig.start(3, Recovery::new());
    [1, 2].into_iter().for_each(|other| rig.connect(other, 3));
    rig.tell();
    rig.run(100);
    assert_eq!(rig.heard(2, C), "$1 1");
}

#[test]
fn majorities_of_regions() {
    let mut rig = Rig::peers_with(5, 3, 3, |record| {
        for row in &mut record.replicas {
            row.region = if row.id <= 3 { "eu" } else { "us" }.to_owned();
        }
    });
    open(&mut rig);
    assert_eq!(rig.ask(1, C, "CONSISTENCY EACH_QUORUM"), "+OK");
    assert_eq!(rig.ask(1, C, "CONSISTENCY"), "*8 $5 level $11 EACH_QUORUM $1 w :4 $1 r :4 $1 n :5");
    assert_eq!(rig.ask(4, C, "CONSISTENCY LOCAL_QUORUM"), "+OK");
    assert_eq!(rig.ask(4, C, "CONSISTENCY"), "*8 $5 level $12 LOCAL_QUORUM $1 w :2 $1 r :2 $1 n :5");
    assert_eq!([rig.ask(1, C, "SET a 1"), rig.ask(4, C, "GET a")], ["+OK", "$1 1"]);
    let heard = rig.ask(1, C, "CONSISTENCY w=6");
    assert!(heard.contains("the store has n=5 members, 3 of them in this replica's region eu;"), "{heard}");
    rig.isolate(5);
    let heard = rig.ask(1, C, "SET a 2");
    assert!(
        heard.starts_with("-NOREPLICAS 4 of the n=5 members are reachable, w=4 are needed by CONSISTENCY EACH_QUORUM"),
        "{heard}"
    );
    assert_eq!(rig.ask(1, C, "CONSISTENCY LOCAL_QUORUM CALL SET a 3"), "+OK");
    let heard = rig.ask(4, C, "GET a");
    assert!(heard.starts_with("-NOREPLICAS") && heard.contains("LOCAL_QUORUM"), "{heard}");
    // Whose copies are counted: the three of its own region, not any two.
    [2, 3].into_iter().for_each(|id| rig.nodes.get_mut(&id).unwrap().disk = false);
    assert_eq!(rig.ask(1, C, "CONSISTENCY LOCAL_QUORUM CALL SET a 4"), "");
    rig.nodes.get_mut(&2).unwrap().disk = true;
    rig.run(20);
    assert_eq!(rig.heard(1, C), "+OK");
}

#[test]
fn what_an_answer_had_is_told() {
    let mut rig = Rig::peers(3, 2, 2);
    open(&mut rig);
    assert_eq!(rig.ask(1, C, "CONSISTENCY LAST"), "$-1");
    rig.ask(1, C, "CONSISTENCY REPORT ON");
    assert_eq!(rig.ask(1, C, "CONSISTENCY ALL CALL SET a 1"), "+OK", "RESP2 has no attributes");
    assert_eq!(rig.ask(1, C, "CONSISTENCY LAST"), "*4 $1 w :3 $1 r :1");
    rig.ask(1, C, "HELLO 3");
    let attribute = |w: u32, r: u32| format!("|1 $11 consistency %2 $1 w :{w} $1 r :{r}");
    assert_eq!(rig.ask(1, C, "CONSISTENCY ALL CALL SET a 2"), format!("{} +OK", attribute(3, 1)));
    let heard = rig.ask(1, C, "CONSISTENCY ALL CALL GET a");
    let both = attribute(3, 3).replacen("|1", "|2", 1);
    assert!(heard.starts_with(&format!("{both} $9 staleness %2 ")) && heard.ends_with(" $1 2"), "{heard}");
    assert_eq!(rig.ask(1, C, "PING"), "+PONG");
    rig.nodes.get_mut(&3).unwrap().disk = false;
    rig.say(1, C, "SET a 3");
    rig.say(1, C, "CONSISTENCY LAST");
    rig.say(1, C, "PING");
    rig.run(30);
    assert_eq!(rig.heard(1, C), format!("{} +OK %2 $1 w :2 $1 r :1 +PONG", attribute(2, 1)));
    rig.ask(1, C, "CONSISTENCY REPORT OFF");
    assert_eq!(rig.ask(1, C, "CONSISTENCY ONE CALL GET a"), "$1 3");
    assert_eq!(rig.ask(1, C, "CONSISTENCY LAST"), "%2 $1 w :1 $1 r :1");
}

#[test]
fn wait_counts_who_holds_everything_that_the_connection_wrote() {
    let mut rig = Rig::peers(3, 2, 2);
    open(&mut rig);
    rig.nodes.get_mut(&3).unwrap().disk = false;
    assert_eq!(rig.ask(1, C, "SET a 1"), "+OK");
    assert_eq!(rig.ask(1, C, "WAIT 1 1000"), ":1");
    assert_eq!(rig.ask(1, C, "WAIT 2 1000"), "");
    rig.run(1_000);
    assert_eq!(rig.heard(1, C), ":1");
    assert_eq!(rig.ask(1, C, "WAIT 2 5000"), "");
    rig.nodes.get_mut(&3).unwrap().disk = true;
    rig.run(20);
    assert_eq!(rig.heard(1, C), ":2");
    let info = rig.ask(1, C, "INFO replication");
    for word in ["role:master", "mode:leaderless", "peer_state:member", "n:3", "w:2", "r:2", "peers_reached:2"] {
        assert!(info.contains(word), "{word}: {info}");
    }
    assert!(info.contains("peer3:name=s-2,state=online,lag_entries=0,lag_bytes=0,lag_ms=0"), "{info}");
}

/// An operation on the register: (what was set or read, when it began, when it was answered).
#[derive(Debug)]
struct Op {
    set: bool,
    value: String,
    start: u64,
    end: Option<u64>,
}

/// Wing and Gong: one without an end may take effect at any later time, or never.
fn is_linearizable(ops: &[Op]) -> bool {
    fn go(ops: &[Op], done: u32, value: &str, seen: &mut BTreeSet<(u32, String)>) -> bool {
        if !seen.insert((done, value.to_owned())) {
            return false;
        }
        let left: Vec<usize> = (0..ops.len()).filter(|i| done >> i & 1 == 0).collect();
        let Some(first_end) = left.iter().filter_map(|i| ops[*i].end).min() else { return true };
        left.iter().filter(|i| ops[**i].start <= first_end).any(|i| {
            let op = &ops[*i];
            (op.set || op.value == value) && go(ops, done | 1 << i, &op.value, seen)
        })
    }
    go(ops, 0, "", &mut BTreeSet::new())
}

/// A random history of SET and GET of one key, by clients at every replica: messages come in any order, twice or not at all, clocks differ, disks are slow.
fn history(seed: u64, change: impl FnOnce(&mut Topology)) -> Vec<Op> {
    let mut rng = Rng::with_seed(seed);
    let n = rng.u32(3..=5);
    let w = rng.u32(1..=n);
    let r = rng.u32(n - w + 1..=n);
    let mut rig = Rig::peers_with(n, w, r, change);
    for id in 1..=n {
        rig.skew_ms.insert(id, rng.i64(0..4_000));
        (0..9).for_each(|client| rig.open(id, client));
    }
    let (lost, levels) = ([0, 0, 10, 30][rng.usize(..4)], ["", "CONSISTENCY ALL CALL ", "CONSISTENCY QUORUM CALL "]);
    let stronger = |level: &str| level != levels[2] || (w <= n / 2 + 1 && r <= n / 2 + 1);
    let (mut ops, mut open): (Vec<Op>, Vec<(usize, u32, u64)>) = (Vec::new(), Vec::new());
    for now in 0..2_500u64 {
        if ops.len() < 9 && rng.u32(..60) == 0 {
            let (id, client, set) = (rng.u32(1..=n), ops.len() as u64, rng.bool());
            let value = if set { format!("v{client}") } else { String::new() };
            let level = Some(levels[rng.usize(..3)]).filter(|level| stronger(level)).unwrap_or_default();
            open.push((ops.len(), id, client));
            ops.push(Op { set, value: value.clone(), start: now, end: None });
            rig.say(id, client, &if set { format!("{level}SET x {value}") } else { format!("{level}GET x") });
        }
        match rng.u32(..10) {
            0..=5 if !rig.under_way.is_empty() => {
                let message = rig.under_way.remove(rng.usize(..rig.under_way.len())).unwrap();
                if rng.u32(..100) >= lost {
                    if rng.u32(..10) == 0 {
                        rig.deliver(message.clone());
                    }
                    rig.deliver(message);
                }
            }
            0..=8 => {
                let id = rng.u32(1..=n);
                rig.nodes.get_mut(&id).unwrap().disk = rng.u32(..4) > 0;
                rig.turn_of(id);
            }
            _ => rig.now_us += rng.u64(..2_000),
        }
        open.retain(|(at, id, client)| {
            let heard = rig.heard(*id, *client);
            if heard.is_empty() {
                return true;
            }
            let op = &mut ops[*at];
            match heard.as_str() {
                "+OK" | "$-1" => op.end = Some(now),
                _ if heard.starts_with('$') => {
                    op.value = heard[heard.find(' ').unwrap() + 1..].into();
                    op.end = Some(now);
                }
                _ => assert!(heard.starts_with("-NOREPLICAS") || heard.starts_with("-INDOUBT"), "{heard}"),
            }
            false
        });
    }
    ops.retain(|op| op.set || op.end.is_some());
    ops
}

fn wrong(seeds: u64, change: fn(&mut Topology)) -> Vec<u64> {
    (0..seeds).filter(|seed| !is_linearizable(&history(*seed, change))).collect()
}

#[test]
fn a_register_is_linearizable_where_w_and_r_overlap() {
    let seeds = std::env::var("TRIREME_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(100);
    assert_eq!(wrong(seeds, |_| {}), [0; 0], "seeds whose histories no register has");
}

#[test]
fn a_history_that_no_register_has_is_found() {
    let op = |set: bool, value: &str, start, end| Op { set, value: value.into(), start, end };
    let after = [op(true, "a", 0, Some(1)), op(true, "b", 2, Some(3)), op(false, "a", 4, Some(5))];
    assert!(!is_linearizable(&after));
    // At the same time, or in doubt: whichever.
    assert!(is_linearizable(&[op(true, "a", 0, Some(3)), op(true, "b", 2, Some(3)), op(false, "a", 4, Some(5))]));
    assert!(is_linearizable(&[op(true, "a", 0, Some(1)), op(true, "b", 2, None), op(false, "a", 4, Some(5))]));
    let back =
        [op(true, "a", 0, Some(1)), op(true, "b", 2, None), op(false, "b", 4, Some(5)), op(false, "a", 6, Some(7))];
    assert!(!is_linearizable(&back), "two reads that go back in time");
}

#[test]
fn a_later_write_of_a_slower_clock_wins_only_where_clocks_are_asked() {
    for (order, read) in [(WriteOrder::Strict, "$6 second"), (WriteOrder::Clock, "$5 first")] {
        let mut rig = Rig::peers_with(3, 2, 2, |record| record.settings.write_order = order as i32);
        open(&mut rig);
        rig.skew_ms.insert(1, 4_000);
        rig.cut.extend([(1, 3), (2, 3)]);
        assert_eq!(rig.ask(1, C, "SET x first"), "+OK");
        rig.cut.remove(&(2, 3));
        rig.under_way.clear();
        assert_eq!(rig.ask(3, C, "SET x second"), "+OK");
        assert_eq!(rig.ask(2, C, "GET x"), read, "{order:?}");
    }
}

#[test]
fn a_client_says_what_it_saw_at_any_replica() {
    let mut rig = Rig::peers(3, 2, 2);
    open(&mut rig);
    let context_of = |heard: &str| heard.rsplit(' ').next().unwrap().to_owned();
    let none = context_of(&rig.ask(1, C, "SIBLINGS a"));
    let heard = rig.ask(1, C, &format!("PUT a zero CONTEXT {none}"));
    assert_eq!(heard, "+OK");
    let seen = context_of(&rig.ask(2, C, "SIBLINGS a"));
    assert_eq!(rig.ask(1, C, &format!("PUT a one CONTEXT {seen}")), "+OK");
    assert_eq!(rig.ask(3, C, &format!("PUT a two CONTEXT {seen}")), "+OK");
    let both = rig.ask(2, C, "SIBLINGS a");
    assert!(both.contains("$3 one") && both.contains("$3 two") && !both.contains("zero"), "{both}");
    assert_eq!(rig.ask(2, C, "GET a"), "$3 two", "the later one is read");
    let context = context_of(&both);
    assert_eq!(rig.ask(1, C, &format!("PUT a both CONTEXT {context}")), "+OK");
    let one = rig.ask(3, C, "SIBLINGS a");
    assert!(
        one.starts_with("*6 $8 siblings *1 *12 $5 value $4 both $8 clock_ms :")
            && one.contains("$4 read :1 $7 counter $-1"),
        "{one}"
    );
    for (command, why) in [
        (format!("PUT b v CONTEXT {context}"), "-ERR not a context of this key"),
        (format!("PUT a v CONTEXT {}x", &context[1..]), "-ERR not a context of this key"),
        (format!("PUT a v WITH {context}"), "-ERR syntax error"),
    ] {
        let heard = rig.ask(1, C, &command);
        assert!(heard.starts_with(why), "{command}: {heard}");
    }
    rig.ask(1, C, "MULTI");
    let heard = rig.ask(1, C, &format!("PUT a v CONTEXT {context}"));
    assert!(heard.starts_with("-ERR this command is not allowed inside a transaction"), "{heard}");
    assert!(rig.ask(1, C, "EXEC").starts_with("-EXECABORT"));
}
