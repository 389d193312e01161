//! What a key holds beside what reads show of it: values that lost, types that are hidden, expiries that do not count.

use super::{Access, Kind};
use crate::engine::conflicts::{Clip, Content, Family, Version};
use crate::engine::delta::Part;
use crate::engine::state::notes::{content_of, family_of, kind_of, place_of};
use crate::engine::state::register::{Register, integer};

/// Most of them that are listed.
const LISTED_MAX: usize = 128;

/// A value of this family, at this field or member, that is kept and not shown.
pub type Kept = (Family, Option<Clip>, Version);

impl Access<'_> {
    /// The first of them, and how many more there are.
    pub fn kept(&mut self, key: &[u8]) -> (Vec<Kept>, usize) {
        let shown = self.kind(key);
        let Some(found) = self.find(key).1.and_then(|handle| self.state().key(handle.as_key()?)) else {
            return (Vec::new(), 0);
        };
        let mut kept: Vec<Kept> = Vec::new();
        self.kept_of(key, (Part::Value, &[]), &found.value, shown == Some(Kind::String), &mut kept);
        for (part, collection) in &found.parts {
            let is_shown = shown == Some(kind_of(*part));
            for (_, element) in self.state().by_name(*part, collection) {
                if let Some(p) = self.state().cells.plain(element).filter(|_| !is_shown) {
                    let content = content_of(*part, p.value);
                    let version = Version { dot: p.dot, clock: p.clock, content, won: false };
                    kept.push((family_of(*part), place_of(*part, p.name), version));
                }
                if let Some(register) = self.state().cells.register(element) {
                    self.kept_of(key, (*part, &register.name), register, is_shown, &mut kept);
                }
            }
        }
        let counts = found.expiry.iter().max_by_key(|e| (e.clock, e.dot)).map(|e| e.dot);
        for e in found.expiry.iter().filter(|e| Some(e.dot) != counts || shown.is_none()) {
            let content = Content::Expires(e.at_ms);
            kept.push((Family::Expiry, None, Version { dot: e.dot, clock: e.clock, content, won: false }));
        }
        let more = kept.len().saturating_sub(LISTED_MAX);
        kept.truncate(LISTED_MAX);
        (kept, more)
    }

    fn kept_of(&self, key: &[u8], at: (Part, &[u8]), register: &Register, is_shown: bool, kept: &mut Vec<Kept>) {
        let (part, name) = at;
        let winner = register.winner().filter(|_| is_shown);
        let mut add = |version| kept.push((family_of(part), place_of(part, name), version));
        for s in register.siblings.iter().filter(|s| winner.is_none_or(|winner| winner.dot != s.dot)) {
            add(Version { dot: s.dot, clock: s.clock, content: content_of(part, &s.value), won: false });
        }
        let counted = winner.is_none_or(|w| part == Part::SortedSet || integer(&w.value).is_some());
        if is_shown && counted {
            return;
        }
        let slot = crate::engine::slot_of(key);
        let reset = |origin| self.state().reset(slot, key, part, name, origin);
        for count in &register.counts {
            if let Some(worth) = count.worth(reset(count.dot.origin)) {
                add(Version { dot: count.dot, clock: 0, content: Content::Count(worth), won: false });
            }
        }
    }
}
