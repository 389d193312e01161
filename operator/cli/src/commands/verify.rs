//! `trireme verify`.

use trireme_cli::{Failure, verify};

use crate::running;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    running: running::Which,
    #[command(flatten)]
    patience: verify::Patience,
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    verify::run(&mut arguments.running.open().await?, &arguments.patience, arguments.running.output).await
}
