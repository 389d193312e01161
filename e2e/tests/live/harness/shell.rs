//! Programs that the tests run: kubectl, helm, and the faults of `e2e/cluster`.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use super::Failure;

/// Longest wait of kubectl for one answer: an API server that is down is noticed.
const REQUEST_MAX: &str = "--request-timeout=20s";

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a program printed.
pub fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, Failure> {
    let said = |what: String| Failure(format!("{program} {}: {what}", arguments.join(" ")));
    let output = output(program, arguments, input).map_err(|error| said(error.to_string()))?;
    if !output.status.success() {
        let (stderr, stdout) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        return Err(said(format!("{stderr}{stdout}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same, whatever its exit status.
pub fn output(program: &str, arguments: &[&str], input: Option<&str>) -> std::io::Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}

pub fn kubectl(arguments: &[&str]) -> Result<String, Failure> {
    run("kubectl", &[&[REQUEST_MAX], arguments].concat(), None)
}

/// One object, or a list, as JSON.
pub fn get(arguments: &[&str]) -> Result<Value, Failure> {
    let text = kubectl(&[&["get", "-o", "json"], arguments].concat())?;
    serde_json::from_str(&text).map_err(|error| Failure(format!("kubectl get {}: {error}", arguments.join(" "))))
}

/// Applies by the server, with strict validation.
pub fn apply(namespace: &str, text: &str) -> Result<String, Failure> {
    let arguments = ["-n", namespace, "apply", "--server-side", "--validate=strict", "-f", "-", REQUEST_MAX];
    run("kubectl", &arguments, Some(text))
}

/// Breaks something, or mends it.
pub fn fault(arguments: &[&str]) -> Result<(), Failure> {
    let folder = faults().ok_or_else(|| Failure("TRIREME_CLUSTER does not name a folder of faults".to_owned()))?;
    run(&format!("{folder}/fault"), arguments, None).map(drop)
}

/// Where the cluster's faults are, if there are any.
pub fn faults() -> Option<String> {
    std::env::var("TRIREME_CLUSTER").ok().filter(|folder| !folder.is_empty())
}
