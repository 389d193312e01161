//! Which keys go where memory is bounded: those that were not used for longest, or those that expire next.
//!
//! Both are removals like any other, in a delta of this origin, so that everybody else removes the same. For the first, as in Redis, nobody keeps all keys in
//! the order of their use: a hand goes round all keys, a few at each removal, and the best of what it has seen wait in a small pool. What was used since does
//! not count any more.

use super::events::Classes;
use super::state::State;
use super::state::cells::{Handle, ms_between};
use super::state::hash;
use super::{Access, At, Effect, Engine, SLOTS};

/// Candidates that wait.
const POOL: usize = 16;
/// Empty places, and empty slots, that the hand passes in one look at most: more than once round a store with hardly a key.
const STEPS_MAX: usize = 2 * SLOTS;
/// Names in one delta, in bytes: it stops behind the one that exceeds this.
const NAMES_BYTES_MAX: usize = 1 << 20;

/// Which keys go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Of all keys those that were not used for longest, by sample.
    LeastRecentlyUsed,
    /// Of those that expire the next ones.
    NextToExpire,
}

/// How much is to go.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Which keys go first.
    pub order: Order,
    /// Bytes that are to become free.
    pub bytes: u64,
    /// Keys that may go.
    pub keys_max: usize,
    /// Keys that are looked at for each that goes.
    pub samples: usize,
}

/// A key that may be the next to go. Whether it is still that one is seen by when it was used: if its place is another key's by now, that one is as old.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    slot: u16,
    handle: Handle,
    used: u32,
}

/// Where the hand is, and what it has found.
#[derive(Debug, Default)]
pub(super) struct Eviction {
    slot: usize,
    place: usize,
    /// The one that goes next is the last.
    pool: Vec<Candidate>,
}

impl Eviction {
    /// The next key to go, in a state where it was not used since it was found.
    fn next(&mut self, state: &State, samples: usize) -> Option<Handle> {
        // What was used since, or is gone, would keep others out.
        self.pool.retain(|c| stands(state, c) && state.used(c.handle) == c.used);
        self.look(state, samples);
        self.pool.pop().map(|candidate| candidate.handle)
    }

    /// The hand goes on over as many keys.
    fn look(&mut self, state: &State, samples: usize) {
        let mut left = samples;
        for _ in 0..STEPS_MAX {
            let table = &state.slots[self.slot].table;
            if self.place >= table.places() || table.is_empty() {
                (self.slot, self.place) = ((self.slot + 1) % SLOTS, 0);
                continue;
            }
            let found = table.place(self.place);
            self.place += 1;
            let Some(handle) = found.filter(|handle| state.is_present(*handle)) else { continue };
            self.offer(state, Candidate { slot: self.slot as u16, handle, used: state.used(handle) });
            left -= 1;
            if left == 0 {
                return;
            }
        }
    }

    /// Takes a candidate into the pool, if it is older than one there or there is room.
    fn offer(&mut self, state: &State, new: Candidate) {
        let age = |c: &Candidate| ms_between(c.used, state.now);
        if self.pool.iter().any(|c| (c.slot, c.handle) == (new.slot, new.handle) && c.used == new.used) {
            return;
        }
        let at = self.pool.partition_point(|c| age(c) < age(&new));
        if self.pool.len() < POOL {
            self.pool.insert(at, new);
        } else if at > 0 {
            self.pool[..at].rotate_left(1);
            self.pool[at - 1] = new;
        }
    }
}

fn stands(state: &State, candidate: &Candidate) -> bool {
    let hashed = hash(state.name(candidate.handle));
    state.slot(candidate.slot).table.find(hashed, |handle| handle == candidate.handle).is_some()
}

impl Engine {
    /// Removes keys, as one delta of this origin, until as many bytes are free as are wanted, or as many keys as may have gone, or there is none that may.
    /// Says how many have gone.
    pub fn evict(&mut self, at: &At, delta: &mut Vec<u8>, wanted: &Wanted) -> (usize, Effect) {
        let mut eviction = std::mem::take(&mut self.eviction);
        let done = self.execute(at, delta, |access| evict(access, &mut eviction, wanted));
        self.eviction = eviction;
        done
    }
}

fn evict(access: &mut Access<'_>, eviction: &mut Eviction, wanted: &Wanted) -> usize {
    let target = access.state().live.saturating_sub(wanted.bytes);
    let (mut keys, mut names_bytes) = (0, 0);
    while access.state().live > target && keys < wanted.keys_max && names_bytes < NAMES_BYTES_MAX {
        let state = access.state();
        let name = match wanted.order {
            Order::LeastRecentlyUsed => {
                eviction.next(state, wanted.samples.max(1)).map(|handle| state.name(handle).to_vec())
            }
            Order::NextToExpire => state.expiries.first().map(|(_, name)| name.to_vec()),
        };
        let Some(name) = name else { break };
        access.tell(Classes::EVICTED, "evicted", &name);
        access.clear(&name);
        names_bytes += name.len();
        keys += 1;
    }
    keys
}
