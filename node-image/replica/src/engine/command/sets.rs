//! Sets, one at a time; what combines several is in `set_algebra`.

use super::hashes::{choose, random_count};
use super::random::Random;
use super::{Args, Error, Reply, parse, scan};
use crate::engine::access::{Access, Kind};
use crate::engine::events::Classes;

pub fn sadd(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut added = 0;
    for member in &args[2..] {
        added += usize::from(access.add_member(args[1], member)?);
    }
    if added > 0 {
        access.tell(Classes::SET, "sadd", args[1]);
    }
    reply.count(added);
    Ok(())
}

pub fn srem(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut removed = 0;
    for member in &args[2..] {
        removed += usize::from(access.remove_member(args[1], member)?);
    }
    if removed > 0 {
        access.tell_taken(Classes::SET, "srem", args[1]);
    }
    reply.count(removed);
    Ok(())
}

pub fn sismember(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(i64::from(access.contains(args[1], args[2])?));
    Ok(())
}

pub fn smismember(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.array(args.len() - 2);
    for member in &args[2..] {
        reply.integer(i64::from(access.contains(args[1], member)?));
    }
    Ok(())
}

pub fn scard(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.count(access.member_count(args[1])?);
    Ok(())
}

pub fn smembers(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.set(access.member_count(args[1])?);
    access.members(args[1])?.for_each(|member| reply.bulk(member));
    Ok(())
}

pub fn smove(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (from, to, member) = (args[1], args[2], args[3]);
    // Redis does not look at the destination when there is no source.
    if access.kind(from).is_none() {
        reply.integer(0);
        return Ok(());
    }
    let moved = access.contains(from, member)?;
    if access.kind(to).is_some_and(|kind| kind != Kind::Set) {
        return Err(Error::WrongType);
    }
    if moved && from != to {
        access.remove_member(from, member)?;
        access.tell_taken(Classes::SET, "srem", from);
        if access.add_member(to, member)? {
            access.tell(Classes::SET, "sadd", to);
        }
    }
    reply.integer(i64::from(moved));
    Ok(())
}

pub fn srandmember(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut random = Random::new(args.random);
    match args.len() {
        2 => {
            let length = access.member_count(args[1])?;
            let index = random.below(length);
            reply.bulk_or_null(access.members(args[1])?.nth(index));
        }
        3 => {
            let count = random_count(args[2])?;
            let members: Vec<&[u8]> = access.members(args[1])?.collect();
            let chosen = choose(&mut random, count, members.len());
            reply.array(chosen.len());
            chosen.into_iter().for_each(|index| reply.bulk(members[index]));
        }
        _ => return Err(Error::Syntax),
    }
    Ok(())
}

pub fn spop(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut random = Random::new(args.random);
    let count = match args.len() {
        2 => None,
        3 => Some(parse::count_argument(args[2], Error::Fixed("ERR value is out of range, must be positive"))?),
        _ => return Err(Error::Syntax),
    };
    let length = access.member_count(args[1])?;
    let Some(count) = count else {
        let index = random.below(length);
        let popped = access.members(args[1])?.nth(index).map(<[u8]>::to_vec);
        if let Some(member) = &popped {
            access.remove_member(args[1], member)?;
            access.tell_taken(Classes::SET, "spop", args[1]);
        }
        reply.bulk_or_null(popped.as_deref());
        return Ok(());
    };
    let popped: Vec<Vec<u8>> = {
        let members: Vec<&[u8]> = access.members(args[1])?.collect();
        random.distinct(count, members.len()).into_iter().map(|index| members[index].to_vec()).collect()
    };
    reply.set(popped.len());
    for member in &popped {
        access.remove_member(args[1], member)?;
        reply.bulk(member);
    }
    if !popped.is_empty() {
        access.tell_taken(Classes::SET, "spop", args[1]);
    }
    Ok(())
}

pub fn sscan(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let cursor = scan::cursor(args[2])?;
    let length = access.member_count(args[1])?;
    let found = scan::elements(args, (cursor, length), (access.members(args[1])?, 1), |member| member, reply)?;
    found.into_iter().for_each(|member| reply.bulk(member));
    Ok(())
}
