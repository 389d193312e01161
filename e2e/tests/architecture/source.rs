//! Rust files as text, split into what ships and what tests it.

use std::path::{Path, PathBuf};

/// What stands before the tests of a file.
const TESTS: &str = "#[cfg(test)]";

/// The top of the workspace.
pub fn root() -> PathBuf {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    root.canonicalize().expect("the workspace has a folder")
}

/// Every Rust file below a folder, in order, build output left out.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry of a folder").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The Rust files below a folder that ship: no tests, and no modules that exist only for them.
pub fn shipped_files(folder: &Path) -> Vec<PathBuf> {
    let files = rust_files(folder);
    let for_tests: Vec<PathBuf> = files.iter().flat_map(|file| test_modules(file, &read(file))).collect();
    let ships = |file: &PathBuf| {
        !is_test(file) && !for_tests.iter().any(|module| file.starts_with(module) || file.with_extension("") == *module)
    };
    files.into_iter().filter(ships).collect()
}

/// Whether a file is a test by its name.
fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let folder = path.components().any(|part| part.as_os_str() == "tests");
    folder || stem == "tests" || stem.ends_with("_test") || stem.ends_with("_tests")
}

/// The modules in files of their own that a file declares for tests only, as paths without extension.
fn test_modules(file: &Path, text: &str) -> Vec<PathBuf> {
    let stem = file.file_stem().unwrap_or_default();
    let folder = if ["lib", "main", "mod"].iter().any(|name| stem == *name) {
        file.with_file_name("")
    } else {
        file.with_extension("")
    };
    let lines: Vec<&str> = text.lines().collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == TESTS).filter_map(|pair| pair[1].strip_suffix(';'));
    declared.filter_map(|line| line.rsplit_once("mod ")).map(|(_, name)| folder.join(name)).collect()
}

/// The text of a file.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines before a file's tests, numbered from 1. A declaration of tests that are in another file does not end them.
pub fn before_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == TESTS && !pair[1].ends_with(';'));
    let end = tests.unwrap_or(lines.len());
    lines.into_iter().take(end).enumerate().map(|(at, line)| (at + 1, line))
}

/// The same without comments.
pub fn shipped_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    before_tests(text).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Name, first line and length of every function before the tests. It trusts rustfmt: a function ends with a brace as far in as it began.
pub fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let mut functions = Vec::new();
    let mut open: Vec<(String, usize, usize)> = Vec::new();
    for (number, line) in before_tests(text) {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if let Some(name) = function_name(code).filter(|_| !code.ends_with(';') && !code.ends_with('}')) {
            open.push((name, number, indent));
        } else if code.starts_with('}') && open.last().is_some_and(|(_, _, begun)| *begun == indent) {
            if let Some((name, start, _)) = open.pop() {
                functions.push((name, start, number - start + 1));
            }
        } else if code.ends_with(';') && open.last().is_some_and(|(_, _, begun)| *begun == indent) {
            // A declaration over several lines, in a trait.
            open.pop();
        }
    }
    functions
}

fn function_name(code: &str) -> Option<String> {
    let mut rest = code;
    for word in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    Some(name.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect())
}

#[test]
fn functions_are_measured_from_signature_to_brace() {
    let text = "impl A {\n    pub async fn long(\n        &self,\n    ) -> u8 {\n        if x {\n        }\n        1\n    }\n    fn one() {}\n}\n\
                trait T {\n    fn declared(&self);\n    fn given(&self) {\n    }\n}\n#[cfg(test)]\nfn not_counted() {\n}\n";
    let found = functions(text);
    assert_eq!(found, [("long".to_owned(), 2, 7), ("given".to_owned(), 13, 2)]);
}

#[test]
fn only_code_that_ships_is_looked_at() {
    let text = "//! x.unwrap()\n#[cfg(test)]\nmod fake;\nlet a = 1;\n#[cfg(test)]\nmod tests {\n x.unwrap() }\n";
    let shipped: Vec<_> = shipped_lines(text).collect();
    assert_eq!(shipped, [(2, "#[cfg(test)]"), (3, "mod fake;"), (4, "let a = 1;")]);
    assert_eq!(test_modules(Path::new("a/src/lib.rs"), text), [Path::new("a/src/fake")]);
    assert_eq!(test_modules(Path::new("a/src/disk.rs"), text), [Path::new("a/src/disk/fake")]);
    assert!(
        is_test(Path::new("a/tests/b.rs"))
            && is_test(Path::new("a/src/tests.rs"))
            && !is_test(Path::new("a/src/test.rs"))
    );
}
