//! A user's program with redis-rs, run by operator/cli/tests/clients; e2e/clients/README.md says what it does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use redis::{Commands as _, Connection, ConnectionLike as _, RedisResult, ScanOptions, ServerErrorKind, Value};

const PATIENCE: Duration = Duration::from_secs(30);
const MANY: usize = 3000;

/// How a connection is made.
#[derive(Clone, Debug)]
struct Address {
    protocol: String,
    at: String,
}

impl Address {
    fn connect(&self) -> Connection {
        self.dial(PATIENCE).unwrap()
    }

    fn dial(&self, timeout: Duration) -> RedisResult<Connection> {
        let client = redis::Client::open(format!("redis://{}/?protocol=resp{}", self.at, self.protocol))?;
        let connection = client.get_connection_with_timeout(timeout)?;
        connection.set_read_timeout(Some(timeout))?;
        Ok(connection)
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn ask<T: redis::FromRedisValue>(store: &mut Connection, command: &str) -> RedisResult<T> {
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        asked.arg(word);
    });
    asked.query(store)
}

fn hello(at: &Address, here: &mut Connection, there: &mut Connection) {
    let mut named = at.connect();
    let _: () = named.client_setname("rust").unwrap();
    assert_eq!(named.client_getname::<String>().unwrap(), "rust");
    let about: String = ask(&mut named, "CLIENT INFO").unwrap();
    assert!(about.contains(&format!(" resp={}", at.protocol)) && about.contains("lib-name=redis-rs"), "{about}");
    let server: String = ask(&mut named, "INFO server").unwrap();
    assert!(server.contains("redis_version:7.2."), "{server}");
    let _: () = here.hset_multiple("hash", &[("a", "1"), ("b", "2")]).unwrap();
    let _: () = here.zadd_multiple("scores", &[(1.5, "x"), (f64::INFINITY, "y")]).unwrap();
    let _: () = here.sadd("set", "m").unwrap();
    let hash: BTreeMap<String, i64> = there.hgetall("hash").unwrap();
    assert_eq!(hash, BTreeMap::from([("a".into(), 1), ("b".into(), 2)]));
    assert_eq!(there.zscore::<_, _, f64>("scores", "x").unwrap(), 1.5);
    let scores: Vec<(String, f64)> = there.zrange_withscores("scores", 0, -1).unwrap();
    assert_eq!(scores, [("x".into(), 1.5), ("y".into(), f64::INFINITY)]);
    assert_eq!(there.smembers::<_, Vec<String>>("set").unwrap(), ["m"]);
    assert_eq!(there.get::<_, Option<String>>("nothing").unwrap(), None);
    // Any bytes, and a lot of them.
    let raw: Vec<u8> = (0..2_usize << 20).map(|at| at as u8).collect();
    let _: () = here.set("bytes", &raw).unwrap();
    assert!(there.get::<_, Vec<u8>>("bytes").unwrap() == raw);
}

fn pipelines(here: &mut Connection, there: &mut Connection) {
    let mut pipe = redis::pipe();
    for number in 0..MANY {
        pipe.set(format!("piped:{number}"), number).ignore().incr("piped", 1);
    }
    let counted: Vec<usize> = pipe.query(here).unwrap();
    assert!(counted.into_iter().eq(1..=MANY));
    let mut pipe = redis::pipe();
    (0..MANY).for_each(|number| {
        pipe.get(format!("piped:{number}"));
    });
    let read: Vec<usize> = pipe.query(there).unwrap();
    assert!(read.into_iter().eq(0..MANY));
    let wrong = there.lpush::<_, _, Value>("piped", "x").unwrap_err();
    assert_eq!(wrong.code(), Some("WRONGTYPE"));
}

fn transactions(here: &mut Connection, there: &mut Connection) {
    let _: () = here.set("balance", 10).unwrap();
    let mut tries = 0;
    // Somebody else is faster the first time, at another replica.
    let raised: (i64,) = redis::transaction(here, &["balance"], |store, pipe| {
        let seen: i64 = store.get("balance")?;
        tries += 1;
        if tries == 1 {
            let _: () = there.set("balance", 100)?;
        }
        pipe.set("balance", seen + 1).ignore().get("balance").query(store)
    })
    .unwrap();
    assert_eq!((raised, tries), ((101,), 2));
    assert_eq!(there.get::<_, i64>("balance").unwrap(), 101);
}

fn subscribers(at: &Address, here: &mut Connection, there: &mut Connection) {
    let mut connection = at.connect();
    let mut sub = connection.as_pubsub();
    sub.subscribe("news").unwrap();
    sub.psubscribe("weather.*").unwrap();
    let mut hear = || {
        let message = sub.get_message().unwrap();
        format!("{}: {}", message.get_channel_name(), message.get_payload::<String>().unwrap())
    };
    for number in 0..10 {
        let _: () = there.publish("news", format!("item {number}")).unwrap();
        assert_eq!(hear(), format!("news: item {number}"));
        let _: () = here.publish("weather.rome", format!("{number} degrees")).unwrap();
        assert_eq!(hear(), format!("weather.rome: {number} degrees"));
    }
    assert_eq!(ask::<Vec<String>>(here, "PUBSUB CHANNELS").unwrap(), ["news"]);
    drop(sub);
    // Without its subscriptions it is an ordinary connection again.
    assert_eq!(connection.get::<_, Option<String>>("nothing").unwrap(), None);
}

fn blocking(at: &Address, here: &mut Connection, there: &mut Connection) {
    assert_eq!(here.blpop::<_, Option<Value>>("queue", 0.1).unwrap(), None);
    let at = at.clone();
    let waits = thread::spawn(move || at.connect().blpop(&["other", "queue"], PATIENCE.as_secs_f64()));
    until("waited for", || ask::<String>(here, "CLIENT LIST").unwrap().contains("cmd=blpop"));
    let _: () = there.rpush("queue", "job").unwrap();
    let found: (String, String) = waits.join().unwrap().unwrap();
    assert_eq!(found, ("queue".into(), "job".into()));
    assert_eq!(there.llen::<_, usize>("queue").unwrap(), 0);
}

fn scans(here: &mut Connection, there: &mut Connection) {
    let names: BTreeSet<String> = (0..MANY).map(|number| format!("scan:{number}")).collect();
    let pairs: Vec<(&String, &str)> = names.iter().map(|name| (name, "v")).collect();
    let ranked: Vec<(usize, &String)> = names.iter().map(|name| (1, name)).collect();
    let _: () = here.mset(&pairs).unwrap();
    let _: () = here.hset_multiple("fields", &pairs).unwrap();
    let _: () = here.sadd("members", Vec::from_iter(&names)).unwrap();
    let _: () = here.zadd_multiple("ranked", &ranked).unwrap();
    let mut keys = |options: ScanOptions| -> BTreeSet<String> {
        there.scan_options(options).unwrap().collect::<RedisResult<_>>().unwrap()
    };
    assert_eq!(keys(ScanOptions::default().with_pattern("scan:*").with_count(100)), names);
    let ones = names.iter().filter(|name| name.starts_with("scan:1")).cloned().collect();
    let options = ScanOptions::default().with_pattern("scan:1*").with_count(1000).with_type("string");
    assert_eq!(keys(options), ones);
    let fields: HashMap<String, String> = there.hscan("fields").unwrap().collect::<RedisResult<_>>().unwrap();
    assert_eq!(fields.into_keys().collect::<BTreeSet<_>>(), names);
    assert_eq!(there.sscan("members").unwrap().collect::<RedisResult<BTreeSet<String>>>().unwrap(), names);
    let ranked: HashMap<String, f64> = there.zscan("ranked").unwrap().collect::<RedisResult<_>>().unwrap();
    assert_eq!(ranked.into_keys().collect::<BTreeSet<_>>(), names);
}

fn timeouts(at: &Address) {
    let mut hasty = at.dial(Duration::from_millis(200)).unwrap();
    let _: () = hasty.set("there", "yes").unwrap();
    let late = hasty.blpop::<_, Value>("never", 1.0).unwrap_err();
    assert!(late.is_timeout(), "{late}");
    // The late answer is skipped, and what is asked next gets its own.
    hasty.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(hasty.get::<_, String>("there").unwrap(), "yes");
}

fn scripts(here: &mut Connection) {
    for (command, says) in
        [("EVAL x 0", "unknown command"), ("SCRIPT LOAD x", "script"), ("EVALSHA x 0", "unknown command")]
    {
        let error = ask::<Value>(here, command).unwrap_err();
        assert_eq!(error.kind(), redis::ErrorKind::Server(ServerErrorKind::ResponseError));
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(ask::<String>(here, "PING").unwrap(), "PONG");
}

/// Writes numbered keys, each with itself as its value, one after the other, and knows which it was told OK.
struct Writer {
    count: Arc<AtomicUsize>,
    least: Arc<AtomicUsize>,
    thread: thread::JoinHandle<(Vec<String>, Vec<String>)>,
}

impl Writer {
    fn start(name: &str, at: &Address) -> Writer {
        let (name, at) = (format!("rust{}:{name}", at.protocol), at.clone());
        let (count, least) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(usize::MAX)));
        let (counts, enough) = (Arc::clone(&count), Arc::clone(&least));
        let thread = thread::spawn(move || {
            let (mut told, mut errors, mut number) = (Vec::new(), Vec::new(), 0);
            // Connecting again is the program's task with this library.
            while told.len() < enough.load(Relaxed) {
                let Ok(mut store) = at.dial(Duration::from_secs(5)) else {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                };
                while store.is_open() && told.len() < enough.load(Relaxed) {
                    let key = format!("{name}:{number}");
                    number += 1;
                    match store.set::<_, _, ()>(&key, &key) {
                        Ok(()) => told.push(key),
                        Err(error) => errors.push(error.to_string()),
                    }
                    counts.store(told.len(), Relaxed);
                }
            }
            (told, errors)
        });
        Writer { count, least, thread }
    }
}

fn failover(addresses: &[Address]) {
    let writers = [Writer::start("leader", &addresses[0]), Writer::start("follower", &addresses[1])];
    until("written", || writers.iter().all(|writer| writer.count.load(Relaxed) >= 200));
    println!("writing");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    assert_eq!(line, "killed\n");
    for writer in &writers {
        writer.least.store(writer.count.load(Relaxed) + 200, Relaxed);
    }
    until("gone on", || writers.iter().all(|writer| writer.thread.is_finished()));
    let [(mut told, first), (more, second)] = writers.map(|writer| writer.thread.join().unwrap());
    told.extend(more);
    let mut lost = 0;
    for address in addresses {
        let mut pipe = redis::pipe();
        told.iter().for_each(|key| {
            pipe.get(key);
        });
        let values: Vec<Option<String>> = pipe.query(&mut address.connect()).unwrap();
        lost += told.iter().zip(&values).filter(|(key, value)| Some(*key) != value.as_ref()).count();
    }
    assert_eq!(second, Vec::<String>::new());
    println!("acknowledged {}, lost {lost}, errors {}", told.len(), first.len());
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let protocol = arguments.next().unwrap();
    let addresses: Vec<Address> = arguments.map(|at| Address { protocol: protocol.clone(), at }).collect();
    let at = &addresses[0];
    let (here, there) = (&mut at.connect(), &mut addresses[1].connect());
    let did = |step: &str| println!("{step}");
    hello(at, here, there);
    did("hello");
    pipelines(here, there);
    did("pipelines");
    transactions(here, there);
    did("transactions");
    subscribers(at, here, there);
    did("subscribers");
    blocking(at, here, there);
    did("blocking");
    scans(here, there);
    did("scans");
    timeouts(at);
    did("timeouts");
    scripts(here);
    did("scripts");
    failover(&addresses);
}
