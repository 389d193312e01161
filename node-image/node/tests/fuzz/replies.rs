//! Whether bytes are replies of RESP2 and RESP3, and how many.

/// How deep replies lie in one another at most.
const DEPTH_MAX: usize = 8;

/// How many replies these bytes are, pushed messages not counted.
///
/// # Errors
/// Where they are anything else: what, and where.
pub fn count(bytes: &[u8]) -> Result<usize, String> {
    let (mut at, mut replies) = (0, 0);
    while at < bytes.len() {
        replies += usize::from(bytes[at] != b'>');
        at = skip(bytes, at, 0)?;
    }
    Ok(replies)
}

/// Where the reply at `at` ends.
fn skip(bytes: &[u8], at: usize, depth: usize) -> Result<usize, String> {
    let wrong = |what: &str| {
        let near = &bytes[at.min(bytes.len())..(at + 60).min(bytes.len())];
        Err(format!("{what} at byte {at}: {}", near.escape_ascii()))
    };
    if depth > DEPTH_MAX {
        return wrong("too deep");
    }
    let Some(line) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") else { return wrong("no line") };
    let (text, after) = (&bytes[at + 1..at + line], at + line + 2);
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    let items = |count: i64, each: i64| {
        let mut end = after;
        for _ in 0..count.saturating_mul(each) {
            if end >= bytes.len() {
                return Err(format!("an aggregate of {count} at byte {at} is cut off"));
            }
            end = skip(bytes, end, depth + 1)?;
        }
        Ok(end)
    };
    match (bytes[at], number) {
        (b'+' | b'-', _) if !text.contains(&b'\n') => Ok(after),
        (b':', Some(_)) => Ok(after),
        (b'_', None) if text.is_empty() => Ok(after),
        (b'#', None) if text == b"t" || text == b"f" => Ok(after),
        (b',', _) if std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok()) => Ok(after),
        (b'$' | b'*', Some(-1)) => Ok(after),
        (b'$' | b'=', Some(length @ 0..)) => {
            let end = after + length as usize;
            if bytes.get(end..end + 2) == Some(b"\r\n") { Ok(end + 2) } else { wrong("a string that does not end") }
        }
        (b'*' | b'~' | b'>', Some(count @ 0..)) => items(count, 1),
        (b'%', Some(count @ 0..)) => items(count, 2),
        _ => wrong("no reply"),
    }
}

#[test]
fn replies_are_told_from_what_is_none() {
    assert_eq!(count(b"+OK\r\n:1\r\n$-1\r\n*2\r\n$1\r\na\r\n*0\r\n%1\r\n+a\r\n,1.5\r\n>1\r\n+x\r\n_\r\n"), Ok(6));
    for bad in
        [&b"OK\r\n"[..], b"+OK", b"$3\r\na\r\n", b"*2\r\n:1\r\n", b":x\r\n", b"*-2\r\n", b"$1\r\nab\r\n", b"#y\r\n"]
    {
        assert!(count(bad).is_err(), "{}", bad.escape_ascii());
    }
}
