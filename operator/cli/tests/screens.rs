//! Every screen, for every status of `screens/`: the status is `NAME.json`, its screens are `NAME.txt`. Colours are shown as `<31>`, for example.
//!
//! `UPDATE_GOLDEN=1 cargo test -p trireme-cli --test screens` writes the screens anew; read the difference before you keep it.

#![allow(clippy::unwrap_used)] // Helpers of tests: clippy's exception knows only functions that are tests themselves.

use std::{fs, path::Path};

use serde_json::{Map, json};
use trireme_cli::{
    Failure, Happened, Line, Screen, chart::Chart, history, lag, output::json_line, request, status, verify,
};
use trireme_crds::StoreStatus;
use trireme_link::Verification;

/// Compares with what is expected, or writes it.
fn golden(path: &Path, found: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, found).map_err(|e| e.to_string())?;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == found { Ok(()) } else { Err(format!("{}\nexpected:\n{expected}\nfound:\n{found}", path.display())) }
}

fn page(parts: &[(&str, String)]) -> String {
    let part = |(name, text): &(&str, String)| format!("--- {name}\n{}\n", legible(text).trim_end());
    parts.iter().map(part).collect()
}

/// Escape sequences as `<31>`.
fn legible(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let mut legible = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_once('m').unwrap();
        legible.push_str(&format!("<{code}>{rest}"));
    }
    legible
}

fn happened(at_ms: u64, decision: &str, message: &str) -> Happened {
    let mut fields = Map::new();
    for (name, value) in [
        ("event", json!("decision")),
        ("atMs", json!(at_ms)),
        ("message", json!(message)),
        ("decision", json!(decision)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    Happened { at_ms, message: message.to_owned(), json: fields }
}

/// Where there is a leader, the question; else the refusal, with which nothing is asked of the store.
fn promotion(status: &StoreStatus) -> String {
    if status.groups.iter().all(|group| group.r.is_none()) {
        return request::question(status, "orders-1");
    }
    match request::must_have_leader(status) {
        Err(Failure::Input(why)) => format!("error: {why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_status_has_its_screens() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/screens");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "json"));
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let s: StoreStatus = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let (plain, wide, narrow) = (Screen::plain(), Screen::terminal(200, true), Screen::terminal(60, false));
        let found = page(&[
            ("status", status::text(&s, &plain)),
            ("status, 200 columns, colours", status::text(&s, &wide)),
            ("status, 60 columns, no colours", status::text(&s, &narrow)),
            ("status --output json", json_line(&s).unwrap()),
            ("lag", lag::text(&s, &plain)),
            ("lag, 60 columns, no colours", lag::text(&s, &narrow)),
            ("lag --output json", lag::json(&s, 1_795_608_000_000).unwrap()),
            ("promote orders-1 --force", promotion(&s)),
        ]);
        assert!(!status::text(&s, &narrow).contains('\x1b'), "colours although none are wanted");
        let tables = status::failovers(&s, &narrow) + &lag::text(&s, &narrow);
        assert!(tables.lines().all(|line| line.chars().count() <= 60), "{tables}");
        wrong.extend(golden(&file.with_extension("txt"), &found).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_log_of_failovers_is_in_the_order_of_time() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/screens");
    let s: StoreStatus =
        serde_json::from_str(&fs::read_to_string(folder.join("after_a_failover.json")).unwrap()).unwrap();
    let began_ms = history::from_rfc3339("2026-11-25T12:00:00.000Z").unwrap();
    let events = [
        happened(began_ms, "sealing", "sealing epoch 2: the leader's process ended"),
        happened(began_ms + 1, "chosen", "orders-1 leads epoch 2 from 1/120"),
        happened(began_ms + 9, "serving", "orders-1 serves epoch 2, 9 ms after the change began; write gap 31 ms"),
    ];
    let line = |after_ms, replica: &str, text: &str| Line {
        at_ms: began_ms + after_ms,
        replica: replica.to_owned(),
        text: text.to_owned(),
    };
    let lines = [line(5, "orders-1", "INFO leads epoch 2"), line(2, "orders-2", "INFO promised epoch 2")];
    let found = page(&[
        ("logs", history::text(&s, &events, &lines, &Screen::plain())),
        ("logs, 200 columns, colours", history::text(&s, &events, &lines, &Screen::terminal(200, true))),
        ("logs --output json", history::json(&s, &events, &lines).unwrap()),
        ("logs, of a store that is new", history::text(&StoreStatus::default(), &[], &[], &Screen::plain())),
    ]);
    golden(&folder.join("logs.txt"), &found).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_verification_has_its_screen() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/screens");
    let names = ["orders-0", "orders-1", "orders-2"].map(str::to_owned).to_vec();
    let same = Verification { replicas: names.clone(), same: 16_384, rounds: 1, ..Verification::default() };
    let different = Verification {
        replicas: names[..2].to_vec(),
        missing: vec!["orders-2: no answer in time".to_owned()],
        same: 16_000,
        different: (0..84).map(|slot| slot * 7).collect(),
        unsettled: 300,
        rounds: 12,
        leaderless: false,
    };
    let behind = Verification {
        replicas: names,
        same: 16_300,
        different: (0..84).collect(),
        leaderless: true,
        ..Verification::default()
    };
    let found = page(&[
        ("verify", verify::text(&same, &Screen::plain())),
        ("verify, 200 columns, colours", verify::text(&same, &Screen::terminal(200, true))),
        ("verify --output json", json_line(&same).unwrap()),
        ("verify, of replicas that differ", verify::text(&different, &Screen::plain())),
        ("the same, 200 columns, colours", verify::text(&different, &Screen::terminal(200, true))),
        ("the same, --output json", json_line(&different).unwrap()),
        ("verify, without a leader, of replicas that differ", verify::text(&behind, &Screen::plain())),
        ("the same, --output json", json_line(&behind).unwrap()),
    ]);
    golden(&folder.join("verify.txt"), &found).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_examples_without_a_leader_are_valid_and_say_what_they_mean() {
    let crate_dir = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let trireme = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trireme"));
        let output = command.current_dir(crate_dir.join("../..")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        (arguments.join(" "), String::from_utf8(output.stdout).unwrap())
    };
    let said = [
        trireme(&["validate", "examples/leaderless.yaml"]),
        trireme(&["validate", "examples/leaderless-fast.yaml"]),
        trireme(&["validate", "examples/leaderless-regions.yaml"]),
        trireme(&["explain", "--mode", "Leaderless"]),
        trireme(&["explain", "--mode", "leaderless", "--n", "3", "--w", "3", "--r", "1"]),
    ];
    let found: Vec<(&str, String)> = said.iter().map(|(what, text)| (what.as_str(), text.clone())).collect();
    golden(&crate_dir.join("tests/screens/leaderless_commands.txt"), &page(&found)).unwrap_or_else(|e| panic!("{e}"));
}

/// So many looks at a status: one replica falls behind and catches up, and then the leader is gone.
fn looks(chart: &mut Chart, status: &StoreStatus, count: u64) {
    for i in 0..count {
        let mut now = status.clone();
        for (place, replica) in now.replicas.iter_mut().enumerate() {
            let behind = if place == 1 { [0, 1, 3, 8, 30, 150, 700, 2_500, 12_000, 40][(i % 10) as usize] } else { 0 };
            (replica.lag_entries, replica.lag_ms) = (Some(behind * 25), Some(behind));
        }
        if i + 5 >= count {
            (now.replicas[0].reachable, now.replicas[0].lag_entries) = (false, None);
        }
        chart.add(&now);
    }
}

#[test]
fn lag_has_a_chart_on_every_terminal() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/screens");
    let read =
        |name: &str| -> StoreStatus { serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap() };
    let (whole, regions) = (read("whole.json"), read("regions.json"));
    let (mut few, mut many, mut plain) = (Chart::new(true), Chart::new(true), Chart::new(false));
    looks(&mut few, &whole, 24);
    looks(&mut many, &regions, 200);
    looks(&mut plain, &whole, 24);
    let shown = |chart: &Chart, screen: &Screen| {
        let text = chart.text(screen, 500);
        let (width, height) = (screen.width().unwrap(), screen.height().unwrap_or(usize::MAX));
        let wide = legible(&text).lines().any(|line| !line.contains('<') && line.chars().count() > width);
        assert!(!wide && text.lines().count() < height, "{text}");
        text
    };
    let found = page(&[
        ("lag", shown(&few, &Screen::terminal(100, false))),
        ("lag, colours", shown(&few, &Screen::terminal(100, true))),
        ("lag, 60 columns", shown(&few, &Screen::terminal(60, false))),
        ("lag, no blocks", shown(&plain, &Screen::terminal(100, false))),
        ("lag, three regions", shown(&many, &Screen::terminal(120, false))),
        ("lag, three regions, 12 lines", shown(&many, &Screen::terminal(80, false).of_height(12))),
        ("lag, 20 columns", shown(&few, &Screen::terminal(20, false))),
        ("lag, no look yet", shown(&Chart::new(true), &Screen::terminal(80, false))),
    ]);
    golden(&folder.join("lag_chart.txt"), &found).unwrap_or_else(|e| panic!("{e}"));
}
