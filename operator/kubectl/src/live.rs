//! A store in a cluster, as the commands ask it: over the API server.

use std::time::Duration;

use trireme_cli::{Answer, Failure, Happened, Line, Request, Store};
use trireme_crds::StoreStatus;
use trireme_link::{By, Verification};

use crate::{
    cluster::Cluster,
    events,
    follow::Following,
    object::{self, Object},
    pods,
};

/// Pause between two looks at all digests: each is half a megabyte from every replica.
const DIGESTS_PAUSE: Duration = Duration::from_secs(1);

/// A store in a cluster.
pub struct Live {
    cluster: Cluster,
    name: String,
    following: Option<Following>,
    /// That replicas could not be asked has been said.
    warned: bool,
}

impl Live {
    /// The store of this name in the cluster's namespace.
    pub fn new(cluster: &Cluster, name: &str) -> Live {
        Live { cluster: cluster.clone(), name: name.to_owned(), following: None, warned: false }
    }

    async fn object(&self) -> Result<Object, Failure> {
        object::get(&self.cluster, &self.name).await
    }
}

impl Store for Live {
    async fn status(&mut self) -> Result<StoreStatus, Failure> {
        self.object().await?.status()
    }

    async fn look(&mut self) -> Result<StoreStatus, Failure> {
        let mut status = self.status().await?;
        if let Some(why) = pods::freshen(&self.cluster, &mut status).await
            && !self.warned
        {
            self.warned = true;
            eprintln!("no replica could be asked, so this is what the operator last wrote: {why}");
        }
        Ok(status)
    }

    async fn ask(&mut self, request: &Request) -> Result<(), Failure> {
        let before = self.status().await?;
        match request {
            Request::Promote { replica, .. } | Request::Switchover { to: Some(replica) } => sensible(&before, replica)?,
            Request::Switchover { to: None } if before.groups.len() > 1 => {
                return Err(Failure::Failed(
                    "each region has a leader of its own: name the replica that is to take over".to_owned(),
                ));
            }
            Request::Switchover { to: None } => {}
        }
        self.following = Some(Following::begin(&self.cluster, &self.name, request, before).await?);
        Ok(())
    }

    async fn answer(&mut self) -> Result<Answer, Failure> {
        match &mut self.following {
            Some(following) => following.next().await,
            None => Ok(Answer::Refused("nothing was asked for".to_owned())),
        }
    }

    async fn verify(&mut self, within: Duration) -> Result<Verification, Failure> {
        let status = self.status().await?;
        let pods = status.replicas.iter().map(|r| (r.name.clone(), (self.cluster.clone(), r.name.clone()))).collect();
        let ask = |(cluster, pod)| pods::digests(cluster, pod);
        // A position in a log says something of the replicas of that log alone: where there are several, digests say when replicas have met.
        let several = status.groups.len() > 1 || status.groups.iter().any(|group| group.r.is_some());
        let by = if several { By::Digest } else { By::LastWrite };
        Ok(trireme_link::compare(pods, by, within, DIGESTS_PAUSE, ask).await)
    }

    async fn history(&mut self) -> Result<Vec<Happened>, Failure> {
        Ok(events::list(&self.cluster, &self.name).await?.iter().map(events::happened).collect())
    }

    async fn lines(&mut self, from_ms: u64, to_ms: u64) -> Result<Vec<Line>, Failure> {
        pods::lines(&self.cluster, &self.name, from_ms, to_ms).await
    }
}

/// What the operator would refuse anyway is not asked for.
fn sensible(status: &StoreStatus, replica: &str) -> Result<(), Failure> {
    let names: Vec<&str> = status.replicas.iter().map(|r| r.name.as_str()).collect();
    if !names.is_empty() && !names.contains(&replica) {
        return Err(Failure::Failed(format!("the store has no replica `{replica}`; it has {}", names.join(", "))));
    }
    match status.groups.iter().any(|group| group.serving && group.leader == replica) {
        true => Err(Failure::Failed(format!("{replica} leads already"))),
        false => Ok(()),
    }
}
