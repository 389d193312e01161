//! Reads of sessions that have seen what does not come here in time: asked of somebody who has it.
//!
//! ```text
//!   a follower ──▶ its leader ──▶ another group's leader that has said that it holds everything the session has seen
//!   where nobody leads ──▶ one member that holds what is missing, among those that the read asks; else all of them
//! ```
//!
//! A read is executed there as if the client were connected there, and its reply says what it has shown: that is part of the session from then on. As long as
//! that has not come here the session's reads go there at once, without waiting again. Writes are not asked of others: they would be written elsewhere
//! than their client believes, so they wait, and are refused.

use trireme_proto::{
    ReplicaId,
    message::{Moved, Reply, Request},
};

use crate::{
    clients::{Flow, execute::Work, serve::with_work},
    engine::ReceivedSet,
    feeds::sets,
    group::Role,
    io::ClientId,
    quorum::level::{Quorum, Side},
    replica::Replica,
};

/// Of whom a read is asked, where nobody leads, beside what it would ask anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// So many.
    Quorum(Quorum),
    /// This one.
    Member(ReplicaId),
}

/// Whether it can be executed elsewhere: a read of keys.
fn can_be_fetched(work: &Work<'_>) -> bool {
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
                let asks = self.members_to_ask(missing)?;
                let session = self.clients.session_of_mut(id)?;
                (session.asks, session.fetches) = (Some(asks), Some(self.identity.id));
                self.session_goes_on(id);
                return Some(Ok(()));
            }
            Role::Leader(_) => self.group_that_has(needed)?,
            // Its leader has found it, and said so.
            Role::Follower(_) | Role::Idle => self.fetches(id).filter(|group| self.may_ask(*group))?,
        };
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

    fn members_to_ask(&self, missing: &ReceivedSet) -> Option<Asks> {
        let feeds = self.feeds.as_ref()?;
        let has = |id: &ReplicaId| self.held_by(*id).is_some_and(|held| held.covers(missing));
        let asked = |id: &ReplicaId| self.too_few_peers(Side::Reads, Quorum::Store, false).is_none() && has(id);
        if let Some(id) = feeds.links.keys().copied().find(asked) {
            return Some(Asks::Member(id));
        }
        let all = self.too_few_peers(Side::Reads, Quorum::All, false).is_none();
        all.then_some(Asks::Quorum(Quorum::All))
    }

    /// Another group that has said that it holds all of this, and whose leader can be asked: the one heard last.
    fn group_that_has(&self, needed: &ReceivedSet) -> Option<u32> {
        let feeds = self.feeds.as_ref().filter(|_| !needed.is_empty())?;
        let has = |group: &u32| feeds.said.get(group).is_some_and(|said| said.covers(needed));
        let linked = feeds.links.iter().filter(|(group, link)| link.connected && has(group) && !self.is_edge(**group));
        let asked = linked.filter(|(group, _)| self.may_ask(**group));
        asked.max_by_key(|(group, link)| (link.heard_us, std::cmp::Reverse(**group))).map(|(group, _)| *group)
    }

    /// Where a request belongs whose client has seen what has not come here in time.
    pub(in crate::clients) fn fetched_from(&self, request: &Request) -> Option<Moved> {
        if request.seen_wait_ms == 0 || !with_work(request, can_be_fetched).unwrap_or(false) {
            return None;
        }
        let group = self.group_that_has(&sets::from_message(&request.seen))?;
        Some(Moved { group, ..Moved::default() })
    }

    /// A read was answered by another group: what it has shown is what its session has seen. If it was not what it should be, the next one waits.
    pub(in crate::clients) fn note_fetched(&mut self, id: ClientId, group: u32, reply: &Reply) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let session = client.session_mut();
        session.token.seen.merge(&sets::from_message(&reply.seen));
        session.fetches = Some(group).filter(|_| !reply.bytes.starts_with(b"-"));
    }
}
