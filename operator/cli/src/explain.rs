//! `explain`: what a choice of mode, n, w and r means, before anybody depends on it.

use trireme_crds::{
    API_VERSION, Durability, Mode, Policy, ReplicatedStore, ReplicatedStoreSpec, STORE_KIND,
    store::{Failover, Metadata, Region},
};

use crate::output::{Failure, Output, json_line, put};

/// The choice, on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Choice {
    /// The replication mode.
    #[arg(long, value_enum, default_value_t = ModeName::SingleLeader)]
    mode: ModeName,
    /// Replicas: of the store; with multi-leader, of each region. Default 3.
    #[arg(long)]
    n: Option<u32>,
    /// The regions, separated by commas; with multi-leader, three by default as an example.
    #[arg(long, value_delimiter = ',')]
    regions: Vec<String>,
    /// Replicas that must hold a write before the client is told OK. Default: a majority of n.
    #[arg(long)]
    w: Option<u32>,
    /// Replicas that confirm a read. Default 1.
    #[arg(long)]
    r: Option<u32>,
    /// When a copy counts for w.
    #[arg(long, value_enum, default_value_t = DurabilityName::Disk)]
    durability: DurabilityName,
    /// What a failover does when too few members answer. Default: never-lose where w >= 2, prefer-available where w = 1.
    #[arg(long, value_enum)]
    policy: Option<PolicyName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ModeName {
    #[value(alias = "SingleLeader")]
    SingleLeader,
    #[value(alias = "MultiLeader")]
    MultiLeader,
    #[value(alias = "Leaderless")]
    Leaderless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DurabilityName {
    #[value(alias = "Disk")]
    Disk,
    #[value(alias = "Memory")]
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PolicyName {
    #[value(alias = "NeverLose")]
    NeverLose,
    #[value(alias = "PreferAvailable")]
    PreferAvailable,
}

/// Says what a choice means.
///
/// # Errors
/// Where it breaks a rule that a store must keep.
pub fn run(choice: &Choice, output: Output) -> Result<(), Failure> {
    let store = store(choice);
    // The same rules that a file must keep.
    let violations = trireme_crds::validate(&store);
    if !violations.is_empty() {
        let lines: Vec<String> = violations.iter().map(|v| format!("{}; allowed: {}", v.what, v.allowed)).collect();
        return Err(Failure::Input(lines.join("\n")));
    }
    let example = choice.mode == ModeName::MultiLeader && choice.regions.is_empty();
    let named = EXAMPLE.iter().map(|name| (*name).to_owned());
    show(&store.spec, output, named.filter(|_| example).collect())
}

/// Says what the spec of a store means.
///
/// # Errors
/// None that is known of.
pub fn explain(spec: &ReplicatedStoreSpec, output: Output) -> Result<(), Failure> {
    show(spec, output, Vec::new())
}

/// The regions where a choice names none.
const EXAMPLE: [&str; 3] = ["eu", "us", "asia"];

/// What is said of a choice, and of regions that were taken as an example.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Said<E> {
    #[serde(flatten)]
    explanation: E,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    example_regions: Vec<String>,
}

fn show(spec: &ReplicatedStoreSpec, output: Output, example_regions: Vec<String>) -> Result<(), Failure> {
    let explanation = trireme_crds::meaning(&spec.settle());
    match output {
        Output::Json => put(&json_line(&Said { explanation, example_regions })?),
        Output::Text => {
            put(&format!("{}\n", explanation.to_string().trim_end()));
            if !example_regions.is_empty() {
                let names = example_regions.join(",");
                put(&format!("\nThe regions {names} are an example: name yours with --regions {names}\n"));
            }
        }
    }
    Ok(())
}

fn store(choice: &Choice) -> ReplicatedStore {
    let mode = match choice.mode {
        ModeName::SingleLeader => Mode::SingleLeader,
        ModeName::MultiLeader => Mode::MultiLeader,
        ModeName::Leaderless => Mode::Leaderless,
    };
    let mut spec = ReplicatedStoreSpec::new(mode);
    (spec.n, spec.w, spec.r) = (choice.n, choice.w, choice.r);
    let regions = match (choice.mode, choice.regions.is_empty()) {
        (ModeName::MultiLeader, true) => EXAMPLE.iter().map(|name| (*name).to_owned()).collect(),
        _ => choice.regions.clone(),
    };
    spec.regions = regions.into_iter().map(|name| Region { name }).collect();
    spec.durability = Some(match choice.durability {
        DurabilityName::Disk => Durability::Disk,
        DurabilityName::Memory => Durability::Memory,
    });
    let policy = choice.policy.map(|policy| match policy {
        PolicyName::NeverLose => Policy::NeverLose,
        PolicyName::PreferAvailable => Policy::PreferAvailable,
    });
    spec.failover = Some(Failover { policy, ..Failover::default() });
    ReplicatedStore {
        api_version: API_VERSION.to_owned(),
        kind: STORE_KIND.to_owned(),
        metadata: Metadata { name: "store".to_owned(), ..Metadata::default() },
        spec,
        status: None,
    }
}
