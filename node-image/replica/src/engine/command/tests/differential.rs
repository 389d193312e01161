//! The same commands on an engine and on a real server, replies compared byte for byte; where Redis promises no
//! order, as sets. Zero has no sign: how Redis writes a score of -0 depends on how the key lies in its memory.

use super::golden::{self, Step, written};
use super::value::{self, Value};
use super::{Store, real_server};
use fastrand::Rng;
use std::sync::atomic::{AtomicU64, Ordering};

/// Random sequences, each with this many commands, at as many servers at the same time.
const SEQUENCES: u64 = 1_250;
const COMMANDS: usize = 800;
const SERVERS: u64 = 2;
/// Commands that a server is sent at once: so few that it has room for them and their replies.
pub(super) const AT_ONCE: usize = 50;

#[test]
fn golden_files_are_what_a_real_server_replies() {
    let Some(mut server) = real_server() else { return };
    let mut differences = String::new();
    for (_, steps) in golden::files() {
        server.execute(&[b"reset"]);
        server.execute(&[b"flushall"]);
        let mut compared = true;
        for step in steps {
            match step {
                Step::New => {
                    server.execute(&[b"reset"]);
                    server.execute(&[b"flushall"]);
                }
                Step::Redis(redis) => compared = redis,
                Step::Now(_) => {}
                Step::Command { place, args, expected } => {
                    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
                    let reply = written(&server.execute(&args).0);
                    if compared && reply != expected {
                        differences += &format!("{place}: redis-server replies\n{reply}and not\n{expected}");
                    }
                }
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn random_commands_have_the_replies_of_a_real_server() {
    let compared = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for part in 0..SERVERS {
            let compared = &compared;
            scope.spawn(move || {
                let Some(mut server) = real_server() else { return };
                for seed in (0..SEQUENCES).filter(|seed| seed % SERVERS == part) {
                    let mut random = Rng::with_seed(seed);
                    let protocol = if random.bool() { "hello 3" } else { "hello 2" };
                    let commands: Vec<String> = (0..COMMANDS).map(|_| command(&mut random)).collect();
                    if let Err(difference) = run(&mut server, protocol, &commands) {
                        let run = |commands: &[String]| run(&mut server, protocol, commands);
                        let (least, difference) = shrink(run, commands, difference);
                        panic!("seed {seed}: {difference}\nafter\n{}", least.join("\n"));
                    }
                    compared.fetch_add(COMMANDS as u64, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} random commands, and no reply that a real server would not give", compared.into_inner());
}

/// As few of these commands as still make a difference, one after the other left out.
pub(super) fn shrink(
    mut run: impl FnMut(&[String]) -> Result<(), String>,
    mut commands: Vec<String>,
    mut difference: String,
) -> (Vec<String>, String) {
    let mut part = commands.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < commands.len() {
            let mut fewer = commands.clone();
            fewer.drain(at..(at + part).min(commands.len()));
            match run(&fewer) {
                Err(still) => (commands, difference) = (fewer, still),
                Ok(()) => at += part,
            }
        }
        part /= 2;
    }
    (commands, difference)
}

/// Executes commands on both, from nothing on: what differs.
fn run(server: &mut super::server::Server, protocol: &str, commands: &[String]) -> Result<(), String> {
    let mut store = Store::new();
    let wall = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    store.now_ms = u64::try_from(wall.as_millis()).expect("milliseconds");
    server.execute(&[b"flushall"]);
    for one in [protocol].map(words) {
        server.execute(&one);
        store.execute(&one);
    }
    compare_all(server, &mut store, commands)?;
    compare_states(server, &mut store)
}

pub(super) fn words(command: &str) -> Vec<&[u8]> {
    command.split(' ').map(|word| if word == "''" { &b""[..] } else { word.as_bytes() }).collect()
}

/// Executes commands on both.
fn compare_all(
    server: &mut super::server::Server,
    store: &mut Store,
    commands: &[impl AsRef<str>],
) -> Result<(), String> {
    for some in commands.chunks(AT_ONCE) {
        server.send(some.iter().map(|command| words(command.as_ref())));
        let replies: Vec<_> = some.iter().map(|_| server.receive()).collect();
        for (command, reply) in some.iter().zip(replies) {
            judge(store, command.as_ref(), reply)?;
        }
    }
    Ok(())
}

/// Executes a command that the server has answered.
fn judge(store: &mut Store, command: &str, (theirs, meaning): (Vec<u8>, Value)) -> Result<(), String> {
    let args = words(command);
    let ours = store.execute(&args);
    let same = match unordered(&args, store.client.resp3) {
        Some(group) => ours.first() == theirs.first() && value::parse(&ours).sorted(group) == meaning.sorted(group),
        None => ours == theirs,
    };
    let same = same || without_signs(&ours) == without_signs(&theirs);
    let shown = [&ours, &theirs].map(|reply| String::from_utf8_lossy(reply).into_owned());
    if same { Ok(()) } else { Err(format!("{command}\nours:  {:?}\nredis: {:?}", shown[0], shown[1])) }
}

/// A reply with 0 in place of -0.
fn without_signs(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply).replace("$2\r\n-0\r\n", "$1\r\n0\r\n").replace(",-0\r\n", ",0\r\n")
}

/// For commands whose reply is in no order: how many elements belong together.
fn unordered(args: &[&[u8]], resp3: bool) -> Option<usize> {
    match args[0] {
        b"hgetall" => Some(2),
        b"zrandmember" if args.len() == 4 && !resp3 => Some(2),
        b"hrandfield" if args.len() == 4 => Some(1),
        b"hkeys" | b"hvals" | b"smembers" | b"sinter" | b"sunion" | b"sdiff" | b"keys" | b"spop" | b"srandmember"
        | b"hrandfield" | b"zrandmember" => Some(1),
        _ => None,
    }
}

/// Every key with its type, value and time of expiry.
fn compare_states(server: &mut super::server::Server, store: &mut Store) -> Result<(), String> {
    compare_all(server, store, &["keys *", "dbsize"])?;
    let mut looks = Vec::new();
    let Value::Array(keys) = value::parse(&store.execute(&[b"keys", b"*"])) else { panic!("no array of keys") };
    for key in keys.iter().map(Value::text) {
        for command in ["type", "pexpiretime", "get", "hgetall", "smembers", "zrange", "lrange"] {
            let more = match command {
                "zrange" => " 0 -1 withscores",
                "lrange" => " 0 -1",
                _ => "",
            };
            looks.push(format!("{command} {key}{more}"));
        }
    }
    compare_all(server, store, &looks)?;
    for (scan, of) in [("scan", None), ("hscan", Some("h1")), ("sscan", Some("s1")), ("zscan", Some("z1"))] {
        let kind = of.map(|key| store.execute(&[b"type", key.as_bytes()]));
        let fits = match scan {
            "hscan" => kind.as_deref() == Some(b"+hash\r\n"),
            "zscan" => kind.as_deref() == Some(b"+zset\r\n"),
            "sscan" => kind.as_deref() == Some(b"+set\r\n"),
            _ => true,
        };
        if fits {
            let ours = whole_scan(scan, of, |args| value::parse(&store.execute(args)));
            let theirs = whole_scan(scan, of, |args| server.execute(args).1);
            if ours != theirs {
                return Err(format!("{scan}\nours:  {ours:?}\nredis: {theirs:?}"));
            }
        }
    }
    Ok(())
}

fn whole_scan(scan: &str, of: Option<&str>, mut execute: impl FnMut(&[&[u8]]) -> Value) -> Vec<Value> {
    let (mut cursor, mut seen) = (b"0".to_vec(), Vec::new());
    for _ in 0..10_000 {
        let mut args: Vec<&[u8]> = vec![scan.as_bytes()];
        args.extend(of.map(str::as_bytes));
        args.extend([&cursor[..], b"count", b"3"]);
        let Value::Array(parts) = execute(&args) else { panic!("{scan} gives no array") };
        let [Value::Bytes(next), Value::Array(found)] = &parts[..] else { panic!("{parts:?}") };
        seen.extend_from_slice(found);
        if next == b"0" {
            seen.sort();
            seen.dedup();
            return seen;
        }
        cursor.clone_from(next);
    }
    panic!("{scan} does not end");
}

/// A random command. Keys are few, so that types collide; numbers and options are often wrong.
pub(super) fn command(random: &mut Rng) -> String {
    const TEMPLATES: &[&str] = &[
        "get K",
        "set K V",
        "set K V",
        "set K V O",
        "set K V O O",
        "set K V O O O",
        "getset K V",
        "getdel K",
        "getex K",
        "getex K persist",
        "getex K pxat T",
        "getex K exat T",
        "getex K O O",
        "mget K K K",
        "mset K V K V",
        "mset K V K",
        "msetnx K V K V",
        "setnx K V",
        "append K V",
        "strlen K",
        "getrange K I I",
        "substr K I I",
        "setrange K I V",
        "setbit K N B1",
        "setbit K N B1",
        "getbit K N",
        "bitcount K",
        "bitcount K E E",
        "bitcount K E E bit",
        "bitcount K E E byte",
        "bitpos K B1",
        "bitpos K B1 E",
        "bitpos K B1 E E",
        "bitpos K B1 E E bit",
        "bitop H K K",
        "bitop H K K K",
        "bitop not K K",
        "bitfield K get M N",
        "bitfield K set M N I",
        "bitfield K set M N I incrby M N I",
        "bitfield K overflow V1 set M N I incrby M N I",
        "bitfield K overflow V1 incrby M #1 I get M #1 incrby M N I",
        "bitfield_ro K get M N",
        "lcs K K",
        "lcs K K len",
        "lcs K K idx",
        "lcs K K idx withmatchlen minmatchlen I",
        "incr K",
        "decr K",
        "incrby K I",
        "decrby K I",
        "incrbyfloat K F",
        "incrbyfloat K F",
        "incr K",
        "setex K B V",
        "hset K f V",
        "hset K f V f V",
        "hset K f V f",
        "hmset K f V f V",
        "hsetnx K f V",
        "hget K f",
        "hmget K f f f",
        "hgetall K",
        "hdel K f",
        "hdel K f f",
        "hexists K f",
        "hlen K",
        "hkeys K",
        "hvals K",
        "hstrlen K f",
        "hincrby K f I",
        "hincrby K f I",
        "hincrbyfloat K f F",
        "hrandfield K 100",
        "hrandfield K 0",
        "hrandfield K 100 withvalues",
        "hset K f I",
        "sadd K m",
        "sadd K m m m",
        "srem K m",
        "srem K m m",
        "sismember K m",
        "smismember K m m m",
        "smembers K",
        "scard K",
        "spop K 100",
        "spop K 0",
        "spop K -1",
        "srandmember K 100",
        "srandmember K 0",
        "smove K K m",
        "sinter K K",
        "sunion K K",
        "sdiff K K",
        "sinterstore K K K",
        "sunionstore K K K",
        "sdiffstore K K K",
        "sinter K K K",
        "sintercard 2 K K",
        "sintercard 2 K K limit I",
        "sintercard I K K",
        "zadd K S m",
        "zadd K S m",
        "zadd K S m S m S m",
        "zadd K A S m",
        "zadd K A A S m S m",
        "zadd K A S m S",
        "zadd Z S m S m",
        "zadd K S m",
        "zrem K m",
        "zrem K m m",
        "zscore K m",
        "zmscore K m m m",
        "zincrby K S m",
        "zincrby K S m",
        "zincrby K S m",
        "zcard K",
        "zcount K R R",
        "zlexcount L W W",
        "zadd L 0 m 0 m",
        "zadd L 0 m",
        "zrem L m",
        "zrange K I I",
        "zrange K I I withscores",
        "zrange K I I rev withscores",
        "zrange K R R byscore",
        "zrange K R R byscore rev limit I I withscores",
        "zrange L W W bylex",
        "zrange L W W bylex rev limit I I",
        "zrange K I I Q",
        "zrange K R R Q Q",
        "zrangestore K K I I",
        "zrangestore K K I I rev",
        "zrangestore K K R R byscore limit I I",
        "zrangestore K L W W bylex",
        "zrangebyscore K R R",
        "zrangebyscore K R R withscores limit I I",
        "zrevrangebyscore K R R withscores",
        "zrangebylex L W W",
        "zrevrangebylex L W W limit I I",
        "zrevrange K I I withscores",
        "zrank K m",
        "zrevrank K m",
        "zremrangebyrank K I I",
        "zremrangebyscore K R R",
        "zremrangebylex L W W",
        "zpopmin K",
        "zpopmax K",
        "zpopmin K I",
        "zpopmax K I",
        "zmpop 2 K K min",
        "zmpop 2 K K max count I",
        "zmpop I K min",
        "zrandmember K 100",
        "zrandmember K 0",
        "zrandmember K 100 withscores",
        "zunion 2 K K",
        "zunion 2 K K withscores",
        "zunion 2 K K weights S S aggregate G withscores",
        "zunion 3 K K K aggregate G withscores",
        "zinter 2 K K withscores",
        "zinter 2 K K weights S S aggregate G withscores",
        "zdiff 2 K K withscores",
        "zdiff 3 K K K",
        "zunionstore K 2 K K",
        "zunionstore K 2 K K weights S S",
        "zinterstore K 2 K K aggregate G",
        "zdiffstore K 2 K K",
        "zintercard 2 K K",
        "zintercard 2 K K limit I",
        "zunion I K K",
        "lpush K m",
        "lpush K m m m",
        "rpush K m",
        "rpush K m m",
        "rpush K m m m m",
        "lpushx K m",
        "rpushx K m m",
        "lpop K",
        "rpop K",
        "lpop K I",
        "rpop K I",
        "llen K",
        "lrange K I I",
        "lindex K I",
        "lset K I m",
        "lset K I m",
        "linsert K before m m",
        "linsert K after m m",
        "linsert K after m m",
        "linsert K O m m",
        "lrem K I m",
        "lrem K 1 m",
        "ltrim K I I",
        "ltrim K 0 -2",
        "lpos K m",
        "lpos K m rank J",
        "lpos K m count I",
        "lpos K m rank J count I",
        "lpos K m rank J count I maxlen I",
        "lmove K K left right",
        "lmove K K right left",
        "lmove K K left left",
        "lmove K K right O",
        "rpoplpush K K",
        "lmpop 2 K K left",
        "lmpop 2 K K right count I",
        "lmpop I K left",
        "sort K",
        "sort K alpha",
        "sort K alpha desc limit I I",
        "sort K by n* get # get K",
        "sort P by h*->f1 get h*->f2 get # get *",
        "sort K by h*->f1 desc store K",
        "sort K alpha store K",
        "sort K by same store K",
        "sort_ro K limit I I",
        "sort K U",
        "sort_ro K U U",
        "blpop K K D",
        "brpop K D",
        "blmove K K left right D",
        "blmove K K right O D",
        "brpoplpush K K D",
        "blmpop D 2 K K left",
        "blmpop D 2 K K right count I",
        "blmpop D I K left",
        "bzpopmin K K D",
        "bzpopmax K D",
        "bzmpop D 2 K K min",
        "bzmpop D 2 K K max count I",
        "rpush P m m",
        "rpush P m m m",
        "lpush P m m",
        "linsert P before m m",
        "del K",
        "del K K",
        "unlink K",
        "exists K K K",
        "touch K K",
        "type K",
        "keys *",
        "keys K",
        "keys [hs]*",
        "rename K K",
        "renamenx K K",
        "copy K K",
        "copy K K replace",
        "copy K K db 0",
        "dbsize",
        "expireat K T",
        "pexpireat K T",
        "pexpireat K T C",
        "expireat K T C",
        "pexpireat K T C C",
        "persist K",
        "pexpiretime K",
        "expiretime K",
        "expire K B",
        "pexpire K -1",
        "set K V pxat X",
        "set K V keepttl",
        "set K V exat Y get",
        "set K I",
        "set K F",
        "expire K x",
        "expire K 9223372036854775807",
        "echo V",
        "ping",
        "ping V",
        "select 0",
        "select x",
        "get K K",
        "command getkeys mset K V K V",
        "nope K V",
    ];
    let template = TEMPLATES[random.usize(..TEMPLATES.len())];
    let words: Vec<String> = template.split(' ').map(|word| fill(word, random)).collect();
    words.join(" ")
}

fn fill(word: &str, random: &mut Rng) -> String {
    let one_of = |random: &mut Rng, words: &[&str]| words[random.usize(..words.len())].to_owned();
    match word {
        "K" => one_of(random, &["a", "b", "n", "h1", "h2", "s1", "s2", "z1", "z2", "l1", "l2"]),
        "V" => one_of(random, &["x", "hello", "''", "10", "-3", "3.5", "abcabcabd", "ohmytext", "mynewtext"]),
        "f" => one_of(random, &["f1", "f2", "f3", "f4", "''"]),
        "m" => one_of(random, &["1", "2", "3", "a", "b", "c", "''"]),
        "I" => {
            let words =
                ["0", "1", "2", "-1", "-2", "5", "100", "9223372036854775807", "-9223372036854775808", "x", "007"];
            one_of(random, &words)
        }
        "F" => {
            one_of(random, &["0.1", "1.5", "-2.25", "3e2", "1e18", "abc", "inf", "1e-7", "100.0001", "0.3333333333"])
        }
        "T" => one_of(random, &["1", "0", "-5", "4000000000", "4000000000000", "5000000000000", "4500000000", "y"]),
        "Z" => one_of(random, &["z1", "z2"]),
        "P" => one_of(random, &["l1", "l2"]),
        // Offsets and widths of bits. Of a key that is not there 7.0 takes any range, so these are right.
        "N" => one_of(random, &["0", "1", "7", "8", "13", "40", "100", "-1", "x", "4294967296"]),
        "E" => one_of(random, &["0", "1", "2", "5", "9", "30", "-1", "-2", "-9", "1000", "-1000"]),
        "B1" => one_of(random, &["0", "1", "1", "2", "x"]),
        "H" => one_of(random, &["and", "or", "XOR", "not", "nand"]),
        "M" => one_of(random, &["u1", "i1", "u4", "i5", "u8", "i8", "i13", "u31", "u63", "i64", "u64", "i65", "z"]),
        "V1" => one_of(random, &["wrap", "SAT", "fail", "fail", "bad"]),
        "J" => one_of(random, &["1", "2", "3", "-1", "-2", "0", "x"]),
        // Scores that are written alike by both versions of Redis: few binary digits.
        "S" => one_of(
            random,
            &["0", "1", "2", "-1", "1.5", "-2.25", "100", "0.5", "1e3", "1e4", "inf", "-inf", "x", "nan"],
        ),
        "R" => {
            one_of(random, &["0", "1", "(1", "-1", "2", "(2", "100", "-inf", "+inf", "(inf", "1.5", "''", "x", "(x"])
        }
        // Not BY: where that is the same for all, a set is in no order.
        "U" => one_of(random, &["asc", "desc", "alpha", "limit", "get", "store", "bogus"]),
        // How long to wait.
        "D" => one_of(random, &["0.001", "0.001", "1e-3", "0.001", "-1", "x", "nan", "''", "-0.5"]),
        // Members in order of their bytes: all scores of this key are the same.
        "W" => one_of(random, &["-", "+", "[a", "(a", "[b", "(b", "[2", "(2", "[", "a", "+x"]),
        "A" => one_of(random, &["nx", "xx", "gt", "lt", "ch", "incr", "NX", "CH", "INCR"]),
        "Q" => one_of(random, &["withscores", "rev", "byscore", "bylex", "bogus", "limit"]),
        "G" => one_of(random, &["sum", "min", "max", "MAX", "avg"]),
        // No time to live from now on: the two clocks differ.
        "B" => one_of(random, &["0", "-1", "x", "9223372036854775807", "-9223372036854775808"]),
        "X" => one_of(random, &["4000000000000", "5000000000000", "0"]),
        "Y" => one_of(random, &["4000000000", "5000000000", "y"]),
        "O" => one_of(random, &["nx", "xx", "get", "keepttl", "NX", "GET", "bogus", "persist", "ex"]),
        "C" => one_of(random, &["nx", "xx", "gt", "lt", "GT", "bad"]),
        other => other.to_owned(),
    }
}
