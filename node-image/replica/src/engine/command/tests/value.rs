//! Replies read back.

/// A reply as a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Null, of either protocol and kind.
    Null,
    /// An integer, boolean, or double, with its sigil.
    Number(String),
    /// A bulk or simple string.
    Bytes(Vec<u8>),
    /// An error.
    Error(String),
    /// An array; maps have their pairs one after the other.
    Array(Vec<Value>),
}

impl Value {
    /// What a string says; nothing for anything else.
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    /// The same with its elements in order, taken in groups of `size`.
    pub fn sorted(self, size: usize) -> Self {
        match self {
            Self::Array(elements) => {
                let mut groups: Vec<Vec<Value>> = elements.chunks(size).map(<[Value]>::to_vec).collect();
                groups.sort();
                Self::Array(groups.concat())
            }
            other => other,
        }
    }
}

/// Reads one whole reply.
pub fn parse(bytes: &[u8]) -> Value {
    let mut reader = bytes;
    let (_, value) = read(&mut reader).expect("a whole reply");
    assert!(reader.is_empty(), "more than one reply: {:?}", String::from_utf8_lossy(bytes));
    value
}

/// Reads one reply from a stream: its bytes and its meaning.
pub fn read(stream: &mut impl std::io::BufRead) -> std::io::Result<(Vec<u8>, Value)> {
    let mut raw = Vec::new();
    stream.read_until(b'\n', &mut raw)?;
    let line = String::from_utf8_lossy(raw.strip_suffix(b"\r\n").expect("a whole line")).into_owned();
    let (sigil, rest) = line.split_at(1);
    let size = || rest.parse::<i64>().expect("a length");
    let value = match sigil {
        "+" => Value::Bytes(rest.as_bytes().to_vec()),
        "-" => Value::Error(rest.to_owned()),
        ":" | "#" | "," => Value::Number(line.clone()),
        "_" => Value::Null,
        "$" | "=" if size() >= 0 => {
            let length = usize::try_from(size()).expect("a length");
            let mut body = vec![0; length + 2];
            stream.read_exact(&mut body)?;
            raw.extend_from_slice(&body);
            body.truncate(length);
            Value::Bytes(body)
        }
        "*" | "~" | ">" | "%" if size() >= 0 => {
            let mut elements = Vec::new();
            for _ in 0..size() * if sigil == "%" { 2 } else { 1 } {
                let (bytes, element) = read(stream)?;
                raw.extend_from_slice(&bytes);
                elements.push(element);
            }
            Value::Array(elements)
        }
        _ => Value::Null,
    };
    Ok((raw, value))
}
