//! Clients of a store in the cluster, and what they must find afterwards.

use std::{
    fmt,
    future::Future,
    thread,
    time::{Duration, Instant},
};

use trireme_cli::{
    ledger::{
        self, Load, Outcome as Written, Places, Survivors,
        roam::{Roamers, Travel},
    },
    resp::{Client, Reply},
};

use super::{
    Failure, Outcome, Store, ensure,
    store::{CLIENT_PORT, Pod, pod_of},
};

/// How long a client waits after an answer: the load is to be noticed, not to take both cores from the cluster.
const PAUSE: Duration = Duration::from_millis(4);
/// Clients of a load.
const CLIENTS: usize = 9;
/// Beside them, sessions that look whether what they are shown fits what they did and saw, and how long each waits after an answer.
const SESSIONS: usize = 6;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Time in which clients go back to the replicas that they began with.
const SPREAD: Duration = Duration::from_millis(300);
/// Longest wait until every replica has everything.
const CAUGHT_UP: Duration = Duration::from_secs(30);
/// Longest wait for a refusal: below a request's own time.
const REFUSED: Duration = Duration::from_secs(5);
/// Longest wait for an answer: above a request's own time.
const ANSWERED: Duration = Duration::from_secs(12);
/// Load before and after what is done to a store.
pub const A_WHILE: Duration = Duration::from_millis(1_000);

/// Clients that write to the first replicas of a store.
pub struct LiveLoad<'a> {
    store: &'a Store<'a>,
    load: Load,
    sessions: Roamers,
    /// Names of the pods that clients are spread over.
    names: Vec<String>,
    password: Option<String>,
}

/// What a load has come to.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Writes that the store said OK to, each found on every replica.
    pub acknowledged: u64,
    /// Of these, not found somewhere.
    pub lost: u64,
    /// Writes without an answer.
    pub in_doubt: u64,
    /// Writes that the store said it did not do.
    pub refused: u64,
    /// Reads of sessions, none of which was shown less than it may be.
    pub looks: u64,
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} acknowledged, {} lost", self.acknowledged, self.lost)?;
        if self.looks > 0 {
            write!(f, ", {} reads of sessions as they must be", self.looks)?;
        }
        if self.in_doubt + self.refused > 0 {
            write!(f, ", {} in doubt, {} refused", self.in_doubt, self.refused)?;
        }
        Ok(())
    }
}

impl<'a> LiveLoad<'a> {
    /// Starts it on the pods of a store, and lets it run for a while.
    pub fn start(store: &'a Store<'a>) -> Outcome<LiveLoad<'a>> {
        let password = password(store)?;
        let pods = store.stage.pods.view();
        let name = store.name.clone();
        let names: Vec<String> = store.pods().into_iter().map(|pod| pod.name).collect();
        let count = names.len();
        let places = |pause: Duration| {
            let (name, names, pods) = (name.clone(), names.clone(), pods.clone());
            let find = move |index: usize| {
                let pod = pods.look(|pods| pod_of(&name, pods.get(names.get(index)?)?))?;
                Some((pod.address, CLIENT_PORT).into())
            };
            Places { count, find: Box::new(find), password: password.clone(), pause }
        };
        // Some stay on their connections, the others go from pod to pod with their tokens.
        let travels = [Travel::Stays, Travel::Token];
        let sessions = Roamers::start(places(LOOK_EVERY), SESSIONS, &[&["READONLY"]], &travels);
        let load = Load::start(places(PAUSE), CLIENTS);
        thread::sleep(A_WHILE);
        Ok(LiveLoad { store, load, sessions, names, password })
    }

    /// Begins to measure anew, with clients at every replica that the load began with.
    ///
    /// # Errors
    /// A client still waits for what it asked before: its wait would be taken for one that begins now.
    pub fn mark(&self) -> Outcome<Vec<usize>> {
        self.load.spread();
        let since = Instant::now();
        thread::sleep(SPREAD);
        while self.load.waiting(&self.load.places(), usize::MAX) > since.elapsed() {
            ensure(since.elapsed() < CAUGHT_UP, || "a client still waits for an answer from before".to_owned())?;
            thread::sleep(SPREAD);
        }
        Ok(self.load.mark())
    }

    /// What clients saw since the mark that were not connected to this pod then.
    pub fn survivors(&self, mark: &[usize], pod: &Pod) -> Survivors {
        self.load.survivors(mark, pod.index)
    }

    /// What clients saw since the mark that were connected then to a pod whose name holds.
    pub fn survivors_where(&self, mark: &[usize], holds: impl Fn(&str) -> bool) -> Survivors {
        // To those who measure, all other pods are one that was lost.
        let (ours, others) = (0, 1);
        let place = |at: &usize| if self.names.get(*at).is_some_and(|name| holds(name)) { ours } else { others };
        let mark: Vec<usize> = mark.iter().map(place).collect();
        self.load.survivors(&mark, others)
    }

    /// What all clients saw since the mark.
    pub fn all(&self, mark: &[usize]) -> Survivors {
        self.load.survivors(mark, usize::MAX)
    }

    /// Waits until every client that was not connected to this pod at the mark was served after `since`; then what they saw.
    pub fn served(&self, mark: &[usize], pod: &Pod, since: Instant, within: Duration) -> Outcome<Survivors> {
        loop {
            thread::sleep(Duration::from_millis(50));
            let seen = self.survivors(mark, pod);
            if self.load.waiting(mark, pod.index) < since.elapsed() {
                return Ok(seen);
            }
            ensure(since.elapsed() < within, || {
                format!("a client of a surviving replica was not served within {within:?}\n{}", self.store.describe())
            })?;
        }
    }

    /// The first error answer, for the text of a failure.
    pub fn first_error(&self) -> String {
        self.load.first_error().unwrap_or_else(|| "none but lost connections".to_owned())
    }

    /// Ends it after a while, and reads every write back from every replica.
    pub fn finish(self) -> Outcome<Ledger> {
        thread::sleep(A_WHILE);
        let outcomes = block(self.load.finish()).map_err(|error| Failure(error.to_string()))?;
        let seen = self.sessions.finish().map_err(|error| Failure(error.to_string()))?;
        let mut ledger = check(self.store, self.password.as_deref(), &outcomes)?;
        let found: Vec<String> = seen.found.iter().map(ToString::to_string).collect();
        ensure(found.is_empty(), || format!("sessions were shown less than they may be: {found:?}"))?;
        ensure(seen.reads > 0, || format!("no session has read anything: {seen:?}"))?;
        ledger.looks = seen.reads;
        Ok(ledger)
    }
}

/// Every acknowledged write is on every replica, no refused one is anywhere, and all replicas have the same.
fn check(store: &Store<'_>, password: Option<&str>, outcomes: &[Vec<Written>]) -> Outcome<Ledger> {
    let count = |wanted: Written| outcomes.iter().flatten().filter(|&&o| o == wanted).count() as u64;
    let mut ledger = Ledger {
        acknowledged: count(Written::Acknowledged),
        lost: 0,
        in_doubt: count(Written::InDoubt),
        refused: count(Written::Refused),
        looks: 0,
    };
    let end = Instant::now() + CAUGHT_UP;
    let mut all = Vec::new();
    for pod in store.pods() {
        let found = loop {
            let found = block(ledger::check((pod.address, CLIENT_PORT).into(), password, outcomes));
            // A follower may be a moment behind.
            match found {
                Ok(found) if found.lost == 0 || Instant::now() > end => break found,
                Err(error) if Instant::now() > end => {
                    return Err(Failure(format!("{} could not be read: {error}", pod.name)));
                }
                _ => thread::sleep(Duration::from_millis(300)),
            }
        };
        ledger.lost += found.lost;
        all.push((pod.name, found));
    }
    ensure(ledger.acknowledged > 0, || "no write was acknowledged: nothing was tested".to_owned())?;
    ensure(ledger.lost == 0, || format!("LOST: {} acknowledged writes are missing: {all:?}", ledger.lost))?;
    ensure(all.iter().all(|(_, f)| f.refused_present == 0), || format!("writes that were refused are there: {all:?}"))?;
    ensure(all.windows(2).all(|pair| pair[0].1 == pair[1].1), || format!("replicas differ: {all:?}"))?;
    Ok(ledger)
}

/// An answer that is not an error, as text; nothing as the empty text.
pub fn answered(store: &Store<'_>, pod: &Pod, arguments: &[&str]) -> Outcome<String> {
    match call(store, (pod.address, CLIENT_PORT).into(), arguments)? {
        Reply::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Reply::Nothing => Ok(String::new()),
        Reply::Error(error) => Err(Failure(format!("{} answers {}: {error}", pod.name, arguments.join(" ")))),
        list @ Reply::Many(_) => Err(Failure(format!("{} answers {}: {list:?}", pod.name, arguments.join(" ")))),
    }
}

/// Many commands on one connection, one after the other; none may be answered by an error.
pub fn all_answered(store: &Store<'_>, pod: &Pod, commands: impl IntoIterator<Item = Vec<String>>) -> Outcome {
    let (password, address) = (password(store)?, (pod.address, CLIENT_PORT).into());
    block(async {
        let said = |what: String| Failure(format!("{}: {what}", pod.name));
        let connected = Client::connect(address, password.as_deref()).await;
        let mut connection = connected.map_err(|error| said(error.to_string()))?;
        for command in commands {
            let arguments: Vec<&[u8]> = command.iter().map(String::as_bytes).collect();
            let answer = tokio::time::timeout(ANSWERED, connection.call(&arguments)).await;
            let answer = answer.map_err(|_| said("no answer".to_owned()))?.map_err(|error| said(error.to_string()))?;
            if let Reply::Error(error) = answer {
                return Err(said(error));
            }
        }
        Ok(())
    })
}

/// The error that a command must be answered with, as fast as a store says no.
pub fn refused(store: &Store<'_>, pod: &Pod, arguments: &[&str]) -> Outcome<String> {
    let began = Instant::now();
    match call(store, (pod.address, CLIENT_PORT).into(), arguments)? {
        Reply::Error(error) if began.elapsed() < REFUSED => Ok(error),
        other => {
            Err(Failure(format!("{} answers {}: {other:?} after {:?}", pod.name, arguments.join(" "), began.elapsed())))
        }
    }
}

/// The password of a store, unless it wants none.
pub fn password(store: &Store<'_>) -> Outcome<Option<String>> {
    match store.object()?["spec"]["auth"]["enabled"].as_bool() {
        Some(false) => Ok(None),
        _ => store.password().map(Some),
    }
}

/// One command to one address, on a connection of its own.
pub fn call(store: &Store<'_>, address: std::net::SocketAddr, arguments: &[&str]) -> Outcome<Reply> {
    let password = password(store)?;
    let arguments: Vec<&[u8]> = arguments.iter().map(|a| a.as_bytes()).collect();
    let reply = block(async {
        let asked = async { Client::connect(address, password.as_deref()).await?.call(&arguments).await };
        tokio::time::timeout(Duration::from_secs(12), asked).await
    });
    let reply = reply.map_err(|_| Failure(format!("{address} does not answer")))?;
    reply.map_err(|error| Failure(format!("{address}: {error}")))
}

/// Runs a future to its end.
pub fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|error| panic!("no runtime: {error}")).block_on(future)
}
