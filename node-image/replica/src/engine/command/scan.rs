//! Cursors: how SCAN, HSCAN, SSCAN and ZSCAN go through a collection in bounded steps while it changes.
//!
//! Elements have a fixed place by a hash of their bytes, the same on every replica, and a cursor is the place to go
//! on from. So whatever is there from
//! the first to the last call is returned, exactly once unless it was removed and added again; the cursor holds no
//! state on the server and works on any replica.
//! Cursors stay below 2^53, where a client that keeps numbers as floating point still has them exactly.

use super::{Args, Error, Reply, glob, parse};
use xxhash_rust::xxh3::xxh3_64;

/// Bits of a place within one slot of the key space; above them the slot's number.
pub const SLOT_PLACE_BITS: u32 = 39;
/// Bits of a place within a hash or set.
pub const PLACE_BITS: u32 = 53;
/// A collection is gone through in at most this many calls, whatever COUNT says: a call has to look at all of it to
/// find its part.
const MOST_CALLS: usize = 256;
/// Up to this many elements, a collection is returned whole: it is read whole anyway.
pub const SMALL: usize = 128;

/// The options of a scan.
#[derive(Debug)]
pub struct Options<'a> {
    /// How many elements to look at.
    pub count: usize,
    /// Only what matches.
    pub pattern: Option<&'a [u8]>,
    /// Only keys of this type (SCAN).
    pub kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Reads `MATCH`, `COUNT` and, where allowed, `TYPE`, from the argument at `from` on.
    pub fn parse(args: &Args<'a>, from: usize, with_type: bool) -> Result<Self, Error> {
        let mut options = Self { count: 10, pattern: None, kind: None };
        for pair in args.list()[from..].chunks(2) {
            let &[option, value] = pair else { return Err(Error::Syntax) };
            if parse::is(option, "count") {
                let count = parse::integer_argument(value)?;
                options.count = usize::try_from(count).ok().filter(|&count| count > 0).ok_or(Error::Syntax)?;
            } else if parse::is(option, "match") {
                options.pattern = (value != b"*").then_some(value);
            } else if parse::is(option, "type") && with_type {
                options.kind = Some(value);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }

    /// Whether the name of an element matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

/// A cursor argument.
pub fn cursor(text: &[u8]) -> Result<u64, Error> {
    let digits = !text.is_empty() && text.len() <= 20 && text.iter().all(u8::is_ascii_digit);
    let value = if digits { std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) } else { None };
    value.ok_or(Error::Fixed("ERR invalid cursor"))
}

/// The place of an element, in so many bits.
fn place(name: &[u8], bits: u32) -> u64 {
    xxh3_64(name) >> (64 - bits)
}

/// The next elements of a collection of `length`, from a place on: at least `count` where there are so many, more
/// where several share a place.
/// Returns them with the place to go on from, `None` at the end.
pub fn page<T>(
    elements: impl Iterator<Item = T>,
    name: impl Fn(&T) -> &[u8],
    length: usize,
    (from, bits): (u64, u32),
    count: usize,
) -> (Vec<T>, Option<u64>) {
    if from == 0 && length <= SMALL.max(count) {
        return (elements.collect(), None);
    }
    let mut placed: Vec<(u64, T)> =
        elements.map(|element| (place(name(&element), bits), element)).filter(|&(place, _)| place >= from).collect();
    let count = count.max(length / MOST_CALLS);
    if placed.len() <= count {
        return (placed.into_iter().map(|(_, element)| element).collect(), None);
    }
    let last = placed.select_nth_unstable_by_key(count - 1, |&(place, _)| place).1.0;
    let next = last + 1;
    let more = placed.iter().any(|&(place, _)| place > last);
    placed.retain(|&(place, _)| place <= last);
    (placed.into_iter().map(|(_, element)| element).collect(), more.then_some(next))
}

/// HSCAN, SSCAN and ZSCAN of a collection of `length`, from the cursor on: writes the head of the reply, and returns the elements that are to follow, each of
/// which is written as `width` values.
///
/// # Errors
/// The options are wrong.
pub fn elements<T>(
    args: &Args<'_>,
    (cursor, length): (u64, usize),
    (all, width): (impl Iterator<Item = T>, usize),
    name: impl Fn(&T) -> &[u8],
    reply: &mut Reply<'_>,
) -> Result<Vec<T>, Error> {
    if length == 0 {
        head(reply, 0, 0);
        return Ok(Vec::new());
    }
    let options = Options::parse(args, 3, false)?;
    let (mut found, next) = page(all, &name, length, (cursor, PLACE_BITS), options.count);
    found.retain(|element| options.matches(name(element)));
    head(reply, next.unwrap_or(0), width * found.len());
    Ok(found)
}

/// The head of a scan's reply: the next cursor, then this many elements.
pub fn head(reply: &mut Reply<'_>, next: u64, elements: usize) {
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(elements);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once_and_are_bounded() {
        let names: Vec<String> = (0..1000).map(|number| format!("name{number}")).collect();
        let (mut seen, mut from, mut calls) = (Vec::new(), 0, 0);
        loop {
            let (part, next) = page(names.iter(), |name| name.as_bytes(), names.len(), (from, PLACE_BITS), 10);
            assert!(part.len() < 20, "a page of 10 has {} elements", part.len());
            seen.extend(part);
            calls += 1;
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!(calls, 100);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn what_shares_a_place_is_returned_together() {
        let names: Vec<String> = (0..1000).map(|number| format!("name{number}")).collect();
        let (mut seen, mut from) = (0, 0);
        // With three bits there are eight places for a thousand names.
        while let (part, Some(next)) = page(names.iter(), |name| name.as_bytes(), names.len(), (from, 3), 10) {
            assert!(part.len() > 50);
            seen += part.len();
            from = next;
        }
        assert!((700..1000).contains(&seen));
    }
}
