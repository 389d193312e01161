//! No leader: every member takes reads and writes, so nobody is chosen when one is lost. What is left to decide is who counts, under which name each life
//! of a disk writes, and with which n, w and r.
//!
//! ```text
//!   no record ──▶ create      all replicas are known: first record, phase Active, everybody's first name
//!   Active    ──▶ lives       a new disk or a spent name gets a new name; a member that lost what it held is a learner
//!             ──▶ leave       the configuration being left is dropped, once nothing depends on it
//!             ──▶ quarantine  who is to count for nothing, because a person asked for that
//!             ──▶ change      members, w and r move towards what is desired, so that w + r > n at every moment
//!             ──▶ replace     is a replica lost with its machine? it starts elsewhere (shared with the other modes)
//!             ──▶ roll        replicas run as they are wanted: restarts, one at a time (shared with the other modes)
//! ```
//!
//! **The epoch** rises with every change of the configuration and with every name that is given, so its number is a generation that was never used.
//!
//! **While a configuration is being left** both are in the record: a write needs w of each, a read r of each, where r above the number of members means all
//! of them; an operation is answered by the record that its coordinator knows when it answers.

mod change;
mod conditions;
mod leave;
mod lives;
mod members;
mod quarantine;
mod staleness;

use trireme_proto::Topology;

pub(crate) use conditions::diverged;
pub(crate) use leave::Spread;
pub(crate) use lives::create;
pub(crate) use members::{Reach, coordinators, is_unreached, reaches, stands};
pub(crate) use quarantine::not_here as no_quarantine_here;
pub(crate) use staleness::staleness;

use super::{Turn, replace, roll};
use crate::{decision::Decision, observed::HumanRequest};

/// The group exists: takes the next step.
pub(crate) fn active(turn: &mut Turn<'_>, record: &Topology) {
    refuse_requests(turn);
    let steps: &[fn(&mut Turn<'_>, &Topology)] = if turn.desired.paused {
        &[leave::leave]
    } else {
        &[
            lives::behind,
            lives::name,
            leave::leave,
            quarantine::quarantine,
            change::change,
            super::change::refresh,
            replace::replace,
            roll::roll,
        ]
    };
    for step in steps {
        step(turn, record);
        if turn.plan.record.is_some() {
            break;
        }
    }
    conditions::standing(turn, record);
}

/// There is nobody to promote, and nobody to hand over from.
fn refuse_requests(turn: &mut Turn<'_>) {
    for request in std::mem::take(&mut turn.memory.requests) {
        let (HumanRequest::Promote { replica: id, .. } | HumanRequest::Switchover { to: id }) = request;
        let what = format!("make {} the leader", turn.name(id));
        let why = "this store has no leader: every member takes reads and writes".to_owned();
        turn.decide(Decision::Refused { what, why });
    }
}
