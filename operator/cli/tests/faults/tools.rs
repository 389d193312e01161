//! What the tests of faults share: namespaces, clients that keep count, and looks at files and HTTP.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hasher as _},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Client, PATIENCE, Replica, Store};

/// One leader, three replicas, two copies.
pub const SPEC: &str = "  mode: SingleLeader\n";

/// No leader, three replicas; a write needs two copies, a read asks two.
pub const LEADERLESS: &str = "  mode: Leaderless\n  w: 2\n  r: 2\n";

/// Whether this process has namespaces of its own. Where it has not, the test is run again in a process that has, and this says `false` when it has
/// succeeded there.
///
/// # Panics
/// Where the machine does not allow it, naming what is missing; with `TRIREME_WITHOUT_MOUNT=1` the test is passed over instead.
pub fn isolated(test: &str) -> bool {
    const INSIDE: &str = "TRIREME_INSIDE_NAMESPACES";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if std::env::var("TRIREME_WITHOUT_MOUNT").is_ok_and(|value| value == "1") {
        eprintln!("{test}: passed over, as TRIREME_WITHOUT_MOUNT=1 asks for");
        return false;
    }
    let namespaces = ["--net", "--mount", "--propagation", "private"];
    let ready = Command::new("unshare").args(namespaces).args(["sh", "-c", "ip link set lo up"]).output();
    let missing = match ready {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    };
    if let Some(missing) = missing {
        panic!(
            "{test} needs a mount and a network namespace of its own: root (or CAP_SYS_ADMIN and CAP_NET_ADMIN), `unshare` and `ip`. \
             It was refused: {}. Set TRIREME_WITHOUT_MOUNT=1 to go without this test",
            missing.trim()
        );
    }
    let output = Command::new("unshare")
        .args(namespaces)
        .args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "in its namespaces: {out}\n{err}");
    assert!(out.contains("1 passed"), "there is no test {test}: {out}");
    false
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is missing: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A connection whose bytes the test chooses.
pub struct Raw(BufReader<TcpStream>);

impl Raw {
    pub fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw(BufReader::new(stream))
    }

    /// Sends; the other side may close before it has read all.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.get_mut().write_all(bytes);
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection was closed");
        line.trim_end().to_owned()
    }

    /// Everything until the other side closes, which it must. A reset counts: it closes on bytes that it has not read.
    pub fn rest(&mut self) -> Vec<u8> {
        let (mut all, mut part) = (Vec::new(), [0; 4096]);
        loop {
            match self.0.read(&mut part) {
                Ok(0) => return all,
                Ok(count) => all.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
                Err(error) => panic!("the connection was not closed: {error}"),
            }
        }
    }
}

/// A command in the client's protocol.
pub fn command(arguments: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes());
    }
    bytes
}

/// What the HTTP port of a replica answers.
pub fn http(replica: &Replica, path: &str) -> String {
    let mut connection = Raw::connect(SocketAddr::new(replica.address.ip(), 9600));
    connection.send(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
    String::from_utf8(connection.rest()).unwrap()
}

/// A number of `/metrics`.
pub fn metric(replica: &Replica, name: &str) -> u64 {
    let page = http(replica, "/metrics");
    let value = page.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?.1));
    value.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not {what} within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Writes of a client that nothing disturbs, at the least.
const WRITES_MIN: usize = 20;

/// Clients that write numbered keys, each with itself as its value, one after the other, until told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Log>>,
}

/// What became of one client's writes.
#[derive(Debug, Default)]
pub struct Log {
    /// Keys that were answered OK.
    pub acknowledged: Vec<String>,
    /// When.
    pub at: Vec<Instant>,
    /// How long each request took that was answered as it should be.
    pub took: Vec<Duration>,
    /// Errors that were answered.
    pub errors: Vec<String>,
    /// Why the connection ended, if it did.
    pub ended: Option<String>,
}

impl Load {
    /// One client at each replica.
    pub fn start<'a>(name: &str, replicas: impl IntoIterator<Item = &'a Replica>) -> Load {
        Load::begin(name, replicas, false)
    }

    /// The same, and each key is read back as soon as it is acknowledged: another value than its own counts as an error.
    pub fn start_reading<'a>(name: &str, replicas: impl IntoIterator<Item = &'a Replica>) -> Load {
        Load::begin(name, replicas, true)
    }

    fn begin<'a>(name: &str, replicas: impl IntoIterator<Item = &'a Replica>, reads: bool) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |replica: &Replica| {
            let (mut client, told, name) = (replica.client(), Arc::clone(&stop), format!("{name}:{}", replica.name));
            thread::spawn(move || write(&mut client, &told, &name, reads))
        };
        let threads = replicas.into_iter().map(start).collect();
        Load { stop, threads }
    }

    /// What became of it, in the order of the replicas.
    pub fn finish(self) -> Vec<Log> {
        self.stop.store(true, Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

fn write(client: &mut Client, told: &AtomicBool, name: &str, reads: bool) -> Log {
    let mut log = Log::default();
    for number in 0.. {
        // However fast a test was, a client that nothing disturbs has something to tell.
        if told.load(Relaxed) && (log.acknowledged.len() >= WRITES_MIN || !log.errors.is_empty()) {
            break;
        }
        let key = format!("{name}:{number}");
        if !log.ask(client, &["SET", &key, &key], "+OK") {
            if log.ended.is_some() {
                break;
            }
            continue;
        }
        log.acknowledged.push(key.clone());
        log.at.push(Instant::now());
        if reads {
            log.ask(client, &["GET", &key], &format!("${key}"));
        }
        if log.ended.is_some() {
            break;
        }
    }
    log
}

impl Log {
    /// Whether a request was answered like this.
    fn ask(&mut self, client: &mut Client, request: &[&str], wanted: &str) -> bool {
        let begin = Instant::now();
        match client.call(request) {
            Ok(reply) if reply == wanted => {
                self.took.push(begin.elapsed());
                return true;
            }
            Ok(error) => self.errors.push(error),
            Err(error) => self.ended = Some(error.to_string()),
        }
        false
    }

    /// The longest time between two answers of OK.
    pub fn gap(&self) -> Duration {
        self.at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(Duration::MAX)
    }
}

/// Of the requests of all these: how long the slowest took, and the slowest but one of a hundred.
pub fn slowest(logs: &[Log]) -> (Duration, Duration) {
    let mut took: Vec<Duration> = logs.iter().flat_map(|log| log.took.iter().copied()).collect();
    took.sort_unstable();
    let at = |share: usize| took.get((took.len() * share / 100).min(took.len().saturating_sub(1)));
    (at(100).copied().unwrap_or(Duration::MAX), at(99).copied().unwrap_or(Duration::MAX))
}

/// All keys that were acknowledged to any of these.
pub fn acknowledged(logs: &[Log]) -> Vec<String> {
    logs.iter().flat_map(|log| log.acknowledged.iter().cloned()).collect()
}

/// No client saw an error, and every one wrote.
pub fn assert_undisturbed(logs: &[Log]) {
    for log in logs {
        assert_eq!((&log.errors, &log.ended), (&Vec::new(), &None));
        assert!(log.acknowledged.len() >= WRITES_MIN, "only {} writes", log.acknowledged.len());
    }
}

/// Every key has itself as its value in each replica's own state.
pub fn assert_all_hold(store: &Store, keys: &[String]) {
    for replica in &store.replicas {
        let missing = missing(replica, keys);
        assert!(
            missing.is_empty(),
            "{} lacks {} acknowledged keys: {:?}",
            replica.name,
            missing.len(),
            &missing[..missing.len().min(5)]
        );
    }
}

/// Cuts (`-A`) or mends (`-D`) everything between this replica's address and the peer ports, its own too.
pub fn firewall(what: &str, replica: &Replica) {
    let address = replica.address.ip().to_string();
    for side in ["-s", "-d"] {
        run(
            "iptables",
            &["-w", what, "INPUT", "-p", "tcp", "-m", "multiport", "--ports", "7600", side, &address, "-j", "DROP"],
        );
    }
}

/// Kills all replicas but the leader, which is alone until they are started again.
pub fn leader_alone(store: &mut Store) -> Replica {
    let leader = store.replica(&store.leader()).clone();
    for other in store.replicas.iter().filter(|r| r.name != leader.name) {
        other.signal(Signal::KILL);
    }
    for _ in 1..store.replicas.len() {
        store.wait_for(|e| e["event"] == "ended");
    }
    leader
}

/// Keys that do not have themselves as their value in the replica's own state.
pub fn missing(replica: &Replica, keys: &[String]) -> Vec<String> {
    let mut connection = Raw::connect(replica.address);
    // The state as it is, also while it shows effects of what has not come.
    for words in [&["READONLY"][..], &["SESSION", "GUARANTEES", "NONE"]] {
        connection.send(&command(words));
        assert_eq!(connection.line(), "+OK");
    }
    let mut missing = Vec::new();
    for part in keys.chunks(500) {
        connection.send(&part.iter().flat_map(|key| command(&["GET", key])).collect::<Vec<u8>>());
        for key in part {
            match connection.line().as_str() {
                "$-1" => missing.push(key.clone()),
                length if length.starts_with('$') => {
                    let value = connection.line();
                    assert_eq!(&value, key);
                }
                other => panic!("GET {key}: {other}"),
            }
        }
    }
    missing
}

/// Everybody is a caught-up member again, all digests are the same, and nothing that was acknowledged is missing anywhere.
pub fn assert_healed(store: &Store, keys: &[String]) -> Value {
    let status = store.wait_whole();
    let verified = store.run(&["verify", "--output", "json"]);
    assert!(verified.status.success(), "{verified:?}");
    assert_all_hold(store, keys);
    for replica in status["replicas"].as_array().unwrap() {
        assert_eq!(replica["digestMismatches"], 0, "{replica}");
    }
    status
}

/// A directory's entries, with the content and the time of each file.
pub fn tree(dir: &Path) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(path) = todo.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let mut content = DefaultHasher::new();
        if about.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if about.is_file() {
            content.write(&fs::read(&path).unwrap());
        }
        let what =
            format!("{:?} {} {:?} {:x}", about.file_type(), about.len(), about.modified().unwrap(), content.finish());
        entries.insert(path.display().to_string(), what);
    }
    entries
}
