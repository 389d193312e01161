//! Clients in the world: their connections, their pipelines, the replies.

use bytes::Bytes;
use trireme_proto::ReplicaId;
use trireme_replica::io::Output;

use super::{Event, World};
use crate::{
    client::Connection,
    clock::Micros,
    invariants::violated,
    machine::{Arrival, Process},
};

/// A client that has waited this long for a reply gives up.
const PATIENCE_US: Micros = 3_000_000;

impl World {
    fn process(&mut self, id: ReplicaId) -> Option<&mut Process> {
        self.machines.get_mut(&id).and_then(|machine| machine.process.as_mut())
    }

    /// Reads answered by this replica now must be linearizable: always where more than one replica confirms a read, else only at the leader.
    fn strict_at(&self, id: ReplicaId) -> bool {
        self.scenario.settings.r > 1 || self.scenario.is_leaderless() || self.thinks_it_leads(id)
    }

    /// Connects a client to some replica that runs.
    pub(super) fn connect(&mut self, client: u32, to: ReplicaId) {
        let Some(process) = self.process(to) else { return };
        process.clients += 1;
        let connection = Connection { replica: to, life: process.life, number: process.clients };
        self.sessions.insert((to, connection.life, connection.number), client);
        let greeting = self.clients[client as usize - 1].connected(connection);
        self.send_up(client, Arrival::ClientOpened(connection.number));
        for args in greeting {
            self.send_up(client, Arrival::Command(connection.number, args));
        }
    }

    /// Something goes from a client to its replica, after what went before.
    fn send_up(&mut self, client: u32, arrival: Arrival) {
        let delay = self.rng.u64(20..400);
        let now = self.now();
        let client = &mut self.clients[client as usize - 1];
        let Some(connection) = client.connection else { return };
        client.last_up = client.last_up.max(now + delay);
        self.queue.at(client.last_up, Event::Arrive(connection.replica, connection.life, Box::new(arrival)));
    }

    /// A client does what it does: connects, sends a pipeline, or leaves.
    pub(super) fn act(&mut self, client: u32) {
        let think = self.scenario.think_us;
        let next = self.rng.u64(think / 2..=think * 3 / 2);
        self.queue.after(next, Event::Act(client));
        let at = client as usize - 1;
        let Some(connection) = self.clients[at].connection else {
            let running: Vec<_> = self.machines.iter().filter(|(_, m)| m.awake()).map(|(id, _)| *id).collect();
            if !running.is_empty() && !self.quiet && self.may_connect(at) {
                let to = running[self.rng.usize(0..running.len())];
                self.connect(client, to);
            }
            return;
        };
        if self.quiet || !self.clients[at].idle() {
            return;
        }
        if self.clients[at].travels {
            if self.clients[at].has_looked() {
                return self.leave(client);
            }
            let commands = self.clients[at].look(&mut self.rng);
            return self.send_commands(client, commands);
        }
        if self.rng.u8(0..60) == 0 {
            return self.leave(client);
        }
        let (now, strict) = (self.now(), self.strict_at(connection.replica));
        let commands = self.clients[at].pipeline(now, strict, &mut self.history, &mut self.rng);
        self.send_commands(client, commands);
    }

    pub(super) fn send_commands(&mut self, client: u32, commands: Vec<Vec<Vec<u8>>>) {
        let now = self.now();
        let at = client as usize - 1;
        let Some(connection) = self.clients[at].connection else { return };
        for args in commands {
            if self.trace.speaks() {
                let words: Vec<_> = args.iter().map(|word| String::from_utf8_lossy(word)).collect();
                self.trace.say(now, format_args!("client {client} asks {}: {}", connection.replica, words.join(" ")));
            }
            self.send_up(client, Arrival::Command(connection.number, args));
        }
        let state = &self.clients[at];
        let (session, sent) = (state.session, state.asked().unwrap_or(self.history.entries.len()));
        self.queue.after(PATIENCE_US, Event::GiveUp(client, session, sent));
    }

    /// A client that waits for the same replies as long ago goes elsewhere.
    pub(super) fn give_up(&mut self, client: u32, session: u64, sent: usize) {
        let state = &self.clients[client as usize - 1];
        let waits = match state.asked() {
            Some(asked) => asked == sent && !state.idle(),
            None => self.still_waits(client, session, sent),
        };
        if state.session == session && waits {
            self.leave(client);
        }
    }

    fn still_waits(&self, client: u32, session: u64, sent: usize) -> bool {
        self.history.entries[..sent].iter().rev().take(64).any(|entry| {
            entry.client == client && entry.session == session && entry.outcome == crate::history::Outcome::Pending
        })
    }

    /// Whether it has clients whose sessions go with them, and they are at work.
    pub(crate) fn has_travellers(&self) -> bool {
        let begun = self.now() > self.scenario.begins_at;
        self.scenario.travellers > 0 && begun && !self.quiet && !self.leaves
    }

    /// Where a client's sessions go with it: it goes on with one that nobody is at.
    fn may_connect(&mut self, at: usize) -> bool {
        if !self.clients[at].travels {
            return true;
        }
        let Some(luggage) = self.luggage.pop_front() else { return false };
        self.clients[at].pick_up(luggage, &mut self.rng);
        true
    }

    fn disconnected(&mut self, at: usize) {
        self.clients[at].disconnected(&mut self.history);
        self.luggage.extend(self.clients[at].put_down());
    }

    fn leave(&mut self, client: u32) {
        let Some(connection) = self.clients[client as usize - 1].connection else { return };
        self.send_up(client, Arrival::ClientClosed(connection.number));
        self.sessions.remove(&(connection.replica, connection.life, connection.number));
        self.disconnected(client as usize - 1);
    }

    /// A process is gone: its clients notice.
    pub(super) fn clients_lose(&mut self, id: ReplicaId) {
        for at in 0..self.clients.len() {
            if self.clients[at].connection.is_some_and(|connection| connection.replica == id) {
                let delay = self.rng.u64(50..5_000);
                let (client, session) = (self.clients[at].id, self.clients[at].session);
                let time = self.clients[at].last_down.max(self.now() + delay);
                self.queue.at(time, Event::HangUp(client, session));
            }
        }
    }

    pub(super) fn hang_up(&mut self, client: u32, session: u64) {
        let state = &self.clients[client as usize - 1];
        if state.session == session
            && let Some(connection) = state.connection
        {
            self.disconnected(client as usize - 1);
            self.sessions.remove(&(connection.replica, connection.life, connection.number));
        }
    }

    /// What a turn has for clients: replies, pauses, ends.
    pub(super) fn answer_clients(&mut self, id: ReplicaId, life: u64, output: &mut Output) {
        let now = self.now();
        let Some(process) = self.process(id) else { return };
        let mut replies = Vec::new();
        for client in output.ready.drain(..) {
            replies.push((client, process.replies(client)));
        }
        for client in output.paused.drain(..) {
            process.held_back.entry(client).or_default();
        }
        for client in output.resumed.drain(..) {
            for args in process.held_back.remove(&client).unwrap_or_default() {
                process.inbox.push_back(Arrival::Command(client, args));
            }
        }
        let more = !process.inbox.is_empty();
        for (number, bytes) in replies {
            self.trace.mix_bytes(&bytes);
            if let Some(heard) = self.outside.get_mut(&(id, number)) {
                heard.extend_from_slice(&bytes);
                continue;
            }
            let Some(client) = self.sessions.get(&(id, life, number)).copied() else { continue };
            let delay = self.rng.u64(20..400);
            let state = &mut self.clients[client as usize - 1];
            state.last_down = state.last_down.max(now + delay);
            self.queue.at(state.last_down, Event::Reply(client, state.session, bytes));
        }
        for number in output.close.drain(..) {
            let Some(client) = self.sessions.get(&(id, life, number)).copied() else { continue };
            let state = &self.clients[client as usize - 1];
            self.queue.at(state.last_down.max(now) + 1, Event::HangUp(client, state.session));
        }
        if more {
            self.wake(id);
        }
    }

    pub(super) fn reply(&mut self, client: u32, session: u64, bytes: &Bytes) {
        let now = self.now();
        let at = client as usize - 1;
        let Some(connection) = self.clients[at].connection.filter(|_| self.clients[at].session == session) else {
            return;
        };
        self.trace.say(
            now,
            format_args!(
                "client {client} hears {}: {}",
                connection.replica,
                String::from_utf8_lossy(bytes).trim_end().replace("\r\n", " ")
            ),
        );
        let strict = self.strict_at(connection.replica);
        if let Err(what) = self.clients[at].receive(now, bytes, strict, &mut self.history) {
            self.found(violated("protocol", what));
        }
        if let Some(what) = self.clients[at].shown.take()
            && !self.decided.lossy()
        {
            self.found(violated("travel", what));
        }
    }
}
