//! The world that plans are carried out in, and one turn of doing so.

use trireme_crds::StoreStatus;
use trireme_proto::{ReplicaId, Topology};

use crate::{
    decision::Decision,
    desired::{Desired, DesiredReplica},
    observed::Observed,
    plan::{self, Memory},
    status,
};

/// Why a record was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Somebody else wrote it first: its version is not the expected one.
    #[error("the record was changed by another writer")]
    Conflict,
    /// It may have been written or not: only reading it again tells.
    #[error("it is not known whether the record was written: {0}")]
    Unknown(String),
}

/// Observe, record, act. Implemented by Kubernetes, by local processes and by the simulation; all pass [`crate::conformance`].
///
/// It is one group's world. Where a store has several, [`turn`] is called for each of [`Desired::groups`], with a memory of its own and a backend that
/// observes its record, its replicas and what people ask of these, and knows of the other groups' replicas only where they are.
///
/// # The record may be older than the newest one
///
/// [`Backend::observe`] may answer with the record that this backend wrote or read last, kept current by a watch, instead of asking for it each time. It
/// must know its own writes at once, another writer's after a bounded time, and at once after a [`RecordError::Conflict`] or [`RecordError::Unknown`]:
/// both mean that it has to be read again, past every cache. This is safe, because nothing is done on the strength of a reading alone:
///
/// * A change is written over exactly the version that it was planned on. Where that is not the newest one the write fails, and so does everything that
///   was to follow from it: leaders, members, and which replica may be restarted or replaced are decided by the write, not by the reading.
/// * A replica that is sent an old record ignores it: it has promised what the newer one said, or has seen a higher version.
/// * A restart or a replacement that an old record still names ends only what was observed in the same turn: what has been made anew since stays.
/// * Epochs are chosen above all that replicas report, and whoever reports a promise above the record's epoch makes it read again.
///
/// What it costs is time: another operator's change is seen a moment later. There is seldom another one.
#[allow(async_fn_in_trait)] // Driven on one thread by whoever implements it: no Send bound is wanted.
pub trait Backend {
    /// What is, now. The record is looked at before the replicas are.
    async fn observe(&mut self) -> Observed;

    /// Compare-and-swap: writes `next` if the stored record's version is `expected_version` (0: there is none).
    ///
    /// # Errors
    /// [`RecordError`]; nothing else of the plan is done then.
    async fn record(&mut self, expected_version: u64, next: &Topology) -> Result<(), RecordError>;

    /// Sends the record to a replica. May be lost: it is sent again until the replica's report shows it.
    async fn tell(&mut self, replica: ReplicaId, topology: &Topology);

    /// Makes exactly these replicas exist; called every turn, but for those in which reconciliation is paused.
    async fn provision(&mut self, replicas: &[DesiredReplica]);

    /// Ends a replica's process, gently (it hands over what it leads), and starts it again as it is wanted now, on the same disk.
    ///
    /// Only the process, or pod, that was observed in this turn may be ended: where another one runs by now, nothing is done. It is asked for again until
    /// the replica is observed not to be [`outdated`](crate::Seen::outdated).
    async fn restart(&mut self, replica: ReplicaId);

    /// Gives up a replica that is lost together with its machine: it starts elsewhere, on a new and empty disk. Its old disk is given up with it.
    ///
    /// As with [`Backend::restart`], only what was observed in this turn is given up. It is asked for again while its
    /// [`machine is gone`](crate::Seen::machine_gone).
    async fn replace(&mut self, replica: ReplicaId);

    /// Shows what was decided, and how the store stands; called every turn, `decisions` often empty.
    async fn publish(&mut self, decisions: &[Decision], status: &StoreStatus);
}

/// How a turn went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned {
    /// Take the next turn after this many milliseconds at the latest; earlier when something was heard.
    pub recheck_ms: Option<u64>,
    /// The record could not be written: nothing was done, and the next turn observes anew.
    pub failed: Option<RecordError>,
}

/// One turn: observe, plan, record, act. `now_ms` is a monotonic clock; `memory` is what may be forgotten between turns.
pub async fn turn<B: Backend>(backend: &mut B, desired: &Desired, memory: &mut Memory, now_ms: u64) -> Turned {
    let mut observed = backend.observe().await;
    let before = memory.clone();
    let plan = plan::plan(desired, &observed, memory, now_ms);
    if let Some(next) = plan.record {
        let expected = observed.record.as_ref().map_or(0, |record| record.version);
        if let Err(error) = backend.record(expected, &next).await {
            // Nothing of this turn happened: neither may anything be remembered of it, but for what people asked, which is given only once.
            *memory = before;
            memory.ask(&observed);
            return Turned { recheck_ms: Some(plan::CONFLICT_RECHECK_MS), failed: Some(error) };
        }
        observed.record = Some(next);
    }
    if let Some(record) = &observed.record {
        for replica in &plan.tell {
            backend.tell(*replica, record).await;
        }
    }
    if !desired.paused {
        backend.provision(&plan.provision).await;
    }
    if let Some(replica) = plan.restart {
        backend.restart(replica).await;
    }
    if let Some(replica) = plan.replace {
        backend.replace(replica).await;
    }
    let status = status::status(desired, &observed, memory, now_ms, observed.wall_ms);
    backend.publish(&plan.decisions, &status).await;
    Turned { recheck_ms: plan.recheck_ms, failed: None }
}
