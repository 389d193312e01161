//! Sessions that go on at other replicas, while others write, while a leader is killed, and where what they have seen is lost.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    regions::{THREE, TWO, firewall, region},
    support::{Client, Replica, Store},
    tools::{Load, SPEC, assert_undisturbed, eventually, isolated, leader_alone, metric},
};

/// No leader, and neither writes nor reads ask another replica.
const ALONE: &str = "  mode: Leaderless\n  w: 1\n  r: 1\n";
/// One session goes so often from replica to replica.
const ROUNDS: usize = 200;

fn ask(client: &mut Client, command: &[&str]) -> String {
    client.call(command).unwrap()
}

/// A connection that reads what its own replica has.
fn reader(replica: &Replica) -> Client {
    let mut client = replica.client();
    assert_eq!(ask(&mut client, &["READONLY"]), "+OK");
    client
}

fn token(client: &mut Client) -> String {
    let token = ask(client, &["SESSION", "TOKEN"]);
    let token = token.strip_prefix('$').unwrap_or_else(|| panic!("{token}"));
    assert!(token.len() <= 64, "{token}");
    token.to_owned()
}

fn resume(client: &mut Client, token: &str) {
    assert_eq!(ask(client, &["SESSION", "RESUME", token]), "+OK");
}

/// One session counts up at one replica after the other, and reads at the next one what it has written; the longest that such a read took. `guarantees`
/// are chosen on each connection. Returns how many reads were older.
fn go_round(replicas: &[&Replica], key: &str, guarantees: &str) -> (usize, Duration) {
    let (mut older, mut longest) = (0, Duration::ZERO);
    let mut carried: Option<String> = None;
    for round in 0..ROUNDS {
        let here = replicas[round % replicas.len()];
        let there = replicas[(round + 1) % replicas.len()];
        let mut writer = here.client();
        if let Some(token) = &carried {
            resume(&mut writer, token);
        }
        assert_eq!(ask(&mut writer, &["SET", key, &round.to_string()]), "+OK");
        let token = token(&mut writer);
        let mut reads = reader(there);
        assert_eq!(ask(&mut reads, &["SESSION", "GUARANTEES", guarantees]), "+OK");
        resume(&mut reads, &token);
        let since = Instant::now();
        let found = ask(&mut reads, &["GET", key]);
        longest = longest.max(since.elapsed());
        older += usize::from(found != format!("${round}"));
        carried = Some(token);
    }
    (older, longest)
}

#[test]
fn a_session_reads_what_it_wrote_wherever_it_goes_on() {
    for spec in [SPEC, TWO, ALONE] {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::up(root.path(), spec, &[]);
        let load = Load::start("l", &store.replicas);
        let all: Vec<&Replica> = store.replicas.iter().collect();
        let (older, longest) = go_round(&all, "round", "DEFAULT");
        println!("{}: longest read {longest:?}", spec.trim().replace('\n', ","));
        assert_eq!(older, 0, "{spec}");
        let (without, _) = go_round(&all, "control", "NONE");
        println!("without guarantees {without} of {ROUNDS} reads were older");
        assert_undisturbed(&load.finish());
        store.stop();
    }
}

#[test]
fn a_session_survives_its_leader() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let leader = store.replica(&store.leader()).clone();
    let mut client = leader.client();
    assert_eq!(ask(&mut client, &["SET", "a", "1"]), "+OK");
    let token = token(&mut client);
    leader.signal(Signal::KILL);
    for other in store.replicas.iter().filter(|replica| replica.name != leader.name) {
        let mut reads = reader(other);
        resume(&mut reads, &token);
        assert_eq!(ask(&mut reads, &["GET", "a"]), "$1", "at {}", other.name);
        assert_eq!(ask(&mut reads, &["SET", &other.name, "1"]), "+OK");
    }
    store.stop();
}

#[test]
fn a_token_that_is_none_is_refused_and_counted() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let [one, other, ..] = &store.replicas[..] else { panic!() };
    let (mut client, mut there) = (one.client(), other.client());
    assert_eq!(ask(&mut client, &["SET", "a", "1"]), "+OK");
    let token = token(&mut client);
    let mut forged = token.clone().into_bytes();
    forged[9] ^= 1;
    for (text, why) in [
        (String::from_utf8(forged).unwrap(), "-BADTOKEN it was changed"),
        (token[..token.len() - 4].to_owned(), "-BADTOKEN it "),
        ("hello".to_owned(), "-BADTOKEN it is no session token"),
    ] {
        let said = ask(&mut there, &["SESSION", "RESUME", &text]);
        assert!(said.starts_with(why), "{text}: {said}");
    }
    assert_eq!(metric(other, "trireme_session_tokens_refused_total"), 3);
    let key = std::fs::metadata(store.dir.join("session.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    // Another store has another key.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut second = Store::up(elsewhere.path(), SPEC, &[]);
    let said = ask(&mut second.replicas[0].client(), &["SESSION", "RESUME", &token]);
    assert!(said.starts_with("-BADTOKEN it is of another store"), "{said}");
    second.stop();
    // And the store knows its tokens when all of it was started again.
    store.stop();
    store.start(&[]);
    let mut reads = reader(&store.replicas[2]);
    resume(&mut reads, &token);
    assert_eq!(ask(&mut reads, &["GET", "a"]), "$1");
    store.stop();
}

#[test]
fn what_was_lost_with_a_leader_is_said_to_who_has_seen_it_and_then_recovered() {
    let root = tempfile::tempdir().unwrap();
    let spec = "  mode: SingleLeader\n  w: 1\n  failover: { giveUpAfter: 300ms }\n";
    let mut store = Store::up(root.path(), spec, &[]);
    let leader = leader_alone(&mut store);
    let mut client = leader.client();
    for number in 0..10 {
        assert_eq!(ask(&mut client, &["SET", &format!("k{number}"), "1"]), "+OK");
    }
    let token = token(&mut client);
    leader.signal(Signal::STOP);
    store.wait_for(|e| e["decision"] == "serving" && e["leader"] != leader.name.as_str());
    let new = store.replica(&store.leader()).clone();
    let mut client = new.client();
    resume(&mut client, &token);
    let said = ask(&mut client, &["GET", "k0"]);
    assert!(said.starts_with("-LOSTWRITE 10 entries"), "{said}");
    assert_eq!(ask(&mut client, &["GET", "k0"]), "$-1", "said once");
    assert_eq!(metric(&new, "trireme_lost_writes_told_total"), 1);
    leader.signal(Signal::KILL);
    eventually("recovered", || ask(&mut new.client(), &["GET", "k9"]) == "$1");
    // With the same token nothing is missing any more.
    let mut client = new.client();
    resume(&mut client, &token);
    assert_eq!(ask(&mut client, &["GET", "k0"]), "$1");
    store.stop();
}

#[test]
fn a_region_that_is_behind_says_so() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{TWO}  session: {{ waitMs: 200 }}\n"), &[]);
    let eu = region(&store, "eu")[0].clone();
    let us: Vec<Replica> = region(&store, "us").into_iter().cloned().collect();
    let mut client = eu.client();
    assert_eq!(ask(&mut client, &["SET", "a", "1"]), "+OK");
    eventually("arrived", || ask(&mut reader(&us[0]), &["GET", "a"]) == "$1");
    // The other region hears nothing of it for a while.
    region(&store, "eu").iter().for_each(|replica| assert_eq!(ask(&mut replica.client(), &["PING"]), "+PONG"));
    us.iter().for_each(|replica| replica.signal(Signal::STOP));
    assert_eq!(ask(&mut client, &["SET", "a", "2"]), "+OK");
    let token = token(&mut client);
    region(&store, "eu").iter().for_each(|replica| replica.signal(Signal::STOP));
    us.iter().for_each(|replica| replica.signal(Signal::CONT));
    let mut reads = reader(&us[0]);
    resume(&mut reads, &token);
    let said = ask(&mut reads, &["GET", "a"]);
    assert!(said == "$2" || said.starts_with("-STALE 1 entries"), "{said}");
    region(&store, "eu").iter().for_each(|replica| replica.signal(Signal::CONT));
    eventually("arrived", || ask(&mut reads, &["GET", "a"]) == "$2");
    store.stop();
}

#[test]
fn a_read_goes_to_a_region_that_has_what_its_session_has_seen() {
    if !isolated("sessions::a_read_goes_to_a_region_that_has_what_its_session_has_seen") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let spec = format!("{THREE}  session: {{ waitMs: 200 }}\n  feedBytesPerSecond: 64Ki\n  feedCompression: Off\n");
    let mut store = Store::up(root.path(), &spec, &[]);
    let [eu, us, asia] = ["eu", "us", "asia"].map(|name| region(&store, name)[0].clone());
    let (mut client, mut reads) = (eu.client(), asia.client());
    assert_eq!(ask(&mut client, &["SET", "a", "old"]), "+OK");
    eventually("arrived", || ask(&mut reads, &["GET", "a"]) == "$old");
    // Another region has it at once; what that one passes on of it takes half a minute.
    firewall("-A", &[&eu], &[&asia]);
    let (large, value) = ("x".repeat(2 << 20), "new");
    assert_eq!(ask(&mut client, &["SET", "large", &large]), "+OK");
    assert_eq!(ask(&mut client, &["SET", "a", value]), "+OK");
    eventually("there", || ask(&mut us.client(), &["GET", "a"]) == "$new");
    let token = token(&mut client);
    assert_eq!(ask(&mut reads, &["GET", "a"]), "$old", "without a token");
    resume(&mut reads, &token);
    eventually("fetched", || match ask(&mut reads, &["GET", "a"]).as_str() {
        "$new" => true,
        // The other region has not said yet what it holds.
        said => {
            assert!(said.starts_with("-STALE"), "{said}");
            false
        }
    });
    let since = Instant::now();
    assert_eq!(ask(&mut reads, &["GET", "a"]), "$new");
    assert!(since.elapsed() < Duration::from_millis(200), "it has waited before: {:?}", since.elapsed());
    assert_eq!(ask(&mut asia.client(), &["GET", "a"]), "$old", "it has not come here meanwhile");
    let said = ask(&mut reads, &["SET", "b", "1"]);
    assert!(said.starts_with("-STALE"), "{said}");
    firewall("-D", &[&eu], &[&asia]);
    store.stop();
}
