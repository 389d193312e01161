//! Strings and counters, but for SET and its relatives (`string_set`).

use super::extended::Extended;
use super::{Args, Error, Reply, parse};
use crate::engine::access::Access;
use crate::engine::events::Classes;

/// The longest string, in bytes (Redis's proto-max-bulk-len).
pub(super) const LONGEST: usize = 512 << 20;
const TOO_LONG: Error = Error::Fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
const NOT_FINITE: Error = Error::Fixed("ERR increment would produce NaN or Infinity");

pub fn get(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let value = access.string(args[1])?;
    reply.bulk_or_null(value.as_deref());
    Ok(())
}

pub fn mget(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.array(args.len() - 1);
    for key in &args[1..] {
        // A key of another type counts as absent.
        match access.string(key) {
            Ok(value) => reply.bulk_or_null(value.as_deref()),
            Err(_) => reply.null(),
        }
    }
    Ok(())
}

pub fn strlen(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.count(access.string(args[1])?.map_or(0, |value| value.len()));
    Ok(())
}

pub fn getrange(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (start, end) = (parse::integer_argument(args[2])?, parse::integer_argument(args[3])?);
    match access.string(args[1])? {
        Some(value) => reply.bulk(&value[parse::range(value.len(), start, end)]),
        None => reply.bulk(b""),
    }
    Ok(())
}

pub fn append(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, added) = (args[1], args[2]);
    let mut value = access.string(key)?.map_or_else(Vec::new, |value| {
        let mut whole = Vec::with_capacity(value.len() + added.len());
        whole.extend_from_slice(&value);
        whole
    });
    if value.len() + added.len() > LONGEST {
        return Err(TOO_LONG);
    }
    value.extend_from_slice(added);
    access.put_string(key, &value, true);
    access.tell(Classes::STRING, "append", key);
    reply.count(value.len());
    Ok(())
}

pub fn setrange(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, added) = (args[1], args[3]);
    let offset = parse::integer_argument(args[2])?;
    let offset = usize::try_from(offset).map_err(|_| Error::Fixed("ERR offset is out of range"))?;
    let old = access.string(key)?;
    if added.is_empty() {
        reply.count(old.map_or(0, |value| value.len()));
        return Ok(());
    }
    let end = offset.checked_add(added.len()).filter(|&end| end <= LONGEST).ok_or(TOO_LONG)?;
    let mut value = old.map_or_else(Vec::new, |value| value.into_owned());
    if value.len() < end {
        value.resize(end, 0);
    }
    value[offset..end].copy_from_slice(added);
    access.put_string(key, &value, true);
    access.tell(Classes::STRING, "setrange", key);
    reply.count(value.len());
    Ok(())
}

pub fn incr(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    increment(access, args[1], 1, reply)
}

pub fn decr(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    increment(access, args[1], -1, reply)
}

pub fn incrby(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    increment(access, args[1], parse::integer_argument(args[2])?, reply)
}

pub fn decrby(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let by = parse::integer_argument(args[2])?;
    let by = by.checked_neg().ok_or(Error::Fixed("ERR decrement would overflow"))?;
    increment(access, args[1], by, reply)
}

fn increment(access: &mut Access<'_>, key: &[u8], by: i64, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(access.increment(key, by)?);
    access.tell(Classes::STRING, "incrby", key);
    Ok(())
}

pub fn incrbyfloat(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let old = access.string(args[1])?;
    let sum = add_float(old.as_deref(), args[2], Error::NotFloat)?;
    drop(old);
    access.put_string(args[1], &sum, true);
    access.tell(Classes::STRING, "incrbyfloat", args[1]);
    reply.bulk(&sum);
    Ok(())
}

/// The sum of a stored number (nothing is 0) and an argument, as text; `not_a_number` is what to say of the stored one.
pub fn add_float(stored: Option<&[u8]>, by: &[u8], not_a_number: Error) -> Result<Vec<u8>, Error> {
    let stored = stored.map_or(Some(Extended::ZERO), Extended::parse).ok_or(not_a_number)?;
    let by = Extended::parse(by).ok_or(Error::NotFloat)?;
    stored.add(by).text().ok_or(NOT_FINITE)
}
