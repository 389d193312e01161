//! Whether a command may run here, by what its session has seen elsewhere.

use trireme_proto::{
    breakage::{Breakage, broken},
    ids::Origin,
    message::Request,
};

use crate::{
    clients::{Flow, execute::Work},
    engine::{ReceivedSet, command::Error, vector::Seen},
    feeds::sets,
    group::Role,
    io::ClientId,
    quorum::level::{Quorum, Side},
    replica::Replica,
};

use super::{Guarantees, Token};

/// What is not here of what a session has seen.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// It has still to come.
    pub(super) waits: ReceivedSet,
    /// It will not.
    pub(super) lost: ReceivedSet,
    /// Entries that are here under other names.
    pub(super) back: u64,
}

impl Replica {
    /// A command of a connection that goes on from a token: nothing is to be done where it may be placed as any other one.
    pub(in crate::clients) fn keep_session(&mut self, id: ClientId, work: &Work<'_>) -> Result<(), Flow> {
        let session = self.clients.session_of_mut(id);
        let Some(session) = session else { return Ok(()) };
        (session.asks, session.to_leader) = (None, false);
        if let Some(bound) = session.max_lag {
            self.keep_bound(id, work, bound)?;
        }
        self.keep_token(id, work)
    }

    fn keep_token(&mut self, id: ClientId, work: &Work<'_>) -> Result<(), Flow> {
        let store = self.store_guarantees();
        let Some(client) = self.clients.get_mut(id) else { return Err(Flow::Done) };
        let guarantees = client.guarantees(store);
        let Some(session) = client.session.as_deref_mut() else { return Ok(()) };
        if session.token.is_empty() || ignores_token(work) {
            return Ok(());
        }
        if self.has_all(id) {
            self.session_is_here(id);
            return Ok(());
        }
        let Some(session) = self.clients.session_of_mut(id) else {
            return Ok(());
        };
        let (needed, all) = (needed(&session.token, guarantees, work.writes()), session.token.seen.clone());
        let waits_for = session.since_us.map(|since| self.now.mono_us.saturating_sub(since));
        if self.meta.topology.is_none() {
            return Err(Flow::NotNow);
        }
        let waited = waits_for.is_some_and(|us| us >= self.session_wait_us());
        let fetches = self.fetches(id).is_some();
        // One whose reads are asked of others has waited before: what nobody has is lost.
        let lost = self.missing(&all, waited || fetches).lost;
        if !lost.is_empty() {
            return Err(self.tell_lost(id, &lost));
        }
        let missing = self.missing(&needed, waited);
        let may_go_on = missing.waits.is_empty();
        if !may_go_on
            && (waited || fetches)
            && let Some(placed) = self.fetch(id, work, &missing.waits, &needed)
        {
            return placed;
        }
        if may_go_on || self.goes_to_who_has_it(id, work) {
            self.session_goes_on(id);
            return Ok(());
        }
        if !waited {
            return Err(self.wait_for_session(id));
        }
        if let Role::Follower(_) | Role::Idle = &self.role {
            // Its leader has more.
            let own = self.identity.group;
            if self.clients.get_mut(id).is_some_and(|client| !client.may_follow(own, 0)) {
                return Err(Flow::NotNow);
            }
            self.session_goes_on(id);
            return Err(self.forward(id, work, (self.identity.group, 0)));
        }
        let why = self.why_stale(&missing.waits);
        self.session_goes_on(id);
        self.counters.stale_answers += 1;
        Err(self.refuse(id, &Error::Text(why.into_bytes())))
    }

    /// Whether all that a session has seen is here, in what the store's history is: what only a former leader has does not count.
    fn has_all(&self, id: ClientId) -> bool {
        if !self.is_settled_state() || (self.leads() && !self.lease_holds()) {
            return false;
        }
        self.clients.session_of(id).is_some_and(|session| self.here().covers(&session.token.seen))
    }

    /// From now on the session is the number that every connection's is. Which of it were its own writes is for the next token.
    fn session_is_here(&mut self, id: ClientId) {
        let commit = self.commit;
        let Some(client) = self.clients.get_mut(id) else { return };
        client.session_seq = client.session_seq.max(commit);
        if let Some(session) = client.session.as_deref_mut() {
            if !session.token.written.is_empty() {
                client.written_seq = client.written_seq.max(commit);
            }
            (session.token.seen, session.since_us, session.fetches) = (ReceivedSet::default(), None, None);
        }
    }

    /// The command at hand waits no more.
    pub(super) fn session_goes_on(&mut self, id: ClientId) {
        if let Some(session) = self.clients.session_of_mut(id) {
            session.since_us = None;
        }
    }

    fn wait_for_session(&mut self, id: ClientId) -> Flow {
        let (now_us, wait_us) = (self.now.mono_us, self.session_wait_us());
        let Some(session) = self.clients.session_of_mut(id) else {
            return Flow::Done;
        };
        if session.since_us.is_none() {
            self.counters.session_waits += 1;
            if let Role::Follower(follower) = &mut self.role {
                follower.await_due = true;
            }
        }
        let until_us = session.since_us.get_or_insert(now_us).saturating_add(wait_us);
        self.clients.await_session(until_us);
        Flow::NotNow
    }

    /// Whether a command is executed by a leader who has everything that this group has, and there is no other group.
    fn goes_to_who_has_it(&mut self, id: ClientId, work: &Work<'_>) -> bool {
        match &self.role {
            Role::Follower(_) | Role::Idle => {
                // With the request goes what has to be there: see `forward`.
                work.writes() || !self.may_read_here(id)
            }
            Role::Leader(_) | Role::Peer(_) => false,
        }
    }

    /// What a request has to find at the leader.
    pub(in crate::clients) fn session_needs(&mut self, id: ClientId, work: &Work<'_>) -> ReceivedSet {
        if ignores_token(work) {
            return ReceivedSet::default();
        }
        let store = self.store_guarantees();
        let Some(client) = self.clients.get_mut(id) else { return ReceivedSet::default() };
        let guarantees = client.guarantees(store);
        match &client.session {
            Some(session) if !session.token.is_empty() => needed(&session.token, guarantees, work.writes()),
            _ => ReceivedSet::default(),
        }
    }

    /// What of a set is not here, and whether it will come. `waited`: what could come by another way has had its time.
    pub(super) fn missing(&self, needed: &ReceivedSet, waited: bool) -> Missing {
        let mut missing = Missing::default();
        for seen in needed.without(self.here()).origins() {
            let (back, again) = self.engine.moved_of(seen);
            missing.back += back;
            let over = self.is_over(seen, waited);
            for (first, last) in again {
                let to = if over { &mut missing.lost } else { &mut missing.waits };
                to.insert_range(seen.origin, first, last);
            }
        }
        missing
    }

    /// Whether entries of an origin that are not here will not come.
    fn is_over(&self, seen: &Seen, waited: bool) -> bool {
        if self.is_leaderless() {
            // Somebody may have them who has not passed them on.
            return waited && self.is_past(seen.origin) && self.none_holds(seen);
        }
        if !self.is_multi_leader() {
            return self.is_past(seen.origin);
        }
        // What a group had lost may have reached another one before: it comes from there. Only a leader hears what others have.
        let nobody_has = self.feeds.as_ref().is_some_and(|feeds| feeds.said.values().all(|said| said.lacks(seen)));
        waited && self.is_past(seen.origin) && self.leads() && nobody_has
    }

    /// Whether an origin writes no more, and all that is left of what it wrote, in its own group, is here.
    pub(super) fn is_past(&self, origin: Origin) -> bool {
        let Some(topology) = &self.meta.topology else { return false };
        if self.is_leaderless() {
            // The record counts disks; each process that may have lost something has a name of its own.
            let of_disk = origin.generation >> Origin::LIVES_BITS;
            let disk_is_gone = topology.replica(origin.group).is_none_or(|row| row.generation > of_disk);
            let feeds = self.feeds.as_ref();
            let now = match origin.group == self.identity.id {
                true => feeds.and_then(|feeds| feeds.origin),
                false => feeds.and_then(|feeds| feeds.links.get(&origin.group)).and_then(|link| link.origin),
            };
            return disk_is_gone || now.is_some_and(|now| now.generation > origin.generation);
        }
        if origin.group == topology.group {
            // The start entry of the epoch is committed here: what its leader had, of all generations before, is, too.
            let epoch = self.log.position(self.commit).epoch;
            return topology.generation > origin.generation && self.in_history() && epoch == topology.epoch;
        }
        // An edge that has lost its disk begins anew with any generation.
        let later = |seen: &Seen| seen.origin.group == origin.group && seen.origin.generation > origin.generation;
        !self.is_edge(origin.group) && self.engine.committed().origins().iter().any(later)
    }

    /// Whether every member is known to hold all of it.
    pub(super) fn all_hold(&self, seen: &Seen) -> bool {
        let me = self.identity.id;
        self.met(Side::Reads, Quorum::All, |id| id == me || self.held_by(id).is_some_and(|held| held.covers_part(seen)))
    }

    /// Whether every member has said what it holds, and none holds any of it.
    pub(super) fn none_holds(&self, seen: &Seen) -> bool {
        let me = self.identity.id;
        self.met(Side::Reads, Quorum::All, |id| id == me || self.held_by(id).is_some_and(|held| held.lacks(seen)))
    }

    pub(super) fn held_by(&self, id: u32) -> Option<&ReceivedSet> {
        self.feeds.as_ref()?.links.get(&id).filter(|link| link.connected)?.holds.as_ref()
    }

    /// The session goes on without what is lost.
    fn tell_lost(&mut self, id: ClientId, lost: &ReceivedSet) -> Flow {
        let why = self.say_lost(lost);
        if let Some(session) = self.clients.session_of_mut(id) {
            session.token.seen = session.token.seen.without(lost);
            session.lost.merge(lost);
            session.since_us = None;
        }
        self.refuse(id, &Error::Text(why.into_bytes()))
    }

    /// Whether a request's client has seen nothing that may still come: what its group has lost and has again has another name.
    pub(in crate::clients) fn has_received(&self, seen: &ReceivedSet) -> bool {
        let rest = seen.without(self.engine.received());
        rest.origins().iter().all(|seen| self.engine.moved_of(seen).1.is_empty())
    }

    /// Why a request is refused whose client has seen what has not come in time.
    pub(in crate::clients) fn why_early(&mut self, seen: &ReceivedSet) -> String {
        let missing = self.missing(seen, true);
        if missing.lost.is_empty() {
            self.counters.stale_answers += 1;
            return self.why_stale(&missing.waits);
        }
        self.say_lost(&missing.lost)
    }

    /// What a request's session is told at once: that what it has seen is lost.
    pub(in crate::clients) fn loss_of(&mut self, request: &Request) -> Option<String> {
        if request.seen_wait_ms == 0 {
            return None;
        }
        let lost = self.missing(&sets::from_message(&request.seen), false).lost;
        (!lost.is_empty()).then(|| self.say_lost(&lost))
    }

    fn say_lost(&mut self, lost: &ReceivedSet) -> String {
        self.counters.lost_writes_told += 1;
        format!(
            "LOSTWRITE {} entries that this session has seen or written are lost with a failover: {}; nothing was done now, and the session goes on without them",
            lost.count(),
            self.by_origin(lost)
        )
    }

    /// The leader has told a session of a loss: it goes on without what is known here to be over.
    pub(in crate::clients) fn was_told_of_loss(&mut self, id: ClientId) {
        let Some(session) = self.clients.session_of(id) else { return };
        let mut over = ReceivedSet::default();
        for seen in session.token.seen.without(self.here()).origins() {
            if self.is_past(seen.origin) {
                over.insert_seen(seen);
            }
        }
        if let Some(session) = self.clients.session_of_mut(id) {
            session.token.seen = session.token.seen.without(&over);
            session.lost.merge(&over);
        }
    }

    pub(in crate::clients) fn why_stale(&self, missing: &ReceivedSet) -> String {
        format!(
            "STALE {} entries that this session has seen have not come here within {} ms: {}; nothing was done",
            missing.count(),
            self.session_wait_us() / 1_000,
            self.by_origin(missing)
        )
    }

    /// How many entries there are of whom.
    pub(super) fn by_origin(&self, set: &ReceivedSet) -> String {
        let one = |seen: &Seen| {
            let topology = self.meta.topology.as_ref();
            let name = match self.is_leaderless() {
                true => topology.and_then(|topology| topology.replica(seen.origin.group)).map(|row| row.name.clone()),
                false => self.is_multi_leader().then(|| format!("region {}", self.region_named(seen.origin.group))),
            };
            let name = name.unwrap_or_else(|| format!("group {}", seen.origin.group));
            format!("{} of {name}, generation {}", seen.count(), seen.origin.generation)
        };
        set.origins().iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

fn ignores_token(work: &Work<'_>) -> bool {
    broken(if work.writes() { Breakage::WriteBehindToken } else { Breakage::ReadBehindToken })
}

/// What has to be here before a command runs.
fn needed(token: &Token, guarantees: Guarantees, writes: bool) -> ReceivedSet {
    let (all, own) = match writes {
        true => (Guarantees::WRITES_FOLLOW_READS, Guarantees::MONOTONIC_WRITES),
        false => (Guarantees::MONOTONIC_READS, Guarantees::READ_YOUR_WRITES),
    };
    match (guarantees.has(all), guarantees.has(own)) {
        (true, _) => token.seen.clone(),
        (false, true) => token.own_writes(),
        (false, false) => ReceivedSet::default(),
    }
}
