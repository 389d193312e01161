//! `trireme verify`: are the replicas the same?

use std::time::Duration;

use trireme_local::{Verification, control::Control};

use super::Running;
use crate::output::{Failure, Output, Screen, put, thousands};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    running: Running,
    /// Seconds to wait for replicas to be seen at the same write, where a store is being written.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    within: u64,
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let dir = &arguments.running.dir;
    let status =
        Control::connect(dir).await.map_err(Failure::from_error)?.status().await.map_err(Failure::from_error)?;
    let names: Vec<String> = status.replicas.iter().map(|r| r.name.clone()).collect();
    let within = Duration::from_secs(arguments.within);
    let result = trireme_local::verify(dir, &names, within).await.map_err(Failure::from_error)?;
    match arguments.running.output {
        Output::Json => put(&format!("{}\n", serde_json::to_string(&result).map_err(Failure::from_error)?)),
        Output::Human => put(&text(&result, &Screen::new())),
    }
    match result.holds() {
        true => Ok(()),
        false => Err(Failure::Failed("the replicas could not be shown to be the same".to_owned())),
    }
}

fn text(result: &Verification, screen: &Screen) -> String {
    let mut text = String::new();
    let same =
        format!("{} of 16,384 slots are the same on {}", thousands(result.same.into()), result.replicas.join(", "));
    text.push_str(&if result.holds() { screen.good(&same) } else { same });
    text.push('\n');
    for missing in &result.missing {
        text.push_str(&format!("{} {missing}\n", screen.bad("no answer from")));
    }
    if !result.different.is_empty() {
        let first: Vec<String> = result.different.iter().take(8).map(u32::to_string).collect();
        let more = if result.different.len() > first.len() { " ..." } else { "" };
        let count = screen.bad(format!("{} slots differ at the same last write:", result.different.len()));
        text.push_str(&format!("{count} {}{more}\n", first.join(", ")));
    }
    if result.unsettled > 0 {
        text.push_str(&format!(
            "{} slots could not be compared: their replicas were not seen at the same write (try a longer --within)\n",
            thousands(result.unsettled.into())
        ));
    }
    text
}
