//! The command itself: what it refuses, and what it says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, process::Command};

fn trireme() -> Command {
    Command::new(env!("CARGO_BIN_EXE_trireme"))
}

const HEAD: &str = "apiVersion: trireme.dev/v1alpha1\nkind: ReplicatedStore\nmetadata:\n  name: orders\nspec:\n";

#[test]
fn a_bad_file_is_refused_with_its_place_and_nothing_is_started() {
    for (spec, place, word) in [
        ("  mode: SingleLeader\n  replicas: 3\n", "7", "replicas"),
        ("  mode: SingleLeader\n  n: three\n", "7", "n"),
        ("  mode: SingleLeader\n  n: 3\n  w: 4\n", "8", "spec.w"),
        ("  mode: SingleLeader\n  n: 0\n", "7", "spec.n"),
        ("  mode: Primary\n", "6", "SingleLeader"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let (file, dir) = (root.path().join("orders.yaml"), root.path().join("data"));
        fs::write(&file, format!("{HEAD}{spec}")).unwrap();
        for arguments in [vec!["validate"], vec!["up", "--dir", dir.to_str().unwrap()]] {
            let output = trireme().args(&arguments).arg(&file).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{spec}: {message}");
            assert!(message.contains(&format!("{}:{place}", file.display())), "{spec}: {message}");
            assert!(message.contains(word), "{spec}: {message}");
            assert!(!dir.exists(), "{spec}: something was created");
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = trireme().args(["validate", "/nowhere/orders.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/orders.yaml"), "{output:?}");
}

#[test]
fn a_directory_that_holds_something_else_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("orders.yaml");
    fs::write(&file, format!("{HEAD}  mode: SingleLeader\n")).unwrap();
    let output = trireme().args(["up", "--dir"]).arg(root.path()).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "something was created");
}

#[test]
fn a_choice_is_explained_in_numbers() {
    let explain = |w: &str| {
        let output =
            trireme().args(["explain", "--mode", "single-leader", "--n", "3", "--w", w, "--r", "1"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_ne!(explain("1"), explain("2"));
    // Without regions some are taken, and that is said.
    let leaders = |more: &[&str]| {
        let output = trireme().args(["explain", "--mode", "multi-leader"]).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (example, named) = (leaders(&[]), leaders(&["--regions", "north,south"]));
    assert!(example.contains("Each of the 3 regions has 3 replicas"), "{example}");
    assert!(
        example.ends_with("The regions eu,us,asia are an example: name yours with --regions eu,us,asia\n"),
        "{example}"
    );
    assert!(named.contains("Each of the 2 regions") && !named.contains("example"), "{named}");
    assert!(leaders(&["--output", "json"]).contains(r#""exampleRegions":["eu","us","asia"]"#));
    let refused = trireme().args(["explain", "--mode", "single-leader", "--n", "3", "--w", "4"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[test]
fn the_demo_keeps_its_promises() {
    let base = std::net::Ipv4Addr::from_bits(
        std::net::Ipv4Addr::new(127, 160, 0, 1).to_bits() + ((std::process::id() & 0xffff) << 3),
    );
    let output =
        trireme().args(["demo", "--clients", "6", "--kills", "2", "--address", &base.to_string()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let stages = ["kill", "detected", "seal", "promises", "choice", "promoted", "write", "restart", "rejoined"];
    for stage in stages {
        let lines = text.lines().filter(|line| line.contains(&format!(" ms  {stage} "))).count();
        assert_eq!(lines, 2, "one {stage} for each of two kills: {text}");
    }
    assert!(text.contains("Nothing that was acknowledged is lost"), "{text}");
    assert!(!text.contains('\x1b'), "colours although piped: {text}");
}

#[test]
fn the_demo_with_a_leader_in_each_region_cuts_one_off_and_shows_all_regions_the_same() {
    let base = std::net::Ipv4Addr::from_bits(
        std::net::Ipv4Addr::new(127, 32, 0, 1).to_bits() + ((std::process::id() & 0x3fff) << 6),
    );
    let output = trireme()
        .args(["demo", "--mode", "multi-leader", "--clients", "6", "--address", &base.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let rows = |what: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter_map(|line| line.trim().strip_prefix(what));
        rows.map(|row| row.split_whitespace().map(str::to_owned).collect()).collect()
    };
    // While one is away each side shows its own; afterwards all show what came of both.
    assert_eq!(rows("GET visits"), [["11", "11", "100"], ["111", "111", "111"]], "{text}");
    assert_eq!(rows("SCARD cart"), [["2", "2", "1"], ["3", "3", "3"]], "{text}");
    assert_eq!(rows("HGET card name"), [["-", "-", "asia"], ["asia", "asia", "asia"]], "{text}");
    assert!(text.contains("on 9 replicas") && text.contains("Nothing that was acknowledged is lost"), "{text}");
}

#[test]
fn the_demo_without_a_leader_kills_a_replica_and_shows_it_mended() {
    let base = std::net::Ipv4Addr::from_bits(
        std::net::Ipv4Addr::new(127, 192, 0, 1).to_bits() + ((std::process::id() & 0xffff) << 3),
    );
    let begin = std::time::Instant::now();
    let output = trireme()
        .args(["demo", "--mode", "leaderless", "--clients", "6", "--address", &base.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(begin.elapsed() < std::time::Duration::from_secs(30), "{:?}", begin.elapsed());
    for stage in ["kill", "detected", "missed", "restart", "reads", "apply", "mended"] {
        let lines = text.lines().filter(|line| line.contains(&format!(" ms  {stage} "))).count();
        assert_eq!(lines, 1, "one {stage}: {text}");
    }
    let row = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).to_owned()
    };
    assert!(row("errors at survivors").contains(" 0 "), "{text}");
    assert!(row("reads at it").contains("100 of 100 right"), "{text}");
    assert!(row("deleted").contains("of which 0 came back"), "{text}");
    // Both of these mend: the first what is asked for, the second the rest.
    let repair = row("repair");
    assert!(!repair.contains(" 0 keys mended by its reads") && !repair.contains(", 0 by comparing slots"), "{text}");
    assert!(text.contains("Nothing that was acknowledged is lost"), "{text}");
    assert!(!text.contains("leader orders") && !text.contains('\x1b'), "{text}");
}

#[test]
fn a_replica_in_a_pod_has_its_number_from_its_place() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    let empty = root.path().join("empty");
    fs::write(&empty, "").unwrap();
    let node = |arguments: &[&str]| {
        let mut command = trireme();
        command.env("RUST_LOG", "off").args(["node", "--store", "s", "--listen", "127.0.0.1", "--dir"]).arg(&dir);
        let output = command.args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (arguments, words) in [
        (&[][..], "--id"),
        (&["--id", "1", "--ordinal", "0", "--first-id", "1", "--id-step", "1"], "cannot be used with"),
        (&["--ordinal", "0"], "--first-id"),
        (&["--id", "1", "--first-id", "1"], "--ordinal"),
        (&["--ordinal", "x", "--first-id", "1", "--id-step", "1"], "invalid value 'x'"),
        (&["--ordinal", "0", "--first-id", "0", "--id-step", "1"], "0 is not in 1.."),
        (&["--ordinal", "2147483648", "--first-id", "1", "--id-step", "2"], "numbers end at 4294967295"),
        (&["--id", "1", "--password-file", "/nowhere/password"], "/nowhere/password: No such file"),
        (&["--id", "1", "--password-file", empty.to_str().unwrap()], "it is empty"),
    ] {
        let message = node(arguments);
        assert!(message.contains(words), "{arguments:?}: {message}");
        assert!(!dir.exists(), "{arguments:?}: something was created");
    }
    // Two replicas cannot be made by chance: the directory says whose it is.
    let identity = |id: &str| {
        let mut command = trireme();
        command.args(["node", "--store", "s", "--listen", "192.0.2.1", "--dir"]).arg(&dir);
        command.args(["--ordinal", "2", "--first-id", "3", "--id-step", id]).env("RUST_LOG", "off").output().unwrap()
    };
    assert_eq!(identity("4").status.code(), Some(1), "the address is nobody's");
    let message = String::from_utf8(identity("5").stderr).unwrap();
    assert!(message.contains("belongs to replica 11 of store s, not to replica 13"), "{message}");
}
