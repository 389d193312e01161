//! What clients do, and what a store that is one machine would answer: the sequential model of a key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::resp::Reply;

/// A command on one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// `SET key value`.
    Set(String),
    /// `SET key value` in a transaction that has watched the key, and read this: nothing, nil, if it holds something else now.
    Swap(Option<String>, String),
    /// `GET key`.
    Get,
    /// `DEL key`.
    Del,
    /// `APPEND key piece`.
    Append(String),
    /// `INCR key`.
    Incr,
    /// `INCRBY key n`.
    IncrBy(i64),
    /// `SADD key member`.
    SetAdd(String),
    /// `SREM key member`.
    SetRemove(String),
    /// `SISMEMBER key member`.
    SetHas(String),
    /// `SCARD key`.
    SetCount,
    /// `HSET key field value`.
    HashSet(String, String),
    /// `HGET key field`.
    HashGet(String),
    /// `HLEN key`.
    HashCount,
}

impl Act {
    /// Whether it changes nothing.
    pub fn reads(&self) -> bool {
        matches!(self, Act::Get | Act::SetHas(_) | Act::SetCount | Act::HashGet(_) | Act::HashCount)
    }

    /// The command's name and arguments.
    pub fn args(&self, key: &str) -> Vec<Vec<u8>> {
        let number;
        let words: Vec<&str> = match self {
            Act::Set(value) | Act::Swap(_, value) => vec!["SET", key, value],
            Act::Get => vec!["GET", key],
            Act::Del => vec!["DEL", key],
            Act::Append(piece) => vec!["APPEND", key, piece],
            Act::Incr => vec!["INCR", key],
            Act::IncrBy(by) => {
                number = by.to_string();
                vec!["INCRBY", key, &number]
            }
            Act::SetAdd(member) => vec!["SADD", key, member],
            Act::SetRemove(member) => vec!["SREM", key, member],
            Act::SetHas(member) => vec!["SISMEMBER", key, member],
            Act::SetCount => vec!["SCARD", key],
            Act::HashSet(field, value) => vec!["HSET", key, field, value],
            Act::HashGet(field) => vec!["HGET", key, field],
            Act::HashCount => vec!["HLEN", key],
        };
        words.into_iter().map(|word| word.as_bytes().to_vec()).collect()
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.args("").iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        write!(f, "{} {}", words[0], words[2..].join(" "))
    }
}

/// What a key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing.
    #[default]
    Absent,
    /// A string; also a counter, as decimal digits.
    Text(Vec<u8>),
    /// A set.
    Set(BTreeSet<String>),
    /// A hash.
    Hash(BTreeMap<String, String>),
}

/// What takes a command back.
#[derive(Debug)]
pub enum Undo {
    /// Nothing was changed.
    Nothing,
    /// The whole value before it.
    Whole(Value),
    /// The text was so long.
    Length(usize),
    /// The set had, or had not, this member.
    Member(String, bool),
    /// The hash had this in a field.
    Field(String, Option<String>),
}

fn wrong_type() -> Reply {
    Reply::Error("WRONGTYPE Operation against a key holding the wrong kind of value".to_owned())
}

impl Value {
    /// Executes a command, and says how to take it back: a search through many orders has one value, not a copy for each.
    pub fn try_out(&mut self, act: &Act) -> (Reply, Undo) {
        if act.reads() {
            return (self.execute(act), Undo::Nothing);
        }
        let undo = match (&*self, act) {
            (Value::Text(text), Act::Append(_)) => Undo::Length(text.len()),
            (Value::Set(members), Act::SetAdd(member) | Act::SetRemove(member)) => {
                Undo::Member(member.clone(), members.contains(member))
            }
            (Value::Hash(fields), Act::HashSet(field, _)) => Undo::Field(field.clone(), fields.get(field).cloned()),
            (_, Act::Set(_) | Act::Del) => Undo::Whole(std::mem::take(self)),
            (value, _) => Undo::Whole(value.clone()),
        };
        if let (Undo::Whole(before), Act::Del) = (&undo, act) {
            return (Reply::Integer(i64::from(*before != Value::Absent)), undo);
        }
        (self.execute(act), undo)
    }

    /// Takes back what [`Value::try_out`] did last.
    pub fn undo(&mut self, undo: Undo) {
        match (undo, &mut *self) {
            (Undo::Nothing, _) => {}
            (Undo::Length(length), Value::Text(text)) => text.truncate(length),
            (Undo::Member(member, true), Value::Set(members)) => {
                members.insert(member);
            }
            (Undo::Member(member, true), value) => *value = Value::Set(BTreeSet::from([member])),
            (Undo::Member(member, false), Value::Set(members)) => {
                members.remove(&member);
            }
            (Undo::Field(field, Some(before)), Value::Hash(fields)) => {
                fields.insert(field, before);
            }
            (Undo::Field(field, None), Value::Hash(fields)) => {
                fields.remove(&field);
            }
            (Undo::Whole(before), value) => *value = before,
            (undo, value) => unreachable!("{undo:?} belongs to no {value:?}"),
        }
    }

    /// Executes a command as Redis would.
    pub fn execute(&mut self, act: &Act) -> Reply {
        match act {
            Act::Set(value) => {
                *self = Value::Text(value.clone().into_bytes());
                Reply::ok()
            }
            Act::Swap(expected, value) => {
                let found = if let Value::Text(text) = self { Some(&text[..]) } else { None };
                if found != expected.as_ref().map(String::as_bytes) {
                    return Reply::Null;
                }
                *self = Value::Text(value.clone().into_bytes());
                Reply::ok()
            }
            Act::Del => Reply::Integer(i64::from(std::mem::take(self) != Value::Absent)),
            Act::Get | Act::Append(_) | Act::Incr | Act::IncrBy(_) => self.on_text(act),
            Act::SetAdd(_) | Act::SetRemove(_) | Act::SetHas(_) | Act::SetCount => self.on_set(act),
            Act::HashSet(..) | Act::HashGet(_) | Act::HashCount => self.on_hash(act),
        }
    }

    fn on_text(&mut self, act: &Act) -> Reply {
        let text = match self {
            Value::Absent => None,
            Value::Text(text) => Some(text),
            _ => return wrong_type(),
        };
        match act {
            Act::Append(piece) => {
                let mut whole = text.cloned().unwrap_or_default();
                whole.extend_from_slice(piece.as_bytes());
                let length = whole.len();
                *self = Value::Text(whole);
                Reply::Integer(length as i64)
            }
            Act::Incr | Act::IncrBy(_) => {
                let by = if let Act::IncrBy(by) = act { *by } else { 1 };
                let old = text.map_or(Ok(0), |text| String::from_utf8_lossy(text).parse::<i64>());
                let Ok(old) = old else {
                    return Reply::Error("ERR value is not an integer or out of range".to_owned());
                };
                *self = Value::Text((old + by).to_string().into_bytes());
                Reply::Integer(old + by)
            }
            _ => text.map_or(Reply::Null, |text| Reply::Bulk(text.clone())),
        }
    }

    fn on_set(&mut self, act: &Act) -> Reply {
        if *self == Value::Absent {
            *self = Value::Set(BTreeSet::new());
        }
        let Value::Set(members) = self else { return wrong_type() };
        let reply = Reply::Integer(match act {
            Act::SetAdd(member) => i64::from(members.insert(member.clone())),
            Act::SetRemove(member) => i64::from(members.remove(member)),
            Act::SetHas(member) => i64::from(members.contains(member)),
            _ => members.len() as i64,
        });
        if members.is_empty() {
            *self = Value::Absent;
        }
        reply
    }

    fn on_hash(&mut self, act: &Act) -> Reply {
        if *self == Value::Absent {
            *self = Value::Hash(BTreeMap::new());
        }
        let Value::Hash(fields) = self else { return wrong_type() };
        let reply = match act {
            Act::HashSet(field, value) => {
                Reply::Integer(i64::from(fields.insert(field.clone(), value.clone()).is_none()))
            }
            Act::HashGet(field) => {
                fields.get(field).map_or(Reply::Null, |value| Reply::Bulk(value.clone().into_bytes()))
            }
            _ => Reply::Integer(fields.len() as i64),
        };
        if fields.is_empty() {
            *self = Value::Absent;
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_out_is_executed_and_taken_back() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut value, mut stack) = (Value::default(), Vec::new());
        for _ in 0..20_000 {
            let name = ["a", "b", "7"][rng.usize(0..3)].to_owned();
            let act = match rng.u8(0..14) {
                0 => Act::Set(name),
                1 => Act::Del,
                2 | 3 => Act::Append(name),
                4 => Act::Incr,
                5 => Act::IncrBy(-3),
                6 | 7 => Act::SetAdd(name),
                8 | 9 => Act::SetRemove(name),
                10 | 11 => Act::HashSet(name.clone(), name),
                12 => Act::SetCount,
                _ => Act::Get,
            };
            let (before, mut expected) = (value.clone(), value.clone());
            let (reply, undo) = value.try_out(&act);
            assert_eq!((reply, &value), (expected.execute(&act), &expected), "{act} on {before:?}");
            stack.push((before, undo));
            for _ in 0..rng.usize(0..3) {
                if let Some((before, undo)) = stack.pop() {
                    value.undo(undo);
                    assert_eq!(value, before);
                }
            }
        }
    }

    #[test]
    fn the_model_answers_as_one_machine() {
        let mut value = Value::default();
        let script = [
            (Act::Get, "nil"),
            (Act::Append("ab".into()), ":2"),
            (Act::Append("c".into()), ":3"),
            (Act::Get, "\"abc\""),
            (Act::Incr, "-ERR value is not an integer or out of range"),
            (Act::Set("5".into()), "+OK"),
            (Act::IncrBy(3), ":8"),
            (Act::Del, ":1"),
            (Act::Del, ":0"),
            (Act::Swap(Some("5".into()), "6".into()), "nil"),
            (Act::Swap(None, "6".into()), "+OK"),
            (Act::Swap(Some("6".into()), "7".into()), "+OK"),
            (Act::Del, ":1"),
            (Act::SetHas("x".into()), ":0"),
            (Act::Get, "nil"),
            (Act::SetAdd("x".into()), ":1"),
            (Act::SetAdd("x".into()), ":0"),
            (Act::SetRemove("x".into()), ":1"),
            (Act::HashSet("f".into(), "v".into()), ":1"),
            (Act::HashGet("f".into()), "\"v\""),
            (Act::HashCount, ":1"),
        ];
        for (act, reply) in script {
            assert_eq!(value.execute(&act).to_string(), reply, "{act}");
        }
    }
}
