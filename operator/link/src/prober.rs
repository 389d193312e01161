//! Measures what a store promises: the clock and the connections of [`trireme_planner::slo`].
//!
//! It has connections of its own, and a task of its own, so that it goes on while those that decide wait for the authority: a gap that comes of that is
//! measured like any other.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};
use trireme_crds::{Objectives, SloStatus};
use trireme_planner::{Desired, slo};
use trireme_proto::{ReplicaId, topology::Mode};

use crate::link::{Link, Orders, Said, Target};

/// What was heard and not taken in yet.
const HEARD_MAX: usize = 1_024;
/// How often it is said what is left.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// A replica that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which one, and what is known of it.
    pub target: slo::Target,
    /// Its peer port, where that is known.
    pub address: Option<SocketAddr>,
}

impl Place {
    /// A replica of this group, as it is wanted; none of a group that takes no writes because it leaves the store.
    pub fn of(
        wanted: &[Desired],
        group: u32,
        id: ReplicaId,
        ended: bool,
        address: Option<SocketAddr>,
    ) -> Option<Place> {
        let desired = wanted.iter().find(|desired| desired.group == group && !desired.leaving)?;
        let leaderless = desired.settings.mode() == Mode::Leaderless;
        Some(Place { target: slo::Target { id, group, ended, leaderless }, address })
    }
}

/// Measures until it is dropped.
#[derive(Debug)]
pub struct Prober {
    objectives: Objectives,
    places: watch::Sender<Vec<Place>>,
    status: watch::Receiver<Option<SloStatus>>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Goes on from what was counted `before`. `store`: the unique name of it; `boot`: random number of this process.
    pub fn start(objectives: Objectives, before: Option<&SloStatus>, store: &str, boot: u64) -> Prober {
        let prober = slo::Prober::new(objectives, before, wall_ms());
        let (places, placed) = watch::channel(Vec::new());
        let (said, status) = watch::channel(before.cloned());
        let me = Me { store: store.to_owned(), boot };
        Prober { objectives, places, status, task: tokio::spawn(measure(prober, me, placed, said)) }
    }

    /// Measures what the store promises now, and nothing where that is nothing. `told`: what was counted before, if it is not this prober that has.
    pub fn keep(prober: &mut Option<Prober>, wanted: &[Desired], told: Option<&SloStatus>, boot: u64) {
        let first = wanted.first();
        let promised = first.and_then(|desired| desired.slo);
        if prober.as_ref().map(|prober| prober.objectives) != promised {
            let store = first.map_or("", |desired| desired.store.as_str());
            *prober = promised.map(|objectives| Prober::start(objectives, told, store, boot));
        }
    }

    /// The replicas that there are now.
    pub fn places(&self, places: Vec<Place>) {
        self.places.send_if_modified(|before| {
            let changed = *before != places;
            *before = places;
            changed
        });
    }

    /// What is left, as it was said last.
    pub fn status(&self) -> Option<SloStatus> {
        self.status.borrow().clone()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who asks.
struct Me {
    store: String,
    boot: u64,
}

/// A connection of its own, while it is kept up.
struct Wire {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    _link: Link,
}

async fn measure(
    mut prober: slo::Prober,
    me: Me,
    mut places: watch::Receiver<Vec<Place>>,
    status: watch::Sender<Option<SloStatus>>,
) {
    let began = Instant::now();
    let now_ms = || began.elapsed().as_millis() as u64;
    let (sender, mut heard) = mpsc::channel::<Said>(HEARD_MAX);
    let mut wires: BTreeMap<ReplicaId, Wire> = BTreeMap::new();
    let mut ticks = interval(Duration::from_millis(prober.pace_ms()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut said = began;
    loop {
        tokio::select! {
            // In this order: what has been acknowledged by now is taken in before it is judged.
            biased;
            changed = places.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = places.borrow_and_update().clone();
                prober.targets(&now.iter().map(|place| place.target).collect::<Vec<_>>());
                wire(&mut wires, &now, &me, &sender);
            }
            one = heard.recv() => match one {
                Some(Said::Probed { id, probed }) => prober.probed(id, probed, now_ms(), wall_ms()),
                Some(Said::Heard { id, report }) => prober.heard(id, &report),
                Some(_) => {}
                None => return,
            },
            _ = ticks.tick() => {
                let (number, asked) = prober.tick(now_ms(), wall_ms());
                for wire in asked.iter().filter_map(|id| wires.get(id)) {
                    wire.orders.send_modify(|orders| orders.probe = number);
                }
                if said.elapsed() >= SAY_EVERY {
                    said = Instant::now();
                    // Before anything was measured, what was measured before is what is known.
                    if let Some(now) = prober.status(wall_ms()) {
                        status.send_replace(Some(now));
                    }
                }
            }
        }
    }
}

/// Keeps a connection to each replica that has an address, and no others.
fn wire(wires: &mut BTreeMap<ReplicaId, Wire>, places: &[Place], me: &Me, heard: &mpsc::Sender<Said>) {
    let address = |id| places.iter().find(|place| place.target.id == id).and_then(|place| place.address);
    wires.retain(|id, wire| address(*id) == Some(wire.address));
    for (id, address) in places.iter().filter_map(|place| Some((place.target.id, place.address?))) {
        wires.entry(id).or_insert_with(|| {
            let orders = watch::Sender::<Orders>::default();
            let target = Target { id, address, store: me.store.clone(), boot: me.boot };
            let link = Link::start(target, orders.subscribe(), heard.clone());
            Wire { address, orders, _link: link }
        });
    }
}

/// Milliseconds since 1970.
fn wall_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
