//! Processes: they start, take turns, and end.

use trireme_proto::{Message, Position, ReplicaId, ids::Peer, report::Role, topology::Durability};
use trireme_replica::io::{DiskOp, Output};

use super::{Abroad, Event, World};
use crate::{
    clock::Micros,
    disk::Crash,
    invariants::Turn,
    machine::Arrival,
    network::{ConnectionId, Packet},
};

/// How long a killed process stays down, in microseconds: a supervisor's back-off.
const DOWN_US: std::ops::Range<u64> = 20_000..1_500_000;

impl World {
    pub(super) fn durability(&self) -> Durability {
        self.scenario.settings.durability()
    }

    pub(super) fn start(&mut self, id: ReplicaId) {
        let (now, durability) = (self.now(), self.durability());
        if !self.may_start(id) {
            return;
        }
        let Some(machine) = self.machines.get_mut(&id) else { return };
        let life = match machine.start(now, durability, &mut self.rng) {
            Ok(life) => life,
            Err(what) => return self.found(crate::invariants::violated("recovery", what)),
        };
        self.watch.quorum.durable(id, machine.incarnation, machine.disk.image().log.last());
        if let Some(process) = &machine.process {
            self.watch.copies.started(id, machine.incarnation, process.replica.received());
        }
        self.trace.mix(&[now, 1, id.into(), life]);
        self.trace.say(now, format_args!("{id} starts as process {life}, incarnation {:016x}", machine.incarnation));
        if durability == Durability::Memory {
            self.queue.after(1_000_000, Event::DiskSync(id, life));
        }
        self.wake(id);
        self.dial_all(Peer::Replica(id));
        if self.scenario.place.group > 0 {
            self.abroad.push(Abroad::Started(id));
        }
    }

    /// Tries to connect to everybody.
    pub(super) fn dial_all(&mut self, peer: Peer) {
        let replicas = self.machines.keys().map(|id| Peer::Replica(*id));
        let workers = self.workers.keys().map(|number| Peer::Operator(*number));
        let others: Vec<Peer> = replicas.chain(workers).filter(|other| *other != peer).collect();
        for other in others {
            self.dial_soon(peer, other, 1_000);
        }
    }

    pub(super) fn dial_soon(&mut self, a: Peer, b: Peer, within_us: Micros) {
        if matches!((a, b), (Peer::Operator(_), Peer::Operator(_))) {
            return;
        }
        let pair = if a < b { (a, b) } else { (b, a) };
        if self.dialing.insert(pair) {
            let delay = self.rng.u64(100..=within_us.max(200));
            self.queue.after(delay, Event::Dial(pair.0, pair.1));
        }
    }

    pub(super) fn dial(&mut self, a: Peer, b: Peer) {
        self.dialing.remove(&(a, b));
        if !self.lives(a) || !self.lives(b) || self.network.connected(a, b) {
            return;
        }
        let accepts = |peer: Peer| match peer {
            Peer::Replica(id) => self.machines.get(&id).is_some_and(crate::machine::Machine::awake),
            Peer::Operator(_) => true,
        };
        if self.network.is_blocked(a, b) || self.network.is_blocked(b, a) || !accepts(a) || !accepts(b) {
            return self.dial_soon(a, b, 100_000);
        }
        let incarnation = |peer: Peer| match peer {
            Peer::Replica(id) => self.machines.get(&id).map_or(0, |machine| machine.incarnation),
            Peer::Operator(_) => 0,
        };
        let peers = [(a, incarnation(a)), (b, incarnation(b))];
        self.network.connect(self.queue.now(), peers, self.scenario.delays, &mut self.rng);
    }

    pub(super) fn deliver(&mut self, connection: ConnectionId, side: usize) {
        let delivered = self.network.deliver(self.queue.now(), connection, side);
        for (a, b) in std::mem::take(&mut self.network.again) {
            self.dial_soon(a, b, 20_000);
        }
        let Some((to, from, packet)) = delivered else { return };
        if matches!(packet, Packet::Closed) {
            self.dial_soon(to, from, 20_000);
        }
        match to {
            Peer::Operator(number) => self.worker_hears(number, from, packet),
            Peer::Replica(id) => {
                let Some(life) = self.machines.get(&id).and_then(|m| m.process.as_ref()).map(|p| p.life) else {
                    return;
                };
                self.arrive(id, life, Arrival::Packet(from, packet));
            }
        }
    }

    pub(crate) fn arrive(&mut self, id: ReplicaId, life: u64, arrival: Arrival) {
        let Some(process) = self.machines.get_mut(&id).and_then(|machine| machine.process.as_mut()) else { return };
        if process.life == life {
            process.inbox.push_back(arrival);
            self.wake(id);
        }
    }

    /// Lets a process take a turn soon: what arrives until then is taken in with it.
    pub(super) fn wake(&mut self, id: ReplicaId) {
        let Some(process) = self.machines.get_mut(&id).and_then(|machine| machine.process.as_mut()) else { return };
        if !process.paused && !process.turn_armed {
            process.turn_armed = true;
            let life = process.life;
            let delay = self.rng.u64(1..40);
            self.queue.after(delay, Event::Turn(id, life));
        }
    }

    pub(super) fn tick(&mut self, id: ReplicaId, life: u64, at: Micros) {
        let current = self.machines.get(&id).and_then(|machine| machine.process.as_ref());
        if current.is_some_and(|process| process.life == life && process.tick_at == at) {
            self.arrive(id, life, Arrival::Tick);
        }
    }

    pub(super) fn turn(&mut self, id: ReplicaId, life: u64) {
        let now = self.now();
        let Some(machine) = self.machines.get_mut(&id) else { return };
        let clocks = machine.clock.now(now);
        let Some(process) = machine.process.as_mut().filter(|process| process.life == life && !process.paused) else {
            return;
        };
        let mut output = std::mem::take(&mut self.output);
        for arrival in &process.inbox {
            if let Arrival::Packet(Peer::Replica(from), Packet::Message(Message::AppendAck(ack))) = arrival {
                self.watch.lease.acknowledged(id, *from, ack);
            }
            if self.trace.speaks() {
                self.trace.say(now, format_args!("{id} <- {}", short(&format!("{arrival:?}"))));
            }
        }
        process.turn(clocks, &mut output);
        let added = output.persist.iter().map(|(_, op)| process.shadow.follow(op)).sum();
        let mut appended = Ok(());
        for (_, op) in output.persist.iter().filter(|_| self.scenario.is_leaderless()) {
            if let DiskOp::Append { bytes, .. } = op {
                appended = appended.and(self.watch.appended(id, machine.incarnation, bytes));
            }
        }
        if self.scenario.place.group > 0 {
            let appended = output.persist.iter().filter_map(|(_, op)| match op {
                DiskOp::Append { bytes, .. } => Some(Abroad::Appended(id, bytes.clone())),
                _ => None,
            });
            self.abroad.extend(appended);
        }
        let report = process.replica.report(clocks);
        self.trace.mix(&[
            now,
            2,
            id.into(),
            report.commit,
            report.applied,
            report.digest,
            report.last.seq,
            output.send.len() as u64,
        ]);
        let turn = Turn {
            time: now,
            now: clocks,
            id,
            incarnation: machine.incarnation,
            life,
            report: &report,
            shadow: &process.shadow,
            added,
            topology: process.replica.topology(),
            events: &output.events,
            sends: &output.send,
            promised: machine.disk.promised(),
        };
        let found = if self.scenario.is_leaderless() {
            self.watch.peers_turn(&turn, &process.replica)
        } else {
            self.watch.turn(&turn, &self.decided)
        };
        self.say_output(id, &output);
        self.found(appended.and(found));
        self.carry_out(id, life, &mut output);
        self.output = output;
    }

    fn say_output(&mut self, id: ReplicaId, output: &Output) {
        if !self.trace.speaks() {
            return;
        }
        let now = self.now();
        for event in &output.events {
            self.trace.say(now, format_args!("{id} == {event:?}"));
        }
        for (ticket, op) in &output.persist {
            self.trace.say(now, format_args!("{id} disk #{ticket} {}", short(&format!("{op:?}"))));
        }
        for step in &output.checkpoint {
            self.trace.say(now, format_args!("{id} disk beside {}", short(&format!("{step:?}"))));
        }
        for (peer, message) in &output.send {
            self.trace.say(now, format_args!("{id} -> {peer:?} {}", short(&format!("{message:?}"))));
        }
    }

    /// Does what a turn asked for, and leaves the output empty.
    fn carry_out(&mut self, id: ReplicaId, life: u64, output: &mut Output) {
        let now = self.now();
        if self.scenario.place.group > 0 {
            self.abroad.push(Abroad::Turned(id));
        }
        for (peer, message) in output.send.drain(..) {
            if let Peer::Replica(to) = peer
                && !self.machines.contains_key(&to)
            {
                self.abroad.push(Abroad::Says(id, to, Box::new(message)));
                continue;
            }
            self.network.send(now, Peer::Replica(id), peer, message, self.scenario.delays, &mut self.rng);
        }
        let deadline = output.deadline_us;
        let (finished, fatal) = (std::mem::take(&mut output.finished), output.fatal.take());
        output.events.clear();
        if let Some(machine) = self.machines.get_mut(&id) {
            if machine.disk.submit(output.persist.drain(..), output.checkpoint.drain(..)) {
                self.queue.after(1, Event::Arrive(id, life, Box::new(Arrival::Checkpointed)));
            }
            let at = machine.clock.when(deadline).max(now + 1);
            if let Some(process) = machine.process.as_mut()
                && process.tick_at != at
            {
                process.tick_at = at;
                self.queue.at(at, Event::Tick(id, life, at));
            }
        }
        self.start_disk(id, life);
        self.answer_clients(id, life, output);
        if let Some(why) = fatal {
            self.found(crate::invariants::violated("fatal", format!("replica {id} gave up: {why}")));
        }
        if finished {
            self.finished(id);
        }
    }

    fn start_disk(&mut self, id: ReplicaId, life: u64) {
        let sync = self.durability() == Durability::Disk;
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if machine.disk.start_checkpoint() {
            let (least, spread) = self.scenario.sync_us;
            let delay = (least + self.rng.u64(0..=spread)) * machine.disk_factor;
            self.queue.after(delay, Event::CheckpointDone(id, life));
        }
        if machine.disk.start() {
            let (least, spread) = if sync { self.scenario.sync_us } else { (5, 20) };
            let delay = (least + self.rng.u64(0..=spread)) * machine.disk_factor;
            self.queue.after(delay, Event::DiskDone(id, life));
        }
    }

    pub(super) fn disk_done(&mut self, id: ReplicaId, life: u64) {
        let sync = self.durability() == Durability::Disk;
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if machine.process.as_ref().is_none_or(|process| process.life != life) {
            return;
        }
        let incarnation = machine.incarnation;
        for (epoch, seq) in machine.disk.appending() {
            self.watch.copies.durable(id, incarnation, seq);
            self.watch.quorum.durable(id, incarnation, Position { epoch, seq });
        }
        if let Some(ticket) = machine.disk.done(sync) {
            self.arrive(id, life, Arrival::Persisted(ticket));
        }
        self.start_disk(id, life);
    }

    pub(super) fn checkpoint_done(&mut self, id: ReplicaId, life: u64) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if machine.process.as_ref().is_some_and(|process| process.life == life) {
            machine.disk.checkpoint_done();
            self.arrive(id, life, Arrival::Checkpointed);
            self.start_disk(id, life);
        }
    }

    pub(super) fn disk_sync(&mut self, id: ReplicaId, life: u64) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if machine.process.as_ref().is_some_and(|process| process.life == life) {
            machine.disk.sync();
            self.queue.after(1_000_000, Event::DiskSync(id, life));
        }
    }

    /// Ends a process the hard way, and starts it again later.
    pub(super) fn crash(&mut self, id: ReplicaId, crash: Crash) {
        let (now, durability) = (self.now(), self.durability());
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if !machine.crash(crash, durability, &mut self.rng) {
            return;
        }
        self.trace.mix(&[now, 3, id.into()]);
        self.trace.say(now, format_args!("{id} crashes: {crash:?}"));
        // The end of a process closes its connections; the end of a machine is noticed by silence.
        let noticed = if crash == Crash::Process { self.rng.u64(100..2_000) } else { self.rng.u64(500_000..3_000_000) };
        self.gone(id, noticed);
        let down = if self.faults_over { 10_000 } else { self.rng.u64(DOWN_US) };
        self.queue.after(down, Event::Start(id));
    }

    /// A machine comes back with an empty disk.
    pub(super) fn lose_disk(&mut self, id: ReplicaId) {
        let now = self.now();
        let Some(machine) = self.machines.get_mut(&id) else { return };
        machine.lose_disk(&mut self.rng);
        self.trace.say(now, format_args!("{id} loses its disk"));
        let noticed = self.rng.u64(100..500_000);
        self.gone(id, noticed);
        let down = self.rng.u64(DOWN_US);
        self.queue.after(down, Event::Start(id));
    }

    fn gone(&mut self, id: ReplicaId, noticed: Micros) {
        let now = self.now();
        self.watch.lease.ended(id);
        let peers = self.network.peers_of(Peer::Replica(id));
        self.network.vanish(now, Peer::Replica(id), noticed, &mut self.rng);
        if self.scenario.place.group > 0 {
            self.abroad.push(Abroad::Ended(id, noticed));
        }
        for peer in peers {
            self.dial_soon(Peer::Replica(id), peer, 20_000);
        }
        self.clients_lose(id);
    }

    /// It ended by itself, everything handed over and written.
    fn finished(&mut self, id: ReplicaId) {
        let now = self.now();
        let Some(machine) = self.machines.get_mut(&id) else { return };
        self.trace.say(now, format_args!("{id} ends as asked"));
        machine.process = None;
        machine.end_known = true;
        machine.disk.close();
        self.gone(id, 500);
        let down = self.rng.u64(DOWN_US);
        self.queue.after(down, Event::Start(id));
    }

    pub(super) fn kill_late(&mut self, id: ReplicaId, life: u64) {
        let process = self.machines.get(&id).and_then(|machine| machine.process.as_ref());
        if process.is_some_and(|process| process.life == life) {
            self.crash(id, Crash::Process);
        }
    }

    pub(super) fn resume(&mut self, id: ReplicaId, life: u64) {
        let Some(process) = self.machines.get_mut(&id).and_then(|machine| machine.process.as_mut()) else { return };
        if process.life == life && process.paused {
            process.paused = false;
            process.turn_armed = false;
            let tick_at = process.tick_at;
            self.trace.say(self.queue.now(), format_args!("{id} goes on"));
            self.queue.at(tick_at, Event::Tick(id, life, tick_at));
            self.wake(id);
        }
    }

    /// Whether a replica thinks that it leads and serves.
    pub(crate) fn thinks_it_leads(&self, id: ReplicaId) -> bool {
        let now = self.now();
        let Some(machine) = self.machines.get(&id) else { return false };
        let report = machine.process.as_ref().map(|process| process.replica.report(machine.now(now)));
        report.is_some_and(|report| report.role() == Role::Leader && report.serving)
    }
}

/// The beginning of a long line.
fn short(text: &str) -> &str {
    let end = text.char_indices().nth(600).map_or(text.len(), |(at, _)| at);
    &text[..end]
}
