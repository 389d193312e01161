//! What every task of the process shares: the core, the clock, the tables of connections, and the pump's bell.
//!
//! Everything here belongs to one thread, so there are no locks: a `RefCell` is borrowed for a call and never across an `await`.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;
use trireme_proto::{Report, Topology, message::Digests};
use trireme_replica::{
    Place,
    engine::command::config::Tuning,
    io::{ClientId, Identity, Input, Now, Output},
};

use crate::{
    client::{Client, LARGE_BYTES_PER_TURN},
    config::NodeConfig,
    peers::Links,
    writer::Times,
};

/// Bytes read from a connection in one go; what is left waits for the next turn, so that nobody is starved.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// What the shell drives: the replica's core, or a stand-in for it in the shell's own tests.
pub(crate) trait Core {
    /// See [`trireme_replica::Replica::step`].
    fn step(&mut self, input: Input<'_>, now: Now);
    /// See [`trireme_replica::Replica::warm`].
    fn warm(&self, places: &[Place<'_>]);
    /// See [`trireme_replica::Replica::take_output`].
    fn take_output(&mut self, output: &mut Output);
    /// See [`trireme_replica::Replica::take_replies`].
    fn take_replies(&mut self, client: ClientId, out: &mut Vec<u8>) -> usize;
    /// See [`trireme_replica::Replica::must_authenticate`].
    fn must_authenticate(&self, client: ClientId) -> bool;
    /// See [`trireme_replica::Replica::report`].
    fn report(&self, now: Now) -> Report;
    /// See [`trireme_replica::Replica::log_bytes`].
    fn log_bytes(&self) -> u64;
    /// See [`trireme_replica::Replica::conflict_counts`].
    fn conflict_counts(&self) -> Vec<(&'static str, u64)>;
    /// See [`trireme_replica::Replica::subscribes`].
    fn subscribes(&self, client: ClientId) -> bool;
    /// See [`trireme_replica::Replica::pubsub_counts`].
    fn pubsub_counts(&self) -> [(&'static str, u64); 5];
    /// See [`trireme_replica::Replica::digests`]; of all slots.
    fn digests(&self) -> Digests;
    /// See [`trireme_replica::Replica::topology`].
    fn topology(&self) -> Option<&Topology>;
    /// See [`trireme_replica::Replica::tuning`].
    fn tuning(&self) -> Tuning;
    /// See [`trireme_replica::Replica::speaks_for_group`].
    fn speaks_for_group(&self) -> bool;
}

/// The two clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The wall clock at that time, since 1970.
    started: Duration,
}

impl Clock {
    /// Begins to count.
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now(), started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// When it began to count, since 1970.
    pub(crate) fn started(&self) -> Duration {
        self.started
    }

    /// Reads both clocks.
    pub(crate) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_us: self.start.elapsed().as_micros() as u64, wall_ms: wall.as_millis() as u64 }
    }

    /// The moment at which [`Now::mono_us`] will be this.
    pub(crate) fn instant(&self, mono_us: u64) -> Instant {
        // A deadline beyond a year is none; the bound keeps the sum in range.
        const YEAR_US: u64 = 365 * 86_400 * 1_000_000;
        self.start + Duration::from_micros(mono_us.min(self.start.elapsed().as_micros() as u64 + YEAR_US))
    }
}

/// See the module.
pub(crate) struct Shell {
    pub(crate) core: RefCell<Box<dyn Core>>,
    pub(crate) clock: Clock,
    /// Wakes the pump; the disk thread rings it too.
    pub(crate) wake: Arc<Notify>,
    pub(crate) clients: RefCell<HashMap<ClientId, Rc<Client>, foldhash::fast::RandomState>>,
    pub(crate) clients_opened: Cell<ClientId>,
    pub(crate) clients_refused: Cell<u64>,
    pub(crate) protocol_errors: Cell<u64>,
    pub(crate) links: Links,
    /// What every connection reads into: what it holds is executed before the next one reads.
    pub(crate) scratch: RefCell<Vec<u8>>,
    /// Bytes of large replies that this turn still has room for.
    pub(crate) large_left: Cell<usize>,
    /// The disk is so far behind that nothing more is read.
    pub(crate) congested: Cell<bool>,
    /// How long the disk has taken.
    pub(crate) disk_times: Cell<Times>,
    /// The process is to end by then.
    pub(crate) stop_at: Cell<Option<Instant>>,
    pub(crate) identity: Identity,
    pub(crate) config: NodeConfig,
}

impl Shell {
    /// A shell around a core. `config` has the ports that are really listened on.
    pub(crate) fn new(core: Box<dyn Core>, identity: Identity, config: NodeConfig, clock: Clock) -> Rc<Shell> {
        Rc::new(Shell {
            core: RefCell::new(core),
            clock,
            wake: Arc::new(Notify::new()),
            clients: RefCell::default(),
            clients_opened: Cell::new(0),
            clients_refused: Cell::new(0),
            protocol_errors: Cell::new(0),
            links: Links::new(&identity, config.listen),
            scratch: RefCell::new(vec![0; READ_BYTES]),
            large_left: Cell::new(LARGE_BYTES_PER_TURN),
            congested: Cell::new(false),
            disk_times: Cell::default(),
            stop_at: Cell::new(None),
            identity,
            config,
        })
    }

    /// Tells the core one thing, and the pump to look at what comes of it.
    pub(crate) fn step(&self, input: Input<'_>) {
        self.core.borrow_mut().step(input, self.clock.now());
        self.wake.notify_one();
    }

    /// Hands over what is led here, and ends: at the latest when the grace period is over.
    pub(crate) fn stop(&self) {
        if self.stop_at.get().is_none() {
            self.stop_at.set(Some(Instant::now() + self.config.grace));
            self.step(Input::Shutdown);
        }
    }

    /// Ends without handing over.
    pub(crate) fn end(&self) {
        self.stop_at.set(Some(Instant::now()));
        self.wake.notify_one();
    }

    /// Starts or ends the time in which nothing is read.
    pub(crate) fn set_congested(&self, congested: bool) {
        if self.congested.replace(congested) && !congested {
            self.clients.borrow().values().for_each(|client| client.outbox.wake());
            self.links.wake_all();
        }
    }
}

/// Adds one to a counter.
pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}
