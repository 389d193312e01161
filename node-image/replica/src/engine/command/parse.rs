//! Arguments as numbers and options, as strictly as Redis reads them.

use super::Error;

/// A 64-bit integer in its one canonical form: no sign but `-`, no leading zeros, no spaces.
pub fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits == b"0" {
        return (!negative).then_some(0);
    }
    if digits.is_empty() || digits.len() > 19 || digits[0] == b'0' {
        return None;
    }
    let mut value: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// An integer argument.
///
/// # Errors
/// [`Error::NotInteger`].
pub fn integer_argument(text: &[u8]) -> Result<i64, Error> {
    integer(text).ok_or(Error::NotInteger)
}

/// A count that may not be negative, or the given error.
///
/// # Errors
/// The given one.
pub fn count_argument(text: &[u8], error: Error) -> Result<usize, Error> {
    integer(text).and_then(|value| usize::try_from(value).ok()).ok_or(error)
}

/// Whether an argument is this option, in any case.
pub fn is(argument: &[u8], option: &str) -> bool {
    argument.eq_ignore_ascii_case(option.as_bytes())
}

/// The bytes from `start` to `end`, both included, negative ones counted from the end; empty where Redis finds nothing.
pub fn range(length: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    let signed = i64::try_from(length).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_end = |index: i64| if index < 0 { (signed.saturating_add(index)).max(0) } else { index };
    let (start, end) = (from_end(start), from_end(end).min(signed - 1));
    if length == 0 || start > end {
        return 0..0;
    }
    let at = |index: i64| usize::try_from(index).unwrap_or(0);
    at(start)..at(end) + 1
}

/// The elements from `start` to `end` of a list or sorted set: as [`range`], but an end before the first element leaves nothing.
pub fn elements(length: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    let signed = i64::try_from(length).unwrap_or(i64::MAX);
    if end < 0 && signed.saturating_add(end) < 0 { 0..0 } else { range(length, start, end) }
}

/// A unit of time in arguments and replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// The absolute time, in milliseconds, that a positive time-to-live argument means.
///
/// # Errors
/// [`Error::NotInteger`]; [`Error::ExpireTime`] of this command when it is not positive or too large.
pub fn time_to_live(
    argument: &[u8],
    unit: Unit,
    relative_to: Option<u64>,
    command: &'static str,
) -> Result<u64, Error> {
    let value = integer_argument(argument)?;
    if value <= 0 {
        return Err(Error::ExpireTime(command));
    }
    let milliseconds = match unit {
        Unit::Seconds => value.checked_mul(1000),
        Unit::Milliseconds => Some(value),
    };
    milliseconds
        .and_then(|value| value.checked_add_unsigned(relative_to.unwrap_or(0)))
        .and_then(|value| u64::try_from(value).ok())
        .ok_or(Error::ExpireTime(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_form() {
        let good: [(&[u8], i64); 6] = [
            (b"0", 0),
            (b"-1", -1),
            (b"7", 7),
            (b"9223372036854775807", i64::MAX),
            (b"-9223372036854775808", i64::MIN),
            (b"1000000000000000000", 1_000_000_000_000_000_000),
        ];
        for (text, value) in good {
            assert_eq!(integer(text), Some(value));
        }
        let bad: [&[u8]; 11] = [
            b"",
            b"-",
            b"-0",
            b"+1",
            b"01",
            b" 1",
            b"1 ",
            b"1a",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"99999999999999999999",
        ];
        for text in bad {
            assert_eq!(integer(text), None, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn ranges_are_clamped() {
        assert_eq!(range(5, 0, -1), 0..5);
        assert_eq!(range(5, -3, -1), 2..5);
        assert_eq!(range(5, -100, 100), 0..5);
        assert_eq!(range(5, 3, 1), 0..0);
        assert_eq!(range(5, 5, 9), 0..0);
        assert_eq!(range(0, 0, -1), 0..0);
        assert_eq!(range(5, -1, -3), 0..0);
        assert_eq!(range(5, i64::MIN, i64::MAX), 0..5);
        assert_eq!((range(5, 0, -9), elements(5, 0, -9), elements(5, 0, -5)), (0..1, 0..0, 0..1));
    }
}
