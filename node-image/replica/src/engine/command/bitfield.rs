//! BITFIELD and BITFIELD_RO: integers of any width anywhere in a string.

use super::bits::{NOT_AN_OFFSET, grown, in_string};
use super::{Args, Error, Reply, parse};
use crate::engine::access::Access;
use crate::engine::events::Classes;

/// A field: an integer of so many bits, from there on.
#[derive(Clone, Copy, Debug)]
struct Field {
    signed: bool,
    bits: u32,
    at: usize,
}

/// What to do with numbers that do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

impl Field {
    fn parse(kind: &[u8], at: &[u8]) -> Result<Field, Error> {
        let (signed, width) = match kind {
            [b'i', width @ ..] => (true, parse::integer(width)),
            [b'u', width @ ..] => (false, parse::integer(width)),
            _ => (false, None),
        };
        let widest = if signed { 64 } else { 63 };
        let bits = width.filter(|width| (1..=widest).contains(width)).and_then(|width| u32::try_from(width).ok());
        let bits = bits.ok_or(Error::Fixed(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ))?;
        let at = match at {
            [b'#', number @ ..] => parse::integer(number).ok_or(NOT_AN_OFFSET)?.checked_mul(bits.into()),
            at => parse::integer(at),
        };
        Ok(Field { signed, bits, at: in_string(at)? })
    }

    fn last(&self) -> usize {
        self.at + self.bits as usize - 1
    }

    /// Its number; behind the string's end there are zeros.
    fn read(&self, value: &[u8]) -> i128 {
        let mut number: u64 = 0;
        for at in self.at..=self.last() {
            let bit = value.get(at >> 3).map_or(0, |byte| byte >> (7 - (at & 7)) & 1);
            number = number << 1 | u64::from(bit);
        }
        self.number(number)
    }

    /// The number that these bits are, without those beyond its width.
    fn number(&self, bits: u64) -> i128 {
        let beyond = 64 - self.bits;
        let high = bits << beyond;
        if self.signed { (high.cast_signed() >> beyond).into() } else { (high >> beyond).into() }
    }

    fn write(&self, value: &mut [u8], number: i128) {
        for (place, at) in (self.at..=self.last()).rev().enumerate() {
            let mask = 0x80 >> (at & 7);
            let byte = &mut value[at >> 3];
            *byte = if number >> place & 1 == 1 { *byte | mask } else { *byte & !mask };
        }
    }

    /// The largest number that it has.
    fn most(&self) -> i128 {
        (1 << (self.bits - u32::from(self.signed))) - 1
    }

    /// The number that is kept of this one; none: it does not fit, and is refused.
    fn fit(&self, number: i128, overflow: Overflow) -> Option<i128> {
        let most = self.most();
        let least = if self.signed { -most - 1 } else { 0 };
        if (least..=most).contains(&number) {
            return Some(number);
        }
        match overflow {
            Overflow::Wrap => Some(self.number((number & i128::from(u64::MAX)) as u64)),
            Overflow::Saturate => Some(number.clamp(least, most)),
            Overflow::Fail => None,
        }
    }
}

fn parse_operations(args: &[&[u8]]) -> Result<Vec<(Field, What)>, Error> {
    let (mut operations, mut overflow, mut rest) = (Vec::new(), Overflow::Wrap, args);
    loop {
        rest = match rest {
            [] => return Ok(operations),
            [name, kind, at, rest @ ..] if parse::is(name, "get") => {
                operations.push((Field::parse(kind, at)?, What::Get));
                rest
            }
            [name, kind, at, number, rest @ ..] if parse::is(name, "set") => {
                let field = Field::parse(kind, at)?;
                operations.push((field, What::Set(parse::integer_argument(number)?, overflow)));
                rest
            }
            [name, kind, at, number, rest @ ..] if parse::is(name, "incrby") => {
                let field = Field::parse(kind, at)?;
                operations.push((field, What::Add(parse::integer_argument(number)?, overflow)));
                rest
            }
            [name, how, rest @ ..] if parse::is(name, "overflow") => {
                overflow = match how {
                    how if parse::is(how, "wrap") => Overflow::Wrap,
                    how if parse::is(how, "sat") => Overflow::Saturate,
                    how if parse::is(how, "fail") => Overflow::Fail,
                    _ => return Err(Error::Fixed("ERR Invalid OVERFLOW type specified")),
                };
                rest
            }
            _ => return Err(Error::Syntax),
        };
    }
}

pub fn bitfield_ro(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let operations = parse_operations(&args[2..])?;
    if operations.iter().any(|(_, what)| !matches!(what, What::Get)) {
        return Err(Error::Fixed("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read(access, args[1], &operations, reply)
}

fn read(access: &mut Access<'_>, key: &[u8], operations: &[(Field, What)], reply: &mut Reply<'_>) -> Result<(), Error> {
    let value = access.string(key)?.unwrap_or_default();
    reply.array(operations.len());
    operations.iter().for_each(|(field, _)| answer(reply, field.read(&value)));
    Ok(())
}

fn answer(reply: &mut Reply<'_>, number: i128) {
    reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
}

pub fn bitfield(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, operations) = (args[1], parse_operations(&args[2..])?);
    let written = operations.iter().filter(|(_, what)| !matches!(what, What::Get)).map(|(field, _)| field.last());
    let Some(last) = written.max() else {
        access.tell_miss(key);
        return read(access, key, &operations, reply);
    };
    let old = access.string(key)?;
    // As in Redis, room is made for what then may be refused.
    let grown_by_it = old.as_ref().is_none_or(|value| value.len() <= last >> 3);
    let (mut changed, mut told) = (grown_by_it, false);
    let mut value = grown(old, last);
    reply.array(operations.len());
    for (field, what) in operations {
        let before = field.read(&value);
        let kept = match what {
            What::Get => {
                answer(reply, before);
                continue;
            }
            // A negative number is the largest one there is where there are no negative ones.
            What::Set(number, overflow) if !field.signed => field.fit(i128::from(number.cast_unsigned()), overflow),
            // Redis looks in 64 bits how far a number is below the largest one: where these do not suffice, it is taken for one that is too large.
            What::Set(number, Overflow::Saturate)
                if field.bits < 64 && field.most() - i128::from(number) > i64::MAX.into() =>
            {
                Some(field.most())
            }
            What::Set(number, overflow) => field.fit(number.into(), overflow),
            What::Add(by, overflow) => field.fit(before + i128::from(by), overflow),
        };
        let Some(kept) = kept else {
            reply.null();
            continue;
        };
        field.write(&mut value, kept);
        changed |= kept != before;
        told |= grown_by_it || kept != before;
        answer(reply, if matches!(what, What::Set(..)) { before } else { kept });
    }
    if changed {
        access.put_string(key, &value, true);
    }
    if told {
        access.tell(Classes::STRING, "setbit", key);
    }
    Ok(())
}
