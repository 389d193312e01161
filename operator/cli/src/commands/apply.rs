//! `trireme apply`: another YAML for a store that runs.

use std::path::PathBuf;

use trireme_cli::{Failure, request};

use crate::{commands::file, running};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The store's YAML, with other values of n, w, r, or of other fields that can change.
    file: PathBuf,
    #[command(flatten)]
    running: running::Which,
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (_, text) = file::read(&arguments.file)?;
    let mut store = arguments.running.open().await?;
    store.apply(text).await?;
    request::follow(&mut store, arguments.running.output).await
}
