//! An image's keys, and what is beside them, as bytes.

use std::collections::BTreeMap;

use trireme_proto::ids::Dot;

use super::{KeyImage, Place, Record, key_image};
use crate::engine::bytes::{DeltaError, Reader, put_bytes, put_number, put_signed};
use crate::engine::delta::{Part, put_dot, read_dot};
use crate::engine::state::cells::Handle;
use crate::engine::state::key::{Reset, Side, Target};
use crate::engine::state::{State, version_of};
use crate::engine::vector::ReceivedSet;

pub(super) fn write_key(state: &State, handle: Handle, out: &mut Vec<u8>) {
    put_bytes(out, state.name(handle));
    if let Some(p) = state.cells.plain(handle) {
        put_number(out, version_of(p.dot));
        put_number(out, 1);
        let place = (Part::Value, Box::default(), 0, p.dot);
        write_place(&place, out);
        out.extend_from_slice(&p.clock.to_le_bytes());
        return put_bytes(out, p.value);
    }
    let image = key_image(state, handle);
    put_number(out, image.version);
    put_number(out, image.records.len() as u64);
    for (place, record) in &image.records {
        write_place(place, out);
        match record {
            Record::Value { clock, value } => {
                out.extend_from_slice(&clock.to_le_bytes());
                put_bytes(out, value);
            }
            Record::Count { total, base } => {
                put_signed(out, *total);
                put_number(out, base.0);
                put_signed(out, base.1);
            }
            Record::Expiry { clock, at_ms } => {
                out.extend_from_slice(&clock.to_le_bytes());
                put_number(out, *at_ms);
            }
        }
    }
}

fn write_place(place: &Place, out: &mut Vec<u8>) {
    out.push(place.0 as u8 | place.2 << 4);
    put_bytes(out, &place.1);
    put_dot(out, place.3);
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
    put_number(out, side.pending.len() as u64);
    for (target, context) in &side.pending {
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
    put_number(out, side.resets.len() as u64);
    for reset in &side.resets {
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
        side.pending.push((target, ReceivedSet::read(reader)?));
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
