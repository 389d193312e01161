//! An edge of a store in a cluster: it comes by the store's Service, works while it sees nobody, and is turned away once it is revoked.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;

use crate::{
    harness::{
        Case, Failure, Outcome, Stage, Store, ensure,
        load::{answered, call},
        plugin::{program, says},
        stage::poll,
    },
    multi_leader::leader,
};

pub const CASES: &[Case] = &[Case { name: "edge", faults: false, run: edge }];

/// Regions, each of which is a node of the cluster for tests.
const REGIONS: [&str; 2] = ["r1", "r2"];
/// Where the edge listens.
const AT: Ipv4Addr = Ipv4Addr::new(127, 66, 7, 1);
const CLIENT_PORT: u16 = 6379;
/// Longest time until what was written at one end is read at the other.
const FED: Duration = Duration::from_secs(15);

/// `trireme edge` in a directory of its own, both of which go with it.
struct Edge {
    dir: PathBuf,
    child: Option<Child>,
}

impl Edge {
    fn start(&mut self, join: &[&str]) -> Outcome {
        let failed = |error: std::io::Error| Failure(format!("trireme edge: {error}"));
        let output = fs::File::create(self.dir.with_extension("log")).map_err(failed)?;
        let mut command = Command::new(program("trireme-cli", "trireme")?);
        command.args(["edge", "--output", "json", "--address", &AT.to_string(), "--dir"]).arg(&self.dir).args(join);
        self.child = Some(command.stdin(Stdio::null()).stdout(output).spawn().map_err(failed)?);
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Everything that it has told.
    fn told(&self) -> String {
        fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_file(self.dir.with_extension("log"));
    }
}

fn edge(stage: &Stage) -> Outcome {
    let spec = json!({
        "mode": "MultiLeader", "n": 1, "w": 1, "auth": { "enabled": false },
        "regions": REGIONS.map(|name| json!({ "name": name })), "edges": [{ "name": "anna" }],
    });
    let store = stage.store("carts", &spec)?;
    store.all_pods_ready(2)?;
    let token = says(&store, &["edge-token", "carts", "anna"], 0, "trireme-edge-1.")?.trim().to_owned();
    let dir = std::env::temp_dir().join(format!("trireme-edge-{}", std::process::id()));
    let mut anna = Edge { dir, child: None };
    anna.start(&["--join", &token])?;
    at_edge(&store, &["SET", "hello", "anna"])?;
    in_regions(&store, "hello", "anna")?;
    answered(&store, &leader(&store, REGIONS[0])?, &["SET", "hello", "cluster"])?;
    poll(FED, "what was written in the cluster", || {
        Ok((at_edge(&store, &["GET", "hello"])? == "cluster").then_some(()))
    })?;
    // The store's leaders are lost: the edge goes on, and finds the next ones by the Service.
    stage.kubectl(&["delete", "pod", "--wait=true", "-l", "trireme.dev/store=carts"])?;
    at_edge(&store, &["SET", "alone", "1"])?;
    // Its process is killed, too; what it acknowledged is on its own disk.
    anna.stop();
    // Its replica ends with it, a moment later.
    let free = || TcpListener::bind((AT, CLIENT_PORT)).is_ok();
    poll(FED, "the edge's replica to end", || Ok(free().then_some(())))?;
    anna.start(&[])?;
    poll(FED, "the edge is back", || Ok(at_edge(&store, &["GET", "alone"]).ok().filter(|answer| answer == "1")))?;
    store.all_pods_ready(2)?;
    in_regions(&store, "alone", "1")?;
    let away = store.status()?.groups.iter().flat_map(|group| group.feeds.clone()).any(|feed| feed.edge);
    ensure(away, || "the status does not say how the edge stands".to_owned())?;
    store.patch(&json!({ "edges": [] }))?;
    poll(FED, "the edge is told that it was revoked", || Ok(anna.told().contains("anna was revoked").then_some(())))?;
    at_edge(&store, &["SET", "after", "1"]).map(drop)
}

/// What the edge answers.
fn at_edge(store: &Store<'_>, arguments: &[&str]) -> Outcome<String> {
    let at = SocketAddr::from((AT, CLIENT_PORT));
    poll(FED, "an answer of the edge", || match call(store, at, arguments) {
        Ok(trireme_cli::resp::Reply::Bytes(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Ok(trireme_cli::resp::Reply::Nothing) => Ok(Some(String::new())),
        Ok(trireme_cli::resp::Reply::Error(error)) => Err(Failure(format!("the edge answers {error}"))),
        // It is being started.
        Err(_) => Ok(None),
        Ok(list) => Err(Failure(format!("the edge answers {list:?}"))),
    })
}

/// Every region comes to read this.
fn in_regions(store: &Store<'_>, key: &str, value: &str) -> Outcome {
    for region in REGIONS {
        poll(FED, &format!("{key} in {region}"), || {
            let pod = leader(store, region)?;
            Ok(answered(store, &pod, &["GET", key]).ok().filter(|answer| answer == value))
        })?;
    }
    Ok(())
}
