//! What goes wrong in a command, in Redis's exact words.

use super::Reply;
use crate::engine::access::{IncrementError, WrongType};
use std::fmt;

/// Why a command was not executed. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The key holds another type.
    WrongType,
    /// Options that do not fit together, or that do not exist.
    Syntax,
    /// An argument or a value is not a 64-bit integer.
    NotInteger,
    /// An argument or a value is not a number.
    NotFloat,
    /// The sum does not fit into 64 bits.
    Overflow,
    /// A hash field is not a 64-bit integer.
    FieldNotInteger,
    /// A hash field is not a number.
    FieldNotFloat,
    /// The key does not exist, and has to.
    NoSuchKey,
    /// A time to live that is no time to live, in this command.
    ExpireTime(&'static str),
    /// Too few or too many arguments for this command (`name` or `name|subcommand`).
    Arity(&'static str),
    /// Any other error that is always the same: code, space, text.
    Fixed(&'static str),
    /// Any other error that depends on the arguments: code, space, text.
    Text(Vec<u8>),
}

impl Error {
    /// There is no command of this name: `args` is the whole command.
    pub fn unknown_command(args: &[&[u8]]) -> Self {
        let mut listed = Vec::new();
        for argument in args.iter().skip(1) {
            if listed.len() >= SHOWN {
                break;
            }
            let room = SHOWN - listed.len();
            listed.push(b'\'');
            listed.extend_from_slice(shown(argument, room));
            listed.extend_from_slice(b"' ");
        }
        let mut text = b"ERR unknown command '".to_vec();
        text.extend_from_slice(shown(args.first().copied().unwrap_or_default(), SHOWN));
        text.extend_from_slice(b"', with args beginning with: ");
        text.extend_from_slice(&listed);
        Self::Text(text)
    }

    /// The command `name` has no such subcommand.
    pub fn unknown_subcommand(name: &str, subcommand: &[u8]) -> Self {
        let mut text = b"ERR unknown subcommand '".to_vec();
        text.extend_from_slice(shown(subcommand, SHOWN));
        text.extend_from_slice(format!("'. Try {} HELP.", name.to_ascii_uppercase()).as_bytes());
        Self::Text(text)
    }

    /// Writes it as an error reply.
    pub fn write(&self, reply: &mut Reply<'_>) {
        match self {
            Self::Text(text) => reply.error(text),
            Self::Arity(name) => reply.error(format!("ERR wrong number of arguments for '{name}' command").as_bytes()),
            Self::ExpireTime(name) => reply.error(format!("ERR invalid expire time in '{name}' command").as_bytes()),
            other => reply.error(other.fixed().as_bytes()),
        }
    }

    fn fixed(&self) -> &'static str {
        match self {
            Self::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Self::Syntax => "ERR syntax error",
            Self::NotInteger => "ERR value is not an integer or out of range",
            Self::NotFloat => "ERR value is not a valid float",
            Self::Overflow => "ERR increment or decrement would overflow",
            Self::FieldNotInteger => "ERR hash value is not an integer",
            Self::FieldNotFloat => "ERR hash value is not a float",
            Self::NoSuchKey => "ERR no such key",
            Self::Fixed(text) => text,
            Self::ExpireTime(_) | Self::Arity(_) | Self::Text(_) => "ERR",
        }
    }
}

/// How much of an argument an error shows, in bytes.
const SHOWN: usize = 128;

/// The beginning of an argument, up to its first zero byte.
fn shown(argument: &[u8], room: usize) -> &[u8] {
    let end = argument.iter().take(room).position(|&byte| byte == 0).unwrap_or(argument.len().min(room));
    &argument[..end]
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write(&mut Reply::new(&mut out, false));
        let text = out.strip_prefix(b"-").and_then(|text| text.strip_suffix(b"\r\n")).unwrap_or(&out);
        formatter.write_str(&String::from_utf8_lossy(text))
    }
}

impl std::error::Error for Error {}

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Self {
        Self::WrongType
    }
}

impl From<IncrementError> for Error {
    fn from(error: IncrementError) -> Self {
        match error {
            IncrementError::WrongType(_) => Self::WrongType,
            IncrementError::NotAnInteger => Self::NotInteger,
            IncrementError::Overflow => Self::Overflow,
        }
    }
}
