//! Reads clients' requests where they lie: no copy, no allocation per command.
//!
//! A [`Parser`] is given the bytes that start with the command it is to read. What it returns are ranges of these bytes ([`Parser::arguments`]); only inline
//! commands (typed by hand, with quotes and escapes) are copied. Where a command is not whole yet it remembers how far it came, so a large
//! argument that arrives in a thousand pieces is looked at once.
//!
//! Limits and errors are those of Redis. After an error the stream has no known meaning: the connection is closed.

use std::ops::Range;

use memchr::memchr;
use smallvec::SmallVec;

/// Arguments of one command, without an allocation where there are few.
pub type Arguments<'a> = SmallVec<[&'a [u8]; 8]>;

/// Longest line: an inline command, or the announcement of a length.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Most arguments of one command.
pub const ARGUMENTS_MAX: i64 = 1 << 20;
/// Longest argument in bytes (`proto-max-bulk-len`).
pub const ARGUMENT_BYTES_MAX: i64 = 512 << 20;
/// The same two for a client that has not said the password.
const STRANGER_ARGUMENTS_MAX: i64 = 10;
const STRANGER_ARGUMENT_BYTES_MAX: i64 = 16 << 10;
/// Places of arguments, and bytes of an inline command, that room is kept for between two commands.
const RANGES_KEPT: usize = 64;
const UNQUOTED_KEPT: usize = 256;

/// Why a stream is not one of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// An inline command is too long.
    #[error("too big inline request")]
    InlineLength,
    /// The number of arguments has too many digits.
    #[error("too big mbulk count string")]
    CountLength,
    /// The length of an argument has too many digits.
    #[error("too big bulk count string")]
    BulkLength,
    /// The number of arguments is none, or too large.
    #[error("invalid multibulk length")]
    Count,
    /// The length of an argument is none, or too large.
    #[error("invalid bulk length")]
    Bulk,
    /// The number of arguments is too large for a client that has not said the password.
    #[error("unauthenticated multibulk length")]
    StrangerCount,
    /// The length of an argument is, too.
    #[error("unauthenticated bulk length")]
    StrangerBulk,
    /// An argument does not begin as it must.
    #[error("expected '$', got '{}'", char::from(*.0))]
    Dollar(u8),
    /// An inline command opens a quote that it does not close.
    #[error("unbalanced quotes in request")]
    Quotes,
}

impl ProtocolError {
    /// Appends the error as it is sent to the client.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR Protocol error: ");
        match self {
            // A line end inside the message would end it too early.
            ProtocolError::Dollar(b'\r' | b'\n') => out.extend_from_slice(b"expected '$', got ' '"),
            ProtocolError::Dollar(byte) => {
                out.extend_from_slice(b"expected '$', got '");
                out.push(byte);
                out.push(b'\'');
            }
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    /// A command.
    #[default]
    Command,
    /// The line that announces an argument.
    Length,
    /// An argument of this many bytes, and its line end.
    Argument(usize),
}

/// Reads one connection's commands.
#[derive(Debug, Default)]
pub struct Parser {
    expect: Expect,
    /// Where the next thing begins, from the start of the command.
    at: usize,
    /// No line end stands before this.
    searched: usize,
    /// Arguments still to come.
    missing: usize,
    /// Where the arguments are: in the stream, or in `unquoted`.
    ranges: SmallVec<[Range<usize>; 8]>,
    /// An inline command's arguments, one after the other.
    unquoted: Vec<u8>,
    inline: bool,
    /// The client has not said the password: it may send little.
    stranger: bool,
}

impl Parser {
    /// Whether the client still has to say the password.
    pub fn is_stranger(&self) -> bool {
        self.stranger
    }

    /// From the next command on, the client has (false) or has not (true) said the password that there is.
    pub fn set_stranger(&mut self, stranger: bool) {
        self.stranger = stranger;
    }

    /// Reads the command that `bytes` begin with: `Some(length)` when it is whole, `None` when more bytes are needed. As long as it is not whole,
    /// the next call must bring the same bytes and more. A whole command may have no arguments (an empty line): it means nothing.
    ///
    /// # Errors
    /// See [`ProtocolError`]; the parser is of no more use.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        loop {
            match self.expect {
                Expect::Command => {
                    let Some(first) = bytes.first() else {
                        self.let_go();
                        return Ok(None);
                    };
                    if *first != b'*' {
                        return self.parse_inline(bytes);
                    }
                    let Some(line) = self.line(bytes, ProtocolError::CountLength)? else { return Ok(None) };
                    let count = integer(&bytes[1..line.end])
                        .filter(|count| *count <= ARGUMENTS_MAX)
                        .ok_or(ProtocolError::Count)?;
                    if self.stranger && count > STRANGER_ARGUMENTS_MAX {
                        return Err(ProtocolError::StrangerCount);
                    }
                    self.ranges.clear();
                    self.inline = false;
                    if count <= 0 {
                        return Ok(Some(self.finish()));
                    }
                    self.missing = count as usize;
                    self.expect = Expect::Length;
                }
                Expect::Length => {
                    let Some(line) = self.line(bytes, ProtocolError::BulkLength)? else { return Ok(None) };
                    // The line may be empty: then its end is what stands in the place of the '$'.
                    let first = bytes[line.start];
                    if first != b'$' {
                        return Err(ProtocolError::Dollar(first));
                    }
                    let length = integer(&bytes[line.start + 1..line.end])
                        .filter(|length| (0..=ARGUMENT_BYTES_MAX).contains(length))
                        .ok_or(ProtocolError::Bulk)?;
                    if self.stranger && length > STRANGER_ARGUMENT_BYTES_MAX {
                        return Err(ProtocolError::StrangerBulk);
                    }
                    self.expect = Expect::Argument(length as usize);
                }
                Expect::Argument(length) => {
                    let end = self.at + length;
                    if bytes.len() < end + 2 {
                        return Ok(None);
                    }
                    self.ranges.push(self.at..end);
                    self.at = end + 2;
                    self.searched = self.at;
                    self.missing -= 1;
                    if self.missing == 0 {
                        return Ok(Some(self.finish()));
                    }
                    self.expect = Expect::Length;
                }
            }
        }
    }

    /// The arguments of the command that was just found whole in `bytes`.
    pub fn arguments<'a>(&'a self, bytes: &'a [u8]) -> Arguments<'a> {
        let source = if self.inline { &self.unquoted[..] } else { bytes };
        self.ranges.iter().map(|range| &source[range.clone()]).collect()
    }

    /// Whether that command was an inline one.
    pub fn is_inline(&self) -> bool {
        self.inline
    }

    /// How many bytes the command has at least, as far as is known.
    pub fn bytes_needed(&self) -> usize {
        match self.expect {
            Expect::Argument(length) => self.at + length + 2,
            _ => self.at + 1,
        }
    }

    /// Nothing has come yet of the next command: of a long one before it nothing is kept.
    fn let_go(&mut self) {
        if self.ranges.capacity() > RANGES_KEPT {
            self.ranges = SmallVec::new();
        }
        if self.unquoted.capacity() > UNQUOTED_KEPT {
            self.unquoted = Vec::new();
        }
    }

    /// The next command begins where this one ends.
    fn finish(&mut self) -> usize {
        self.expect = Expect::Command;
        self.searched = 0;
        std::mem::take(&mut self.at)
    }

    /// The line at `at`, without its end, and steps behind it.
    fn line(&mut self, bytes: &[u8], too_long: ProtocolError) -> Result<Option<Range<usize>>, ProtocolError> {
        let start = self.at;
        let from = self.searched.max(start);
        match memchr(b'\r', &bytes[from..]) {
            // The byte after it is taken to be the other half of the line end, as Redis does.
            Some(found) if from + found + 1 < bytes.len() => {
                let line = start..from + found;
                self.at = line.end + 2;
                self.searched = self.at;
                Ok(Some(line))
            }
            Some(found) => {
                self.searched = from + found;
                Ok(None)
            }
            None if bytes.len() - start > LINE_BYTES_MAX => Err(too_long),
            None => {
                self.searched = bytes.len();
                Ok(None)
            }
        }
    }

    fn parse_inline(&mut self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some(found) = memchr(b'\n', &bytes[self.searched..]) else {
            self.searched = bytes.len();
            return if bytes.len() > LINE_BYTES_MAX { Err(ProtocolError::InlineLength) } else { Ok(None) };
        };
        let end = self.searched + found;
        let line = &bytes[..end];
        self.inline = true;
        self.unquote(line.strip_suffix(b"\r").unwrap_or(line))?;
        self.at = end + 1;
        Ok(Some(self.finish()))
    }

    /// Splits an inline command into its arguments, as `redis-cli` and Redis do: `"…"` with escapes, `'…'` with `\'` alone.
    fn unquote(&mut self, line: &[u8]) -> Result<(), ProtocolError> {
        self.ranges.clear();
        self.unquoted.clear();
        let mut rest = line;
        loop {
            rest = &rest[rest.iter().take_while(|b| is_space(**b)).count()..];
            if rest.is_empty() {
                return Ok(());
            }
            let start = self.unquoted.len();
            while let Some((first, after)) = rest.split_first() {
                rest = match first {
                    b'"' => self.unquote_double(after)?,
                    b'\'' => self.unquote_single(after)?,
                    space if is_space(*space) => break,
                    byte => {
                        self.unquoted.push(*byte);
                        after
                    }
                };
            }
            self.ranges.push(start..self.unquoted.len());
        }
    }

    /// What follows an opening `"`; returns what follows the closing one.
    fn unquote_double<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], ProtocolError> {
        loop {
            rest = match rest {
                [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    self.unquoted.push(hex(*high) << 4 | hex(*low));
                    after
                }
                [b'\\', escaped, after @ ..] => {
                    self.unquoted.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'a' => 7,
                        other => *other,
                    });
                    after
                }
                [b'"', after @ ..] => return closed(after),
                [byte, after @ ..] => {
                    self.unquoted.push(*byte);
                    after
                }
                [] => return Err(ProtocolError::Quotes),
            };
        }
    }

    /// What follows an opening `'`; returns what follows the closing one.
    fn unquote_single<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], ProtocolError> {
        loop {
            rest = match rest {
                [b'\\', b'\'', after @ ..] => {
                    self.unquoted.push(b'\'');
                    after
                }
                [b'\'', after @ ..] => return closed(after),
                [byte, after @ ..] => {
                    self.unquoted.push(*byte);
                    after
                }
                [] => return Err(ProtocolError::Quotes),
            };
        }
    }
}

/// A closing quote must end the argument.
fn closed(after: &[u8]) -> Result<&[u8], ProtocolError> {
    match after.first() {
        Some(byte) if !is_space(*byte) => Err(ProtocolError::Quotes),
        _ => Ok(after),
    }
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap_or(0) as u8
}

/// A decimal integer, written as Redis demands it: no plus, no leading zeros, no spaces.
fn integer(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 18 => {}
        _ => return None,
    }
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Commands = Vec<Vec<Vec<u8>>>;

    /// Feeds the parts as they would arrive; returns the commands, and the error that ended them.
    fn feed<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Commands, Option<ProtocolError>) {
        let (mut parser, mut buffer, mut commands) = (Parser::default(), Vec::new(), Vec::new());
        for part in parts {
            buffer.extend_from_slice(part);
            let mut begin = 0;
            loop {
                match parser.parse(&buffer[begin..]) {
                    Ok(Some(length)) => {
                        assert!(length > 0);
                        let arguments = parser.arguments(&buffer[begin..]);
                        if !arguments.is_empty() {
                            commands.push(arguments.iter().map(|a| a.to_vec()).collect());
                        }
                        begin += length;
                    }
                    Ok(None) => break,
                    Err(error) => return (commands, Some(error)),
                }
            }
            buffer.drain(..begin);
        }
        (commands, None)
    }

    fn error_of(stream: &[u8]) -> String {
        let mut out = Vec::new();
        feed([stream]).1.expect("a protocol error").write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_cut_of_a_stream_gives_the_same_commands() {
        let stream: &[u8] =
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nb\n\r\nPING\r\n*0\r\n\r\n*-1\r\nset \"a b\" 'c\\'d' \"\\x41\\n\"\n*1\r\n$0\r\n\r\n";
        let (whole, error) = feed([stream]);
        assert_eq!((whole.len(), error), (4, None));
        assert_eq!(whole[0], [&b"SET"[..], b"k", b"a\r\nb\n"]);
        assert_eq!(whole[2], [&b"set"[..], b"a b", b"c'd", b"A\n"]);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let (commands, error) = feed([&stream[..first], &stream[first..second], &stream[second..]]);
                assert_eq!((&commands, error), (&whole, None), "cut at {first} and {second}");
            }
        }
        assert_eq!(feed(stream.chunks(1)).0, whole);
    }

    #[test]
    fn what_is_no_protocol_gets_the_errors_of_redis() {
        for (stream, error) in [
            (&b"*x\r\n"[..], "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*01\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*1048577\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*99999999999999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*1\r\nx\r\n", "-ERR Protocol error: expected '$', got 'x'\r\n"),
            (b"*1\r\n\r\n", "-ERR Protocol error: expected '$', got ' '\r\n"),
            (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            (b"*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            (b"*1\r\n$+1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            (b"set \"a\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
            (b"set 'a'b\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
            (&[b'a'; LINE_BYTES_MAX + 1], "-ERR Protocol error: too big inline request\r\n"),
        ] {
            assert_eq!(error_of(stream), error, "{}", stream[..stream.len().min(40)].escape_ascii());
        }
        let endless = [b"*1\r\n$".to_vec(), vec![b'1'; LINE_BYTES_MAX + 1]].concat();
        assert_eq!(error_of(&endless), "-ERR Protocol error: too big bulk count string\r\n");
        let endless = [b"*".to_vec(), vec![b'1'; LINE_BYTES_MAX + 1]].concat();
        assert_eq!(error_of(&endless), "-ERR Protocol error: too big mbulk count string\r\n");
    }

    #[test]
    fn commands_before_an_error_count() {
        let (commands, error) = feed([&b"PING\r\n*1\r\n!\r\n"[..]]);
        assert_eq!((commands.len(), error), (1, Some(ProtocolError::Dollar(b'!'))));
    }

    #[test]
    fn any_bytes_in_any_parts_do_no_harm() {
        // Bytes that matter to the protocol are drawn more often than others; a plain generator keeps the test the same every time.
        const ALPHABET: &[u8] = b"***$$$$\r\n\r\n\r\n0123459-\"'\\x \0aZ\xff";
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut draw = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut endings = [0; 2];
        for _ in 0..20_000 {
            let stream: Vec<u8> = (0..draw(60)).map(|_| ALPHABET[draw(ALPHABET.len())]).collect();
            let whole = feed([&stream[..]]);
            let size = 1 + draw(7);
            assert_eq!(feed(stream.chunks(size)), whole, "{}", stream.escape_ascii());
            endings[usize::from(whole.1.is_some())] += 1;
        }
        assert!(endings.iter().all(|count| *count > 1_000), "the generator has become one-sided: {endings:?}");
    }

    #[test]
    fn a_large_argument_is_not_searched_again() {
        let mut parser = Parser::default();
        let mut stream = b"*2\r\n$3\r\nSET\r\n$100000\r\n".to_vec();
        assert_eq!(parser.parse(&stream), Ok(None));
        let begin = stream.len();
        assert_eq!(parser.at, begin, "the next call looks at the length alone");
        assert_eq!(parser.bytes_needed(), begin + 100_002);
        stream.resize(begin + 100_002, b'\r');
        assert_eq!(parser.parse(&stream), Ok(Some(stream.len())));
    }
}
