//! The disk and its thread.
//!
//! The [`Disk`] belongs to one thread at a time and is handed back and forth with the work, so there is nothing to lock. Where copies count when they are fsynced, each batch
//! goes to the disk thread and what comes up meanwhile is gathered into the next one: one write and one fdatasync for all of it. Where they count when the
//! operating system has them, the core's thread writes them itself, as that costs less than to wake another thread; only what
//! waits for the device, or is much, is done there. The fsync once a second then needs no [`Disk`]: it has handles of its own, and another thread, so that writes go on.
//! Nor do the steps of a checkpoint, which have a third thread: no batch waits behind one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use trireme_proto::topology::Durability;
use trireme_replica::io::{CheckpointOp, DiskOp};

use crate::{
    beside::Beside,
    disk::{Applied, CheckpointWork, Disk, DiskError, InForce, Reached, Space, SyncWork},
};

/// Bytes that may be gathered before no more input is read.
const GATHERED_BYTES_MAX: usize = 64 << 20;
/// So many bytes are written by the disk thread wherever copies count: clients are served meanwhile.
pub(crate) const MUCH_BYTES: usize = 256 << 10;
/// Bytes of a snapshot that are written before appends get their turn.
const CHECKPOINT_BYTES_MAX: usize = 128 << 10;
/// How often the disk is looked after: room, and fsync where batches do without.
const CARE_EVERY: Duration = Duration::from_secs(1);

/// Upper bounds of the classes that [`Times`] are counted in, in seconds; there is one more for what took longer.
pub(crate) const BUCKETS: [f64; 8] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 1.0];

/// How long it took until something was as durable as asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// How many of each class.
    pub(crate) counts: [u64; BUCKETS.len() + 1],
    /// All together.
    pub(crate) seconds: f64,
}

impl Times {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.counts[BUCKETS.partition_point(|bound| *bound < seconds)] += 1;
        self.seconds += seconds;
    }
}

/// A batch of operations with their tickets.
type Batch = Vec<(u64, DiskOp)>;

/// What the writer needs of a [`Disk`]; in the shell's own tests, of one that fails.
pub(crate) trait Store: Send {
    /// See [`Disk::apply`].
    fn apply(&mut self, batch: &mut Batch) -> Result<Applied, DiskError>;
    /// See [`Disk::sync_work`].
    fn sync_work(&mut self) -> Result<Option<SyncWork>, DiskError>;
    /// See [`Disk::synced`].
    fn synced(&mut self, result: Result<Reached, DiskError>) -> Result<(), DiskError>;
    /// See [`Disk::checkpoint_work`].
    fn checkpoint_work(&mut self, steps: Vec<CheckpointOp>) -> Result<CheckpointWork, DiskError>;
    /// See [`Disk::checkpointed`].
    fn checkpointed(&mut self, result: Result<Option<InForce>, DiskError>) -> Result<(), DiskError>;
    /// See [`Disk::set_durability`].
    fn set_durability(&mut self, durability: Durability) -> Result<(), DiskError>;
    /// See [`Disk::space`].
    fn space(&mut self) -> Space;
    /// See [`Disk::close`].
    fn close(self: Box<Self>) -> Result<(), DiskError>;
}

impl Store for Disk {
    fn apply(&mut self, batch: &mut Batch) -> Result<Applied, DiskError> {
        Disk::apply(self, batch)
    }

    fn sync_work(&mut self) -> Result<Option<SyncWork>, DiskError> {
        Disk::sync_work(self)
    }

    fn synced(&mut self, result: Result<Reached, DiskError>) -> Result<(), DiskError> {
        Disk::synced(self, result)
    }

    fn checkpoint_work(&mut self, steps: Vec<CheckpointOp>) -> Result<CheckpointWork, DiskError> {
        Disk::checkpoint_work(self, steps)
    }

    fn checkpointed(&mut self, result: Result<Option<InForce>, DiskError>) -> Result<(), DiskError> {
        Disk::checkpointed(self, result)
    }

    fn set_durability(&mut self, durability: Durability) -> Result<(), DiskError> {
        Disk::set_durability(self, durability)
    }

    fn space(&mut self) -> Space {
        Disk::space(self)
    }

    fn close(self: Box<Self>) -> Result<(), DiskError> {
        Disk::close(*self)
    }
}

/// What has become of what was given to the disk.
#[derive(Debug)]
pub(crate) enum Written {
    /// Everything up to this ticket is as durable as asked for.
    Durable(u64),
    /// The steps of a checkpoint that were given are done.
    Checkpointed,
    /// The disk has become full (true) or has room again.
    Full(bool),
    /// The disk cannot go on.
    Failed(DiskError),
}

/// What the disk thread is to do.
enum Work {
    /// Carry out the batch.
    Apply,
    /// Look after the disk.
    Care,
    /// Counts differently from now on.
    SetDurability(Durability),
}

struct Job {
    disk: Box<dyn Store>,
    batch: Batch,
    work: Work,
}

struct Done {
    disk: Box<dyn Store>,
    /// Emptied, unless the disk was full.
    batch: Batch,
    ticket: Option<u64>,
    full: bool,
    /// The batch could not be finished for lack of room.
    stuck: bool,
    failed: Option<DiskError>,
    /// How long a batch took.
    took: Option<Duration>,
}

/// See the module.
pub(crate) struct Writer {
    /// `None` while the thread has it.
    disk: Option<Box<dyn Store>>,
    durability: Durability,
    wanted: Durability,
    gathered: Batch,
    gathered_bytes: usize,
    /// An emptied batch, to be used again.
    spare: Batch,
    /// There is so little room that the core refuses writes.
    full: bool,
    /// There is so little that even what is under way waits.
    stuck: bool,
    care_at: Instant,
    times: Times,
    worker: Beside<Done>,
    syncer: Beside<Result<Reached, DiskError>>,
    /// Steps of a checkpoint that are to be begun, and who carries them out.
    steps: Vec<CheckpointOp>,
    checkpointer: Beside<Result<Option<InForce>, DiskError>>,
    /// Some were dropped instead, and nobody was told.
    dropped: bool,
}

impl Writer {
    /// Starts the threads; they ring `wake` when they are done with something.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(crate) fn start(disk: Box<dyn Store>, durability: Durability, wake: Arc<Notify>) -> std::io::Result<Writer> {
        let syncer = Beside::start("sync", Arc::clone(&wake))?;
        let checkpointer = Beside::start("checkpoint", Arc::clone(&wake))?;
        let worker = Beside::start("disk", wake)?;
        Ok(Writer {
            disk: Some(disk),
            durability,
            wanted: durability,
            gathered: Batch::new(),
            gathered_bytes: 0,
            spare: Batch::new(),
            full: false,
            stuck: false,
            care_at: Instant::now() + CARE_EVERY,
            times: Times::default(),
            worker,
            syncer,
            steps: Vec::new(),
            checkpointer,
            dropped: false,
        })
    }

    /// How long it took so far.
    pub(crate) fn times(&self) -> Times {
        self.times
    }

    /// Takes in operations, and steps of a checkpoint; they are begun by [`Writer::advance`].
    pub(crate) fn put(&mut self, operations: &mut Batch, steps: &mut Vec<CheckpointOp>) {
        self.gathered_bytes += operations.iter().map(|(_, operation)| bytes_of(operation)).sum::<usize>();
        let begins = |(_, operation): &(u64, DiskOp)| matches!(operation, DiskOp::Snapshot(CheckpointOp::Begin { .. }));
        if operations.iter().any(begins) && !self.steps.is_empty() {
            // They would go on in the snapshot's file: what has not begun of another checkpoint never does.
            self.steps.clear();
            self.dropped = true;
        }
        self.gathered.append(operations);
        self.steps.append(steps);
    }

    /// When copies count from the next batch on.
    pub(crate) fn set_durability(&mut self, durability: Durability) {
        self.wanted = durability;
    }

    /// Whether so much is gathered that nothing more should be read.
    pub(crate) fn is_congested(&self) -> bool {
        self.gathered_bytes > GATHERED_BYTES_MAX
    }

    /// When to call [`Writer::advance`] again at the latest; `None` while the thread is at work, as it rings when it is done.
    pub(crate) fn care_at(&self) -> Option<Instant> {
        self.disk.is_some().then_some(self.care_at)
    }

    /// Takes back what the thread has done, and begins what can be begun.
    pub(crate) fn advance(&mut self, written: &mut Vec<Written>) {
        match self.worker.ended() {
            Ok(Some((done, _))) => self.take_back(done, written),
            Ok(None) => {}
            Err(gone) => return written.push(Written::Failed(gone.into())),
        }
        if std::mem::take(&mut self.dropped) {
            written.push(Written::Checkpointed);
        }
        let Some(mut disk) = self.disk.take() else { return };
        let beside = self.sync_beside(disk.as_mut()).and_then(|()| self.checkpoint_beside(disk.as_mut(), written));
        if let Err(error) = beside {
            self.disk = Some(disk);
            return written.push(Written::Failed(error));
        }
        let care = Instant::now() >= self.care_at;
        let work = if self.wanted != self.durability {
            self.durability = self.wanted;
            Work::SetDurability(self.wanted)
        } else if care {
            self.care_at = Instant::now() + CARE_EVERY;
            Work::Care
        } else if self.gathered.is_empty() || self.stuck || (self.checkpointer.is_busy() && self.has_snapshot()) {
            // Only care can find that there is room again; and a snapshot is written where a checkpoint is.
            self.disk = Some(disk);
            return;
        } else {
            Work::Apply
        };
        let mut job = Job { disk, batch: std::mem::take(&mut self.spare), work };
        if matches!(job.work, Work::Apply) {
            self.take_gathered(&mut job.batch);
        }
        let much = job.batch.iter().map(|(_, op)| bytes_of(op)).sum::<usize>() >= MUCH_BYTES;
        let waits = matches!(job.work, Work::SetDurability(_)) || job.batch.iter().any(|(_, op)| waits_for_device(op));
        if self.durability == Durability::Memory && !waits && !much {
            let care = matches!(job.work, Work::Care);
            let done = carry_out(job);
            self.take_back(done, written);
            if care {
                // What is gathered does not wait for the next one.
                self.advance(written);
            }
        } else if let Err(gone) = self.worker.begin(Box::new(move || carry_out(job))) {
            written.push(Written::Failed(gone.into()));
        }
    }

    fn has_snapshot(&self) -> bool {
        self.gathered.iter().any(|(_, operation)| matches!(operation, DiskOp::Snapshot(_)))
    }

    /// What goes to the disk next. Steps of a snapshot go by themselves and a few at a time: each may wait for the device, and appends wait behind it.
    fn take_gathered(&mut self, batch: &mut Batch) {
        let step = |operation: &DiskOp| matches!(operation, DiskOp::Snapshot(_));
        let steps = self.gathered.first().is_some_and(|(_, operation)| step(operation));
        let mut bytes = 0;
        let take = self.gathered.iter().position(|(_, operation)| {
            let enough = step(operation) != steps || (steps && bytes >= CHECKPOINT_BYTES_MAX);
            bytes += bytes_of(operation);
            enough
        });
        match take {
            Some(take) => {
                batch.extend(self.gathered.drain(..take));
                self.gathered_bytes -= batch.iter().map(|(_, operation)| bytes_of(operation)).sum::<usize>();
            }
            None => {
                std::mem::swap(batch, &mut self.gathered);
                self.gathered_bytes = 0;
            }
        }
    }

    /// Where copies count in memory: ends the sync beside the writes if it is done, and begins one if it is time.
    fn sync_beside(&mut self, disk: &mut dyn Store) -> Result<(), DiskError> {
        if let Some((result, took)) = self.syncer.ended()? {
            self.times.add(took);
            disk.synced(result)?;
        }
        if self.syncer.is_busy() || self.durability != Durability::Memory || Instant::now() < self.care_at {
            return Ok(());
        }
        match disk.sync_work()? {
            Some(work) => Ok(self.syncer.begin(work)?),
            None => Ok(()),
        }
    }

    /// Ends the steps of a checkpoint under way if they are done, and begins those that wait.
    fn checkpoint_beside(&mut self, disk: &mut dyn Store, written: &mut Vec<Written>) -> Result<(), DiskError> {
        if let Some((result, _)) = self.checkpointer.ended()? {
            disk.checkpointed(result)?;
            written.push(Written::Checkpointed);
        }
        if self.steps.is_empty() || self.checkpointer.is_busy() || self.has_snapshot() {
            return Ok(());
        }
        let work = disk.checkpoint_work(std::mem::take(&mut self.steps))?;
        Ok(self.checkpointer.begin(work)?)
    }

    fn take_back(&mut self, done: Done, written: &mut Vec<Written>) {
        if let Some(took) = done.took.filter(|_| self.durability == Durability::Disk) {
            self.times.add(took);
        }
        self.disk = Some(done.disk);
        self.stuck = done.stuck || (self.stuck && done.full);
        written.extend(done.ticket.map(Written::Durable));
        if self.full != done.full {
            self.full = done.full;
            written.push(Written::Full(done.full));
        }
        written.extend(done.failed.map(Written::Failed));
        let mut batch = done.batch;
        if batch.is_empty() {
            self.spare = batch;
        } else {
            // What found no room comes before what was gathered since.
            batch.append(&mut self.gathered);
            self.gathered = batch;
            self.gathered_bytes = self.gathered.iter().map(|(_, operation)| bytes_of(operation)).sum();
        }
    }

    /// Carries out what is left, and closes the disk as after a clean stop.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub(crate) fn close(mut self) -> Result<(), DiskError> {
        let mut written = Vec::new();
        if let Some(done) = self.worker.end()? {
            self.take_back(done, &mut written);
        }
        if let Some(error) =
            written.into_iter().find_map(|w| if let Written::Failed(error) = w { Some(error) } else { None })
        {
            return Err(error);
        }
        let Some(mut disk) = self.disk.take() else { return Ok(()) };
        // Both have ended before either is judged: nobody writes behind this.
        let (synced, checkpointed) = (self.syncer.end(), self.checkpointer.end());
        if let Some(result) = synced? {
            disk.synced(result)?;
        }
        if let Some(result) = checkpointed? {
            disk.checkpointed(result)?;
        }
        if !self.gathered.is_empty() {
            disk.apply(&mut self.gathered)?;
        }
        disk.close()
    }
}

/// Does one job.
fn carry_out(job: Job) -> Done {
    let Job { mut disk, mut batch, work } = job;
    let (mut ticket, mut full, mut stuck, mut failed) = (None, false, false, None);
    let begin = matches!(work, Work::Apply).then(Instant::now);
    let outcome = match work {
        Work::Apply => disk.apply(&mut batch).map(|applied| ticket = applied.ticket),
        Work::Care => Ok(()),
        Work::SetDurability(durability) => disk.set_durability(durability),
    };
    match outcome {
        Ok(()) => full = disk.space().full,
        Err(DiskError::Full { done, .. }) => (ticket, full, stuck) = (done, true, true),
        Err(error) => failed = Some(error),
    }
    let took = begin.map(|begin| begin.elapsed());
    Done { disk, batch, ticket, full, stuck, failed, took }
}

/// Operations after which even a write to memory waits for the device.
fn waits_for_device(operation: &DiskOp) -> bool {
    match operation {
        DiskOp::Append { .. } | DiskOp::Commit(_) | DiskOp::Retain { .. } => false,
        DiskOp::Snapshot(_)
        | DiskOp::Meta(_)
        | DiskOp::Truncate { .. }
        | DiskOp::KeepAside { .. }
        | DiskOp::Reset { .. } => true,
    }
}

fn bytes_of(operation: &DiskOp) -> usize {
    match operation {
        DiskOp::Append { bytes, .. } => bytes.len(),
        DiskOp::Snapshot(CheckpointOp::Slot { image, .. }) => image.len(),
        DiskOp::Snapshot(CheckpointOp::Begin { meta, .. }) => meta.len(),
        _ => 0,
    }
}
