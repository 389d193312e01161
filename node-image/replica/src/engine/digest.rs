//! Digests: the XOR of a hash of each record that a client can come to see, so that each change costs O(1).

use trireme_proto::breakage::{Breakage, broken};
use trireme_proto::ids::Dot;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::delta::Part;
use super::state::cells::Plain;
use super::state::register::{Register, ResetOf};

const EXPIRY: u8 = 0x10;
const COUNT: u8 = 0x20;

fn record(tag: u8, key: &[u8], name: &[u8], dot: Dot, number: u64) -> u64 {
    let mut head = [0; 25];
    head[..4].copy_from_slice(&dot.origin.group.to_le_bytes());
    head[4..8].copy_from_slice(&dot.origin.generation.to_le_bytes());
    head[8..16].copy_from_slice(&dot.seq.to_le_bytes());
    head[16..24].copy_from_slice(&number.to_le_bytes());
    if broken(Breakage::HalfDigest) {
        head[..24].fill(0);
    }
    head[24] = tag;
    let hash = xxh3_64_with_seed(key, xxh3_64(&head));
    // A string has no name: one hash fewer on the hot path, and no other record has its tag.
    if tag == Part::Value as u8 { hash } else { xxh3_64_with_seed(name, hash) }
}

/// One sibling.
pub(crate) fn value(part: Part, key: &[u8], name: &[u8], dot: Dot, clock: u64, value: &[u8]) -> u64 {
    let value = if broken(Breakage::HalfDigest) { &[] } else { value };
    xxh3_64_with_seed(value, record(part as u8, key, name, dot, clock))
}

/// A key that is one plain string.
pub(crate) fn plain(key: &[u8], p: &Plain<'_>) -> u64 {
    value(Part::Value, key, &[], p.dot, p.clock, p.value)
}

/// One expiry.
pub(crate) fn expiry(key: &[u8], dot: Dot, clock: u64, at_ms: u64) -> u64 {
    xxh3_64_with_seed(&at_ms.to_le_bytes(), record(EXPIRY, key, &[], dot, clock))
}

/// A general value: its siblings, and what each origin's count is worth.
pub(crate) fn register(part: Part, key: &[u8], register: &Register, reset: ResetOf<'_>) -> u64 {
    let name = &register.name;
    let name: &[u8] = if part == Part::Value { &[] } else { name };
    let siblings = register.siblings.iter().map(|s| value(part, key, name, s.dot, s.clock, &s.value));
    let counts = register.counts.iter().filter_map(|c| {
        let worth = c.worth(reset(c.dot.origin))?;
        Some(record(COUNT | part as u8, key, name, c.dot, worth as u64))
    });
    siblings.chain(counts).fold(0, |all, one| all ^ one)
}
