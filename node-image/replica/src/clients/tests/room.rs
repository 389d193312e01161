//! Large commands and small ones, at one leader.

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

#[test]
fn a_small_command_waits_for_one_large_one_and_all_get_their_turn() {
    let mut rig = without_copies();
    let before = rig.report(1).last.seq;
    let large = 10..20;
    for client in large.clone() {
        rig.open(1, client);
        rig.say(1, client, &format!("SET {client} {}", "x".repeat(LARGE)));
    }
    rig.open(1, 7);
    rig.say(1, 7, "SET small 1");
    rig.run(50);
    // Nothing is committed: of the large ones one is executed, and the small one is behind that only.
    assert_eq!(rig.report(1).last.seq, before + 2);
    copies(&mut rig, true);
    rig.run(1);
    assert_eq!(rig.heard(1, 7), "+OK");
    rig.run(50);
    for client in large {
        assert_eq!(rig.heard(1, client), "+OK", "{client}");
    }
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
