//! Very many keys that expire at once: how many turns that takes, and who has his turn meanwhile.

use super::rig::Rig;

const KEYS: u64 = 5_000;
/// Removed by one entry.
const EACH: u64 = 256;

/// Three replicas, of which the first leads, with keys all of which have expired just now. Nobody has looked yet.
fn rig() -> Rig {
    let mut rig = Rig::serving(3, 2);
    [7, 8].into_iter().for_each(|client| rig.open(1, client));
    rig.ask(1, 7, "SET live 1");
    let at_ms = rig.now_of(1).wall_ms + 1_000;
    (0..KEYS).for_each(|key| rig.say(1, 7, &format!("SET k:{key} v PXAT {at_ms}")));
    while rig.now_of(1).wall_ms + 10 < at_ms {
        rig.run(1);
    }
    assert_eq!((rig.heard(1, 7).matches("+OK").count() as u64, keys(&rig)), (KEYS, KEYS + 1));
    rig.now_us += 60_000;
    rig
}

fn keys(rig: &Rig) -> u64 {
    rig.replica(1).engine.key_count()
}

#[test]
fn they_go_turn_by_turn_without_a_pause_and_clients_are_served_in_between() {
    let mut rig = rig();
    let (mut turns, mut answered, mut left) = (0, 0, KEYS + 1);
    while left > 1 {
        rig.say(1, 8, "INCR count");
        rig.say(1, 8, "DEL count");
        rig.turn();
        turns += 1;
        answered += rig.heard(1, 8).matches(':').count();
        let now = keys(&rig);
        assert!(left - now <= 2 * EACH, "{} in one turn", left - now);
        left = now;
        assert!(left == 1 || rig.deadline_us(1) == rig.now_us, "the next turn comes at once: {left} left");
        assert!(turns < 100, "{left} left");
    }
    assert!(turns <= KEYS.div_ceil(EACH) + 1, "{turns}");
    // What was said in all but the last turns is answered: that much takes the way to a follower's disk and back.
    assert!(answered + 2 * 4 >= 2 * turns as usize, "{answered} answers in {turns} turns");
    rig.turn();
    assert!(rig.deadline_us(1) > rig.now_us);
    rig.run(200);
    let digests = [1, 2, 3].map(|id| rig.replica(id).engine.digest_total());
    assert_eq!((digests, keys(&rig)), ([digests[0]; 3], 1));
}

#[test]
fn as_many_are_under_way_as_are_committed_in_time() {
    let mut rig = rig();
    let disks = |rig: &mut Rig, work: bool| [2, 3].map(|id| rig.nodes.get_mut(&id).unwrap().disk = work);
    disks(&mut rig, false);
    (0..50).for_each(|_| rig.turn());
    assert_eq!(KEYS + 1 - keys(&rig), 8 * EACH);
    assert!(rig.deadline_us(1) > rig.now_us, "nobody waits busily");
    disks(&mut rig, true);
    (0..50).for_each(|_| rig.turn());
    assert_eq!(keys(&rig), 1);
}
