//! Starting a store, and the handle to one that runs.

use std::{
    fmt, fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
};
use trireme_crds::{Durability, ReplicatedStore};
use trireme_link::{By, Target, Verification};
use trireme_planner::Desired;
use trireme_proto::{ReplicaId, Topology, edge::Ticket, message::Regions, topology};

use crate::{
    addresses::{self, AddressError, Chosen},
    authority::Authority,
    control::Server,
    directory::{Directory, DirectoryError, Owner, at, random_u64},
    drive::drive,
    edge::{self, TicketsError},
    events::Event,
    view::View,
    world::{Common, World},
};

/// Happenings that may wait for the drive loop.
const HAPPENINGS_MAX: usize = 1_024;
/// Events that a listener may be behind by; one that is further behind misses some, and is told how many.
const EVENTS_MAX: usize = 1_024;

/// How a store is run on this machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory.
    pub dir: PathBuf,
    /// Where the first replica listens, if the user says.
    pub address: Option<Ipv4Addr>,
    /// Whether a replica whose process ended is started again.
    pub restart: bool,
    /// The longest wait before it is started again; usually [`crate::BACK_OFF_MAX`].
    pub back_off_max: Duration,
    /// The program whose subcommand `node` is a replica: usually this one.
    pub program: PathBuf,
}

/// How an edge is run on this machine.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// What it joins with; `None` where it has joined from the directory before.
    pub ticket: Option<Ticket>,
    /// When what it writes counts as kept.
    pub durability: topology::Durability,
    /// The rest.
    pub run: Options,
}

/// Why a store was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// What its edges are let in by, or an edge comes with.
    #[error(transparent)]
    Tickets(#[from] TicketsError),
    /// Its addresses.
    #[error(transparent)]
    Addresses(#[from] AddressError),
    /// What is asked for cannot become of the store that is there.
    #[error("{path}: {problems}; nothing was touched")]
    Change {
        /// The directory.
        path: PathBuf,
        /// What cannot be changed, and what can be.
        problems: String,
    },
    /// No random numbers.
    #[error("/dev/urandom cannot be read: {0}")]
    Random(std::io::Error),
}

/// A running store. Dropping it without [`Local::stop`] ends its processes too, but does not wait for them.
pub struct Local {
    owner: Owner,
    dir: PathBuf,
    note: Option<String>,
    events: broadcast::Sender<Event>,
    first_events: Option<broadcast::Receiver<Event>>,
    view: watch::Receiver<View>,
    stop: watch::Sender<bool>,
    driver: JoinHandle<()>,
    server: Server,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("owner", &self.owner).field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Local {
    /// Starts a store whose resource has been validated; `text` is it as the user wrote it. Its replicas are started in the background.
    ///
    /// # Errors
    /// Where the directory or the addresses cannot be used; nothing runs then.
    pub fn start(store: &ReplicatedStore, text: &str, options: Options) -> Result<Local, StartError> {
        let directory = Directory::open(&options.dir, &store.metadata.name)?;
        check_change(&directory, store)?;
        let runs = Runs::store(store, &directory)?;
        let mut authority = Authority::open(&directory)?;
        let records = authority.read()?;
        let known = records.iter().flat_map(|record| &record.replicas).map(|r| r.id as usize).max().unwrap_or(0);
        let last = last_number(&runs.wanted(&directory, &records, &[])).max(known);
        let chosen = addresses::choose(directory.path(), last, options.address, addresses::BASE)?;
        directory.keep_specification(text)?;
        Local::run(directory, authority, runs, chosen, options)
    }

    /// Starts an edge of a store that runs elsewhere: a region of one, which serves clients here whether or not it sees any other.
    ///
    /// # Errors
    /// Where the directory or the address cannot be used, or nothing is known of a store; nothing runs then.
    pub fn join(options: JoinOptions) -> Result<Local, StartError> {
        let JoinOptions { ticket, durability, run } = options;
        if run.dir.join("store.yaml").exists() {
            return Err(DirectoryError::Kind { path: run.dir, edge: false }.into());
        }
        let ticket = edge::joined(&run.dir, ticket)?;
        let directory = Directory::open_as(&run.dir, &ticket.name, Some(&ticket.store))?;
        edge::keep(directory.path(), &ticket)?;
        let authority = Authority::open(&directory)?;
        let chosen = addresses::choose(directory.path(), 1, run.address, addresses::EDGE_BASE)?;
        Local::run(directory, authority, Runs::Edge { ticket, durability }, chosen, run)
    }

    fn run(
        directory: Directory,
        authority: Authority,
        runs: Runs,
        chosen: Chosen,
        options: Options,
    ) -> Result<Local, StartError> {
        let (happenings, happened) = mpsc::channel(HAPPENINGS_MAX);
        let server = Server::start(&directory.control(), happenings.clone())?;
        let (events, first_events) = broadcast::channel(EVENTS_MAX);
        let common = Common {
            program: options.program,
            restart: options.restart,
            back_off_max: options.back_off_max,
            durability: runs.durability(),
            edge: runs.ticket().cloned(),
            boot: random_u64().map_err(StartError::Random)?,
        };
        let (owner, dir) = (directory.owner().clone(), directory.path().to_path_buf());
        edge::session_key(directory.path())?;
        let world = World::new(directory, authority, chosen.addresses, common, happenings, events.clone());
        let view = world.watch();
        let (stop, stopped) = watch::channel(false);
        let driver = tokio::spawn(drive(world, runs, happened, stopped));
        Ok(Local {
            owner,
            dir,
            note: chosen.note,
            events,
            first_events: Some(first_events),
            view,
            stop,
            driver,
            server,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.owner.name
    }

    /// Its directory, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a person should know about where it listens, if anything.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Everything that has happened since the start, for the first who asks; from now on for others.
    pub fn events_from_start(&mut self) -> broadcast::Receiver<Event> {
        self.first_events.take().unwrap_or_else(|| self.events.subscribe())
    }

    /// How it stands, now and whenever that changes.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// The event that says that the store is ready, as it stands now.
    pub fn ready(&self) -> Event {
        Event::ready(self.name(), &self.view.borrow())
    }

    /// Waits until somebody serves and every replica is up to date, or, once `patience` is over, until somebody serves.
    pub async fn wait_ready(&self, patience: Duration) {
        let mut view = self.view.clone();
        if tokio::time::timeout(patience, view.wait_for(View::is_whole)).await.is_err() {
            // The sender only goes when the store ends; then there is nothing to wait for.
            let _ = view.wait_for(View::serves_somebody).await;
        }
    }

    /// Compares the digests of all its replicas.
    ///
    /// # Errors
    /// Where the store's addresses cannot be read.
    pub async fn verify(&self, within: Duration) -> Result<Verification, DirectoryError> {
        let names: Vec<String> = self.view.borrow().replicas.iter().map(|r| r.name.clone()).collect();
        verify(&self.dir, &names, within).await
    }

    /// Ends its processes, and returns when they have ended.
    pub async fn stop(self) {
        drop(self.server);
        self.stop.send_replace(true);
        // If it panicked its processes are gone too: they end with their standard input.
        let _ = self.driver.await;
    }
}

/// What is run.
pub(crate) enum Runs {
    /// A store, with the secret of its edges where it has any.
    Store { store: Box<ReplicatedStore>, secret: Option<Vec<u8>> },
    /// An edge of one that runs elsewhere.
    Edge { ticket: Ticket, durability: topology::Durability },
}

impl Runs {
    /// A store in this directory.
    pub(crate) fn store(store: &ReplicatedStore, directory: &Directory) -> Result<Runs, DirectoryError> {
        let secret = (!store.spec.edges.is_empty()).then(|| edge::secret(directory.path())).transpose()?;
        Ok(Runs::Store { store: Box::new(store.clone()), secret })
    }

    /// What is wanted of each of its groups. Pausing is for operators that others run.
    pub(crate) fn wanted(&self, directory: &Directory, records: &[Topology], told: &[Regions]) -> Vec<Desired> {
        let (store, secret) = match self {
            Runs::Store { store, secret } => (store, secret),
            Runs::Edge { ticket, durability } => {
                return vec![Desired::edge(ticket, *durability, told, records.first())];
            }
        };
        let mut groups = Desired::groups(&**store, &directory.owner().uid, records);
        // Who runs a store here wants it to run.
        groups.iter_mut().for_each(|desired| desired.paused = false);
        if let Some(secret) = secret {
            Desired::know_edges(&mut groups, secret, || random_u64().ok());
        }
        groups
    }

    /// What an edge has joined with.
    pub(crate) fn ticket(&self) -> Option<&Ticket> {
        match self {
            Runs::Store { .. } => None,
            Runs::Edge { ticket, .. } => Some(ticket),
        }
    }

    /// When a copy counts, as a replica's process is told.
    pub(crate) fn durability(&self) -> &'static str {
        let memory = match self {
            Runs::Store { store, .. } => store.spec.settle().durability == Durability::Memory,
            Runs::Edge { durability, .. } => *durability == topology::Durability::Memory,
        };
        if memory { "memory" } else { "disk" }
    }
}

/// The highest number of a replica.
pub(crate) fn last_number(groups: &[Desired]) -> usize {
    groups.iter().flat_map(|group| &group.replicas).map(|replica| replica.id as usize).max().unwrap_or(0)
}

/// Some choices are for life: the file that the store was last started with has them.
pub(crate) fn check_change(directory: &Directory, store: &ReplicatedStore) -> Result<(), StartError> {
    let path = directory.path().join("store.yaml");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(&path)(error).into()),
    };
    // One that can no longer be read is the user's copy only: the record has what counts.
    let Ok(before) = trireme_crds::parse(&text, &path.display().to_string()) else { return Ok(()) };
    let violations = trireme_crds::validate_change(&before, store);
    if violations.is_empty() {
        return Ok(());
    }
    let problems: Vec<String> =
        violations.iter().map(|v| format!("{}: {}; allowed: {}", v.path, v.what, v.allowed)).collect();
    Err(StartError::Change { path: directory.path().to_path_buf(), problems: problems.join("; ") })
}

/// Compares the digests of the replicas with these names, of the store that runs in this directory.
///
/// # Errors
/// Where the directory is no store's.
pub async fn verify(dir: &Path, names: &[String], within: Duration) -> Result<Verification, DirectoryError> {
    let owner = Owner::read(dir)?;
    let addresses = addresses::read(dir)?;
    let boot = random_u64().map_err(at(dir))?;
    // Names say nothing certain of numbers: the record does. One that is not in it yet has its place.
    let records = Authority::read_only(dir, &owner).read()?;
    // An edge's only replica has the only address.
    let edges = records.iter().flat_map(|record| &record.replicas).find(|_| edge::is_edges(dir));
    let first = edges.map_or(1, |row| row.id as usize);
    let target = |(i, name): (usize, &String)| {
        let stay = records.iter().filter(|record| record.leaving() < topology::Leaving::Gone);
        let row = stay.flat_map(|record| &record.replicas).find(|row| row.name == *name);
        let id = row.map_or(i as ReplicaId + 1, |row| row.id);
        let address = addresses.get((id as usize).checked_sub(first)?)?;
        let target = Target { id, address: address.peer(), store: owner.uid.clone(), boot };
        Some((name.clone(), target))
    };
    let stays = records.iter().find(|record| record.leaving() < topology::Leaving::Gone);
    let by = match stays.map(|record| record.settings.mode()) {
        Some(topology::Mode::Leaderless | topology::Mode::MultiLeader) => By::Digest,
        _ => By::LastWrite,
    };
    Ok(trireme_link::verify(names.iter().enumerate().filter_map(target).collect(), by, within).await)
}
