//! What a store promises, measured by the operator while replicas are stopped.

use std::time::Duration;

use serde_json::json;
use trireme_crds::{Budget, StoreStatus};

use crate::harness::{Case, Outcome, Stage, ensure, stage::KUBERNETES, store::epoch_of};

pub const CASES: &[Case] = &[Case { name: "objectives", faults: true, run: objectives }];

/// What moves on is written twice a minute.
const WRITTEN: Duration = Duration::from_secs(75);

fn write_gap(status: &StoreStatus) -> Budget {
    status.slo.as_ref().and_then(|slo| slo.write_gap.clone()).unwrap_or_default()
}

fn staleness(status: &StoreStatus) -> Budget {
    status.slo.as_ref().and_then(|slo| slo.staleness.clone()).unwrap_or_default()
}

fn objectives(stage: &Stage) -> Outcome {
    let slo = json!({ "writeGap": "500ms", "staleness": "500ms", "objective": "99%", "window": "1h" });
    let store = stage.store("orders", &json!({ "mode": "SingleLeader", "slo": slo }))?;
    store.all_pods_ready(3)?;
    store.wait(WRITTEN, "measurements of both objectives", |status| {
        write_gap(status).total > 0 && staleness(status).total > 0
    })?;

    let follower = store.follower()?;
    store.fault("stop-replica", &follower)?;
    let seen = store.wait(WRITTEN, "a stale follower", |status| staleness(status).bad > 0);
    store.fault("start-replica", &follower)?;
    let seen = seen?;
    println!("    a follower stopped: {:?}", staleness(&seen));
    store.ready(KUBERNETES)?;
    let before = write_gap(&seen).bad;

    let (leader, epoch) = (store.leader()?, store.epoch()?);
    store.fault("stop-replica", &leader)?;
    let seen = store.wait(WRITTEN, "a gap of writes and its end", |status| {
        epoch_of(status) > epoch && write_gap(status).bad > before
    });
    store.fault("start-replica", &leader)?;
    let budget = write_gap(&seen?);
    println!("    a leader stopped: {budget:?}");
    // It is found out after a second, and those are the measurements that were made then, ten in a second.
    ensure(budget.bad - before < 100, || format!("{budget:?}"))?;
    store.ready_after(epoch, KUBERNETES).map(drop)
}
