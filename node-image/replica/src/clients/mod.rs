//! Clients: whose commands come in at this replica, and whose replies go out here.
//!
//! ```text
//!   command ──▶ run ──┬─ on the leader: execute, reply held until its entry is committed (held)
//!                     ├─ a read that may be answered here: execute on the committed state
//!                     ├─ else: forward to the leader under a request id (forward ──▶ serve): the own group's, or that of its keys' home (elsewhere)
//!                     └─ not now (no leader, no lease, handing over): wait, in order, with a deadline
//! ```
//!
//! * [`client`]: one connection. [`held`]: replies that wait for a commit. [`requests`]: forwarded requests that were answered, replicated.
//! * [`session`]: tokens of what a connection has seen, and what is promised to one that goes on from there.
//! * `blocked`: clients behind whose command everything waits: for copies, or until a key has something. [`waiters`]: who waits for which key, at the leader
//!   or, where there is none, at the coordinator. `waiting`: how a leader serves them.
//! * `admin`: CLIENT KILL, LIST, PAUSE. `server`: ROLE, DEBUG and their like. `limits`: what clients may take. [`slow`]: how long commands took.
//! * `late`: what is answered instead of what did not come. `execute`: one unit of work on the state. `connection`: commands about the connection itself. `consistency`, `conflicts`: the
//!   commands of those names. `forward`: the forwarder's side of a forwarded request. `serve`: the leader's side. [`homes`]: keys that one region writes. [`elsewhere`]: commands for another one's. [`pubsub`]: who listens to what. `info`: the text of INFO. [`probe`]: writes of nothing.
//!
//! Invariants: replies of one client leave in the order of its commands; nothing is shown before it is committed; a client is never shown a state
//! older than one it has seen here; a command that waits is answered within the store's request time-out, whatever happens, and one that waits for keys
//! within that time after the one it may wait.

mod admin;
mod ahead;
mod blocked;
pub(crate) mod client;
pub(crate) mod conflicts;
mod connection;
pub(crate) mod consistency;
pub(crate) mod elsewhere;
pub(crate) mod execute;
mod forward;
pub(crate) mod held;
pub(crate) mod homes;
mod info;
mod late;
mod limits;
mod listed;
pub(crate) mod probe;
pub(crate) mod pubsub;
pub mod requests;
mod room;
pub(crate) mod serve;
mod server;
pub(crate) mod session;
pub(crate) mod slow;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod waiters;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::{
    engine::command::{config::Parameters, reply::Reply},
    io::{ClientId, Now, Output},
    log::record::RECORD_BYTES_MAX,
    quorum::level::Quorum,
    replica::Replica,
};
use admin::Pause;
use client::{Blocked, Client, Waiting};
use elsewhere::Abroad;
use held::{Held, HeldFor, HeldQueue, Leveled, Of, Reach};
use pubsub::PubSub;
use slow::Slow;
use waiters::Waiters;

/// What one unit of work may take: an entry that is longer than a record may be would be read by nobody.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Arguments of a command, or of all commands of a transaction, in bytes.
    pub(crate) unit_bytes: usize,
    /// An entry: its delta, and the reply that a forwarder may ask for again.
    pub(crate) entry_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { unit_bytes: 256 << 20, entry_bytes: RECORD_BYTES_MAX - 1024 }
    }
}

/// All clients of a replica.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) limits: Limits,
    /// What clients that connect from now on must say before anything else; empty lets in everybody.
    pub(crate) password: Bytes,
    /// What CONFIG SET has set on this replica.
    pub(crate) parameters: Parameters,
    /// Memory of the process, as it was said last, in bytes.
    pub(crate) memory: u64,
    /// What it has beside keys and values, by that.
    pub(crate) beside: u64,
    /// How often commands of this turn have evicted more than one of them waits for.
    pub(crate) evicted_rounds: u32,
    /// When idle connections were looked for.
    pub(crate) looked_us: u64,
    /// CLIENT PAUSE.
    pub(crate) pause: Option<Pause>,
    /// What was measured of commands.
    pub(crate) slow: Slow,
    /// What tokens of sessions are sealed with.
    pub(crate) token_keys: session::token::Keys,
    /// Commands that wait for what their sessions have seen.
    sessions: session::Awaiting,
    map: HashMap<ClientId, Client, FixedState>,
    pub(crate) held: HeldQueue,
    pub(crate) leveled: Leveled,
    /// Clients with commands that wait; run again when something changed that they may have waited for.
    stalled: Vec<ClientId>,
    pub(crate) wake: bool,
    /// Some command waits until the state may be shown.
    pub(crate) wait_for_whole: bool,
    pub(crate) room: room::Room,
    /// Some client waits for copies.
    blocked: Vec<ClientId>,
    /// Commands that wait for keys.
    pub(crate) waiters: Waiters,
    /// Who listens to what, and what is on its way to them.
    pub(crate) pubsub: PubSub,
    /// The round that the command at hand has waited for, and the one that it has to wait for now.
    pub(crate) permit: Option<u64>,
    pub(crate) stamp: Option<u64>,
    /// Who leads in other groups, by their numbers.
    pub(crate) abroad: BTreeMap<u32, Abroad>,
    /// Some request of theirs was found to belong elsewhere, and has not been asked there yet.
    pub(crate) moved: BTreeSet<ClientId>,
    /// Clients that have said goodbye: closed when every reply before may go.
    closing: Vec<ClientId>,
}

impl Clients {
    pub(crate) fn open(&mut self, id: ClientId, now: Now) {
        let mut client = Client::new(id);
        (client.state.opened_us, client.last_us) = (now.wall_ms * 1_000, now.mono_us);
        client.state.must_authenticate = !self.password.is_empty();
        self.map.insert(id, client);
    }

    /// Where a client is, and where it connected to.
    pub(crate) fn locate(&mut self, id: ClientId, address: &str, local_address: &str) {
        if let Some(client) = self.map.get_mut(&id) {
            client.state.address = address.to_owned();
            client.state.local_address = local_address.to_owned();
        }
    }

    /// Whether there is a password that this client has not said yet.
    pub(crate) fn must_authenticate(&self, id: ClientId) -> bool {
        self.map.get(&id).is_some_and(|client| client.state.must_authenticate)
    }

    pub(crate) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.map.get_mut(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn ids(&self) -> Vec<ClientId> {
        let mut ids: Vec<ClientId> = self.map.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Entries after `seq` are no part of this store's history: who has seen them has seen nothing.
    pub(crate) fn forget_after(&mut self, seq: u64) {
        for client in self.map.values_mut() {
            client.session_seq = client.session_seq.min(seq);
            client.written_seq = client.written_seq.min(seq);
        }
    }

    /// Clients for whom something has been under way for longer than a command may wait.
    fn late(&self, timeout_us: u64, now_us: u64) -> Vec<ClientId> {
        let late = |since_us: u64| since_us.saturating_add(timeout_us) <= now_us;
        let mut ids: Vec<ClientId> = self
            .map
            .iter()
            .filter(|(_, client)| {
                let waits = client.waiting.front().filter(|_| client.blocked.is_none() && !client.postponed);
                waits.is_some_and(|waiting| late(waiting.since_us))
                    || client.first_open().is_some_and(|(_, since_us)| late(since_us))
            })
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Closes clients that have said goodbye and for whom no reply is held or asked for any more.
    pub(crate) fn close_answered(&mut self, output: &mut Output) {
        self.closing.retain(|id| {
            let Some(client) = self.map.get_mut(id) else { return false };
            let answered = client.is_answered();
            if answered {
                if let Some(words) = client.last_words.take() {
                    client.out.extend_from_slice(&words);
                    client.ready += words.len();
                    announce(client, *id, output);
                }
                output.close.push(*id);
            }
            !answered
        });
    }

    /// Closes a client after these words, once everything before is answered. Nobody can end its waiting for copies any more, so that does not go on
    /// beyond `until_us`.
    pub(crate) fn end(&mut self, id: ClientId, words: &[u8], until_us: u64) {
        let Some(client) = self.map.get_mut(&id).filter(|client| !client.is_ending()) else { return };
        client.last_words = Some(words.into());
        if let Some(Blocked::Copies(wait)) = &mut client.blocked {
            wait.until_us = wait.until_us.min(until_us);
        }
        self.closing.push(id);
    }

    /// Closes every client that has nothing under way: whether that was true of all, and all that was answered is with the shell.
    pub(crate) fn let_go(&mut self) -> bool {
        let mut all = true;
        for id in self.ids() {
            let Some(client) = self.map.get_mut(&id) else { continue };
            let answered = client.is_answered();
            all &= answered && client.out.is_empty();
            if answered && !client.is_ending() {
                client.state.close = true;
                self.closing.push(id);
            }
        }
        all
    }

    pub(crate) fn take_replies(&mut self, id: ClientId, out: &mut Vec<u8>) -> usize {
        let Some(client) = self.map.get_mut(&id) else { return 0 };
        client.announced = false;
        if out.is_empty() && client.ready == client.out.len() {
            std::mem::swap(&mut client.out, out);
        } else {
            out.extend_from_slice(&client.out[..client.ready]);
            client.out.drain(..client.ready);
        }
        client.ready = 0;
        std::mem::take(&mut client.longest)
    }

    /// A reply of `bytes` has been appended to a client's `out`: it may go at once, or waits for the commit of `seq`. Says whether it goes.
    pub(crate) fn replied(
        &mut self,
        id: ClientId,
        bytes: usize,
        hold: Option<(u64, Of)>,
        reach: Option<Reach>,
        now_us: u64,
        output: &mut Output,
    ) -> bool {
        let Some(client) = self.map.get_mut(&id) else { return false };
        if bytes == 0 {
            return false;
        }
        if hold.is_none() && client.held == 0 {
            client.may_hear(bytes);
            announce(client, id, output);
            return true;
        }
        let quorum = reach.map_or(client.consistency.queue, |reach| reach.quorum);
        client.consistency.queue = quorum;
        client.held += 1;
        let (seq, of) = hold.unwrap_or((0, Of::Neither));
        let held = Held { seq, since_us: now_us, of, to: HeldFor::Local { client: id, bytes }, reach };
        match quorum {
            Quorum::Store => self.held.push(held),
            other => self.leveled.push(other, held),
        }
        false
    }

    /// The next `bytes` of a client's replies may go.
    pub(crate) fn released(&mut self, id: ClientId, bytes: usize, output: &mut Output) {
        let Some(client) = self.map.get_mut(&id) else { return };
        client.held -= 1;
        client.may_hear(bytes);
        announce(client, id, output);
        self.wake |= !client.waiting.is_empty();
    }

    /// A replica has acknowledged more: clients that wait for copies may have them.
    pub(crate) fn copies_changed(&mut self) {
        self.wake |= !self.blocked.is_empty();
    }

    /// Puts a command aside until something changes; the client is paused when it has too many.
    fn stall(&mut self, id: ClientId, waiting: Waiting, output: &mut Output) {
        let Some(client) = self.map.get_mut(&id) else { return };
        if client.waiting.is_empty() {
            self.stalled.push(id);
        }
        client.push_waiting(waiting);
        if client.waits_for_much(1) && !client.paused {
            client.paused = true;
            output.paused.push(id);
        }
    }
}

fn announce(client: &mut Client, id: ClientId, output: &mut Output) {
    if !client.announced && client.ready > 0 {
        client.announced = true;
        output.ready.push(id);
    }
}

/// What became of an attempt to run a command.
pub(crate) enum Flow {
    /// It is executed, forwarded or answered.
    Done,
    /// Not now: try again when something has changed.
    NotNow,
}

impl Replica {
    /// A client's command, as it came.
    pub(crate) fn command(&mut self, id: ClientId, args: &[&[u8]]) {
        // Nothing is executed after QUIT.
        let Some(client) = self.clients.get_mut(id).filter(|client| !client.is_ending()) else { return };
        let in_turn = client.waiting.is_empty() && !client.is_halted() && !self.holds_back(id, args);
        (self.clients.permit, self.clients.stamp) = (None, None);
        if in_turn && matches!(self.run(id, args), Flow::Done) {
            return;
        }
        let round = if in_turn { self.clients.stamp.take() } else { self.foresee(id, args, None) };
        self.clients.stall(id, Waiting::new(args, self.now.mono_us, round), &mut self.output);
    }

    /// A client says nothing more: see [`Input::LastWords`](crate::io::Input::LastWords).
    pub(crate) fn last_words(&mut self, id: ClientId, words: &[u8]) {
        self.clients.end(id, words, self.now.mono_us.saturating_add(self.request_timeout_us()));
        self.end_key_wait(id, None);
    }

    /// How long a command may wait, in microseconds.
    pub(super) fn request_timeout_us(&self) -> u64 {
        u64::from(self.setting(|settings| settings.request_timeout_ms)) * 1_000
    }

    /// The state may be shown again: who has waited for that goes on.
    pub(crate) fn look_if_whole_again(&mut self) {
        if self.clients.wait_for_whole && self.shows_whole() {
            (self.clients.wait_for_whole, self.clients.wake) = (false, true);
        }
    }

    /// Runs commands that waited, in order per client, where something has changed since.
    pub(crate) fn run_waiting(&mut self) {
        self.look_for_room();
        if !std::mem::take(&mut self.clients.wake) {
            return;
        }
        self.unblock();
        self.begin_to_make_room();
        let mut stalled = std::mem::take(&mut self.clients.stalled);
        if !self.clients.waiters.is_empty() {
            // Those who wait for keys first, in the order in which they began.
            let place =
                |id: &ClientId| self.clients.map.get(id).and_then(Client::key_wait).map_or(u64::MAX, |w| w.number);
            stalled.sort_by_key(place);
        }
        for id in stalled {
            self.run_waiting_of(id);
        }
    }

    fn run_waiting_of(&mut self, id: ClientId) {
        loop {
            let Some(client) = self.clients.get_mut(id) else { return };
            if client.is_halted() {
                break;
            }
            let again = client.key_wait().is_some();
            let Some(mut waiting) = client.pop_waiting() else { break };
            if self.clients.pause.is_some() && self.holds_back(id, &waiting.args()) {
                if let Some(client) = self.clients.get_mut(id) {
                    client.put_back(waiting);
                }
                break;
            }
            (self.clients.permit, self.clients.stamp) = (waiting.round, None);
            let flow = self.run(id, &waiting.args());
            if matches!(flow, Flow::NotNow) {
                let stamp = self.clients.stamp.take();
                waiting.round = stamp.or(waiting.round);
                if let Some(client) = self.clients.get_mut(id) {
                    // What it has waited for brought nothing: the next time it asks anew.
                    waiting.round = waiting.round.filter(|_| !client.is_halted());
                    client.put_back(waiting);
                }
                if stamp.is_some() {
                    self.foresee_again(id);
                }
                break;
            }
            if again {
                self.key_wait_over(id);
            }
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.paused && !client.waits_for_much(2) {
            client.paused = false;
            self.output.resumed.push(id);
        }
        if !client.waiting.is_empty() {
            self.clients.stalled.push(id);
        }
    }

    /// A client's next command has to wait for another round: those behind it share it, as their own will be over by then.
    fn foresee_again(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let mut waiting = std::mem::take(&mut client.waiting);
        for behind in waiting.iter_mut().skip(1) {
            let round = self.foresee(id, &behind.args(), behind.round);
            behind.round = round.or(behind.round);
        }
        if let Some(client) = self.clients.get_mut(id) {
            client.waiting = waiting;
        }
    }

    /// Writes a reply that depends on nothing, after everything that is before it.
    pub(crate) fn answer(&mut self, id: ClientId, write: impl FnOnce(&mut Reply<'_>)) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let resp3 = client.state.resp3;
        if client.in_order() {
            let before = client.out.len();
            write(&mut Reply::new(&mut client.out, resp3));
            if !client.state.takes_reply() {
                client.out.truncate(before);
            }
            let bytes = client.out.len() - before;
            self.clients.replied(id, bytes, None, None, self.now.mono_us, &mut self.output);
        } else {
            let mut bytes = Vec::new();
            write(&mut Reply::new(&mut bytes, resp3));
            if !client.state.takes_reply() {
                bytes.clear();
            }
            client.push_place(client::Place::Answered(bytes.into()));
        }
    }

    /// Moves replies whose turn has come from behind forwarded ones to the socket's side.
    pub(crate) fn settle(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let bytes = client.settle();
        self.clients.replied(id, bytes, None, None, self.now.mono_us, &mut self.output);
        self.look_if_over(id);
    }

    /// Lets go of every reply that the commit so far covers.
    pub(crate) fn release_replies(&mut self) {
        while let Some(held) = self.clients.held.release(self.settled()) {
            self.let_go(held);
        }
        if !self.clients.blocked.is_empty() {
            self.clients.wake = true;
        }
    }

    /// Lets go of the replies at levels of their own that have their copies.
    pub(crate) fn release_leveled(&mut self) {
        let mut leveled = std::mem::take(&mut self.clients.leveled);
        let own = |held: &Held| held.reach.map_or((0, 0), |reach| reach.own);
        while let Some(held) = leveled.release(|quorum, held| self.has_copies(quorum, held.seq, own(held))) {
            self.let_go(held);
        }
        self.clients.leveled = leveled;
    }

    fn let_go(&mut self, held: Held) {
        match held.to {
            HeldFor::Local { client, bytes } => {
                self.clients.released(client, bytes, &mut self.output);
                if let Some(reach) = held.reach {
                    self.note_reach(client, bytes, reach);
                }
            }
            HeldFor::Remote { replica, reply } => self.reply_to(replica, reply),
        }
    }
}
