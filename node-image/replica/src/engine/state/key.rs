//! The general form of a key: anything but one plain string.

use std::collections::BTreeMap;

use trireme_proto::ids::{Dot, Origin};

use super::order::Order;
use super::register::Register;
use super::table::Table;
use crate::engine::delta::Part;
use crate::engine::vector::ReceivedSet;

/// One of several expiries that are there at once; the last by (clock, origin) counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    pub(crate) dot: Dot,
    pub(crate) clock: u64,
    pub(crate) at_ms: u64,
}

/// A hash, set, sorted set or list: its elements by name. An element is a plain cell, or a register if it must.
#[derive(Default)]
pub(crate) struct Collection {
    pub(crate) table: Table,
    /// Of a sorted set or list: the visible ones in order.
    pub(crate) order: Order,
}

/// What a key holds in its general form. Several parts are there at once only after concurrent creation with different types.
#[derive(Default)]
pub(crate) struct Key {
    /// The string and counter part; its name is the key's.
    pub(crate) value: Register,
    pub(crate) expiry: Vec<Expiry>,
    pub(crate) parts: Vec<(Part, Collection)>,
    /// XOR of all its records.
    pub(crate) digest: u64,
    /// Another number after every change.
    pub(crate) version: u64,
    /// Elements per part that are kept but count for nothing (a counter that is cancelled whole).
    pub(crate) hidden: [u32; 5],
    /// When it was last used: a stamp.
    pub(crate) used: u32,
    /// What its elements take in memory, in words of 8 bytes.
    pub(crate) words: u32,
    /// A client can see something of it, expiry aside.
    pub(crate) present: bool,
}

impl Key {
    pub(crate) fn part(&self, part: Part) -> Option<&Collection> {
        self.parts.iter().find(|(p, _)| *p == part).map(|(_, c)| c)
    }

    pub(crate) fn part_mut(&mut self, part: Part) -> &mut Collection {
        let at = self.parts.iter().position(|(p, _)| *p == part).unwrap_or_else(|| {
            self.parts.push((part, Collection::default()));
            self.parts.len() - 1
        });
        &mut self.parts[at].1
    }

    pub(crate) fn visible_in(&self, part: Part) -> usize {
        self.part(part).map_or(0, |c| c.table.len() - self.hidden[part as usize] as usize)
    }

    pub(crate) fn expires_at(&self) -> Option<u64> {
        self.expiry.iter().max_by_key(|e| (e.clock, e.dot)).map(|e| e.at_ms)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.value.is_empty() && self.expiry.is_empty() && self.parts.iter().all(|(_, c)| c.table.is_empty())
    }
}

/// What a removal that is waiting removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Key { keep_expiry: bool },
    Element(Part, Box<[u8]>),
    Count(Part, Box<[u8]>, Origin),
    Expiry,
}

/// Where a record stands within its key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'a> {
    Value(Part, &'a [u8]),
    Count(Part, &'a [u8]),
    Expiry,
}

impl Path<'_> {
    /// The value's name.
    fn name(&self) -> &[u8] {
        match self {
            Path::Value(_, name) | Path::Count(_, name) => name,
            Path::Expiry => &[],
        }
    }
}

impl Target {
    /// The value's name; of what is of the whole key the key's own.
    pub(crate) fn name(&self) -> &[u8] {
        match self {
            Target::Element(_, name) | Target::Count(_, name, _) => name,
            Target::Key { .. } | Target::Expiry => &[],
        }
    }

    /// Whether the removal takes a record with this dot at this path, if its context has it.
    pub(crate) fn takes(&self, path: Path<'_>, dot: Dot) -> bool {
        match (self, path) {
            (Target::Key { keep_expiry }, Path::Expiry) => !keep_expiry,
            (Target::Key { .. }, _) | (Target::Expiry, Path::Expiry) => true,
            (Target::Element(part, name), Path::Value(p, n) | Path::Count(p, n)) => *part == p && **name == *n,
            (Target::Count(part, name, origin), Path::Count(p, n)) => {
                *part == p && **name == *n && *origin == dot.origin
            }
            _ => false,
        }
    }
}

/// A reset of a counter: for one origin, the last (sequence, total) that is cancelled, and the deltas that said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reset {
    pub(crate) part: Part,
    pub(crate) name: Box<[u8]>,
    pub(crate) origin: Origin,
    pub(crate) seq: u64,
    pub(crate) total: i64,
    pub(crate) dots: Vec<Dot>,
}

/// What deletion leaves behind of one value: the key's own, with what is of the whole key, or an element's of any part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leftovers {
    /// One for each target.
    pub(crate) pending: Vec<(Target, ReceivedSet)>,
    /// By (part, origin), one for each.
    pub(crate) resets: Vec<Reset>,
}

impl Leftovers {
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.resets.is_empty()
    }

    fn place(&self, part: Part, origin: Origin) -> Result<usize, usize> {
        self.resets.binary_search_by_key(&(part, origin), |r| {
            work::count(|| 1);
            (r.part, r.origin)
        })
    }

    /// Adds a removal that is waiting: of one target there is one, so what waits is bounded by what there is to remove.
    pub(crate) fn add_pending(&mut self, target: Target, context: ReceivedSet) {
        match self.pending.iter_mut().find(|(t, _)| *t == target) {
            Some((_, all)) => all.merge(&context),
            None => self.pending.push((target, context)),
        }
    }

    /// Adds a reset: the later one counts, and all deltas that said one are remembered.
    pub(crate) fn add_reset(&mut self, new: Reset) {
        let old = match self.place(new.part, new.origin) {
            Ok(place) => &mut self.resets[place],
            Err(place) => return self.resets.insert(place, new),
        };
        (old.seq, old.total) = (old.seq, old.total).max((new.seq, new.total));
        for dot in new.dots {
            if let Err(at) = old.dots.binary_search(&dot) {
                old.dots.insert(at, dot);
            }
        }
    }
}

/// What deletion leaves behind of a key until certain deltas have arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// What of this key is reflected here although it may not have been received: it came by the key's joined state.
    pub(crate) seen: ReceivedSet,
    /// By the values' names, the key's own having none. There may be as many as a hash has fields; none is empty.
    pub(crate) values: BTreeMap<Box<[u8]>, Leftovers>,
}

impl Side {
    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.values.is_empty()
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = &(Target, ReceivedSet)> {
        self.values.values().flat_map(|left| &left.pending)
    }

    pub(crate) fn resets(&self) -> impl Iterator<Item = &Reset> {
        self.values.values().flat_map(|left| &left.resets)
    }

    pub(crate) fn reset(&self, part: Part, name: &[u8], origin: Origin) -> Option<(u64, i64)> {
        let left = self.values.get(name)?;
        left.place(part, origin).ok().map(|place| (left.resets[place].seq, left.resets[place].total))
    }

    /// Whether a removal that is waiting takes a record.
    pub(crate) fn removes(&self, path: Path<'_>, dot: Dot) -> bool {
        let of = |name: &[u8]| {
            let pending = self.values.get(name).map_or(&[][..], |left| &left.pending);
            pending.iter().any(|(target, context)| target.takes(path, dot) && context.contains(dot))
        };
        of(&[]) || (!path.name().is_empty() && of(path.name()))
    }

    fn value(&mut self, name: &[u8]) -> &mut Leftovers {
        self.values.entry(name.into()).or_default()
    }

    /// See [`Leftovers::add_pending`].
    pub(crate) fn add_pending(&mut self, target: Target, context: ReceivedSet) {
        self.value(target.name()).add_pending(target, context);
    }

    /// See [`Leftovers::add_reset`].
    pub(crate) fn add_reset(&mut self, new: Reset) {
        self.value(&new.name).add_reset(new);
    }

    /// How much there is: as much is done where all of it is copied.
    pub(crate) fn len(&self) -> usize {
        self.values.values().map(|left| left.pending.len() + left.resets.len()).sum()
    }
}

/// How many leftovers were looked at or copied: for tests.
pub(crate) mod work {
    #[cfg(test)]
    thread_local! {
        static DONE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// So many more; nobody else counts them.
    pub(crate) fn count(_more: impl FnOnce() -> usize) {
        #[cfg(test)]
        DONE.set(DONE.get() + _more() as u64);
    }

    /// How many there were since the last call.
    #[cfg(test)]
    pub(crate) fn take() -> u64 {
        DONE.take()
    }
}
