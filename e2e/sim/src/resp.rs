//! Replies as clients read them: the version 2 protocol's five kinds, with nulls.

use std::fmt;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// `+OK`.
    Simple(String),
    /// `-ERR ...`.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// `$3 foo`.
    Bulk(Vec<u8>),
    /// `$-1` or `*-1`.
    Null,
    /// `*2 ...`.
    Array(Vec<Reply>),
}

impl Reply {
    /// `+OK`.
    pub fn ok() -> Reply {
        Reply::Simple("OK".to_owned())
    }

    /// The first word of an error.
    pub fn error_code(&self) -> Option<&str> {
        match self {
            Reply::Error(text) => text.split(' ').next(),
            _ => None,
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(text) => write!(f, "+{text}"),
            Reply::Error(text) => write!(f, "-{text}"),
            Reply::Integer(number) => write!(f, ":{number}"),
            Reply::Bulk(bytes) => write!(f, "\"{}\"", String::from_utf8_lossy(bytes)),
            Reply::Null => write!(f, "nil"),
            Reply::Array(items) => {
                write!(f, "[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                write!(f, "]")
            }
        }
    }
}

/// Reads the first reply of `bytes` and says how long it is; `None` where it is not whole.
///
/// # Errors
/// Where the bytes are no reply: a message for a person.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, String> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&bytes[1..end]).map_err(|_| format!("no text in {:?}", &bytes[..end]))?;
    let number = || line.parse::<i64>().map_err(|_| format!("no number in {line:?}"));
    let after = end + 2;
    Ok(Some(match bytes[0] {
        b'+' => (Reply::Simple(line.to_owned()), after),
        b'-' => (Reply::Error(line.to_owned()), after),
        b':' => (Reply::Integer(number()?), after),
        b'$' => match usize::try_from(number()?) {
            Err(_) => (Reply::Null, after),
            Ok(length) if bytes.len() < after + length + 2 => return Ok(None),
            Ok(length) => (Reply::Bulk(bytes[after..after + length].to_vec()), after + length + 2),
        },
        b'*' => match usize::try_from(number()?) {
            Err(_) => (Reply::Null, after),
            Ok(count) => {
                let (mut items, mut at) = (Vec::new(), after);
                for _ in 0..count {
                    let Some((item, length)) = parse(&bytes[at..])? else { return Ok(None) };
                    items.push(item);
                    at += length;
                }
                (Reply::Array(items), at)
            }
        },
        other => return Err(format!("a reply cannot begin with {:?}", other as char)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_and_a_part_is_no_reply() {
        let bytes = b"*6\r\n+OK\r\n-NOREPLICAS 1 of 2\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*0\r\n";
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let (reply, length) = parse(bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        assert_eq!(reply.to_string(), "[+OK, -NOREPLICAS 1 of 2, :-7, \"a\r\n\", nil, []]");
        assert!(parse(b"hello\r\n").is_err());
    }
}
