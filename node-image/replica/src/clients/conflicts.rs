//! The latest conflicts that were joined here, and the command that shows them: what it answers is on the front page of `engine::command::conflicts`.

use std::collections::VecDeque;

use crate::{
    engine::{
        Noted,
        command::{
            self, Error, Reply,
            conflicts::{HELP, clip_text, write_version},
        },
        conflicts::{Conflict, Family},
    },
    io::ClientId,
    replica::Replica,
};

use super::Flow;

/// Most entries that are kept: what is clipped in each bounds their bytes.
const KEPT_MAX: usize = 128;
/// Most that wait for a commit; of what comes beyond, only the numbers are kept.
const WAITING_MAX: usize = 512;
/// How many GET shows if no number is said.
const SHOWN: usize = 10;

/// One entry.
#[derive(Debug)]
struct Entry {
    id: u64,
    time_ms: u64,
    times: u64,
    conflict: Conflict,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    /// The newest last.
    entries: VecDeque<Entry>,
    next_id: u64,
    counts: [u64; Family::ALL.len()],
    /// Joined at this seq of the own log, and this time, and not committed yet.
    waiting: VecDeque<(u64, u64, Noted)>,
    /// Conflicts in there.
    waiting_conflicts: usize,
    /// What is to be written down in a list, and the seq at which it was joined.
    pub(super) to_list: VecDeque<(u64, String)>,
}

impl Conflicts {
    /// Notes what was joined at this seq.
    pub(crate) fn note(&mut self, seq: u64, time_ms: u64, mut noted: Noted) {
        if self.waiting_conflicts + noted.conflicts.len() > WAITING_MAX {
            noted.conflicts.clear();
        }
        self.waiting_conflicts += noted.conflicts.len();
        self.waiting.push_back((seq, time_ms, noted));
    }

    /// Everything up to this seq is committed.
    pub(crate) fn settle(&mut self, upto: u64) {
        while let Some((_, time_ms, noted)) = self.waiting.pop_front_if(|waiting| waiting.0 <= upto) {
            self.waiting_conflicts -= noted.conflicts.len();
            self.counts.iter_mut().zip(noted.counts).for_each(|(all, more)| *all += more);
            noted.conflicts.into_iter().for_each(|conflict| self.keep(time_ms, conflict));
        }
    }

    /// Everything beyond this seq was undone.
    pub(crate) fn forget_after(&mut self, seq: u64) {
        while let Some((_, _, noted)) = self.waiting.pop_back_if(|waiting| waiting.0 > seq) {
            self.waiting_conflicts -= noted.conflicts.len();
        }
        self.to_list.retain(|(joined, _)| *joined <= seq);
    }

    fn keep(&mut self, time_ms: u64, conflict: Conflict) {
        let goes_on = self.entries.iter().position(|entry| conflict.follows(&entry.conflict));
        let times = goes_on.and_then(|at| self.entries.remove(at)).map_or(1, |entry| entry.times + 1);
        if self.entries.len() >= KEPT_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { id: self.next_id, time_ms, times, conflict });
        self.next_id += 1;
    }

    /// How many there were of each family since the start.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Family, u64)> {
        Family::ALL.into_iter().zip(self.counts)
    }

    /// How many entries are kept.
    pub(crate) fn kept(&self) -> usize {
        self.entries.len()
    }

    fn write(&self, count: usize, reply: &mut Reply<'_>) {
        reply.array(count.min(self.entries.len()));
        self.entries.iter().rev().take(count).for_each(|entry| entry.write(reply));
    }
}

impl Entry {
    fn write(&self, reply: &mut Reply<'_>) {
        let Conflict { key, place, family, why, versions, more } = &self.conflict;
        reply.map(9);
        for (name, number) in [("id", self.id), ("time_ms", self.time_ms)] {
            reply.bulk(name.as_bytes());
            reply.integer(number as i64);
        }
        reply.bulk(b"key");
        reply.bulk(&clip_text(key));
        reply.bulk(b"type");
        reply.bulk(family.name().as_bytes());
        reply.bulk(b"place");
        reply.bulk_or_null(place.as_ref().map(clip_text).as_deref());
        reply.bulk(b"why");
        reply.bulk(why.words().as_bytes());
        reply.bulk(b"times");
        reply.integer(self.times as i64);
        reply.bulk(b"more");
        reply.count(*more);
        reply.bulk(b"versions");
        reply.array(versions.len());
        versions.iter().for_each(|version| write_version(version, reply));
    }
}

impl Replica {
    /// What the last unit of work has joined, at this seq of the own log, beside what it had not seen.
    pub(crate) fn note_conflicts(&mut self, seq: u64) {
        let noted = self.engine.take_conflicts();
        if !noted.is_empty() {
            self.list_later(seq, &noted.conflicts);
            self.conflicts.note(seq, self.now.wall_ms, noted);
        }
    }

    /// How many conflicts of each family were joined here since the start.
    pub fn conflict_counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.conflicts.counts().map(|(family, count)| (family.name(), count))
    }

    /// CONFLICTS, all but KEY, which reads data.
    pub(super) fn conflicts(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        let count = match args {
            [_] | [_, _] => SHOWN as i64,
            [_, _, count] => match command::integer_argument(count) {
                Ok(count) if count >= -1 => count,
                Ok(_) => return self.refuse(id, &Error::Fixed("ERR count should be greater than or equal to -1")),
                Err(error) => return self.refuse(id, &error),
            },
            _ => return self.refuse(id, &Error::Arity("conflicts|get")),
        };
        if self.leads() && !self.shows_whole() {
            self.clients.wait_for_whole = true;
            return Flow::NotNow; // They show what reads do not.
        }
        let is = |name: &str| args.get(1).is_some_and(|arg| arg.eq_ignore_ascii_case(name.as_bytes()));
        let mut bytes = Vec::new();
        let resp3 = self.clients.get_mut(id).is_some_and(|client| client.state.resp3);
        let mut reply = Reply::new(&mut bytes, resp3);
        if is("len") {
            reply.count(self.conflicts.kept());
        } else if is("reset") {
            self.conflicts.entries.clear();
            reply.ok();
        } else if is("help") {
            reply.array(HELP.len());
            HELP.iter().for_each(|line| reply.simple(line));
        } else {
            self.conflicts.write(usize::try_from(count).unwrap_or(usize::MAX), &mut reply);
        }
        self.answer(id, |reply| reply.raw(&bytes));
        Flow::Done
    }
}
