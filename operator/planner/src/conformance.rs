//! What every [`Backend`] must do, as one suite that each implementation runs against itself.
//!
//! ```text
//!   let mut world = ...;                       // a store that has been created and has no record yet, or any record
//!   conformance::suite(&mut backend_of(&world), &mut another_backend_of(&world), async || sleep(...).await).await?;
//! ```
//!
//! A backend knows its own record at once, and another one's after a conflict at the latest; without one it may take [`OBSERVATIONS_MAX`] observations, between
//! which the suite lets time pass by the function it is given.
//!
//! Two backends of the same store stand for two operators that each think they are the one. The record is left as it was last written here, one or more
//! versions further: run it on a store of its own.

use trireme_proto::{
    Topology,
    ids::Epoch,
    topology::{Config, Leaving, Phase, Settings},
};

use crate::backend::{Backend, RecordError};

/// A duty that a backend does not fulfil.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{duty}: {found}")]
pub struct Failed {
    /// The duty.
    pub duty: &'static str,
    /// What was found instead.
    pub found: String,
}

fn check(duty: &'static str, holds: bool, found: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(Failed { duty, found: found() }) }
}

/// A record that no replica can be harmed by: it has no members.
fn blank() -> Topology {
    Topology {
        store: "conformance".to_owned(),
        group: 0,
        version: 0,
        epoch: Epoch { number: 0, proposer: 0 },
        phase: Phase::Sealing as i32,
        leader: 0,
        config: Config { members: Vec::new(), w: 1 },
        old: None,
        replicas: Vec::new(),
        generation: 1,
        handover: 0,
        settings: Settings::standard(),
        previous_leader: 0,
        last_group: 0,
        restarting: 0,
        groups: Vec::new(),
        leaving: Leaving::Stays as i32,
        given_up: None,
        homes: Vec::new(),
    }
}

/// Observations after which a backend must have seen what another one wrote.
pub const OBSERVATIONS_MAX: usize = 200;

/// Runs the suite. `pass` lets some time pass, where what others do takes time to be seen.
///
/// # Errors
/// The first duty that is not fulfilled.
pub async fn suite<A: Backend, B: Backend>(one: &mut A, other: &mut B, pass: impl AsyncFn()) -> Result<(), Failed> {
    let before = one.observe().await.record;
    let version = before.as_ref().map_or(0, |record| record.version);
    let mut first = before.unwrap_or_else(blank);
    first.version = version + 1;
    let written = one.record(version, &first).await;
    check("a record over the expected version is written", written.is_ok(), || format!("{written:?}"))?;
    reads_back(one, &first, "a backend reads its own record at once").await?;
    let mut observations = 1;
    while other.observe().await.record.as_ref() != Some(&first) && observations < OBSERVATIONS_MAX {
        observations += 1;
        pass().await;
    }
    reads_back(other, &first, "another backend reads it too, soon").await?;

    let stale = Topology { version: version + 2, generation: first.generation + 7, ..first.clone() };
    let lost = other.record(version, &stale).await;
    check("a writer that expects an older version loses", lost == Err(RecordError::Conflict), || format!("{lost:?}"))?;
    let lost = other.record(version + 5, &stale).await;
    check("a writer that expects a later version loses", lost == Err(RecordError::Conflict), || format!("{lost:?}"))?;
    let lost = other.record(0, &stale).await;
    check("a writer that expects no record loses where there is one", lost == Err(RecordError::Conflict), || {
        format!("{lost:?}")
    })?;
    reads_back(one, &first, "a lost write leaves the record as it was").await?;

    let second = Topology { version: version + 2, ..first.clone() };
    let won = other.record(version + 1, &second).await;
    check("the other backend writes over the version it read", won.is_ok(), || format!("{won:?}"))?;
    let lost = one.record(version + 1, &Topology { version: version + 2, generation: 99, ..first.clone() }).await;
    check("of two writers over one version the second loses", lost == Err(RecordError::Conflict), || {
        format!("{lost:?}")
    })?;
    reads_back(one, &second, "after a conflict a backend reads what is there, at once").await?;
    telling(one, &second).await?;
    no_ghosts(one, &second).await?;
    let once = one.observe().await;
    let requests = one.observe().await.requests;
    check("what people ask for is given once", once.requests.is_empty() || requests.is_empty(), || {
        format!("{requests:?}")
    })
}

async fn reads_back<B: Backend>(backend: &mut B, record: &Topology, duty: &'static str) -> Result<(), Failed> {
    let read = backend.observe().await.record;
    check(duty, read.as_ref() == Some(record), || format!("read {read:?}, written {record:?}"))
}

/// Sending a record twice, or to a replica that is not there, is harmless, and does not change the record.
async fn telling<B: Backend>(backend: &mut B, record: &Topology) -> Result<(), Failed> {
    let known: Vec<u32> = backend.observe().await.replicas.keys().copied().collect();
    for replica in known.iter().copied().chain([u32::MAX]) {
        backend.tell(replica, record).await;
        backend.tell(replica, record).await;
    }
    reads_back(backend, record, "telling replicas leaves the record as it was").await
}

/// Restarting or replacing a replica that is not there is harmless, and does not change the record.
async fn no_ghosts<B: Backend>(backend: &mut B, record: &Topology) -> Result<(), Failed> {
    backend.restart(u32::MAX).await;
    backend.replace(u32::MAX).await;
    reads_back(backend, record, "restarting a replica that is not there leaves the record as it was").await
}
