//! Keys with very many counters that several origins have counted: what removing them leaves behind, and how much work that is.

use trireme_proto::ids::Origin;

use super::exported;
use crate::engine::state::key::work;
use crate::engine::{Access, At, Engine, slot_of};

const K: &[u8] = b"k";
const COUNTERS: u32 = 2_000;
const ORIGINS: u32 = 3;

fn at(seq: u64, keep_undo: bool) -> At {
    At { seq, now_ms: 1_000, keep_undo }
}

fn execute(engine: &mut Engine, seq: u64, f: impl FnOnce(&mut Access<'_>)) -> Vec<u8> {
    let mut delta = Vec::new();
    engine.execute(&at(seq, true), &mut delta, f);
    delta
}

fn member(counter: u32) -> [u8; 4] {
    // Not in the order in which they come.
    counter.wrapping_mul(0x9e37_79b1).to_be_bytes()
}

/// Engines of as many origins, which have all counted all counters of one key, and have heard of each other.
fn counted(count: impl Fn(&mut Access<'_>, &[u8])) -> Vec<Engine> {
    let mut engines: Vec<Engine> = Vec::new();
    for group in 1..=ORIGINS {
        let mut engine = Engine::new();
        engine.set_origin(Origin { group, generation: 0 });
        engines.push(engine);
    }
    let all = |a: &mut Access<'_>| (0..COUNTERS).for_each(|counter| count(a, &member(counter)));
    let deltas: Vec<Vec<u8>> = engines.iter_mut().map(|engine| execute(engine, 1, all)).collect();
    for engine in &mut engines {
        engine.forget_undo(1);
        deltas.iter().for_each(|delta| engine.join(delta, &at(2, false)).unwrap());
    }
    engines
}

fn counters(engine: &mut Engine) -> [usize; 2] {
    let read = |a: &mut Access<'_>| [a.field_count(K), a.scored_count(K)].map(|count| count.unwrap_or(0));
    engine.execute(&at(0, false), &mut Vec::new(), read).0
}

/// Removes all there is at the first engine: work, undoing, and what others make of it.
fn removed(mut engines: Vec<Engine>, remove: impl Fn(&mut Access<'_>)) {
    let resets = u64::from(COUNTERS * ORIGINS);
    let linear = |what: &str| {
        let done = work::take();
        assert!(done > 0 && done < 100 * resets, "{what}: {done} looks at {resets} resets");
    };
    let before = exported(&engines[0], &[K]);
    work::take();
    execute(&mut engines[0], 10, &remove);
    linear("executed");
    assert_eq!(counters(&mut engines[0]), [0, 0]);
    let gone = exported(&engines[0], &[K]);
    work::take();
    engines[0].undo_after(9);
    assert!(exported(&engines[0], &[K]) == before, "undone exactly");
    let delta = execute(&mut engines[0], 10, &remove);
    assert!(exported(&engines[0], &[K]) == gone, "done again");
    work::take();
    engines[1].join(&delta, &at(11, false)).unwrap();
    linear("joined");
    assert_eq!(engines[1].digest_total(), engines[0].digest_total());
    // One that was not seen counts on, where what is left of the others is known and where it comes as state.
    let more = execute(&mut engines[2], 10, |a| {
        _ = a.increment_field(K, &member(7), 5);
        _ = a.increment_score(K, &member(7), 5.0);
    });
    engines[2].join(&delta, &at(11, false)).unwrap();
    engines[0].join(&more, &at(12, false)).unwrap();
    let left = counters(&mut engines[0]);
    assert_eq!((left.iter().sum::<usize>(), counters(&mut engines[2])), (1, left));
    assert_eq!(engines[0].digest_total(), engines[2].digest_total());
    let (mut image, mut meta) = (Vec::new(), Vec::new());
    engines[0].forget_undo(12);
    engines[0].export_slot(slot_of(K), &mut image);
    engines[0].export_meta(&mut meta);
    let mut new = Engine::new();
    work::take();
    new.import_meta(&meta).unwrap();
    new.import_slot(slot_of(K), &image).unwrap();
    linear("read");
    let mut again = Vec::new();
    new.export_slot(slot_of(K), &mut again);
    assert!(image == again, "what was read is written");
    assert_eq!(new.digest_total(), engines[0].digest_total());
}

#[test]
fn a_key_of_many_counters_is_removed_in_one_look_at_each() {
    removed(counted(|a, field| _ = a.increment_field(K, field, 1)), |a| _ = a.remove(K));
    removed(counted(|a, member| _ = a.increment_score(K, member, 1.0)), |a| _ = a.remove(K));
}

#[test]
fn counters_are_removed_one_by_one_in_one_look_at_each() {
    removed(counted(|a, field| _ = a.increment_field(K, field, 1)), |a| {
        (0..COUNTERS).for_each(|counter| _ = a.remove_field(K, &member(counter)));
    });
    removed(counted(|a, member| _ = a.increment_score(K, member, 1.0)), |a| {
        (0..COUNTERS).for_each(|counter| _ = a.remove_scored(K, &member(counter)));
    });
}
