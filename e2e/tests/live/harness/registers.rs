//! Clients that write and read a few keys through all replicas, and the question whether what they were told is what one machine would have said.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use trireme_cli::resp::{Client, Reply as Told};
use trireme_sim::{
    linear::{self, Operation, Verdict},
    model::{Act, Value},
    resp::Reply,
};

use super::{
    Failure, Outcome, Store, ensure,
    load::{block, password},
    store::{CLIENT_PORT, pod_of},
    watch::View,
};

const CLIENTS: usize = 6;
const KEYS: usize = 3;
const PAUSE: Duration = Duration::from_millis(15);
const REPLY_MAX: Duration = Duration::from_secs(15);
/// Configurations that the search may enter for one key.
const BOUND: usize = 3_000_000;

/// A history of operations on one key, with the key's number.
type Lines = Vec<(usize, Operation)>;

/// Running clients.
pub struct Registers {
    stop: Arc<Shared>,
    thread: JoinHandle<Vec<Lines>>,
}

struct Shared {
    stop: AtomicBool,
    began: Instant,
    store: String,
    pods: View,
    names: Vec<String>,
    password: Option<String>,
}

/// What they came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Operations with an answer.
    pub answered: usize,
    /// Of these, reads.
    pub reads: usize,
    /// Longest wait of any client for an answer.
    pub longest: Duration,
}

impl Registers {
    /// Starts them. The store must have r > 1: else followers answer reads from what they have, which may be older.
    pub fn start(store: &Store<'_>) -> Outcome<Registers> {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            began: Instant::now(),
            store: store.name.clone(),
            pods: store.stage.pods.view(),
            names: store.pods().into_iter().map(|pod| pod.name).collect(),
            password: password(store)?,
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                block(async {
                    let clients = (0..CLIENTS).map(|number| tokio::spawn(client(number, Arc::clone(&shared))));
                    let mut all = Vec::new();
                    for client in clients.collect::<Vec<_>>() {
                        all.extend(client.await);
                    }
                    all
                })
            }
        });
        Ok(Registers { stop: shared, thread })
    }

    /// Stops them; their history must be linearizable.
    pub fn finish(self) -> Outcome<Found> {
        self.stop.stop.store(true, Relaxed);
        let lines = self.thread.join().map_err(|_| Failure("a client of the registers has panicked".to_owned()))?;
        let mut found = Found::default();
        for (_, operation) in lines.iter().flatten() {
            if let Some((returned, _)) = operation.answer {
                found.answered += 1;
                found.reads += usize::from(operation.act == Act::Get);
                found.longest = found.longest.max(Duration::from_micros(returned - operation.call));
            }
        }
        ensure(found.reads > 0, || "nothing was read".to_owned())?;
        for key in 0..KEYS {
            let of_key = lines.iter().flatten().filter(|(k, _)| *k == key);
            let mut history: Vec<Operation> = of_key.map(|(_, operation)| operation.clone()).collect();
            history.sort_by_key(|operation| operation.call);
            match linear::check(&history, BOUND) {
                Verdict::Linearizable => {}
                Verdict::Undecided => println!("    register {key}: too many operations at once to decide"),
                Verdict::Violation { stuck, value } => {
                    return Err(Failure(format!(
                        "NOT LINEARIZABLE: register {key}: {}",
                        around(&history, &stuck, &value)
                    )));
                }
            }
        }
        Ok(found)
    }
}

/// What stands around the first operation that fits nowhere.
fn around(history: &[Operation], stuck: &[usize], value: &Value) -> String {
    let Some(first) = stuck.first().map(|&index| &history[index]) else { return "nothing is stuck".to_owned() };
    let (from, to) = (first.call.saturating_sub(60_000), first.call + 60_000);
    let near = history.iter().enumerate().filter(|(_, op)| {
        op.call < to
            && op.answer.as_ref().is_none_or(|(returned, _)| *returned > from)
            && op.call > from.saturating_sub(2_000_000)
    });
    let lines = near.map(|(index, op)| {
        let mark = if stuck.contains(&index) { "stuck" } else { "     " };
        let answer =
            op.answer.as_ref().map_or("no answer".to_owned(), |(returned, reply)| format!("{returned} {reply}"));
        format!("\n    {mark} {} us {}: {answer}", op.call, op.act)
    });
    format!("the order that came furthest leaves {value:?}{}", lines.collect::<String>())
}

/// Writes and reads in turns, through one replica as long as it can be reached.
async fn client(number: usize, shared: Arc<Shared>) -> Lines {
    let now = |shared: &Shared| shared.began.elapsed().as_micros() as u64;
    let (mut lines, mut replica, mut step) = (Lines::new(), number, 0_usize);
    while !shared.stop.load(Relaxed) {
        let address = shared.find(replica % shared.names.len());
        let connected = match address {
            Some(address) => timeout(REPLY_MAX, Client::connect(address, shared.password.as_deref())).await,
            None => Ok(Err(std::io::ErrorKind::NotConnected.into())),
        };
        let Ok(Ok(mut connection)) = connected else {
            replica += 1;
            sleep(PAUSE).await;
            continue;
        };
        while !shared.stop.load(Relaxed) {
            step += 1;
            let (key, reads) = ((number + step / 2) % KEYS, (step + number).is_multiple_of(2));
            let act = if reads { Act::Get } else { Act::Set(format!("{number}-{step}")) };
            let arguments = act.args(&format!("register:{key}"));
            let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
            let call = now(&shared);
            let told = timeout(REPLY_MAX, connection.call(&arguments)).await;
            let returned = now(&shared);
            let lost = !matches!(told, Ok(Ok(_)));
            match (told, reads) {
                (Ok(Ok(Told::Bytes(_))), false) => {
                    lines.push((key, Operation { call, answer: Some((returned, Reply::ok())), act }));
                }
                (Ok(Ok(Told::Bytes(bytes))), true) => {
                    lines.push((key, Operation { call, answer: Some((returned, Reply::Bulk(bytes))), act }));
                }
                (Ok(Ok(Told::Nothing)), _) => {
                    lines.push((key, Operation { call, answer: Some((returned, Reply::Null)), act }));
                }
                // A read without a value says nothing; a write may have been done.
                (_, true) => {}
                (_, false) => lines.push((key, Operation { call, answer: None, act })),
            }
            if lost {
                replica += 1;
                break;
            }
            sleep(PAUSE).await;
        }
    }
    lines
}

impl Shared {
    fn find(&self, index: usize) -> Option<SocketAddr> {
        let pod = self.pods.look(|pods| pod_of(&self.store, pods.get(&self.names[index])?))?;
        Some((pod.address, CLIENT_PORT).into())
    }
}
