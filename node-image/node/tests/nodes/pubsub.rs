//! Publish and subscribe over real sockets: as Redis has it, on every replica, and with one who does not read.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    common::{Authority, Client, Node},
    redis::{Redis, answer, dialogue},
};
use trireme_proto::topology::Durability;

/// Each on a connection of its own, in one piece. What Redis keeps in the order of a hash has one element at most.
const DIALOGUES: [&[&str]; 10] = [
    &["unsubscribe", "punsubscribe", "sunsubscribe", "unsubscribe a", "sunsubscribe a", "ping", "quit"],
    &["subscribe a b a", "psubscribe a*", "ssubscribe s", "ping", "ping x", "ping x y", "get k", "nope", "publish a"],
    &["subscribe a", "multi", "client list", "publish a x", "hello 3", "exec", "unsubscribe a", "get k", "quit"],
    &["subscribe a", "psubscribe b", "unsubscribe", "get k", "punsubscribe", "get k", "quit"],
    &["ssubscribe a", "get k", "sunsubscribe b a", "get k", "quit"],
    &["subscribe a", "reset", "ping", "pubsub channels", "quit"],
    &["multi", "publish a x", "spublish a x", "ping", "exec", "publish", "publish a", "publish a b c", "quit"],
    &["pubsub", "pubsub nope", "pubsub channels a b", "pubsub channels", "pubsub numsub", "pubsub numsub a", "quit"],
    &["pubsub numpat", "pubsub numpat a", "pubsub shardchannels", "pubsub shardnumsub a b", "pubsub help", "quit"],
    &["ssubscribe", "subscribe", "psubscribe", "multi", "get k", "subscribe", "exec", "quit"],
];

#[test]
fn it_is_answered_as_redis_does() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(dir.path(), &[]) else {
        return eprintln!("redis-server is not installed: nothing to compare with");
    };
    let nodes = [Node::start(dir.path(), 1, Durability::Memory)];
    Authority::of(&nodes, 1, Durability::Memory).lead(None);
    for commands in DIALOGUES {
        let bytes = [&dialogue(commands)[..], b"*1\r\n$4\r\nquit\r\n"].concat();
        let version = |text: String| text.replace("7.0.15", "7.2.0").replace("$6\\r\\n7.2.0", "$5\\r\\n7.2.0");
        let own = |text: String| text.split("$2\\r\\nid").next().unwrap_or_default().to_owned();
        let (theirs, ours) = (answer(redis.at, &bytes), answer(nodes[0].at.client, &bytes));
        assert_eq!(own(version(ours)), own(version(theirs)), "{commands:?}");
    }
    // Two connections: what one publishes, the other hears.
    let told = |at| {
        let (mut listener, mut publisher) = (Client::new(at), Client::new(at));
        let mut all = vec![listener.ask(&["PSUBSCRIBE", "n*"])];
        all.extend((0..3).map(|_| listener.reply()));
        all.push(publisher.ask(&["HELLO", "3"]));
        listener.send(&dialogue(&["SUBSCRIBE news", "SSUBSCRIBE news"]));
        all.extend((0..8).map(|_| listener.reply()));
        let (news, shard) = (["PUBLISH", "news", "hi"], ["SPUBLISH", "news", "ho"]);
        all.extend([news, shard].map(|command| {
            let mut one = Client::new(at);
            one.ask(&command)
        }));
        all.extend((0..13).map(|_| listener.reply()));
        all
    };
    assert_eq!(told(nodes[0].at.client), told(redis.at));
}

/// Ends the publisher, whatever becomes of the test.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn every_replica_hears_every_message_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let nodes: Vec<Node> = (1..=3).map(|id| Node::start(dir.path(), id, Durability::Memory)).collect();
    let mut authority = Authority::of(&nodes, 2, Durability::Memory);
    authority.lead(Some(1));
    for publisher in &nodes {
        let news = format!("news-{}", publisher.id);
        let mut listeners: Vec<Client> = nodes.iter().map(Node::client).collect();
        for listener in &mut listeners {
            assert_eq!(listener.ask(&["SUBSCRIBE", &news]), "*3");
            (0..3).for_each(|_| drop(listener.reply()));
        }
        let message = |listener: &mut Client| -> u64 {
            assert_eq!([(); 3].map(|()| listener.reply()), ["*3", "message", &news]);
            listener.reply().parse().unwrap()
        };
        let heard = AtomicBool::new(false);
        let mut client = publisher.client();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in (1..1_000_000).take_while(|_| !heard.load(Ordering::Relaxed)) {
                    let number: u64 = number;
                    assert_eq!(client.ask(&["SET", "number", &number.to_string()]), "+OK");
                    assert_eq!(client.ask(&["PUBLISH", &news, &number.to_string()]), ":1");
                }
            });
            let _done = Done(&heard);
            // Until it is connected with the publisher a replica misses some; then none. None comes twice, or before an earlier one.
            for (at, listener) in listeners.iter_mut().enumerate() {
                let (mut last, mut in_a_row) = (message(listener), 0);
                for _ in 0..5_000 {
                    let next = message(listener);
                    assert!(next > last, "{next} behind {last}, {} of {}", at + 1, publisher.id);
                    in_a_row = if next == last + 1 { in_a_row + 1 } else { 0 };
                    last = next;
                    if in_a_row == 100 {
                        break;
                    }
                }
                assert_eq!(in_a_row, 100, "{} of {}", at + 1, publisher.id);
            }
        });
    }
}

#[test]
fn one_who_listens_and_does_not_read_is_disconnected() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = [Node::start(dir.path(), 1, Durability::Memory)];
    Authority::of(&nodes, 1, Durability::Memory).lead(None);
    let mut lazy = nodes[0].client();
    lazy.ask(&["SUBSCRIBE", "news"]);
    let (mut publisher, long) = (nodes[0].client(), "x".repeat(256 << 10));
    let sent = (0..1_000).take_while(|_| publisher.ask(&["PUBLISH", "news", &long]) == ":1").count();
    assert!((32 << 20..200 << 20).contains(&(sent * long.len())), "{sent} messages");
    assert!(lazy.rest().len() < 128 << 20);
    assert_eq!(publisher.ask(&["PUBSUB", "NUMSUB", "news"]), "*2");
    assert_eq!([publisher.reply(), publisher.reply()], ["news", ":0"]);
}
