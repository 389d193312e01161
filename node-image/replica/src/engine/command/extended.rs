//! Numbers of INCRBYFLOAT: 64-bit mantissas, as the x86 `long double` that Redis counts with, in software, so that
//! every machine gets the same digits.

use std::cmp::Ordering;

/// Bits of a mantissa.
const BITS: i64 = 64;
/// A number whose highest bit has this weight or more is infinite.
const OVERFLOW: i64 = 16_384;
/// A number without a bit of this weight or more is too small to be one.
const UNDERFLOW: i64 = -16_445;
/// A decimal exponent beyond this is out of range, whatever the digits.
const LARGEST_EXPONENT: i64 = 5_000;
/// The longest text of a number, in bytes.
const LONGEST: usize = 5 * 1024;
/// Digits after the point that are shown.
const SHOWN: usize = 17;

/// A number: `mantissa * 2^exponent`, the mantissa's highest bit set unless it is 0; or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    negative: bool,
    mantissa: u64,
    exponent: i64,
}

impl Extended {
    /// Nothing.
    pub const ZERO: Self = Self { negative: false, mantissa: 0, exponent: 0 };

    /// Reads a decimal number, with a point and an exponent where wanted, or `inf`. `None` if it is none or out of
    /// range.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= LONGEST {
            return None;
        }
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
            return Some(Self { negative, mantissa: 1 << 63, exponent: OVERFLOW });
        }
        let (digits, exponent) = decimal(text)?;
        let mut numerator = Big::default();
        digits.iter().for_each(|digit| numerator.multiply_add(10, u32::from(digit - b'0')));
        if numerator.is_zero() {
            return Some(Self { negative, ..Self::ZERO });
        }
        let mut denominator = Big::default();
        denominator.multiply_add(1, 1);
        let scaled = if exponent < 0 { &mut denominator } else { &mut numerator };
        (0..exponent.unsigned_abs()).for_each(|_| scaled.multiply_add(10, 0));
        let value = Self { negative, ..quotient(numerator, denominator) };
        (value.is_finite() && value.exponent + BITS > UNDERFLOW).then_some(value)
    }

    fn is_finite(self) -> bool {
        self.mantissa == 0 || self.exponent + BITS <= OVERFLOW
    }

    /// The sum, rounded to the nearest.
    pub fn add(self, other: Self) -> Self {
        if !self.is_finite() || other.mantissa == 0 {
            return self;
        }
        if !other.is_finite() || self.mantissa == 0 {
            return other;
        }
        let larger_first = (self.exponent, self.mantissa) >= (other.exponent, other.mantissa);
        let (large, small) = if larger_first { (self, other) } else { (other, self) };
        let wide = u128::from(large.mantissa) << 63;
        let shift = u32::try_from(large.exponent - small.exponent).unwrap_or(u32::MAX);
        let exact = u128::from(small.mantissa) << 63;
        let shifted = exact.checked_shr(shift).unwrap_or(0);
        // What is shifted out only matters by not being nothing.
        let lost = shifted.checked_shl(shift).unwrap_or(0) != exact;
        let aligned = shifted | u128::from(lost);
        let sum = if large.negative == small.negative { wide + aligned } else { wide - aligned };
        if sum == 0 {
            return Self::ZERO;
        }
        let zeros = sum.leading_zeros();
        let top = sum << zeros;
        let exponent = large.exponent + 1 - i64::from(zeros);
        let half = (top as u64).cmp(&(1 << 63));
        Self { negative: large.negative, ..rounded((top >> 64) as u64, exponent, half) }
    }

    /// The number with up to 17 digits after the point and no zeros at its end; `None` if it is infinite.
    pub fn text(self) -> Option<Vec<u8>> {
        if !self.is_finite() {
            return None;
        }
        let (whole, fraction) = if self.exponent >= 0 {
            (Big::shifted(self.mantissa, self.exponent).digits(), String::new())
        } else {
            let scaled = u128::from(self.mantissa) * 10u128.pow(SHOWN as u32);
            let scaled = shifted_to_nearest(scaled, self.exponent.unsigned_abs());
            let unit = 10u128.pow(SHOWN as u32);
            let fraction = format!("{:0width$}", scaled % unit, width = SHOWN);
            ((scaled / unit).to_string(), fraction.trim_end_matches('0').to_owned())
        };
        let point = if fraction.is_empty() { "" } else { "." };
        let text = format!("{whole}{point}{fraction}");
        let sign = if self.negative && text != "0" { "-" } else { "" };
        Some(format!("{sign}{text}").into_bytes())
    }
}

/// All digits of a decimal number as one, without leading zeros, and the power of ten to multiply it with.
fn decimal(text: &[u8]) -> Option<(Vec<u8>, i64)> {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], signed(&text[at + 1..])?),
        None => (text, 0),
    };
    let mut digits = Vec::with_capacity(mantissa.len());
    let (mut after_point, mut seen_point, mut any) = (0i64, false, false);
    for &byte in mantissa {
        match byte {
            b'.' if !seen_point => seen_point = true,
            b'0'..=b'9' => {
                any = true;
                after_point += i64::from(seen_point);
                if byte != b'0' || !digits.is_empty() {
                    digits.push(byte);
                }
            }
            _ => return None,
        }
    }
    let exponent = exponent - after_point;
    let magnitude = exponent + i64::try_from(digits.len()).ok()?;
    let in_range = digits.is_empty() || magnitude.abs() <= LARGEST_EXPONENT;
    (any && in_range).then_some((digits, if any && in_range { exponent } else { 0 }))
}

/// An exponent: a small integer with a sign of either kind.
fn signed(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0i64, |size, digit| (size * 10 + i64::from(digit - b'0')).min(100_000));
    Some(if negative { -size } else { size })
}

/// A quotient of two numbers that are not 0, rounded to the nearest.
fn quotient(mut numerator: Big, mut denominator: Big) -> Extended {
    let mut exponent = numerator.bits() - denominator.bits();
    let scaled = if exponent < 0 { &mut numerator } else { &mut denominator };
    scaled.shift_left(exponent.unsigned_abs());
    if numerator.compare(&denominator) == Ordering::Less {
        numerator.shift_left(1);
        exponent -= 1;
    }
    let mut mantissa = 0u64;
    for _ in 0..BITS {
        let fits = numerator.compare(&denominator) != Ordering::Less;
        if fits {
            numerator.subtract(&denominator);
        }
        mantissa = mantissa << 1 | u64::from(fits);
        numerator.shift_left(1);
    }
    rounded(mantissa, exponent - (BITS - 1), numerator.compare(&denominator))
}

/// Rounds to the nearest, to the even one where both are as near. `half` is how what was cut off compares with half
/// of the last bit.
fn rounded(mantissa: u64, exponent: i64, half: Ordering) -> Extended {
    let up = half == Ordering::Greater || half == Ordering::Equal && mantissa & 1 == 1;
    match mantissa.checked_add(u64::from(up)) {
        Some(mantissa) => Extended { negative: false, mantissa, exponent },
        None => Extended { negative: false, mantissa: 1 << 63, exponent: exponent + 1 },
    }
}

/// `value / 2^shift`, rounded to the nearest, to the even one where both are as near.
fn shifted_to_nearest(value: u128, shift: u64) -> u128 {
    let Some(shift) = u32::try_from(shift).ok().filter(|&shift| shift < 128) else { return 0 };
    let (kept, lost) = (value >> shift, value & ((1 << shift) - 1));
    let half = 1u128 << (shift - 1);
    kept + u128::from(lost > half || lost == half && kept & 1 == 1)
}

/// A large whole number: its digits to the base 2^32, the lowest first, no zeros at the end.
#[derive(Clone, Debug, Default)]
struct Big(Vec<u32>);

impl Big {
    fn shifted(value: u64, shift: i64) -> Self {
        let mut big = Self(vec![value as u32, (value >> 32) as u32]);
        big.trim();
        big.shift_left(shift.unsigned_abs());
        big
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn bits(&self) -> i64 {
        let last = self.0.last().map_or(0, |last| 32 - i64::from(last.leading_zeros()));
        last + 32 * (self.0.len() as i64 - 1).max(0)
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for digit in &mut self.0 {
            carry += u64::from(*digit) * u64::from(factor);
            *digit = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, bits: u64) {
        if self.is_zero() {
            return;
        }
        self.multiply_add(1 << (bits % 32), 0);
        let whole = usize::try_from(bits / 32).unwrap_or(0);
        self.0.splice(0..0, std::iter::repeat_n(0, whole));
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Subtracts a number that is not larger.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = 0;
        for (at, digit) in self.0.iter_mut().enumerate() {
            let taken = u64::from(other.0.get(at).copied().unwrap_or(0)) + borrow;
            borrow = u64::from(u64::from(*digit) < taken);
            *digit = (u64::from(*digit) + (borrow << 32) - taken) as u32;
        }
        self.trim();
    }

    fn digits(mut self) -> String {
        const GROUP: u64 = 1_000_000_000;
        let mut groups = Vec::new();
        while !self.is_zero() {
            let mut rest = 0;
            for digit in self.0.iter_mut().rev() {
                let value = rest << 32 | u64::from(*digit);
                *digit = (value / GROUP) as u32;
                rest = value % GROUP;
            }
            self.trim();
            groups.push(rest);
        }
        let first = groups.pop().unwrap_or(0).to_string();
        groups.iter().rev().fold(first, |text, group| text + &format!("{group:09}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Extended;

    fn sum(left: &str, right: &str) -> Option<String> {
        let parse = |text: &str| Extended::parse(text.as_bytes());
        parse(left)?.add(parse(right)?).text().map(|text| String::from_utf8(text).expect("digits"))
    }

    /// The expected digits are those of Redis 7.0 on x86-64.
    #[test]
    fn sums_have_the_digits_of_redis() {
        for (left, right, expected) in [
            ("10.50", "0.1", "10.6"),
            ("0.1", "0.2", "0.3"),
            ("5.0e3", "2.0e2", "5200"),
            ("3000.1", "0", "3000.10000000000000009"),
            ("1", "-1", "0"),
            ("0", "-0.0000000000000000001", "0"),
            ("1e20", "0.5", "100000000000000000000"),
            ("1e18", "0.25", "1000000000000000000.25"),
            ("123456789.123456789", "0.000000001", "123456789.12345678999554366"),
            ("1e50", "0", "100000000000000000003583830118858923890798487404544"),
            ("-.5", "+.25", "-0.25"),
            ("1e-400", "0", "0"),
            ("5.", "0", "5"),
        ] {
            assert_eq!(sum(left, right).as_deref(), Some(expected), "{left} + {right}");
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in
            ["", "-", ".", "e5", "1e", "1 ", " 1", "0x10", "nan", "1e99999", "1e5000", "1e-5000", "1.2.3", "--1"]
        {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn infinity_has_no_text() {
        assert_eq!(sum("inf", "1"), None);
        assert_eq!(sum("1e4932", "1e4932"), None);
    }
}
