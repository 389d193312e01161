//! `trireme promote` and `trireme switchover`.

use trireme_cli::{Failure, request};

use crate::running;

#[derive(Debug, clap::Args)]
pub struct Promote {
    #[command(flatten)]
    running: running::Which,
    #[command(flatten)]
    promotion: request::Promotion,
}

#[derive(Debug, clap::Args)]
pub struct Switchover {
    #[command(flatten)]
    running: running::Which,
    /// Name of the replica that is to lead; without it, the member that is furthest on.
    #[arg(long)]
    to: Option<String>,
}

pub async fn promote(arguments: Promote) -> Result<(), Failure> {
    request::promote(&mut arguments.running.open().await?, &arguments.promotion, arguments.running.output).await
}

pub async fn switchover(arguments: Switchover) -> Result<(), Failure> {
    request::switchover(&mut arguments.running.open().await?, arguments.to, arguments.running.output).await
}
