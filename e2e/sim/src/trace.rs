//! What happened, as a hash of everything (so that two runs can be compared) and as lines for a person, when asked for.

use std::fmt;

use crate::clock::Micros;

/// What is done with the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Only the hash is kept.
    Nothing,
    /// All lines are kept.
    Lines,
}

/// The trace of one run.
pub struct Trace {
    keep: Keep,
    hash: u64,
    lines: Vec<String>,
}

impl Trace {
    /// An empty trace.
    pub fn new(keep: Keep) -> Trace {
        Trace { keep, hash: 0xcbf2_9ce4_8422_2325, lines: Vec::new() }
    }

    /// Adds numbers to the hash.
    pub fn mix(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    /// Adds bytes to the hash.
    pub fn mix_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut raw = [0; 8];
            raw[..chunk.len()].copy_from_slice(chunk);
            self.mix(&[u64::from_le_bytes(raw)]);
        }
        self.mix(&[bytes.len() as u64]);
    }

    /// Whether lines are kept: what costs much to say is said only then.
    pub fn speaks(&self) -> bool {
        self.keep == Keep::Lines
    }

    /// Adds a line.
    pub fn say(&mut self, time: Micros, line: fmt::Arguments<'_>) {
        if self.keep == Keep::Lines {
            self.lines.push(format!("{:>10.3} ms  {line}", time as f64 / 1_000.0));
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
