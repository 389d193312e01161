//! What clients send: commands of the golden files, damaged as commands and as bytes, in parts of any size, to a replica that executes them.
//!
//! Each command is answered, or the connection ends with an error of the protocol; what was executed is in the log, which gives the same state again; and the
//! replica goes on.

use std::{cell::Cell, collections::BTreeSet, path::Path};

use fastrand::Rng;
use trireme_proto::SLOTS;
use trireme_replica::{
    Recovery,
    engine::command::{resolve, table::lookup},
    io::DiskOp,
    log::record::{self, Kind},
};

use crate::{
    damage::damage,
    harness::{Ran, fuzz},
    world::{World, identity},
};

/// What a seed may take: strings may become large by a single command, replies by a number.
const MEMORY_MAX: usize = 64 << 20;
/// Lengths and offsets beyond this are left to strings of that size, which a client may have.
const LARGE: i64 = 1 << 22;

/// Words in the place of any argument.
const WORDS: [&str; 40] = [
    "0",
    "1",
    "-1",
    "2",
    "-2",
    "100",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1.5",
    "-0",
    "1e308",
    "nan",
    "inf",
    "-inf",
    "(1",
    "[a",
    "(",
    "+",
    "-",
    "*",
    "",
    "a",
    "b",
    "c",
    "h",
    "s",
    "z",
    "l",
    "{a}1",
    "{a}2",
    "count",
    "limit",
    "match",
    "by",
    "get",
    "nx",
    "ex",
    "weights",
    "withscores",
];

/// After one of these there may be other than one reply to a command, or none yet.
const OTHERWISE: [&str; 20] = [
    "client",
    "subscribe",
    "unsubscribe",
    "psubscribe",
    "punsubscribe",
    "ssubscribe",
    "sunsubscribe",
    "quit",
    "blpop",
    "brpop",
    "blmove",
    "brpoplpush",
    "blmpop",
    "bzpopmin",
    "bzpopmax",
    "bzmpop",
    "wait",
    "waitaof",
    "session",
    "debug",
];

/// All commands of the golden files.
fn corpus() -> Vec<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../replica/src/engine/command/tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
    let lines = texts.flat_map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("> ").map(str::to_owned)).collect::<Vec<_>>()
    });
    let commands: Vec<Vec<String>> = lines.map(|line| line.split(' ').map(str::to_owned).collect()).collect();
    assert!(commands.len() > 1_000, "the golden files have moved");
    commands
}

/// A command with other arguments here and there.
fn vary(rng: &mut Rng, command: &mut Vec<Vec<u8>>) {
    let at = rng.usize(..command.len());
    let word = WORDS[rng.usize(..WORDS.len())].as_bytes().to_vec();
    match rng.u8(..6) {
        0 if at > 0 => drop(command.remove(at)),
        1 => command.insert(at.max(1), word),
        2 => {
            let again = command[at.max(1).min(command.len() - 1)].clone();
            command.push(again);
        }
        3 if at > 0 => damage(rng, &mut command[at]),
        _ if at > 0 => command[at] = word,
        _ => {}
    }
}

/// A command as bytes: an array mostly, or a line.
fn encode(rng: &mut Rng, command: &[Vec<u8>], out: &mut Vec<u8>) {
    if rng.u8(..8) == 0 {
        let words: Vec<String> = command.iter().map(|word| format!("\"{}\"", word.escape_ascii())).collect();
        out.extend_from_slice(words.join(" ").as_bytes());
        return out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
    for word in command {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Damage that knows what a length is.
fn damage_stream(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let marks: Vec<usize> = (0..bytes.len()).filter(|at| matches!(bytes[*at], b'*' | b'$')).collect();
    if marks.is_empty() || rng.bool() {
        return damage(rng, bytes);
    }
    let at = marks[rng.usize(..marks.len())] + 1;
    let end = bytes[at..].iter().position(|byte| *byte == b'\r').map_or(bytes.len(), |end| at + end);
    let lengths =
        ["-1", "0", "-0", "01", "1048576", "1048577", "536870912", "99999999999999999999", "", "x", "*1", "2"];
    bytes.splice(at..end, lengths[rng.usize(..lengths.len())].bytes());
}

/// Whether a command may take much for itself, as a client may have it.
fn takes_much(args: &[&[u8]]) -> bool {
    let is_large = |arg: &&[u8]| {
        let text = std::str::from_utf8(arg).unwrap_or_default().trim_start_matches('#');
        text.parse::<i64>()
            .is_ok_and(|number| number.unsigned_abs() >= LARGE as u64 && number.unsigned_abs() <= 1 << 33)
    };
    resolve(args).is_ok() && args[1..].iter().any(is_large)
}

/// Whether a command gets one reply by itself.
fn is_plain(args: &[&[u8]]) -> bool {
    lookup(args[0]).is_none_or(|spec| !OTHERWISE.contains(&spec.name))
}

/// Whether a command may keep other clients from their replies.
fn disturbs(args: &[&[u8]]) -> bool {
    let is = |arg: Option<&&[u8]>, word: &str| arg.is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    is(args.first(), "client") && ["pause", "kill", "unblock"].iter().any(|word| is(args.get(1), word))
}

fn one(rng: &mut Rng, corpus: &[Vec<String>]) -> Ran {
    let mut world = World::serving(1, 1);
    let (plain, undisturbed) = (Cell::new(true), Cell::new(true));
    let (mut plain_ones, mut ran) = (BTreeSet::new(), Ran::default());
    let spare = |args: &[&[u8]]| {
        plain.set(plain.get() && is_plain(args));
        undisturbed.set(undisturbed.get() && !disturbs(args));
        takes_much(args)
    };
    for client in 1..=rng.u64(1..12) {
        world.open(1, client);
        plain.set(true);
        let mut stream = Vec::new();
        for _ in 0..rng.usize(1..30) {
            let mut command: Vec<Vec<u8>> =
                corpus[rng.usize(..corpus.len())].iter().map(|word| word.as_bytes().to_vec()).collect();
            (0..[0, 0, 1, 1, 2, 4][rng.usize(..6)]).for_each(|_| vary(rng, &mut command));
            encode(rng, &command, &mut stream);
        }
        if rng.u8(..3) == 0 {
            damage_stream(rng, &mut stream);
        }
        let size = [1, 1 + rng.usize(..9), stream.len().max(1)][rng.usize(..3)];
        for part in stream.chunks(size) {
            world.feed(1, client, part, &spare);
            if rng.u8(..4) == 0 {
                world.run(1);
            }
        }
        ran.inputs += 1;
        world.run(5);
        if plain.get() {
            plain_ones.insert(client);
        }
    }
    // Nothing waits for long: what a seed's clients have paused goes on, and so does what is behind it.
    for _ in 0..4 {
        world.run(50);
        world.nodes[&1]
            .clients
            .keys()
            .copied()
            .collect::<Vec<_>>()
            .iter()
            .for_each(|id| world.feed(1, *id, b"", &spare));
    }
    for (id, client) in &world.nodes[&1].clients {
        let replies = crate::replies::count(&client.replies).unwrap_or_else(|what| panic!("client {id}: {what}"));
        ran.understood += client.commands as u64;
        let exact = undisturbed.get() && plain_ones.contains(id);
        let told = client.replies.escape_ascii();
        assert!(
            !exact || replies == client.commands,
            "client {id}: {} commands, {replies} replies: {told}",
            client.commands
        );
    }
    assert_eq!(world.nodes[&1].fatal, None);
    goes_on(&mut world);
    same_again(&world);
    ran
}

/// The replica serves a client that is new.
fn goes_on(world: &mut World) {
    world.open(1, 99);
    world.feed(1, 99, b"client unpause\r\nconfig set maxmemory 0\r\nset fuzz ok\r\nget fuzz\r\n", &|_| false);
    world.run(20);
    let told = world.nodes[&1].clients[&99].replies.escape_ascii().to_string();
    assert_eq!(told, "+OK\\r\\n+OK\\r\\n+OK\\r\\n$2\\r\\nok\\r\\n");
}

/// What is in the log gives the same state.
fn same_again(world: &World) {
    let node = &world.nodes[&1];
    let (mut recovery, mut committed) = (Recovery::new(), 0);
    for op in &node.disk {
        match op {
            DiskOp::Append { bytes, last, .. } => {
                committed = *last;
                let mut at = 0;
                while at < bytes.len() {
                    let record = record::read(&bytes[at..]).unwrap();
                    assert_ne!(record.kind, Kind::Commit);
                    recovery.record(&bytes[at..at + record.bytes]).unwrap();
                    at += record.bytes;
                }
            }
            DiskOp::Meta(meta) => recovery.meta((**meta).clone()),
            _ => {}
        }
    }
    recovery.committed(committed);
    let again = World::again(identity(1, 1), recovery, world.records[0].clone());
    let digests = |world: &World| world.nodes[&1].replica.digests(0, SLOTS);
    let (ours, theirs) = (digests(world), digests(&again));
    assert_eq!(ours.applied, theirs.applied);
    let differ = (0..usize::from(SLOTS)).find(|slot| ours.digests[*slot] != theirs.digests[*slot]);
    assert_eq!(differ, None, "the log gives another state in this slot");
}

#[test]
fn clients_send_anything() {
    let corpus = corpus();
    let ran = fuzz("clients_send_anything", MEMORY_MAX, |rng| one(rng, &corpus));
    assert!(ran.understood > ran.inputs, "{} commands of {} connections", ran.understood, ran.inputs);
}
