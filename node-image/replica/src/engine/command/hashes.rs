//! Hashes.

use super::random::Random;
use super::strings::add_float;
use super::{Args, Error, Reply, parse, scan};
use crate::engine::access::{Access, IncrementError};
use crate::engine::events::Classes;

pub fn hset(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let added = put_pairs(access, args, "hset")?;
    reply.count(added);
    Ok(())
}

pub fn hmset(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    put_pairs(access, args, "hmset")?;
    reply.ok();
    Ok(())
}

/// Puts all fields and says how many are new. Only the first one can fail.
fn put_pairs(access: &mut Access<'_>, args: &Args<'_>, command: &'static str) -> Result<usize, Error> {
    let pairs = args[2..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(Error::Arity(command));
    }
    let mut added = 0;
    for pair in pairs {
        added += usize::from(access.put_field(args[1], pair[0], pair[1])?);
    }
    access.tell(Classes::HASH, "hset", args[1]);
    Ok(added)
}

pub fn hsetnx(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let absent = access.field(args[1], args[2])?.is_none();
    if absent {
        access.put_field(args[1], args[2], args[3])?;
        access.tell(Classes::HASH, "hset", args[1]);
    }
    reply.integer(i64::from(absent));
    Ok(())
}

pub fn hget(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.bulk_or_null(access.field(args[1], args[2])?.as_deref());
    Ok(())
}

pub fn hmget(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.array(args.len() - 2);
    for field in &args[2..] {
        reply.bulk_or_null(access.field(args[1], field)?.as_deref());
    }
    Ok(())
}

pub fn hgetall(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.map(access.field_count(args[1])?);
    for (field, value) in access.fields(args[1])? {
        reply.bulk(field);
        reply.bulk(&value);
    }
    Ok(())
}

pub fn hkeys(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.array(access.field_count(args[1])?);
    access.fields(args[1])?.for_each(|(field, _)| reply.bulk(field));
    Ok(())
}

pub fn hvals(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.array(access.field_count(args[1])?);
    access.fields(args[1])?.for_each(|(_, value)| reply.bulk(&value));
    Ok(())
}

pub fn hdel(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut removed = 0;
    for field in &args[2..] {
        removed += usize::from(access.remove_field(args[1], field)?);
    }
    if removed > 0 {
        access.tell_taken(Classes::HASH, "hdel", args[1]);
    }
    reply.count(removed);
    Ok(())
}

pub fn hexists(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(i64::from(access.field(args[1], args[2])?.is_some()));
    Ok(())
}

pub fn hlen(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.count(access.field_count(args[1])?);
    Ok(())
}

pub fn hstrlen(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.count(access.field(args[1], args[2])?.map_or(0, |value| value.len()));
    Ok(())
}

pub fn hincrby(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let by = parse::integer_argument(args[3])?;
    let sum = access.increment_field(args[1], args[2], by).map_err(|error| match error {
        IncrementError::NotAnInteger => Error::FieldNotInteger,
        other => other.into(),
    })?;
    access.tell(Classes::HASH, "hincrby", args[1]);
    reply.integer(sum);
    Ok(())
}

pub fn hincrbyfloat(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    // Redis finds a bad argument before it looks at the key.
    add_float(None, args[3], Error::NotFloat).map_err(|error| match error {
        Error::NotFloat => Error::NotFloat,
        _ => Error::Fixed("ERR value is NaN or Infinity"),
    })?;
    let old = access.field(args[1], args[2])?;
    let sum = add_float(old.as_deref(), args[3], Error::FieldNotFloat)?;
    drop(old);
    access.put_field(args[1], args[2], &sum)?;
    access.tell(Classes::HASH, "hincrbyfloat", args[1]);
    reply.bulk(&sum);
    Ok(())
}

pub fn hscan(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let cursor = scan::cursor(args[2])?;
    let length = access.field_count(args[1])?;
    let fields = (access.fields(args[1])?, 2);
    for (field, value) in scan::elements(args, (cursor, length), fields, |(field, _)| field, reply)? {
        reply.bulk(field);
        reply.bulk(&value);
    }
    Ok(())
}

pub fn hrandfield(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut random = Random::new(args.random);
    if args.len() == 2 {
        let length = access.field_count(args[1])?;
        let index = random.below(length);
        reply.bulk_or_null(access.fields(args[1])?.nth(index).map(|(field, _)| field));
        return Ok(());
    }
    let count = random_count(args[2])?;
    let with_values = match &args[3..] {
        [] => false,
        [option] if parse::is(option, "withvalues") => true,
        _ => return Err(Error::Syntax),
    };
    let fields: Vec<_> = access.fields(args[1])?.collect();
    let chosen = choose(&mut random, count, fields.len());
    reply.array(if with_values && !reply.is_resp3() { 2 * chosen.len() } else { chosen.len() });
    for index in chosen {
        let (field, value) = &fields[index];
        if with_values && reply.is_resp3() {
            reply.array(2);
        }
        reply.bulk(field);
        if with_values {
            reply.bulk(value);
        }
    }
    Ok(())
}

/// The most elements that a negative count, which may name elements more than once, can ask for: a reply has to fit
/// into memory.
const MOST_REPEATED: i64 = 1 << 24;

/// The count of a command that returns random elements: negative if elements may come more than once.
pub fn random_count(text: &[u8]) -> Result<i64, Error> {
    let count = parse::integer_argument(text)?;
    if count < -MOST_REPEATED {
        return Err(Error::Fixed("ERR value is out of range"));
    }
    Ok(count)
}

/// Indices of the elements to return of a collection of `length`: different ones, or as many as asked for if the
/// count is negative.
pub fn choose(random: &mut Random, count: i64, length: usize) -> Vec<usize> {
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if length == 0 {
        Vec::new()
    } else if count < 0 {
        (0..size).map(|_| random.below(length)).collect()
    } else if size >= length {
        (0..length).collect()
    } else {
        random.distinct(size, length)
    }
}
