//! The forwarder's side: commands that this replica's clients send and its leader executes.
//!
//! A request keeps its id (this replica's incarnation, the connection, a number) until its reply has come, and is asked again, in order, of every new
//! leader and on every new connection. What was executed before is then answered from the leader's log, so the client sees a pause and nothing else.

use bytes::Bytes;
use trireme_proto::{
    Message,
    message::{Command, Forward, ForwardReply, Request},
};

use crate::{engine::command::Reply, group::Role, io::ClientId, replica::Replica};

use super::{
    Flow,
    blocked::left_us,
    client::{Blocked, Place, bytes_of},
    execute::{Work, note_session},
    requests::{CONNECTIONS_MAX, OUTSTANDING_MAX},
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

    /// Asks the leader to execute.
    pub(super) fn forward(&mut self, id: ClientId, work: &Work<'_>) -> Flow {
        let connection = self.connection_of(id);
        let (now_us, sent) = (self.now.mono_us, self.may_ask());
        let wait = self.key_wait_of(id, work);
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
        let request = Request {
            connection,
            number: client.asked,
            confirmed: client.confirmed,
            commands,
            watched,
            resp3,
            transaction,
            wait_us: wait.map_or(0, |wait| left_us(wait.until_us, now_us)),
        };
        // Its place first: a leader of these days answers itself at once.
        let bytes = bytes_of(&request.commands);
        let since_us = wait.map_or(now_us, |wait| wait.until_us);
        client.push_place(Place::Asked { request: request.clone(), since_us, sent, mute, bytes });
        client.blocked = wait.map(Blocked::Keys);
        if sent {
            self.ask(request);
        }
        Flow::Done
    }

    /// Whether there is a leader that takes requests up: this replica, or one that it hears.
    fn may_ask(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.serving,
            Role::Follower(follower) => follower.hears_leader(),
            Role::Idle | Role::Peer(_) => false,
        }
    }

    /// Hands a request to the leader that [`Replica::may_ask`] has found.
    fn ask(&mut self, request: Request) {
        if self.leads() {
            self.serve(self.identity.id, self.identity.incarnation, request);
        } else {
            self.forward_out.requests.push(request);
        }
    }

    /// Sends this turn's requests as one message.
    pub(crate) fn flush_requests(&mut self) {
        let Forward { requests, ended, released, .. } = &self.forward_out;
        if requests.is_empty() && ended.is_empty() && released.is_empty() {
            return;
        }
        match &self.role {
            Role::Follower(follower) if follower.hears_leader() => {
                let (leader, epoch) = (follower.leader, follower.epoch);
                let all = Forward { epoch, ..std::mem::take(&mut self.forward_out) };
                for forward in divide(all) {
                    self.send(leader, Message::Forward(forward));
                }
            }
            Role::Leader(_) => {
                let ended = std::mem::take(&mut self.forward_out.ended);
                self.note_ended(self.identity.incarnation, ended);
                self.forward_out.requests.clear();
                self.forward_out.released.clear();
            }
            // Requests are kept by their clients and asked again when there is a leader; ends are remembered here.
            _ => {
                self.forward_out.requests.clear();
                self.forward_out.released.clear();
                self.forward_out.ended.truncate(CONNECTIONS_MAX);
            }
        }
    }

    /// Asks everything again: there is a new leader, or a new connection to it.
    pub(crate) fn resend_requests(&mut self) {
        self.forward_out.requests.clear();
        self.forward_out.released.clear();
        self.clients.wake = true;
        if !self.may_ask() {
            return;
        }
        let now_us = self.now.mono_us;
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let confirmed = client.confirmed;
            let wait_us = client.key_wait().map_or(0, |wait| left_us(wait.until_us, now_us));
            let mut again = Vec::new();
            for place in &mut client.places {
                if let Place::Asked { request, sent, .. } = place {
                    *sent = true;
                    let wait_us = wait_us.min(request.wait_us);
                    again.push(Request { confirmed, wait_us, ..request.clone() });
                }
            }
            for request in again {
                self.ask(request);
            }
        }
    }

    /// Replies of the leader to requests of this replica's clients.
    pub(crate) fn on_forward_reply(&mut self, replies: ForwardReply) {
        // A former leader's reply comes too late: the request was asked again, and a command that changed nothing there may have changed something since.
        if !matches!(&self.role, Role::Follower(follower) if follower.epoch == replies.epoch) {
            return;
        }
        for reply in replies.replies {
            self.take_reply(reply.connection, reply.number, reply.bytes, reply.seq);
        }
    }

    /// One reply: it takes its place in its client's order.
    pub(crate) fn take_reply(&mut self, connection: u64, number: u64, bytes: Bytes, seq: u64) {
        let Some(id) = self.client_of(connection) else { return };
        let bytes = self.reply_or_error(id, number, bytes);
        let Some(client) = self.clients.get_mut(id) else { return };
        if !client.answer_place(number, bytes) {
            return; // It was answered before.
        }
        note_session(client, seq);
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
        let why = self.why_not_now();
        let Some(client) = self.clients.get_mut(id) else { return };
        let resp3 = client.state.resp3;
        let (mut doubts, mut refusals) = (0, 0);
        client.answer_places(|place| {
            let Place::Asked { since_us, sent, .. } = place else { return None };
            if since_us.saturating_add(timeout_us) > now {
                return None;
            }
            let text = if *sent {
                doubts += 1;
                format!(
                    "INDOUBT the command may or may not have been executed: no leader answered within {} ms",
                    timeout_us / 1_000
                )
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
