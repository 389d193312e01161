//! Damage on the way.

use trireme_proto::Message;

/// Damages a message of this kind: whether it was one.
pub fn flip(what: &str, message: &mut Message) -> bool {
    match (what, message) {
        ("digest", Message::Digests(digests)) => {
            let written = digests.last_writes.iter().position(|seq| *seq > 0);
            if let Some(written) = written {
                digests.digests[written] ^= 1;
            }
            written.is_some()
        }
        ("entries", Message::Append(append)) if !append.entries.is_empty() => {
            let mut bytes = append.entries.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            append.entries = bytes.into();
            true
        }
        ("slot", Message::SnapshotSlots(slots)) => {
            slots.slots[0].digest ^= 1;
            true
        }
        _ => false,
    }
}
