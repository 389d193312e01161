//! CONFIG: parameters of Redis, as clients and tools ask for them and set them.
//!
//! A store is configured by its resource. What Redis's parameters would change here is fixed: it is told as it is, and setting it to anything else is
//! refused. What bounds clients, memory and the slow log has its meaning ([`Tuning`]), for this replica, until its process ends; so is what tunes memory, logs
//! and housekeeping of Redis and means nothing here: it is accepted as strictly as Redis does, kept, and given back. One is the store's, whichever replica it is
//! set at, as who executes a command is seldom the one that a client is connected to: `notify-keyspace-events` ([`Parameters::hear_events`]).

mod events;
mod sizes;

use std::borrow::Cow;
use std::collections::BTreeMap;

use trireme_proto::{
    message::KeyspaceEvents,
    topology::{self, ClientLimits, Eviction},
};

use crate::engine::evict::Order;

pub use self::sizes::OutputLimit;
use self::sizes::{bytes, output_limits};
use super::{Error, Reply, connection::Context, connection::help, glob, parse, resolve};
use crate::engine::events::Classes;

/// What a parameter's value may be.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Nothing but what it is.
    Fixed,
    /// A number within bounds.
    Integer(i64, i64),
    /// A number of bytes, at least so many, perhaps with a unit.
    Memory(i64),
    /// `yes` or `no`.
    YesNo,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Of classes of clients: most bytes of replies, and most for so many seconds.
    Output,
    /// Classes of keyspace events.
    Events,
}

use Form::{Events, Fixed, Integer, Memory, OneOf, Output, YesNo};

const INT_MAX: i64 = i32::MAX as i64;
const INT_MIN: i64 = i32::MIN as i64;
const LONG: Form = Integer(0, i64::MAX);
const COUNT: Form = Integer(0, INT_MAX);

const NO_EVICTION: &str = "noeviction";
const ALL_KEYS_LRU: &str = "allkeys-lru";
const VOLATILE_TTL: &str = "volatile-ttl";

/// A parameter: its name, another one, what it is if nobody has set it, what it may be.
type Parameter = (&'static str, &'static str, &'static str, Form);

/// All parameters, in the order of their names.
#[rustfmt::skip]
const PARAMETERS: &[Parameter] = &[
    ("active-defrag-cycle-max", "", "25", Integer(1, 99)),
    ("active-defrag-cycle-min", "", "1", Integer(1, 99)),
    ("active-defrag-ignore-bytes", "", "104857600", Memory(0)),
    ("active-defrag-max-scan-fields", "", "1000", Integer(1, i64::MAX)),
    ("active-defrag-threshold-lower", "", "10", Integer(0, 1000)),
    ("active-defrag-threshold-upper", "", "100", Integer(0, 1000)),
    ("active-expire-effort", "", "1", Integer(1, 10)),
    ("activerehashing", "", "yes", YesNo),
    ("aof-rewrite-incremental-fsync", "", "yes", YesNo),
    ("appendfsync", "", "always", Fixed),
    ("appendonly", "", "yes", Fixed),
    ("auto-aof-rewrite-min-size", "", "67108864", Memory(0)),
    ("auto-aof-rewrite-percentage", "", "100", COUNT),
    ("busy-reply-threshold", "lua-time-limit", "5000", LONG),
    ("client-output-buffer-limit", "", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", Output),
    ("client-query-buffer-limit", "", "1073741824", Memory(1 << 20)),
    ("crash-memcheck-enabled", "", "yes", YesNo),
    ("databases", "", "1", Fixed),
    ("dir", "", "/", Fixed),
    ("dynamic-hz", "", "yes", YesNo),
    ("hash-max-listpack-entries", "hash-max-ziplist-entries", "128", LONG),
    ("hash-max-listpack-value", "hash-max-ziplist-value", "64", LONG),
    ("hll-sparse-max-bytes", "", "3000", LONG),
    ("hz", "", "10", COUNT),
    ("latency-monitor-threshold", "", "0", LONG),
    ("lazyfree-lazy-eviction", "", "no", YesNo),
    ("lazyfree-lazy-expire", "", "no", YesNo),
    ("lazyfree-lazy-server-del", "", "no", YesNo),
    ("lazyfree-lazy-user-del", "", "no", YesNo),
    ("lazyfree-lazy-user-flush", "", "no", YesNo),
    ("lfu-decay-time", "", "1", COUNT),
    ("lfu-log-factor", "", "10", COUNT),
    ("list-compress-depth", "", "0", COUNT),
    ("list-max-listpack-size", "list-max-ziplist-size", "-2", Integer(INT_MIN, INT_MAX)),
    ("loglevel", "", "notice", OneOf(&["debug", "verbose", "notice", "warning"])),
    ("maxclients", "", "10000", Integer(1, u32::MAX as i64)),
    ("maxmemory", "", "0", Memory(0)),
    ("maxmemory-eviction-tenacity", "", "10", Integer(0, 100)),
    ("maxmemory-policy", "", "noeviction", OneOf(&[NO_EVICTION, ALL_KEYS_LRU, VOLATILE_TTL])),
    ("maxmemory-samples", "", "5", Integer(1, INT_MAX)),
    ("no-appendfsync-on-rewrite", "", "no", YesNo),
    (EVENTS, "", "", Events),
    ("proto-max-bulk-len", "", "536870912", Fixed),
    ("rdb-save-incremental-fsync", "", "yes", YesNo),
    ("rdbcompression", "", "yes", YesNo),
    ("repl-backlog-ttl", "", "3600", LONG),
    ("repl-disable-tcp-nodelay", "", "no", YesNo),
    ("repl-diskless-sync", "", "yes", YesNo),
    ("repl-diskless-sync-delay", "", "5", COUNT),
    ("save", "", "", Fixed),
    ("set-max-intset-entries", "", "512", LONG),
    ("slowlog-log-slower-than", "", "10000", Integer(-1, i64::MAX)),
    ("slowlog-max-len", "", "128", LONG),
    ("stop-writes-on-bgsave-error", "", "yes", YesNo),
    ("stream-node-max-bytes", "", "4096", Memory(0)),
    ("stream-node-max-entries", "", "100", LONG),
    ("tcp-keepalive", "", "300", COUNT),
    ("timeout", "", "0", COUNT),
    ("tracking-table-max-keys", "", "1000000", LONG),
    ("zset-max-listpack-entries", "zset-max-ziplist-entries", "128", LONG),
    ("zset-max-listpack-value", "zset-max-ziplist-value", "64", LONG),
];

const EVENTS: &str = "notify-keyspace-events";

/// Parameters that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// `maxclients`: connections that a replica takes.
    pub clients_max: u64,
    /// `timeout`: seconds after which a connection that has nothing under way and says nothing is closed; 0 for never.
    pub idle_s: u64,
    /// `maxmemory`: bytes beyond which keys are evicted, or commands that need more are refused; 0 for no bound.
    pub memory: u64,
    /// `maxmemory-policy`: which keys go; none where none do.
    pub eviction: Option<Order>,
    /// `maxmemory-samples`: keys that are looked at for each that goes.
    pub samples: usize,
    /// `maxmemory-eviction-tenacity`: keys that may go for one command.
    pub evicted_max: usize,
    /// `client-query-buffer-limit`: the longest command, in bytes.
    pub query: u64,
    /// `client-output-buffer-limit` of ordinary clients, and of those that subscribe.
    pub output: [OutputLimit; 2],
    /// `slowlog-log-slower-than`: microseconds; negative for no slow log.
    pub slow_us: i64,
    /// `slowlog-max-len`.
    pub slow_length: usize,
    /// `latency-monitor-threshold`: milliseconds; 0 for none.
    pub latency_ms: u64,
    /// `notify-keyspace-events`, where something is told of them.
    pub events: Classes,
}

/// What has been set on a replica, by the index of the parameter, and what that means.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// The store's limits, by its record.
    record: ClientLimits,
    /// The same by parameter, where they are not the default.
    base: BTreeMap<usize, String>,
    set: BTreeMap<usize, String>,
    /// What was said last of keyspace events, at any replica of the store.
    events: Option<KeyspaceEvents>,
    /// Revision of what the record says of them.
    events_revision: u64,
    tuning: Tuning,
}

impl Default for Parameters {
    fn default() -> Parameters {
        let mut new = Parameters {
            record: ClientLimits::default(),
            base: BTreeMap::new(),
            set: BTreeMap::new(),
            events: None,
            events_revision: 0,
            tuning: Tuning::NONE,
        };
        new.tuning = new.read_tuning();
        new
    }
}

impl Default for Tuning {
    fn default() -> Tuning {
        *Parameters::default().tuning()
    }
}

impl Tuning {
    const NONE: Tuning = Tuning {
        clients_max: 0,
        idle_s: 0,
        memory: 0,
        eviction: None,
        samples: 0,
        evicted_max: 0,
        query: 0,
        output: [OutputLimit { hard: 0, soft: 0, soft_s: 0 }; 2],
        slow_us: 0,
        slow_length: 0,
        latency_ms: 0,
        events: Classes::NONE,
    };
}

impl Parameters {
    fn value(&self, index: usize) -> &str {
        self.set.get(&index).or_else(|| self.base.get(&index)).map_or(PARAMETERS[index].2, String::as_str)
    }

    /// A value as CONFIG GET gives it back.
    fn shown(&self, index: usize) -> Cow<'_, str> {
        let value = self.value(index);
        let events = (PARAMETERS[index].0 == EVENTS).then(|| Classes::parse(value.as_bytes())).flatten();
        events.map_or(value.into(), |classes| classes.to_string().into())
    }

    /// What of it means something.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Which keys go where memory is at its bound, by Redis's name for it.
    pub fn policy(&self) -> &str {
        self.named("maxmemory-policy")
    }

    fn named(&self, name: &str) -> &str {
        index_of(name).map_or("", |index| self.value(index))
    }

    /// Takes over the store's limits. Where they have changed, what CONFIG SET said is over.
    pub fn follow(&mut self, limits: &ClientLimits) {
        if self.record == *limits {
            return;
        }
        let before = std::mem::replace(&mut self.record, *limits);
        for ((name, value), (_, old)) in of_record(limits).into_iter().zip(of_record(&before)) {
            let Some(index) = index_of(name).filter(|_| value != old) else { continue };
            self.set.remove(&index);
            match value {
                Some(value) => self.base.insert(index, value),
                None => self.base.remove(&index),
            };
        }
        self.tuning = self.read_tuning();
    }

    fn read_tuning(&self) -> Tuning {
        let number = |name: &str| self.named(name).parse().unwrap_or(0);
        let limits = output_limits(self.named("client-output-buffer-limit")).unwrap_or_default();
        let of =
            |class: &str| limits.iter().find(|(name, _)| *name == class).map(|(_, limit)| *limit).unwrap_or_default();
        Tuning {
            clients_max: number("maxclients"),
            idle_s: number("timeout"),
            memory: number("maxmemory"),
            eviction: match self.policy() {
                ALL_KEYS_LRU => Some(Order::LeastRecentlyUsed),
                VOLATILE_TTL => Some(Order::NextToExpire),
                _ => None,
            },
            samples: usize::try_from(number("maxmemory-samples")).unwrap_or(1),
            evicted_max: keys_for(number("maxmemory-eviction-tenacity")),
            query: number("client-query-buffer-limit"),
            output: [of("normal"), of("pubsub")],
            slow_us: self.named("slowlog-log-slower-than").parse().unwrap_or(-1),
            slow_length: usize::try_from(number("slowlog-max-len")).unwrap_or(usize::MAX).min(SLOW_MAX),
            latency_ms: number("latency-monitor-threshold"),
            events: Classes::parse(self.named(EVENTS).as_bytes()).unwrap_or_default().told(),
        }
    }

    /// CONFIG SET: all of them or none.
    ///
    /// # Errors
    /// As Redis has them.
    pub fn set(&mut self, args: &[&[u8]]) -> Result<(), Error> {
        let pairs = args.get(2..).unwrap_or_default();
        if pairs.len() % 2 == 1 {
            return Err(Error::Syntax);
        }
        let mut new: Vec<(usize, &[u8])> = Vec::new();
        for pair in pairs.chunks_exact(2) {
            let named = |(name, other, ..): &Parameter| {
                parse::is(pair[0], name) || (!other.is_empty() && parse::is(pair[0], other))
            };
            let Some(index) = PARAMETERS.iter().position(named) else {
                let immutable = parse::is(pair[0], "requirepass");
                return Err(if immutable { failed(pair[0], IMMUTABLE) } else { unknown(pair[0]) });
            };
            let (_, _, is, form) = PARAMETERS[index];
            if matches!(form, Fixed) && pair[1] != is.as_bytes() {
                return Err(failed(pair[0], IMMUTABLE));
            }
            if new.iter().any(|(other, _)| *other == index) {
                return Err(failed(pair[0], "duplicate parameter"));
            }
            new.push((index, pair[1]));
        }
        let read = |(index, text): &(usize, &[u8])| {
            let (name, _, _, form) = PARAMETERS[*index];
            let value = form.read(text, self.value(*index)).map_err(|why| failed(name.as_bytes(), &why))?;
            Ok((*index, value))
        };
        let read: Vec<(usize, String)> = new.iter().map(read).collect::<Result<_, Error>>()?;
        self.set.extend(read);
        self.tuning = self.read_tuning();
        Ok(())
    }
}

/// What a parameter is if nobody has set it.
fn standard(name: &str) -> &'static str {
    index_of(name).map_or("", |index| PARAMETERS[index].2)
}

fn index_of(name: &str) -> Option<usize> {
    PARAMETERS.iter().position(|(known, ..)| *known == name)
}

/// As many keys as go in the time that Redis takes for this tenacity: half a millisecond for 10.
fn keys_for(tenacity: u64) -> usize {
    const KEYS: u64 = 120;
    match tenacity {
        0..=10 => (KEYS * tenacity / 10).max(1) as usize,
        // Each step is 15 % more.
        11..100 => (10..tenacity).fold(KEYS, |keys, _| keys * 115 / 100) as usize,
        _ => usize::MAX,
    }
}

/// Limits of a record as parameters; none where they are the default.
fn of_record(limits: &ClientLimits) -> [(&'static str, Option<String>); 6] {
    let number = |number: u64| (number > 0).then(|| number.to_string());
    let class = |name: &str, limit: Option<topology::OutputLimit>| {
        limit.map(|limit| format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds))
    };
    let classes = [class("normal", limits.replies), class("pubsub", limits.subscribers)].into_iter().flatten();
    let output = classes.collect::<Vec<String>>().join(" ");
    let output = || Output.read(output.as_bytes(), standard("client-output-buffer-limit")).ok();
    let policy = match limits.eviction() {
        Eviction::NoEviction => None,
        Eviction::AllKeysLru => Some(ALL_KEYS_LRU),
        Eviction::VolatileTtl => Some(VOLATILE_TTL),
    };
    [
        ("maxclients", number(limits.clients)),
        ("timeout", number(limits.idle_seconds)),
        ("maxmemory", number(limits.memory_bytes)),
        ("client-query-buffer-limit", number(limits.query_bytes)),
        ("client-output-buffer-limit", output()),
        ("maxmemory-policy", policy.map(str::to_owned)),
    ]
}

/// Slow commands that are kept, whatever was asked for.
const SLOW_MAX: usize = 10_000;
const IMMUTABLE: &str = "can't set immutable config";

fn unknown(name: &[u8]) -> Error {
    Error::Text([b"ERR Unknown option or number of arguments for CONFIG SET - '", name, b"'"].concat())
}

fn failed(name: &[u8], why: &str) -> Error {
    let before = b"ERR CONFIG SET failed (possibly related to argument '";
    Error::Text([before, name, b"') - ", why.as_bytes()].concat())
}

impl Form {
    /// A value as it is given back, or why it is none. `before` is what it has been.
    fn read(self, text: &[u8], before: &str) -> Result<String, String> {
        let word = || String::from_utf8_lossy(text).to_ascii_lowercase();
        match self {
            Fixed => Ok(String::from_utf8_lossy(text).into_owned()),
            Integer(least, most) => match parse::integer(text) {
                None => Err("argument couldn't be parsed into an integer".into()),
                Some(value) if value < least || value > most => {
                    Err(format!("argument must be between {least} and {most} inclusive"))
                }
                Some(value) => Ok(value.to_string()),
            },
            Memory(least) => match bytes(&word()) {
                None => Err("argument must be a memory value".into()),
                Some(bytes) if bytes < least.cast_unsigned() => {
                    Err(format!("argument must be between {least} and {} inclusive", i64::MAX))
                }
                Some(bytes) => Ok(bytes.to_string()),
            },
            Output => {
                let (mut limits, new) = (output_limits(before).unwrap_or_default(), output_limits(&word())?);
                for (class, limit) in new {
                    limits.iter_mut().filter(|(known, _)| *known == class).for_each(|known| known.1 = limit);
                }
                let text = |(class, limit): &(&str, OutputLimit)| {
                    format!("{class} {} {} {}", limit.hard, limit.soft, limit.soft_s)
                };
                Ok(limits.iter().map(text).collect::<Vec<_>>().join(" "))
            }
            Events => match Classes::parse(text) {
                Some(classes) => Ok(classes.letters()),
                None => Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
            },
            YesNo if ["yes", "no"].contains(&&*word()) => Ok(word()),
            YesNo => Err("argument must be 'yes' or 'no'".into()),
            OneOf(words) if words.contains(&&*word()) => Ok(word()),
            OneOf(words) => Err(format!("argument(s) must be one of the following: {}", words.join(", "))),
        }
    }
}

const HELP: [&str; 12] = [
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern> [<pattern> ...]",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value> [<directive> <value> ...]",
    "    For this replica, until it ends; refused where it would be the store's, which is configured by its resource.",
    "    notify-keyspace-events: for the store, at whichever replica it is set, until all of them end.",
    "RESETSTAT",
    "    Accepted.",
    "REWRITE",
    "    Refused: a store is configured by its resource.",
    "HELP",
    "    Prints this help.",
];

/// CONFIG, but for SET, which who keeps the parameters executes.
pub fn config(context: &Context<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
    match resolve(args)?.name {
        "config|get" => {
            let none = Parameters::default();
            let parameters = context.parameters.unwrap_or(&none);
            let patterns: Vec<Vec<u8>> = args[2..].iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
            let wanted = |name: &str| patterns.iter().any(|pattern| glob::matches(pattern, name.as_bytes()));
            let names = |(index, (name, other, ..)): (usize, &'static Parameter)| [(*name, index), (*other, index)];
            let all = PARAMETERS.iter().enumerate().flat_map(names).filter(|(name, _)| !name.is_empty());
            let known = all.map(|(name, index)| (name, parameters.shown(index)));
            let found: Vec<_> = known.filter(|(name, _)| wanted(name)).collect();
            let password = context.password.filter(|_| wanted("requirepass"));
            reply.map(found.len() + usize::from(password.is_some()));
            for (name, value) in found {
                reply.bulk(name.as_bytes());
                reply.bulk(value.as_bytes());
            }
            if let Some(password) = password {
                reply.bulk(b"requirepass");
                reply.bulk(password);
            }
        }
        "config|set" => {
            return Err(Error::Fixed("ERR CONFIG SET concerns one replica: it cannot be part of a transaction"));
        }
        "config|resetstat" => reply.ok(),
        "config|rewrite" => return Err(Error::Fixed("ERR The server is running without a config file")),
        _ => help(reply, &HELP),
    }
    Ok(())
}
