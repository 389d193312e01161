//! The siblings of a string, and a write that removes what somebody saw of them and nothing else.
//!
//! What somebody saw is a [`Context`]: the names of the records that he was shown, and of counters what each origin had counted. Such a write is a delta whose
//! context is that one, instead of everything that its coordinator has received: as if its client had written it himself, where he saw what he saw. So it
//! needs no rule of its own where it is joined, and a replica of any version joins it. It is a unit of work of its own, as a delta has one context.
//!
//! ```text
//! context as bytes   1, how many records, their dots, how many counts, their dots and totals, 4 bytes of a hash over key and all before; in base64url
//! ```

use trireme_proto::ids::Dot;
use xxhash_rust::xxh3::Xxh3;

use super::{Access, Kind, WrongType};
use crate::engine::bytes::{DeltaError, Reader, put_number, put_signed};
use crate::engine::delta::{Change, Context as Header, Part, put_change, put_dot, read_dot};
use crate::engine::slot::slot_of;
use crate::engine::state::edit::Write;
use crate::engine::vector::ReceivedSet;

const FORMAT: u8 = 1;
const CHECK_BYTES: usize = 4;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// One value of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// The delta that wrote it.
    pub dot: Dot,
    /// Hybrid logical clock of the write.
    pub clock: u64,
    /// The bytes.
    pub value: Vec<u8>,
    /// It is the one that reads show.
    pub read: bool,
}

/// Everything that a string is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Siblings {
    /// The newest first.
    pub values: Vec<Sibling>,
    /// What was counted beside them, if anything.
    pub counter: Option<i64>,
    /// That this was seen.
    pub context: Context,
}

/// What was seen of a string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    dots: Vec<Dot>,
    counts: Vec<(Dot, i64)>,
}

/// Why a value was not put. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// See [`WrongType`].
    #[error(transparent)]
    WrongType(#[from] WrongType),
    /// Something was written in the same unit of work.
    #[error("a write with a context is a unit of work of its own")]
    NotAlone,
    /// The context names what has not happened.
    #[error("the context names what has not happened")]
    Impossible,
}

fn check(key: &[u8], body: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(body);
    (hash.digest() as u32).to_le_bytes()
}

impl Context {
    /// As a client is given it: letters, digits, `-` and `_`.
    #[must_use]
    pub fn to_token(&self, key: &[u8]) -> String {
        let mut bytes = vec![FORMAT];
        put_number(&mut bytes, self.dots.len() as u64);
        self.dots.iter().for_each(|dot| put_dot(&mut bytes, *dot));
        put_number(&mut bytes, self.counts.len() as u64);
        for (dot, total) in &self.counts {
            put_dot(&mut bytes, *dot);
            put_signed(&mut bytes, *total);
        }
        bytes.extend_from_slice(&check(key, &bytes));
        let mut token = String::new();
        for chunk in bytes.chunks(3) {
            let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            let digits = (0..=chunk.len()).map(|i| DIGITS[(word >> (18 - 6 * i) & 63) as usize]);
            token.extend(digits.map(char::from));
        }
        token
    }

    /// What a token says, if it was given for this key and is whole.
    #[must_use]
    pub fn from_token(key: &[u8], token: &[u8]) -> Option<Context> {
        let mut bytes = Vec::with_capacity(token.len());
        for chunk in token.chunks(4) {
            let mut word = 0u32;
            for digit in chunk {
                word = word << 6 | DIGITS.iter().position(|known| known == digit)? as u32;
            }
            word <<= 6 * (4 - chunk.len());
            bytes.extend_from_slice(&word.to_be_bytes()[1..chunk.len().max(1)]);
        }
        let (body, given) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
        if given != check(key, body) {
            return None;
        }
        let context = Context::read(body).ok()?;
        // One text for one context.
        (context.to_token(key).as_bytes() == token).then_some(context)
    }

    fn read(body: &[u8]) -> Result<Context, DeltaError> {
        let (mut reader, mut context) = (Reader { rest: body }, Context::default());
        if reader.byte()? != FORMAT {
            return reader.error("a context of another version");
        }
        for _ in 0..reader.count(3)? {
            context.dots.push(read_dot(&mut reader)?);
        }
        for _ in 0..reader.count(4)? {
            context.counts.push((read_dot(&mut reader)?, reader.signed()?));
        }
        if reader.rest.is_empty() { Ok(context) } else { reader.error("bytes after the end") }
    }

    fn to_set(&self) -> ReceivedSet {
        let mut set = ReceivedSet::default();
        for dot in self.dots.iter().chain(self.counts.iter().map(|(dot, _)| dot)) {
            set.insert(*dot);
        }
        set
    }
}

impl Access<'_> {
    /// All that a string is made of; nothing where there is no such key.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn siblings(&mut self, key: &[u8]) -> Result<Siblings, WrongType> {
        let Some((slot, handle)) = self.of_kind(key, Kind::String)? else { return Ok(Siblings::default()) };
        let state = self.state();
        let mut siblings = Siblings::default();
        if let Some(p) = state.cells.plain(handle) {
            siblings.values.push(Sibling { dot: p.dot, clock: p.clock, value: p.value.to_vec(), read: true });
            siblings.context.dots.push(p.dot);
        }
        let Some(found) = handle.as_key().and_then(|index| state.key(index)) else { return Ok(siblings) };
        let register = &found.value;
        let winner = register.winner().map(|sibling| sibling.dot);
        for sibling in &register.siblings {
            let (dot, clock, value) = (sibling.dot, sibling.clock, sibling.value.to_vec());
            siblings.values.push(Sibling { dot, clock, value, read: winner == Some(dot) });
            siblings.context.dots.push(dot);
        }
        siblings.values.sort_unstable_by_key(|sibling| std::cmp::Reverse((sibling.clock, sibling.dot)));
        siblings.counter = register.sum(&|origin| state.reset(slot, key, Part::Value, &[], origin));
        siblings.context.counts.extend(register.counts.iter().map(|count| (count.dot, count.total)));
        siblings.context.dots.extend(found.expiry.iter().map(|expiry| expiry.dot));
        Ok(siblings)
    }

    /// Puts a string that removes what a context names, and keeps what it does not name. Of a key that has expired, what is left goes in any case.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put_over(&mut self, key: &[u8], value: &[u8], seen: &Context) -> Result<(), PutError> {
        if self.wrote {
            return Err(PutError::NotAlone);
        }
        let slot = slot_of(key);
        let mut context = seen.to_set();
        let mut resets: Vec<_> =
            seen.counts.iter().map(|(dot, total)| (Part::Value, Box::<[u8]>::default(), *dot, *total)).collect();
        match self.find(key).1.map(|handle| self.kind_of(handle)) {
            None | Some(Some(Kind::String)) => {}
            Some(Some(_)) => return Err(WrongType.into()),
            Some(None) => {
                context.merge(&self.engine.received);
                context.merge(&self.engine.state.seen_of(slot, key));
                resets.extend(self.engine.state.seen_totals(slot, key, None));
            }
        }
        if context.contains(self.dot) {
            return Err(PutError::Impossible);
        }
        self.tell_new(key);
        self.wrote = true;
        super::Header::write(self.delta, self.dot, self.w.clock, Some(&context), &[]);
        let header = Header::Set(context);
        let received = &self.engine.received;
        let mut w = Write {
            dot: self.dot,
            clock: self.w.clock,
            seq: self.w.seq,
            covers: header.covers(received),
            within: header.within(received),
            context: Some(&header),
            in_order: true,
            extra: None,
            known: false,
        };
        let resets = resets.iter().map(|(part, name, dot, total)| Change::Reset {
            part: *part,
            name,
            origin: dot.origin,
            seq: dot.seq,
            total: *total,
        });
        for change in resets.chain([Change::Set { keep_expiry: false, value }]) {
            put_change(self.delta, &mut self.last_key, key, &change);
            self.engine.state.apply(slot, key, change, &mut w);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_proto::ids::Origin;

    #[test]
    fn a_token_is_what_was_given_for_the_key_and_nothing_else() {
        let dot = |group, seq| Dot { origin: Origin { group, generation: 4097 }, seq };
        for context in [
            Context::default(),
            Context { dots: vec![dot(1, 7)], counts: Vec::new() },
            Context { dots: vec![dot(2, 1), dot(3, 1 << 40)], counts: vec![(dot(1, 5), -9)] },
        ] {
            let token = context.to_token(b"key");
            assert!(token.bytes().all(|byte| DIGITS.contains(&byte)), "{token}");
            assert_eq!(Context::from_token(b"key", token.as_bytes()), Some(context));
            assert_eq!(Context::from_token(b"other", token.as_bytes()), None);
            for cut in 0..token.len() {
                assert_eq!(Context::from_token(b"key", &token.as_bytes()[..cut]), None);
                for digit in DIGITS.iter().chain(b"=+ ") {
                    let mut changed = token.clone().into_bytes();
                    changed[cut] = *digit;
                    assert!(changed == token.as_bytes() || Context::from_token(b"key", &changed).is_none());
                }
            }
        }
    }
}
