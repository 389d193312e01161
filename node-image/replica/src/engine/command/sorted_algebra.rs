//! Unions, intersections and differences of sorted sets, and of sets as such whose members all have a score of 1.

use std::collections::BTreeMap;

use super::sorted::{Scored, write_scored};
use super::{Args, Error, Reply, float, parse};
use crate::engine::access::{Access, Kind};
use crate::engine::events::Classes;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Least,
    Most,
}

impl Aggregate {
    fn join(self, left: f64, right: f64) -> f64 {
        match self {
            // Infinities of both signs make 0.
            Self::Sum => number_or_zero(left + right),
            Self::Least => {
                if right < left {
                    right
                } else {
                    left
                }
            }
            Self::Most => {
                if right > left {
                    right
                } else {
                    left
                }
            }
        }
    }
}

fn number_or_zero(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// What a command asks for, and what it does with the result.
struct Request<'a> {
    sources: Vec<(&'a [u8], f64)>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Reply,
    Store,
    Count,
}

pub fn zunion(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    combine(access, args, ("zunion", Operation::Union, Target::Reply), reply)
}

pub fn zinter(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    combine(access, args, ("zinter", Operation::Intersection, Target::Reply), reply)
}

pub fn zdiff(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    combine(access, args, ("zdiff", Operation::Difference, Target::Reply), reply)
}

pub fn zunionstore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    combine(access, args, ("zunionstore", Operation::Union, Target::Store), reply)
}

pub fn zinterstore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    combine(access, args, ("zinterstore", Operation::Intersection, Target::Store), reply)
}

pub fn zdiffstore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    combine(access, args, ("zdiffstore", Operation::Difference, Target::Store), reply)
}

pub fn zintercard(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    combine(access, args, ("zintercard", Operation::Intersection, Target::Count), reply)
}

type What = (&'static str, Operation, Target);

impl<'a> Request<'a> {
    /// Reads the number of keys, the keys and the options. That keys are of a right type is checked in between.
    fn parse(access: &mut Access<'_>, args: &'a [&'a [u8]], what: What) -> Result<Self, Error> {
        let (name, operation, target) = what;
        let count = parse::integer_argument(args[0])?;
        if count < 1 {
            return Err(Error::Text(format!("ERR at least 1 input key is needed for '{name}' command").into_bytes()));
        }
        let count = usize::try_from(count).ok().filter(|&count| count < args.len()).ok_or(Error::Syntax)?;
        let (keys, mut rest) = args[1..].split_at(count);
        for key in keys {
            match access.kind(key) {
                None => access.tell_miss(key),
                Some(Kind::SortedSet | Kind::Set) => {}
                Some(_) => return Err(Error::WrongType),
            }
        }
        let mut request = Self {
            sources: keys.iter().map(|key| (*key, 1.0)).collect(),
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        let weighs = operation != Operation::Difference && target != Target::Count;
        while let [option, after @ ..] = rest {
            rest = after;
            if weighs && parse::is(option, "weights") && rest.len() >= count {
                for (source, weight) in request.sources.iter_mut().zip(rest) {
                    source.1 = float::parse(weight).ok_or(Error::Fixed("ERR weight value is not a float"))?;
                }
                rest = &rest[count..];
            } else if weighs && parse::is(option, "aggregate") && !rest.is_empty() {
                request.aggregate = match rest[0] {
                    how if parse::is(how, "sum") => Aggregate::Sum,
                    how if parse::is(how, "min") => Aggregate::Least,
                    how if parse::is(how, "max") => Aggregate::Most,
                    _ => return Err(Error::Syntax),
                };
                rest = &rest[1..];
            } else if target == Target::Reply && parse::is(option, "withscores") {
                request.with_scores = true;
            } else if target == Target::Count && parse::is(option, "limit") && !rest.is_empty() {
                request.limit = parse::count_argument(rest[0], Error::Fixed("ERR LIMIT can't be negative"))?;
                rest = &rest[1..];
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(request)
    }
}

fn combine(access: &mut Access<'_>, args: &Args<'_>, what: What, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (name, operation, target) = what;
    let first = if target == Target::Store { 2 } else { 1 };
    let mut request = Request::parse(access, &args.list()[first..], what)?;
    if operation != Operation::Difference {
        // Sums of floating point numbers depend on their order: the smallest set is first, as in Redis.
        let mut sized = Vec::with_capacity(request.sources.len());
        for source in request.sources {
            sized.push((size(access, source.0)?, source));
        }
        sized.sort_by_key(|(size, _)| *size);
        request.sources = sized.into_iter().map(|(_, source)| source).collect();
    }
    let mut found: Scored = match operation {
        Operation::Union => union(access, &request)?,
        Operation::Intersection => intersection(access, &request)?,
        Operation::Difference => difference(access, &request)?,
    };
    found.sort_by(|left, right| left.1.total_cmp(&right.1).then_with(|| left.0.cmp(&right.0)));
    match target {
        Target::Reply => write_scored(reply, &found, request.with_scores, reply.is_resp3()),
        Target::Count => reply.count(if request.limit == 0 { found.len() } else { found.len().min(request.limit) }),
        Target::Store => {
            access.clear_for_result(args[1], !found.is_empty());
            for (member, score) in &found {
                access.put_score(args[1], member, *score)?;
            }
            if !found.is_empty() {
                access.tell(Classes::SORTED_SET, name, args[1]);
            }
            reply.count(found.len());
        }
    }
    Ok(())
}

fn size(access: &mut Access<'_>, key: &[u8]) -> Result<usize, Error> {
    Ok(match access.kind(key) {
        Some(Kind::Set) => access.member_count(key)?,
        _ => access.scored_count(key)?,
    })
}

/// All members of a source with their scores.
fn members(access: &mut Access<'_>, key: &[u8]) -> Result<Scored, Error> {
    if access.kind(key) == Some(Kind::Set) {
        return Ok(access.members(key)?.map(|member| (member.to_vec(), 1.0)).collect());
    }
    Ok(super::sorted::owned(access.scored_range(key, 0..usize::MAX)?))
}

/// The score of one member.
fn score(access: &mut Access<'_>, key: &[u8], member: &[u8]) -> Result<Option<f64>, Error> {
    if access.kind(key) == Some(Kind::Set) {
        return Ok(access.contains(key, member)?.then_some(1.0));
    }
    Ok(access.score(key, member)?)
}

/// A score with its weight. There is one zero.
fn weighed(score: f64, weight: f64) -> f64 {
    number_or_zero(score * weight) + 0.0
}

fn union(access: &mut Access<'_>, request: &Request<'_>) -> Result<Scored, Error> {
    let mut all: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
    for &(key, weight) in &request.sources {
        for (member, score) in members(access, key)? {
            let score = weighed(score, weight);
            all.entry(member).and_modify(|sum| *sum = request.aggregate.join(*sum, score)).or_insert(score);
        }
    }
    Ok(all.into_iter().collect())
}

fn intersection(access: &mut Access<'_>, request: &Request<'_>) -> Result<Scored, Error> {
    let [(first, weight), others @ ..] = &request.sources[..] else { return Ok(Scored::new()) };
    let mut found = Scored::new();
    'members: for (member, own) in members(access, first)? {
        let mut sum = weighed(own, *weight);
        for (key, weight) in others {
            let Some(other) = score(access, key, &member)? else { continue 'members };
            sum = request.aggregate.join(sum, weighed(other, *weight));
        }
        found.push((member, sum));
    }
    Ok(found)
}

fn difference(access: &mut Access<'_>, request: &Request<'_>) -> Result<Scored, Error> {
    let [(first, _), others @ ..] = &request.sources[..] else { return Ok(Scored::new()) };
    let mut found = Scored::new();
    'members: for (member, own) in members(access, first)? {
        for (key, _) in others {
            if score(access, key, &member)?.is_some() {
                continue 'members;
            }
        }
        found.push((member, own));
    }
    Ok(found)
}
