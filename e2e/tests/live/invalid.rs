//! What can never be right is refused by the API server, in the words that stand beside each file of `crds/tests/cel`.

use std::{collections::BTreeSet, fs, path::Path};

use crate::harness::{Case, Failure, Outcome, Stage, ensure, shell};

pub const CASES: &[Case] = &[
    Case { name: "refused_in_exact_words", faults: false, run: refused_in_exact_words },
    Case { name: "one_bad_store_stops_no_other", faults: false, run: one_bad_store_stops_no_other },
];

fn refused_in_exact_words(stage: &Stage) -> Outcome {
    let folder = shell::root().join("crds/tests/cel");
    let entries = fs::read_dir(&folder).map_err(|error| Failure(format!("{}: {error}", folder.display())))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".yaml") && !path.to_string_lossy().ends_with(".before.yaml"));
    files.sort();
    ensure(!files.is_empty(), || "there are no files of invalid stores".to_owned())?;
    let mut wrong = Vec::new();
    for file in &files {
        if let Err(failure) = refused(stage, file) {
            wrong.push(failure.0);
        }
    }
    println!("    {} invalid stores", files.len());
    ensure(wrong.is_empty(), || wrong.join("\n"))
}

fn refused(stage: &Stage, file: &Path) -> Outcome {
    let before = file.with_extension("before.yaml");
    if before.exists() {
        // The operator is told to leave it alone: only the API server is asked.
        let before = before.display().to_string();
        stage.kubectl(&["create", "-f", &before])?;
    }
    let path = file.display().to_string();
    let applied = stage.kubectl(&["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", &path]);
    if before.exists() {
        stage.kubectl(&["delete", "-f", &before.display().to_string(), "--timeout=60s"])?;
    }
    let Err(Failure(said)) = applied else { return Err(Failure(format!("{path} was accepted"))) };
    let text = file.with_extension("txt");
    let wanted = fs::read_to_string(&text).map_err(|error| Failure(format!("{}: {error}", text.display())))?;
    let (wanted, found): (BTreeSet<String>, BTreeSet<String>) =
        (wanted.lines().map(str::to_owned).collect(), messages(&said));
    ensure(wanted == found, || format!("{path}: refused with {found:#?}, not with {wanted:#?}"))
}

/// What the API server said of each field, without its own words around it.
fn messages(said: &str) -> BTreeSet<String> {
    let lines = said.lines().map(|line| {
        let line = line.strip_prefix("* ").unwrap_or(line);
        line.split_once("\" is invalid: ").map_or(line, |(_, rest)| rest)
    });
    let of_fields = lines.filter_map(|line| {
        let (path, rest) = line.split_once(": ")?;
        let rest = rest.strip_prefix("Invalid value: ").or_else(|| rest.strip_prefix("Forbidden: "))?;
        // A value is quoted, or none is given.
        let message = match rest.strip_prefix('"') {
            Some(value) => value.split_once("\": ")?.1,
            None => rest,
        };
        Some(format!("{path}: {message}"))
    });
    of_fields.collect()
}

/// A store that cannot be, beside one that can.
fn one_bad_store_stops_no_other(stage: &Stage) -> Outcome {
    let spec = serde_json::json!({ "mode": "SingleLeader", "pod": { "nodeSelector": { "nowhere": "at-all" } } });
    let bad = stage.apply_store("bad", &spec)?;
    stage.store("good", &serde_json::json!({ "mode": "SingleLeader" }))?;
    let within = crate::harness::stage::KUBERNETES;
    let message = bad.condition("Degraded", trireme_crds::ConditionStatus::True, "cannot be scheduled", within)?;
    ensure(message.contains("pod bad-"), || format!("the condition names no pod: {message}"))?;
    // It heals when the cause goes.
    bad.patch(&serde_json::json!({ "pod": { "nodeSelector": null } }))?;
    bad.ready(within * 2).map(drop)
}
