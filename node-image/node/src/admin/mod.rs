//! The HTTP port: `/livez`, `/readyz`, `/metrics`, `/status`, `/digests`.
//!
//! The server's tasks may not touch the core, which belongs to local tasks: they ask [`Asked::answer`] through a bounded channel. An answer thus also
//! shows that the core's thread is alive. While the disk is being read after a start there is no core yet: then [`Asked::answer_recovering`] answers.

mod digests;
mod metrics;
mod recovering;
mod status;

use std::{rc::Rc, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::timeout,
};
use trireme_proto::{Report, Topology, report::Role};

pub(crate) use self::{
    metrics::labels,
    recovering::{Counted, Progress},
};
use crate::shell::Shell;

/// Questions that may wait for an answer.
const QUESTIONS_MAX: usize = 64;
/// A question waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Ask {
    Live,
    Ready,
    Metrics,
    Status,
    Digests,
}

/// Status code, media type, body.
type Answer = (StatusCode, &'static str, String);
type Question = (Ask, oneshot::Sender<Answer>);
type Questions = mpsc::Sender<Question>;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4";

/// What is asked at the port; to be answered, or those who ask are told that nobody does.
pub(crate) struct Asked(mpsc::Receiver<Question>);

/// Serves the port for ever.
pub(crate) fn open(listener: TcpListener) -> Asked {
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let route = |what: Ask| get(move |State(questions): State<Questions>| ask(questions, what));
    let router = Router::new()
        .route("/livez", route(Ask::Live))
        .route("/readyz", route(Ask::Ready))
        .route("/metrics", route(Ask::Metrics))
        .route("/status", route(Ask::Status))
        .route("/digests", route(Ask::Digests))
        .with_state(questions);
    spawn_local(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP port has failed");
        }
    });
    Asked(asked)
}

async fn ask(questions: Questions, what: Ask) -> Response {
    let (reply, answer) = oneshot::channel();
    let asking = async { if questions.send((what, reply)).await.is_ok() { answer.await.ok() } else { None } };
    match timeout(PATIENCE, asking).await {
        Ok(Some((code, media, body))) => (code, [(CONTENT_TYPE, media)], body).into_response(),
        Ok(None) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the replica does not answer\n").into_response(),
    }
}

impl Asked {
    /// Answers for ever.
    pub(crate) async fn answer(mut self, shell: Rc<Shell>) {
        let gate = digests::Gate::default();
        while let Some((what, reply)) = self.0.recv().await {
            // Who asked may have gone.
            let _ = reply.send(answer(&shell, &gate, what));
        }
    }

    /// Answers until the disk is read: what came of that, or nothing if whoever read it is gone.
    pub(crate) async fn answer_recovering<T>(
        &mut self,
        labels: String,
        progress: &Arc<Progress>,
        mut recovered: oneshot::Receiver<T>,
    ) -> Option<T> {
        let mut recovering = recovering::Recovering::new(labels);
        loop {
            tokio::select! {
                biased;
                recovered = &mut recovered => return recovered.ok(),
                // It waits for more, for ever if the port has failed.
                Some((what, reply)) = self.0.recv() => {
                    let _ = reply.send(recovering.answer(what, progress.read()));
                }
            }
        }
    }
}

fn answer(shell: &Shell, gate: &digests::Gate, what: Ask) -> Answer {
    let report = shell.core.borrow().report(shell.clock.now());
    match what {
        Ask::Live => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        Ask::Ready => match readiness(&report, shell.core.borrow().topology()) {
            Ok(()) => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        },
        Ask::Metrics => (StatusCode::OK, METRICS, metrics::write(shell, &report)),
        Ask::Status => match serde_json::to_string(&status::of(shell, &report)) {
            Ok(json) => (StatusCode::OK, JSON, json),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        },
        Ask::Digests => gate.answer(|| shell.core.borrow().digests()),
    }
}

/// Whether clients are answered here: it serves as leader, or follows one that it hears.
fn readiness(report: &Report, topology: Option<&Topology>) -> Result<(), String> {
    let Some(topology) = topology else {
        return Err("no record of the store has been seen yet: waiting for the operator or a peer".into());
    };
    if report.leaving {
        return Err("it was told to end".into());
    }
    match report.role() {
        Role::Leader if report.serving => Ok(()),
        Role::Leader => Err(format!("leads epoch {}, and waits until its start entry is committed", topology.epoch)),
        Role::Follower if report.leader_silence_ms <= topology.settings.suspicion_ms => Ok(()),
        Role::Follower => Err(format!("its leader has been silent for {} ms", report.leader_silence_ms)),
        Role::Learner => Err("it is a learner: it is still copying its leader's state".into()),
        Role::Peer if report.serving => Ok(()),
        Role::Peer => Err("it cannot coordinate yet: it waits for a record that knows this life of its disk".into()),
        Role::Idle => {
            let phase = if topology.leader == 0 { "is being sealed" } else { "has one that was not heard" };
            Err(format!("it knows no leader: epoch {} {}", topology.epoch, phase))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_can_answer_clients_is_ready() {
        let mut topology = Topology::default();
        topology.settings.suspicion_ms = 1_000;
        let report = |role: Role, serving, leader_silence_ms| Report {
            role: role as i32,
            serving,
            leader_silence_ms,
            ..Report::default()
        };
        assert!(readiness(&report(Role::Leader, true, 0), None).unwrap_err().contains("record"));
        let leaving = Report { leaving: true, ..report(Role::Leader, true, 0) };
        assert!(readiness(&leaving, Some(&topology)).unwrap_err().contains("told to end"));
        for (report, ready) in [
            (report(Role::Leader, true, 0), true),
            (report(Role::Leader, false, 0), false),
            (report(Role::Follower, false, 1_000), true),
            (report(Role::Follower, false, 1_001), false),
            (report(Role::Learner, false, 0), false),
            (report(Role::Idle, false, 0), false),
            (report(Role::Peer, true, 0), true),
            (report(Role::Peer, false, 0), false),
        ] {
            assert_eq!(readiness(&report, Some(&topology)).is_ok(), ready, "{report:?}");
        }
    }
}
