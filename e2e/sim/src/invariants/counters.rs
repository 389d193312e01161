//! Without a leader: a counter that is only counted up is the sum of the increments that were acknowledged, and at most those of unknown outcome more.

use super::{Found, violated};
use crate::{
    history::{History, Outcome},
    model::Act,
    resp::Reply,
};

const TOTAL: usize = 4;

/// Looks at what clients saw.
///
/// # Errors
/// Where the end is another sum.
pub fn end(history: &History) -> Found {
    let (mut acknowledged, mut unknown, mut last) = (0, 0, None);
    for entry in history.on(TOTAL) {
        match (&entry.act, &entry.outcome) {
            (Act::Incr, Outcome::Answered(..)) => acknowledged += 1,
            (Act::Incr, Outcome::Unknown | Outcome::Pending) => unknown += 1,
            (Act::Get, Outcome::Answered(_, reply)) => last = Some((entry, reply)),
            _ => {}
        }
    }
    let Some((entry, reply)) = last else { return Ok(()) };
    let found = match reply {
        Reply::Bulk(text) => String::from_utf8_lossy(text).parse().unwrap_or(0),
        _ => 0,
    };
    if (acknowledged..=acknowledged + unknown).contains(&found) {
        return Ok(());
    }
    violated(
        "counters",
        format!("{acknowledged} increments were acknowledged and {unknown} may have been:\n    {entry}"),
    )
}
