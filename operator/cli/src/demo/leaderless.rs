//! The course where there is no leader: a replica is killed, others are written and deleted from meanwhile, and when it is back it answers right at once,
//! because its reads ask others too, and then gets what it missed, which is in no log any more, because slots are compared.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{interval, timeout},
};
use trireme_cli::{
    Failure,
    ledger::{Load, Survivors},
    resp::{Client, Reply},
};
use trireme_crds::status::PeerStatus;
use trireme_local::{Event, Local, View};

use super::{FRAME, Rate, STEP_MAX, apply, show::Show};

/// Keys that are there before the kill, and are deleted while the replica is away.
const DELETED: usize = 500;
/// Keys that are written while it is away, and asked of it when it is back: more than the log keeps.
const MISSED: usize = 100;
/// Bytes of each.
const MISSED_BYTES: usize = 32 << 10;

/// How a replica got what it had missed.
#[derive(Clone, Debug, Default)]
pub struct Mended {
    /// Its name.
    pub replica: String,
    number: u32,
    /// Keys that it was asked for when it was back, those of them that it lacked then, and how many of its answers were right.
    pub asked: u64,
    pub lacked: u64,
    pub right: u64,
    /// Of these, missing in its own state after that.
    pub lacks_still: u64,
    /// Keys that its reads mended.
    pub by_reads: u64,
    /// Keys that comparing slots mended, and the bytes that this moved.
    pub by_slots: u64,
    pub bytes: u64,
    /// From the kill until it lacked nothing.
    pub after: Duration,
    /// Keys that were deleted while it was away, and how many of them are on some replica at the end.
    pub deleted: u64,
    pub came_back: u64,
}

impl Mended {
    /// Whether its reads were right and nothing deleted came back.
    pub fn holds(&self) -> bool {
        self.right == self.asked && self.lacks_still == 0 && self.came_back == 0
    }

    /// At the end: looks for deleted keys in one replica's own state.
    ///
    /// # Errors
    /// Where the replica cannot be read.
    pub async fn look(&mut self, address: SocketAddr) -> Result<(), Failure> {
        self.came_back += held(address, &deleted(self.number)).await?;
        Ok(())
    }
}

/// Two texts of the store, which differ in how much of what a replica missed is sent to it.
#[derive(Clone, Debug)]
pub struct Feeds {
    /// So little that what the replica is asked for when it is back has not been sent to it yet.
    pub slow: String,
    /// Without a bound, after that.
    pub free: String,
}

fn deleted(number: u32) -> Vec<String> {
    (0..DELETED).map(|i| format!("deleted:{number}:{i}")).collect()
}

fn missed(number: u32) -> Vec<String> {
    (0..MISSED).map(|i| format!("missed:{number}:{i}")).collect()
}

/// The value of a key that is missed: no other has it.
fn value(key: &str) -> String {
    format!("{key}:{:x<MISSED_BYTES$}", "")
}

/// How many of these keys a replica has in its own state.
async fn held(address: SocketAddr, keys: &[String]) -> Result<u64, Failure> {
    let mut client = Client::connect(address, None).await.map_err(Failure::from_error)?;
    let exists: Vec<&[u8]> = [&b"EXISTS"[..]].into_iter().chain(keys.iter().map(|key| key.as_bytes())).collect();
    // As it is, also while it shows effects of what has not come.
    client.add(&[b"READONLY"]);
    client.add(&[b"SESSION", b"GUARANTEES", b"NONE"]);
    let replies = pipeline(&mut client, &[exists], 2).await?;
    match replies.last() {
        Some(Reply::Bytes(count)) => String::from_utf8_lossy(count).parse().map_err(Failure::from_error),
        other => Err(Failure::Failed(format!("{address}: EXISTS was answered {other:?}"))),
    }
}

/// Sends commands at once; their replies, after so many that were added before.
async fn pipeline(client: &mut Client, commands: &[Vec<&[u8]>], before: usize) -> Result<Vec<Reply>, Failure> {
    let work = async {
        commands.iter().for_each(|command| client.add(command));
        client.flush().await?;
        let mut replies = Vec::with_capacity(before + commands.len());
        for _ in 0..before + commands.len() {
            replies.push(client.reply().await?);
        }
        Ok::<_, std::io::Error>(replies)
    };
    let replies = timeout(STEP_MAX, work).await.map_err(|_| Failure::Failed("a client got no answer".to_owned()))?;
    replies.map_err(Failure::from_error)
}

/// All of these must have been done.
fn all_done(replies: &[Reply]) -> Result<(), Failure> {
    match replies.iter().find(|reply| !matches!(reply, Reply::Bytes(_))) {
        None => Ok(()),
        Some(other) => Err(Failure::Failed(format!("a client of a surviving replica was answered {other:?}"))),
    }
}

/// One kill and what follows.
pub(super) struct Kill<'a> {
    store: &'a Local,
    load: &'a Load,
    events: &'a mut Receiver<Event>,
    rate: &'a mut Rate,
    show: &'a mut Show,
    number: (u32, u32),
    index: usize,
    name: String,
    pid: Pid,
    address: SocketAddr,
    /// A replica that stays.
    other: SocketAddr,
    killed: Instant,
    killed_ms: u64,
}

impl<'a> Kill<'a> {
    /// The last replica is the one: any would do.
    ///
    /// # Errors
    /// Where it has no process.
    pub fn begin(
        store: &'a Local,
        load: &'a Load,
        events: &'a mut Receiver<Event>,
        rate: &'a mut Rate,
        show: &'a mut Show,
        number: (u32, u32),
    ) -> Result<Kill<'a>, Failure> {
        let view = store.view().borrow().clone();
        let nobody = || Failure::Failed("a replica to be killed, and one that stays, need two replicas".to_owned());
        let (last, others) = view.replicas.split_last().ok_or_else(nobody)?;
        let other = others.first().ok_or_else(nobody)?;
        let pid = i32::try_from(last.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::Failed(format!("{} has no process", last.name)))?;
        let (index, name, address, other) = (others.len(), last.name.clone(), last.address, other.address);
        let (killed, killed_ms) = (Instant::now(), 0);
        Ok(Kill { store, load, events, rate, show, number, index, name, pid, address, other, killed, killed_ms })
    }

    /// Kills it, and shows what happens until it lacks nothing.
    ///
    /// # Errors
    /// Where something that must happen does not happen in time.
    pub async fn run(mut self, feeds: Option<&Feeds>) -> Result<(Survivors, Mended), Failure> {
        if let Some(feeds) = feeds {
            apply(self.store.dir(), &feeds.slow).await?;
        }
        let mut client = Client::connect(self.other, None).await.map_err(Failure::from_error)?;
        self.write_deleted(&mut client).await?;
        while self.events.try_recv().is_ok() {}
        let mark = self.load.mark();
        (self.killed, self.killed_ms) = (Instant::now(), trireme_local::unix_ms());
        kill_process(self.pid, Signal::KILL)
            .map_err(|e| Failure::Failed(format!("{} could not be killed: {e}", self.name)))?;
        let what = format!("{}, a replica like every other", self.name);
        self.show.killed(&what, self.pid.as_raw_nonzero().get(), self.number);
        self.change_meanwhile(&mut client).await?;
        let (name, pid) = (self.name.clone(), self.pid.as_raw_nonzero().get());
        self.until("was not back", |view| {
            let process = view.replicas.iter().find(|r| r.name == name).map_or(0, |r| r.pid);
            process != 0 && i64::from(process) != i64::from(pid) && peer(view, &name).is_some_and(|p| p.coordinates)
        })
        .await?;
        let mut mended = self.ask_it().await?;
        if let Some(feeds) = feeds {
            let text = "the bound on what is sent to a replica is taken away: `trireme apply`";
            self.show.step(self.killed.elapsed().as_millis() as u64, "apply", text);
            apply(self.store.dir(), &feeds.free).await?;
        }
        self.until("lacked something still", |view| {
            view.is_whole() && peer(view, &name).is_some_and(|p| is_complete(&p))
        })
        .await?;
        let counted = peer(&self.store.view().borrow(), &name).unwrap_or_default();
        (mended.by_reads, mended.by_slots) = (counted.read_repairs, counted.keys_repaired);
        (mended.bytes, mended.after) = (counted.repair_bytes, self.killed.elapsed());
        self.show.healed(&mended);
        Ok((self.load.survivors(&mark, self.index), mended))
    }

    /// Keys that are deleted later: every replica has them now.
    async fn write_deleted(&mut self, client: &mut Client) -> Result<(), Failure> {
        let keys = deleted(self.number.0);
        let sets: Vec<Vec<&[u8]>> =
            keys.iter().map(|key| vec![&b"SET"[..], key.as_bytes(), b"to be deleted"]).collect();
        all_done(&pipeline(client, &sets, 0).await?)?;
        let begin = Instant::now();
        while held(self.address, &keys).await? < DELETED as u64 {
            if begin.elapsed() > STEP_MAX {
                return Err(Failure::Failed(format!("{} did not get what was written elsewhere", self.name)));
            }
            self.frames(FRAME).await;
        }
        Ok(())
    }

    /// What the replica misses.
    async fn change_meanwhile(&mut self, client: &mut Client) -> Result<(), Failure> {
        let (gone, new) = (deleted(self.number.0), missed(self.number.0));
        let values: Vec<String> = new.iter().map(|key| value(key)).collect();
        let mut commands: Vec<Vec<&[u8]>> = gone.iter().map(|key| vec![&b"DEL"[..], key.as_bytes()]).collect();
        let sets = new.iter().zip(&values).map(|(key, value)| vec![&b"SET"[..], key.as_bytes(), value.as_bytes()]);
        commands.extend(sets);
        all_done(&pipeline(client, &commands, 0).await?)?;
        while let Ok(event) = self.events.try_recv() {
            self.show.event(&event, self.killed_ms, &self.store.view().borrow());
        }
        let text = format!(
            "{DELETED} keys deleted and {MISSED} large ones written at another replica; it misses that, and the load"
        );
        self.show.step(self.killed.elapsed().as_millis() as u64, "missed", &text);
        Ok(())
    }

    /// As soon as it is back it is asked for what it has missed.
    async fn ask_it(&mut self) -> Result<Mended, Failure> {
        let keys = missed(self.number.0);
        let mut mended = Mended {
            replica: self.name.clone(),
            number: self.number.0,
            asked: MISSED as u64,
            deleted: DELETED as u64,
            ..Mended::default()
        };
        let mut client = self.answering().await?;
        mended.lacked = MISSED as u64 - held(self.address, &keys).await?;
        let gets: Vec<Vec<&[u8]>> = keys.iter().map(|key| vec![&b"GET"[..], key.as_bytes()]).collect();
        let replies = pipeline(&mut client, &gets, 0).await?;
        let right =
            |(key, reply): &(&String, &Reply)| matches!(reply, Reply::Bytes(bytes) if *bytes == value(key).as_bytes());
        mended.right = keys.iter().zip(&replies).filter(right).count() as u64;
        mended.lacks_still = MISSED as u64 - held(self.address, &keys).await?;
        self.show.asked(self.killed.elapsed(), &mended);
        Ok(mended)
    }

    /// A client of the replica that is back, once it reaches enough others to answer. Until then it refuses, as it must.
    async fn answering(&mut self) -> Result<Client, Failure> {
        let begin = Instant::now();
        let mut client = Client::connect(self.address, None).await.map_err(Failure::from_error)?;
        loop {
            match pipeline(&mut client, &[vec![b"GET", b"nothing"]], 0).await?.pop() {
                Some(Reply::Error(why)) if why.starts_with("NOREPLICAS") && begin.elapsed() < STEP_MAX => {
                    self.frames(FRAME).await;
                }
                Some(Reply::Error(why)) => {
                    return Err(Failure::Failed(format!("{} is back and answers {why}", self.name)));
                }
                _ => return Ok(client),
            }
        }
    }

    /// Lets the load run, with the live line.
    async fn frames(&mut self, time: Duration) {
        super::watch(self.store, self.load, self.rate, self.show, time).await;
    }

    /// Shows what happens until something holds.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&View) -> bool) -> Result<(), Failure> {
        let mut frames = interval(FRAME);
        let waiting = async {
            loop {
                tokio::select! {
                    event = self.events.recv() => match event {
                        Ok(event) => self.show.event(&event, self.killed_ms, &self.store.view().borrow()),
                        Err(RecvError::Lagged(missed)) => self.show.missed(missed),
                        Err(RecvError::Closed) => return,
                    },
                    _ = frames.tick() => self.rate.frame(self.store, self.load, self.show),
                }
                if holds(&self.store.view().borrow()) {
                    return;
                }
            }
        };
        let seconds = STEP_MAX.as_secs();
        timeout(STEP_MAX, waiting)
            .await
            .map_err(|_| Failure::Failed(format!("{} {what} {seconds} s after it was waited for", self.name)))
    }
}

/// How the replica of this name stands to the others.
fn peer(view: &View, name: &str) -> Option<PeerStatus> {
    view.status.replicas.iter().find(|r| r.name == name && r.reachable)?.peer.clone()
}

/// Nothing is missing below the last that it has received of anybody.
fn is_complete(peer: &PeerStatus) -> bool {
    peer.whole && peer.slots_differing == 0 && peer.received.iter().all(|part| !part.contains("gaps"))
}
