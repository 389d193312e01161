//! `trireme demo`: the arguments, the store, and what remains of it. What it shows is in [`crate::demo`].

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use trireme_cli::Failure;
use trireme_crds::{Mode, ReplicatedStore};
use trireme_local::{Local, Options, PAUSE_FEEDS};

use crate::{
    commands::{
        file,
        up::{Stop, start_failure},
    },
    demo::{self, Results, leaderless::Feeds, regions::Cut, show::Show},
};

/// The store of the demo: the same file that a user starts with.
const EXAMPLE: &str = include_str!("../../../../examples/single-leader.yaml");
/// The same without a leader.
const LEADERLESS: &str = include_str!("../../../../examples/leaderless.yaml");
/// The same with a leader in each region.
const REGIONS: &str = include_str!("../../../../examples/multi-leader.yaml");
/// The region of it that is cut off.
const APART: &str = "asia";
/// What is added to the one without a leader: a replica which was away for a second misses more than any log keeps.
const LITTLE_LOG: &str = "  logRetention:\n    bytes: 1Mi\n";
/// And this until the replica that is back was asked: what it is asked for is mended by its reads, not by what is sent to it meanwhile.
const LITTLE_FEED: &str = "  feedBytesPerSecond: 256Ki\n";
/// Longest wait for the store to be ready.
const READY_MAX: Duration = Duration::from_secs(15);
/// Wait before a killed replica is started again: it is killed on purpose, so there is no reason to wait longer each time.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The replication mode: kill the leader; or, where there is none, a replica that is mended when it is back; or, where each region has one, the first
    /// region's, and then cut a region off that goes on by itself and is let back.
    #[arg(long, value_enum, default_value_t, conflicts_with = "file")]
    mode: DemoMode,
    /// How many leaders (or replicas) to kill, one after the other; with more than one, the table shows the distribution of write gaps.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    kills: u32,
    /// Clients that write at the same time.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    clients: u16,
    /// Another store than examples/single-leader.yaml, or with `--mode leaderless` or `--mode multi-leader`, the example of that name.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Loopback address of the first replica; the others follow.
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// Keep the demo's directory: the replicas' data and logs.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum DemoMode {
    #[default]
    #[value(alias = "SingleLeader")]
    SingleLeader,
    #[value(alias = "MultiLeader")]
    MultiLeader,
    #[value(alias = "Leaderless")]
    Leaderless,
}

/// How the store is changed on the way.
#[derive(Default)]
struct Changes {
    feeds: Option<Feeds>,
    cut: Option<Cut>,
}

/// The store of the demo, its text, and how it is changed on the way.
fn store(arguments: &Arguments) -> Result<(ReplicatedStore, String, Changes), Failure> {
    let (name, text, changes) = match (&arguments.file, arguments.mode) {
        (Some(file), _) => return file::read(file).map(|(store, text)| (store, text, Changes::default())),
        (None, DemoMode::SingleLeader) => ("examples/single-leader.yaml", EXAMPLE.to_owned(), Changes::default()),
        (None, DemoMode::MultiLeader) => {
            let annotation = format!("metadata:\n  annotations:\n    {PAUSE_FEEDS}: {APART}\n");
            let cut = Cut {
                region: APART.to_owned(),
                apart: REGIONS.replacen("metadata:\n", &annotation, 1),
                together: REGIONS.to_owned(),
            };
            ("examples/multi-leader.yaml", REGIONS.to_owned(), Changes { cut: Some(cut), ..Changes::default() })
        }
        (None, DemoMode::Leaderless) => {
            let free = format!("{LEADERLESS}{LITTLE_LOG}");
            let slow = format!("{free}{LITTLE_FEED}");
            let feeds = Some(Feeds { slow: slow.clone(), free });
            ("examples/leaderless.yaml", slow, Changes { feeds, ..Changes::default() })
        }
    };
    Ok((file::parse(name, &text)?, text, changes))
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (store, text, changes) = store(&arguments)?;
    let mut stop = Stop::new().map_err(Failure::from_error)?;
    let dir = std::env::temp_dir().join(format!("trireme-demo-{}", std::process::id()));
    let options = Options {
        dir: dir.clone(),
        address: arguments.address,
        restart: true,
        back_off_max: BACK_OFF_MAX,
        program: std::env::current_exe().map_err(Failure::from_error)?,
    };
    let mut show = Show::new();
    let local = Local::start(&store, &text, options).map_err(|error| start_failure(&error))?;
    let settled = store.spec.settle();
    let what = match settled.mode {
        Mode::SingleLeader => "its leader is killed under load",
        Mode::MultiLeader => "a region's leader is killed under load, and a region is cut off and let back",
        Mode::Leaderless => "one of them is killed under load",
    };
    show.title(
        what,
        &format!(
            "{}: {:?}, n={} w={} r={}, durability {:?}",
            local.name(),
            settled.mode,
            settled.n,
            settled.w,
            settled.r,
            settled.durability
        ),
        &dir.display().to_string(),
    );
    if changes.feeds.is_some() {
        show.note("1 MiB of log is kept, and at first 256 KiB a second are sent of what a replica missed: its mending is to be watched");
    }
    let course = demo::Course {
        clients: usize::from(arguments.clients),
        kills: arguments.kills,
        feeds: changes.feeds,
        cut: changes.cut,
    };
    let result = tokio::select! {
        result = perform(&local, &course, &mut show) => result,
        () = stop.told() => Err(Failure::Failed("interrupted".to_owned())),
    };
    local.stop().await;
    match result {
        Ok(results) if results.hold() => match arguments.keep {
            true => Ok(()),
            false => demo::remove(&dir),
        },
        Ok(_) => Err(Failure::Failed(format!("the replicas' data and logs are in {}", dir.display()))),
        Err(Failure::Failed(why)) => {
            Err(Failure::Failed(format!("{why}; the replicas' data and logs are in {}", dir.display())))
        }
        Err(other) => Err(other),
    }
}

async fn perform(local: &Local, course: &demo::Course, show: &mut Show) -> Result<Results, Failure> {
    if let Some(note) = local.note() {
        show.note(note);
    }
    if tokio::time::timeout(READY_MAX, local.wait_ready(READY_MAX)).await.is_err() {
        return Err(Failure::Failed(format!("the store was not ready within {} s", READY_MAX.as_secs())));
    }
    show.topology(&local.view().borrow().clone());
    let results = demo::run(local, course, show).await?;
    show.results(&results);
    Ok(results)
}
