//! Sessions, and what they must not be shown.
//!
//! Each session writes two keys that nobody else writes, with a number that rises, so that which of two values is the newer one is never in doubt. A value
//! says what its writer had written and seen when it wrote it. So whoever has seen a value knows what it may not be shown any more: less than that.
//!
//! | guarantee | what is broken where less is shown |
//! | --- | --- |
//! | read your writes | than the session itself has written |
//! | monotonic reads | than it has been shown before |
//! | monotonic writes | than the writer of what it was shown had written before that |
//! | writes follow reads | than the writer of what it was shown had seen before that |
//! | consistent prefix | in one answer, than another value in it depends on |
//!
//! All of them together are causal consistency (Terry et al., Session guarantees for weakly consistent replicated data, 1994).
//!
//! **Invariant of this crate:** it knows nothing of the store but what a client saw. Who asks it has to see to it that of two values of one key the one with
//! the higher number is the newer one: not so of a write whose outcome is unknown, which may happen late. It says of no write that it is lost, or twice there:
//! the ledger and the simulation's other invariants do.

use std::{collections::BTreeMap, fmt};

/// A key: a session's number, and which of its two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose it is.
    pub session: usize,
    /// 0 or 1.
    pub which: usize,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session:{}:{}", self.session, self.which)
    }
}

impl Key {
    /// All keys of so many sessions.
    pub fn all(sessions: usize) -> Vec<Key> {
        (0..sessions).flat_map(|session| [0, 1].map(|which| Key { session, which })).collect()
    }
}

/// What is promised to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the module says what each is")]
pub enum Guarantee {
    ReadYourWrites,
    MonotonicReads,
    MonotonicWrites,
    WritesFollowReads,
    ConsistentPrefix,
}

/// What a key was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// Its writer's number; 0 where nothing was written yet.
    pub number: u64,
    /// What its writer had been shown or had written then, by key.
    depends_on: BTreeMap<Key, u64>,
}

impl Value {
    /// As it is stored.
    pub fn text(&self) -> String {
        let of = |(key, number): (&Key, &u64)| format!("{}.{}={number}", key.session, key.which);
        let rest: Vec<String> = self.depends_on.iter().map(of).collect();
        format!("{};{}", self.number, rest.join(","))
    }

    /// Reads it; `None` where the text is no such value.
    pub fn read(text: &str) -> Option<Value> {
        let (number, rest) = text.split_once(';')?;
        let one = |part: &str| {
            let (key, number) = part.split_once('=')?;
            let (session, which) = key.split_once('.')?;
            Some((Key { session: session.parse().ok()?, which: which.parse().ok()? }, number.parse().ok()?))
        };
        let parts = rest.split(',').filter(|part| !part.is_empty());
        Some(Value { number: number.parse().ok()?, depends_on: parts.map(one).collect::<Option<_>>()? })
    }
}

/// A session was shown less than it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise that breaks.
    pub guarantee: Guarantee,
    /// Where.
    pub key: Key,
    /// What it may not be shown less than.
    pub least: u64,
    /// What it was shown.
    pub shown: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { guarantee, key, least, shown } = self;
        write!(f, "{guarantee:?}: {key} showed {shown} after {least}")
    }
}

/// What one session has done and seen, as far as it bears on what it may be shown.
#[derive(Clone, Debug)]
pub struct Session {
    number: usize,
    written: u64,
    least: BTreeMap<Key, (u64, Guarantee)>,
}

impl Session {
    /// A session that has done nothing.
    pub fn new(number: usize) -> Session {
        Session { number, written: 0, least: BTreeMap::new() }
    }

    /// One of its own keys.
    pub fn key(&self, which: usize) -> Key {
        Key { session: self.number, which }
    }

    /// What it writes next, into some of its keys by one command.
    pub fn next_value(&mut self, keys: &[Key]) -> Value {
        self.written += 1;
        let mut depends_on: BTreeMap<Key, u64> = self.least.iter().map(|(key, (number, _))| (*key, *number)).collect();
        depends_on.extend(keys.iter().map(|key| (*key, self.written)));
        Value { number: self.written, depends_on }
    }

    /// A value was acknowledged.
    pub fn wrote(&mut self, key: Key, number: u64) {
        self.raise(key, number, Guarantee::ReadYourWrites);
    }

    /// It is a new session to the store: nothing binds what it may be shown.
    pub fn forget(&mut self) {
        self.least.clear();
    }

    /// It goes on from what it was at an earlier time. What it writes from now on is new all the same.
    pub fn back_to(&mut self, earlier: &Session) {
        self.least.clone_from(&earlier.least);
    }

    fn raise(&mut self, key: Key, number: u64, why: Guarantee) {
        let least = self.least.entry(key).or_insert((0, why));
        if least.0 < number {
            *least = (number, why);
        }
    }

    /// What one answer showed.
    ///
    /// # Errors
    /// The first thing that it may not have shown.
    pub fn saw(&mut self, shown: &[(Key, Value)]) -> Result<(), Violation> {
        let less =
            |key: Key, (least, guarantee): (u64, Guarantee), shown: u64| Violation { guarantee, key, least, shown };
        for (key, value) in shown {
            if let Some(least) = self.least.get(key).filter(|least| least.0 > value.number) {
                return Err(less(*key, *least, value.number));
            }
            for (other, there) in shown {
                if let Some(least) = value.depends_on.get(other).filter(|least| **least > there.number) {
                    return Err(less(*other, (*least, Guarantee::ConsistentPrefix), there.number));
                }
            }
        }
        for (key, value) in shown {
            self.raise(*key, value.number, Guarantee::MonotonicReads);
            for (other, number) in &value.depends_on {
                let own = other.session == key.session;
                let why = if own { Guarantee::MonotonicWrites } else { Guarantee::WritesFollowReads };
                self.raise(*other, *number, why);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(session: &mut Session, which: usize) -> Value {
        let key = session.key(which);
        session.next_value(&[key])
    }

    fn broken(session: &mut Session, shown: &[(Key, Value)]) -> Option<Guarantee> {
        session.saw(shown).err().map(|violation| violation.guarantee)
    }

    #[test]
    fn a_value_is_what_was_stored() {
        let mut session = Session::new(3);
        session.wrote(Key { session: 3, which: 0 }, 7);
        session.wrote(Key { session: 1, which: 1 }, 9);
        let value = value(&mut session, 1);
        assert_eq!(value.text(), "1;1.1=9,3.0=7,3.1=1");
        assert_eq!(Value::read(&value.text()), Some(value));
        assert_eq!(Value::read("1;"), Some(Value { number: 1, depends_on: BTreeMap::new() }));
        for bad in ["", "1", "x;", "1;a", "1;1=2", "1;1.1=x"] {
            assert_eq!(Value::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_guarantee_is_missed_where_it_is_broken() {
        let (mut writer, mut other, mut reader) = (Session::new(0), Session::new(1), Session::new(2));
        let [a, b, c] = [writer.key(0), writer.key(1), other.key(0)];
        let first = value(&mut writer, 0);
        writer.wrote(a, first.number);
        assert_eq!(broken(&mut writer, &[(a, Value::default())]), Some(Guarantee::ReadYourWrites));
        let second = value(&mut writer, 1);
        // The reader sees the second write: it may not miss the first.
        let mut late = reader.clone();
        assert_eq!(broken(&mut late, &[(b, second)]), None);
        assert_eq!(broken(&mut late, &[(a, Value::default())]), Some(Guarantee::MonotonicWrites));
        // Somebody else sees it and writes: who sees that may not miss it either.
        assert_eq!(broken(&mut other, &[(a, first.clone())]), None);
        let third = value(&mut other, 0);
        assert_eq!(
            broken(&mut reader, &[(c, third.clone()), (a, Value::default())]),
            Some(Guarantee::ConsistentPrefix)
        );
        assert_eq!(broken(&mut reader, &[(c, third)]), None);
        assert_eq!(broken(&mut reader, &[(a, Value::default())]), Some(Guarantee::WritesFollowReads));
        assert_eq!(broken(&mut reader, &[(a, first)]), None);
        assert_eq!(broken(&mut reader, &[(c, Value::default())]), Some(Guarantee::MonotonicReads));
        reader.forget();
        assert_eq!(broken(&mut reader, &[(c, Value::default())]), None);
    }
}
