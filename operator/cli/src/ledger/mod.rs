//! Clients that write, and remember exactly what they were told; afterwards [`check()`] looks for each write on each replica.
//!
//! Every write has a key of its own, so that each can be looked for by itself: one that was acknowledged must be found everywhere.
//! The clients run on a thread of their own: what they measure is not disturbed by other work of the program. The demo uses them on a store of this
//! machine, the live tests on one in a cluster.

mod check;
pub mod roam;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use crate::resp::{Client, Reply};

pub use check::{Found, check};

/// Longest wait for a reply; above the store's own time-out, so that the store answers first.
const REPLY_MAX: Duration = Duration::from_secs(15);
/// Wait before a client that lost its replica tries the next one.
const RECONNECT_AFTER: Duration = Duration::from_millis(20);

/// What a client knows about one of its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// The store said OK.
    Acknowledged,
    /// It was sent, and no answer came, or the answer was "in doubt".
    InDoubt,
    /// The store said that it did not do it.
    Refused,
}

/// One client's key.
pub fn key(client: usize, write: usize) -> Vec<u8> {
    format!("demo:{client:03}:{write:07}").into_bytes()
}

/// One client's value: 100 bytes that no other write has.
pub fn value(client: usize, write: usize) -> Vec<u8> {
    format!("{client:03}:{write:07}:{:x<88}", "").into_bytes()
}

/// Where the replicas are, and what a client does there.
pub struct Places {
    /// How many there are.
    pub count: usize,
    /// Where replica number i listens; `None` while it is nowhere. Asked before each connection, since a replica may come back elsewhere.
    pub find: Box<dyn Fn(usize) -> Option<SocketAddr> + Send + Sync>,
    /// The password, where there is one.
    pub password: Option<String>,
    /// How long a client waits after an answer before it writes again.
    pub pause: Duration,
}

impl Places {
    /// Fixed places without a password, where clients write without pause.
    pub fn fixed(addresses: Vec<SocketAddr>) -> Places {
        Places {
            count: addresses.len(),
            find: Box::new(move |index| addresses.get(index).copied()),
            password: None,
            pause: Duration::ZERO,
        }
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} places, pause {:?}", self.count, self.pause)
    }
}

/// One client as others see it while it runs.
#[derive(Debug, Default)]
struct Seen {
    /// Replica that it is connected to.
    replica: AtomicUsize,
    /// Longest wait between two acknowledgements since [`Load::mark`], in microseconds.
    gap_us: AtomicU64,
    /// When it ended, in microseconds since the load began.
    gap_end_us: AtomicU64,
    /// When it was last served, in microseconds since the load began; 0 if never.
    served_us: AtomicU64,
    /// Error answers and lost connections since then.
    errors: AtomicU64,
    /// Of these, lost connections.
    broken: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    places: Places,
    began: Instant,
    stop: AtomicBool,
    /// Rises when every client is to go back to where it began.
    homeward: AtomicU64,
    acknowledged: AtomicU64,
    clients: Vec<Seen>,
    first_error: Mutex<Option<String>>,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<io::Result<Vec<Vec<Outcome>>>>,
}

/// What the clients of the surviving replicas saw since [`Load::mark`].
#[derive(Clone, Debug, Default)]
pub struct Survivors {
    /// The longest wait between two acknowledgements of any of them, the wait that goes on included.
    pub gap: Duration,
    /// When the first of them was served again after its longest wait.
    pub first: Option<Instant>,
    /// Error answers and lost connections of all of them.
    pub errors: u64,
    /// Of these, lost connections.
    pub broken: u64,
}

impl Load {
    /// Starts `clients` clients, spread over the replicas.
    pub fn start(places: Places, clients: usize) -> Load {
        let shared = Arc::new(Shared {
            places,
            began: Instant::now(),
            stop: AtomicBool::new(false),
            homeward: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            clients: (0..clients).map(|_| Seen::default()).collect(),
            first_error: Mutex::new(None),
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || run_all((0..clients).map(|n| client(n, Arc::clone(&shared))))
        });
        Load { shared, thread }
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Relaxed)
    }

    /// The first error answer that any client got, if one did.
    pub fn first_error(&self) -> Option<String> {
        self.shared.first_error.lock().ok()?.clone()
    }

    /// Sends every client back to the replica that it began with, when its present write is answered: those that lost theirs have gathered elsewhere.
    pub fn spread(&self) {
        self.shared.homeward.fetch_add(1, Relaxed);
    }

    /// Begins to measure gaps anew; returns which clients are connected to which replica.
    pub fn mark(&self) -> Vec<usize> {
        for client in &self.shared.clients {
            client.gap_us.store(0, Relaxed);
            client.errors.store(0, Relaxed);
            client.broken.store(0, Relaxed);
        }
        self.places()
    }

    /// Which clients are connected to which replica.
    pub fn places(&self) -> Vec<usize> {
        self.shared.clients.iter().map(|c| c.replica.load(Relaxed)).collect()
    }

    /// What happened since the mark to clients that were not connected to this replica then.
    pub fn survivors(&self, mark: &[usize], killed: usize) -> Survivors {
        let others = || self.shared.clients.iter().zip(mark).filter(|&(_, &replica)| replica != killed).map(|(c, _)| c);
        let seen: Vec<(u64, u64)> = others().map(|c| (c.gap_us.load(Relaxed), c.gap_end_us.load(Relaxed))).collect();
        let longest_us = seen.iter().map(|&(gap_us, _)| gap_us).max().unwrap_or(0);
        // A client that has not been served again yet has only short waits to show: these say nothing of when the long one ended.
        let served_us = seen.iter().filter(|&&(gap_us, _)| gap_us >= longest_us / 2).map(|&(_, end_us)| end_us).min();
        Survivors {
            gap: Duration::from_micros(longest_us).max(self.waiting(mark, killed)),
            first: served_us.map(|us| self.shared.began + Duration::from_micros(us)),
            errors: others().map(|c| c.errors.load(Relaxed)).sum(),
            broken: others().map(|c| c.broken.load(Relaxed)).sum(),
        }
    }

    /// The longest that any of these clients has been waiting now.
    pub fn waiting(&self, mark: &[usize], killed: usize) -> Duration {
        let now_us = self.shared.began.elapsed().as_micros() as u64;
        let others = self.shared.clients.iter().zip(mark).filter(|&(_, &replica)| replica != killed);
        let longest_us = others.map(|(c, _)| now_us.saturating_sub(c.served_us.load(Relaxed))).max();
        Duration::from_micros(longest_us.unwrap_or(0))
    }

    /// Stops; the outcome of each write of each client.
    ///
    /// # Errors
    /// Where the clients' thread could not run.
    pub async fn finish(self) -> io::Result<Vec<Vec<Outcome>>> {
        self.shared.stop.store(true, Relaxed);
        // Each client ends with the reply that it waits for, which is bounded.
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        joined.map_err(io::Error::other)?.map_err(|_| io::Error::other("the load's thread has panicked"))?
    }
}

/// Runs all clients, on this thread alone; what each came to.
fn run_all<T: Send + 'static>(
    clients: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> io::Result<Vec<T>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let tasks: Vec<_> = clients.map(tokio::spawn).collect();
        let mut ends = Vec::with_capacity(tasks.len());
        for task in tasks {
            ends.push(task.await.map_err(io::Error::other)?);
        }
        Ok(ends)
    })
}

/// Writes until told to stop; goes to the next replica when its own is gone.
async fn client(number: usize, shared: Arc<Shared>) -> Vec<Outcome> {
    let (me, places) = (&shared.clients[number], &shared.places);
    let mut outcomes = Vec::new();
    let home = number % places.count;
    let (mut replica, mut homeward) = (home, 0);
    while !shared.stop.load(Relaxed) {
        me.replica.store(replica, Relaxed);
        let Ok(mut connection) = connect(places, replica).await else {
            replica = (replica + 1) % places.count;
            sleep(RECONNECT_AFTER).await;
            continue;
        };
        while !shared.stop.load(Relaxed) {
            let called = shared.homeward.load(Relaxed);
            if std::mem::replace(&mut homeward, called) != called && replica != home {
                replica = home;
                break;
            }
            let outcome = match write_one(&mut connection, number, outcomes.len()).await {
                Ok(None) => Outcome::Acknowledged,
                Ok(Some(error)) => {
                    me.errors.fetch_add(1, Relaxed);
                    // Only "in doubt" and "try again" leave open what happened; every other error says that nothing did.
                    let open = error.starts_with("INDOUBT") || error.starts_with("TRYAGAIN");
                    shared.note(error);
                    // An error comes at once: without a pause the clients would do nothing but collect them.
                    sleep(RECONNECT_AFTER).await;
                    if open { Outcome::InDoubt } else { Outcome::Refused }
                }
                Err(_) => {
                    me.errors.fetch_add(1, Relaxed);
                    me.broken.fetch_add(1, Relaxed);
                    outcomes.push(Outcome::InDoubt);
                    replica = (replica + 1) % places.count;
                    break;
                }
            };
            outcomes.push(outcome);
            if outcome == Outcome::Acknowledged {
                shared.served(me);
            }
            if !places.pause.is_zero() {
                sleep(places.pause).await;
            }
        }
    }
    outcomes
}

async fn connect(places: &Places, replica: usize) -> io::Result<Client> {
    let address = (places.find)(replica).ok_or(io::ErrorKind::NotConnected)?;
    let connected = timeout(REPLY_MAX, Client::connect(address, places.password.as_deref())).await;
    connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

impl Shared {
    fn served(&self, client: &Seen) {
        let now_us = self.began.elapsed().as_micros() as u64;
        self.acknowledged.fetch_add(1, Relaxed);
        let before_us = client.served_us.swap(now_us, Relaxed);
        if before_us > 0 && client.gap_us.fetch_max(now_us - before_us, Relaxed) < now_us - before_us {
            client.gap_end_us.store(now_us, Relaxed);
        }
    }

    fn note(&self, error: String) {
        if let Ok(mut first) = self.first_error.lock() {
            first.get_or_insert(error);
        }
    }
}

/// `None` is OK, `Some` an error answer.
async fn write_one(connection: &mut Client, client: usize, write: usize) -> io::Result<Option<String>> {
    let (key, value) = (key(client, write), value(client, write));
    let reply = timeout(REPLY_MAX, connection.call(&[b"SET", &key, &value])).await;
    match reply.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        Reply::Error(error) => Ok(Some(error)),
        Reply::Bytes(_) | Reply::Nothing | Reply::Many(_) => Ok(None),
    }
}
