//! A checkpoint taken slot by slot while writes go on, and the log from its start, give the same state.

use fastrand::Rng;
use trireme_proto::ids::Origin;

use super::{at, exported, seeds};
use crate::engine::{Access, At, Engine, slot_of};

const KEYS: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];

pub(super) fn write(rng: &mut Rng, a: &mut Access<'_>) {
    let (key, name) = (KEYS[rng.usize(..5)], [rng.u8(..3)]);
    let now = a.now_ms();
    let done = match rng.u8(..17) {
        0 => {
            a.put_string(key, &name, rng.bool());
            Ok(())
        }
        1 => {
            a.remove(key);
            Ok(())
        }
        2 => a.increment(key, 2).map(drop).or(Ok(())),
        3 => a.put_field(key, &name, b"v").map(drop),
        4 => a.increment_field(key, &name, 1).map(drop).or(Ok(())),
        5 => a.remove_field(key, &name).map(drop),
        6 => a.add_member(key, &name).map(drop),
        12..=13 => a.list_length(key).and_then(|length| a.list_insert(key, rng.usize(..=length), &name)),
        14 => a.list_set(key, rng.usize(..3), &name).map(drop),
        15 => a.list_remove(key, 0..1),
        8 => a.put_score(key, &name, f64::from(rng.i8(..)) / 2.0).map(drop),
        9 => a.increment_score(key, &name, f64::from(rng.i8(..))).map(drop),
        10 => a.increment_score(key, &name, 0.5).map(drop),
        11 => a.remove_scored(key, &name).map(drop),
        7 => a.remove_member(key, &name).map(drop),
        _ => {
            a.set_expiry(key, Some(now + 1_000_000));
            Ok(())
        }
    };
    // Of the wrong type: the key goes, so that others get their turn.
    if done.is_err() {
        a.remove(key);
    }
}

#[test]
fn a_moving_checkpoint_and_the_log_give_the_same_state() {
    for seed in 0..seeds(400) {
        let mut rng = Rng::with_seed(seed);
        let mut live = Engine::new();
        let (mut log, mut images) = (Vec::new(), Vec::new());
        let (mut start, mut meta) = (0, Vec::new());
        let begin = rng.u64(1..60);
        for seq in 1..80u64 {
            if seq == 40 {
                live.set_origin(Origin { group: 1, generation: 1 });
            }
            let mut delta = Vec::new();
            live.execute(&at(seq), &mut delta, |a| (0..rng.usize(1..4)).for_each(|_| write(&mut rng, a)));
            log.push(delta);
            if seq == begin {
                start = log.len();
                live.export_meta(&mut meta);
                images = KEYS.iter().map(|k| (slot_of(k), None)).collect();
                rng.shuffle(&mut images);
            }
            if let Some((slot, image)) = images.iter_mut().find(|i| i.1.is_none()).filter(|_| rng.bool()) {
                let mut bytes = Vec::new();
                live.export_slot(*slot, &mut bytes);
                *image = Some(bytes);
            }
        }
        let mut copy = Engine::new();
        let meta_first = rng.bool();
        if meta_first {
            copy.import_meta(&meta).unwrap();
        }
        for (slot, image) in images {
            let mut last = Vec::new();
            live.export_slot(slot, &mut last);
            copy.import_slot(slot, &image.unwrap_or(last)).unwrap();
        }
        if !meta_first {
            copy.import_meta(&meta).unwrap();
        }
        for (i, delta) in log.iter().enumerate().skip(start).filter(|(_, d)| !d.is_empty()) {
            copy.join(delta, &at(i as u64 + 1)).unwrap();
        }
        for key in KEYS {
            assert_eq!(copy.last_write(slot_of(key)), live.last_write(slot_of(key)), "seed {seed}");
        }
        copy.set_origin(Origin { group: 1, generation: 1 });
        for engine in [&mut copy, &mut live] {
            engine.state.begin();
            engine.sweep();
            engine.state.end(0, 0, None, 0, false);
        }
        assert_eq!(exported(&copy, &KEYS), exported(&live, &KEYS), "seed {seed}");
    }
}

/// What an engine undoes may come back under the same name as something else: an image must not have said that it was seen.
#[test]
fn an_image_says_nothing_of_what_may_still_be_undone() {
    let kept = |seq| At { keep_undo: true, ..at(seq) };
    let (x, y) = (KEYS[0], KEYS[1]);
    let mut live = Engine::new();
    live.execute(&at(1), &mut Vec::new(), |a| a.put_string(x, b"1", false));
    live.execute(&kept(2), &mut Vec::new(), |a| a.put_string(y, b"2", false));
    let (mut image, mut meta) = (Vec::new(), Vec::new());
    live.export_slot(slot_of(x), &mut image);
    live.export_meta(&mut meta);
    live.undo_after(1);
    let mut again = Vec::new();
    live.execute(&at(2), &mut again, |a| a.put_string(x, b"3", false));
    let mut copy = Engine::new();
    copy.import_slot(slot_of(x), &image).unwrap();
    copy.import_meta(&meta).unwrap();
    copy.join(&again, &at(2)).unwrap();
    assert_eq!(copy.digest_total(), live.digest_total());
}

#[test]
fn nothing_is_exported_of_a_slot_that_was_never_written() {
    let mut out = Vec::new();
    Engine::new().export_slot(5, &mut out);
    assert!(out.is_empty());
}
