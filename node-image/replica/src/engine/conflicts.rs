//! Conflicts: what was joined beside, or against, something that its writer had not seen, and that had not seen it.
//!
//! Joining notes them in a sink (`Notes`) that the replica empties after each unit of work; where there is nothing unseen, it looks at nothing more than
//! it did. Bounded in number and, as everything in a note is clipped, in bytes: what there is no room for is counted.
//!
//! No conflict: the same bytes written twice, members added on several sides, increments on several sides, different fields of one hash.
//!
//! **A removal is noted where it comes to what is there.** Where the key was removed first and the update comes later there is nothing left to compare it
//! with, since nothing is kept of what was removed: it is noted where the update was made, at the latest.

use trireme_proto::ids::Dot;

use super::access::Kind;

/// Most notes that wait until they are taken.
const NOTES_MAX: usize = 128;
/// Bytes that are kept of a key, of a field or member, and of a value.
const CLIP_BYTES: usize = 128;
/// Most values of one note.
const VERSIONS_MAX: usize = 8;

/// What was in conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Values of a string, or its counter part.
    String,
    /// Values of one field.
    Hash,
    /// A member that was added and removed.
    Set,
    /// Scores of one member.
    SortedSet,
    /// One element of a list.
    List,
    /// When a key expires.
    Expiry,
    /// The types of a key.
    Type,
}

impl Family {
    /// All of them, in the order of [`Family::index`].
    pub const ALL: [Family; 7] =
        [Family::String, Family::Hash, Family::Set, Family::SortedSet, Family::List, Family::Expiry, Family::Type];

    /// Its name, for people: that of the type where it is one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::String => "string",
            Family::Hash => "hash",
            Family::Set => "set",
            Family::SortedSet => "zset",
            Family::List => "list",
            Family::Expiry => "expiry",
            Family::Type => "type",
        }
    }

    /// Its place in [`Family::ALL`], and in counts by family.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Why it ended as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The last write by clock is shown.
    LaterClock,
    /// Clocks are the same: the larger origin is shown.
    LargerOrigin,
    /// What a removal had not seen stays.
    UpdateStays,
    /// The key was removed, and an expiry alone keeps nothing.
    NothingToExpire,
    /// One type is shown, by a fixed order of types; the others are kept.
    TypeOrder,
    /// What was counted on one side counts on top of what was set on the other.
    Counted,
    /// The same, but what was set is no number: what was counted is kept, and not shown.
    NotANumber,
    /// It was removed on several sides.
    RemovedTwice,
}

impl Why {
    /// In plain words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Why::LaterClock => "later clock",
            Why::LargerOrigin => "same clock, larger origin",
            Why::UpdateStays => "an update beats a concurrent removal",
            Why::NothingToExpire => "a removal beats a concurrent expiry, which alone keeps nothing",
            Why::TypeOrder => {
                "two types on one key: the first of string, hash, set, zset, list is shown, the other is kept"
            }
            Why::Counted => "increments count on top of a concurrent value",
            Why::NotANumber => "increments beside a concurrent value that is no number are kept, and not shown",
            Why::RemovedTwice => "removed on several sides: if by pops, several clients got the same element",
        }
    }
}

/// Bytes of a client, of which the first are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// The first of them.
    pub bytes: Box<[u8]>,
    /// How many there were.
    pub length: usize,
}

impl Clip {
    pub(crate) fn of(bytes: &[u8]) -> Clip {
        Clip { bytes: bytes[..bytes.len().min(CLIP_BYTES)].into(), length: bytes.len() }
    }
}

/// What somebody wrote.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A value; of a set nothing.
    Value(Clip),
    /// A score.
    Score(f64),
    /// What one origin has counted.
    Count(i64),
    /// When the key expires, in milliseconds since 1970.
    Expires(u64),
    /// A type.
    Kind(Kind),
    /// A removal.
    Removal,
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// The delta that wrote it.
    pub dot: Dot,
    /// Its hybrid logical clock; 0 where it is not known: counts have none.
    pub clock: u64,
    /// What it wrote.
    pub content: Content,
    /// It is what is shown.
    pub won: bool,
}

/// One conflict.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// Where.
    pub key: Clip,
    /// Which field or member of it, if it is about one.
    pub place: Option<Clip>,
    /// What.
    pub family: Family,
    /// Why it ended so.
    pub why: Why,
    /// The sides, what is shown first, then the newest.
    pub versions: Vec<Version>,
    /// How many more of the same there were: sides, or elements that stay.
    pub more: usize,
}

impl Conflict {
    /// Whether this group is the one that tells of it where all groups could: the one whose write is shown, or of what a removal undid the one that wrote it. It
    /// holds what the conflict is about, so it notes it whatever the others have come across. Of an element that was removed twice nobody knows who did
    /// it first: the group with the lower number than the one that did it last, which where a third one has the lowest is two.
    #[must_use]
    pub fn is_told_by(&self, group: u32) -> bool {
        let mut versions = self.versions.iter();
        let told_by = match self.why {
            Why::RemovedTwice => return versions.next().is_some_and(|side| group < side.dot.origin.group),
            Why::NothingToExpire => versions.find(|side| matches!(side.content, Content::Expires(_))),
            // Who counted knows no clock of it, others do: the order of the sides is not the same everywhere.
            Why::Counted | Why::NotANumber => versions.find(|side| !matches!(side.content, Content::Count(_))),
            _ => versions.next(),
        };
        told_by.is_some_and(|side| side.dot.origin.group == group)
    }

    /// Whether it goes on where another one was: at the same place, with one side the same.
    #[must_use]
    pub fn follows(&self, other: &Conflict) -> bool {
        let same = (&self.key, &self.place, self.family) == (&other.key, &other.place, other.family);
        same && self.versions.iter().any(|side| other.versions.iter().any(|known| known.dot == side.dot))
    }
}

/// Conflicts that were noted and not taken yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Noted {
    /// The first ones.
    pub conflicts: Vec<Conflict>,
    /// How many there were of each family, those left out included.
    pub counts: [u64; Family::ALL.len()],
}

impl Noted {
    /// There were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts == [0; Family::ALL.len()]
    }
}

/// The sink.
#[derive(Default)]
pub(crate) struct Notes {
    /// Conflicts are noted: somebody takes them.
    pub(crate) on: bool,
    noted: Noted,
}

impl Notes {
    pub(crate) fn take(&mut self) -> Noted {
        std::mem::take(&mut self.noted)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.noted.conflicts.is_empty()
    }

    /// Notes one, with its sides in any order.
    pub(crate) fn push(&mut self, mut conflict: Conflict) {
        conflict.versions.sort_by_key(|side| std::cmp::Reverse((side.won, side.clock, side.dot)));
        conflict.more += conflict.versions.len().saturating_sub(VERSIONS_MAX);
        conflict.versions.truncate(VERSIONS_MAX);
        // Two changes of one delta at the same place are one conflict.
        if let Some(last) = self.noted.conflicts.last_mut().filter(|last| conflict.follows(last)) {
            *last = conflict;
            return;
        }
        self.noted.counts[conflict.family.index()] += 1;
        if self.noted.conflicts.len() < NOTES_MAX {
            self.noted.conflicts.push(conflict);
        }
    }
}

/// Of several that are there at once: why the last write by (clock, origin) is the one that is shown.
pub(crate) fn why_last(mut clocks: Vec<u64>) -> Why {
    clocks.sort_unstable();
    match clocks.as_slice() {
        [.., a, b] if a == b => Why::LargerOrigin,
        _ => Why::LaterClock,
    }
}
