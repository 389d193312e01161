//! What replicas say of themselves, through the API server's proxy of their pods, and what they printed.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Resource as _,
    api::{ListParams, LogParams},
    core::Request,
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::timeout;
use trireme_cli::{Failure, Line, history::from_rfc3339};
use trireme_crds::{StoreStatus, status::ReplicaStatus};
use trireme_link::Slots;

use crate::cluster::{Cluster, briefly};

/// The port of a replica that speaks HTTP.
const HTTP_PORT: u16 = 9600;
/// The container of a pod that is the replica.
const CONTAINER: &str = "replica";
/// Longest wait for what a replica says of itself.
const SAID_MAX: Duration = Duration::from_secs(2);
/// Most bytes of what one container printed.
const LOG_BYTES_MAX: i64 = 4 << 20;

/// A replica's `/status`, as far as it is used here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Said {
    id: u32,
    role: String,
    serving: bool,
    disk_full: bool,
    last: String,
    commit: u64,
    applied: u64,
    keys: u64,
    digest: String,
    incarnation: String,
    followers: Vec<Follower>,
    counters: Counters,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Follower {
    id: u32,
    lag_entries: u64,
    lag_bytes: u64,
    lag_ms: u64,
    snapshot_slots: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Counters {
    digest_mismatches: u64,
}

/// A replica's `/digests`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Digests {
    last_writes: Vec<u64>,
    digests: Vec<String>,
}

/// Asks a replica over HTTP.
async fn ask<T: DeserializeOwned>(cluster: &Cluster, pod: &str, path: &str) -> Result<T, kube::Error> {
    let pods = Request::new(Pod::url_path(&(), Some(&cluster.namespace)));
    let request = pods.get_subresource(&format!("proxy/{path}"), &format!("{pod}:{HTTP_PORT}"));
    cluster.client.request(request.map_err(kube::Error::BuildRequest)?).await
}

/// Replaces what the operator last wrote of each replica by what the replica says now; why not, where none could be asked.
pub async fn freshen(cluster: &Cluster, status: &mut StoreStatus) -> Option<String> {
    let asked = status.replicas.iter().map(|replica| {
        let name = replica.name.clone();
        async move { timeout(SAID_MAX, ask::<Said>(cluster, &name, "status")).await }
    });
    let answers = join_all(asked).await;
    let mut why = None;
    let mut said = Vec::new();
    for answer in answers {
        match answer {
            Ok(Ok(answer)) => said.push(answer),
            Ok(Err(error)) => why = Some(briefly(&error)),
            Err(_) => why = Some("no answer in time".to_owned()),
        }
    }
    merge(status, &said);
    why.filter(|_| said.is_empty())
}

/// Who is a member, and whom the operator hears, stays as the operator wrote it.
fn merge(status: &mut StoreStatus, said: &[Said]) {
    // Where each region has a leader, a replica follows its own region's.
    let several = status.groups.len() > 1;
    let regions: BTreeMap<u32, String> = status.replicas.iter().map(|r| (r.id, r.region.clone())).collect();
    let leads = |s: &&Said| s.role == "Leader" && s.serving;
    for replica in &mut status.replicas {
        let near = |s: &&Said| !several || regions.get(&s.id) == Some(&replica.region);
        let leader = said.iter().filter(leads).find(near);
        // The operator heard it when it wrote this, which may be long ago.
        if replica.reachable {
            replica.silent_ms = None;
        }
        if let Some(now) = said.iter().find(|s| s.id == replica.id) {
            take(replica, now);
        }
        match leader {
            Some(leader) if leader.id == replica.id => {
                (replica.lag_entries, replica.lag_bytes, replica.lag_ms) = (Some(0), Some(0), Some(0));
            }
            Some(leader) => {
                let lag = leader.followers.iter().find(|f| f.id == replica.id);
                replica.lag_entries = lag.map(|f| f.lag_entries);
                replica.lag_bytes = lag.map(|f| f.lag_bytes);
                replica.lag_ms = lag.map(|f| f.lag_ms);
                replica.snapshot_slots = lag.and_then(|f| f.snapshot_slots);
            }
            None => {}
        }
    }
}

fn take(replica: &mut ReplicaStatus, now: &Said) {
    replica.role = now.role.clone();
    replica.position = now.last.clone();
    (replica.commit, replica.applied, replica.keys) = (now.commit, now.applied, now.keys);
    replica.digest = now.digest.clone();
    replica.incarnation = now.incarnation.clone();
    replica.disk_full = now.disk_full;
    replica.digest_mismatches = now.counters.digest_mismatches;
}

/// All slots of a replica.
///
/// # Errors
/// Why there are none.
pub async fn digests(cluster: Cluster, pod: String) -> Result<Slots, String> {
    let said: Digests = ask(&cluster, &pod, "digests").await.map_err(|error| briefly(&error))?;
    // A slot that was never written has an empty one.
    let number = |digest: &String| if digest.is_empty() { Some(0) } else { u64::from_str_radix(digest, 16).ok() };
    let digests: Option<Vec<u64>> = said.digests.iter().map(number).collect();
    digests
        .and_then(|digests| Slots::new(said.last_writes, digests))
        .ok_or_else(|| "its digests make no sense".to_owned())
}

/// What the replicas of a store printed between two moments, the containers before the present ones included.
///
/// # Errors
/// Where the pods cannot be listed; one whose log is gone is left out.
pub async fn lines(cluster: &Cluster, store: &str, from_ms: u64, to_ms: u64) -> Result<Vec<Line>, Failure> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let of_store = ListParams::default().labels(&format!("trireme.dev/store={store}"));
    let list = pods.list(&of_store).await;
    let list = list.map_err(|error| cluster.failure(&format!("list the pods of {store}"), &error))?;
    let now_ms = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    let since_seconds = i64::try_from(now_ms.saturating_sub(from_ms) / 1_000 + 1).ok();
    let mut lines = Vec::new();
    for pod in list.items.iter().filter_map(|pod| pod.metadata.name.as_deref()) {
        for previous in [true, false] {
            let wanted = LogParams {
                container: Some(CONTAINER.to_owned()),
                previous,
                since_seconds,
                timestamps: true,
                limit_bytes: Some(LOG_BYTES_MAX),
                ..LogParams::default()
            };
            match pods.logs(pod, &wanted).await {
                Ok(text) => lines.extend(text.lines().filter_map(|line| printed(pod, line))),
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    return Err(cluster.failure(&format!("read the logs of {pod}"), &kube::Error::Api(status)));
                }
                // There was no container before this one, or there is none yet.
                Err(_) => {}
            }
        }
    }
    lines.retain(|line| (from_ms..=to_ms).contains(&line.at_ms));
    Ok(lines)
}

/// A line with the kubelet's time before it; the replica's own time, which follows, is not said twice.
fn printed(pod: &str, line: &str) -> Option<Line> {
    let (time, text) = line.split_once(' ')?;
    let text = text.trim_start();
    let text = match text.split_once(' ') {
        Some((own, rest)) if from_rfc3339(own).is_some() => rest.trim_start(),
        _ => text,
    };
    Some(Line { at_ms: from_rfc3339(time)?, replica: pod.to_owned(), text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use trireme_crds::status::GroupStatus;

    use super::*;

    #[test]
    fn each_replica_is_behind_the_leader_of_its_own_region() {
        let replica =
            |id: u32, region: &str| ReplicaStatus { id, region: region.to_owned(), ..ReplicaStatus::default() };
        let mut status = StoreStatus {
            groups: vec![GroupStatus::default(), GroupStatus::default()],
            replicas: vec![replica(1, "eu"), replica(2, "eu"), replica(17, "us"), replica(18, "us")],
            ..StoreStatus::default()
        };
        let leader = |id: u32, follower: u32, lag_entries| Said {
            id,
            role: "Leader".to_owned(),
            serving: true,
            followers: vec![Follower { id: follower, lag_entries, ..Follower::default() }],
            ..Said::default()
        };
        merge(&mut status, &[leader(1, 2, 5), leader(18, 17, 7)]);
        let lags: Vec<Option<u64>> = status.replicas.iter().map(|r| r.lag_entries).collect();
        assert_eq!(lags, [Some(0), Some(5), Some(7), Some(0)]);
    }

    #[test]
    fn a_printed_line_has_one_time() {
        let line =
            printed("orders-0", "2026-11-25T12:00:00.123456789Z 2026-11-25T12:00:00.123400Z  INFO it is so").unwrap();
        assert_eq!((line.at_ms, line.text.as_str()), (1_795_608_000_123, "INFO it is so"));
        assert_eq!(printed("orders-0", "2026-11-25T12:00:00Z no time").unwrap().text, "no time");
        assert!(printed("orders-0", "no time at all").is_none());
    }
}
