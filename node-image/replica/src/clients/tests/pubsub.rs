//! Who hears what is published, on which replica, and when.

use trireme_proto::Message;

use super::rig::Rig;

/// A store of three with a client on each: 7 on the leader, 8 and 9 on the others.
fn three() -> Rig {
    let mut rig = Rig::serving(3, 2);
    [(1, 7), (2, 8), (3, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig
}

#[test]
fn a_message_is_heard_on_every_replica_whoever_publishes() {
    let mut rig = three();
    assert_eq!(rig.ask(1, 7, "SUBSCRIBE a b"), "*3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2");
    assert_eq!(rig.ask(2, 8, "PSUBSCRIBE a*"), "*3 $10 psubscribe $2 a* :1");
    assert_eq!(rig.ask(2, 8, "SUBSCRIBE a"), "*3 $9 subscribe $1 a :2");
    assert_eq!(rig.ask(3, 9, "PUBLISH a 1"), ":0", "who listens where it is published is counted");
    assert_eq!(rig.heard(1, 7), "*3 $7 message $1 a $1 1");
    assert_eq!(rig.heard(2, 8), "*3 $7 message $1 a $1 1 *4 $8 pmessage $2 a* $1 a $1 1");
    rig.open(2, 10);
    assert_eq!(rig.ask(2, 10, "PUBLISH ab 2"), ":1");
    assert_eq!([rig.heard(1, 7), rig.heard(2, 8)], ["", "*4 $8 pmessage $2 a* $2 ab $1 2"]);
    // Shard channels have names of their own.
    assert_eq!(rig.ask(1, 7, "SSUBSCRIBE a"), "*3 $10 ssubscribe $1 a :1");
    assert_eq!(rig.ask(2, 10, "SPUBLISH a 3"), ":0");
    assert_eq!([rig.heard(1, 7), rig.heard(2, 8)], ["*3 $8 smessage $1 a $1 3", ""]);
    assert_eq!(rig.ask(2, 10, "PUBSUB CHANNELS"), "*1 $1 a");
    assert_eq!(rig.ask(2, 10, "PUBSUB NUMSUB a b"), "*4 $1 a :1 $1 b :0");
    assert_eq!(rig.ask(2, 10, "PUBSUB NUMPAT"), ":1");
    assert_eq!(rig.ask(2, 10, "PUBSUB SHARDCHANNELS"), "*0");
    assert!(rig.ask(2, 10, "INFO stats").contains("pubsub_channels:1 pubsub_patterns:1 pubsubshard_channels:0"));
    // Who is gone listens no more.
    rig.step(2, crate::io::Input::ClientClosed(8));
    assert_eq!(rig.ask(2, 10, "PUBSUB CHANNELS"), "*0");
    assert_eq!(rig.ask(2, 10, "PUBLISH a 4"), ":0");
}

#[test]
fn what_a_client_that_listens_may_say_depends_on_the_protocol() {
    let mut rig = three();
    assert_eq!(rig.ask(1, 7, "UNSUBSCRIBE"), "*3 $11 unsubscribe $-1 :0");
    rig.ask(1, 7, "SUBSCRIBE a");
    assert_eq!(
        rig.ask(1, 7, "CLIENT LIST"),
        "-ERR Can't execute 'client|list': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    );
    assert!(rig.ask(1, 7, "NOPE").starts_with("-ERR unknown command"));
    assert_eq!(rig.ask(1, 7, "PING"), "*2 $4 pong $0");
    assert_eq!(rig.ask(1, 7, "PING hi"), "*2 $4 pong $2 hi");
    assert_eq!(rig.ask(1, 7, "RESET"), "+RESET");
    assert_eq!(rig.ask(1, 7, "PUBSUB CHANNELS"), "*0");
    rig.ask(1, 7, "HELLO 3");
    assert_eq!(rig.ask(1, 7, "SUBSCRIBE a"), ">3 $9 subscribe $1 a :1");
    assert_eq!(rig.ask(1, 7, "SSUBSCRIBE s"), ">3 $10 ssubscribe $1 s :1");
    assert_eq!(rig.ask(1, 7, "PING"), "+PONG");
    let info = rig.ask(1, 7, "CLIENT INFO");
    assert!(info.contains(" flags=P ") && info.contains(" sub=1 psub=0 ssub=1 "), "{info}");
    // Its own message stands behind the answer.
    assert_eq!(rig.ask(1, 7, "PUBLISH a 1"), ":1 >3 $7 message $1 a $1 1");
    assert_eq!(rig.ask(1, 7, "CLIENT REPLY OFF"), "");
    assert_eq!(rig.ask(1, 7, "SUBSCRIBE b"), ">3 $9 subscribe $1 b :2", "confirmed whatever CLIENT REPLY has said");
    assert_eq!(rig.ask(1, 7, "PUBLISH b 2"), ">3 $7 message $1 b $1 2");
    assert_eq!(rig.ask(1, 7, "CLIENT REPLY ON"), "+OK");
    assert_eq!(rig.ask(1, 7, "UNSUBSCRIBE a"), ">3 $11 unsubscribe $1 a :1");
    assert_eq!(rig.ask(1, 7, "PUBLISH a 3"), ":0");
    rig.ask(1, 7, "HELLO 2");
    assert!(rig.ask(1, 7, "GET a").starts_with("-ERR Can't execute 'get'"));
}

#[test]
fn a_transaction_publishes_when_it_is_committed() {
    let mut rig = three();
    rig.ask(2, 8, "SUBSCRIBE a");
    rig.nodes.get_mut(&2).unwrap().disk = false;
    rig.nodes.get_mut(&3).unwrap().disk = false;
    for command in ["MULTI", "SET k 1", "PUBLISH a 1", "SPUBLISH a 2", "EXEC"] {
        rig.say(1, 7, command);
    }
    rig.run(100);
    assert_eq!(rig.heard(2, 8), "", "it has one copy");
    rig.nodes.get_mut(&2).unwrap().disk = true;
    rig.run(100);
    assert_eq!(rig.heard(1, 7), "+OK +QUEUED +QUEUED +QUEUED *3 +OK :0 :0");
    assert_eq!(rig.heard(2, 8), "*3 $7 message $1 a $1 1");
    // Behind one whose commit is awaited: one that waits for nothing comes after it.
    rig.nodes.get_mut(&2).unwrap().disk = false;
    for command in ["MULTI", "SET k 1", "PUBLISH a 1", "EXEC", "MULTI", "PUBLISH a 2", "EXEC"] {
        rig.say(1, 7, command);
    }
    rig.run(100);
    assert_eq!(rig.heard(2, 8), "");
    rig.nodes.get_mut(&2).unwrap().disk = true;
    rig.run(100);
    rig.heard(1, 7);
    assert_eq!(rig.heard(2, 8), "*3 $7 message $1 a $1 1 *3 $7 message $1 a $1 2");
    // From a follower's client the leader executes it, and publishes.
    ["MULTI", "SET k 2", "PUBLISH a 2", "EXEC"].iter().for_each(|command| rig.say(3, 9, command));
    rig.run(100);
    assert_eq!(rig.heard(3, 9), "+OK +QUEUED +QUEUED *2 +OK :0");
    assert_eq!(rig.heard(2, 8), "*3 $7 message $1 a $1 2");
    // One that only publishes.
    ["MULTI", "PUBLISH a 3", "EXEC"].iter().for_each(|command| rig.say(3, 9, command));
    rig.run(100);
    assert_eq!([rig.heard(3, 9), rig.heard(2, 8)], ["+OK +QUEUED *1 :0", "*3 $7 message $1 a $1 3"]);
    // One whose keys have changed.
    rig.ask(3, 9, "WATCH k");
    rig.ask(1, 7, "SET k 3");
    ["MULTI", "PUBLISH a 4", "EXEC"].iter().for_each(|command| rig.say(3, 9, command));
    rig.run(100);
    assert_eq!([rig.heard(3, 9), rig.heard(2, 8)], ["+OK +QUEUED *-1", ""]);
    rig.ask(3, 9, "MULTI");
    assert!(rig.ask(3, 9, "SUBSCRIBE a").starts_with("-ERR Command not allowed"));
}

#[test]
fn a_transaction_that_was_lost_publishes_nothing() {
    let mut rig = three();
    rig.ask(1, 7, "PING");
    rig.open(1, 10);
    rig.ask(1, 10, "SUBSCRIBE a");
    rig.cut.insert((1, 2));
    rig.cut.insert((1, 3));
    ["MULTI", "SET k 1", "PUBLISH a 1", "EXEC"].iter().for_each(|command| rig.say(1, 7, command));
    rig.run(5);
    rig.isolate(1);
    rig.fail_over(2);
    rig.connect(1, 2);
    rig.connect(1, 3);
    rig.run(300);
    assert!(rig.heard(1, 7).contains("-INDOUBT"));
    assert_eq!(rig.heard(1, 10), "");
    assert_eq!(rig.ask(2, 8, "PUBLISH a 2"), ":0");
    assert_eq!(rig.heard(1, 10), "*3 $7 message $1 a $1 2");
}

/// What is published behind a write is heard where that write can be read: the message waits for it, and not the other way round.
#[test]
fn who_gets_a_message_finds_what_its_publisher_had_written() {
    let mut rig = three();
    rig.ask(2, 8, "SUBSCRIBE a");
    rig.open(2, 10);
    rig.say(1, 7, "SET k 1");
    rig.say(1, 7, "PUBLISH a 1");
    // What the leader appends does not reach this one for a while, but what is published does.
    for _ in 0..200 {
        rig.now_us += 1_000;
        rig.under_way.retain(|(from, to, message)| {
            !((*from, *to) == (1, 2) && matches!(message, Message::Append(append) if !append.entries.is_empty()))
        });
        rig.turn();
    }
    assert_eq!(rig.heard(1, 7), "+OK :0");
    let early = rig.heard(2, 8);
    assert_eq!(early, "", "the write is not here: {}", rig.ask(2, 10, "GET k"));
    // The line is set up anew, and brings what is missing.
    rig.disconnect(1, 2);
    rig.connect(1, 2);
    while rig.heard(2, 8).is_empty() {
        rig.turn();
        rig.now_us += 1_000;
    }
    rig.say(2, 10, "GET k");
    rig.turn();
    assert_eq!(rig.heard(2, 10), "$1 1");
}

#[test]
fn a_replica_that_is_far_behind_delivers_nevertheless() {
    let mut rig = three();
    rig.ask(2, 8, "SUBSCRIBE a");
    rig.say(1, 7, "SET k 1");
    rig.say(1, 7, "PUBLISH a 1");
    for _ in 0..1_200 {
        rig.now_us += 1_000;
        rig.under_way.retain(|(from, to, message)| (*from, *to) != (1, 2) || !matches!(message, Message::Append(_)));
        rig.turn();
    }
    assert_eq!(rig.heard(2, 8), "*3 $7 message $1 a $1 1");
}

#[test]
fn messages_keep_their_order_and_come_once() {
    let mut rig = three();
    rig.ask(3, 9, "SUBSCRIBE a");
    for i in 0..20 {
        rig.say(2, 8, &format!("PUBLISH a {i}"));
        if i % 3 == 0 {
            rig.say(2, 8, &format!("SET k {i}"));
        }
        if i % 7 == 0 {
            rig.turn();
            // Every message that is under way twice.
            let again: Vec<_> =
                rig.under_way.iter().filter(|(.., m)| matches!(m, Message::Published(_))).cloned().collect();
            rig.under_way.extend(again);
        }
    }
    rig.run(50);
    let expected: Vec<String> =
        (0..20).map(|i: u32| format!("*3 $7 message $1 a ${} {i}", i.to_string().len())).collect();
    assert_eq!(rig.heard(3, 9), expected.join(" "));
}

#[test]
fn a_peer_whose_line_is_busy_misses_messages_and_they_are_counted() {
    let mut rig = three();
    rig.ask(2, 8, "SUBSCRIBE a");
    rig.ask(3, 9, "SUBSCRIBE a");
    rig.step(1, crate::io::Input::PeerBusy(trireme_proto::ids::Peer::Replica(2), true));
    assert_eq!(rig.ask(1, 7, "PUBLISH a 1"), ":0");
    rig.step(1, crate::io::Input::PeerBusy(trireme_proto::ids::Peer::Replica(2), false));
    assert_eq!(rig.ask(1, 7, "PUBLISH a 2"), ":0");
    assert_eq!(rig.heard(2, 8), "*3 $7 message $1 a $1 2");
    assert_eq!(rig.heard(3, 9), "*3 $7 message $1 a $1 1 *3 $7 message $1 a $1 2");
    assert!(rig.ask(1, 7, "INFO stats").contains("pubsub_dropped:1"));
}

#[test]
fn a_message_is_heard_where_nobody_leads_and_in_every_region() {
    for mut rig in [Rig::peers(3, 2, 2), Rig::regions(3, 2, 2)] {
        let ids: Vec<u32> = rig.nodes.keys().copied().collect();
        for id in &ids {
            rig.open(*id, 7);
            rig.ask(*id, 7, "SUBSCRIBE a");
            rig.open(*id, 8);
        }
        for (i, from) in ids.iter().enumerate() {
            rig.say(*from, 8, &format!("SET k{i} 1"));
            assert_eq!(rig.ask(*from, 8, &format!("PUBLISH a {i}")), "+OK :1");
            rig.run(200);
            for id in &ids {
                assert_eq!(rig.heard(*id, 7), format!("*3 $7 message $1 a $1 {i}"), "from {from} at {id}");
                assert_eq!(rig.ask(*id, 8, &format!("GET k{i}")), "$1 1");
            }
            ["MULTI", "SET k 1", "PUBLISH a x", "EXEC"].iter().for_each(|command| rig.say(*from, 8, command));
            rig.run(200);
            for id in &ids {
                assert_eq!(rig.heard(*id, 7), "*3 $7 message $1 a $1 x", "from {from} at {id}");
            }
            rig.heard(*from, 8);
            // What is watched is looked at in the same state.
            assert_eq!(rig.ask(*from, 8, "WATCH k"), "+OK");
        }
    }
}
