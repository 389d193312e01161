//! Large commands and small ones, at one leader.

use std::collections::VecDeque;

use super::rig::Rig;

/// Bytes of a large value.
const LARGE: usize = 1 << 20;

/// Whether the followers' disks work.
fn copies(rig: &mut Rig, work: bool) {
    for id in [2, 3] {
        rig.nodes.get_mut(&id).unwrap().disk = work;
    }
}

/// A store in which nothing is committed for now.
fn without_copies() -> Rig {
    let mut rig = Rig::serving(3, 2);
    rig.run(100);
    copies(&mut rig, false);
    rig
}

/// Clients of this replica that each write a large value, and another one that writes a small one, while the others' disks stand still.
fn a_small_command_is_behind_one_large_one(rig: &mut Rig, at: u32) {
    copies(rig, false);
    let before = rig.report(1).last.seq;
    let large = 10..20;
    for client in large.clone() {
        rig.open(at, client);
        rig.say(at, client, &format!("SET {client} {}", "x".repeat(LARGE)));
    }
    rig.open(at, 7);
    rig.say(at, 7, "SET small 1");
    rig.run(20);
    // Nothing is committed: of the large ones one is executed, and the small one is behind that only.
    assert_eq!(rig.report(1).last.seq, before + 2);
    copies(rig, true);
    rig.run(1);
    assert_eq!(rig.heard(at, 7), "+OK");
    rig.run(50);
    for client in large {
        assert_eq!(rig.heard(at, client), "+OK", "{client}");
    }
}

#[test]
fn a_small_command_waits_for_one_large_one_and_all_get_their_turn() {
    let mut rig = Rig::serving(3, 2);
    rig.run(100);
    a_small_command_is_behind_one_large_one(&mut rig, 1);
}

#[test]
fn so_it_does_where_a_leader_is_asked_for_them() {
    let mut rig = Rig::serving(3, 2);
    rig.run(100);
    a_small_command_is_behind_one_large_one(&mut rig, 2);
}

#[test]
fn and_where_nobody_leads() {
    let mut rig = Rig::peers(3, 2, 2);
    rig.run(100);
    a_small_command_is_behind_one_large_one(&mut rig, 1);
}

/// Turns of a millisecond each, in which what is said takes so many to arrive.
fn run_on_lines_of(milliseconds: usize, rig: &mut Rig, turns: usize, mut each: impl FnMut(&mut Rig, usize)) {
    let mut lines = VecDeque::from(vec![VecDeque::new(); milliseconds]);
    for turn in 0..turns {
        each(rig, turn);
        lines.push_back(std::mem::take(&mut rig.under_way));
        rig.under_way = lines.pop_front().unwrap();
        rig.run(1);
    }
}

#[test]
fn rounds_that_large_commands_need_are_not_in_vain_however_long_they_take() {
    for line in [1, 5, 20, 40] {
        let mut rig = Rig::peers(3, 2, 2);
        rig.run(100);
        let large = 10..20;
        for client in large.clone() {
            rig.open(1, client);
            rig.say(1, client, &format!("SET {client} {}", "x".repeat(LARGE)));
        }
        rig.open(1, 7);
        // A round and an entry's way, there and back, for each.
        let turns = large.clone().count() * (4 * line + 3);
        run_on_lines_of(line, &mut rig, turns, |rig, turn| rig.say(1, 7, &format!("SET small {turn}")));
        for client in large {
            assert_eq!(rig.heard(1, client), "+OK", "{client}, lines of {line} ms");
        }
    }
}

#[test]
fn a_large_command_that_is_not_answered_holds_up_others_for_a_moment() {
    let mut rig = without_copies();
    let before = rig.report(1).last.seq;
    for client in [7, 8] {
        rig.open(1, client);
        rig.say(1, client, &format!("SET {client} {}", "x".repeat(LARGE)));
    }
    for (milliseconds, executed) in [(40, 1), (20, 2)] {
        rig.run(milliseconds);
        assert_eq!(rig.report(1).last.seq, before + executed);
    }
}

#[test]
fn a_large_command_of_a_busy_client_holds_up_others_until_it_is_committed() {
    let mut rig = without_copies();
    for client in [7, 8] {
        rig.open(1, client);
        rig.say(1, client, &format!("SET {client} {}", "x".repeat(LARGE)));
    }
    rig.run(1);
    rig.say(1, 7, "SET small 1");
    copies(&mut rig, true);
    rig.run(1);
    copies(&mut rig, false);
    let before = rig.report(1).last.seq;
    for small in 0..20 {
        rig.say(1, 7, &format!("SET small {small}"));
        rig.run(1);
    }
    assert_eq!(rig.report(1).last.seq, before + 20, "the other large one is among what came before");
    copies(&mut rig, true);
    rig.run(5);
    assert_eq!(rig.heard(1, 8), "+OK");
}

#[test]
fn a_large_command_that_does_nothing_holds_up_nobody() {
    let mut rig = without_copies();
    let before = rig.report(1).last.seq;
    for client in 10..20 {
        rig.open(1, client);
        rig.say(1, client, &format!("SET none {} XX", "x".repeat(LARGE)));
    }
    rig.open(1, 7);
    rig.say(1, 7, &format!("SET 7 {}", "x".repeat(LARGE)));
    rig.run(2);
    assert_eq!(rig.report(1).last.seq, before + 1);
}

#[test]
fn a_large_command_has_its_turn_beside_others_that_fill_all_room() {
    let mut rig = without_copies();
    let (before, middle) = (rig.report(1).last.seq, "x".repeat(60_000));
    for client in 10..60 {
        rig.open(1, client);
        rig.say(1, client, &format!("SET {client} {middle}"));
    }
    for client in [7, 8] {
        rig.open(1, client);
        rig.say(1, client, &format!("SET {client} {}", "x".repeat(LARGE)));
    }
    rig.run(5);
    assert_eq!(rig.report(1).last.seq, before + 51, "all of the others, and one large one");
    copies(&mut rig, true);
    rig.run(50);
    assert_eq!([7, 8].map(|client| rig.heard(1, client)), ["+OK", "+OK"]);
}
