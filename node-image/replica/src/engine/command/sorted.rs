//! Sorted sets, by member, by what comes first and last, and at random; ranges are in `sorted_range`, what combines several in `sorted_algebra`.

use super::hashes::{choose, random_count};
use super::random::Random;
use super::{Args, Error, Reply, float, parse, scan};
use crate::engine::access::Access;
use crate::engine::events::Classes;

const NOT_A_NUMBER: Error = Error::Fixed("ERR resulting score is not a number (NaN)");

/// The two ends of a sorted set, as arguments.
pub const SCORE_ENDS: [&str; 2] = ["min", "max"];

/// Members with their scores.
pub type Scored = Vec<(Vec<u8>, f64)>;

#[derive(Clone, Copy, Default)]
struct AddOptions {
    only_new: bool,
    only_old: bool,
    greater: bool,
    less: bool,
    changed: bool,
    increment: bool,
}

impl AddOptions {
    /// The options, and the index of the first score.
    fn parse(args: &Args<'_>) -> (Self, usize) {
        let mut options = Self::default();
        for (index, option) in args.iter().enumerate().skip(2) {
            let flag = match option {
                _ if parse::is(option, "nx") => &mut options.only_new,
                _ if parse::is(option, "xx") => &mut options.only_old,
                _ if parse::is(option, "gt") => &mut options.greater,
                _ if parse::is(option, "lt") => &mut options.less,
                _ if parse::is(option, "ch") => &mut options.changed,
                _ if parse::is(option, "incr") => &mut options.increment,
                _ => return (options, index),
            };
            *flag = true;
        }
        (options, args.len())
    }

    fn check(self, pairs: usize) -> Result<(), Error> {
        if self.only_new && self.only_old {
            return Err(Error::Fixed("ERR XX and NX options at the same time are not compatible"));
        }
        if self.greater && self.less || self.only_new && (self.greater || self.less) {
            return Err(Error::Fixed("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if self.increment && pairs > 1 {
            return Err(Error::Fixed("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }
}

pub fn zadd(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (options, first) = AddOptions::parse(args);
    add(access, args, (options, first), reply)
}

pub fn zincrby(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (options, first) = AddOptions::parse(args);
    add(access, args, (AddOptions { increment: true, ..options }, first), reply)
}

fn add(
    access: &mut Access<'_>,
    args: &Args<'_>,
    (options, first): (AddOptions, usize),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let pairs: Vec<&[&[u8]]> = args[first..].chunks(2).collect();
    if pairs.last().is_none_or(|pair| pair.len() < 2) {
        return Err(Error::Syntax);
    }
    options.check(pairs.len())?;
    let mut members: Vec<(&[u8], f64)> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        members.push((pair[1], float::parse(pair[0]).ok_or(Error::NotFloat)?));
    }
    let (mut added, mut updated, mut result) = (0, 0, None);
    for (member, score) in members {
        let old = access.score(args[1], member)?;
        let new = if options.increment { old.unwrap_or(0.0) + score } else { score };
        let stays = match old {
            Some(_) if options.only_new => true,
            None => options.only_old,
            Some(_) if new.is_nan() => return Err(NOT_A_NUMBER),
            Some(old) => options.less && new >= old || options.greater && new <= old,
        };
        if stays {
            continue;
        }
        if options.increment {
            access.increment_score(args[1], member, score)?;
        } else {
            access.put_score(args[1], member, score)?;
        }
        added += usize::from(old.is_none());
        updated += usize::from(old.is_some_and(|old| old != new));
        result = Some(new);
    }
    if added + updated > 0 {
        access.tell(Classes::SORTED_SET, if options.increment { "zincr" } else { "zadd" }, args[1]);
    }
    match (options.increment, result) {
        (false, _) => reply.count(if options.changed { added + updated } else { added }),
        (true, Some(score)) => reply.double(score),
        (true, None) => {
            access.scored_count(args[1])?;
            reply.null();
        }
    }
    Ok(())
}

pub fn zrem(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut removed = 0;
    for member in &args[2..] {
        removed += usize::from(access.remove_scored(args[1], member)?);
    }
    if removed > 0 {
        access.tell_taken(Classes::SORTED_SET, "zrem", args[1]);
    }
    reply.count(removed);
    Ok(())
}

pub fn zscore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match access.score(args[1], args[2])? {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
    Ok(())
}

pub fn zmscore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.array(args.len() - 2);
    for member in &args[2..] {
        match access.score(args[1], member)? {
            Some(score) => reply.double(score),
            None => reply.null(),
        }
    }
    Ok(())
}

pub fn zcard(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.count(access.scored_count(args[1])?);
    Ok(())
}

pub fn zrank(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    tell_rank(access, args, "zrank", |rank, _| rank, reply)
}

pub fn zrevrank(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    tell_rank(access, args, "zrevrank", |rank, length| length.saturating_sub(rank + 1), reply)
}

fn tell_rank(
    access: &mut Access<'_>,
    args: &Args<'_>,
    command: &'static str,
    counted: fn(usize, usize) -> usize,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let with_score = match &args[3..] {
        [] => false,
        [option] if parse::is(option, "withscore") => true,
        [_] => return Err(Error::Syntax),
        _ => return Err(Error::Arity(command)),
    };
    match access.rank(args[1], args[2])? {
        Some((rank, score)) => {
            if with_score {
                reply.array(2);
            }
            reply.count(counted(rank, access.scored_count(args[1])?));
            if with_score {
                reply.double(score);
            }
        }
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(())
}

pub fn zpopmin(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    pop_one_or_more(access, args, false, reply)
}

pub fn zpopmax(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    pop_one_or_more(access, args, true, reply)
}

fn pop_one_or_more(
    access: &mut Access<'_>,
    args: &Args<'_>,
    from_end: bool,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let count = match args.len() {
        2 => None,
        3 => Some(parse::count_argument(args[2], Error::Fixed("ERR value is out of range, must be positive"))?),
        _ => return Err(Error::Syntax),
    };
    let popped = pop(access, args[1], from_end, count.unwrap_or(1))?;
    let nested = count.is_some() && reply.is_resp3();
    write_scored(reply, &popped, true, nested);
    Ok(())
}

/// Removes so many members, the lowest or the highest first.
pub fn pop(access: &mut Access<'_>, key: &[u8], from_end: bool, count: usize) -> Result<Scored, Error> {
    let length = access.scored_count(key)?;
    let count = count.min(length);
    let ranks = if from_end { length - count..length } else { 0..count };
    let mut popped = owned(access.scored_range(key, ranks)?);
    if from_end {
        popped.reverse();
    }
    for (member, _) in &popped {
        access.remove_scored(key, member)?;
    }
    if !popped.is_empty() {
        access.tell_taken(Classes::SORTED_SET, if from_end { "zpopmax" } else { "zpopmin" }, key);
    }
    Ok(popped)
}

pub fn zmpop(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (keys, from_end, count) = several_keys(&args.list()[1..], SCORE_ENDS)?;
    pop_of_first(access, keys, (from_end, count), reply)
}

/// Removes so many members of the first of these sorted sets that has any.
pub fn pop_of_first(
    access: &mut Access<'_>,
    keys: &[&[u8]],
    (from_end, count): (bool, usize),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    for key in keys {
        if access.scored_count(key)? > 0 {
            let popped = pop(access, key, from_end, count)?;
            reply.array(2);
            reply.bulk(key);
            write_scored(reply, &popped, true, true);
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}

/// The arguments of ZMPOP and LMPOP from the number of keys on: keys, whether the second end is meant, how many.
pub fn several_keys<'a>(args: &'a [&'a [u8]], ends: [&str; 2]) -> Result<(&'a [&'a [u8]], bool, usize), Error> {
    let positive = |text: &[u8], error: Error| match parse::count_argument(text, error.clone())? {
        0 => Err(error),
        count => Ok(count),
    };
    let (number, rest) = args.split_first().ok_or(Error::Syntax)?;
    let keys = positive(number, Error::Fixed("ERR numkeys should be greater than 0"))?;
    if keys >= rest.len() {
        return Err(Error::Syntax);
    }
    let (keys, rest) = rest.split_at(keys);
    let from_end = match rest[0] {
        end if parse::is(end, ends[0]) => false,
        end if parse::is(end, ends[1]) => true,
        _ => return Err(Error::Syntax),
    };
    let mut count = None;
    for option in rest[1..].chunks(2) {
        match option {
            [name, value] if count.is_none() && parse::is(name, "count") => {
                count = Some(positive(value, Error::Fixed("ERR count should be greater than 0"))?);
            }
            _ => return Err(Error::Syntax),
        }
    }
    Ok((keys, from_end, count.unwrap_or(1)))
}

pub fn zrandmember(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut random = Random::new(args.random);
    if args.len() == 2 {
        let length = access.scored_count(args[1])?;
        let rank = random.below(length);
        let chosen = access.scored_range(args[1], rank..rank + 1)?;
        reply.bulk_or_null(chosen.first().map(|(member, _)| *member));
        return Ok(());
    }
    let count = random_count(args[2])?;
    let with_scores = match &args[3..] {
        [] => false,
        [option] if parse::is(option, "withscores") => true,
        _ => return Err(Error::Syntax),
    };
    let all = access.scored_range(args[1], 0..usize::MAX)?;
    let chosen: Vec<_> = choose(&mut random, count, all.len()).into_iter().map(|index| all[index]).collect();
    write_scored(reply, &chosen, with_scores, reply.is_resp3());
    Ok(())
}

pub fn zscan(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let cursor = scan::cursor(args[2])?;
    let length = access.scored_count(args[1])?;
    let members = (access.scored_range(args[1], 0..usize::MAX)?.into_iter(), 2);
    for (member, score) in scan::elements(args, (cursor, length), members, |(member, _)| member, reply)? {
        reply.bulk(member);
        reply.bulk(float::text(score).as_bytes());
    }
    Ok(())
}

/// Copies members, so that the key can be changed.
pub fn owned(members: Vec<(&[u8], f64)>) -> Scored {
    members.into_iter().map(|(member, score)| (member.to_vec(), score)).collect()
}

/// Writes members as an array; with scores each as an array of two where `nested`, else one after the other.
pub fn write_scored<M: AsRef<[u8]>>(reply: &mut Reply<'_>, members: &[(M, f64)], with_scores: bool, nested: bool) {
    let flat = if with_scores && !nested { 2 } else { 1 };
    reply.array(flat * members.len());
    for (member, score) in members {
        if with_scores && nested {
            reply.array(2);
        }
        reply.bulk(member.as_ref());
        if with_scores {
            reply.double(*score);
        }
    }
}
