//! The drive loop: something happened, so a turn of the planner is taken. Nothing waits for a clock unless the planner asked for it.

use std::{future::pending, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use trireme_planner::{Decision, Desired, HumanRequest, Memory, turn};

use crate::{
    control::{Answer, Request},
    events::Event,
    happening::Happening,
    view::View,
    world::World,
};

/// Happenings taken in before a turn: the rest wait for the next one.
const BATCH_MAX: usize = 256;
/// How long a tool waits for a change of leaders.
const CHANGE_MAX: Duration = Duration::from_secs(60);
/// Tools that wait for a change of leaders at the same time.
const WAITING_MAX: usize = 16;

/// A tool that waits for a change of leaders.
struct Waiting {
    name: String,
    /// Version of the record when it asked: what was decided later counts.
    since: u64,
    answers: mpsc::Sender<Answer>,
    deadline: Instant,
}

/// Runs the store until told to stop; then ends its processes.
pub(crate) async fn drive(
    mut world: World,
    desired: Desired,
    mut happenings: mpsc::Receiver<Happening>,
    mut stop: watch::Receiver<bool>,
) {
    let began = Instant::now();
    let mut memory = Memory::default();
    let mut waiting = Vec::new();
    let mut deaf = false;
    loop {
        let turned = turn(&mut world, &desired, &mut memory, began.elapsed().as_millis() as u64).await;
        match &turned.failed {
            Some(error) if !deaf => tracing::error!(%error, "the record could not be written"),
            _ => {}
        }
        deaf = turned.failed.is_some();
        let decided = world.take_decided();
        settle(&mut waiting, &mut world, &decided);
        let recheck = turned.recheck_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
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

/// A tool asks for something.
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
    };
    let refuse = |why: String| {
        let _ = answers.try_send(Answer::Refused(why));
    };
    let view = world.view();
    if view.leaderless {
        return refuse("the store has no leader: every member takes reads and writes".to_owned());
    }
    let Some(name) = name.or_else(|| successor(&view)) else {
        return refuse("there is no follower that could take over: see `trireme status`".to_owned());
    };
    let Some(to) = world.id(&name) else {
        let names: Vec<&str> = view.replicas.iter().map(|r| r.name.as_str()).collect();
        return refuse(format!("the store has no replica `{name}`; it has {}", names.join(", ")));
    };
    if view.leader.as_ref() == Some(&name) {
        return refuse(format!("{name} leads already"));
    }
    if waiting.len() >= WAITING_MAX {
        return refuse(format!("{WAITING_MAX} changes of leader are waited for already"));
    }
    world.ask(match promote {
        Some(force) => HumanRequest::Promote { replica: to, force },
        None => HumanRequest::Switchover { to },
    });
    let since = world.record().map_or(0, |record| record.version);
    waiting.push(Waiting { name, since, answers, deadline: Instant::now() + CHANGE_MAX });
}

/// The member that is furthest on, if there is one beside the leader.
fn successor(view: &View) -> Option<String> {
    let ready = view.replicas.iter().filter(|r| r.ready && Some(&r.name) != view.leader.as_ref());
    let applied = |name: &str| view.status.replicas.iter().find(|r| r.name == name).map_or(0, |r| r.applied);
    // The first among equals.
    ready.rev().max_by_key(|r| applied(&r.name)).map(|r| r.name.clone())
}

/// Tells tools that wait what was decided, and lets go of those whose wait is over.
fn settle(waiting: &mut Vec<Waiting>, world: &mut World, decided: &[Decision]) {
    if waiting.is_empty() {
        return;
    }
    let version = world.record().map_or(0, |record| record.version);
    let leader = world.view().leader;
    waiting.retain(|tool| {
        let mut last = None;
        for decision in decided {
            // A tool that does not read misses lines; the last one then ends the connection.
            let _ = tool.answers.try_send(Answer::Event(Event::decision(decision)));
            if let Decision::Refused { .. } | Decision::HandoverFailed { .. } = decision {
                last = Some(Answer::Refused(decision.to_string()));
            }
        }
        if leader.as_ref() == Some(&tool.name) && version > tool.since {
            last = Some(Answer::Done(format!("{} leads", tool.name)));
        } else if Instant::now() >= tool.deadline {
            let seconds = CHANGE_MAX.as_secs();
            let why =
                format!("{} does not lead after {seconds} s; it may still come to it: see `trireme status`", tool.name);
            last = Some(Answer::Refused(why));
        }
        match last {
            Some(last) => {
                let _ = tool.answers.try_send(last);
                false
            }
            None => true,
        }
    });
}
