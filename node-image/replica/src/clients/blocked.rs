//! Clients behind whose command everything waits: for copies (WAIT), or until a key has something (BLPOP and its like).
//!
//! A command that waits for keys is tried like any other. Where there is a leader it is a request to it, of its own clients, too: it stands in the last place of
//! its client until the leader has an answer, and is asked again of every new leader with the time that is left, under the same id, so that it is executed
//! once. How long it may wait is judged by the leader, who alone can say that nothing was found. Where there is none it waits here, before the commands that
//! came after it, and is tried again by the ordinary way when a key has something in this replica's own state.

use bytes::Bytes;
use trireme_proto::{
    ids::Dot,
    message::{self, Released},
};

use crate::{
    engine::{
        command::{Error, Reply, blocking, client_admin},
        slot_of,
    },
    group::Role,
    io::ClientId,
    replica::Replica,
};

use super::{
    Flow,
    client::{Blocked, KeyWait, Place, Wait},
    execute::Work,
    held::Of,
    waiters::{TOO_MANY, Waiter, Who},
};

/// What a client is told that CLIENT UNBLOCK has released with an error.
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
/// What a client is told that waits where the replica ends.
const LEAVING: &str = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// What of a time is left; the largest number is for ever.
pub(super) fn left_us(until_us: u64, now_us: u64) -> u64 {
    if until_us == u64::MAX { until_us } else { until_us.saturating_sub(now_us) }
}

/// Nothing was found in time.
pub(super) fn nothing(resp3: bool) -> Bytes {
    let mut bytes = Vec::new();
    Reply::new(&mut bytes, resp3).null_array();
    bytes.into()
}

impl Replica {
    /// WAIT and WAITAOF. A write's reply has come only with w copies, as durable as the store keeps them; more are waited for on the leader, or where there is
    /// none on the replica that the connection is with. On another replica the answer is what the reply itself has promised.
    pub(super) fn wait(&mut self, id: ClientId, args: &[&[u8]], numbers: usize) -> Flow {
        let parsed: Option<Vec<u64>> =
            args[1..].iter().map(|arg| std::str::from_utf8(arg).ok()?.parse().ok()).collect();
        let Some((timeout_ms, wanted)) = parsed.as_deref().and_then(<[u64]>::split_last) else {
            return self.refuse(id, &Error::Fixed("ERR value is not an integer or out of range"));
        };
        let replicas = wanted.last().copied().unwrap_or(0) as usize;
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        if !client.in_order() {
            return Flow::NotNow; // What its earlier commands have written is known when they are answered.
        }
        let (seq, wrote, ending) = (client.session_seq, client.wrote, client.last_words.is_some());
        let copies = self.copies_of(seq, wrote);
        let until_us = match timeout_ms {
            0 => u64::MAX,
            timeout_ms => self.now.mono_us.saturating_add(timeout_ms.saturating_mul(1_000)),
        };
        // Nobody would end it.
        let longest_us = if ending { self.request_timeout_us() } else { u64::MAX };
        let until_us = until_us.min(self.now.mono_us.saturating_add(longest_us));
        if copies < replicas && self.counts_copies() {
            if let Some(client) = self.clients.get_mut(id) {
                let wait = Wait { seq, wrote, replicas, until_us, local: numbers == 2, error: None };
                client.blocked = Some(Blocked::Copies(wait));
                self.clients.blocked.push(id);
            }
            return Flow::Done;
        }
        self.answer_wait(id, copies, numbers == 2);
        Flow::Done
    }

    fn answer_wait(&mut self, id: ClientId, copies: usize, local: bool) {
        self.answer(id, |reply| {
            if local {
                reply.array(2);
                reply.integer(1);
            }
            reply.integer(copies as i64);
        });
    }

    /// It hears of every copy.
    fn counts_copies(&self) -> bool {
        self.leads() || matches!(self.role, Role::Peer(_))
    }

    /// How many other replicas are known to have everything up to `seq`; where nobody leads, everything that a connection has written here.
    fn copies_of(&self, seq: u64, wrote: Option<Dot>) -> usize {
        match &self.role {
            Role::Leader(leader) => leader.copies_of(seq),
            Role::Peer(_) => self.copies_elsewhere(wrote),
            _ => self.meta.topology.as_ref().map_or(0, |topology| topology.config.w.saturating_sub(1) as usize),
        }
    }

    /// Answers those who waited for copies and have them, or have waited long enough, or are on a leader no more.
    pub(super) fn unblock(&mut self) {
        for id in std::mem::take(&mut self.clients.blocked) {
            let wait = match self.clients.get_mut(id).and_then(|client| client.blocked) {
                Some(Blocked::Copies(wait)) => wait,
                Some(Blocked::Sleep(until_us)) => {
                    self.sleep_on(id, until_us);
                    continue;
                }
                _ => continue,
            };
            let copies = self.copies_of(wait.seq, wait.wrote);
            if copies < wait.replicas && self.now.mono_us < wait.until_us && self.counts_copies() {
                self.clients.blocked.push(id);
                continue;
            }
            self.go_on(id);
            match wait.error {
                Some(why) => self.answer(id, |reply| reply.error(why.as_bytes())),
                None => self.answer_wait(id, copies, wait.local),
            }
        }
    }

    /// A client has slept for long enough, or sleeps on.
    fn sleep_on(&mut self, id: ClientId, until_us: u64) {
        if self.now.mono_us < until_us && !self.leaving {
            self.clients.blocked.push(id);
            return;
        }
        self.go_on(id);
        self.answer(id, |reply| reply.ok());
    }

    /// Nothing holds a client up any more: the time of what it has sent since begins now.
    fn go_on(&mut self, id: ClientId) {
        let now_us = self.now.mono_us;
        if let Some(client) = self.clients.get_mut(id) {
            client.blocked = None;
            client.waiting.iter_mut().for_each(|waiting| waiting.since_us = now_us);
            self.clients.wake |= !client.waiting.is_empty();
        }
    }

    /// How long a unit of work may wait for keys, if it is a command that does. Nobody would end the waiting of a client that says nothing more, and
    /// a replica that is to end lets nobody begin.
    pub(super) fn key_wait_of(&mut self, id: ClientId, work: &Work<'_>) -> Option<KeyWait> {
        let Work::One(spec, args) = work else { return None };
        let wait_us = blocking::wait_us(spec, args)?;
        let ending = self.clients.get_mut(id)?.last_words.is_some();
        let most_us = if ending || self.leaving { 0 } else { u64::MAX };
        let until_us = self.now.mono_us.saturating_add(wait_us.min(most_us));
        Some(KeyWait { until_us, number: 0, ready: false, error: self.leaving.then_some(LEAVING) })
    }

    /// A command of a client has found nothing, where nobody leads: it waits here, or is told so.
    pub(super) fn wait_here(&mut self, id: ClientId, work: &Work<'_>) -> Flow {
        let now_us = self.now.mono_us;
        let Work::One(spec, args) = work else { return Flow::Done };
        if let Some(wait) = self.clients.get_mut(id).and_then(|client| client.key_wait_mut()) {
            wait.ready = false;
            return Flow::NotNow;
        }
        let Some(wait) = self.key_wait_of(id, work) else { return Flow::Done };
        let (keys, kind) = blocking::waits_for(spec, args);
        if wait.until_us <= now_us {
            self.answer_nothing(id, wait, &keys);
            return Flow::Done;
        }
        let keys = keys.into_iter().map(Bytes::copy_from_slice).collect();
        match self.clients.waiters.add(Waiter { who: Who::Client(id), keys, kind, until_us: wait.until_us }) {
            None => self.refuse_this(id, TOO_MANY),
            Some(number) => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.blocked = Some(Blocked::Keys(KeyWait { number, ..wait }));
                }
                Flow::NotNow
            }
        }
    }

    /// Nothing was found in time: that depends on the last writes of the keys, as what is found does.
    fn answer_nothing(&mut self, id: ClientId, wait: KeyWait, keys: &[impl AsRef<[u8]>]) {
        if let Some(why) = wait.error {
            return self.answer(id, |reply| reply.error(why.as_bytes()));
        }
        let seq = keys.iter().map(|key| self.engine.last_write(slot_of(key.as_ref()))).max().unwrap_or(0);
        let hold = self.must_hold(seq).then_some((seq, Of::Read));
        let Some(client) = self.clients.get_mut(id) else { return };
        let bytes = nothing(client.state.resp3);
        let bytes = if client.state.takes_reply() { &bytes[..] } else { &[] };
        client.out.extend_from_slice(bytes);
        let length = bytes.len();
        self.clients.replied(id, length, hold, None, self.now.mono_us, &mut self.output);
    }

    /// A command that waited for keys here was answered.
    pub(super) fn key_wait_over(&mut self, id: ClientId) {
        self.clients.waiters.forget((0, id));
        self.go_on(id);
    }

    /// The place of a request is settled: if it waited for keys, that is over.
    pub(super) fn look_if_over(&mut self, id: ClientId) {
        let over = |client: &&mut super::client::Client| {
            client.places.is_empty() && client.key_wait().is_some_and(|wait| wait.number == 0)
        };
        if self.clients.get_mut(id).filter(over).is_some() {
            self.go_on(id);
        }
    }

    /// The reply to a request; where that was ended before its time and has found nothing, what its client is told instead.
    pub(super) fn reply_or_error(&mut self, id: ClientId, number: u64, reply: Bytes) -> Bytes {
        let Some(client) = self.clients.get_mut(id).filter(|client| client.asked == number) else { return reply };
        let resp3 = client.state.resp3;
        match client.key_wait().and_then(|wait| wait.error) {
            Some(why) if reply == nothing(resp3) => {
                let mut bytes = Vec::new();
                Reply::new(&mut bytes, resp3).error(why.as_bytes());
                bytes.into()
            }
            _ => reply,
        }
    }

    /// CLIENT UNBLOCK.
    pub(super) fn client_unblock(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        let (whom, with_error) = match client_admin::unblock_arguments(args) {
            Ok(arguments) => arguments,
            Err(error) => return self.refuse(id, &error),
        };
        let error = with_error.then_some(UNBLOCKED);
        let now_us = self.now.mono_us;
        let ended = match self.clients.get_mut(whom).and_then(|client| client.blocked.as_mut()) {
            Some(Blocked::Copies(wait)) => {
                let waits = wait.until_us > now_us;
                (wait.until_us, wait.error) = (now_us, error.filter(|_| waits).or(wait.error));
                self.clients.wake = true;
                waits
            }
            Some(Blocked::Keys(_)) => self.end_key_wait(whom, error),
            Some(Blocked::Sleep(_)) | None => false,
        };
        self.answer(id, |reply| reply.integer(ended.into()));
        Flow::Done
    }

    /// Ends a client's waiting for keys before its time: whether that was still to come. What is found in the meantime is its answer all the same.
    pub(super) fn end_key_wait(&mut self, id: ClientId, error: Option<&'static str>) -> bool {
        let now_us = self.now.mono_us;
        let connection = self.connection_of(id);
        let Some(client) = self.clients.get_mut(id) else { return false };
        let (resp3, number) = (client.state.resp3, client.asked);
        let Some(wait) = client.key_wait_mut().filter(|wait| wait.until_us > now_us) else { return false };
        (wait.until_us, wait.error) = (now_us, error);
        if wait.number > 0 {
            self.time_out_here(id);
            return true;
        }
        let Some(Place::Asked { since_us, sent, group, .. }) = client.places.back_mut() else { return true };
        *since_us = now_us;
        let (sent, group) = (*sent, *group);
        let reply = message::Reply { connection, number, bytes: nothing(resp3), ..message::Reply::default() };
        if !sent {
            self.take_reply(reply, group); // No leader has heard of it.
        } else if self.leads() && group == self.identity.group {
            self.release((self.identity.incarnation, connection), number);
        } else if self.may_ask(group) {
            self.forward_to(group).released.push(Released { connection, number });
        }
        // Else it is asked of the next one, and may wait no longer.
        true
    }

    /// A client of this replica, where nobody leads, has waited long enough.
    fn time_out_here(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(wait) = client.key_wait() else { return };
        client.pop_waiting();
        let keys = self.clients.waiters.get(wait.number).map_or_else(Vec::new, |waiter| waiter.keys.clone());
        self.answer_nothing(id, wait, &keys);
        self.key_wait_over(id);
    }

    /// Answers those who have waited for keys long enough.
    pub(crate) fn time_out_waiters(&mut self) {
        while let Some(number) = self.clients.waiters.due(self.now.mono_us) {
            match self.clients.waiters.get(number).map(|waiter| &waiter.who) {
                Some(Who::Client(id)) => self.time_out_here(*id),
                _ => self.time_out_request(number),
            }
        }
    }

    /// Tries again for those who wait where nobody leads: as many as a key has something for.
    pub(super) fn wake_touched(&mut self) {
        for key in self.clients.waiters.take_touched() {
            let amount = self.amount_of(&key);
            for number in self.clients.waiters.firsts(&key, amount) {
                let Some(Who::Client(id)) = self.clients.waiters.get(number).map(|waiter| &waiter.who) else {
                    continue;
                };
                if let Some(wait) = self.clients.map.get_mut(id).and_then(|client| client.key_wait_mut()) {
                    wait.ready = true;
                    self.clients.wake = true;
                }
            }
        }
    }

    /// A replica that is to end lets those go who wait for keys.
    pub(crate) fn end_key_waits(&mut self) {
        for id in self.clients.ids() {
            self.end_key_wait(id, Some(LEAVING));
        }
    }

    /// How many clients wait for something.
    pub(super) fn blocked_clients(&self) -> usize {
        self.clients.map.values().filter(|client| client.blocked.is_some()).count()
    }
}
