//! Without a leader: what was acknowledged at consistency ALL is seen by every later read at ONE, through any member, whatever the store's own w and r are.
//!
//! w + r > n, with the w and r of the operations and not of the store. A member that was added since is not among those that a write waited for.

use trireme_proto::Topology;

use super::{Found, violated};
use crate::{
    clock::Micros,
    history::{Entry, History, LEVELS, Outcome},
    model::Act,
    resp::Reply,
};

/// When members were added: from the record that named them until the one that dropped the configuration before it.
#[derive(Default)]
pub struct Levels {
    growing: Vec<(Micros, Micros)>,
}

impl Levels {
    /// Looks at a record.
    pub(super) fn record(&mut self, now: Micros, before: Option<&Topology>, next: &Topology) {
        if let Some((_, end)) = self.growing.last_mut()
            && *end == Micros::MAX
            && next.old.is_none()
        {
            *end = now;
        }
        let grows = before.is_some_and(|before| next.config.members.len() > before.config.members.len());
        if grows {
            self.growing.push((now, if next.old.is_some() { Micros::MAX } else { now }));
        }
    }

    /// Looks at what clients saw.
    ///
    /// # Errors
    /// The first read that missed what had been acknowledged before it began.
    pub fn end(&self, history: &History) -> Found {
        let writes: Vec<&Entry> = history.on(LEVELS).filter(|entry| !entry.act.reads()).collect();
        for read in history.on(LEVELS) {
            let (true, Outcome::Answered(end, reply)) = (read.act.reads(), &read.outcome) else { continue };
            let seen = match reply {
                Reply::Error(_) => continue,
                Reply::Bulk(text) => writes.iter().position(|write| writes_it(write, text)),
                _ => None,
            };
            let before = writes.iter().rposition(|write| is_before(write, read));
            let Some(last) = before.filter(|last| seen.is_none_or(|seen| seen < *last)) else { continue };
            if self.growing.iter().any(|(from, until)| *from <= *end && writes[last].call <= *until) {
                continue;
            }
            return violated("levels", format!("this was acknowledged:\n    {}\n    and missed: {read}", writes[last]));
        }
        Ok(())
    }
}

fn writes_it(write: &Entry, text: &[u8]) -> bool {
    matches!(&write.act, Act::Set(value) if value.as_bytes() == text)
}

fn is_before(write: &Entry, read: &Entry) -> bool {
    matches!(&write.outcome, Outcome::Answered(end, reply) if *end < read.call && !matches!(reply, Reply::Error(_)))
}
