//! The protocol's errors beside those of a real Redis, where one is installed.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::{Authority, Node};
use trireme_proto::topology::Durability;

struct Redis {
    process: Child,
    at: SocketAddr,
}

impl Redis {
    /// `None` where it is not installed.
    fn start(dir: &Path) -> Option<Redis> {
        // Redis does not say which port the system chose, so a free one is chosen first.
        let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let arguments = ["--port", &at.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let process =
            Command::new("redis-server").args(arguments).current_dir(dir).stdout(Stdio::null()).spawn().ok()?;
        let redis = Redis { process, at };
        let begin = Instant::now();
        while TcpStream::connect(at).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "redis-server does not start");
            std::thread::yield_now();
        }
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Everything that is answered to these bytes, when nothing follows them.
fn answer(at: SocketAddr, bytes: &[u8]) -> String {
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
    let Some(redis) = Redis::start(dir.path()) else {
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
