//! Every row of the table of conflicts, on one store with three regions: all rows share one pause of the feeds and one heal in each of their phases.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant, SystemTime},
};

use trireme_conflicts::{REGIONS, Regions, Reply, play, table};

use crate::{
    regions::{THREE, region},
    support::{PATIENCE, Replica, Store},
    tools::{command, eventually, http},
};

/// How far the clock has to move on until a step is later than the one before, whatever the regions have counted within a millisecond.
const LATER: Duration = Duration::from_millis(2);

/// A store whose regions have one replica each.
struct Local<'a> {
    store: &'a Store,
    connections: Vec<(String, TcpStream)>,
    /// When the last phase began to be healed, and how long each took.
    healed: Vec<Duration>,
}

/// The replica of a region.
fn of<'a>(store: &'a Store, name: &str) -> &'a Replica {
    region(store, name)[0]
}

impl<'a> Local<'a> {
    fn of(store: &'a Store) -> Local<'a> {
        let connect = |name: &str| {
            let stream = TcpStream::connect(of(store, name).address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            (name.to_owned(), stream)
        };
        Local { store, connections: REGIONS.map(connect).into(), healed: Vec::new() }
    }

    /// Gives the store its spec, with this annotation.
    fn annotated(&self, pauses: &str) {
        self.store.apply_with(&format!("  annotations: {{trireme.dev/pause-feeds: \"{pauses}\"}}\n"), THREE);
    }

    /// How many feeds each region has that reach another one.
    fn feeds(&mut self, reached: usize) -> bool {
        let info = [vec!["INFO".to_owned(), "replication".to_owned()]].to_vec();
        REGIONS.iter().all(|region| {
            let Ok(Reply::Bulk(text)) = self.ask(region, &info) else { panic!("no text") };
            text.lines().filter(|line| line.starts_with("feed") && line.contains("state=online")).count() == reached
        })
    }
}

impl Regions for Local<'_> {
    fn ask(&mut self, region: &str, commands: &Vec<Vec<String>>) -> Result<Reply, String> {
        let stream = &mut self.connections.iter_mut().find(|(name, _)| name == region).ok_or("no such region")?.1;
        let words = |words: &Vec<String>| command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let bytes: Vec<u8> = commands.iter().flat_map(words).collect();
        stream.write_all(&bytes).map_err(|error| error.to_string())?;
        let (mut heard, mut part, mut replies) = (Vec::new(), [0; 4096], Vec::new());
        while replies.len() < commands.len() {
            while let Some((reply, length)) = Reply::read(&heard)? {
                replies.push(reply);
                heard.drain(..length);
            }
            if replies.len() < commands.len() {
                let length = stream.read(&mut part).map_err(|error| error.to_string())?;
                heard.extend_from_slice(&part[..length]);
                if length == 0 {
                    return Err("the connection was closed".to_owned());
                }
            }
        }
        replies.pop().ok_or("no command".to_owned())
    }

    fn apart(&mut self) -> Result<(), String> {
        self.annotated(&REGIONS.join(","));
        eventually("no region hears another one", || self.feeds(0));
        Ok(())
    }

    fn together(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        self.annotated("");
        eventually("all regions hear each other", || self.feeds(REGIONS.len() - 1));
        eventually("the same digests", || self.store.run(&["verify"]).status.success());
        self.healed.push(begin.elapsed());
        Ok(())
    }

    fn later(&mut self) -> Result<(), String> {
        let begin = SystemTime::now();
        while begin.elapsed().unwrap_or_default() < LATER {
            thread::yield_now();
        }
        Ok(())
    }
}

#[test]
fn every_row_of_the_table_holds_and_what_met_is_listed_and_counted() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), THREE, &[]);
    let mut local = Local::of(&store);
    let begin = Instant::now();
    let played = play(&table().unwrap(), "row:", &mut local).unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{played:?} in {:?}, healed in {:?}", begin.elapsed(), local.healed);
    assert!(played.rows > 60, "{played:?}");
    for name in REGIONS {
        let ask = |words: &str| [words.split(' ').map(str::to_owned).collect::<Vec<_>>()].to_vec();
        let Reply::Array(entries) = local.ask(name, &ask("CONFLICTS GET -1")).unwrap() else { panic!("no entries") };
        assert!(entries.len() > 20, "{name}: {} entries", entries.len());
        assert_eq!(local.ask(name, &ask("CONFLICTS LEN")).unwrap(), Reply::Integer(entries.len() as i64));
        let page = http(of(&store, name), "/metrics");
        for what in ["string", "hash", "set", "zset", "list", "expiry", "type"] {
            let line = page.lines().find(|line| {
                line.starts_with("trireme_conflicts_total{") && line.contains(&format!(",type=\"{what}\"}}"))
            });
            let count: u64 =
                line.unwrap_or_else(|| panic!("no {what}: {page}")).rsplit_once(' ').unwrap().1.parse().unwrap();
            // Who joins both sides of a removal may have got the removal first, and can tell nothing: see `engine::conflicts`.
            assert!(count > 0 || what == "set" || what == "list", "{name}: {what}");
        }
    }
    drop(local);
    store.stop();
}

#[test]
fn conflicts_are_written_down_in_lists_that_all_regions_have() {
    const LISTED: &str = "  conflicts: {list: met, length: 5}\n";
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), &format!("{THREE}{LISTED}"), &[]);
    let pauses = |pauses: &str| {
        let annotations = format!("  annotations: {{trireme.dev/pause-feeds: \"{pauses}\"}}\n");
        store.apply_with(&annotations, &format!("{THREE}{LISTED}"));
    };
    let mut clients = REGIONS.map(|name| of(&store, name).client());
    let mut local = Local::of(&store);
    pauses(&REGIONS.join(","));
    eventually("no region hears another one", || local.feeds(0));
    for key in 0..4 {
        for (client, name) in clients.iter_mut().zip(REGIONS) {
            assert_eq!(client.call(&["SET", &format!("k{key}"), name]).unwrap(), "+OK");
            local.later().unwrap();
        }
    }
    pauses("");
    eventually("all regions hear each other", || local.feeds(REGIONS.len() - 1));
    let last = format!("met:{}", REGIONS[2]);
    // The last region wrote what is shown: of each key it has met both of the others' values.
    for client in &mut clients {
        eventually("written down", || client.call(&["LLEN", &last]).unwrap() == ":5");
        let element = client.call(&["LINDEX", &last, "-1"]).unwrap();
        let json: serde_json::Value = serde_json::from_str(element.trim_start_matches('$')).unwrap();
        let [shown, others @ ..] = &json["versions"].as_array().unwrap()[..] else { panic!("{json}") };
        assert!(json["key"].as_str().unwrap().starts_with('k') && json["type"] == "string", "{json}");
        assert!(shown["shown"] == true && shown["value"] == REGIONS[2] && !others.is_empty(), "{json}");
        assert!(others.iter().all(|other| other["shown"] == false), "{json}");
    }
    drop((clients, local));
    store.stop();
}
