//! Replicas as threads of the test, an operator that says what it is told to say, and a client.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::sync::oneshot;
use trireme_node::{ExitReason, Listening, NodeConfig, NodeError, run_until};
use trireme_proto::{
    Epoch, Incarnation, Message, PROTOCOL_VERSION, Report, Topology, frame,
    message::Hello,
    report::Role,
    topology::{Config, Durability, Member, Phase, Replica, Settings},
};

/// Nothing in these tests takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running replica; stopped when it goes out of scope.
pub struct Node {
    pub id: u32,
    pub at: Listening,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<ExitReason, NodeError>>>,
}

impl Node {
    pub fn start(dir: &Path, id: u32, durability: Durability) -> Node {
        Node::start_as(dir, id, |config| config.durability = durability)
    }

    /// One that is configured in another way.
    pub fn start_as(dir: &Path, id: u32, configure: impl FnOnce(&mut NodeConfig)) -> Node {
        let mut config = NodeConfig {
            client_port: 0,
            peer_port: 0,
            admin_port: 0,
            grace: Duration::from_millis(50),
            ..NodeConfig::new(dir.join(id.to_string()), "test", id)
        };
        configure(&mut config);
        let (told, listening) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let tell = move |at: &Listening| told.send(*at).unwrap();
            run_until(config, tell, async {
                let _ = stopped.await;
            })
        });
        let Ok(at) = listening.recv_timeout(PATIENCE) else { panic!("{:?}", thread.join()) };
        Node { id, at, stop: Some(stop), thread: Some(thread) }
    }

    /// Ends it as SIGTERM does; without an operator that takes its leadership over, a leader ends when the grace period does.
    pub fn stop(mut self) -> Result<ExitReason, NodeError> {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn client(&self) -> Client {
        Client::new(self.at.client)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An operator's connection to one replica.
pub struct Operator {
    stream: TcpStream,
    buffer: BytesMut,
    pub incarnation: Incarnation,
}

impl Operator {
    pub fn connect(node: &Node) -> Operator {
        let stream = TcpStream::connect(node.at.peer).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut operator = Operator { stream, buffer: BytesMut::new(), incarnation: 0 };
        operator.say(Message::Hello(Hello {
            version: PROTOCOL_VERSION,
            store: "test".into(),
            to: node.id,
            ..Hello::default()
        }));
        let Message::Hello(hello) = operator.hear() else { panic!("no Hello") };
        operator.incarnation = hello.incarnation;
        operator
    }

    pub fn say(&mut self, message: Message) {
        let mut out = BytesMut::new();
        frame::encode(message, &mut out);
        self.stream.write_all(&out).unwrap();
    }

    fn hear(&mut self) -> Message {
        loop {
            if let Some(message) = frame::decode(&mut self.buffer).unwrap() {
                return message.unwrap();
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).unwrap();
            assert!(count > 0, "the replica has closed the connection");
            self.buffer.extend_from_slice(&bytes[..count]);
        }
    }

    /// Reads reports until one is as wanted.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        let begin = Instant::now();
        let mut last = None;
        while begin.elapsed() < PATIENCE {
            if let Message::Report(report) = self.hear() {
                if wanted(&report) {
                    return *report;
                }
                last = Some(report);
            }
        }
        panic!("no report with {what}; the last one: {last:?}");
    }
}

/// The operator of a whole group.
pub struct Authority {
    pub operators: Vec<Operator>,
    pub record: Topology,
}

impl Authority {
    /// Knows these replicas, and has decided nothing.
    pub fn of(nodes: &[Node], w: u32, durability: Durability) -> Authority {
        let operators: Vec<Operator> = nodes.iter().map(Operator::connect).collect();
        let members =
            nodes.iter().zip(&operators).map(|(n, o)| Member { id: n.id, incarnation: o.incarnation }).collect();
        let replicas = nodes
            .iter()
            .map(|node| Replica {
                id: node.id,
                name: format!("test-{}", node.id),
                region: String::new(),
                peer_address: node.at.peer.to_string(),
                client_address: node.at.client.to_string(),
                ..Replica::default()
            })
            .collect();
        // Reads that two confirm are asked of the leader: followers may not answer from a state that is behind.
        let settings = Settings { durability: durability as i32, r: 2, ..Settings::standard() };
        let record = Topology {
            store: "test".into(),
            config: Config { members, w },
            replicas,
            generation: 1,
            settings,
            ..Topology::default()
        };
        Authority { operators, record }
    }

    /// Seals the next epoch and gives it to the replica with the largest last entry (or to this one).
    pub fn lead(&mut self, leader: Option<u32>) -> u32 {
        self.record.previous_leader = self.record.leader;
        self.record.epoch = self.record.epoch.next();
        self.publish(Phase::Sealing, 0);
        let epoch = self.record.epoch;
        let reports: Vec<Report> =
            self.operators.iter_mut().map(|o| o.until("the promise", |report| report.promise == epoch)).collect();
        let best = reports.iter().max_by_key(|report| report.last).unwrap().id;
        let leader = leader.unwrap_or(best);
        self.publish(Phase::Active, leader);
        for operator in &mut self.operators {
            operator.until("a leader", |report| {
                let follows = report.topology_version == self.record.version && report.role() != Role::Idle;
                follows && (report.id != leader || report.serving)
            });
        }
        leader
    }

    fn publish(&mut self, phase: Phase, leader: u32) {
        self.record.version += 1;
        (self.record.phase, self.record.leader) = (phase as i32, leader);
        for operator in &mut self.operators {
            operator.say(Message::Topology(Box::new(self.record.clone())));
        }
    }
}

/// The first epoch.
pub const FIRST: Epoch = Epoch { number: 1, proposer: 0 };

/// A client's connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Sends a command and reads its reply: a line, or a bulk string's content.
    pub fn ask(&mut self, command: &[&str]) -> String {
        let mut out = format!("*{}\r\n", command.len());
        command.iter().for_each(|argument| out.push_str(&format!("${}\r\n{argument}\r\n", argument.len())));
        self.send(out.as_bytes());
        self.reply()
    }

    pub fn reply(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let line = line.trim_end();
        match line.strip_prefix('$').map(|length| length.parse::<usize>()) {
            Some(Ok(length)) => {
                let mut content = vec![0; length + 2];
                self.stream.read_exact(&mut content).unwrap();
                String::from_utf8(content[..length].to_vec()).unwrap()
            }
            _ => line.to_owned(),
        }
    }

    /// Everything until the connection is closed.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}
