//! Work that waits for the device, on a thread beside the one that writes.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use tokio::sync::Notify;

use crate::disk::DiskError;

/// A thread that does work beside the writes, one piece at a time.
pub(crate) struct Beside<T> {
    work: mpsc::Sender<Box<dyn FnOnce() -> T + Send>>,
    done: mpsc::Receiver<T>,
    thread: JoinHandle<()>,
    /// Something is under way.
    pub(crate) busy: bool,
}

impl<T: Send + 'static> Beside<T> {
    /// Starts the thread; it rings `wake` when it is done with something.
    pub(crate) fn start(name: &str, wake: Arc<Notify>) -> std::io::Result<Beside<T>> {
        let (work, todo) = mpsc::channel::<Box<dyn FnOnce() -> T + Send>>();
        let (report, done) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            for work in todo {
                if report.send(work()).is_err() {
                    return;
                }
                wake.notify_one();
            }
        })?;
        Ok(Beside { work, done, thread, busy: false })
    }

    /// Begins work; nothing else may be under way.
    pub(crate) fn begin(&mut self, work: Box<dyn FnOnce() -> T + Send>) -> Result<(), DiskError> {
        self.busy = true;
        self.work.send(work).map_err(|_| DiskError::Stopped("a thread beside the writes has ended".into()))
    }

    /// What has come of it, if it is done.
    pub(crate) fn take(&mut self) -> Option<T> {
        let done = self.done.try_recv().ok()?;
        self.busy = false;
        Some(done)
    }

    /// Waits for what is under way, and ends.
    pub(crate) fn end(self) -> Result<Option<T>, DiskError> {
        drop(self.work);
        self.thread.join().map_err(|_| DiskError::Stopped("a thread beside the writes has panicked".into()))?;
        Ok(self.done.try_recv().ok())
    }
}
