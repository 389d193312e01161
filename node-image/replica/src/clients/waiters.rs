//! Commands that wait until one of their keys has something: who, for which keys, until when.
//!
//! A leader has here the requests of all clients, its own included, that have found nothing. Where nobody leads a coordinator has its own clients. Who
//! writes something says into which slots; whoever waits for a key there is tried again, in the order in which they began to wait.
//!
//! Bounds: [`WAITERS_MAX`] and [`BYTES_MAX`]; beyond them a command that would wait is refused.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use trireme_proto::{Incarnation, ReplicaId, message::Request};

use super::client::bytes_of;
use crate::{
    engine::{Kind, slot_of},
    io::ClientId,
};

/// Commands that wait at once.
const WAITERS_MAX: usize = 100_000;
/// Memory of their arguments and keys, in bytes.
const BYTES_MAX: usize = 64 << 20;
/// What a waiter and one of its keys cost besides their bytes.
const WAITER_BYTES: usize = 256;
const KEY_BYTES: usize = 128;

/// Who is refused when there are too many.
pub(crate) const TOO_MANY: &str = "TRYAGAIN too many clients wait for keys: nothing was done";

/// Whose command waits.
#[derive(Debug)]
pub(crate) enum Who {
    /// That of a client of this replica, which is tried again where it stands among its client's commands.
    Client(ClientId),
    /// A request, which is answered when it has found something.
    Request { from: ReplicaId, incarnation: Incarnation, request: Request },
}

impl Who {
    /// A connection has one command that waits.
    fn owner(&self) -> Owner {
        match self {
            Who::Client(id) => (0, *id),
            Who::Request { incarnation, request, .. } => (*incarnation, request.connection),
        }
    }
}

/// Incarnation of the forwarder and its connection; a client of this replica has 0 and its number.
pub(crate) type Owner = (Incarnation, u64);

/// A command that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) who: Who,
    pub(crate) keys: Vec<Bytes>,
    /// What the keys have to hold.
    pub(crate) kind: Kind,
    /// When it has waited long enough.
    pub(crate) until_us: u64,
}

impl Waiter {
    fn bytes(&self) -> usize {
        let request = match &self.who {
            Who::Request { request, .. } => bytes_of(&request.commands),
            Who::Client(_) => 0,
        };
        WAITER_BYTES + request + self.keys.iter().map(|key| key.len() + KEY_BYTES).sum::<usize>()
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = Awaited> {
        let sorted = self.kind == Kind::SortedSet;
        self.keys.iter().map(move |key| Awaited { slot: slot_of(key), sorted, key: key.clone() })
    }
}

/// A key that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Awaited {
    slot: u16,
    /// A sorted set; else a list.
    pub(crate) sorted: bool,
    pub(crate) key: Bytes,
}

/// All that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// Number of the last one: they rise in the order in which they began.
    last: u64,
    map: BTreeMap<u64, Waiter>,
    by_owner: BTreeMap<Owner, u64>,
    by_key: BTreeMap<Awaited, BTreeSet<u64>>,
    by_deadline: BTreeSet<(u64, u64)>,
    bytes: usize,
    /// Slots that somebody waits in and that were written to since this was last looked at.
    touched: BTreeSet<u16>,
    /// Those whose requests were answered by an entry that did not come from here.
    answered: Vec<Owner>,
}

impl Waiters {
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether another one of these bytes has room.
    fn has_room(&self, bytes: usize) -> bool {
        self.map.len() < WAITERS_MAX && self.bytes + bytes <= BYTES_MAX
    }

    /// One more, which gets a number; none where there are too many.
    pub(crate) fn add(&mut self, waiter: Waiter) -> Option<u64> {
        if !self.has_room(waiter.bytes()) {
            return None;
        }
        if let Some(old) = self.by_owner.get(&waiter.who.owner()).copied() {
            self.remove(old);
        }
        self.last += 1;
        let number = self.last;
        self.bytes += waiter.bytes();
        self.by_owner.insert(waiter.who.owner(), number);
        self.by_deadline.insert((waiter.until_us, number));
        for place in waiter.places() {
            self.by_key.entry(place).or_default().insert(number);
        }
        self.map.insert(number, waiter);
        Some(number)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Waiter> {
        self.map.get(&number)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Waiter> {
        let waiter = self.map.remove(&number)?;
        self.bytes -= waiter.bytes();
        self.by_owner.remove(&waiter.who.owner());
        self.by_deadline.remove(&(waiter.until_us, number));
        for place in waiter.places() {
            if let Some(numbers) = self.by_key.get_mut(&place) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_key.remove(&place);
                }
            }
        }
        Some(waiter)
    }

    /// The one of a connection.
    pub(crate) fn of(&self, owner: Owner) -> Option<u64> {
        self.by_owner.get(&owner).copied()
    }

    /// Forgets the one of a connection. Others may have something in its place.
    pub(crate) fn forget(&mut self, owner: Owner) {
        if let Some(waiter) = self.of(owner).and_then(|number| self.remove(number)) {
            waiter.keys.iter().for_each(|key| self.touch(slot_of(key)));
        }
    }

    /// Forgets the requests that came from a replica: it asks them again.
    pub(crate) fn forget_forwarder(&mut self, replica: ReplicaId) {
        let is_its = |waiter: &Waiter| matches!(&waiter.who, Who::Request { from, .. } if *from == replica);
        self.numbers_of(is_its).into_iter().for_each(|number| drop(self.remove(number)));
    }

    /// Those of which something is so, in the order in which they began.
    pub(crate) fn numbers_of(&self, is_so: impl Fn(&Waiter) -> bool) -> Vec<u64> {
        self.map.iter().filter(|(_, waiter)| is_so(waiter)).map(|(number, _)| *number).collect()
    }

    /// Forgets all: nobody is answered from here any more. Numbers are not used again.
    pub(crate) fn forget_all(&mut self) {
        *self = Waiters { last: self.last, ..Waiters::default() };
    }

    /// Something was written into a slot.
    pub(crate) fn touch(&mut self, slot: u16) {
        let first = Awaited { slot, sorted: false, key: Bytes::new() };
        if self.by_key.range(first..).next().is_some_and(|(awaited, _)| awaited.slot == slot) {
            self.touched.insert(slot);
        }
    }

    pub(crate) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Keys that somebody waits for, in slots that were written to since the last call.
    pub(crate) fn take_touched(&mut self) -> Vec<Awaited> {
        let mut keys = Vec::new();
        for slot in std::mem::take(&mut self.touched) {
            let first = Awaited { slot, sorted: false, key: Bytes::new() };
            let there = self.by_key.range(first..).map(|(awaited, _)| awaited);
            keys.extend(there.take_while(|awaited| awaited.slot == slot).cloned());
        }
        keys
    }

    /// Who has waited for a key for longest.
    pub(crate) fn first(&self, key: &Awaited) -> Option<u64> {
        self.by_key.get(key)?.first().copied()
    }

    /// So many who have waited for a key for longest, in order.
    pub(crate) fn firsts(&self, key: &Awaited, count: usize) -> Vec<u64> {
        self.by_key.get(key).into_iter().flatten().take(count).copied().collect()
    }

    /// An entry answers a request: if that still waits here, its forwarder wants to know.
    pub(crate) fn note_answered(&mut self, owner: Owner) {
        if self.by_owner.contains_key(&owner) {
            self.answered.push(owner);
        }
    }

    pub(crate) fn take_answered(&mut self) -> Vec<Owner> {
        std::mem::take(&mut self.answered)
    }

    /// Who has waited long enough, first.
    pub(crate) fn due(&self, now_us: u64) -> Option<u64> {
        self.by_deadline.first().filter(|(until_us, _)| *until_us <= now_us).map(|(_, number)| *number)
    }

    pub(crate) fn next_deadline_us(&self) -> Option<u64> {
        self.by_deadline.first().map(|(until_us, _)| *until_us).filter(|until_us| *until_us < u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(client: ClientId, keys: &[&'static str], until_us: u64) -> Waiter {
        let keys = keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect();
        Waiter { who: Who::Client(client), keys, kind: Kind::List, until_us }
    }

    fn firsts(waiters: &mut Waiters, key: &str) -> Vec<u64> {
        waiters.touch(slot_of(key.as_bytes()));
        waiters.take_touched().iter().flat_map(|key| waiters.firsts(key, 9)).collect()
    }

    #[test]
    fn who_waits_is_found_by_key_by_time_and_by_owner() {
        let mut waiters = Waiters::default();
        for (client, keys, until_us) in [(7, &["a", "b", "a"][..], 30), (8, &["b"], 10), (9, &["c"], u64::MAX)] {
            waiters.add(waiter(client, keys, until_us)).unwrap();
        }
        assert_eq!(firsts(&mut waiters, "b"), [1, 2]);
        assert_eq!(firsts(&mut waiters, "nobody"), [0; 0]);
        assert_eq!((waiters.due(9), waiters.due(10), waiters.next_deadline_us()), (None, Some(2), Some(10)));
        waiters.remove(2);
        assert_eq!((firsts(&mut waiters, "b"), waiters.next_deadline_us()), (vec![1], Some(30)));
        waiters.forget((0, 7));
        assert!(firsts(&mut waiters, "a").is_empty());
        assert_eq!(
            (waiters.next_deadline_us(), waiters.of((0, 9))),
            (None, Some(3)),
            "who waits for ever is never due"
        );
        // A connection has one.
        waiters.add(waiter(9, &["d"], 1)).unwrap();
        assert!(firsts(&mut waiters, "c").is_empty());
        waiters.forget((0, 9));
        assert_eq!((waiters.bytes, waiters.by_key.len(), waiters.by_deadline.len()), (0, 0, 0));
    }

    #[test]
    fn there_are_only_so_many() {
        let mut waiters = Waiters::default();
        for client in 0..WAITERS_MAX as u64 {
            waiters.add(waiter(client, &["a"], client)).unwrap();
        }
        assert!(waiters.add(waiter(u64::MAX, &["a"], 0)).is_none());
        waiters.forget_all();
        let long: &'static str = Box::leak("x".repeat(BYTES_MAX / 2).into_boxed_str());
        assert_eq!(waiters.add(waiter(1, &[long], 0)).unwrap(), WAITERS_MAX as u64 + 1);
        assert!(waiters.add(waiter(2, &[long], 0)).is_none());
    }
}
