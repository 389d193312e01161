//! How far behind this replica may be, and what is answered where that is too much: `CONSISTENCY maxlag=200ms`, or `maxlag=100` entries.
//!
//! Who leads is not behind as long as its lease holds. A follower is as old as the last message of a leader with a lease whose commit is applied here.
//! Between groups, and where nobody leads, a replica is as old as the last word of each other one whose own entries are all here for good; a group with a
//! leader is believed as long as that one has a lease. Of several the oldest counts, and whoever has not been heard since the start makes it unknown. Entries
//! are told by the same words, and are unknown when these are older than the suspicion time. How old a word is: [`super::freshness`].
//!
//! A read that this replica is too old for goes to the leader, with the bound, which who executes it looks at, too; or where nobody leads to so many members
//! that a later read cannot be older. Where that cannot be, and where it is another region that is behind, it waits as long as a session does, and is then
//! answered `-STALE`. Writes are not asked about.

use trireme_proto::{ids::Dot, message::Request};

use crate::{
    clients::{Flow, execute::Work},
    engine::{
        ReceivedSet,
        command::{Error, Reply},
    },
    group::Role,
    io::{ClientId, Now},
    quorum::level::{Quorum, Side},
    replica::Replica,
};

use super::{
    fetch::Asks,
    freshness::{Behind, Times, UNKNOWN},
};

/// How far behind a replica may be that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MaxLag {
    /// In milliseconds.
    Millis(u64),
    /// In entries.
    Entries(u64),
}

/// How far behind it is; none: it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Staleness {
    pub(crate) ms: Option<u64>,
    pub(crate) entries: Option<u64>,
}

impl MaxLag {
    /// `maxlag=200ms`, `maxlag=100`, or `maxlag=off`; in any case. None: it is neither.
    pub(crate) fn parse(word: &[u8]) -> Option<Option<MaxLag>> {
        let (name, bound) = std::str::from_utf8(word).ok()?.split_once('=')?;
        if !name.eq_ignore_ascii_case("maxlag") {
            return None;
        }
        if bound.eq_ignore_ascii_case("off") {
            return Some(None);
        }
        let number = |digits: &str| -> Option<u64> {
            digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let bound = bound.to_ascii_lowercase();
        match bound.strip_suffix("ms") {
            Some(ms) => number(ms).map(|ms| Some(MaxLag::Millis(ms))),
            None => number(&bound).map(|entries| Some(MaxLag::Entries(entries))),
        }
    }

    /// The one that goes with a request.
    fn of_request(request: &Request) -> Option<MaxLag> {
        request.max_lag_ms.map(MaxLag::Millis).or(request.max_lag_entries.map(MaxLag::Entries))
    }

    fn covers(self, staleness: Staleness) -> bool {
        match self {
            MaxLag::Millis(most) => staleness.ms.is_some_and(|ms| ms <= most),
            MaxLag::Entries(most) => staleness.entries.is_some_and(|entries| entries <= most),
        }
    }
}

impl std::fmt::Display for MaxLag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MaxLag::Millis(ms) => write!(f, "maxlag={ms}ms"),
            MaxLag::Entries(entries) => write!(f, "maxlag={entries}"),
        }
    }
}

impl Replica {
    /// How far behind this replica is.
    pub(crate) fn staleness(&self) -> Staleness {
        let now_us = self.now.mono_us;
        let unknown = Staleness::default();
        if !self.is_settled_state() {
            return unknown;
        }
        match &self.role {
            Role::Leader(leader) if leader.serving && self.lease_holds() => self.behind_others(),
            Role::Follower(follower) => {
                follower.fresh.staleness(now_us, self.suspicion_us(), |commit| commit.saturating_sub(self.applied))
            }
            Role::Peer(_) => self.behind_others(),
            Role::Leader(_) | Role::Idle => unknown,
        }
    }

    /// How far behind other groups this one is.
    fn behind_others(&self) -> Staleness {
        let none = Staleness { ms: Some(0), entries: Some(0) };
        let (Some(topology), Some(feeds)) = (&self.meta.topology, &self.feeds) else { return none };
        let leaderless = self.is_leaderless();
        let others: Vec<u32> = match leaderless {
            true => topology.config.members.iter().map(|m| m.id).filter(|id| *id != self.identity.id).collect(),
            // Nobody is old because an edge is away.
            false => topology.groups.iter().filter(|row| !row.is_edge() && row.is_fed()).map(|row| row.group).collect(),
        };
        let (now_us, suspicion_us, here) = (self.now.mono_us, self.suspicion_us(), self.engine.committed());
        let one = |group: &u32| {
            let link = feeds.links.get(group);
            link.map_or_else(Staleness::default, |link| {
                link.fresh.staleness(now_us, suspicion_us, |said| lacking(here, said))
            })
        };
        others.iter().map(one).fold(none, |all, one| Staleness {
            ms: all.ms.zip(one.ms).map(|(a, b)| a.max(b)),
            entries: all.entries.zip(one.entries).map(|(a, b)| a.saturating_add(b)),
        })
    }

    pub(super) fn suspicion_us(&self) -> u64 {
        u64::from(self.setting(|settings| settings.suspicion_ms)) * 1_000
    }

    /// What a leader tells its followers of that; none without a lease.
    pub(crate) fn behind_for_followers(&self) -> Option<Behind> {
        let Role::Leader(leader) = &self.role else { return None };
        if !leader.serving || !self.lease_holds() {
            return None;
        }
        let behind = self.behind_others();
        Some((behind.ms.unwrap_or(UNKNOWN), behind.entries.unwrap_or(UNKNOWN)))
    }

    fn times_of(&self, sent_us: u64) -> Times {
        Times { now_us: self.now.mono_us, sent_us, awake_since_us: self.awake_since_us }
    }

    /// The leader has said, with a lease, how much is committed.
    pub(crate) fn note_leader_fresh(&mut self, sent_us: u64, commit: u64, behind: Behind) {
        let (times, applied) = (self.times_of(sent_us), self.applied);
        let Role::Follower(follower) = &mut self.role else { return };
        follower.fresh.hear(times, commit, behind, |commit| commit.saturating_sub(applied));
        self.clients.wake_sessions(self.now.mono_us, true);
    }

    /// Another group has said what it holds. Without a time somebody else may lead it, or it is of an older version: then nothing is known.
    pub(crate) fn note_fresh(&mut self, from: u32, sent_us: Option<u64>, said: &ReceivedSet) {
        let Some(times) = sent_us.map(|sent_us| self.times_of(sent_us)) else { return };
        let own = said.origins().iter().filter(|seen| seen.origin.group == from);
        let own: Vec<Dot> = own.map(|seen| Dot { origin: seen.origin, seq: seen.upto }).collect();
        // What may still be undone is not here.
        let here = self.engine.committed();
        if let Some(link) = self.feeds.as_mut().and_then(|feeds| feeds.links.get_mut(&from)) {
            link.fresh.hear(times, own, (0, 0), |own| lacking(here, own));
        }
        self.clients.wake_sessions(self.now.mono_us, true);
    }

    /// Time has passed since then. While a machine sleeps its monotonic clock may stand still: then what is here is older than it says, and what is read
    /// first was said before.
    pub(crate) fn note_sleep(&mut self, before: Now) {
        let wall_us = self.now.wall_ms.saturating_sub(before.wall_ms).saturating_mul(1_000);
        let slept_us = wall_us.saturating_sub(self.now.mono_us.saturating_sub(before.mono_us));
        if slept_us < SLEPT_US {
            return;
        }
        self.awake_since_us = self.now.mono_us;
        if let Role::Follower(follower) = &mut self.role {
            follower.fresh.slept(slept_us);
        }
        let links = self.feeds.iter_mut().flat_map(|feeds| feeds.links.values_mut());
        links.for_each(|link| link.fresh.slept(slept_us));
    }

    /// A read that would be answered here by a connection with a bound: nothing is to be done where this replica is within it.
    pub(super) fn keep_bound(&mut self, id: ClientId, work: &Work<'_>, bound: MaxLag) -> Result<(), Flow> {
        let Some(session) = self.clients.session_of_mut(id) else {
            return Ok(());
        };
        let since_us = session.stale_since_us.take();
        if work.writes() || self.meta.topology.is_none() {
            return Ok(());
        }
        let follows = matches!(self.role, Role::Follower(_) | Role::Idle);
        if follows && !self.is_multi_leader() && !self.may_read_here(id) {
            return Ok(()); // It goes to the leader.
        }
        let staleness = self.staleness();
        if bound.covers(staleness) || self.reads_all_acknowledged(id) {
            return Ok(());
        }
        let leader = match &self.role {
            Role::Follower(follower) => follower.fresh.of_sender(self.now.mono_us, self.suspicion_us()),
            _ => Staleness::default(),
        };
        let leader_may = bound.covers(leader) && self.may_ask(self.identity.group);
        if !leader_may && self.is_leaderless() && self.asks_enough(id, work) {
            return Ok(());
        }
        let (now_us, wait_us) = (self.now.mono_us, self.session_wait_us());
        let Some(session) = self.clients.session_of_mut(id) else {
            return Ok(());
        };
        session.to_leader = leader_may;
        if leader_may {
            return Ok(());
        }
        let until_us = since_us.unwrap_or(now_us).saturating_add(wait_us);
        if now_us < until_us {
            session.stale_since_us = since_us.or(Some(now_us));
            self.counters.session_waits += u64::from(since_us.is_none());
            self.clients.await_session(until_us);
            return Err(Flow::NotNow);
        }
        let why = self.why_too_old(staleness, bound);
        Err(self.refuse(id, &Error::Text(why.into_bytes())))
    }

    fn why_too_old(&mut self, staleness: Staleness, bound: MaxLag) -> String {
        self.counters.stale_answers += 1;
        let told =
            |what: Option<u64>, unit: &str| what.map_or_else(|| format!("unknown {unit}"), |n| format!("{n} {unit}"));
        format!(
            "STALE this replica is {} and {} behind, and the connection wants {bound}: nothing was read, and who has more cannot be asked",
            told(staleness.ms, "ms"),
            told(staleness.entries, "entries")
        )
    }

    /// What goes with a read to who executes it: its client's bound, and whether it wants to know. A bound is waited for as a session is.
    pub(in crate::clients) fn put_bound(&mut self, id: ClientId, work: &Work<'_>, request: &mut Request) {
        let wait_ms = self.session_wait_ms().max(1);
        let Some(session) = self.clients.session_of(id) else { return };
        if work.writes() {
            return;
        }
        request.tells_staleness = session.tells_staleness;
        match session.max_lag {
            Some(MaxLag::Millis(ms)) => request.max_lag_ms = Some(ms),
            Some(MaxLag::Entries(entries)) => request.max_lag_entries = Some(entries),
            None => return,
        }
        request.seen_wait_ms = wait_ms;
    }

    /// Whether this leader is too far behind other groups for a request.
    pub(in crate::clients) fn is_too_old_for(&self, request: &Request) -> bool {
        MaxLag::of_request(request).is_some_and(|bound| !bound.covers(self.behind_others()))
    }

    /// Why a request is refused for which it still is.
    pub(in crate::clients) fn why_too_old_for(&mut self, request: &Request) -> Option<String> {
        let bound = MaxLag::of_request(request).filter(|_| self.is_too_old_for(request))?;
        Some(self.why_too_old(self.behind_others(), bound))
    }

    /// Nobody leads, and what the connection reads is asked of so many members anyway that no acknowledged write is missed.
    fn reads_all_acknowledged(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get_mut(id).filter(|client| !client.readonly) else { return false };
        let level = client.level().r;
        let ((w, n), (r, _)) = (self.number_of(Side::Writes, Quorum::Store), self.number_of(Side::Reads, level));
        let counted = matches!(level, Quorum::Store | Quorum::Count(_) | Quorum::Majority | Quorum::All);
        self.is_leaderless() && counted && r + w > n
    }

    /// Whether so many members can be asked for the keys of a read that one of them is among those of any write: then they are.
    pub(super) fn asks_enough(&mut self, id: ClientId, work: &Work<'_>) -> bool {
        let enough = self.meets_every_write();
        let by_key = matches!(work, Work::One(spec, _) if spec.names_keys());
        if !by_key || self.too_few_peers(Side::Reads, enough, false).is_some() {
            return false;
        }
        if let Some(session) = self.clients.session_of_mut(id) {
            session.asks = Some(Asks { quorum: Some(enough), member: None });
        }
        true
    }

    /// So many members that one of them is among those of any write.
    pub(super) fn meets_every_write(&self) -> Quorum {
        let (w, n) = self.number_of(Side::Writes, Quorum::Store);
        Quorum::Count(u32::try_from((n + 1).saturating_sub(w)).unwrap_or(u32::MAX))
    }

    /// Where it was asked for: how far behind what is read is, as an attribute before the reply.
    pub(in crate::clients) fn write_staleness(&self, reply: &mut Reply<'_>) {
        reply.attribute(1);
        self.staleness().write(reply);
    }
}

impl Staleness {
    /// As an entry of an attribute.
    pub(in crate::clients) fn write(self, reply: &mut Reply<'_>) {
        reply.bulk(b"staleness");
        reply.map(2);
        for (name, number) in [("ms", self.ms), ("entries", self.entries)] {
            reply.bulk(name.as_bytes());
            match number {
                Some(number) => reply.integer(i64::try_from(number).unwrap_or(i64::MAX)),
                None => reply.null(),
            }
        }
    }
}

/// How many of these entries, and of those before them, are not in a set.
fn lacking(here: &ReceivedSet, said: &[Dot]) -> u64 {
    said.iter().map(|dot| dot.seq.saturating_sub(here.upto(dot.origin))).sum()
}

/// By how much the clock on the wall must have got ahead of the monotonic one to say that the machine was asleep. It may be set by less at any time.
const SLEPT_US: u64 = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_in_milliseconds_or_entries() {
        assert_eq!(MaxLag::parse(b"maxlag=200ms"), Some(Some(MaxLag::Millis(200))));
        assert_eq!(MaxLag::parse(b"MAXLAG=0MS"), Some(Some(MaxLag::Millis(0))));
        assert_eq!(MaxLag::parse(b"maxlag=100"), Some(Some(MaxLag::Entries(100))));
        assert_eq!(MaxLag::parse(b"maxlag=off"), Some(None));
        for word in
            [&b"maxlag"[..], b"maxlag=", b"maxlag=ms", b"maxlag=-1", b"maxlag=1s", b"maxlag=+1", b"lag=1", b"w=1"]
        {
            assert_eq!(MaxLag::parse(word), None, "{}", String::from_utf8_lossy(word));
        }
    }
}
