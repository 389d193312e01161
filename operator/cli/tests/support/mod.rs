//! A store run by the real binary, and clients of it. Every test has addresses of its own, and leaves no process behind.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub fn trireme() -> Command {
    Command::new(env!("CARGO_BIN_EXE_trireme"))
}

/// Addresses that no other test has: the process's number chooses 256 of 127.64.0.0/10, each store takes 8 of them. One with a leader in each region
/// takes 64, of 127.128.0.0/9: the numbers of a region's replicas begin 16 above the last one's. A store that is stopped and started again keeps its own, so
/// there are more of them than stores at one time.
fn base(spec: &str) -> Ipv4Addr {
    static NEXT: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];
    let (next, nets, each) =
        if spec.contains("MultiLeader") { (&NEXT[0], &[128, 192][..], 64) } else { (&NEXT[1], &[64][..], 8) };
    let place = next.fetch_add(1, Relaxed) as usize % (nets.len() * 256 / each);
    let (net, at) = (nets[place / (256 / each)], (place % (256 / each) * each) as u32 + 1);
    Ipv4Addr::from_bits(Ipv4Addr::new(127, net, 0, 0).to_bits() + ((std::process::id() & 0x3fff) << 8) + at)
}

/// An address of its own for a test that starts an edge by itself.
pub fn address() -> String {
    base("").to_string()
}

/// A running `trireme up`, or `trireme edge`.
pub struct Store {
    pub dir: PathBuf,
    pub yaml: PathBuf,
    pub replicas: Vec<Replica>,
    base: Ipv4Addr,
    /// An edge: what it joins with.
    token: Option<String>,
    child: Option<Child>,
    events: Receiver<Value>,
    seen: VecDeque<Value>,
}

/// A replica as the ready event has it.
#[derive(Clone, Debug)]
pub struct Replica {
    pub name: String,
    pub address: SocketAddr,
    pub pid: i32,
}

/// What a file says before the spec.
const HEAD: &str = "apiVersion: trireme.dev/v1alpha1\nkind: ReplicatedStore\nmetadata:\n  name: orders\nspec:\n";

impl Store {
    /// Starts a store with this spec, and waits until it is ready.
    pub fn up(root: &Path, spec: &str, flags: &[&str]) -> Store {
        let yaml = root.join("orders.yaml");
        fs::write(&yaml, format!("{HEAD}{spec}")).unwrap();
        let dir = root.join("data");
        let mut store = Store {
            dir,
            yaml,
            replicas: Vec::new(),
            base: base(spec),
            token: None,
            child: None,
            events: mpsc::channel().1,
            seen: VecDeque::new(),
        };
        store.start(flags);
        store
    }

    /// An edge that joins with this token from its own directory, and serves.
    pub fn join(dir: &Path, token: &str) -> Store {
        let mut edge = Store {
            dir: dir.to_owned(),
            yaml: PathBuf::new(),
            replicas: Vec::new(),
            base: base(""),
            token: Some(token.to_owned()),
            child: None,
            events: mpsc::channel().1,
            seen: VecDeque::new(),
        };
        edge.start(&["--join", token]);
        edge
    }

    /// Starts it, again if it was stopped, and waits until it is ready.
    pub fn start(&mut self, flags: &[&str]) {
        let mut command = trireme();
        match self.token {
            Some(_) => command.arg("edge"),
            None => command.arg("up").arg(&self.yaml),
        };
        let mut child = command
            .args(["--output", "json", "--address", &self.base.to_string(), "--dir"])
            .arg(&self.dir)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        self.child = Some(child);
        self.events = events;
        let first = self.next();
        assert_eq!(first["event"], "ready", "the first line: {first}");
        self.replicas = first["replicas"].as_array().unwrap().iter().map(Replica::read).collect();
    }

    /// The next event.
    pub fn next(&mut self) -> Value {
        match self.events.recv_timeout(PATIENCE) {
            Ok(event) => {
                self.seen.push_back(event.clone());
                event
            }
            Err(RecvTimeoutError::Timeout) => panic!("nothing happened within {PATIENCE:?}; so far: {:#?}", self.seen),
            Err(RecvTimeoutError::Disconnected) => panic!("the store has ended; so far: {:#?}", self.seen),
        }
    }

    /// Events up to the first that fits.
    pub fn wait_for(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next();
            if fits(&event) {
                return event;
            }
        }
    }

    /// The status, as JSON.
    pub fn status(&self) -> Value {
        let output = self.run(&["status", "--output", "json"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the status fits.
    pub fn wait_status(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if fits(&status) {
                return status;
            }
            assert!(Instant::now() < end, "not {what} within {PATIENCE:?}: {status:#}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Name of the leader that serves.
    pub fn leader(&self) -> String {
        let serves = |s: &Value| s["groups"][0]["serving"] == true && s["groups"][0]["leader"] != "";
        self.wait_status("served", serves)["groups"][0]["leader"].as_str().unwrap().to_owned()
    }

    /// Waits until every replica is an up-to-date member.
    pub fn wait_whole(&self) -> Value {
        self.wait_status("Ready", |s| s["phase"] == "Ready")
    }

    /// Gives it another spec while it runs, as a person would, and waits until it has become that.
    pub fn apply(&self, spec: &str) {
        self.apply_with("", spec);
    }

    /// The same, with more of its metadata.
    pub fn apply_with(&self, metadata: &str, spec: &str) {
        let head = HEAD.replace("spec:\n", &format!("{metadata}spec:\n"));
        fs::write(&self.yaml, format!("{head}{spec}")).unwrap();
        let output = self.run(&["apply", self.yaml.to_str().unwrap()]);
        assert!(output.status.success(), "{spec}: {output:?}");
    }

    /// Where the replicas are now, and their processes.
    pub fn look_again(&mut self) {
        self.seen.extend(self.events.try_iter());
        let status = self.status();
        let started: Vec<(String, i64)> = self
            .seen
            .iter()
            .filter(|e| e["event"] == "started")
            .filter_map(|e| Some((e["replica"].as_str()?.to_owned(), e["pid"].as_i64()?)))
            .collect();
        let pid = |name: &str| {
            let now = started.iter().rfind(|(replica, _)| replica == name).map(|(_, pid)| *pid as i32);
            now.or_else(|| self.replicas.iter().find(|r| r.name == name).map(|r| r.pid)).unwrap_or(0)
        };
        let row = |r: &Value| {
            let name = r["name"].as_str().unwrap().to_owned();
            Replica { pid: pid(&name), address: r["clientAddress"].as_str().unwrap().parse().unwrap(), name }
        };
        self.replicas = status["replicas"].as_array().unwrap().iter().map(row).collect();
    }

    /// A subcommand on this store's directory.
    pub fn run(&self, arguments: &[&str]) -> Output {
        trireme().args(arguments).arg("--dir").arg(&self.dir).output().unwrap()
    }

    pub fn replica(&self, name: &str) -> &Replica {
        self.replicas.iter().find(|r| r.name == name).unwrap()
    }

    /// Kills a replica, and waits until its end is known.
    pub fn kill(&mut self, name: &str) {
        self.replica(name).signal(Signal::KILL);
        self.wait_for(|e| e["event"] == "ended" && e["replica"] == name);
    }

    /// Stops it as a person would; every process must be gone then.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        signal(child.id() as i32, Signal::TERM);
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                None => panic!("it did not stop within {PATIENCE:?}"),
            }
        };
        assert!(status.success(), "{status}");
        self.seen.extend(self.events.iter());
        let started = self.seen.iter().filter(|e| e["event"] == "started").filter_map(|e| e["pid"].as_i64());
        for pid in started.chain(self.replicas.iter().map(|r| i64::from(r.pid))) {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} still runs");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The replicas end with their standard input.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            for entry in fs::read_dir(self.dir.join("logs")).into_iter().flatten().flatten() {
                let log = fs::read_to_string(entry.path()).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                eprintln!("--- {}", entry.path().display());
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

impl Replica {
    fn read(json: &Value) -> Replica {
        Replica {
            name: json["name"].as_str().unwrap().to_owned(),
            address: json["address"].as_str().unwrap().parse().unwrap(),
            pid: json["pid"].as_i64().unwrap() as i32,
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, which: Signal) {
        signal(self.pid, which);
    }

    /// A connection of a client.
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }
}

fn signal(pid: i32, which: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), which).unwrap();
}

/// A client that waits for each reply.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    /// A command; its reply, with its type's first character: `+OK`, `-ERR ...`, `:1`, `$value`, `$-1`.
    pub fn call(&mut self, arguments: &[&str]) -> std::io::Result<String> {
        let mut command = format!("*{}\r\n", arguments.len());
        for argument in arguments {
            command.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
        }
        self.stream.get_mut().write_all(command.as_bytes())?;
        self.reply()
    }

    /// The next reply; of an array or a set how many follow.
    pub fn reply(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        match line.strip_prefix('$') {
            Some("-1") | None => Ok(line),
            Some(length) => {
                let mut value = vec![0; length.parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut value)?;
                value.truncate(value.len() - 2);
                Ok(format!("${}", String::from_utf8(value).unwrap()))
            }
        }
    }
}
