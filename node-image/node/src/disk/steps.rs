//! The steps in which a checkpoint is written: in a batch with everything else, or on a thread of their own while the log goes on.

use trireme_replica::io::CheckpointOp;

use super::{
    Disk,
    checkpoint::Writer,
    files::Files,
    log::{Reached, Unsynced},
    real::Real,
    types::DiskError,
};

/// The checkpoint being written.
#[derive(Debug)]
pub(super) enum Writing<F: Files> {
    Nothing,
    /// It did not fit on the disk and was given up; what is left of it is passed over.
    Dropped,
    File(Box<Writer<F>>),
    /// [`StepsWork`] has it.
    Away,
}

/// Steps of a checkpoint, to be carried out on another thread.
pub type StepsWork<F = Real> = Box<dyn FnOnce() -> StepsDone<F> + Send>;

/// What has become of them.
#[derive(Debug)]
pub struct StepsDone<F: Files = Real> {
    writing: Writing<F>,
    outcome: Result<Outcome, DiskError>,
}

#[derive(Debug, Default)]
struct Outcome {
    /// The last one that was carried out.
    ticket: u64,
    /// Start of the checkpoint that is in force now.
    start: Option<u64>,
    /// How far the log was made durable.
    reached: Option<Reached>,
}

/// What the end of a checkpoint needs to know of the log.
#[derive(Debug)]
struct LogEnds {
    base: u64,
    last: u64,
    floor: u64,
    /// The checkpoint comes with a reset of the log.
    resets: bool,
}

#[cfg(test)]
impl StepsDone {
    /// Steps done by nobody.
    pub(crate) fn upto(ticket: u64) -> StepsDone {
        StepsDone { writing: Writing::Nothing, outcome: Ok(Outcome { ticket, ..Outcome::default() }) }
    }

    /// What [`Disk::steps_done`] returns.
    pub(crate) fn ticket(self) -> Result<u64, DiskError> {
        self.outcome.map(|outcome| outcome.ticket)
    }
}

impl<F: Files> Writing<F> {
    fn begin_or_add(&mut self, files: &F, step: &CheckpointOp, resets: bool) -> Result<(), DiskError> {
        let result = match (step, &mut *self) {
            (CheckpointOp::Begin { start, meta }, _) => {
                *self = Writing::Nothing;
                let begun = Writer::begin(files.clone(), *start, meta);
                begun.map(|writer| *self = Writing::File(Box::new(writer)))
            }
            (CheckpointOp::Slot { slot, image }, Writing::File(writer)) => writer.slot(*slot, image),
            (CheckpointOp::Slot { .. }, Writing::Dropped) => Ok(()),
            _ => Err(DiskError::Order("a slot, and no checkpoint was begun".to_owned())),
        };
        result.or_else(|error| self.give_up(error, resets))
    }

    /// One that does not fit is given up, so that the log and promises go on; one that comes with a reset waits.
    fn give_up(&mut self, error: DiskError, resets: bool) -> Result<(), DiskError> {
        if !matches!(error, DiskError::Full { .. }) || resets {
            return Err(error);
        }
        match std::mem::replace(self, Writing::Dropped) {
            Writing::File(writer) => writer.abandon(),
            _ => Ok(()),
        }
    }

    /// Ends it: its start, if it is in force now. The log is durable.
    fn finish(&mut self, whole_at: u64, log: &LogEnds) -> Result<Option<u64>, DiskError> {
        let writer = match self {
            Writing::Nothing | Writing::Away => {
                return Err(DiskError::Order("the end of a checkpoint that was not begun".to_owned()));
            }
            Writing::Dropped => {
                *self = Writing::Nothing;
                return Ok(None);
            }
            Writing::File(writer) => writer,
        };
        let start = writer.start();
        if start.seq < log.base || start.seq.max(whole_at) > log.last {
            let (base, last) = (log.base, log.last);
            let what = format!("a checkpoint from {start} to {whole_at}, and the log goes from {base} to {last}");
            return Err(DiskError::Order(what));
        }
        let in_force = match writer.finish(whole_at, log.floor) {
            Ok(()) => Some(start.seq),
            Err(error) => {
                self.give_up(error, log.resets)?;
                None
            }
        };
        *self = Writing::Nothing;
        Ok(in_force)
    }
}

impl<F: Files> Disk<F> {
    /// One step, here and now.
    pub(super) fn checkpoint_step(&mut self, step: &CheckpointOp) -> Result<(), DiskError> {
        let log = self.log.as_mut().ok_or_else(|| DiskError::Stopped("it was not recovered".to_owned()))?;
        let reset = log.pending_floor();
        let CheckpointOp::Finish { whole_at } = step else {
            return self.writer.begin_or_add(&self.files, step, reset.is_some());
        };
        log.sync()?;
        let ends = LogEnds {
            base: log.base().seq,
            last: log.last().seq,
            floor: reset.unwrap_or(self.floor),
            resets: reset.is_some(),
        };
        if let Some(start) = self.writer.finish(*whole_at, &ends)? {
            (self.start, self.floor) = (start, ends.floor);
            log.confirm_reset()?;
        }
        Ok(())
    }

    /// Steps to be carried out on another thread while everything else goes on here, but a reset of the log and steps of its checkpoint. What comes of it goes
    /// to [`Disk::steps_done`].
    ///
    /// # Errors
    /// See [`DiskError`]; all are fatal.
    pub fn steps_work(&mut self, steps: Vec<(u64, CheckpointOp)>) -> Result<StepsWork<F>, DiskError> {
        self.usable()?;
        let ends = steps.iter().any(|(_, step)| matches!(step, CheckpointOp::Finish { .. }));
        let result = self.log().and_then(|log| if ends { log.unsynced(false) } else { Ok(None) });
        let mut unsynced = self.note(result)?;
        let floor = self.floor;
        let log = self.log()?;
        let ends = LogEnds { base: log.base().seq, last: log.last().seq, floor, resets: false };
        let mut writing = std::mem::replace(&mut self.writer, Writing::Away);
        let files = self.files.clone();
        Ok(Box::new(move || {
            let outcome = carry_out(&mut writing, &files, &steps, &mut unsynced, &ends);
            StepsDone { writing, outcome }
        }))
    }

    /// Takes note of what became of [`Disk::steps_work`]: the ticket of the last step.
    ///
    /// # Errors
    /// A step failed: fatal.
    pub fn steps_done(&mut self, done: StepsDone<F>) -> Result<u64, DiskError> {
        self.writer = done.writing;
        let Outcome { ticket, start, reached } = self.note(done.outcome)?;
        self.start = start.unwrap_or(self.start);
        if let Some(reached) = reached {
            self.log()?.synced(reached, false);
        }
        Ok(ticket)
    }
}

fn carry_out<F: Files>(
    writing: &mut Writing<F>,
    files: &F,
    steps: &[(u64, CheckpointOp)],
    unsynced: &mut Option<Unsynced<F>>,
    ends: &LogEnds,
) -> Result<Outcome, DiskError> {
    let mut outcome = Outcome::default();
    for (ticket, step) in steps {
        if let CheckpointOp::Finish { whole_at } = step {
            // A start from it must find the log.
            if let Some(unsynced) = unsynced.take() {
                outcome.reached = Some(unsynced.sync()?);
            }
            outcome.start = writing.finish(*whole_at, ends)?.or(outcome.start);
        } else {
            writing.begin_or_add(files, step, false)?;
        }
        outcome.ticket = *ticket;
    }
    Ok(outcome)
}
