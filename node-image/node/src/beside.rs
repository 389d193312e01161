//! A thread for work that waits for the device and needs nothing but itself: one piece of work at a time, beside everything else.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::disk::DiskError;

type Work<R> = Box<dyn FnOnce() -> R + Send>;

/// See the module.
pub(crate) struct Beside<R> {
    /// None: it is told to end.
    work: Option<mpsc::Sender<Work<R>>>,
    /// What became of it, and how long it took.
    done: mpsc::Receiver<(R, Duration)>,
    thread: Option<JoinHandle<()>>,
    busy: bool,
    name: &'static str,
}

/// The thread with this name is gone, and what it had under way with it.
#[derive(Debug)]
pub(crate) struct Gone(&'static str);

impl From<Gone> for DiskError {
    fn from(Gone(name): Gone) -> DiskError {
        DiskError::Stopped(format!("its thread \"{name}\" has ended"))
    }
}

impl<R> Drop for Beside<R> {
    /// Waits for what is under way: nobody may write in a directory that is no longer locked.
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been seen, or nobody asks any more.
            let _ = thread.join();
        }
    }
}

impl<R: Send + 'static> Beside<R> {
    /// Starts the thread; it rings `wake` when it is done with something.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(crate) fn start(name: &'static str, wake: Arc<Notify>) -> std::io::Result<Beside<R>> {
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
        Ok(Beside { work: Some(work), done, thread: Some(thread), busy: false, name })
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
        let gone = || Gone(self.name);
        self.work.as_ref().ok_or_else(gone)?.send(work).map_err(|_| gone())?;
        self.busy = true;
        Ok(())
    }

    /// What became of the work that was under way, once.
    ///
    /// # Errors
    /// The thread is gone, and it will not be known.
    pub(crate) fn ended(&mut self) -> Result<Option<(R, Duration)>, Gone> {
        if !self.busy {
            return Ok(None);
        }
        match self.done.try_recv() {
            Ok(done) => {
                self.busy = false;
                Ok(Some(done))
            }
            Err(mpsc::TryRecvError::Empty) => Ok(None),
            Err(mpsc::TryRecvError::Disconnected) => Err(Gone(self.name)),
        }
    }

    /// Waits for what is under way, and for the thread's end.
    ///
    /// # Errors
    /// It has panicked.
    pub(crate) fn end(&mut self) -> Result<Option<R>, Gone> {
        self.work = None;
        let thread = self.thread.take();
        thread.and_then(|thread| thread.join().ok()).ok_or(Gone(self.name))?;
        Ok(self.done.try_iter().last().map(|(result, _)| result))
    }
}
