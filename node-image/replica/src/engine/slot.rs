//! Which slot a key belongs to: Redis Cluster's own function.

/// Number of slots.
pub const SLOTS: usize = 16_384;

/// Bytes that are looked up at once: so many tables, each for a byte with so many behind it (slicing, Kounavis and Berry, 2005).
const STEP: usize = 8;

const TABLES: [[u16; 256]; STEP] = {
    let mut tables = [[0u16; 256]; STEP];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut behind = 0;
        while behind < STEP {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
                bit += 1;
            }
            tables[behind][byte] = crc;
            behind += 1;
        }
        byte += 1;
    }
    tables
};

fn crc16(bytes: &[u8]) -> u16 {
    let mut chunks = bytes.chunks_exact(STEP);
    let mut crc = 0u16;
    for chunk in &mut chunks {
        let [high, low] = crc.to_be_bytes();
        let first = [high ^ chunk[0], low ^ chunk[1]];
        let ahead = TABLES[STEP - 1][usize::from(first[0])] ^ TABLES[STEP - 2][usize::from(first[1])];
        let rest = chunk[2..].iter().zip(TABLES[..STEP - 2].iter().rev());
        crc = rest.fold(ahead, |crc, (byte, table)| crc ^ table[usize::from(*byte)]);
    }
    let last = chunks.remainder().iter();
    last.fold(crc, |crc, byte| crc << 8 ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)])
}

/// A key's hash tag: what stands between its first `{` and the next `}`, if that is not empty.
pub(crate) fn tag_of(key: &[u8]) -> Option<&[u8]> {
    let open = memchr::memchr(b'{', key)?;
    let rest = &key[open + 1..];
    rest.iter().position(|b| *b == b'}').filter(|close| *close > 0).map(|close| &rest[..close])
}

/// The slot of a key: CRC16 of it, or of its hash tag if it has one.
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(tag_of(key).unwrap_or(key)) % SLOTS as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        for (key, slot) in [("123456789", 12739), ("foo", 12182), ("{foo}bar", 12182), ("foo{}{bar}", 8363), ("", 0)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
    }

    #[test]
    fn many_bytes_at_once_are_as_one_after_the_other() {
        let bytes: Vec<u8> = (0..64u32).map(|i| (i * 89 + 7) as u8).collect();
        for end in 0..bytes.len() {
            let slow = bytes[..end].iter().fold(0u16, |mut crc, byte| {
                crc ^= u16::from(*byte) << 8;
                (0..8).for_each(|_| crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 });
                crc
            });
            assert_eq!(crc16(&bytes[..end]), slow, "{end} bytes");
        }
    }
}
