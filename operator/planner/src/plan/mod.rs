//! Desired, observed and recorded state in, a plan out.

use trireme_crds::Condition;
use trireme_proto::{ReplicaId, Topology};

use crate::{
    decision::Decision,
    desired::{Desired, DesiredReplica},
    observed::{HumanRequest, Observed},
};

/// After a record that was not written: how soon to look again.
pub(crate) const CONFLICT_RECHECK_MS: u64 = 20;

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The next record: compare-and-swap against the observed one's version, before anything else. If that fails, nothing else of the plan is done.
    pub record: Option<Topology>,
    /// Who must be sent the record (the next one, where there is one) now.
    pub tell: Vec<ReplicaId>,
    /// The replicas that must exist.
    pub provision: Vec<DesiredReplica>,
    /// What was decided and why.
    pub decisions: Vec<Decision>,
    /// How the store stands. `last_transition_time` is empty: [`crate::status()`] fills it in.
    pub conditions: Vec<Condition>,
    /// Plan again after this many milliseconds, even if nothing is heard.
    pub recheck_ms: Option<u64>,
}

/// What may be forgotten: since when something has been so, what was said, history for the status. Safety never depends on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    pub(crate) requests: Vec<HumanRequest>,
}

impl Memory {
    /// Takes in what people asked for.
    pub(crate) fn ask(&mut self, requests: &[HumanRequest]) {
        self.requests.extend(requests);
    }
}

/// Decides what to do. Pure: the same arguments give the same plan. `now_ms` is a monotonic clock in milliseconds.
pub fn plan(desired: &Desired, observed: &Observed, memory: &mut Memory, _now_ms: u64) -> Plan {
    memory.ask(&observed.requests);
    Plan { provision: desired.replicas.clone(), ..Plan::default() }
}
