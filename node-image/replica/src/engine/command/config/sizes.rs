//! Numbers of bytes, and limits that are made of them.

/// Bounds of replies that a client has not taken; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// A client with more is cut at once, in bytes.
    pub hard: u64,
    /// One that has had more for as long as `soft_s` is cut, too, in bytes.
    pub soft: u64,
    /// See there, in seconds.
    pub soft_s: u64,
}

/// The limits of classes of clients, in lower case.
pub(super) fn output_limits(text: &str) -> Result<Vec<(&'static str, OutputLimit)>, String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let read = |words: &[&str]| {
        let class = match words[0] {
            "normal" => "normal",
            "slave" | "replica" => "slave",
            "pubsub" => "pubsub",
            _ => return Err("Invalid client class specified in buffer limit configuration."),
        };
        let limit = bytes(words[1])
            .zip(bytes(words[2]))
            .zip(words[3].parse().ok())
            .map(|((hard, soft), soft_s)| OutputLimit { hard, soft, soft_s });
        let wrong = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
        Ok((class, limit.ok_or(wrong)?))
    };
    words.chunks_exact(4).map(read).collect::<Result<_, _>>().map_err(str::to_owned)
}

/// A number of bytes with a unit, in lower case.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
