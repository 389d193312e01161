//! Our programs, as a person runs them; above all the plugin of kubectl.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Output,
    sync::{Mutex, PoisonError},
};

use super::{Failure, Outcome, Store, ensure, shell};

/// A program of ours, built anew once for all tests of a run: one that lies there may be older than the sources.
pub fn program(package: &'static str, name: &'static str) -> Outcome<PathBuf> {
    static BUILT: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = built.get(name) {
        return Ok(path.clone());
    }
    let path = build(package)?.join(name);
    built.insert(name, path.clone());
    Ok(path)
}

/// Builds a package where these tests were built, in the same way: the folder with its programs.
fn build(package: &str) -> Outcome<PathBuf> {
    let own = std::env::current_exe().map_err(|error| Failure(error.to_string()))?;
    let unknown = || Failure(format!("{} is in no folder of cargo's", own.display()));
    // TARGET/PROFILE/deps/live-...
    let folder = own.ancestors().nth(2).ok_or_else(unknown)?;
    let target = folder.parent().ok_or_else(unknown)?.display().to_string();
    let profile: &[&str] = if folder.ends_with("release") { &["--release"] } else { &[] };
    let build = ["build", "--quiet", "--locked", "-p", package, "--target-dir", &target];
    shell::run("cargo", &[&build, profile].concat(), None)?;
    Ok(folder.to_path_buf())
}

/// What it printed, where it ended with this status and said this.
pub fn says(store: &Store<'_>, arguments: &[&str], status: i32, part: &str) -> Outcome<String> {
    let program = program("trireme-kubectl", "kubectl-trireme")?.display().to_string();
    let all = [&["--namespace", &store.stage.namespace], arguments].concat();
    let output: Output = shell::output(&program, &all, None).map_err(|error| Failure(format!("{program}: {error}")))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure(output.status.code() == Some(status) && text.contains(part), || {
        let asked = arguments.join(" ");
        format!("kubectl trireme {asked}: exit status {:?}, not {status} with '{part}':\n{text}", output.status.code())
    })?;
    Ok(text)
}
