//! The keys of a slot, or the elements of a collection, by hash.
//!
//! There are 16,384 tables, most of them of some ten to some hundred keys: tables that double would have a third of their places to spare. This one grows by
//! one size of the allocator, a fifth or less, and fills what it was given. That it can without looking at a single key: a place has 16 bits of the hash,
//! which say where a key belongs in a table of any size. Where so many keys share a slot that 16 bits tell them apart no more, they are in a hash table of the
//! usual kind.

use hashbrown::{HashTable, hash_table::Entry};

use super::cells::Handle;

/// Keys from which on a table is one of the usual kind, and below which it is no more.
const MANY: usize = 8 << 10;
const FEW: usize = 2 << 10;
/// Of so many places at most one less is taken.
const PART: usize = 8;
/// The smallest size that is asked of the allocator, in bytes.
const BYTES_MIN: usize = 64;

/// Keys of a slot, or elements of a collection.
pub(crate) struct Table(Kind);

enum Kind {
    Few(Few),
    Many(Box<HashTable<Hashed>>),
}

/// A key with half of its hash, so that a table grows without a look at its keys.
#[derive(Clone, Copy)]
struct Hashed {
    half: [u8; 4],
    handle: Handle,
}

impl Hashed {
    fn new(hashed: u64, handle: Handle) -> Hashed {
        Hashed { half: half_of(hashed).to_le_bytes(), handle }
    }

    fn spread(&self) -> u64 {
        spread(u32::from_le_bytes(self.half))
    }
}

fn half_of(hashed: u64) -> u32 {
    (hashed >> 32) as u32
}

/// Half of a hash as a whole one.
fn spread(half: u32) -> u64 {
    u64::from(half) << 32 | u64::from(half)
}

/// A place: of a tag that is 0 it is free.
#[derive(Clone, Copy)]
struct Place {
    tag: [u8; 2],
    handle: Handle,
}

const FREE: Place = Place { tag: [0; 2], handle: Handle::NONE };

/// Each key stands where its tag says or after that, and there is no free place between.
#[derive(Default)]
struct Few {
    places: Box<[Place]>,
    len: usize,
}

impl Default for Table {
    fn default() -> Table {
        Table(Kind::Few(Few::default()))
    }
}

fn tag_of(hashed: u64) -> [u8; 2] {
    (((hashed >> 48) as u16).max(1)).to_le_bytes()
}

/// Places for so many keys: as many as fit the size that an allocator has for them (four from each power of two to the next).
fn places_for(len: usize) -> usize {
    let bytes = (len * PART).div_ceil(PART - 1) * size_of::<Place>();
    let step = (bytes.saturating_sub(1).max(BYTES_MIN).ilog2()).saturating_sub(2);
    bytes.max(BYTES_MIN).next_multiple_of(1 << step) / size_of::<Place>()
}

impl Few {
    fn with_room(len: usize) -> Few {
        Few { places: vec![FREE; places_for(len)].into_boxed_slice(), len: 0 }
    }

    fn home(&self, tag: [u8; 2]) -> usize {
        (usize::from(u16::from_le_bytes(tag)) * self.places.len()) >> 16
    }

    /// Where a key with this tag is, and if there is none, where it would be.
    fn find(&self, tag: [u8; 2], is: impl Fn(Handle) -> bool) -> Result<usize, usize> {
        let home = self.home(tag);
        for at in (home..self.places.len()).chain(0..home) {
            match self.places[at] {
                Place { tag: [0, 0], .. } => return Err(at),
                place if place.tag == tag && is(place.handle) => return Ok(at),
                _ => {}
            }
        }
        Err(0)
    }

    fn insert(&mut self, tag: [u8; 2], handle: Handle) {
        if (self.len + 1) * PART > self.places.len() * (PART - 1) {
            self.resize(self.len + 1);
        }
        if let Err(at) = self.find(tag, |_| false) {
            self.places[at] = Place { tag, handle };
            self.len += 1;
        }
    }

    fn resize(&mut self, len: usize) {
        let old = std::mem::replace(self, Few::with_room(len));
        for place in old.places.iter().filter(|place| place.tag != FREE.tag) {
            self.insert(place.tag, place.handle);
        }
    }

    /// Frees a place, and moves what belongs before those behind it.
    fn remove(&mut self, at: usize) {
        let count = self.places.len();
        let from_to = |from: usize, to: usize| if to >= from { to - from } else { to + count - from };
        let mut hole = at;
        for at in (at + 1..count).chain(0..at) {
            let place = self.places[at];
            if place.tag == FREE.tag {
                break;
            }
            if from_to(self.home(place.tag), at) >= from_to(hole, at) {
                self.places[hole] = place;
                hole = at;
            }
        }
        self.places[hole] = FREE;
        self.len -= 1;
        if self.len == 0 {
            self.places = Box::default();
        } else if self.places.len() > places_for(2 * self.len) {
            self.resize(self.len + self.len / PART);
        }
    }
}

impl Table {
    /// Keys in it.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Kind::Few(few) => few.len,
            Kind::Many(many) => many.len(),
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Handle> {
        let (few, many) = match &self.0 {
            Kind::Few(few) => (&few.places[..], None),
            Kind::Many(many) => (&[][..], Some(many.iter().map(|hashed| hashed.handle))),
        };
        let few = few.iter().filter(|place| place.tag != FREE.tag).map(|place| place.handle);
        few.chain(many.into_iter().flatten())
    }

    /// Places for keys, taken or not.
    pub(crate) fn places(&self) -> usize {
        match &self.0 {
            Kind::Few(few) => few.places.len(),
            Kind::Many(many) => many.num_buckets(),
        }
    }

    /// What stands in a place.
    pub(crate) fn place(&self, at: usize) -> Option<Handle> {
        match &self.0 {
            Kind::Few(few) => few.places.get(at).filter(|place| place.tag != FREE.tag).map(|place| place.handle),
            Kind::Many(many) => many.get_bucket(at).map(|hashed| hashed.handle),
        }
    }

    /// The one with this hash that is wanted.
    pub(crate) fn find(&self, hashed: u64, is: impl Fn(Handle) -> bool) -> Option<Handle> {
        match &self.0 {
            Kind::Few(few) => few.find(tag_of(hashed), is).ok().map(|at| few.places[at].handle),
            Kind::Many(many) => {
                let half = Hashed::new(hashed, Handle::NONE);
                let found = many.find(half.spread(), |other| other.half == half.half && is(other.handle));
                found.map(|found| found.handle)
            }
        }
    }

    /// Puts one in the place of another; both have this hash, and either may be none. `hash_of` is that of any.
    pub(crate) fn swap(
        &mut self,
        hashed: u64,
        old: Option<Handle>,
        new: Option<Handle>,
        hash_of: impl Fn(Handle) -> u64,
    ) {
        match &mut self.0 {
            Kind::Few(few) => {
                let found = old.and_then(|old| few.find(tag_of(hashed), |handle| handle == old).ok());
                match (found, new) {
                    (Some(at), Some(new)) => few.places[at].handle = new,
                    (Some(at), None) => few.remove(at),
                    (None, Some(new)) => few.insert(tag_of(hashed), new),
                    (None, None) => {}
                }
            }
            Kind::Many(many) => swap_of_many(many, hashed, old, new),
        }
        self.settle(hash_of);
    }

    /// Takes on the kind that is right for so many.
    fn settle(&mut self, hash_of: impl Fn(Handle) -> u64) {
        match &self.0 {
            Kind::Few(few) if few.len > MANY => {
                let mut many = HashTable::with_capacity(few.len + 1);
                for hashed in self.iter().map(|handle| Hashed::new(hash_of(handle), handle)) {
                    many.insert_unique(hashed.spread(), hashed, Hashed::spread);
                }
                self.0 = Kind::Many(Box::new(many));
            }
            Kind::Many(many) if many.len() < FEW => {
                let mut few = Few::with_room(many.len());
                many.iter().for_each(|hashed| few.insert(tag_of(hashed.spread()), hashed.handle));
                self.0 = Kind::Few(few);
            }
            _ => {}
        }
    }
}

fn swap_of_many(many: &mut HashTable<Hashed>, hashed: u64, old: Option<Handle>, new: Option<Handle>) {
    let new = new.map(|new| Hashed::new(hashed, new));
    let hashed = spread(half_of(hashed));
    let entry = old.map(|old| many.entry(hashed, |other| other.handle == old, Hashed::spread));
    match (entry, new) {
        (Some(Entry::Occupied(mut entry)), Some(new)) => *entry.get_mut() = new,
        (Some(Entry::Occupied(entry)), None) => drop(entry.remove()),
        (Some(Entry::Vacant(entry)), Some(new)) => drop(entry.insert(new)),
        (None, Some(new)) => drop(many.insert_unique(hashed, new, Hashed::spread)),
        (Some(Entry::Vacant(_)) | None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::command::random::Random;

    /// Hashes of which many begin alike.
    fn hashed(number: u32) -> u64 {
        let mixed = Random::new(number.into()).next();
        if number.is_multiple_of(3) { mixed >> 16 | 7 << 48 } else { mixed }
    }

    fn hash_of(handle: Handle) -> u64 {
        hashed(handle.as_key().map_or(0, |number| number / 2))
    }

    /// Numbers come, go, and are replaced, up to so many at once; then all go.
    fn plays(most: usize, steps: usize) {
        let (mut table, mut model, mut random) = (Table::default(), BTreeMap::new(), Random::new(most as u64));
        for step in 0..2 * steps {
            let number = random.below(most) as u32;
            let old = model.get(&number).copied();
            // In the second half what goes does not come again.
            let goes = if step < steps { random.below(3) == 0 } else { random.below(10) > 0 };
            let new = (!goes).then(|| Handle::key(2 * number + random.below(2) as u32));
            table.swap(hashed(number), old, new, hash_of);
            match new {
                Some(new) => model.insert(number, new),
                None => model.remove(&number),
            };
            assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
            if step % (steps / 20) == 0 {
                let mut all: Vec<u32> = table.iter().filter_map(Handle::as_key).collect();
                all.sort_unstable();
                assert_eq!(all, model.values().filter_map(|handle| handle.as_key()).collect::<Vec<u32>>());
                let by_place = (0..table.places()).filter_map(|at| table.place(at)).count();
                assert_eq!(by_place, model.len());
                for number in 0..most as u32 {
                    let found = table.find(hashed(number), |handle| handle.as_key().map(|n| n / 2) == Some(number));
                    assert_eq!(found, model.get(&number).copied(), "{number} of {most}");
                }
            }
        }
        for (number, handle) in model {
            table.swap(hashed(number), Some(handle), None, hash_of);
        }
        assert_eq!((table.len(), table.iter().count()), (0, 0));
    }

    #[test]
    fn it_finds_what_is_there_and_nothing_else() {
        plays(12, 4_000);
        plays(300, 20_000);
    }

    #[test]
    fn so_it_does_where_many_share_a_slot() {
        plays(3 * MANY, 120_000);
    }

    #[test]
    fn it_takes_little_more_than_its_keys_and_gives_back_what_it_does_not_need() {
        let mut table = Table::default();
        let mut most = 0.0f64;
        for number in 0..4_000u32 {
            table.swap(hashed(number), None, Some(Handle::key(2 * number)), hash_of);
            if number > 50 {
                most = most.max(table.places() as f64 / f64::from(number + 1));
            }
        }
        assert!(most < 1.5, "{most} places for each");
        for number in 0..3_990u32 {
            table.swap(hashed(number), Some(Handle::key(2 * number)), None, hash_of);
        }
        assert!(table.places() <= 40, "{} places for 10", table.places());
    }
}
