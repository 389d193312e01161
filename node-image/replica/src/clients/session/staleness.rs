//! How far behind this replica may be, and what is answered where that is too much: `CONSISTENCY maxlag=200ms`, or `maxlag=100` entries.
//!
//! Who leads is not behind as long as its lease holds. A follower is as old as the last message of a leader with a lease whose commit is applied here: the
//! time is taken when it comes in, by this machine's own clock, so a message's way is not counted. Between groups, and where nobody leads, a replica is as old
//! as the last word of each other one whose own entries are all here; of several the oldest counts, and whoever has not been heard since the start makes it
//! unknown. Entries are told by the same words, and are unknown when these are older than the suspicion time.
//!
//! A read that this replica is too old for goes to the leader, or where nobody leads to so many members that a later read cannot be older. Where that
//! cannot be, and where it is another region that is behind, it is answered `-STALE`. Writes are not asked about.

use crate::{
    clients::{Flow, execute::Work},
    engine::{
        ReceivedSet,
        command::{Error, Reply},
    },
    group::Role,
    io::ClientId,
    quorum::level::{Quorum, Side},
    replica::Replica,
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

/// What a follower has heard of its leader's commit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Freshness {
    /// When the last message came of a leader with a lease that had committed no more than is applied here; 0: none.
    fresh_us: u64,
    /// When the last one came at all, and its commit.
    heard_us: u64,
    commit: u64,
    /// How old its leader is by what it has of other groups, and how many of their entries it lacks, as it says.
    behind_ms: u64,
    behind_entries: u64,
}

impl Freshness {
    /// A leader with a lease says that so much is committed; `applied` is what is here then.
    pub(crate) fn hear(&mut self, now_us: u64, commit: u64, applied: u64, behind: (u64, u64)) {
        (self.heard_us, self.commit) = (now_us, commit);
        (self.behind_ms, self.behind_entries) = behind;
        if applied >= commit {
            self.fresh_us = now_us;
        }
    }

    /// The leader's own, as it last said.
    fn of_leader(&self) -> Staleness {
        Staleness { ms: Some(self.behind_ms), entries: Some(self.behind_entries) }
    }

    fn staleness(&self, now_us: u64, applied: u64, suspicion_us: u64) -> Staleness {
        let age_ms = |us: u64| Some(now_us.saturating_sub(us) / 1_000).filter(|_| us > 0);
        let heard = self.heard_us > 0 && self.heard_us.saturating_add(suspicion_us) >= now_us;
        Staleness {
            ms: age_ms(self.fresh_us).map(|ms| ms.saturating_add(self.behind_ms)),
            entries: heard.then(|| self.commit.saturating_sub(applied).saturating_add(self.behind_entries)),
        }
    }
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
                let suspicion_us = u64::from(self.setting(|settings| settings.suspicion_ms)) * 1_000;
                follower.fresh.staleness(now_us, self.applied, suspicion_us)
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
        let suspicion_us = u64::from(topology.settings.suspicion_ms) * 1_000;
        let one = |group: &u32| {
            feeds.links.get(group).map_or_else(Staleness::default, |link| {
                let fresh = &link.fresh;
                fresh.staleness(self.now.mono_us, 0, suspicion_us)
            })
        };
        others.iter().map(one).fold(none, |all, one| Staleness {
            ms: all.ms.zip(one.ms).map(|(a, b)| a.max(b)),
            entries: all.entries.zip(one.entries).map(|(a, b)| a.saturating_add(b)),
        })
    }

    /// What a leader tells its followers of that; none without a lease.
    pub(crate) fn behind_for_followers(&self) -> Option<(u64, u64)> {
        let Role::Leader(leader) = &self.role else { return None };
        if !leader.serving || !self.lease_holds() {
            return None;
        }
        let behind = self.behind_others();
        Some((behind.ms.unwrap_or(UNKNOWN), behind.entries.unwrap_or(UNKNOWN)))
    }

    /// Another group has said what it holds: so many of its own entries are not here.
    pub(crate) fn note_fresh(&mut self, from: u32, said: &ReceivedSet) {
        let now_us = self.now.mono_us;
        let received = self.engine.received();
        let own = said.origins().iter().filter(|seen| seen.origin.group == from);
        let lacks: u64 = own.map(|seen| seen.upto.saturating_sub(received.upto(seen.origin))).sum();
        if let Some(link) = self.feeds.as_mut().and_then(|feeds| feeds.links.get_mut(&from)) {
            link.fresh.hear(now_us, lacks, 0, (0, 0));
        }
    }

    /// A read that would be answered here by a connection with a bound: nothing is to be done where this replica is within it.
    pub(super) fn keep_bound(&mut self, id: ClientId, work: &Work<'_>, bound: MaxLag) -> Result<(), Flow> {
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
        let own = self.identity.group;
        let leader = match &self.role {
            Role::Follower(follower) => follower.fresh.of_leader(),
            _ => Staleness::default(),
        };
        if bound.covers(leader) && self.may_ask(own) {
            return Err(self.forward(id, work, (own, 0)));
        }
        if self.is_leaderless() && self.asks_enough(id, work) {
            return Ok(());
        }
        let told =
            |what: Option<u64>, unit: &str| what.map_or_else(|| format!("unknown {unit}"), |n| format!("{n} {unit}"));
        let why = format!(
            "STALE this replica is {} and {} behind, and the connection wants {bound}: nothing was read, and who has more cannot be asked",
            told(staleness.ms, "ms"),
            told(staleness.entries, "entries")
        );
        self.counters.stale_answers += 1;
        Err(self.refuse(id, &Error::Text(why.into_bytes())))
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
        let (w, n) = self.number_of(Side::Writes, Quorum::Store);
        let enough = Quorum::Count(u32::try_from((n + 1).saturating_sub(w)).unwrap_or(u32::MAX));
        let by_key = matches!(work, Work::One(spec, _) if spec.names_keys());
        if !by_key || self.too_few_peers(Side::Reads, enough, false).is_some() {
            return false;
        }
        if let Some(session) = self.clients.get_mut(id).and_then(|client| client.session.as_deref_mut()) {
            session.asks = Some(enough);
        }
        true
    }

    /// Where it was asked for: how far behind what is read is, as an attribute before the reply.
    pub(in crate::clients) fn write_staleness(&self, reply: &mut Reply<'_>) {
        let staleness = self.staleness();
        reply.attribute(1);
        reply.bulk(b"staleness");
        reply.map(2);
        for (name, number) in [("ms", staleness.ms), ("entries", staleness.entries)] {
            reply.bulk(name.as_bytes());
            match number {
                Some(number) => reply.integer(i64::try_from(number).unwrap_or(i64::MAX)),
                None => reply.null(),
            }
        }
    }
}

/// What a leader says that does not know how far behind it is: longer than anybody allows.
const UNKNOWN: u64 = 1 << 40;

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

    #[test]
    fn a_follower_is_as_old_as_the_last_message_whose_commit_it_has() {
        let mut fresh = Freshness::default();
        assert_eq!(fresh.staleness(5_000_000, 7, 1_000_000), Staleness::default());
        fresh.hear(5_000_000, 7, 7, (0, 0));
        fresh.hear(5_050_000, 12, 7, (0, 0));
        assert_eq!(fresh.staleness(5_100_000, 7, 1_000_000), Staleness { ms: Some(100), entries: Some(5) });
        fresh.hear(5_150_000, 12, 12, (30, 2));
        assert_eq!(fresh.staleness(5_150_000, 12, 1_000_000), Staleness { ms: Some(30), entries: Some(2) });
        let late = fresh.staleness(6_200_000, 12, 1_000_000);
        assert_eq!(
            late,
            Staleness { ms: Some(1_080), entries: None },
            "what was heard so long ago says nothing of entries"
        );
    }
}
