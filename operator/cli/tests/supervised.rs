//! A supervised replica, as real processes: who hears of its end, and how soon.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rustix::process::{Pid, Signal, kill_process};
use trireme_proto::{
    Message, PROTOCOL_VERSION, frame,
    message::{Ended, Hello},
};

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A replica and its parent, at an address of their own.
struct Supervised {
    parent: Child,
    address: &'static str,
}

impl Supervised {
    fn start(dir: &Path, address: &'static str) -> Supervised {
        let mut parent = Command::new(env!("CARGO_BIN_EXE_trireme"))
            .args(["node", "--supervised", "--store", "ns/s", "--ordinal", "0", "--first-id", "1", "--id-step", "2"])
            .args(["--listen", address, "--dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("\"listening\""), "{line}");
        Supervised { parent, address }
    }

    /// The replica's own process.
    fn child(&self) -> Pid {
        let parent = self.parent.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        Pid::from_raw(children.trim().parse().unwrap()).unwrap()
    }

    /// Calls the peer port as an operator does.
    fn call(&self, store: &str) -> std::io::Result<(TcpStream, BytesMut)> {
        let mut stream = TcpStream::connect((self.address, trireme_node::config::PEER_PORT))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let hello = Hello { version: PROTOCOL_VERSION, store: store.into(), to: 1, ..Hello::default() };
        let mut out = BytesMut::new();
        frame::encode(Message::Hello(hello), &mut out);
        stream.write_all(&out)?;
        Ok((stream, BytesMut::new()))
    }

    fn exit_status(&mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.parent.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < PATIENCE, "the parent does not end");
            sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

/// The next message on a connection; `None` at its end.
fn hear((stream, buffer): &mut (TcpStream, BytesMut)) -> Option<Message> {
    loop {
        if let Some(message) = frame::decode(buffer).unwrap() {
            return message;
        }
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap_or(0);
        if count == 0 {
            return None;
        }
        buffer.extend_from_slice(&bytes[..count]);
    }
}

fn hello(connection: &mut (TcpStream, BytesMut)) -> Hello {
    match hear(connection) {
        Some(Message::Hello(hello)) => hello,
        other => panic!("no Hello: {other:?}"),
    }
}

#[test]
fn the_end_of_a_replica_is_told_at_once_by_its_parent_which_ends_as_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Supervised::start(&dir.path().join("data"), "127.200.0.1");
    let mut connection = replica.call("ns/s").unwrap();
    let first = hello(&mut connection);
    assert!(first.from == 1 && first.incarnation != 0 && first.boot != 0, "{first:?}");

    let begin = Instant::now();
    kill_process(replica.child(), Signal::KILL).unwrap();
    while hear(&mut connection).is_some() {}
    let mut calls = 0;
    let (told, ended) = loop {
        calls += 1;
        if let Ok(mut connection) = replica.call("ns/s")
            && let Some(Message::Hello(told)) = hear(&mut connection)
        {
            break (told, hear(&mut connection));
        }
        assert!(begin.elapsed() < PATIENCE, "nobody says that the replica has ended");
        sleep(Duration::from_millis(1));
    };
    let heard = begin.elapsed();
    assert_eq!((told.from, told.incarnation, told.boot), (1, 0, first.boot));
    assert_eq!(ended, Some(Message::Ended(Ended { boot: first.boot, how: "killed (SIGKILL)".into() })));
    // Somebody of another store is told nothing.
    assert_eq!(replica.call("ns/other").ok().and_then(|mut connection| hear(&mut connection)), None);
    assert_eq!(replica.exit_status(), Some(137));
    let gone = begin.elapsed();
    println!("heard after {heard:?} and {calls} calls, the parent was gone after {gone:?}");
    assert!(heard < Duration::from_millis(500) && gone < Duration::from_millis(1_500), "{heard:?}, {gone:?}");

    // The next process is another one.
    let again = Supervised::start(&dir.path().join("data"), "127.200.0.1");
    let second = hello(&mut again.call("ns/s").unwrap());
    assert_eq!(second.incarnation, first.incarnation);
    assert_ne!(second.boot, first.boot);
}

#[test]
fn nobody_waits_for_a_replica_that_was_told_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Supervised::start(&dir.path().join("data"), "127.200.0.2");
    kill_process(Pid::from_child(&replica.parent), Signal::TERM).unwrap();
    let begin = Instant::now();
    assert_eq!(replica.exit_status(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[test]
fn a_replica_that_cannot_start_is_vouched_for_and_its_status_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_trireme"))
        .args(["node", "--supervised", "--id", "1", "--store", "", "--listen", "127.200.0.3", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("every store needs one of its own"), "{output:?}");
    assert!((1..5).contains(&begin.elapsed().as_secs()), "nobody called: {:?}", begin.elapsed());
}

#[test]
fn a_replica_ends_with_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let replica = Supervised::start(&dir.path().join("data"), "127.200.0.4");
    let child = replica.child();
    let mut connection = replica.call("ns/s").unwrap();
    hello(&mut connection);
    kill_process(Pid::from_child(&replica.parent), Signal::KILL).unwrap();
    while hear(&mut connection).is_some() {}
    // Whoever takes orphans in here may let them lie.
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
}
