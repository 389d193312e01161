//! Replicas with links between them, where nothing is left to chance: each in turn, every message and every write at once unless it is held.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trireme_proto::{
    Epoch, Message, ReplicaId, Topology,
    ids::Peer,
    topology::{Config, Durability, Member, Phase, Replica as Row, Settings},
};

use crate::{
    io::{ClientId, Identity, Input, Now, Output},
    recovery::Recovery,
    replica::Replica,
};

pub(super) struct Node {
    pub(super) replica: Replica,
    output: Output,
    pub(super) running: bool,
    /// What is written becomes durable.
    pub(super) disk: bool,
    last_ticket: Option<u64>,
    replies: BTreeMap<ClientId, Vec<u8>>,
    pub(super) closed: BTreeSet<ClientId>,
    pub(super) paused: BTreeSet<ClientId>,
    /// It may end.
    pub(super) finished: bool,
}

pub(super) struct Rig {
    pub(super) nodes: BTreeMap<ReplicaId, Node>,
    under_way: VecDeque<(ReplicaId, ReplicaId, Message)>,
    pub(super) now_us: u64,
    pub(super) cut: BTreeSet<(ReplicaId, ReplicaId)>,
    pub(super) record: Topology,
}

impl Rig {
    /// As many replicas, connected, the first leads and serves.
    pub(super) fn serving(n: u32, w: u32) -> Rig {
        let members: Vec<Member> = (1..=n).map(|id| Member { id, incarnation: u64::from(id) + 10 }).collect();
        let record = Topology {
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
        let mut rig =
            Rig { nodes: BTreeMap::new(), under_way: VecDeque::new(), now_us: 1_000_000, cut: BTreeSet::new(), record };
        for id in 1..=n {
            let identity = Identity {
                store: "s".into(),
                id,
                incarnation: u64::from(id) + 10,
                boot: 1,
                group: 1,
                durability: Durability::Disk,
            };
            let node = Node {
                replica: Replica::new(identity, Recovery::new(), rig.now()),
                output: Output::default(),
                running: true,
                disk: true,
                last_ticket: None,
                replies: BTreeMap::new(),
                closed: BTreeSet::new(),
                paused: BTreeSet::new(),
                finished: false,
            };
            rig.nodes.insert(id, node);
        }
        for (a, b) in (1..=n).flat_map(|a| (a + 1..=n).map(move |b| (a, b))) {
            rig.connect(a, b);
        }
        rig.tell();
        rig.run(200);
        rig
    }

    fn running(&self) -> Vec<ReplicaId> {
        self.nodes.iter().filter(|(_, node)| node.running).map(|(id, _)| *id).collect()
    }

    fn now(&self) -> Now {
        Now { mono_us: self.now_us, wall_ms: 1_700_000_000_000 + self.now_us / 1_000 }
    }

    pub(super) fn step(&mut self, id: ReplicaId, input: Input<'_>) {
        let now = self.now();
        self.nodes.get_mut(&id).unwrap().replica.step(input, now);
    }

    pub(super) fn connect(&mut self, a: ReplicaId, b: ReplicaId) {
        self.cut.remove(&(a.min(b), a.max(b)));
        for (at, peer) in [(a, b), (b, a)] {
            let incarnation = u64::from(peer) + 10;
            self.step(at, Input::PeerOpened { peer: Peer::Replica(peer), incarnation });
        }
    }

    /// Breaks the connections of a replica.
    pub(super) fn isolate(&mut self, id: ReplicaId) {
        let others: Vec<ReplicaId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            self.cut.insert((id.min(other), id.max(other)));
            self.step(id, Input::PeerClosed(Peer::Replica(other)));
            self.step(other, Input::PeerClosed(Peer::Replica(id)));
        }
    }

    /// Everybody learns of the record, as it is now.
    pub(super) fn tell(&mut self) {
        for id in self.running() {
            let message = Message::Topology(Box::new(self.record.clone()));
            self.step(id, Input::Peer { peer: Peer::Operator(1), message });
        }
    }

    /// A new epoch: sealed, and led by this replica.
    pub(super) fn fail_over(&mut self, leader: ReplicaId) {
        self.record.version += 1;
        self.record.epoch.number += 1;
        (self.record.phase, self.record.leader) = (Phase::Sealing as i32, 0);
        self.tell();
        self.run(300);
        self.record.version += 1;
        (self.record.phase, self.record.leader) = (Phase::Active as i32, leader);
        self.tell();
    }

    pub(super) fn open(&mut self, id: ReplicaId, client: ClientId) {
        self.step(id, Input::ClientOpened(client));
    }

    /// A command, by words between spaces.
    pub(super) fn say(&mut self, id: ReplicaId, client: ClientId, command: &str) {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        self.step(id, Input::Command { client, args: &args });
    }

    /// What a client has read since the last call.
    pub(super) fn heard(&mut self, id: ReplicaId, client: ClientId) -> String {
        let bytes = self.nodes.get_mut(&id).unwrap().replies.remove(&client).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace("\r\n", " ").trim_end().to_owned()
    }

    /// What is under way arrives, then every replica has its turn.
    pub(super) fn turn(&mut self) {
        for (from, to, message) in std::mem::take(&mut self.under_way) {
            if self.nodes[&to].running && !self.cut.contains(&(from.min(to), from.max(to))) {
                self.step(to, Input::Peer { peer: Peer::Replica(from), message });
            }
        }
        for id in self.running() {
            if self.nodes[&id].disk
                && let Some(ticket) = self.nodes.get_mut(&id).unwrap().last_ticket.take()
            {
                self.step(id, Input::Persisted(ticket));
            }
            self.step(id, Input::Tick);
            self.take(id);
        }
    }

    fn take(&mut self, id: ReplicaId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let mut output = std::mem::take(&mut node.output);
        node.replica.take_output(&mut output);
        assert_eq!(output.fatal.take(), None);
        for (peer, message) in output.send.drain(..) {
            if let Peer::Replica(to) = peer {
                self.under_way.push_back((id, to, message));
            }
        }
        node.last_ticket = output.persist.drain(..).next_back().map(|(ticket, _)| ticket).or(node.last_ticket);
        for client in output.ready.drain(..) {
            node.replica.take_replies(client, node.replies.entry(client).or_default());
        }
        node.closed.extend(output.close.drain(..));
        for client in output.resumed.drain(..) {
            node.paused.remove(&client);
        }
        node.paused.extend(output.paused.drain(..));
        node.finished = output.finished;
        output.events.clear();
        node.output = output;
    }

    /// Milliseconds pass.
    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_us += 1_000;
            for _ in 0..6 {
                self.turn();
            }
        }
    }

    pub(super) fn serves(&self, id: ReplicaId) -> bool {
        matches!(&self.nodes[&id].replica.role, crate::group::Role::Leader(leader) if leader.serving)
    }
}
