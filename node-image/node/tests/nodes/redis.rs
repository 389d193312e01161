//! The protocol's errors beside those of a real Redis, where one is installed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::{Authority, Node};
use trireme_proto::topology::Durability;

/// So often another port is tried.
const ATTEMPTS: usize = 5;

pub struct Redis {
    process: Child,
    pub at: SocketAddr,
}

impl Redis {
    /// `None` where it is not installed.
    pub fn start(dir: &Path, more: &[&str]) -> Option<Redis> {
        for _ in 0..ATTEMPTS {
            // Redis does not say which port the system chose, so a free one is chosen first. Somebody else may have taken it by then: it ends, and says so.
            let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let port = at.port().to_string();
            let process = Command::new("redis-server")
                .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(more)
                .current_dir(dir)
                .stdout(Stdio::piped())
                .spawn()
                .ok()?;
            let mut redis = Redis { process, at };
            // Its log ends when it does, so this ends too.
            let mut log = BufReader::new(redis.process.stdout.take().unwrap()).lines();
            if log.any(|line| line.is_ok_and(|line| line.contains("eady to accept connections"))) {
                return Some(redis);
            }
        }
        panic!("redis-server does not start: it found {ATTEMPTS} ports taken, or there is something else about it");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Everything that is answered to these bytes, when nothing follows them.
pub fn answer(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    got.escape_ascii().to_string()
}

#[test]
fn what_is_no_protocol_is_answered_as_redis_does() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(dir.path(), &[]) else {
        return eprintln!("redis-server is not installed: nothing to compare with");
    };
    let nodes = [Node::start(dir.path(), 1, Durability::Memory)];
    Authority::of(&nodes, 1, Durability::Memory).lead(None);
    let long = vec![b'1'; 70_000];
    for bytes in [
        &b"*x\r\n"[..],
        b"*\r\n",
        b"*-\r\n",
        b"*01\r\nQUIT\r\n",
        b"*2147483648\r\n",
        b"*1\r\nx\r\n",
        b"*1\r\n\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$4\r\nPING\r\n*1\r\n:4\r\n",
        b"PING\r\n\r\n*0\r\n*-1\r\nping\nQUIT\r\n",
        b"ECHO \"a\\x41\\n\\\"\" \r\nQUIT\r\n",
        b"ECHO 'a\\'\"b'\r\nQUIT\r\n",
        b"ECHO \"a\r\n",
        b"ECHO 'a'b\r\n",
        b"  \r\nPING\r\nQUIT\r\n",
        b"POST / HTTP/1.1\r\nPING\r\n",
        &long,
        &[b"*", &long[..]].concat(),
        &[b"*1\r\n$", &long[..]].concat(),
    ] {
        let (theirs, ours) = (answer(redis.at, bytes), answer(nodes[0].at.client, bytes));
        assert_eq!(ours, theirs, "{}", bytes[..bytes.len().min(60)].escape_ascii());
    }
}

/// What is said on one connection after another, until QUIT or an error of the protocol ends it.
const DIALOGUES: [&[&str]; 9] = [
    &["nope", "ping a b c", "get a", "get", "command count", "client reply off", "client nope", "ping", "quit"],
    &["auth", "auth a b c", "auth wrong", "auth default wrong", "auth bob secret", "auth secre", "ping", "quit"],
    &["auth secret", "ping", "auth wrong", "ping", "auth bob secret", "ping", "reset", "ping", "quit"],
    &["auth default secret", "config get requirepass", "set a 1", "get a", "multi", "set a 2", "exec", "quit"],
    &["hello", "hello 3", "hello 4", "hello x", "hello 3 auth default", "hello 3 auth default wrong", "quit"],
    &["hello 3 setname a", "hello 3 auth bob secret", "hello 3 foo", "hello 3 auth default secret foo", "ping", "quit"],
    &["multi", "exec", "discard", "watch a", "reset", "quit"],
    &["auth secret", "reset", "x x x x x x x x x x", "x x x x x x x x x x x"],
    &["x x x x x x x x x x x"],
];

/// One command after the other, in one piece.
pub fn dialogue(commands: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        bytes.extend(format!("*{}\r\n", words.len()).bytes());
        words.iter().for_each(|word| bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes()));
    }
    bytes
}

#[test]
fn a_password_is_asked_for_as_redis_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    let nodes = [Node::start_as(dir.path(), 1, |config| config.password_file = Some(file.clone()))];
    Authority::of(&nodes, 1, Durability::Memory).lead(None);
    let ours = nodes[0].at.client;
    if let Some(redis) = Redis::start(dir.path(), &["--requirepass", "secret"]) {
        for commands in DIALOGUES {
            let bytes = dialogue(commands);
            assert_eq!(answer(ours, &bytes), answer(redis.at, &bytes), "{commands:?}");
        }
        for length in [16 << 10, (16 << 10) + 1] {
            let bytes = dialogue(&[&format!("auth {}", "x".repeat(length)), "quit"]);
            assert_eq!(answer(ours, &bytes), answer(redis.at, &bytes), "{length} bytes");
        }
    } else {
        eprintln!("redis-server is not installed: nothing to compare with");
    }
    // HELLO names the version and a number, which differ.
    let hello = answer(ours, &dialogue(&["hello 3 auth default secret setname me", "client getname", "quit"]));
    assert!(hello.starts_with("%7\\r\\n") && hello.ends_with("$2\\r\\nme\\r\\n+OK\\r\\n"), "{hello}");

    // A new password comes into force by itself; who is in stays in. One that cannot be read does not.
    let mut inside = nodes[0].client();
    assert_eq!(inside.ask(&["AUTH", "secret"]), "+OK");
    std::fs::write(dir.path().join("new"), "another").unwrap();
    std::fs::rename(dir.path().join("new"), &file).unwrap();
    let mut outside = nodes[0].client();
    let begin = Instant::now();
    while outside.ask(&["AUTH", "another"]) != "+OK" {
        assert!(begin.elapsed() < Duration::from_secs(10), "the new password does not come into force");
    }
    assert!(nodes[0].client().ask(&["AUTH", "secret"]).starts_with("-WRONGPASS"));
    assert_eq!(inside.ask(&["GET", "a"]), "2");
    std::fs::write(&file, "").unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(nodes[0].client().ask(&["AUTH", "another"]), "+OK");
}

/// What clients take, and are told of it.
const LIMITS: [&[&str]; 4] = [
    &["set a 1", "object idletime none", "object freq a", "touch a none", "quit"],
    &["config set maxmemory 1", "config get maxmemory-policy", "set a 1", "get a", "incr c", "append a x", "quit"],
    &["lpush l x", "hset h f v", "sadd s m", "zadd z 1 m", "setrange a 0 x", "getset a 2", "expire a 100", "quit"],
    &[
        "del a",
        "config set maxmemory 0",
        "set a 1",
        "config set maxmemory-samples 0 maxmemory 5",
        "config get maxmemory",
        "quit",
    ],
];

#[test]
fn limits_are_told_as_redis_does() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(dir.path(), &[]) else {
        return eprintln!("redis-server is not installed: nothing to compare with");
    };
    let nodes = [Node::start(dir.path(), 1, Durability::Memory)];
    Authority::of(&nodes, 1, Durability::Memory).lead(None);
    let ours = nodes[0].at.client;
    for commands in LIMITS {
        let bytes = dialogue(commands);
        assert_eq!(answer(ours, &bytes), answer(redis.at, &bytes), "{commands:?}");
    }
    // One too many, and nothing that it says is looked at.
    let refused = [ours, redis.at].map(|at| {
        let mut first = TcpStream::connect(at).unwrap();
        first.write_all(&dialogue(&["config set maxclients 1"])).unwrap();
        let mut ok = [0; 5];
        first.read_exact(&mut ok).unwrap();
        let told = answer(at, b"");
        first.write_all(&dialogue(&["config set maxclients 100"])).unwrap();
        first.read_exact(&mut ok).unwrap();
        told
    });
    assert_eq!(refused[0], refused[1]);
    assert_eq!(refused[0], "-ERR max number of clients reached\\r\\n");
}
