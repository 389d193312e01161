//! A delta as bytes: self-contained, so that it can be joined anywhere, in any order, any number of times.
//!
//! ```text
//! flags     1: the context is the origin's own prefix up to the sequence before; 2: names follow
//! origin    group, generation, sequence (varints)
//! clock     8 bytes, little-endian
//! context   a received set, unless flag 1
//! names     how many, then the dots under which the changes were made before (recovery of a cut suffix), if flag 2
//! changes   to the end: operation (bits 0-3), part (bits 4-6), same key as before (bit 7); key; operands
//! ```

use trireme_proto::ids::{Dot, Origin};

use super::bytes::{DeltaError, Reader, put_bytes, put_number, put_signed};
use super::vector::{ReceivedSet, SEQ_MAX};

/// What of a key a record belongs to. The order is that of visibility when types collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Part {
    Value = 0,
    Hash = 1,
    Set = 2,
    SortedSet = 3,
    List = 4,
}

impl Part {
    pub(crate) fn from_bits(bits: u8) -> Option<Part> {
        [Part::Value, Part::Hash, Part::Set, Part::SortedSet, Part::List].get(bits as usize).copied()
    }
}

/// What an origin had seen when it made a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// Its own deltas before this one and nothing else: the case of one origin.
    Before(Dot),
    /// In general.
    Set(ReceivedSet),
}

impl Context {
    pub(crate) fn contains(&self, dot: Dot) -> bool {
        match self {
            Context::Before(own) => dot.origin == own.origin && dot.seq < own.seq,
            Context::Set(set) => set.contains(dot),
        }
    }

    /// Whether it holds everything in `received`.
    pub(crate) fn covers(&self, received: &ReceivedSet) -> bool {
        match self {
            Context::Before(own) => {
                received.origins().iter().all(|s| s.origin == own.origin && received.highest(s.origin) < own.seq)
            }
            Context::Set(set) => set.covers(received),
        }
    }

    /// Whether everything in it has been received.
    pub(crate) fn within(&self, received: &ReceivedSet) -> bool {
        match self {
            Context::Before(own) => own.seq <= 1 || received.upto(own.origin) + 1 >= own.seq,
            Context::Set(set) => received.covers(set),
        }
    }

    pub(crate) fn to_set(&self) -> ReceivedSet {
        match self {
            Context::Before(own) => {
                let mut set = ReceivedSet::default();
                set.insert_prefix(own.origin, own.seq - 1);
                set
            }
            Context::Set(set) => set.clone(),
        }
    }
}

/// A delta before its changes.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) dot: Dot,
    pub(crate) clock: u64,
    pub(crate) context: Context,
    /// The names that it had before, the first one first.
    pub(crate) names: Vec<Dot>,
}

/// One change of one key.
#[derive(Clone, Debug)]
pub(crate) enum Change<'a> {
    /// For the changes of this key that follow, the origin had seen this too: it came by joined state.
    Seen(ReceivedSet),
    /// The origin saw this total of another origin and cancels it.
    Reset { part: Part, name: &'a [u8], origin: Origin, seq: u64, total: i64 },
    /// Removes what was seen: all of the key, or all but its expiry.
    Clear { keep_expiry: bool },
    /// The same, then a string.
    Set { keep_expiry: bool, value: &'a [u8] },
    /// Removes what was seen of a field or member.
    Remove { part: Part, name: &'a [u8] },
    /// The same, then a value.
    Put { part: Part, name: &'a [u8], value: &'a [u8] },
    /// The origin's running total, replacing its last one; what this delta added; the base.
    Count { part: Part, name: &'a [u8], total: i64, by: i64, base: (u64, i64) },
    /// Replaces the expiry.
    Expire { at_ms: u64 },
    /// Removes the expiry.
    Persist,
}

const BEFORE: u8 = 1;
const NAMES: u8 = 2;
const SAME_KEY: u8 = 0x80;
const OPERATION: u8 = 0xf;

pub(crate) fn put_dot(out: &mut Vec<u8>, dot: Dot) {
    put_number(out, dot.origin.group.into());
    put_number(out, dot.origin.generation.into());
    put_number(out, dot.seq);
}

pub(crate) fn read_dot(reader: &mut Reader<'_>) -> Result<Dot, DeltaError> {
    let origin = Origin { group: reader.small()?, generation: reader.small()? };
    let dot = Dot { origin, seq: reader.number()? };
    if dot.seq == 0 || dot.seq > SEQ_MAX { reader.error("a sequence out of range") } else { Ok(dot) }
}

impl Header {
    /// `before`: the context is the origin's own prefix before the dot; it is passed so that the hot path builds no set.
    pub(crate) fn write(out: &mut Vec<u8>, dot: Dot, clock: u64, context: Option<&ReceivedSet>, names: &[Dot]) {
        out.push(if context.is_none() { BEFORE } else { 0 } | if names.is_empty() { 0 } else { NAMES });
        put_dot(out, dot);
        out.extend_from_slice(&clock.to_le_bytes());
        if let Some(context) = context {
            context.write(out);
        }
        if !names.is_empty() {
            put_number(out, names.len() as u64);
            names.iter().for_each(|name| put_dot(out, *name));
        }
    }

    /// What it begins with: flags, and its name.
    pub(crate) fn read_dot(reader: &mut Reader<'_>) -> Result<(u8, Dot), DeltaError> {
        let flags = reader.byte()?;
        if flags & !(BEFORE | NAMES) != 0 {
            return reader.error("unknown flags");
        }
        Ok((flags, read_dot(reader)?))
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Header, DeltaError> {
        let (flags, dot) = Header::read_dot(reader)?;
        let clock = reader.fixed()?;
        let context = if flags & BEFORE != 0 { Context::Before(dot) } else { Context::Set(ReceivedSet::read(reader)?) };
        if context.contains(dot) {
            return reader.error("a delta that has seen itself");
        }
        let mut names = Vec::new();
        if flags & NAMES != 0 {
            for _ in 0..reader.count(3)? {
                names.push(read_dot(reader)?);
            }
        }
        Ok(Header { dot, clock, context, names })
    }
}

/// Appends one change. `last_key` is where in `out` the key of the change before stands.
pub(crate) fn put_change(out: &mut Vec<u8>, last_key: &mut Option<(usize, usize)>, key: &[u8], change: &Change<'_>) {
    let same = last_key.is_some_and(|(begin, end)| &out[begin..end] == key);
    let (operation, part) = match change {
        Change::Seen(_) => (0, Part::Value),
        Change::Reset { part, .. } => (1, *part),
        Change::Clear { keep_expiry } => (2 + u8::from(*keep_expiry), Part::Value),
        Change::Set { keep_expiry, .. } => (4 + u8::from(*keep_expiry), Part::Value),
        Change::Remove { part, .. } => (6, *part),
        Change::Put { part, .. } => (7, *part),
        Change::Count { part, .. } => (8, *part),
        Change::Expire { .. } => (9, Part::Value),
        Change::Persist => (10, Part::Value),
    };
    out.push(operation | (part as u8) << 4 | if same { SAME_KEY } else { 0 });
    if !same {
        put_bytes(out, key);
        *last_key = Some((out.len() - key.len(), out.len()));
    }
    match change {
        Change::Seen(set) => set.write(out),
        Change::Reset { name, origin, seq, total, .. } => {
            put_bytes(out, name);
            put_dot(out, Dot { origin: *origin, seq: *seq });
            put_signed(out, *total);
        }
        Change::Clear { .. } | Change::Persist => {}
        Change::Set { value, .. } => put_bytes(out, value),
        Change::Remove { name, .. } => put_bytes(out, name),
        Change::Put { name, value, .. } => {
            put_bytes(out, name);
            put_bytes(out, value);
        }
        Change::Count { name, total, by, base, .. } => {
            put_bytes(out, name);
            put_signed(out, *total);
            put_signed(out, *by);
            put_number(out, base.0);
            put_signed(out, base.1);
        }
        Change::Expire { at_ms } => put_number(out, *at_ms),
    }
}

/// The key of the first change and the element that it is about, if any, where nothing that is long stands before them.
pub(crate) fn first_place(delta: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut reader = Reader { rest: delta };
    let (flags, _) = Header::read_dot(&mut reader).ok()?;
    if flags & BEFORE == 0 || flags & NAMES != 0 {
        return None;
    }
    reader.fixed().ok()?;
    let operation = reader.byte().ok()?;
    let key = if operation & SAME_KEY == 0 { reader.bytes().ok()? } else { return None };
    let names = matches!(operation & OPERATION, 6..=8);
    Some((key, names.then(|| reader.bytes().ok()).flatten()))
}

/// Reads the next change and its key; none at the end.
pub(crate) fn next_change<'a>(
    reader: &mut Reader<'a>,
    key: &mut Option<&'a [u8]>,
) -> Result<Option<Change<'a>>, DeltaError> {
    if reader.rest.is_empty() {
        return Ok(None);
    }
    let operation = reader.byte()?;
    if operation & SAME_KEY == 0 {
        *key = Some(reader.bytes()?);
    }
    if key.is_none() {
        return reader.error("the first change has no key");
    }
    let Some(part) = Part::from_bits(operation >> 4 & 7) else { return reader.error("an unknown part") };
    let change = match operation & OPERATION {
        0 => Change::Seen(ReceivedSet::read(reader)?),
        1 => {
            let (name, dot) = (reader.bytes()?, read_dot(reader)?);
            Change::Reset { part, name, origin: dot.origin, seq: dot.seq, total: reader.signed()? }
        }
        keep @ 2..=3 => Change::Clear { keep_expiry: keep == 3 },
        keep @ 4..=5 => Change::Set { keep_expiry: keep == 5, value: reader.bytes()? },
        6 => Change::Remove { part, name: reader.bytes()? },
        7 => Change::Put { part, name: reader.bytes()?, value: reader.bytes()? },
        8 => {
            let (name, total, by) = (reader.bytes()?, reader.signed()?, reader.signed()?);
            Change::Count { part, name, total, by, base: (reader.number()?, reader.signed()?) }
        }
        9 => Change::Expire { at_ms: reader.number()? },
        10 => Change::Persist,
        _ => return reader.error("an unknown operation"),
    };
    match &change {
        Change::Remove { part: Part::Value, .. } | Change::Put { part: Part::Value, .. } => {
            reader.error("an element of a string")
        }
        Change::Count { part: Part::Value, name, .. } | Change::Reset { part: Part::Value, name, .. }
            if !name.is_empty() =>
        {
            reader.error("an element of a string")
        }
        _ => Ok(Some(change)),
    }
}
