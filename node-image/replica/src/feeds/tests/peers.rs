//! What groups of one take in of each other, and whom they count.

use bytes::Bytes;
use trireme_proto::{
    Message, SLOTS,
    ids::Origin,
    message::{Compare, Feed, PartImage, Round, Seen, States},
};

use crate::{
    clients::tests::rig::Rig,
    engine::{At, Engine, Scope, slot_of},
};

use crate::feeds::sets;

/// A state of one key that another engine has: its slot's image.
fn image_of(key: &str, value: &str, now_ms: u64) -> PartImage {
    let mut engine = Engine::new();
    engine.set_origin(Origin { group: 9, generation: 1 });
    let at = At { seq: 1, now_ms, keep_undo: false };
    engine.execute(&at, &mut Vec::new(), |access| access.put_string(key.as_bytes(), value.as_bytes(), false));
    let mut image = Vec::new();
    engine.export_part(slot_of(key.as_bytes()), Scope::Named, &[key.as_bytes()], &mut image);
    PartImage { slot: slot_of(key.as_bytes()).into(), image: image.into() }
}

fn wall_ms(rig: &Rig) -> u64 {
    1_700_000_000_000 + rig.now_us / 1_000
}

#[test]
fn a_clock_beyond_the_bound_is_refused_in_every_message_of_a_feed() {
    let mut rig = Rig::peers(3, 2, 2);
    let clock = (wall_ms(&rig) + 60_000) << 16;
    let before = rig.replica(1).engine.clock();
    let feed = Feed {
        epoch: rig.record.epoch,
        version: rig.record.version,
        clock,
        rounds: vec![Round { number: 1, keys: vec![Bytes::from_static(b"a")], digests: vec![0], ..Round::default() }],
        mends: vec![trireme_proto::message::Mend {
            number: 1,
            images: vec![image_of("a", "x", wall_ms(&rig) + 60_000)],
        }],
        ..Feed::default()
    };
    let compare = Compare { number: 1, first_slot: 0, digests: vec![7; 1024], clock, ..Compare::default() };
    let states =
        States { number: 1, images: vec![image_of("a", "x", wall_ms(&rig) + 60_000)], clock, ..States::default() };
    let differ = trireme_proto::message::Differ { number: 1, clock, ..Default::default() };
    rig.under_way.clear();
    let all = [
        Message::Feed(Box::new(feed)),
        Message::Compare(Compare { clock: 0, ..compare.clone() }),
        Message::Compare(compare),
        Message::Differ(differ),
        Message::States(states),
    ];
    for (i, message) in all.into_iter().enumerate() {
        rig.deliver((2, 1, message));
        // The one without a clock is of a version that said none there.
        let refused = [1, 1, 2, 3, 4][i];
        assert_eq!(rig.replica(1).counters.clock_refusals, refused, "message {i}");
    }
    assert_eq!(rig.replica(1).engine.clock(), before);
    assert_eq!(rig.replica(1).engine.key_digest(b"a"), 0, "nothing of it was joined");
    rig.turn_of(1);
    let answered = |message: &Message| matches!(message, Message::Feed(feed) if !feed.answers.is_empty());
    assert!(!rig.under_way.iter().any(|(from, _, message)| *from == 1 && answered(message)), "no round was answered");
}

#[test]
fn a_replica_whose_clock_jumps_poisons_nobody() {
    let mut rig = Rig::peers(3, 2, 2);
    [1, 2, 3].into_iter().for_each(|id| rig.open(id, 7));
    assert_eq!(rig.ask(2, 7, "SET a before"), "+OK");
    rig.skew_ms.insert(1, 10 * 60_000);
    rig.say(1, 7, "SET a jumped");
    rig.run(2_000);
    assert_eq!(rig.ask(3, 7, "GET a"), "$6 before");
    assert_eq!(rig.ask(2, 7, "SET a after"), "+OK");
    assert_eq!(rig.ask(3, 7, "GET a"), "$5 after");
    for id in [2, 3] {
        let report = rig.report(id);
        assert!(report.counters.clock_refusals > 0 && report.clock_offset_ms > 9 * 60_000, "{report:?}");
        assert!(rig.replica(id).engine.clock() >> 16 < wall_ms(&rig) + 5_000);
        let reached: Vec<_> = report.followers.iter().filter(|f| f.reachable).map(|f| f.id).collect();
        assert_eq!(reached, [5 - id], "of whom nothing is taken in, he is missing");
    }
    assert_eq!(rig.report(1).clock_offset_ms, 0, "the others are behind it");
}

#[test]
fn the_offset_is_that_of_the_peer_that_is_furthest_ahead_now() {
    let mut rig = Rig::peers(3, 2, 2);
    rig.open(1, 7);
    // Nobody has written: no clock has been said yet, which is no difference of centuries.
    assert_eq!(rig.report(1).clock_offset_ms, 0);
    rig.skew_ms.insert(2, 3_000);
    rig.skew_ms.insert(3, -4_000);
    [2, 3].into_iter().for_each(|id| rig.open(id, 7));
    assert_eq!(rig.ask(2, 7, "SET a 1"), "+OK");
    rig.run(50);
    let offset = rig.report(1).clock_offset_ms;
    assert!((2_800..=3_000).contains(&offset), "{offset}");
    // Time goes on, and nobody's clock is ahead any more.
    rig.skew_ms.insert(2, 0);
    rig.run(4_000);
    assert_eq!(rig.report(1).clock_offset_ms, 0);
    // One that was ahead and has gone silent counts for nothing after the suspicion time.
    rig.skew_ms.insert(2, 4_500);
    assert_eq!(rig.ask(2, 7, "SET a 2"), "+OK");
    rig.cut.insert((1, 2));
    rig.cut.insert((1, 3));
    assert!(rig.report(1).clock_offset_ms > 4_000);
    rig.run(1_100);
    assert_eq!(rig.report(1).clock_offset_ms, 0);
}

/// A replica loses a key although nobody has removed it: a bug, or bad memory.
fn lose(rig: &mut Rig, id: u32, key: &str) {
    let slot = slot_of(key.as_bytes());
    let engine = &mut rig.nodes.get_mut(&id).unwrap().replica.engine;
    let (mut empty, mut meta, mut image) = (Engine::new(), Vec::new(), Vec::new());
    engine.export_meta(&mut meta);
    empty.import_meta(&meta).unwrap();
    empty.export_part(slot, Scope::Slot, &[], &mut image);
    assert!(engine.import_part(slot, &image, &At { seq: 1, now_ms: 0, keep_undo: false }).unwrap() > 0);
}

#[test]
fn replicas_that_received_the_same_and_differ_count_the_slots() {
    let mut rig = Rig::peers(3, 2, 2);
    rig.open(1, 7);
    (0..20).for_each(|i| assert_eq!(rig.ask(1, 7, &format!("SET k{i} v")), "+OK"));
    let mismatches = |rig: &Rig| [1, 2, 3].map(|id| rig.report(id).counters.digest_mismatches);
    // One that lacks entries differs, and is not counted.
    rig.isolate(3);
    (0..20).for_each(|i| assert_eq!(rig.ask(1, 7, &format!("SET k{i} w")), "+OK"));
    [1, 2].into_iter().for_each(|id| rig.connect(id, 3));
    rig.run(1_000);
    assert_eq!(mismatches(&rig), [0, 0, 0]);
    assert_eq!(rig.report(1).digest, rig.report(3).digest);
    // Digests of one that has received something else, or does not say what, tell nothing.
    let same = sets::to_message(rig.replica(3).engine.received());
    let more =
        [same.clone(), vec![Seen { origin: Origin { group: 9, generation: 1 }, upto: 1, beyond: Vec::new() }]].concat();
    let before = mismatches(&rig)[2];
    for (received, found) in [(Vec::new(), 0), (more, 0), (same, 1024)] {
        let compare = Compare { number: 9, first_slot: 0, digests: vec![7; 1024], received, ..Compare::default() };
        rig.deliver((1, 3, Message::Compare(compare)));
        assert_eq!(mismatches(&rig)[2] - before, found);
    }
    lose(&mut rig, 3, "k4");
    rig.run(60);
    let found = mismatches(&rig);
    assert!(found[2] > 1024 && found[0] + found[1] > 0, "both of a pair count it: {found:?}");
}

#[test]
fn one_that_is_quarantined_counts_for_nothing_and_goes_on_receiving() {
    let mut rig = Rig::peers(3, 2, 2);
    [1, 2, 3].into_iter().for_each(|id| rig.open(id, 7));
    assert_eq!([rig.ask(1, 7, "SET a 1"), rig.ask(1, 7, "SET z 1")], ["+OK", "+OK"]);
    rig.decide(|record| record.replicas[2].quarantined = true);
    let report = rig.report(3);
    assert!(!report.serving && report.counters.digest_mismatches == 0);
    let refused = rig.ask(3, 7, "GET a");
    assert!(refused.starts_with("-NOREPLICAS this replica is quarantined"), "{refused}");
    // What it holds is joined by nobody: not by reads, and not by comparing.
    lose(&mut rig, 3, "a");
    assert_eq!(rig.ask(1, 7, "GET a"), "$1 1");
    rig.run(1_000);
    assert_eq!([rig.ask(1, 7, "GET a"), rig.ask(2, 7, "GET a")], ["$1 1", "$1 1"]);
    assert!(rig.report(3).counters.digest_mismatches > 0, "it keeps on differing");
    // It receives, and its copy is none.
    assert_eq!(rig.ask(1, 7, "SET b 1"), "+OK");
    assert_ne!(rig.replica(3).engine.key_digest(b"b"), 0);
    rig.isolate(2);
    let refused = rig.ask(1, 7, "SET c 1");
    assert!(refused.starts_with("-NOREPLICAS 1 of the n=3 members are reachable, w=2 are needed"), "{refused}");
    assert!(refused.contains("missing: s-1, s-2 (quarantined)"), "{refused}");
    // A write that was under way when its second copy was set aside is not answered.
    rig.connect(1, 2);
    rig.run(200);
    rig.decide(|record| record.replicas[2].quarantined = false);
    rig.cut.insert((1, 2));
    rig.say(1, 7, "SET d 1");
    rig.turn();
    rig.record.version += 1;
    rig.record.replicas[2].quarantined = true;
    rig.tell();
    rig.run(500);
    assert_eq!(rig.heard(1, 7), "");
    rig.cut.clear();
    rig.run(500);
    rig.decide(|record| record.replicas[2].quarantined = false);
    assert_eq!(rig.ask(3, 7, "GET b"), "$1 1");
}

#[test]
fn an_acknowledgement_that_was_lost_is_made_good_by_the_next_heartbeat() {
    let mut rig = Rig::peers(3, 2, 2);
    rig.open(1, 7);
    rig.say(1, 7, "SET a 1");
    // Those who hold it say so once, and nobody takes it in: it is refused for its clock, or comes before the process has its name.
    let mut lost = 0;
    for _ in 0..20 {
        rig.now_us += 1_000;
        rig.turn();
        for (_, to, message) in &mut rig.under_way {
            if let Message::Feed(feed) = message
                && *to == 1
            {
                lost += usize::from(feed.acknowledged.as_ref().is_some_and(|seen| seen.upto > 0));
                (feed.acknowledged, feed.holds) = (None, None);
            }
        }
    }
    assert!(lost > 0);
    assert_eq!(rig.heard(1, 7), "");
    rig.run(1_000);
    assert_eq!(rig.heard(1, 7), "+OK");
    let report = rig.report(1);
    assert!(report.followers.iter().all(|f| f.acknowledged == 1 && f.lag_entries == 0), "{report:?}");
}

/// Replica 1 compares all slots with replica 3, of which none differs; then something comes from replica 2; then the end. What has 3 to say, and what holds it?
fn compared_then(rig: &mut Rig, comes: Message) -> (Vec<u32>, u64) {
    let base = sets::to_message(rig.replica(1).engine.received());
    for first_slot in (0..SLOTS).step_by(1024) {
        let digests = (first_slot..first_slot + 1024).map(|slot| rig.replica(1).engine.digest(slot)).collect();
        let base = if first_slot == 0 { base.clone() } else { Vec::new() };
        let compare = Compare { number: 7, first_slot: first_slot.into(), digests, base, ..Compare::default() };
        rig.deliver((1, 3, Message::Compare(compare)));
    }
    rig.deliver((2, 3, comes));
    rig.under_way.clear();
    rig.deliver((1, 3, Message::States(States { number: 7, ended: true, received: base, ..States::default() })));
    rig.turn_of(3);
    let asked = rig.under_way.iter().find_map(|(_, to, message)| match message {
        Message::Differ(differ) if *to == 1 && differ.count == 0 => Some(differ.slots.iter().map(|s| s.slot).collect()),
        _ => None,
    });
    (asked.unwrap_or_default(), rig.replica(3).engine.key_digest(b"k"))
}

#[test]
fn what_comes_into_a_slot_after_it_was_compared_and_was_removed_before_does_not_stay() {
    for by_image in [false, true] {
        let mut rig = Rig::peers(3, 2, 2);
        rig.open(1, 7);
        rig.isolate(3);
        rig.say(1, 7, "SET k old");
        let mut late = None;
        for _ in 0..20 {
            rig.now_us += 1_000;
            let feeds = rig.under_way.iter().filter(|(from, ..)| *from == 1);
            late = late.or(feeds
                .filter_map(|(.., message)| if let Message::Feed(f) = message { Some(f) } else { None })
                .find(|feed| !feed.entries.is_empty())
                .map(|feed| Feed {
                    epoch: feed.epoch,
                    version: feed.version,
                    entries: feed.entries.clone(),
                    ..Feed::default()
                }));
            rig.turn();
        }
        let mut feed = late.expect("the entry was sent to 2");
        if by_image {
            let (slot, mut image) = (slot_of(b"k"), Vec::new());
            rig.replica(2).engine.export_part(slot, Scope::Named, &[b"k"], &mut image);
            let image = PartImage { slot: slot.into(), image: image.into() };
            feed.entries.clear();
            feed.mends = vec![trireme_proto::message::Mend { number: 1, images: vec![image] }];
        }
        assert_eq!([rig.heard(1, 7), rig.ask(1, 7, "DEL k")], ["+OK", ":1"]);
        [1, 2].into_iter().for_each(|other| rig.connect(other, 3));
        rig.under_way.clear();
        let (asked, digest) = compared_then(&mut rig, Message::Feed(Box::new(feed)));
        assert_ne!(digest, 0, "it came: the replica cannot know yet that it was removed");
        assert_eq!(asked, [u32::from(slot_of(b"k"))], "so it is not said to be all there");
        assert!(!rig.replica(3).engine.received().covers(rig.replica(1).engine.received()));
        // The slot is sent, and the end once more.
        let (slot, mut image) = (slot_of(b"k"), Vec::new());
        rig.replica(1).engine.export_part(slot, Scope::Slot, &[], &mut image);
        let images = vec![PartImage { slot: slot.into(), image: image.into() }];
        let received = sets::to_message(rig.replica(1).engine.received());
        rig.deliver((1, 3, Message::States(States { number: 7, images, ended: true, received, ..States::default() })));
        assert_eq!(rig.replica(3).engine.key_digest(b"k"), 0);
        assert!(rig.replica(3).engine.received().covers(rig.replica(1).engine.received()));
    }
}

#[test]
fn slots_that_have_changed_since_are_sent_when_they_are_asked_for() {
    let mut rig = Rig::peers(3, 2, 2);
    rig.open(1, 7);
    assert_eq!(rig.ask(1, 7, "SET k new"), "+OK");
    lose(&mut rig, 3, "k");
    rig.nodes.get_mut(&1).unwrap().replica.begin_exchange(3);
    rig.turn_of(1);
    let compared = |m: &Message| if let Message::Compare(c) = m { Some(c.number) } else { None };
    let number = rig.under_way.iter().find_map(|(_, _, m)| compared(m)).expect("it compares");
    let ends = |rig: &mut Rig, differ: trireme_proto::message::Differ| {
        rig.under_way.clear();
        rig.deliver((3, 1, Message::Differ(differ)));
        rig.turn_of(1);
        let states = |(_, to, m): &(u32, u32, Message)| match m {
            Message::States(states) if *to == 3 => Some((states.images.len(), states.ended)),
            _ => None,
        };
        rig.under_way.iter().filter_map(states).collect::<Vec<_>>()
    };
    let all = trireme_proto::message::Differ { number, count: SLOTS.into(), ..Default::default() };
    assert_eq!(ends(&mut rig, all.clone()), [(0, true)]);
    let slots = vec![trireme_proto::message::SlotBuckets { slot: slot_of(b"k").into(), buckets: Vec::new() }];
    let more = trireme_proto::message::Differ { count: 0, slots, ..all };
    for _ in 0..3 {
        assert_eq!(ends(&mut rig, more.clone()), [(1, true)], "as often as it is needed");
        rig.now_us += 1_000_000;
    }
    rig.now_us += 5_000_000;
    assert_eq!(ends(&mut rig, more), [], "a comparison that nobody asks about any more is over");
}
