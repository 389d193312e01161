//! CLIENT KILL, LIST, INFO, PAUSE, UNPAUSE: what concerns the clients of this replica. Those of others are theirs.

use crate::{
    engine::command::{
        self, ConnectionCommand, Error, Handler, Spec,
        client_admin::{self, ClientKind, Killed, Listed},
        connection::Doing,
    },
    io::ClientId,
    replica::Replica,
};

use super::{
    Flow,
    client::{Client, bytes_of},
};

/// Commands of clients are held back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub(crate) until_us: u64,
    /// Also those that only read.
    all: bool,
}

impl Client {
    fn doing(&self, now_us: u64) -> Doing {
        let marks = [
            (self.state.subscribes(), 'P'),
            (self.transaction.is_some(), 'x'),
            (self.blocked.is_some(), 'b'),
            (self.is_ending(), 'c'),
            (self.readonly, 'r'),
        ];
        Doing {
            flags: marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect(),
            idle_s: now_us.saturating_sub(self.last_us) / 1_000_000,
            queued: self.transaction.as_ref().map(Vec::len),
            queued_bytes: self.transaction.as_deref().map_or(0, bytes_of),
            watched: self.watched.len(),
            waiting_bytes: self.waiting_bytes(),
            reply_bytes: self.out.len(),
            command: self.last_command,
        }
    }

    fn kind(&self) -> ClientKind {
        if self.state.subscribes() { ClientKind::Subscriber } else { ClientKind::Normal }
    }

    fn is_meant(&self, killed: &Killed<'_>) -> bool {
        killed.id.is_none_or(|id| id == self.state.id)
            && killed.address.is_none_or(|address| address == self.state.address.as_bytes())
            && killed.local_address.is_none_or(|address| address == self.state.local_address.as_bytes())
            && killed.kind.is_none_or(|kind| kind == self.kind())
    }
}

impl Replica {
    /// Those of CLIENT that concern more than the connection; the others' flow is `None`.
    pub(super) fn client_command(&mut self, id: ClientId, spec: &Spec, args: &[&[u8]]) -> Option<Flow> {
        let done = match spec.name {
            "client|unblock" => return Some(self.client_unblock(id, args)),
            "client|info" => Ok(self.client_list(id, &Listed::Ids([id].into()))),
            "client|list" => client_admin::list_arguments(args).map(|listed| self.client_list(id, &listed)),
            "client|kill" => client_admin::kill_arguments(args).map(|killed| self.client_kill(id, &killed)),
            "client|pause" => client_admin::pause_arguments(args).map(|(ms, all)| self.client_pause(id, ms, all)),
            "client|unpause" => {
                self.end_pause();
                Ok(self.with_client(id, |_| {}))
            }
            _ => return None,
        };
        Some(done.unwrap_or_else(|error| self.refuse(id, &error)))
    }

    fn client_list(&mut self, id: ClientId, listed: &Listed) -> Flow {
        let (wall_us, now_us) = (self.now.wall_ms * 1_000, self.now.mono_us);
        let mut text = String::new();
        for other in self.clients.ids() {
            let Some(client) = self.clients.get_mut(other) else { continue };
            let wanted = match listed {
                Listed::All => true,
                Listed::Kind(kind) => client.kind() == *kind,
                Listed::Ids(ids) => ids.contains(&other),
            };
            if wanted {
                text.push_str(&client.state.describe(wall_us, &client.doing(now_us)));
            }
        }
        self.answer(id, |reply| reply.verbatim("txt", text.as_bytes()));
        Flow::Done
    }

    fn client_kill(&mut self, id: ClientId, killed: &Killed<'_>) -> Flow {
        let mut count = 0;
        for other in self.clients.ids() {
            let meant =
                self.clients.get_mut(other).is_some_and(|client| client.is_meant(killed) && !client.is_ending());
            if !meant || (killed.skip_me && other == id) {
                continue;
            }
            count += 1;
            if other != id {
                self.cut_client(other);
            }
        }
        let me = !killed.skip_me && self.clients.get_mut(id).is_some_and(|client| client.is_meant(killed));
        if killed.one && count == 0 {
            return self.refuse(id, &Error::Fixed("ERR No such client"));
        }
        self.answer(id, |reply| if killed.one { reply.ok() } else { reply.integer(count) });
        if me && let Some(client) = self.clients.get_mut(id) {
            // It is told so first.
            client.state.close = true;
            client.drop_waiting();
            self.clients.closing.push(id);
        }
        Flow::Done
    }

    /// Ends a connection at once: what it has under way goes on, what it was to be told is not said.
    pub(super) fn cut_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.state.close = true;
        client.drop_waiting();
        self.output.cut.push(id);
    }

    fn client_pause(&mut self, id: ClientId, ms: u64, all: bool) -> Flow {
        let until_us = self.now.mono_us.saturating_add(ms.saturating_mul(1_000));
        // One that goes on already is neither shortened nor weakened.
        let before = self.clients.pause.unwrap_or(Pause { until_us, all });
        self.clients.pause = Some(Pause { until_us: until_us.max(before.until_us), all: all || before.all });
        self.with_client(id, |_| {})
    }

    /// Whether a command is held back for now. CLIENT is not: somebody must be able to end it.
    pub(super) fn holds_back(&mut self, id: ClientId, args: &[&[u8]]) -> bool {
        let Some(pause) = self.clients.pause else { return false };
        let Some(spec) = args.first().and_then(|name| command::lookup(name)) else { return false };
        let Some(client) = self.clients.get_mut(id) else { return false };
        let writes = match spec.handler {
            Handler::Connection(ConnectionCommand::Client) => return false,
            Handler::Connection(ConnectionCommand::Exec) => {
                let queued = client.transaction.iter().flatten();
                queued.filter_map(|queued| command::lookup(queued.args.first()?)).any(Spec::is_write)
            }
            // Within a transaction it is only noted.
            _ => spec.is_write() && client.transaction.is_none(),
        };
        let holds = pause.all || writes;
        client.postponed |= holds;
        holds
    }

    /// What was held back goes on; its time begins now.
    pub(crate) fn end_pause(&mut self) {
        if self.clients.pause.take().is_none() {
            return;
        }
        let now_us = self.now.mono_us;
        for client in self.clients.map.values_mut().filter(|client| client.postponed) {
            client.postponed = false;
            client.waiting.iter_mut().for_each(|waiting| waiting.since_us = now_us);
        }
        self.clients.wake = true;
    }

    /// The same, when its time has come; and who sleeps is looked at.
    pub(crate) fn look_at_sleepers(&mut self) {
        if self.clients.pause.is_some_and(|pause| pause.until_us <= self.now.mono_us) {
            self.end_pause();
        }
        self.clients.wake |= self.next_wake_us().is_some_and(|until_us| until_us <= self.now.mono_us);
    }
}
