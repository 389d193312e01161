//! The leader's side of forwarded requests: each is executed once, however often it is asked.

use bytes::Bytes;
use trireme_proto::{
    Incarnation, ReplicaId,
    breakage::{Breakage, broken},
    message::{Forward, Reply, Request},
};

use crate::{engine::command, group::Role, log::record::Kind, replica::Replica};

use super::{
    execute::MayExecute,
    held::{Held, HeldFor, Of},
    requests::{Known, Requests},
};

/// Requests of other replicas that wait until the leader may execute; beyond it they are refused.
const BACKLOG_MAX: usize = 100_000;

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Backlog {
    from: ReplicaId,
    incarnation: Incarnation,
    request: Request,
}

impl Replica {
    /// Requests that another replica's clients sent.
    pub(crate) fn on_forward(&mut self, from: ReplicaId, forward: Forward) {
        let Some(incarnation) = self.peers.get(&from).map(|peer| peer.incarnation) else { return };
        let Role::Leader(leader) = &self.role else { return };
        if forward.epoch != leader.epoch {
            return; // It means another leader, and will ask the right one.
        }
        for request in forward.requests {
            self.serve(from, incarnation, request);
        }
        self.forget_connections(incarnation, &forward.ended);
    }

    /// Answers one request from what is known of it, or executes it, or lets it wait.
    pub(super) fn serve(&mut self, from: ReplicaId, incarnation: Incarnation, request: Request) {
        let Role::Leader(leader) = &mut self.role else { return };
        if !leader.serving && !broken(Breakage::ExecuteBeforeStart) {
            return self.backlog(Backlog { from, incarnation, request });
        }
        let waits = !leader.backlog.is_empty();
        let known = match self.requests.known(incarnation, request.connection, request.number) {
            _ if broken(Breakage::ForgetRequests) => Known::New,
            known => known,
        };
        match known {
            Known::Answered(seq, bytes) => {
                let seq = if broken(Breakage::AnswerRepeatedEarly) { 0 } else { seq };
                self.reply_when_committed(
                    from,
                    Reply { connection: request.connection, number: request.number, bytes, seq },
                    Of::Write,
                );
            }
            Known::Passed => {
                let bytes = Bytes::from_static(
                    b"-TRYAGAIN a later command of this connection was executed before the leader changed\r\n",
                );
                self.reply_when_committed(
                    from,
                    Reply { connection: request.connection, number: request.number, bytes, seq: 0 },
                    Of::Read,
                );
            }
            Known::New if waits => self.backlog(Backlog { from, incarnation, request }),
            Known::New => self.serve_new(from, incarnation, request),
        }
    }

    fn backlog(&mut self, waiting: Backlog) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.backlog.len() < BACKLOG_MAX {
            return leader.backlog.push_back(waiting);
        }
        let Backlog { from, request: Request { connection, number, .. }, .. } = waiting;
        let bytes = Bytes::from_static(b"-TRYAGAIN too many requests wait for the leader: nothing was done\r\n");
        self.reply_to(from, Reply { connection, number, bytes, seq: 0 });
    }

    fn serve_new(&mut self, from: ReplicaId, incarnation: Incarnation, request: Request) {
        let writes = request.commands.iter().any(|command| {
            command.args.first().and_then(|name| command::lookup(name)).is_some_and(command::Spec::is_write)
        });
        match self.may_execute(writes) {
            MayExecute::NotNow => self.backlog(Backlog { from, incarnation, request }),
            MayExecute::Never(why) => {
                self.counters.no_replicas += u64::from(why.starts_with("NOREPLICAS"));
                let bytes = format!("-{why}\r\n").into();
                self.reply_to(from, Reply { connection: request.connection, number: request.number, bytes, seq: 0 });
            }
            MayExecute::Yes => {
                let (bytes, seq, of) = self.execute_request((from, incarnation), &request);
                self.reply_when_committed(
                    from,
                    Reply { connection: request.connection, number: request.number, bytes: bytes.into(), seq },
                    of,
                );
            }
        }
    }

    /// Runs requests that waited, in order, as long as the leader may execute.
    pub(crate) fn serve_backlog(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let waiting = std::mem::take(&mut leader.backlog);
        for Backlog { from, incarnation, request } in waiting {
            // One that may not be executed yet goes to the end of the new backlog, and so do all after it.
            self.serve(from, incarnation, request);
        }
    }

    /// The connection to a forwarder is gone: it will ask everything again that it has no reply to.
    pub(crate) fn forget_forwarder(&mut self, from: ReplicaId) {
        if let Role::Leader(leader) = &mut self.role {
            leader.backlog.retain(|waiting| waiting.from != from);
        }
        self.clients.held.forget_remote(|replica| replica == from);
        self.replies_out.remove(&from);
    }

    fn reply_when_committed(&mut self, to: ReplicaId, reply: Reply, of: Of) {
        if self.must_hold(reply.seq) {
            self.clients.held.push(Held {
                seq: reply.seq,
                since_us: self.now.mono_us,
                of,
                to: HeldFor::Remote { replica: to, reply },
            });
        } else {
            self.reply_to(to, reply);
        }
    }

    /// Gives a reply to its forwarder, which may be this replica itself.
    pub(crate) fn reply_to(&mut self, to: ReplicaId, reply: Reply) {
        if to == self.identity.id {
            self.take_reply(reply.connection, reply.number, reply.bytes, reply.seq);
        } else {
            self.replies_out.entry(to).or_default().replies.push(reply);
        }
    }

    /// Connections that have ended need not be remembered any more.
    pub(super) fn forget_connections(&mut self, incarnation: Incarnation, ended: &[u64]) {
        let known: Vec<u64> =
            ended.iter().copied().filter(|connection| self.requests.remembers(incarnation, *connection)).collect();
        let serving = matches!(&self.role, Role::Leader(leader) if leader.serving);
        if known.is_empty() || !serving {
            return;
        }
        let mut payload = Vec::new();
        Requests::write_forget(incarnation, &known, &mut payload);
        self.append_entry(Kind::Forget, None, |out| out.extend_from_slice(&payload));
        self.applied = self.batch_last;
        self.requests.forget(&payload);
    }
}
