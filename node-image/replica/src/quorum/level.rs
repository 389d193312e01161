//! Consistency levels: how many copies a write waits for, and how many states a read joins, where nobody leads.
//!
//! A level is a quorum for writes (w) and one for reads (r). Each stands for itself in each configuration in force, so it means the same while n changes.
//! How many that are, and whether they are there, is counted in `feeds::count`.

use trireme_proto::ReplicaId;

/// Which members are enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Quorum {
    /// As many as the store's own w or r says.
    #[default]
    Store,
    /// So many.
    Count(u32),
    /// A majority of all.
    Majority,
    /// All.
    All,
    /// A majority of those in this replica's region.
    Local,
    /// A majority of those in every region.
    Each,
}

/// What a quorum is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Writes,
    Reads,
}

/// A level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Level {
    pub(crate) w: Quorum,
    pub(crate) r: Quorum,
    /// This member is among those that a read asks.
    pub(crate) with: Option<ReplicaId>,
}

/// Levels that have a name.
const NAMED: [(&str, Quorum); 8] = [
    ("DEFAULT", Quorum::Store),
    ("ONE", Quorum::Count(1)),
    ("TWO", Quorum::Count(2)),
    ("THREE", Quorum::Count(3)),
    ("QUORUM", Quorum::Majority),
    ("ALL", Quorum::All),
    ("LOCAL_QUORUM", Quorum::Local),
    ("EACH_QUORUM", Quorum::Each),
];

impl Quorum {
    /// Its name, or its number.
    pub(crate) fn name(self) -> String {
        let named = NAMED.iter().find(|(_, quorum)| *quorum == self).map(|(name, _)| (*name).to_owned());
        match self {
            Quorum::Count(count) => named.unwrap_or_else(|| count.to_string()),
            _ => named.unwrap_or_default(),
        }
    }
}

impl Level {
    /// A name, or `w=2` and `r=2`, either of which may be left out; in any case. None: it is no level.
    pub(crate) fn parse(words: &[&[u8]]) -> Option<Level> {
        if let [name] = words
            && let Some((_, quorum)) = NAMED.iter().find(|(named, _)| name.eq_ignore_ascii_case(named.as_bytes()))
        {
            return Some(Level { w: *quorum, r: *quorum, with: None });
        }
        let (mut w, mut r) = (None, None);
        for word in words {
            let (letter, number) = std::str::from_utf8(word).ok()?.split_once('=')?;
            let quorum = match number {
                _ if number.eq_ignore_ascii_case("default") => Quorum::Store,
                _ => Quorum::Count(number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))?),
            };
            let side = match letter {
                "w" | "W" => &mut w,
                "r" | "R" => &mut r,
                _ => return None,
            };
            if side.replace(quorum).is_some() {
                return None;
            }
        }
        (!words.is_empty()).then_some(Level { w: w.unwrap_or_default(), r: r.unwrap_or_default(), with: None })
    }

    /// How it is called: what [`Level::parse`] takes.
    pub(crate) fn name(self) -> String {
        if self.w == self.r {
            let name = self.w.name();
            return if name.bytes().all(|byte| byte.is_ascii_digit()) { format!("w={name} r={name}") } else { name };
        }
        let number = |quorum: Quorum| match quorum {
            Quorum::Count(count) => count.to_string(),
            other => other.name().to_ascii_lowercase(),
        };
        format!("w={} r={}", number(self.w), number(self.r))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Level> {
        let words: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
        Level::parse(&words)
    }

    #[test]
    fn what_is_a_level_and_how_it_is_called() {
        for (text, name) in [
            ("one", "ONE"),
            ("Local_Quorum", "LOCAL_QUORUM"),
            ("default", "DEFAULT"),
            ("w=2 r=2", "TWO"),
            ("w=7 r=7", "w=7 r=7"),
            ("r=3", "w=default r=3"),
            ("W=1 R=3", "w=1 r=3"),
            ("w=default r=3", "w=default r=3"),
        ] {
            let level = parsed(text).unwrap();
            assert_eq!(level.name(), name);
            assert_eq!(parsed(&level.name()), Some(level), "what it is called is what it is parsed from");
        }
        for text in ["", "four", "one two", "w=", "w=x", "w=+1", "w=-1", "w=1 w=2", "q=1", "w=1 one", "w=99999999999"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
