//! `trireme demo`: kills the leader of a store under load, or any replica of one without a leader, or cuts off a region of one with several, and checks
//! every promise that the store made.
//!
//! * [`trireme_cli::ledger`]: clients that write without pause and remember what they were told, and the check of every acknowledged write, on every
//!   replica;
//! * [`leaderless`]: the course where there is no leader: any replica is killed, misses what is written and deleted meanwhile, and is mended.
//! * [`regions`]: what comes after a leader's end where each region has one: a region is cut off, written on both sides, and let back.
//! * [`show`]: what is on the screen.
//!
//! The demo is an ordinary user of `trireme_local`: it sees the same events as `trireme up`, and kills with SIGKILL from outside.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{interval, sleep, timeout},
};
use trireme_cli::{
    Answer, Failure, Store as _,
    ledger::{self, Found, Load, Outcome, Places, Survivors},
};
use trireme_local::{Event, Local, Verification, View};

use crate::running::Running;
use show::Show;

pub mod leaderless;
pub mod regions;
pub mod show;

/// Load before the first kill.
const WARM_UP: Duration = Duration::from_millis(2_500);
/// Load after the store is whole again.
const AFTERWARDS: Duration = Duration::from_millis(1_000);
/// Longest wait for each thing that must happen.
const STEP_MAX: Duration = Duration::from_secs(20);
/// How often the live line is drawn anew.
const FRAME: Duration = Duration::from_millis(100);

/// What the demo does.
#[derive(Debug)]
pub struct Course {
    /// Clients that write at the same time.
    pub clients: usize,
    /// How many leaders, or replicas, are killed, one after the other.
    pub kills: u32,
    /// Of a store without a leader: how its feeds are slowed until the replica that is back was asked.
    pub feeds: Option<leaderless::Feeds>,
    /// Of a store with a leader in each region: which is cut off.
    pub cut: Option<regions::Cut>,
}

/// Everything that the demo found out.
#[derive(Debug)]
pub struct Results {
    /// Of each kill: what clients of the other replicas saw.
    pub kills: Vec<Survivors>,
    /// Per client, per write.
    pub outcomes: Vec<Vec<Outcome>>,
    /// Name of each replica, and what was found on it.
    pub found: Vec<(String, Found)>,
    /// Of each kill of a store without a leader: how what the replica missed came to it.
    pub mended: Vec<leaderless::Mended>,
    /// Of a store with a leader in each region: what became of what was written on both sides.
    pub healed: Option<regions::Healed>,
    /// Of the digests.
    pub verification: Verification,
    /// The first error answer that any client got.
    pub first_error: Option<String>,
}

impl Results {
    /// Writes with this outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.iter().flatten().filter(|&&o| o == outcome).count() as u64
    }

    /// Whether everything that the store promises was kept.
    pub fn hold(&self) -> bool {
        let acknowledged = self.count(Outcome::Acknowledged);
        acknowledged > 0
            && self.verification.holds()
            && self.found.iter().all(|(_, f)| f.lost == 0 && f.refused_present == 0 && f.acknowledged == acknowledged)
            && self.found.windows(2).all(|pair| pair[0].1 == pair[1].1)
            && self.kills.iter().all(|k| k.errors == 0)
            && self.mended.iter().all(leaderless::Mended::holds)
            && self.healed.iter().all(regions::Healed::holds)
    }
}

/// Runs the demo on a store that is ready.
///
/// # Errors
/// Where something that must happen does not happen in time, or the check itself fails.
pub async fn run(store: &Local, course: &Course, show: &mut Show) -> Result<Results, Failure> {
    let addresses: Vec<SocketAddr> = store.view().borrow().replicas.iter().map(|r| r.address).collect();
    let mut events = store.events();
    let load = Load::start(Places::fixed(addresses.clone()), course.clients);
    show.load_begins(course.clients, addresses.len());
    let mut rate = Rate::new();
    watch(store, &load, &mut rate, show, WARM_UP).await;
    let leaderless = store.view().borrow().leaderless;
    let (mut done, mut mended) = (Vec::new(), Vec::new());
    for number in (1..=course.kills).map(|number| (number, course.kills)) {
        if leaderless {
            let kill = leaderless::Kill::begin(store, &load, &mut events, &mut rate, show, number)?;
            let (survivors, how) = kill.run(course.feeds.as_ref()).await?;
            done.push(survivors);
            mended.push(how);
        } else {
            done.push(kill(store, &load, &mut events, &mut rate, show, number).await?);
        }
        watch(store, &load, &mut rate, show, AFTERWARDS).await;
    }
    let mut healed = None;
    if let Some(cut) = &course.cut {
        healed = Some(regions::run(store, &load, &mut rate, show, cut).await?);
        watch(store, &load, &mut rate, show, AFTERWARDS).await;
    }
    let first_error = load.first_error();
    let outcomes = load.finish().await.map_err(Failure::from_error)?;
    show.checks(outcomes.iter().flatten().filter(|&&o| o == Outcome::Acknowledged).count() as u64, addresses.len());
    let verification = store.verify(STEP_MAX).await.map_err(Failure::from_error)?;
    let names: Vec<String> = store.view().borrow().replicas.iter().map(|r| r.name.clone()).collect();
    let mut found = Vec::new();
    for (name, address) in names.into_iter().zip(addresses) {
        let result = ledger::check(address, None, &outcomes).await;
        found.push((name.clone(), result.map_err(|e| Failure::Failed(format!("{name} could not be read: {e}")))?));
        for how in &mut mended {
            how.look(address).await?;
        }
    }
    Ok(Results { kills: done, outcomes, found, mended, healed, verification, first_error })
}

/// Changes the store, as `trireme apply` does.
async fn apply(dir: &Path, text: &str) -> Result<(), Failure> {
    let applied = async {
        let mut running = Running::open(dir).await?;
        running.apply(text.to_owned()).await?;
        loop {
            match running.answer().await? {
                Answer::Done(_) => return Ok(()),
                Answer::Refused(why) => return Err(Failure::Failed(format!("the store was not changed: {why}"))),
                Answer::Happened(_) => {}
            }
        }
    };
    let seconds = STEP_MAX.as_secs();
    let late = |_| Failure::Failed(format!("the store was not changed {seconds} s after it was asked for"));
    timeout(STEP_MAX, applied).await.map_err(late)?
}

/// Lets the load run, with the live line.
async fn watch(store: &Local, load: &Load, rate: &mut Rate, show: &mut Show, time: Duration) {
    let end = Instant::now() + time;
    let mut frames = interval(FRAME);
    while Instant::now() < end {
        frames.tick().await;
        rate.frame(store, load, show);
    }
}

/// Kills the leader, and shows what happens until the store is whole again.
async fn kill(
    store: &Local,
    load: &Load,
    events: &mut Receiver<Event>,
    rate: &mut Rate,
    show: &mut Show,
    number: (u32, u32),
) -> Result<Survivors, Failure> {
    let (index, victim, pid) = leader(&store.view().borrow())?;
    // What happened before the kill is of no interest any more.
    while events.try_recv().is_ok() {}
    let mark = load.mark();
    let killed = Instant::now();
    let killed_ms = trireme_local::unix_ms();
    kill_process(pid, Signal::KILL).map_err(|e| Failure::Failed(format!("{victim} could not be killed: {e}")))?;
    show.killed(&format!("{victim}, the leader"), pid.as_raw_nonzero().get(), number);
    let whole = async {
        let mut frames = interval(FRAME);
        let (mut promoted, mut served) = (false, false);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => {
                        promoted |= event.get("decision").is_some_and(|decision| decision == "serving");
                        show.event(&event, killed_ms, &store.view().borrow());
                    }
                    Err(RecvError::Lagged(missed)) => show.missed(missed),
                    Err(RecvError::Closed) => return,
                },
                _ = frames.tick() => {
                    rate.frame(store, load, show);
                    if promoted && !served && let Some(first) = resumed(load, &mark, index, killed) {
                        served = true;
                        show.served_again(first - killed);
                    }
                    let view = store.view().borrow().clone();
                    if served && view.is_whole() {
                        return;
                    }
                }
            }
        }
    };
    if timeout(STEP_MAX, whole).await.is_err() {
        let view = store.view().borrow().clone();
        return Err(Failure::Failed(format!(
            "after the kill of {victim} the store was not whole again within {} s: {}, {} of {} replicas ready",
            STEP_MAX.as_secs(),
            view.who_serves(),
            view.ready(),
            view.replicas.len()
        )));
    }
    let whole_after = killed.elapsed();
    // Events of the last moments, in order, before the next line.
    sleep(Duration::from_millis(20)).await;
    while let Ok(event) = events.try_recv() {
        show.event(&event, killed_ms, &store.view().borrow());
    }
    let survivors = load.survivors(&mark, index);
    show.whole(&victim, whole_after, &survivors);
    Ok(survivors)
}

/// When clients of the survivors were served again after the kill, if they were.
fn resumed(load: &Load, mark: &[usize], killed_index: usize, killed: Instant) -> Option<Instant> {
    load.survivors(mark, killed_index).first.filter(|&first| first > killed)
}

fn leader(view: &View) -> Result<(usize, String, Pid), Failure> {
    let found = view.replicas.iter().enumerate().find(|(_, r)| view.leads(&r.name));
    let (index, replica) = found.ok_or_else(|| Failure::Failed("the store has no leader to be killed".to_owned()))?;
    let pid = i32::try_from(replica.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::Failed(format!("{} has no process", replica.name)))?;
    Ok((index, replica.name.clone(), pid))
}

/// Writes per second over the last second.
#[derive(Debug)]
struct Rate {
    began: Instant,
    samples: std::collections::VecDeque<(Instant, u64)>,
    printed: Instant,
}

impl Rate {
    fn new() -> Rate {
        let now = Instant::now();
        Rate { began: now, samples: std::collections::VecDeque::new(), printed: now }
    }

    fn frame(&mut self, store: &Local, load: &Load, show: &mut Show) {
        let (now, total) = (Instant::now(), load.acknowledged());
        self.samples.push_back((now, total));
        while self.samples.len() > 2 && now - self.samples[0].0 > Duration::from_millis(500) {
            self.samples.pop_front();
        }
        let (then, before) = self.samples[0];
        let seconds = (now - then).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let rate = ((total - before) as f64 / seconds) as u64;
        let view = store.view().borrow().clone();
        let line = now - self.printed >= Duration::from_secs(1);
        if line {
            self.printed = now;
        }
        show.rate(now - self.began, rate, total, &view, line);
    }
}

/// Removes the demo's directory.
///
/// # Errors
/// Where something in it cannot be removed.
pub fn remove(dir: &Path) -> Result<(), Failure> {
    std::fs::remove_dir_all(dir).map_err(|e| Failure::Failed(format!("{}: cannot be removed: {e}", dir.display())))
}
