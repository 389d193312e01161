//! `trireme status`.

use trireme_cli::{Failure, status};

use crate::running;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    running: running::Which,
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    status::run(&mut arguments.running.open().await?, arguments.running.output).await
}
