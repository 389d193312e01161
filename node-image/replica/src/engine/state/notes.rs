//! Which changes are conflicts: looked at where a delta is joined, after each change, and before its key is settled.

use trireme_proto::ids::Dot;

use super::State;
use super::cells::Handle;
use super::edit::Write;
use super::key::{Collection, Key};
use super::order::score_of;
use super::register::{Register, integer};
use crate::engine::access::Kind;
use crate::engine::conflicts::{Clip, Conflict, Content, Family, Version, Why, why_last};
use crate::engine::delta::Part;

/// All parts, in the order of visibility.
const PARTS: [Part; 5] = [Part::Value, Part::Hash, Part::Set, Part::SortedSet, Part::List];

/// A record as it stands: its dot, its clock (0: it has none), its value (none: a count).
type Found<'a> = (Dot, u64, Option<&'a [u8]>);

pub(crate) fn kind_of(part: Part) -> Kind {
    match part {
        Part::Value => Kind::String,
        Part::Hash => Kind::Hash,
        Part::Set => Kind::Set,
        Part::SortedSet => Kind::SortedSet,
        Part::List => Kind::List,
    }
}

pub(crate) fn family_of(part: Part) -> Family {
    match part {
        Part::Value => Family::String,
        Part::Hash => Family::Hash,
        Part::Set => Family::Set,
        Part::SortedSet => Family::SortedSet,
        Part::List => Family::List,
    }
}

/// The name of an element as a client knows it: one of a list has none.
pub(crate) fn place_of(part: Part, name: &[u8]) -> Option<Clip> {
    (!matches!(part, Part::Value | Part::List)).then(|| Clip::of(name))
}

/// A value as a client knows it.
pub(crate) fn content_of(part: Part, value: &[u8]) -> Content {
    match part {
        Part::SortedSet => Content::Score(score_of(value)),
        _ => Content::Value(Clip::of(value)),
    }
}

fn removal(w: &Write<'_>, won: bool) -> Version {
    Version { dot: w.dot, clock: w.clock, content: Content::Removal, won }
}

impl State {
    /// Whether a change that is joined may meet something that its writer had not seen.
    pub(super) fn watches(&self, w: &Write<'_>) -> bool {
        self.notes.on && w.context.is_some() && !w.covers && !w.known
    }

    fn push_note(&mut self, index: u32, place: Option<Clip>, conflict: (Family, Why, Vec<Version>, usize)) {
        let Some(key) = self.key(index).map(|key| Clip::of(&key.value.name)) else { return };
        let (family, why, versions, more) = conflict;
        self.notes.push(Conflict { key, place, family, why, versions, more });
    }

    /// The register at a place, if it is in general form: a plain record stands alone.
    fn register_of(&self, index: u32, at: (Part, &[u8])) -> Option<&Register> {
        if at.0 == Part::Value {
            return self.key(index).map(|key| &key.value);
        }
        let handle = self.find_element(index, at.0, at.1)?;
        self.cells.register(handle)
    }

    /// The sides of a register: values, of which the winner is shown, and what each origin's count is worth.
    fn sides(&self, slot: u16, index: u32, at: (Part, &[u8]), counted: bool) -> Vec<Version> {
        let Some((register, key)) = self.register_of(index, at).zip(self.key(index)) else { return Vec::new() };
        let winner = register.winner().map(|sibling| sibling.dot);
        let values = register.siblings.iter().map(|s| {
            let content = content_of(at.0, &s.value);
            Version { dot: s.dot, clock: s.clock, content, won: winner == Some(s.dot) }
        });
        let reset = |origin| self.reset(slot, &key.value.name, at.0, at.1, origin);
        let counts = register.counts.iter().filter_map(|c| {
            let worth = c.worth(reset(c.dot.origin))?;
            Some(Version { dot: c.dot, clock: 0, content: Content::Count(worth), won: counted })
        });
        values.chain(counts).collect()
    }

    /// A value was put, or something was counted: whether that stands beside what its writer had not seen.
    pub(super) fn note_written(&mut self, slot: u16, index: u32, at: (Part, &[u8]), w: &Write<'_>) {
        if !self.watches(w) {
            return;
        }
        if let Some(why) = self.why_beside(slot, index, at, w) {
            let mut sides = self.sides(slot, index, at, why == Why::Counted);
            sides.iter_mut().filter(|side| side.dot == w.dot).for_each(|side| side.clock = w.clock);
            self.push_note(index, place_of(at.0, at.1), (family_of(at.0), why, sides, 0));
        }
        self.note_types(index, at.0, w);
    }

    fn why_beside(&self, slot: u16, index: u32, at: (Part, &[u8]), w: &Write<'_>) -> Option<Why> {
        let (register, key) = self.register_of(index, at).zip(self.key(index))?;
        let others = || register.siblings.iter().filter(|s| s.dot != w.dot && !w.takes(s.dot));
        if let Some(own) = register.siblings.iter().find(|s| s.dot == w.dot) {
            if others().any(|other| other.value != own.value) {
                return Some(why_last(register.siblings.iter().map(|s| s.clock).collect()));
            }
            let reset = |origin| self.reset(slot, &key.value.name, at.0, at.1, origin);
            let unseen = |c: &&super::register::Count| !w.takes(c.dot) && c.worth(reset(c.dot.origin)).is_some();
            register.counts.iter().find(unseen)?;
        } else {
            register.counts.iter().find(|c| c.dot == w.dot)?;
            others().next()?;
        }
        let is_number = at.0 == Part::SortedSet || register.winner().is_some_and(|s| integer(&s.value).is_some());
        Some(if is_number { Why::Counted } else { Why::NotANumber })
    }

    /// The key got something of one type: whether it has another one that the writer had not seen.
    fn note_types(&mut self, index: u32, own: Part, w: &Write<'_>) {
        let Some(key) = self.key(index) else { return };
        let has_value = !key.value.is_empty();
        if key.parts.len() + usize::from(has_value) < 2 {
            return;
        }
        let (mut sides, mut unseen) = (Vec::new(), false);
        for part in PARTS {
            let found = if part == own { Some((w.dot, w.clock, None)) } else { self.unseen_in(key, part, w) };
            unseen |= part != own && found.is_some();
            if let Some((dot, clock, _)) = found {
                sides.push(Version { dot, clock, content: Content::Kind(kind_of(part)), won: sides.is_empty() });
            }
        }
        if unseen {
            self.push_note(index, None, (Family::Type, Why::TypeOrder, sides, 0));
        }
    }

    /// Any record of a part of a key that the writer had not seen.
    fn unseen_in<'s>(&'s self, key: &'s Key, part: Part, w: &Write<'_>) -> Option<Found<'s>> {
        if part == Part::Value {
            return newest(&key.value).find(|found| !w.takes(found.0));
        }
        let handles = key.part(part)?.table.iter();
        handles.filter_map(|handle| self.newest_of(handle)).find(|found| !w.takes(found.0))
    }

    fn newest_of(&self, handle: Handle) -> Option<Found<'_>> {
        if let Some(p) = self.cells.plain(handle) {
            return Some((p.dot, p.clock, Some(p.value)));
        }
        let register = self.cells.register(handle)?;
        newest(register).max_by_key(|found| (found.1, found.0))
    }

    /// All of a key was removed, as far as it was seen: what stays is in conflict with that.
    pub(super) fn note_clear(&mut self, slot: u16, key: &[u8], w: &Write<'_>) {
        let Some(handle) = self.find(slot, key) else { return };
        if let Some(p) = self.cells.plain(handle) {
            let stays = Version { dot: p.dot, clock: p.clock, content: content_of(Part::Value, p.value), won: true };
            let (key, versions) = (Clip::of(key), vec![stays, removal(w, false)]);
            let (family, why) = (Family::String, Why::UpdateStays);
            return self.notes.push(Conflict { key, place: None, family, why, versions, more: 0 });
        }
        let Some((index, found)) = handle.as_key().and_then(|index| Some((index, self.key(index)?))) else { return };
        if !found.present {
            let expiries = found.expiry.iter();
            let mut sides: Vec<Version> = expiries.map(|e| expires(e, false)).collect();
            sides.push(removal(w, true));
            return self.push_note(index, None, (Family::Expiry, Why::NothingToExpire, sides, 0));
        }
        let kept: Vec<(Part, Vec<Version>, Option<Clip>, usize)> =
            PARTS.into_iter().filter_map(|part| self.kept_of(slot, index, part)).collect();
        for (part, mut sides, place, more) in kept {
            sides.push(removal(w, false));
            self.push_note(index, place, (family_of(part), Why::UpdateStays, sides, more));
        }
    }

    /// What a part of a key still has: of a collection the newest element.
    fn kept_of(&self, slot: u16, index: u32, part: Part) -> Option<(Part, Vec<Version>, Option<Clip>, usize)> {
        let key = self.key(index)?;
        if part == Part::Value {
            let sides = self.sides(slot, index, (part, &[]), true);
            return (!sides.is_empty()).then_some((part, sides, None, 0));
        }
        let Collection { table, .. } = key.part(part)?;
        let newest = table.iter().filter_map(|handle| Some((self.newest_of(handle)?, handle)));
        let ((dot, clock, value), handle) = newest.max_by_key(|((dot, clock, _), _)| (*clock, *dot))?;
        let content = value.map_or(Content::Count(0), |value| content_of(part, value));
        let name = self.cells.name(handle);
        Some((part, vec![Version { dot, clock, content, won: true }], place_of(part, name), table.len() - 1))
    }

    /// An element was removed, as far as it was seen: whether it stays.
    pub(super) fn note_kept(&mut self, slot: u16, index: u32, at: (Part, &[u8]), w: &Write<'_>) {
        if !self.watches(w) {
            return;
        }
        let Some(handle) = self.find_element(index, at.0, at.1) else { return };
        let mut sides = match self.cells.plain(handle) {
            Some(p) => vec![Version { dot: p.dot, clock: p.clock, content: content_of(at.0, p.value), won: true }],
            None => self.sides(slot, index, at, true),
        };
        if sides.is_empty() {
            return;
        }
        sides.push(removal(w, false));
        self.push_note(index, place_of(at.0, at.1), (family_of(at.0), Why::UpdateStays, sides, 0));
    }

    /// An element was removed that is not there, although all has come that the writer had seen: it was removed here too.
    pub(super) fn note_missing(&mut self, key: &[u8], part: Part, w: &Write<'_>) {
        if part == Part::List && self.watches(w) && w.within && w.in_order {
            let (key, versions) = (Clip::of(key), vec![removal(w, true)]);
            let (family, why) = (Family::List, Why::RemovedTwice);
            self.notes.push(Conflict { key, place: None, family, why, versions, more: 0 });
        }
    }

    /// An expiry was set, or removed as far as it was seen: whether it stands beside, or against, one that the writer had not seen.
    pub(super) fn note_expiry(&mut self, index: u32, w: &Write<'_>) {
        let Some(key) = self.key(index).filter(|_| self.watches(w)) else { return };
        let own = key.expiry.iter().find(|e| e.dot == w.dot);
        let unseen = |e: &&super::key::Expiry| !w.takes(e.dot) && own.is_none_or(|own| own.at_ms != e.at_ms);
        let gone = own.is_some() && w.within && self.is_bare(key);
        if key.expiry.iter().find(unseen).is_none() && !gone {
            return;
        }
        let last = key.expiry.iter().max_by_key(|e| (e.clock, e.dot)).map(|e| e.dot);
        let mut sides: Vec<Version> = key.expiry.iter().map(|e| expires(e, !gone && last == Some(e.dot))).collect();
        let why = match own {
            _ if gone => Why::NothingToExpire,
            Some(_) => why_last(key.expiry.iter().map(|e| e.clock).collect()),
            None => {
                sides.push(removal(w, false));
                Why::UpdateStays
            }
        };
        self.push_note(index, None, (Family::Expiry, why, sides, 0));
    }

    /// Whether a key has nothing but expiries.
    fn is_bare(&self, key: &Key) -> bool {
        key.value.is_empty() && key.parts.iter().all(|(_, collection)| collection.table.is_empty())
    }
}

fn newest(register: &Register) -> impl Iterator<Item = Found<'_>> {
    let values = register.siblings.iter().map(|s| (s.dot, s.clock, Some(&*s.value)));
    values.chain(register.counts.iter().map(|c| (c.dot, 0, None)))
}

fn expires(e: &super::key::Expiry, won: bool) -> Version {
    Version { dot: e.dot, clock: e.clock, content: Content::Expires(e.at_ms), won }
}
