//! Between regions: nobody sees an effect before its cause.
//!
//! One region counts the one key up; others set the other key to what they have seen of it. Whoever reads both together finds the first at least as far.

use std::collections::BTreeMap;

use super::{Found, violated};
use crate::{
    history::{CAUSE, EFFECT, Entry, History, Outcome},
    resp::Reply,
};

fn number(entry: &Entry) -> Option<u64> {
    match &entry.outcome {
        Outcome::Answered(_, Reply::Bulk(text)) => String::from_utf8_lossy(text).parse().ok(),
        Outcome::Answered(_, Reply::Null) => Some(0),
        _ => None,
    }
}

/// Compares the two in every transaction that reads them.
///
/// # Errors
/// The first one that saw an effect of what it did not see.
pub fn end(history: &History) -> Found {
    let mut effects: BTreeMap<u64, &Entry> = BTreeMap::new();
    for entry in &history.entries {
        let Some(transaction) = entry.transaction else { continue };
        if entry.key == EFFECT {
            effects.insert(transaction, entry);
        }
        let Some(effect) = effects.get(&transaction).filter(|_| entry.key == CAUSE) else { continue };
        if let (Some(seen), Some(cause)) = (number(effect), number(entry))
            && seen > cause
        {
            return violated("causal", format!("an effect was seen without its cause:\n    {effect}\n    {entry}"));
        }
    }
    Ok(())
}
