//! What clients see, in a small world of replicas: [`rig`].

mod rig;

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
