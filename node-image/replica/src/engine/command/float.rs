//! Floating point numbers as Redis 7.2 reads and writes them.

/// A number that is not NaN; `None` if it is none or out of range. No spaces before it.
pub fn parse(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    let said_infinite = text.bytes().any(|byte| matches!(byte, b'n' | b'N'));
    // What is no 0 and reads as 0 is too small.
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let underflow = value == 0.0 && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    (!value.is_nan() && (value.is_finite() || said_infinite) && !underflow).then_some(value)
}

/// The bound of a range, which Redis reads less strictly: nothing is 0, what is out of range is infinite or 0.
pub fn parse_bound(text: &[u8]) -> Option<f64> {
    // As a C string: up to its first zero byte, spaces before it left out.
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let spaces = text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
    let value: f64 = std::str::from_utf8(&text[spaces..]).ok()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// The shortest digits that read back as the same number: whole numbers plainly, others with an exponent where that is shorter.
pub fn text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    // Half the range of 64 bits, as Redis has it.
    if value.fract() == 0.0 && value.abs() <= (i64::MAX / 2) as f64 {
        // There is no -0 in a reply.
        return (value as i64).to_string();
    }
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(value.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    let zeros = all.len() - all.trim_end_matches('0').len();
    let exponent = exponent.parse().unwrap_or(0) - fraction.len() as i32 + zeros as i32;
    format!("{}{}", if value < 0.0 { "-" } else { "" }, laid_out(digits, exponent))
}

/// Digits times a power of ten.
fn laid_out(digits: &str, exponent: i32) -> String {
    let count = digits.len() as i32;
    let scientific = exponent + count - 1;
    if exponent >= 0 && scientific.abs() < count + 7 {
        return format!("{digits}{}", "0".repeat(exponent.unsigned_abs() as usize));
    }
    if exponent < 0 && (exponent > -7 || scientific.abs() < 4) {
        let point = count + exponent;
        if point <= 0 {
            return format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize));
        }
        let (whole, fraction) = digits.split_at(point.unsigned_abs() as usize);
        return format!("{whole}.{fraction}");
    }
    let (first, rest) = digits.split_at(digits.len().min(1));
    let point = if rest.is_empty() { "" } else { "." };
    format!("{first}{point}{rest}e{}{}", if scientific < 0 { '-' } else { '+' }, scientific.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_redis_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (3.0, "3"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (3.3, "3.3"),
            (1e18, "1000000000000000000"),
            (1e19, "1e+19"),
            (-1.25e30, "-1.25e+30"),
            (1e-7, "1e-7"),
            (0.000_001, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (123_456.789, "123456.789"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(text(value), expected);
        }
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let value = f64::from_bits(random.u64(..));
            assert!(value.is_nan() || text(value).parse::<f64>() == Ok(value), "{value:e}");
        }
    }

    #[test]
    fn numbers_are_read_as_redis_does() {
        for (read, value) in [("1", 1.0), ("+.5", 0.5), ("5.", 5.0), ("-1e3", -1000.0), ("0e9", 0.0)] {
            assert_eq!(parse(read.as_bytes()), Some(value), "{read}");
        }
        for read in ["inf", "+INF", "Infinity"] {
            assert_eq!(parse(read.as_bytes()), Some(f64::INFINITY), "{read}");
        }
        for read in ["", " 1", "1 ", "nan", "-nan", "1e400", "1e-400", "x", "1x", "--1"] {
            assert_eq!(parse(read.as_bytes()), None, "{read}");
        }
        assert_eq!((parse_bound(b""), parse_bound(b" 1"), parse_bound(b"1 ")), (Some(0.0), Some(1.0), None));
        assert_eq!((parse_bound(b"1e400"), parse_bound(b"nan")), (Some(f64::INFINITY), None));
    }
}
