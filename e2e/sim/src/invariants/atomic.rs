//! A transaction is seen as a whole or not at all: two keys that are only ever set together are the same in every read of both.

use std::collections::BTreeMap;

use super::{Found, violated};
use crate::history::{Entry, History, Outcome, PAIR};

/// Compares the two in every transaction that reads them.
///
/// # Errors
/// The first one that saw a part.
pub fn end(history: &History) -> Found {
    let mut first: BTreeMap<u64, &Entry> = BTreeMap::new();
    for entry in &history.entries {
        let (Some(transaction), true, true) = (entry.transaction, entry.act.reads(), PAIR.contains(&entry.key)) else {
            continue;
        };
        let Some(other) = first.insert(transaction, entry) else { continue };
        if let (Outcome::Answered(_, a), Outcome::Answered(_, b)) = (&other.outcome, &entry.outcome)
            && a != b
        {
            return violated("atomic", format!("one transaction saw two values:\n    {other}\n    {entry}"));
        }
    }
    Ok(())
}
