//! On every connection, to any replica, reads show what the connection has written, and never less than it has seen.
//!
//! Two keys only grow: `total` by INCR, `journal` by APPEND. So what a connection sees of them must grow too, whichever replica answers, and a read that was
//! sent after a write was acknowledged shows that write. Not where acknowledged entries were given up.

use std::collections::BTreeMap;

use super::{Found, violated};
use crate::{
    history::{Entry, Family, History, KEYS, Outcome},
    resp::Reply,
};

/// Looks at what every connection saw.
///
/// # Errors
/// The first read that went back.
pub fn end(history: &History) -> Found {
    for (key, what) in KEYS.iter().enumerate() {
        match what.family {
            Family::Total => grows(history, key, |reply| match reply {
                Reply::Integer(number) => u64::try_from(*number).unwrap_or(0),
                Reply::Bulk(text) => String::from_utf8_lossy(text).parse().unwrap_or(0),
                _ => 0,
            })?,
            Family::Journal => grows(history, key, |reply| match reply {
                Reply::Integer(length) => u64::try_from(*length).unwrap_or(0),
                Reply::Bulk(text) => text.len() as u64,
                _ => 0,
            })?,
            _ => {}
        }
    }
    Ok(())
}

/// A connection's replies come in the order of its commands, so each is compared with the largest before it.
fn grows(history: &History, key: usize, size: impl Fn(&Reply) -> u64) -> Found {
    let mut sessions: BTreeMap<(u32, u64), (u64, &Entry)> = BTreeMap::new();
    for entry in history.on(key) {
        let Outcome::Answered(_, reply) = &entry.outcome else { continue };
        if matches!(reply, Reply::Error(_)) {
            continue;
        }
        let found = size(reply);
        let (largest, earlier) = sessions.entry((entry.client, entry.session)).or_insert((found, entry));
        if found < *largest {
            return violated("session", format!("{found} is less than {largest}:\n    {entry}\n    after {earlier}"));
        }
        (*largest, *earlier) = (found, entry);
    }
    Ok(())
}
