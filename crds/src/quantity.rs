//! Durations as Go writes them (`250ms`, `1m30s`) and sizes as Kubernetes writes them (`64Mi`, `10G`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A time span in whole milliseconds, written as `250ms`, `1s`, `1m30s`, `1.5s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// A size in bytes, written as a Kubernetes quantity: `1073741824`, `64Mi`, `10G`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Why a text is no duration or no size; says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QuantityError(String);

const DURATION_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

const SIZE_UNITS: [(&str, u64); 11] = [
    ("Ei", 1 << 60),
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// Digits, perhaps with a fraction of at most three, times a unit; `None` where it is no number or too large. What is not whole is rounded up.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 3 || number.ends_with('.') {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let value = (format!("{whole}{fraction}").parse::<u128>().ok()?).checked_mul(u128::from(unit))?;
    u64::try_from(value.div_ceil(scale)).ok()
}

impl FromStr for Millis {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Millis, QuantityError> {
        let wrong =
            || QuantityError(format!("'{text}' is no duration; write whole milliseconds as in 250ms, 1s, 1m30s"));
        if text == "0" {
            return Ok(Millis(0));
        }
        let (mut rest, mut sum, mut smallest) = (text, 0u64, u64::MAX);
        while !rest.is_empty() {
            let unit_at = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(unit_at);
            let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, next) = tail.split_at(unit_end);
            let unit = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
            // Each unit once, the largest first, and no fraction of a millisecond.
            if unit >= smallest || (unit == 1 && number.contains('.')) {
                return Err(wrong());
            }
            sum = scaled(number, unit).and_then(|ms| sum.checked_add(ms)).ok_or_else(wrong)?;
            (rest, smallest) = (next, unit);
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Millis(sum)) }
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, unit) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Bytes, QuantityError> {
        let (number, unit) = SIZE_UNITS
            .iter()
            .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number, *unit)))
            .unwrap_or((text, 1));
        let whole = unit > 1 || !number.contains('.');
        scaled(number, unit).filter(|_| whole).map(Bytes).ok_or_else(|| {
            QuantityError(format!("'{text}' is no size; write a Kubernetes quantity as in 64Mi, 10Gi or 500M"))
        })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, unit) in SIZE_UNITS {
            if self.0 > 0 && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, ms) in [
            ("250ms", 250),
            ("1s", 1_000),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("2h", 7_200_000),
            ("0.5h", 1_800_000),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Millis(ms)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "1.2.3s",
            "-1s",
            "1d",
            "1us",
            "0.0001s",
            "1.5ms",
            "1s1m",
            "1s1s",
            "99999999999999999999s",
            "1s ",
        ] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
        for ms in [0, 1, 250, 1_000, 90_000, 90_001, 7_200_000] {
            assert_eq!(Millis(ms).to_string().parse(), Ok(Millis(ms)));
        }
    }

    #[test]
    fn sizes_are_read_and_written_as_kubernetes_does() {
        for (text, bytes) in [("1", 1), ("64Mi", 64 << 20), ("1.5Gi", 3 << 29), ("10G", 10_000_000_000), ("2k", 2_000)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "Mi", "1mb", "-1", "1.0001k5", "1 Gi", "0.3", "99999Ei"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        for bytes in [0, 1, 1_000, 1_024, 64 << 20, 1_500_000] {
            assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
        }
    }
}
