//! Keyspace events of random commands on an engine and on a real server: the same messages, in the same order, byte for byte.

use super::differential::{AT_ONCE, command, shrink, words};
use super::server::Server;
use super::value::{self, Value};
use super::{Store, real_server, real_server_with};
use crate::clients::pubsub::spread::Spread;
use fastrand::Rng;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

/// Random sequences, each with this many commands, at as many servers at the same time.
const SEQUENCES: u64 = 250;
const COMMANDS: usize = 400;
const SERVERS: u64 = 2;
/// What is asked for, in turns.
const CLASSES: [&str; 6] = ["KEA", "KEAmn", "Eg$lszhn", "KEgm", "Eml", "KEn"];

/// A channel and what was said there.
type Message = (Vec<u8>, Vec<u8>);

/// A connection to a real server that hears of everything.
struct Listener(BufReader<UnixStream>);

impl Listener {
    fn of(server: &Server) -> Listener {
        let mut stream = server.another();
        stream.get_mut().write_all(b"PSUBSCRIBE __key*\r\nSUBSCRIBE end\r\n").expect("redis-server takes commands");
        (0..2).for_each(|_| drop(value::read(&mut stream).expect("redis-server answers")));
        Listener(stream)
    }

    /// What is heard until somebody says the end.
    fn until_end(&mut self) -> Vec<Message> {
        let mut heard = Vec::new();
        loop {
            let (_, told) = value::read(&mut self.0).expect("redis-server tells");
            let Value::Array(parts) = told else { panic!("{told:?}") };
            match &parts[..] {
                [_, Value::Bytes(channel), _] if channel == b"end" => return heard,
                [_, _, Value::Bytes(channel), Value::Bytes(payload)] => heard.push((channel.clone(), payload.clone())),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What the store's last command has published.
fn published(store: &mut Store) -> Vec<Message> {
    let (mut spread, classes) = (Spread::default(), store.parameters.tuning().events);
    spread.execute_events(store.events.drain(..), classes);
    spread.executed.into_iter().map(|message| (message.channel.to_vec(), message.payload.to_vec())).collect()
}

fn shown(messages: &[Message]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    messages.iter().map(|(channel, payload)| format!("\n    {} {}", text(channel), text(payload))).collect()
}

/// Executes commands on both, from nothing on: what differs in their events.
fn run(server: &mut Server, listener: &mut Listener, classes: &str, commands: &[String]) -> Result<(), String> {
    let mut store = Store::new();
    let wall = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    store.now_ms = u64::try_from(wall.as_millis()).expect("milliseconds");
    let set: [&[u8]; 4] = [b"config", b"set", b"notify-keyspace-events", classes.as_bytes()];
    for args in [&set[..], &[b"flushall"]] {
        assert_eq!(store.execute(args), server.execute(args).0);
    }
    let get: [&[u8]; 3] = [b"config", b"get", b"notify-keyspace-events"];
    assert_eq!(store.execute(&get), server.execute(&get).0);
    for some in commands.chunks(AT_ONCE) {
        let end: [&[u8]; 3] = [b"publish", b"end", b"x"];
        server.send(some.iter().flat_map(|command| [words(command), end.to_vec()]));
        some.iter().for_each(|_| drop((server.receive(), server.receive())));
        // All of them, also where one differs: the next commands are told on the same connection.
        let told: Vec<_> = some.iter().map(|_| listener.until_end()).collect();
        for (command, mut theirs) in some.iter().zip(told) {
            let args = words(command);
            store.execute(&args);
            let mut ours = published(&mut store);
            if args[0].starts_with(b"sort") {
                // What it misses of the keys that its patterns name it misses in the order of a set.
                theirs.sort();
                ours.sort();
            }
            if ours != theirs {
                return Err(format!("{command} ({classes})\n  ours:{}\n  redis:{}", shown(&ours), shown(&theirs)));
            }
        }
    }
    Ok(())
}

#[test]
fn random_commands_tell_the_events_of_a_real_server() {
    let compared = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for part in 0..SERVERS {
            let compared = &compared;
            scope.spawn(move || {
                let Some(mut server) = real_server() else { return };
                let mut listener = Listener::of(&server);
                for seed in (0..SEQUENCES).filter(|seed| seed % SERVERS == part) {
                    let mut random = Rng::with_seed(seed);
                    let classes = CLASSES[random.usize(..CLASSES.len())];
                    let commands: Vec<String> = (0..COMMANDS).map(|_| command(&mut random)).collect();
                    let mut run = |commands: &[String]| run(&mut server, &mut listener, classes, commands);
                    if let Err(difference) = run(&commands) {
                        let (least, difference) = shrink(run, commands, difference);
                        panic!("seed {seed}: {difference}\nafter\n{}", least.join("\n"));
                    }
                    compared.fetch_add(COMMANDS as u64, Ordering::Relaxed);
                }
            });
        }
    });
    println!("events of {} random commands, as a real server tells them", compared.into_inner());
}

/// What random commands cannot say, as clocks and choices differ, and what tells nothing.
#[test]
fn other_commands_tell_the_events_of_a_real_server() {
    let Some(mut server) = real_server() else { return };
    let mut listener = Listener::of(&server);
    let commands = [
        "setex k 100 v",
        "psetex k 100000 v",
        "set k v ex 100",
        "set k v px 100000 get",
        "set new v keepttl get",
        "getex k ex 100",
        "getex k px 100000",
        "getex none px 100000",
        "expire k 100",
        "pexpire k 200000 gt",
        "pexpire k 1 gt",
        "expire none 100",
        "sadd s a b",
        "spop s",
        "spop s",
        "spop s",
        "srandmember s",
        "sadd s a",
        "srandmember s",
        "sadd s a",
        "zadd z 1 a",
        "zadd z 1 a",
        "zincrby z 0 a",
        "hsetnx h f v",
        "hsetnx h f v",
        "ltrim none 0 1",
        "object encoding none",
        "memory usage none",
        "scan 0",
        "randomkey",
        "dbsize",
        "mset a 1 a 2 b 3",
        "flushdb",
        "set a 1",
        "flushall",
        "get a",
    ];
    for classes in ["KEAmn", "KA", "EA", "Km", "A", ""] {
        let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
        run(&mut server, &mut listener, classes, &commands).unwrap();
    }
}

/// What is written into a key whose time is over: that is told before.
#[test]
fn a_key_that_has_expired_is_told_to_have_before_what_is_written_into_it() {
    // Nobody looks at it before the command does.
    let Some(mut server) = real_server_with(&["--enable-debug-command", "yes"]) else { return };
    server.execute(&[b"debug", b"set-active-expire", b"0"]);
    let mut listener = Listener::of(&server);
    let mut store = Store::new();
    let mut both = |store: &mut Store, command: &str| {
        server.send([words(command), words("publish end x")]);
        let (theirs, _) = (server.receive().0, server.receive());
        (store.execute(&words(command)), theirs, listener.until_end(), published(store))
    };
    both(&mut store, "config set notify-keyspace-events KEAn");
    for command in [
        "set k w",
        "append k w",
        "incr k",
        "setrange k 1 w",
        "setbit k 1 1",
        "getset k w",
        "mset k w",
        "hset k f v",
        "hincrby k f 1",
        "sadd k m",
        "zadd k 1 m",
        "zincrby k 1 m",
        "lpush k e",
        "lmove other k left left",
        "del k",
        "unlink k",
        "rename other k",
        "copy other k replace",
        "sinterstore k members members",
        "zrangestore k scores 0 -1",
        "sort other store k",
        "bitop not k string",
    ] {
        let begin = ["flushall", "rpush other 1", "sadd members m", "zadd scores 1 m", "set string s", "set k v px 1"];
        begin.iter().for_each(|one| drop(both(&mut store, one)));
        let since = std::time::Instant::now();
        while since.elapsed().as_millis() < 3 {
            std::thread::yield_now();
        }
        store.now_ms += 10;
        let (ours, theirs, heard, told) = both(&mut store, command);
        assert_eq!(ours, theirs, "{command}");
        assert_eq!(shown(&told), shown(&heard), "{command}");
        assert!(shown(&told).contains("__keyspace@0__:k expired"), "{command}: {}", shown(&told));
    }
}
