//! The subcommands: their arguments, and what they do.

use std::time::Duration;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use trireme_cli::{
    Failure, Output, explain, history, lag,
    output::{json_line, put},
    request, status, verify,
};
use trireme_crds::{Condition, ConditionStatus, Mode};

use crate::{
    cluster::{self, Cluster},
    edges,
    follow::annotate,
    live::Live,
    object, stores,
};

/// Longest wait for the operator to say that it paused, or goes on.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks for it.
const LOOK: Duration = Duration::from_millis(250);

/// Replicated key-value stores in this cluster: how they stand, who leads, whether their replicas are the same.
#[derive(Debug, Parser)]
#[command(name = "kubectl-trireme", bin_name = "kubectl trireme", version, propagate_version = true)]
pub struct Plugin {
    #[command(flatten)]
    cluster: cluster::Which,
    /// For people or for programs.
    #[arg(long, short, global = true, value_enum, default_value_t)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a store on one screen: its leader, its replicas, its last failovers, what is waited for. Without a name: all stores.
    Status {
        /// Name of the store.
        store: Option<String>,
        /// Of all namespaces.
        #[arg(long, short = 'A', conflicts_with = "store")]
        all_namespaces: bool,
    },
    /// Follow how far each replica of a store is behind.
    Lag {
        /// Name of the store.
        store: String,
        #[command(flatten)]
        pace: lag::Pace,
    },
    /// Make a replica the leader when the present one is gone.
    Promote {
        /// Name of the store.
        store: String,
        #[command(flatten)]
        promotion: request::Promotion,
    },
    /// Hand the leadership over without a failure.
    Switchover {
        /// Name of the store.
        store: String,
        /// Name of the replica that is to lead; without it, the member that is furthest on. Where each region has a leader it says which one is meant.
        replica: Option<String>,
    },
    /// Compare all 16,384 digests of all replicas.
    Verify {
        /// Name of the store.
        store: String,
        #[command(flatten)]
        patience: verify::Patience,
    },
    /// Say what a store, or a choice of mode, n, w and r, survives, what blocks it, and what may be stale.
    Explain {
        /// Name of a store whose choice is meant.
        #[arg(conflicts_with_all = ["mode", "n", "w", "r", "durability", "policy"])]
        store: Option<String>,
        #[command(flatten)]
        choice: explain::Choice,
    },
    /// Show what was decided about a store, and what its replicas printed around the last change of leader.
    Logs {
        /// Name of the store.
        store: String,
        #[command(flatten)]
        depth: history::Depth,
    },
    /// Print the token that an edge of a store joins with: `trireme edge --join TOKEN`. Who has it can read and write the store.
    EdgeToken {
        /// Name of the store.
        store: String,
        /// The edge: one of spec.edges.
        edge: String,
        /// Where the edge is to knock, instead of where the Service of the store's edges is reached; as often as there are doors.
        #[arg(long, value_name = "HOST:PORT")]
        door: Vec<String>,
    },
    /// Let the operator begin nothing for a store: no change, no restart, no failover. Its replicas go on.
    Pause {
        /// Name of the store.
        store: String,
    },
    /// End a pause.
    Resume {
        /// Name of the store.
        store: String,
    },
    /// Restart every replica of a store, one by one; a leader last and after a hand-over.
    Restart {
        /// Name of the store.
        store: String,
    },
}

/// Does what was asked for.
///
/// # Errors
/// Where it could not be done, does not hold, or makes no sense.
pub async fn run(plugin: Plugin) -> Result<(), Failure> {
    let output = plugin.output;
    if let Command::Explain { store: None, choice } = &plugin.command {
        return explain::run(choice, output);
    }
    let cluster = plugin.cluster.cluster().await?;
    let live = |store: &str| Live::new(&cluster, store);
    match &plugin.command {
        Command::Status { store: Some(store), .. } => status::run(&mut live(store), output).await,
        Command::Status { store: None, all_namespaces } => all(&cluster, *all_namespaces, output).await,
        Command::Lag { store, pace } => lag::run(&mut live(store), pace, output).await,
        Command::Promote { store, promotion } => request::promote(&mut live(store), promotion, output).await,
        Command::Switchover { store, replica } => request::switchover(&mut live(store), replica.clone(), output).await,
        Command::Verify { store, patience } => verify::run(&mut live(store), patience, output).await,
        Command::Explain { store: None, choice } => explain::run(choice, output),
        Command::Explain { store: Some(store), .. } => {
            explain::explain(&object::get(&cluster, store).await?.spec()?, output)
        }
        Command::Logs { store, depth } => history::run(&mut live(store), depth, output).await,
        Command::EdgeToken { store, edge, door } => {
            put(&format!("{}\n", edges::token(&cluster, store, edge, door).await?));
            Ok(())
        }
        Command::Pause { store } => pause(&cluster, store, true, output).await,
        Command::Resume { store } => pause(&cluster, store, false, output).await,
        Command::Restart { store } => restart(&cluster, store, output).await,
    }
}

async fn all(cluster: &Cluster, all_namespaces: bool, output: Output) -> Result<(), Failure> {
    let namespace = (!all_namespaces).then_some(cluster.namespace.as_str());
    let found = object::list(cluster, namespace).await?;
    if found.is_empty() && output == Output::Text {
        let place = namespace.map_or_else(|| "any namespace".to_owned(), |name| format!("the namespace {name}"));
        eprintln!("there is no store in {place}");
        return Ok(());
    }
    stores::show(&found, all_namespaces, output)
}

/// Sets or removes the annotation, and waits until the operator says that it has seen it.
async fn pause(cluster: &Cluster, store: &str, pause: bool, output: Output) -> Result<(), Failure> {
    object::get(cluster, store).await?;
    annotate(cluster, store, "trireme.dev/paused", pause.then_some("true")).await?;
    let wanted = if pause { ConditionStatus::True } else { ConditionStatus::False };
    let deadline = Instant::now() + PAUSE_MAX;
    loop {
        let status = object::get(cluster, store).await?.status()?;
        let said: Option<&Condition> = status.conditions.iter().find(|c| c.kind == "Paused" && c.status == wanted);
        if let Some(condition) = said {
            return match output {
                Output::Json => json_line(condition).map(|line| put(&line)),
                Output::Text => {
                    put(&format!("{store}: {}\n", condition.message));
                    Ok(())
                }
            };
        }
        if Instant::now() >= deadline {
            let what = if pause { "asked to pause" } else { "told to go on" };
            let seconds = PAUSE_MAX.as_secs();
            return Err(Failure::Failed(format!(
                "the operator was {what}, and has not said within {seconds} s that it does: is trireme-operator running?"
            )));
        }
        sleep(LOOK).await;
    }
}

async fn restart(cluster: &Cluster, store: &str, output: Output) -> Result<(), Failure> {
    let leaderless = object::get(cluster, store).await?.spec()?.mode == Mode::Leaderless;
    let order = if leaderless { "none before the one before it is whole again" } else { "the leader last" };
    let mark = Timestamp::now().to_string();
    annotate(cluster, store, "trireme.dev/restart", Some(&mark)).await?;
    match output {
        Output::Json => put(&json_line(&serde_json::json!({ "store": store, "restart": mark }))?),
        Output::Text => put(&format!(
            "{store}: its replicas are restarted one by one, {order}; `kubectl trireme status {store}` says how far it is\n"
        )),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn arguments_make_sense() {
        super::Plugin::command().debug_assert();
    }
}
