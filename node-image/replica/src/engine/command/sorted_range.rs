//! Ranges of sorted sets: by rank, by score, by member.

use std::ops::Range;

use super::sorted::{owned, write_scored};
use super::{Args, Error, Reply, float, parse};
use crate::engine::access::Access;
use crate::engine::events::Classes;

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Member,
}

/// What a command has decided before its options are read.
#[derive(Clone, Copy, Default)]
struct Fixed {
    by: Option<By>,
    reverse: Option<bool>,
    store: bool,
}

/// One end of a range.
enum Bounds<'a> {
    Rank(i64, i64),
    Score(ScoreBound, ScoreBound),
    Member(MemberBound<'a>, MemberBound<'a>),
}

struct ScoreBound {
    score: f64,
    excluded: bool,
}

enum MemberBound<'a> {
    Lowest,
    Highest,
    At { member: &'a [u8], excluded: bool },
}

impl ScoreBound {
    fn parse(text: &[u8]) -> Result<Self, Error> {
        let (excluded, number) = match text {
            [b'(', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let score = float::parse_bound(number).ok_or(Error::Fixed("ERR min or max is not a float"))?;
        Ok(Self { score, excluded })
    }
}

impl<'a> MemberBound<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Error> {
        match text {
            b"-" => Ok(Self::Lowest),
            b"+" => Ok(Self::Highest),
            [b'[', member @ ..] => Ok(Self::At { member, excluded: false }),
            [b'(', member @ ..] => Ok(Self::At { member, excluded: true }),
            _ => Err(Error::Fixed("ERR min or max not valid string range item")),
        }
    }

    /// Whether a member stands before this place; `end`: the place behind which nothing belongs to the range.
    fn is_after(&self, other: &[u8], end: bool) -> bool {
        match self {
            Self::Lowest => false,
            Self::Highest => true,
            Self::At { member, excluded } => other < *member || other == *member && *excluded != end,
        }
    }
}

impl<'a> Bounds<'a> {
    fn parse(by: By, low: &'a [u8], high: &'a [u8]) -> Result<Self, Error> {
        Ok(match by {
            By::Rank => Self::Rank(parse::integer_argument(low)?, parse::integer_argument(high)?),
            By::Score => Self::Score(ScoreBound::parse(low)?, ScoreBound::parse(high)?),
            By::Member => Self::Member(MemberBound::parse(low)?, MemberBound::parse(high)?),
        })
    }

    /// The ranks that these bounds mean, counted from the end where `reverse`.
    fn ranks(&self, access: &mut Access<'_>, key: &[u8], reverse: bool) -> Result<Range<usize>, Error> {
        let length = access.scored_count(key)?;
        let (start, end) = match self {
            Self::Rank(start, end) => {
                let ranks = parse::elements(length, *start, *end);
                let (start, end) = (ranks.start, ranks.end);
                if reverse { (length - end, length - start) } else { (start, end) }
            }
            Self::Score(low, high) => (
                access.scored_before(key, &|_, s| s < low.score || s == low.score && low.excluded)?,
                access.scored_before(key, &|_, s| s < high.score || s == high.score && !high.excluded)?,
            ),
            Self::Member(low, high) => (
                access.scored_before(key, &|member, _| low.is_after(member, false))?,
                access.scored_before(key, &|member, _| high.is_after(member, true))?,
            ),
        };
        Ok(start..end.max(start))
    }
}

pub fn zrange(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    range(access, &args[1..], Fixed::default(), reply)
}

pub fn zrangestore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    range(access, &args[1..], Fixed { store: true, ..Fixed::default() }, reply)
}

pub fn zrevrange(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    range(access, &args[1..], Fixed { by: Some(By::Rank), reverse: Some(true), store: false }, reply)
}

pub fn zrangebyscore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    range(access, &args[1..], Fixed { by: Some(By::Score), reverse: Some(false), store: false }, reply)
}

pub fn zrevrangebyscore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    range(access, &args[1..], Fixed { by: Some(By::Score), reverse: Some(true), store: false }, reply)
}

pub fn zrangebylex(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    range(access, &args[1..], Fixed { by: Some(By::Member), reverse: Some(false), store: false }, reply)
}

pub fn zrevrangebylex(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    range(access, &args[1..], Fixed { by: Some(By::Member), reverse: Some(true), store: false }, reply)
}

struct Options {
    by: By,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    limit: i64,
}

impl Options {
    fn parse(args: &[&[u8]], fixed: Fixed) -> Result<Self, Error> {
        let (mut by, mut reverse, mut with_scores, mut offset, mut limit) = (fixed.by, fixed.reverse, false, 0, -1);
        let mut rest = args;
        while let [option, after @ ..] = rest {
            rest = after;
            if !fixed.store && parse::is(option, "withscores") {
                with_scores = true;
            } else if parse::is(option, "limit") && rest.len() >= 2 {
                (offset, limit) = (parse::integer_argument(rest[0])?, parse::integer_argument(rest[1])?);
                rest = &rest[2..];
            } else if fixed.reverse.is_none() && reverse.is_none() && parse::is(option, "rev") {
                reverse = Some(true);
            } else if by.is_none() && parse::is(option, "bylex") {
                by = Some(By::Member);
            } else if by.is_none() && parse::is(option, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(Error::Syntax);
            }
        }
        let by = by.unwrap_or(By::Rank);
        if limit != -1 && by == By::Rank {
            return Err(Error::Fixed(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Member {
            return Err(Error::Fixed("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        Ok(Self { by, reverse: reverse.unwrap_or(false), with_scores, offset, limit })
    }

    /// What OFFSET and LIMIT leave of these ranks.
    fn limited(&self, ranks: Range<usize>) -> Range<usize> {
        if self.by == By::Rank {
            return ranks;
        }
        let length = ranks.len();
        // A negative offset is past everything.
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX).min(length);
        let taken = usize::try_from(self.limit).unwrap_or(usize::MAX).min(length - skipped);
        if self.reverse {
            ranks.end - skipped - taken..ranks.end - skipped
        } else {
            ranks.start + skipped..ranks.start + skipped + taken
        }
    }
}

/// All forms of ZRANGE: `args` begins with the key, or where the result is stored.
fn range(access: &mut Access<'_>, args: &[&[u8]], fixed: Fixed, reply: &mut Reply<'_>) -> Result<(), Error> {
    let source = if fixed.store { &args[1..] } else { args };
    let options = Options::parse(&source[3..], fixed)?;
    let swapped = options.reverse && options.by != By::Rank;
    let (low, high) = if swapped { (source[2], source[1]) } else { (source[1], source[2]) };
    let bounds = Bounds::parse(options.by, low, high)?;
    let ranks = options.limited(bounds.ranks(access, source[0], options.reverse)?);
    let mut found = access.scored_range(source[0], ranks)?;
    if options.reverse {
        found.reverse();
    }
    if !fixed.store {
        write_scored(reply, &found, options.with_scores, reply.is_resp3());
        return Ok(());
    }
    let found = owned(found);
    access.tell_miss(source[0]);
    access.clear_for_result(args[0], !found.is_empty());
    for (member, score) in &found {
        access.put_score(args[0], member, *score)?;
    }
    if !found.is_empty() {
        access.tell(Classes::SORTED_SET, "zrangestore", args[0]);
    }
    reply.count(found.len());
    Ok(())
}

pub fn zcount(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let bounds = Bounds::parse(By::Score, args[2], args[3])?;
    reply.count(bounds.ranks(access, args[1], false)?.len());
    Ok(())
}

pub fn zlexcount(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let bounds = Bounds::parse(By::Member, args[2], args[3])?;
    reply.count(bounds.ranks(access, args[1], false)?.len());
    Ok(())
}

pub fn zremrangebyrank(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    remove(access, args, (By::Rank, "zremrangebyrank"), reply)
}

pub fn zremrangebyscore(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    remove(access, args, (By::Score, "zremrangebyscore"), reply)
}

pub fn zremrangebylex(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    remove(access, args, (By::Member, "zremrangebylex"), reply)
}

fn remove(
    access: &mut Access<'_>,
    args: &Args<'_>,
    (by, event): (By, &'static str),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let ranks = Bounds::parse(by, args[2], args[3])?.ranks(access, args[1], false)?;
    let found = owned(access.scored_range(args[1], ranks)?);
    for (member, _) in &found {
        access.remove_scored(args[1], member)?;
    }
    if !found.is_empty() {
        access.tell_taken(Classes::SORTED_SET, event, args[1]);
    }
    reply.count(found.len());
    Ok(())
}
