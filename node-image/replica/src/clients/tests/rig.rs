//! Replicas with links between them, where nothing is left to chance: each in turn, every message and every write at once unless it is held.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trireme_proto::{
    Epoch, Message, ReplicaId, Topology,
    ids::Peer,
    message::{Probe, Probed},
    topology::{Config, Durability, Group, Member, Mode, Phase, Replica as Row, Settings},
};

use crate::{
    io::{ClientId, Identity, Input, Now, Output},
    recovery::Recovery,
    replica::Replica,
};

pub(crate) struct Node {
    pub(crate) replica: Replica,
    output: Output,
    pub(crate) running: bool,
    /// What is written becomes durable.
    pub(crate) disk: bool,
    last_ticket: Option<u64>,
    /// Steps of a checkpoint are under way.
    checkpoint: bool,
    replies: BTreeMap<ClientId, Vec<u8>>,
    pub(crate) closed: BTreeSet<ClientId>,
    pub(crate) paused: BTreeSet<ClientId>,
    /// It may end.
    pub(crate) finished: bool,
    deadline_us: u64,
}

pub(crate) struct Rig {
    pub(crate) nodes: BTreeMap<ReplicaId, Node>,
    pub(crate) under_way: VecDeque<(ReplicaId, ReplicaId, Message)>,
    pub(crate) now_us: u64,
    pub(crate) cut: BTreeSet<(ReplicaId, ReplicaId)>,
    /// From one of these to the other no entries and no state of other groups come, though all else does.
    pub(crate) starved: BTreeSet<(ReplicaId, ReplicaId)>,
    pub(crate) record: Topology,
    /// Where there are several groups: those of the others.
    pub(crate) others: Vec<Topology>,
    /// Writes of nothing that were said to be acknowledged, by whom.
    pub(crate) probed: Vec<(ReplicaId, Probed)>,
    /// By how many milliseconds a replica's wall clock is ahead.
    pub(crate) skew_ms: BTreeMap<ReplicaId, i64>,
}

impl Rig {
    /// As many replicas, connected, the first leads and serves.
    pub(crate) fn serving(n: u32, w: u32) -> Rig {
        Rig::of(n, w, |_| {})
    }

    /// As many replicas, connected, of which none leads.
    pub(crate) fn peers(n: u32, w: u32, r: u32) -> Rig {
        Rig::peers_with(n, w, r, |_| {})
    }

    /// The same, with something else in the record.
    pub(crate) fn peers_with(n: u32, w: u32, r: u32, change: impl FnOnce(&mut Topology)) -> Rig {
        Rig::of(n, w, |record| {
            record.leader = 0;
            record.settings = Settings { mode: Mode::Leaderless as i32, r, ..Settings::standard() };
            for row in &mut record.replicas {
                (row.incarnation, row.generation) = (u64::from(row.id) + 10, 1);
            }
            change(record);
        })
    }

    /// Groups of as many replicas, each with its region's leader, all connected. The replicas of group g, from 1, are numbered from 10 (g - 1) + 1, and
    /// the first one leads.
    pub(crate) fn regions(groups: u32, n: u32, w: u32) -> Rig {
        let row =
            |id: u32| Row { id, name: format!("s-{id}"), region: format!("r{}", (id - 1) / 10 + 1), ..Row::default() };
        let rows = |group: u32| -> Vec<Row> { (1..=n).map(|k| row(10 * (group - 1) + k)).collect() };
        let record = |group: u32| Topology {
            store: "s".into(),
            group,
            version: 1,
            epoch: Epoch { number: 1, proposer: 0 },
            phase: Phase::Active as i32,
            leader: 10 * (group - 1) + 1,
            config: Config {
                members: rows(group).iter().map(|r| Member { id: r.id, incarnation: u64::from(r.id) + 10 }).collect(),
                w,
            },
            replicas: rows(group),
            generation: 1,
            settings: Settings { mode: Mode::MultiLeader as i32, ..Settings::standard() },
            groups: (1..=groups)
                .filter(|other| *other != group)
                .map(|other| Group {
                    group: other,
                    region: format!("r{other}"),
                    replicas: rows(other),
                    ..Group::default()
                })
                .collect(),
            ..Topology::default()
        };
        let mut rig = Rig::with_record(record(1));
        rig.others = (2..=groups).map(record).collect();
        rig.begin(&(1..=groups).flat_map(|group| rows(group).into_iter().map(|r| r.id)).collect::<Vec<_>>());
        rig
    }

    fn with_record(record: Topology) -> Rig {
        Rig {
            nodes: BTreeMap::new(),
            under_way: VecDeque::new(),
            now_us: 1_000_000,
            cut: BTreeSet::new(),
            starved: BTreeSet::new(),
            record,
            others: Vec::new(),
            probed: Vec::new(),
            skew_ms: BTreeMap::new(),
        }
    }

    /// Starts these, and connects all with all.
    fn begin(&mut self, ids: &[ReplicaId]) {
        ids.iter().for_each(|id| self.start(*id, Recovery::new()));
        for (i, a) in ids.iter().enumerate() {
            ids[i + 1..].iter().for_each(|b| self.connect(*a, *b));
        }
        self.tell();
        self.run(200);
    }

    /// The record of the group that a replica is in.
    pub(crate) fn record_of(&mut self, id: ReplicaId) -> &mut Topology {
        let others = self.others.iter_mut().find(|record| record.replica(id).is_some());
        others.unwrap_or(&mut self.record)
    }

    fn of(n: u32, w: u32, change: impl FnOnce(&mut Topology)) -> Rig {
        let members: Vec<Member> = (1..=n).map(|id| Member { id, incarnation: u64::from(id) + 10 }).collect();
        let mut record = Topology {
            store: "s".into(),
            group: 1,
            version: 1,
            epoch: Epoch { number: 1, proposer: 0 },
            phase: Phase::Active as i32,
            leader: 1,
            config: Config { members, w },
            replicas: (1..=n).map(|id| Row { id, name: format!("s-{}", id - 1), ..Row::default() }).collect(),
            generation: 1,
            settings: Settings::standard(),
            ..Topology::default()
        };
        change(&mut record);
        let mut rig = Rig::with_record(record);
        rig.begin(&(1..=n).collect::<Vec<_>>());
        rig
    }

    /// A process of a replica, with what its disk has.
    pub(crate) fn start(&mut self, id: ReplicaId, recovery: Recovery) {
        let group = self.record_of(id).group;
        let identity = Identity {
            store: "s".into(),
            id,
            incarnation: u64::from(id) + 10,
            boot: 1,
            group,
            durability: Durability::Disk,
        };
        let node = Node {
            replica: Replica::new(identity, recovery, self.now_of(id)),
            output: Output::default(),
            running: true,
            disk: true,
            last_ticket: None,
            checkpoint: false,
            replies: BTreeMap::new(),
            closed: BTreeSet::new(),
            paused: BTreeSet::new(),
            finished: false,
            deadline_us: 0,
        };
        self.nodes.insert(id, node);
    }

    fn running(&self) -> Vec<ReplicaId> {
        self.nodes.iter().filter(|(_, node)| node.running).map(|(id, _)| *id).collect()
    }

    pub(crate) fn now_of(&self, id: ReplicaId) -> Now {
        let skew_ms = self.skew_ms.get(&id).copied().unwrap_or(0);
        let wall_ms = (1_700_000_000_000 + self.now_us / 1_000).saturating_add_signed(skew_ms);
        Now { mono_us: self.now_us, wall_ms }
    }

    pub(crate) fn step(&mut self, id: ReplicaId, input: Input<'_>) {
        let now = self.now_of(id);
        self.nodes.get_mut(&id).unwrap().replica.step(input, now);
    }

    pub(crate) fn connect(&mut self, a: ReplicaId, b: ReplicaId) {
        self.cut.remove(&(a.min(b), a.max(b)));
        for (at, peer) in [(a, b), (b, a)] {
            let (incarnation, group) = (u64::from(peer) + 10, self.record_of(peer).group);
            self.step(at, Input::PeerOpened { peer: Peer::Replica(peer), incarnation, group });
        }
    }

    /// Breaks the connections of a replica.
    pub(crate) fn isolate(&mut self, id: ReplicaId) {
        let others: Vec<ReplicaId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            self.cut.insert((id.min(other), id.max(other)));
            self.step(id, Input::PeerClosed(Peer::Replica(other)));
            self.step(other, Input::PeerClosed(Peer::Replica(id)));
        }
    }

    /// Breaks a connection.
    pub(crate) fn disconnect(&mut self, a: ReplicaId, b: ReplicaId) {
        if self.cut.insert((a.min(b), a.max(b))) {
            self.step(a, Input::PeerClosed(Peer::Replica(b)));
            self.step(b, Input::PeerClosed(Peer::Replica(a)));
        }
    }

    /// An operator that is connected to everybody asks for a write of nothing.
    pub(crate) fn probe(&mut self, number: u64) {
        for id in self.running() {
            let peer = Peer::Operator(1);
            self.step(id, Input::PeerOpened { peer, incarnation: 1, group: 0 });
            self.step(id, Input::Peer { peer, message: Message::Probe(Probe { number }) });
        }
    }

    /// Everybody learns of the record, as it is now.
    pub(crate) fn tell(&mut self) {
        for id in self.running() {
            let message = Message::Topology(Box::new(self.record_of(id).clone()));
            self.step(id, Input::Peer { peer: Peer::Operator(1), message });
        }
    }

    /// A new epoch: sealed, and led by this replica.
    pub(crate) fn fail_over(&mut self, leader: ReplicaId) {
        self.seal(leader);
        self.activate(leader);
    }

    /// A new epoch of the group that this replica is in: led by one that has the most.
    pub(crate) fn elect(&mut self, of: ReplicaId) {
        self.seal(of);
        let ids: Vec<ReplicaId> = self.record_of(of).replicas.iter().map(|row| row.id).collect();
        let best = ids.into_iter().max_by_key(|id| (self.report(*id).last, *id)).unwrap();
        self.activate(best);
    }

    pub(crate) fn seal(&mut self, of: ReplicaId) {
        let record = self.record_of(of);
        record.version += 1;
        record.epoch.number += 1;
        (record.phase, record.leader) = (Phase::Sealing as i32, 0);
        self.tell();
        self.run(300);
    }

    pub(crate) fn activate(&mut self, leader: ReplicaId) {
        let record = self.record_of(leader);
        record.version += 1;
        (record.phase, record.leader) = (Phase::Active as i32, leader);
        self.tell();
    }

    pub(crate) fn open(&mut self, id: ReplicaId, client: ClientId) {
        self.step(id, Input::ClientOpened(client));
    }

    /// A command, by words between spaces.
    pub(crate) fn say(&mut self, id: ReplicaId, client: ClientId, command: &str) {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        self.step(id, Input::Command { client, args: &args });
    }

    /// What a client has read since the last call.
    pub(crate) fn heard(&mut self, id: ReplicaId, client: ClientId) -> String {
        let bytes = self.nodes.get_mut(&id).unwrap().replies.remove(&client).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace("\r\n", " ").trim_end().to_owned()
    }

    /// What is under way arrives, then every replica has its turn.
    pub(crate) fn turn(&mut self) {
        for (from, to, mut message) in std::mem::take(&mut self.under_way) {
            if self.starved.contains(&(from, to)) {
                match &mut message {
                    Message::Feed(feed) => feed.entries.clear(),
                    Message::Compare(_) | Message::Differ(_) | Message::States(_) => continue,
                    _ => {}
                }
            }
            self.deliver((from, to, message));
        }
        for id in self.running() {
            self.turn_of(id);
        }
    }

    /// One replica's turn: what it has written is durable, and what it has to say is under way.
    pub(crate) fn turn_of(&mut self, id: ReplicaId) {
        if self.nodes[&id].disk
            && let Some(ticket) = self.nodes.get_mut(&id).unwrap().last_ticket.take()
        {
            self.step(id, Input::Persisted(ticket));
        }
        if self.nodes[&id].disk && std::mem::take(&mut self.nodes.get_mut(&id).unwrap().checkpoint) {
            self.step(id, Input::Checkpointed);
        }
        self.step(id, Input::Tick);
        self.take(id);
    }

    /// A message arrives, if there is a connection.
    pub(crate) fn deliver(&mut self, (from, to, message): (ReplicaId, ReplicaId, Message)) {
        if self.nodes[&to].running && !self.cut.contains(&(from.min(to), from.max(to))) {
            self.step(to, Input::Peer { peer: Peer::Replica(from), message });
        }
    }

    fn take(&mut self, id: ReplicaId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let mut output = std::mem::take(&mut node.output);
        node.replica.take_output(&mut output);
        assert_eq!(output.fatal, None);
        for (peer, message) in output.send.drain(..) {
            match (peer, message) {
                (Peer::Replica(to), message) => self.under_way.push_back((id, to, message)),
                (Peer::Operator(_), Message::Probed(probed)) => self.probed.push((id, probed)),
                (Peer::Operator(_), _) => {}
            }
        }
        node.checkpoint |= output.checkpoint.drain(..).next_back().is_some();
        node.last_ticket = output.persist.drain(..).next_back().map(|(ticket, _)| ticket).or(node.last_ticket);
        for client in output.ready.drain(..) {
            node.replica.take_replies(client, node.replies.entry(client).or_default());
        }
        node.closed.extend(output.close.drain(..).chain(output.cut.drain(..)));
        for client in output.resumed.drain(..) {
            node.paused.remove(&client);
        }
        node.paused.extend(output.paused.drain(..));
        node.finished = output.finished;
        node.deadline_us = output.deadline_us;
        output.events.clear();
        node.output = output;
    }

    /// Milliseconds pass.
    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_us += 1_000;
            for _ in 0..6 {
                self.turn();
            }
        }
    }

    /// The record changes, and everybody learns of it.
    pub(crate) fn decide(&mut self, change: impl FnOnce(&mut Topology)) {
        self.record.version += 1;
        change(&mut self.record);
        self.tell();
        self.run(100);
    }

    /// Says a command and gives it time: what came back.
    pub(crate) fn ask(&mut self, id: ReplicaId, client: ClientId, command: &str) -> String {
        self.say(id, client, command);
        self.run(20);
        self.heard(id, client)
    }

    /// Says a command, to which what is sent comes at once, and no time passes: what came back.
    pub(crate) fn ask_at_once(&mut self, id: ReplicaId, client: ClientId, command: &str) -> String {
        self.say(id, client, command);
        for _ in 0..12 {
            self.turn();
        }
        self.heard(id, client)
    }

    pub(crate) fn replica(&self, id: ReplicaId) -> &Replica {
        &self.nodes[&id].replica
    }

    /// When it wants to be called again.
    pub(crate) fn deadline_us(&self, id: ReplicaId) -> u64 {
        self.nodes[&id].deadline_us
    }

    pub(crate) fn report(&self, id: ReplicaId) -> trireme_proto::Report {
        self.nodes[&id].replica.report(self.now_of(id))
    }

    pub(crate) fn serves(&self, id: ReplicaId) -> bool {
        matches!(&self.nodes[&id].replica.role, crate::group::Role::Leader(leader) if leader.serving)
    }
}
