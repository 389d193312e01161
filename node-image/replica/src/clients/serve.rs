//! The leader's side of forwarded requests: each is executed once, however often it is asked. One that waits for keys and has found nothing is kept
//! ([`super::waiters`]) and tried again by whoever brings something, in the same turn, before anything else is executed.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use trireme_proto::{
    Incarnation, ReplicaId,
    breakage::{Breakage, broken},
    message::{Forward, Moved, Released, Reply, Request},
    topology::Member,
};

use crate::{
    engine::command,
    feeds::sets,
    group::{Role, progress::Stage},
    log::record::Kind,
    replica::Replica,
};

use super::{
    blocked::left_us,
    client::{Args, bytes_of},
    execute::{Executed, MayExecute, Work},
    held::{Held, HeldFor, Of},
    homes::Where,
    requests::{CONNECTIONS_MAX, Known, Requests},
    session::Look,
    waiters::{Owner, Waiter, Who},
};

/// Requests of other replicas that wait until the leader may execute, in number and in bytes; beyond it they are refused.
const BACKLOG_MAX: usize = 100_000;
const BACKLOG_BYTES_MAX: usize = 256 << 20;

/// Requests that wait, in their order.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    queue: VecDeque<Waiting>,
    bytes: usize,
    /// Whose they are.
    owners: BTreeSet<Owner>,
    /// When those that wait for entries to come were looked at.
    look: Look,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) from: ReplicaId,
    pub(super) incarnation: Incarnation,
    pub(super) request: Request,
    pub(super) since_us: u64,
}

impl Waiting {
    fn owner(&self) -> Owner {
        (self.incarnation, self.request.connection)
    }
}

impl Backlog {
    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// One more, if there is room for it; else it comes back.
    fn push(&mut self, waiting: Waiting) -> Option<Waiting> {
        let bytes = bytes_of(&waiting.request.commands);
        let room = self.queue.len() < BACKLOG_MAX && self.bytes + bytes <= BACKLOG_BYTES_MAX;
        if !room && !self.is_empty() {
            return Some(waiting);
        }
        self.bytes += bytes;
        self.owners.insert(waiting.owner());
        self.queue.push_back(waiting);
        None
    }

    fn forget_forwarder(&mut self, from: ReplicaId) {
        self.retain(|waiting| waiting.from != from);
    }

    fn retain(&mut self, keep: impl Fn(&Waiting) -> bool) {
        self.queue.retain(keep);
        self.bytes = self.queue.iter().map(|waiting| bytes_of(&waiting.request.commands)).sum();
        self.owners = self.queue.iter().map(Waiting::owner).collect();
    }
}

/// Looks at a request as the unit of work that it is.
///
/// # Errors
/// What its client is told: there is no such command.
pub(super) fn with_work<T>(request: &Request, look: impl FnOnce(&Work<'_>) -> T) -> Result<T, command::Error> {
    match &request.commands[..] {
        [command] if !request.transaction => {
            let args: Args<'_> = command.args.iter().map(|arg| &arg[..]).collect();
            Ok(look(&Work::One(command::resolve(&args)?, &args)))
        }
        commands => Ok(look(&Work::Transaction(commands, &request.watched))),
    }
}

/// A reply to a request.
pub(super) fn reply_of(request: &Request, bytes: Bytes, seq: u64) -> Reply {
    Reply { connection: request.connection, number: request.number, bytes, seq, ..Reply::default() }
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
        for Released { connection, number } in forward.released {
            self.release((incarnation, connection), number);
        }
        self.note_ended(incarnation, forward.ended);
    }

    /// Answers one request from what is known of it, or executes it, or lets it wait.
    pub(super) fn serve(&mut self, from: ReplicaId, incarnation: Incarnation, request: Request) {
        self.serve_since(Waiting { from, incarnation, request, since_us: self.now.mono_us });
    }

    fn serve_since(&mut self, waiting: Waiting) {
        let Waiting { from, incarnation, request, since_us } = waiting;
        let Role::Leader(leader) = &mut self.role else { return };
        if !leader.serving && !broken(Breakage::ExecuteBeforeStart) {
            return self.backlog(Waiting { from, incarnation, request, since_us });
        }
        let waits = !leader.backlog.is_empty();
        let known = match self.requests.known(incarnation, request.connection, request.number) {
            _ if broken(Breakage::ForgetRequests) => Known::New,
            known => known,
        };
        match known {
            Known::Answered(seq, bytes) => {
                let seq = if broken(Breakage::AnswerRepeatedEarly) { 0 } else { seq };
                self.reply_when_committed(from, reply_of(&request, bytes, seq), Of::Write);
            }
            Known::Executed(seq) => {
                self.counters.in_doubt += 1;
                let bytes = Bytes::from_static(
                    b"-INDOUBT the command was executed before its leader changed; its reply is no longer known\r\n",
                );
                self.reply_when_committed(from, reply_of(&request, bytes, seq), Of::Write);
            }
            Known::Passed => {
                let bytes = Bytes::from_static(
                    b"-TRYAGAIN a later command of this connection was executed before the leader changed\r\n",
                );
                self.reply_when_committed(from, reply_of(&request, bytes, 0), Of::Read);
            }
            Known::New if waits => self.backlog(Waiting { from, incarnation, request, since_us }),
            Known::New => {
                // Those whom something has come for that could not be executed before.
                self.serve_touched();
                self.serve_new(Waiting { from, incarnation, request, since_us });
                self.serve_touched();
            }
        }
    }

    fn backlog(&mut self, waiting: Waiting) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(refused) = leader.backlog.push(waiting) else { return };
        self.refuse_waiting(refused, "too many requests wait for the leader");
    }

    fn refuse_waiting(&mut self, refused: Waiting, why: &str) {
        let Waiting { from, request, .. } = refused;
        let bytes = Bytes::from(format!("-TRYAGAIN {why}: nothing was done\r\n"));
        self.reply_to(from, reply_of(&request, bytes, 0));
    }

    /// What its client, or a former home of its keys, has seen has not been received: it waits for that, and those behind it wait with it.
    fn let_come(&mut self, waiting: Waiting) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(refused) = leader.early.push(waiting) else { return };
        self.refuse_waiting(refused, "too many requests wait for entries of other regions");
    }

    /// Tries again what came before the entries that it depends on. Who waits for half of the time that a command may wait is refused, while nothing is in doubt.
    pub(crate) fn serve_early(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.early.is_empty() {
            return;
        }
        let (patience_us, now_us) = (self.request_timeout_us() / 2, self.now.mono_us);
        let late = |waiting: &Waiting| {
            // What only its session needs is waited for as long as a session waits.
            let session_us = Some(u64::from(waiting.request.seen_wait_ms) * 1_000).filter(|us| *us > 0);
            let patience_us = session_us.unwrap_or_else(|| patience_us.max(waiting.request.wait_us));
            waiting.since_us.saturating_add(patience_us) <= now_us
        };
        let partial = !self.shows_whole();
        let Role::Leader(leader) = &mut self.role else { return };
        let rests = leader.early.look.rests_until_us(leader.early.queue.len(), now_us).is_some();
        if (partial || rests) && !leader.early.queue.front().is_some_and(late) {
            return; // None of them can be served before all has come; or they were just looked at.
        }
        let waiting = std::mem::take(&mut leader.early).queue;
        leader.early.look.note(now_us);
        for waiting in waiting {
            if late(&waiting) {
                if partial {
                    let why = self.why_not_whole();
                    self.refuse_waiting(
                        waiting,
                        why.as_deref().unwrap_or("entries of other regions that it depends on have not come"),
                    );
                } else {
                    self.refuse_early(waiting);
                }
            } else {
                self.serve_since(waiting);
            }
        }
    }

    /// When requests that wait for entries are looked at again, if that is soon.
    pub(crate) fn early_due_us(&self) -> Option<u64> {
        let Role::Leader(leader) = &self.role else { return None };
        leader.early.look.rests_until_us(leader.early.queue.len(), self.now.mono_us)
    }

    fn refuse_early(&mut self, waiting: Waiting) {
        let Waiting { from, request, .. } = &waiting;
        if let Some(why) = self.why_too_old_for(request) {
            return self.reply_to(*from, reply_of(request, format!("-{why}\r\n").into(), 0));
        }
        if let Some(moved) = self.fetched_from(request) {
            let reply = Reply { moved: Some(moved), ..reply_of(request, Bytes::new(), 0) };
            return self.reply_to(*from, reply);
        }
        if request.seen_wait_ms == 0 {
            return self.refuse_waiting(waiting, "entries of other regions that it depends on have not come");
        }
        let bytes = Bytes::from(format!("-{}\r\n", self.why_early(&sets::from_message(&request.seen))));
        self.reply_to(*from, reply_of(request, bytes, 0));
    }

    pub(super) fn serve_new(&mut self, waiting: Waiting) {
        if matches!(&self.role, Role::Leader(leader) if leader.early.owners.contains(&waiting.owner())) {
            return self.let_come(waiting); // One before it in its connection waits.
        }
        let Waiting { from, incarnation, request, .. } = &waiting;
        let (bytes, seq, of) = match self.try_to_serve((*from, *incarnation), request) {
            None => return self.backlog(Waiting { since_us: self.now.mono_us, ..waiting }),
            Some(Executed::Early) => return self.let_come(waiting),
            Some(Executed::Moved(moved)) => {
                let reply = Reply { moved: Some(moved), ..reply_of(request, Bytes::new(), 0) };
                return self.reply_to(*from, reply);
            }
            Some(Executed::Nothing(_)) if request.wait_us > 0 => {
                return self.let_wait(waiting.from, waiting.incarnation, waiting.request);
            }
            Some(Executed::Nothing(seq)) => {
                let mut bytes = Vec::new();
                command::Reply::new(&mut bytes, request.resp3).null_array();
                (bytes, seq, Of::Read)
            }
            Some(Executed::Reply(bytes, seq, of)) => (bytes, seq, of),
        };
        self.reply_when_committed(*from, reply_of(request, bytes.into(), seq), of);
    }

    /// Executes a request, if that may be done now.
    fn try_to_serve(&mut self, forwarder: (ReplicaId, u64), request: &Request) -> Option<Executed> {
        match with_work(request, |work| self.try_to_work(forwarder, request, work)) {
            Ok(executed) => executed,
            Err(error) => {
                let mut bytes = Vec::new();
                error.write(&mut command::Reply::new(&mut bytes, request.resp3));
                Some(Executed::Reply(bytes, 0, Of::Read))
            }
        }
    }

    fn try_to_work(&mut self, forwarder: (ReplicaId, u64), request: &Request, work: &Work<'_>) -> Option<Executed> {
        match self.where_is(work) {
            Where::Here(_) if !self.shows_whole() && work.looks() => return Some(Executed::Early),
            Where::Here(_) if self.is_too_old_for(request) => return Some(Executed::Early),
            Where::Here(_) if self.has_received(&sets::from_message(&request.seen)) => {}
            Where::Here(_) => {
                let said = |why| Executed::Reply(format!("-{why}\r\n").into(), 0, Of::Read);
                return Some(self.loss_of(request).map_or(Executed::Early, said));
            }
            Where::Soon(_) => return Some(Executed::Early),
            Where::There(home) => return Some(Executed::Moved(Moved { group: home.group, epoch: home.epoch })),
            Where::Nowhere(why) => return Some(Executed::Reply(format!("-{why}\r\n").into(), 0, Of::Read)),
        }
        match self.may_execute(work.writes()) {
            MayExecute::NotNow => None,
            MayExecute::Never(why) => {
                self.counters.no_replicas += u64::from(why.starts_with("NOREPLICAS"));
                Some(Executed::Reply(format!("-{why}\r\n").into(), 0, Of::Read))
            }
            MayExecute::Yes => Some(self.execute_request(forwarder, request, work)),
        }
    }

    /// A connection's request waits no longer, if it does still: it is tried once more and answered.
    pub(super) fn release(&mut self, owner: Owner, number: u64) {
        let waiting = self.clients.waiters.of(owner);
        let is_it = |waiter: &Waiter| matches!(&waiter.who, Who::Request { request, .. } if request.number == number);
        if let Some(waiter) = waiting.filter(|waiting| self.clients.waiters.get(*waiting).is_some_and(is_it)) {
            return self.time_out_request(waiter);
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let queues = [&mut leader.backlog.queue, &mut leader.early.queue];
        for Waiting { incarnation, request, .. } in queues.into_iter().flatten() {
            if (*incarnation, request.connection, request.number) == (owner.0, owner.1, number) {
                request.wait_us = 0;
            }
        }
    }

    /// Runs requests that waited, in order, as long as the leader may execute.
    pub(crate) fn serve_backlog(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let waiting = std::mem::take(&mut leader.backlog);
        for Waiting { from, incarnation, mut request, since_us } in waiting.queue {
            let waited_us = self.now.mono_us.saturating_sub(since_us);
            request.wait_us = left_us(request.wait_us, waited_us);
            // One that may not be executed yet goes to the end of the new backlog, and so do all after it.
            self.serve(from, incarnation, request);
        }
    }

    /// The connection to a forwarder is gone: it will ask everything again that it has no reply to.
    pub(crate) fn forget_forwarder(&mut self, from: ReplicaId) {
        if let Role::Leader(leader) = &mut self.role {
            leader.backlog.forget_forwarder(from);
            leader.early.forget_forwarder(from);
        }
        self.clients.waiters.forget_forwarder(from);
        self.clients.held.forget_remote(|replica| replica == from);
        self.replies_out.remove(&from);
    }

    pub(super) fn reply_when_committed(&mut self, to: ReplicaId, reply: Reply, of: Of) {
        if self.must_hold(reply.seq) {
            self.clients.held.push(Held {
                seq: reply.seq,
                since_us: self.now.mono_us,
                of,
                to: HeldFor::Remote { replica: to, reply },
                reach: None,
            });
        } else {
            self.reply_to(to, reply);
        }
    }

    /// Gives a reply to its forwarder, which may be this replica itself. Another group's is told what has been shown by it: no more than what is committed.
    pub(crate) fn reply_to(&mut self, to: ReplicaId, mut reply: Reply) {
        if to == self.identity.id {
            self.take_reply(reply, self.identity.group);
        } else {
            if !self.is_of_this_group(to) {
                reply.seen = self.shown();
            }
            self.replies_out.entry(to).or_default().replies.push(reply);
        }
    }

    /// Connections that have ended: see [`Replica::forget_ended`].
    pub(super) fn note_ended(&mut self, incarnation: Incarnation, ended: Vec<u64>) {
        let Role::Leader(leader) = &mut self.role else { return };
        for connection in &ended {
            // What has found nothing so far is to find nothing any more: nobody would get it.
            self.clients.waiters.forget((incarnation, *connection));
            let waits = |w: &Waiting| w.request.wait_us > 0 && w.incarnation == incarnation;
            leader.backlog.retain(|w| !(waits(w) && w.request.connection == *connection));
            leader.early.retain(|w| !(waits(w) && w.request.connection == *connection));
        }
        let room = CONNECTIONS_MAX.saturating_sub(leader.ended.len());
        leader.ended.extend(ended.into_iter().take(room).map(|connection| (incarnation, connection)));
    }

    /// Forgets the requests of connections that have ended, and of processes before the one that asks now: when nothing of theirs can come any more,
    /// neither from those that wait here nor in what a failover has cut off a member's log.
    pub(crate) fn forget_ended(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        if !leader.backlog.is_empty() || !leader.early.is_empty() || !self.knows_every_suffix() {
            return;
        }
        let forgotten: Vec<(Incarnation, u64)> = leader
            .ended
            .iter()
            .copied()
            .filter(|(forwarder, connection)| self.requests.remembers(*forwarder, *connection))
            .collect();
        if !forgotten.is_empty() && !matches!(self.may_execute(true), MayExecute::Yes) {
            return;
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.ended.clear();
        }
        if forgotten.is_empty() {
            return;
        }
        let mut payload = Vec::new();
        Requests::write_forget(&forgotten, &mut payload);
        self.append_entry(Kind::Forget, None, |out| out.extend_from_slice(&payload));
        self.applied = self.batch_last;
        self.requests.forget(&payload);
    }

    /// Every member follows and has acknowledged an entry of this epoch: what was cut off its log has come before that. And it has what came of its own
    /// cut suffix, if it has offered one: whoever leads next will not be offered that again once the table says nothing of its requests.
    fn knows_every_suffix(&self) -> bool {
        let (Role::Leader(leader), Some(topology)) = (&self.role, &self.meta.topology) else { return false };
        let follows = |member: &Member| {
            member.id == self.identity.id
                || leader.followers.get(&member.id).is_some_and(|follower| {
                    follower.incarnation == member.incarnation
                        && matches!(follower.stage, Stage::Stream { .. })
                        && follower.acknowledged >= leader.start_seq.max(follower.suffix_taken)
                })
        };
        leader.serving && leader.suffixes.is_empty() && topology.config.members.iter().all(follows)
    }
}
