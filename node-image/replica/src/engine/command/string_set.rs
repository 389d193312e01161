//! SET, its older relatives, and reads that change the key: GETSET, GETDEL, GETEX.

use super::parse::{self, Unit};
use super::{Args, Error, Reply};
use crate::engine::access::Access;
use crate::engine::events::Classes;

/// What becomes of the key's time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry<'a> {
    /// None was given: SET removes it, GETEX leaves it.
    Unsaid,
    /// It stays.
    Keep,
    /// It goes.
    Persist,
    /// The given one, from now on or absolute.
    In { text: &'a [u8], unit: Unit, absolute: bool },
}

/// When to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

/// The options of SET and GETEX.
struct Options<'a> {
    expiry: Expiry<'a>,
    condition: Condition,
    return_old: bool,
}

impl<'a> Options<'a> {
    fn parse(args: &Args<'a>, from: usize, set: bool) -> Result<Self, Error> {
        let mut options = Self { expiry: Expiry::Unsaid, condition: Condition::Always, return_old: false };
        let mut rest = args.list()[from..].iter();
        while let Some(&option) = rest.next() {
            if set && parse::is(option, "nx") && options.condition != Condition::IfPresent {
                options.condition = Condition::IfAbsent;
            } else if set && parse::is(option, "xx") && options.condition != Condition::IfAbsent {
                options.condition = Condition::IfPresent;
            } else if set && parse::is(option, "get") {
                options.return_old = true;
            } else if set && parse::is(option, "keepttl") {
                options.expiry = options.expiry_after(Expiry::Keep)?;
            } else if !set && parse::is(option, "persist") {
                options.expiry = options.expiry_after(Expiry::Persist)?;
            } else {
                let (unit, absolute) = timed(option).ok_or(Error::Syntax)?;
                let text = rest.next().ok_or(Error::Syntax)?;
                options.expiry = options.expiry_after(Expiry::In { text, unit, absolute })?;
            }
        }
        Ok(options)
    }

    /// The same option may come twice, two different ones exclude each other.
    fn expiry_after(&self, next: Expiry<'a>) -> Result<Expiry<'a>, Error> {
        let fits = match (self.expiry, next) {
            (Expiry::Unsaid, _) => true,
            (Expiry::In { unit, absolute, .. }, Expiry::In { unit: next_unit, absolute: next_absolute, .. }) => {
                (unit, absolute) == (next_unit, next_absolute)
            }
            (before, next) => before == next,
        };
        if fits { Ok(next) } else { Err(Error::Syntax) }
    }
}

fn timed(option: &[u8]) -> Option<(Unit, bool)> {
    let forms = [
        ("ex", Unit::Seconds, false),
        ("px", Unit::Milliseconds, false),
        ("exat", Unit::Seconds, true),
        ("pxat", Unit::Milliseconds, true),
    ];
    forms.into_iter().find(|(name, ..)| parse::is(option, name)).map(|(_, unit, absolute)| (unit, absolute))
}

pub fn set(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if args.len() == 3 {
        // By far the most frequent form looks at nothing and reads nothing.
        put(access, args[1], args[2], None, false);
        reply.ok();
        return Ok(());
    }
    let (key, options) = (args[1], Options::parse(args, 3, true)?);
    let expires = match options.expiry {
        Expiry::In { text, unit, absolute } => {
            let now = if absolute { None } else { Some(access.now_ms()) };
            Some(parse::time_to_live(text, unit, now, "set")?)
        }
        _ => None,
    };
    if options.return_old {
        read_old(access, key, reply)?;
    }
    let wanted = match options.condition {
        Condition::Always => true,
        Condition::IfAbsent => access.kind(key).is_none(),
        Condition::IfPresent => access.kind(key).is_some(),
    };
    if wanted {
        put(access, key, args[2], expires, options.expiry == Expiry::Keep);
    }
    match (options.return_old, wanted) {
        (true, _) => {}
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
    Ok(())
}

/// Puts a string, with a time at which it expires if one is given.
fn put(access: &mut Access<'_>, key: &[u8], value: &[u8], expires: Option<u64>, keep: bool) {
    access.put_string(key, value, keep);
    access.tell(Classes::STRING, "set", key);
    if expires.is_some() {
        access.set_expiry(key, expires);
        access.tell(Classes::GENERIC, "expire", key);
    }
}

/// Replies with what a key holds before it is changed. Says whether there was anything.
fn read_old(access: &mut Access<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<bool, Error> {
    let value = access.string(key)?;
    let there = value.is_some();
    reply.bulk_or_null(value.as_deref());
    drop(value);
    access.tell_miss(key);
    Ok(there)
}

pub fn setnx(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let absent = access.kind(args[1]).is_none();
    if absent {
        put(access, args[1], args[2], None, false);
    }
    reply.integer(i64::from(absent));
    Ok(())
}

pub fn setex(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    set_expiring(access, args, Unit::Seconds, "setex", reply)
}

pub fn psetex(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    set_expiring(access, args, Unit::Milliseconds, "psetex", reply)
}

fn set_expiring(
    access: &mut Access<'_>,
    args: &Args<'_>,
    unit: Unit,
    command: &'static str,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let expires = parse::time_to_live(args[2], unit, Some(access.now_ms()), command)?;
    put(access, args[1], args[3], Some(expires), false);
    reply.ok();
    Ok(())
}

pub fn getset(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    read_old(access, args[1], reply)?;
    put(access, args[1], args[2], None, false);
    Ok(())
}

pub fn getdel(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if read_old(access, args[1], reply)? {
        access.remove_and_tell(args[1]);
    }
    Ok(())
}

pub fn getex(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, options) = (args[1], Options::parse(args, 2, false)?);
    let now = access.now_ms();
    if !read_old(access, key, reply)? {
        return Ok(());
    }
    match options.expiry {
        Expiry::In { text, unit, absolute } => {
            let at = parse::time_to_live(text, unit, if absolute { None } else { Some(now) }, "getex")?;
            if at <= now {
                access.remove_and_tell(key);
            } else {
                access.set_expiry(key, Some(at));
                access.tell(Classes::GENERIC, "expire", key);
            }
        }
        Expiry::Persist if access.expires_at(key).is_some() => {
            access.set_expiry(key, None);
            access.tell(Classes::GENERIC, "persist", key);
        }
        _ => {}
    }
    Ok(())
}

pub fn mset(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let pairs = pairs(args, "mset")?;
    for pair in pairs {
        put(access, pair[0], pair[1], None, false);
    }
    reply.ok();
    Ok(())
}

pub fn msetnx(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let pairs = pairs(args, "msetnx")?;
    let absent = pairs.clone().all(|pair| access.kind(pair[0]).is_none());
    if absent {
        for pair in pairs {
            put(access, pair[0], pair[1], None, false);
        }
    }
    reply.integer(i64::from(absent));
    Ok(())
}

/// The arguments after the name, two by two.
fn pairs<'a>(args: &Args<'a>, command: &'static str) -> Result<std::slice::ChunksExact<'a, &'a [u8]>, Error> {
    let pairs = args.list()[1..].chunks_exact(2);
    if pairs.remainder().is_empty() { Ok(pairs) } else { Err(Error::Arity(command)) }
}
