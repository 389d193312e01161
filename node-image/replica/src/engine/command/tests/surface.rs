//! `node-image/COMMANDS.md`: every command of Redis 7.2, and of this store's own, with what becomes of it here. It is made from the table of commands and from
//! `golden/redis_commands.tsv`, which a real server's COMMAND LIST wrote. `UPDATE_GOLDEN=1` writes it anew; read the difference before you keep it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::table::{Group, Handler, Spec, all, flag};
use super::real_server;
use super::value::Value;

const REDIS: &str = include_str!("golden/redis_commands.tsv");
/// What came with Redis 7.2; the server that the tests have may be older.
const OF_7_2: [&str; 4] = ["client|no-touch", "client|setinfo", "cluster|myshardid", "waitaof"];

/// Families in the order of the page: Redis's name, ours, and what becomes of concurrent updates.
#[rustfmt::skip]
const FAMILIES: [(&str, &str, &str); 16] = [
    ("string", "Strings and counters", "The last write wins, by clock and origin; values that lost are kept until a write has seen them (`SIBLINGS`, `CONFLICTS`). Counters sum, and a SET or DEL cancels exactly the increments that it saw."),
    ("bitmap", "Bits of strings", "As a string: the last write wins, with the whole value that its origin saw."),
    ("hash", "Hashes", "Each field as a string; an update of a field survives a concurrent HDEL or DEL."),
    ("list", "Lists", "Elements of all sides, in an order that is the same everywhere; concurrent pops may return one element twice."),
    ("set", "Sets", "An add survives a concurrent remove."),
    ("sorted-set", "Sorted sets", "Each member as a hash's field; ZINCRBY sums."),
    ("generic", "Keys of any type", "A removal takes what its origin saw, and nothing else. Of times to live the last write wins."),
    ("transactions", "Transactions", "One delta, which others see whole or not at all; WATCH compares with what the executing leader, or coordinator, has."),
    ("connection", "The connection", ""),
    ("server", "The server", "FLUSHALL removes what its origin saw; the others concern one replica."),
    ("pubsub", "Publish and subscribe", "What is published is heard at every replica of the store. So are keyspace notifications: `CONFIG SET notify-keyspace-events`, at any replica, is for all of them."),
    ("scripting", "Scripts and functions", ""),
    ("cluster", "Redis Cluster", ""),
    ("geo", "Geo", ""),
    ("hyperloglog", "HyperLogLog", ""),
    ("stream", "Streams", ""),
];

/// Why a command is not there; by its name, or by its family.
#[rustfmt::skip]
const WHY_NOT: [(&str, &str); 28] = [
    ("acl", "there is one user, `default`, and its password is the resource's"),
    ("bgrewriteaof", "checkpoints are written by themselves"),
    ("bgsave", "checkpoints are written by themselves"),
    ("save", "checkpoints are written by themselves"),
    ("client|caching", "keys are not tracked"),
    ("cluster", "not a Redis Cluster: every replica takes every command"),
    ("asking", "not a Redis Cluster: every replica takes every command"),
    ("command|getkeysandflags", "GETKEYS has the keys"),
    ("dump", "values have no form outside the store"),
    ("restore", "values have no form outside the store"),
    ("restore-asking", "values have no form outside the store"),
    ("migrate", "values have no form outside the store"),
    ("failover", "leaders are changed by the operator: `trireme promote`"),
    ("replicaof", "replicas are the operator's"),
    ("slaveof", "replicas are the operator's"),
    ("replconf", "replicas are the operator's"),
    ("psync", "replicas are the operator's"),
    ("sync", "replicas are the operator's"),
    ("shutdown", "processes are the operator's"),
    ("lolwut", "no art here"),
    ("memory|stats", "a replica's figures are at its HTTP port"),
    ("module", "no modules can be loaded"),
    ("monitor", "not there yet"),
    ("scripting", "no scripts: what they do would have to be known as deltas before they run"),
    ("geo", "not there yet"),
    ("hyperloglog", "not there yet"),
    ("stream", "streams are no type of this store"),
    ("script|debug", "no scripts"),
];

fn redis() -> BTreeMap<&'static str, &'static str> {
    REDIS.lines().map(|line| line.split_once('\t').expect("a name and a family")).collect()
}

fn ours() -> BTreeMap<&'static str, &'static Spec> {
    let rows = all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    rows.map(|spec| (spec.name, spec)).collect()
}

fn why_not(name: &str, family: &str) -> &'static str {
    let container = name.split('|').next().unwrap_or(name);
    let reason = |key: &str| WHY_NOT.iter().find(|(known, _)| *known == key).map(|(_, why)| *why);
    reason(name)
        .or_else(|| reason(container))
        .or_else(|| reason(family))
        .unwrap_or_else(|| panic!("{name} of Redis 7.2 is not in the table of commands: say why in WHY_NOT, or add it"))
}

/// What becomes of a command's changes beside those of other sides.
fn merges(spec: &Spec) -> &'static str {
    let name = spec.name;
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if !spec.is_write() || !matches!(spec.handler, Handler::Data(_)) {
        return if spec.has(flag::READONLY) { "reads" } else { "" };
    }
    if ends(&["store"]) || name == "sort" || name == "copy" || name == "rename" || name == "renamenx" {
        return "replaces what it saw; what it did not see survives";
    }
    if name.contains("pop") {
        return match spec.group {
            Group::List => "two sides may get one element; what they put elsewhere is there twice",
            _ => "two sides may get one member; it is removed as they saw it",
        };
    }
    match spec.group {
        Group::String if matches!(name, "incr" | "decr" | "incrby" | "decrby") => "sums",
        Group::String if name == "put" => "replaces what its client saw",
        Group::String if name == "getex" => "of times to live the last write wins",
        Group::String if name == "getdel" => "removes what it saw",
        Group::String | Group::Bitmap => "the last write wins, whole",
        Group::Hash if name == "hincrby" => "sums, in its field",
        Group::Hash if name == "hdel" => "removes what it saw",
        Group::Hash => "the last write of a field wins",
        Group::Set if name == "sadd" => "all are added",
        Group::Set => "removes what it saw; a concurrent add survives",
        Group::SortedSet if name == "zincrby" => "sums, in its member",
        Group::SortedSet if name == "zadd" => "the last write of a member wins; with INCR, sums",
        Group::SortedSet => "removes what it saw; a concurrent update survives",
        Group::List if ends(&["push", "pushx", "linsert"]) => "elements of all sides",
        Group::List if name == "lset" => "the last write of an element wins",
        Group::List if ends(&["move"]) => "two sides may move one element: it is there twice",
        Group::List => "removes what it saw",
        Group::Generic if ends(&["expire", "expireat", "persist"]) => "the last write wins",
        _ => "removes what it saw",
    }
}

fn row(name: &str, redis: Option<&str>, spec: Option<&Spec>) -> String {
    let shown = name.to_uppercase().replace('|', " ");
    let (there, more) = match spec {
        None => ("no", why_not(name, redis.unwrap_or_default()).to_owned()),
        Some(spec) if spec.summary.starts_with("Refused") => ("refused", spec.summary.to_owned()),
        Some(spec) if redis.is_none() => ("own", spec.summary.to_owned()),
        Some(spec) => ("yes", spec.summary.to_owned()),
    };
    format!("| {shown} | {there} | {} | {} |\n", spec.map_or("", merges), more.replace('|', "\\|"))
}

fn page() -> String {
    let (redis, ours) = (redis(), ours());
    let named = || redis.keys().chain(ours.keys().filter(|name| !redis.contains_key(*name)));
    let yes = redis.keys().filter(|name| ours.contains_key(*name)).count();
    let mut page = format!(
        "# Commands\n\n<!-- Written by `UPDATE_GOLDEN=1 cargo test -p trireme-replica surface`. -->\n\n\
         Of the {} commands and subcommands of Redis 7.2 this store knows {yes}, those included that it refuses by name, and {} of its own. With one leader (`SingleLeader`) nothing is ever \
         concurrent, and every command has Redis's result. With a leader in each region (`MultiLeader`) and without leaders (`Leaderless`) several sides \
         write at once, and what they wrote is merged: the third column says how, the same in both modes; \
         [the table of conflicts](../e2e/conflicts/README.md) has examples. In `Leaderless` a command whose effect or reply depends on what its keys hold \
         first joins them from r replicas.\n",
        redis.len(),
        ours.keys().filter(|name| !redis.contains_key(*name)).count(),
    );
    for (family, title, merge) in FAMILIES {
        let family_of = |name: &str| redis.get(name).copied().unwrap_or_else(|| ours[name].group.name());
        let mut names: Vec<&str> = named().copied().filter(|name| family_of(name) == family).collect();
        names.sort_unstable();
        let _ = write!(page, "\n## {title}\n\n");
        if !merge.is_empty() {
            let _ = write!(page, "{merge}\n\n");
        }
        page += "| command | here | beside others' | |\n| --- | --- | --- | --- |\n";
        names.iter().for_each(|name| page += &row(name, redis.get(name).copied(), ours.get(name).copied()));
    }
    page
}

#[test]
fn the_page_of_commands_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../COMMANDS.md");
    let page = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("the page is written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == page,
        "node-image/COMMANDS.md is not current: run this test with UPDATE_GOLDEN=1 and read the difference"
    );
    let shown = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("---") && !line.starts_with("| command"))
        .count();
    let (redis, ours) = (redis(), ours());
    assert_eq!(shown, redis.len() + ours.keys().filter(|name| !redis.contains_key(*name)).count());
    let unused = WHY_NOT.iter().find(|(name, _)| ours.get(name).is_some_and(|spec| spec.subcommands.is_empty()));
    assert_eq!(unused, None, "a reason for the absence of what is there");
}

#[test]
fn redis_has_the_commands_that_the_page_lists() {
    let Some(mut server) = real_server() else { return };
    let (_, Value::Array(told)) = server.execute(&[b"command", b"list"]) else { panic!("no list") };
    let mut told: Vec<String> = told.iter().map(Value::text).collect();
    told.extend(
        OF_7_2
            .iter()
            .filter(|name| !told.iter().any(|told| told == *name))
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    );
    told.sort();
    assert_eq!(told, redis().keys().copied().collect::<Vec<_>>());
}
