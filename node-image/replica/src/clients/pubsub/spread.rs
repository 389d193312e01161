//! Messages on their way between replicas.
//!
//! Every replica sends what its clients publish to every other one that it is connected to, once a turn: replicas of one store are all connected with each other,
//! those of other groups, too. Only edges are not: they see some leaders, and who sees an edge passes on to it what comes from elsewhere, and what comes from it
//! to everybody. So a message may come by several ways, and is taken once, by its number.
//!
//! Nothing is kept for who cannot take it: a peer whose line is busy with entries, or that a turn has more for than [`TURN_BYTES_MAX`], misses messages, and
//! they are counted. An older replica ignores them.

use std::collections::{BTreeMap, VecDeque};

use trireme_proto::{
    Message, ReplicaId,
    message::{Published, PublishedMessage},
};

use crate::{engine::ReceivedSet, feeds::sets, replica::Replica};

/// Bytes of messages that one turn sends to a peer.
const TURN_BYTES_MAX: usize = 32 << 20;
/// Bytes of messages that wait for a commit: where that does not come, more of them are dropped, and counted.
const UNCOMMITTED_BYTES_MAX: usize = 8 << 20;
/// Bytes of messages that go as one.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How long messages wait for what their publisher had seen.
pub(crate) const WAIT_US: u64 = 1_000_000;
/// Bytes of messages of one publisher that wait for that; beyond it the first are delivered at once.
const ARRIVED_BYTES_MAX: usize = 8 << 20;
/// Publishers that are known by their numbers: more than a store has replicas.
const PUBLISHERS_MAX: usize = 4096;
/// Processes of one publisher that are known.
const PROCESSES_MAX: usize = 4;

/// What a message takes, in bytes.
fn bytes_of(messages: &[PublishedMessage]) -> usize {
    messages.iter().map(|message| message.channel.len() + message.payload.len() + 64).sum()
}

/// Messages that have come, and what they wait for.
#[derive(Debug)]
struct Arrived {
    since_us: u64,
    /// Of the own group: what is to be applied. Else nothing.
    commit: u64,
    seen: ReceivedSet,
    messages: Vec<PublishedMessage>,
}

/// What is known of a publisher.
#[derive(Debug, Default)]
struct Publisher {
    /// Its latest processes, the newest last, and the number of the last message of each.
    processes: VecDeque<(u64, u64)>,
    arrived: VecDeque<Arrived>,
    /// Of all that has arrived.
    bytes: usize,
}

impl Publisher {
    /// Takes off what has come before. Says whether anything is left.
    fn take_new(&mut self, batch: &mut Published) -> bool {
        let last = match self.processes.iter_mut().find(|(boot, _)| *boot == batch.boot) {
            Some((_, last)) => last,
            None => {
                if self.processes.len() >= PROCESSES_MAX {
                    self.processes.pop_front();
                }
                self.processes.push_back((batch.boot, 0));
                let Some((_, last)) = self.processes.back_mut() else { return false };
                last
            }
        };
        let known = last.saturating_add(1).saturating_sub(batch.first);
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(batch.messages.len());
        batch.messages.drain(..known);
        batch.first = batch.first.saturating_add(known as u64);
        *last = (*last).max(batch.first.saturating_add(batch.messages.len() as u64).saturating_sub(1));
        !batch.messages.is_empty()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// What transactions have published, and what is told of keys, with the entry whose commit it waits for; and how many bytes that is.
    uncommitted: VecDeque<(u64, PublishedMessage)>,
    uncommitted_bytes: usize,
    /// What the unit of work at hand publishes.
    pub(crate) executed: Vec<PublishedMessage>,
    /// This turn's messages, and how many there have been before.
    out: Vec<PublishedMessage>,
    sent: u64,
    publishers: BTreeMap<ReplicaId, Publisher>,
    /// Messages that some peer was not sent.
    dropped: u64,
}

impl Spread {
    /// A message for all other replicas.
    pub(super) fn put(&mut self, message: PublishedMessage) {
        self.out.push(message);
    }

    /// Entries after `seq` are no part of the log: nobody hears what they would have published.
    pub(crate) fn forget_after(&mut self, seq: u64) {
        self.uncommitted.retain(|(of, _)| *of <= seq);
        self.uncommitted_bytes =
            self.uncommitted.iter().map(|(_, message)| bytes_of(std::slice::from_ref(message))).sum();
    }

    /// Messages that some peer was not sent.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Replica {
    /// What a unit of work has published goes out once this is committed.
    pub(in crate::clients) fn publish_executed(&mut self, seq: u64) {
        if self.clients.pubsub.spread.executed.is_empty() {
            return;
        }
        // Not before what was executed before, maybe by the same client.
        let waits = self.must_hold(seq) || !self.clients.pubsub.spread.uncommitted.is_empty();
        for message in std::mem::take(&mut self.clients.pubsub.spread.executed) {
            if !waits {
                self.publish_now(message);
                continue;
            }
            let spread = &mut self.clients.pubsub.spread;
            let bytes = bytes_of(std::slice::from_ref(&message));
            if spread.uncommitted_bytes + bytes > UNCOMMITTED_BYTES_MAX {
                spread.dropped += 1;
                continue;
            }
            spread.uncommitted_bytes += bytes;
            spread.uncommitted.push_back((seq, message));
        }
    }

    /// Delivers what has waited for a commit, if that has come: before anything that is executed after it.
    pub(super) fn publish_settled(&mut self) {
        let settled = self.settled();
        while let Some((_, message)) = self.clients.pubsub.spread.uncommitted.pop_front_if(|(seq, _)| *seq <= settled) {
            self.clients.pubsub.spread.uncommitted_bytes -= bytes_of(std::slice::from_ref(&message));
            self.publish_now(message);
        }
    }

    /// Delivers what has waited, and sends what is new: at the end of a turn.
    pub(crate) fn flush_published(&mut self) {
        self.publish_settled();
        self.deliver_arrived();
        let messages = std::mem::take(&mut self.clients.pubsub.spread.out);
        if messages.is_empty() {
            return;
        }
        let first = self.clients.pubsub.spread.sent + 1;
        self.clients.pubsub.spread.sent += messages.len() as u64;
        let alone = self.meta.topology.as_ref().is_none_or(|topology| topology.groups.is_empty());
        let batch = Published {
            publisher: self.identity.id,
            boot: self.identity.boot,
            first,
            group: self.identity.group,
            commit: self.commit,
            seen: if alone && !self.is_leaderless() { Vec::new() } else { self.shown() },
            messages,
        };
        let to: Vec<ReplicaId> = self.peers.keys().copied().collect();
        self.send_published(&to, &batch);
    }

    /// Sends messages to these peers.
    fn send_published(&mut self, to: &[ReplicaId], batch: &Published) {
        let fits = bytes_of(&batch.messages) <= TURN_BYTES_MAX;
        let parts = if fits { divide(batch) } else { Vec::new() };
        for id in to {
            let takes = fits && self.peers.get(id).is_some_and(|peer| !peer.busy);
            if !takes {
                self.clients.pubsub.spread.dropped += batch.messages.len() as u64;
                continue;
            }
            for part in &parts {
                self.send(*id, Message::Published(part.clone()));
            }
        }
    }

    /// Messages of another replica's clients.
    pub(crate) fn on_published(&mut self, from: ReplicaId, mut batch: Published) {
        let Some(group) = self.peers.get(&from).map(|peer| peer.group) else { return };
        let by_edge = self.is_edge(group);
        // An edge speaks for itself.
        if batch.publisher == self.identity.id || (by_edge && batch.publisher != from) {
            return;
        }
        let publishers = &mut self.clients.pubsub.spread.publishers;
        if publishers.len() >= PUBLISHERS_MAX && !publishers.contains_key(&batch.publisher) {
            return;
        }
        let publisher = publishers.entry(batch.publisher).or_default();
        if !publisher.take_new(&mut batch) {
            return;
        }
        let to: Vec<ReplicaId> = self
            .peers
            .iter()
            .filter(|(id, peer)| **id != from && **id != batch.publisher && (by_edge || self.is_edge(peer.group)))
            .map(|(id, _)| *id)
            .collect();
        self.send_published(&to, &batch);
        let own = batch.group == self.identity.group;
        let arrived = Arrived {
            since_us: self.now.mono_us,
            commit: if own { batch.commit } else { 0 },
            seen: if own { ReceivedSet::default() } else { sets::from_message(&batch.seen) },
            messages: batch.messages,
        };
        let publisher = self.clients.pubsub.spread.publishers.entry(batch.publisher).or_default();
        publisher.bytes += bytes_of(&arrived.messages);
        publisher.arrived.push_back(arrived);
        self.deliver_arrived();
    }

    /// Delivers, in the order of each publisher, what waits for nothing any more.
    fn deliver_arrived(&mut self) {
        let mut due = Vec::new();
        let applied = if self.leads() { self.commit } else { self.applied };
        for publisher in self.clients.pubsub.spread.publishers.values_mut() {
            while let Some(first) = publisher.arrived.front() {
                let has_come = first.commit <= applied && self.engine.received().covers(&first.seen);
                let late = first.since_us + WAIT_US <= self.now.mono_us;
                if !has_come && !late && publisher.bytes <= ARRIVED_BYTES_MAX {
                    break;
                }
                publisher.bytes -= bytes_of(&first.messages);
                due.extend(publisher.arrived.pop_front().map_or_else(Vec::new, |arrived| arrived.messages));
            }
        }
        due.iter().for_each(|message| self.clients.deliver(message, &mut self.output));
    }
}

/// Messages as several of bounded size.
fn divide(batch: &Published) -> Vec<Published> {
    if bytes_of(&batch.messages) <= BATCH_BYTES_MAX {
        return vec![batch.clone()];
    }
    let mut parts: Vec<Published> = Vec::new();
    let mut bytes = usize::MAX;
    for (message, number) in batch.messages.iter().zip(batch.first..) {
        let own = bytes_of(std::slice::from_ref(message));
        if bytes.saturating_add(own) > BATCH_BYTES_MAX {
            bytes = 0;
            parts.push(Published { first: number, messages: Vec::new(), ..batch.clone() });
        }
        bytes += own;
        parts.last_mut().into_iter().for_each(|part| part.messages.push(message.clone()));
    }
    parts
}
