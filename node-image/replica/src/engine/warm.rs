//! Looking keys and elements up ahead, several side by side. Where there are more than the processor's caches hold, a search waits for memory several times
//! in a row: for the slot, for its table, for the key, and where that is a collection for its table and for the element. Searches that do not depend on each
//! other wait at the same time. So before some are made one after the other, all take these steps together, with no other effect than that what they will
//! read is near.

use std::hint::black_box;

use smallvec::SmallVec;

use super::state::{hash, key::Key};
use super::{
    Engine,
    delta::{Part, first_place},
    slot::slot_of,
};

/// As many keys are looked up side by side: about as many as a processor can wait for at a time.
pub const TOGETHER: usize = 16;
/// For fewer it is not worth it.
const TOGETHER_MIN: usize = 4;

/// What a command or a change will be about, as far as a glance tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// The field or member, if the key should be a hash, a set or a sorted set.
    pub element: Option<&'a [u8]>,
}

impl<'a> Place<'a> {
    /// What the first change of a delta is about.
    pub(crate) fn of_delta(delta: &'a [u8]) -> Option<Place<'a>> {
        first_place(delta).map(|(key, element)| Place { key, element })
    }
}

/// What will be looked up next.
pub type Places<'a> = SmallVec<[Place<'a>; TOGETHER]>;

/// So many of something at most.
type Few<T> = SmallVec<[T; TOGETHER]>;

impl Engine {
    /// Brings near what searches for these will read.
    pub(crate) fn warm(&self, places: &[Place<'_>]) {
        if places.len() < TOGETHER_MIN {
            return;
        }
        let state = &self.state;
        let slots: Few<(u16, u64)> = places.iter().map(|place| (slot_of(place.key), hash(place.key))).collect();
        near(slots.iter().map(|(slot, _)| state.slot(*slot).table.len()));
        // The first that has the key's tag is nearly always the key's.
        let found = slots.iter().map(|(slot, hashed)| state.slot(*slot).table.find(*hashed, |_| true));
        let tops: Few<_> = found.zip(places).filter_map(|(top, place)| Some((top?, place.element))).collect();
        near(tops.iter().map(|(top, _)| state.cells.glance(*top) as usize));
        let keys: Few<(&Key, _)> = tops.iter().filter_map(|(top, e)| Some((state.key(top.as_key()?)?, *e))).collect();
        if !keys.is_empty() {
            self.warm_general(&keys);
        }
    }

    /// The same of keys in general form, and of an element of each.
    fn warm_general(&self, keys: &[(&Key, Option<&[u8]>)]) {
        near(keys.iter().map(|(key, _)| key.parts.len() + key.value.counts.len() + usize::from(key.present)));
        near(keys.iter().map(|(key, _)| usize::from(key.value.name.first().copied().unwrap_or_default())));
        self.warm_ends(keys);
        let searches = keys.iter().filter_map(|(key, element)| Some((&key.parts.first()?.1.table, hash((*element)?))));
        let searches: Few<_> = searches.collect();
        near(searches.iter().map(|(table, _)| table.len()));
        let elements: Few<_> = searches.iter().filter_map(|(table, hashed)| table.find(*hashed, |_| true)).collect();
        near(elements.iter().map(|element| self.state.cells.glance(*element) as usize));
    }

    /// The same of both ends of lists, and without an element of what stands there: most commands are about an end.
    fn warm_ends(&self, keys: &[(&Key, Option<&[u8]>)]) {
        let lists = keys.iter().filter_map(|(key, element)| match key.parts.first()? {
            (Part::List, collection) => Some((collection.order.ends()?, element.is_none())),
            _ => None,
        });
        let lists: Few<_> = lists.collect();
        let ends = lists.iter().filter(|(_, bare)| *bare).flat_map(|(ends, _)| ends);
        near(ends.map(|end| self.state.cells.glance(end.handle) as usize));
    }
}

/// Reads them all.
fn near(numbers: impl Iterator<Item = usize>) {
    black_box(numbers.fold(0, usize::wrapping_add));
}
