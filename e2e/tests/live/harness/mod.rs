//! What the tests are made of.
//!
//! * [`runner`]: one test at a time, each in a namespace of its own; what is printed; which tests are not run, and why.
//! * [`stage`]: the namespace of a test, the objects in it as watches show them, and waiting for what must become of them.
//! * [`operator`]: the operator, installed once with the chart; its pods, its Lease, its log.
//! * [`store`]: a store and its replicas; [`load`]: clients of it, and what they must find afterwards; [`registers`]: clients whose history must be
//!   linearizable.
//! * [`figures`]: what was measured. [`plugin`]: `kubectl trireme`. [`shell`]: kubectl, helm and the cluster's faults.

pub mod figures;
pub mod load;
pub mod operator;
pub mod plugin;
pub mod registers;
pub mod runner;
pub mod shell;
pub mod stage;
pub mod store;
pub mod watch;

use std::fmt;

pub use runner::Case;
pub use stage::Stage;
pub use store::Store;

/// What a test found that should not be, or could not do.
#[derive(Clone, Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What comes of a test, or of a step of one.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Fails with this text unless it holds.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failure(otherwise())) }
}
