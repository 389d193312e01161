//! Commands that wait until one of their keys has something. Here is what they do when they are tried: they find something, or answer null and have
//! written nothing ([`flag::BLOCKING`](super::table::flag::BLOCKING)). So they behave within a transaction; who is to wait otherwise, for
//! how long, and when to try again is the business of `clients::waiters`.

use super::sorted::{SCORE_ENDS, several_keys};
use super::table::{Group, flag};
use super::{Args, Error, Reply, Spec, lists, sorted};
use crate::engine::access::{Access, Kind};

pub fn blpop(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    pop_element(access, args, false, reply)
}

pub fn brpop(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    pop_element(access, args, true, reply)
}

fn pop_element(access: &mut Access<'_>, args: &Args<'_>, from_end: bool, reply: &mut Reply<'_>) -> Result<(), Error> {
    let keys = keys_before_timeout(access, args)?;
    for key in keys {
        if let Some(value) = lists::pop(access, key, from_end, 1)?.first() {
            reply.array(2);
            reply.bulk(key);
            reply.bulk(value);
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}

/// The keys of a command whose last argument says how long to wait.
fn keys_before_timeout<'a>(access: &Access<'_>, args: &Args<'a>) -> Result<&'a [&'a [u8]], Error> {
    let (timeout, rest) = args.list().split_last().ok_or(Error::Syntax)?;
    timeout_ms(timeout, access.now_ms())?;
    Ok(rest.get(1..).unwrap_or_default())
}

pub fn blmove(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (from_end, to_end) = (lists::is_last(args[3])?, lists::is_last(args[4])?);
    timeout_ms(args[5], access.now_ms())?;
    lists::move_element(access, (args[1], from_end), (args[2], to_end), reply)
}

pub fn brpoplpush(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    timeout_ms(args[3], access.now_ms())?;
    lists::move_element(access, (args[1], true), (args[2], false), reply)
}

pub fn blmpop(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (keys, from_end, count) = several_keys(&args.list()[2..], lists::ENDS)?;
    timeout_ms(args[1], access.now_ms())?;
    lists::pop_of_first(access, keys, (from_end, count), reply)
}

pub fn bzpopmin(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    pop_member(access, args, false, reply)
}

pub fn bzpopmax(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    pop_member(access, args, true, reply)
}

fn pop_member(access: &mut Access<'_>, args: &Args<'_>, from_end: bool, reply: &mut Reply<'_>) -> Result<(), Error> {
    let keys = keys_before_timeout(access, args)?;
    for key in keys {
        if let Some((member, score)) = sorted::pop(access, key, from_end, 1)?.first() {
            reply.array(3);
            reply.bulk(key);
            reply.bulk(member);
            reply.double(*score);
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}

pub fn bzmpop(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (keys, from_end, count) = several_keys(&args.list()[2..], SCORE_ENDS)?;
    timeout_ms(args[1], access.now_ms())?;
    sorted::pop_of_first(access, keys, (from_end, count), reply)
}

/// A time to wait, in seconds that need not be whole, as milliseconds; 0: for ever.
fn timeout_ms(text: &[u8], now_ms: u64) -> Result<u64, Error> {
    const NO_NUMBER: Error = Error::Fixed("ERR timeout is not a float or out of range");
    const TOO_LONG: Error = Error::Fixed("ERR timeout is out of range");
    let seconds: f64 = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(NO_NUMBER)?;
    if seconds.is_nan() {
        return Err(NO_NUMBER);
    }
    let milliseconds = (seconds * 1000.0).ceil();
    if milliseconds < 0.0 {
        return Err(Error::Fixed("ERR timeout is negative"));
    }
    // Redis adds it to the time of day, in 63 bits.
    if milliseconds >= (i64::MAX as u64).saturating_sub(now_ms) as f64 {
        return Err(TOO_LONG);
    }
    Ok(milliseconds as u64)
}

/// How long a command may wait for its keys, in microseconds; the largest number: for ever. None: it is no command that waits.
pub fn wait_us(spec: &Spec, args: &[&[u8]]) -> Option<u64> {
    if !spec.has(flag::BLOCKING) {
        return None;
    }
    let at = if spec.has(flag::MOVABLEKEYS) { 1 } else { args.len() - 1 };
    // What is no time is refused when the command is tried.
    let timeout = args.get(at).and_then(|text| timeout_ms(text, 0).ok());
    Some(match timeout {
        None => 0,
        Some(0) => u64::MAX,
        Some(timeout) => timeout.saturating_mul(1000),
    })
}

/// The keys that a command waits for, and of which type.
pub fn waits_for<'a>(spec: &Spec, args: &'a [&'a [u8]]) -> (Vec<&'a [u8]>, Kind) {
    let kind = if spec.group == Group::SortedSet { Kind::SortedSet } else { Kind::List };
    // Of a command that moves an element, the second key is where it goes.
    let most = if spec.has(flag::DENYOOM) { 1 } else { usize::MAX };
    (spec.keys(args).take(most).collect(), kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_wait_are_read_as_redis_does() {
        let ms = |text: &str| timeout_ms(text.as_bytes(), 1_700_000_000_000).map_err(|error| error.to_string());
        for (text, expected) in [("0", 0), ("0.0", 0), ("-0", 0), ("1", 1000), ("0.0001", 1), ("1.5e1", 15_000)] {
            assert_eq!(ms(text), Ok(expected), "{text}");
        }
        for (text, error) in [
            ("x", "timeout is not a float or out of range"),
            ("", "timeout is not a float or out of range"),
            ("nan", "timeout is not a float or out of range"),
            ("-1", "timeout is negative"),
            ("-inf", "timeout is negative"),
            ("inf", "timeout is out of range"),
            ("9223372036854775", "timeout is out of range"),
        ] {
            assert_eq!(ms(text), Err(format!("ERR {error}")), "{text}");
        }
    }
}
