//! The Redis protocol, as far as a load generator speaks it: a few commands out, RESP2 replies in.

use super::{Outcome, Protocol, Request, Step};

/// How a replica that does not answer is told apart from one that answers late: `WAIT`'s own bound, in milliseconds.
const WAIT_TIMEOUT_MS: u64 = 5000;
/// Longest first line of a reply.
const LINE_MAX: usize = 64 * 1024;
/// In the mixed load, one of so many requests is a SET.
const MIXED_SET_OF: u64 = 5;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// SET of a value of the wanted size.
    Set,
    /// GET.
    Get,
    /// INCR.
    Incr,
    /// Four GETs for each SET.
    Mixed,
    /// ZADD of a member, with another score each time.
    ZAdd,
    /// HSET of a field.
    HSet,
    /// LPUSH of a short element.
    LPush,
    /// SADD of a member.
    SAdd,
}

/// So many keys hold what ZADD, HSET, LPUSH and SADD add.
const HOLDERS: u64 = 1_000;

/// When a SET counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// When it is answered.
    No,
    /// When a `WAIT` sent together with the batch it stands in has been answered by this many replicas.
    WithBatch(u32),
    /// The same, but the `WAIT` is sent only once the SETs have been answered: a second round trip.
    TwoStep(u32),
}

/// The protocol with prepared requests.
#[derive(Clone, Debug)]
pub struct Resp {
    command: Command,
    wait: Wait,
    key_bytes: usize,
    set: Template,
    other: Template,
    wait_request: Vec<u8>,
}

/// A request in which only some numbers change.
#[derive(Clone, Debug)]
struct Template {
    bytes: Vec<u8>,
    /// Where they go, how long they are, and which.
    fields: Vec<(usize, usize, Field)>,
}

/// A number in a request.
#[derive(Clone, Copy, Debug)]
enum Field {
    /// That of the key.
    Key,
    /// That of the key, as that of a member of one of fewer keys; and of that one.
    Member,
    Holder,
    /// That of the request.
    Request,
}

/// Digits of a request's number at the start of its value.
const NUMBER_DIGITS: usize = 16;

/// What a connection waits for.
#[derive(Debug, Default)]
pub struct State {
    /// SETs of the batch that are to be answered before its WAIT.
    before_wait: usize,
    /// Requests in the batch.
    batch: usize,
    /// The first error within the batch.
    failed: Option<String>,
}

impl Resp {
    /// Requests with keys and values of this many bytes.
    ///
    /// # Errors
    /// When the keys are too short to tell `keys` of them apart.
    pub fn new(command: Command, wait: Wait, key_bytes: usize, value_bytes: usize, keys: u64) -> Result<Self, String> {
        let digits = keys.max(1).to_string().len();
        if key_bytes < digits {
            return Err(format!("{keys} keys cannot be told apart in {key_bytes} bytes: give at least {digits}"));
        }
        let mut random = fastrand::Rng::with_seed(1);
        let value: Vec<u8> = (0..value_bytes).map(|_| random.alphanumeric() as u8).collect();
        let key = Self::key_prefix(key_bytes);
        let replicas = match wait {
            Wait::No => 0,
            Wait::WithBatch(replicas) | Wait::TwoStep(replicas) => replicas,
        };
        let numbered = Some(Field::Request).filter(|_| value_bytes >= NUMBER_DIGITS);
        Ok(Resp {
            command,
            wait,
            key_bytes,
            set: Template::new(&[b"SET", &key, &value], &[None, Some(Field::Key), numbered]),
            other: Resp::other(command, &key, &value),
            wait_request: encode(&[b"WAIT", replicas.to_string().as_bytes(), WAIT_TIMEOUT_MS.to_string().as_bytes()]),
        })
    }

    /// The command that is no SET.
    fn other(command: Command, key: &[u8], value: &[u8]) -> Template {
        let (holder, member) = (Some(Field::Holder), Some(Field::Member));
        match command {
            Command::Set | Command::Get | Command::Mixed => Template::new(&[b"GET", key], &[None, Some(Field::Key)]),
            Command::Incr => Template::new(&[b"INCR", key], &[None, Some(Field::Key)]),
            Command::ZAdd => {
                let score = [b'0'; NUMBER_DIGITS];
                Template::new(&[b"ZADD", key, &score, key], &[None, holder, Some(Field::Request), member])
            }
            Command::HSet => Template::new(&[b"HSET", key, key, value], &[None, holder, member]),
            Command::LPush => Template::new(&[b"LPUSH", key, key], &[None, holder, member]),
            Command::SAdd => Template::new(&[b"SADD", key, key], &[None, holder, member]),
        }
    }

    fn key_prefix(key_bytes: usize) -> Vec<u8> {
        let mut key = vec![b'0'; key_bytes];
        if key_bytes > NUMBER_DIGITS - 4 {
            key[..4].copy_from_slice(b"key:");
        }
        key
    }

    /// The key with this number.
    pub fn key(&self, number: u64) -> Vec<u8> {
        let mut key = Self::key_prefix(self.key_bytes);
        write_decimal(&mut key, number);
        key
    }

    /// The number of the request that wrote this value.
    pub fn number_in(value: &[u8]) -> Option<u64> {
        std::str::from_utf8(value.get(..NUMBER_DIGITS)?).ok()?.parse().ok()
    }

    fn template(&self, request: Request) -> &Template {
        match self.command {
            Command::Set => &self.set,
            Command::Mixed if request.number.is_multiple_of(MIXED_SET_OF) => &self.set,
            _ => &self.other,
        }
    }
}

impl Template {
    /// Of these arguments, in which these numbers stand: at the end of a key, at the beginning of a value.
    fn new(arguments: &[&[u8]], numbers: &[Option<Field>]) -> Self {
        let (mut at, mut fields) = (format!("*{}\r\n", arguments.len()).len(), Vec::new());
        for (i, argument) in arguments.iter().enumerate() {
            at += format!("${}\r\n", argument.len()).len();
            match numbers.get(i).copied().flatten() {
                Some(Field::Request) => fields.push((at, NUMBER_DIGITS, Field::Request)),
                Some(field) => fields.push((at, argument.len(), field)),
                None => {}
            }
            at += argument.len() + 2;
        }
        Template { bytes: encode(arguments), fields }
    }

    fn append(&self, request: Request, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for (at, length, field) in &self.fields {
            let bytes = &mut out[start + at..start + at + length];
            match field {
                Field::Key | Field::Member => write_decimal(bytes, request.key),
                Field::Holder => write_decimal(bytes, request.key % HOLDERS),
                Field::Request => {
                    bytes.fill(b'0');
                    write_decimal(bytes, request.number);
                }
            }
        }
    }
}

/// Writes the digits of a number at the end of a field.
fn write_decimal(field: &mut [u8], mut number: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
}

/// A command as an array of bulk strings.
pub fn encode(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

impl Protocol for Resp {
    type Connection = State;

    fn open(&self, _: &mut Vec<u8>) {}

    fn requests(&self, state: &mut State, batch: &[Request], out: &mut Vec<u8>) {
        for request in batch {
            self.template(*request).append(*request, out);
        }
        if self.wait != Wait::No {
            *state = State { before_wait: batch.len(), batch: batch.len(), failed: None };
        }
        if let Wait::WithBatch(_) = self.wait {
            out.extend_from_slice(&self.wait_request);
        }
    }

    fn receive<'a>(&self, state: &mut State, input: &'a [u8], out: &mut Vec<u8>) -> Step<'a> {
        let (reply, consumed) = match reply(input) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Step::Partial,
            Err(kind) => return Step::Broken(kind),
        };
        let wanted = match self.wait {
            Wait::No => return Step::Finished { consumed, requests: 1, outcome: reply.outcome() },
            Wait::WithBatch(replicas) | Wait::TwoStep(replicas) => replicas,
        };
        if state.before_wait > 0 {
            if let (Reply::Error(kind), None) = (reply, &state.failed) {
                state.failed = Some(kind.to_owned());
            }
            state.before_wait -= 1;
            if state.before_wait == 0 && matches!(self.wait, Wait::TwoStep(_)) {
                out.extend_from_slice(&self.wait_request);
            }
            return Step::Consumed(consumed);
        }
        let outcome = match (&state.failed, reply) {
            (Some(_), _) => Outcome::Failed("within a batch"),
            (None, Reply::Integer(replicas)) if replicas >= i64::from(wanted) => Outcome::Ok,
            (None, Reply::Error(kind)) => Outcome::Failed(kind),
            (None, _) => Outcome::Failed("WAIT reached too few"),
        };
        Step::Finished { consumed, requests: state.batch, outcome }
    }
}

/// A reply of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A status.
    Simple(&'a [u8]),
    /// An error: its first word.
    Error(&'a str),
    /// A number.
    Integer(i64),
    /// A string, or none.
    Bulk(Option<&'a [u8]>),
}

impl<'a> Reply<'a> {
    fn outcome(self) -> Outcome<'a> {
        match self {
            Reply::Error(kind) => Outcome::Failed(kind),
            Reply::Bulk(None) => Outcome::Miss,
            Reply::Simple(_) | Reply::Integer(_) | Reply::Bulk(Some(_)) => Outcome::Ok,
        }
    }
}

/// The first reply in `input` with its length, or `None` when it is not whole yet.
///
/// # Errors
/// When these bytes are no reply of one element.
pub fn reply(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>, &'static str> {
    let Some(end) = input.iter().position(|byte| *byte == b'\r') else {
        return if input.len() > LINE_MAX { Err("endless reply") } else { Ok(None) };
    };
    if input.len() < end + 2 {
        return Ok(None);
    }
    let (line, mut consumed) = (&input[1..end], end + 2);
    let reply = match input[0] {
        b'+' => Reply::Simple(line),
        b'-' => Reply::Error(std::str::from_utf8(line).ok().and_then(|l| l.split(' ').next()).unwrap_or("error")),
        b':' => Reply::Integer(integer(line)?),
        b'$' => match integer(line)? {
            -1 => Reply::Bulk(None),
            length => {
                let length = usize::try_from(length).map_err(|_| "negative length in reply")?;
                let Some(value) = input.get(consumed..consumed + length + 2) else { return Ok(None) };
                consumed += value.len();
                Reply::Bulk(Some(&value[..length]))
            }
        },
        _ => return Err("not a reply"),
    };
    Ok(Some((reply, consumed)))
}

fn integer(line: &[u8]) -> Result<i64, &'static str> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or("bad number in reply")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: u64, number: u64) -> Request {
        Request { key, number }
    }

    #[test]
    fn a_set_has_key_and_value_of_the_wanted_size() {
        let resp = Resp::new(Command::Set, Wait::No, 16, 20, 100).unwrap();
        let mut out = Vec::new();
        resp.requests(&mut State::default(), &[request(42, 7)], &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$20\r\n0000000000000007"), "{text}");
        assert_eq!(resp.key(42), b"key:000000000042");
        assert_eq!(Resp::number_in(b"0000000000000007abcd"), Some(7));
    }

    #[test]
    fn members_are_told_apart_and_their_keys_are_few() {
        let sent = |command| {
            let mut out = Vec::new();
            let resp = Resp::new(command, Wait::No, 16, 20, 100_000).unwrap();
            resp.requests(&mut State::default(), &[request(98_042, 7)], &mut out);
            String::from_utf8(out).unwrap()
        };
        let (key, member) = ("$16\r\nkey:000000000042\r\n", "$16\r\nkey:000000098042\r\n");
        assert_eq!(sent(Command::ZAdd), format!("*4\r\n$4\r\nZADD\r\n{key}$16\r\n0000000000000007\r\n{member}"));
        assert_eq!(sent(Command::SAdd), format!("*3\r\n$4\r\nSADD\r\n{key}{member}"));
        assert_eq!(sent(Command::LPush), format!("*3\r\n$5\r\nLPUSH\r\n{key}{member}"));
        assert!(sent(Command::HSet).starts_with(&format!("*4\r\n$4\r\nHSET\r\n{key}{member}$20\r\n")));
        assert_eq!(sent(Command::Incr), format!("*2\r\n$4\r\nINCR\r\n{member}"));
    }

    #[test]
    fn keys_that_cannot_be_told_apart_are_refused() {
        assert!(Resp::new(Command::Get, Wait::No, 2, 0, 1000).unwrap_err().contains("at least 4"));
    }

    #[test]
    fn replies_may_come_in_any_pieces() {
        let whole = b"$5\r\nhello\r\n";
        for cut in 0..whole.len() {
            assert_eq!(reply(&whole[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(reply(whole), Ok(Some((Reply::Bulk(Some(b"hello")), whole.len()))));
        assert_eq!(reply(b"$-1\r\n:1"), Ok(Some((Reply::Bulk(None), 5))));
        assert_eq!(reply(b"-NOREPLICAS 1 of 2\r\n"), Ok(Some((Reply::Error("NOREPLICAS"), 20))));
        assert!(reply(b"HTTP/1.1 400\r\n").is_err());
    }

    #[test]
    fn a_batch_is_finished_by_its_wait() {
        let resp = Resp::new(Command::Set, Wait::WithBatch(1), 16, 10, 10).unwrap();
        let (mut state, mut out) = (State::default(), Vec::new());
        resp.requests(&mut state, &[request(1, 1), request(2, 2)], &mut out);
        assert!(out.ends_with(b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n5000\r\n"));
        for _ in 0..2 {
            assert_eq!(resp.receive(&mut state, b"+OK\r\n", &mut out), Step::Consumed(5));
        }
        let done = Step::Finished { consumed: 4, requests: 2, outcome: Outcome::Ok };
        assert_eq!(resp.receive(&mut state, b":1\r\n", &mut out), done);
    }

    #[test]
    fn a_wait_that_too_few_answered_is_an_error() {
        let resp = Resp::new(Command::Set, Wait::TwoStep(2), 16, 10, 10).unwrap();
        let (mut state, mut out) = (State::default(), Vec::new());
        resp.requests(&mut state, &[request(1, 1)], &mut out);
        out.clear();
        resp.receive(&mut state, b"+OK\r\n", &mut out);
        assert!(out.starts_with(b"*3\r\n$4\r\nWAIT"), "the second step follows the first reply");
        let short = Step::Finished { consumed: 4, requests: 1, outcome: Outcome::Failed("WAIT reached too few") };
        assert_eq!(resp.receive(&mut state, b":1\r\n", &mut out), short);
    }
}
