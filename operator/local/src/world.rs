//! What is known of the store's processes, and the planner's hands for each of its groups: the [`Backend`] of this machine.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::sync::{broadcast, mpsc, watch};
use trireme_crds::StoreStatus;
use trireme_link::{Heard, Link, Orders, Place, Prober, Said, Target};
use trireme_planner::{Backend, Decision, Desired, DesiredReplica, HumanRequest, Observed, RecordError, merge};
use trireme_proto::{
    ReplicaId, Topology,
    edge::Ticket,
    message::Regions,
    topology::{Leaving, Replica as Row},
};

use crate::{
    addresses::{self, Address},
    authority::Authority,
    control::ANSWERS_MAX,
    directory::Directory,
    edge,
    events::{Event, unix_ms},
    happening::Happening,
    process::{Keeper, Launch},
    replica::Replica,
    store,
    view::{ReplicaView, View},
};

/// Events that are remembered; with the last answer they fit into what a tool may be behind by.
const HISTORY_MAX: usize = ANSWERS_MAX - 1;

/// What all replicas are started with.
#[derive(Debug)]
pub(crate) struct Common {
    pub program: PathBuf,
    pub restart: bool,
    pub back_off_max: Duration,
    pub durability: &'static str,
    /// What an edge has joined with.
    pub edge: Option<Ticket>,
    /// Random number of this process.
    pub boot: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    directory: Directory,
    authority: Authority,
    addresses: Vec<Address>,
    common: Common,
    replicas: BTreeMap<ReplicaId, Replica>,
    /// Replicas that are not wanted any more, by name, whose processes may not have ended yet.
    ending: Vec<(String, Keeper)>,
    requests: Vec<HumanRequest>,
    /// How each group stood when it was planned last.
    statuses: BTreeMap<u32, StoreStatus>,
    happenings: mpsc::Sender<Happening>,
    events: broadcast::Sender<Event>,
    view: watch::Sender<View>,
    /// What the last turn decided, for tools that wait.
    decided: Vec<Decision>,
    /// What happened last, the oldest first.
    history: VecDeque<Event>,
    /// Measures what the store promises.
    prober: Option<Prober>,
}

impl World {
    pub fn new(
        directory: Directory,
        authority: Authority,
        addresses: Vec<Address>,
        common: Common,
        happenings: mpsc::Sender<Happening>,
        events: broadcast::Sender<Event>,
    ) -> World {
        World {
            directory,
            authority,
            addresses,
            common,
            replicas: BTreeMap::new(),
            ending: Vec::new(),
            requests: Vec::new(),
            statuses: BTreeMap::new(),
            happenings,
            events,
            view: watch::Sender::default(),
            decided: Vec::new(),
            history: VecDeque::new(),
            prober: None,
        }
    }

    /// The store as its user sees it, now and whenever it changes.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// The store as its user sees it.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// What was decided since the last call.
    pub fn take_decided(&mut self) -> Vec<Decision> {
        std::mem::take(&mut self.decided)
    }

    /// Passes on what a person asked for, with the next turn.
    pub fn ask(&mut self, request: HumanRequest) {
        self.requests.push(request);
    }

    /// Its directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// When a copy counts, as the replicas' processes were started.
    pub fn durability(&self) -> &'static str {
        self.common.durability
    }

    /// What is wanted of these groups, and of no others: what was said of groups that are none any more is forgotten, and new replicas have addresses.
    pub fn plans_for(&mut self, groups: &[Desired]) {
        self.statuses.retain(|group, _| groups.iter().any(|desired| desired.group == *group));
        let most = if self.common.edge.is_some() { 1 } else { store::last_number(groups) };
        if most > self.addresses.len() {
            match addresses::grow(self.directory.path(), most) {
                Ok(addresses) => self.addresses = addresses,
                Err(error) => tracing::error!(%error, "there is no address for more replicas"),
            }
        }
    }

    /// Measures what is promised of these groups.
    pub fn measure(&mut self, groups: &[Desired]) {
        let told = self.view.borrow().status.slo.clone();
        Prober::keep(&mut self.prober, groups, told.as_ref(), self.common.boot);
        let place = |(id, replica): (&ReplicaId, &Replica)| {
            Place::of(groups, replica.group, *id, replica.pid == 0, Some(replica.address.peer()))
        };
        if let Some(prober) = &self.prober {
            prober.places(self.replicas.iter().filter_map(place).collect());
        }
    }

    /// More replicas listen at these; those that run stay where they are.
    pub fn listen_at(&mut self, addresses: Vec<Address>) {
        self.addresses = addresses;
    }

    /// The number of the replica with this name.
    pub fn id(&self, name: &str) -> Option<ReplicaId> {
        self.replicas.values().find(|r| r.wanted.name == name).map(|r| r.wanted.id)
    }

    /// The records, where they can be read.
    pub fn records(&mut self) -> Vec<Topology> {
        self.authority.read().unwrap_or_default()
    }

    /// The record of the group that a replica is in, where it can be read.
    pub fn record_of(&mut self, name: &str) -> Option<Topology> {
        let group = self.replicas.values().find(|replica| replica.wanted.name == name)?.group;
        self.records().into_iter().find(|record| record.group == group)
    }

    /// An edge: the store as leaders have told it.
    pub fn told(&self) -> &[Regions] {
        let reports = self.replicas.values().filter_map(|replica| replica.heard.report());
        reports.map(|report| report.regions.as_slice()).next().unwrap_or_default()
    }

    /// What happened last, the oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Event> {
        self.history.iter()
    }

    /// Says it to everybody who listens.
    fn emit(&mut self, event: Event) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(event.clone());
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    /// Takes in what happened to a replica.
    pub fn absorb(&mut self, happening: Happening) {
        match happening {
            Happening::Started { id, pid } => self.started(id, pid),
            Happening::Ended { id, pid, how, restart_in } => {
                if let Some(replica) = self.replicas.get_mut(&id) {
                    replica.has_ended();
                    let log = self.directory.log(&replica.wanted.name).display().to_string();
                    let restart_in_ms = restart_in.map(|d| d.as_millis() as u64);
                    let event = Event::ended(&replica.wanted.name, pid, &how, restart_in_ms, &log);
                    self.emit(event);
                }
            }
            Happening::Link(Said::Refused { id, why }) => {
                if let Some(replica) = self.replicas.get_mut(&id)
                    && replica.refused.as_ref() != Some(&why)
                {
                    let event = Event::refused(&replica.wanted.name, &why);
                    replica.refused = Some(why);
                    self.emit(event);
                }
            }
            Happening::Link(said) => {
                let Some(replica) = self.replicas.get_mut(&said.id()) else { return };
                let before = replica.turned_away().to_owned();
                replica.hear(said);
                let now = replica.turned_away();
                if !now.is_empty() && now != before {
                    let event = Event::turned_away(&replica.wanted.name, now);
                    self.emit(event);
                }
            }
            Happening::Asked { .. } => {}
        }
    }

    fn started(&mut self, id: ReplicaId, pid: u32) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.pid = pid;
            replica.orders.send_modify(|orders| orders.starts += 1);
            let event = Event::started(&replica.wanted.name, pid);
            self.emit(event);
        }
    }

    fn start(&mut self, group: u32, wanted: &DesiredReplica) {
        let id = wanted.id;
        // An edge's only replica has the only address, whatever its number in the store.
        let first = self.common.edge.as_ref().map_or(1, |ticket| ticket.replica);
        let place = id.checked_sub(first);
        let Some(&address) = place.and_then(|place| self.addresses.get(place as usize)) else {
            tracing::error!(replica = %wanted.name, "no address was reserved for it");
            return;
        };
        let launch = Launch {
            id,
            program: self.common.program.clone(),
            arguments: self.arguments(group, wanted, address),
            log: self.directory.log(&wanted.name),
            restart: self.common.restart,
            back_off_max: self.common.back_off_max,
        };
        let (orders, followed) = watch::channel(Orders::default());
        let target =
            Target { id, address: address.peer(), store: self.directory.owner().uid.clone(), boot: self.common.boot };
        let replica = Replica {
            wanted: wanted.clone(),
            group,
            address,
            keeper: Keeper::start(launch, self.happenings.clone()),
            _link: Link::start(target, followed, self.happenings.clone()),
            orders,
            pid: 0,
            heard: Heard::default(),
            refused: None,
        };
        self.replicas.insert(id, replica);
    }

    fn arguments(&self, group: u32, wanted: &DesiredReplica, address: Address) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["node".into()];
        let mut add = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        add("--dir", self.directory.replica(&wanted.name).into());
        add("--store", self.directory.owner().uid.clone().into());
        add("--id", wanted.id.to_string().into());
        add("--group", group.to_string().into());
        add("--name", wanted.name.clone().into());
        add("--listen", address.ip.to_string().into());
        add("--client-port", address.client_port.to_string().into());
        add("--peer-port", address.peer_port.to_string().into());
        add("--admin-port", address.admin_port.to_string().into());
        match &self.common.edge {
            Some(_) => add("--edge-token", edge::token_path(self.directory.path()).into()),
            None if address.edge_port != 0 => add("--edge-port", address.edge_port.to_string().into()),
            None => {}
        }
        add("--session-key-file", edge::session_path(self.directory.path()).into());
        add("--durability", self.common.durability.into());
        arguments.push("--exit-with-stdin".into());
        arguments
    }

    /// Ends all processes, and waits until they have ended.
    pub async fn stop(mut self) {
        let replicas = std::mem::take(&mut self.replicas);
        // All at the same time, then each is waited for.
        replicas.values().for_each(|replica| replica.keeper.stop());
        for (_, replica) in replicas {
            replica.keeper.ended().await;
        }
        for (_, keeper) in std::mem::take(&mut self.ending) {
            keeper.ended().await;
        }
    }

    /// What is left of a group that has left the store. The disk of each replica whose process has ended is set aside: another one may get its name.
    fn remains(&self, record: &Topology) -> Vec<String> {
        if record.leaving() != Leaving::Gone {
            return Vec::new();
        }
        let runs =
            |row: &&Row| self.replicas.contains_key(&row.id) || self.ending.iter().any(|(name, _)| *name == row.name);
        let (run, ended): (Vec<_>, Vec<_>) = record.replicas.iter().partition(runs);
        let mut remains: Vec<String> = run.into_iter().map(|row| row.name.clone()).collect();
        for row in ended {
            if let Err(error) = self.directory.set_aside(&row.name, record.group) {
                tracing::error!(%error, "the disk of a replica that has left could not be set aside");
                remains.push(self.directory.replica(&row.name).display().to_string());
            }
        }
        remains
    }

    /// The view that goes with a status.
    fn look(&self, status: &StoreStatus) -> View {
        let leads = |g: &&trireme_crds::status::GroupStatus| g.serving && !g.leader.is_empty();
        let leaders: Vec<String> = status.groups.iter().filter(leads).map(|g| g.leader.clone()).collect();
        let replicas = self.replicas.values().map(|replica| {
            let said = status.replicas.iter().find(|r| r.name == replica.wanted.name);
            let up_to_date = |r: &trireme_crds::status::ReplicaStatus| {
                r.member && r.reachable && matches!(r.role.as_str(), "Leader" | "Follower" | "Peer")
            };
            ReplicaView {
                name: replica.wanted.name.clone(),
                region: replica.wanted.region.clone(),
                address: replica.address.client(),
                pid: replica.pid,
                directory: self.directory.replica(&replica.wanted.name),
                role: said.map_or_else(|| "Unknown".to_owned(), |r| r.role.clone()),
                ready: replica.pid != 0 && said.is_some_and(up_to_date),
            }
        });
        View {
            status: status.clone(),
            leaders,
            regions: status.groups.len(),
            serving: !status.groups.is_empty() && status.groups.iter().all(|g| g.serving),
            leaderless: status.groups.iter().any(|g| g.r.is_some()),
            replicas: replicas.collect(),
        }
    }
}

/// One of the store's groups, as the planner acts upon it.
pub(crate) struct InGroup<'a> {
    pub world: &'a mut World,
    pub group: u32,
    /// How many groups the store has.
    pub of: usize,
}

impl Backend for InGroup<'_> {
    async fn observe(&mut self) -> Observed {
        let (group, world) = (self.group, &mut *self.world);
        let record = match world.authority.read() {
            Ok(records) => records.into_iter().find(|record| record.group == group),
            Err(error) => {
                // Nothing is decided without it: an empty observation asks for nothing but another look.
                tracing::error!(%error, "the record cannot be read");
                return Observed { wall_ms: unix_ms(), ..Observed::default() };
            }
        };
        world.ending.retain(|(_, keeper)| !keeper.has_ended());
        let remains = record.as_ref().map_or_else(Vec::new, |record| world.remains(record));
        let (own, others): (Vec<_>, Vec<_>) = world.replicas.iter().partition(|(_, replica)| replica.group == group);
        let here = |request: &HumanRequest| {
            let (HumanRequest::Promote { replica: id, .. } | HumanRequest::Switchover { to: id }) = request;
            world.replicas.get(id).is_none_or(|replica| replica.group == group)
        };
        let (requests, left) = std::mem::take(&mut world.requests).into_iter().partition(here);
        world.requests = left;
        Observed {
            record,
            replicas: own.into_iter().map(|(&id, replica)| (id, replica.seen())).collect(),
            elsewhere: others.into_iter().map(|(&id, replica)| (id, replica.elsewhere())).collect(),
            remains,
            requests,
            wall_ms: unix_ms(),
        }
    }

    async fn record(&mut self, expected_version: u64, next: &Topology) -> Result<(), RecordError> {
        self.world.authority.write(expected_version, next)
    }

    async fn tell(&mut self, replica: ReplicaId, topology: &Topology) {
        if let Some(replica) = self.world.replicas.get(&replica) {
            replica.orders.send_modify(|orders| orders.topology = Some(Arc::new(topology.clone())));
        }
    }

    async fn provision(&mut self, replicas: &[DesiredReplica]) {
        for wanted in replicas {
            if !self.world.replicas.contains_key(&wanted.id) {
                self.world.start(self.group, wanted);
            }
        }
        let group = self.group;
        let wanted = |id: ReplicaId| replicas.iter().any(|wanted| wanted.id == id);
        let unwanted = self.world.replicas.extract_if(.., |id, replica| replica.group == group && !wanted(*id));
        // Its link goes with it.
        let end = |(_, replica): (ReplicaId, Replica)| {
            replica.keeper.stop();
            (replica.wanted.name, replica.keeper)
        };
        self.world.ending.extend(unwanted.map(end));
    }

    async fn restart(&mut self, _: ReplicaId) {
        // Nothing here is ever outdated: what is wanted is read once, when the store is started.
    }

    async fn replace(&mut self, _: ReplicaId) {
        // There is no other machine.
    }

    async fn publish(&mut self, decisions: &[Decision], status: &StoreStatus) {
        let world = &mut *self.world;
        world.statuses.insert(self.group, status.clone());
        // Before all groups were planned once it is not known how the store stands.
        if world.statuses.len() >= self.of {
            let statuses: Vec<StoreStatus> = world.statuses.values().cloned().collect();
            let before = world.view.borrow().status.clone();
            let mut status = merge(&statuses, Some(&before));
            status.slo = world.prober.as_ref().and_then(Prober::status);
            let view = world.look(&status);
            // Who hears of a decision finds the view at least as new.
            world.view.send_replace(view);
        }
        for decision in decisions {
            world.emit(Event::decision(decision));
        }
        world.decided.extend_from_slice(decisions);
    }
}

#[cfg(test)]
mod tests {
    use trireme_planner::{Process, conformance};
    use trireme_proto::Report;

    use super::*;
    use crate::addresses;

    /// A store in this directory whose replicas' program does nothing until its input closes.
    fn world(directory: &Directory) -> (World, mpsc::Receiver<Happening>) {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/replica.sh").into();
        let (sender, happenings) = mpsc::channel(64);
        let authority = Authority::open(directory).unwrap();
        let addresses = addresses::free_ports(3).unwrap();
        let common =
            Common { program, restart: false, back_off_max: Duration::ZERO, durability: "disk", edge: None, boot: 1 };
        (World::new(directory.clone(), authority, addresses, common, sender, broadcast::channel(64).0), happenings)
    }

    /// The only group of a store.
    fn alone(world: &mut World) -> InGroup<'_> {
        InGroup { world, group: 0, of: 1 }
    }

    fn wanted(id: ReplicaId) -> DesiredReplica {
        DesiredReplica { id, name: format!("orders-{}", id - 1), region: String::new() }
    }

    fn report(boot: u64) -> Box<Report> {
        Box::new(Report { id: 1, boot, ..Report::default() })
    }

    #[tokio::test]
    async fn it_does_what_every_backend_must_do() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path(), "orders").unwrap();
        let (mut one, _happenings) = world(&directory);
        let (mut other, _others) = world(&directory);
        let mut here = InGroup { world: &mut one, group: 0, of: 1 };
        let mut there = InGroup { world: &mut other, group: 0, of: 1 };
        here.provision(&[wanted(1), wanted(2)]).await;
        conformance::suite(&mut here, &mut there, async || {}).await.unwrap();
        one.stop().await;
    }

    #[tokio::test]
    async fn a_process_has_ended_only_for_the_boot_that_was_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (mut world, _happenings) = world(&Directory::open(dir.path(), "orders").unwrap());
        alone(&mut world).provision(&[wanted(1)]).await;
        let steps = [
            (Happening::Started { id: 1, pid: 10 }, Process::Running),
            (Said::Heard { id: 1, report: report(7) }.into(), Process::Running),
            (Happening::Ended { id: 1, pid: 10, how: "killed".to_owned(), restart_in: None }, Process::Ended),
            // What it still had said comes late.
            (Said::Heard { id: 1, report: report(7) }.into(), Process::Ended),
            // Another process runs, but what is known of the replica was said by the one that has ended.
            (Happening::Started { id: 1, pid: 11 }, Process::Ended),
            (Said::Heard { id: 1, report: report(8) }.into(), Process::Running),
            (Said::Heard { id: 1, report: report(7) }.into(), Process::Ended),
            (Said::Heard { id: 1, report: report(8) }.into(), Process::Running),
            // Its parent says so.
            (Said::Ended { id: 1, boot: 7, how: "killed".to_owned() }.into(), Process::Running),
            (Said::Ended { id: 1, boot: 8, how: "killed".to_owned() }.into(), Process::Ended),
        ];
        for (step, (happening, process)) in steps.into_iter().enumerate() {
            world.absorb(happening);
            assert_eq!(alone(&mut world).observe().await.replicas[&1].process, process, "after step {step}");
        }
        world.stop().await;
    }

    #[tokio::test]
    async fn a_replica_that_is_no_longer_wanted_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let (mut world, mut happenings) = world(&Directory::open(dir.path(), "orders").unwrap());
        alone(&mut world).provision(&[wanted(1), wanted(2)]).await;
        for _ in 0..2 {
            assert!(matches!(happenings.recv().await, Some(Happening::Started { .. })));
        }
        alone(&mut world).provision(&[wanted(1)]).await;
        let next = happenings.recv().await;
        assert!(matches!(next, Some(Happening::Ended { id: 2, .. })), "{next:?}");
        assert_eq!(alone(&mut world).observe().await.replicas.keys().copied().collect::<Vec<_>>(), [1]);
        world.stop().await;
    }
}
