//! `trireme promote` and `trireme switchover`: changes of leader that a person asks for.

use trireme_local::{
    control::{Answer, Control, Request},
    unix_ms,
};

use super::Running;
use crate::output::{Failure, Output, put};

#[derive(Debug, clap::Args)]
pub struct Promote {
    #[command(flatten)]
    running: Running,
    /// Name of the replica that is to lead, for example orders-1.
    replica: String,
    /// Promote it even where fewer than n - w + 1 members answer. Acknowledged writes that only the missing members hold are then lost,
    /// unless these members come back: their writes are appended again. It is recorded in the status.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
pub struct Switchover {
    #[command(flatten)]
    running: Running,
    /// Name of the replica that is to lead; without it, the member that is furthest on.
    #[arg(long)]
    to: Option<String>,
}

pub async fn promote(arguments: Promote) -> Result<(), Failure> {
    let request = Request::Promote { replica: arguments.replica, force: arguments.force };
    follow(&arguments.running, &request).await
}

pub async fn switchover(arguments: Switchover) -> Result<(), Failure> {
    follow(&arguments.running, &Request::Switchover { to: arguments.to }).await
}

/// Asks, and shows every decision until it is done.
async fn follow(running: &Running, request: &Request) -> Result<(), Failure> {
    let mut control = Control::connect(&running.dir).await.map_err(Failure::from_error)?;
    let begun_ms = unix_ms();
    control.ask(request).await.map_err(Failure::from_error)?;
    loop {
        match control.answer().await.map_err(Failure::from_error)? {
            Answer::Event(event) => match running.output {
                Output::Json => put(&format!("{}\n", serde_json::to_string(&event).map_err(Failure::from_error)?)),
                Output::Human => {
                    let at = format!("+{} ms", event.at_ms.saturating_sub(begun_ms));
                    put(&format!("{at:>9}  {}\n", event.message()));
                }
            },
            Answer::Status(_) => {}
            Answer::Done(message) => {
                if running.output == Output::Human {
                    put(&format!("{message}\n"));
                }
                return Ok(());
            }
            Answer::Refused(why) => return Err(Failure::Failed(why)),
        }
    }
}
