//! Between regions, for a key that has a home: it is written in one region at a time, each command once, also while its home moves; and a connection sees what
//! it has been shown, wherever that was done.
//!
//! Clients of all regions count it up. Each of them is told the count, and no two may be told the same one; the end is all that were acknowledged.

use std::collections::BTreeMap;

use super::{Found, violated};
use crate::{
    history::{Entry, HOMED, History, Outcome},
    model::Act,
    resp::Reply,
};

/// What an operation was told that the count is.
fn told(entry: &Entry) -> Option<u64> {
    match &entry.outcome {
        Outcome::Answered(_, Reply::Integer(count)) => u64::try_from(*count).ok(),
        Outcome::Answered(_, Reply::Bulk(text)) => String::from_utf8_lossy(text).parse().ok(),
        Outcome::Answered(_, Reply::Null) => Some(0),
        _ => None,
    }
}

/// Looks at what clients of all regions were told. `alone`: no region ever wrote it because it did not reach its home.
///
/// # Errors
/// The first of them that cannot be.
pub fn end(history: &History, alone: bool) -> Found {
    let mut counts: BTreeMap<u64, &Entry> = BTreeMap::new();
    let (mut acknowledged, mut unknown, mut last) = (0, 0, None);
    for entry in history.on(HOMED) {
        match (&entry.act, &entry.outcome) {
            (Act::Incr, Outcome::Answered(..)) => acknowledged += 1,
            (Act::Incr, Outcome::Unknown | Outcome::Pending) => unknown += 1,
            (Act::Get, Outcome::Answered(..)) => last = Some(entry),
            _ => {}
        }
        let Some(count) = told(entry).filter(|_| entry.act == Act::Incr) else { continue };
        if let Some(other) = counts.insert(count, entry).filter(|_| alone) {
            return violated("homes", format!("two commands made the same count:\n    {other}\n    {entry}"));
        }
    }
    let Some(last) = last else { return Ok(()) };
    let found = told(last).unwrap_or(0);
    if (acknowledged..=acknowledged + unknown).contains(&found) {
        return Ok(());
    }
    violated("homes", format!("{acknowledged} increments were acknowledged and {unknown} may have been:\n    {last}"))
}

/// Looks at what each connection of one region was told, in its order: never less than before.
///
/// # Errors
/// The first that was.
pub fn sessions(history: &History) -> Found {
    let mut highest: BTreeMap<(u32, u64), (u64, &Entry)> = BTreeMap::new();
    for entry in history.on(HOMED) {
        let Some(count) = told(entry) else { continue };
        let before = highest.entry((entry.client, entry.session)).or_insert((0, entry));
        if count < before.0 {
            return violated("homes", format!("a connection saw less than before:\n    {}\n    {entry}", before.1));
        }
        *before = (count, entry);
    }
    Ok(())
}
