//! The forwarder's side: commands that this replica's clients send and a leader executes.
//!
//! That is its own group's leader, or that of the group where the command's keys are at home, or that has what a read needs ([`super::elsewhere`]). A request
//! keeps its id (this replica's incarnation, the connection, a number) until its reply has come, and is asked again, in order, of every new leader and on every
//! new connection. What was executed before is then answered from the leader's log, so the client sees a pause and nothing else.

use bytes::Bytes;
use trireme_proto::{
    Message, ReplicaId,
    message::{self, Command, Forward, ForwardReply, Request},
};

use crate::{engine::command::Reply, feeds::sets, group::Role, io::ClientId, replica::Replica};

use super::{
    Flow,
    blocked::left_us,
    client::{Blocked, Place, bytes_of},
    execute::{Work, note_session},
    requests::{CONNECTIONS_MAX, OUTSTANDING_MAX},
    session::fetch::{KEPT_HERE, can_be_fetched},
};

/// Bytes of requests in one message, but for a single one that has more.
const FORWARD_BYTES_MAX: usize = 16 << 20;

/// Requests that together are longer than a message should be, as several, in their order.
fn divide(mut all: Forward) -> Vec<Forward> {
    let size_of = |request: &Request| bytes_of(&request.commands);
    if all.requests.iter().map(size_of).sum::<usize>() <= FORWARD_BYTES_MAX {
        return vec![all];
    }
    let (mut divided, epoch) = (Vec::new(), all.epoch);
    let (mut begin, mut bytes) = (0, 0);
    let sizes: Vec<usize> = all.requests.iter().map(size_of).collect();
    let mut rest = std::mem::take(&mut all.requests).into_iter();
    for (i, size) in sizes.iter().enumerate() {
        if bytes + size > FORWARD_BYTES_MAX && i > begin {
            let requests = rest.by_ref().take(i - begin).collect();
            divided.push(Forward { epoch, requests, ..Forward::default() });
            (begin, bytes) = (i, 0);
        }
        bytes += size;
    }
    // Connections that have ended are named after the last request.
    divided.push(Forward { requests: rest.collect(), ..all });
    divided
}

impl Replica {
    /// A connection's name in request ids: unlike client numbers it is not used again by the next process on this disk.
    pub(super) fn connection_of(&self, id: ClientId) -> u64 {
        (self.identity.boot << 32) | (id & 0xffff_ffff)
    }

    fn client_of(&self, connection: u64) -> Option<ClientId> {
        (connection >> 32 == self.identity.boot & 0xffff_ffff).then_some(connection & 0xffff_ffff)
    }

    /// Asks a group's leader to execute, the own one's or, by its epoch, that of the home of its keys.
    pub(super) fn forward(&mut self, id: ClientId, work: &Work<'_>, (group, home_epoch): (u32, u64)) -> Flow {
        let connection = self.connection_of(id);
        let (now_us, sent) = (self.now.mono_us, self.may_ask(group));
        let wait = self.key_wait_of(id, work);
        let own = self.identity.group;
        let needs = self.session_needs(id, work);
        let seen_wait_ms = if needs.is_empty() { 0 } else { self.session_wait_ms().max(1) };
        let seen = if group == own { sets::to_message(&needs) } else { self.shown_and(&needs) };
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        if client.places.len() >= OUTSTANDING_MAX {
            return Flow::NotNow;
        }
        client.asked += 1;
        let (commands, watched, transaction) = match work {
            Work::One(_, args) => (
                vec![Command { args: args.iter().map(|arg| Bytes::copy_from_slice(arg)).collect() }],
                Vec::new(),
                false,
            ),
            Work::Transaction(commands, watched) => (commands.to_vec(), watched.to_vec(), true),
        };
        let (resp3, mute) = (client.state.resp3, !client.state.takes_reply());
        let mut request = Request {
            connection,
            number: client.asked,
            confirmed: client.confirmed,
            commands,
            watched,
            resp3,
            transaction,
            wait_us: wait.map_or(0, |wait| left_us(wait.until_us, now_us)),
            seen,
            seen_wait_ms,
            may_be_fetched: can_be_fetched(work),
            ..Request::default()
        };
        client.note_elsewhere(group, own, work.writes());
        self.put_bound(id, work, &mut request);
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        // Its place first: a leader of these days answers itself at once.
        let bytes = bytes_of(&request.commands);
        let since_us = wait.map_or(now_us, |wait| wait.until_us);
        client.push_place(Place::Asked {
            request: request.clone(),
            since_us,
            sent,
            mute,
            writes: work.writes(),
            group,
            home_epoch,
            bytes,
        });
        client.blocked = wait.map(Blocked::Keys);
        if sent {
            self.ask(group, request);
        }
        Flow::Done
    }

    /// Whether a group has a leader that takes requests up: this replica, or one that it hears.
    pub(super) fn may_ask(&self, group: u32) -> bool {
        match &self.role {
            _ if group != self.identity.group => self.leader_abroad(group).is_some(),
            Role::Leader(leader) => leader.serving,
            Role::Follower(follower) => follower.hears_leader(),
            Role::Idle | Role::Peer(_) => false,
        }
    }

    /// Hands a request to the leader that [`Replica::may_ask`] has found.
    pub(super) fn ask(&mut self, group: u32, request: Request) {
        if self.leads() && group == self.identity.group {
            self.serve(self.identity.id, self.identity.incarnation, request);
        } else {
            self.forward_to(group).requests.push(request);
        }
    }

    /// This turn's message to a group's leader.
    pub(super) fn forward_to(&mut self, group: u32) -> &mut Forward {
        self.forward_out.entry(group).or_default()
    }

    /// Sends this turn's requests as one message to each leader that is asked.
    pub(crate) fn flush_requests(&mut self) {
        for (group, all) in std::mem::take(&mut self.forward_out) {
            if group == self.identity.group && self.leads() {
                self.note_ended(self.identity.incarnation, all.ended);
                continue;
            }
            let leader = match &self.role {
                _ if group != self.identity.group => self.leader_abroad(group),
                Role::Follower(follower) if follower.hears_leader() => Some((follower.leader, follower.epoch)),
                _ => None,
            };
            match leader {
                Some((leader, epoch)) => {
                    for forward in divide(Forward { epoch, ..all }) {
                        self.send(leader, Message::Forward(forward));
                    }
                }
                // Requests are kept by their clients and asked again when there is a leader; ends are remembered here.
                None if !all.ended.is_empty() => {
                    let mut ended = all.ended;
                    ended.truncate(CONNECTIONS_MAX);
                    self.forward_to(group).ended = ended;
                }
                None => {}
            }
        }
    }

    /// Asks everything of a group again: it has a new leader, or there is a new connection to it.
    pub(crate) fn resend_requests(&mut self, group: u32) {
        if let Some(out) = self.forward_out.get_mut(&group) {
            out.requests.clear();
            out.released.clear();
        }
        self.clients.wake = true;
        if !self.may_ask(group) {
            return;
        }
        let now_us = self.now.mono_us;
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let confirmed = client.confirmed;
            let wait_us = client.key_wait().map_or(0, |wait| left_us(wait.until_us, now_us));
            let mut again = Vec::new();
            for place in &mut client.places {
                if let Place::Asked { request, sent, group: asked, .. } = place
                    && *asked == group
                {
                    *sent = true;
                    let wait_us = wait_us.min(request.wait_us);
                    again.push(Request { confirmed, wait_us, ..request.clone() });
                }
            }
            for request in again {
                self.ask(group, request);
            }
        }
    }

    /// Replies of a group's leader to requests of this replica's clients.
    pub(crate) fn on_forward_reply(&mut self, from: ReplicaId, replies: ForwardReply) {
        let Some(group) = self.peers.get(&from).map(|peer| peer.group) else { return };
        let leads = match &self.role {
            _ if group != self.identity.group => self.leader_abroad(group) == Some((from, replies.epoch)),
            Role::Follower(follower) => follower.epoch == replies.epoch,
            _ => false,
        };
        // A former leader's reply comes too late: the request was asked again, and a command that changed nothing there may have changed something since.
        if !leads {
            return;
        }
        for reply in replies.replies {
            self.take_reply(reply, group);
        }
    }

    /// One reply: it takes its place in its client's order.
    pub(crate) fn take_reply(&mut self, mut reply: message::Reply, group: u32) {
        let (Some(id), number) = (self.client_of(reply.connection), reply.number) else { return };
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some((_, writes)) = client.group_of_place(number).filter(|(asked, _)| *asked == group) else {
            return; // It was answered before, or is asked elsewhere now.
        };
        if let Some(moved) = reply.moved.take() {
            if writes || self.may_be_fetched(id, number) {
                return self.moved(id, number, moved);
            }
            reply.bytes = Bytes::from_static(KEPT_HERE);
        }
        match group == self.identity.group {
            true => {}
            false if writes => self.note_shown_elsewhere(id, &reply),
            false => self.note_fetched(id, group, &reply),
        }
        if reply.bytes.starts_with(b"-LOSTWRITE") {
            self.was_told_of_loss(id);
        }
        let bytes = self.reply_or_error(id, number, reply.bytes);
        let Some(client) = self.clients.get_mut(id) else { return };
        let wrote = client.answer_place(number, bytes);
        if group == self.identity.group {
            note_session(client, reply.seq, wrote);
        }
        self.settle(id);
        let Some(client) = self.clients.get_mut(id) else { return };
        client.confirmed = client.first_open().map_or(client.asked, |(request, _)| request.number - 1);
        if self.clients.get_mut(id).is_some_and(|client| !client.waiting.is_empty()) {
            self.clients.wake = true;
        }
    }

    /// Answers requests that have been under way for too long.
    pub(super) fn time_out_places(&mut self, id: ClientId, timeout_us: u64) {
        let now = self.now.mono_us;
        let open = self.clients.get_mut(id).and_then(|client| client.open_group());
        let why = match open.filter(|group| *group != self.identity.group) {
            Some(group) => format!("no leader of region {} takes it up, where it belongs", self.region_named(group)),
            None => self.why_not_now(),
        };
        let Some(client) = self.clients.get_mut(id) else { return };
        let resp3 = client.state.resp3;
        let (mut doubts, mut refusals, mut stale) = (0, 0, 0);
        client.answer_places(|place| {
            let Place::Asked { request, since_us, sent, writes, .. } = place else { return None };
            if since_us.saturating_add(timeout_us) > now {
                return None;
            }
            let unanswered = format!("no leader answered within {} ms", timeout_us / 1_000);
            let text = if !*writes && request.seen_wait_ms > 0 {
                stale += 1;
                let why = if *sent { &unanswered } else { &why };
                format!("STALE what this session has seen has not come here, and {why}; nothing was done")
            } else if *sent {
                doubts += 1;
                format!("INDOUBT the command may or may not have been executed: {unanswered}")
            } else {
                refusals += 1;
                format!("NOREPLICAS {why}; nothing was done")
            };
            let mut bytes = Vec::new();
            Reply::new(&mut bytes, resp3).error(text.as_bytes());
            Some(bytes.into())
        });
        self.counters.in_doubt += doubts;
        self.counters.no_replicas += refusals;
        self.counters.stale_answers += stale;
        if stale > 0 {
            self.fetches_no_more(id);
        }
        self.settle(id);
    }

    /// Why a command cannot be executed at the moment, for its error.
    pub(super) fn why_not_now(&self) -> String {
        let reach = self.members_in_reach().unwrap_or_default();
        match (&self.role, &self.meta.topology) {
            (_, None) => "no topology is known yet: this replica waits for the operator".into(),
            (Role::Leader(_), Some(topology)) => {
                format!("the leader waits for acknowledgements of {} members", topology.config.lease_quorum())
            }
            (Role::Follower(follower), _) => {
                format!("the leader, replica {}, does not answer; {reach}", follower.leader)
            }
            (Role::Peer(_), Some(_)) if !self.may_coordinate() => {
                "this replica is no member of the store yet, or has no name to write under: it waits for the operator"
                    .into()
            }
            (Role::Peer(_), Some(_)) => format!("too few members have answered in time; {reach}"),
            (Role::Idle, Some(topology)) => format!("there is no leader in epoch {}; {reach}", topology.epoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_too_long_for_one_message_become_several() {
        let long = Bytes::from(vec![0; FORWARD_BYTES_MAX / 2]);
        let request = |number| Request {
            number,
            commands: vec![Command { args: vec![if number % 3 == 0 { Bytes::new() } else { long.clone() }] }],
            ..Request::default()
        };
        let all = Forward { requests: (0..7).map(request).collect(), ended: vec![9], ..Forward::default() };
        let divided = divide(all);
        let numbers = |forward: &Forward| forward.requests.iter().map(|request| request.number).collect::<Vec<_>>();
        assert_eq!(divided.iter().map(numbers).collect::<Vec<_>>(), [vec![0, 1], vec![2, 3], vec![4], vec![5, 6]]);
        assert_eq!(divided.iter().map(|forward| forward.ended.len()).collect::<Vec<_>>(), [0, 0, 0, 1]);
    }
}
