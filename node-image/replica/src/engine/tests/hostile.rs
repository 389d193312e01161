//! Any bytes give Ok or an error, never a panic; and what is refused changes nothing.

use fastrand::Rng;

use super::images::write;
use super::{at, exported, seeds};
use crate::engine::{Engine, slot_of};

const KEYS: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];

fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() || rng.u8(..10) == 0 {
        *bytes = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect();
        return;
    }
    for _ in 0..rng.usize(1..4) {
        let i = rng.usize(..bytes.len());
        match rng.u8(..3) {
            0 => bytes[i] ^= 1 << rng.u8(..8),
            1 => bytes[i] = rng.u8(..),
            _ => bytes.truncate(i.max(1)),
        }
    }
}

#[test]
fn damaged_deltas_and_images_are_refused_or_joined() {
    let mut refused = 0;
    for seed in 0..seeds(300) {
        let mut rng = Rng::with_seed(seed);
        let (mut live, mut victim) = (Engine::new(), Engine::new());
        for seq in 1..60 {
            let mut delta = Vec::new();
            live.execute(&at(seq), &mut delta, |a| (0..rng.usize(1..4)).for_each(|_| write(&mut rng, a)));
            let slot = slot_of(KEYS[rng.usize(..5)]);
            match rng.u8(..4) {
                0 => {
                    let mut image = Vec::new();
                    live.export_slot(slot, &mut image);
                    damage(&mut rng, &mut image);
                    let before = exported(&victim, &KEYS);
                    if victim.import_slot(slot, &image).is_err() {
                        refused += 1;
                        assert_eq!(exported(&victim, &KEYS), before, "seed {seed}");
                    }
                }
                1 => {
                    let mut meta = Vec::new();
                    live.export_meta(&mut meta);
                    damage(&mut rng, &mut meta);
                    refused += i32::from(victim.import_meta(&meta).is_err());
                }
                2 => {
                    damage(&mut rng, &mut delta);
                    let before = exported(&victim, &KEYS);
                    let mut out = Vec::new();
                    let done = victim.readdress(&delta, &at(seq), &mut out);
                    if !matches!(done, Ok(true)) {
                        assert_eq!((out.len(), exported(&victim, &KEYS)), (0, before), "seed {seed}");
                    }
                }
                _ => {
                    damage(&mut rng, &mut delta);
                    let before = exported(&victim, &KEYS);
                    if victim.join(&delta, &at(seq)).is_err() {
                        refused += 1;
                        assert_eq!(exported(&victim, &KEYS), before, "seed {seed}");
                    }
                }
            }
            victim.execute(&at(seq), &mut Vec::new(), |a| write(&mut rng, a));
        }
    }
    assert!(refused > 100, "{refused}");
}
