//! Random runs with crashes at random points: what is found is what some prefix of the operations had made, and not less than was durable.

use super::{super::crash::Random, *};

/// What a disk holds, as far as the outside can see.
#[derive(Clone, Debug, Default, PartialEq)]
struct Logical {
    meta: Option<Meta>,
    checkpoint: Option<Checkpoint>,
    base: Position,
    log: Vec<Bytes>,
}

impl Logical {
    fn last(&self) -> Position {
        self.log.last().map_or(self.base, |record| position_of(record))
    }

    fn start(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.start.seq)
    }

    fn position(&self, seq: u64) -> Position {
        let index = (seq - self.base.seq) as usize;
        if index == 0 { self.base } else { position_of(&self.log[index - 1]) }
    }

    /// Whether this is what was found, with the log perhaps shortened at its beginning, by no more than allowed.
    fn is(&self, seen: &Seen, retain: u64) -> bool {
        if self.meta != seen.meta || self.checkpoint != seen.checkpoint || !self.log.ends_with(&seen.records) {
            return false;
        }
        let kept = self.log.len() - seen.records.len();
        kept == 0 || self.base.seq + (kept as u64) < retain.min(self.start() + 1)
    }

    /// This state with a checkpoint that was written beside the log: it may be there although what came after its end is not.
    fn with(&self, own: &Checkpoint) -> Option<Logical> {
        let fits = self.base.seq <= own.start.seq && own.whole_at.max(own.start.seq) <= self.last().seq;
        fits.then(|| Logical { checkpoint: Some(own.clone()), ..self.clone() })
    }
}

/// A run: the disk, what it should hold, and the states that a crash may leave.
struct Run {
    random: Random,
    now: Logical,
    /// Since the last moment at which everything was durable.
    states: Vec<Logical>,
    /// How many states came before these.
    forgotten: usize,
    /// The log after a reset that no checkpoint has confirmed.
    pending: Option<(Position, Vec<Bytes>)>,
    writing: Option<Checkpoint>,
    /// It is of the replica's own state: its steps go beside the log.
    own: bool,
    /// The end of one is handed out.
    finishing: Option<Checkpoint>,
    /// Those that came into force beside the log since everything was durable.
    in_force: Vec<Checkpoint>,
    /// Steps that were not begun, and those under way.
    steps: Vec<CheckpointOp>,
    beside: OwnCheckpoint,
    retain: u64,
    epoch: u64,
    committed: u64,
}

/// Steps of a checkpoint that go on beside the writes.
enum OwnCheckpoint {
    Idle,
    /// Begun; and whether its end is among them.
    UnderWay(CheckpointWork, bool),
    /// Done, and the disk has not heard of it.
    Done(Result<Option<InForce>, DiskError>),
}

impl Run {
    fn record(&mut self, seq: u64) -> Bytes {
        let mut payload = vec![0; self.random.below(10).pow(3) as usize];
        if self.random.below(3) > 0 {
            payload.fill(self.random.next() as u8);
        }
        self.epoch += u64::from(self.random.below(8) == 0);
        record_of(at(self.epoch, seq), &payload)
    }

    /// Last seq of the log that is written to, and the lowest after which it may be cut.
    fn bounds(&self) -> (u64, u64) {
        let handed_out = self.finishing.as_ref().map_or(0, |ending| ending.start.seq.max(ending.whole_at));
        let begun = self.writing.as_ref().map_or(0, |writing| writing.start.seq).max(handed_out);
        match &self.pending {
            Some((base, log)) => (log.last().map_or(*base, |record| position_of(record)).seq, base.seq.max(begun)),
            None => {
                let whole = self.now.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.whole_at);
                // Below what was retained the log may be gone.
                (
                    self.now.last().seq,
                    self.now.base.seq.max(whole).max(begun).max(self.retain.min(self.now.start() + 1)),
                )
            }
        }
    }

    fn log(&mut self) -> (&mut Vec<Bytes>, u64) {
        match &mut self.pending {
            Some((base, log)) => (log, base.seq),
            None => (&mut self.now.log, self.now.base.seq),
        }
    }

    /// One to three operations that belong together; what they make is noted.
    fn ops(&mut self) -> Vec<DiskOp> {
        let (last, low) = self.bounds();
        match self.random.below(14) {
            0..6 => {
                let count = 1 + self.random.below(3);
                let records: Vec<_> = (1..=count).map(|step| self.record(last + step)).collect();
                self.log().0.extend(records.iter().cloned());
                vec![append(&records)]
            }
            6 => {
                self.committed = self.committed.max(last);
                vec![DiskOp::Commit(last)]
            }
            7 => {
                let meta = meta_of(self.random.next());
                self.now.meta = Some(meta.clone());
                vec![DiskOp::Meta(Box::new(meta))]
            }
            8 if low < last => {
                let keep = low + self.random.below(last - low + 1);
                let (log, base) = self.log();
                log.truncate((keep - base) as usize);
                self.epoch += 1;
                vec![DiskOp::Truncate { last: keep }]
            }
            9 => {
                let from = self.random.below(self.now.last().seq + 1);
                self.retain = self.retain.max(from);
                vec![DiskOp::Retain { from }]
            }
            10 if self.pending.is_none() && self.no_steps() => {
                let start = self.now.start() + self.random.below(last - self.now.start() + 1);
                let start = start.max(self.now.base.seq);
                self.own = self.random.below(4) > 0;
                self.begin(self.now.position(start), vec![])
            }
            11 if self.random.below(3) == 0 && self.no_steps() => {
                self.own = false;
                self.epoch += 1;
                let position = at(self.epoch, last + 1 + self.random.below(50));
                self.pending = Some((position, Vec::new()));
                self.begin(position, vec![DiskOp::Reset { position }])
            }
            12 | 13 if self.writing.is_some() => {
                let step = self.go_on(last);
                self.hand_out(step, vec![])
            }
            _ => vec![],
        }
    }

    /// No steps are on their way beside the writes.
    fn no_steps(&self) -> bool {
        self.steps.is_empty() && matches!(self.beside, OwnCheckpoint::Idle) && self.finishing.is_none()
    }

    fn begin(&mut self, start: Position, ops: Vec<DiskOp>) -> Vec<DiskOp> {
        self.writing = Some(Checkpoint { start, whole_at: 0, meta: b"core".to_vec(), slots: BTreeMap::new() });
        self.hand_out(CheckpointOp::Begin { start, meta: Bytes::from_static(b"core") }, ops)
    }

    fn hand_out(&mut self, step: CheckpointOp, mut ops: Vec<DiskOp>) -> Vec<DiskOp> {
        match self.own {
            true => self.steps.push(step),
            false => ops.push(DiskOp::Snapshot(step)),
        }
        ops
    }

    fn go_on(&mut self, last: u64) -> CheckpointOp {
        let slot = self.writing.as_ref().map_or(0, |writing| writing.slots.len() as u16);
        let image = vec![slot as u8; self.random.below(700) as usize];
        let finish = self.random.below(3) == 0;
        let mut writing = self.writing.take().unwrap();
        if !finish {
            writing.slots.insert(slot, image.clone());
            self.writing = Some(writing);
            return CheckpointOp::Slot { slot, image: image.into() };
        }
        writing.whole_at = writing.start.seq + self.random.below(last - writing.start.seq + 1);
        let whole_at = writing.whole_at;
        if self.own {
            self.finishing = Some(writing);
        } else {
            self.now.checkpoint = Some(writing);
            if let Some((base, log)) = self.pending.take() {
                (self.now.base, self.now.log) = (base, log);
            }
        }
        CheckpointOp::Finish { whole_at }
    }

    /// Begins the next steps beside the writes, carries them out, or says what became of them. False: the machine has stopped.
    fn go_on_beside(&mut self, disk: &mut Disk<Model>, durability: Durability) -> bool {
        match std::mem::replace(&mut self.beside, OwnCheckpoint::Idle) {
            OwnCheckpoint::Idle if self.steps.is_empty() => {}
            OwnCheckpoint::Idle => {
                let steps = std::mem::take(&mut self.steps);
                let ends = steps.iter().any(|step| matches!(step, CheckpointOp::Finish { .. }));
                let Ok(work) = disk.checkpoint_work(steps) else { return false };
                self.beside = OwnCheckpoint::UnderWay(work, ends);
            }
            OwnCheckpoint::UnderWay(work, ends) => {
                if ends {
                    self.now.checkpoint = self.finishing.take();
                    self.in_force.extend(self.now.checkpoint.clone());
                    self.states.push(self.now.clone());
                }
                let done = work();
                if done.is_err() {
                    // The disk hears of it, and does nothing more.
                    assert!(disk.checkpointed(done).is_err() && disk.apply(&mut vec![]).is_err());
                    return false;
                }
                if durability == Durability::Disk {
                    self.all_durable();
                }
                self.beside = OwnCheckpoint::Done(done);
            }
            OwnCheckpoint::Done(done) => return disk.checkpointed(done).is_ok(),
        }
        true
    }

    fn batch(&mut self) -> Vec<DiskOp> {
        let mut ops = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let more = self.ops();
            if !more.is_empty() {
                self.states.push(self.now.clone());
                ops.extend(more);
            }
        }
        ops
    }

    /// The machine may crash: only what is now can be found.
    fn all_durable(&mut self) {
        self.in_force.clear();
        self.forgotten += self.states.len() - 1;
        self.states = vec![self.now.clone()];
    }

    /// After a crash: what was found is one of the states, and the run goes on from there.
    fn resume(&mut self, seen: &Seen, seed: u64) {
        let mut possible: Vec<Logical> = self.states.clone();
        for own in &self.in_force {
            possible.extend(self.states.iter().filter_map(|state| state.with(own)));
        }
        let found = possible.iter().rposition(|state| state.is(seen, self.retain));
        let Some(found) = found else {
            let lengths: Vec<_> = self.states.iter().map(|s| (s.base, s.last(), s.start(), s.meta.is_some())).collect();
            let first = seen.records.first().map(|r| position_of(r));
            let last = seen.records.last().map(|r| position_of(r));
            panic!("seed {seed}: found {first:?} to {last:?}, {:?}; possible {lengths:?}", seen.checkpoint);
        };
        self.now = possible[found].clone();
        self.in_force.clear();
        self.states = vec![self.now.clone()];
        self.pending = None;
        (self.writing, self.finishing, self.steps, self.beside) = (None, None, vec![], OwnCheckpoint::Idle);
        assert!(seen.committed <= self.committed.max(self.now.last().seq), "seed {seed}");
    }
}

fn run(seed: u64, durability: Durability) {
    let model = Model::new(seed);
    let mut run = Run {
        random: Random::new(seed),
        now: Logical::default(),
        states: vec![Logical::default()],
        forgotten: 0,
        pending: None,
        writing: None,
        own: false,
        finishing: None,
        in_force: vec![],
        steps: vec![],
        beside: OwnCheckpoint::Idle,
        retain: 0,
        epoch: 1,
        committed: 0,
    };
    let mut incarnation = None;
    let mut machine = false;
    for life in 0..5 {
        if run.random.below(2) == 0 && life > 0 {
            model.stop_after(run.random.below(60));
        }
        let opened = open_model(&model, durability);
        let mut seen = Seen::default();
        let recovered = opened.ok().and_then(|opened| {
            let mut disk = opened.disk;
            let recovered = disk.recover(&mut seen).ok()?;
            Some((disk, recovered))
        });
        if let Some((mut disk, recovered)) = recovered {
            assert_eq!(recovered.corruption, None, "seed {seed} life {life}: a crash is not damage");
            if durability == Durability::Disk {
                assert!(!recovered.tail_lost);
                let before = *incarnation.get_or_insert(recovered.identity.incarnation);
                assert_eq!(before, recovered.identity.incarnation, "seed {seed}");
            } else if machine {
                assert!(recovered.tail_lost, "seed {seed} life {life}");
            }
            run.resume(&seen, seed);
            let budget = run.random.below(400);
            if run.random.below(4) > 0 {
                model.stop_after(budget);
            }
            work(&mut run, &mut disk, durability);
        }
        machine = run.random.below(4) > 0;
        if machine {
            model.crash(run.random.next());
        } else {
            model.kill();
        }
    }
}

/// A sync under way beside the writes, and the number of the state that is durable once it is done.
type Beside = Option<(SyncWork, usize)>;

/// Begins a sync that goes on beside the writes, or ends the one under way. False: the machine has stopped.
fn sync_beside(run: &mut Run, disk: &mut Disk<Model>, beside: &mut Beside) -> bool {
    let Some((work, held)) = beside.take() else {
        return match disk.sync_work() {
            Ok(work) => {
                *beside = work.map(|work| (work, run.forgotten + run.states.len()));
                true
            }
            Err(_) => false,
        };
    };
    let done = work();
    let good = done.is_ok();
    if disk.synced(done).is_ok() && held > run.forgotten {
        run.states.drain(..held - run.forgotten - 1);
        run.forgotten = held - 1;
    }
    good
}

fn work(run: &mut Run, disk: &mut Disk<Model>, durability: Durability) {
    let mut beside = None;
    for _ in 0..40 {
        if durability == Durability::Memory && run.random.below(3) == 0 && !sync_beside(run, disk, &mut beside) {
            return;
        }
        if run.random.below(2) == 0 && !run.go_on_beside(disk, durability) {
            return;
        }
        let mut batch = tickets(run.batch());
        run.states.push(run.now.clone());
        match disk.apply(&mut batch) {
            Ok(_) if durability == Durability::Disk => run.all_durable(),
            Ok(_) => {
                if run.random.below(5) == 0 && disk.sync_now().is_ok() {
                    run.all_durable();
                }
            }
            Err(_) => return,
        }
        disk.space();
    }
}

#[test]
fn a_crash_leaves_what_some_prefix_made_and_all_that_was_durable() {
    for seed in 0..3000 {
        run(seed, Durability::Disk);
    }
}

#[test]
fn in_memory_durability_a_crash_leaves_a_prefix_and_says_that_the_tail_is_lost() {
    for seed in 0..1500 {
        run(seed, Durability::Memory);
    }
}
