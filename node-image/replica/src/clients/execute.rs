//! Commands on data: where each is executed, and its execution on the state.

use trireme_proto::{
    ReplicaId,
    breakage::{Breakage, broken},
    ids::Dot,
    message::{Command, Moved, Request, Watched},
};

use crate::{
    engine::{
        At, Effect, Engine,
        command::{
            self, ConnectionCommand, Error, Handler, NOT_ALONE, Reply, Spec,
            auth::{NO_AUTH, NO_AUTH_EXEC},
            table::flag,
        },
    },
    feeds::slot_of_state,
    group::Role,
    io::ClientId,
    log::record::{self, Kind, RequestView},
    quorum::level::Quorum,
    replica::Replica,
};

use super::{
    Flow,
    client::{Args, Client, bytes_of},
    connection::any_has_changed,
    held::{Of, Reach},
    pubsub::{self, PubSub},
    slow::Asker,
};

/// A batch with so many bytes is ended within a turn.
const BATCH_BYTES: usize = 512 << 10;

/// One unit of work: a command, or the commands of a transaction.
pub(crate) enum Work<'a> {
    One(&'static Spec, &'a [&'a [u8]]),
    Transaction(&'a [Command], &'a [Watched]),
}

impl Work<'_> {
    /// Whether it is a command that waits where it finds nothing. Within a transaction nothing waits.
    pub(crate) fn waits(&self) -> bool {
        matches!(self, Work::One(spec, _) if spec.has(flag::BLOCKING))
    }

    /// Whether it may write.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Work::One(spec, _) => spec.is_write(),
            Work::Transaction(commands, _) => commands
                .iter()
                .any(|command| command.args.first().and_then(|name| command::lookup(name)).is_some_and(Spec::is_write)),
        }
    }

    /// Bytes of its arguments.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Work::One(_, args) => args.iter().map(|arg| arg.len()).sum(),
            Work::Transaction(commands, _) => bytes_of(commands),
        }
    }

    /// Whether its effect or its reply may depend on what is there.
    pub(crate) fn looks(&self) -> bool {
        match self {
            Work::One(spec, args) => !spec.is_blind(args),
            Work::Transaction(commands, watched) => {
                let blind = |command: &Command| {
                    let args: Args<'_> = command.args.iter().map(|arg| &arg[..]).collect();
                    command::resolve(&args).is_ok_and(|spec| spec.is_blind(&args))
                };
                !watched.is_empty() || !commands.iter().all(blind)
            }
        }
    }
}

impl Replica {
    /// Runs one command of a client: connection commands at once, commands on data where they belong.
    pub(super) fn run(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        let spec = match command::resolve(args) {
            Ok(spec) => spec,
            Err(error) => return self.refuse(id, &error),
        };
        let now_us = self.now.mono_us;
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        (client.last_us, client.last_command) = (now_us, spec.name);
        if client.state.must_authenticate && !spec.has(flag::NO_AUTH) {
            let exec = matches!(spec.handler, Handler::Connection(command::ConnectionCommand::Exec));
            return self.refuse(id, if exec { &NO_AUTH_EXEC } else { &NO_AUTH });
        }
        if client.state.subscribes() && !client.state.resp3 && !is_for_subscribers(spec) {
            return self.refuse_to_subscriber(id, spec);
        }
        let queues = client.transaction.is_some() && !connection_in_transaction(spec);
        if args.iter().map(|arg| arg.len()).sum::<usize>() > self.clients.limits.unit_bytes {
            return self.refuse_long(id, "a command");
        }
        if queues {
            return self.queue(id, spec, args);
        }
        match spec.handler {
            Handler::Connection(which) => self.run_connection(id, (spec, which), args),
            Handler::Data(_) => self.place(id, &Work::One(spec, args)),
        }
    }

    /// A command that cannot be run: a transaction that it would have been part of is refused, too.
    pub(super) fn refuse(&mut self, id: ClientId, error: &Error) -> Flow {
        if *error == Error::Arity("exec") {
            return self.refuse_exec(id, error);
        }
        if let Some(client) = self.clients.get_mut(id) {
            client.transaction_refused |= client.transaction.is_some();
        }
        self.answer(id, |reply| error.write(reply));
        Flow::Done
    }

    /// See [`Replica::place`].
    pub(super) fn place_now(&mut self, id: ClientId, work: &Work<'_>) -> Flow {
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        // Homes, or what a client has had to do with another group while there were some.
        let (in_order, away) = (client.in_order(), !client.elsewhere.groups.is_empty());
        if client.session.is_some()
            && let Err(flow) = self.keep_session(id, work)
        {
            return flow;
        }
        let home_epoch = if (away || !self.homes.is_empty()) && self.meta.topology.is_some() {
            match self.place_by_home(id, work) {
                Ok(epoch) => epoch,
                Err(flow) => return flow,
            }
        } else {
            0
        };
        let writes = work.writes();
        let own = (self.identity.group, home_epoch);
        let waits = self.leads() && !self.shows_whole() && work.looks() && !work.waits();
        match &self.role {
            // Whoever leads is asked, also if that is this replica: what waits for keys moves on to the next leader like every request.
            Role::Leader(_) if work.waits() => self.forward(id, work, own),
            Role::Leader(_) if waits => {
                self.clients.wait_for_whole = true;
                Flow::NotNow
            }
            Role::Leader(_) => match self.may_execute(writes) {
                MayExecute::Yes if in_order => {
                    self.serve_touched();
                    let flow = self.execute_for(id, work, Reach::default());
                    self.serve_touched();
                    flow
                }
                MayExecute::Yes => self.forward(id, work, own),
                MayExecute::NotNow => Flow::NotNow,
                MayExecute::Never(why) => {
                    self.counters.no_replicas += u64::from(why.starts_with("NOREPLICAS"));
                    self.answer(id, |reply| reply.error(why.as_bytes()));
                    Flow::Done
                }
            },
            Role::Peer(_) => self.coordinate(id, work),
            // Who would be asked, if anybody, is known with the record.
            _ if self.meta.topology.is_none() => Flow::NotNow,
            _ => {
                if !writes && in_order && self.may_read_here(id) {
                    return self.execute_for(id, work, Reach::default());
                }
                self.forward(id, work, own)
            }
        }
    }

    /// Whether a client's read may be answered from this replica's own state, which may be behind the leader's but not behind the client's session.
    pub(super) fn may_read_here(&mut self, id: ClientId) -> bool {
        let whole = self.whole() && self.in_history() && self.shows_whole();
        let one_replica_confirms = self.meta.topology.as_ref().is_some_and(|topology| topology.settings.r <= 1);
        let (applied, store) = (self.applied, self.store_guarantees());
        let Some(client) = self.clients.get_mut(id) else { return false };
        let seen = client.reads_after(store) <= applied || broken(Breakage::ReadBehindSession);
        let here = client.session.as_ref().is_none_or(|session| !session.to_leader);
        whole && seen && here && (client.readonly || one_replica_confirms)
    }

    /// The state is one that the store has had, not one on its way there.
    pub(crate) fn whole(&self) -> bool {
        self.applied >= self.whole_at && self.meta.topology.is_some()
    }

    /// Executes for a client of this replica: the reply goes to its buffer, and waits there for what it depends on.
    pub(crate) fn execute_for(&mut self, id: ClientId, work: &Work<'_>, reach: Reach) -> Flow {
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        let tells = client.session.as_ref().is_some_and(|session| session.tells_staleness) && !work.writes();
        let (mut out, resp3, uses) = (std::mem::take(&mut client.out), client.state.resp3, !client.state.no_touch);
        let before = out.len();
        let peer = matches!(self.role, Role::Peer(_));
        let began_us = self.begin_to_measure(work);
        // Where nobody leads it is said with the numbers of copies.
        let behind = (tells && resp3 && peer).then(|| self.staleness());
        if tells && resp3 && !peer {
            self.write_staleness(&mut Reply::new(&mut out, resp3));
        }
        self.engine.count_uses(uses);
        let effect = self.execute(work, resp3, &mut out, false);
        if let Some(began_us) = began_us {
            self.measured(began_us, work, Asker::Client(id));
        }
        if effect.wrote && !self.leads() && !self.may_coordinate() {
            self.fatal("a command that only reads has written: its row in the table is wrong".into());
            return Flow::Done;
        }
        if found_nothing(work, &effect, &out[before..]) {
            out.truncate(before);
            if let Some(client) = self.clients.get_mut(id) {
                client.out = out;
            }
            return self.wait_here(id, work);
        }
        let seq = if effect.wrote { self.append_delta(None) } else { effect.depends_on };
        let published = std::mem::take(&mut self.clients.pubsub.spread.executed);
        if !self.clients.get_mut(id).is_some_and(|client| client.state.takes_reply()) {
            out.truncate(before);
        }
        let bytes = out.len() - before;
        let own = if peer { self.own_upto(seq) } else { (0, 0) };
        let waits = match reach.quorum {
            Quorum::Store => self.must_hold(seq),
            quorum => !self.has_copies(quorum, seq, own),
        };
        let hold = waits.then_some((seq, if effect.wrote { Of::Write } else { Of::Read }));
        let seen = if effect.wrote { seq } else { effect.depends_on.max(self.commit) };
        let wrote = self.own_dot().filter(|_| effect.wrote);
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        client.out = out;
        note_session(client, seen, effect.wrote);
        client.wrote = wrote.or(client.wrote);
        let told = client.consistency.reports && resp3;
        let reach = peer.then_some(Reach { own, told, wrote: effect.wrote, behind, ..reach });
        let goes = self.clients.replied(id, bytes, hold, reach, self.now.mono_us, &mut self.output);
        if let Some(reach) = reach.filter(|_| goes) {
            self.note_reach(id, bytes, reach);
        }
        self.clients.pubsub.spread.executed = published;
        self.publish_executed(seq);
        Flow::Done
    }

    /// The name of this replica's own last entry, where nobody leads.
    fn own_dot(&self) -> Option<Dot> {
        let Some(feeds) = &self.feeds else { return None };
        feeds.origin.map(|origin| Dot { origin, seq: self.engine.received().highest(origin) })
    }

    /// Executes for a client of another replica, or one of this whose earlier commands were forwarded.
    pub(super) fn execute_request(
        &mut self,
        forwarder: (ReplicaId, u64),
        request: &Request,
        work: &Work<'_>,
    ) -> Executed {
        let mut out = Vec::new();
        let began_us = self.begin_to_measure(work);
        if request.tells_staleness && request.resp3 {
            self.write_staleness(&mut Reply::new(&mut out, true));
        }
        self.engine.count_uses(true);
        let effect = self.execute(work, request.resp3, &mut out, true);
        if let Some(began_us) = began_us {
            self.measured(began_us, work, Asker::Replica(forwarder.0));
        }
        if found_nothing(work, &effect, &out) {
            return Executed::Nothing(effect.depends_on);
        }
        if !effect.wrote {
            self.publish_executed(effect.depends_on);
            return Executed::Reply(out, effect.depends_on, Of::Read);
        }
        let view = RequestView {
            forwarder: forwarder.1,
            connection: request.connection,
            number: request.number,
            confirmed: request.confirmed,
            reply: &out,
        };
        let seq = self.append_delta(Some(&view));
        self.requests.note(seq, &view);
        self.publish_executed(seq);
        Executed::Reply(out, seq, Of::Write)
    }

    /// Executes on the state; the delta is in `self.delta`. `forwarded`: the reply goes into the entry and over a link.
    fn execute(&mut self, work: &Work<'_>, resp3: bool, out: &mut Vec<u8>, forwarded: bool) -> Effect {
        if let Some(error) = self.refused_for_memory(work) {
            self.delta.clear();
            error.write(&mut Reply::new(out, resp3));
            return Effect { wrote: false, depends_on: 0 };
        }
        let seq = self.batch_last + 1;
        let at = At { seq, now_ms: self.now.wall_ms, keep_undo: true };
        let random =
            xxhash_rust::xxh3::xxh3_64_with_seed(&self.counters.commands.to_le_bytes(), seq ^ self.identity.boot);
        self.counters.commands += 1;
        self.delta.clear();
        let before = out.len();
        let mut reply = Reply::new(out, resp3);
        let classes = self.clients.parameters.tuning().events;
        self.engine.tell_events(classes);
        let own = self.engine.origin();
        let ((), effect) = self.engine.execute(&at, &mut self.delta, |access| match work {
            Work::One(spec, args) => command::run(access, spec, args, random, &mut reply),
            Work::Transaction(commands, watched) => {
                let changed = any_has_changed(access, watched, own);
                if changed && !broken(Breakage::IgnoreWatch) {
                    return reply.null_array();
                }
                reply.array(commands.len());
                for (i, queued) in commands.iter().enumerate() {
                    let args: Args<'_> = queued.args.iter().map(|arg| &arg[..]).collect();
                    match command::resolve(&args) {
                        Ok(spec) if spec.has(flag::ALONE) => Error::Fixed(NOT_ALONE).write(&mut reply),
                        Ok(Spec { handler: Handler::Connection(which), .. }) if which.publishes() => {
                            publish_in_transaction(&mut self.clients.pubsub, *which, &args, &mut reply);
                        }
                        Ok(spec) => command::run(access, spec, &args, random.wrapping_add(i as u64), &mut reply),
                        Err(error) => error.write(&mut reply),
                    }
                    self.clients.pubsub.spread.execute_events(access.take_events(), classes);
                }
            }
        });
        self.clients.pubsub.spread.execute_events(self.engine.take_events(), classes);
        let reply_bytes = if forwarded { out.len() - before } else { 0 };
        if self.delta.len() + reply_bytes > self.clients.limits.entry_bytes {
            out.truncate(before);
            return self.take_back(effect, reply_bytes, &mut Reply::new(out, resp3));
        }
        effect
    }

    /// The unit just executed would make an entry, or a reply to another replica, that nobody could read: it is undone, and refused.
    fn take_back(&mut self, effect: Effect, reply_bytes: usize, reply: &mut Reply<'_>) -> Effect {
        self.clients.pubsub.spread.executed.clear();
        if effect.wrote {
            self.engine.undo_after(self.batch_last);
            self.engine.take_conflicts();
        }
        let (changes, bytes_max) = (self.delta.len(), self.clients.limits.entry_bytes);
        let why = format!(
            "ERR its changes have {changes} bytes and its reply {reply_bytes}, together they may have {bytes_max}: nothing was done"
        );
        self.delta.clear();
        reply.error(why.as_bytes());
        Effect { wrote: false, ..effect }
    }

    /// Appends the delta just made to this turn's batch, and returns its seq.
    pub(crate) fn append_delta(&mut self, request: Option<&RequestView<'_>>) -> u64 {
        let (delta, begin) = (std::mem::take(&mut self.delta), self.batch.len());
        let seq = self.append_entry(Kind::Delta, request, |out| out.extend_from_slice(&delta));
        self.delta = delta;
        self.applied = seq;
        self.note_own_entry(begin, seq);
        self.note_conflicts(seq);
        // What follows has a piece of its own: so much is not moved to make room for more.
        if self.batch.len() >= BATCH_BYTES {
            self.flush_batch();
        }
        seq
    }

    /// Appends an entry to this turn's batch, and returns its seq.
    pub(crate) fn append_entry(
        &mut self,
        kind: Kind,
        request: Option<&RequestView<'_>>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> u64 {
        self.batch_last += 1;
        let position = trireme_proto::Position { epoch: self.meta.led, seq: self.batch_last };
        let begin = self.batch.len();
        record::append(&mut self.batch, position, kind, request, write);
        if !self.clients.waiters.is_empty() {
            self.note_written(begin);
        }
        self.batch_last
    }

    /// The entry that begins there has changed the state: those who wait for keys in its slots may find something.
    fn note_written(&mut self, begin: usize) {
        let Ok(record) = record::read_trusted(&self.batch[begin..]) else { return };
        let waiters = &mut self.clients.waiters;
        match record.kind {
            Kind::Delta => Engine::slots_of(record.payload).for_each(|slot| waiters.touch(slot)),
            Kind::State => slot_of_state(record.payload).into_iter().for_each(|slot| waiters.touch(slot)),
            Kind::Start | Kind::Forget | Kind::Commit => {}
        }
        if let Some(request) = &record.request {
            waiters.note_answered((request.forwarder, request.connection));
        }
    }

    /// Whether a reply that depends on this seq has to wait.
    pub(super) fn must_hold(&self, seq: u64) -> bool {
        seq > self.settled() && !broken(Breakage::AnswerBeforeCommit)
    }

    /// Whether a serving leader may execute now.
    pub(super) fn may_execute(&self, writes: bool) -> MayExecute {
        let Role::Leader(leader) = &self.role else { return MayExecute::NotNow };
        if !leader.serving && !broken(Breakage::ExecuteBeforeStart) {
            return MayExecute::NotNow;
        }
        if self.handing_over() || self.wants_quiet() {
            return MayExecute::NotNow;
        }
        if writes && self.disk_full {
            return MayExecute::Never(
                "DISKFULL the leader's disk is full: writes are refused until it has room, reads are served".into(),
            );
        }
        if writes && let Some(why) = self.refuses_writes() {
            return MayExecute::Never(why);
        }
        if writes && let Some(why) = self.too_few_replicas() {
            return MayExecute::Never(why);
        }
        if !self.lease_holds() && !broken(Breakage::NoLeaseCheck) {
            return MayExecute::NotNow;
        }
        MayExecute::Yes
    }
}

/// What became of a request that was to be executed.
pub(super) enum Executed {
    /// It was not: that is another group's business.
    Moved(Moved),
    /// It was not: what its client has seen, or was written elsewhere before, has not been received.
    Early,
    /// The reply, and the seq that it depends on.
    Reply(Vec<u8>, u64, Of),
    /// It is one that waits, and there was nothing: the seq that this depends on.
    Nothing(u64),
}

/// Whether a command that waits has found nothing: it writes where it finds something.
fn found_nothing(work: &Work<'_>, effect: &Effect, reply: &[u8]) -> bool {
    work.waits() && !effect.wrote && !reply.starts_with(b"-")
}

/// See [`Replica::may_execute`].
pub(super) enum MayExecute {
    Yes,
    /// Wait, with the request's deadline.
    NotNow,
    /// Refuse, with this error: nothing was done.
    Never(String),
}

/// What a client has seen, or written: it is not shown less.
pub(super) fn note_session(client: &mut Client, seq: u64, wrote: bool) {
    client.session_seq = client.session_seq.max(seq);
    if wrote {
        client.written_seq = client.written_seq.max(seq);
    }
}

/// PUBLISH in a transaction: who listens to it here hears it when the transaction is committed.
fn publish_in_transaction(pubsub: &mut PubSub, which: ConnectionCommand, args: &[&[u8]], reply: &mut Reply<'_>) {
    match pubsub::check(args) {
        Ok(()) => {
            let message = pubsub::message_of(which, args);
            reply.count(pubsub.subscriptions.receivers(&message.channel, message.shard));
            pubsub.spread.executed.push(message);
        }
        Err(why) => reply.error(why.as_bytes()),
    }
}

/// Whether a client that listens in RESP2 may say it.
fn is_for_subscribers(spec: &Spec) -> bool {
    matches!(spec.handler, Handler::Connection(which) if which.is_for_subscribers())
}

/// Commands that are executed at once even while a transaction is open.
fn connection_in_transaction(spec: &Spec) -> bool {
    use command::ConnectionCommand::{Discard, Exec, Multi, Quit, Reset, Watch};
    matches!(spec.handler, Handler::Connection(Discard | Exec | Multi | Quit | Reset | Watch))
}
