//! A cut suffix made anew: what it did is done again, and nothing newer is overwritten.

use trireme_proto::ids::Origin;

use super::at;
use crate::engine::moved::Moved;
use crate::engine::{Engine, ReceivedSet};

fn run(engine: &mut Engine, seq: u64, f: impl FnOnce(&mut crate::engine::Access<'_>)) -> Vec<u8> {
    let mut delta = Vec::new();
    engine.execute(&at(seq), &mut delta, f);
    delta
}

fn text(engine: &mut Engine, key: &[u8]) -> Option<String> {
    let read =
        |a: &mut crate::engine::Access<'_>| a.string(key).unwrap().map(|v| String::from_utf8_lossy(&v).into_owned());
    engine.execute(&at(0), &mut Vec::new(), read).0
}

#[test]
fn a_cut_suffix_is_recovered_once_and_never_over_newer_data() {
    let (mut old, mut new) = (Engine::new(), Engine::new());
    let shared = run(&mut old, 1, |a| {
        a.increment(b"n", 5).unwrap();
        a.put_string(b"gone", b"1", false);
    });
    new.join(&shared, &at(1)).unwrap();
    let cut = [
        run(&mut old, 2, |a| a.put_string(b"both", b"old", false)),
        run(&mut old, 3, |a| {
            a.increment(b"n", 1).unwrap();
            a.increment(b"n", 2).unwrap();
        }),
        run(&mut old, 4, |a| a.put_string(b"short", b"lived", false)),
        run(&mut old, 5, |a| {
            a.remove(b"short");
            a.remove(b"gone");
        }),
        run(&mut old, 6, |a| assert_eq!(a.increment(b"n", 4), Ok(12))),
    ];
    new.set_origin(Origin { group: 1, generation: 1 });
    let first = run(&mut new, 2, |a| {
        a.put_string(b"both", b"new", false);
        a.increment(b"n", 10).unwrap();
    });
    let mut follower = Engine::new();
    follower.join(&shared, &at(1)).unwrap();
    follower.join(&first, &at(2)).unwrap();
    for (i, delta) in cut.iter().enumerate() {
        let mut out = Vec::new();
        assert_eq!(new.readdress(delta, &at(3 + i as u64), &mut out), Ok(true));
        follower.join(&out, &at(3 + i as u64)).unwrap();
        assert_eq!(new.digest_total(), follower.digest_total());
        for engine in [&mut new, &mut follower] {
            let (digest, received) = (engine.digest_total(), engine.received().clone());
            assert_eq!(engine.readdress(delta, &at(9), &mut out), Ok(false), "recovered twice");
            assert_eq!((engine.digest_total(), engine.received()), (digest, &received as &ReceivedSet));
        }
    }
    for engine in [&mut new, &mut follower] {
        assert_eq!(text(engine, b"both").as_deref(), Some("new"));
        assert_eq!(text(engine, b"n").as_deref(), Some("22"));
        assert_eq!((text(engine, b"short"), text(engine, b"gone")), (None, None));
    }
}

#[test]
fn a_delta_that_would_change_nothing_is_not_appended() {
    let (mut old, mut new) = (Engine::new(), Engine::new());
    let shared = run(&mut old, 1, |a| a.put_string(b"k", b"1", false));
    new.join(&shared, &at(1)).unwrap();
    let cut = run(&mut old, 2, |a| assert!(a.remove(b"k")));
    new.set_origin(Origin { group: 1, generation: 1 });
    run(&mut new, 2, |a| assert!(a.remove(b"k")));
    let mut out = Vec::new();
    assert_eq!((new.readdress(&cut, &at(3), &mut out), out.len()), (Ok(false), 0));
}

#[test]
fn what_was_cut_twice_is_recovered_once_and_its_removal_finds_it() {
    let mut first = Engine::new();
    let made = [
        run(&mut first, 1, |a| assert!(a.increment(b"n", 7).is_ok())),
        run(&mut first, 2, |a| assert!(a.add_member(b"s", b"m").is_ok())),
    ];
    // A second leader recovers both, then removes the one; it loses its tail too.
    let (mut second, mut again) = (Engine::new(), Vec::new());
    second.set_origin(Origin { group: 1, generation: 1 });
    for (seq, delta) in (1..).zip(&made) {
        let mut out = Vec::new();
        assert_eq!(second.readdress(delta, &at(seq), &mut out), Ok(true));
        again.push(out);
    }
    again.push(run(&mut second, 3, |a| assert_eq!(a.remove_member(b"s", b"m"), Ok(true))));
    let (mut third, mut follower) = (Engine::new(), Engine::new());
    third.set_origin(Origin { group: 1, generation: 2 });
    for (seq, delta) in (1..).zip(again.iter().chain(&made)) {
        let mut out = Vec::new();
        assert_eq!(third.readdress(delta, &at(seq), &mut out), Ok(seq <= 3), "{seq}");
        if seq <= 3 {
            follower.join(&out, &at(seq)).unwrap();
        }
    }
    // What a copy knows, it knows by its image too.
    let mut meta = Vec::new();
    follower.export_meta(&mut meta);
    let mut copy = Engine::new();
    copy.import_meta(&meta).unwrap();
    for delta in again.iter().chain(&made) {
        let mut out = Vec::new();
        assert_eq!((copy.readdress(delta, &at(9), &mut out), out.len()), (Ok(false), 0));
    }
    assert_eq!(third.digest_total(), follower.digest_total());
    assert_eq!(text(&mut follower, b"n").as_deref(), Some("7"));
    let members = follower.execute(&at(0), &mut Vec::new(), |a| a.member_count(b"s")).0;
    assert_eq!(members, Ok(0));
}

#[test]
fn names_are_kept_as_runs_and_forgotten_after_64_generations() {
    let (mut old, mut new) = (Engine::new(), Engine::new());
    let cut: Vec<Vec<u8>> =
        (1..=500).map(|seq| run(&mut old, seq, |a| assert!(a.increment(b"n", 1).is_ok()))).collect();
    new.set_origin(Origin { group: 1, generation: 1 });
    for (seq, delta) in (1..).zip(&cut) {
        assert_eq!(new.readdress(delta, &at(seq), &mut Vec::new()), Ok(true));
    }
    let mut meta = Vec::new();
    new.export_meta(&mut meta);
    assert!(meta.len() < 60, "{}", meta.len());
    assert_eq!(new.readdress(&cut[250], &at(501), &mut Vec::new()), Ok(false));
    for (seq, generation) in [(501, 64), (502, 65)] {
        new.set_origin(Origin { group: 1, generation });
        run(&mut new, seq, |a| a.put_string(b"n", b"0", false));
        new.set_origin(Origin { group: 1, generation });
        assert_eq!(new.moved == Moved::default(), generation == 65);
        assert_eq!(new.is_too_old(&cut[250]), generation == 65);
        assert_eq!(new.readdress(&cut[250], &at(503), &mut Vec::new()), Ok(false));
    }
    assert_eq!(text(&mut new, b"n").as_deref(), Some("0"));
}

#[test]
fn increments_before_and_after_a_set_in_one_cut_delta_stay_apart() {
    let (mut old, mut new) = (Engine::new(), Engine::new());
    let cut = run(&mut old, 1, |a| {
        assert_eq!(a.increment(b"n", 5), Ok(5));
        a.put_string(b"n", b"1", false);
        assert_eq!(a.increment(b"n", 2), Ok(3));
    });
    new.set_origin(Origin { group: 1, generation: 1 });
    assert_eq!(new.readdress(&cut, &at(1), &mut Vec::new()), Ok(true));
    assert_eq!(text(&mut new, b"n").as_deref(), Some("3"));
}
