//! One replica's process: started, waited for, started again after a back-off, as a kubelet would.
//!
//! A process gets a pipe as its standard input and ends by itself when that closes: no replica outlives the process that runs the store, however
//! that one ends. It is also how the whole store is stopped: SIGTERM to one replica means "hand over your leadership first", and when all of them
//! end there is nobody to hand it to.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, ChildStdin, Command},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use trireme_proto::ReplicaId;

use crate::happening::Happening;

/// Wait before the first restart; it doubles with each.
pub const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a restart, unless told otherwise.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// A process that ran for so long starts the back-off anew.
pub const BACK_OFF_RESET: Duration = Duration::from_secs(60);
/// How long a process may take to end by itself before it is killed.
pub const STOP_MAX: Duration = Duration::from_secs(10);
/// A log above this size is set aside when its process starts again; one such file is kept.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// How to start it.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub id: ReplicaId,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub log: PathBuf,
    /// Whether to start it again when it ends.
    pub restart: bool,
    /// The longest wait before that.
    pub back_off_max: Duration,
}

/// A replica's process, kept running until dropped or stopped.
#[derive(Debug)]
pub(crate) struct Keeper {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Keeper {
    pub fn start(launch: Launch, happenings: mpsc::Sender<Happening>) -> Keeper {
        let (stop, stopped) = watch::channel(false);
        Keeper { task: tokio::spawn(keep(launch, happenings, stopped)), stop }
    }

    /// Asks the process to end, without waiting.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether there is nothing to wait for any more.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it has ended.
    pub async fn ended(self) {
        self.stop();
        // A keeper that panicked has dropped its child, which kills it.
        let _ = self.task.await;
    }
}

async fn keep(launch: Launch, happenings: mpsc::Sender<Happening>, mut stop: watch::Receiver<bool>) {
    let id = launch.id;
    let mut back_off = BACK_OFF_FIRST.min(launch.back_off_max);
    loop {
        let since = Instant::now();
        let (pid, how) = match spawn(&launch) {
            Err(error) => (0, format!("{} could not be started: {error}", launch.program.display())),
            Ok(mut child) => {
                let pid = child.id().unwrap_or(0);
                // Held here, since waiting for a child closes the input that it still has.
                let input = child.stdin.take();
                // The receiver is only gone when everything ends: the child is stopped below then.
                let _ = happenings.send(Happening::Started { id, pid }).await;
                let ended = tokio::select! {
                    status = child.wait() => Some(status),
                    _ = stop.wait_for(|&stop| stop) => None,
                };
                match ended {
                    Some(status) => (pid, status.map_or_else(|e| e.to_string(), describe)),
                    None => {
                        end(&mut child, input).await;
                        let how = "stopped".to_owned();
                        let _ = happenings.send(Happening::Ended { id, pid, how, restart_in: None }).await;
                        return;
                    }
                }
            }
        };
        if since.elapsed() >= BACK_OFF_RESET {
            back_off = BACK_OFF_FIRST.min(launch.back_off_max);
        }
        let restart_in = launch.restart.then_some(back_off);
        let _ = happenings.send(Happening::Ended { id, pid, how, restart_in }).await;
        if !launch.restart {
            return;
        }
        tokio::select! {
            () = sleep(back_off) => {}
            _ = stop.wait_for(|&stop| stop) => return,
        }
        back_off = (back_off * 2).min(launch.back_off_max);
    }
}

/// How a replica's allocator behaves, unless the environment says otherwise. A log and its batches come and go in large pieces: to hand them back to the
/// kernel at once, and to take them as huge pages that are cleared first, costs a tenth of the writes.
const ALLOCATOR: [(&str, &str); 2] = [("MIMALLOC_ALLOW_THP", "0"), ("MIMALLOC_PURGE_DELAY", "2000")];

fn spawn(launch: &Launch) -> io::Result<Child> {
    let log = open_log(launch)?;
    Command::new(&launch.program)
        .args(&launch.arguments)
        .envs(ALLOCATOR.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()))
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C at the terminal goes to this process alone, which then stops the replicas in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn open_log(launch: &Launch) -> io::Result<File> {
    if fs::metadata(&launch.log).is_ok_and(|m| m.len() > LOG_BYTES_MAX) {
        fs::rename(&launch.log, launch.log.with_extension("log.old"))?;
    }
    OpenOptions::new().create(true).append(true).open(&launch.log)
}

/// Closes its standard input, which it takes as the end of the store, and makes sure that it ends.
async fn end(child: &mut Child, input: Option<ChildStdin>) {
    drop(input);
    if timeout(STOP_MAX, child.wait()).await.is_err() {
        // It may be stopped by a signal, or hang in a system call; what it acknowledged is on its disk.
        let _ = child.kill().await;
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (_, Some(9)) => "killed (SIGKILL)".to_owned(),
        (_, Some(signal)) => format!("ended by signal {signal}"),
        (Some(0), _) => "ended".to_owned(),
        (code, _) => format!("ended with status {}", code.unwrap_or(-1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(dir: &std::path::Path, script: &str, restart: bool) -> Launch {
        Launch {
            id: 1,
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            log: dir.join("x.log"),
            restart,
            back_off_max: BACK_OFF_MAX,
        }
    }

    async fn next(happenings: &mut mpsc::Receiver<Happening>) -> Happening {
        timeout(Duration::from_secs(20), happenings.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_known_at_once_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, mut happenings) = mpsc::channel(8);
        let keeper = Keeper::start(launch(dir.path(), "kill -9 $$", false), sender);
        let Happening::Started { pid, .. } = next(&mut happenings).await else { panic!("not started") };
        match next(&mut happenings).await {
            Happening::Ended { id: 1, pid: ended, how, restart_in: None } => {
                assert_eq!((ended, how.as_str()), (pid, "killed (SIGKILL)"));
            }
            other => panic!("{other:?}"),
        }
        keeper.ended().await;
    }

    #[tokio::test]
    async fn an_ended_process_is_started_again_and_says_when() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, mut happenings) = mpsc::channel(8);
        let keeper = Keeper::start(launch(dir.path(), "exit 3", true), sender);
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(match next(&mut happenings).await {
                Happening::Started { .. } => "started".to_owned(),
                Happening::Ended { how, restart_in, .. } => format!("{how}, again in {restart_in:?}"),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(seen, ["started", "ended with status 3, again in Some(1s)", "started"]);
        keeper.ended().await;
    }

    #[tokio::test]
    async fn closing_its_input_stops_it() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, mut happenings) = mpsc::channel(8);
        let keeper = Keeper::start(launch(dir.path(), "cat; echo clean", true), sender);
        next(&mut happenings).await;
        assert!(timeout(Duration::from_millis(100), happenings.recv()).await.is_err(), "it ended by itself");
        keeper.ended().await;
        assert_eq!(fs::read_to_string(dir.path().join("x.log")).unwrap(), "clean\n");
    }
}
