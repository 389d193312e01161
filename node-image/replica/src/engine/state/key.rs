//! The general form of a key: anything but one plain string.

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

impl Target {
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

/// What deletion leaves behind of a key until certain deltas have arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// What of this key is reflected here although it may not have been received: it came by the key's joined state.
    pub(crate) seen: ReceivedSet,
    pub(crate) pending: Vec<(Target, ReceivedSet)>,
    pub(crate) resets: Vec<Reset>,
}

impl Side {
    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.pending.is_empty() && self.resets.is_empty()
    }

    pub(crate) fn reset(&self, part: Part, name: &[u8], origin: Origin) -> Option<(u64, i64)> {
        let found = self.resets.iter().find(|r| r.part == part && *r.name == *name && r.origin == origin);
        found.map(|r| (r.seq, r.total))
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
        let same = |r: &&mut Reset| r.part == new.part && r.name == new.name && r.origin == new.origin;
        let Some(old) = self.resets.iter_mut().find(same) else {
            self.resets.push(new);
            return;
        };
        (old.seq, old.total) = (old.seq, old.total).max((new.seq, new.total));
        for dot in new.dots {
            if let Err(at) = old.dots.binary_search(&dot) {
                old.dots.insert(at, dot);
            }
        }
    }
}
