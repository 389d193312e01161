//! What concurrent commands come to: one table, in `table.txt`, that is documentation ([`markdown`]) and test ([`play`]).
//!
//! The simulation, local processes and a live cluster each play all rows on one store with a region of every name in [`REGIONS`]: they say how a region is
//! asked, how regions are taken apart and brought together ([`Regions`]), and nothing else. The rows of a phase run at the same time, so that one pause and
//! one heal do for all of them; each has keys of its own.
//!
//! ```text
//!   table.txt ──▶ parse ──┬─▶ markdown ──▶ README.md, which a test holds against the table
//!                         └─▶ play ──▶ a store: apart, steps in the order of time, together, looks at every region
//! ```
//!
//! * `parse`: a family of commands, its rows, their phases. `reply`: replies on the wire and in the table. `play`: all rows at once.
//!
//! Invariants: a row is told once. Steps of one phase come one after the other by the clock of every region, so that which write is the last is known. A row
//! that fails is named, and those after it are played. Pure: no IO, no clock.
//!
//! What is not here: two writes with the very same clock, which cannot be made on purpose with real clocks (the engine's tests have them); commands that wait.

mod markdown;
mod parse;
mod play;
mod reply;

pub use markdown::markdown;
pub use parse::{Check, Family, Phase, Row, Step, parse};
pub use play::{Played, Regions, play};
pub use reply::{Expected, Reply};

/// The regions of the store that rows are played on.
pub const REGIONS: [&str; 3] = ["eu", "us", "asia"];

/// The table, as it is written.
pub const TEXT: &str = include_str!("table.txt");

/// The table.
///
/// # Errors
/// A line that cannot be read: its number, and why.
pub fn table() -> Result<Vec<Family>, String> {
    parse(TEXT)
}
