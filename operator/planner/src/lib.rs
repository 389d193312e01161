//! The decisions: desired, observed and recorded state in, a plan out. Pure.

pub mod backend;
pub mod conformance;
pub mod decision;
pub mod desired;
pub mod observed;
pub mod plan;
pub mod record;
pub mod status;

pub use backend::{Backend, RecordError, Turned, turn};
pub use decision::{Cause, Decision};
pub use desired::{Desired, DesiredReplica, Failover};
pub use observed::{HumanRequest, Observed, Process, Seen};
pub use plan::{Memory, Plan, plan};
pub use status::status;
