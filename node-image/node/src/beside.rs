//! A thread for work that waits for the device and needs nothing but itself: one piece of work at a time, beside everything else.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

type Work<R> = Box<dyn FnOnce() -> R + Send>;

/// See the module.
pub(crate) struct Beside<R> {
    work: mpsc::Sender<Work<R>>,
    /// What became of it, and how long it took.
    done: mpsc::Receiver<(R, Duration)>,
    thread: JoinHandle<()>,
    busy: bool,
}

/// The thread is gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl<R: Send + 'static> Beside<R> {
    /// Starts the thread; it rings `wake` when it is done with something.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(crate) fn start(name: &str, wake: Arc<Notify>) -> std::io::Result<Beside<R>> {
        let (work, todo) = mpsc::channel::<Work<R>>();
        let (report, done) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            for work in todo {
                let begin = Instant::now();
                let result = work();
                if report.send((result, begin.elapsed())).is_err() {
                    return;
                }
                wake.notify_one();
            }
        })?;
        Ok(Beside { work, done, thread, busy: false })
    }

    /// Whether something is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begins a piece of work; none is under way.
    ///
    /// # Errors
    /// The thread is gone.
    pub(crate) fn begin(&mut self, work: Work<R>) -> Result<(), Gone> {
        self.work.send(work).map_err(|_| Gone)?;
        self.busy = true;
        Ok(())
    }

    /// What became of the work that was under way, once.
    pub(crate) fn ended(&mut self) -> Option<(R, Duration)> {
        let done = self.done.try_recv().ok().filter(|_| self.busy)?;
        self.busy = false;
        Some(done)
    }

    /// Waits for what is under way, and for the thread's end.
    ///
    /// # Errors
    /// It has panicked.
    pub(crate) fn end(self) -> Result<Option<R>, Gone> {
        drop(self.work);
        self.thread.join().map_err(|_| Gone)?;
        Ok(self.done.try_iter().last().map(|(result, _)| result))
    }
}
