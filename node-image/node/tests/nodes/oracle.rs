//! Random commands that wait, transactions and watched keys, said on three connections to replicas and to a real server: every reply byte for byte, and
//! what is told of keys, in the same order.
//!
//! One command is under way at a time, but for those that wait. What becomes of a command is asked of the real server, which does one thing after the other:
//! it has answered, or lists its client as blocked. Where it has answered, or has let somebody go on, the replica owes the same bytes, and is waited for: a
//! client of it may be listed as blocked until its reply is committed. Where it waits, the replica has to list its client, and is asked something behind it, so
//! that its leader knows of the one that waits before the next command is said elsewhere.
//!
//! The real server may be Redis 7.0, which serves a client that waits for several keys by the key that was ready first, and later ones by the first
//! that they named: here no command fills two of the keys that somebody waits for at once.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    common::{Authority, Node},
    redis::{Redis, dialogue},
};
use fastrand::Rng;
use trireme_proto::topology::Durability;

/// Commands in each random sequence.
const COMMANDS: usize = 150;
const CONNECTIONS: usize = 3;
/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
struct Connection {
    stream: BufReader<TcpStream>,
    id: String,
}

impl Connection {
    fn new(at: SocketAddr) -> Connection {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut connection = Connection { stream: BufReader::new(stream), id: String::new() };
        connection.id = connection.ask("client id").trim_start_matches(':').trim_end().to_owned();
        connection
    }

    fn say(&mut self, command: &str) {
        self.stream.get_mut().write_all(&dialogue(&[command])).unwrap();
    }

    fn ask(&mut self, command: &str) -> String {
        self.say(command);
        self.hear()
    }

    /// One whole reply.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let size = line.get(1..).and_then(|size| size.trim_end().parse::<usize>().ok());
        match (line.as_bytes().first(), size) {
            (Some(b'$' | b'='), Some(size)) => {
                let mut content = vec![0; size + 2];
                self.stream.read_exact(&mut content).unwrap();
                line.push_str(&String::from_utf8_lossy(&content));
            }
            (Some(b'*' | b'~' | b'>'), Some(size)) => (0..size).for_each(|_| line.push_str(&self.hear())),
            (Some(b'%'), Some(size)) => (0..2 * size).for_each(|_| line.push_str(&self.hear())),
            _ => assert!(!line.is_empty(), "the connection was closed"),
        }
        line
    }

    /// Whether a part of a reply is here already.
    fn has_reply(&mut self) -> bool {
        self.stream.get_ref().set_nonblocking(true).unwrap();
        let here = self.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        self.stream.get_ref().set_nonblocking(false).unwrap();
        here
    }
}

/// A server with its connections, one more at each place to look at them, and one that listens.
struct Side {
    connections: Vec<Connection>,
    observers: Vec<Connection>,
    listener: Connection,
    /// How often its messages were read to the end.
    ends: usize,
    /// How many places there are.
    places: usize,
}

impl Side {
    /// The first of these places is where commands are executed.
    fn new(at: [SocketAddr; CONNECTIONS]) -> Side {
        let mut side = Side {
            connections: at.iter().map(|at| Connection::new(*at)).collect(),
            observers: at.iter().map(|at| Connection::new(*at)).collect(),
            listener: Connection::new(at[CONNECTIONS - 1]),
            ends: 0,
            places: if at[0] == at[1] { 1 } else { CONNECTIONS },
        };
        side.listener.ask("psubscribe __key* end");
        side.listener.hear();
        side.observers[0].ask("config set notify-keyspace-events KEAn");
        // Until it is connected with who publishes, a replica hears nothing of it.
        let begin = Instant::now();
        while !side.listener.has_reply() {
            assert!(begin.elapsed() < PATIENCE, "nothing is heard of what is published");
            side.observers[0].ask("publish end 0");
        }
        side.events();
        side
    }

    /// Whether a connection is listed as one whose command waits.
    fn is_waiting(&mut self, which: usize) -> bool {
        let list = self.observers[which].ask("client list");
        let id = format!("id={} ", self.connections[which].id);
        let own = list.lines().find(|line| line.starts_with(&id)).unwrap();
        own.split(' ').any(|part| part.strip_prefix("flags=").is_some_and(|flags| flags.contains('b')))
    }

    /// A reply, or none: the command waits.
    fn reply_or_wait(&mut self, which: usize) -> Option<String> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if self.connections[which].has_reply() {
                return Some(self.connections[which].hear());
            }
            if self.is_waiting(which) {
                return None;
            }
        }
        panic!("it neither waits nor is answered")
    }

    /// Waits until a command waits, and the leader knows of it.
    fn until_it_waits(&mut self, which: usize) {
        let begin = Instant::now();
        while !self.is_waiting(which) {
            assert!(begin.elapsed() < PATIENCE, "it does not wait");
        }
        self.observers[which].ask("get nothing");
    }

    /// What was told of keys since the last call.
    fn events(&mut self) -> Vec<String> {
        self.ends += 1;
        let payload = format!("\r\n{}\r\n", self.ends);
        self.observers[0].ask(&format!("publish end {}", self.ends));
        let mut heard = Vec::new();
        loop {
            match self.listener.hear() {
                end if end.contains("\r\nend\r\n") && end.contains(&payload) => return heard,
                end if end.contains("\r\nend\r\n") => {}
                event => heard.push(event),
            }
        }
    }

    /// How many commands wait, as all places together say.
    fn blocked_clients(&mut self) -> usize {
        let mut of = |observer: &mut Connection| -> usize {
            let info = observer.ask("info clients");
            let number = info.lines().find_map(|line| line.strip_prefix("blocked_clients:")).unwrap();
            number.trim().parse().unwrap()
        };
        self.observers[..self.places].iter_mut().map(&mut of).sum()
    }
}

/// A word of a template. `only`: the one key of an open transaction, which fills no other.
fn fill(word: &str, only: Option<&str>, random: &mut Rng) -> String {
    let words: &[&str] = match word {
        "L" => &["{t}l", "{t}m"],
        "D" => &["{t}d"],
        "S" => &["{t}s"],
        "Z" => &["{t}z", "{t}y"],
        "K" => &["{t}l", "{t}m", "{t}d", "{t}z", "{t}s"],
        "V" => &["a", "b", "c", "1", "2"],
        "N" => &["1", "2", "-1", "0", "x"],
        "E" => &["left", "right"],
        "T" => &["0.001", "0.002", "1e-3", "0.01"],
        other => return other.to_owned(),
    };
    let key = words[0].starts_with("{t}");
    only.filter(|_| key).unwrap_or(words[random.usize(..words.len())]).to_owned()
}

const TEMPLATES: &[&str] = &[
    "multi",
    "multi",
    "exec",
    "exec",
    "exec",
    "discard",
    "watch K",
    "watch K K",
    "unwatch",
    "reset",
    "exec x",
    "nope",
    "get",
    "ping V",
    "set S V",
    "get S",
    "incr S",
    "append S V",
    "lpush S V",
    "del K",
    "del L",
    "del Z",
    "rename L L",
    "rename Z Z",
    "copy L L replace",
    "expire K 1000",
    "persist K",
    "pexpire K 0",
    "flushall",
    "set S V get",
    "exists K K",
    "type K",
    "lpush L V",
    "lpush L V",
    "rpush L V V",
    "rpush L V V V",
    "rpush D V",
    "lpushx L V",
    "lpop L",
    "rpop L N",
    "lrange L 0 -1",
    "ltrim L 1 -1",
    "linsert L before V V",
    "lmove L D E E",
    "lmove L L E E",
    "rpoplpush D L",
    "lmpop 2 L L E count 2",
    "zadd Z 1 V",
    "zadd Z 2 V 1 V",
    "zincrby Z 1 V",
    "zpopmin Z",
    "zpopmax Z N",
    "zrem Z V",
    "zrange Z 0 -1 withscores",
    "zmpop 1 Z min",
    "zunionstore Z 2 Z Z",
    "sort D alpha store D",
    "llen L",
    "blpop L 0",
    "blpop L L 0",
    "brpop L 0",
    "brpop D 0",
    "blpop S 0",
    "blmove L D E E 0",
    "blmove D L E E 0",
    "blmove L S E E 0",
    "brpoplpush L D 0",
    "brpoplpush L L 0",
    "blmpop 0 2 L L E count 2",
    "bzpopmin Z 0",
    "bzpopmax Z Z 0",
    "bzmpop 0 2 Z Z max",
    "bzmpop 0 1 Z min count 2",
    "brpop L T",
    "blmove L D E E T",
    "blmpop T 2 L L E",
    "bzpopmin Z T",
    "bzmpop T 1 Z max",
    "blpop L x",
    "blpop L -1",
    "dbsize",
];

/// Whether a command waits without end where it finds nothing.
fn may_wait(command: &str) -> bool {
    command.starts_with("blmpop 0 ")
        || command.starts_with("bzmpop 0 ")
        || command.starts_with('b') && command.ends_with(" 0")
}

/// Both servers, and how far they are.
struct Both {
    theirs: Side,
    ours: Side,
    waits: [bool; CONNECTIONS],
    /// The key of each connection's open transaction.
    transactions: [Option<String>; CONNECTIONS],
    said: Vec<String>,
}

impl Both {
    fn begin(&mut self, seed: u64) {
        let protocol = if seed.is_multiple_of(2) { "hello 2" } else { "hello 3" };
        for side in [&mut self.theirs, &mut self.ours] {
            side.observers[0].ask("flushall");
            side.connections
                .iter_mut()
                .for_each(|connection| drop((connection.ask("reset"), connection.ask(protocol))));
            side.events();
        }
        (self.waits, self.transactions, self.said) = ([false; CONNECTIONS], [const { None }; CONNECTIONS], Vec::new());
    }

    fn differ<T: PartialEq + std::fmt::Debug>(&self, theirs: &T, ours: &T) -> Result<(), String> {
        let said = self.said.join("\n");
        if theirs == ours { Ok(()) } else { Err(format!("redis: {theirs:?}\nours:  {ours:?}\nafter\n{said}")) }
    }

    /// A command on one connection, and what follows from it on others.
    fn say(&mut self, which: usize, command: &str) -> Result<(), String> {
        self.said.push(format!("{which}: {command}"));
        self.theirs.connections[which].say(command);
        let theirs = match may_wait(command) {
            true => self.theirs.reply_or_wait(which),
            false => Some(self.theirs.connections[which].hear()),
        };
        self.ours.connections[which].say(command);
        match &theirs {
            Some(theirs) => {
                let ours = self.ours.connections[which].hear();
                self.differ(theirs, &ours)?;
            }
            None => self.ours.until_it_waits(which),
        }
        self.waits[which] = theirs.is_none();
        self.note_transaction(which, command, theirs.as_deref().unwrap_or_default());
        self.go_on()
    }

    fn note_transaction(&mut self, which: usize, command: &str, reply: &str) {
        match command {
            "multi" if reply == "+OK\r\n" => {
                let keys = ["{t}l", "{t}m", "{t}d", "{t}z", "{t}y", "{t}s"];
                self.transactions[which] = Some(keys[self.said.len() % keys.len()].to_owned());
            }
            "exec" | "discard" | "reset" => self.transactions[which] = None,
            _ => {}
        }
    }

    /// Whom the real server has let go on, the replica lets go on, with the same.
    fn go_on(&mut self) -> Result<(), String> {
        for other in 0..CONNECTIONS {
            if self.waits[other] && !self.theirs.is_waiting(other) {
                self.said.push(format!("{other}: goes on"));
                let [theirs, ours] = [&mut self.theirs, &mut self.ours].map(|side| side.connections[other].hear());
                self.differ(&theirs, &ours)?;
                self.waits[other] = false;
            }
        }
        let [theirs, ours] = [&mut self.theirs, &mut self.ours].map(Side::events);
        self.differ(&theirs, &ours)
    }

    /// CLIENT UNBLOCK for one that waits, or does not.
    fn unblock(&mut self, which: usize, how: &str) -> Result<(), String> {
        self.said.push(format!("{which} is unblocked{how}"));
        let [theirs, ours] = [&mut self.theirs, &mut self.ours].map(|side| {
            let command = format!("client unblock {}{how}", side.connections[which].id);
            side.observers[which].ask(&command)
        });
        self.differ(&theirs, &ours)?;
        self.go_on()
    }

    /// What waits for the real server waits here, and as many.
    fn compare_waiting(&mut self) -> Result<(), String> {
        for which in 0..CONNECTIONS {
            if self.waits[which] && (!self.ours.is_waiting(which) || self.ours.connections[which].has_reply()) {
                return Err(format!("{which} does not wait any more after\n{}", self.said.join("\n")));
            }
        }
        let [theirs, ours] = [&mut self.theirs, &mut self.ours].map(Side::blocked_clients);
        self.differ(&theirs, &ours)
    }

    /// A random sequence, from nothing on. How many commands there were, or what differs.
    fn compare(&mut self, seed: u64) -> Result<usize, String> {
        self.begin(seed);
        let (mut random, mut count) = (Rng::with_seed(seed), 0);
        while count < COMMANDS {
            let which = random.usize(..CONNECTIONS);
            if random.u8(..25) == 0 {
                self.unblock(which, ["", " timeout", " error"][random.usize(..3)])?;
            }
            if self.waits[which] {
                continue;
            }
            let template = TEMPLATES[random.usize(..TEMPLATES.len())];
            let only = self.transactions[which].clone();
            let words: Vec<String> = template.split(' ').map(|word| fill(word, only.as_deref(), &mut random)).collect();
            let command = words.join(" ");
            // Where all would wait, one does not.
            if may_wait(&command) && self.waits.iter().filter(|waits| !**waits).count() == 1 {
                continue;
            }
            count += 1;
            self.say(which, &command)?;
            if count.is_multiple_of(10) {
                self.compare_waiting()?;
            }
        }
        self.compare_waiting()?;
        for which in 0..CONNECTIONS {
            self.unblock(which, "")?;
        }
        Ok(count)
    }
}

fn compare_with(nodes: &[Node], sequences: u64) {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(dir.path(), &[]) else {
        return eprintln!("redis-server is not installed: nothing to compare with");
    };
    let places = [0, 1, 2].map(|which| nodes[which % nodes.len()].at.client);
    let mut both = Both {
        theirs: Side::new([redis.at; CONNECTIONS]),
        ours: Side::new(places),
        waits: [false; CONNECTIONS],
        transactions: [const { None }; CONNECTIONS],
        said: Vec::new(),
    };
    let mut count = 0;
    for seed in 0..sequences {
        count += both.compare(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    println!("{count} random commands on {CONNECTIONS} connections to {} replicas, as Redis answers them", nodes.len());
}

#[test]
fn transactions_and_commands_that_wait_are_answered_as_redis_does() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = [Node::start(dir.path(), 1, Durability::Memory)];
    Authority::of(&nodes, 1, Durability::Memory).lead(None);
    compare_with(&nodes, 80);
}

#[test]
fn at_three_replicas_they_are_answered_as_one_redis_does() {
    let dir = tempfile::tempdir().unwrap();
    let nodes: Vec<Node> = (1..=3).map(|id| Node::start(dir.path(), id, Durability::Memory)).collect();
    let mut authority = Authority::of(&nodes, 2, Durability::Memory);
    authority.lead(Some(1));
    compare_with(&nodes, 40);
}
