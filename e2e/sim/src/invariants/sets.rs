//! Without a leader: a set keeps what was added and not seen removed, and what was removed stays away.
//!
//! `members` is only added to: everything that was acknowledged is there, and nothing that was refused. Of `tags`, where few members come and go, the end is
//! certain where no removal can have seen an addition, or where one has seen them all.

use std::collections::BTreeSet;

use super::{Found, violated};
use crate::{
    clock::Micros,
    history::{Entry, History, Outcome},
    model::Act,
    resp::Reply,
};

const MEMBERS: usize = 6;
const TAGS: usize = 7;
/// The members of `tags`.
pub const NAMES: [&str; 3] = ["x", "y", "z"];

/// Looks at what clients saw. `meets`: a removal sees everything that was acknowledged before.
///
/// # Errors
/// The member that is not there and should be, or is and should not.
pub fn end(history: &History, meets: bool) -> Found {
    members(history)?;
    for name in NAMES {
        tag(history, name, meets)?;
    }
    Ok(())
}

fn members(history: &History) -> Found {
    let mut refused: BTreeSet<&str> = BTreeSet::new();
    let mut added: BTreeSet<&str> = BTreeSet::new();
    let mut seen: Vec<(&Entry, &str, bool)> = Vec::new();
    for entry in history.on(MEMBERS) {
        match (&entry.act, &entry.outcome) {
            (Act::SetAdd(member), Outcome::Answered(..)) => drop(added.insert(member)),
            (Act::SetAdd(member), Outcome::Refused(..)) => drop(refused.insert(member)),
            (Act::SetHas(member), Outcome::Answered(_, reply)) => {
                seen.push((entry, member, *reply == Reply::Integer(1)));
            }
            _ => {}
        }
    }
    for (entry, member, there) in seen {
        if (added.contains(member) && !there) || (refused.contains(member) && there) {
            return violated("sets", format!("{member} was {}: {entry}", if there { "refused" } else { "added" }));
        }
    }
    Ok(())
}

fn tag(history: &History, name: &str, meets: bool) -> Found {
    // When it was asked for, and when it was over: perhaps never.
    let over = |entry: &Entry| match &entry.outcome {
        Outcome::Answered(time, _) => *time,
        _ => Micros::MAX,
    };
    let (mut adds, mut removes, mut last) = (Vec::new(), Vec::new(), None);
    for entry in history.on(TAGS).filter(|entry| !matches!(entry.outcome, Outcome::Refused(..))) {
        let nothing = matches!(&entry.outcome, Outcome::Answered(_, Reply::Integer(0)));
        match &entry.act {
            Act::SetAdd(member) if member == name => adds.push((entry.call, over(entry))),
            Act::SetRemove(member) if member == name => removes.push((entry.call, over(entry), nothing)),
            Act::SetHas(member) if member == name && matches!(entry.outcome, Outcome::Answered(..)) => {
                last = Some(entry);
            }
            _ => {}
        }
    }
    let Some(entry) = last else { return Ok(()) };
    let there = matches!(&entry.outcome, Outcome::Answered(_, Reply::Integer(1)));
    // One that removed nothing has seen nothing.
    let kept = |add: &(Micros, Micros)| removes.iter().all(|(_, over, nothing)| *nothing || *over < add.0);
    if !there && adds.iter().any(|add| add.1 != Micros::MAX && kept(add)) {
        return violated("sets", format!("{name} was added, and no removal has seen that: {entry}"));
    }
    let gone = removes.iter().any(|(call, over, _)| *over != Micros::MAX && adds.iter().all(|add| add.1 < *call));
    if there && meets && (gone || adds.is_empty()) {
        return violated("sets", format!("{name} was removed, and has come back: {entry}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(act: Act, call: Micros, reply: Option<i64>) -> Entry {
        let outcome = reply.map_or(Outcome::Unknown, |n| Outcome::Answered(call + 5, Reply::Integer(n)));
        let (reads, strict, transaction) = (act.reads(), false, None);
        let (client, session, replica, level) = (1, 1, 1, None);
        Entry { client, session, replica, key: TAGS, act, call, outcome, reads, strict, transaction, level }
    }

    type Asks = fn(String) -> Act;

    fn ends(entries: &[(Asks, Micros, Option<i64>)]) -> bool {
        let entries = entries.iter().map(|(act, call, reply)| entry(act("x".to_owned()), *call, *reply)).collect();
        end(&History { entries }, true).is_ok()
    }

    #[test]
    fn what_nobody_removed_is_there_and_what_was_removed_is_not() {
        let (add, remove, has): (Asks, Asks, Asks) = (Act::SetAdd, Act::SetRemove, Act::SetHas);
        assert!(ends(&[(add, 0, Some(1)), (has, 100, Some(1))]));
        assert!(!ends(&[(add, 0, Some(1)), (has, 100, Some(0))]));
        assert!(!ends(&[(add, 0, Some(1)), (remove, 10, Some(1)), (has, 100, Some(1))]));
        assert!(!ends(&[(add, 0, Some(1)), (remove, 10, Some(1)), (add, 20, Some(1)), (has, 100, Some(0))]));
        // At the same time: either. Of unknown outcome: either. One that saw nothing has removed nothing.
        assert!(ends(&[(add, 8, Some(1)), (remove, 10, Some(1)), (has, 100, Some(1))]));
        assert!(ends(&[(add, 0, Some(1)), (remove, 10, None), (has, 100, Some(0))]));
        assert!(!ends(&[(add, 8, Some(1)), (remove, 10, Some(0)), (has, 100, Some(0))]));
    }
}
