//! Commands about the connection that need more than the connection: transactions, sessions, INFO.

use bytes::Bytes;
use trireme_proto::{
    ids::Origin,
    message::{Command, Watched},
};

use crate::{
    engine::{
        Access, At,
        command::{ConnectionCommand, Error, Handler, NOT_ALONE, Reply, Spec, connection, table::flag},
    },
    io::ClientId,
    replica::Replica,
};

use super::{
    Clients, Flow,
    client::{Place, bytes_of},
    execute::Work,
};

/// A version that no key has.
const VOID: u64 = u64::MAX;

impl Replica {
    /// A client is gone: what it had under way goes on, its replies go nowhere.
    pub(crate) fn client_closed(&mut self, id: ClientId) {
        self.clients.forget_subscriptions(id);
        let Some(client) = self.clients.map.remove(&id) else { return };
        let connection = self.connection_of(id);
        if client.asked > 0 {
            let own = self.identity.group;
            client
                .elsewhere
                .groups
                .iter()
                .chain([&own])
                .for_each(|group| self.forward_to(*group).ended.push(connection));
        }
        if client.key_wait().is_some() {
            let owner = if self.is_leaderless() { (0, id) } else { (self.identity.incarnation, connection) };
            self.clients.waiters.forget(owner);
        }
    }

    /// Runs a connection command.
    pub(super) fn run_connection(
        &mut self,
        id: ClientId,
        (spec, which): (&Spec, ConnectionCommand),
        args: &[&[u8]],
    ) -> Flow {
        match which {
            ConnectionCommand::Multi => self.multi(id),
            ConnectionCommand::Exec => self.exec(id),
            ConnectionCommand::Discard => self.discard(id),
            ConnectionCommand::Watch => self.watch(id, args),
            ConnectionCommand::Unwatch => self.with_client(id, |client| client.watched.clear()),
            ConnectionCommand::ReadOnly => self.with_client(id, |client| client.readonly = true),
            ConnectionCommand::ReadWrite => self.with_client(id, |client| client.readonly = false),
            ConnectionCommand::Wait => self.wait(id, args, 1),
            ConnectionCommand::WaitAof => self.wait(id, args, 2),
            ConnectionCommand::Consistency => self.consistency(id, args),
            ConnectionCommand::Conflicts => self.conflicts(id, args),
            ConnectionCommand::Session => self.session(id, args),
            ConnectionCommand::Hello => self.hello(id, args),
            ConnectionCommand::Info => {
                let text = self.info(&args[1..]);
                self.answer(id, |reply| reply.verbatim("txt", text.as_bytes()));
                Flow::Done
            }
            ConnectionCommand::Publish | ConnectionCommand::SPublish => self.publish(id, which, args),
            ConnectionCommand::PubSub => self.pubsub(id, spec, args),
            _ if which.subscribes() => self.subscribe(id, which, args),
            ConnectionCommand::Reset => {
                self.clients.forget_subscriptions(id);
                let must_authenticate = !self.clients.password.is_empty();
                if let Some(client) = self.clients.get_mut(id) {
                    client.reset();
                    client.state.reset();
                    client.state.must_authenticate = must_authenticate;
                }
                self.answer(id, |reply| reply.simple("RESET"));
                Flow::Done
            }
            ConnectionCommand::Role => self.role_command(id),
            ConnectionCommand::LastSave => self.last_save(id),
            ConnectionCommand::Debug => self.debug(id, args),
            ConnectionCommand::SlowLog | ConnectionCommand::Latency => self.slow_command(id, spec, args),
            ConnectionCommand::Config if spec.name == "config|set" => self.config_set(id, args),
            ConnectionCommand::Client => match self.client_command(id, spec, args) {
                Some(flow) => flow,
                None => self.done_plain(id, which, args),
            },
            _ => {
                if spec.name == "config|resetstat" {
                    self.reset_statistics();
                }
                self.done_plain(id, which, args)
            }
        }
    }

    fn done_plain(&mut self, id: ClientId, which: ConnectionCommand, args: &[&[u8]]) -> Flow {
        self.run_plain(id, which, args);
        Flow::Done
    }

    /// Those that concern nothing but the connection's own state: whether it was done.
    pub(super) fn run_plain(&mut self, id: ClientId, which: ConnectionCommand, args: &[&[u8]]) -> bool {
        let role = if self.leads() || self.may_coordinate() { "master" } else { "replica" };
        let now_us = self.now.wall_ms * 1_000;
        let Clients { password, parameters, map, .. } = &mut self.clients;
        let context = connection::Context { now_us, role, password: Some(password), parameters: Some(parameters) };
        let Some(client) = map.get_mut(&id) else { return false };
        let mut bytes = Vec::new();
        let resp3 = client.state.resp3;
        connection::connection(which, &mut client.state, &context, args, &mut Reply::new(&mut bytes, resp3));
        if client.state.close {
            client.drop_waiting();
            // An end of the connection that came first has it on the list.
            if client.last_words.is_none() {
                self.clients.closing.push(id);
            }
        }
        self.answer(id, |reply| reply.raw(&bytes));
        !bytes.starts_with(b"-")
    }

    pub(super) fn with_client(&mut self, id: ClientId, change: impl FnOnce(&mut super::client::Client)) -> Flow {
        if let Some(client) = self.clients.get_mut(id) {
            change(client);
        }
        self.answer(id, |reply| reply.ok());
        Flow::Done
    }

    fn multi(&mut self, id: ClientId) -> Flow {
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        if client.transaction.is_some() {
            return self.refuse_this(id, "ERR MULTI calls can not be nested");
        }
        self.with_client(id, |client| (client.transaction, client.transaction_bytes) = (Some(Vec::new()), 0))
    }

    /// Refuses a command that would not have been part of the open transaction: that goes on.
    pub(super) fn refuse_this(&mut self, id: ClientId, why: &str) -> Flow {
        self.answer(id, |reply| reply.error(why.as_bytes()));
        Flow::Done
    }

    /// Queues a command of an open transaction.
    pub(super) fn queue(&mut self, id: ClientId, spec: &Spec, args: &[&[u8]]) -> Flow {
        // A transaction is executed as one on the leader, where this connection may not be.
        if matches!(spec.handler, Handler::Connection(which) if !which.is_stateless() && !which.publishes()) {
            return self.refuse(id, &Error::Fixed("ERR Command not allowed inside a transaction"));
        }
        if spec.has(flag::ALONE) {
            return self.refuse(id, &Error::Fixed(NOT_ALONE));
        }
        let bytes_max = self.clients.limits.unit_bytes;
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        if !client.transaction_refused
            && let Some(queued) = &mut client.transaction
        {
            let command = Command { args: args.iter().map(|arg| Bytes::copy_from_slice(arg)).collect() };
            client.transaction_bytes += bytes_of(std::slice::from_ref(&command));
            queued.push(command);
            if client.transaction_bytes > bytes_max {
                queued.clear();
                return self.refuse_long(id, "a transaction");
            }
        }
        self.answer(id, |reply| reply.simple("QUEUED"));
        Flow::Done
    }

    /// Refuses a unit of work that is too long to be copied, and the transaction that it would have been part of.
    pub(super) fn refuse_long(&mut self, id: ClientId, what: &str) -> Flow {
        let bytes_max = self.clients.limits.unit_bytes;
        if let Some(client) = self.clients.get_mut(id) {
            client.transaction_refused |= client.transaction.is_some();
        }
        let why = format!("ERR {what} may have {bytes_max} bytes: nothing was done, divide it into several");
        self.refuse_this(id, &why)
    }

    fn exec(&mut self, id: ClientId) -> Flow {
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        let Some(commands) = client.transaction.take() else {
            return self.refuse(id, &Error::Fixed("ERR EXEC without MULTI"));
        };
        let watched = std::mem::take(&mut client.watched);
        if std::mem::take(&mut client.transaction_refused) {
            return self.refuse(id, &Error::Fixed("EXECABORT Transaction discarded because of previous errors."));
        }
        let flow = self.place(id, &Work::Transaction(&commands, &watched));
        if matches!(flow, Flow::NotNow)
            && let Some(client) = self.clients.get_mut(id)
        {
            (client.transaction, client.watched) = (Some(commands), watched);
        }
        flow
    }

    /// EXEC itself is wrong: what it would have executed is forgotten, and what is watched.
    pub(super) fn refuse_exec(&mut self, id: ClientId, error: &Error) -> Flow {
        if let Some(client) = self.clients.get_mut(id) {
            client.discard();
        }
        let why = error.to_string();
        let why = why.strip_prefix("ERR ").unwrap_or(&why);
        self.refuse_this(id, &format!("EXECABORT Transaction discarded because of: {why}"))
    }

    fn discard(&mut self, id: ClientId) -> Flow {
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        if client.transaction.is_none() {
            return self.refuse(id, &Error::Fixed("ERR DISCARD without MULTI"));
        }
        self.with_client(id, super::client::Client::discard)
    }

    /// Notes the versions of keys as this replica's state has them; EXEC compares them on the leader, so that a key which has changed there fails it,
    /// wherever it was watched.
    fn watch(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        let (applied, in_history) = (self.applied, self.in_history());
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        if client.transaction.is_some() {
            return self.refuse_this(id, "ERR WATCH inside MULTI is not allowed");
        }
        if client.session_seq > applied || !client.in_order() || !in_history {
            return Flow::NotNow;
        }
        let versions: Vec<Watched> = args[1..].iter().map(|key| self.watched(key)).collect();
        self.with_client(id, |client| client.watched.extend(versions))
    }

    /// A key as it is now.
    fn watched(&mut self, key: &[u8]) -> Watched {
        let at = At { seq: self.batch_last, now_ms: self.now.wall_ms, keep_undo: false };
        let (seq, origin) = (self.applied, Some(self.engine.origin()));
        self.delta.clear();
        let look = |access: &mut Access<'_>| Watched {
            key: Bytes::copy_from_slice(key),
            version: access.version(key),
            seq,
            hidden: access.hidden_version(key),
            origin,
        };
        self.engine.execute(&at, &mut self.delta, look).0
    }

    /// What was not committed was taken out of the state: a key watched while it was there has changed, also if the same entry is committed later. What
    /// its client reads in between is without it. One that was not there is watched from here on: other entries will have the numbers that are free now. A
    /// transaction that is on its way was told to look at what was.
    pub(crate) fn void_watched(&mut self) {
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id).filter(|client| !client.watched.is_empty()) else { continue };
            let mut watched = std::mem::take(&mut client.watched);
            for one in &mut watched {
                let now = self.watched(&one.key);
                match (one.version, one.hidden) == (now.version, now.hidden) {
                    true => one.seq = one.seq.min(self.commit),
                    false => one.version = VOID,
                }
            }
            if let Some(client) = self.clients.get_mut(id) {
                client.watched = watched;
            }
        }
        for client in self.clients.map.values_mut() {
            for place in &mut client.places {
                if let Place::Asked { request, .. } = place {
                    request.watched.iter_mut().for_each(|one| one.version = VOID);
                }
            }
        }
    }
}

/// So many watched keys are looked for among those that have gone; of more, each in whose slot something was written may have been there.
const LOOKS_MAX: usize = 256;

/// Whether one of some keys is another than when it was watched.
pub(super) fn any_has_changed(access: &mut Access<'_>, watched: &[Watched], own: Origin) -> bool {
    watched.iter().enumerate().any(|(at, one)| has_changed(access, one, own, at < LOOKS_MAX))
}

/// Whether a key is another than when it was watched. One that was not there in another group's state, or in that of an older version, and is not, is not.
fn has_changed(access: &mut Access<'_>, watched: &Watched, own: Origin, looks: bool) -> bool {
    let now = access.version(&watched.key);
    let same_log = watched.origin.filter(|origin| now == 0 && origin.group == own.group);
    now != watched.version
        || same_log
            .is_some_and(|origin| origin != own || access.has_been(&watched.key, watched.seq, watched.hidden, looks))
}
