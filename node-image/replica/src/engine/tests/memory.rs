//! What slabs hold beyond what keys take: it stays within bounds when sizes change, and keys that are moved for that stay what they are.

use crate::engine::{
    Access, At, Engine,
    evict::{Order, Wanted},
    slot_of,
};

/// What keys may take, in bytes.
const MEMORY: u64 = 8 << 20;
/// What evicting may be behind, and what is evicted ahead.
const BEHIND: u64 = 64 << 10;
/// What slabs may hold beside what keys take: an eighth of it, and a little.
const SLACK: u64 = MEMORY / 8 + (3 << 20);
/// Keys that are moved between two entries.
const MOVES: usize = 512;

fn at(seq: u64, keep_undo: bool) -> At {
    At { seq, now_ms: 1_700_000_000_000 + seq, keep_undo }
}

fn write(engine: &mut Engine, at: &At, f: impl FnOnce(&mut Access<'_>)) {
    engine.execute(at, &mut Vec::new(), f);
}

/// What the bound on memory counts.
fn counted(engine: &Engine) -> u64 {
    engine.data_bytes() + engine.loose_bytes()
}

fn size_of_value(number: u64) -> usize {
    [100, 300, 40, 700][(number / 60_000) as usize % 4]
}

/// The numbers of keys that are there; each has the value that it was written with.
fn checked(engine: &mut Engine, seq: u64, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let mut there = Vec::new();
    for number in numbers {
        write(engine, &at(seq, false), |a| match a.string(format!("key:{number}").as_bytes()) {
            Ok(Some(value)) => {
                assert_eq!(&*value, vec![number as u8; size_of_value(number)], "{number}");
                there.push(number);
            }
            Ok(None) => {}
            Err(_) => panic!("key:{number} is something else"),
        });
    }
    assert_eq!(engine.state.live, engine.state.weighed());
    there
}

#[test]
fn where_keys_are_evicted_for_others_of_another_size_memory_stays_within_its_bound() {
    let mut engine = Engine::new();
    engine.keep_uses(true);
    let wanted = Wanted { order: Order::LeastRecentlyUsed, bytes: 0, keys_max: usize::MAX, samples: 5 };
    for number in 0..240_000 {
        let at = at(number + 1, false);
        let above = counted(&engine).saturating_sub(MEMORY);
        if above > 0 {
            engine.evict(&at, &mut Vec::new(), &Wanted { bytes: above + BEHIND / 2, ..wanted });
        }
        let value = vec![number as u8; size_of_value(number)];
        write(&mut engine, &at, |a| a.put_string(format!("key:{number}").as_bytes(), &value, false));
        engine.tidy(MOVES);
        let (counted, held) = (counted(&engine), engine.data_bytes() + engine.spare_bytes());
        assert!(counted <= MEMORY + BEHIND, "{counted} bytes count at {number}");
        assert!(held <= MEMORY + SLACK, "{held} bytes are held at {number}");
        // And no more has gone than must: once there is so much that any has.
        assert!(number < 60_000 || engine.data_bytes() >= MEMORY / 10 * 8, "{} at {number}", engine.data_bytes());
    }
    let there = checked(&mut engine, 300_000, 0..240_000);
    assert_eq!(there.len() as u64, engine.key_count());
    assert!(there.iter().all(|number| *number > 200_000), "the oldest are gone");
}

#[test]
fn what_was_deleted_goes_back_and_what_may_be_undone_stays_where_it_is() {
    let mut engine = Engine::new();
    for number in 0..60_000 {
        let value = vec![number as u8; size_of_value(number)];
        write(&mut engine, &at(number + 1, false), |a| a.put_string(format!("key:{number}").as_bytes(), &value, false));
        // Elements are not moved; nor are keys in a slot that has just been written.
        if number % 50 == 0 {
            let field = vec![b'f'; 30];
            write(&mut engine, &at(number + 1, false), |a| {
                assert!(a.put_field(format!("hash:{}", number % 7).as_bytes(), &number.to_le_bytes(), &field).is_ok());
            });
        }
    }
    for number in (0..60_000).filter(|number| number % 10 > 0) {
        write(&mut engine, &at(100_000 + number, false), |a| {
            a.clear(format!("key:{number}").as_bytes());
        });
    }
    let before = engine.spare_bytes();
    assert!(engine.loose_bytes() > 4 << 20, "{before} bytes to spare");
    let digest = engine.digest_total();
    for number in (0..60_000).step_by(20) {
        write(&mut engine, &at(200_000 + number, true), |a| {
            a.put_string(format!("key:{number}").as_bytes(), b"other", false);
        });
    }
    (0..100).for_each(|_| engine.tidy(MOVES));
    engine.undo_after(200_000 - 1);
    assert_eq!(engine.digest_total(), digest);
    (0..100).for_each(|_| engine.tidy(MOVES));
    assert_eq!(engine.loose_bytes(), 0, "of {before}");
    let there = checked(&mut engine, 300_000, 0..60_000);
    assert_eq!(there, (0..60_000).step_by(10).collect::<Vec<u64>>());
}

#[test]
fn what_joined_state_has_put_in_the_place_of_the_same_stays_where_it_is_until_it_cannot_be_undone() {
    let mut engine = Engine::new();
    for number in 0..60_000 {
        let value = vec![number as u8; size_of_value(number)];
        write(&mut engine, &at(number + 1, false), |a| a.put_string(format!("key:{number}").as_bytes(), &value, false));
    }
    for number in (0..60_000).filter(|number| number % 10 > 0) {
        write(&mut engine, &at(100_000 + number, false), |a| a.clear(format!("key:{number}").as_bytes()));
    }
    let digest = engine.digest_total();
    for slot in 0..trireme_proto::SLOTS {
        let mut image = Vec::new();
        engine.export_slot(slot, &mut image);
        if !image.is_empty() {
            assert_eq!(engine.import_part(slot, &image, &at(200_000 + u64::from(slot), true)).unwrap(), 0);
        }
    }
    for number in (0..60_000).step_by(10) {
        let key = format!("key:{number}");
        let slot = slot_of(key.as_bytes());
        let cell = engine.state.find(slot, key.as_bytes()).unwrap();
        engine.state.move_key(cell);
        assert_eq!(engine.state.find(slot, key.as_bytes()), Some(cell), "{key}");
    }
    (0..100).for_each(|_| engine.tidy(MOVES));
    engine.undo_after(200_000 - 1);
    assert_eq!(engine.digest_total(), digest);
    (0..100).for_each(|_| engine.tidy(MOVES));
    assert_eq!(engine.loose_bytes(), 0);
    let there = checked(&mut engine, 300_000, 0..60_000);
    assert_eq!(there, (0..60_000).step_by(10).collect::<Vec<u64>>());
}
