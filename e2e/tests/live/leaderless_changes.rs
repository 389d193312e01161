//! No leader: replicas are replaced one by one, members come and go, w and r change, while clients write and read.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use trireme_crds::{StorePhase, StoreStatus};

use crate::{
    harness::{
        Case, Outcome, Stage, Store, ensure, figures,
        load::{A_WHILE, LiveLoad},
        registers::Registers,
    },
    leaderless::{begin, strict, verify},
    rollout::each_rollout,
};

pub const CASES: &[Case] = &[
    Case { name: "leaderless_rolling_update", faults: false, run: rolling_update },
    Case { name: "leaderless_members_and_quorums", faults: false, run: members_and_quorums },
];

/// Longest time for two more replicas, or two fewer.
const SCALED: Duration = Duration::from_secs(120);

fn rolling_update(stage: &Stage) -> Outcome {
    let store = begin(stage, &strict())?;
    let (load, registers) = (LiveLoad::start(&store)?, Registers::start(&store)?);
    let gaps = each_rollout(&store, &load, false)?;
    let found = registers.finish()?;
    let ledger = load.finish()?;
    println!("    {} reads and writes of registers, linearizable", found.answered);
    figures::spread("peer-rolling", &gaps, &format!("{ledger}, no failed request"));
    verify(&store)
}

/// Whether n, w and r are in force, and nothing else is.
fn in_force(status: &StoreStatus, n: usize, w: u32, r: u32) -> bool {
    let group = status.groups.first();
    let there = group.is_some_and(|g| g.members.len() == n && g.old_members.is_empty() && g.w == w && g.r == Some(r));
    there && status.phase == StorePhase::Ready
}

fn members_and_quorums(stage: &Stage) -> Outcome {
    let store = begin(stage, &strict())?;
    let (load, registers) = (LiveLoad::start(&store)?, Registers::start(&store)?);
    let mark = load.mark()?;
    let steps: [(Value, usize, u32, u32); 4] = [
        (json!({ "n": 5, "w": 3, "r": 3 }), 5, 3, 3),
        (json!({ "w": 4, "r": 2 }), 5, 4, 2),
        (json!({ "w": 2, "r": 4 }), 5, 2, 4),
        (json!({ "n": 3, "w": 2, "r": 2 }), 3, 2, 2),
    ];
    for (spec, n, w, r) in &steps {
        change(&store, spec, (*n, *w, *r))?;
    }
    thread::sleep(A_WHILE);
    let seen = load.all(&mark);
    let first_error = load.first_error();
    let found = registers.finish()?;
    // With r = 1 a read may see what a later one does not: that is asked of no register.
    change(&store, &json!({ "w": 3, "r": 1 }), (3, 3, 1))?;
    let ledger = load.finish()?;
    println!("    {} reads and writes of registers, linearizable", found.answered);
    figures::spread("peer-scale", &[seen.gap], &format!("{ledger}, {} errors", seen.errors));
    ensure(seen.errors == 0, || format!("clients saw {} errors, the first: {first_error}", seen.errors))?;
    verify(&store)
}

fn change(store: &Store<'_>, spec: &Value, (n, w, r): (usize, u32, u32)) -> Outcome {
    let began = Instant::now();
    store.patch(spec)?;
    store.wait(SCALED, &format!("n = {n}, w = {w} and r = {r}"), |status| in_force(status, n, w, r))?;
    store.all_pods_ready(n)?;
    println!("    n = {n}, w = {w}, r = {r}: {:.1} s", began.elapsed().as_secs_f32());
    Ok(())
}
