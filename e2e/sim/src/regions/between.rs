//! The network between regions: who talks with whom, and what goes wrong with it.

use trireme_proto::{ReplicaId, ids::Peer};

use super::{Event, Regions};
use crate::{
    clock::Micros,
    invariants::Found,
    machine::{Arrival, Machine},
    network::{ConnectionId, Packet},
    world::{Abroad, World},
};

impl Regions {
    /// What came of a region's last events for the others.
    pub(super) fn take_abroad(&mut self, i: usize) -> Found {
        let now = self.now();
        for abroad in std::mem::take(&mut self.worlds[i].abroad) {
            match abroad {
                Abroad::Says(from, to, message) => {
                    let (from, to) = (Peer::Replica(from), Peer::Replica(to));
                    self.network.send(now, from, to, *message, self.delays, &mut self.rng);
                }
                Abroad::Started(id) => {
                    for other in self.foreign(i) {
                        self.dial_soon(Peer::Replica(id), Peer::Replica(other), 5_000);
                    }
                }
                Abroad::Ended(id, noticed) => {
                    let peers = self.network.peers_of(Peer::Replica(id));
                    self.network.vanish(now, Peer::Replica(id), noticed, &mut self.rng);
                    for peer in peers {
                        self.dial_soon(Peer::Replica(id), peer, 50_000);
                    }
                }
                Abroad::Turned(id) => {
                    let machine = self.worlds[i].machines.get(&id);
                    if let Some(process) = machine.and_then(|machine| machine.process.as_ref()) {
                        self.same.turn(id, &process.replica)?;
                    }
                    self.look_after_door(id);
                }
                Abroad::Appended(id, bytes) => {
                    self.names.landed(id, self.worlds[i].scenario.place.group, &bytes)?;
                }
            }
        }
        Ok(())
    }

    /// The replicas of all regions but one.
    pub(super) fn foreign(&self, i: usize) -> Vec<ReplicaId> {
        let others = self.worlds.iter().enumerate().filter(|(at, _)| *at != i);
        others.flat_map(|(_, world)| world.machines.keys().copied()).collect()
    }

    pub(super) fn dial_soon(&mut self, a: Peer, b: Peer, within_us: Micros) {
        let pair = if a < b { (a, b) } else { (b, a) };
        if self.dialing.insert(pair) {
            let delay = self.rng.u64(100..=within_us.max(200));
            self.queue.after(delay, Event::Dial(pair.0, pair.1));
        }
    }

    pub(super) fn dial(&mut self, a: Peer, b: Peer) {
        self.dialing.remove(&(a, b));
        let lives = |peer| self.machine(peer).is_some_and(|machine| machine.process.is_some());
        if !lives(a) || !lives(b) || self.network.connected(a, b) {
            return;
        }
        let awake = |peer| self.machine(peer).is_some_and(Machine::awake);
        if self.network.is_blocked(a, b)
            || self.network.is_blocked(b, a)
            || !awake(a)
            || !awake(b)
            || !self.lets_in(a, b)
        {
            return self.dial_soon(a, b, 200_000);
        }
        let incarnation = |peer| self.machine(peer).map_or(0, |machine| machine.incarnation);
        let peers = [(a, incarnation(a)), (b, incarnation(b))];
        self.network.connect(self.queue.now(), peers, self.delays, &mut self.rng);
    }

    pub(super) fn deliver(&mut self, connection: ConnectionId, side: usize) {
        let delivered = self.network.deliver(self.queue.now(), connection, side);
        for (a, b) in std::mem::take(&mut self.network.again) {
            self.dial_soon(a, b, 50_000);
        }
        let Some((to, from, packet)) = delivered else { return };
        if matches!(packet, Packet::Closed) {
            self.dial_soon(to, from, 50_000);
        }
        let life = self.machine(to).and_then(|machine| machine.process.as_ref()).map(|process| process.life);
        if let (Some(life), Some(at), Peer::Replica(id)) = (life, self.at(to), to) {
            self.worlds[at].arrive(id, life, Arrival::Packet(from, packet));
        }
    }

    /// A region is cut off, two do not reach each other in one direction or both, or connections break; or a person pauses feeds, as the one side hears first.
    pub(super) fn fault(&mut self) {
        if self.faults_over {
            return;
        }
        let every = self.fault_every_us;
        self.queue.after(self.rng.u64(every / 4..=every * 2), Event::Fault);
        let regions = self.regions().len();
        let a = self.rng.usize(0..regions);
        let b = (a + self.rng.usize(1..regions)) % regions;
        if self.home.is_some() && self.rng.bool() {
            self.move_home();
        }
        if self.rng.u8(0..5) == 0 {
            let group_b = self.worlds[b].scenario.place.group;
            self.worlds[a].paused_with.insert(group_b);
            if self.rng.bool() {
                let group_a = self.worlds[a].scenario.place.group;
                self.worlds[b].paused_with.insert(group_a);
            }
            self.queue.after(self.rng.u64(50_000..1_500_000), Event::Heal);
            return;
        }
        let ids = |world: &World| world.machines.keys().map(|id| Peer::Replica(*id)).collect::<Vec<_>>();
        let others: Vec<Peer> = if self.rng.bool() {
            ids(&self.worlds[b])
        } else {
            self.foreign(a).into_iter().map(Peer::Replica).collect()
        };
        let (both, cuts, now) = (self.rng.u8(0..3) > 0, self.rng.bool(), self.now());
        for (one, other) in ids(&self.worlds[a]).into_iter().flat_map(|a| others.iter().map(move |b| (a, *b))) {
            self.network.block(one, other);
            if both {
                self.network.block(other, one);
            }
            if cuts {
                let after = [self.rng.u64(100..500_000), self.rng.u64(100..500_000)];
                self.network.cut_between(now, one, other, after, &mut self.rng);
            }
        }
        self.queue.after(self.rng.u64(50_000..2_500_000), Event::Heal);
    }
}
