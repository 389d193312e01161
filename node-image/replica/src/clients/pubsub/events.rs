//! Keyspace events: what commands do to keys, as messages to who listens (`notify-keyspace-events`).
//!
//! They are made where a command is executed, on the leader or, where nobody leads, at the coordinator, in each region for what is executed there; who joins an
//! entry makes none, so each comes once. From there on they are messages like those that a transaction publishes: heard at every replica of the store, once the
//! entry is committed and where it has been applied, in the order in which they were executed; forgotten with an entry that a failover takes back; and delivered
//! at most once, so those of an entry that is committed while its leader fails may not come. `expired` comes when the key is removed, as in Redis; where there are
//! several that remove what has expired, each tells it of a key whose removal has not come from another one.
//!
//! Which classes are told is one parameter of the whole store, as who executes is seldom who a client is connected to: it is what the record says, or what
//! CONFIG SET has said since, at any replica: the newest of the two. That is told to all others, and each tells it to whoever connects with it, so it holds until
//! the record changes or every process of the store has ended, whoever leads. An edge sets it for itself alone; what the store's records say leaders tell it.

use bytes::Bytes;
use trireme_proto::{
    Message, ReplicaId,
    message::{KeyspaceEvents, PublishedMessage},
};

use super::{MESSAGE_BYTES_MAX, spread::Spread};
use crate::{
    engine::events::{Classes, Event},
    replica::Replica,
};

const KEYSPACE: &[u8] = b"__keyspace@0__:";
const KEYEVENT: &[u8] = b"__keyevent@0__:";

/// One message.
fn message(prefix: &[u8], name: &[u8], payload: Bytes) -> PublishedMessage {
    PublishedMessage { channel: [prefix, name].concat().into(), payload, shard: false }
}

impl Spread {
    /// What the unit of work at hand has done to keys: one or two messages each. Of a key that is too long for a message nobody is told.
    pub(crate) fn execute_events(&mut self, events: impl Iterator<Item = Event>, classes: Classes) {
        for Event { name, key } in events.filter(|event| event.key.len() < MESSAGE_BYTES_MAX - 64) {
            if classes.has(Classes::KEYSPACE) {
                self.executed.push(message(KEYSPACE, &key, Bytes::from_static(name.as_bytes())));
            }
            if classes.has(Classes::KEYEVENT) {
                self.executed.push(message(KEYEVENT, name.as_bytes(), key));
            }
        }
    }
}

impl Replica {
    /// What was just done to keys at this seq, and not by a client's command.
    pub(crate) fn publish_events(&mut self, seq: u64) {
        let classes = self.clients.parameters.tuning().events;
        self.clients.pubsub.spread.execute_events(self.engine.take_events(), classes);
        self.publish_executed(seq);
    }

    /// If a CONFIG SET that was executed here is about keyspace events, all replicas are told.
    pub(in crate::clients) fn say_keyspace_events(&mut self, args: &[&[u8]]) {
        let said = self.clients.parameters.say_events(args, self.identity.id, self.now.wall_ms);
        if let Some(said) = said {
            self.clients.parameters.hear_events(&said);
            self.spread_keyspace_events(&said, None);
        }
    }

    /// What was set elsewhere: news are told on, as not all replicas are connected with each other where there are edges.
    pub(crate) fn on_keyspace_events(&mut self, from: ReplicaId, said: &KeyspaceEvents) {
        let by_edge = self.peers.get(&from).is_none_or(|peer| self.is_edge(peer.group));
        if !by_edge && self.clients.parameters.hear_events(said) {
            self.spread_keyspace_events(said, Some(from));
        }
    }

    fn spread_keyspace_events(&mut self, said: &KeyspaceEvents, but: Option<ReplicaId>) {
        let to: Vec<ReplicaId> = self.peers.keys().copied().filter(|id| Some(*id) != but).collect();
        to.into_iter().for_each(|id| self.send(id, Message::KeyspaceEvents(said.clone())));
    }

    /// Who connects is told what was said last.
    pub(crate) fn repeat_keyspace_events(&mut self, to: ReplicaId) {
        if let Some(said) = self.clients.parameters.events().cloned() {
            self.send(to, Message::KeyspaceEvents(said));
        }
    }
}
