//! What was measured: gathered while the tests run, kept in a file, shown in README.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, Outcome, shell};

/// Between these lines of README stands the table.
const BEGIN: &str = "<!-- live: written by the live tests' --write-readme, not by hand -->";
const END: &str = "<!-- end of live -->";

/// What is measured, as the table names it, in its order, and what is to be reached.
const ROWS: &[(&str, &str, &str)] = &[
    ("ready", "`kubectl apply` to Ready, 3 replicas, images present", "≤ 10 s"),
    ("kill-replica", "leader's process killed, 20 times: write gap", "median ≤ 300 ms, max ≤ 1 s, no error, none lost"),
    ("kill-container", "leader's container killed: write gap", ""),
    ("delete-pod", "leader's pod deleted: write gap", "median ≤ 100 ms"),
    ("cut-node", "leader's node cut off: write gap", "≤ suspicion time + 500 ms"),
    ("cut-one-way", "leader's pod cut off in one direction: write gap", ""),
    ("stop-node", "leader's node stops: write gap", ""),
    ("drain", "leader's node drained: write gap", ""),
    ("switchover", "switchover: write gap", ""),
    ("operator-killed", "operator killed during a failover: write gap", ""),
    ("api-down", "API server down: longest wait of a read or write", "no effect"),
    ("etcd-down", "etcd down: longest wait of a read or write", ""),
    ("rolling", "rolling update of 3 replicas under load: longest write gap", "≤ 300 ms, no failed request"),
    ("scale", "scale 3 → 5 → 3 under load: longest write gap", ""),
    (
        "peer-killed",
        "no leader: a replica's process killed, 10 times: longest wait at the others",
        "no error, none lost",
    ),
    ("peer-cut", "no leader: a replica cut off in each direction: longest wait at the others", "no error, none lost"),
    (
        "peer-apart",
        "no leader: a replica cut off while 8 MiB are written past its log: time until all digests are the same",
        "",
    ),
    (
        "peer-clock",
        "no leader: a replica's clock 2 minutes off, each way: longest wait at the others",
        "no error, none lost",
    ),
    ("peer-disk", "no leader: a replica's volume lost: longest wait at the others", "no error, none lost"),
    ("peer-rolling", "no leader: rolling update of 3 replicas under load: longest wait", "no failed request"),
    ("peer-scale", "no leader: scale 3 → 5 → 3, w and r changed, under load: longest wait", "no error"),
    (
        "regions",
        "a leader in each of two regions: one's pod deleted by force: longest wait in the other region",
        "no error, none lost",
    ),
    (
        "mode",
        "one leader becomes a leader in each of two regions and one again, under load: longest write gap",
        "no error, none lost",
    ),
    ("memory", "operator: memory", "≤ 60 MiB with 100 stores"),
    ("requests", "operator: requests to the API server while nothing happens", "< 1 a second"),
];

/// Load per core above which the machine is busy with other work: the cluster and the clients alone make less.
const BUSY: f64 = 3.5;
/// How many times a limit is allowed then.
const SLACK: u32 = 5;

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    /// Day and machine.
    heading: String,
    /// By the row's key.
    rows: BTreeMap<String, String>,
}

static MEASURED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Notes a figure.
pub fn note(row: &str, figure: &str) {
    println!("    {row}: {figure}");
    MEASURED.lock().unwrap_or_else(PoisonError::into_inner).insert(row.to_owned(), figure.to_owned());
}

/// Median and maximum of what was measured, and what else is to be said.
pub fn spread(row: &str, measured: &[Duration], more: &str) {
    let (median, max) = (median(measured).as_millis(), measured.iter().max().map_or(0, Duration::as_millis));
    let times = measured.len();
    let figure = match times {
        1 => format!("{max} ms"),
        _ => format!("median {median}, max {max} ms of {times}"),
    };
    note(row, &if more.is_empty() { figure } else { format!("{figure}; {more}") });
}

/// The middle one.
pub fn median(measured: &[Duration]) -> Duration {
    let mut sorted = measured.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// What may be taken for a limit now: where the machine has much else to do than this cluster, a test says only that things come right in the end, and
/// the figures say with which load they were measured.
pub fn allowed(limit: Duration) -> Duration {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if load <= BUSY * cores as f64 {
        return limit;
    }
    println!("    the machine is busy with other work (load {load}): {} times as much is allowed", SLACK);
    limit * SLACK
}

fn path() -> PathBuf {
    if let Some(path) = std::env::var_os("LIVE_FIGURES") {
        return path.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from);
    target.join("live-figures.json")
}

fn read() -> File {
    let text = fs::read_to_string(path()).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Writes what was measured over what the file had.
pub fn save() -> Outcome {
    let measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if measured.is_empty() {
        return Ok(());
    }
    let mut file = read();
    file.heading = heading();
    file.rows.extend(measured);
    let text = serde_json::to_string_pretty(&file).map_err(|error| Failure(error.to_string()))?;
    fs::write(path(), text + "\n").map_err(|error| Failure(format!("{}: {error}", path().display())))?;
    println!("figures: {}", path().display());
    Ok(())
}

fn heading() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let said =
        |program: &str, arguments: &[&str]| shell::run(program, arguments, None).unwrap_or_default().trim().to_owned();
    let kubernetes: Value = serde_json::from_str(&said("kubectl", &["version", "-o", "json"])).unwrap_or_default();
    format!(
        "{}: {model}, {cores} cores, Linux {}, load {}; Kubernetes {}.",
        said("date", &["-u", "+%F"]),
        said("uname", &["-r"]),
        load.split(' ').next().unwrap_or_default(),
        kubernetes["serverVersion"]["gitVersion"].as_str().unwrap_or("of an unknown version"),
    )
}

/// Puts the file's figures into README.
pub fn write_readme() -> Outcome {
    let file = read();
    let mut table = format!("{}\n\n| what | figure | goal |\n| --- | --- | --- |\n", file.heading);
    for (key, what, goal) in ROWS {
        if let Some(figure) = file.rows.get(*key) {
            table += &format!("| {what} | {figure} | {goal} |\n");
        }
    }
    let readme = shell::root().join("README.md");
    let text = fs::read_to_string(&readme).map_err(|error| Failure(format!("README.md: {error}")))?;
    let (Some(begin), Some(end)) = (text.find(BEGIN), text.find(END)) else {
        return Err(Failure(format!("README.md has no lines '{BEGIN}' and '{END}' to write between")));
    };
    let text = format!("{}\n\n{table}\n{}", &text[..begin + BEGIN.len()], &text[end..]);
    fs::write(&readme, text).map_err(|error| Failure(format!("README.md: {error}")))
}
