//! Empty segments, made ready ahead: space taken and zeros written, so that an append overwrites what is there and its fdatasync has no metadata to write.
//! Where nobody waits for an fdatasync (durability `Memory`) the space is taken only: to write zeros would double what is written.
//!
//! A spare is filled as `log/prepare-N` and called `log/spare-N` once that is durable. Segments that nobody needs any more are removed here, too.
//! A thread does it, where there is one, so that appends go on meanwhile.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use super::{
    files::{File, Files, is_full, unsynced},
    types::DiskError,
};

const CHUNK: usize = 1 << 20;
/// Zeros are made durable in steps, so that no sync of the log waits behind all of them.
const SYNC_EVERY: u64 = 4 << 20;

/// What the thread is to do.
enum Job {
    /// A spare: its number, its length, and whether zeros are written.
    Make(u64, u64, bool),
    /// A segment goes, durably before any that is told later.
    Remove(String),
}

/// What has become of it.
enum Done {
    Made(u64, io::Result<()>),
    Removed(Result<(), DiskError>),
}

/// The spares of one log.
#[derive(Debug)]
pub(super) struct Spares<F: Files> {
    files: F,
    /// How many are wanted, and how long.
    wanted: usize,
    length: u64,
    zeros: bool,
    ready: Vec<u64>,
    in_flight: usize,
    next: u64,
    /// The last one could not be made for lack of space.
    full: bool,
    /// A segment could not be removed.
    failed: Option<DiskError>,
    worker: Option<Worker>,
}

#[derive(Debug)]
struct Worker {
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
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
    /// Takes over the spares that are there if they are to be kept and are what they were made, and removes others and unfinished ones.
    pub(super) fn open(files: F, wanted: usize, length: u64, background: bool, keep: bool) -> io::Result<Spares<F>> {
        let mut spares = Spares {
            files,
            wanted,
            length,
            zeros: true,
            ready: Vec::new(),
            in_flight: 0,
            next: 1,
            full: false,
            failed: None,
            worker: None,
        };
        for name in spares.files.list("log")? {
            let spare = name.strip_prefix("spare-").and_then(|number| number.parse::<u64>().ok());
            let path = format!("log/{name}");
            if let Some(number) = spare
                && keep
                && spares.ready.len() < wanted
                // One that cannot be read is none: it holds nothing.
                && spares.files.open(&path).and_then(|file| is_empty(&file, length)).unwrap_or(false)
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

    /// Whether zeros are written into those that are made from now on.
    pub(super) fn write_zeros(&mut self, zeros: bool) {
        self.zeros = zeros;
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
        self.in_flight += 1;
        self.give(Job::Make(number, self.length, self.zeros));
    }

    /// Removes a segment that nobody needs any more.
    ///
    /// # Errors
    /// One could not be removed: now or before.
    pub(super) fn remove(&mut self, path: String) -> Result<(), DiskError> {
        self.give(Job::Remove(path));
        self.check()
    }

    /// Sees what has been done.
    ///
    /// # Errors
    /// A segment could not be removed.
    pub(super) fn check(&mut self) -> Result<(), DiskError> {
        self.collect();
        self.failed.take().map_or(Ok(()), Err)
    }

    fn give(&mut self, job: Job) {
        let job = match self.worker.as_ref().and_then(|worker| worker.jobs.as_ref()) {
            Some(jobs) => match jobs.send(job) {
                Ok(()) => return,
                Err(unsent) => unsent.0,
            },
            None => job,
        };
        // Nobody else does it.
        let done = job.carry_out(&self.files);
        self.done(done);
    }

    fn collect(&mut self) {
        while let Some(done) = self.worker.as_ref().and_then(|worker| worker.done.try_recv().ok()) {
            self.done(done);
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Made(number, result) => self.finished(number, result),
            Done::Removed(result) => self.failed = result.err().or(self.failed.take()),
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
            let Some(done) = self.worker.as_ref().and_then(|worker| worker.done.recv().ok()) else {
                return;
            };
            self.done(done);
        }
    }
}

fn start<F: Files>(files: F) -> io::Result<Worker> {
    let (jobs, todo) = channel::<Job>();
    let (tell, done) = channel();
    let thread = std::thread::Builder::new().name("spares".to_owned()).spawn(move || {
        let mut stuck = false;
        while let Ok(job) = todo.recv() {
            if stuck && matches!(job, Job::Remove(_)) {
                continue; // Those behind it would vanish before it.
            }
            let done = job.carry_out(&files);
            stuck |= matches!(done, Done::Removed(Err(_)));
            if tell.send(done).is_err() {
                return;
            }
        }
    })?;
    Ok(Worker { jobs: Some(jobs), done, thread: Some(thread) })
}

impl Job {
    fn carry_out<F: Files>(self, files: &F) -> Done {
        match self {
            Job::Make(number, length, zeros) => Done::Made(number, make(files, number, length, zeros)),
            Job::Remove(path) => Done::Removed(remove(files, &path)),
        }
    }
}

/// Removes a segment.
pub(super) fn remove<F: Files>(files: &F, path: &str) -> Result<(), DiskError> {
    let failed = |source| DiskError::Io { file: path.to_owned(), action: "remove", source };
    files.remove(path).map_err(failed)?;
    files.sync_folder("log").map_err(unsynced("log"))
}

/// Whether a file is zeros, so many: anything else behind the log's end would be taken for damage of the log.
fn is_empty<F: File>(file: &F, length: u64) -> io::Result<bool> {
    if file.length()? != length {
        return Ok(false);
    }
    let mut bytes = vec![0; CHUNK.min(length as usize)];
    let mut at = 0;
    while at < length {
        let read = file.read_at(&mut bytes, at)?;
        if read == 0 || bytes[..read].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += read as u64;
    }
    Ok(true)
}

fn make<F: Files>(files: &F, number: u64, length: u64, zeros: bool) -> io::Result<()> {
    let beside = format!("log/prepare-{number}");
    let result =
        fill(files, &beside, length, zeros).and_then(|()| files.rename(&beside, &format!("log/spare-{number}")));
    if result.is_err() {
        // The space may be needed by others; the failure itself is what is reported.
        let _ = files.remove(&beside);
    }
    result
}

fn fill<F: Files>(files: &F, path: &str, length: u64, zeros: bool) -> io::Result<()> {
    let file = files.create(path)?;
    file.allocate(length)?;
    if !zeros {
        return file.sync();
    }
    let mut at = 0;
    let zeros = vec![0; CHUNK.min(length as usize)];
    while at < length {
        let step = (length - at).min(zeros.len() as u64);
        file.write_at(&zeros[..step as usize], at)?;
        at += step;
        if at % SYNC_EVERY == 0 {
            file.sync()?;
        }
    }
    file.sync()
}
