//! Replies: as they come over the wire, and as the table has them.

use std::fmt;

/// A reply of the protocol's version 2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// `+OK`.
    Simple(String),
    /// `-ERR ...`.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// `"text"`.
    Bulk(String),
    /// `nil`.
    Null,
    /// `[in, order]`.
    Array(Vec<Reply>),
}

impl Reply {
    /// The first reply of what came from a store, and its length; `None` where it is not whole yet.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: &[u8]) -> Result<Option<(Reply, usize)>, String> {
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        let line = String::from_utf8_lossy(&bytes[1..end]).into_owned();
        let number = || line.parse::<i64>().map_err(|_| format!("no number in {line:?}"));
        let after = end + 2;
        Ok(Some(match bytes[0] {
            b'+' => (Reply::Simple(line), after),
            b'-' => (Reply::Error(line), after),
            b':' => (Reply::Integer(number()?), after),
            b'$' => match usize::try_from(number()?) {
                Err(_) => (Reply::Null, after),
                Ok(length) => {
                    let Some(text) = bytes.get(after..after + length + 2) else { return Ok(None) };
                    (Reply::Bulk(String::from_utf8_lossy(&text[..length]).into_owned()), after + length + 2)
                }
            },
            b'*' => match usize::try_from(number()?) {
                Err(_) => (Reply::Null, after),
                Ok(count) => {
                    let (mut items, mut at) = (Vec::new(), after);
                    for _ in 0..count {
                        let Some((item, length)) = Reply::read(&bytes[at..])? else { return Ok(None) };
                        items.push(item);
                        at += length;
                    }
                    (Reply::Array(items), at)
                }
            },
            other => return Err(format!("a reply cannot begin with {:?}", char::from(other))),
        }))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(text) => write!(f, "+{text}"),
            Reply::Error(text) => write!(f, "-{text}"),
            Reply::Integer(number) => write!(f, ":{number}"),
            Reply::Bulk(text) => write!(f, "\"{text}\""),
            Reply::Null => write!(f, "nil"),
            Reply::Array(items) => {
                let items: Vec<String> = items.iter().map(Reply::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

/// What a reply has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    reply: Reply,
    any_order: bool,
}

impl Expected {
    /// As the table has it.
    ///
    /// # Errors
    /// It is no reply.
    pub fn parse(text: &str) -> Result<Expected, String> {
        let text = text.trim();
        let any_order = text.starts_with('{');
        let (reply, rest) = read_text(text)?;
        if rest.trim().is_empty() { Ok(Expected { reply, any_order }) } else { Err(format!("{rest:?} after a reply")) }
    }

    /// Whether a reply is that: of an error the first word, of an array in any order the same elements.
    #[must_use]
    pub fn is(&self, reply: &Reply) -> bool {
        match (&self.reply, reply) {
            (Reply::Error(expected), Reply::Error(text)) => text.split(' ').next() == Some(expected),
            (Reply::Array(expected), Reply::Array(items)) if self.any_order => {
                let sorted = |items: &[Reply]| {
                    let mut items = items.to_vec();
                    items.sort();
                    items
                };
                sorted(expected) == sorted(items)
            }
            (expected, reply) => expected == reply,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.reply.to_string();
        match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(items) if self.any_order => write!(f, "{{{items}}}"),
            _ => write!(f, "{text}"),
        }
    }
}

fn read_text(text: &str) -> Result<(Reply, &str), String> {
    let text = text.trim_start();
    let word = || text.split([',', ']', '}']).next().unwrap_or_default();
    let first = text.chars().next().ok_or("a reply is missing")?;
    match first {
        '"' => {
            let (value, rest) = text[1..].split_once('"').ok_or("a text without an end")?;
            Ok((Reply::Bulk(value.to_owned()), rest))
        }
        '[' | '{' => {
            let (mut items, mut rest) = (Vec::new(), text[1..].trim_start());
            while !rest.starts_with([']', '}']) {
                let (item, after) = read_text(rest)?;
                items.push(item);
                rest = after.trim_start().trim_start_matches(',').trim_start();
            }
            Ok((Reply::Array(items), &rest[1..]))
        }
        '+' | '-' | ':' | 'n' => {
            let (word, rest) = text.split_at(word().len());
            let reply = match (first, &word[1..]) {
                ('+', text) => Reply::Simple(text.to_owned()),
                ('-', text) => Reply::Error(text.to_owned()),
                (':', number) => Reply::Integer(number.parse().map_err(|_| format!("no number: {number:?}"))?),
                (_, "il") => Reply::Null,
                _ => return Err(format!("no reply: {word:?}")),
            };
            Ok((reply, rest))
        }
        _ => Err(format!("no reply: {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_from_the_wire_and_from_the_table() {
        for (bytes, text) in [
            ("+OK\r\n", "+OK"),
            (":-3\r\n", ":-3"),
            ("$2\r\nhi\r\n", "\"hi\""),
            ("$-1\r\n", "nil"),
            ("*3\r\n$1\r\na\r\n*0\r\n:1\r\n", "[\"a\", [], :1]"),
        ] {
            let (reply, length) = Reply::read(bytes.as_bytes()).unwrap().unwrap();
            assert_eq!((reply.to_string().as_str(), length), (text, bytes.len()));
            let expected = Expected::parse(text).unwrap();
            assert!(expected.is(&reply), "{text}");
            assert_eq!(expected.to_string(), text);
            assert!((0..bytes.len()).all(|cut| Reply::read(&bytes.as_bytes()[..cut]).unwrap().is_none()), "{text}");
        }
        let error = Reply::read(b"-WRONGTYPE of what\r\n").unwrap().unwrap().0;
        assert!(Expected::parse("-WRONGTYPE").unwrap().is(&error) && !Expected::parse("-ERR").unwrap().is(&error));
        let order = |text: &str| Expected::parse(text).unwrap();
        let reply = order("[\"b\", \"a\"]").reply;
        assert!(order("{\"a\", \"b\"}").is(&reply) && !order("[\"a\", \"b\"]").is(&reply));
        for bad in ["", "\"a", "what", "[\"a\"", ":x", "+OK +OK]"] {
            assert!(Expected::parse(bad).is_err(), "{bad}");
        }
        assert!(Reply::read(b"hello\r\n").is_err());
    }
}
