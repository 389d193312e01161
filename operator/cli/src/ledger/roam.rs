//! Clients that go from replica to replica with their sessions, and notice when they are shown what they may not be ([`trireme_sessions`]).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use tokio::time::{sleep, timeout};
use trireme_sessions::{Key, Session, Value, Violation};

use super::{Places, RECONNECT_AFTER, REPLY_MAX, connect, run_all};
use crate::resp::{Client, Reply};

/// Most commands between two moves.
const COMMANDS_PER_VISIT: usize = 8;
/// Violations that are kept.
const FOUND_MAX: usize = 100;

/// How a client's session goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Travel {
    /// Nowhere: on another connection it is another session.
    Stays,
    /// By its token, which it asks for after each command: where a connection is lost, it goes on from the last one.
    Token,
    /// It is left behind, and the client expects what it was promised nevertheless: this must be found.
    Lost,
}

/// What the clients saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Answers to reads.
    pub reads: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Connections to a replica.
    pub visits: u64,
    /// What was answered with an error.
    pub errors: u64,
    /// Of these, those that said that what the session had seen or written is lost.
    pub lost: u64,
    /// The first error.
    pub first_error: Option<String>,
    /// What may not have been shown, the first hundred of it.
    pub found: Vec<Violation>,
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.visits += other.visits;
        self.errors += other.errors;
        self.lost += other.lost;
        self.first_error = self.first_error.take().or(other.first_error);
        let room = FOUND_MAX.saturating_sub(self.found.len());
        self.found.extend(other.found.into_iter().take(room));
    }
}

/// Running clients.
#[derive(Debug)]
pub struct Roamers {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<io::Result<Seen>>,
}

impl Roamers {
    /// Starts one client in so many sessions, which travel in these ways in turn. Each says these commands where it connects, `READONLY` for example, and
    /// begins at another replica.
    pub fn start(places: Places, sessions: usize, greeting: &[&[&str]], travels: &[Travel]) -> Roamers {
        let greeting = greeting.iter().map(|command| command.iter().map(|word| word.as_bytes().to_vec()).collect());
        let stop = AtomicBool::new(false);
        let (reads, found) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared {
            places,
            sessions,
            greeting: greeting.collect(),
            travels: travels.to_vec(),
            stop,
            reads,
            found,
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared)
        });
        Roamers { shared, thread }
    }

    /// Answers to reads so far.
    pub fn reads(&self) -> u64 {
        self.shared.reads.load(Relaxed)
    }

    /// How often they were shown so far what they may not be.
    pub fn found(&self) -> u64 {
        self.shared.found.load(Relaxed)
    }

    /// Stops; what they saw.
    ///
    /// # Errors
    /// Where their thread could not run.
    pub fn finish(self) -> io::Result<Seen> {
        self.shared.stop.store(true, Relaxed);
        // Each ends with the reply that it waits for, which is bounded.
        self.thread.join().map_err(|_| io::Error::other("the clients' thread has panicked"))?
    }
}

#[derive(Debug)]
struct Shared {
    places: Places,
    sessions: usize,
    greeting: Vec<Vec<Vec<u8>>>,
    travels: Vec<Travel>,
    stop: AtomicBool,
    reads: AtomicU64,
    found: AtomicU64,
}

fn run(shared: &Arc<Shared>) -> io::Result<Seen> {
    let mut all = Seen::default();
    let seen = run_all((0..shared.sessions).map(|n| Roamer::new(n, Arc::clone(shared)).roam()))?;
    seen.into_iter().for_each(|seen| all.add(seen));
    Ok(all)
}

struct Roamer {
    shared: Arc<Shared>,
    session: Session,
    travel: Travel,
    keys: Vec<Key>,
    replica: usize,
    /// The last token, and what the session had done and seen then.
    carried: Option<(Vec<u8>, Session)>,
    rng: fastrand::Rng,
    seen: Seen,
}

impl Roamer {
    fn new(number: usize, shared: Arc<Shared>) -> Roamer {
        let (keys, replica) = (Key::all(shared.sessions), number % shared.places.count);
        let (session, rng) = (Session::new(number), fastrand::Rng::with_seed(number as u64));
        let travel = shared.travels.get(number % shared.travels.len().max(1)).copied().unwrap_or(Travel::Stays);
        Roamer { shared, session, travel, keys, replica, carried: None, rng, seen: Seen::default() }
    }

    async fn roam(mut self) -> Seen {
        while !self.shared.stop.load(Relaxed) {
            if self.visit().await.is_err() {
                // Its replica is gone, and with it what its connection knew since the last token.
                match &self.carried {
                    Some((_, then)) => self.session.back_to(then),
                    None => self.session.forget(),
                }
                sleep(RECONNECT_AFTER).await;
            }
            self.replica = match self.travel {
                Travel::Stays => (self.replica + 1) % self.shared.places.count,
                Travel::Token | Travel::Lost => self.rng.usize(..self.shared.places.count),
            };
        }
        self.seen
    }

    /// One connection. An error is a connection that was lost, or could not be had.
    async fn visit(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut connection = connect(&shared.places, self.replica).await?;
        for command in &shared.greeting {
            let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            self.ask(&mut connection, &words).await?;
        }
        if let Some((token, _)) = self.carried.clone() {
            self.ask(&mut connection, &[b"SESSION", b"RESUME", &token]).await?;
        }
        self.seen.visits += 1;
        let mut left = if self.travel == Travel::Stays { usize::MAX } else { self.rng.usize(1..=COMMANDS_PER_VISIT) };
        while left > 0 && !shared.stop.load(Relaxed) {
            left -= 1;
            match self.rng.u8(..6) {
                0 => self.write(&mut connection, 1).await?,
                1 => self.write(&mut connection, 2).await?,
                2 => self.read(&mut connection, self.keys.len()).await?,
                _ => self.read(&mut connection, 1).await?,
            }
            if self.travel == Travel::Token
                && let Some(Reply::Bytes(token)) = self.ask(&mut connection, &[b"SESSION", b"TOKEN"]).await?
            {
                self.carried = Some((token, self.session.clone()));
            }
            if !shared.places.pause.is_zero() {
                sleep(shared.places.pause).await;
            }
        }
        Ok(())
    }

    /// Asks; nothing where the answer is an error.
    async fn ask(&mut self, connection: &mut Client, words: &[&[u8]]) -> io::Result<Option<Reply>> {
        let reply = timeout(REPLY_MAX, connection.call(words)).await;
        match reply.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
            Reply::Error(error) => {
                self.seen.errors += 1;
                if error.starts_with("LOSTWRITE") {
                    self.seen.lost += 1;
                    self.session.forget();
                }
                self.seen.first_error.get_or_insert(error);
                sleep(RECONNECT_AFTER).await;
                Ok(None)
            }
            reply => Ok(Some(reply)),
        }
    }

    /// Writes one or both of its keys, at once.
    async fn write(&mut self, connection: &mut Client, count: usize) -> io::Result<()> {
        let first = if count == 1 { self.rng.usize(..2) } else { 0 };
        let keys: Vec<Key> = (first..first + count).map(|which| self.session.key(which)).collect();
        let value = self.session.next_value(&keys);
        let (text, names) = (value.text(), keys.iter().map(Key::to_string).collect::<Vec<_>>());
        let mut words: Vec<&[u8]> = vec![b"MSET"];
        names.iter().for_each(|name| words.extend([name.as_bytes(), text.as_bytes()]));
        if self.ask(connection, &words).await?.is_some() {
            self.seen.writes += 1;
            keys.iter().for_each(|key| self.session.wrote(*key, value.number));
        }
        Ok(())
    }

    /// Reads one key of somebody, or all keys at once.
    async fn read(&mut self, connection: &mut Client, count: usize) -> io::Result<()> {
        let first = if count == 1 { self.rng.usize(..self.keys.len()) } else { 0 };
        let keys: Vec<Key> = self.keys[first..first + count].to_vec();
        let names: Vec<String> = keys.iter().map(Key::to_string).collect();
        let words: Vec<&[u8]> = [&b"MGET"[..]].into_iter().chain(names.iter().map(|name| name.as_bytes())).collect();
        let Some(Reply::Many(values)) = self.ask(connection, &words).await? else { return Ok(()) };
        self.seen.reads += 1;
        self.shared.reads.fetch_add(1, Relaxed);
        let value = |reply: Reply| match reply {
            Reply::Bytes(text) => Value::read(&String::from_utf8_lossy(&text)).unwrap_or_default(),
            _ => Value::default(),
        };
        let shown: Vec<(Key, Value)> = keys.into_iter().zip(values.into_iter().map(value)).collect();
        if let Err(violation) = self.session.saw(&shown) {
            self.shared.found.fetch_add(1, Relaxed);
            if self.seen.found.len() < FOUND_MAX {
                self.seen.found.push(violation);
            }
        }
        Ok(())
    }
}
