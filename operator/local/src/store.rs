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
use trireme_proto::{ReplicaId, Topology, topology};

use crate::{
    addresses::{self, AddressError},
    authority::Authority,
    control::Server,
    directory::{Directory, DirectoryError, Owner, at, random_u64},
    drive::drive,
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

/// Why a store was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Its addresses.
    #[error(transparent)]
    Addresses(#[from] AddressError),
    /// What is asked for cannot become of the store that is there.
    #[error("{path}: {problems}; nothing was touched. Use the former value, or another directory")]
    Change {
        /// The directory.
        path: PathBuf,
        /// What cannot be changed.
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
        let mut authority = Authority::open(&directory)?;
        let records = authority.read()?;
        let known = records.iter().flat_map(|record| &record.replicas).map(|r| r.id as usize).max().unwrap_or(0);
        let last = last_number(&wanted(store, &directory, &records)).max(known);
        let chosen = addresses::choose(directory.path(), last, options.address)?;
        directory.keep_specification(text)?;
        let (happenings, happened) = mpsc::channel(HAPPENINGS_MAX);
        let server = Server::start(&directory.control(), happenings.clone())?;
        let (events, first_events) = broadcast::channel(EVENTS_MAX);
        let common = Common {
            program: options.program,
            restart: options.restart,
            back_off_max: options.back_off_max,
            durability: durability(store),
            boot: random_u64().map_err(StartError::Random)?,
        };
        let (owner, dir) = (directory.owner().clone(), directory.path().to_path_buf());
        let world = World::new(directory, authority, chosen.addresses, common, happenings, events.clone());
        let view = world.watch();
        let (stop, stopped) = watch::channel(false);
        let driver = tokio::spawn(drive(world, store.clone(), happened, stopped));
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

/// What is wanted of each of its groups. Who runs a store here wants it to run: pausing is for operators that others run.
pub(crate) fn wanted(store: &ReplicatedStore, directory: &Directory, records: &[Topology]) -> Vec<Desired> {
    let groups = Desired::groups(store, &directory.owner().uid, records);
    groups.into_iter().map(|desired| Desired { paused: false, ..desired }).collect()
}

/// The highest number of a replica.
pub(crate) fn last_number(groups: &[Desired]) -> usize {
    groups.iter().flat_map(|group| &group.replicas).map(|replica| replica.id as usize).max().unwrap_or(0)
}

/// When a copy counts, as a replica's process is told.
pub(crate) fn durability(store: &ReplicatedStore) -> &'static str {
    match store.spec.settle().durability {
        Durability::Disk => "disk",
        Durability::Memory => "memory",
    }
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
    let problems: Vec<String> = violations.iter().map(|v| format!("{}: {}", v.path, v.what)).collect();
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
    let target = |(i, name): (usize, &String)| {
        let stay = records.iter().filter(|record| record.leaving() < topology::Leaving::Gone);
        let row = stay.flat_map(|record| &record.replicas).find(|row| row.name == *name);
        let id = row.map_or(i as ReplicaId + 1, |row| row.id);
        let address = addresses.get((id as usize).checked_sub(1)?)?;
        let target = Target { id, address: address.peer(), store: owner.uid.clone(), boot };
        Some((name.clone(), target))
    };
    let by = match records.first().map(|record| record.settings.mode()) {
        Some(topology::Mode::Leaderless | topology::Mode::MultiLeader) => By::Digest,
        _ => By::LastWrite,
    };
    Ok(trireme_link::verify(names.iter().enumerate().filter_map(target).collect(), by, within).await)
}
