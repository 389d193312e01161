//! Publish and subscribe: PUBLISH, SUBSCRIBE and their like.
//!
//! ```text
//!   PUBLISH ──▶ publish ──┬─▶ who listens here (subscriptions)
//!   MULTI .. EXEC ─ commit ┘└─▶ all other replicas of the store (spread) ──▶ who listens there
//! ```
//!
//! A message is no part of the log: it is delivered at most once, and to those who listen on any replica of the store at that moment. What can be relied on:
//!
//! * Messages of one publisher are delivered in their order, and never twice.
//! * **Who gets a message finds on its replica what its publisher had been told before it published**: a client's PUBLISH is executed when everything before it
//!   in its connection is answered, and is delivered where that has been applied (for [`spread::WAIT_US`] at most, a replica that is far behind delivers what it
//!   gets nevertheless). What a transaction publishes is delivered when that is committed, and is gone with it.
//! * The answer of PUBLISH counts who listens on the replica that was asked, as it does in a Redis Cluster; so does PUBSUB.
//! * One who reads slowly is disconnected (by the shell: [`SUBSCRIBER_BYTES_HARD`]); what a peer cannot be sent is dropped and counted ([`spread`]).
//!
//! Keyspace events are such messages, too: see `events`.
//!
//! What differs from Redis: a transaction cannot subscribe; a message has at most [`MESSAGE_BYTES_MAX`] bytes, since nobody could listen to a larger one
//! without being disconnected; shard channels are delivered on every replica.

mod events;
pub(crate) mod spread;
pub(crate) mod subscriptions;

use bytes::Bytes;
use trireme_proto::message::PublishedMessage;

use crate::{
    engine::command::{ConnectionCommand, Reply, Spec, connection::help},
    io::{ClientId, Output},
    replica::Replica,
};

use super::{Clients, Flow, announce};
use spread::Spread;
use subscriptions::{Kind, NAMES_MAX, Subscriptions};

/// Bytes that may wait for a client that listens before it is disconnected: as Redis has it.
pub const SUBSCRIBER_BYTES_HARD: usize = 32 << 20;
/// Bytes of a message and its channel's name.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What a replica has of it.
#[derive(Debug, Default)]
pub(crate) struct PubSub {
    pub(crate) subscriptions: Subscriptions,
    pub(crate) spread: Spread,
}

/// What a command is called in its confirmations, and what it is about.
fn subject(which: ConnectionCommand) -> (&'static str, Kind) {
    match which {
        ConnectionCommand::PSubscribe => ("psubscribe", Kind::Pattern),
        ConnectionCommand::PUnsubscribe => ("punsubscribe", Kind::Pattern),
        ConnectionCommand::SSubscribe => ("ssubscribe", Kind::Shard),
        ConnectionCommand::SUnsubscribe => ("sunsubscribe", Kind::Shard),
        ConnectionCommand::Unsubscribe => ("unsubscribe", Kind::Channel),
        _ => ("subscribe", Kind::Channel),
    }
}

/// The confirmation of one name.
fn confirm(reply: &mut Reply<'_>, name: &str, subject: Option<&[u8]>, kind: Kind, counts: [u32; 3]) {
    reply.push(3);
    reply.bulk(name.as_bytes());
    reply.bulk_or_null(subject);
    reply.integer(i64::from(match kind {
        Kind::Shard => counts[2],
        Kind::Channel | Kind::Pattern => counts[0] + counts[1],
    }));
}

/// A message as a client is told it.
fn told(message: &PublishedMessage, pattern: Option<&[u8]>, resp3: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.payload.len() + message.channel.len() + 64);
    let mut reply = Reply::new(&mut bytes, resp3);
    reply.push(if pattern.is_some() { 4 } else { 3 });
    match pattern {
        Some(pattern) => {
            reply.bulk(b"pmessage");
            reply.bulk(pattern);
        }
        None if message.shard => reply.bulk(b"smessage"),
        None => reply.bulk(b"message"),
    }
    reply.bulk(&message.channel);
    reply.bulk(&message.payload);
    bytes
}

impl ConnectionCommand {
    /// Whether it begins or ends listening.
    pub(crate) fn subscribes(self) -> bool {
        use ConnectionCommand::{PSubscribe, PUnsubscribe, SSubscribe, SUnsubscribe, Subscribe, Unsubscribe};
        matches!(self, Subscribe | Unsubscribe | PSubscribe | PUnsubscribe | SSubscribe | SUnsubscribe)
    }

    /// Whether it publishes: a transaction may contain it, and whoever executes that sees to it.
    pub(crate) fn publishes(self) -> bool {
        matches!(self, Self::Publish | Self::SPublish)
    }

    /// Whether a client that subscribes and speaks RESP2 may say it.
    pub(crate) fn is_for_subscribers(self) -> bool {
        matches!(self, Self::Ping | Self::Quit | Self::Reset) || self.subscribes()
    }
}

impl Clients {
    /// What is no answer, and so waits for none: it goes out before the replies that are held. Who has taken too little for too long is disconnected.
    fn push(&mut self, id: ClientId, bytes: &[u8], output: &mut Output) {
        let Some(client) = self.map.get_mut(&id).filter(|client| !client.is_ending()) else { return };
        if client.ready + bytes.len() > SUBSCRIBER_BYTES_HARD {
            client.state.close = true;
            return output.close.push(id);
        }
        if client.ready == client.out.len() {
            client.out.extend_from_slice(bytes);
        } else {
            client.out.splice(client.ready..client.ready, bytes.iter().copied());
        }
        client.ready += bytes.len();
        announce(client, id, output);
    }

    /// Writes a message to all who listen to it.
    fn deliver(&mut self, message: &PublishedMessage, output: &mut Output) {
        let to: Vec<ClientId> = self.pubsub.subscriptions.of_channel(&message.channel, message.shard).collect();
        self.push_all(to, message, None, output);
        if message.shard {
            return;
        }
        let by_pattern: Vec<(Bytes, Vec<ClientId>)> = self
            .pubsub
            .subscriptions
            .of_patterns(&message.channel)
            .map(|(pattern, clients)| (pattern.clone(), clients.iter().copied().collect()))
            .collect();
        for (pattern, to) in by_pattern {
            self.push_all(to, message, Some(&pattern), output);
        }
    }

    fn push_all(&mut self, to: Vec<ClientId>, message: &PublishedMessage, pattern: Option<&[u8]>, output: &mut Output) {
        // In each protocol at most once.
        let mut made: [Option<Vec<u8>>; 2] = [None, None];
        for id in to {
            let Some(resp3) = self.map.get(&id).map(|client| client.state.resp3) else { continue };
            let bytes = made[usize::from(resp3)].get_or_insert_with(|| told(message, pattern, resp3));
            self.push(id, bytes, output);
        }
    }

    /// A client listens to nothing any more.
    pub(super) fn forget_subscriptions(&mut self, id: ClientId) {
        self.pubsub.subscriptions.remove_all(id);
        if let Some(client) = self.map.get_mut(&id) {
            client.state.subscriptions = [0; 3];
        }
    }
}

impl Replica {
    /// Whether a client listens, and may wait for [`SUBSCRIBER_BYTES_HARD`] only.
    pub fn subscribes(&self, id: ClientId) -> bool {
        self.clients.map.get(&id).is_some_and(|client| client.state.subscribes())
    }

    /// What is listened to here, how many clients listen, and how many messages some peer was not sent.
    pub fn pubsub_counts(&self) -> [(&'static str, u64); 5] {
        let pubsub = &self.clients.pubsub;
        let ([channels, patterns, shards], clients) = pubsub.subscriptions.totals();
        [
            ("_channels", channels as u64),
            ("_patterns", patterns as u64),
            ("shard_channels", shards as u64),
            ("_clients", clients as u64),
            ("_dropped", pubsub.spread.dropped()),
        ]
    }

    /// A command that a client which listens in RESP2 may not say, as it could not tell its reply from messages.
    pub(super) fn refuse_to_subscriber(&mut self, id: ClientId, spec: &Spec) -> Flow {
        let name = spec.name;
        let prefix = if name == "exec" { "EXECABORT Transaction discarded because of:" } else { "ERR" };
        if let Some(client) = self.clients.get_mut(id) {
            client.transaction_refused |= client.transaction.is_some();
        }
        self.refuse_this(
            id,
            &format!(
                "{prefix} Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            ),
        )
    }

    /// Whether everything before a client's next command is answered: what that command writes may stand between messages.
    fn is_answered_so_far(&mut self, id: ClientId) -> bool {
        self.clients.get_mut(id).is_none_or(|client| client.held == 0 && client.in_order())
    }

    /// SUBSCRIBE, UNSUBSCRIBE and their like.
    pub(super) fn subscribe(&mut self, id: ClientId, which: ConnectionCommand, args: &[&[u8]]) -> Flow {
        if !self.is_answered_so_far(id) {
            return Flow::NotNow;
        }
        self.publish_settled();
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        // It is confirmed whatever CLIENT REPLY has said.
        let _ = client.state.takes_reply();
        let resp3 = client.state.resp3;
        let (name, kind) = subject(which);
        let listens = !name.contains("unsubscribe");
        let all: Vec<Bytes> = match &args[1..] {
            [] => self.clients.pubsub.subscriptions.names_of(id, kind),
            names => names.iter().map(|name| Bytes::copy_from_slice(name)).collect(),
        };
        let subscriptions = &mut self.clients.pubsub.subscriptions;
        let mut bytes = Vec::new();
        let mut reply = Reply::new(&mut bytes, resp3);
        for one in &all {
            if !listens {
                subscriptions.remove(id, kind, one);
            } else if !subscriptions.add(id, kind, one) {
                reply.error(format!("ERR a connection may listen to {NAMES_MAX} names of a kind").as_bytes());
                continue;
            }
            confirm(&mut reply, name, Some(one), kind, subscriptions.counts_of(id));
        }
        if all.is_empty() {
            confirm(&mut reply, name, None, kind, subscriptions.counts_of(id));
        }
        let counts = subscriptions.counts_of(id);
        if let Some(client) = self.clients.get_mut(id) {
            client.state.subscriptions = counts;
        }
        self.clients.push(id, &bytes, &mut self.output);
        Flow::Done
    }

    /// PUBLISH and SPUBLISH: when what came before it in its connection is answered, and has been applied here.
    pub(super) fn publish(&mut self, id: ClientId, which: ConnectionCommand, args: &[&[u8]]) -> Flow {
        let (applied, in_history) = (self.applied, self.in_history());
        if !self.is_answered_so_far(id) {
            return Flow::NotNow;
        }
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        if client.session_seq > applied || !in_history || !self.engine.received().covers(&client.elsewhere.seen) {
            return Flow::NotNow;
        }
        if let Err(why) = check(args) {
            return self.refuse_this(id, why);
        }
        self.publish_settled();
        let message = message_of(which, args);
        let receivers = self.clients.pubsub.subscriptions.receivers(&message.channel, message.shard);
        self.answer(id, |reply| reply.count(receivers));
        self.publish_now(message);
        Flow::Done
    }

    /// Delivers a message here, and has it sent to all other replicas.
    pub(super) fn publish_now(&mut self, message: PublishedMessage) {
        self.clients.deliver(&message, &mut self.output);
        self.clients.pubsub.spread.put(message);
    }

    /// PUBSUB.
    pub(super) fn pubsub(&mut self, id: ClientId, spec: &Spec, args: &[&[u8]]) -> Flow {
        let subscriptions = &self.clients.pubsub.subscriptions;
        let mut bytes = Vec::new();
        let resp3 = self.clients.map.get(&id).is_some_and(|client| client.state.resp3);
        let mut reply = Reply::new(&mut bytes, resp3);
        let shard = spec.name.contains("shard");
        match spec.name {
            "pubsub|channels" | "pubsub|shardchannels" if args.len() > 3 => {
                let own = &spec.name["pubsub|".len()..];
                let why = format!("ERR unknown subcommand or wrong number of arguments for '{own}'. Try PUBSUB HELP.");
                reply.error(why.as_bytes());
            }
            "pubsub|channels" | "pubsub|shardchannels" => {
                let names = subscriptions.channels(shard, args.get(2).copied());
                reply.array(names.len());
                names.into_iter().for_each(|name| reply.bulk(name));
            }
            "pubsub|numsub" | "pubsub|shardnumsub" => {
                reply.array((args.len() - 2) * 2);
                for name in &args[2..] {
                    reply.bulk(name);
                    reply.count(subscriptions.of_channel(name, shard).count());
                }
            }
            "pubsub|numpat" => reply.count(subscriptions.totals().0[Kind::Pattern as usize]),
            _ => help(&mut reply, &HELP),
        }
        self.answer(id, |reply| reply.raw(&bytes));
        Flow::Done
    }
}

/// Whether a message may be as long.
pub(super) fn check(args: &[&[u8]]) -> Result<(), &'static str> {
    if args.iter().skip(1).map(|arg| arg.len()).sum::<usize>() > MESSAGE_BYTES_MAX {
        return Err("ERR a message and its channel's name may have 16777216 bytes: nobody was told");
    }
    Ok(())
}

/// What PUBLISH or SPUBLISH says, with its arguments counted.
pub(super) fn message_of(which: ConnectionCommand, args: &[&[u8]]) -> PublishedMessage {
    let [channel, payload] = [1, 2].map(|at| args.get(at).map_or_else(Bytes::new, |arg| Bytes::copy_from_slice(arg)));
    PublishedMessage { channel, payload, shard: which == ConnectionCommand::SPublish }
}

const HELP: [&str; 14] = [
    "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
    "HELP",
    "    Prints this help.",
];
