//! Files of `yaml/` with the answer that each must get beside it (`.txt`), the examples that users start from, and every explanation.
//!
//! `UPDATE_GOLDEN=1 cargo test -p trireme-crds` writes the answers anew; read the difference before you keep it.

#![allow(clippy::unwrap_used)] // Helpers of tests: clippy's exception knows only functions that are tests themselves.

use std::{fs, path::Path};

use trireme_crds::{
    Durability, Mode, Policy, ReadRepair, ReplicatedStoreSpec, Settled, WriteOrder, explain, meaning, parse,
    store::Region, validate, warnings,
};

/// Compares with what is expected, or writes it.
fn golden(path: &Path, found: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, found).map_err(|e| e.to_string())?;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == found { Ok(()) } else { Err(format!("{}\nexpected:\n{expected}\nfound:\n{found}", path.display())) }
}

fn root() -> std::path::PathBuf {
    std::env::var("CARGO_MANIFEST_DIR").unwrap().into()
}

fn yaml_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

#[test]
fn every_text_gets_its_answer() {
    let mut wrong = Vec::new();
    let files = yaml_files(&root().join("tests/yaml"));
    assert!(files.len() >= 20);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let found = match parse(&text, file.file_name().unwrap().to_str().unwrap()) {
            Ok(store) => {
                let warnings: String = warnings(&store).iter().map(|w| format!("warning: {w}\n")).collect();
                format!("{:#?}\n{:#?}\n{warnings}", store.spec.settle(), store.spec.settle_objects())
            }
            Err(problems) => problems.iter().map(|p| format!("{p}\n")).collect(),
        };
        wrong.extend(golden(&file.with_extension("txt"), &found).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn examples_are_accepted() {
    let files = yaml_files(&root().join("../examples"));
    assert!(files.len() >= 12);
    for file in files {
        let store =
            parse(&fs::read_to_string(&file).unwrap(), &file.display().to_string()).unwrap_or_else(|p| panic!("{p:?}"));
        assert!(validate(&store).is_empty());
        let again = serde_saphyr::to_string(&store).unwrap();
        assert_eq!(parse(&again, "again").unwrap(), store, "what is written can be read again");
    }
}

#[test]
fn any_cut_or_bent_text_gets_an_answer() {
    let text = fs::read_to_string(root().join("tests/yaml/full.yaml")).unwrap();
    for end in 0..text.len() {
        let _ = parse(&text[..end], "cut");
        let bent = format!("{}:{}", &text[..end], &text[end..]);
        let _ = parse(&bent, "bent");
    }
}

fn multi_leader(regions: usize, n: u32, w: u32) -> Settled {
    let regions = (0..regions).map(|i| Region { name: format!("region-{i}") }).collect();
    ReplicatedStoreSpec { n: Some(n), w: Some(w), regions, ..ReplicatedStoreSpec::new(Mode::MultiLeader) }.settle()
}

fn leaderless(n: u32, w: u32, r: u32) -> Settled {
    let spec = ReplicatedStoreSpec { n: Some(n), w: Some(w), r: Some(r), ..ReplicatedStoreSpec::new(Mode::Leaderless) };
    spec.settle()
}

#[test]
fn every_choice_is_explained() {
    let mut all = String::new();
    for n in 1..=5 {
        for w in 1..=n {
            for r in [1, n] {
                let policy = if w >= 2 { Policy::NeverLose } else { Policy::PreferAvailable };
                all += &explain(Mode::SingleLeader, n, w, r, Durability::Disk, policy).to_string();
                if n == r {
                    break;
                }
            }
        }
    }
    all += &explain(Mode::SingleLeader, 3, 2, 1, Durability::Memory, Policy::PreferAvailable).to_string();
    all += &explain(Mode::SingleLeader, 3, 1, 1, Durability::Disk, Policy::NeverLose).to_string();
    for (n, w, r) in [(1, 1, 1), (3, 1, 1), (3, 2, 1), (3, 2, 2), (3, 3, 1), (5, 2, 2), (5, 3, 3), (5, 4, 2)] {
        all += &meaning(&leaderless(n, w, r)).to_string();
    }
    let memory = Settled { durability: Durability::Memory, read_repair: ReadRepair::Async, ..leaderless(3, 2, 2) };
    all += &meaning(&memory).to_string();
    let clock = Settled { write_order: WriteOrder::Clock, read_repair: ReadRepair::Off, ..leaderless(3, 1, 1) };
    all += &meaning(&clock).to_string();
    for (regions, n, w) in [(1, 3, 2), (2, 1, 1), (2, 3, 2), (3, 3, 1), (3, 5, 3)] {
        all += &meaning(&multi_leader(regions, n, w)).to_string();
    }
    let memory = Settled { durability: Durability::Memory, ..multi_leader(2, 3, 2) };
    all += &meaning(&memory).to_string();
    golden(&root().join("tests/explanations.txt"), &all).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn explanations_count_right() {
    for n in 1..=5u32 {
        for w in 1..=n {
            for r in 1..=n {
                let e = explain(Mode::SingleLeader, n, w, r, Durability::Disk, Policy::NeverLose);
                // Any set of failover_needs members meets any set of w, and no smaller one does.
                assert!(e.failover_needs + w > n && e.failover_needs - 1 + w <= n);
                assert_eq!((e.write_survives, e.failover_with_down), (w - 1, w - 1));
                assert_eq!(e.writes_go_on_with_down, n - e.lease_needs);
                assert_eq!(e.lease_needs, if w == 1 { n / 2 + 1 } else { w });
                assert_eq!(e.follower_reads_may_be_stale, r == 1 && n > 1);
            }
        }
    }
}
