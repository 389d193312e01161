//! Keyspace events: what commands do to keys, for who listens to that (`notify-keyspace-events`).
//!
//! A command tells its events while it runs on the state ([`super::Access::tell`] and its like), in the order in which Redis does. They are no part of a delta:
//! who executes takes them ([`super::Engine::take_events`]) and publishes them once the entry is committed; who joins that entry tells nothing. Where no class
//! is asked for, an event costs a comparison with 0.

use std::fmt;

use bytes::Bytes;

/// Classes of events, and the two forms in which they are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes(u16);

/// The letter of each class. [`Classes::ALL`] are those before `n`.
const LETTERS: [(u8, Classes); 14] = [
    (b'g', Classes::GENERIC),
    (b'$', Classes::STRING),
    (b'l', Classes::LIST),
    (b's', Classes::SET),
    (b'h', Classes::HASH),
    (b'z', Classes::SORTED_SET),
    (b'x', Classes::EXPIRED),
    (b'e', Classes::EVICTED),
    (b't', Classes::STREAM),
    (b'd', Classes::MODULE),
    (b'n', Classes::NEW),
    (b'K', Classes::KEYSPACE),
    (b'E', Classes::KEYEVENT),
    (b'm', Classes::MISS),
];

impl Classes {
    /// `g`: of keys of any type, as DEL, EXPIRE and RENAME have them.
    pub const GENERIC: Classes = Classes(1);
    /// `$`: of strings.
    pub const STRING: Classes = Classes(1 << 1);
    /// `l`: of lists.
    pub const LIST: Classes = Classes(1 << 2);
    /// `s`: of sets.
    pub const SET: Classes = Classes(1 << 3);
    /// `h`: of hashes.
    pub const HASH: Classes = Classes(1 << 4);
    /// `z`: of sorted sets.
    pub const SORTED_SET: Classes = Classes(1 << 5);
    /// `x`: a key's time was over.
    pub const EXPIRED: Classes = Classes(1 << 6);
    /// `e`: a key had to make room.
    pub const EVICTED: Classes = Classes(1 << 7);
    /// `t`: of streams, of which there are none here.
    pub const STREAM: Classes = Classes(1 << 8);
    /// `d`: of types that modules bring, of which there are none here.
    pub const MODULE: Classes = Classes(1 << 9);
    /// `n`: a key is there that was not.
    pub const NEW: Classes = Classes(1 << 10);
    /// `K`: told on `__keyspace@0__:KEY`.
    pub const KEYSPACE: Classes = Classes(1 << 11);
    /// `E`: told on `__keyevent@0__:EVENT`.
    pub const KEYEVENT: Classes = Classes(1 << 12);
    /// `m`: a read has found no key.
    pub const MISS: Classes = Classes(1 << 13);
    /// What is told before a command writes into a key.
    pub(crate) const BEFORE_WRITES: Classes = Classes(Classes::NEW.0 | Classes::EXPIRED.0);
    /// None.
    pub(crate) const NONE: Classes = Classes(0);
    /// `A`.
    const ALL: Classes = Classes((1 << 10) - 1);
    const FORMS: Classes = Classes(Classes::KEYSPACE.0 | Classes::KEYEVENT.0);

    /// What these letters ask for, as Redis reads them; none: one of them is no class.
    pub fn parse(letters: &[u8]) -> Option<Classes> {
        let class = |letter: &u8| match letter {
            b'A' => Some(Classes::ALL),
            letter => LETTERS.iter().find(|(known, _)| known == letter).map(|(_, class)| *class),
        };
        letters.iter().try_fold(Classes::default(), |all, letter| Some(Classes(all.0 | class(letter)?.0)))
    }

    /// Letters that ask for exactly these. Beside `A` Redis gives no `n` back: see `Display`.
    pub fn letters(self) -> String {
        let hidden = self.0 & Classes::ALL.0 == Classes::ALL.0 && self.has(Classes::NEW);
        format!("{self}{}", if hidden { "n" } else { "" })
    }

    /// Whether any of these are among them.
    pub fn has(self, any: Classes) -> bool {
        self.0 & any.0 != 0
    }

    /// Those of which something is told: none where no form is asked for.
    pub(crate) fn told(self) -> Classes {
        if self.has(Classes::FORMS) { self } else { Classes::default() }
    }
}

/// As Redis gives them back: `A` for all that it stands for, which hides an `n`.
impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0 & Classes::ALL.0 == Classes::ALL.0;
        if all {
            f.write_str("A")?;
        }
        for (letter, class) in LETTERS {
            let hidden = all && (Classes(Classes::ALL.0 | Classes::NEW.0)).has(class);
            if self.has(class) && !hidden {
                write!(f, "{}", char::from(letter))?;
            }
        }
        Ok(())
    }
}

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Redis's name for it.
    pub name: &'static str,
    /// The key.
    pub key: Bytes,
}

/// What is asked for, and what the unit of work at hand has told of it.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) classes: Classes,
    pub(super) told: Vec<Event>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a real server gives back, where one is asked.
    #[test]
    fn letters_are_read_and_given_back_as_redis_does() {
        for (letters, given) in [
            ("KEA", "AKE"),
            ("KA", "AK"),
            ("E", "E"),
            ("g", "g"),
            ("$lshzxetdn", "$lshzxetdn"),
            ("nA", "A"),
            ("mnA", "Am"),
            ("KEmn", "nKEm"),
            ("AKEmn", "AKEm"),
            ("$lshzxegtd", "A"),
            ("KgK", "gK"),
            ("", ""),
        ] {
            let classes = Classes::parse(letters.as_bytes()).unwrap();
            assert_eq!(classes.to_string(), given, "{letters}");
            assert_eq!(Classes::parse(classes.letters().as_bytes()), Some(classes), "{letters}");
        }
        for letters in ["x y", "a", "G", "KEA,", "\0"] {
            assert_eq!(Classes::parse(letters.as_bytes()), None, "{letters}");
        }
        let classes = |letters: &[u8]| Classes::parse(letters).unwrap();
        assert_eq!((classes(b"A").told(), classes(b"EA").told()), (Classes::default(), classes(b"AE")));
    }
}
