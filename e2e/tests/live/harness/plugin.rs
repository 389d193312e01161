//! The plugin of kubectl, as a person runs it.

use std::{path::PathBuf, process::Output, sync::OnceLock};

use super::{Failure, Outcome, Store, ensure, shell};

/// The plugin, built anew once for all tests of a run: one that lies there may be older than the sources.
fn program() -> Outcome<&'static PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| build().map_err(|why| why.0)).as_ref().map_err(|why| Failure(why.clone()))
}

/// Builds it where these tests were built, in the same way.
fn build() -> Outcome<PathBuf> {
    let own = std::env::current_exe().map_err(|error| Failure(error.to_string()))?;
    let unknown = || Failure(format!("{} is in no folder of cargo's", own.display()));
    // TARGET/PROFILE/deps/live-...
    let folder = own.ancestors().nth(2).ok_or_else(unknown)?;
    let target = folder.parent().ok_or_else(unknown)?.display().to_string();
    let profile: &[&str] = if folder.ends_with("release") { &["--release"] } else { &[] };
    let build = ["build", "--quiet", "--locked", "-p", "trireme-kubectl", "--target-dir", &target];
    shell::run("cargo", &[&build, profile].concat(), None)?;
    Ok(folder.join("kubectl-trireme"))
}

/// What it printed, where it ended with this status and said this.
pub fn says(store: &Store<'_>, arguments: &[&str], status: i32, part: &str) -> Outcome<String> {
    let program = program()?.display().to_string();
    let all = [&["--namespace", &store.stage.namespace], arguments].concat();
    let output: Output = shell::output(&program, &all, None).map_err(|error| Failure(format!("{program}: {error}")))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure(output.status.code() == Some(status) && text.contains(part), || {
        let asked = arguments.join(" ");
        format!("kubectl trireme {asked}: exit status {:?}, not {status} with '{part}':\n{text}", output.status.code())
    })?;
    Ok(text)
}
