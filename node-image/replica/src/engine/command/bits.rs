//! Bits of strings, the highest of the first byte being bit 0: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP. Their effect is the string's new value, as SETRANGE's
//! is.

use super::strings::LONGEST;
use super::{Args, Error, Reply, parse};
use crate::engine::access::Access;
use crate::engine::events::Classes;
use std::borrow::Cow;
use std::ops::Range;

pub(super) const NOT_AN_OFFSET: Error = Error::Fixed("ERR bit offset is not an integer or out of range");
const NOT_A_BIT: Error = Error::Fixed("ERR bit is not an integer or out of range");

/// The offset of a bit: within the longest string.
pub(super) fn offset(text: &[u8]) -> Result<usize, Error> {
    in_string(parse::integer(text))
}

/// This offset if it is one.
pub(super) fn in_string(offset: Option<i64>) -> Result<usize, Error> {
    let offset = offset.and_then(|offset| usize::try_from(offset).ok());
    offset.filter(|offset| offset >> 3 < LONGEST).ok_or(NOT_AN_OFFSET)
}

/// A string's value, made long enough for its bit at `last`.
pub(super) fn grown(value: Option<Cow<'_, [u8]>>, last: usize) -> Vec<u8> {
    let mut value = value.map_or_else(Vec::new, Cow::into_owned);
    if value.len() <= last >> 3 {
        value.resize((last >> 3) + 1, 0);
    }
    value
}

pub fn getbit(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let at = offset(args[2])?;
    let byte = access.string(args[1])?.and_then(|value| value.get(at >> 3).copied()).unwrap_or(0);
    reply.integer((byte >> (7 - (at & 7)) & 1).into());
    Ok(())
}

pub fn setbit(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let at = offset(args[2])?;
    let bit = parse::integer(args[3]).and_then(|bit| u8::try_from(bit).ok()).filter(|&bit| bit < 2).ok_or(NOT_A_BIT)?;
    let old = access.string(args[1])?;
    let before = old.as_ref().and_then(|value| value.get(at >> 3)).map(|byte| byte >> (7 - (at & 7)) & 1);
    if before != Some(bit) {
        let mut value = grown(old, at);
        let mask = 0x80 >> (at & 7);
        value[at >> 3] = value[at >> 3] & !mask | if bit == 1 { mask } else { 0 };
        access.put_string(args[1], &value, true);
        access.tell(Classes::STRING, "setbit", args[1]);
    }
    reply.integer(before.unwrap_or(0).into());
    Ok(())
}

/// Whether a range is counted in bits, as the option BIT or BYTE says.
fn in_bits(option: Option<&&[u8]>) -> Result<bool, Error> {
    match option {
        None => Ok(false),
        Some(unit) if parse::is(unit, "bit") => Ok(true),
        Some(unit) if parse::is(unit, "byte") => Ok(false),
        Some(_) => Err(Error::Syntax),
    }
}

/// The bits from `start` to `end`, both included and counted in bytes or bits, of a string of `length` bytes.
fn bits(length: usize, start: i64, end: i64, in_bits: bool) -> Range<usize> {
    let unit = if in_bits { 1 } else { 8 };
    let total = i64::try_from(length * 8 / unit).unwrap_or(i64::MAX);
    let from_start = |index: i64| if index < 0 { total.saturating_add(index).max(0) } else { index };
    let (start, end) = (from_start(start), from_start(end).min(total - 1));
    if start > end {
        return 0..0;
    }
    let at = |index: i64| usize::try_from(index).unwrap_or(0);
    at(start) * unit..(at(end) + 1) * unit
}

/// The bytes that hold these bits, each without the bits that are not among them: `outside` in their place.
fn bytes(value: &[u8], range: &Range<usize>, outside: u8) -> impl Iterator<Item = u8> {
    let (first, last) = (range.start / 8, range.end.div_ceil(8));
    let (before, behind) = (0xff >> (range.start & 7), !(0xff_u16 >> (((range.end + 7) & 7) + 1)) as u8);
    value[first..last].iter().enumerate().map(move |(index, byte)| {
        let mut within = 0xff;
        if index == 0 {
            within &= before;
        }
        if first + index + 1 == last {
            within &= behind;
        }
        byte & within | outside & !within
    })
}

pub fn bitcount(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (start, end) = match args.len() {
        2 => (0, -1),
        4 | 5 => (parse::integer_argument(args[2])?, parse::integer_argument(args[3])?),
        _ => return Err(Error::Syntax),
    };
    let in_bits = in_bits(args.get(4))?;
    let value = access.string(args[1])?.unwrap_or_default();
    // Redis looks at this before it knows how long the string is.
    let backwards = start < 0 && end < 0 && start > end;
    let range = if backwards { 0..0 } else { bits(value.len(), start, end, in_bits) };
    let (head, whole, tail) = (range.start / 8, range.start.div_ceil(8), range.end / 8);
    let count = if whole < tail {
        // Whole bytes by words, which the processor counts at once; what is left at both ends by bits.
        let mut words = value[whole..tail].chunks_exact(8);
        let of_word = |word: &[u8]| word.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte)).count_ones();
        let inner: u64 = words.by_ref().map(|word| u64::from(of_word(word))).sum();
        let edges = [head * 8 + (range.start & 7)..whole * 8, tail * 8..range.end];
        inner
            + u64::from(of_word(words.remainder()))
            + edges.iter().filter(|edge| !edge.is_empty()).map(|edge| ones(&value, edge)).sum::<u64>()
    } else {
        ones(&value, &range)
    };
    reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(())
}

fn ones(value: &[u8], range: &Range<usize>) -> u64 {
    if range.is_empty() { 0 } else { bytes(value, range, 0).map(|byte| u64::from(byte.count_ones())).sum() }
}

pub fn bitpos(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let wanted = match parse::integer_argument(args[2])? {
        0 => false,
        1 => true,
        _ => return Err(Error::Fixed("ERR The bit argument must be 1 or 0.")),
    };
    if args.len() > 6 {
        return Err(Error::Syntax);
    }
    let start = args.get(3).map_or(Ok(0), |start| parse::integer_argument(start))?;
    let in_bits = in_bits(args.get(5))?;
    let end = args.get(4).map(|end| parse::integer_argument(end)).transpose()?;
    let Some(value) = access.string(args[1])? else {
        // As if there were zeros without end.
        reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let range = bits(value.len(), start, end.unwrap_or(-1), in_bits);
    let skipped = if wanted { 0 } else { 0xff };
    let found = if range.is_empty() {
        None
    } else {
        let differs = bytes(&value, &range, skipped).enumerate().find(|&(_, byte)| byte != skipped);
        let in_byte = |byte: u8| if wanted { byte.leading_zeros() } else { byte.leading_ones() };
        let found = differs.map(|(index, byte)| (range.start / 8 + index) * 8 + in_byte(byte) as usize);
        // Behind a string whose end was not said there are zeros.
        found.or_else(|| (!wanted && end.is_none()).then_some(value.len() * 8))
    };
    reply.integer(found.and_then(|found| i64::try_from(found).ok()).unwrap_or(-1));
    Ok(())
}

pub fn bitop(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let operation: fn(u8, u8) -> u8 = match args[1] {
        name if parse::is(name, "and") => |a, b| a & b,
        name if parse::is(name, "or") => |a, b| a | b,
        name if parse::is(name, "xor") => |a, b| a ^ b,
        name if parse::is(name, "not") && args.len() != 4 => {
            return Err(Error::Fixed("ERR BITOP NOT must be called with a single source key."));
        }
        name if parse::is(name, "not") => |_, b| !b,
        _ => return Err(Error::Syntax),
    };
    let (target, sources) = (args[2], &args.list()[3..]);
    let mut result = access.string(sources[0])?.map_or_else(Vec::new, Cow::into_owned);
    access.tell_miss(sources[0]);
    if parse::is(args[1], "not") {
        result.iter_mut().for_each(|byte| *byte = operation(0, *byte));
    }
    for source in &sources[1..] {
        access.tell_miss(source);
        let other = access.string(source)?.unwrap_or_default();
        // The shorter one goes on with zeros.
        result.resize(result.len().max(other.len()), 0);
        let others = other.iter().copied().chain(std::iter::repeat(0));
        result.iter_mut().zip(others).for_each(|(byte, other)| *byte = operation(*byte, other));
    }
    if result.is_empty() {
        access.remove_and_tell(target);
    } else {
        access.put_string(target, &result, false);
        access.tell(Classes::STRING, "set", target);
    }
    reply.count(result.len());
    Ok(())
}
