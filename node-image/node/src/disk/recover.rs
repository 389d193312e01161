//! What a start finds. First everything is verified and judged, with nothing changed; then, if anything was lost, the new incarnation is written; only then
//! is damage set aside, an unfinished write cut and the rest handed out. A crash at any point leaves a directory that is judged the same way again,
//! or one whose incarnation nobody counts on yet.

use std::collections::VecDeque;

use trireme_proto::{Position, topology::Durability};
use trireme_replica::{
    io::{Identity, Meta},
    log::record::Kind,
};

use super::{
    checkpoint::{self, Head, ReadError},
    files::{File, Files, failed, read_whole, unsynced},
    identity, log,
    log::{Log, New, Segment},
    meta,
    segment::{self, End, HEADER_BYTES, Header, Records},
    spares::Spares,
    types::{Corruption, DiskError, RecoverError, Recovered, Restore, Sizes},
};

/// What was found, and what is to be done about it.
#[derive(Default)]
struct Judged {
    meta: Option<Meta>,
    checkpoint: Option<(Head, u64)>,
    chain: VecDeque<Segment>,
    /// The first damage that was met.
    damage: Option<Corruption>,
    /// Paths to be kept under another name.
    aside: Vec<String>,
    /// Paths that nothing needs any more.
    remove: Vec<String>,
    /// The last segment of the chain is to be kept as a copy before its end is cleared.
    copy: bool,
    /// Behind the end of the last segment of the chain stand records that a later segment has voided.
    limited: bool,
    torn: u64,
    next_serial: u64,
    /// The machine went down while the log's end was not durable: segments may lack writes, or be missing, before ones that are there.
    tail_lost: bool,
}

impl Judged {
    /// Whether the loss of the tail explains that something is missing before these segments: then they go, too.
    fn lost_before<F: Files>(&mut self, files: &F, later: &[Listed]) -> Result<bool, DiskError> {
        if !self.tail_lost {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        for segment in later {
            let Ok(header) = segment.header else { continue };
            let file = files.open(&segment.path).map_err(failed(&segment.path, "open"))?;
            read_whole(&file, &mut bytes).map_err(failed(&segment.path, "read"))?;
            if segment::was_durable(&bytes, &header) {
                return Ok(false);
            }
        }
        self.remove.extend(later.iter().rev().map(|segment| segment.path.clone()));
        Ok(true)
    }

    fn damaged(&mut self, file: &str, offset: u64, what: String) {
        self.damage.get_or_insert(Corruption { file: file.to_owned(), offset, what });
    }
}

/// A segment as the folder lists it.
struct Listed {
    path: String,
    serial: u64,
    first: u64,
    header: Result<Header, &'static str>,
}

/// What recovery leaves for the disk to go on with.
pub(super) struct Resumed<F: Files> {
    pub(super) recovered: Recovered,
    pub(super) log: Log<F>,
    /// Start of the checkpoint in force, and its floor.
    pub(super) checkpoint: Option<(Position, u64)>,
}

/// Recovers a directory.
pub(super) fn recover<F: Files, R: Restore>(
    files: &F,
    identity: &Identity,
    durability: Durability,
    sizes: Sizes,
    background: bool,
    into: &mut R,
) -> Result<Resumed<F>, RecoverError<R::Error>> {
    for folder in ["log", "checkpoint"] {
        files.make_folder(folder).map_err(failed(folder, "create"))?;
    }
    // What an ended process named and did not sync must not be taken back later: what is done here builds on it.
    for folder in ["", "log", "checkpoint"] {
        files.sync_folder(folder).map_err(unsynced(folder))?;
    }
    checkpoint::clear_unfinished(files).map_err(failed("checkpoint", "clear"))?;
    let tail_lost = identity::tail_lost(files)?;
    let mut buffer = Vec::new();
    let mut judged = judge(files, tail_lost, &mut buffer)?;
    let mut identity = identity.clone();
    if tail_lost || judged.damage.is_some() {
        identity.incarnation = identity::random(files)?;
        identity::write(files, &identity)?;
    }
    settle(files, &mut judged, &mut buffer)?;
    let wanted = sizes.reserve.max(1);
    // The machine may have forgotten that a spare had become a segment.
    let mut spares =
        Spares::open(files.clone(), wanted, sizes.segment, background, !tail_lost).map_err(failed("log", "list"))?;
    spares.write_zeros(durability == Durability::Disk);
    // Where the segment that voids something was set aside, its place must not stay empty: what was void would be found again, before what is written now.
    if judged.chain.is_empty() || judged.limited {
        let previous = judged.chain.back().map_or(Position::ZERO, |segment| segment.last);
        let serial = judged.next_serial;
        judged.next_serial += 1;
        let new = New { serial, previous, reset: false, length: sizes.segment, durable: true };
        let segment = log::create(files, &mut spares, &new)?;
        judged.chain.push_back(segment);
    }
    identity::mark(files, durability, false)?;
    meta::reserve(files).map_err(failed("reserve", "allocate"))?;
    let records = deliver(files, &mut judged, &mut buffer, into)?;
    let last = judged.chain.back().map_or(Position::ZERO, |segment| segment.last);
    let log = Log::resume(files.clone(), spares, judged.chain, judged.next_serial)?;
    let recovered =
        Recovered { identity, tail_lost, corruption: judged.damage, last, records, torn_bytes: judged.torn };
    let checkpoint = judged.checkpoint.map(|(head, _)| (head.start, head.floor));
    Ok(Resumed { recovered, log, checkpoint })
}

/// Reads and verifies everything, and changes nothing.
fn judge<F: Files>(files: &F, tail_lost: bool, buffer: &mut Vec<u8>) -> Result<Judged, DiskError> {
    let mut judged = Judged { tail_lost, ..Judged::default() };
    let mut remembered = true;
    match meta::read(files)? {
        Ok(None) => remembered = false,
        Ok(found) => judged.meta = found,
        Err(damage) => {
            judged.damage = Some(damage);
            judged.aside.push(meta::META.to_owned());
        }
    }
    let mut headless = false;
    match checkpoint::read(files, |_, _| Ok::<(), std::convert::Infallible>(())) {
        Ok(found) => judged.checkpoint = found,
        Err(ReadError::Corrupt(damage)) => {
            headless = true;
            judged.damage.get_or_insert(damage);
            judged.aside.push(checkpoint::CURRENT.to_owned());
        }
        Err(ReadError::Disk(error)) => return Err(error),
        Err(ReadError::Visitor(never)) => match never {},
    }
    let live = live_segments(files, &mut judged, headless)?;
    let missing = live.is_empty() && (remembered || judged.checkpoint.is_some());
    walk(files, &live, &mut judged, buffer)?;
    if missing {
        judged.damaged("log", 0, "the log is missing".to_owned());
    }
    weigh(&mut judged);
    Ok(judged)
}

/// Lists the segments that count, oldest first, none of which voids another wholly.
fn live_segments<F: Files>(files: &F, judged: &mut Judged, headless: bool) -> Result<Vec<Listed>, DiskError> {
    let floor = judged.checkpoint.as_ref().map_or(0, |(head, _)| head.floor);
    let mut listed = Vec::new();
    for name in files.list("log").map_err(failed("log", "list"))? {
        let Some((serial, first)) = segment::parse_name(&name) else { continue };
        let path = format!("log/{name}");
        let mut head = [0; HEADER_BYTES];
        let file = files.open(&path).map_err(failed(&path, "open"))?;
        let read = file.read_at(&mut head, 0).map_err(failed(&path, "read"))?;
        let header = match Header::decode(&head[..read]) {
            Ok(header) if header.serial != serial || header.previous.seq + 1 != first => {
                Err("the segment's header is another file's")
            }
            other => other,
        };
        judged.next_serial = judged.next_serial.max(serial);
        listed.push(Listed { path, serial, first, header });
    }
    judged.next_serial += 1;
    listed.sort_unstable_by_key(|segment| segment.serial);
    // A reset that no checkpoint confirmed never happened, nor did what was written after it.
    let pending = listed
        .iter()
        .find(|segment| segment.serial > floor && segment.header.is_ok_and(|header| header.reset))
        .map_or(u64::MAX, |segment| segment.serial);
    let mut live: Vec<Listed> = Vec::new();
    let mut limit = u64::MAX;
    for segment in listed.into_iter().rev() {
        let outside = segment.serial < floor || segment.serial >= pending;
        if outside || limit <= segment.first {
            // Without a checkpoint it is not known what a reset had made of the log: everything is kept.
            if headless { judged.aside.push(segment.path) } else { judged.remove.push(segment.path) }
        } else {
            limit = segment.first;
            live.push(segment);
        }
    }
    live.reverse();
    Ok(live)
}

/// Verifies the segments one after the other and takes those into the chain that follow one another.
fn walk<F: Files>(files: &F, live: &[Listed], judged: &mut Judged, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
    let start = judged.checkpoint.as_ref().map_or(0, |(head, _)| head.start.seq);
    for (index, listed) in live.iter().enumerate() {
        let next = live.get(index + 1);
        let header = match listed.header {
            Ok(header) => header,
            Err(what) => {
                if judged.lost_before(files, &live[index..])? {
                    return Ok(());
                }
                judged.damaged(&listed.path, 0, what.to_owned());
                judged.aside.extend(live[index..].iter().map(|segment| segment.path.clone()));
                return Ok(());
            }
        };
        let expected = judged.chain.back().map(|segment| segment.last);
        if expected.is_some_and(|last| last != header.previous) && header.previous.seq <= start {
            // What lies before a gap below the checkpoint was on its way out.
            judged.remove.extend(judged.chain.drain(..).map(|segment| segment.path));
        } else if expected.map_or(header.previous.seq > start, |last| last != header.previous) {
            if judged.lost_before(files, &live[index..])? {
                return Ok(());
            }
            let before = expected.map_or(start, |last| last.seq);
            let what = format!("it begins after {}, and what is before it ends at {before}", header.previous);
            judged.damaged(&listed.path, 0, what);
            judged.aside.extend(live[index..].iter().map(|segment| segment.path.clone()));
            return Ok(());
        }
        let file = files.open(&listed.path).map_err(failed(&listed.path, "open"))?;
        read_whole(&file, buffer).map_err(failed(&listed.path, "read"))?;
        let limit = next.map_or(u64::MAX, |next| next.first);
        let scan = segment::scan(buffer, &header, limit);
        // What is missing of a file is no room: the log goes on in another one.
        let header = Header { length: header.length.min(buffer.len() as u64), ..header };
        judged.limited = scan.limited;
        judged.chain.push_back(Segment { path: listed.path.clone(), header, last: scan.last, end: scan.end });
        let what = match (scan.how, next) {
            (End::Clean, None) => continue,
            (End::Torn(bytes), None) => {
                judged.torn = bytes;
                continue;
            }
            (_, Some(_)) if scan.last.seq + 1 >= limit => continue,
            (End::Clean | End::Torn(_), Some(_)) if judged.lost_before(files, &live[index + 1..])? => return Ok(()),
            (End::Corrupt { offset, what }, _) => (offset, what),
            (_, Some(next)) => (scan.end, format!("it ends at {}, and {} goes on later", scan.last, next.path)),
        };
        judged.damaged(&listed.path, what.0, what.1);
        if next.is_some_and(|next| next.first <= start + 1) {
            // The checkpoint covers what is lost: only peers could have needed it.
            judged.aside.extend(judged.chain.drain(..).map(|segment| segment.path));
            continue;
        }
        judged.copy = true;
        judged.aside.extend(live[index + 1..].iter().map(|segment| segment.path.clone()));
        return Ok(());
    }
    Ok(())
}

/// Decides whether the checkpoint and the log that was found make a state.
fn weigh(judged: &mut Judged) {
    let last = judged.chain.back().map_or(0, |segment| segment.last.seq);
    if let Some((head, whole_at)) = &judged.checkpoint {
        let needed = head.start.seq.max(*whole_at);
        if !judged.chain.is_empty() && last >= needed {
            return;
        }
        judged.damaged(checkpoint::CURRENT, 0, format!("it is whole at {needed} only, and the log ends at {last}"));
        judged.aside.push(checkpoint::CURRENT.to_owned());
        judged.checkpoint = None;
    }
    if judged.chain.front().is_some_and(|segment| segment.header.previous != Position::ZERO) {
        judged.aside.extend(judged.chain.drain(..).map(|segment| segment.path));
        judged.copy = false;
        judged.torn = 0;
    }
}

/// Sets damage aside, removes what is void, and makes the end of the log ready to be written.
fn settle<F: Files>(files: &F, judged: &mut Judged, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
    for path in &judged.aside {
        let kept = free_name(files, path)?;
        files.rename(path, &kept).map_err(failed(path, "rename"))?;
    }
    for path in &judged.remove {
        // One at a time, newest first: what followed an unconfirmed reset must not be found without it.
        files.remove(path).map_err(failed(path, "remove"))?;
        files.sync_folder("log").map_err(unsynced("log"))?;
    }
    for segment in judged.chain.range(..judged.chain.len().saturating_sub(1)) {
        // Durable already, unless an ended process counted copies before they were.
        let file = files.open(&segment.path).map_err(failed(&segment.path, "open"))?;
        file.sync().map_err(unsynced(&segment.path))?;
    }
    if let Some(active) = judged.chain.back() {
        let file = files.open(&active.path).map_err(failed(&active.path, "open"))?;
        read_whole(&file, buffer).map_err(failed(&active.path, "read"))?;
        if judged.copy {
            let kept = free_name(files, &active.path)?;
            let copy = files.create(&kept).map_err(failed(&kept, "create"))?;
            copy.write_at(buffer, 0).map_err(failed(&kept, "write"))?;
            copy.sync().map_err(unsynced(&kept))?;
            files.sync_folder("").map_err(unsynced("."))?;
        }
        let from = (active.end as usize).min(buffer.len());
        if let Some(until) = buffer[from..].iter().rposition(|b| *b != 0) {
            buffer[from..=from + until].fill(0);
            file.write_at(&buffer[from..=from + until], from as u64).map_err(failed(&active.path, "clear"))?;
        }
        // Also what an ended process wrote and never synced: it is about to be told as durable.
        file.sync().map_err(unsynced(&active.path))?;
    }
    for folder in ["log", "checkpoint", ""] {
        files.sync_folder(folder).map_err(unsynced(folder))?;
    }
    Ok(())
}

/// A name for something set aside that is not taken.
fn free_name<F: Files>(files: &F, path: &str) -> Result<String, DiskError> {
    let taken = files.list("").map_err(failed(".", "list"))?;
    let plain = format!("corrupt-{}", path.replace('/', "-"));
    let mut name = plain.clone();
    // Ends: there are only so many names taken.
    for number in 1..=taken.len() {
        if !taken.contains(&name) {
            break;
        }
        name = format!("{plain}.{number}");
    }
    Ok(name)
}

/// Hands everything out. Returns the number of records.
fn deliver<F: Files, R: Restore>(
    files: &F,
    judged: &mut Judged,
    buffer: &mut Vec<u8>,
    into: &mut R,
) -> Result<u64, RecoverError<R::Error>> {
    if let Some(meta) = judged.meta.take() {
        into.meta(meta);
    }
    if let Some((head, whole_at)) = &judged.checkpoint {
        let refused = |source| RecoverError::Restore { file: checkpoint::CURRENT.to_owned(), source };
        into.checkpoint(head.start, *whole_at, &head.meta).map_err(refused)?;
        match checkpoint::read(files, |slot, image| into.slot(slot, image)) {
            Ok(_) => {}
            Err(ReadError::Visitor(source)) => return Err(refused(source)),
            Err(ReadError::Disk(error)) => return Err(error.into()),
            Err(ReadError::Corrupt(damage)) => return Err(DiskError::Stopped(damage.to_string()).into()),
        }
    }
    let mut records = 0;
    for segment in &judged.chain {
        let file = files.open(&segment.path).map_err(failed(&segment.path, "open"))?;
        read_whole(&file, buffer).map_err(failed(&segment.path, "read"))?;
        for (record, whole) in Records::new(buffer, &segment.header, segment.end, segment.last.seq) {
            if record.kind == Kind::Commit {
                into.committed(record.position.seq);
            } else {
                into.record(whole).map_err(|source| RecoverError::Restore { file: segment.path.clone(), source })?;
                records += 1;
            }
        }
    }
    Ok(records)
}
