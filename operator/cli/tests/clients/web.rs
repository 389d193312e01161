//! The web application of the examples: two instances beside two replicas, and a visitor whose every request goes to the other one.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
};

use rustix::process::Signal;

use crate::{
    programs::{Program, installed, is_installed},
    support::{PATIENCE, Replica, Store},
    tools::{eventually, firewall, isolated},
};

/// Notes of one visitor; each is put up at one instance and looked for at the other.
const NOTES: usize = 300;

/// An instance beside a replica.
struct Instance {
    program: Program,
    at: SocketAddr,
}

impl Instance {
    fn start(root: &Path, replica: &Replica) -> Instance {
        let board = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/web/board.py");
        let mut command = installed();
        command.arg("python").arg(board).args(["127.0.0.1:0", &replica.address.to_string()]);
        let mut program = Program::start(command, root.join(format!("board-{}", replica.name)));
        let url = program.next();
        let at = url.strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap();
        Instance { program, at }
    }

    /// A request of this visitor: the status, and what is answered.
    fn ask(&self, visitor: &mut Visitor, request: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let cookie = visitor.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let length = body.len();
        let text = format!("{request} HTTP/1.0\r\nHost: board\r\n{cookie}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, page) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}; {}", self.program.about()));
        if let Some(cookie) = head.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")) {
            visitor.cookie = cookie.split(';').next().filter(|_| visitor.keeps).map(str::to_owned);
        }
        (head.split(' ').nth(1).unwrap().parse().unwrap(), page.to_owned())
    }

    fn put_up(&self, visitor: &mut Visitor, note: &str) {
        let (status, page) = self.ask(visitor, "POST /", &format!("text={note}"));
        assert_eq!(status, 303, "{note}: {page}; {}", self.program.about());
    }

    fn look(&self, visitor: &mut Visitor) -> (u16, String) {
        self.ask(visitor, "GET /", "")
    }
}

/// Somebody with a browser.
struct Visitor {
    cookie: Option<String>,
    keeps: bool,
}

impl Visitor {
    fn new() -> Visitor {
        Visitor { cookie: None, keeps: true }
    }

    fn without_cookies() -> Visitor {
        Visitor { cookie: None, keeps: false }
    }
}

/// Two instances beside the followers.
fn instances(root: &Path, store: &Store) -> (Replica, [Instance; 2], [Replica; 2]) {
    let leader = store.replica(&store.leader()).clone();
    let mut followers = store.replicas.iter().filter(|replica| replica.name != leader.name).cloned();
    let followers = [followers.next().unwrap(), followers.next().unwrap()];
    (leader, followers.each_ref().map(|replica| Instance::start(root, replica)), followers)
}

#[test]
fn a_visitor_sees_what_he_wrote_at_the_other_instance_also_when_the_leader_is_killed() {
    if !is_installed("python") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), "  mode: SingleLeader\n", &[]);
    let (leader, instances, _) = instances(root.path(), &store);
    let mut visitor = Visitor::new();
    for number in 0..NOTES {
        let (here, there) = (&instances[number % 2], &instances[(number + 1) % 2]);
        let note = format!("note-{number}-");
        here.put_up(&mut visitor, &note);
        if number == NOTES / 2 {
            leader.signal(Signal::KILL);
        }
        let (status, page) = there.look(&mut visitor);
        assert!(status == 200 && page.contains(&note), "{note}: {status} {page}; {}", there.program.about());
    }
    assert!(visitor.cookie.is_some_and(|cookie| cookie.len() <= 72));
    store.wait_for(|event| event["decision"] == "serving" && event["leader"] != leader.name.as_str());
    store.stop();
}

#[test]
fn without_the_cookie_an_instance_beside_a_replica_that_is_behind_shows_less() {
    if !is_installed("python")
        || !isolated("web::without_the_cookie_an_instance_beside_a_replica_that_is_behind_shows_less")
    {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let spec = "  mode: SingleLeader\n  requestTimeout: 1s\n  session: {waitMs: 100}\n";
    let mut store = Store::up(root.path(), spec, &[]);
    let (_, [one, other], [_, behind]) = instances(root.path(), &store);
    let (mut visitor, mut forgetful) = (Visitor::new(), Visitor::without_cookies());
    one.put_up(&mut visitor, "first-");
    let (status, page) = other.look(&mut visitor);
    assert!(status == 200 && page.contains("first-"), "{status} {page}");

    firewall("-A", &behind);
    one.put_up(&mut visitor, "second-");
    one.put_up(&mut forgetful, "third-");
    let (status, page) = other.look(&mut forgetful);
    assert!(status == 200 && page.contains("first-") && !page.contains("third-"), "it is not behind: {status} {page}");
    // With the cookie there is an answer without what was written, or none.
    let (status, page) = other.look(&mut visitor);
    assert!(status == 503 && !page.contains("first-"), "{status} {page}");
    println!("where it cannot be shown: {page}");
    firewall("-D", &behind);
    eventually("shown", || {
        let (status, page) = other.look(&mut visitor);
        assert!(status == 503 || page.contains("second-"), "{status} {page}");
        status == 200
    });
    store.wait_whole();
    store.stop();
}
