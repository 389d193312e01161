//! `trireme validate`: checks a store's YAML without starting anything.

use std::path::PathBuf;

use trireme_cli::output::{Failure, Screen, put};

use crate::commands::file;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The store's YAML.
    file: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (store, _) = file::read(&arguments.file)?;
    let settled = store.spec.settle();
    let screen = Screen::new();
    let summary = format!(
        "{}: the store `{}` is valid: {:?}, n={} w={} r={}",
        arguments.file.display(),
        store.metadata.name,
        settled.mode,
        settled.n,
        settled.w,
        settled.r
    );
    put(&format!("{}\n", screen.good(summary)));
    for warning in trireme_crds::warnings(&store) {
        put(&format!("{} {warning}\n", screen.bold("to know:")));
    }
    Ok(())
}
