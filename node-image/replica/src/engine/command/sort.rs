//! SORT and SORT_RO: the elements of a list, set or sorted set in the order of themselves or of values elsewhere, or values elsewhere in that order.

use std::cmp::Ordering;

use super::{Args, Error, Reply, float, parse};
use crate::engine::access::{Access, Kind};
use crate::engine::events::Classes;

/// What was asked for.
#[derive(Default)]
struct Options<'a> {
    descending: bool,
    /// By bytes, not by numbers.
    alpha: bool,
    /// Where the values are by which is sorted.
    by: Option<&'a [u8]>,
    /// Where the values are that are returned; none: the elements.
    get: Vec<&'a [u8]>,
    /// How many to leave out at the beginning, and how many to take; none: all.
    skip: usize,
    take: Option<usize>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(mut rest: &[&'a [u8]], may_store: bool) -> Result<Self, Error> {
        let mut options = Self::default();
        loop {
            rest = match rest {
                [] => return Ok(options),
                [option, rest @ ..] if parse::is(option, "asc") => {
                    options.descending = false;
                    rest
                }
                [option, rest @ ..] if parse::is(option, "desc") => {
                    options.descending = true;
                    rest
                }
                [option, rest @ ..] if parse::is(option, "alpha") => {
                    options.alpha = true;
                    rest
                }
                [option, skip, take, rest @ ..] if parse::is(option, "limit") => {
                    let (skip, take) = (parse::integer_argument(skip)?, parse::integer_argument(take)?);
                    options.skip = usize::try_from(skip).unwrap_or(0);
                    options.take = usize::try_from(take).ok();
                    rest
                }
                [option, key, rest @ ..] if may_store && parse::is(option, "store") => {
                    options.store = Some(key);
                    rest
                }
                [option, pattern, rest @ ..] if parse::is(option, "by") => {
                    options.by = Some(pattern);
                    rest
                }
                [option, pattern, rest @ ..] if parse::is(option, "get") => {
                    options.get.push(pattern);
                    rest
                }
                _ => return Err(Error::Syntax),
            }
        }
    }
}

/// The key that these arguments of SORT store the result in.
pub fn destination<'a>(args: &'a [&'a [u8]]) -> Option<&'a [&'a [u8]]> {
    let (mut at, mut found) = (2, None);
    while let Some(option) = args.get(at) {
        at += match option {
            limit if parse::is(limit, "limit") => 3,
            with_pattern if parse::is(with_pattern, "by") || parse::is(with_pattern, "get") => 2,
            store if parse::is(store, "store") && at + 1 < args.len() => {
                found = args.get(at + 1..at + 2);
                2
            }
            _ => 1,
        };
    }
    found
}

pub fn sort(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    run(access, args, true, reply)
}

pub fn sort_ro(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    run(access, args, false, reply)
}

fn run(access: &mut Access<'_>, args: &Args<'_>, may_store: bool, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut options = Options::parse(&args[2..], may_store)?;
    let kind = access.kind(args[1]);
    access.tell_miss(args[1]);
    let elements = elements_of(access, args[1], kind)?;
    // By a name that is the same for all: in no other order than they are in.
    let mut as_they_are = options.by.is_some_and(|pattern| !pattern.contains(&b'*'));
    if as_they_are && kind == Some(Kind::Set) && options.store.is_some() {
        // Those of a set are in none.
        (as_they_are, options.alpha, options.by) = (false, true, None);
    }
    let mut sorted = if as_they_are { elements } else { in_order(access, elements, &options)? };
    if as_they_are && options.descending && kind != Some(Kind::Set) {
        sorted.reverse();
    }
    let taken = sorted.into_iter().skip(options.skip).take(options.take.unwrap_or(usize::MAX));
    let results = results(access, taken.collect(), &options.get);
    match options.store {
        None => {
            reply.array(results.len());
            results.iter().for_each(|result| reply.bulk_or_null(result.as_deref()));
        }
        Some(key) => {
            access.clear_for_result(key, !results.is_empty());
            for (at, result) in results.iter().enumerate() {
                access.list_insert(key, at, result.as_deref().unwrap_or_default())?;
            }
            if !results.is_empty() {
                access.tell(Classes::LIST, "sortstore", key);
            }
            reply.count(results.len());
        }
    }
    Ok(())
}

/// What a key holds: a list and a sorted set in their order.
fn elements_of(access: &mut Access<'_>, key: &[u8], kind: Option<Kind>) -> Result<Vec<Vec<u8>>, Error> {
    Ok(match kind {
        None => Vec::new(),
        Some(Kind::List) => {
            access.list_range(key, 0..usize::MAX)?.into_iter().map(|element| element.into_owned()).collect()
        }
        Some(Kind::Set) => access.members(key)?.map(<[u8]>::to_vec).collect(),
        Some(Kind::SortedSet) => {
            access.scored_range(key, 0..usize::MAX)?.into_iter().map(|(member, _)| member.to_vec()).collect()
        }
        Some(Kind::String | Kind::Hash) => return Err(Error::WrongType),
    })
}

/// Elements in the order asked for. By numbers, the same ones are in the order of their elements' bytes.
fn in_order(access: &mut Access<'_>, elements: Vec<Vec<u8>>, options: &Options<'_>) -> Result<Vec<Vec<u8>>, Error> {
    let directed = |order: Ordering| if options.descending { order.reverse() } else { order };
    let mut value_of = |element: &[u8]| match options.by {
        Some(pattern) => value_at(access, pattern, element),
        None => Some(element.to_vec()),
    };
    if options.alpha {
        let mut keyed: Vec<_> = elements.into_iter().map(|element| (value_of(&element), element)).collect();
        keyed.sort_by(|(a, _), (b, _)| directed(a.cmp(b)));
        return Ok(keyed.into_iter().map(|(_, element)| element).collect());
    }
    let mut keyed = Vec::with_capacity(elements.len());
    for element in elements {
        keyed.push((value_of(&element).map_or(Some(0.0), |value| number(&value)), element));
    }
    if keyed.iter().any(|(number, _)| number.is_none()) {
        return Err(Error::Fixed("ERR One or more scores can't be converted into double"));
    }
    keyed.sort_by(|(a, x), (b, y)| directed(a.partial_cmp(b).unwrap_or(Ordering::Equal).then_with(|| x.cmp(y))));
    Ok(keyed.into_iter().map(|(_, element)| element).collect())
}

/// A value as a number, as C reads it: up to its first zero byte, spaces before it left out, and nothing is 0.
fn number(value: &[u8]) -> Option<f64> {
    let text = value.split(|&byte| byte == 0).next().unwrap_or_default();
    let spaces = text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
    if text.is_empty() { Some(0.0) } else { float::parse(&text[spaces..]) }
}

/// What is returned for these elements.
fn results(access: &mut Access<'_>, elements: Vec<Vec<u8>>, get: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    if get.is_empty() {
        return elements.into_iter().map(Some).collect();
    }
    let of = |element: &Vec<u8>| get.iter().map(|pattern| value_at(access, pattern, element)).collect::<Vec<_>>();
    elements.iter().flat_map(of).collect()
}

/// What is under the name that a pattern makes of an element: in place of its first `*`, and behind `->` the field of a hash. `#` is the element itself.
fn value_at(access: &mut Access<'_>, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = pattern.iter().position(|&byte| byte == b'*')?;
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = after.windows(2).position(|pair| pair == b"->").filter(|arrow| arrow + 2 < after.len());
    let after_name = arrow.map_or(after, |arrow| &after[..arrow]);
    let key = [before, element, after_name].concat();
    access.tell_miss(&key);
    let value = match arrow {
        Some(arrow) => access.field(&key, &after[arrow + 2..]),
        None => access.string(&key),
    };
    value.ok()?.map(|value| value.into_owned())
}
