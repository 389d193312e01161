//! Who listens to what on this replica.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::{engine::command::glob, io::ClientId};

/// Names that one client may listen to, of each kind.
pub(crate) const NAMES_MAX: usize = 1 << 20;

/// What a name that is listened to is. The number is the place in [`Subscriptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Channel = 0,
    Pattern = 1,
    Shard = 2,
}

/// See the module. Nothing empty is kept.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    channels: HashMap<Bytes, BTreeSet<ClientId>, FixedState>,
    shards: HashMap<Bytes, BTreeSet<ClientId>, FixedState>,
    patterns: BTreeMap<Bytes, BTreeSet<ClientId>>,
    of_clients: HashMap<ClientId, [BTreeSet<Bytes>; 3], FixedState>,
}

impl Subscriptions {
    /// A client listens to this name; says whether it may listen to as many.
    pub(crate) fn add(&mut self, client: ClientId, kind: Kind, name: &[u8]) -> bool {
        let own = &mut self.of_clients.entry(client).or_default()[kind as usize];
        if own.contains(name) {
            return true;
        }
        if own.len() >= NAMES_MAX {
            return false;
        }
        let name = Bytes::copy_from_slice(name);
        own.insert(name.clone());
        let listeners = match kind {
            Kind::Channel => self.channels.entry(name).or_default(),
            Kind::Shard => self.shards.entry(name).or_default(),
            Kind::Pattern => self.patterns.entry(name).or_default(),
        };
        listeners.insert(client);
        true
    }

    /// A client listens to this name no longer.
    pub(crate) fn remove(&mut self, client: ClientId, kind: Kind, name: &[u8]) {
        let Some(own) = self.of_clients.get_mut(&client) else { return };
        if !own[kind as usize].remove(name) {
            return;
        }
        if own.iter().all(BTreeSet::is_empty) {
            self.of_clients.remove(&client);
        }
        let listeners = match kind {
            Kind::Channel => self.channels.get_mut(name),
            Kind::Shard => self.shards.get_mut(name),
            Kind::Pattern => self.patterns.get_mut(name),
        };
        let Some(listeners) = listeners else { return };
        listeners.remove(&client);
        if listeners.is_empty() {
            match kind {
                Kind::Channel => drop(self.channels.remove(name)),
                Kind::Shard => drop(self.shards.remove(name)),
                Kind::Pattern => drop(self.patterns.remove(name)),
            }
        }
    }

    /// A client listens to nothing any more.
    pub(crate) fn remove_all(&mut self, client: ClientId) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            self.names_of(client, kind).iter().for_each(|name| self.remove(client, kind, name));
        }
        self.of_clients.remove(&client);
    }

    /// What a client listens to, in order.
    pub(crate) fn names_of(&self, client: ClientId, kind: Kind) -> Vec<Bytes> {
        let own = self.of_clients.get(&client);
        own.map_or_else(Vec::new, |own| own[kind as usize].iter().cloned().collect())
    }

    /// How many channels, patterns and shard channels a client listens to.
    pub(crate) fn counts_of(&self, client: ClientId) -> [u32; 3] {
        let own = self.of_clients.get(&client);
        own.map_or([0; 3], |own| own.each_ref().map(|names| u32::try_from(names.len()).unwrap_or(u32::MAX)))
    }

    /// Who listens to a channel by its name.
    pub(crate) fn of_channel(&self, channel: &[u8], shard: bool) -> impl Iterator<Item = ClientId> {
        let all = if shard { &self.shards } else { &self.channels };
        all.get(channel).into_iter().flatten().copied()
    }

    /// Who listens to a channel by patterns, a pattern at a time.
    pub(crate) fn of_patterns(&self, channel: &[u8]) -> impl Iterator<Item = (&Bytes, &BTreeSet<ClientId>)> {
        self.patterns.iter().filter(move |(pattern, _)| glob::matches(pattern, channel))
    }

    /// How many messages one that is published now makes.
    pub(crate) fn receivers(&self, channel: &[u8], shard: bool) -> usize {
        let by_name = self.of_channel(channel, shard).count();
        if shard || self.patterns.is_empty() {
            return by_name;
        }
        by_name + self.of_patterns(channel).map(|(_, clients)| clients.len()).sum::<usize>()
    }

    /// Channels that somebody listens to, and whose names match.
    pub(crate) fn channels(&self, shard: bool, pattern: Option<&[u8]>) -> Vec<&Bytes> {
        let all = if shard { &self.shards } else { &self.channels };
        let matches = |name: &&Bytes| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        let mut names: Vec<&Bytes> = all.keys().filter(matches).collect();
        names.sort_unstable();
        names
    }

    /// Channels, patterns and shard channels that somebody listens to, and how many do.
    pub(crate) fn totals(&self) -> ([usize; 3], usize) {
        ([self.channels.len(), self.patterns.len(), self.shards.len()], self.of_clients.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_who_has_gone() {
        let mut all = Subscriptions::default();
        for (client, kind, name) in [
            (1, Kind::Channel, "a"),
            (1, Kind::Channel, "a"),
            (2, Kind::Channel, "a"),
            (1, Kind::Pattern, "a*"),
            (2, Kind::Pattern, "?"),
            (1, Kind::Shard, "a"),
        ] {
            assert!(all.add(client, kind, name.as_bytes()));
        }
        assert_eq!(all.counts_of(1), [1, 1, 1]);
        assert_eq!((all.receivers(b"a", false), all.receivers(b"ab", false), all.receivers(b"a", true)), (4, 1, 1));
        assert_eq!(all.totals(), ([1, 2, 1], 2));
        all.remove(2, Kind::Channel, b"b");
        all.remove(2, Kind::Channel, b"a");
        assert_eq!(all.channels(false, None), ["a"]);
        assert_eq!(all.channels(false, Some(b"b*")), [""; 0]);
        [1, 2].into_iter().for_each(|client| all.remove_all(client));
        assert_eq!(all.totals(), ([0; 3], 0));
    }
}
