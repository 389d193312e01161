//! The plugin of kubectl, as a person runs it.

use std::{path::PathBuf, process::Output};

use super::{Failure, Outcome, Store, ensure, shell};

/// The plugin, as it was built beside these tests.
fn program() -> Outcome<PathBuf> {
    let beside = std::env::current_exe().map_err(|error| Failure(error.to_string()))?;
    let built = || beside.ancestors().skip(1).map(|folder| folder.join("kubectl-trireme")).find(|path| path.exists());
    if let Some(path) = built() {
        return Ok(path);
    }
    shell::run("cargo", &["build", "--quiet", "-p", "trireme-kubectl"], None)?;
    built().ok_or_else(|| Failure("kubectl-trireme was built, and is not beside these tests".to_owned()))
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
