//! An image's keys, and what is beside them, as bytes.

use std::collections::BTreeMap;

use trireme_proto::ids::Dot;

use super::{KeyImage, Record};
use crate::engine::bytes::{DeltaError, Reader, put_bytes, put_number, put_signed};
use crate::engine::delta::{Part, put_dot, read_dot};
use crate::engine::state::cells::Handle;
use crate::engine::state::key::{Collection, Reset, Side, Target};
use crate::engine::state::register::Register;
use crate::engine::state::{State, version_of};
use crate::engine::vector::ReceivedSet;

/// What stands around a value and its name, in bytes, and more.
const AROUND_BYTES: usize = 64;

/// The same bytes for the same key, whatever happened before: parts, elements and records are in order.
pub(super) fn write_key(state: &State, handle: Handle, out: &mut Vec<u8>) {
    put_bytes(out, state.name(handle));
    if let Some(p) = state.cells.plain(handle) {
        put_number(out, version_of(p.dot));
        put_number(out, 1);
        return write_value((Part::Value, &[]), p.dot, p.clock, p.value, out);
    }
    let Some(key) = handle.as_key().and_then(|index| state.key(index)) else { return };
    let mut parts: Vec<_> = key.parts.iter().map(|(part, collection)| (*part, collection)).collect();
    parts.sort_unstable_by_key(|(part, _)| *part);
    let of_element = |element: Handle| state.cells.register(element).map_or(1, records_of);
    let elements: usize = parts.iter().flat_map(|(_, collection)| collection.table.iter()).map(of_element).sum();
    put_number(out, key.version);
    put_number(out, (records_of(&key.value) + key.expiry.len() + elements) as u64);
    write_register(Part::Value, &[], &key.value, out);
    for expiry in &key.expiry {
        write_place((Part::Value, &[]), 2, expiry.dot, out);
        out.extend_from_slice(&expiry.clock.to_le_bytes());
        put_number(out, expiry.at_ms);
    }
    for (part, collection) in parts {
        write_elements(state, part, collection, out);
    }
}

fn write_elements(state: &State, part: Part, collection: &Collection, out: &mut Vec<u8>) {
    for (name, element) in state.by_name(part, collection) {
        if let Some(p) = state.cells.plain(element) {
            write_value((part, name), p.dot, p.clock, p.value, out);
        } else if let Some(register) = state.cells.register(element) {
            write_register(part, name, register, out);
        }
    }
}

fn records_of(register: &Register) -> usize {
    register.siblings.len() + register.counts.len()
}

fn write_register(part: Part, name: &[u8], register: &Register, out: &mut Vec<u8>) {
    for sibling in &register.siblings {
        write_value((part, name), sibling.dot, sibling.clock, &sibling.value, out);
    }
    for count in &register.counts {
        write_place((part, name), 1, count.dot, out);
        put_signed(out, count.total);
        put_number(out, count.base.0);
        put_signed(out, count.base.1);
    }
}

fn write_value(at: (Part, &[u8]), dot: Dot, clock: u64, value: &[u8], out: &mut Vec<u8>) {
    // A large value is not moved when its image grows by what stands around it.
    out.reserve(at.1.len() + value.len() + AROUND_BYTES);
    write_place(at, 0, dot, out);
    out.extend_from_slice(&clock.to_le_bytes());
    put_bytes(out, value);
}

fn write_place(at: (Part, &[u8]), kind: u8, dot: Dot, out: &mut Vec<u8>) {
    out.push(at.0 as u8 | kind << 4);
    put_bytes(out, at.1);
    put_dot(out, dot);
}

fn read_part(reader: &mut Reader<'_>) -> Result<(Part, u8), DeltaError> {
    let byte = reader.byte()?;
    match Part::from_bits(byte & 0xf) {
        Some(part) => Ok((part, byte >> 4)),
        None => reader.error("an unknown part"),
    }
}

pub(super) fn read_key(reader: &mut Reader<'_>) -> Result<KeyImage, DeltaError> {
    let mut image = KeyImage { version: reader.number()?, records: BTreeMap::new() };
    for _ in 0..reader.count(6)? {
        let (part, kind) = read_part(reader)?;
        let (name, dot) = (reader.bytes()?, read_dot(reader)?);
        if part == Part::Value && !name.is_empty() || part != Part::Value && kind == 2 {
            return reader.error("a record out of place");
        }
        let record = match kind {
            0 => Record::Value { clock: reader.fixed()?, value: reader.bytes()?.into() },
            1 => Record::Count { total: reader.signed()?, base: (reader.number()?, reader.signed()?) },
            2 => Record::Expiry { clock: reader.fixed()?, at_ms: reader.number()? },
            _ => return reader.error("an unknown record"),
        };
        image.records.insert((part, name.into(), kind, dot), record);
    }
    Ok(image)
}

pub(super) fn write_side(side: &Side, out: &mut Vec<u8>) {
    side.seen.write(out);
    put_number(out, side.pending().count() as u64);
    for (target, context) in side.pending() {
        match target {
            Target::Key { keep_expiry } => out.push(u8::from(*keep_expiry)),
            Target::Expiry => out.push(2),
            Target::Element(part, name) => {
                out.extend_from_slice(&[3, *part as u8]);
                put_bytes(out, name);
            }
            Target::Count(part, name, origin) => {
                out.extend_from_slice(&[4, *part as u8]);
                put_bytes(out, name);
                put_dot(out, Dot { origin: *origin, seq: 1 });
            }
        }
        context.write(out);
    }
    put_number(out, side.resets().count() as u64);
    for reset in side.resets() {
        out.push(reset.part as u8);
        put_bytes(out, &reset.name);
        put_dot(out, Dot { origin: reset.origin, seq: reset.seq });
        put_signed(out, reset.total);
        put_number(out, reset.dots.len() as u64);
        reset.dots.iter().for_each(|d| put_dot(out, *d));
    }
}

pub(super) fn read_side(reader: &mut Reader<'_>) -> Result<Side, DeltaError> {
    let mut side = Side { seen: ReceivedSet::read(reader)?, ..Side::default() };
    for _ in 0..reader.count(2)? {
        let target = match reader.byte()? {
            keep @ 0..=1 => Target::Key { keep_expiry: keep == 1 },
            2 => Target::Expiry,
            3 => Target::Element(read_part(reader)?.0, reader.bytes()?.into()),
            4 => Target::Count(read_part(reader)?.0, reader.bytes()?.into(), read_dot(reader)?.origin),
            _ => return reader.error("an unknown removal"),
        };
        side.add_pending(target, ReceivedSet::read(reader)?);
    }
    for _ in 0..reader.count(7)? {
        let (part, name, dot, total) = (read_part(reader)?.0, reader.bytes()?, read_dot(reader)?, reader.signed()?);
        let mut dots = Vec::new();
        for _ in 0..reader.count(3)? {
            dots.push(read_dot(reader)?);
        }
        dots.sort_unstable();
        dots.dedup();
        side.add_reset(Reset { part, name: name.into(), origin: dot.origin, seq: dot.seq, total, dots });
    }
    Ok(side)
}
