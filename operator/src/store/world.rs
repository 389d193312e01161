//! Fetch, and the planner's hands: what the watches and links know of one store, as values, and the [`Backend`] of each of its groups.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt as _, api::Preconditions};
use tokio::sync::{mpsc, watch};
use trireme_crds::{StoreStatus, status::RequestStatus};
use trireme_link::{Heard, Link, Orders, Place, Prober, Said, Target};
use trireme_planner::{
    Backend, Decision, Desired, DesiredReplica, Elsewhere, HumanRequest, Observed, Process, RecordError, Seen, merge,
};
use trireme_proto::{
    ReplicaId, Topology,
    topology::{Leaving, Mode, Replica as Row},
};

use super::{
    Happening, Key,
    authority::{Authority, ReadError},
    hands::{Gone, Hands, Outcome, Work},
    matters::matters,
    pods, requests,
    voice::{Note, Voice},
    wanted::Wanted,
};
use crate::{
    build::{self, CLIENT_PORT, Groups, PEER_PORT},
    context::{Context, wall_ms},
};

/// One replica.
#[derive(Debug)]
struct Replica {
    wanted: DesiredReplica,
    group: u32,
    /// Dropped when the pod's address changes, and with the replica.
    link: Option<(SocketAddr, Link)>,
    orders: watch::Sender<Orders>,
    heard: Heard,
    /// Why whoever answers was refused: said once.
    refused: Option<String>,
    /// The pod that was last observed: only this one may be ended, and if nothing ran in it, only as long as that is so.
    pod: Option<Preconditions>,
}

/// See the module.
pub(crate) struct World {
    context: Arc<Context>,
    key: Key,
    wanted: Arc<Wanted>,
    authority: Authority,
    replicas: BTreeMap<ReplicaId, Replica>,
    /// The replicas of each group that must exist, as its turns have said so far.
    provisioned: Groups,
    requests: Vec<HumanRequest>,
    /// What a person asked for last, and what came of it.
    request: Option<RequestStatus>,
    /// How each group stood when it was planned last.
    statuses: BTreeMap<u32, StoreStatus>,
    /// How the store stands: as the operator before this one said, until all groups were planned once.
    status: StoreStatus,
    /// Measures what the store promises.
    prober: Option<Prober>,
    happenings: mpsc::Sender<Happening>,
    hands: Hands,
    voice: Voice,
}

impl World {
    pub fn new(context: Arc<Context>, wanted: Arc<Wanted>, happenings: mpsc::Sender<Happening>) -> World {
        let key = wanted.key();
        let told = told(&context, &key);
        World {
            authority: Authority::new(context.client.clone(), &key.namespace),
            hands: Hands::start(Arc::clone(&context), key.clone(), happenings.clone()),
            voice: Voice::start(Arc::clone(&context), Arc::clone(&wanted)),
            context,
            key,
            wanted,
            replicas: BTreeMap::new(),
            provisioned: Groups::new(),
            requests: Vec::new(),
            request: None,
            statuses: BTreeMap::new(),
            status: told.unwrap_or_default(),
            prober: None,
            happenings,
        }
    }

    /// Makes sure that it is known which records there are, and takes in what the watch shows of them.
    pub async fn read_records(&mut self) -> Result<(), ReadError> {
        let object = self.context.cluster.topologies.get(&self.key.namespace, &self.key.name);
        self.authority.watched(object.as_deref(), &self.wanted);
        self.authority.read(&self.wanted).await
    }

    /// What is wanted of each group, where the records are those that are known; their replicas, and those that the records still have, are known from now on.
    pub fn groups(&mut self) -> Vec<Desired> {
        let edges = self.context.cluster.edges_secret(&self.key);
        let groups = self.wanted.groups(self.authority.records(), edges.as_deref());
        let row = |row: &Row| DesiredReplica { id: row.id, name: row.name.clone(), region: row.region.clone() };
        let is_planned = |group: &u32| groups.iter().any(|desired| desired.group == *group);
        self.statuses.retain(|group, _| is_planned(group));
        self.provisioned.retain(|group, _| is_planned(group));
        let records = self.authority.records().iter().filter(|record| record.leaving() < Leaving::Gone);
        let recorded: Groups =
            records.map(|record| (record.group, record.replicas.iter().map(row).collect())).collect();
        let wanted = groups.iter().map(|desired| (&desired.group, &desired.replicas));
        for (group, replicas) in recorded.iter().chain(wanted) {
            self.know(*group, replicas);
        }
        groups
    }

    /// The status that was last written, by this operator or by one before it.
    pub fn told(&self) -> Option<StoreStatus> {
        told(&self.context, &self.key)
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
        let Some(replica) = self.replicas.get_mut(&id) else { return false };
        let (key, record) = (&self.key, self.authority.record(replica.group));
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
        let groups = self.wanted.groups(self.authority.records(), None);
        let replicas: Vec<DesiredReplica> = groups.into_iter().flat_map(|desired| desired.replicas).collect();
        for one in asked {
            match requests::request(one, &replicas, &self.status) {
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

    /// Knows these replicas of a group.
    fn know(&mut self, group: u32, replicas: &[DesiredReplica]) {
        for wanted in replicas {
            match self.replicas.get_mut(&wanted.id) {
                Some(replica) => replica.wanted = wanted.clone(),
                None => {
                    let replica = Replica {
                        wanted: wanted.clone(),
                        group,
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
        let name = build::set_of(&replica.wanted.name);
        let Some(set) = self.context.cluster.statefulsets.get(&self.key.namespace, name) else { return false };
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

    /// Regions that have left the store, of which something is still there.
    fn gone(&self) -> Vec<Gone> {
        let gone = self.authority.records().iter().filter(|record| record.leaving() == Leaving::Gone);
        let row = |record: &Topology| {
            let replicas: Vec<String> = record.replicas.iter().map(|row| row.name.clone()).collect();
            // What others have is not kept; of what was given up these volumes may have the only copy.
            let volumes = record.given_up.is_none() || self.wanted.volumes == "Delete";
            Some(Gone { region: record.replicas.first()?.region.clone(), replicas, volumes })
        };
        gone.filter_map(row).collect()
    }

    /// What is left of a group that has left the store.
    fn remains(&self, record: &Topology) -> Vec<String> {
        let (cluster, namespace) = (&self.context.cluster, &self.key.namespace);
        if record.leaving() != Leaving::Gone {
            return Vec::new();
        }
        let set = record.replicas.first().map_or("", |row| build::set_of(&row.name));
        let set = cluster.statefulsets.get(namespace, set).map(|_| format!("StatefulSet {set}"));
        let of = |row: &Row| {
            let (pod, claim) = (&row.name, format!("data-{}", row.name));
            let pod = cluster.pods.get(namespace, pod).map(|_| format!("pod {pod}"));
            let claim = cluster.claims.get(namespace, &claim).map(|_| format!("PersistentVolumeClaim {claim}"));
            [pod, claim].into_iter().flatten()
        };
        set.into_iter().chain(record.replicas.iter().flat_map(of)).collect()
    }

    /// What each pod's label says: as the record of its group has it.
    fn roles(&self) -> BTreeMap<String, &'static str> {
        let role = |replica: &Replica| {
            let role = role(self.authority.record(replica.group)?, replica.wanted.id)?;
            Some((replica.wanted.name.clone(), role))
        };
        self.replicas.values().filter_map(role).collect()
    }

    /// Measures what is promised of these groups.
    pub fn measure(&mut self, groups: &[Desired]) {
        Prober::keep(&mut self.prober, groups, self.status.slo.as_ref(), self.context.boot);
        let Some(prober) = &self.prober else { return };
        let pods = self.pods();
        let place = |(id, replica): (&ReplicaId, &Replica)| {
            let stopped = pods.get(id).and_then(|pod| pod.as_deref()).is_none_or(pods::stopped);
            let address = replica.link.as_ref().map(|(address, _)| *address);
            Place::of(groups, replica.group, *id, stopped || replica.heard.reporter_ended(), address)
        };
        prober.places(self.replicas.iter().filter_map(place).collect());
    }

    /// How the store stands, once all of so many groups were planned: before, that is not known.
    pub fn publish(&mut self, groups: usize) {
        if self.statuses.len() < groups {
            return;
        }
        let statuses: Vec<StoreStatus> = self.statuses.values().cloned().collect();
        self.status = merge(&statuses, Some(&self.status));
        self.status.slo = self.prober.as_ref().and_then(Prober::status);
        self.status.request = self.request.clone();
        self.voice.status(self.status.clone());
    }
}

/// The status that was last written.
fn told(context: &Context, key: &Key) -> Option<StoreStatus> {
    let store = context.cluster.stores.get(&key.namespace, &key.name)?;
    store.0.as_ref().ok()?.status.clone()
}

/// What a replica does; nothing while nobody leads who should: labels stay as they are then, and who is asked holds its clients until somebody does.
fn role(record: &Topology, id: ReplicaId) -> Option<&'static str> {
    let leaderless = record.settings.mode() == Mode::Leaderless;
    if !leaderless && record.leader == 0 {
        return None;
    }
    Some(match id {
        id if !leaderless && id == record.leader => "leader",
        id if record.replica(id).is_some_and(|row| row.quarantined) => "quarantined",
        id if record.config.member(id).is_some() && leaderless => "peer",
        id if record.config.member(id).is_some() => "follower",
        _ => "learner",
    })
}

/// One of the store's groups, as the planner acts upon it.
pub(crate) struct InGroup<'a> {
    /// The store.
    pub world: &'a mut World,
    /// The group's number.
    pub group: u32,
}

impl InGroup<'_> {
    /// Whether a request is for one of its replicas.
    fn concerns(&self, request: &HumanRequest) -> bool {
        let (HumanRequest::Promote { replica: id, .. } | HumanRequest::Switchover { to: id }) = request;
        self.world.replicas.get(id).is_none_or(|replica| replica.group == self.group)
    }
}

impl Backend for InGroup<'_> {
    async fn observe(&mut self) -> Observed {
        if let Err(error) = self.world.read_records().await {
            // Without the record nothing can be decided: what is written over one that is not known conflicts.
            self.world.cannot(&error.to_string());
        }
        let (requests, left) = std::mem::take(&mut self.world.requests).into_iter().partition(|r| self.concerns(r));
        let (group, world) = (self.group, &mut *self.world);
        world.requests = left;
        let pods = world.pods();
        let (mut replicas, mut elsewhere) = (BTreeMap::new(), BTreeMap::new());
        for (id, pod) in &pods {
            let Some(replica) = world.replicas.get_mut(id) else { continue };
            if replica.group == group {
                replica.pod = pod.as_deref().map(pods::only_this);
            }
        }
        for (id, replica) in &world.replicas {
            let pod = pods.get(id).and_then(|pod| pod.as_deref());
            if replica.group == group {
                replicas.insert(*id, world.seen(replica, pod));
            } else {
                let seen = world.seen(replica, pod);
                let (alive, peer, client) = (seen.alive(), seen.peer_address, seen.client_address);
                elsewhere.insert(*id, Elsewhere { alive, report: seen.report, peer, client });
            }
        }
        let record = world.authority.record(group).cloned();
        let remains = record.as_ref().map_or_else(Vec::new, |record| world.remains(record));
        Observed { record, replicas, elsewhere, remains, requests, wall_ms: wall_ms() }
    }

    async fn record(&mut self, expected_version: u64, next: &Topology) -> Result<(), RecordError> {
        self.world.authority.write(&self.world.wanted, expected_version, next).await
    }

    async fn tell(&mut self, replica: ReplicaId, topology: &Topology) {
        if let Some(replica) = self.world.replicas.get(&replica) {
            replica.orders.send_modify(|orders| orders.topology = Some(Arc::new(topology.clone())));
        }
    }

    async fn provision(&mut self, replicas: &[DesiredReplica]) {
        let (group, world) = (self.group, &mut *self.world);
        world.know(group, replicas);
        let stays = |id: ReplicaId| replicas.iter().any(|wanted| wanted.id == id);
        world.replicas.retain(|id, replica| replica.group != group || stays(*id));
        world.provisioned.insert(group, replicas.to_vec());
        let (wanted, roles) = (Arc::clone(&world.wanted), world.roles());
        world.hands.work(Work { wanted, groups: world.provisioned.clone(), gone: world.gone(), roles });
    }

    async fn restart(&mut self, replica: ReplicaId) {
        if let Some(Replica { wanted, pod: Some(pod), .. }) = self.world.replicas.get(&replica) {
            self.world.hands.restart(&wanted.name, pod);
        }
    }

    async fn replace(&mut self, replica: ReplicaId) {
        if let Some(replica) = self.world.replicas.get(&replica) {
            self.world.hands.replace(&replica.wanted.name, replica.pod.as_ref());
        }
    }

    async fn publish(&mut self, decisions: &[Decision], status: &StoreStatus) {
        let world = &mut *self.world;
        for decision in decisions {
            tracing::info!(store = %world.key, group = self.group, "{decision}");
            world.voice.note(Note::decision(decision));
            world.context.page.happened(&world.key.to_string(), wall_ms(), &decision.to_string());
        }
        if let Some(request) = &mut world.request {
            // What other groups decide has nothing to do with it.
            let own = world.replicas.values().any(|r| r.group == self.group && r.wanted.name == request.replica);
            if own {
                requests::follow(request, decisions, status);
            }
        }
        world.statuses.insert(self.group, status.clone());
    }
}
