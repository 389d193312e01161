//! Fetch, and the planner's hands: what the watches and links know of one store, as values, and its [`Backend`].

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::sync::{mpsc, watch};
use trireme_crds::{StoreStatus, status::RequestStatus};
use trireme_link::{Heard, Link, Orders, Said, Target};
use trireme_planner::{Backend, Decision, DesiredReplica, HumanRequest, Observed, Process, RecordError, Seen};
use trireme_proto::{ReplicaId, Report, Topology, topology::Mode};

use super::{
    Happening, Key,
    authority::{Authority, ReadError},
    hands::{Hands, Outcome, Work},
    pods, requests,
    voice::{Note, Voice},
    wanted::Wanted,
};
use crate::{
    build::{self, CLIENT_PORT, PEER_PORT},
    context::{Context, wall_ms},
};

/// One replica.
#[derive(Debug)]
struct Replica {
    wanted: DesiredReplica,
    /// Dropped when the pod's address changes, and with the replica.
    link: Option<(SocketAddr, Link)>,
    orders: watch::Sender<Orders>,
    heard: Heard,
    /// Why whoever answers was refused: said once.
    refused: Option<String>,
    /// The pod that was last observed: only this one may be ended.
    pod: Option<String>,
}

/// See the module.
pub(crate) struct World {
    context: Arc<Context>,
    key: Key,
    wanted: Arc<Wanted>,
    authority: Authority,
    replicas: BTreeMap<ReplicaId, Replica>,
    requests: Vec<HumanRequest>,
    /// What a person asked for last, and what came of it.
    request: Option<RequestStatus>,
    status: StoreStatus,
    happenings: mpsc::Sender<Happening>,
    hands: Hands,
    voice: Voice,
}

impl World {
    pub fn new(context: Arc<Context>, wanted: Arc<Wanted>, happenings: mpsc::Sender<Happening>) -> World {
        let key = wanted.key();
        World {
            authority: Authority::new(context.client.clone(), &key.namespace),
            hands: Hands::start(Arc::clone(&context), key.clone(), happenings.clone()),
            voice: Voice::start(Arc::clone(&context), Arc::clone(&wanted)),
            context,
            key,
            wanted,
            replicas: BTreeMap::new(),
            requests: Vec::new(),
            request: None,
            status: StoreStatus::default(),
            happenings,
        }
    }

    /// What is wanted.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Makes sure that a record, or that there is none, is known.
    pub async fn read_record(&mut self) -> Result<(), ReadError> {
        let record = self.authority.read(&self.wanted).await?;
        let known = record.iter().flat_map(|record| &record.replicas).map(|row| DesiredReplica {
            id: row.id,
            name: row.name.clone(),
            region: row.region.clone(),
        });
        let all: Vec<DesiredReplica> = self.wanted.desired.replicas.iter().cloned().chain(known).collect();
        self.know(&all);
        Ok(())
    }

    /// The status that was last written, by this operator or by one before it.
    pub fn told(&self) -> Option<StoreStatus> {
        let store = self.context.cluster.stores.get(&self.key.namespace, &self.key.name)?;
        store.0.as_ref().ok()?.status.clone()
    }

    /// Whether every replica that has an address was heard.
    pub fn heard_all(&self) -> bool {
        self.replicas.values().all(|replica| replica.link.is_none() || replica.heard.report().is_some())
    }

    /// A turn was taken, and how it ended.
    pub fn taken(&self, result: &'static str) {
        self.context.metrics.turn(result);
    }

    /// A turn could not be taken to its end, because of the API server or of what it holds.
    pub fn cannot(&self, why: &str) {
        self.context.metrics.error("record");
        tracing::warn!(store = %self.key, why, "the record could not be used; it is tried again");
    }

    /// Takes in what happened. Whether it is worth a turn at once: what only moves on (positions, lag) is looked at with the next one.
    pub fn absorb(&mut self, happening: Happening) -> bool {
        match happening {
            Happening::Wanted(wanted) => {
                self.wanted = wanted;
                self.voice.wanted(Arc::clone(&self.wanted));
                self.look();
                true
            }
            Happening::Changed => {
                self.look();
                true
            }
            Happening::Link(said) => self.hear(said),
            Happening::Provisioned(outcome) => {
                self.provisioned(outcome);
                false
            }
            Happening::Asked(asked) => self.asked(&asked),
        }
    }

    /// Each replica's pod, where there is one.
    fn pods(&self) -> BTreeMap<ReplicaId, Option<Arc<Pod>>> {
        let pod = |replica: &Replica| self.context.cluster.pods.get(&self.key.namespace, &replica.wanted.name);
        self.replicas.iter().map(|(id, replica)| (*id, pod(replica))).collect()
    }

    /// Looks at the pods' addresses, and has the objects looked at.
    fn look(&mut self) {
        for (id, pod) in self.pods() {
            self.link(id, pod.as_deref());
        }
        self.hands.look();
    }

    /// Keeps the link to a replica at its pod's address.
    fn link(&mut self, id: ReplicaId, pod: Option<&Pod>) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let address = pod.and_then(pods::address).and_then(|ip| Some(SocketAddr::new(ip.parse().ok()?, PEER_PORT)));
        if replica.link.as_ref().map(|(at, _)| *at) == address {
            return;
        }
        if replica.link.take().is_some() {
            // Its end is not heard: the task that would say so is gone with it.
            replica.heard.absorb(Said::Closed { id });
        }
        replica.link = address.map(|address| {
            let store = self.wanted.desired.store.clone();
            let target = Target { id, address, store, boot: self.context.boot };
            (address, Link::start(target, replica.orders.subscribe(), self.happenings.clone()))
        });
    }

    /// Takes in what came over a link; whether it matters for a decision.
    fn hear(&mut self, said: Said) -> bool {
        let id = said.id();
        let (key, record) = (&self.key, self.authority.known());
        let Some(replica) = self.replicas.get_mut(&id) else { return false };
        match &said {
            Said::Refused { why, .. } if replica.refused.as_ref() != Some(why) => {
                replica.refused = Some(why.clone());
                self.voice.note(Note::warning(
                    "PeerRefused",
                    format!("what answers at the address of {} is not it: {why}", replica.wanted.name),
                ));
            }
            Said::Opened { .. } => replica.refused = None,
            _ => {}
        }
        let matters = match &said {
            Said::Heard { report, .. } => replica.heard.report().is_none_or(|before| matters(before, report, record)),
            _ => true,
        };
        if matters {
            tracing::debug!(store = %key, replica = replica.wanted.name, ?said, "heard");
        }
        replica.heard.absorb(said);
        matters
    }

    fn provisioned(&mut self, outcome: Outcome) {
        for note in outcome.notes {
            self.voice.note(note);
        }
        self.voice.provisioned(outcome.trouble);
    }

    /// Takes up what people ask for; whether there was anything.
    fn asked(&mut self, asked: &[requests::Asked]) -> bool {
        let before = self.requests.len();
        for one in asked {
            match requests::request(one, &self.wanted.desired.replicas, &self.status) {
                Ok((replica, request)) => {
                    self.request = Some(one.taken_up(&replica, None));
                    self.requests.push(request);
                }
                Err(why) => {
                    self.request = Some(one.taken_up(&one.value, Some(&why)));
                    self.voice.note(Note::warning("Refused", format!("refused {}: {why}", one.annotation)));
                }
            }
            self.hands.taken_up(one.clone());
        }
        self.requests.len() > before
    }

    /// Knows exactly these replicas.
    fn know(&mut self, replicas: &[DesiredReplica]) {
        for wanted in replicas {
            match self.replicas.get_mut(&wanted.id) {
                Some(replica) => replica.wanted = wanted.clone(),
                None => {
                    let replica = Replica {
                        wanted: wanted.clone(),
                        link: None,
                        orders: watch::Sender::default(),
                        heard: Heard::default(),
                        refused: None,
                        pod: None,
                    };
                    self.replicas.insert(wanted.id, replica);
                    let pod = self.context.cluster.pods.get(&self.key.namespace, &wanted.name);
                    self.link(wanted.id, pod.as_deref());
                }
            }
        }
    }

    fn seen(&self, replica: &Replica, pod: Option<&Pod>) -> Seen {
        let address = pod.and_then(pods::address);
        Seen {
            process: match pod {
                _ if replica.heard.reporter_ended() => Process::Ended,
                Some(pod) if !pods::stopped(pod) => Process::Running,
                _ => Process::Unknown,
            },
            connected: replica.heard.connected(),
            silent_ms: replica.heard.silent_ms(),
            report: replica.heard.report().cloned(),
            outdated: pod.is_some_and(|pod| self.outdated(replica, pod)),
            stopped: pod.is_none_or(pods::stopped),
            unready: pod.is_none_or(|pod| !pods::ready(pod)),
            machine_gone: self.machine_gone(replica, pod),
            peer_address: address.map(|ip| format!("{ip}:{PEER_PORT}")),
            client_address: address.map(|ip| format!("{ip}:{CLIENT_PORT}")),
        }
    }

    /// Whether the pod was made from an older template than the set has now. A set whose controller has not caught up says nothing.
    fn outdated(&self, replica: &Replica, pod: &Pod) -> bool {
        let name = build::statefulset_name(&self.wanted, &replica.wanted.region);
        let Some(set) = self.context.cluster.statefulsets.get(&self.key.namespace, &name) else { return false };
        let Some(status) = &set.status else { return false };
        let current = status.observed_generation >= set.metadata.generation;
        let revision = status.update_revision.as_deref();
        current && !pods::terminating(pod) && revision.is_some() && build::revision_of(pod) != revision
    }

    fn machine_gone(&self, replica: &Replica, pod: Option<&Pod>) -> bool {
        let cluster = &self.context.cluster;
        let Some(nodes) = &cluster.nodes else { return false };
        let claim = cluster.claims.get(&self.key.namespace, &format!("data-{}", replica.wanted.name));
        let bound = || claim.as_ref().and_then(|c| c.annotations().get("volume.kubernetes.io/selected-node").cloned());
        let node = pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone()).or_else(bound);
        node.is_some_and(|node| nodes.get("", &node).is_none_or(|node| pods::gone(&node)))
    }

    fn roles(&self, record: &Topology) -> BTreeMap<String, &'static str> {
        let leaderless = record.settings.mode() == Mode::Leaderless;
        let role = |id: ReplicaId| match id {
            id if !leaderless && id == record.leader => "leader",
            id if record.replica(id).is_some_and(|row| row.quarantined) => "quarantined",
            id if record.config.member(id).is_some() => {
                if leaderless {
                    "peer"
                } else {
                    "follower"
                }
            }
            _ => "learner",
        };
        // While nobody leads who should, the labels stay as they are: who is asked holds its clients until somebody does.
        let known = self.replicas.values().filter(|_| leaderless || record.leader != 0);
        known.map(|r| (r.wanted.name.clone(), role(r.wanted.id))).collect()
    }
}

/// Whether a report says something else than the one before, beyond having moved on.
fn matters(before: &Report, now: &Report, record: Option<&Topology>) -> bool {
    let fixed = |r: &Report| {
        let own = (r.origin_spent, r.whole);
        (
            r.incarnation,
            r.boot,
            r.role,
            r.promise,
            r.topology_version,
            r.serving,
            r.drained,
            r.leaving,
            r.disk_full,
            own,
        )
    };
    let reach =
        |r: &Report| r.followers.iter().map(|f| (f.id, f.reachable, f.snapshot_slots.is_some())).collect::<Vec<_>>();
    let suspicion_ms = record.map_or(u32::MAX, |record| record.settings.suspicion_ms);
    let deaf = |r: &Report| r.leader_silence_ms >= suspicion_ms;
    fixed(before) != fixed(now)
        || before.leader_link_closed != now.leader_link_closed
        || deaf(before) != deaf(now)
        || reach(before) != reach(now)
        || (now.last != before.last && record.is_some_and(|record| record.handover != 0))
}

impl Backend for World {
    async fn observe(&mut self) -> Observed {
        let object = self.context.cluster.topologies.get(&self.key.namespace, &self.key.name);
        self.authority.watched(object.as_deref(), &self.wanted);
        if let Err(error) = self.read_record().await {
            // Without the record nothing can be decided: what is written over one that is not known conflicts.
            self.cannot(&error.to_string());
        }
        let pods = self.pods();
        for (id, pod) in &pods {
            if let Some(replica) = self.replicas.get_mut(id) {
                replica.pod = pod.as_ref().and_then(|pod| pod.uid());
            }
        }
        let seen = |(id, replica): (&ReplicaId, &Replica)| {
            (*id, self.seen(replica, pods.get(id).and_then(|pod| pod.as_deref())))
        };
        Observed {
            record: self.authority.known().cloned(),
            replicas: self.replicas.iter().map(seen).collect(),
            elsewhere: BTreeMap::new(),
            requests: std::mem::take(&mut self.requests),
            wall_ms: wall_ms(),
        }
    }

    async fn record(&mut self, expected_version: u64, next: &Topology) -> Result<(), RecordError> {
        self.authority.write(&self.wanted, expected_version, next).await
    }

    async fn tell(&mut self, replica: ReplicaId, topology: &Topology) {
        if let Some(replica) = self.replicas.get(&replica) {
            replica.orders.send_modify(|orders| orders.topology = Some(Arc::new(topology.clone())));
        }
    }

    async fn provision(&mut self, replicas: &[DesiredReplica]) {
        self.know(replicas);
        self.replicas.retain(|id, _| replicas.iter().any(|wanted| wanted.id == *id));
        let roles = self.authority.known().map(|record| self.roles(record)).unwrap_or_default();
        self.hands.work(Work { wanted: Arc::clone(&self.wanted), replicas: replicas.to_vec(), roles });
    }

    async fn restart(&mut self, replica: ReplicaId) {
        if let Some(Replica { wanted, pod: Some(uid), .. }) = self.replicas.get(&replica) {
            self.hands.restart(&wanted.name, uid);
        }
    }

    async fn replace(&mut self, replica: ReplicaId) {
        if let Some(replica) = self.replicas.get(&replica) {
            self.hands.replace(&replica.wanted.name, replica.pod.as_deref());
        }
    }

    async fn publish(&mut self, decisions: &[Decision], status: &StoreStatus) {
        for decision in decisions {
            tracing::info!(store = %self.key, "{decision}");
            self.voice.note(Note::decision(decision));
        }
        self.status = status.clone();
        if let Some(request) = &mut self.request {
            requests::follow(request, decisions, status);
        }
        self.status.request = self.request.clone();
        self.voice.status(self.status.clone());
    }
}
