//! Tests of the engine as a whole. `TRIREME_SEEDS` sets how many random runs each makes.

mod algebra;
mod conflicts;
mod evict;
mod hostile;
mod images;
mod memory;
mod model;
mod origins;
mod readdress;
mod resets;
mod siblings;
mod versions;

use super::{At, Engine};

pub(super) fn seeds(default: u64) -> u64 {
    std::env::var("TRIREME_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

pub(super) fn at(seq: u64) -> At {
    At { seq, now_ms: 1_000_000 + seq, keep_undo: false }
}

/// Everything that can be exported of these keys' slots, with digests.
pub(super) fn exported(engine: &Engine, keys: &[&[u8]]) -> Vec<Vec<u8>> {
    assert_eq!(engine.state.live, engine.state.weighed(), "what keys take in memory");
    let mut all: Vec<Vec<u8>> = Vec::new();
    for key in keys {
        let slot = super::slot_of(key);
        let mut image = Vec::new();
        engine.export_slot(slot, &mut image);
        image.extend_from_slice(&engine.digest(slot).to_le_bytes());
        all.push(image);
    }
    let mut meta = Vec::new();
    engine.export_meta(&mut meta);
    meta.extend_from_slice(&engine.digest_total().to_le_bytes());
    meta.extend_from_slice(&engine.key_count().to_le_bytes());
    meta.extend_from_slice(&engine.clock().to_le_bytes());
    meta.extend_from_slice(format!("{:?}{:?}", engine.received(), engine.next_expiry_ms()).as_bytes());
    all.push(meta);
    all
}
