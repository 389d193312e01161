//! LCS: the longest common subsequence of two strings.

use super::{Args, Error, Reply, parse};
use crate::engine::access::Access;
use std::ops::RangeInclusive;

/// The most memory that one comparison may take, in bytes; Redis has the same bound.
const MOST_MEMORY: usize = 512 << 20;

#[derive(Default)]
struct Options {
    length: bool,
    indexes: bool,
    shortest: usize,
    with_length: bool,
}

impl Options {
    fn parse(options: &[&[u8]]) -> Result<Self, Error> {
        let mut parsed = Self::default();
        let mut options = options.iter();
        while let Some(option) = options.next() {
            if parse::is(option, "len") {
                parsed.length = true;
            } else if parse::is(option, "idx") {
                parsed.indexes = true;
            } else if parse::is(option, "withmatchlen") {
                parsed.with_length = true;
            } else if parse::is(option, "minmatchlen") {
                let shortest = parse::integer_argument(options.next().ok_or(Error::Syntax)?)?;
                parsed.shortest = usize::try_from(shortest).unwrap_or(0);
            } else {
                return Err(Error::Syntax);
            }
        }
        if parsed.length && parsed.indexes {
            return Err(Error::Fixed("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(parsed)
    }
}

pub fn lcs(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    args[1..3].iter().for_each(|key| access.tell_miss(key));
    let mut string = |key| match access.string(key) {
        Ok(value) => Ok(value.unwrap_or_default().into_owned()),
        Err(_) => Err(Error::Fixed("ERR The specified keys must contain string values")),
    };
    let (left, right) = (string(args[1])?, string(args[2])?);
    let options = Options::parse(&args[3..])?;
    let table = Table::new(&left, &right)?;
    if options.length {
        reply.count(table.length());
    } else if options.indexes {
        let matches = table.matches();
        let told = || matches.iter().filter(|(range, _)| range.end() - range.start() + 1 >= options.shortest);
        reply.map(2);
        reply.bulk(b"matches");
        reply.array(told().count());
        for (in_left, in_right) in told() {
            reply.array(if options.with_length { 3 } else { 2 });
            for range in [in_left, in_right] {
                reply.array(2);
                reply.count(*range.start());
                reply.count(*range.end());
            }
            if options.with_length {
                reply.count(in_left.end() - in_left.start() + 1);
            }
        }
        reply.bulk(b"len");
        reply.count(table.length());
    } else {
        let ranges = table.matches();
        let common: Vec<u8> = ranges.into_iter().rev().flat_map(|(range, _)| left[range].iter().copied()).collect();
        reply.bulk(&common);
    }
    Ok(())
}

/// A stretch that both strings have, as a range in each.
type Match = (RangeInclusive<usize>, RangeInclusive<usize>);

/// For each pair of beginnings of the two strings, the length of their longest common subsequence.
struct Table<'a> {
    left: &'a [u8],
    right: &'a [u8],
    lengths: Vec<u32>,
}

impl<'a> Table<'a> {
    fn new(left: &'a [u8], right: &'a [u8]) -> Result<Self, Error> {
        let width = right.len() + 1;
        let cells = (left.len() + 1).checked_mul(width).filter(|&cells| cells <= MOST_MEMORY / size_of::<u32>());
        let cells = cells
            .ok_or(Error::Fixed("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"))?;
        let mut lengths = vec![0u32; cells];
        for (row, from_left) in left.iter().enumerate() {
            for (column, from_right) in right.iter().enumerate() {
                let at = (row + 1) * width + column + 1;
                lengths[at] = if from_left == from_right {
                    lengths[at - width - 1] + 1
                } else {
                    lengths[at - width].max(lengths[at - 1])
                };
            }
        }
        Ok(Self { left, right, lengths })
    }

    fn at(&self, row: usize, column: usize) -> u32 {
        self.lengths[row * (self.right.len() + 1) + column]
    }

    fn length(&self) -> usize {
        self.at(self.left.len(), self.right.len()) as usize
    }

    /// The stretches that make up the subsequence, the last one first.
    fn matches(&self) -> Vec<Match> {
        let mut found = Vec::new();
        let (mut row, mut column, mut run) = (self.left.len(), self.right.len(), 0);
        while row > 0 && column > 0 {
            if self.left[row - 1] == self.right[column - 1] {
                (row, column, run) = (row - 1, column - 1, run + 1);
                continue;
            }
            if run > 0 {
                found.push((row..=row + run - 1, column..=column + run - 1));
                run = 0;
            }
            if self.at(row - 1, column) > self.at(row, column - 1) { row -= 1 } else { column -= 1 }
        }
        if run > 0 {
            found.push((row..=row + run - 1, column..=column + run - 1));
        }
        found
    }
}
