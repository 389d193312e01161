//! Keys of any type: existence, names, copies, iteration.

use super::{Args, Error, Reply, glob, parse, scan, sorted};
use crate::engine::access::{Access, Kind};
use crate::engine::events::Classes;

/// Slots of the key space.
const SLOTS: u16 = 16_384;

pub fn del(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let removed = args[1..].iter().filter(|key| access.remove_and_tell(key)).count();
    reply.count(removed);
    Ok(())
}

/// EXISTS and TOUCH: there are no access times to be touched.
pub fn exists(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let found = args[1..].iter().filter(|key| access.kind(key).is_some()).count();
    reply.count(found);
    Ok(())
}

pub fn touch(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let found = args[1..].iter().filter(|key| access.touch(key)).count();
    reply.count(found);
    Ok(())
}

/// The type's name in commands.
fn kind_name(kind: Option<Kind>) -> &'static str {
    match kind {
        None => "none",
        Some(Kind::String) => "string",
        Some(Kind::Hash) => "hash",
        Some(Kind::Set) => "set",
        Some(Kind::SortedSet) => "zset",
        Some(Kind::List) => "list",
    }
}

pub fn kind(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.simple(kind_name(access.kind(args[1])));
    Ok(())
}

pub fn keys(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for slot in 0..SLOTS {
        found.extend(access.keys_in_slot(slot).filter(|key| glob::matches(args[1], key)).map(<[u8]>::to_vec));
    }
    reply.array(found.len());
    found.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

pub fn scan(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let cursor = scan::cursor(args[1])?;
    let options = scan::Options::parse(args, 2, true)?;
    let mut found: Vec<Vec<u8>> = Vec::new();
    let (mut slot, mut place) = (cursor >> scan::SLOT_PLACE_BITS, cursor & ((1 << scan::SLOT_PLACE_BITS) - 1));
    // At most all slots, which costs less than a millisecond when they are empty: a sparse key space needs no empty
    // pages.
    let mut looked_at = 0;
    while looked_at < options.count {
        let Some(number) = u16::try_from(slot).ok().filter(|&number| number < SLOTS) else { break };
        let here: Vec<&[u8]> = access.keys_in_slot(number).collect();
        let (length, left) = (here.len(), options.count - looked_at);
        let (part, next) = scan::page(here.into_iter(), |key| key, length, (place, scan::SLOT_PLACE_BITS), left);
        looked_at += part.len();
        found.extend(part.into_iter().filter(|key| options.matches(key)).map(<[u8]>::to_vec));
        let after = (slot << scan::SLOT_PLACE_BITS) + next.unwrap_or(1 << scan::SLOT_PLACE_BITS);
        (slot, place) = (after >> scan::SLOT_PLACE_BITS, after & ((1 << scan::SLOT_PLACE_BITS) - 1));
    }
    if let Some(wanted) = options.kind {
        found.retain(|key| parse::is(wanted, kind_name(access.kind(key))));
    }
    let next = if slot < u64::from(SLOTS) { (slot << scan::SLOT_PLACE_BITS) + place } else { 0 };
    scan::head(reply, next, found.len());
    found.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

pub fn randomkey(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.bulk_or_null(access.random_key(args.random).as_deref());
    Ok(())
}

pub fn dbsize(access: &mut Access<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(i64::try_from(access.key_count()).unwrap_or(i64::MAX));
    Ok(())
}

/// FLUSHDB and FLUSHALL: there is one database.
pub fn flush(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match &args[1..] {
        [] => {}
        [how] if parse::is(how, "sync") || parse::is(how, "async") => {}
        _ => return Err(Error::Syntax),
    }
    for slot in 0..SLOTS {
        let here: Vec<Vec<u8>> = access.keys_in_slot(slot).map(<[u8]>::to_vec).collect();
        for key in here {
            access.remove(&key);
        }
    }
    reply.ok();
    Ok(())
}

pub fn rename(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    move_key(access, args[1], args[2], true)?;
    reply.ok();
    Ok(())
}

pub fn renamenx(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let moved = move_key(access, args[1], args[2], false)?;
    reply.integer(i64::from(moved));
    Ok(())
}

/// Gives a key another name. Says whether it did: not onto an existing key, unless that may be replaced.
fn move_key(access: &mut Access<'_>, from: &[u8], to: &[u8], replace: bool) -> Result<bool, Error> {
    let (value, expires) = Value::read(access, from)?.ok_or(Error::NoSuchKey)?;
    if !replace && access.kind(to).is_some() {
        return Ok(false);
    }
    if from != to {
        access.remove(from);
        value.write(access, to, expires)?;
        access.tell(Classes::GENERIC, "rename_from", from);
        access.tell(Classes::GENERIC, "rename_to", to);
    }
    Ok(true)
}

pub fn copy(access: &mut Access<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (from, to, mut replace) = (args[1], args[2], false);
    let mut options = args[3..].iter();
    while let Some(option) = options.next() {
        if parse::is(option, "replace") {
            replace = true;
        } else if parse::is(option, "db") {
            let database = parse::integer_argument(options.next().ok_or(Error::Syntax)?)?;
            if database != 0 {
                return Err(Error::Fixed("ERR DB index is out of range"));
            }
        } else {
            return Err(Error::Syntax);
        }
    }
    if from == to {
        return Err(Error::Fixed("ERR source and destination objects are the same"));
    }
    access.tell_miss(from);
    let copied = match Value::read(access, from)? {
        Some((value, expires)) if replace || access.kind(to).is_none() => {
            value.write(access, to, expires)?;
            access.tell(Classes::GENERIC, "copy_to", to);
            true
        }
        _ => false,
    };
    reply.integer(i64::from(copied));
    Ok(())
}

/// All that a key holds.
enum Value {
    String(Vec<u8>),
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
    Set(Vec<Vec<u8>>),
    SortedSet(sorted::Scored),
    List(Vec<Vec<u8>>),
}

impl Value {
    /// What the key holds and when it expires. Sorted, so that what is written from it does not depend on how it lies
    /// in memory.
    fn read(access: &mut Access<'_>, key: &[u8]) -> Result<Option<(Self, Option<u64>)>, Error> {
        let Some(kind) = access.kind(key) else { return Ok(None) };
        let value = match kind {
            Kind::String => Self::String(access.string(key)?.map(|value| value.into_owned()).unwrap_or_default()),
            Kind::Hash => {
                let fields = access.fields(key)?;
                let mut fields: Vec<_> = fields.map(|(field, value)| (field.to_vec(), value.into_owned())).collect();
                fields.sort_unstable();
                Self::Hash(fields)
            }
            Kind::Set => {
                let mut members: Vec<_> = access.members(key)?.map(<[u8]>::to_vec).collect();
                members.sort_unstable();
                Self::Set(members)
            }
            Kind::SortedSet => Self::SortedSet(sorted::owned(access.scored_range(key, 0..usize::MAX)?)),
            Kind::List => {
                let values = access.list_range(key, 0..usize::MAX)?;
                Self::List(values.into_iter().map(|value| value.into_owned()).collect())
            }
        };
        Ok(Some((value, access.expires_at(key))))
    }

    /// Replaces what a key holds.
    fn write(self, access: &mut Access<'_>, key: &[u8], expires: Option<u64>) -> Result<(), Error> {
        access.remove(key);
        match self {
            Self::String(value) => access.put_string(key, &value, false),
            Self::Hash(fields) => {
                for (field, value) in fields {
                    access.put_field(key, &field, &value)?;
                }
            }
            Self::Set(members) => {
                for member in members {
                    access.add_member(key, &member)?;
                }
            }
            Self::SortedSet(members) => {
                for (member, score) in members {
                    access.put_score(key, &member, score)?;
                }
            }
            Self::List(values) => {
                for (at, value) in values.iter().enumerate() {
                    access.list_insert(key, at, value)?;
                }
            }
        }
        if expires.is_some() {
            access.set_expiry(key, expires);
        }
        Ok(())
    }
}
