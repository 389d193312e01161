//! `trireme lag`.

use trireme_cli::{Failure, lag};

use crate::running;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    running: running::Which,
    #[command(flatten)]
    pace: lag::Pace,
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    lag::run(&mut arguments.running.open().await?, &arguments.pace, arguments.running.output).await
}
