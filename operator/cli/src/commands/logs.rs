//! `trireme logs`.

use trireme_cli::{Failure, history};

use crate::running;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    running: running::Which,
    #[command(flatten)]
    depth: history::Depth,
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    history::run(&mut arguments.running.open().await?, &arguments.depth, arguments.running.output).await
}
