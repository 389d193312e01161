//! A glance at the commands that follow in what was read: which keys and elements they name.

use trireme_replica::{PLACES_AHEAD, Place, Places};

/// What whole commands that `bytes` begin with are about, in their order, up to the first that is written in an unusual way: the second word is nearly always
/// the key, and of commands on elements the third the element, or in a sorted set the fourth. Whether that is right is for the parser to say.
pub(crate) fn places_in(mut bytes: &[u8]) -> Places<'_> {
    let mut places = Places::new();
    while places.len() < PLACES_AHEAD
        && let Some((place, rest)) = next(bytes)
    {
        places.push(place);
        bytes = rest;
    }
    places
}

/// What the next command is about, and what follows the command.
fn next(bytes: &[u8]) -> Option<(Place<'_>, &[u8])> {
    let (count, mut rest) = number(bytes, b'*')?;
    let mut words: [&[u8]; 4] = [&[]; 4];
    for at in 0..count {
        let (length, word) = number(rest, b'$')?;
        let (word, behind) = word.split_at_checked(length)?;
        if let Some(noted) = words.get_mut(at) {
            *noted = word;
        }
        rest = behind.strip_prefix(b"\r\n")?;
    }
    let [name, key, third, fourth] = words;
    let element = match name.first()? {
        b'z' | b'Z' if count > 3 => Some(fourth),
        b'z' | b'Z' | b'h' | b'H' | b's' | b'S' if count > 2 => Some(third),
        _ => None,
    };
    (count > 1).then_some((Place { key, element }, rest))
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

    fn keys_in(bytes: &[u8]) -> Vec<&[u8]> {
        places_in(bytes).iter().map(|place| place.key).collect()
    }

    #[test]
    fn keys_of_whole_commands_are_seen() {
        let commands = [&b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n"[..], b"*2\r\n$3\r\nGET\r\n$2\r\nbc\r\n"];
        let both = commands.concat();
        assert_eq!(keys_in(&both), [&b"a"[..], b"bc"]);
        for cut in 0..both.len() {
            assert_eq!(keys_in(&both[..cut]).len(), usize::from(cut >= commands[0].len()), "{cut}");
        }
        let many = commands[1].repeat(PLACES_AHEAD + 5);
        assert_eq!(keys_in(&many).len(), PLACES_AHEAD);
    }

    #[test]
    fn elements_are_seen_where_commands_have_them() {
        let element = |words: &[&str]| {
            let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
            let command = format!("*{}\r\n{}", words.len(), words.collect::<String>());
            places_in(command.as_bytes())[0].element.map(|name| String::from_utf8_lossy(name).into_owned())
        };
        assert_eq!(element(&["HSET", "key", "field", "value"]).as_deref(), Some("field"));
        assert_eq!(element(&["sadd", "key", "member"]).as_deref(), Some("member"));
        assert_eq!(element(&["ZADD", "key", "1", "member"]).as_deref(), Some("member"));
        assert_eq!(element(&["zscore", "key", "member"]).as_deref(), Some("member"));
        assert_eq!([element(&["LPUSH", "key", "value"]), element(&["HLEN", "key"])], [None, None]);
    }

    #[test]
    fn what_is_unusual_ends_it() {
        let odd = ["PING\r\n", "*1\r\n$4\r\nPING\r\n", "*-1\r\n", "*0\r\n", "*\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nkk\r\n"];
        for odd in odd.into_iter().chain(["*2\r\n$99999999999999999999\r\n", "*99999999999999999\r\n$1\r\na\r\n"]) {
            assert!(keys_in(odd.as_bytes()).is_empty(), "{odd:?}");
        }
    }
}
