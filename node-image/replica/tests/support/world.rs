//! Replicas, the links between them, their disks and clients, in a world where nothing is left to chance: each in turn, in the order of their numbers,
//! takes in all that has come and gives out all that follows, until nothing is left to do. Time passes only when the scenario says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trireme_proto::{Message, ReplicaId, Topology, ids::Peer, topology::Durability};
use trireme_replica::{
    Replica,
    io::{ClientId, Identity, Input, Now, Output},
};

use super::{disk::Disk, show};

/// Name of the store.
pub const STORE: &str = "s";
const WALL_START_MS: u64 = 1_700_000_000_000;
/// More turns than any scenario needs without time passing.
const ROUNDS_MAX: usize = 10_000;

/// What is on its way into a process.
pub enum Arrival {
    Opened(ReplicaId, u64),
    Closed(ReplicaId),
    Message(Peer, Message),
    ClientOpened(ClientId),
    ClientClosed(ClientId),
    Command(ClientId, Vec<Vec<u8>>),
    Persisted(u64),
    Checkpointed,
    DiskFull(bool),
    Shutdown,
}

pub struct Process {
    pub replica: Replica,
    pub inbox: VecDeque<Arrival>,
    pub paused: bool,
    deadline_us: u64,
    /// Clients that it reads nothing from, with what they have sent meanwhile.
    unread: BTreeMap<ClientId, VecDeque<Vec<Vec<u8>>>>,
}

/// A machine with its disk, and the process that runs on it.
#[derive(Default)]
pub struct Machine {
    pub incarnation: u64,
    pub disk: Disk,
    pub process: Option<Process>,
    boots: u64,
    /// How much its wall clock is ahead.
    pub drift_ms: u64,
}

impl Machine {
    pub fn new(incarnation: u64) -> Machine {
        Machine { incarnation, ..Machine::default() }
    }
}

/// One direction between two replicas.
#[derive(Default)]
struct Link {
    under_way: VecDeque<Arrival>,
    held: bool,
    commit_shown: u64,
    ack_shown: u64,
    /// What is to be damaged next.
    flip: Option<String>,
}

pub struct Client {
    pub id: ClientId,
    pub replica: ReplicaId,
}

#[derive(Default)]
pub struct World {
    pub now_us: u64,
    pub machines: BTreeMap<ReplicaId, Machine>,
    pub clients: BTreeMap<String, Client>,
    pub durability: Option<Durability>,
    /// `messages`, `disk`: what is printed beside events and replies.
    pub shown: BTreeSet<String>,
    pub out: Vec<String>,
    links: BTreeMap<(ReplicaId, ReplicaId), Link>,
    connected: BTreeSet<(ReplicaId, ReplicaId)>,
    pub cut: BTreeSet<(ReplicaId, ReplicaId)>,
    clients_opened: ClientId,
}

fn pair(a: ReplicaId, b: ReplicaId) -> (ReplicaId, ReplicaId) {
    (a.min(b), a.max(b))
}

impl World {
    /// Nothing yet, at this reading of the clock.
    pub fn at(now_us: u64) -> World {
        World { now_us, ..World::default() }
    }

    pub fn say(&mut self, text: &str) {
        self.out.push(format!("> {text}"));
    }

    fn now(&self, id: ReplicaId) -> Now {
        Now { mono_us: self.now_us, wall_ms: WALL_START_MS + self.now_us / 1_000 + self.machines[&id].drift_ms }
    }

    pub fn process(&mut self, id: ReplicaId) -> &mut Process {
        let process = self.machines.get_mut(&id).and_then(|machine| machine.process.as_mut());
        process.unwrap_or_else(|| panic!("replica {id} does not run"))
    }

    /// Starts a process on what the disk has, and connects it.
    pub fn start(&mut self, id: ReplicaId) {
        let now = self.now(id);
        let durability = self.durability.unwrap_or(Durability::Disk);
        let machine = self.machines.get_mut(&id).unwrap();
        machine.boots += 1;
        let boot = u64::from(id) * 100 + machine.boots;
        let incarnation = machine.incarnation;
        let identity = Identity { store: STORE.to_owned(), id, incarnation, boot, group: 0, durability };
        machine.process = Some(Process {
            replica: Replica::new(identity, machine.disk.recover(), now),
            inbox: VecDeque::new(),
            paused: false,
            deadline_us: self.now_us,
            unread: BTreeMap::new(),
        });
        let others: Vec<ReplicaId> = self.machines.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            self.connect(id, other);
        }
    }

    /// Connects two replicas that run, unless the scenario keeps them apart.
    pub fn connect(&mut self, a: ReplicaId, b: ReplicaId) {
        let both_run = [a, b].iter().all(|id| self.machines[id].process.is_some());
        if !both_run || self.cut.contains(&pair(a, b)) || !self.connected.insert(pair(a, b)) {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            let incarnation = self.machines[&from].incarnation;
            let link = self.links.entry((from, to)).or_default();
            (link.commit_shown, link.ack_shown) = (0, 0);
            link.under_way.push_back(Arrival::Opened(from, incarnation));
        }
    }

    /// The connection breaks: what was under way is lost, and both sides notice.
    pub fn disconnect(&mut self, a: ReplicaId, b: ReplicaId) {
        if !self.connected.remove(&pair(a, b)) {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            let link = self.links.entry((from, to)).or_default();
            link.under_way.retain(|arrival| matches!(arrival, Arrival::Closed(_)));
            link.under_way.push_back(Arrival::Closed(from));
        }
    }

    /// The process ends: its connections break, its clients lose theirs.
    pub fn end(&mut self, id: ReplicaId) {
        self.machines.get_mut(&id).unwrap().process = None;
        let others: Vec<ReplicaId> = self.machines.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            self.disconnect(id, other);
            if let Some(link) = self.links.get_mut(&(other, id)) {
                link.under_way.clear();
            }
        }
        let lost: Vec<String> =
            self.clients.iter().filter(|(_, c)| c.replica == id).map(|(name, _)| name.clone()).collect();
        for name in lost {
            self.clients.remove(&name);
            self.say(&format!("{name} is cut off"));
        }
    }

    pub fn open_client(&mut self, name: &str, replica: ReplicaId) {
        self.clients_opened += 1;
        let id = self.clients_opened;
        self.clients.insert(name.to_owned(), Client { id, replica });
        self.process(replica).inbox.push_back(Arrival::ClientOpened(id));
    }

    pub fn command(&mut self, name: &str, args: Vec<Vec<u8>>) {
        let Client { id, replica } = self.clients[name];
        let process = self.process(replica);
        match process.unread.get_mut(&id) {
            Some(unread) => unread.push_back(args),
            None => process.inbox.push_back(Arrival::Command(id, args)),
        }
    }

    /// Holds or frees both links, or one.
    pub fn hold_link(&mut self, from: ReplicaId, to: ReplicaId, held: bool) {
        self.links.entry((from, to)).or_default().held = held;
    }

    /// Lets the next messages of a held link through.
    pub fn deliver(&mut self, from: ReplicaId, to: ReplicaId, count: usize) {
        let link = self.links.entry((from, to)).or_default();
        let count = count.min(link.under_way.len());
        let arrivals: Vec<Arrival> = link.under_way.drain(..count).collect();
        self.process(to).inbox.extend(arrivals);
    }

    pub fn flip(&mut self, from: ReplicaId, to: ReplicaId, what: &str) {
        self.links.entry((from, to)).or_default().flip = Some(what.to_owned());
    }

    /// Everybody does what there is to do, until there is nothing left.
    pub fn settle(&mut self) {
        let ids: Vec<ReplicaId> = self.machines.keys().copied().collect();
        for _ in 0..ROUNDS_MAX {
            let turns = ids.iter().filter(|id| self.turn(**id)).count();
            if turns == 0 {
                return;
            }
        }
        panic!("the replicas do not come to rest");
    }

    /// Time passes: whoever has something to do by then does it in time.
    pub fn pass(&mut self, us: u64) {
        let until_us = self.now_us + us;
        loop {
            self.settle();
            let running = self.machines.values().filter_map(|machine| machine.process.as_ref());
            let next = running.filter(|process| !process.paused).map(|process| process.deadline_us).min();
            let Some(next) = next.filter(|next| *next <= until_us) else { break };
            self.now_us = self.now_us.max(next);
        }
        self.now_us = until_us;
        self.settle();
    }

    fn arrivals(&mut self, id: ReplicaId) -> Vec<Arrival> {
        let machine = self.machines.get_mut(&id).unwrap();
        let Some(process) = machine.process.as_mut().filter(|process| !process.paused) else { return Vec::new() };
        let mut arrivals: Vec<Arrival> = Vec::new();
        if !machine.disk.held {
            arrivals.extend(machine.disk.complete(usize::MAX).map(Arrival::Persisted));
            arrivals.extend(machine.disk.complete_checkpoint().then_some(Arrival::Checkpointed));
        }
        arrivals.extend(process.inbox.drain(..));
        for ((_, to), link) in &mut self.links {
            if *to == id && !link.held {
                arrivals.extend(link.under_way.drain(..));
            }
        }
        arrivals
    }

    fn turn(&mut self, id: ReplicaId) -> bool {
        let arrivals = self.arrivals(id);
        let (now, now_us) = (self.now(id), self.now_us);
        let Some(process) = self.machines.get_mut(&id).and_then(|machine| machine.process.as_mut()) else {
            return false;
        };
        if process.paused || (arrivals.is_empty() && process.deadline_us > now_us) {
            return false;
        }
        for arrival in arrivals {
            step(&mut process.replica, arrival, now);
        }
        process.replica.step(Input::Tick, now);
        let mut output = Output::default();
        process.replica.take_output(&mut output);
        process.deadline_us = output.deadline_us;
        self.carry_out(id, output);
        true
    }

    fn carry_out(&mut self, id: ReplicaId, mut output: Output) {
        for event in &output.events {
            self.say(&format!("{id} {}", show::event(event)));
        }
        for (_, op) in &output.persist {
            if self.shown.contains("disk") {
                self.say(&format!("{id} disk: {}", show::disk(op)));
            }
        }
        for step in &output.checkpoint {
            if self.shown.contains("disk") {
                self.say(&format!("{id} disk: {}", show::checkpoint(step)));
            }
        }
        let disk = &mut self.machines.get_mut(&id).unwrap().disk;
        disk.submit(output.persist.drain(..), output.checkpoint.drain(..));
        for (peer, message) in output.send {
            let Peer::Replica(to) = peer else { continue };
            self.send(id, to, message);
        }
        for client in &output.ready {
            self.show_replies(id, *client);
        }
        for client in output.paused {
            self.process(id).unread.entry(client).or_default();
            self.say(&format!("{} is read no more", self.name(client)));
        }
        for client in output.resumed {
            let process = self.process(id);
            let unread = process.unread.remove(&client).unwrap_or_default();
            process.inbox.extend(unread.into_iter().map(|args| Arrival::Command(client, args)));
            self.say(&format!("{} is read again", self.name(client)));
        }
        for client in output.close {
            let name = self.name(client);
            self.say(&format!("{name} is closed"));
            self.clients.remove(&name);
            self.process(id).inbox.push_back(Arrival::ClientClosed(client));
        }
        if let Some(why) = output.fatal {
            self.say(&format!("{id} STOPS: {why}"));
            self.end(id);
        } else if output.finished {
            self.say(&format!("{id} ends, as told"));
            self.machines.get_mut(&id).unwrap().disk.complete(usize::MAX);
            self.end(id);
        }
    }

    fn name(&self, id: ClientId) -> String {
        self.clients.iter().find(|(_, client)| client.id == id).map_or("?".to_owned(), |(name, _)| name.clone())
    }

    fn show_replies(&mut self, id: ReplicaId, client: ClientId) {
        let mut bytes = Vec::new();
        self.process(id).replica.take_replies(client, &mut bytes);
        let name = self.name(client);
        for reply in show::replies(&bytes) {
            self.say(&format!("{name} < {reply}"));
        }
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, mut message: Message) {
        if !self.connected.contains(&pair(from, to)) {
            return;
        }
        let link = self.links.entry((from, to)).or_default();
        let news = match &message {
            Message::Append(append) => !append.entries.is_empty() || append.commit > link.commit_shown,
            Message::AppendAck(ack) => ack.durable > link.ack_shown,
            _ => true,
        };
        match &message {
            Message::Append(append) => link.commit_shown = link.commit_shown.max(append.commit),
            Message::AppendAck(ack) => link.ack_shown = ack.durable,
            _ => {}
        }
        if link.flip.as_deref().is_some_and(|what| super::flip::flip(what, &mut message)) {
            link.flip = None;
        }
        if let Some(text) = show::message(&message).filter(|_| news && self.shown.contains("messages")) {
            self.say(&format!("{from}->{to} {text}"));
        }
        let link = self.links.entry((from, to)).or_default();
        link.under_way.push_back(Arrival::Message(Peer::Replica(from), message));
    }

    /// Hands a record to replicas, as an operator would.
    pub fn tell(&mut self, record: &Topology, to: &[ReplicaId]) {
        for id in to {
            if let Some(process) = self.machines.get_mut(id).and_then(|machine| machine.process.as_mut()) {
                process
                    .inbox
                    .push_back(Arrival::Message(Peer::Operator(1), Message::Topology(Box::new(record.clone()))));
            }
        }
    }
}

fn step(replica: &mut Replica, arrival: Arrival, now: Now) {
    let input = match arrival {
        Arrival::Opened(peer, incarnation) => Input::PeerOpened { peer: Peer::Replica(peer), incarnation, group: 0 },
        Arrival::Closed(peer) => Input::PeerClosed(Peer::Replica(peer)),
        Arrival::Message(peer, message) => Input::Peer { peer, message },
        Arrival::ClientOpened(client) => Input::ClientOpened(client),
        Arrival::ClientClosed(client) => Input::ClientClosed(client),
        Arrival::Persisted(ticket) => Input::Persisted(ticket),
        Arrival::Checkpointed => Input::Checkpointed,
        Arrival::DiskFull(full) => Input::DiskFull(full),
        Arrival::Shutdown => Input::Shutdown,
        Arrival::Command(client, args) => {
            let args: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
            return replica.step(Input::Command { client, args: &args }, now);
        }
    };
    replica.step(input, now);
}
