//! Programs with the client libraries of four languages, at a store whose leader is killed meanwhile.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use crate::support::Store;

/// Whoever is asked shows what was acknowledged anywhere: programs ask two replicas.
const SPEC: &str = "  mode: SingleLeader\n  r: 2\n";
/// Longest that a program says nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// What each does, with every reply as it must be, before its leader is killed.
const STEPS: [&str; 9] =
    ["hello", "pipelines", "transactions", "subscribers", "blocking", "scans", "timeouts", "scripts", "writing"];
/// Writes that it must have been told OK at the least, before and after that.
const WRITES_MIN: u64 = 800;

/// A program that runs.
pub struct Program {
    child: Child,
    tell: ChildStdin,
    says: Receiver<String>,
    said: Vec<String>,
    complaints: PathBuf,
}

impl Program {
    pub fn start(mut command: Command, complaints: PathBuf) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&complaints).unwrap());
        let mut child = command.spawn().unwrap();
        let (tell, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, says) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Program { child, tell, says, said: Vec::new(), complaints }
    }

    /// The next line that it says.
    pub fn next(&mut self) -> String {
        match self.says.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.said.push(line.clone());
                line
            }
            Err(error) => panic!("it says no more: {error}; {}", self.about()),
        }
    }

    /// What is known of it, for whoever looks for what went wrong.
    pub fn about(&self) -> String {
        let complaints = std::fs::read_to_string(&self.complaints).unwrap_or_default();
        format!("it said {:?}, and complained:\n{complaints}", self.said)
    }

    /// It has nothing more to do, and must end well.
    fn finish(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}; {}", self.about());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What there is to install and to run programs in other languages.
pub fn installed() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/clients/client"))
}

/// Whether this can be tested here. If not, that is said; it is a failure where all must be tested.
pub fn is_installed(language: &str) -> bool {
    let check = installed().args(["check", language]).output().unwrap();
    let why = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success() || std::env::var_os("CI").is_none(), "{why}");
    if !check.status.success() {
        eprintln!("not tested: {}", why.trim());
    }
    check.status.success()
}

/// Runs a program once with each version of the protocol.
fn run(name: &str, command: impl Fn() -> Command) {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    for protocol in ["2", "3"] {
        let leader = store.leader();
        // At the leader first, then where commands are forwarded.
        store.replicas.sort_by_key(|replica| (replica.name != leader, replica.name.clone()));
        let mut command = command();
        command.arg(protocol).args(store.replicas.iter().map(|replica| replica.address.to_string()));
        let mut program = Program::start(command, root.path().join(protocol));
        for step in STEPS {
            assert_eq!(program.next(), step, "{}", program.about());
        }
        store.kill(&leader);
        store.wait_for(|event| event["decision"] == "serving" && event["leader"] != leader.as_str());
        program.tell.write_all(b"killed\n").unwrap();
        let last = program.next();
        println!("{name}, protocol {protocol}: {last}");
        let number = |what: &str| {
            let word = last.split(", ").find_map(|part| part.strip_prefix(what)?.trim().parse::<u64>().ok());
            word.unwrap_or_else(|| panic!("no {what} in {last}; {}", program.about()))
        };
        assert!(number("acknowledged") >= WRITES_MIN && number("lost") == 0, "{}", program.about());
        program.finish();
        store.wait_whole();
        store.look_again();
        assert_eq!(store.replicas[0].client().call(&["FLUSHALL"]).unwrap(), "+OK");
    }
    store.stop();
}

fn run_installed(language: &str) {
    if is_installed(language) {
        run(language, || {
            let mut command = installed();
            command.args(["run", language]);
            command
        });
    }
}

#[test]
fn redis_py() {
    run_installed("python");
}

#[test]
fn node_redis() {
    run_installed("node");
}

#[test]
fn go_redis() {
    run_installed("go");
}

#[test]
fn redis_rs() {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(Path::parent).unwrap().join("examples/rust-client");
    // A whole run of tests builds the examples; one that names its tests does not.
    assert!(program.exists(), "`cargo build -p trireme-cli --example rust-client` makes {}", program.display());
    run("rust", || Command::new(&program));
}
