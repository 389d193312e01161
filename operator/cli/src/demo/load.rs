//! Clients that write without pause, and remember exactly what they were told.
//!
//! Every write has a key of its own, so that afterwards each can be looked for by itself: one that was acknowledged must be found everywhere.
//! The clients run on a thread of their own: what they measure is not disturbed by the demo's other work.

use std::{
    io,
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

/// One client as others see it while it runs.
#[derive(Debug, Default)]
struct Seen {
    /// Replica that it is connected to.
    replica: AtomicUsize,
    /// Longest wait between two acknowledgements since [`Load::mark`], in microseconds.
    gap_us: AtomicU64,
    /// When it ended, in microseconds since the load began.
    gap_end_us: AtomicU64,
    /// Error answers and lost connections since then.
    errors: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    addresses: Vec<SocketAddr>,
    began: Instant,
    stop: AtomicBool,
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
    /// The longest wait between two acknowledgements of any of them.
    pub gap: Duration,
    /// When the first of them was served again after its longest wait.
    pub first: Option<Instant>,
    /// Error answers and lost connections of all of them.
    pub errors: u64,
}

impl Load {
    /// Starts `clients` clients, spread over the replicas.
    pub fn start(addresses: Vec<SocketAddr>, clients: usize) -> Load {
        let shared = Arc::new(Shared {
            addresses,
            began: Instant::now(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            clients: (0..clients).map(|_| Seen::default()).collect(),
            first_error: Mutex::new(None),
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared)
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

    /// Begins to measure gaps anew; returns which clients are connected to which replica.
    pub fn mark(&self) -> Vec<usize> {
        for client in &self.shared.clients {
            client.gap_us.store(0, Relaxed);
            client.errors.store(0, Relaxed);
        }
        self.shared.clients.iter().map(|c| c.replica.load(Relaxed)).collect()
    }

    /// What happened since the mark to clients that were not connected to this replica then.
    pub fn survivors(&self, mark: &[usize], killed: usize) -> Survivors {
        let others = self.shared.clients.iter().zip(mark).filter(|&(_, &replica)| replica != killed);
        let seen: Vec<(u64, u64, u64)> =
            others.map(|(c, _)| (c.gap_us.load(Relaxed), c.gap_end_us.load(Relaxed), c.errors.load(Relaxed))).collect();
        let longest_us = seen.iter().map(|&(gap_us, ..)| gap_us).max().unwrap_or(0);
        // A client that has not been served again yet has only short waits to show: these say nothing of when the long one ended.
        let served_us =
            seen.iter().filter(|&&(gap_us, ..)| gap_us >= longest_us / 2).map(|&(_, end_us, _)| end_us).min();
        Survivors {
            gap: Duration::from_micros(longest_us),
            first: served_us.map(|us| self.shared.began + Duration::from_micros(us)),
            errors: seen.iter().map(|&(.., errors)| errors).sum(),
        }
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

fn run(shared: &Arc<Shared>) -> io::Result<Vec<Vec<Outcome>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let tasks: Vec<_> = (0..shared.clients.len()).map(|n| tokio::spawn(client(n, Arc::clone(shared)))).collect();
        let mut outcomes = Vec::with_capacity(tasks.len());
        for task in tasks {
            outcomes.push(task.await.map_err(io::Error::other)?);
        }
        Ok(outcomes)
    })
}

/// Writes until told to stop; goes to the next replica when its own is gone.
async fn client(number: usize, shared: Arc<Shared>) -> Vec<Outcome> {
    let me = &shared.clients[number];
    let mut outcomes = Vec::new();
    let mut replica = number % shared.addresses.len();
    let mut last_us = None;
    while !shared.stop.load(Relaxed) {
        me.replica.store(replica, Relaxed);
        let Ok(Ok(mut connection)) = timeout(REPLY_MAX, Client::connect(shared.addresses[replica])).await else {
            replica = (replica + 1) % shared.addresses.len();
            sleep(RECONNECT_AFTER).await;
            continue;
        };
        while !shared.stop.load(Relaxed) {
            let write = outcomes.len();
            let outcome = match write_one(&mut connection, number, write).await {
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
                    outcomes.push(Outcome::InDoubt);
                    replica = (replica + 1) % shared.addresses.len();
                    break;
                }
            };
            outcomes.push(outcome);
            if outcome == Outcome::Acknowledged {
                let now_us = shared.began.elapsed().as_micros() as u64;
                if let Some(last_us) = last_us.replace(now_us)
                    && me.gap_us.fetch_max(now_us - last_us, Relaxed) < now_us - last_us
                {
                    me.gap_end_us.store(now_us, Relaxed);
                }
                shared.acknowledged.fetch_add(1, Relaxed);
            }
        }
    }
    outcomes
}

impl Shared {
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
        Reply::Bytes(_) | Reply::Nothing => Ok(None),
    }
}
