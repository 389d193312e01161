//! What clients may take of this replica: memory, and connections that say nothing. What they may send and leave unread is the shell's to watch
//! ([`Replica::tuning`]). The record has the store's limits, CONFIG SET changes them here.

use trireme_proto::message::Command;

use crate::{
    engine::command::{self, Error, config::Tuning, table::flag},
    replica::Replica,
};

use super::execute::Work;

/// Time between two looks for idle connections, in microseconds.
const LOOK_US: u64 = 1_000_000;

const NO_MEMORY: Error = Error::Fixed("OOM command not allowed when used memory > 'maxmemory'.");
const NO_MEMORY_EXEC: Error =
    Error::Fixed("EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.");

fn needs_memory(command: &Command) -> bool {
    command.args.first().and_then(|name| command::lookup(name)).is_some_and(|spec| spec.has(flag::DENYOOM))
}

impl Replica {
    /// What clients may take here, by the store's record and CONFIG SET.
    pub fn tuning(&self) -> &Tuning {
        self.clients.parameters.tuning()
    }

    /// Why a unit of work is refused, if the process has more memory than it may and the work may need more.
    pub(super) fn refused_for_memory(&self, work: &Work<'_>) -> Option<Error> {
        let most = self.tuning().memory;
        if most == 0 || self.clients.memory <= most {
            return None;
        }
        match work {
            Work::One(spec, _) => spec.has(flag::DENYOOM).then_some(NO_MEMORY),
            Work::Transaction(commands, _) => commands.iter().any(needs_memory).then_some(NO_MEMORY_EXEC),
        }
    }

    /// The record may have other limits now; and connections that have said nothing for too long are closed.
    pub(crate) fn look_at_limits(&mut self) {
        let limits = self.setting(|settings| settings.limits).unwrap_or_default();
        self.clients.parameters.follow(&limits);
        let events = self.setting(|settings| settings.keyspace_events.clone());
        self.clients.parameters.follow_events(&events);
        let (now_us, idle_us) = (self.now.mono_us, self.tuning().idle_s.saturating_mul(1_000_000));
        if idle_us == 0 || now_us < self.clients.looked_us.saturating_add(LOOK_US) {
            return;
        }
        self.clients.looked_us = now_us;
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let idle = client.last_us.saturating_add(idle_us) <= now_us;
            if idle && client.is_answered() && !client.is_ending() {
                self.cut_client(id);
            }
        }
    }
}
