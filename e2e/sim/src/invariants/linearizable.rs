//! All writes, and all reads that are promised to be linearizable, fit into one order per key, each at a moment between its call and its return.
//!
//! Not where acknowledged entries were given up, which a new generation records. Reads that a follower answered from its own state are [`super::session`]'s.

use super::violated;
use crate::{
    history::{History, KEYS, Outcome},
    linear::{Operation, Verdict, check},
};

/// Configurations that the search enters for one key at most.
const BOUND: usize = 50_000;

/// Looks at every key; says how many could not be decided.
///
/// # Errors
/// The first key whose operations do not fit.
pub fn end(history: &History) -> Result<usize, super::Violation> {
    let mut undecided = 0;
    for (key, what) in KEYS.iter().enumerate() {
        let entries: Vec<_> = history
            .on(key)
            .filter(|e| e.strict && !matches!(e.outcome, Outcome::Refused(..)))
            .filter(|e| !e.act.reads() || matches!(e.outcome, Outcome::Answered(..)))
            .collect();
        let operations: Vec<_> = entries
            .iter()
            .map(|entry| {
                let answer = if let Outcome::Answered(time, reply) = &entry.outcome {
                    Some((*time, reply.clone()))
                } else {
                    None
                };
                Operation { call: entry.call, answer, act: entry.act.clone() }
            })
            .collect();
        match check(&operations, BOUND) {
            Verdict::Linearizable => {}
            Verdict::Undecided => undecided += 1,
            Verdict::Violation { stuck, value } => {
                let shown: Vec<_> = stuck.iter().take(4).map(|index| format!("\n    {}", entries[*index])).collect();
                let what = format!("{}: no order explains these after {value:?}:{}", what.name, shown.concat());
                violated("linearizable", what)?;
            }
        }
    }
    Ok(undecided)
}
