//! A glance at the commands that follow in what was read: which keys they name.

use smallvec::SmallVec;
use trireme_replica::KEYS_AHEAD;

/// The second words of commands: nearly always their keys.
pub(crate) type Keys<'a> = SmallVec<[&'a [u8]; KEYS_AHEAD]>;

/// The keys of whole commands that `bytes` begin with, in their order, up to the first that is written in an unusual way. Whether that is right is for the
/// parser to say.
pub(crate) fn keys_in(mut bytes: &[u8]) -> Keys<'_> {
    let mut keys = Keys::new();
    while keys.len() < KEYS_AHEAD
        && let Some((key, rest)) = next(bytes)
    {
        keys.push(key);
        bytes = rest;
    }
    keys
}

/// The next command's second word, and what follows the command.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (words, mut rest) = number(bytes, b'*')?;
    let mut key = None;
    for at in 0..words {
        let (length, word) = number(rest, b'$')?;
        let (word, behind) = word.split_at_checked(length)?;
        if at == 1 {
            key = Some(word);
        }
        rest = behind.strip_prefix(b"\r\n")?;
    }
    Some((key?, rest))
}

/// A line with this sign and a number, and what follows it.
fn number(bytes: &[u8], sign: u8) -> Option<(usize, &[u8])> {
    let (mut number, mut rest) = (0usize, bytes.strip_prefix(&[sign])?);
    while let [digit @ b'0'..=b'9', behind @ ..] = rest {
        number = number.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?;
        rest = behind;
    }
    Some((number, rest.strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_whole_commands_are_seen() {
        let commands = [&b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n"[..], b"*2\r\n$3\r\nGET\r\n$2\r\nbc\r\n"];
        let both = commands.concat();
        assert_eq!(keys_in(&both)[..], [&b"a"[..], b"bc"]);
        for cut in 0..both.len() {
            assert_eq!(keys_in(&both[..cut]).len(), usize::from(cut >= commands[0].len()), "{cut}");
        }
        let many = commands[1].repeat(KEYS_AHEAD + 5);
        assert_eq!(keys_in(&many).len(), KEYS_AHEAD);
    }

    #[test]
    fn what_is_unusual_ends_it() {
        let odd = ["PING\r\n", "*1\r\n$4\r\nPING\r\n", "*-1\r\n", "*0\r\n", "*\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nkk\r\n"];
        for odd in odd.into_iter().chain(["*2\r\n$99999999999999999999\r\n", "*99999999999999999\r\n$1\r\na\r\n"]) {
            assert!(keys_in(odd.as_bytes()).is_empty(), "{odd:?}");
        }
    }
}
