//! The log: segments in a chain, the last of which is written.
//!
//! Nothing that was written is ever overwritten: a cut is a new segment that begins inside or before an older one and voids what that holds from there on;
//! a reset is a new segment that counts once a checkpoint names its serial as the log's floor.

use std::collections::VecDeque;

use bytes::Bytes;
use trireme_proto::{Epoch, Position};
use trireme_replica::log::record::{self, Kind};

use super::{
    files::{File, Files, failed, is_full, read_whole, unsynced},
    segment::{self, FRAME_BYTES, HEADER_BYTES, Header, Records},
    spares::Spares,
    types::DiskError,
};

/// Payload at which a frame is closed although its batch goes on.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Larger buffers are given back after use.
const BUFFER_KEPT: usize = 8 << 20;

/// One file of the chain.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) path: String,
    pub(super) header: Header,
    /// Last record that counts. Of the segment being written it is the log's.
    pub(super) last: Position,
    /// Where its frames end.
    pub(super) end: u64,
}

/// Bytes of frames that `parts` appends and notes with so many bytes take at most.
pub(super) fn room_for(payload: u64, parts: u64) -> u64 {
    payload + (parts + 1) * 2 * segment::frame_bytes(0) as u64
}

/// A segment that is no longer written, and not durable yet.
#[derive(Debug)]
struct Left<F: Files> {
    file: F::File,
    path: String,
    serial: u64,
}

/// What of the log is not durable yet, to be made so by another thread while the log goes on.
#[derive(Debug)]
pub(super) struct Unsynced<F: Files> {
    files: F,
    /// In the order in which they were written: a segment is durable only when those before it are.
    segments: Vec<Left<F>>,
    named: bool,
    reached: Reached,
}

/// How far the log is durable: in the segment with this serial up to this offset, and all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    serial: u64,
    tail: u64,
}

impl<F: Files> Unsynced<F> {
    /// Makes it durable. An error is final.
    pub(super) fn sync(self) -> Result<Reached, DiskError> {
        if !self.named {
            self.files.sync_folder("log").map_err(unsynced("log"))?;
        }
        for segment in &self.segments {
            segment.file.sync().map_err(unsynced(&segment.path))?;
        }
        Ok(self.reached)
    }
}

/// The log of one replica.
#[derive(Debug)]
pub(super) struct Log<F: Files> {
    files: F,
    spares: Spares<F>,
    chain: VecDeque<Segment>,
    /// Segments before a reset that no checkpoint has confirmed yet.
    void: Vec<Segment>,
    reset: bool,
    file: F::File,
    /// Where the next frame goes; before `synced` all is durable, and all segments before if it is not 0.
    tail: u64,
    synced: u64,
    /// Segments before the one being written that are not durable; whether the names in the folder are.
    left: Vec<Left<F>>,
    named: bool,
    /// Last record, staged ones included.
    last: Position,
    next_serial: u64,
    /// The frame being gathered, with room for its header.
    frame: Vec<u8>,
}

impl<F: Files> Log<F> {
    /// Goes on with a chain, the end of whose last segment is durable.
    pub(super) fn resume(
        files: F,
        mut spares: Spares<F>,
        chain: VecDeque<Segment>,
        next_serial: u64,
    ) -> Result<Log<F>, DiskError> {
        let Some(active) = chain.back() else { return Err(DiskError::Stopped("there is no log".to_owned())) };
        let file = files.open(&active.path).map_err(failed(&active.path, "open"))?;
        spares.replenish();
        let (end, last) = (active.end, active.last);
        let frame = vec![0; FRAME_BYTES];
        let void = Vec::new();
        Ok(Log {
            files,
            spares,
            chain,
            void,
            reset: false,
            file,
            tail: end,
            synced: end,
            left: Vec::new(),
            named: true,
            last,
            next_serial,
            frame,
        })
    }

    pub(super) fn last(&self) -> Position {
        self.last
    }

    /// What the first record that is kept follows.
    pub(super) fn base(&self) -> Position {
        self.chain.front().map_or(Position::ZERO, |segment| segment.header.previous)
    }

    pub(super) fn spares(&mut self) -> &mut Spares<F> {
        &mut self.spares
    }

    /// Bytes that can be written without asking the file system.
    pub(super) fn reserved(&self) -> u64 {
        self.room() + self.spares.reserved()
    }

    fn room(&self) -> u64 {
        self.active().header.length.saturating_sub(self.tail)
    }

    fn active(&self) -> &Segment {
        // The chain is never empty: `resume` sees to it, and only older segments are ever taken off.
        &self.chain[self.chain.len() - 1]
    }

    /// Makes sure that so many bytes of frames will fit, so that writing them cannot fail for lack of space. `wait`: a segment that is full is durable, and the
    /// next one, before that is written; otherwise both become so with the next sync.
    pub(super) fn make_room(&mut self, needed: u64, wait: bool) -> Result<(), DiskError> {
        if self.room() >= needed {
            return Ok(());
        }
        // An empty segment may be the only witness of a cut: what takes its place must not be forgotten by a crash.
        let wait = wait || self.tail == HEADER_BYTES as u64;
        if wait {
            self.sync()?;
        } else {
            self.write()?;
        }
        self.add_segment(self.last, false, needed, wait)
    }

    /// Adds records to the frame being gathered.
    pub(super) fn append(&mut self, first: u64, last: u64, bytes: &Bytes) -> Result<(), DiskError> {
        if first != self.last.seq + 1 || last < first {
            return Err(DiskError::Order(format!("records {first} to {last} cannot follow {}", self.last)));
        }
        if self.frame.len() + bytes.len() > FRAME_BYTES_MAX {
            self.write()?;
        }
        let mut at = 0;
        while at < bytes.len() {
            let record = record::read_trusted(&bytes[at..]).map_err(|why| DiskError::Order(why.to_string()))?;
            if !segment::follows(&record, &self.last).map_err(DiskError::Order)? {
                return Err(DiskError::Order("a note among records".to_owned()));
            }
            self.last = record.position;
            at += record.bytes;
        }
        if self.last.seq != last {
            return Err(DiskError::Order(format!("records end at {}, not at {last}", self.last)));
        }
        self.frame.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds a note that everything up to `seq` is committed.
    pub(super) fn commit(&mut self, seq: u64) {
        let position = Position { epoch: Epoch::ZERO, seq: seq.min(self.last.seq) };
        record::append(&mut self.frame, position, Kind::Commit, None, |_| {});
    }

    /// Writes what was gathered; it is not durable yet.
    pub(super) fn write(&mut self) -> Result<(), DiskError> {
        if self.frame.len() == FRAME_BYTES {
            return Ok(());
        }
        let salt = self.active().header.salt;
        segment::seal_frame(&mut self.frame, self.tail, self.synced, salt);
        self.file.write_at(&self.frame, self.tail).map_err(|source| DiskError::Io {
            file: self.active().path.clone(),
            action: "write",
            source,
        })?;
        self.tail += self.frame.len() as u64;
        if self.frame.capacity() > BUFFER_KEPT {
            self.frame = Vec::new();
        }
        self.frame.clear();
        self.frame.resize(FRAME_BYTES, 0);
        Ok(())
    }

    /// Writes what was gathered and makes everything durable.
    pub(super) fn sync(&mut self) -> Result<(), DiskError> {
        self.write()?;
        if self.synced < self.tail {
            if !self.named {
                self.files.sync_folder("log").map_err(unsynced("log"))?;
            }
            for old in &self.left {
                old.file.sync().map_err(unsynced(&old.path))?;
            }
            self.file.sync().map_err(unsynced(&self.active().path))?;
            self.synced = self.tail;
            self.left.clear();
            self.named = true;
        }
        Ok(())
    }

    /// Writes what was gathered, and returns what is to be synced; `None` if everything is durable.
    pub(super) fn unsynced(&mut self) -> Result<Option<Unsynced<F>>, DiskError> {
        self.write()?;
        if self.synced >= self.tail {
            return Ok(None);
        }
        // Opened anew: the system tells each open file once that something was not written, whoever asks first.
        let anew = |path: &str, serial| match self.files.open(path) {
            Ok(file) => Ok(Left { file, path: path.to_owned(), serial }),
            Err(error) => Err(failed(path, "open again")(error)),
        };
        let mut segments = Vec::with_capacity(self.left.len() + 1);
        for old in &self.left {
            segments.push(anew(&old.path, old.serial)?);
        }
        let active = self.active();
        let reached = Reached { serial: active.header.serial, tail: self.tail };
        segments.push(anew(&active.path, reached.serial)?);
        Ok(Some(Unsynced { files: self.files.clone(), segments, named: self.named, reached }))
    }

    /// Takes note of what [`Unsynced::sync`] has done.
    pub(super) fn synced(&mut self, reached: Reached) {
        self.left.retain(|old| old.serial >= reached.serial);
        if self.active().header.serial == reached.serial {
            self.synced = self.synced.max(reached.tail);
            self.named = true;
        }
    }

    /// Goes on in a new segment, which is durable itself if `durable`: then what is in the old one must be, too.
    fn add_segment(&mut self, previous: Position, reset: bool, room: u64, durable: bool) -> Result<(), DiskError> {
        let needed = (room + HEADER_BYTES as u64).max(self.spares.length());
        let serial = self.next_serial;
        let new = New { serial, previous, reset, length: needed, durable };
        let segment = create(&self.files, &mut self.spares, &new)?;
        self.next_serial += 1;
        let file = self.files.open(&segment.path).map_err(failed(&segment.path, "open"))?;
        let file = std::mem::replace(&mut self.file, file);
        if self.synced < self.tail {
            let old = self.active();
            self.left.push(Left { file, path: old.path.clone(), serial: old.header.serial });
        }
        let (last, end) = (self.last, self.tail);
        self.tail = segment.end;
        self.synced = if durable { segment.end } else { 0 };
        self.named = durable;
        if let Some(old) = self.chain.back_mut() {
            (old.last, old.end) = (last, end);
        }
        self.last = previous;
        self.chain.push_back(segment);
        self.spares.replenish();
        Ok(())
    }

    /// Cuts the log after `last`; what is cut is returned as whole records, with the first one's position.
    pub(super) fn cut_off(&mut self, last: u64) -> Result<Option<(Position, Vec<u8>, Position)>, DiskError> {
        self.sync()?;
        if last >= self.last.seq {
            return Ok(None);
        }
        if last < self.base().seq {
            return Err(DiskError::Order(format!("cannot cut after {last}: the log begins after {}", self.base())));
        }
        let (mut stays, mut first, mut cut, mut bytes) = (self.base(), None, Vec::new(), Vec::new());
        let end = self.chain.len() - 1;
        for (index, segment) in self.chain.iter().enumerate() {
            let (until, seq) = if index == end { (self.tail, self.last.seq) } else { (segment.end, segment.last.seq) };
            if seq < last {
                continue;
            }
            let file = self.files.open(&segment.path).map_err(failed(&segment.path, "open"))?;
            read_whole(&file, &mut bytes).map_err(failed(&segment.path, "read"))?;
            if segment.header.previous.seq == last {
                stays = segment.header.previous;
            }
            for (record, whole) in Records::new(&bytes, &segment.header, until, seq) {
                match record.kind {
                    Kind::Commit => {}
                    _ if record.position.seq <= last => stays = record.position,
                    _ => {
                        first.get_or_insert(record.position);
                        cut.extend_from_slice(whole);
                    }
                }
            }
        }
        match first {
            Some(first) if stays.seq == last => Ok(Some((first, cut, stays))),
            _ => Err(DiskError::Stopped(format!("record {last} is not found in the log any more"))),
        }
    }

    /// Makes a cut take effect: the log goes on after `stays`, in a segment with room for so many bytes of frames.
    pub(super) fn truncate(&mut self, stays: Position, room: u64) -> Result<(), DiskError> {
        self.add_segment(stays, false, room, true)?;
        let new = self.chain.pop_back();
        let mut removed = Vec::new();
        while self.chain.back().is_some_and(|segment| segment.header.previous.seq >= stays.seq) {
            removed.extend(self.chain.pop_back());
        }
        if let Some(cut) = self.chain.back_mut() {
            cut.last = stays;
        }
        // The head of a reset is what a checkpoint will name; without an older segment the new one has to be it.
        let orphan = self.chain.is_empty() && self.reset;
        self.chain.extend(new);
        if orphan {
            // Its own head stays in front, empty: it holds nothing that counts.
            if let Some(mut head) = removed.pop() {
                head.last = head.header.previous;
                self.chain.push_front(head);
            }
        }
        self.discard(&removed)
    }

    /// Begins anew after `position`; takes effect by [`Log::confirm_reset`].
    pub(super) fn reset(&mut self, position: Position, room: u64) -> Result<(), DiskError> {
        self.sync()?;
        self.add_segment(position, true, room, true)?;
        let new = self.chain.pop_back();
        self.void.extend(self.chain.drain(..));
        self.chain.extend(new);
        self.reset = true;
        Ok(())
    }

    /// Serial of the segment that the pending reset made.
    pub(super) fn pending_floor(&self) -> Option<u64> {
        if self.reset { self.chain.front().map(|segment| segment.header.serial) } else { None }
    }

    /// The checkpoint that names the reset is durable: what was before may go.
    pub(super) fn confirm_reset(&mut self) -> Result<(), DiskError> {
        self.reset = false;
        let void = std::mem::take(&mut self.void);
        self.discard(&void)
    }

    /// Drops segments that lie wholly before `from`.
    pub(super) fn retain(&mut self, from: u64) -> Result<(), DiskError> {
        self.spares.check()?;
        if self.reset {
            return Ok(());
        }
        while self.chain.len() > 1 && self.chain[0].last.seq < from {
            let Some(old) = self.chain.pop_front() else { return Ok(()) };
            // One at a time, oldest first: a later one must not vanish before it.
            self.spares.remove(old.path)?;
        }
        Ok(())
    }

    fn discard(&mut self, segments: &[Segment]) -> Result<(), DiskError> {
        for segment in segments {
            self.files.remove(&segment.path).map_err(failed(&segment.path, "remove"))?;
        }
        if segments.is_empty() { Ok(()) } else { self.files.sync_folder("log").map_err(unsynced("log")) }
    }
}

/// A segment to be made.
pub(super) struct New {
    pub(super) serial: u64,
    pub(super) previous: Position,
    pub(super) reset: bool,
    /// Least length in bytes.
    pub(super) length: u64,
    /// Header and name are durable when it is made.
    pub(super) durable: bool,
}

/// Makes a segment.
pub(super) fn create<F: Files>(files: &F, spares: &mut Spares<F>, new: &New) -> Result<Segment, DiskError> {
    let New { serial, previous, reset, length, durable } = *new;
    let path = format!("log/{}", segment::name(serial, previous));
    let (beside, file) = match spares.take(length) {
        Some(spare) => {
            let file = files.open(&spare).map_err(failed(&spare, "open"))?;
            (spare, file)
        }
        None => {
            let beside = "log/prepare-0".to_owned();
            let made = files.create(&beside).and_then(|file| file.allocate(length).map(|()| file));
            let file = made.map_err(|error| {
                // A half-made file would keep the space that others need.
                let _ = files.remove(&beside);
                if is_full(&error) {
                    DiskError::Full { done: None, needed: length }
                } else {
                    failed(&beside, "allocate")(error)
                }
            })?;
            (beside, file)
        }
    };
    let length = file.length().map_err(failed(&beside, "measure"))?;
    let random = files.random().map_err(failed("/dev/urandom", "read"))?;
    let header = Header::new(serial, previous, reset, random, length);
    file.write_at(&header.encode(), 0).map_err(failed(&beside, "write"))?;
    if durable {
        file.sync().map_err(unsynced(&beside))?;
    }
    files.rename(&beside, &path).map_err(failed(&path, "rename"))?;
    if durable {
        files.sync_folder("log").map_err(unsynced("log"))?;
    }
    Ok(Segment { path, header, last: previous, end: HEADER_BYTES as u64 })
}
