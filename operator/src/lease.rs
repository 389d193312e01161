//! Of several operators one acts: the one that holds the Lease.
//!
//! As in Kubernetes' own components: a Lease that has not changed for its whole duration, on this process's own clock, is free. No two machines' clocks are
//! compared. A holder that cannot renew it stops acting well before others may take it. And if all of this failed, the record is still written by
//! compare-and-swap only: two operators can be in each other's way, never lead two leaders.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::context::why;

/// How long a Lease holds after it was last renewed.
const DURATION: Duration = Duration::from_secs(6);
/// How often its holder renews it, and others look at it.
const EVERY: Duration = Duration::from_secs(2);
/// A holder that could not renew it for this long stops acting: enough before others may take it.
const GIVE_UP: Duration = Duration::from_secs(4);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A candidate for the Lease.
pub(crate) struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// What was last seen, and since when it has been so.
    seen: Option<(String, Instant)>,
}

impl Candidate {
    pub fn new(api: Api<Lease>, name: &str, identity: &str) -> Candidate {
        Candidate { api, name: name.to_owned(), identity: identity.to_owned(), seen: None }
    }

    /// Tries to be the holder for ever; `holds` says whether it is.
    pub async fn run(&mut self, holds: &watch::Sender<bool>) {
        let mut renewed: Option<Instant> = None;
        loop {
            let began = Instant::now();
            match timeout(PATIENCE, self.hold()).await {
                Ok(Ok(true)) => renewed = Some(began),
                Ok(Ok(false)) => renewed = None,
                Ok(Err(error)) => tracing::warn!(error = why(&error), "the Lease could not be renewed"),
                Err(_) => tracing::warn!("the Lease could not be renewed: no answer within {PATIENCE:?}"),
            }
            let now = renewed.is_some_and(|at| at.elapsed() < GIVE_UP);
            holds.send_if_modified(|before| std::mem::replace(before, now) != now);
            sleep(EVERY).await;
        }
    }

    /// Takes the Lease, or renews it; whether it is held now.
    async fn hold(&mut self) -> kube::Result<bool> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(None)) };
            return self.written(self.api.create(&PostParams::default(), &lease).await);
        };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        let version = lease.resource_version().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.seen = Some((version, Instant::now()));
        }
        let stale = self.seen.as_ref().is_some_and(|(_, since)| since.elapsed() >= DURATION);
        if !(holder.is_empty() || holder == self.identity || stale) {
            return Ok(false);
        }
        lease.spec = Some(self.spec(lease.spec.as_ref()));
        let written = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        self.written(written)
    }

    /// Another candidate may have been faster: the API server lets one of them write.
    fn written(&self, written: kube::Result<Lease>) -> kube::Result<bool> {
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        let same = before.filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: same.and_then(|spec| spec.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if same.is_some() { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }

    /// Gives it up, so that the next one need not wait; within a moment, or not at all.
    pub async fn release(&mut self) {
        let giving_up = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            match &mut lease.spec {
                Some(spec) if spec.holder_identity.as_deref() == Some(&self.identity) => spec.holder_identity = None,
                _ => return Ok(()),
            }
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        };
        match timeout(PATIENCE, giving_up).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = why(&error), "the Lease could not be given up: the next operator waits for it");
            }
            Err(_) => tracing::warn!("the Lease could not be given up in time: the next operator waits for it"),
        }
    }
}
