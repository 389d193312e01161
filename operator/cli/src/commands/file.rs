//! Reading a store's YAML, for every command that takes one.

use std::{fs, path::Path};

use trireme_cli::Failure;
use trireme_crds::ReplicatedStore;

/// The store that a file describes, and the file's text.
pub fn read(file: &Path) -> Result<(ReplicatedStore, String), Failure> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| Failure::Input(format!("{name}: cannot be read: {error}")))?;
    Ok((parse(&name, &text)?, text))
}

/// The store that a text describes; `name` is for messages.
pub fn parse(name: &str, text: &str) -> Result<ReplicatedStore, Failure> {
    trireme_crds::parse(text, name).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::Input(lines.join("\n"))
    })
}
