//! Every write took effect exactly once if it was acknowledged, at most once if its outcome is unknown, and never if it was refused.
//!
//! Three keys are made for this: every INCR of `total` adds one, every APPEND to `journal` leaves a piece of its own, every SADD to `members` a member.
//! What the last reads show is compared with what was asked. Where a new generation records that acknowledged entries were given up, they may be
//! missing; nothing may be there twice even then.

use std::collections::BTreeMap;

use super::{Found, violated};
use crate::{
    history::{Entry, Family, History, KEYS, Outcome},
    model::Act,
    resp::Reply,
};

/// Compares what is left with what was asked.
///
/// # Errors
/// The first write that was lost, done twice, or done although it was refused.
pub fn end(history: &History, lossy: bool) -> Found {
    for (key, what) in KEYS.iter().enumerate() {
        match what.family {
            Family::Total => total(history, key, lossy)?,
            Family::Journal => journal(history, key, lossy)?,
            Family::Members => members(history, key, lossy)?,
            _ => {}
        }
    }
    Ok(())
}

fn last_read(history: &History, key: usize) -> Option<&Reply> {
    history.on(key).rev_answered(|act| *act == Act::Get)
}

trait LastAnswer<'a> {
    fn rev_answered(self, wanted: impl Fn(&Act) -> bool) -> Option<&'a Reply>;
}

impl<'a, I: Iterator<Item = &'a Entry>> LastAnswer<'a> for I {
    /// The answer to the last of these operations that is strict.
    fn rev_answered(self, wanted: impl Fn(&Act) -> bool) -> Option<&'a Reply> {
        let answer =
            |entry: &'a Entry| if let Outcome::Answered(_, reply) = &entry.outcome { Some(reply) } else { None };
        self.filter(|entry| entry.strict && wanted(&entry.act)).filter_map(answer).last()
    }
}

/// How many operations were surely done, and how many may have been.
fn bounds<'a>(entries: impl Iterator<Item = &'a Entry>) -> (u64, u64) {
    entries.fold((0, 0), |(sure, at_most), entry| match entry.outcome {
        Outcome::Answered(..) => (sure + 1, at_most + 1),
        Outcome::Refused(..) => (sure, at_most),
        Outcome::Unknown | Outcome::Pending => (sure, at_most + 1),
    })
}

fn total(history: &History, key: usize, lossy: bool) -> Found {
    let found = match last_read(history, key) {
        Some(Reply::Bulk(text)) => String::from_utf8_lossy(text).parse().unwrap_or(u64::MAX),
        Some(_) => 0,
        None => return Ok(()),
    };
    let (sure, at_most) = bounds(history.on(key).filter(|entry| entry.act == Act::Incr));
    if found > at_most || (found < sure && !lossy) {
        return violated(
            "once",
            format!("{} increments were acknowledged, {at_most} asked for in all, the total is {found}", sure),
        );
    }
    Ok(())
}

fn journal(history: &History, key: usize, lossy: bool) -> Found {
    let Some(reply) = last_read(history, key) else { return Ok(()) };
    let text = if let Reply::Bulk(text) = reply { String::from_utf8_lossy(text).into_owned() } else { String::new() };
    let mut pieces: BTreeMap<&str, u32> = BTreeMap::new();
    for piece in text.split_inclusive(';') {
        *pieces.entry(piece).or_default() += 1;
    }
    for entry in history.on(key) {
        let Act::Append(piece) = &entry.act else { continue };
        let times = pieces.remove(piece.as_str()).unwrap_or(0);
        let wrong = match entry.outcome {
            Outcome::Answered(..) if times == 0 => !lossy,
            Outcome::Refused(..) => times > 0,
            _ => times > 1,
        };
        if wrong {
            return violated("once", format!("found {times} times at the end: {entry}"));
        }
    }
    match pieces.keys().next() {
        Some(piece) => violated("once", format!("{piece:?} was never appended")),
        None => Ok(()),
    }
}

fn members(history: &History, key: usize, lossy: bool) -> Found {
    for entry in history.on(key) {
        let Act::SetAdd(member) = &entry.act else { continue };
        let has = Act::SetHas(member.clone());
        let Some(reply) = history.on(key).rev_answered(|act| *act == has) else { continue };
        let there = *reply == Reply::Integer(1);
        let wrong = match entry.outcome {
            Outcome::Answered(..) => !there && !lossy,
            Outcome::Refused(..) => there,
            Outcome::Unknown | Outcome::Pending => false,
        };
        if wrong {
            return violated("once", format!("{} at the end: {entry}", if there { "there" } else { "missing" }));
        }
    }
    Ok(())
}
