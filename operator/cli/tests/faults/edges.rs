//! Edges: replicas outside the store's own machines, which come and go, and are not waited for.

use std::{path::Path, process::Command};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    regions::{agreed, leader, region},
    support::{Store, address, trireme},
    tools::eventually,
};

/// Two regions of one replica, and these edges.
fn spec(edges: &[&str]) -> String {
    let edges: Vec<String> = edges.iter().map(|name| format!("{{name: {name}}}")).collect();
    format!(
        "  mode: MultiLeader\n  \"n\": 1\n  w: 1\n  regions: [{{name: eu}}, {{name: us}}]\n  edges: [{}]\n",
        edges.join(", ")
    )
}

/// The token of an edge of this store.
fn token(store: &Store, name: &str) -> String {
    let output = store.run(&["edge-token", name]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Everybody comes to have the same digests.
fn same(stores: &[&Store]) {
    let digests = || -> Vec<String> {
        let of = |store: &&Store| -> Vec<String> {
            let status = store.status();
            let rows = status["replicas"].as_array().unwrap().clone();
            rows.iter().map(|row| row["digest"].as_str().unwrap().to_owned()).collect()
        };
        stores.iter().flat_map(of).collect()
    };
    eventually("the same digests everywhere", || digests().windows(2).all(|two| two[0] == two[1]));
}

/// What the example of a calendar prints.
fn calendar(edge: &Store, name: &str, action: &[&str]) -> String {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(Path::parent).unwrap().join("examples/calendar");
    let at = edge.replicas[0].address.to_string();
    // A whole run of tests builds the examples; one that names its tests does not.
    assert!(program.exists(), "`cargo build -p trireme-cli --example calendar` makes {}", program.display());
    let output = Command::new(program).args([&at, name]).args(action).output().unwrap();
    assert!(output.status.success(), "{action:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// `trireme edge` ends at once, with this status, and says this.
fn refused(arguments: &[&str], dir: &Path, status: i32, says: &str) {
    let output = trireme().arg("edge").args(arguments).arg("--dir").arg(dir).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(status) && text.contains(says), "{arguments:?}: {text}");
}

#[test]
fn two_people_edit_the_same_day_offline_and_nothing_of_it_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &spec(&["anna", "ben"]), &[]);
    let mut anna = Store::join(&root.path().join("anna"), &token(&store, "anna"));
    let mut ben = Store::join(&root.path().join("ben"), &token(&store, "ben"));
    const DAY: &str = "2026-12-24";
    let dentist = calendar(&anna, "anna", &["add", DAY, "09:00", "dentist"]);
    let lunch = calendar(&anna, "anna", &["add", DAY, "12:00", "lunch"]);
    eventually("both see the day", || calendar(&ben, "ben", &["show", DAY]).lines().count() == 2);
    // Nobody sees anybody: the store is down, and both machines are started anew without it.
    store.stop();
    for edge in [&mut anna, &mut ben] {
        edge.stop();
        edge.start(&[]);
    }
    calendar(&anna, "anna", &["move", DAY, &dentist, "10:30"]);
    calendar(&anna, "anna", &["drop", DAY, &lunch]);
    calendar(&anna, "anna", &["add", DAY, "18:00", "cinema"]);
    calendar(&ben, "ben", &["rename", DAY, &dentist, "dentist, second floor"]);
    calendar(&ben, "ben", &["invite", DAY, &lunch, "carla"]);
    calendar(&ben, "ben", &["add", DAY, "18:00", "football"]);
    assert_eq!(calendar(&anna, "anna", &["show", DAY]), "10:30  dentist  (anna-1)\n18:00  cinema  (anna-3)");
    store.start(&[]);
    let both = "10:30  dentist, second floor  (anna-1)\n12:00  lunch with carla  (anna-2)\n18:00  cinema  (anna-3)\n18:00  football  (ben-1)";
    for (edge, name) in [(&anna, "anna"), (&ben, "ben")] {
        eventually("the day is the same at both", || calendar(edge, name, &["show", DAY]) == both);
    }
    same(&[&store, &anna, &ben]);
    // Nobody waits for an edge: when one is away the store is as it was.
    anna.stop();
    let away = |status: &Value| {
        let feeds = status["groups"][0]["feeds"].as_array().unwrap().clone();
        status["phase"] == "Ready"
            && feeds.iter().any(|f| f["region"] == "anna" && f["edge"] == true && f["reachable"] == false)
    };
    store.wait_status("Ready without anna", away);
    ben.stop();
    store.stop();
}

#[test]
fn an_edge_that_was_revoked_or_comes_from_elsewhere_is_turned_away_and_told_why() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &spec(&["anna", "ben"]), &[]);
    let (annas, bens) = (token(&store, "anna"), token(&store, "ben"));
    let mut anna = Store::join(&root.path().join("anna"), &annas);
    assert_eq!(anna.replicas[0].client().call(&["SET", "x", "1"]).unwrap(), "+OK");
    agreed(&store, &["GET", "x"], "$1");
    // Words that are no token, half of one, and a directory that is somebody else's.
    let elsewhere = root.path().join("elsewhere");
    refused(&["--join", "hello"], &elsewhere, 2, "does not begin with 'trireme-edge-1.'");
    refused(&["--join", &annas[..annas.len() - 3]], &elsewhere, 2, "incomplete or was changed");
    refused(&[], &elsewhere, 2, "--join TOKEN");
    assert!(!elsewhere.exists(), "something was made");
    refused(&["--join", &annas], &store.dir, 2, "holds a store, and no edge");
    refused(&["--join", &bens], &anna.dir, 2, "belongs to the edge `anna, number 3 of orders`");
    let output = trireme().arg("up").arg(&store.yaml).arg("--dir").arg(&anna.dir).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("an edge has joined"), "{output:?}");
    let output = store.run(&["edge-token", "eve"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no edge `eve` (it has anna, ben)"), "{output:?}");
    // Anna is revoked: she is cut off, told why, and goes on by herself.
    store.apply(&spec(&["ben"]));
    let event = anna.wait_for(|e| e["event"] == "turnedAway");
    assert!(event["why"].as_str().unwrap().contains("anna was revoked"), "{event}");
    assert_eq!(anna.replicas[0].client().call(&["SET", "x", "2"]).unwrap(), "+OK");
    let counted = |status: &Value| status["replicas"][0]["peerRefusals"].as_u64().unwrap() > 0;
    store.wait_status("a refusal is counted", counted);
    assert_eq!(region(&store, "eu")[0].client().call(&["GET", "x"]).unwrap(), "$1");
    assert!(!store.run(&["edge-token", "anna"]).status.success());
    // The name is given again: that is another edge, and the old token is worth nothing.
    store.apply(&spec(&["ben", "anna"]));
    let again = token(&store, "anna");
    assert_ne!(again, annas);
    refused(&["--join", &again], &anna.dir, 2, "number 3 of orders");
    let mut second = Store::join(&root.path().join("second"), &again);
    eventually("the new edge has the store's data", || {
        second.replicas[0].client().call(&["GET", "x"]).unwrap() == "$1"
    });
    assert_eq!(region(&store, "eu")[0].client().call(&["GET", "x"]).unwrap(), "$1");
    second.stop();
    anna.stop();
    store.stop();
}

#[test]
fn a_token_of_another_store_opens_no_door_here() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut stores = roots.iter().map(|root| Store::up(root.path(), &spec(&["anna"]), &[])).collect::<Vec<_>>();
    // The token of the second store, with a door of the first one.
    let theirs = token(&stores[1], "anna");
    let door = format!("{}:7700", leader(&stores[0], "eu").address.ip());
    let dir = roots[0].path().join("anna");
    let mut edge = trireme();
    edge.args(["edge", "--output", "json", "--join", &theirs, "--door", &door, "--address", &address(), "--dir"])
        .arg(&dir);
    let mut edge = edge.stdout(std::process::Stdio::null()).spawn().unwrap();
    let counted = |status: &Value| status["replicas"][0]["peerRefusals"].as_u64().unwrap() > 0;
    stores[0].wait_status("a refusal is counted", counted);
    edge.kill().unwrap();
    edge.wait().unwrap();
    stores.iter_mut().for_each(Store::stop);
}

#[test]
fn an_edge_that_lost_its_disk_begins_under_another_name_and_its_twin_waits_outside() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &spec(&["anna"]), &[]);
    let token = token(&store, "anna");
    let mut anna = Store::join(&root.path().join("anna"), &token);
    for i in 0..100 {
        assert_eq!(anna.replicas[0].client().call(&["INCR", "visits"]).unwrap(), format!(":{}", i + 1));
    }
    agreed(&store, &["GET", "visits"], "$100");
    // The same token on another machine, at the same time.
    let mut twin = trireme();
    twin.args(["edge", "--output", "json", "--join", &token, "--address", &address(), "--dir"]);
    let mut twin = twin.arg(root.path().join("twin")).stdout(std::process::Stdio::null()).spawn().unwrap();
    let counted = |status: &Value| status["replicas"][0]["peerRefusals"].as_u64().unwrap() > 0;
    store.wait_status("the twin is turned away", counted);
    twin.kill().unwrap();
    twin.wait().unwrap();
    // Its process is killed: it has what it had. Its disk is lost: the store has it, and goes on to count from there.
    anna.replicas[0].signal(Signal::KILL);
    eventually("it is back", || {
        anna.look_again();
        let up = std::net::TcpStream::connect(anna.replicas[0].address).is_ok();
        up && anna.replicas[0].client().call(&["GET", "visits"]).is_ok_and(|answer| answer == "$100")
    });
    anna.stop();
    std::fs::remove_dir_all(&anna.dir).unwrap();
    let mut anna = Store::join(&root.path().join("anna"), &token);
    eventually("it has the store's data", || anna.replicas[0].client().call(&["GET", "visits"]).unwrap() == "$100");
    assert_eq!(anna.replicas[0].client().call(&["INCR", "visits"]).unwrap(), ":101");
    agreed(&store, &["GET", "visits"], "$101");
    same(&[&store, &anna]);
    anna.stop();
    store.stop();
}

#[test]
fn the_last_edge_is_told_before_its_door_goes() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &spec(&["anna"]), &[]);
    let token = token(&store, "anna");
    let mut anna = Store::join(&root.path().join("anna"), &token);
    assert_eq!(anna.replicas[0].client().call(&["SET", "x", "1"]).unwrap(), "+OK");
    agreed(&store, &["GET", "x"], "$1");
    store.apply(&spec(&[]));
    let event = anna.wait_for(|e| e["event"] == "turnedAway");
    assert_eq!(event["why"], "the edge anna was revoked: its token lets nobody in any more", "{event}");
    assert_eq!(anna.replicas[0].client().call(&["SET", "x", "2"]).unwrap(), "+OK");
    anna.stop();
    store.stop();
}
