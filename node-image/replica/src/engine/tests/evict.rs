//! What keys take in memory, when they were used, and which of them go.

use crate::engine::state::key::Key;
use crate::engine::{
    Access, At, Engine,
    evict::{Order, Wanted},
};

const WANTED: Wanted = Wanted { order: Order::LeastRecentlyUsed, bytes: u64::MAX, keys_max: usize::MAX, samples: 5 };

/// A second of this number, for the entry of the same number.
fn second(number: u64) -> At {
    At { seq: number, now_ms: 1_700_000_000_000 + number * 1_000, keep_undo: false }
}

fn write<R>(engine: &mut Engine, at: &At, f: impl FnOnce(&mut Access<'_>) -> R) -> (R, Vec<u8>) {
    let mut delta = Vec::new();
    let (result, _) = engine.execute(at, &mut delta, f);
    (result, delta)
}

fn put(engine: &mut Engine, at: &At, key: &str, value: &[u8]) -> Vec<u8> {
    write(engine, at, |a| a.put_string(key.as_bytes(), value, false)).1
}

fn has(engine: &mut Engine, at: &At, key: &str) -> bool {
    write(engine, at, |a| a.kind(key.as_bytes()).is_some()).0
}

fn idle_ms(engine: &mut Engine, at: &At, key: &str) -> Option<u64> {
    write(engine, at, |a| a.idle_ms(key.as_bytes())).0
}

fn assert_weighed(engine: &Engine) {
    assert_eq!(engine.state.live, engine.state.weighed());
}

#[test]
fn a_key_in_general_form_has_room_for_when_it_was_used() {
    assert!(size_of::<Key>() <= 160, "{} bytes", size_of::<Key>());
}

#[test]
fn what_was_not_used_for_longest_goes() {
    for (names, kept_least) in [("k:{i}", 0.93), ("{same}:{i}", 0.93)] {
        let mut engine = Engine::new();
        engine.keep_uses(true);
        let name = |i: usize| names.replace("{i}", &i.to_string());
        for i in 0..2_000 {
            // Their lengths are such that some have room for a stamp by themselves, and all forms are among them.
            match i % 8 {
                0 => drop(write(&mut engine, &second(1), |a| a.put_field(name(i).as_bytes(), b"f", b"v").is_ok())),
                1 => drop(write(&mut engine, &second(1), |a| a.add_member(name(i).as_bytes(), b"m").is_ok())),
                _ => drop(put(&mut engine, &second(1), &name(i), &vec![b'v'; 50 + i % 8])),
            }
        }
        // Each second one is read much later, and its neighbour is looked at in ways that do not count.
        for i in (0..2_000).step_by(2) {
            let key = name(i);
            write(&mut engine, &second(100), |a| {
                let read = a.string(key.as_bytes()).is_ok() || a.field_count(key.as_bytes()).is_ok();
                assert!(read, "{key}");
            });
            let other = name(i + 1);
            write(&mut engine, &second(100), |a| {
                let key = other.as_bytes();
                (a.kind(key), a.version(key), a.expires_at(key), a.looking(|a| a.string(key).is_ok()))
            });
        }
        let before = engine.data_bytes();
        let wanted = Wanted { keys_max: 600, ..WANTED };
        let (gone, effect) = engine.evict(&second(101), &mut Vec::new(), &wanted);
        assert!(effect.wrote && gone == 600 && engine.key_count() == 1_400, "{gone}");
        assert!(engine.data_bytes() < before);
        assert_weighed(&engine);
        let read_and_kept = (0..2_000).step_by(2).filter(|i| has(&mut engine, &second(101), &name(*i))).count();
        assert!(
            read_and_kept as f64 >= 1_000.0 * kept_least,
            "{names}: {read_and_kept} of 1000 that were read are left"
        );
    }
}

#[test]
fn no_more_goes_than_is_wanted_and_may() {
    let mut engine = Engine::new();
    assert_eq!(engine.evict(&second(1), &mut Vec::new(), &WANTED).0, 0, "there is none");
    for i in 0..100 {
        put(&mut engine, &second(1), &format!("k:{i}"), &[b'v'; 100]);
    }
    let all = engine.data_bytes();
    let wanted = Wanted { bytes: all / 10, ..WANTED };
    let (gone, _) = engine.evict(&second(2), &mut Vec::new(), &wanted);
    assert!((10..=11).contains(&gone), "{gone}");
    assert_eq!(engine.evict(&second(3), &mut Vec::new(), &Wanted { keys_max: 3, ..WANTED }).0, 3);
    let mut delta = Vec::new();
    assert_eq!(engine.evict(&second(4), &mut delta, &Wanted { bytes: 0, ..WANTED }).0, 0);
    assert!(delta.is_empty(), "nothing is said of nothing");
    let (rest, _) = engine.evict(&second(5), &mut Vec::new(), &WANTED);
    assert_eq!((gone + 3 + rest, engine.key_count(), engine.data_bytes()), (100, 0, 0));
    assert_weighed(&engine);
}

#[test]
fn the_next_to_expire_goes_and_what_never_expires_stays() {
    let mut engine = Engine::new();
    for i in 0..50 {
        put(&mut engine, &second(1), &format!("k:{i}"), b"v");
        put(&mut engine, &second(1), &format!("for ever:{i}"), b"v");
        let at_ms = second(100 + (i * 7) % 50).now_ms;
        write(&mut engine, &second(1), |a| assert!(a.set_expiry(format!("k:{i}").as_bytes(), Some(at_ms))));
    }
    let wanted = Wanted { order: Order::NextToExpire, ..WANTED };
    engine.evict(&second(2), &mut Vec::new(), &Wanted { keys_max: 20, ..wanted });
    for i in 0..50 {
        assert_eq!(has(&mut engine, &second(2), &format!("k:{i}")), (i * 7) % 50 >= 20, "{i}");
    }
    assert_eq!(engine.evict(&second(3), &mut Vec::new(), &wanted).0, 30);
    assert_eq!(engine.evict(&second(4), &mut Vec::new(), &wanted).0, 0);
    assert_eq!(engine.key_count(), 50);
}

#[test]
fn what_goes_at_one_goes_everywhere_and_comes_back_when_it_is_undone() {
    let (mut leader, mut follower) = (Engine::new(), Engine::new());
    for i in 0..200 {
        let at = second(i + 1);
        let delta = match i % 3 {
            0 => put(&mut leader, &at, &format!("k:{i}"), &vec![b'v'; i as usize * 20]),
            1 => write(&mut leader, &at, |a| a.put_score(format!("k:{i}").as_bytes(), b"m", 1.0).is_ok()).1,
            _ => write(&mut leader, &at, |a| a.increment(format!("k:{i}").as_bytes(), 5).is_ok()).1,
        };
        follower.join(&delta, &at).unwrap();
    }
    let (before, live) = (leader.digest_total(), leader.data_bytes());
    assert_eq!((follower.digest_total(), follower.data_bytes()), (before, live));
    let at = At { keep_undo: true, ..second(300) };
    leader.evict(&at, &mut Vec::new(), &Wanted { keys_max: 150, ..WANTED });
    leader.undo_after(299);
    assert_eq!((leader.digest_total(), leader.data_bytes(), leader.key_count()), (before, live, 200));
    let mut delta = Vec::new();
    leader.evict(&second(301), &mut delta, &Wanted { keys_max: 150, ..WANTED });
    follower.join(&delta, &second(301)).unwrap();
    assert_eq!((follower.digest_total(), follower.data_bytes()), (leader.digest_total(), leader.data_bytes()));
    assert_eq!(follower.key_count(), 50);
    [&leader, &follower].into_iter().for_each(assert_weighed);
}

#[test]
fn when_a_key_was_used_is_known_where_there_is_room_and_by_lru_everywhere() {
    let sizes = || (0..8).map(|more| (format!("k:{more}"), vec![b'v'; 40 + more]));
    let mut engine = Engine::new();
    for (key, value) in sizes() {
        put(&mut engine, &second(10), &key, &value);
    }
    write(&mut engine, &second(10), |a| a.put_field(b"hash", b"f", b"v").is_ok());
    assert_eq!(idle_ms(&mut engine, &second(10), "none"), None);
    let bytes = engine.data_bytes();
    let read = |engine: &mut Engine, at: &At| {
        sizes().for_each(|(key, value)| {
            assert_eq!(
                write(engine, at, |a| a.string(key.as_bytes()).map(|v| v.map(|v| v.to_vec()))).0,
                Ok(Some(value))
            );
        });
        write(engine, at, |a| a.touch(b"hash")).0
    };
    assert!(read(&mut engine, &second(20)));
    let noted = |engine: &mut Engine, idle: u64| {
        sizes().filter(|(key, _)| idle_ms(engine, &second(30), key).is_some_and(|ms| ms.abs_diff(idle) < 64)).count()
    };
    assert_eq!((noted(&mut engine, 10_000), noted(&mut engine, 20_000)), (4, 4), "half of all sizes have room");
    assert_eq!(engine.data_bytes(), bytes, "and nothing has grown for it");
    assert!(idle_ms(&mut engine, &second(30), "hash").is_some_and(|ms| ms.abs_diff(10_000) < 64));
    // From now on all have: those that are there when they are read next, without another version or digest.
    engine.keep_uses(true);
    let digest = engine.digest_total();
    assert!(read(&mut engine, &second(30)));
    assert!(sizes().all(|(key, _)| idle_ms(&mut engine, &second(31), &key).is_some_and(|ms| ms.abs_diff(1_000) < 64)));
    assert_eq!(engine.digest_total(), digest);
    assert_weighed(&engine);
    // A clock that was ahead is nothing.
    assert_eq!(idle_ms(&mut engine, &second(5), "k:0"), Some(0));
}

#[test]
fn a_key_that_the_journal_may_name_gets_its_room_later() {
    let mut engine = Engine::new();
    let value = |more: usize| vec![b'v'; 40 + more];
    for more in 0..8 {
        put(&mut engine, &At { keep_undo: true, ..second(1 + more as u64) }, "k", &value(more));
        engine.keep_uses(true);
        write(&mut engine, &second(20), |a| a.string(b"k").is_ok());
        engine.keep_uses(false);
    }
    for more in (0..7).rev() {
        engine.undo_after(1 + more as u64);
        let now = write(&mut engine, &second(21), |a| a.string(b"k").map(|v| v.map(|v| v.to_vec()))).0;
        assert_eq!(now, Ok(Some(value(more))));
    }
    engine.undo_after(0);
    assert_eq!((engine.key_count(), engine.data_bytes()), (0, 0));
}
