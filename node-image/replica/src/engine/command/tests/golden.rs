//! Golden files: commands and their exact replies.
//!
//! ```text
//! # a comment
//! @ ours              from here on the replies are this store's own, not Redis's (until the next `@ redis`)
//! @ now 1700000000000 the clock, in milliseconds
//! @ new               an empty store and a new connection
//! > SET key "a b\r\n" a command; words as in Rust strings where quoted
//! +OK                 its reply, with \r\n at the end of each line, other bytes escaped
//! ```
//!
//! With `TRIREME_GOLDEN_WRITE=1` the files are written anew from what the commands now reply: for a look at the
//! difference.

use super::Store;
use std::path::PathBuf;

/// One line of a file that does something.
pub enum Step {
    /// An empty store.
    New,
    /// The time.
    Now(u64),
    /// What follows is what Redis replies (true) or only this store (false).
    Redis(bool),
    /// A command, where it is, and the reply it should have.
    Command { place: String, args: Vec<Vec<u8>>, expected: String },
}

/// All golden files and their steps.
pub fn files() -> Vec<(PathBuf, Vec<Step>)> {
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("src/engine/command/tests/golden");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of golden files")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 8, "golden files are missing from {}", folder.display());
    paths.into_iter().map(|path| (path.clone(), steps(&path))).collect()
}

fn steps(path: &PathBuf) -> Vec<Step> {
    let text = std::fs::read_to_string(path).expect("a golden file");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let mut steps = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        if let Some(command) = line.strip_prefix("> ") {
            steps.push(Step::Command { place, args: words(command), expected: String::new() });
        } else if let Some(directive) = line.strip_prefix("@ ") {
            steps.push(match directive.split_once(' ') {
                None if directive == "new" => Step::New,
                None if directive == "ours" => Step::Redis(false),
                None if directive == "redis" => Step::Redis(true),
                Some(("now", time)) => Step::Now(time.parse().expect("milliseconds")),
                _ => panic!("{place}: unknown directive {directive}"),
            });
        } else if !line.is_empty() && !line.starts_with('#') {
            let Some(Step::Command { expected, .. }) = steps.last_mut() else { panic!("{place}: reply to nothing") };
            expected.push_str(line);
            expected.push('\n');
        }
    }
    steps
}

/// A command line's words; quoted ones may have escapes.
fn words(line: &str) -> Vec<Vec<u8>> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start().as_bytes());
    while let Some(&first) = rest.first() {
        let mut word = Vec::new();
        if first == b'"' {
            rest = &rest[1..];
            loop {
                match rest {
                    [b'"', after @ ..] => break rest = after,
                    [b'\\', b'x', high, low, after @ ..] => {
                        let digits = [*high, *low];
                        let hex = std::str::from_utf8(&digits).expect("hexadecimal digits");
                        word.push(u8::from_str_radix(hex, 16).expect("hexadecimal digits"));
                        rest = after;
                    }
                    [b'\\', escaped, after @ ..] => {
                        word.push(match escaped {
                            b'n' => b'\n',
                            b'r' => b'\r',
                            other => *other,
                        });
                        rest = after;
                    }
                    [byte, after @ ..] => {
                        word.push(*byte);
                        rest = after;
                    }
                    [] => panic!("a quote is not closed: {line}"),
                }
            }
        } else {
            let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
            word.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    words
}

/// A reply as it is in a file.
pub fn written(reply: &[u8]) -> String {
    let mut text = String::new();
    for line in reply.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r\n").map(|line| (line, true)).unwrap_or((line, false));
        let escaped = line.0.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'");
        // A line that would read as something else, or as nothing.
        let marked = escaped.is_empty() || escaped.starts_with(['#', '>', '@']);
        text.push_str(if marked { "\\" } else { "" });
        text.push_str(&escaped);
        text.push('\n');
    }
    text
}

#[test]
fn golden_files() {
    let write = std::env::var_os("TRIREME_GOLDEN_WRITE").is_some();
    let mut commands = 0;
    for (path, steps) in files() {
        let (mut store, mut replies) = (Store::new(), Vec::new());
        for step in steps {
            match step {
                Step::New => store = Store::new(),
                Step::Now(time) => store.now_ms = time,
                Step::Redis(_) => {}
                Step::Command { place, args, expected } => {
                    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
                    let reply = written(&store.execute(&args));
                    assert!(write || reply == expected, "{place}: expected\n{expected}but was\n{reply}");
                    replies.push(reply);
                    commands += 1;
                }
            }
        }
        if write {
            rewrite(&path, &mut replies.into_iter());
        }
    }
    assert!(commands > 300, "only {commands} commands in the golden files");
}

/// Puts these replies in the place of those in the file.
fn rewrite(path: &PathBuf, replies: &mut impl Iterator<Item = String>) {
    let text = std::fs::read_to_string(path).expect("a golden file");
    let mut new = String::new();
    for line in text.lines() {
        let reply = line.starts_with("> ");
        if line.is_empty() || reply || line.starts_with(['#', '@']) {
            new.push_str(line);
            new.push('\n');
        }
        if reply {
            new.push_str(&replies.next().expect("a reply for each command"));
        }
    }
    std::fs::write(path, new).expect("a golden file is written");
}
