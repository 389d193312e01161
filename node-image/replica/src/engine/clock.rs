//! Hybrid logical clock: 48 bits of milliseconds since 1970, then 16 bits that count within one. Carried by every delta.

/// Most milliseconds by which a message's clock may be ahead of this machine's.
pub const DRIFT_MS_MAX: u64 = 5_000;

/// A clock is too far ahead: merging it would make this replica's writes win for as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a clock is {ahead_ms} ms ahead of this machine's, more than {DRIFT_MS_MAX} ms: check both machines' time")]
pub struct ClockDrift {
    /// How far, in milliseconds.
    pub ahead_ms: u64,
}

/// The next clock after `last` at this wall time: never lower than either, and above `last`.
#[must_use]
pub fn tick(last: u64, now_ms: u64) -> u64 {
    (now_ms << 16).max(last.saturating_add(1))
}

/// Whether a clock that was heard may be merged at this wall time.
///
/// # Errors
/// It is more than [`DRIFT_MS_MAX`] ahead.
pub fn check(heard: u64, now_ms: u64) -> Result<(), ClockDrift> {
    match (heard >> 16).saturating_sub(now_ms) {
        ahead_ms if ahead_ms > DRIFT_MS_MAX => Err(ClockDrift { ahead_ms }),
        _ => Ok(()),
    }
}
