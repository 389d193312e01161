//! What alerts and dashboard ask of replicas is what replicas export: compared with real ones, in every mode.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
};

#[allow(dead_code, reason = "shared with the other tests of the command, which use more of it")]
mod support;

use support::Store;

/// Names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    text.split(word).filter(|name| name.starts_with("trireme_")).map(str::to_owned).collect()
}

/// Lines of a file of the chart that have this in them.
fn lines(file: &str, with: &str) -> String {
    let chart = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../charts/trireme");
    let text = fs::read_to_string(chart.join(file)).unwrap();
    text.lines().filter(|line| line.contains(with)).collect()
}

/// What a replica says of itself.
fn scrape(client_address: SocketAddr) -> String {
    let mut stream = TcpStream::connect((client_address.ip(), 9600)).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.0 200") || text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

#[test]
fn alerts_and_dashboard_ask_for_what_replicas_export() {
    let modes = [
        "  mode: SingleLeader\n  \"n\": 2\n  w: 1\n",
        "  mode: Leaderless\n  \"n\": 2\n  w: 1\n  r: 1\n",
        "  mode: MultiLeader\n  \"n\": 1\n  w: 1\n  regions: [{name: eu}, {name: us}]\n",
    ];
    let mut exported = BTreeSet::new();
    for spec in modes {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::up(root.path(), &format!("{spec}  durability: Memory\n"), &["--no-page"]);
        store.wait_whole();
        for replica in &store.replicas {
            exported.extend(names(&scrape(replica.address)));
        }
        store.stop();
    }
    assert!(exported.len() > 40, "{exported:?}");
    for (file, with) in [("templates/_alerts.tpl", " expr: "), ("files/dashboards/trireme.json", "\"expr\": ")] {
        // What the operator exports is compared with that by its own test.
        let own = ["trireme_store_", "trireme_operator_", "trireme_slo_"];
        let others = |name: &String| !own.iter().any(|prefix| name.starts_with(prefix));
        let asked: BTreeSet<String> = names(&lines(file, with)).into_iter().filter(others).collect();
        assert!(asked.len() >= 4, "{file}: {asked:?}");
        let missing: Vec<&String> = asked.difference(&exported).collect();
        assert!(missing.is_empty(), "{file} asks for what no replica exports: {missing:?}");
    }
}
