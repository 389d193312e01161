//! A real `redis-server`, started on a Unix socket in a directory of its own, gone when dropped.

use super::value::{self, Value};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub struct Server {
    process: Child,
    directory: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Server {
    /// Starts one, with these arguments, and connects to it.
    pub fn start(more: &[&str]) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("trireme-commands-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let socket = directory.join("redis.sock");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&directory)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = process.map_err(|error| {
            std::fs::remove_dir_all(&directory).ok();
            format!("redis-server cannot be started: {error}")
        })?;
        // Its log ends when it does, so this ends too.
        let mut log = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let ready = log.any(|line| line.is_ok_and(|line| line.contains("ready to accept connections")));
        assert!(ready, "redis-server ended before it was ready");
        let stream = connect(&directory);
        Ok(Self { process, directory, stream })
    }

    /// Another connection, whose replies are read from it.
    pub fn another(&self) -> BufReader<UnixStream> {
        connect(&self.directory)
    }

    /// Executes a command.
    pub fn execute(&mut self, args: &[&[u8]]) -> (Vec<u8>, Value) {
        self.send([args]);
        self.receive()
    }

    /// Sends commands, whose replies are then to be received.
    pub fn send<'a>(&mut self, commands: impl IntoIterator<Item = impl AsRef<[&'a [u8]]>>) {
        let mut bytes = Vec::new();
        for args in commands {
            let args = args.as_ref();
            bytes.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
            for arg in args {
                bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
                bytes.extend_from_slice(arg);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.stream.get_mut().write_all(&bytes).expect("redis-server takes commands");
    }

    /// The next reply.
    pub fn receive(&mut self) -> (Vec<u8>, Value) {
        value::read(&mut self.stream).expect("redis-server answers")
    }
}

fn connect(directory: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(directory.join("redis.sock")).expect("a connection to redis-server");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a bound on waiting");
    BufReader::new(stream)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}
