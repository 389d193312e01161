//! Damage to bytes, wherever they come from.

use fastrand::Rng;

/// Numbers at which something begins or ends.
const EDGES: [u64; 12] = [0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 1 << 20, 0x7fff_ffff, 0xffff_ffff, 1 << 63, u64::MAX];

/// A few changes: bits, bytes, lengths, pieces.
pub fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..[1, 1, 1, 2, 4][rng.usize(..5)] {
        change(rng, bytes);
    }
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = rng.usize(..=bytes.len());
    if at == bytes.len() {
        return bytes.push(rng.u8(..));
    }
    match rng.u8(..9) {
        0 => bytes[at] ^= 1 << rng.u8(..8),
        1 => bytes[at] = rng.u8(..),
        2 => bytes[at] = EDGES[rng.usize(..6)] as u8,
        3 => bytes.truncate(at),
        4 => bytes.insert(at, rng.u8(..)),
        5 => number(rng, &mut bytes[at..]),
        6 => {
            // A piece once more, somewhere else.
            let piece = bytes[at..(at + rng.usize(..32)).min(bytes.len())].to_vec();
            let to = rng.usize(..=bytes.len());
            bytes.splice(to..to, piece);
        }
        7 => {
            // A piece less.
            let end = (at + rng.usize(..32)).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => {
            // Two pieces change places.
            let (other, length) = (rng.usize(..bytes.len()), rng.usize(..32));
            for step in 0..length.min(bytes.len() - at.max(other)) {
                bytes.swap(at + step, other + step);
            }
        }
    }
}

/// A number of 2, 4 or 8 bytes becomes one at an edge, or a little more or less.
fn number(rng: &mut Rng, bytes: &mut [u8]) {
    let width = [2, 4, 8][rng.usize(..3)].min(bytes.len());
    let mut raw = [0; 8];
    raw[..width].copy_from_slice(&bytes[..width]);
    let was = u64::from_le_bytes(raw);
    let now = match rng.u8(..3) {
        0 => EDGES[rng.usize(..EDGES.len())],
        1 => was.wrapping_add(rng.u64(1..9)),
        _ => was.wrapping_sub(rng.u64(1..9)),
    };
    bytes[..width].copy_from_slice(&now.to_le_bytes()[..width]);
}
