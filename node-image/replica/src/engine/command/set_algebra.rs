//! Intersections, unions and differences of sets.
//!
//! Results are sorted, so that the delta of a STORE command does not depend on how sets lie in memory.

use super::{Args, Error, Reply, parse};
use crate::engine::access::{Access, Kind};
use crate::engine::events::Classes;

/// Combines the sets at these keys.
type Combine = fn(&mut Access<'_>, &[&[u8]]) -> Result<Vec<Vec<u8>>, Error>;

pub fn sinter(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    tell(access, args, intersection, reply)
}

pub fn sunion(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    tell(access, args, union, reply)
}

pub fn sdiff(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    tell(access, args, difference, reply)
}

pub fn sinterstore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    store(access, args, (intersection, "sinterstore"), reply)
}

pub fn sunionstore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    store(access, args, (union, "sunionstore"), reply)
}

pub fn sdiffstore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    store(access, args, (difference, "sdiffstore"), reply)
}

pub fn sintercard(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let positive = Error::Fixed("ERR numkeys should be greater than 0");
    let count = parse::count_argument(args[1], positive.clone())?;
    if count == 0 {
        return Err(positive);
    }
    if count > args.len() - 2 {
        return Err(Error::Fixed("ERR Number of keys can't be greater than number of args"));
    }
    let (keys, options) = args[2..].split_at(count);
    let mut limit = 0;
    for option in options.chunks(2) {
        match option {
            [name, value] if parse::is(name, "limit") => {
                limit = parse::count_argument(value, Error::Fixed("ERR LIMIT can't be negative"))?;
            }
            _ => return Err(Error::Syntax),
        }
    }
    let found = intersection(access, keys)?.len();
    reply.count(if limit == 0 { found } else { found.min(limit) });
    Ok(())
}

fn tell(access: &mut Access<'_>, args: &Args<'_>, combine: Combine, reply: &mut Reply<'_>) -> Result<(), Error> {
    let members = combine(access, &args[1..])?;
    reply.set(members.len());
    members.iter().for_each(|member| reply.bulk(member));
    Ok(())
}

fn store(
    access: &mut Access<'_>,
    args: &Args<'_>,
    (combine, event): (Combine, &'static str),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let members = combine(access, &args[2..])?;
    access.clear_for_result(args[1], !members.is_empty());
    for member in &members {
        access.add_member(args[1], member)?;
    }
    if !members.is_empty() {
        access.tell(Classes::SET, event, args[1]);
    }
    reply.count(members.len());
    Ok(())
}

/// Every key is checked, also where the result is known before.
fn check_sets(access: &mut Access<'_>, keys: &[&[u8]]) -> Result<(), Error> {
    for key in keys {
        match access.kind(key) {
            None => access.tell_miss(key),
            Some(Kind::Set) => {}
            Some(_) => return Err(Error::WrongType),
        }
    }
    Ok(())
}

fn sorted_members(access: &mut Access<'_>, key: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut members: Vec<Vec<u8>> = access.members(key)?.map(<[u8]>::to_vec).collect();
    members.sort_unstable();
    Ok(members)
}

fn intersection(access: &mut Access<'_>, keys: &[&[u8]]) -> Result<Vec<Vec<u8>>, Error> {
    check_sets(access, keys)?;
    let (mut smallest, mut fewest) = (keys[0], usize::MAX);
    for key in keys {
        let count = access.member_count(key)?;
        if count < fewest {
            (smallest, fewest) = (key, count);
        }
    }
    let mut members = sorted_members(access, smallest)?;
    for key in keys {
        if *key != smallest {
            keep(access, &mut members, key, true)?;
        }
    }
    Ok(members)
}

fn difference(access: &mut Access<'_>, keys: &[&[u8]]) -> Result<Vec<Vec<u8>>, Error> {
    check_sets(access, keys)?;
    let mut members = sorted_members(access, keys[0])?;
    for key in &keys[1..] {
        keep(access, &mut members, key, false)?;
    }
    Ok(members)
}

/// Keeps the members that the set at `key` contains, or those that it does not.
fn keep(access: &mut Access<'_>, members: &mut Vec<Vec<u8>>, key: &[u8], contained: bool) -> Result<(), Error> {
    let mut kept = Vec::with_capacity(members.len());
    for member in members.drain(..) {
        if access.contains(key, &member)? == contained {
            kept.push(member);
        }
    }
    *members = kept;
    Ok(())
}

fn union(access: &mut Access<'_>, keys: &[&[u8]]) -> Result<Vec<Vec<u8>>, Error> {
    check_sets(access, keys)?;
    let mut members: Vec<Vec<u8>> = Vec::new();
    for key in keys {
        members.extend(access.members(key)?.map(<[u8]>::to_vec));
    }
    members.sort_unstable();
    members.dedup();
    Ok(members)
}
