//! The API server and etcd go away: reads and writes go on.

use std::{thread, time::Duration};

use serde_json::json;

use crate::harness::{
    Case, Outcome, Stage, ensure, figures, load::LiveLoad, operator, registers::Registers, runner::long, shell::fault,
    stage::KUBERNETES,
};

pub const CASES: &[Case] = &[
    Case { name: "api_server_down", faults: true, run: api_server_down },
    Case { name: "etcd_down", faults: true, run: etcd_down },
];

/// Longest wait of a client in which nothing is noticed.
const UNNOTICED: Duration = Duration::from_secs(1);

fn api_server_down(stage: &Stage) -> Outcome {
    down(stage, "api", "api-down", if long() { 60 } else { 30 })
}

fn etcd_down(stage: &Stage) -> Outcome {
    down(stage, "etcd", "etcd-down", if long() { 60 } else { 15 })
}

fn down(stage: &Stage, what: &str, row: &str, seconds: u64) -> Outcome {
    let store = stage.store("orders", &json!({ "mode": "SingleLeader", "r": 2 }))?;
    store.all_pods_ready(3)?;
    let (load, registers) = (LiveLoad::start(&store)?, Registers::start(&store)?);
    let epoch = store.epoch()?;
    let mark = load.mark()?;
    fault(&[what, "down"])?;
    thread::sleep(Duration::from_secs(seconds));
    let seen = load.all(&mark);
    fault(&[what, "up"])?;
    let found = registers.finish()?;
    let longest = seen.gap.max(found.longest);
    println!("    {} reads among {} operations, linearizable", found.reads, found.answered);
    ensure(seen.errors == 0, || format!("clients saw {} errors, the first: {}", seen.errors, load.first_error()))?;
    operator::whole()?;
    store.ready(KUBERNETES)?;
    let after = store.epoch()?;
    ensure(after == epoch, || format!("a change of leaders without cause: epoch {epoch}, now {after}"))?;
    let ledger = load.finish()?;
    let more = format!("{seconds} s, {ledger}, no error");
    figures::spread(row, &[longest], &more);
    ensure(longest <= figures::allowed(UNNOTICED), || format!("a client waited {longest:?}"))?;
    // The operator has everything in sight again: a request is answered.
    store.annotate("switchover", Some(""))?;
    store.ready_after(epoch, KUBERNETES).map(drop)
}
