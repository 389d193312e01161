//! Rules of style, as tests: what a reader needs in order to find his way.

use std::path::{Path, PathBuf};

use crate::{imports::metadata, none, source};

/// Lines of a file before its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function, signature and braces included.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of documentation at the top of a crate.
const FRONT_PAGE_LINES_MIN: usize = 15;

/// What may not be in code that ships, and what to do instead.
const BANNED: &[(&str, &str)] = &[
    (".unwrap()", "return an error, or say in an `unreachable!` why it cannot fail"),
    (".expect(\"", "return an error, or say in an `unreachable!` why it cannot fail"),
    ("todo!", "finish it"),
    ("unimplemented!", "finish it"),
    ("dbg!", "remove it"),
    ("#[ignore", "make the test run always, or remove it"),
    ("#[allow(dead_code", "remove the code"),
    ("#![allow(", "mend the code, or allow it for one item with a reason"),
    ("allow(clippy::unwrap_used", "return an error"),
    ("allow(unsafe_code", "find the safe way"),
];

/// What may not even be in a comment.
const BANNED_IN_COMMENTS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

fn shipped_files() -> Vec<PathBuf> {
    source::shipped_files(&source::root())
}

fn short(file: &Path) -> String {
    file.strip_prefix(source::root()).unwrap_or(file).display().to_string()
}

#[test]
fn files_are_short() {
    let mut violations = Vec::new();
    for file in shipped_files() {
        let lines = source::before_tests(&source::read(&file)).count();
        if lines > FILE_LINES_MAX {
            let file = short(&file);
            violations.push(format!(
                "{file}: {lines} lines before its tests, {FILE_LINES_MAX} allowed: find the two rooms in it"
            ));
        }
    }
    none(&violations);
}

#[test]
fn functions_are_short() {
    let mut violations = Vec::new();
    for file in shipped_files() {
        for (name, line, lines) in source::functions(&source::read(&file)) {
            if lines > FUNCTION_LINES_MAX {
                violations
                    .push(format!("{}:{line}: `{name}` has {lines} lines, {FUNCTION_LINES_MAX} allowed", short(&file)));
            }
        }
    }
    none(&violations);
}

#[test]
fn nothing_banned_ships() {
    let mut violations = Vec::new();
    for file in shipped_files() {
        let text = source::read(&file);
        for (number, line) in source::shipped_lines(&text) {
            // Where the simulation panics, it has found a bug: that is what it is for.
            let banned = BANNED.iter().filter(|(banned, _)| line.contains(banned));
            let banned = banned
                .filter(|(banned, _)| !(*banned == ".expect(\"" && file.starts_with(source::root().join("e2e/sim"))));
            for (banned, instead) in banned {
                violations.push(format!("{}:{number}: `{banned}`: {instead}", short(&file)));
            }
        }
        for (number, line) in source::before_tests(&text) {
            for banned in BANNED_IN_COMMENTS.iter().filter(|banned| line.contains(**banned)) {
                violations.push(format!(
                    "{}:{number}: `{banned}`: finish it, or write down what is missing and why",
                    short(&file)
                ));
            }
        }
    }
    none(&violations);
}

#[test]
fn every_crate_has_a_front_page() {
    let mut violations = Vec::new();
    for package in metadata().workspace_packages() {
        let root = package
            .targets
            .iter()
            .find(|target| target.is_lib())
            .or_else(|| package.targets.iter().find(|target| target.is_bin()));
        let Some(root) = root else {
            violations.push(format!("{} has neither a library nor a program", package.name));
            continue;
        };
        let text = source::read(root.src_path.as_std_path());
        let lines = text.lines().filter(|line| line.starts_with("//!")).count();
        if lines < FRONT_PAGE_LINES_MIN {
            let file = short(root.src_path.as_std_path());
            violations.push(format!(
                "{file}: {} opens with {lines} lines of documentation, want {FRONT_PAGE_LINES_MIN}: what it does, its invariants, what is missing",
                package.name
            ));
        }
    }
    none(&violations);
}

#[test]
fn the_map_names_every_crate() {
    let map = source::read(&source::root().join("ARCHITECTURE.md"));
    let metadata = metadata();
    let missing =
        metadata.workspace_packages().into_iter().filter(|package| !map.contains(&format!("`{}`", package.name)));
    none(&missing.map(|package| format!("ARCHITECTURE.md does not describe `{}`", package.name)).collect::<Vec<_>>());
}

#[test]
fn the_map_names_only_files_that_exist() {
    let root = source::root();
    let mut violations = Vec::new();
    for document in ["ARCHITECTURE.md", "README.md"] {
        for path in source::read(&root.join(document)).split('`').skip(1).step_by(2) {
            let looks_like_a_path = path.contains('/') && path.ends_with(".rs") && !path.contains([' ', '*', '{']);
            if looks_like_a_path && !root.join(path).exists() {
                violations.push(format!("{document} names {path}, which does not exist"));
            }
        }
    }
    none(&violations);
}
