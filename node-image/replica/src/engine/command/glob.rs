//! Glob patterns as Redis matches them: `*`, `?`, `[a-c]`, `[^x]` and `\` before any of them.

/// Whether the whole text matches the pattern.
///
/// Bounded by pattern times text: of several stars only the last one is ever tried again.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            retry = Some((at + 1, read));
            at += 1;
            continue;
        }
        let next = match text.get(read) {
            Some(&byte) => one(&pattern[at..], byte),
            None if at == pattern.len() => return true,
            None => return false,
        };
        match (next, retry) {
            (Some(length), _) => {
                at += length;
                read += 1;
            }
            (None, Some((after_star, from))) => {
                retry = Some((after_star, from + 1));
                at = after_star;
                read = from + 1;
            }
            (None, None) => return false,
        }
    }
}

/// How many bytes of the pattern stand for this one byte; `None` if its beginning does not match it.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => class(pattern, byte),
        b'\\' if pattern.len() >= 2 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// As [`one`], for a pattern that begins with `[`. A class that is not closed ends with the pattern.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern[at.min(pattern.len())..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                at += 2;
            }
            [first, b'-', last, ..] => {
                found |= (first.min(last)..=first.max(last)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= literal == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn as_redis() {
        let yes = [
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbc"),
            ("a*c", "ac"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            ("\\*", "*"),
            ("[\\]]", "]"),
            ("a**b", "ab"),
            ("*a*b*c*", "xxaxbxcx"),
            ("[abc", "c"),
            ("", ""),
            ("[^", "x"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        let no = [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("h[^e]llo", "hello"),
            ("h[a-c]llo", "hdllo"),
            ("a*c", "abb"),
            ("\\*", "a"),
            ("[abc", "d"),
            ("A", "a"),
            ("[", "["),
            ("[]", "]"),
        ];
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "a*".repeat(60) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
    }
}
