//! Every row of the table of conflicts, on a store with three regions of one replica: all rows share one pause of the feeds and one heal in each phase.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;
use trireme_conflicts::{Regions, Reply, play, table};

use crate::{
    harness::{
        Case, Failure, Outcome, Stage, Store, ensure,
        load::{answered, password},
        stage::poll,
        store::{CLIENT_PORT, Pod},
    },
    leaderless::verify,
    multi_leader::leader,
};

pub const CASES: &[Case] = &[Case { name: "multi_leader_conflicts", faults: false, run: conflicts }];

/// Longest time until feeds are paused, or reach each other again.
const FEEDS: Duration = Duration::from_secs(20);
/// Longest wait for an answer.
const ANSWERED: Duration = Duration::from_secs(12);
/// How far the clock has to move on until a step is later than the one before, on any node.
const LATER: Duration = Duration::from_millis(50);

/// Every row of the table of conflicts.
fn conflicts(stage: &Stage) -> Outcome {
    let regions = ["r1", "r2", "r3"];
    let store = stage.store(
        "carts",
        &json!({ "mode": "MultiLeader", "n": 1, "regions": regions.map(|name| json!({ "name": name })) }),
    )?;
    store.all_pods_ready(3)?;
    let leaders = regions.iter().map(|region| leader(&store, region)).collect::<Outcome<Vec<Pod>>>()?;
    let mut live = Live::of(&store, &leaders)?;
    let families = table().map_err(Failure)?;
    let played = play(&families, "row:", &mut live).map_err(Failure)?;
    println!("    {played:?}");
    for pod in &leaders {
        let kept = answered(&store, pod, &["CONFLICTS", "LEN"])?;
        ensure(kept.parse::<u64>().is_ok_and(|kept| kept > 20), || format!("{} lists {kept} conflicts", pod.name))?;
    }
    verify(&store)
}

/// Sends commands, and gives the last one's reply.
fn last_reply(stream: &mut TcpStream, commands: &[Vec<String>]) -> Result<Reply, String> {
    let said = |error: std::io::Error| error.to_string();
    let mut bytes = Vec::new();
    for command in commands {
        bytes.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
        let words = command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        words.for_each(|word| bytes.extend_from_slice(word.as_bytes()));
    }
    stream.write_all(&bytes).map_err(said)?;
    let (mut heard, mut part, mut replies) = (Vec::new(), [0; 4096], Vec::new());
    while replies.len() < commands.len() {
        let length = stream.read(&mut part).map_err(said)?;
        if length == 0 {
            return Err("the connection was closed".to_owned());
        }
        heard.extend_from_slice(&part[..length]);
        while let Some((reply, length)) = Reply::read(&heard)? {
            replies.push(reply);
            heard.drain(..length);
        }
    }
    replies.pop().ok_or("no command".to_owned())
}

/// A store whose regions have one replica each, and a connection to each: to ask the API server for the password before each of a thousand commands would
/// take most of the time.
struct Live<'a> {
    store: &'a Store<'a>,
    leaders: &'a [Pod],
    connections: Vec<TcpStream>,
}

impl<'a> Live<'a> {
    fn of(store: &'a Store<'a>, leaders: &'a [Pod]) -> Outcome<Live<'a>> {
        let password = password(store)?;
        let connect = |pod: &Pod| {
            let mut stream = TcpStream::connect((pod.address, CLIENT_PORT)).map_err(|error| error.to_string())?;
            stream.set_read_timeout(Some(ANSWERED)).map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            if let Some(password) = &password {
                last_reply(&mut stream, &[vec!["AUTH".to_owned(), password.clone()]])?;
            }
            Ok(stream)
        };
        let failed = |pod: &Pod, why: String| Failure(format!("{}: {why}", pod.name));
        let connections =
            leaders.iter().map(|pod| connect(pod).map_err(|why| failed(pod, why))).collect::<Outcome<_>>()?;
        Ok(Live { store, leaders, connections })
    }
}

impl Live<'_> {
    /// Pauses the feeds of all regions, or none, and waits until it is so: how many reach another region at each.
    fn feeds(&mut self, pauses: Option<&str>, reached: usize) -> Result<(), String> {
        self.store.annotate("pause-feeds", pauses).map_err(|why| why.0)?;
        let info = [vec!["INFO".to_owned(), "replication".to_owned()]];
        let mut holds = |stream: &mut TcpStream| {
            let Ok(Reply::Bulk(text)) = last_reply(stream, &info) else { return false };
            text.lines().filter(|line| line.starts_with("feed") && line.contains("state=online")).count() == reached
        };
        poll(FEEDS, &format!("{reached} feeds at each region"), || {
            Ok(self.connections.iter_mut().all(&mut holds).then_some(()))
        })
        .map_err(|why| why.0)
    }
}

impl Regions for Live<'_> {
    fn ask(&mut self, region: &str, commands: &Vec<Vec<String>>) -> Result<Reply, String> {
        let at = trireme_conflicts::REGIONS.iter().position(|name| *name == region).ok_or("no such region")?;
        last_reply(&mut self.connections[at], commands).map_err(|why| format!("{}: {why}", self.leaders[at].name))
    }

    fn apart(&mut self) -> Result<(), String> {
        self.feeds(Some("r1,r2,r3"), 0)
    }

    fn together(&mut self) -> Result<(), String> {
        self.feeds(None, self.leaders.len() - 1)?;
        verify(self.store).map_err(|why| why.0)
    }

    fn later(&mut self) -> Result<(), String> {
        std::thread::sleep(LATER);
        Ok(())
    }
}
