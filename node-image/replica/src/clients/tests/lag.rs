//! What a leader says of how far its followers are behind.

use super::rig::Rig;

#[test]
fn a_new_leader_says_no_more_of_a_followers_lag_than_it_can_know() {
    let mut rig = Rig::serving(3, 2);
    rig.open(1, 7);
    assert_eq!(rig.ask(1, 7, "SET a 1"), "+OK");
    rig.run(3_000);
    rig.nodes.get_mut(&1).unwrap().running = false;
    rig.isolate(1);
    rig.fail_over(2);
    let (begun_us, mut most) = (rig.now_us, 0);
    for _ in 0..200 {
        rig.now_us += 250;
        rig.turn();
        let follower = rig.report(2).followers.into_iter().find(|follower| follower.id == 3);
        let lag_ms = follower.map_or(0, |follower| follower.lag_ms);
        assert!(lag_ms <= (rig.now_us - begun_us) / 1_000, "{lag_ms} ms, a moment after the epoch began");
        most = most.max(lag_ms);
    }
    assert!(rig.serves(2) && most < 10, "{most}");
}

#[test]
fn what_a_follower_had_is_remembered_while_it_is_away() {
    let mut rig = Rig::serving(3, 2);
    rig.open(1, 8);
    assert_eq!(rig.ask(1, 8, "SET b 1"), "+OK");
    rig.run(100);
    rig.disconnect(1, 3);
    rig.run(200);
    let lag = |rig: &Rig| {
        let follower = rig.report(1).followers.into_iter().find(|follower| follower.id == 3).unwrap();
        (follower.lag_entries, follower.lag_ms)
    };
    assert_eq!(lag(&rig), (0, 0));
    rig.say(1, 8, "SET c 1");
    rig.run(100);
    let (entries, ms) = lag(&rig);
    assert!(entries == 1 && (90..=110).contains(&ms), "{entries} entries, {ms} ms");
    rig.connect(1, 3);
    rig.run(5);
    assert_eq!(lag(&rig), (0, 0));
}
