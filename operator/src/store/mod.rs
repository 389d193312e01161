//! One store: everything that is done for it, as tasks of its own.
//!
//! ```text
//!   resource, pods, sets ... (watches) ──┐                    ┌── authority ── StoreTopology (compare-and-swap)
//!   links (peer ports) ──────────────────┼─ drive ─ turn ─────┼── links ────── the record goes down
//!   hands: what was provisioned ─────────┘   fetch, plan      ├── hands ────── build, apply, restart, label
//!                                                             └── voice ────── status, Events, metrics
//! ```
//!
//! * [`wanted`]: validate. The resource parsed once; nothing later reads the spec.
//! * [`drive`](mod@drive): whatever happens causes a turn of the planner; time passes only where the planner asked for it.
//! * [`world`]: fetch, and the planner's `Backend`: what the watches and links know, as values.
//! * [`authority`]: the record.
//! * [`hands`], [`keep`]: build and apply: objects are made, kept as they are wanted, pods restarted. Never on the way of a failover.
//! * [`voice`]: status and Events, in their own time, so that a slow API server never holds up a decision.
//!
//! Invariants:
//!
//! * A decision waits for one request only: the write of the record.
//! * What somebody else owns is never taken over.
//! * A pod is ended only if it is the one that the decision was made about (its uid is a precondition), and one in which nothing ran only if nothing has
//!   become of it since.

pub(crate) mod apply;
pub(crate) mod authority;
pub(crate) mod drive;
pub(crate) mod hands;
pub(crate) mod keep;
pub(crate) mod matters;
pub(crate) mod pods;
pub(crate) mod requests;
pub(crate) mod voice;
pub(crate) mod wanted;
pub(crate) mod world;

use std::{fmt, sync::Arc};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use trireme_link::Said;

use self::{hands::Outcome, wanted::Wanted};
use crate::context::Context;

/// Happenings that may wait for a store's turn.
const HAPPENINGS_MAX: usize = 1_024;

/// Namespace and name of a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Something that concerns one store.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Its resource has changed.
    Wanted(Arc<Wanted>),
    /// Something that belongs to it has changed in the caches.
    Changed,
    /// Something was heard over a link.
    Link(Said),
    /// Its objects were looked at.
    Provisioned(Outcome),
    /// Person's requests on the resource: annotations, as they stand.
    Asked(Vec<requests::Asked>),
}

impl From<Said> for Happening {
    fn from(said: Said) -> Happening {
        Happening::Link(said)
    }
}

/// Waits until then; for ever where nothing is due.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The tasks of one store. Dropping it ends them at once; what was begun is finished by the next operator, from the record.
#[derive(Debug)]
pub(crate) struct Store {
    happenings: mpsc::Sender<Happening>,
    task: JoinHandle<()>,
}

impl Store {
    /// Starts them.
    pub fn start(context: Arc<Context>, wanted: Arc<Wanted>) -> Store {
        let (happenings, happened) = mpsc::channel(HAPPENINGS_MAX);
        let task = tokio::spawn(drive::drive(context, wanted, happenings.clone(), happened));
        Store { happenings, task }
    }

    /// Tells it. A store that is behind by [`HAPPENINGS_MAX`] takes its turn anyway, and looks at the caches then: what is left out here is not lost.
    pub fn tell(&self, happening: Happening) {
        let _ = self.happenings.try_send(happening);
    }

    /// Whether its tasks have ended by themselves, which is a defect.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(all(test, feature = "live"))]
mod tests;
