//! Empty segments, made ready ahead: space taken and zeros written, so that an append overwrites what is there and its fdatasync has no metadata to write.
//!
//! A spare is filled as `log/prepare-N` and called `log/spare-N` once that is durable.
//! A thread does it, where there is one, so that appends go on meanwhile.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use super::files::{File, Files, is_full};

const CHUNK: usize = 1 << 20;
/// Zeros are made durable in steps, so that no sync of the log waits behind all of them.
const SYNC_EVERY: u64 = 4 << 20;

/// A spare to be made: its number and its length.
struct Job {
    number: u64,
    length: u64,
}

/// The spares of one log.
#[derive(Debug)]
pub(super) struct Spares<F: Files> {
    files: F,
    /// How many are wanted, and how long.
    wanted: usize,
    length: u64,
    ready: Vec<u64>,
    in_flight: usize,
    next: u64,
    /// The last one could not be made for lack of space.
    full: bool,
    worker: Option<Worker>,
}

#[derive(Debug)]
struct Worker {
    jobs: Option<Sender<Job>>,
    done: Receiver<(u64, io::Result<()>)>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Worker {
    /// Waits for the one file under way: nobody may write in a directory that is no longer locked.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has left an unfinished spare, which the next start removes.
            let _ = thread.join();
        }
    }
}

impl<F: Files> Spares<F> {
    /// Takes over the spares that are there if they are to be kept, and removes others and unfinished ones.
    pub(super) fn open(files: F, wanted: usize, length: u64, background: bool, keep: bool) -> io::Result<Spares<F>> {
        let mut spares =
            Spares { files, wanted, length, ready: Vec::new(), in_flight: 0, next: 1, full: false, worker: None };
        for name in spares.files.list("log")? {
            let spare = name.strip_prefix("spare-").and_then(|number| number.parse::<u64>().ok());
            let path = format!("log/{name}");
            if let Some(number) = spare
                && keep
                && spares.files.open(&path)?.length()? == length
                && spares.ready.len() < wanted
            {
                spares.ready.push(number);
                spares.next = spares.next.max(number + 1);
            } else if spare.is_some() || name.starts_with("prepare-") {
                spares.files.remove(&path)?;
            }
        }
        if !keep {
            spares.files.sync_folder("log")?;
        }
        if background {
            spares.worker = Some(start(spares.files.clone())?);
        }
        Ok(spares)
    }

    /// Bytes of the spares that are ready.
    pub(super) fn reserved(&self) -> u64 {
        self.ready.len() as u64 * self.length
    }

    /// Whether there is no space for as many as are wanted.
    pub(super) fn full(&self) -> bool {
        self.full && self.ready.len() < self.wanted
    }

    /// Path of a spare of at least `length` bytes, if one is ready.
    pub(super) fn take(&mut self, length: u64) -> Option<String> {
        self.collect();
        if length > self.length {
            return None;
        }
        self.ready.pop().map(|number| format!("log/spare-{number}"))
    }

    /// Length of every spare.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Sees what has been made, and has made what is missing.
    pub(super) fn replenish(&mut self) {
        self.collect();
        // Counted beforehand: one that fails is tried again at the next call.
        for _ in self.ready.len() + self.in_flight..self.wanted {
            let number = self.number();
            self.request(number);
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn request(&mut self, number: u64) {
        let job = Job { number, length: self.length };
        self.in_flight += 1;
        match &self.worker {
            Some(worker) => {
                if worker.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
                    self.finished(number, Err(io::Error::other("the thread that fills spares is gone")));
                }
            }
            None => {
                let result = make(&self.files, &job);
                self.finished(number, result);
            }
        }
    }

    fn collect(&mut self) {
        while let Some((number, result)) = self.worker.as_ref().and_then(|worker| worker.done.try_recv().ok()) {
            self.finished(number, result);
        }
    }

    fn finished(&mut self, number: u64, result: io::Result<()>) {
        self.in_flight -= 1;
        match result {
            Ok(()) => {
                self.full = false;
                self.ready.push(number);
            }
            // Other failures meet the log itself when it needs space, and are reported there.
            Err(error) => self.full = is_full(&error) || self.full,
        }
    }

    /// Waits for spares under way.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        while self.in_flight > 0 {
            let Some((number, result)) = self.worker.as_ref().and_then(|worker| worker.done.recv().ok()) else {
                return;
            };
            self.finished(number, result);
        }
    }
}

fn start<F: Files>(files: F) -> io::Result<Worker> {
    let (jobs, todo) = channel::<Job>();
    let (tell, done) = channel();
    let thread = std::thread::Builder::new().name("spares".to_owned()).spawn(move || {
        while let Ok(job) = todo.recv() {
            if tell.send((job.number, make(&files, &job))).is_err() {
                return;
            }
        }
    })?;
    Ok(Worker { jobs: Some(jobs), done, thread: Some(thread) })
}

fn make<F: Files>(files: &F, job: &Job) -> io::Result<()> {
    let beside = format!("log/prepare-{}", job.number);
    let result = fill(files, &beside, job).and_then(|()| files.rename(&beside, &format!("log/spare-{}", job.number)));
    if result.is_err() {
        // The space may be needed by others; the failure itself is what is reported.
        let _ = files.remove(&beside);
    }
    result
}

fn fill<F: Files>(files: &F, path: &str, job: &Job) -> io::Result<()> {
    let file = files.create(path)?;
    file.allocate(job.length)?;
    let zeros = vec![0; CHUNK.min(job.length as usize)];
    let mut at = 0;
    while at < job.length {
        let step = (job.length - at).min(zeros.len() as u64);
        file.write_at(&zeros[..step as usize], at)?;
        at += step;
        if at % SYNC_EVERY == 0 {
            file.sync()?;
        }
    }
    file.sync()
}
