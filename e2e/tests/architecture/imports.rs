//! Who may import whom, checked against what cargo resolved.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use crate::{none, source};

/// Every crate of the workspace and the crates of the workspace that it may import, tests included.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("trireme-proto", &[]),
    ("trireme-crds", &[]),
    ("trireme-replica", &["trireme-proto"]),
    ("trireme-node", &["trireme-proto", "trireme-replica"]),
    ("trireme-planner", &["trireme-crds", "trireme-proto"]),
    ("trireme-link", &["trireme-crds", "trireme-planner", "trireme-proto"]),
    ("trireme-local", &["trireme-crds", "trireme-link", "trireme-planner", "trireme-proto"]),
    ("trireme-page", &["trireme-crds"]),
    ("trireme-operator", &["trireme-crds", "trireme-link", "trireme-page", "trireme-planner", "trireme-proto"]),
    (
        "trireme-cli",
        &[
            "trireme-conflicts",
            "trireme-crds",
            "trireme-link",
            "trireme-local",
            "trireme-node",
            "trireme-page",
            "trireme-proto",
            "trireme-sessions",
        ],
    ),
    ("trireme-kubectl", &["trireme-cli", "trireme-crds", "trireme-link", "trireme-proto"]),
    (
        "trireme-sim",
        &[
            "trireme-conflicts",
            "trireme-crds",
            "trireme-planner",
            "trireme-proto",
            "trireme-replica",
            "trireme-sessions",
        ],
    ),
    ("trireme-conflicts", &[]),
    ("trireme-sessions", &[]),
    ("trireme-bench", &[]),
    (
        "trireme-e2e",
        &[
            "trireme-bench",
            "trireme-cli",
            "trireme-conflicts",
            "trireme-crds",
            "trireme-local",
            "trireme-planner",
            "trireme-proto",
            "trireme-sessions",
            "trireme-sim",
        ],
    ),
];

/// Crates that are functions of their inputs: no sockets, no files, no clock, no chance of their own.
const PURE: &[&str] =
    &["trireme-proto", "trireme-replica", "trireme-planner", "trireme-sim", "trireme-conflicts", "trireme-sessions"];

/// What none of them may depend on, however indirectly.
const IMPURE: &[&str] = &["tokio", "mio", "socket2", "rustix", "getrandom", "rand", "axum", "tracing-subscriber"];

/// What none of them may name in code that ships.
const IMPURE_PATHS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime",
    "RandomState::new",
    "println!",
    "eprintln!",
];

/// The only crates that may know of Kubernetes libraries.
const MAY_KNOW_KUBERNETES: &[&str] = &["trireme-operator", "trireme-kubectl", "trireme-crds"];

const KUBERNETES: &[&str] = &["kube", "kube-runtime", "kube-client", "kube-core", "k8s-openapi"];

/// The crate that knows of them behind a feature of this name only. Cargo resolves the workspace with all features that anybody asks for.
const KUBERNETES_FEATURE: (&str, &str) = ("trireme-crds", "kubernetes");

#[test]
fn crates_import_only_what_they_may() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut violations = Vec::new();
    let names: BTreeSet<String> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    for package in metadata.workspace_packages() {
        let Some(may_import) = allowed.get(package.name.as_str()) else {
            violations.push(format!("{} has no row in MAY_IMPORT: say whom it may import", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            if names.contains(&dependency.name) && !may_import.contains(&dependency.name.as_str()) {
                violations
                    .push(format!("{} imports {}: only {may_import:?} are allowed", package.name, dependency.name));
            }
        }
    }
    for (name, _) in MAY_IMPORT {
        if !names.contains(*name) {
            violations.push(format!("MAY_IMPORT names {name}, which is no crate of the workspace"));
        }
    }
    none(&violations);
}

#[test]
fn pure_crates_reach_nothing_impure() {
    let metadata = metadata();
    let mut violations = Vec::new();
    for name in PURE {
        for chain in chains(&metadata, name, IMPURE) {
            violations.push(format!("{name} must stay pure, but depends on {}", chain.join(" -> ")));
        }
    }
    none(&violations);
}

#[test]
fn pure_crates_name_nothing_impure() {
    let metadata = metadata();
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        // The simulation is a program too: it reads seeds from the command line and prints what it found.
        if !PURE.contains(&package.name.as_str()) || package.name.as_str() == "trireme-sim" {
            continue;
        }
        let folder = PathBuf::from(package.manifest_path.as_std_path()).with_file_name("src");
        for file in source::shipped_files(&folder) {
            let text = source::read(&file);
            for (number, line) in source::shipped_lines(&text) {
                for path in IMPURE_PATHS.iter().filter(|path| line.contains(**path)) {
                    violations.push(format!(
                        "{}:{number}: {} is pure and must not use {path}",
                        file.display(),
                        package.name
                    ));
                }
            }
        }
    }
    none(&violations);
}

#[test]
fn only_the_operator_knows_kubernetes() {
    let metadata = metadata();
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        if !MAY_KNOW_KUBERNETES.contains(&package.name.as_str()) {
            for chain in chains(&metadata, package.name.as_str(), KUBERNETES) {
                violations.push(format!(
                    "{} must build without Kubernetes, but depends on {}",
                    package.name,
                    chain.join(" -> ")
                ));
            }
            let (name, feature) = KUBERNETES_FEATURE;
            if package.dependencies.iter().any(|d| d.name == name && d.features.iter().any(|f| f == feature)) {
                violations
                    .push(format!("{} must build without Kubernetes, but asks for {name}/{feature}", package.name));
            }
        }
    }
    none(&violations);
}

#[test]
fn safety_rules_can_be_switched_off_in_the_simulation_only() {
    let metadata = metadata();
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            let tests = dependency.kind == DependencyKind::Development;
            let breaks = dependency.features.iter().any(|feature| feature == "breakage");
            if breaks && !tests && package.name.as_str() != "trireme-sim" {
                violations.push(format!(
                    "{} switches on `breakage` of {} in a build that ships",
                    package.name, dependency.name
                ));
            }
        }
    }
    none(&violations);
}

#[test]
fn a_chain_is_found_however_long() {
    let metadata = metadata();
    let found = chains(&metadata, "trireme-cli", &["mio"]);
    assert_eq!(found.len(), 1, "the command reaches mio through tokio, and these checks must see that");
    assert!(found[0].contains(&"tokio".to_owned()), "{found:?}");
}

/// What cargo resolved for this machine.
pub fn metadata() -> Metadata {
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8(rustc.stdout).expect("rustc prints text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let manifest = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../Cargo.toml");
    MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(["--offline", "--locked", "--filter-platform", host].map(String::from))
        .exec()
        .expect("cargo metadata")
}

/// For each of `wanted` that `from` reaches through dependencies of its build, one way there.
fn chains(metadata: &Metadata, from: &str, wanted: &[&str]) -> Vec<Vec<String>> {
    let resolve = metadata.resolve.as_ref().expect("cargo resolved the workspace");
    let names: BTreeMap<&PackageId, &str> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let start =
        metadata.workspace_packages().iter().find(|package| package.name.as_str() == from).map(|package| &package.id);
    let mut queue: Vec<(&PackageId, Vec<String>)> = start.into_iter().map(|id| (id, Vec::new())).collect();
    let mut seen: BTreeSet<&PackageId> = queue.iter().map(|(id, _)| *id).collect();
    let mut found = Vec::new();
    while let Some((id, chain)) = queue.pop() {
        for dependency in &nodes[id].deps {
            let built = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            let behind_feature = names[id] == KUBERNETES_FEATURE.0 && KUBERNETES.contains(&names[&dependency.pkg]);
            if built && !behind_feature && seen.insert(&dependency.pkg) {
                let mut chain = chain.clone();
                chain.push(names[&dependency.pkg].to_owned());
                if wanted.contains(&names[&dependency.pkg]) {
                    found.push(chain.clone());
                }
                queue.push((&dependency.pkg, chain));
            }
        }
    }
    found
}
