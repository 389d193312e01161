//! The drive loop: something happened, so a turn of the planner is taken for each group. Nothing waits for a clock unless the planner asked for it.

use std::{collections::BTreeMap, future::pending, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use trireme_planner::{Decision, HumanRequest, Memory, turn};

use crate::{
    apply,
    control::{Answer, Request},
    events::Event,
    happening::Happening,
    store::Runs,
    view::View,
    world::{InGroup, World},
};

/// Happenings taken in before a turn: the rest wait for the next one.
const BATCH_MAX: usize = 256;
/// How long a tool waits for a change.
const CHANGE_MAX: Duration = Duration::from_secs(60);
/// Tools that wait for a change at the same time.
const WAITING_MAX: usize = 16;

/// A tool that waits for a change.
struct Waiting {
    goal: Goal,
    /// Version of the record, of the group that is meant, when it asked: what was decided later counts.
    since: u64,
    answers: mpsc::Sender<Answer>,
    deadline: Instant,
}

/// What a tool waits for.
enum Goal {
    /// This replica leads.
    Leads(String),
    /// The records have become what the resource of this number asks for; another one that is wanted since takes its place.
    Is(u64),
}

/// What is wanted, and how often that has changed.
struct Wanted {
    runs: Runs,
    changes: u64,
}

/// Runs the store until told to stop; then ends its processes.
pub(crate) async fn drive(
    mut world: World,
    runs: Runs,
    mut happenings: mpsc::Receiver<Happening>,
    mut stop: watch::Receiver<bool>,
) {
    let began = Instant::now();
    let mut memories: BTreeMap<u32, Memory> = BTreeMap::new();
    let mut wanted = Wanted { runs, changes: 0 };
    let mut waiting = Vec::new();
    let mut deaf = false;
    loop {
        let records = world.records();
        let groups = wanted.runs.wanted(world.directory(), &records, world.told());
        world.plans_for(&groups);
        let (mut recheck_ms, mut failed) = (None, None);
        for desired in &groups {
            let memory = memories.entry(desired.group).or_default();
            let mut group = InGroup { world: &mut world, group: desired.group, of: groups.len() };
            let turned = turn(&mut group, desired, memory, began.elapsed().as_millis() as u64).await;
            recheck_ms = [recheck_ms, turned.recheck_ms].into_iter().flatten().min();
            failed = failed.or(turned.failed);
        }
        match &failed {
            Some(error) if !deaf => tracing::error!(%error, "the record could not be written"),
            _ => {}
        }
        deaf = failed.is_some();
        world.measure(&groups);
        let decided = world.take_decided();
        settle(&mut waiting, &mut world, &decided, &wanted);
        let recheck = recheck_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        let patience = waiting.iter().map(|w: &Waiting| w.deadline).min();
        let wake = recheck.into_iter().chain(patience).min();
        let first = tokio::select! {
            // In this order: a store that is told to stop decides nothing more.
            biased;
            _ = stop.wait_for(|&stop| stop) => break,
            happening = happenings.recv() => happening,
            () = until(wake) => None,
        };
        let more = std::iter::from_fn(|| happenings.try_recv().ok()).take(BATCH_MAX);
        for happening in first.into_iter().chain(more) {
            match happening {
                Happening::Asked { request: Request::Apply { text }, answers } => {
                    applied(&text, answers, &mut world, &mut waiting, &mut wanted);
                }
                Happening::Asked { request, answers } => asked(request, answers, &mut world, &mut waiting),
                other => world.absorb(other),
            }
        }
    }
    // What still happens is of no interest, but nobody must wait to say it.
    let end = tokio::spawn(async move { while happenings.recv().await.is_some() {} });
    world.stop().await;
    end.abort();
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// A tool wants the store to become something else.
fn applied(
    text: &str,
    answers: mpsc::Sender<Answer>,
    world: &mut World,
    waiting: &mut Vec<Waiting>,
    wanted: &mut Wanted,
) {
    let next = match waiting.len() {
        _ if wanted.runs.ticket().is_some() => Err(Answer::Invalid(
            "an edge has no YAML: what its store is to be is applied where the store runs".to_owned(),
        )),
        WAITING_MAX.. => Err(Answer::Refused(format!("{WAITING_MAX} changes are waited for already"))),
        _ => apply::apply(text, world).map_err(Answer::Invalid),
    };
    match next {
        Ok(next) => {
            *wanted = Wanted { runs: next, changes: wanted.changes + 1 };
            waiting.push(Waiting {
                goal: Goal::Is(wanted.changes),
                since: 0,
                answers,
                deadline: Instant::now() + CHANGE_MAX,
            });
        }
        // There is room: it is the first answer.
        Err(why) => drop(answers.try_send(why)),
    }
}

/// A tool asks for something else.
fn asked(request: Request, answers: mpsc::Sender<Answer>, world: &mut World, waiting: &mut Vec<Waiting>) {
    let (name, promote) = match request {
        Request::Status => {
            // There is room: it is the first answer.
            let _ = answers.try_send(Answer::Status(Box::new(world.view().status)));
            return;
        }
        Request::History => {
            // There is room for all of it, and for the last answer.
            let all = world.history().cloned().map(Answer::Event).chain([Answer::Done(String::new())]);
            all.for_each(|answer| drop(answers.try_send(answer)));
            return;
        }
        Request::Promote { replica, force } => (Some(replica), Some(force)),
        Request::Switchover { to } => (to, None),
        // Taken in where what is wanted is known.
        Request::Apply { .. } => return,
    };
    let refuse = |why: String| {
        let _ = answers.try_send(Answer::Refused(why));
    };
    let view = world.view();
    if view.leaderless {
        let why = "the store has no leader: every member takes reads and writes";
        return drop(answers.try_send(Answer::Invalid(why.to_owned())));
    }
    if name.is_none() && view.regions > 1 {
        return refuse("each region has a leader of its own: name the replica that is to take over".to_owned());
    }
    let Some(name) = name.or_else(|| successor(&view)) else {
        return refuse("there is no follower that could take over: see `trireme status`".to_owned());
    };
    let Some(to) = world.id(&name) else {
        let names: Vec<&str> = view.replicas.iter().map(|r| r.name.as_str()).collect();
        return refuse(format!("the store has no replica `{name}`; it has {}", names.join(", ")));
    };
    if view.leads(&name) {
        return refuse(format!("{name} leads already"));
    }
    if waiting.len() >= WAITING_MAX {
        return refuse(format!("{WAITING_MAX} changes are waited for already"));
    }
    world.ask(match promote {
        Some(force) => HumanRequest::Promote { replica: to, force },
        None => HumanRequest::Switchover { to },
    });
    let since = world.record_of(&name).map_or(0, |record| record.version);
    waiting.push(Waiting { goal: Goal::Leads(name), since, answers, deadline: Instant::now() + CHANGE_MAX });
}

/// The member that is furthest on, if there is one beside the leader.
fn successor(view: &View) -> Option<String> {
    let ready = view.replicas.iter().filter(|r| r.ready && !view.leads(&r.name));
    let applied = |name: &str| view.status.replicas.iter().find(|r| r.name == name).map_or(0, |r| r.applied);
    // The first among equals.
    ready.rev().max_by_key(|r| applied(&r.name)).map(|r| r.name.clone())
}

/// Tells tools that wait what was decided, and lets go of those whose wait is over.
fn settle(waiting: &mut Vec<Waiting>, world: &mut World, decided: &[Decision], wanted: &Wanted) {
    if waiting.is_empty() {
        return;
    }
    let (records, view, changes) = (world.records(), world.view(), wanted.changes);
    // A change of mode has more than one step: what is wanted of which groups is what these records make of it.
    let groups = &wanted.runs.wanted(world.directory(), &records, world.told());
    waiting.retain(|tool| {
        for decision in decided {
            // A tool that does not read misses lines; the last one then ends the connection.
            let _ = tool.answers.try_send(Answer::Event(Event::decision(decision)));
        }
        let late = Instant::now() >= tool.deadline;
        let last = match &tool.goal {
            Goal::Leads(name) => {
                let refused =
                    decided.iter().rfind(|d| matches!(d, Decision::Refused { .. } | Decision::HandoverFailed { .. }));
                match refused {
                    _ if view.leads(name)
                        && world.record_of(name).is_some_and(|record| record.version > tool.since) =>
                    {
                        Some(Answer::Done(format!("{name} leads")))
                    }
                    Some(refused) => Some(Answer::Refused(refused.to_string())),
                    None => late.then(|| too_late(&format!("{name} does not lead"))),
                }
            }
            Goal::Is(change) if *change != changes => {
                Some(Answer::Refused("another file has been applied since".to_owned()))
            }
            Goal::Is(_) if apply::is_done(&records, groups) => Some(Answer::Done(apply::describe(groups))),
            Goal::Is(_) => late.then(|| too_late(&format!("the store is not {} yet", apply::describe(groups)))),
        };
        let Some(last) = last else { return true };
        let _ = tool.answers.try_send(last);
        false
    });
}

fn too_late(what: &str) -> Answer {
    let seconds = CHANGE_MAX.as_secs();
    Answer::Refused(format!("{what} after {seconds} s; it may still come to it: see `trireme status`"))
}
