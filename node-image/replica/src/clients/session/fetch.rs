//! Reads of sessions that have seen what does not come here in time: asked of somebody who has it.
//!
//! ```text
//!   a follower ──▶ its leader ──▶ another group's leader that has said that it holds everything the session has seen
//!   where nobody leads ──▶ one member that holds what is missing, among those that the read asks; else all of them
//! ```
//!
//! A read is executed there as if the client were connected there, after all that it was shown here, and its reply says what it has shown: that is part of the
//! session from then on. As long as that has not come here the session's reads go there at once, without waiting again. Writes are not asked of others: they
//! would be written elsewhere than their client believes, so they wait, and are refused.
//!
//! Commands of a connection are executed in their order. So nothing else of it is under way, here or there, while a read of it is asked of another group; a
//! follower's read behind which others wait at their leader stays, and is refused.

use trireme_proto::{
    ReplicaId,
    message::{Moved, Reply, Request},
};

use crate::{
    clients::{
        Flow,
        client::{Client, Place},
        execute::Work,
    },
    engine::ReceivedSet,
    feeds::sets,
    group::Role,
    io::ClientId,
    quorum::level::{Quorum, Side},
    replica::Replica,
};

/// Of whom a read is asked, where nobody leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asks {
    /// So many; none: as many as without a session.
    pub(crate) quorum: Option<Quorum>,
    /// This one among them.
    pub(crate) member: Option<ReplicaId>,
}

/// What is said of a read that others stand behind: they may be executed before another group could answer.
pub(in crate::clients) const KEPT_HERE: &[u8] =
    b"-STALE what this session has seen has not come here in time, and commands behind this one keep it from \
being asked of another region; nothing was done\r\n";
/// Answers that show nothing.
const SHOWS_NOTHING: [&[u8]; 4] = [b"-STALE", b"-TRYAGAIN", b"-NOREPLICAS", b"-INDOUBT"];

/// Whether it can be executed elsewhere: a read of keys.
pub(in crate::clients) fn can_be_fetched(work: &Work<'_>) -> bool {
    matches!(work, Work::One(spec, _) if spec.names_keys() && !spec.is_write() && !work.waits())
}

impl Replica {
    /// A read of a session of which this is not here: it is asked of somebody who has it. None: nobody is known to have it, or it is no read of keys.
    pub(super) fn fetch(
        &mut self,
        id: ClientId,
        work: &Work<'_>,
        missing: &ReceivedSet,
        needed: &ReceivedSet,
    ) -> Option<Result<(), Flow>> {
        if !can_be_fetched(work) {
            return None;
        }
        let group = match &self.role {
            Role::Peer(_) => {
                let asks = self.members_to_ask(id, missing)?;
                let session = self.clients.session_of_mut(id)?;
                (session.asks, session.fetches) = (Some(asks), Some(self.identity.id));
                self.session_goes_on(id);
                return Some(Ok(()));
            }
            Role::Leader(_) => self.group_that_has(needed)?,
            // Its leader has found it, and said so.
            Role::Follower(_) | Role::Idle => self.fetches(id).filter(|group| self.may_ask(*group))?,
        };
        if !self.shows_all_seen(id) {
            return None;
        }
        let client = self.clients.get_mut(id)?;
        // What is before it is answered first.
        if client.held > 0 || !client.may_follow(group, 0) {
            return Some(Err(Flow::NotNow));
        }
        client.session_mut().fetches = Some(group);
        self.session_goes_on(id);
        Some(Err(self.forward(id, work, (group, 0))))
    }

    /// Who was asked for what this session has seen: its reads go there at once, it has waited before.
    pub(super) fn fetches(&self, id: ClientId) -> Option<u32> {
        self.clients.session_of(id)?.fetches
    }

    /// Its next read waits again.
    pub(in crate::clients) fn fetches_no_more(&mut self, id: ClientId) {
        if let Some(session) = self.clients.session_of_mut(id) {
            session.fetches = None;
        }
    }

    /// Whether everything that a connection was shown here is here: of what it wrote and read by its leader a follower may not have heard yet.
    pub(in crate::clients) fn shows_all_seen(&mut self, id: ClientId) -> bool {
        let (store, here) = (self.store_guarantees(), self.applied.min(self.commit));
        self.clients.get_mut(id).is_some_and(|client| client.reads_after(store) <= here)
    }

    /// Where nobody leads: one member that has it, among as many as a bound asks for, or what the state shows the effects of; else all.
    fn members_to_ask(&mut self, id: ClientId, missing: &ReceivedSet) -> Option<Asks> {
        let bound = self.clients.session_of(id)?.asks.and_then(|asks| asks.quorum);
        let prefix = self.causes_to_come().is_some() && self.keeps_prefix(id);
        let quorum = bound.or_else(|| prefix.then(|| self.meets_every_write()));
        let enough = self.too_few_peers(Side::Reads, quorum.unwrap_or_default(), false).is_none();
        let oldest_us = self.now.mono_us.saturating_sub(self.suspicion_us());
        let has = |id: &ReplicaId| {
            let link = self.feeds.as_ref().and_then(|feeds| feeds.links.get(id));
            let heard = link.is_some_and(|link| link.connected && link.heard_us >= oldest_us);
            heard && self.held_by(*id).is_some_and(|held| held.covers(missing))
        };
        if let Some(member) = self.members_linked().into_iter().find(has).filter(|_| enough) {
            return Some(Asks { quorum, member: Some(member) });
        }
        let all = self.too_few_peers(Side::Reads, Quorum::All, false).is_none();
        all.then_some(Asks { quorum: Some(Quorum::All), member: None })
    }

    /// Another group that has said that it holds all of this, and whose leader can be asked: best one that holds all that is here, too, then the one heard last.
    fn group_that_has(&self, needed: &ReceivedSet) -> Option<u32> {
        let feeds = self.feeds.as_ref().filter(|_| !needed.is_empty())?;
        let said = |group: &u32| feeds.said.get(group).filter(|said| said.covers(needed));
        let linked = feeds.links.iter().filter(|(group, link)| link.connected && !self.is_edge(**group));
        let asked = linked.filter_map(|(group, link)| Some((*group, link, said(group)?)));
        let best = asked
            .filter(|(group, ..)| self.may_ask(*group))
            .max_by_key(|(group, link, said)| (said.covers(self.here()), link.heard_us, std::cmp::Reverse(*group)));
        best.map(|(group, ..)| group)
    }

    /// Where a request belongs whose client has seen what has not come here in time.
    pub(in crate::clients) fn fetched_from(&self, request: &Request) -> Option<Moved> {
        if request.seen_wait_ms == 0 || !request.may_be_fetched {
            return None;
        }
        let group = self.group_that_has(&sets::from_message(&request.seen))?;
        Some(Moved { group, ..Moved::default() })
    }

    /// Whether a read that its leader cannot answer may be asked of another group: nothing stands behind it.
    pub(in crate::clients) fn may_be_fetched(&mut self, id: ClientId, number: u64) -> bool {
        let last = |client: &mut Client| client.places.back().is_some_and(|place| place.is_of(number));
        self.clients.get_mut(id).is_some_and(last)
    }

    /// A read was answered by another group: what it has shown, and is not here, is what its session has seen.
    pub(in crate::clients) fn note_fetched(&mut self, id: ClientId, group: u32, reply: &Reply) {
        if SHOWS_NOTHING.iter().any(|code| reply.bytes.starts_with(code)) {
            return self.fetches_no_more(id);
        }
        let shown = sets::from_message(&reply.seen);
        // It has said so itself, since its last heartbeat.
        if let Some(said) = self.feeds.as_mut().and_then(|feeds| feeds.said.get_mut(&group)) {
            said.merge(&shown);
        }
        let (new, commit) = (shown.without(self.here()), self.commit);
        let Some(client) = self.clients.get_mut(id) else { return };
        // It was reset meanwhile: that is forgotten, too.
        let Some(session) = client.session.as_deref_mut() else { return };
        session.token.seen.merge(&new);
        session.fetches = Some(group);
        client.session_seq = client.session_seq.max(commit);
    }

    /// The leader of this group is not there any more: reads that were asked of it are asked of the own group's, which may have by now what they need.
    pub(in crate::clients) fn fetch_again(&mut self, lost: u32) {
        let own = self.identity.group;
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let mut again = false;
            for place in &mut client.places {
                if let Place::Asked { sent, group, writes: false, .. } = place
                    && *group == lost
                {
                    (*group, *sent, again) = (own, false, true);
                }
            }
            if again {
                self.fetches_no_more(id);
                self.clients.moved.insert(id);
            }
        }
    }
}
