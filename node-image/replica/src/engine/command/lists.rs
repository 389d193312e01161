//! Lists.

use super::sorted::several_keys;
use super::{Args, Error, Reply, parse};
use crate::engine::access::{Access, Kind};
use crate::engine::events::Classes;

/// The two ends, as arguments.
pub const ENDS: [&str; 2] = ["left", "right"];

pub fn lpush(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    push(access, args, (false, false), reply)
}

pub fn rpush(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    push(access, args, (true, false), reply)
}

pub fn lpushx(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    push(access, args, (false, true), reply)
}

pub fn rpushx(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    push(access, args, (true, true), reply)
}

/// What putting elements at an end of a list, and taking some there, is called.
fn push_event(at_end: bool) -> &'static str {
    if at_end { "rpush" } else { "lpush" }
}

fn pop_event(from_end: bool) -> &'static str {
    if from_end { "rpop" } else { "lpop" }
}

fn push(
    access: &mut Access<'_>,
    args: &Args<'_>,
    (at_end, only_old): (bool, bool),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let mut length = access.list_length(args[1])?;
    if length > 0 || !only_old {
        for value in &args[2..] {
            access.list_insert(args[1], if at_end { length } else { 0 }, value)?;
            length += 1;
        }
        access.tell(Classes::LIST, push_event(at_end), args[1]);
    }
    reply.count(length);
    Ok(())
}

pub fn lpop(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    pop_one_or_more(access, args, ("lpop", false), reply)
}

pub fn rpop(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    pop_one_or_more(access, args, ("rpop", true), reply)
}

fn pop_one_or_more(
    access: &mut Access<'_>,
    args: &Args<'_>,
    (command, from_end): (&'static str, bool),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let count = match args.len() {
        2 => None,
        3 => Some(parse::count_argument(args[2], Error::Fixed("ERR value is out of range, must be positive"))?),
        _ => return Err(Error::Arity(command)),
    };
    let there = access.list_length(args[1])? > 0;
    let popped = pop(access, args[1], from_end, count.unwrap_or(1))?;
    match count {
        None => reply.bulk_or_null(popped.first().map(Vec::as_slice)),
        Some(_) if !there => reply.null_array(),
        Some(_) => write(reply, &popped),
    }
    Ok(())
}

/// Removes so many elements at one end and returns them, the outermost first.
pub fn pop(access: &mut Access<'_>, key: &[u8], from_end: bool, count: usize) -> Result<Vec<Vec<u8>>, Error> {
    let length = access.list_length(key)?;
    let count = count.min(length);
    let indices = if from_end { length - count..length } else { 0..count };
    let mut popped: Vec<Vec<u8>> =
        access.list_range(key, indices.clone())?.into_iter().map(|value| value.into_owned()).collect();
    access.list_remove(key, indices)?;
    if count > 0 {
        access.tell_taken(Classes::LIST, pop_event(from_end), key);
    }
    if from_end {
        popped.reverse();
    }
    Ok(popped)
}

fn write(reply: &mut Reply<'_>, values: &[Vec<u8>]) {
    reply.array(values.len());
    values.iter().for_each(|value| reply.bulk(value));
}

pub fn lmpop(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (keys, from_end, count) = several_keys(&args.list()[1..], ENDS)?;
    pop_of_first(access, keys, (from_end, count), reply)
}

/// Removes so many elements of the first of these lists that has any.
pub fn pop_of_first(
    access: &mut Access<'_>,
    keys: &[&[u8]],
    (from_end, count): (bool, usize),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    for key in keys {
        if access.list_length(key)? > 0 {
            let popped = pop(access, key, from_end, count)?;
            reply.array(2);
            reply.bulk(key);
            write(reply, &popped);
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}

pub fn llen(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.count(access.list_length(args[1])?);
    Ok(())
}

pub fn lrange(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (start, end) = (parse::integer_argument(args[2])?, parse::integer_argument(args[3])?);
    let indices = parse::elements(access.list_length(args[1])?, start, end);
    let values = access.list_range(args[1], indices)?;
    reply.array(values.len());
    values.iter().for_each(|value| reply.bulk(value));
    Ok(())
}

/// An index that may be counted from the end; none: there is no such element.
fn index(length: usize, index: i64) -> Option<usize> {
    let from_start = if index < 0 { i64::try_from(length).ok()?.saturating_add(index) } else { index };
    usize::try_from(from_start).ok().filter(|&index| index < length)
}

pub fn lindex(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let length = access.list_length(args[1])?;
    // Redis looks at the index only where there is a list.
    let found = if length == 0 { None } else { index(length, parse::integer_argument(args[2])?) };
    let values = found.map_or_else(|| Ok(Vec::new()), |index| access.list_range(args[1], index..index + 1))?;
    reply.bulk_or_null(values.first().map(|value| &**value));
    Ok(())
}

pub fn lset(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let length = access.list_length(args[1])?;
    if length == 0 {
        return Err(Error::NoSuchKey);
    }
    let index = index(length, parse::integer_argument(args[2])?).ok_or(Error::Fixed("ERR index out of range"))?;
    access.list_set(args[1], index, args[3])?;
    access.tell(Classes::LIST, "lset", args[1]);
    reply.ok();
    Ok(())
}

pub fn linsert(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let behind = match args[2] {
        side if parse::is(side, "before") => 0,
        side if parse::is(side, "after") => 1,
        _ => return Err(Error::Syntax),
    };
    let length = access.list_length(args[1])?;
    let found = access.list_range(args[1], 0..length)?.iter().position(|value| **value == *args[3]);
    match found {
        _ if length == 0 => reply.integer(0),
        None => reply.integer(-1),
        Some(at) => {
            access.list_insert(args[1], at + behind, args[4])?;
            access.tell(Classes::LIST, "linsert", args[1]);
            reply.count(length + 1);
        }
    }
    Ok(())
}

pub fn lrem(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let count = parse::integer_argument(args[2])?;
    let mut found: Vec<usize> = {
        let values = access.list_range(args[1], 0..usize::MAX)?;
        values.iter().enumerate().filter(|(_, value)| ***value == *args[3]).map(|(at, _)| at).collect()
    };
    let most = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count > 0 {
        found.truncate(most);
    } else if count < 0 {
        found.drain(..found.len().saturating_sub(most));
    }
    // From the end, so that the indices that follow stay right.
    for at in found.iter().rev() {
        access.list_remove(args[1], *at..at + 1)?;
    }
    if !found.is_empty() {
        access.tell_taken(Classes::LIST, "lrem", args[1]);
    }
    reply.count(found.len());
    Ok(())
}

pub fn ltrim(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (start, end) = (parse::integer_argument(args[2])?, parse::integer_argument(args[3])?);
    let length = access.list_length(args[1])?;
    let kept = parse::elements(length, start, end);
    if kept.is_empty() {
        if length > 0 {
            access.remove(args[1]);
        }
    } else {
        access.list_remove(args[1], kept.end..length)?;
        access.list_remove(args[1], 0..kept.start)?;
    }
    if length > 0 {
        access.tell_taken(Classes::LIST, "ltrim", args[1]);
    }
    reply.ok();
    Ok(())
}

const OUT_OF_RANGE: &str = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";

/// The options of LPOS: rank, count if given, how many to look at (0: all).
fn position_options(args: &[&[u8]]) -> Result<(i64, Option<usize>, usize), Error> {
    let (mut rank, mut count, mut most) = (1, None, 0);
    for option in args.chunks(2) {
        match option {
            [name, value] if parse::is(name, "rank") => {
                rank = parse::integer_argument(value)?;
                if rank == 0 {
                    return Err(Error::Fixed(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
                         negative to start from the end of the list",
                    ));
                }
                if rank == i64::MIN {
                    return Err(Error::Fixed(OUT_OF_RANGE));
                }
            }
            [name, value] if parse::is(name, "count") => {
                count = Some(parse::count_argument(value, Error::Fixed("ERR COUNT can't be negative"))?);
            }
            [name, value] if parse::is(name, "maxlen") => {
                most = parse::count_argument(value, Error::Fixed("ERR MAXLEN can't be negative"))?;
            }
            _ => return Err(Error::Syntax),
        }
    }
    Ok((rank, count, most))
}

pub fn lpos(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (rank, count, most) = position_options(&args[3..])?;
    let length = access.list_length(args[1])?;
    let looked_at = if most == 0 { length } else { most.min(length) };
    let indices = if rank < 0 { length - looked_at..length } else { 0..looked_at };
    let start = indices.start;
    let values = access.list_range(args[1], indices)?;
    let matches = values.iter().enumerate().filter(|(_, value)| ***value == *args[2]).map(|(at, _)| start + at);
    let skipped = usize::try_from(rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let wanted = match count {
        Some(0) => usize::MAX,
        Some(count) => count,
        None => 1,
    };
    let found: Vec<usize> = if rank < 0 {
        matches.rev().skip(skipped).take(wanted).collect()
    } else {
        matches.skip(skipped).take(wanted).collect()
    };
    match (count, found.first()) {
        (None, Some(at)) => reply.count(*at),
        (None, None) => reply.null(),
        (Some(_), _) => {
            reply.array(found.len());
            found.iter().for_each(|at| reply.count(*at));
        }
    }
    Ok(())
}

/// Whether an argument names the end of a list, and not its beginning.
pub fn is_last(text: &[u8]) -> Result<bool, Error> {
    match text {
        end if parse::is(end, ENDS[0]) => Ok(false),
        end if parse::is(end, ENDS[1]) => Ok(true),
        _ => Err(Error::Syntax),
    }
}

pub fn lmove(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (from_end, to_end) = (is_last(args[3])?, is_last(args[4])?);
    move_element(access, (args[1], from_end), (args[2], to_end), reply)
}

pub fn rpoplpush(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    move_element(access, (args[1], true), (args[2], false), reply)
}

/// Moves an element from an end of a list to an end of another; null where there is none.
pub fn move_element(
    access: &mut Access<'_>,
    (from, from_end): (&[u8], bool),
    (to, to_end): (&[u8], bool),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let length = access.list_length(from)?;
    // Redis does not look at the destination when there is no source.
    if length == 0 {
        reply.null();
        return Ok(());
    }
    if access.kind(to).is_some_and(|kind| kind != Kind::List) {
        return Err(Error::WrongType);
    }
    let at = if from_end { length - 1 } else { 0 };
    let value = access.list_range(from, at..at + 1)?.first().map(|value| value.to_vec()).unwrap_or_default();
    if from == to {
        // First in, then out: a list of one element keeps its time to live.
        access.list_insert(to, if to_end { length } else { 0 }, &value)?;
        let at = if to_end { at } else { at + 1 };
        access.list_remove(from, at..at + 1)?;
    } else {
        access.list_remove(from, at..at + 1)?;
        let end = access.list_length(to)?;
        access.list_insert(to, if to_end { end } else { 0 }, &value)?;
    }
    access.tell(Classes::LIST, push_event(to_end), to);
    access.tell_taken(Classes::LIST, pop_event(from_end), from);
    reply.bulk(&value);
    Ok(())
}
