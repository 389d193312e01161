//! Replicas with bytes between them and their clients, where nothing is left to chance: what is written is durable at once, and time passes as it is told.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use trireme_node::{incoming::Incoming, resp::Parser};
use trireme_proto::{
    Epoch, Message, ReplicaId, Topology,
    ids::Peer,
    topology::{Config, Durability, Group, Member, Mode, Phase, Replica as Row, Settings},
};
use trireme_replica::{
    Recovery, Replica,
    io::{CheckpointOp, ClientId, DiskOp, Identity, Input, Now, Output},
};

/// One client's connection.
#[derive(Default)]
pub struct Client {
    parser: Parser,
    /// What was sent and not executed.
    rest: Vec<u8>,
    paused: bool,
    ending: bool,
    pub closed: bool,
    /// Commands that were executed.
    pub commands: usize,
    /// What it was told.
    pub replies: Vec<u8>,
}

pub struct Node {
    pub replica: Replica,
    output: Output,
    /// Why it gave up.
    pub fatal: Option<String>,
    ticket: Option<u64>,
    pub clients: BTreeMap<ClientId, Client>,
    /// All that it has given to its disk, and the steps of its checkpoints.
    pub disk: Vec<DiskOp>,
    pub checkpoint: Vec<CheckpointOp>,
    /// Such steps are under way.
    checkpoints: bool,
}

/// What goes from one replica to another.
#[derive(Default)]
struct Line {
    under_way: BytesMut,
    incoming: Incoming,
}

pub struct World {
    pub nodes: BTreeMap<ReplicaId, Node>,
    lines: BTreeMap<(ReplicaId, ReplicaId), Line>,
    pub now_us: u64,
    pub records: Vec<Topology>,
}

pub fn identity(id: ReplicaId, group: u32) -> Identity {
    Identity { store: "s".into(), id, incarnation: u64::from(id) + 10, boot: 1, group, durability: Durability::Disk }
}

/// The record of a group: replicas with these numbers, of which `leader` leads, or none.
fn record(group: u32, ids: &[ReplicaId], w: u32, leader: ReplicaId, settings: Settings) -> Topology {
    let incarnation = |id: ReplicaId| u64::from(id) + 10;
    let row = |id: ReplicaId| Row { id, name: format!("s-{id}"), region: format!("r{group}"), ..Row::default() };
    let named = |id| Row { incarnation: incarnation(id), generation: 1, ..row(id) };
    Topology {
        store: "s".into(),
        group,
        version: 1,
        epoch: Epoch { number: 1, proposer: 0 },
        phase: Phase::Active as i32,
        leader,
        config: Config { members: ids.iter().map(|id| Member { id: *id, incarnation: incarnation(*id) }).collect(), w },
        replicas: ids.iter().map(|id| if leader == 0 { named(*id) } else { row(*id) }).collect(),
        generation: 1,
        settings,
        ..Topology::default()
    }
}

impl World {
    /// As many replicas, the first of which leads.
    pub fn serving(n: u32, w: u32) -> World {
        World::serving_with(n, w, Settings::standard())
    }

    /// The same with other settings.
    pub fn serving_with(n: u32, w: u32, settings: Settings) -> World {
        World::of(vec![record(1, &(1..=n).collect::<Vec<_>>(), w, 1, settings)])
    }

    /// As many replicas, of which none leads.
    pub fn peers(n: u32, w: u32, r: u32) -> World {
        let settings = Settings { mode: Mode::Leaderless as i32, r, ..Settings::standard() };
        World::of(vec![record(1, &(1..=n).collect::<Vec<_>>(), w, 0, settings)])
    }

    /// Groups of as many replicas, each with its leader. Those of group g, from 1, are numbered from 10 (g - 1) + 1.
    pub fn regions(groups: u32, n: u32, w: u32) -> World {
        let ids = |group: u32| -> Vec<ReplicaId> { (1..=n).map(|k| 10 * (group - 1) + k).collect() };
        let settings = || Settings { mode: Mode::MultiLeader as i32, ..Settings::standard() };
        let mut records: Vec<Topology> =
            (1..=groups).map(|group| record(group, &ids(group), w, ids(group)[0], settings())).collect();
        let rows: Vec<Group> = records
            .iter()
            .map(|record| Group {
                group: record.group,
                region: format!("r{}", record.group),
                replicas: record.replicas.clone(),
                ..Group::default()
            })
            .collect();
        for record in &mut records {
            record.groups = rows.iter().filter(|row| row.group != record.group).cloned().collect();
        }
        World::of(records)
    }

    fn of(records: Vec<Topology>) -> World {
        let mut world = World { nodes: BTreeMap::new(), lines: BTreeMap::new(), now_us: 1_000_000, records };
        let of_all = world.records.iter().flat_map(|record| record.replicas.iter().map(|row| (row.id, record.group)));
        for (id, group) in of_all.collect::<Vec<_>>() {
            world.nodes.insert(id, Node::new(Replica::new(identity(id, group), Recovery::new(), world.now())));
        }
        world.connect_all();
        world.tell();
        world.run(200);
        world
    }

    /// A world of one replica that goes on from what was on a disk.
    pub fn again(identity: Identity, recovery: Recovery, record: Topology) -> World {
        let mut world =
            World { nodes: BTreeMap::new(), lines: BTreeMap::new(), now_us: 90_000_000, records: vec![record] };
        let (id, replica) = (identity.id, Replica::new(identity, recovery, world.now()));
        world.nodes.insert(id, Node::new(replica));
        world
    }

    pub fn now(&self) -> Now {
        Now { mono_us: self.now_us, wall_ms: 1_700_000_000_000 + self.now_us / 1_000 }
    }

    fn step(&mut self, id: ReplicaId, input: Input<'_>) {
        let now = self.now();
        let node = self.nodes.get_mut(&id).unwrap();
        if node.fatal.is_none() {
            node.replica.step(input, now);
        }
    }

    /// Everybody learns of the record.
    pub fn tell(&mut self) {
        for record in self.records.clone() {
            for row in &record.replicas {
                let message = Message::Topology(Box::new(record.clone()));
                self.step(row.id, Input::Peer { peer: Peer::Operator(1), message });
            }
        }
    }

    /// Connects those who are not.
    pub fn connect_all(&mut self) {
        let alive: Vec<ReplicaId> = self.nodes.iter().filter(|(_, n)| n.fatal.is_none()).map(|(id, _)| *id).collect();
        for (a, b) in alive.iter().flat_map(|a| alive.iter().map(move |b| (*a, *b))) {
            if a != b && !self.lines.contains_key(&(a, b)) {
                self.lines.insert((a, b), Line::default());
                let identity = self.nodes[&a].replica.identity();
                let (incarnation, group) = (identity.incarnation, identity.group);
                self.step(b, Input::PeerOpened { peer: Peer::Replica(a), incarnation, group });
            }
        }
    }

    /// Breaks a connection.
    pub fn disconnect(&mut self, a: ReplicaId, b: ReplicaId) {
        for (from, to) in [(a, b), (b, a)] {
            if self.lines.remove(&(from, to)).is_some() {
                self.step(to, Input::PeerClosed(Peer::Replica(from)));
            }
        }
    }

    /// Those between whom there are connections.
    pub fn connected(&self) -> Vec<(ReplicaId, ReplicaId)> {
        self.lines.keys().copied().collect()
    }

    /// What is under way from one replica to another.
    pub fn under_way(&mut self, from: ReplicaId, to: ReplicaId) -> Option<&mut BytesMut> {
        self.lines.get_mut(&(from, to)).map(|line| &mut line.under_way)
    }

    /// What is under way comes, in parts of at most so many bytes: how many messages that was. Where it is none the connection ends.
    pub fn arrive(&mut self, from: ReplicaId, to: ReplicaId, part: usize) -> u64 {
        let Some(line) = self.lines.get_mut(&(from, to)) else { return 0 };
        let bytes = line.under_way.split();
        let mut messages = 0;
        for part in bytes.chunks(part.max(1)) {
            let Some(line) = self.lines.get_mut(&(from, to)) else { return messages };
            line.incoming.buffer().extend_from_slice(part);
            let mut came = Vec::new();
            let ended = loop {
                match line.incoming.next_message() {
                    Ok(Some(Some(Message::Hello(_)))) | Err(_) => break true,
                    Ok(Some(message)) => came.extend(message),
                    Ok(None) => break false,
                }
            };
            messages += came.len() as u64;
            for message in came {
                self.step(to, Input::Peer { peer: Peer::Replica(from), message });
            }
            if ended {
                self.disconnect(from, to);
            }
        }
        messages
    }

    /// Every replica has its turn.
    pub fn turn(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.turn_of(id);
        }
    }

    fn turn_of(&mut self, id: ReplicaId) {
        if self.nodes[&id].fatal.is_some() {
            return;
        }
        if let Some(ticket) = self.nodes.get_mut(&id).and_then(|node| node.ticket.take()) {
            self.step(id, Input::Persisted(ticket));
        }
        if self.nodes.get_mut(&id).is_some_and(|node| std::mem::take(&mut node.checkpoints)) {
            self.step(id, Input::Checkpointed);
        }
        self.step(id, Input::Tick);
        let node = self.nodes.get_mut(&id).unwrap();
        let mut output = std::mem::take(&mut node.output);
        node.replica.take_output(&mut output);
        node.fatal = output.fatal.take();
        for (peer, message) in output.send.drain(..) {
            if let Peer::Replica(to) = peer
                && let Some(line) = self.lines.get_mut(&(id, to))
            {
                trireme_proto::frame::encode(message, &mut line.under_way);
            }
        }
        node.take(&mut output);
        node.output = output;
        if node.fatal.is_some() {
            let others: BTreeSet<ReplicaId> = self.nodes.keys().copied().collect();
            others.into_iter().for_each(|other| self.disconnect(id, other));
        }
    }

    /// Milliseconds pass, and everything arrives as it was sent.
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_us += 1_000;
            for _ in 0..3 {
                for (from, to) in self.connected() {
                    self.arrive(from, to, usize::MAX);
                }
                self.turn();
            }
        }
    }

    pub fn open(&mut self, id: ReplicaId, client: ClientId) {
        self.step(id, Input::ClientOpened(client));
        let node = self.nodes.get_mut(&id).unwrap();
        let mut opened = Client::default();
        opened.parser.set_stranger(node.replica.must_authenticate(client));
        node.clients.insert(client, opened);
    }

    pub fn close(&mut self, id: ReplicaId, client: ClientId) {
        if self.nodes.get_mut(&id).and_then(|node| node.clients.remove(&client)).is_some() {
            self.step(id, Input::ClientClosed(client));
        }
    }

    /// A client has sent this, too. Commands that `spare` says are left out.
    pub fn feed(&mut self, id: ReplicaId, client: ClientId, bytes: &[u8], spare: &dyn Fn(&[&[u8]]) -> bool) {
        let now = self.now();
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.fatal.is_none()) else { return };
        let Some(mut told) = node.clients.remove(&client) else { return };
        told.rest.extend_from_slice(bytes);
        told.execute(client, &mut node.replica, now, spare);
        node.clients.insert(client, told);
    }
}

impl Node {
    fn new(replica: Replica) -> Node {
        Node {
            replica,
            output: Output::default(),
            fatal: None,
            ticket: None,
            clients: BTreeMap::new(),
            disk: Vec::new(),
            checkpoint: Vec::new(),
            checkpoints: false,
        }
    }

    /// What the core wants done beside messages.
    fn take(&mut self, output: &mut Output) {
        for (ticket, op) in output.persist.drain(..) {
            self.ticket = Some(ticket);
            self.disk.push(op);
        }
        self.checkpoints |= !output.checkpoint.is_empty();
        self.checkpoint.append(&mut output.checkpoint);
        for client in output.ready.drain(..) {
            if let Some(told) = self.clients.get_mut(&client) {
                self.replica.take_replies(client, &mut told.replies);
            }
        }
        for client in output.close.drain(..).chain(output.cut.drain(..)) {
            self.clients.entry(client).and_modify(|told| told.closed = true);
        }
        for client in output.resumed.drain(..) {
            self.clients.entry(client).and_modify(|told| told.paused = false);
        }
        for client in output.paused.drain(..) {
            self.clients.entry(client).and_modify(|told| told.paused = true);
        }
        output.events.clear();
    }
}

impl Client {
    /// Executes what is whole, as the shell does.
    fn execute(&mut self, id: ClientId, replica: &mut Replica, now: Now, spare: &dyn Fn(&[&[u8]]) -> bool) {
        let mut at = 0;
        while !self.paused && !self.ending && !self.closed {
            match self.parser.parse(&self.rest[at..]) {
                Ok(Some(length)) => {
                    let args = self.parser.arguments(&self.rest[at..]);
                    at += length;
                    let decides =
                        self.parser.is_stranger() || args.first().is_some_and(|a| a.eq_ignore_ascii_case(b"reset"));
                    if !args.is_empty() && !spare(&args) {
                        self.commands += 1;
                        replica.step(Input::Command { client: id, args: &args }, now);
                    }
                    drop(args);
                    if decides {
                        self.parser.set_stranger(replica.must_authenticate(id));
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let mut words = Vec::new();
                    error.write(&mut words);
                    replica.step(Input::LastWords { client: id, words: &words }, now);
                    // Its last words are an answer, too.
                    self.commands += 1;
                    self.ending = true;
                }
            }
        }
        self.rest.drain(..at);
    }
}
