//! The checkpoint that is being written: of the replica's own state, beside the log, on a thread of its own; or one that came as a snapshot, in order with the
//! log that comes with it. There is one of them at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use trireme_proto::Position;
use trireme_replica::io::CheckpointOp;

use super::{
    Disk,
    checkpoint::Writer,
    files::Files,
    log::{Reached, Unsynced},
    types::DiskError,
};

/// Steps of a checkpoint that wait for the device and need nothing but themselves.
pub type CheckpointWork = Box<dyn FnOnce() -> Result<Option<InForce>, DiskError> + Send>;

/// A checkpoint has come into force.
#[derive(Debug)]
pub struct InForce {
    start: u64,
    /// How far the log is durable by that.
    reached: Option<Reached>,
}

/// See the module.
#[derive(Debug)]
enum Stage<F: Files> {
    Nothing,
    /// It did not fit on the disk and was given up; what is left of it is passed over.
    Dropped,
    File(Box<Writer<F>>),
}

/// Whoever carries out steps has it for that time: nobody else is to want it then.
#[derive(Debug)]
pub(super) struct Building<F: Files>(Arc<Mutex<Stage<F>>>);

impl<F: Files> Clone for Building<F> {
    fn clone(&self) -> Self {
        Building(Arc::clone(&self.0))
    }
}

/// What the end of a checkpoint has to know of the log.
struct Span {
    base: Position,
    last: Position,
    /// Serial of the first segment that counts from now on.
    floor: u64,
    /// There is a log that counts only with it: it cannot be given up, and waits for room.
    waits: bool,
}

impl<F: Files> Building<F> {
    pub(super) fn nothing() -> Building<F> {
        Building(Arc::new(Mutex::new(Stage::Nothing)))
    }

    fn stage(&self) -> MutexGuard<'_, Stage<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, files: &F, start: Position, meta: &Bytes, waits: bool) -> Result<(), DiskError> {
        let mut stage = self.stage();
        *stage = Stage::Nothing;
        match Writer::begin(files.clone(), start, meta) {
            Ok(writer) => *stage = Stage::File(Box::new(writer)),
            Err(error) => give_up(&mut stage, error, waits)?,
        }
        Ok(())
    }

    fn slot(&self, slot: u16, image: &Bytes, waits: bool) -> Result<(), DiskError> {
        let mut stage = self.stage();
        match &mut *stage {
            Stage::Nothing => Err(DiskError::Order("a slot, and no checkpoint was begun".to_owned())),
            Stage::Dropped => Ok(()),
            Stage::File(writer) => match writer.slot(slot, image) {
                Ok(()) => Ok(()),
                Err(error) => give_up(&mut stage, error, waits),
            },
        }
    }

    /// Where the checkpoint starts that is in force now; none if it was given up.
    fn finish(&self, whole_at: u64, log: &Span) -> Result<Option<u64>, DiskError> {
        let mut stage = self.stage();
        let writer = match &mut *stage {
            Stage::Nothing => return Err(DiskError::Order("the end of a checkpoint that was not begun".to_owned())),
            Stage::Dropped => {
                *stage = Stage::Nothing;
                return Ok(None);
            }
            Stage::File(writer) => writer,
        };
        let (start, Span { base, last, .. }) = (writer.start(), log);
        if start.seq < base.seq || start.seq.max(whole_at) > last.seq {
            let what = format!("a checkpoint from {start} to {whole_at}, and the log goes from {base} to {last}");
            return Err(DiskError::Order(what));
        }
        let made = match writer.finish(whole_at, log.floor) {
            Ok(()) => Some(start.seq),
            Err(error) => {
                give_up(&mut stage, error, log.waits)?;
                None
            }
        };
        *stage = Stage::Nothing;
        Ok(made)
    }

    /// A snapshot was begun that did not fit.
    pub(super) fn is_dropped(&self) -> bool {
        matches!(*self.stage(), Stage::Dropped)
    }
}

/// A checkpoint that does not fit is given up, so that the log and promises go on, unless it has to wait.
fn give_up<F: Files>(stage: &mut Stage<F>, error: DiskError, waits: bool) -> Result<(), DiskError> {
    if waits || !matches!(error, DiskError::Full { .. }) {
        return Err(error);
    }
    match std::mem::replace(stage, Stage::Dropped) {
        Stage::File(writer) => writer.abandon(),
        Stage::Nothing | Stage::Dropped => Ok(()),
    }
}

impl<F: Files> Disk<F> {
    /// The next steps of a checkpoint of the replica's own state, to be carried out on another thread while the log goes on. What comes of it goes to
    /// [`Disk::checkpointed`] before there are more, or a snapshot.
    ///
    /// # Errors
    /// See [`DiskError`]; all are fatal.
    pub fn checkpoint_work(&mut self, steps: Vec<CheckpointOp>) -> Result<CheckpointWork, DiskError> {
        self.usable()?;
        let floor = self.floor;
        let result = self.log().and_then(|log| {
            if log.pending_floor().is_some() {
                return Err(DiskError::Order("a checkpoint while a snapshot is on its way".to_owned()));
            }
            let ends = steps.iter().any(|step| matches!(step, CheckpointOp::Finish { .. }));
            let unsynced = if ends { log.unsynced()? } else { None };
            Ok((Span { base: log.base(), last: log.last(), floor, waits: false }, unsynced))
        });
        let (log, unsynced) = self.note(result)?;
        let (building, files) = (self.building.clone(), self.files.clone());
        Ok(Box::new(move || carry_out(&building, &files, steps, &log, unsynced)))
    }

    /// Takes note of what became of [`Disk::checkpoint_work`].
    ///
    /// # Errors
    /// It failed: fatal, like any other failure.
    pub fn checkpointed(&mut self, result: Result<Option<InForce>, DiskError>) -> Result<(), DiskError> {
        let Some(InForce { start, reached }) = self.note(result)? else { return Ok(()) };
        self.usable()?;
        self.start = start;
        if let Some(reached) = reached {
            self.log()?.synced(reached);
        }
        let result = self.drop_old();
        self.note(result)
    }

    /// A step of one that came as a snapshot.
    pub(super) fn snapshot(&mut self, step: &CheckpointOp) -> Result<(), DiskError> {
        let waits = self.log()?.pending_floor().is_some();
        match step {
            CheckpointOp::Begin { start, meta } => self.building.begin(&self.files, *start, meta, waits),
            CheckpointOp::Slot { slot, image } => self.building.slot(*slot, image, waits),
            CheckpointOp::Finish { whole_at } => {
                let (building, floor) = (self.building.clone(), self.floor);
                let log = self.log()?;
                log.sync()?;
                let floor = log.pending_floor().unwrap_or(floor);
                let span = Span { base: log.base(), last: log.last(), floor, waits };
                let Some(start) = building.finish(*whole_at, &span)? else { return Ok(()) };
                log.confirm_reset()?;
                (self.start, self.floor) = (start, floor);
                Ok(())
            }
        }
    }
}

fn carry_out<F: Files>(
    building: &Building<F>,
    files: &F,
    steps: Vec<CheckpointOp>,
    log: &Span,
    mut unsynced: Option<Unsynced<F>>,
) -> Result<Option<InForce>, DiskError> {
    let mut made = None;
    for step in steps {
        match step {
            CheckpointOp::Begin { start, meta } => building.begin(files, start, &meta, false)?,
            CheckpointOp::Slot { slot, image } => building.slot(slot, &image, false)?,
            CheckpointOp::Finish { whole_at } => {
                // A start from it must find the log up to there.
                let reached = unsynced.take().map(Unsynced::sync).transpose()?;
                made = building.finish(whole_at, log)?.map(|start| InForce { start, reached });
            }
        }
    }
    Ok(made)
}
