//! The table against `COMMAND INFO`.

use super::super::table::{Spec, all, flag, lookup, resolve};
use super::real_server;
use super::value::Value;

const GOLDEN: &str = include_str!("golden/command_info.tsv");
/// Rows that came with 7.2, have another number of arguments there, or are this store's own, and so are not in the golden file, which Redis 7.0
/// wrote.
const NEWER: [&str; 21] = [
    "client|no-touch",
    "client|setinfo",
    "conflicts",
    "conflicts|get",
    "conflicts|help",
    "conflicts|key",
    "conflicts|len",
    "conflicts|reset",
    "consistency",
    "put",
    "session",
    "session|guarantees",
    "session|help",
    "session|reset",
    "session|resume",
    "session|status",
    "session|token",
    "siblings",
    "waitaof",
    "zrank",
    "zrevrank",
];

/// A row as the golden file has it: name, arity, flags, first, last, step, categories.
fn line(
    name: &str,
    arity: &str,
    mut flags: Vec<String>,
    positions: [String; 3],
    mut categories: Vec<String>,
) -> String {
    flags.sort();
    categories.sort();
    let [first, last, step] = positions;
    format!("{name}\t{arity}\t{}\t{first}\t{last}\t{step}\t{}", flags.join(","), categories.join(","))
}

fn with_subcommands() -> Vec<&'static Spec> {
    all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)).collect()
}

#[test]
fn rows_are_those_of_the_golden_file() {
    let mut golden = GOLDEN.lines();
    for spec in with_subcommands().into_iter().filter(|spec| !NEWER.contains(&spec.name)) {
        let names = flag::NAMES.iter().enumerate().filter(|&(bit, _)| spec.has(1 << bit));
        let row = line(
            spec.name,
            &spec.arity.to_string(),
            names.map(|(_, name)| (*name).to_owned()).collect(),
            [spec.first_key, spec.last_key, spec.step].map(|position| position.to_string()),
            spec.categories().map(|category| format!("@{category}")).collect(),
        );
        assert_eq!(golden.next(), Some(row.as_str()), "run the tests with a redis-server to see what it says");
    }
    assert_eq!(golden.next(), None, "the golden file has a row that the table has not");
}

#[test]
fn the_golden_file_is_what_a_real_server_says() {
    let Some(mut server) = real_server() else { return };
    let texts = |value: &Value| match value {
        Value::Array(elements) => elements.iter().map(Value::text).collect(),
        _ => Vec::new(),
    };
    let number = |value: &Value| match value {
        Value::Number(text) => text[1..].to_owned(),
        other => panic!("{other:?} is no number"),
    };
    let mut lines = Vec::new();
    for spec in with_subcommands().into_iter().filter(|spec| !NEWER.contains(&spec.name)) {
        let (_, told) = server.execute(&[b"command", b"info", spec.name.as_bytes()]);
        let Value::Array(told) = told else { panic!("{told:?}") };
        let Some(Value::Array(row)) = told.first() else { panic!("redis-server does not know {}", spec.name) };
        let positions = [&row[3], &row[4], &row[5]].map(number);
        lines.push(line(&row[0].text(), &number(&row[1]), texts(&row[2]), positions, texts(&row[6])));
    }
    let told = lines.join("\n") + "\n";
    if std::env::var_os("TRIREME_GOLDEN_WRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/engine/command/tests/golden/command_info.tsv");
        std::fs::write(path, told).expect("the golden file is written");
    } else {
        assert_eq!(GOLDEN, told);
    }
}

#[test]
fn every_name_is_found_in_any_case() {
    for spec in all() {
        assert!(std::ptr::eq(lookup(spec.name.as_bytes()).expect("found"), spec));
        assert!(std::ptr::eq(lookup(spec.name.to_uppercase().as_bytes()).expect("found"), spec));
    }
    for name in ["", "sort\x7fro", "ge", "gett", "get\0", "an extraordinarily long name of no command"] {
        assert!(lookup(name.as_bytes()).is_none(), "{name}");
    }
    for spec in with_subcommands() {
        assert!(!spec.summary.is_empty() && spec.summary.ends_with('.'), "{}", spec.name);
        assert!(!(spec.is_write() && spec.has(flag::READONLY)), "{} cannot both write and only read", spec.name);
    }
}

#[test]
fn keys_are_found() {
    let keys = |line: &str| -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let spec = lookup(words[0]).expect("a command");
        let keys: Vec<_> = spec.keys(&words).map(String::from_utf8_lossy).collect();
        if let Ok(row) = resolve(&words) {
            assert_eq!(keys, row.keys(&words).map(String::from_utf8_lossy).collect::<Vec<_>>(), "{line}");
        }
        keys.join(" ")
    };
    for (line, expected) in [
        ("get a", "a"),
        ("mget a b c", "a b c"),
        ("mset a 1 b 2", "a b"),
        ("mset a 1 b", "a b"),
        ("smove a b member", "a b"),
        ("sinterstore to a b", "to a b"),
        ("sintercard 2 a b limit 1", "a b"),
        ("sintercard 9 a b", "a b"),
        ("sintercard x a b", ""),
        ("zunionstore to 2 a b weights 1 2", "to a b"),
        ("zunionstore to 9 a b", "to a b"),
        ("zunionstore to x a", "to"),
        ("zunionstore to", "to"),
        ("zmpop 2 a b min", "a b"),
        ("zrangestore to a 0 -1", "to a"),
        ("blpop a b 0", "a b"),
        ("blmove a b left right 0", "a b"),
        ("blmpop 0 2 a b left", "a b"),
        ("bzmpop 0 x a left", ""),
        ("sort a by store get b store c", "a c"),
        ("sort a store", "a"),
        ("sort_ro a limit 1 2", "a"),
        ("object encoding a", "a"),
        ("object help", ""),
        ("ping", ""),
        ("watch a b", "a b"),
        ("get", ""),
        ("copy a", "a"),
    ] {
        assert_eq!(keys(line), expected, "{line}");
    }
}
