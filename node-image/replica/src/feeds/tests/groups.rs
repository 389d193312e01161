//! Groups that have leaders: what they ship, what they take in, and what a failover on either side does to it.

use std::collections::BTreeSet;

use fastrand::Rng;

use trireme_proto::{ids::Peer, topology::Leaving};

use crate::{clients::tests::rig::Rig, io::Input};

const C: u64 = 7;

fn open(rig: &mut Rig) {
    let ids: Vec<u32> = rig.nodes.keys().copied().collect();
    ids.into_iter().for_each(|id| rig.open(id, C));
}

/// All replicas have received the same, and hold the same.
fn assert_same(rig: &mut Rig) {
    let of = |rig: &Rig, id: u32| {
        let replica = rig.replica(id);
        (format!("{:?}", replica.received()), replica.engine.digest_total(), replica.engine.key_count())
    };
    let ids: Vec<u32> = rig.nodes.iter().filter(|(_, node)| node.running).map(|(id, _)| *id).collect();
    let first = of(rig, ids[0]);
    for id in ids {
        assert_eq!(of(rig, id), first, "replica {id}");
    }
}

/// Breaks the connections between the groups of this replica and of all others.
fn cut_off(rig: &mut Rig, group: u32) {
    let ids: Vec<u32> = rig.nodes.keys().copied().collect();
    let (inside, outside): (Vec<u32>, Vec<u32>) = ids.into_iter().partition(|id| (id - 1) / 10 + 1 == group);
    for (a, b) in inside.iter().flat_map(|a| outside.iter().map(move |b| (*a, *b))) {
        rig.disconnect(a, b);
    }
}

fn heal(rig: &mut Rig) {
    for (a, b) in std::mem::take(&mut rig.cut) {
        rig.connect(a, b);
    }
}

#[test]
fn what_is_written_in_one_region_is_read_in_all() {
    for n in [1, 3] {
        let mut rig = Rig::regions(3, n, n / 2 + 1);
        open(&mut rig);
        assert_eq!(
            [rig.ask(1, C, "SET a 1"), rig.ask(11, C, "SET b 2"), rig.ask(21, C, "INCR c")],
            ["+OK", "+OK", ":1"]
        );
        assert_eq!([rig.ask(1, C, "INCR c"), rig.ask(11, C, "INCR c")], [":2", ":3"]);
        rig.run(100);
        for id in [n, 10 + n, 20 + n] {
            assert_eq!(
                [rig.ask(id, C, "GET a"), rig.ask(id, C, "GET b"), rig.ask(id, C, "GET c")],
                ["$1 1", "$1 2", "$1 3"]
            );
        }
        assert_same(&mut rig);
    }
}

#[test]
fn only_what_is_committed_leaves() {
    let mut rig = Rig::regions(2, 3, 2);
    open(&mut rig);
    [2, 3].into_iter().for_each(|id| rig.nodes.get_mut(&id).unwrap().disk = false);
    assert_eq!(rig.ask(1, C, "SET a 1"), "");
    rig.run(100);
    assert_eq!(rig.ask(11, C, "GET a"), "$-1");
    rig.nodes.get_mut(&2).unwrap().disk = true;
    rig.run(100);
    assert_eq!([rig.heard(1, C), rig.ask(11, C, "GET a")], ["+OK", "$1 1"]);
}

#[test]
fn what_came_in_is_undone_with_all_else_that_was_not_committed() {
    let mut rig = Rig::regions(2, 3, 2);
    open(&mut rig);
    // It arrives at a leader that does not know yet that it cannot commit any more.
    rig.cut.extend([(1, 2), (1, 3)]);
    assert_eq!(rig.ask(11, C, "SET a 1"), "+OK");
    assert_eq!(rig.ask(11, C, "RPUSH l x y"), ":2");
    rig.run(20);
    assert!(rig.replica(1).engine.key_count() == 2, "it has come");
    rig.fail_over(2);
    rig.run(100);
    assert_eq!([rig.ask(2, C, "GET a"), rig.ask(2, C, "LRANGE l 0 -1")], ["$1 1", "*2 $1 x $1 y"], "it came again");
    heal(&mut rig);
    rig.tell();
    rig.run(500);
    assert_same(&mut rig);
}

#[test]
fn a_failover_on_either_side_loses_and_repeats_nothing() {
    let mut rig = Rig::regions(2, 3, 2);
    open(&mut rig);
    for round in 0..4 {
        for _ in 0..5 {
            assert!(rig.ask(1, C, "INCR c").starts_with(':'));
            assert!(rig.ask(11, C, "INCR c").starts_with(':'));
        }
        let (here, there) = ([2, 3, 1, 2][round], [11, 12, 13, 11][round]);
        rig.fail_over(here);
        rig.fail_over(there);
        rig.run(200);
    }
    rig.run(500);
    for id in [1, 2, 3, 11, 12, 13] {
        assert_eq!(rig.ask(id, C, "GET c"), "$2 40");
    }
    assert_same(&mut rig);
}

#[test]
fn a_region_that_was_cut_off_gets_what_it_missed_and_gives_what_it_wrote() {
    let mut rig = Rig::regions(3, 1, 1);
    open(&mut rig);
    cut_off(&mut rig, 3);
    for i in 0..50 {
        assert_eq!(rig.ask(21, C, &format!("SET there{i} {i}")), "+OK");
        assert_eq!(rig.ask(1, C, &format!("SET here{i} {i}")), "+OK");
        assert!(rig.ask(11, C, "INCR c").starts_with(':') && rig.ask(21, C, "INCR c").starts_with(':'));
    }
    assert_eq!([rig.ask(21, C, "GET here1"), rig.ask(1, C, "GET there1")], ["$-1", "$-1"]);
    heal(&mut rig);
    rig.run(1_000);
    assert_same(&mut rig);
    assert_eq!(
        [rig.ask(21, C, "GET here49"), rig.ask(1, C, "GET there49"), rig.ask(1, C, "GET c")],
        ["$2 49", "$2 49", "$3 100"]
    );
}

#[test]
fn entries_go_by_way_of_a_third_region_where_two_do_not_reach_each_other() {
    let mut rig = Rig::regions(3, 1, 1);
    open(&mut rig);
    rig.disconnect(1, 21);
    assert_eq!([rig.ask(1, C, "SET a 1"), rig.ask(21, C, "SET b 1")], ["+OK", "+OK"]);
    rig.run(1_500);
    assert_eq!([rig.ask(21, C, "GET a"), rig.ask(1, C, "GET b")], ["$1 1", "$1 1"]);
    assert_same(&mut rig);
}

#[test]
fn feeds_are_paused_on_request_and_go_on_where_they_were() {
    let mut rig = Rig::regions(2, 1, 1);
    open(&mut rig);
    let pause = |rig: &mut Rig, paused| {
        for id in [1, 11] {
            let record = rig.record_of(id);
            (record.groups[0].paused, record.version) = (paused, record.version + 1);
        }
        rig.tell();
        rig.run(100);
    };
    pause(&mut rig, true);
    assert_eq!([rig.ask(1, C, "INCR a"), rig.ask(11, C, "INCR a")], [":1", ":1"]);
    rig.run(500);
    assert_eq!([rig.ask(1, C, "GET a"), rig.ask(11, C, "GET a")], ["$1 1", "$1 1"]);
    let feed = rig.report(1).feeds[0];
    assert_eq!((feed.reachable, feed.lag_entries), (false, 1));
    pause(&mut rig, false);
    rig.run(200);
    assert_eq!([rig.ask(1, C, "GET a"), rig.ask(11, C, "GET a")], ["$1 2", "$1 2"]);
    assert_same(&mut rig);
}

#[test]
fn a_peer_whose_line_is_full_gets_no_more_of_what_it_missed_until_it_has_room() {
    let mut rig = Rig::regions(2, 1, 1);
    open(&mut rig);
    cut_off(&mut rig, 2);
    for i in 0..20 {
        assert_eq!(rig.ask(1, C, &format!("SET k{i} {i}")), "+OK");
    }
    heal(&mut rig);
    rig.step(1, Input::PeerBusy(Peer::Replica(11), true));
    rig.run(1_000);
    assert_eq!(rig.ask(11, C, "EXISTS k0 k19"), ":0");
    rig.step(1, Input::PeerBusy(Peer::Replica(11), false));
    rig.run(1_000);
    assert_eq!(rig.ask(11, C, "EXISTS k0 k19"), ":2");
    assert_same(&mut rig);
}

#[test]
fn nobody_sees_an_effect_before_its_cause() {
    let mut rig = Rig::regions(3, 1, 1);
    open(&mut rig);
    rig.disconnect(1, 21);
    assert_eq!(rig.ask(1, C, "SET cause 1"), "+OK");
    assert_eq!(rig.ask(11, C, "GET cause"), "$1 1");
    assert_eq!(rig.ask(11, C, "SET effect 1"), "+OK");
    assert_eq!([rig.ask(21, C, "GET effect"), rig.ask(21, C, "GET cause")], ["$-1", "$-1"]);
    rig.run(1_500);
    assert_eq!([rig.ask(21, C, "GET cause"), rig.ask(21, C, "GET effect")], ["$1 1", "$1 1"]);
    assert_same(&mut rig);
}

#[test]
fn a_region_away_for_longer_than_any_log_gets_state() {
    let mut rig = Rig::regions(2, 3, 2);
    open(&mut rig);
    for group in [1, 11] {
        rig.record_of(group).settings.log_bytes_max = 4096;
        rig.record_of(group).version += 1;
    }
    rig.tell();
    for i in 0..20 {
        assert_eq!(rig.ask(1, C, &format!("SET k{i} {i}")), "+OK");
    }
    rig.run(200);
    cut_off(&mut rig, 2);
    for i in 0..200 {
        assert_eq!(rig.ask(1, C, &format!("SET k{} new", i % 40)), "+OK");
        assert_eq!(rig.ask(11, C, &format!("SADD s m{i}")), ":1");
    }
    assert_eq!(rig.ask(1, C, "DEL k3"), ":1");
    rig.run(2_000);
    heal(&mut rig);
    rig.run(3_000);
    assert_same(&mut rig);
    assert_eq!(
        [rig.ask(11, C, "GET k3"), rig.ask(12, C, "GET k39"), rig.ask(1, C, "SCARD s")],
        ["$-1", "$3 new", ":200"]
    );
}

/// A region that gets state, of so many bytes a value, is read all the time; perhaps by way of a third one, which passes on what is new, too. How many reads
/// were answered while it did not yet have what was written before it came back, and how many after.
fn reads_while_state_comes(value: usize, by_way: bool) -> (u32, u32) {
    let groups = if by_way { 3 } else { 2 };
    let mut rig = Rig::regions(groups, 3, 2);
    open(&mut rig);
    for group in 0..groups {
        let record = rig.record_of(10 * group + 1);
        (record.settings.log_bytes_max, record.settings.feed_bytes_per_second) = (4096, 20 * (value as u64 + 500));
        record.version += 1;
    }
    rig.tell();
    let there = [10 * (groups - 1) + 1, 10 * (groups - 1) + 2];
    [8, 9].into_iter().for_each(|client| there.into_iter().for_each(|id| rig.open(id, client)));
    assert_eq!(rig.ask(there[1], 8, "READONLY"), "+OK");
    cut_off(&mut rig, groups);
    let padding = "x".repeat(value);
    let write = |rig: &mut Rig, i: u32| {
        for key in ["cause", "effect"] {
            // In slots of their own, and as many others in between.
            assert_eq!(rig.ask(1, C, &format!("SET {key} {i}")), "+OK");
            assert_eq!(rig.ask(1, C, &format!("SET {key}{} {padding}", i % 20)), "+OK");
        }
    };
    (0..200).for_each(|i| write(&mut rig, i));
    rig.run(1_000);
    let apart: Vec<_> = rig.cut.iter().copied().filter(|(a, _)| by_way && *a < 10).collect();
    heal(&mut rig);
    apart.into_iter().for_each(|(a, b)| rig.disconnect(a, b));
    let (mut old, mut new) = (0, 0);
    let number = |reply: &str| reply.rsplit(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    for i in 200..500 {
        write(&mut rig, i);
        for id in there {
            // The one that is read first must not be ahead of the other.
            let effect = rig.ask(id, 8, "GET effect");
            let cause = rig.ask(id, 8, "GET cause");
            if effect.starts_with('$') && cause.starts_with('$') {
                assert!(number(&effect) <= number(&cause), "at {id}: {effect} and {cause}, in round {i}");
                *(if number(&effect) < 199 { &mut old } else { &mut new }) += 1;
            }
            assert_eq!(rig.ask(id, 9, &format!("SET own {i}")), "+OK", "what looks at nothing is taken");
        }
    }
    rig.run(3_000);
    assert_same(&mut rig);
    (old, new)
}

#[test]
fn state_that_comes_is_shown_when_all_of_it_is_there() {
    // It is kept aside until then, or reads wait where it is too much for that.
    for (value, by_way) in [(1, false), (1_000, false), (1, true)] {
        let (old, new) = reads_while_state_comes(value, by_way);
        assert!(old > 0 && new > 200, "{value}, {by_way}: {old} before, {new} after");
        assert!(value > 1 || old + new == 600, "{by_way}: {old} before and {new} after: all are answered");
    }
}

/// Random writes, failovers, partitions and slow disks: at the end all replicas hold the same, counters sum up what was acknowledged, and sets have what
/// was added.
fn history(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let (groups, n) = (rng.u32(2..=3), if rng.bool() { 1 } else { 3 });
    let mut rig = Rig::regions(groups, n, n / 2 + 1);
    let small = rng.u8(..3) == 0;
    for group in 0..groups {
        let record = rig.record_of(10 * group + 1);
        record.settings.log_bytes_max = if small { 2048 } else { 64 << 20 };
        record.version += 1;
    }
    rig.tell();
    rig.run(50);
    open(&mut rig);
    let (mut counted, mut in_doubt, mut members) = (0, 0, BTreeSet::new());
    let mut asked: Vec<Option<(bool, String)>> = vec![None; 10 * groups as usize + 1];
    for step in 0..400 {
        let group = rng.u32(..groups);
        let id = 10 * group + rng.u32(1..=n);
        match rng.u8(..20) {
            0..=9 if asked[id as usize].is_none() => {
                let counts = rng.bool();
                let member = format!("m{step}");
                rig.say(id, C, &if counts { "INCR c".to_owned() } else { format!("SADD s {member}") });
                asked[id as usize] = Some((counts, member));
            }
            10 => rig.say(id, 9, &format!("SET k{} {step}", rng.u8(..4))),
            11 => rig.say(id, 9, &format!("DEL k{}", rng.u8(..4))),
            12 if n > 1 => {
                // All of them are sealed, so whoever has the most has everything.
                (1..=n).for_each(|k| rig.nodes.get_mut(&(10 * group + k)).unwrap().disk = true);
                rig.elect(id);
            }
            13 => cut_off(&mut rig, group + 1),
            14 | 15 => heal(&mut rig),
            16 => {
                let slow = rng.bool();
                rig.nodes.get_mut(&id).unwrap().disk = slow;
            }
            _ => rig.run(rng.u64(1..60)),
        }
        rig.turn();
        for at in rig.nodes.keys().copied().collect::<Vec<_>>() {
            if let Some((counts, member)) = asked[at as usize].clone() {
                let heard = rig.heard(at, C);
                if heard.is_empty() {
                    continue;
                }
                asked[at as usize] = None;
                match (counts, heard.starts_with(':')) {
                    (true, true) => counted += 1,
                    (true, false) => in_doubt += u32::from(heard.starts_with("-INDOUBT")),
                    (false, true) => drop(members.insert(member)),
                    (false, false) => {}
                }
            }
        }
    }
    in_doubt += asked.iter().flatten().filter(|(counts, _)| *counts).count() as u32;
    rig.nodes.values_mut().for_each(|node| node.disk = true);
    heal(&mut rig);
    rig.tell();
    rig.run(4_000);
    assert_same(&mut rig);
    rig.open(1, 5);
    let count: u32 = rig.ask(1, 5, "GET c").split(' ').nth(1).map_or(0, |text| text.parse().unwrap());
    assert!(
        (counted..=counted + in_doubt).contains(&count),
        "seed {seed}: {count} of {counted} and {in_doubt} in doubt"
    );
    for member in members {
        assert_eq!(rig.ask(1, 5, &format!("SISMEMBER s {member}")), ":1", "seed {seed}: {member}");
    }
}

#[test]
fn random_histories_converge_to_what_was_acknowledged() {
    let seeds = std::env::var("TRIREME_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(25);
    (0..seeds).for_each(history);
}

#[test]
fn a_group_that_leaves_takes_no_more_writes_and_says_when_it_has_written_its_last() {
    let mut rig = Rig::regions(2, 3, 2);
    open(&mut rig);
    rig.open(12, 8);
    assert_eq!([rig.ask(11, C, "SET a 1"), rig.ask(12, 8, "BLPOP nothing 0")], ["+OK", ""]);
    let decide = |rig: &mut Rig, leaving: Leaving| {
        let record = rig.record_of(11);
        (record.version, record.leaving) = (record.version + 1, leaving as i32);
        record.replicas[0].client_address = "10.0.0.11:6379".into();
        record.groups[0].replicas[0].client_address = "10.0.0.1:6379".into();
        rig.tell();
        rig.run(20);
    };
    // Two copies of what was written last are missing.
    [12, 13].into_iter().for_each(|id| rig.nodes.get_mut(&id).unwrap().disk = false);
    assert_eq!(rig.ask(11, C, "SET a 2"), "");
    decide(&mut rig, Leaving::Drains);
    assert!(rig.report(11).serving && !rig.report(11).closed);
    [12, 13].into_iter().for_each(|id| rig.nodes.get_mut(&id).unwrap().disk = true);
    rig.run(100);
    assert!(rig.report(11).closed, "{:?}", rig.report(11));
    let refused = "-REGIONLEAVES the region r2 leaves the store and takes no more writes; nothing was done. Write in r1 (10.0.0.1:6379)";
    assert_eq!([rig.heard(11, C), rig.heard(12, 8)], ["+OK", refused]);
    assert_eq!(
        [rig.ask(11, C, "SET a 3"), rig.ask(12, C, "INCR b"), rig.ask(12, C, "GET a")],
        [refused, refused, "$1 2"]
    );
    assert_eq!([rig.ask(1, C, "SET b there"), rig.ask(11, C, "GET b")], ["+OK", "$5 there"]);
    // Whoever leads next knows it.
    rig.fail_over(12);
    rig.run(300);
    assert_eq!([rig.ask(12, C, "SET a 4"), rig.ask(12, C, "GET a")], [refused, "$1 2"]);
    assert!(rig.report(12).closed);
    decide(&mut rig, Leaving::Stays);
    assert_eq!(rig.ask(12, C, "SET a 5"), "+OK");
    assert!(!rig.report(12).closed);
    rig.run(100);
    assert_same(&mut rig);
}

#[test]
fn a_comparison_has_a_number_that_none_had_when_this_replica_led_before() {
    let mut rig = Rig::regions(2, 3, 2);
    let begin = |rig: &mut Rig| {
        let replica = &mut rig.nodes.get_mut(&1).unwrap().replica;
        replica.begin_exchange(2);
        replica.exchanges
    };
    let first = begin(&mut rig);
    for leader in [2, 1] {
        rig.fail_over(leader);
        rig.run(300);
    }
    assert!(rig.serves(1));
    assert_eq!(begin(&mut rig), first + 1);
}
