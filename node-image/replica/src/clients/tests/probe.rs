//! Writes of nothing: who answers them, when, and who sees them.

use super::rig::Rig;

/// Who answered, and which question.
fn answered(rig: &mut Rig) -> Vec<(u32, u64)> {
    std::mem::take(&mut rig.probed).into_iter().map(|(id, probed)| (id, probed.number)).collect()
}

#[test]
fn the_leader_answers_when_it_is_committed_and_no_client_sees_it() {
    let mut rig = Rig::serving(3, 2);
    rig.open(1, 7);
    assert_eq!(rig.ask(1, 7, "SET a 1"), "+OK");
    let before = rig.replica(1).digests(0, u16::MAX);
    rig.probe(5);
    rig.turn();
    rig.turn();
    assert!(rig.probed.is_empty(), "its own copy alone is not enough");
    rig.run(60);
    let probed = rig.probed[0].1;
    assert_eq!(answered(&mut rig), [(1, 5)]);
    assert_eq!(rig.ask(1, 7, "DBSIZE"), ":1");
    assert_eq!(rig.ask(1, 7, "KEYS *"), "*1 $1 a");
    for id in 1..=3 {
        assert!(rig.report(id).applied >= probed.seq);
        assert_eq!(rig.replica(id).digests(0, u16::MAX).digests, before.digests);
        assert_eq!(rig.replica(id).received().highest(probed.dot.origin), probed.dot.seq);
    }
}

#[test]
fn without_enough_copies_nobody_answers_and_what_was_deposed_is_never_answered() {
    let mut rig = Rig::serving(3, 2);
    rig.isolate(1);
    rig.probe(1);
    rig.run(50);
    assert!(rig.probed.is_empty());
    rig.fail_over(2);
    rig.run(100);
    rig.probe(2);
    rig.run(100);
    assert_eq!(answered(&mut rig), [(2, 2)]);
    for other in [2, 3] {
        rig.connect(1, other);
    }
    rig.tell();
    rig.run(300);
    rig.probe(3);
    rig.run(100);
    assert_eq!(answered(&mut rig), [(2, 3)], "and the old leader has forgotten the first");
    assert_eq!(rig.report(1).applied, rig.report(2).applied);
}

#[test]
fn so_many_may_wait_and_no_more() {
    let mut rig = Rig::serving(3, 2);
    rig.isolate(1);
    let before = rig.report(1).last.seq;
    (0..200).for_each(|number| rig.probe(number));
    rig.run(5);
    assert!(rig.report(1).last.seq - before <= 64);
}

#[test]
fn where_nobody_leads_whoever_is_asked_answers_with_w_copies() {
    let mut rig = Rig::peers(3, 2, 2);
    rig.open(1, 7);
    assert_eq!(rig.ask(1, 7, "SET a 1"), "+OK");
    rig.probe(9);
    rig.run(100);
    let all = rig.probed.clone();
    assert_eq!(answered(&mut rig), [(1, 9), (2, 9), (3, 9)]);
    for (_, probed) in all {
        assert!((1..=3).all(|id| rig.replica(id).received().highest(probed.dot.origin) >= probed.dot.seq));
    }
    assert_eq!(rig.ask(1, 7, "DBSIZE"), ":1");
    assert_eq!(rig.replica(1).digests(0, u16::MAX).digests, rig.replica(2).digests(0, u16::MAX).digests);
    rig.isolate(3);
    rig.run(1_100);
    rig.probe(10);
    rig.run(100);
    assert_eq!(answered(&mut rig), [(1, 10), (2, 10)]);
}

#[test]
fn between_regions_they_travel_like_entries() {
    let mut rig = Rig::regions(2, 1, 1);
    rig.probe(4);
    rig.run(100);
    let all = rig.probed.clone();
    assert_eq!(answered(&mut rig), [(1, 4), (11, 4)]);
    for (by, probed) in all {
        let other = if by == 1 { 11 } else { 1 };
        assert!(rig.replica(other).received().highest(probed.dot.origin) >= probed.dot.seq);
    }
}
