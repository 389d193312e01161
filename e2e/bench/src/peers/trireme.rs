//! Trireme itself, run by its own command, as a user would.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Process, START_MAX, wait_for};
use crate::load::Stop;

/// How long a store may take to heal after a failure.
const HEAL_MAX: Duration = Duration::from_secs(60);
/// Where replicas speak HTTP.
const ADMIN_PORT: u16 = 9600;
/// Longest line of events that is kept for an error message.
const LAST_WORDS_MAX: usize = 2000;

/// When a copy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In memory.
    Memory,
    /// Synced to disk.
    Disk,
}

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One of three replicas.
    SingleLeader,
    /// None of three, and r = 2.
    Leaderless,
    /// One in each of three regions, which have so many replicas each.
    MultiLeader(u32),
}

/// The regions of a store that has some.
pub const REGIONS: [&str; 3] = ["eu", "us", "asia"];

/// The store that is wanted; a majority holds what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Who leads.
    pub mode: Mode,
    /// When a copy counts.
    pub durability: Durability,
    /// Log that is kept for who is behind, where it is not the default.
    pub log_retention: Option<&'static str>,
    /// It promises sessions what it does by default, or nothing.
    pub sessions: bool,
}

impl Spec {
    /// One replica leads.
    pub fn single_leader(durability: Durability) -> Spec {
        Spec { mode: Mode::SingleLeader, durability, log_retention: None, sessions: true }
    }

    /// Nobody does, and a read asks two replicas.
    pub fn leaderless(durability: Durability) -> Spec {
        Spec { mode: Mode::Leaderless, ..Spec::single_leader(durability) }
    }

    /// One replica leads in each of three regions of so many.
    pub fn multi_leader(durability: Durability, n: u32) -> Spec {
        Spec { mode: Mode::MultiLeader(n), ..Spec::single_leader(durability) }
    }

    /// As a user writes it; feeds with a region may be paused.
    fn yaml(&self, apart: Option<&str>) -> String {
        let (mode, n) = match self.mode {
            Mode::SingleLeader => ("SingleLeader".to_owned(), 3),
            Mode::Leaderless => ("Leaderless\n  r: 2".to_owned(), 3),
            Mode::MultiLeader(n) => {
                (format!("MultiLeader\n  regions: [{}]", REGIONS.map(|name| format!("{{name: {name}}}")).join(", ")), n)
            }
        };
        let apart =
            apart.map_or_else(String::new, |name| format!("  annotations: {{trireme.dev/pause-feeds: {name}}}\n"));
        let log = self.log_retention.map_or_else(String::new, |bytes| format!("  logRetention:\n    bytes: {bytes}\n"));
        let session = if self.sessions { "" } else { "  session: {guarantees: []}\n" };
        format!(
            "apiVersion: trireme.dev/v1alpha1\nkind: ReplicatedStore\nmetadata:\n  name: bench\n{apart}spec:\n  \
             mode: {mode}\n  n: {n}\n  w: {}\n  durability: {:?}\n{log}{session}",
            n / 2 + 1,
            self.durability
        )
    }
}

/// A replica as the store announced it.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Where it serves clients.
    pub address: SocketAddr,
}

/// A running store.
#[derive(Debug)]
pub struct Trireme {
    // Before the folder, so that it ends first.
    process: Option<Process>,
    program: PathBuf,
    spec: Spec,
    base: Ipv4Addr,
    heard: Arc<Mutex<Heard>>,
    replicas: Vec<Replica>,
    folder: TempDir,
}

/// What the command has said so far.
#[derive(Debug, Default)]
struct Heard {
    ready: Option<Value>,
    /// Process of each replica, by name, the newest.
    pids: BTreeMap<String, i32>,
    last_words: String,
}

impl Trireme {
    /// Starts a store on loopback addresses that hardly anybody else uses, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn start(program: &Path, folder: &Path, spec: Spec, stop: &Stop) -> Result<Self, String> {
        let folder =
            tempfile::Builder::new().prefix("trireme-").tempdir_in(folder).map_err(|error| error.to_string())?;
        std::fs::write(folder.path().join("bench.yaml"), spec.yaml(None)).map_err(|error| error.to_string())?;
        let mut store = Trireme {
            process: None,
            program: program.to_owned(),
            spec,
            base: Ipv4Addr::new(127, fastrand::u8(64..128), fastrand::u8(1..255), 11),
            heard: Arc::default(),
            replicas: Vec::new(),
            folder,
        };
        store.up(stop)?;
        Ok(store)
    }

    /// Starts it on the data that it has, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn up(&mut self, stop: &Stop) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command.arg("up").arg(self.folder.path().join("bench.yaml")).arg("--dir").arg(self.folder.path().join("data"));
        command.args(["--address", &self.base.to_string(), "--output", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command, "(none: it is built by cargo)")?;
        process.polite = true;
        self.heard = Arc::default();
        if let Some(output) = process.child.stdout.take() {
            listen(output, Arc::clone(&self.heard));
        }
        if let Some(errors) = process.child.stderr.take() {
            listen(errors, Arc::clone(&self.heard));
        }
        let heard = Arc::clone(&self.heard);
        let ready = wait_for("trireme up", START_MAX, stop, || {
            let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            process.check("trireme up").map_err(|error| format!("{error}\n{}", heard.last_words))?;
            Ok(heard.ready.clone())
        })?;
        self.replicas = replicas(&ready).ok_or_else(|| format!("trireme up: unexpected event {ready}"))?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends all its processes in good order; the data stays.
    pub fn down(&mut self) {
        self.process = None;
    }

    /// All replicas.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// The replica that leads.
    ///
    /// # Errors
    /// When none does within a minute.
    pub fn leader(&self, stop: &Stop) -> Result<Replica, String> {
        self.leader_of(0, stop)
    }

    /// The replica that leads in a region, by its place among [`REGIONS`].
    ///
    /// # Errors
    /// When none does within a minute.
    pub fn leader_of(&self, region: usize, stop: &Stop) -> Result<Replica, String> {
        wait_for("trireme leader", HEAL_MAX, stop, || {
            let status = self.status()?;
            let leader = status["groups"][region]["leader"].as_str().unwrap_or_default();
            Ok(self.replicas.iter().find(|replica| replica.name == leader).cloned())
        })
    }

    /// The replicas of a region, by its place among [`REGIONS`].
    pub fn region(&self, region: usize) -> Vec<&Replica> {
        let prefix = format!("bench-{}-", REGIONS[region]);
        self.replicas.iter().filter(|replica| replica.name.starts_with(&prefix)).collect()
    }

    /// Pauses the feeds with a region, or with none any more.
    ///
    /// # Errors
    /// When that is refused.
    pub fn apart(&self, region: Option<usize>) -> Result<(), String> {
        let yaml = self.folder.path().join("bench.yaml");
        let text = self.spec.yaml(region.map(|region| REGIONS[region]));
        std::fs::write(&yaml, text).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        command.arg("apply").arg(&yaml).arg("--dir").arg(self.folder.path().join("data"));
        let output = command.output().map_err(|error| format!("trireme apply: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("trireme apply: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Waits until every replica takes part again, and names the leader, or the first where there is none.
    ///
    /// # Errors
    /// When that takes more than a minute.
    pub fn healed(&self, stop: &Stop) -> Result<Replica, String> {
        wait_for("trireme healed", HEAL_MAX, stop, || {
            let status = self.status()?;
            let replicas: Vec<&Value> = status["replicas"].as_array().into_iter().flatten().collect();
            let whole = |replica: &&Value| {
                replica["member"] == true
                    && replica["reachable"] == true
                    && replica["lagEntries"].as_u64().unwrap_or(0) == 0
            };
            let mut groups = status["groups"].as_array().into_iter().flatten();
            let led = self.spec.mode == Mode::Leaderless || groups.all(|group| group["serving"] == true);
            let well = status["phase"] == "Ready" && led;
            Ok((well && replicas.len() == self.replicas.len() && replicas.iter().all(whole)).then_some(()))
        })?;
        match self.replicas.first() {
            Some(first) if self.spec.mode == Mode::Leaderless => Ok(first.clone()),
            _ => self.leader(stop),
        }
    }

    /// Sends a signal to a replica's process.
    ///
    /// # Errors
    /// When it has none.
    pub fn signal(&self, replica: &str, signal: Signal) -> Result<(), String> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = heard.pids.get(replica).copied().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| format!("no process of {replica} was announced"))?;
        kill_process(pid, signal).map_err(|error| format!("{replica}: {error}"))
    }

    /// Memory that a replica's process has in use, in bytes.
    ///
    /// # Errors
    /// When it has no process.
    pub fn resident_bytes(&self, replica: &str) -> Result<u64, String> {
        let pid = self.heard.lock().unwrap_or_else(PoisonError::into_inner).pids.get(replica).copied();
        let pid = pid.ok_or_else(|| format!("no process of {replica} was announced"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| format!("{replica}: {e}"))?;
        let kib =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
        kib.map(|kib: u64| kib << 10).ok_or_else(|| format!("{replica}: /proc does not tell its memory"))
    }

    /// What a replica says of itself at its HTTP port; nothing while nobody listens there.
    pub fn looks(&self, replica: &Replica) -> Option<Value> {
        serde_json::from_str(&page(replica, "/status")?).ok()
    }

    /// The sum of a metric's samples at a replica, of those with a label; 0 where there are none.
    pub fn metric(&self, replica: &Replica, name: &str, label: &str) -> f64 {
        let page = page(replica, "/metrics").unwrap_or_default();
        let samples = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "));
        samples.filter(|(labels, _)| labels.contains(label)).filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }

    fn status(&self) -> Result<Value, String> {
        let mut command = Command::new(&self.program);
        command.arg("status").arg("--dir").arg(self.folder.path().join("data")).args(["--output", "json"]);
        let output = command.output().map_err(|error| format!("trireme status: {error}"))?;
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("trireme status: {error}\n{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// What a replica answers at its HTTP port.
fn page(replica: &Replica, path: &str) -> Option<String> {
    let mut socket = TcpStream::connect((replica.address.ip(), ADMIN_PORT)).ok()?;
    socket.set_read_timeout(Some(START_MAX)).ok()?;
    socket.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// Follows one of the command's streams until it ends.
fn listen(stream: impl Read + Send + 'static, heard: Arc<Mutex<Heard>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            heard.lock().unwrap_or_else(PoisonError::into_inner).line(&line);
        }
    });
}

impl Heard {
    fn line(&mut self, line: &str) {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            self.last_words.push_str(line);
            self.last_words.push('\n');
            let over = self.last_words.len().saturating_sub(LAST_WORDS_MAX);
            let cut = (over..self.last_words.len()).find(|at| self.last_words.is_char_boundary(*at));
            self.last_words.drain(..cut.unwrap_or(0));
            return;
        };
        if event["event"] == "started" {
            self.pid(&event);
        }
        if event["event"] == "ready" {
            for replica in event["replicas"].as_array().into_iter().flatten() {
                self.pid(replica);
            }
            self.ready = Some(event);
        }
    }

    /// Notes which process a replica has, where an event says so.
    fn pid(&mut self, event: &Value) {
        let name = event["name"].as_str().or(event["replica"].as_str());
        let pid = event["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        if let (Some(name), Some(pid)) = (name, pid) {
            self.pids.insert(name.to_owned(), pid);
        }
    }
}

fn replicas(ready: &Value) -> Option<Vec<Replica>> {
    let replica = |value: &Value| {
        let address = value["address"].as_str()?;
        let address = address.parse().or_else(|_| format!("{address}:6379").parse()).ok()?;
        Some(Replica { name: value["name"].as_str()?.to_owned(), address })
    };
    ready["replicas"].as_array()?.iter().map(replica).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_process_of_a_replica_is_known() {
        let mut heard = Heard::default();
        heard.line(r#"{"event":"ready","store":"s","replicas":[{"name":"s-0","address":"127.0.0.11:6379","pid":5}]}"#);
        heard.line("not JSON");
        heard.line(r#"{"event":"started","replica":"s-0","pid":9}"#);
        assert_eq!(heard.pids["s-0"], 9);
        assert_eq!(heard.last_words, "not JSON\n");
        let replicas = replicas(&heard.ready.unwrap()).unwrap();
        assert_eq!(replicas[0].address, "127.0.0.11:6379".parse().unwrap());
    }
}
