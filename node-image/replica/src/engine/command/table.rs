//! Which commands there are, and how one is found by its name.

use super::rows::ROWS;
use super::{Args, Error, Reply, parse, sort};
use crate::engine::access::Access;

/// What a command is, as `COMMAND INFO` tells it: a bit each, [`flag::NAMES`] gives their names.
pub type Flags = u32;

/// The bits of [`Flags`].
pub mod flag {
    /// It may change data.
    pub const WRITE: u32 = 1;
    /// It reads data and changes none.
    pub const READONLY: u32 = 1 << 1;
    /// It may need more memory.
    pub const DENYOOM: u32 = 1 << 2;
    /// It is for administrators.
    pub const ADMIN: u32 = 1 << 3;
    /// Scripts may not call it.
    pub const NOSCRIPT: u32 = 1 << 4;
    /// It works while data is being loaded.
    pub const LOADING: u32 = 1 << 5;
    /// It works on a replica that has lost its leader.
    pub const STALE: u32 = 1 << 6;
    /// It is not written to the slow log.
    pub const SKIP_SLOWLOG: u32 = 1 << 7;
    /// Its time does not grow with the data.
    pub const FAST: u32 = 1 << 8;
    /// It works before authentication.
    pub const NO_AUTH: u32 = 1 << 9;
    /// It works while a script runs for too long.
    pub const ALLOW_BUSY: u32 = 1 << 10;
    /// Where its keys are depends on its arguments.
    pub const MOVABLEKEYS: u32 = 1 << 11;
    /// It does not work while data is loaded in the background.
    pub const NO_ASYNC_LOADING: u32 = 1 << 12;
    /// It waits until its keys have something: where it finds nothing it writes nothing, and answers null or an error.
    pub const BLOCKING: u32 = 1 << 13;
    /// It publishes or subscribes.
    pub const PUBSUB: u32 = 1 << 14;
    /// Not shown as a flag: it belongs to the category `@dangerous`.
    pub const DANGEROUS: u32 = 1 << 17;
    /// Not shown: neither its effect nor its reply depends on what its keys hold, but for options that say otherwise.
    pub const BLIND: u32 = 1 << 15;

    /// Not shown: a unit of work of its own, no part of a transaction.
    pub const ALONE: u32 = 1 << 16;
    /// Not shown: it tells by itself which keys it reads and has not found.
    pub const TELLS_MISSES: u32 = 1 << 18;

    /// The names of the flags, by bit.
    pub const NAMES: [&str; 15] = [
        "write",
        "readonly",
        "denyoom",
        "admin",
        "noscript",
        "loading",
        "stale",
        "skip_slowlog",
        "fast",
        "no_auth",
        "allow_busy",
        "movablekeys",
        "no_async_loading",
        "blocking",
        "pubsub",
    ];
}

/// The family a command is documented under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Strings and counters.
    String,
    /// Bits of strings.
    Bitmap,
    /// Hashes.
    Hash,
    /// Sets.
    Set,
    /// Sorted sets.
    SortedSet,
    /// Lists.
    List,
    /// Keys of any type.
    Generic,
    /// The connection.
    Connection,
    /// The server.
    Server,
    /// MULTI and what belongs to it.
    Transactions,
    /// PUBLISH, SUBSCRIBE and their like.
    PubSub,
    /// Redis Cluster's own.
    Cluster,
    /// Scripts and functions, of which there are none here.
    Scripting,
}

impl Group {
    /// Its name, as `COMMAND DOCS` gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::List => "list",
            Self::Generic => "generic",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Transactions => "transactions",
            Self::PubSub => "pubsub",
            Self::Cluster => "cluster",
            Self::Scripting => "scripting",
        }
    }
}

/// What a command on the connection is, for the `match` that executes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the command of its name")]
pub enum ConnectionCommand {
    Auth,
    Client,
    Cluster,
    Command,
    Config,
    Conflicts,
    Consistency,
    Debug,
    Discard,
    Echo,
    Exec,
    Function,
    Hello,
    Info,
    LastSave,
    Latency,
    Move,
    Multi,
    Ping,
    PSubscribe,
    Publish,
    PubSub,
    PUnsubscribe,
    Quit,
    ReadOnly,
    ReadWrite,
    Reset,
    Role,
    Script,
    Select,
    SlowLog,
    SPublish,
    SSubscribe,
    Subscribe,
    SUnsubscribe,
    SwapDb,
    Session,
    Time,
    Unsubscribe,
    Unwatch,
    Wait,
    WaitAof,
    Watch,
}

impl ConnectionCommand {
    /// Whether it neither reads nor changes the connection's state, so that it can be executed anywhere: within a
    /// transaction, on another replica. (UNWATCH within a transaction finds that EXEC has forgotten everything already.)
    pub fn is_stateless(self) -> bool {
        matches!(
            self,
            Self::Cluster
                | Self::Command
                | Self::Config
                | Self::Echo
                | Self::Function
                | Self::Move
                | Self::Ping
                | Self::Script
                | Self::Select
                | Self::SwapDb
                | Self::Time
                | Self::Unwatch
        )
    }
}

/// Executes a command on data: replies, or finds an error before it has changed anything.
pub type Function = fn(&mut Access<'_>, &Args<'_>, &mut Reply<'_>) -> Result<(), Error>;

/// Who executes a command.
#[derive(Clone, Copy, Debug)]
pub enum Handler {
    /// The engine, by this function.
    Data(Function),
    /// The client's connection, for the command concerns its state.
    Connection(ConnectionCommand),
}

/// One row of the table: all that is known of a command.
#[derive(Debug)]
pub struct Spec {
    /// Its name in lower case; a subcommand's is `command|subcommand`.
    pub name: &'static str,
    /// How many arguments, the name (and the subcommand's) included: exactly this many, or at least so many if
    /// negative.
    pub arity: i8,
    /// What it is: bits of [`flag`].
    pub flags: Flags,
    /// Index of the first key, 0 if there is none.
    pub first_key: i8,
    /// Index of the last key; negative: counted from the end, -1 being the last argument.
    pub last_key: i8,
    /// From one key to the next.
    pub step: i8,
    /// Its family.
    pub group: Group,
    /// The version of Redis that first had it.
    pub since: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Who executes it.
    pub handler: Handler,
    /// Its subcommands, if it is nothing but a container of them. Their handler is the container's, but for one that reads
    /// data where the others do not.
    pub subcommands: &'static [Spec],
}

impl Spec {
    /// Whether it may change data.
    pub fn is_write(&self) -> bool {
        self.flags & flag::WRITE != 0
    }

    /// Whether with these arguments neither its effect nor its reply depends on what its keys hold.
    pub fn is_blind(&self, args: &[&[u8]]) -> bool {
        let looks = |arg: &&[u8]| ["nx", "xx", "get", "keepttl"].iter().any(|option| parse::is(arg, option));
        self.has(flag::BLIND) && !(self.name == "set" && args.iter().skip(3).any(looks))
    }

    /// Whether it has all of these bits of [`flag`].
    pub fn has(&self, flags: Flags) -> bool {
        self.flags & flags == flags
    }

    /// It reads each of the keys that its row names, and nothing else, and does not tell itself which it has not found.
    pub fn reads_all_keys(&self) -> bool {
        self.has(flag::READONLY) && !self.has(flag::TELLS_MISSES) && self.first_key == 1
    }

    /// Checks the number of arguments, the name included.
    ///
    /// # Errors
    /// [`Error::Arity`].
    pub fn check_arity(&self, arguments: usize) -> Result<(), Error> {
        let expected = usize::from(self.arity.unsigned_abs());
        let fits = if self.arity < 0 { arguments >= expected } else { arguments == expected };
        if fits { Ok(()) } else { Err(Error::Arity(self.name)) }
    }

    /// The subcommand that these arguments name, if this is a container.
    ///
    /// # Errors
    /// The container has no such subcommand, or it has another number of arguments.
    pub fn subcommand(&'static self, args: &[&[u8]]) -> Result<&'static Spec, Error> {
        if self.subcommands.is_empty() {
            return Ok(self);
        }
        let Some(name) = args.get(1) else { return Ok(self) };
        let own = self.name.len() + 1;
        let found = self.subcommands.iter().find(|spec| parse::is(name, &spec.name[own..]));
        let found = found.ok_or_else(|| Error::unknown_subcommand(self.name, name))?;
        found.check_arity(args.len())?;
        Ok(found)
    }

    /// The keys among these arguments, in order. Arguments that do not make up a command have those keys that are
    /// there.
    pub fn keys<'a>(&self, args: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (first, last, step) = self.key_range(args);
        let fixed = args.get(first..last).unwrap_or_default().iter().step_by(step);
        fixed.chain(self.counted_keys(args)).copied()
    }

    /// Those of them that it may write: of a command that stores what it made of others, the one it stores in.
    pub fn written_keys<'a>(&self, args: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let stores = match self.name {
            "copy" | "bitop" => args.get(2..3),
            "sort" => Some(sort::destination(args).unwrap_or_default()),
            name if name.ends_with("store") => args.get(1..2),
            _ => None,
        };
        let all = stores.is_none().then(|| self.keys(args));
        stores.unwrap_or_default().iter().copied().chain(all.into_iter().flatten())
    }

    /// Whether its arguments name the keys that it is about.
    pub fn names_keys(&self) -> bool {
        self.first_key != 0 || self.has(flag::MOVABLEKEYS)
    }

    /// Keys that are where the arguments say: SORT's destination. And keys behind their number: as the first argument, or the one behind the destination's key, or behind how long to wait.
    fn counted_keys<'a>(&self, args: &'a [&'a [u8]]) -> &'a [&'a [u8]] {
        if self.name == "sort" {
            return sort::destination(args).unwrap_or_default();
        }
        if self.flags & flag::MOVABLEKEYS == 0 || self.sorts() {
            return &[];
        }
        let at = if self.first_key == 0 && !self.has(flag::BLOCKING) { 1 } else { 2 };
        let count = args.get(at).and_then(|count| parse::integer(count)).and_then(|count| usize::try_from(count).ok());
        let rest = args.get(at + 1..).unwrap_or_default();
        &rest[..count.unwrap_or(0).min(rest.len())]
    }

    /// Where the keys are: index of the first, index after the last, step.
    fn key_range(&self, args: &[&[u8]]) -> (usize, usize, usize) {
        let row = match self.subcommands.iter().find(|spec| args.get(1).is_some_and(|name| spec.ends_with(name))) {
            Some(subcommand) => subcommand,
            None => self,
        };
        let index = |position: i8| {
            let size = usize::from(position.unsigned_abs());
            if position < 0 { args.len().saturating_sub(size) } else { size }
        };
        if row.first_key == 0 {
            return (0, 0, 1);
        }
        (index(row.first_key), (index(row.last_key) + 1).min(args.len()), index(row.step).max(1))
    }

    /// Whether `subcommand` is the second part of this name.
    fn ends_with(&self, subcommand: &[u8]) -> bool {
        self.name.split_once('|').is_some_and(|(_, own)| parse::is(subcommand, own))
    }

    /// The names of its categories, without the `@`, in no order.
    pub fn categories(&self) -> impl Iterator<Item = &'static str> {
        use flag::{ADMIN, BLOCKING, DANGEROUS, FAST, PUBSUB, READONLY, WRITE};
        let family = match self.group {
            Group::String => Some("string"),
            Group::Bitmap => Some("bitmap"),
            Group::Hash => Some("hash"),
            Group::Set => Some("set"),
            Group::SortedSet => Some("sortedset"),
            Group::List => Some("list"),
            Group::Transactions => Some("transaction"),
            Group::Generic if self.name == "wait" || self.name == "waitaof" => Some("connection"),
            Group::Generic if self.sorts() => None,
            Group::Generic if self.name != "object" => Some("keyspace"),
            Group::Connection if self.name != "client" => Some("connection"),
            Group::Cluster if !self.name.starts_with("cluster") => Some("connection"),
            Group::Server if self.name.starts_with("command") => Some("connection"),
            Group::Server if self.has(WRITE) || (self.has(READONLY) && self.name != "memory|usage") => Some("keyspace"),
            Group::Scripting if self.name.contains('|') => Some("scripting"),
            _ => None,
        };
        let admin = self.has(ADMIN) || matches!(self.name, "lastsave" | "role");
        [
            family,
            self.has(WRITE).then_some("write"),
            self.has(READONLY).then_some("read"),
            admin.then_some("admin"),
            self.has(BLOCKING).then_some("blocking"),
            self.has(PUBSUB).then_some("pubsub"),
            (admin || self.has(DANGEROUS)).then_some("dangerous"),
            Some(if self.has(FAST) { "fast" } else { "slow" }),
        ]
        .into_iter()
        .flatten()
        .chain(["list", "set", "sortedset"].into_iter().filter(|_| self.sorts()))
    }

    /// SORT and SORT_RO, which belong to all types that they sort.
    fn sorts(&self) -> bool {
        matches!(self.name, "sort" | "sort_ro")
    }
}

/// All commands, in the order of the table.
pub fn all() -> &'static [Spec] {
    ROWS
}

/// The command of this name, in any case.
pub fn lookup(name: &[u8]) -> Option<&'static Spec> {
    let key = key_of(name)?;
    let mut place = place_of(key);
    loop {
        let row = usize::from(INDEX[place].checked_sub(1)?);
        if KEYS[row] == key {
            // The one byte that is read like the `_` of a name.
            let underscore = name.len() == "sort_ro".len() || name.len() == "bitfield_ro".len();
            return Some(&ROWS[row]).filter(|_| !underscore || !name.contains(&0x7f));
        }
        place = (place + 1) % PLACES;
    }
}

/// The row for a whole command, a subcommand's own row where it has one, with the number of arguments checked.
///
/// # Errors
/// There is no such command or subcommand, or it has another number of arguments; in Redis's words.
pub fn resolve(args: &[&[u8]]) -> Result<&'static Spec, Error> {
    let spec = args.first().and_then(|name| lookup(name)).ok_or_else(|| Error::unknown_command(args))?;
    spec.check_arity(args.len())?;
    spec.subcommand(args)
}

/// A name as numbers: its letters in lower case, its length. Exact, for names are nothing but letters, and `_`.
type Key = (u64, u64, usize);

/// No command's name is longer, in bytes.
const LONGEST: usize = 16;
/// Places of the hash table: few enough to stay in the processor's cache, enough that most commands are found at once.
const PLACES: usize = 512;
/// How many rows there are.
const COUNT: usize = ROWS.len();
/// The rows' names.
static KEYS: [Key; COUNT] = keys();
/// Where each command is in the table, plus 1; 0 where none is. Open addressing, made by the compiler.
static INDEX: [u8; PLACES] = index();

/// The key of a name; `None` if it is empty or longer than any.
const fn key_of(name: &[u8]) -> Option<Key> {
    // In every byte the bit that makes a letter a lower-case one.
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let length = name.len();
    // Two loads that overlap read any length without a loop.
    let (first, last) = match name {
        [] => return None,
        [a, ..] if length < 4 => (*a as u64 | (name[length / 2] as u64) << 8, name[length - 1] as u64),
        _ if length < 8 => (word::<4>(name, 0), word::<4>(name, length - 4)),
        _ if length <= LONGEST => (word::<8>(name, 0), word::<8>(name, length - 8)),
        _ => return None,
    };
    Some((first | LOWER, last | LOWER, length))
}

/// The N bytes from `at` on, as a number.
const fn word<const N: usize>(name: &[u8], at: usize) -> u64 {
    let mut word = 0;
    let mut byte = N;
    while byte > 0 {
        byte -= 1;
        word = word << 8 | name[at + byte] as u64;
    }
    word
}

const fn place_of((first, last, length): Key) -> usize {
    let mixed = first ^ last.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ length as u64;
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PLACES.trailing_zeros())) as usize
}

const fn keys() -> [Key; COUNT] {
    let mut keys = [(0, 0, 0); COUNT];
    let mut row = 0;
    while row < COUNT {
        let name = ROWS[row].name.as_bytes();
        let mut at = 0;
        while at < name.len() {
            assert!(
                name[at].is_ascii_lowercase() || name[at] == b'_',
                "names in the table are letters in lower case, and `_`"
            );
            at += 1;
        }
        keys[row] = match key_of(name) {
            Some(key) => key,
            None => panic!("a command's name is longer than LONGEST"),
        };
        row += 1;
    }
    keys
}

const fn index() -> [u8; PLACES] {
    const { assert!(COUNT < 255, "the index holds one byte per command") };
    let keys = keys();
    let mut index = [0u8; PLACES];
    let mut row = 0;
    while row < COUNT {
        let mut place = place_of(keys[row]);
        while index[place] != 0 {
            place = (place + 1) % PLACES;
        }
        index[place] = row as u8 + 1;
        row += 1;
    }
    index
}
