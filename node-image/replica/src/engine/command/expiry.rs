//! Times to live.

use super::parse::{self, Unit};
use super::{Args, Error, Reply};
use crate::engine::access::Access;
use crate::engine::events::Classes;

pub fn expire(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let now = access.now_ms();
    set(access, args, Unit::Seconds, now, "expire", reply)
}

pub fn pexpire(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let now = access.now_ms();
    set(access, args, Unit::Milliseconds, now, "pexpire", reply)
}

pub fn expireat(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    set(access, args, Unit::Seconds, 0, "expireat", reply)
}

pub fn pexpireat(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    set(access, args, Unit::Milliseconds, 0, "pexpireat", reply)
}

/// When a new time to live is to replace what was there.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    absent: bool,
    present: bool,
    greater: bool,
    less: bool,
}

impl Conditions {
    fn parse(options: &[&[u8]]) -> Result<Self, Error> {
        let mut conditions = Self::default();
        for option in options {
            let condition = if parse::is(option, "nx") {
                &mut conditions.absent
            } else if parse::is(option, "xx") {
                &mut conditions.present
            } else if parse::is(option, "gt") {
                &mut conditions.greater
            } else if parse::is(option, "lt") {
                &mut conditions.less
            } else {
                return Err(Error::Text([b"ERR Unsupported option ", *option].concat()));
            };
            *condition = true;
        }
        if conditions.absent && (conditions.present || conditions.greater || conditions.less) {
            return Err(Error::Fixed("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.greater && conditions.less {
            return Err(Error::Fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// A key without one lives forever: longer than any time.
    fn allow(self, current: Option<u64>, at: i64) -> bool {
        let order = current.map(|current| i128::from(at).cmp(&i128::from(current)));
        !(self.absent && current.is_some()
            || self.present && current.is_none()
            || self.greater && !order.is_some_and(|order| order.is_gt())
            || self.less && order.is_some_and(|order| order.is_ge()))
    }
}

fn set(
    access: &mut Access<'_>,
    args: &Args<'_>,
    unit: Unit,
    relative_to: u64,
    command: &'static str,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let key = args[1];
    let conditions = Conditions::parse(&args[3..])?;
    let value = parse::integer_argument(args[2])?;
    let value = if unit == Unit::Seconds { value.checked_mul(1000) } else { Some(value) };
    let at = value.and_then(|value| value.checked_add_unsigned(relative_to)).ok_or(Error::ExpireTime(command))?;
    if access.kind(key).is_none() || !conditions.allow(access.expires_at(key), at) {
        reply.integer(0);
        return Ok(());
    }
    match u64::try_from(at) {
        Ok(at) if at > access.now_ms() => {
            access.set_expiry(key, Some(at));
            access.tell(Classes::GENERIC, "expire", key);
        }
        _ => _ = access.remove_and_tell(key),
    }
    reply.integer(1);
    Ok(())
}

pub fn persist(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let expires = access.expires_at(args[1]).is_some();
    if expires {
        access.set_expiry(args[1], None);
        access.tell(Classes::GENERIC, "persist", args[1]);
    }
    reply.integer(i64::from(expires));
    Ok(())
}

pub fn ttl(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let now = access.now_ms();
    tell(access, args[1], |at| seconds(at.saturating_sub(now)), reply)
}

pub fn pttl(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let now = access.now_ms();
    tell(access, args[1], |at| at.saturating_sub(now), reply)
}

pub fn expiretime(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    tell(access, args[1], seconds, reply)
}

pub fn pexpiretime(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    tell(access, args[1], |at| at, reply)
}

/// Milliseconds as seconds, rounded as Redis does.
fn seconds(milliseconds: u64) -> u64 {
    milliseconds.saturating_add(500) / 1000
}

/// Tells when a key expires: -2 if there is no key, -1 if it does not.
fn tell(access: &mut Access<'_>, key: &[u8], form: impl Fn(u64) -> u64, reply: &mut Reply<'_>) -> Result<(), Error> {
    let answer = match (access.kind(key), access.expires_at(key)) {
        (None, _) => -2,
        (Some(_), None) => -1,
        (Some(_), Some(at)) => i64::try_from(form(at)).unwrap_or(i64::MAX),
    };
    reply.integer(answer);
    Ok(())
}
