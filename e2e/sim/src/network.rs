//! Connections as TCP gives them: bytes in order or not at all, and two ends that learn of the end at different times, or never.
//!
//! Between two peers there is at most one connection that is alive. What is sent on it arrives in order, each message after a delay; where the way is
//! blocked it waits, and arrives late once the way is free, or is lost with the connection. An end learns by [`Packet::Closed`], in its turn, that the
//! connection is gone; a connection whose other end vanished with its machine is silent until then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::BytesMut;
use fastrand::Rng;
use trireme_proto::{Incarnation, Message, frame, ids::Peer};

use crate::clock::Micros;

/// Number of a connection.
pub type ConnectionId = u64;

/// Most messages that wait for one end: beyond it the connection is cut, as a bounded send buffer would.
const WAITING_MAX: usize = 20_000;

/// What comes out at an end of a connection, in this order: once opened, messages, once closed.
#[derive(Debug)]
pub enum Packet {
    /// The connection is up; the other side's incarnation.
    Opened(Incarnation),
    /// The other side said something.
    Message(Message),
    /// The connection is gone.
    Closed,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// Shortest way, in microseconds.
    pub min_us: u64,
    /// Usual spread above that.
    pub spread_us: u64,
    /// One message in so many is slow.
    pub slow_one_in: u32,
    /// How slow at most.
    pub slow_us: u64,
}

impl Delays {
    /// How long this one takes.
    pub fn draw(&self, rng: &mut Rng) -> Micros {
        let slow = if rng.u32(0..self.slow_one_in) == 0 { rng.u64(0..=self.slow_us) } else { 0 };
        self.min_us + rng.u64(0..=self.spread_us) + slow
    }
}

#[derive(Default)]
struct End {
    waiting: VecDeque<(Micros, Packet)>,
    /// The time of the packet sent last: nothing overtakes it.
    last: Micros,
    /// A delivery is under way for the first packet.
    armed: bool,
    /// This end has seen Opened and not yet Closed.
    open: bool,
}

struct Connection {
    /// Who, at either end.
    peers: [Peer; 2],
    /// What travels towards each.
    ends: [End; 2],
    /// Nothing more can be sent.
    broken: bool,
}

/// All connections, and which ways are blocked.
#[derive(Default)]
pub struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    current: BTreeMap<(Peer, Peer), ConnectionId>,
    blocked: BTreeSet<(Peer, Peer)>,
    /// Deliveries to be put into the world's queue: when, which connection, which end.
    pub arm: Vec<(Micros, ConnectionId, usize)>,
    /// Who should try again: their connection ended before either end had seen it open.
    pub again: Vec<(Peer, Peer)>,
    issued: ConnectionId,
    sent: u64,
    scratch: BytesMut,
}

fn pair(a: Peer, b: Peer) -> (Peer, Peer) {
    if a < b { (a, b) } else { (b, a) }
}

impl Network {
    /// Whether a connection between the two is alive, or thought to be.
    pub fn connected(&self, a: Peer, b: Peer) -> bool {
        self.current.contains_key(&pair(a, b))
    }

    /// Whether messages from the one to the other are held up.
    pub fn is_blocked(&self, from: Peer, to: Peer) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// Blocks one direction.
    pub fn block(&mut self, from: Peer, to: Peer) {
        self.blocked.insert((from, to));
    }

    /// Frees every way; what was held up arrives soon.
    pub fn unblock_all(&mut self, now: Micros, rng: &mut Rng) {
        self.unblock(now, |_| true, rng);
    }

    /// Frees the ways to and from such peers.
    pub fn unblock(&mut self, now: Micros, is_one: impl Fn(Peer) -> bool, rng: &mut Rng) {
        self.blocked.retain(|(from, to)| !is_one(*from) && !is_one(*to));
        for (id, connection) in &mut self.connections {
            for (side, end) in connection.ends.iter_mut().enumerate() {
                if !end.armed && !end.waiting.is_empty() {
                    end.armed = true;
                    self.arm.push((now + rng.u64(0..5_000), *id, side));
                }
            }
        }
    }

    /// Connects two peers, both of which live. An end that still holds an older connection sees that one close first.
    pub fn connect(&mut self, now: Micros, peers: [(Peer, Incarnation); 2], delays: Delays, rng: &mut Rng) {
        let [(a, a_incarnation), (b, b_incarnation)] = peers;
        let older: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, c)| pair(c.peers[0], c.peers[1]) == pair(a, b))
            .map(|(id, _)| *id)
            .collect();
        for id in older {
            self.close_now(now, id);
        }
        self.issued += 1;
        let id = self.issued;
        let mut connection = Connection { peers: [a, b], ends: Default::default(), broken: false };
        for (side, incarnation) in [(0, b_incarnation), (1, a_incarnation)] {
            let at = now + delays.draw(rng);
            connection.ends[side].last = at;
            connection.ends[side].waiting.push_back((at, Packet::Opened(incarnation)));
            connection.ends[side].armed = true;
            self.arm.push((at, id, side));
        }
        self.connections.insert(id, connection);
        self.current.insert(pair(a, b), id);
    }

    /// Sends a message; it is lost where no connection is up. One in 64 travels as real bytes.
    pub fn send(&mut self, now: Micros, from: Peer, to: Peer, message: Message, delays: Delays, rng: &mut Rng) {
        let Some(id) = self.current.get(&pair(from, to)) else { return };
        let Some(connection) = self.connections.get_mut(id) else { return };
        let to_side = usize::from(connection.peers[1] == to);
        if connection.broken || !connection.ends[1 - to_side].open {
            return;
        }
        self.sent += 1;
        let message = if self.sent.is_multiple_of(64) { through_bytes(&mut self.scratch, &message) } else { message };
        let end = &mut connection.ends[to_side];
        end.last = end.last.max(now + delays.draw(rng));
        end.waiting.push_back((end.last, Packet::Message(message)));
        let overfull = end.waiting.len() > WAITING_MAX;
        if !end.armed {
            end.armed = true;
            self.arm.push((end.last, *id, to_side));
        }
        if overfull {
            let id = *id;
            self.cut(now, id, [0, 0], rng);
        }
    }

    /// The time of the first packet at an end has come. `None` where there is none any more, or the way is blocked.
    pub fn deliver(&mut self, now: Micros, id: ConnectionId, side: usize) -> Option<(Peer, Peer, Packet)> {
        let connection = self.connections.get_mut(&id)?;
        let (to, from) = (connection.peers[side], connection.peers[1 - side]);
        let end = &mut connection.ends[side];
        end.armed = false;
        let closing = matches!(end.waiting.front(), Some((_, Packet::Closed)));
        if self.blocked.contains(&(from, to)) && !closing {
            return None;
        }
        match end.waiting.front() {
            Some((time, _)) if *time > now => {
                end.armed = true;
                self.arm.push((*time, id, side));
                return None;
            }
            _ => {}
        }
        let (_, packet) = end.waiting.pop_front()?;
        if let Some((time, _)) = end.waiting.front() {
            end.armed = true;
            self.arm.push(((*time).max(now), id, side));
        }
        match packet {
            Packet::Opened(_) => end.open = true,
            Packet::Closed if !end.open => {
                self.again.push((to, from));
                self.forget(id);
                return None;
            }
            Packet::Closed => {
                end.open = false;
                self.forget(id);
            }
            Packet::Message(_) => {}
        }
        Some((to, from, packet))
    }

    /// Ends the connection between two peers, if there is one: each end learns of it after its own delay, and what was on its way is lost in part.
    pub fn cut_between(&mut self, now: Micros, a: Peer, b: Peer, after: [Micros; 2], rng: &mut Rng) {
        if let Some(id) = self.current.get(&pair(a, b)).copied() {
            self.cut(now, id, after, rng);
        }
    }

    /// All connections that one peer has, by the other end.
    pub fn peers_of(&self, peer: Peer) -> Vec<Peer> {
        let other = |(a, b): &(Peer, Peer)| if *a == peer { Some(*b) } else { (*b == peer).then_some(*a) };
        self.current.keys().filter_map(other).collect()
    }

    /// A process has ended: its ends are gone at once, the others learn of it after `after` microseconds.
    pub fn vanish(&mut self, now: Micros, peer: Peer, after: Micros, rng: &mut Rng) {
        let ids: Vec<_> = self.connections.iter().filter(|(_, c)| c.peers.contains(&peer)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let side = usize::from(connection.peers[1] == peer);
            connection.ends[side] = End::default();
            let mut delays = [after + rng.u64(0..500); 2];
            delays[side] = 0;
            self.cut(now, id, delays, rng);
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.ends[side].waiting.clear();
            }
        }
    }

    fn cut(&mut self, now: Micros, id: ConnectionId, after: [Micros; 2], rng: &mut Rng) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        self.current.retain(|_, current| *current != id);
        if connection.broken {
            return;
        }
        connection.broken = true;
        for (side, end) in connection.ends.iter_mut().enumerate() {
            let kept = rng.usize(0..=end.waiting.len());
            end.waiting.truncate(kept);
            let at = now + after[side];
            for (time, _) in &mut end.waiting {
                *time = (*time).min(at);
            }
            end.waiting.push_back((at, Packet::Closed));
            end.armed = true;
            self.arm.push((end.waiting.front().map_or(at, |(time, _)| *time), id, side));
        }
    }

    /// Both ends see the connection close now, before anything else that is armed later.
    fn close_now(&mut self, now: Micros, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.broken = true;
        for (side, end) in connection.ends.iter_mut().enumerate() {
            end.waiting.clear();
            if end.open {
                end.waiting.push_back((now, Packet::Closed));
                end.armed = true;
                self.arm.push((now, id, side));
            }
        }
    }

    /// Drops a connection of which both ends have seen the end.
    fn forget(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(|c| c.broken && c.ends.iter().all(|e| !e.open && e.waiting.is_empty()))
        {
            self.connections.remove(&id);
        }
    }
}

fn through_bytes(scratch: &mut BytesMut, message: &Message) -> Message {
    scratch.clear();
    frame::encode(message.clone(), scratch);
    match frame::decode(scratch) {
        Ok(Some(Some(decoded))) if decoded == *message => decoded,
        other => panic!("{message:?} came back from its frame as {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_proto::message::AppendAck;

    const A: Peer = Peer::Replica(1);
    const B: Peer = Peer::Replica(2);
    const DELAYS: Delays = Delays { min_us: 10, spread_us: 100, slow_one_in: 3, slow_us: 10_000 };

    fn number(n: u64) -> Message {
        Message::AppendAck(AppendAck { durable: n, ..AppendAck::default() })
    }

    /// Runs all deliveries that are due up to `end`.
    fn run(network: &mut Network, end: Micros, seen: &mut Vec<(Peer, String)>) {
        loop {
            network.arm.sort_by_key(|arm| std::cmp::Reverse(arm.0));
            let Some((time, id, side)) = network.arm.pop_if(|(time, ..)| *time <= end) else { return };
            if let Some((to, _, packet)) = network.deliver(time, id, side) {
                seen.push((
                    to,
                    match packet {
                        Packet::Opened(i) => format!("opened {i}"),
                        Packet::Message(Message::AppendAck(ack)) => format!("{}", ack.durable),
                        Packet::Message(other) => format!("{other:?}"),
                        Packet::Closed => "closed".to_owned(),
                    },
                ));
            }
        }
    }

    fn at(seen: &[(Peer, String)], peer: Peer) -> Vec<String> {
        seen.iter().filter(|(to, _)| *to == peer).map(|(_, what)| what.clone()).collect()
    }

    #[test]
    fn messages_arrive_in_order_after_opened_and_before_closed() {
        for seed in 0..50 {
            let (mut network, mut rng, mut seen) = (Network::default(), Rng::with_seed(seed), Vec::new());
            network.connect(0, [(A, 7), (B, 8)], DELAYS, &mut rng);
            run(&mut network, 20_000, &mut seen);
            for n in 0..100 {
                network.send(20_000, A, B, number(n), DELAYS, &mut rng);
            }
            network.cut_between(25_000, A, B, [1, 90_000], &mut rng);
            run(&mut network, 200_000, &mut seen);
            let got = at(&seen, B);
            let whole: Vec<_> = (0..got.len() - 2).map(|n| n.to_string()).collect();
            assert_eq!(
                (got[0].as_str(), &got[1..got.len() - 1], got[got.len() - 1].as_str()),
                ("opened 7", &whole[..], "closed")
            );
            assert_eq!(at(&seen, A), ["opened 8", "closed"]);
            assert!(network.connections.is_empty() && !network.connected(A, B));
        }
    }

    #[test]
    fn a_connection_that_ends_before_it_opened_is_tried_again() {
        let mut unseen = 0;
        for seed in 0..20 {
            let (mut network, mut rng, mut seen) = (Network::default(), Rng::with_seed(seed), Vec::new());
            network.connect(0, [(A, 7), (B, 8)], DELAYS, &mut rng);
            network.cut_between(0, A, B, [5, 5], &mut rng);
            run(&mut network, 90_000, &mut seen);
            unseen += usize::from(seen.is_empty());
            let learned = seen.iter().any(|(_, what)| what == "closed");
            assert!(learned || !network.again.is_empty(), "seed {seed}: nobody connects again");
        }
        assert!(unseen > 0);
    }

    #[test]
    fn what_a_partition_held_up_arrives_late() {
        let (mut network, mut rng, mut seen) = (Network::default(), Rng::with_seed(3), Vec::new());
        network.connect(0, [(A, 7), (B, 8)], DELAYS, &mut rng);
        run(&mut network, 20_000, &mut seen);
        network.block(A, B);
        network.send(20_000, A, B, number(1), DELAYS, &mut rng);
        network.send(20_000, B, A, number(2), DELAYS, &mut rng);
        run(&mut network, 1_000_000, &mut seen);
        assert_eq!((at(&seen, A).len(), at(&seen, B).len()), (2, 1));
        network.unblock_all(1_000_000, &mut rng);
        run(&mut network, 2_000_000, &mut seen);
        assert_eq!(at(&seen, B), ["opened 7", "1"]);
    }

    #[test]
    fn a_process_that_vanished_hears_nothing_and_is_missed() {
        let (mut network, mut rng, mut seen) = (Network::default(), Rng::with_seed(3), Vec::new());
        network.connect(0, [(A, 7), (B, 8)], DELAYS, &mut rng);
        run(&mut network, 20_000, &mut seen);
        network.vanish(20_000, A, 1_000, &mut rng);
        network.connect(30_000, [(A, 9), (B, 8)], DELAYS, &mut rng);
        run(&mut network, 90_000, &mut seen);
        assert_eq!(at(&seen, A), ["opened 8", "opened 8"]);
        assert_eq!(at(&seen, B), ["opened 7", "closed", "opened 9"]);
    }
}
