//! Commands that concern nothing but the client's own connection: names, protocol, what the server is and what it can
//! do.
//!
//! CONFLICTS, CONSISTENCY, MULTI, EXEC, DISCARD, WATCH, UNWATCH, READONLY, READWRITE, WAIT, WAITAOF, SESSION, INFO, ROLE, SLOWLOG, DEBUG, PUBLISH, SUBSCRIBE and their like need the
//! replica or the queue of the connection, and so do CLIENT KILL, LIST, PAUSE and UNBLOCK; who holds those executes them, with [`ConnectionState::reset`]
//! for RESET.

use super::table::{ConnectionCommand, resolve};
use super::{Error, Reply, auth, command_info, config, databases, hello, parse, scripts};

/// What clients are told this server is: the Redis whose commands it speaks.
pub const SERVER_VERSION: &str = "7.2.0";

/// What CLIENT REPLY has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is answered until it is switched on again.
    Off,
    /// This command, which is CLIENT REPLY SKIP itself, is not answered, and neither is the next.
    SkipNext,
    /// This command is not answered.
    Skip,
}

/// What a connection knows of itself.
#[derive(Clone, Debug, Default)]
pub struct ConnectionState {
    /// Its number, unique within the replica's process.
    pub id: u64,
    /// Where the client is, as `address:port`; empty if not known.
    pub address: String,
    /// Where the client connected to.
    pub local_address: String,
    /// When it was opened: microseconds since 1970.
    pub opened_us: u64,
    /// What the client calls it; empty if it has no name.
    pub name: Vec<u8>,
    /// Whether replies are in RESP3.
    pub resp3: bool,
    /// Which library the client says it uses.
    pub lib_name: Vec<u8>,
    /// Which version of it.
    pub lib_ver: Vec<u8>,
    /// CLIENT NO-EVICT; nothing is ever evicted here.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH: what it reads does not count as used.
    pub no_touch: bool,
    /// Which replies are to be sent.
    pub reply_mode: ReplyMode,
    /// There is a password, and the client has not said it yet.
    pub must_authenticate: bool,
    /// How many channels, patterns and shard channels it listens to.
    pub subscriptions: [u32; 3],
    /// The connection is to be closed once its replies are written.
    pub close: bool,
}

impl ConnectionState {
    /// What RESET does to the parts kept here; whether there is a password is known elsewhere.
    pub fn reset(&mut self) {
        self.name.clear();
        self.resp3 = false;
        self.no_evict = false;
        self.no_touch = false;
        self.reply_mode = ReplyMode::On;
    }

    /// Whether it listens to anything.
    pub fn subscribes(&self) -> bool {
        self.subscriptions != [0; 3]
    }

    /// Whether the reply of the command just executed is to be sent. To be called once after each command.
    pub fn takes_reply(&mut self) -> bool {
        match self.reply_mode {
            ReplyMode::On => true,
            ReplyMode::Off => false,
            ReplyMode::SkipNext => {
                self.reply_mode = ReplyMode::Skip;
                false
            }
            ReplyMode::Skip => {
                self.reply_mode = ReplyMode::On;
                false
            }
        }
    }

    /// The line of CLIENT INFO and CLIENT LIST, in the form of Redis 7.2. What is not counted here is 0.
    pub fn describe(&self, now_us: u64, doing: &Doing) -> String {
        let age = now_us.saturating_sub(self.opened_us) / 1_000_000;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let marks = [(self.no_evict, 'e'), (self.no_touch, 'T')];
        let marks = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark);
        let mut flags: String = doing.flags.chars().chain(marks).collect();
        if flags.is_empty() {
            flags.push('N');
        }
        format!(
            "id={} addr={} laddr={} fd=0 name={} age={age} idle={} flags={flags} db=0 sub={} psub={} ssub={} multi={} \
             watch={} qbuf=0 qbuf-free=0 argv-mem={} multi-mem={} rbs=0 rbp=0 obl={} oll=0 omem={} tot-mem={} events=r \
             cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={}\n",
            self.id,
            self.address,
            self.local_address,
            text(&self.name),
            doing.idle_s,
            self.subscriptions[0],
            self.subscriptions[1],
            self.subscriptions[2],
            doing.queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX)),
            doing.watched,
            doing.waiting_bytes,
            doing.queued_bytes,
            doing.reply_bytes,
            doing.reply_bytes,
            doing.waiting_bytes + doing.queued_bytes + doing.reply_bytes,
            doing.command,
            if self.resp3 { 3 } else { 2 },
            text(&self.lib_name),
            text(&self.lib_ver),
        )
    }
}

/// What a connection is doing, for CLIENT INFO and CLIENT LIST.
#[derive(Clone, Debug, Default)]
pub struct Doing {
    /// Letters for what it is in: `x` a transaction, `b` waiting, `P` listening, `c` closing, `r` READONLY.
    pub flags: String,
    /// Seconds since its last command.
    pub idle_s: u64,
    /// Commands in its transaction, where one is open, and their bytes.
    pub queued: Option<usize>,
    /// See there.
    pub queued_bytes: usize,
    /// Keys that it watches.
    pub watched: usize,
    /// Bytes of commands that wait.
    pub waiting_bytes: usize,
    /// Bytes of replies that were not taken.
    pub reply_bytes: usize,
    /// Its last command.
    pub command: &'static str,
}

/// What these commands need to know of the replica.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The wall clock: microseconds since 1970.
    pub now_us: u64,
    /// `master` or `replica`.
    pub role: &'a str,
    /// What clients must say to be let in; empty lets in everybody. `None` where it is not known.
    pub password: Option<&'a [u8]>,
    /// What CONFIG SET has set here, where that is known.
    pub parameters: Option<&'a config::Parameters>,
}

/// Executes a command on the connection and writes its reply or error. `args` is the whole command.
///
/// A command that needs more than the connection's state (see the module's front page) is answered with an error.
pub fn connection(
    command: ConnectionCommand,
    state: &mut ConnectionState,
    context: &Context<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) {
    let mark = reply.mark();
    if let Err(error) = execute(command, state, context, args, reply) {
        reply.rewind(mark);
        error.write(reply);
    }
}

fn execute(
    command: ConnectionCommand,
    state: &mut ConnectionState,
    context: &Context<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    match command {
        ConnectionCommand::Ping => ping(state, args, reply),
        ConnectionCommand::Echo => {
            check_arity(args)?;
            reply.bulk(args[1]);
            Ok(())
        }
        ConnectionCommand::Hello => hello::hello(state, context, args, reply),
        ConnectionCommand::Auth => auth::auth(state, context, args, reply),
        ConnectionCommand::Select => select(args, reply),
        ConnectionCommand::Client => client(state, args, reply),
        ConnectionCommand::Command => command_info::command(args, reply),
        ConnectionCommand::Config => config::config(context, args, reply),
        ConnectionCommand::Function => scripts::function(args, reply),
        ConnectionCommand::Script => scripts::script(args, reply),
        ConnectionCommand::Move => databases::move_key(args),
        ConnectionCommand::SwapDb => databases::swap(args, reply),
        ConnectionCommand::Time => {
            reply.array(2);
            reply.bulk(itoa::Buffer::new().format(context.now_us / 1_000_000).as_bytes());
            reply.bulk(itoa::Buffer::new().format(context.now_us % 1_000_000).as_bytes());
            Ok(())
        }
        ConnectionCommand::Cluster => cluster(args, reply),
        ConnectionCommand::Unwatch => {
            reply.ok();
            Ok(())
        }
        ConnectionCommand::Quit => {
            state.close = true;
            reply.ok();
            Ok(())
        }
        ConnectionCommand::Conflicts
        | ConnectionCommand::Consistency
        | ConnectionCommand::Debug
        | ConnectionCommand::Discard
        | ConnectionCommand::Exec
        | ConnectionCommand::Info
        | ConnectionCommand::LastSave
        | ConnectionCommand::Latency
        | ConnectionCommand::Multi
        | ConnectionCommand::ReadOnly
        | ConnectionCommand::ReadWrite
        | ConnectionCommand::Reset
        | ConnectionCommand::Role
        | ConnectionCommand::SlowLog
        | ConnectionCommand::Session
        | ConnectionCommand::Wait
        | ConnectionCommand::WaitAof
        | ConnectionCommand::Watch
        | ConnectionCommand::PubSub
        | ConnectionCommand::Publish
        | ConnectionCommand::SPublish
        | ConnectionCommand::Subscribe
        | ConnectionCommand::Unsubscribe
        | ConnectionCommand::PSubscribe
        | ConnectionCommand::PUnsubscribe
        | ConnectionCommand::SSubscribe
        | ConnectionCommand::SUnsubscribe => Err(Error::Fixed("ERR This command is not allowed here")),
    }
}

/// Checks the number of arguments. The subcommand's own name where there is one, else the command's.
fn check_arity(args: &[&[u8]]) -> Result<&'static str, Error> {
    let name = resolve(args)?.name;
    Ok(name.split_once('|').map_or(name, |(_, own)| own))
}

fn ping(state: &ConnectionState, args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    // A client that listens in RESP2 gets what looks like a message.
    let listens = state.subscribes() && !state.resp3;
    match args {
        [_, rest @ ..] if listens && rest.len() <= 1 => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(rest.first().unwrap_or(&&b""[..]));
        }
        [_] => reply.simple("PONG"),
        [_, message] => reply.bulk(message),
        _ => return Err(Error::Arity("ping")),
    }
    Ok(())
}

fn select(args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    check_arity(args)?;
    match parse::integer_argument(args[1])? {
        0 => {
            reply.ok();
            Ok(())
        }
        _ => Err(Error::Fixed("ERR DB index is out of range")),
    }
}

/// Names go into lists of `key=value` separated by spaces.
pub(super) fn check_name(name: &[u8], what: &str) -> Result<(), Error> {
    if name.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    Err(Error::Text(format!("ERR {what} cannot contain spaces, newlines or special characters.").into_bytes()))
}

fn client(state: &mut ConnectionState, args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    match check_arity(args)? {
        "id" => reply.integer(i64::try_from(state.id).unwrap_or(i64::MAX)),
        "getname" => reply.bulk_or_null(Some(&state.name[..]).filter(|name| !name.is_empty())),
        "setname" => {
            check_name(args[2], "Client names")?;
            state.name = args[2].to_vec();
            reply.ok();
        }
        "setinfo" => {
            let (field, what) = if parse::is(args[2], "lib-name") {
                (&mut state.lib_name, "lib-name")
            } else if parse::is(args[2], "lib-ver") {
                (&mut state.lib_ver, "lib-ver")
            } else {
                return Err(Error::Text([b"ERR Unrecognized option '", args[2], b"'"].concat()));
            };
            check_name(args[3], what)?;
            *field = args[3].to_vec();
            reply.ok();
        }
        // Keys are not tracked.
        "getredir" => reply.integer(-1),
        "tracking" if args.len() == 3 && !on_or_off(args[2])? => reply.ok(),
        "tracking" => return Err(Error::Fixed("ERR keys are not tracked for clients by this store")),
        "trackinginfo" => {
            reply.map(3);
            reply.bulk(b"flags");
            reply.set(1);
            reply.bulk(b"off");
            reply.bulk(b"redirect");
            reply.integer(-1);
            reply.bulk(b"prefixes");
            reply.array(0);
        }
        "no-evict" => {
            state.no_evict = on_or_off(args[2])?;
            reply.ok();
        }
        "no-touch" => {
            state.no_touch = on_or_off(args[2])?;
            reply.ok();
        }
        "reply" => {
            if parse::is(args[2], "on") {
                state.reply_mode = ReplyMode::On;
                reply.ok();
            } else if parse::is(args[2], "off") {
                state.reply_mode = ReplyMode::Off;
            } else if parse::is(args[2], "skip") {
                if state.reply_mode != ReplyMode::Off {
                    state.reply_mode = ReplyMode::SkipNext;
                }
            } else {
                return Err(Error::Syntax);
            }
        }
        "help" => help(reply, &CLIENT_HELP),
        // Who knows all clients executes the others.
        _ => return Err(Error::Fixed("ERR This command is not allowed here")),
    }
    Ok(())
}

fn on_or_off(argument: &[u8]) -> Result<bool, Error> {
    match argument {
        on if parse::is(on, "on") => Ok(true),
        off if parse::is(off, "off") => Ok(false),
        _ => Err(Error::Syntax),
    }
}

const CLIENT_HELP: [&str; 37] = [
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    Return the name of the current connection.",
    "GETREDIR",
    "    Always -1: keys are not tracked.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill the connection from <ip:port> with this replica.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections with this replica: ADDR, LADDR, ID, TYPE, USER, SKIPME.",
    "LIST [TYPE <type> | ID <id> [<id> ...]]",
    "    Return information about the client connections of this replica.",
    "NO-EVICT (ON|OFF)",
    "    Accepted; connections are not evicted.",
    "NO-TOUCH (ON|OFF)",
    "    What this client reads here does not count as used.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Hold back all, or just write, commands of this replica's clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Say which client library this is.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "TRACKING OFF",
    "    Accepted; ON is refused: keys are not tracked.",
    "TRACKINGINFO",
    "    That keys are not tracked.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client of this replica.",
    "UNPAUSE",
    "    Stop holding back commands.",
    "HELP",
    "    Prints this help.",
];

/// The lines of a HELP subcommand.
pub(crate) fn help(reply: &mut Reply<'_>, lines: &[&str]) {
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.simple(line));
}

const CLUSTER_HELP: [&str; 5] = [
    "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "INFO, MYID",
    "    Refused: this store is not a Redis Cluster.",
    "HELP",
    "    Prints this help.",
];

fn cluster(args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    if check_arity(args)? == "help" {
        help(reply, &CLUSTER_HELP);
        return Ok(());
    }
    Err(Error::Fixed("ERR This instance has cluster support disabled"))
}
