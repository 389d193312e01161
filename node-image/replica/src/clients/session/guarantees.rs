//! What a session promises its client, each by itself.

/// Names, in the order of their bits.
pub(crate) const NAMES: [&str; 5] =
    ["ReadYourWrites", "MonotonicReads", "WritesFollowReads", "MonotonicWrites", "ConsistentPrefix"];

/// A set of them, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guarantees(u32);

impl Guarantees {
    pub(crate) const NONE: Guarantees = Guarantees(0);
    const ALL: u32 = (1 << NAMES.len()) - 1;
    /// A read shows what the connection has written.
    pub(crate) const READ_YOUR_WRITES: Guarantees = Guarantees(1);
    /// A read shows no less than an earlier one.
    pub(crate) const MONOTONIC_READS: Guarantees = Guarantees(2);
    /// A write is executed where everything is that the connection has read.
    pub(crate) const WRITES_FOLLOW_READS: Guarantees = Guarantees(4);
    /// A write is executed where the connection's earlier writes are.
    pub(crate) const MONOTONIC_WRITES: Guarantees = Guarantees(8);
    /// Nothing is shown without what it depends on.
    pub(crate) const CONSISTENT_PREFIX: Guarantees = Guarantees(16);

    /// All but those of these bits.
    pub(crate) fn without(off: u32) -> Guarantees {
        Guarantees(Guarantees::ALL & !off)
    }

    pub(crate) fn has(self, one: Guarantees) -> bool {
        self.0 & one.0 == one.0
    }

    /// By name, in any case.
    pub(crate) fn parse(words: &[&[u8]]) -> Option<Guarantees> {
        words.iter().try_fold(Guarantees::NONE, |all, word| {
            let at = NAMES.iter().position(|name| word.eq_ignore_ascii_case(name.as_bytes()))?;
            Some(Guarantees(all.0 | 1 << at))
        })
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guarantees_are_called_by_their_names() {
        let all = Guarantees::without(0);
        assert_eq!(all.names().count(), NAMES.len());
        let two = Guarantees::parse(&[b"monotonicreads", b"ReadYourWrites"]).unwrap();
        assert_eq!(two.names().collect::<Vec<_>>(), ["ReadYourWrites", "MonotonicReads"]);
        assert!(two.has(Guarantees::MONOTONIC_READS) && !two.has(Guarantees::MONOTONIC_WRITES) && all.has(two));
        assert_eq!(Guarantees::parse(&[b"ReadYourWrites", b"all"]), None);
        assert_eq!(Guarantees::without(2).names().count(), NAMES.len() - 1);
    }
}
