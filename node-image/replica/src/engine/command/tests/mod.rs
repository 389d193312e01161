//! The commands against golden files, and against a real server.
//!
//! - `golden`: every `golden/*.txt` is replayed on an engine, and its replies compared byte for byte.
//! - `differential`: the same files, and seeded random commands, on an engine and on a real `redis-server`.
//! - `events`: keyspace events of the same random commands, on an engine and on a real server.
//! - `surface`: the page of all commands.
//! - `rows`: the table against `golden/command_info.tsv`, and that file against the real server.
//!
//! The real server is a Unix socket away, so nothing listens on any network. Where there is none the tests that need
//! it fail,
//! unless the environment says `TRIREME_WITHOUT_REDIS=1`.

mod differential;
mod events;
mod golden;
mod rows;
mod server;
mod surface;
mod value;

use super::client_admin;
use super::config::Parameters;
use super::connection::{self, ConnectionState, Context, Doing};
use super::table::flag;
use super::{ConnectionCommand, Error, Handler, Reply, resolve, run};
use crate::engine::events::Event;
use crate::engine::{At, Engine};
use trireme_proto::ids::Origin;

/// An engine and one client connection to it.
struct Store {
    engine: Engine,
    client: ConnectionState,
    now_ms: u64,
    seq: u64,
    parameters: Parameters,
    /// What the last command has told of keys.
    events: Vec<Event>,
}

impl Store {
    fn new() -> Self {
        let mut engine = Engine::new();
        engine.set_origin(Origin { group: 1, generation: 1 });
        Self {
            engine,
            client: ConnectionState { id: 7, ..Default::default() },
            now_ms: 1_700_000_000_000,
            seq: 0,
            parameters: Parameters::default(),
            events: Vec::new(),
        }
    }

    /// What needs to know all clients, where there is only this one.
    fn client_command(&self, name: &str, args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
        use client_admin::{ClientKind, Listed};
        let listed = match name {
            "client|info" => Listed::All,
            "client|list" => client_admin::list_arguments(args)?,
            "client|kill" => {
                if client_admin::kill_arguments(args)?.one {
                    return Err(Error::Fixed("ERR No such client"));
                }
                reply.integer(0);
                return Ok(());
            }
            "client|unblock" => {
                client_admin::unblock_arguments(args)?;
                reply.integer(0);
                return Ok(());
            }
            "client|pause" => {
                client_admin::pause_arguments(args)?;
                reply.ok();
                return Ok(());
            }
            _ => {
                reply.ok();
                return Ok(());
            }
        };
        let own = match listed {
            Listed::All => true,
            Listed::Kind(kind) => kind == ClientKind::Normal,
            Listed::Ids(ids) => ids.contains(&self.client.id),
        };
        let doing = Doing { command: "client|list", ..Doing::default() };
        let line = self.client.describe(self.now_ms * 1000, &doing);
        reply.verbatim("txt", if own { line.as_bytes() } else { b"" });
        Ok(())
    }

    /// Executes a command as a client's connection would, and checks that errors and reads leave no delta.
    fn execute(&mut self, args: &[&[u8]]) -> Vec<u8> {
        self.events.clear();
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, self.client.resp3);
        let spec = match resolve(args) {
            Ok(spec) => spec,
            Err(error) => {
                error.write(&mut reply);
                return out;
            }
        };
        match spec.handler {
            Handler::Connection(ConnectionCommand::Reset) => {
                self.client.reset();
                reply.set_resp3(false);
                reply.simple("RESET");
            }
            Handler::Connection(ConnectionCommand::Config) if spec.name == "config|set" => {
                match self.parameters.set(args) {
                    Ok(()) => reply.ok(),
                    Err(error) => error.write(&mut reply),
                }
            }
            Handler::Connection(ConnectionCommand::Client)
                if ["list", "info", "kill", "pause", "unpause", "unblock"].contains(&&spec.name[7..]) =>
            {
                if let Err(error) = self.client_command(spec.name, args, &mut reply) {
                    error.write(&mut reply);
                }
            }
            Handler::Connection(command) => {
                let (now_us, parameters) = (self.now_ms * 1000, Some(&self.parameters));
                let context = Context { now_us, role: "master", password: Some(b""), parameters };
                connection::connection(command, &mut self.client, &context, args, &mut reply);
            }
            Handler::Data(_) => {
                self.seq += 1;
                let (at, mut delta) = (At { seq: self.seq, now_ms: self.now_ms, keep_undo: false }, Vec::new());
                let random = self.seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let act = |access: &mut super::Access<'_>| run(access, spec, args, random, &mut reply);
                self.engine.tell_events(self.parameters.tuning().events);
                let ((), effect) = self.engine.execute(&at, &mut delta, act);
                self.events.extend(self.engine.take_events());
                let command = || args.iter().map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" ");
                assert!(!effect.wrote || spec.is_write(), "a command that only reads wrote: {}", command());
                assert!(!effect.wrote || out[0] != b'-', "a command wrote and failed: {}", command());
                if spec.has(flag::BLOCKING) && !effect.wrote && out[0] != b'-' {
                    // Its time is over at once.
                    out.clear();
                    Reply::new(&mut out, self.client.resp3).null_array();
                }
            }
        }
        out
    }
}

/// Whether there is a real server; without one, that has to be wanted.
fn real_server() -> Option<server::Server> {
    real_server_with(&[])
}

fn real_server_with(arguments: &[&str]) -> Option<server::Server> {
    match server::Server::start(arguments) {
        Ok(server) => Some(server),
        Err(error) if std::env::var_os("TRIREME_WITHOUT_REDIS").is_some_and(|value| value == "1") => {
            eprintln!("SKIPPED, as TRIREME_WITHOUT_REDIS=1 asks for: {error}");
            None
        }
        Err(error) => panic!(
            "{error}. This test compares with a real redis-server: install it (Debian: redis-server), or set \
             TRIREME_WITHOUT_REDIS=1 to go without."
        ),
    }
}

#[test]
fn unknown_commands_are_named() {
    let mut store = Store::new();
    let mut told = |args: &[&[u8]]| String::from_utf8(store.execute(args)).expect("text");
    assert_eq!(told(&[b"nope"]), "-ERR unknown command 'nope', with args beginning with: \r\n");
    assert_eq!(told(&[b"no\npe", b"a", b"b"]), "-ERR unknown command 'no pe', with args beginning with: 'a' 'b' \r\n");
    let long = [b'x'; 200];
    let shown = "x".repeat(128);
    assert_eq!(
        told(&[&long, &long, b"b"]),
        format!("-ERR unknown command '{shown}', with args beginning with: '{shown}' \r\n")
    );
    assert_eq!(Error::Syntax.to_string(), "ERR syntax error");
}

#[test]
fn within_a_transaction_what_needs_no_connection_works() {
    let mut store = Store::new();
    let mut execute = |args: &[&[u8]]| {
        let (mut out, mut delta) = (Vec::new(), Vec::new());
        let spec = resolve(args).expect("a command");
        let at = At { seq: 1, now_ms: 1500, keep_undo: false };
        let reply = &mut Reply::new(&mut out, false);
        store.engine.execute(&at, &mut delta, |access| run(access, spec, args, 0, reply));
        String::from_utf8(out).expect("text")
    };
    assert_eq!(execute(&[b"ping"]), "+PONG\r\n");
    assert_eq!(execute(&[b"time"]), "*2\r\n$1\r\n1\r\n$6\r\n500000\r\n");
    assert_eq!(execute(&[b"select", b"1"]), "-ERR DB index is out of range\r\n");
    assert_eq!(execute(&[b"client", b"id"]), "-ERR This command is not allowed here\r\n");
}

#[test]
fn quitting_closes() {
    let mut store = Store::new();
    assert_eq!(store.execute(&[b"quit"]), b"+OK\r\n");
    assert!(store.client.close);
}

#[test]
fn replies_are_left_out_as_asked() {
    let mut store = Store::new();
    let mut taken = |args: &[&[u8]]| {
        store.execute(args);
        store.client.takes_reply()
    };
    assert!(taken(&[b"ping"]));
    assert!(!taken(&[b"client", b"reply", b"skip"]));
    assert!(!taken(&[b"ping"]));
    assert!(taken(&[b"ping"]));
    assert!(!taken(&[b"client", b"reply", b"off"]));
    assert!(!taken(&[b"ping"]));
    assert!(!taken(&[b"client", b"reply", b"skip"]));
    assert!(!taken(&[b"ping"]));
    assert!(taken(&[b"client", b"reply", b"on"]));
}

#[test]
fn the_same_random_number_chooses_the_same() {
    let run = || {
        let mut store = Store::new();
        let members: Vec<String> = (0..100).map(|member| format!("member{member}")).collect();
        let mut add: Vec<&[u8]> = vec![b"sadd", b"s"];
        add.extend(members.iter().map(|member| member.as_bytes()));
        store.execute(&add);
        let commands: [&[&[u8]]; 5] = [
            &[b"spop", b"s"],
            &[b"spop", b"s", b"10"],
            &[b"srandmember", b"s", b"-20"],
            &[b"randomkey"],
            &[b"smembers", b"s"],
        ];
        commands.map(|command| store.execute(command))
    };
    assert_eq!(run(), run());
}

#[test]
fn scans_return_what_stays_while_the_rest_changes() {
    let mut store = Store::new();
    for number in 0..1000 {
        store.execute(&[b"set", format!("stays{number}").as_bytes(), b""]);
        store.execute(&[b"hset", b"{h}big", format!("stays{number}").as_bytes(), b""]);
        // All of these are in one slot.
        store.execute(&[b"set", format!("{{tag}}{number}").as_bytes(), b""]);
    }
    for (scan, of, stays) in [(&b"scan"[..], &b""[..], 2000), (b"hscan", b"{h}big", 1000)] {
        let (mut cursor, mut seen, mut round) = ("0".to_owned(), Vec::new(), 0);
        loop {
            let mut command = vec![scan, of, cursor.as_bytes(), b"count", b"25"];
            command.retain(|part| !part.is_empty());
            let reply = value::parse(&store.execute(&command));
            let value::Value::Array(parts) = reply else { panic!("{reply:?}") };
            let [value::Value::Bytes(next), value::Value::Array(found)] = &parts[..] else { panic!("{parts:?}") };
            assert!(found.len() <= 120, "{} elements for COUNT 25", found.len());
            seen.extend(
                found.iter().map(|name| name.text()).filter(|name| !name.contains("fleeting") && !name.is_empty()),
            );
            cursor = String::from_utf8(next.clone()).expect("digits");
            if cursor == "0" {
                break;
            }
            round += 1;
            store.execute(&[b"set", format!("fleeting{round}").as_bytes(), b""]);
            store.execute(&[b"hset", b"{h}big", format!("fleeting{round}").as_bytes(), b""]);
            store.execute(&[b"del", format!("fleeting{}", round - 1).as_bytes()]);
            assert!(round < 1000, "the scan does not end");
        }
        seen.retain(|name| name != "{h}big");
        let returned = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((returned, seen.len()), (stays, stays));
    }
}
