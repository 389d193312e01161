//! Random transactions, watched keys and commands that wait, said on three connections to a replica and to a real server; replies compared byte for byte.
//!
//! One command is under way at a time, but for those that wait: whether one waits is asked of the server (CLIENT LIST), and when another one's command has
//! ended that, its reply is read on both sides.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    common::{Authority, Node},
    redis::{Redis, dialogue},
};
use trireme_proto::topology::Durability;

/// Random sequences, and commands in each.
const SEQUENCES: u64 = 60;
const COMMANDS: usize = 150;
const CONNECTIONS: usize = 3;
/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection, and whether its last command waits.
struct Connection {
    stream: BufReader<TcpStream>,
    id: String,
    waits: bool,
}

impl Connection {
    fn new(at: SocketAddr) -> Connection {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut connection = Connection { stream: BufReader::new(stream), id: String::new(), waits: false };
        let id = connection.ask("client id");
        connection.id = format!("id={} ", id.trim_start_matches(':').trim_end());
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
}

/// A server with its connections, and one to look at them.
struct Side {
    connections: Vec<Connection>,
    observer: Connection,
}

impl Side {
    fn new(at: SocketAddr) -> Side {
        let connections = (0..CONNECTIONS).map(|_| Connection::new(at)).collect();
        Side { connections, observer: Connection::new(at) }
    }

    /// Whether a connection's command waits.
    fn is_waiting(&mut self, which: usize) -> bool {
        let list = self.observer.ask("client list");
        let own = list.lines().find(|line| line.starts_with(&self.connections[which].id)).unwrap();
        own.split(' ').any(|part| part.strip_prefix("flags=").is_some_and(|flags| flags.contains('b')))
    }

    /// The reply of a command, or that it waits.
    fn say(&mut self, which: usize, command: &str, may_wait: bool) -> Option<String> {
        if !may_wait {
            return Some(self.connections[which].ask(command));
        }
        self.connections[which].say(command);
        let begin = Instant::now();
        loop {
            if self.is_waiting(which) {
                return None;
            }
            let connection = &mut self.connections[which];
            connection.stream.get_ref().set_read_timeout(Some(Duration::from_millis(2))).unwrap();
            let come = connection.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
            connection.stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
            if come {
                return Some(connection.hear());
            }
            assert!(begin.elapsed() < PATIENCE, "{command} neither waits nor is answered");
        }
    }
}

fn fill(word: &str, random: &mut fastrand::Rng) -> String {
    let words: &[&str] = match word {
        "K" => &["{t}l", "{t}m", "{t}z", "{t}s", "{t}h"],
        "L" => &["{t}l", "{t}m"],
        "Z" => &["{t}z", "{t}y"],
        "V" => &["a", "b", "c", "1", "2"],
        "N" => &["1", "2", "-1", "0", "x"],
        "E" => &["left", "right"],
        other => return other.to_owned(),
    };
    words[random.usize(..words.len())].to_owned()
}

fn command(random: &mut fastrand::Rng) -> String {
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
        "multi",
        "reset",
        "exec x",
        "nope",
        "get",
        "ping V",
        "set K V",
        "get K",
        "incr K",
        "append K V",
        "del K",
        "del L",
        "del Z",
        "rename K K",
        "copy L L replace",
        "expire K 1000",
        "persist K",
        "pexpire K 0",
        "flushall",
        "set K V get",
        "getdel K",
        "mset K V K V",
        "exists K K",
        "type K",
        "hset K V V",
        "hdel K V",
        "sadd K V V",
        "srem K V",
        "lpush L V",
        "rpush L V V",
        "lpush K V",
        "rpush L V V V",
        "rpush L V",
        "lpushx L V",
        "lpop L",
        "rpop L N",
        "lrange L 0 -1",
        "ltrim L 1 -1",
        "linsert L before V V",
        "lmove L L E E",
        "rpoplpush L L",
        "lmpop 2 L L E count 2",
        "zadd Z 1 V",
        "zadd Z 2 V 1 V",
        "zadd K 3 V",
        "zpopmin Z",
        "zpopmax Z N",
        "zrem Z V",
        "zrange Z 0 -1 withscores",
        "zmpop 1 Z min",
        "zunionstore Z 2 Z Z",
        "sort L alpha store L",
        "llen L",
        "blpop L 0",
        "blpop L L 0",
        "brpop L 0",
        "blpop K L 0",
        "blmove L L E E 0",
        "brpoplpush L L 0",
        "blmpop 0 2 L L E count 2",
        "bzpopmin Z 0",
        "bzpopmax Z Z 0",
        "bzmpop 0 2 Z Z max",
        "brpop L 0.001",
        "blpop L x",
        "client no-evict on",
        "object encoding nothing",
        "dbsize",
    ];
    let template = TEMPLATES[random.usize(..TEMPLATES.len())];
    template.split(' ').map(|word| fill(word, random)).collect::<Vec<_>>().join(" ")
}

/// Says commands to both, from nothing on. How many there were, or what differs.
fn compare(theirs: &mut Side, ours: &mut Side, seed: u64) -> Result<usize, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut said, mut count) = (Vec::new(), 0);
    for side in [&mut *theirs, &mut *ours] {
        side.observer.ask("flushall");
        let protocol = if seed.is_multiple_of(2) { "hello 2" } else { "hello 3" };
        side.connections.iter_mut().for_each(|connection| drop((connection.ask("reset"), connection.ask(protocol))));
    }
    while count < COMMANDS {
        let Some(which) = (0..8).map(|_| random.usize(..CONNECTIONS)).find(|which| !theirs.connections[*which].waits)
        else {
            break;
        };
        // Where all would wait, one does not.
        let free = theirs.connections.iter().filter(|connection| !connection.waits).count();
        let command = command(&mut random);
        let may_wait = command.starts_with('b') && command.ends_with(" 0")
            || command.starts_with("blmpop 0")
            || command.starts_with("bzmpop 0");
        if may_wait && free == 1 {
            continue;
        }
        count += 1;
        said.push(format!("{which}: {command}"));
        let replies = [theirs.say(which, &command, may_wait), ours.say(which, &command, may_wait)];
        differ(&said, &replies)?;
        for side in [&mut *theirs, &mut *ours] {
            side.connections[which].waits = replies[0].is_none();
        }
        // Whose waiting that has ended.
        for other in 0..CONNECTIONS {
            if theirs.connections[other].waits && !theirs.is_waiting(other) {
                said.push(format!("{other}: goes on"));
                let replies = [&mut *theirs, &mut *ours].map(|side| {
                    side.connections[other].waits = false;
                    Some(side.connections[other].hear())
                });
                differ(&said, &replies)?;
            }
        }
    }
    // What waits there waits here, and is ended.
    for which in 0..CONNECTIONS {
        if theirs.connections[which].waits {
            if !ours.is_waiting(which) {
                return Err(format!("{which} does not wait any more after\n{}", said.join("\n")));
            }
            let replies = [&mut *theirs, &mut *ours].map(|side| {
                let id = side.connections[which].id["id=".len()..].trim_end().to_owned();
                side.observer.ask(&format!("client unblock {id}"));
                side.connections[which].waits = false;
                Some(side.connections[which].hear())
            });
            said.push(format!("{which}: unblocked"));
            differ(&said, &replies)?;
        }
    }
    Ok(count)
}

fn differ(said: &[String], replies: &[Option<String>; 2]) -> Result<(), String> {
    let [theirs, ours] = replies;
    if theirs == ours { Ok(()) } else { Err(format!("redis: {theirs:?}\nours:  {ours:?}\nafter\n{}", said.join("\n"))) }
}

#[test]
fn transactions_and_commands_that_wait_are_answered_as_redis_does() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(dir.path(), &[]) else {
        return eprintln!("redis-server is not installed: nothing to compare with");
    };
    let nodes = [Node::start(dir.path(), 1, Durability::Memory)];
    Authority::of(&nodes, 1, Durability::Memory).lead(None);
    let (mut theirs, mut ours) = (Side::new(redis.at), Side::new(nodes[0].at.client));
    let mut count = 0;
    for seed in 0..SEQUENCES {
        count += compare(&mut theirs, &mut ours, seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    println!("{count} random commands on {CONNECTIONS} connections");
}
