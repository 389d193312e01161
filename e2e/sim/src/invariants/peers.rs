//! Without a leader: once nothing goes wrong any more, every member has received the same and holds the same; and what clients were told is true of it.
//!
//! `total` is counted by everybody and never set: its end is the number of increments that were acknowledged, and at most those of unknown outcome more.
//! `members` is only added to: everything that was acknowledged is there, and nothing that was refused. A transaction is seen as a whole.

use std::collections::BTreeSet;

use trireme_proto::{ReplicaId, SLOTS, Topology};

use super::{Found, atomic, liveness::State, violated};
use crate::{
    history::{Entry, History, Outcome},
    model::Act,
    resp::Reply,
};

const TOTAL: usize = 4;
const MEMBERS: usize = 6;

/// Whether everything is as it should be: some member, or what is missing.
///
/// # Errors
/// What is missing.
pub fn settled(record: &Topology, wanted: (u32, u32), states: &[State<'_>]) -> Result<ReplicaId, String> {
    let (n, w) = wanted;
    if record.old.is_some() || record.config.members.len() != n as usize || record.config.w != w {
        return Err(format!("n = {n} and w = {w} are wanted, the record is {:?}, old {:?}", record.config, record.old));
    }
    let mut first: Option<&State<'_>> = None;
    for member in &record.config.members {
        let state = states
            .iter()
            .find(|state| state.id == member.id && state.incarnation == member.incarnation)
            .ok_or_else(|| format!("member {} does not run", member.id))?;
        if !state.report.serving || state.report.digest == 0 && state.report.keys > 0 {
            return Err(format!("member {} does not serve, or is not durable", state.id));
        }
        let first = *first.get_or_insert(state);
        if state.replica.received() != first.replica.received() {
            return Err(format!(
                "member {} has received {:?}, member {} {:?}",
                state.id,
                state.replica.received(),
                first.id,
                first.replica.received()
            ));
        }
        if state.replica.digests(0, SLOTS).digests != first.replica.digests(0, SLOTS).digests {
            return Err(format!(
                "members {} and {} have received the same and hold something else",
                state.id, first.id
            ));
        }
    }
    first.map(|state| state.id).ok_or_else(|| "there is no member".to_owned())
}

/// Looks at what clients saw.
///
/// # Errors
/// What is not true of the end.
pub fn end(history: &History) -> Found {
    atomic::end(history)?;
    total(history)?;
    members(history)
}

fn total(history: &History) -> Found {
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
    violated("peers", format!("{acknowledged} increments were acknowledged and {unknown} may have been:\n    {entry}"))
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
            return violated("peers", format!("{member} was {}: {entry}", if there { "refused" } else { "added" }));
        }
    }
    Ok(())
}
