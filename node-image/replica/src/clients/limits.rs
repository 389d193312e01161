//! What clients may take of this replica: memory, and connections that say nothing. What they may send and leave unread is the shell's to watch
//! ([`Replica::tuning`]). The record has the store's limits, CONFIG SET changes them here.
//!
//! Memory is what keys and values take, which is known at each moment, with what was kept of others that are gone, as far as it is more than a little; and
//! what the process has beside that, as it was said last. Where it has reached its
//! bound a command that may need more is refused, or keys are evicted for it before it is executed: by the leader alone, where there is one, with an entry of
//! their own, so that they are removed everywhere and undone like all others. What was evicted is gone before the command looks.

use trireme_proto::{message::Command, topology::Mode};

use crate::{
    engine::{
        At,
        command::{self, Error, config::Tuning, table::flag},
        evict::{Order, Wanted},
    },
    replica::Replica,
};

use super::{Clients, execute::Work};

/// Time between two looks for idle connections, in microseconds.
const LOOK_US: u64 = 1_000_000;
/// More than is needed becomes free at once, in bytes: so that not each command has an entry of evicted keys before it.
const AHEAD_BYTES: u64 = 16 << 10;
/// Part of the bound that may be exceeded while keys are being evicted, of which one command waits for few only.
const EXCESS_PART: u64 = 16;
/// Where more is exceeded, commands wait for so many times as many, all those of one turn together.
const ROUNDS_PER_TURN: u32 = 16;
/// Part of the bound that what is not data may fill, where keys are evicted: to evict more for it would empty the store and free nothing.
const BESIDE_PART: u64 = 2;

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

    /// The process has so much memory, in bytes. It is said once a second: a client that has said nothing since then keeps no buffer.
    pub(crate) fn note_memory(&mut self, bytes: u64) {
        let since_us = self.now.mono_us.saturating_sub(LOOK_US);
        self.clients.map.values_mut().for_each(|client| client.let_go(since_us));
        self.clients.memory = bytes;
        self.clients.beside = bytes.saturating_sub(self.engine.data_bytes() + self.engine.spare_bytes());
    }

    /// Memory in use, in bytes: keys and values as they are now, what is kept of others and is too much, and what the process had beside them when that was said last.
    pub(crate) fn used_memory(&self) -> u64 {
        self.engine.data_bytes() + self.engine.loose_bytes() + self.clients.beside
    }

    /// Bytes above the bound; 0 where there is none.
    fn memory_above(&self) -> u64 {
        let Tuning { memory: most, eviction, .. } = self.tuning();
        if *most == 0 {
            return 0;
        }
        let beside_max = if eviction.is_some() { most / BESIDE_PART } else { u64::MAX };
        // Evicting makes more of it before it makes less: what it may cost is bounded, too.
        let beside = self.engine.loose_bytes().min(most / EXCESS_PART) + self.clients.beside;
        (self.engine.data_bytes() + beside.min(beside_max)).saturating_sub(*most)
    }

    /// Makes room for a unit of work that may need memory, where there is too little. Why it is refused, if that cannot be.
    pub(super) fn refused_for_memory(&mut self, work: &Work<'_>) -> Option<Error> {
        if self.memory_above() == 0 {
            return None;
        }
        let error = match work {
            Work::One(spec, _) => spec.has(flag::DENYOOM).then_some(NO_MEMORY),
            Work::Transaction(commands, _) => commands.iter().any(needs_memory).then_some(NO_MEMORY_EXEC),
        }?;
        let far = self.tuning().memory / EXCESS_PART;
        let mut gone = self.evict_keys();
        while gone && self.memory_above() > far && self.clients.evicted_rounds < ROUNDS_PER_TURN {
            self.clients.evicted_rounds += 1;
            gone = self.evict_keys();
        }
        let above = self.memory_above();
        if above == 0 || (gone && above <= far) {
            return None;
        }
        self.counters.out_of_memory += 1;
        Some(error)
    }

    /// Removes keys where there is too little memory, those that have expired first. Whether any has gone.
    pub(crate) fn evict_keys(&mut self) -> bool {
        let gone = self.evict_some();
        self.house.removing.crowded = gone && self.memory_above() > 0;
        gone
    }

    fn evict_some(&mut self) -> bool {
        let Tuning { eviction, samples, evicted_max: keys_max, .. } = *self.tuning();
        let Some(order) = eviction else { return false };
        if !self.leads() || !self.has_one_leader() || !self.may_remove_keys() {
            return false;
        }
        let before = self.batch_last;
        self.expire_keys();
        let more = self.engine.next_expiry_ms().is_some_and(|at_ms| at_ms <= self.now.wall_ms);
        if more && self.batch_last > before {
            return true; // The others that have expired go before live ones, too.
        }
        let above = self.memory_above();
        if above > 0 {
            let at = At { seq: self.batch_last + 1, now_ms: self.now.wall_ms, keep_undo: true };
            let wanted = Wanted { order, bytes: above + AHEAD_BYTES, keys_max, samples };
            self.delta.clear();
            self.engine.tell_events(self.tuning().events);
            let (keys, effect) = self.engine.evict(&at, &mut self.delta, &wanted);
            if effect.wrote {
                self.append_removal();
            }
            self.counters.evicted_keys += keys as u64;
        }
        self.batch_last > before
    }

    /// Whether the store has one leader, who knows all that is read and written there.
    pub(super) fn has_one_leader(&self) -> bool {
        self.setting(|settings| settings.mode() == Mode::SingleLeader)
    }

    /// The record may have other limits now; memory may have reached its bound without a command; and connections that have said nothing for too long are
    /// closed, but for those that listen.
    pub(crate) fn look_at_limits(&mut self) {
        let limits = self.setting(|settings| settings.limits).unwrap_or_default();
        self.clients.parameters.follow(&limits);
        let Clients { parameters, .. } = &mut self.clients;
        let settings = self.meta.topology.as_ref().map(|topology| &topology.settings);
        let events = settings.map(|settings| (&*settings.keyspace_events, settings.keyspace_events_revision));
        events.into_iter().for_each(|(classes, revision)| parameters.follow_events(classes, revision));
        self.engine.keep_uses(self.tuning().eviction == Some(Order::LeastRecentlyUsed));
        if self.memory_above() > 0 {
            self.evict_keys();
        }
        let (now_us, idle_us) = (self.now.mono_us, self.tuning().idle_s.saturating_mul(1_000_000));
        if idle_us == 0 || now_us < self.clients.looked_us.saturating_add(LOOK_US) {
            return;
        }
        self.clients.looked_us = now_us;
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let idle = client.last_us.saturating_add(idle_us) <= now_us && !client.state.subscribes();
            if idle && client.is_answered() && !client.is_ending() {
                self.cut_client(id);
            }
        }
    }
}
