//! `verify`: are the replicas the same?

use std::time::Duration;

use trireme_link::Verification;

use crate::{
    output::{Failure, Output, Screen, json_line, put, thousands},
    store::Store,
};

/// How long it may take.
#[derive(Clone, Debug, clap::Args)]
pub struct Patience {
    /// Seconds to wait for replicas to be seen at the same write, where a store is being written.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    within: u64,
}

/// Compares them.
///
/// # Errors
/// Where the store does not answer, or its replicas could not be shown to be the same.
pub async fn run(store: &mut impl Store, patience: &Patience, output: Output) -> Result<(), Failure> {
    let result = store.verify(Duration::from_secs(patience.within)).await?;
    match output {
        Output::Json => put(&json_line(&result)?),
        Output::Text => put(&text(&result, &Screen::new())),
    }
    match result.holds() {
        true => Ok(()),
        false => Err(Failure::Failed("the replicas could not be shown to be the same".to_owned())),
    }
}

/// The result for people.
pub fn text(result: &Verification, screen: &Screen) -> String {
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
        let slots = if result.different.len() == 1 { "slot differs" } else { "slots differ" };
        let when = if result.leaderless { "whenever they were compared" } else { "at the same last write" };
        let count = screen.bad(format!("{} {slots} {when}:", thousands(result.different.len() as u64)));
        text.push_str(&format!("{count} {}{more}\n", first.join(", ")));
        if result.leaderless {
            text.push_str(
                "a replica may still lack what the others have: `status` says what each lacks (try a longer --within)\n",
            );
        }
    }
    if result.unsettled > 0 {
        text.push_str(&format!(
            "{} slots could not be compared: their replicas were not seen at the same write (try a longer --within)\n",
            thousands(result.unsettled.into())
        ));
    }
    text
}
