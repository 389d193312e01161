//! Keyspace events: made where a command is executed, heard everywhere.

use super::rig::Rig;
use trireme_proto::{Message, topology::Edge};

/// What a client has heard, as channel and payload, without what the names begin with.
fn events(rig: &mut Rig, id: u32, client: u64) -> String {
    let heard = rig.heard(id, client);
    let words: Vec<&str> = heard.split_whitespace().filter(|word| !word.starts_with(['*', '$'])).collect();
    let one = |words: &[&str]| match words {
        ["pmessage", _, channel, payload] => {
            format!("{}={payload}", channel.trim_start_matches("__key").replace("@0__", ""))
        }
        other => panic!("{other:?} in {heard}"),
    };
    words.chunks(4).map(one).collect::<Vec<_>>().join(" ")
}

/// A store of three, with a client on each: 7, 8 and 9; and one on each that listens: 17, 18 and 19.
fn three() -> Rig {
    let mut rig = Rig::serving(3, 2);
    listen(&mut rig, &[(1, 17), (2, 18), (3, 19)]);
    [(1, 7), (2, 8), (3, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig
}

fn listen(rig: &mut Rig, listeners: &[(u32, u64)]) {
    for (id, client) in listeners {
        rig.open(*id, *client);
        assert!(rig.ask(*id, *client, "PSUBSCRIBE __key*").starts_with("*3"));
    }
}

#[test]
fn an_event_is_heard_on_every_replica_wherever_it_was_asked_for_and_made() {
    let mut rig = three();
    assert_eq!(rig.ask(2, 8, "SET k 1"), "+OK");
    assert_eq!(events(&mut rig, 2, 18), "", "nobody has asked for any");
    assert_eq!(rig.ask(2, 8, "CONFIG SET notify-keyspace-events KEA"), "+OK");
    for (id, client) in [(1, 7), (2, 8), (3, 9)] {
        let get = "CONFIG GET notify-keyspace-events";
        assert_eq!(rig.ask(id, client, get), "*2 $22 notify-keyspace-events $3 AKE");
        assert_eq!(rig.ask(id, client, "SET k 2 EX 100"), "+OK");
        assert_eq!(rig.ask(id, client, "LPUSH l 1"), ":1");
        assert_eq!(rig.ask(id, client, "BLPOP l 1"), "*2 $1 l $1 1");
        for (at, listener) in [(1, 17), (2, 18), (3, 19)] {
            let expected = "space:k=set event:set=k space:k=expire event:expire=k space:l=lpush event:lpush=l \
                            space:l=lpop event:lpop=l space:l=del event:del=l";
            assert_eq!(events(&mut rig, at, listener), expected, "{id} at {at}");
        }
    }
    // What a transaction does and what it publishes are told in the order of its commands.
    ["MULTI", "SET k 3", "PUBLISH __key_own x", "DEL k", "EXEC"].iter().for_each(|command| rig.say(3, 9, command));
    rig.run(20);
    assert_eq!(events(&mut rig, 2, 18), "space:k=set event:set=k _own=x space:k=del event:del=k");
    // Who waits is served behind what serves him.
    rig.say(3, 9, "BLPOP l 0");
    rig.run(20);
    rig.ask(2, 8, "RPUSH l 1 2");
    events(&mut rig, 1, 17);
    assert_eq!(events(&mut rig, 2, 18), "space:l=rpush event:rpush=l space:l=lpop event:lpop=l");
    rig.heard(3, 9);
    assert!(rig.ask(3, 9, "CONFIG SET notify-keyspace-events xy").contains("Invalid event class character"));
    assert_eq!(rig.ask(1, 7, "CONFIG SET notify-keyspace-events Kl"), "+OK");
    assert_eq!(rig.ask(2, 8, "SET k 1"), "+OK");
    assert_eq!(rig.ask(2, 8, "LPOP l"), "$1 2");
    assert_eq!(events(&mut rig, 2, 18), "space:l=lpop");
}

#[test]
fn an_event_waits_for_the_commit_and_is_gone_with_what_a_failover_takes_back() {
    let mut rig = three();
    rig.ask(1, 7, "CONFIG SET notify-keyspace-events EA");
    [2, 3].into_iter().for_each(|id| rig.nodes.get_mut(&id).unwrap().disk = false);
    rig.say(1, 7, "SET k 1");
    rig.run(100);
    assert_eq!([events(&mut rig, 1, 17), events(&mut rig, 2, 18)], ["", ""], "it has one copy");
    [2, 3].into_iter().for_each(|id| rig.nodes.get_mut(&id).unwrap().disk = true);
    rig.run(100);
    assert_eq!([events(&mut rig, 1, 17), events(&mut rig, 2, 18)], ["event:set=k", "event:set=k"]);
    rig.heard(1, 7);
    // The leader is cut off with an entry that nobody else has; the next one goes on with what was asked for.
    [(1, 2), (1, 3)].into_iter().for_each(|pair| _ = rig.cut.insert(pair));
    rig.say(1, 7, "DEL k");
    rig.run(5);
    rig.isolate(1);
    rig.fail_over(2);
    rig.connect(1, 2);
    rig.connect(1, 3);
    rig.run(300);
    assert_eq!(rig.ask(3, 9, "APPEND k 2"), ":2");
    for (id, client) in [(1, 17), (2, 18), (3, 19)] {
        let heard = events(&mut rig, id, client);
        assert!(heard.ends_with("event:append=k") && !heard.contains("del"), "{heard}");
    }
}

#[test]
fn who_hears_of_a_write_finds_it() {
    let mut rig = three();
    rig.ask(1, 7, "CONFIG SET notify-keyspace-events E$");
    rig.say(1, 7, "SET k 1");
    // What the leader appends does not reach this one for a while.
    for _ in 0..200 {
        rig.now_us += 1_000;
        rig.under_way.retain(|(from, to, message)| {
            !((*from, *to) == (1, 2) && matches!(message, Message::Append(append) if !append.entries.is_empty()))
        });
        rig.turn();
    }
    assert_eq!([events(&mut rig, 1, 17), events(&mut rig, 2, 18)], ["event:set=k", ""]);
    rig.disconnect(1, 2);
    rig.connect(1, 2);
    rig.ask(2, 8, "READONLY");
    rig.ask(2, 8, "SESSION GUARANTEES NONE");
    while events(&mut rig, 2, 18).is_empty() {
        rig.turn();
        rig.now_us += 1_000;
    }
    rig.say(2, 8, "GET k");
    rig.turn();
    assert_eq!(rig.heard(2, 8), "$1 1");
}

#[test]
fn what_was_set_holds_for_who_comes_later_and_until_the_record_has_something_else() {
    let mut rig = three();
    rig.isolate(3);
    rig.ask(1, 7, "CONFIG SET notify-keyspace-events KA");
    let get = "CONFIG GET notify-keyspace-events";
    let says =
        |letters: &str| format!("*2 $22 notify-keyspace-events ${} {letters}", letters.len()).trim_end().to_owned();
    assert_eq!([rig.ask(2, 8, get), rig.ask(3, 9, get)], [says("AK"), says("")]);
    rig.connect(2, 3);
    rig.run(20);
    assert_eq!(rig.ask(3, 9, get), says("AK"));
    // What was said last counts, also if its clock is behind.
    rig.connect(1, 3);
    rig.skew_ms.insert(3, -3_000);
    assert_eq!(rig.ask(3, 9, "CONFIG SET notify-keyspace-events Kl"), "+OK");
    assert_eq!([rig.ask(1, 7, get), rig.ask(2, 8, get)], [says("lK"), says("lK")]);
    let decide = |rig: &mut Rig, classes: &str| {
        rig.decide(|record| {
            record.settings.keyspace_events = classes.into();
            record.settings.keyspace_events_revision += 1;
        });
    };
    decide(&mut rig, "xE");
    assert_eq!([rig.ask(1, 7, get), rig.ask(2, 8, get), rig.ask(3, 9, get)], [says("xE"), says("xE"), says("xE")]);
    assert_eq!(rig.ask(2, 8, "CONFIG SET notify-keyspace-events Eg"), "+OK");
    assert_eq!(rig.ask(1, 7, get), says("gE"));
    // The record goes away from what that was said in place of, and back, and one of them sees the last of it only.
    rig.isolate(3);
    decide(&mut rig, "");
    decide(&mut rig, "xE");
    [1, 2].into_iter().for_each(|id| rig.connect(id, 3));
    rig.run(100);
    assert_eq!([rig.ask(1, 7, get), rig.ask(2, 8, get), rig.ask(3, 9, get)], [says("xE"), says("xE"), says("xE")]);
}

#[test]
fn an_edge_is_told_by_a_leader_what_the_record_says() {
    let mut rig = Rig::regions(2, 1, 1);
    rig.open(11, 7);
    rig.decide(|record| {
        record.groups[0].edge = Some(Edge::default());
        (record.settings.keyspace_events, record.settings.keyspace_events_revision) = ("KA".into(), 4);
    });
    let told = rig.replica(11).regions[&1].clone();
    assert_eq!((&*told.keyspace_events, told.keyspace_events_revision), ("KA", 4));
    // Who writes the edge's record takes it over.
    let settings = &mut rig.record_of(11).settings;
    (settings.keyspace_events, settings.keyspace_events_revision) = (told.keyspace_events, 4);
    rig.record_of(11).version += 1;
    rig.tell();
    rig.run(100);
    assert_eq!(rig.ask(11, 7, "CONFIG GET notify-keyspace-events"), "*2 $22 notify-keyspace-events $2 AK");
    rig.decide(|record| {
        (record.settings.keyspace_events, record.settings.keyspace_events_revision) = (String::new(), 5);
    });
    assert_eq!(rig.replica(11).regions[&1].keyspace_events_revision, 5);
}

#[test]
fn what_expires_is_told_once() {
    let mut rig = three();
    rig.ask(1, 7, "CONFIG SET notify-keyspace-events ExnK");
    rig.ask(2, 8, "SET a 1 PX 30");
    rig.ask(2, 8, "SADD s 1");
    rig.ask(2, 8, "PEXPIRE s 30");
    rig.run(200);
    let heard = events(&mut rig, 3, 19);
    assert_eq!(heard.matches("event:expired=a").count(), 1, "{heard}");
    assert_eq!(heard.matches("event:expired=s").count(), 1, "{heard}");
    assert_eq!(heard.matches("event:new=").count(), 2, "{heard}");
    // One that is written again before it was removed.
    rig.ask(2, 8, "SET a 1 PX 30");
    rig.now_us += 31_000;
    rig.say(2, 8, "SET a 2");
    rig.run(100);
    let heard = events(&mut rig, 3, 19);
    assert_eq!(heard, "space:a=new event:new=a space:a=expired event:expired=a space:a=new event:new=a");
}

#[test]
fn where_nobody_leads_the_coordinator_tells_and_where_regions_have_leaders_the_one_who_executes() {
    let mut rig = Rig::peers(3, 2, 2);
    listen(&mut rig, &[(1, 17), (3, 19)]);
    rig.open(2, 8);
    rig.ask(2, 8, "CONFIG SET notify-keyspace-events KA");
    rig.ask(2, 8, "SADD s 1 2");
    rig.ask(2, 8, "SREM s 1 2 3");
    let expected = "space:s=sadd space:s=srem space:s=del";
    assert_eq!([events(&mut rig, 1, 17), events(&mut rig, 3, 19)], [expected, expected]);

    let mut rig = Rig::regions(2, 1, 1);
    listen(&mut rig, &[(1, 17), (11, 19)]);
    [(1, 7), (11, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.ask(1, 7, "CONFIG SET notify-keyspace-events EA");
    rig.run(100);
    for (id, client) in [(1, 7), (11, 9)] {
        rig.ask(id, client, &format!("SET k{id} 1"));
        rig.run(300);
        let expected = format!("event:set=k{id}");
        assert_eq!([events(&mut rig, 1, 17), events(&mut rig, 11, 19)], [expected.clone(), expected], "by {id}");
    }
}

#[test]
fn a_key_that_was_not_found_is_told_by_who_has_looked() {
    let mut rig = three();
    rig.ask(1, 7, "CONFIG SET notify-keyspace-events Em");
    ["READONLY", "SESSION GUARANTEES NONE"].iter().for_each(|command| drop(rig.ask(3, 9, command)));
    assert_eq!(rig.ask(3, 9, "MGET a b a"), "*3 $-1 $-1 $-1");
    assert_eq!(rig.ask(2, 8, "GET c"), "$-1");
    let heard = events(&mut rig, 2, 18);
    assert_eq!(heard, "event:keymiss=a event:keymiss=b event:keymiss=a event:keymiss=c");
}

#[test]
fn what_follows_a_write_in_its_pipeline_is_heard_behind_what_the_write_has_done() {
    let mut rig = three();
    rig.ask(1, 7, "CONFIG SET notify-keyspace-events KA");
    ["SET k 1", "PUBLISH __key_own x"].iter().for_each(|command| rig.say(1, 7, command));
    rig.run(20);
    for (at, listener) in [(1, 17), (2, 18), (3, 19)] {
        assert_eq!(events(&mut rig, at, listener), "space:k=set _own=x", "at {at}");
    }
    // Who listens from now on does not hear of what was before.
    ["HELLO 3", "SET k 2", "PSUBSCRIBE __key*", "DEL k"].iter().for_each(|command| rig.say(1, 7, command));
    rig.run(20);
    let heard = rig.heard(1, 7);
    assert!(heard.contains("$3 del") && !heard.contains("$3 set"), "{heard}");
}

#[test]
fn no_more_waits_for_a_commit_than_a_bound() {
    let mut rig = three();
    rig.ask(1, 7, "CONFIG SET notify-keyspace-events KA");
    [2, 3].into_iter().for_each(|id| rig.nodes.get_mut(&id).unwrap().disk = false);
    // Large commands would take turns.
    let (key, count) = ("k".repeat(60_000), 160);
    (0..count).for_each(|_| rig.say(1, 7, &format!("SET {key} 1")));
    rig.run(20);
    [2, 3].into_iter().for_each(|id| rig.nodes.get_mut(&id).unwrap().disk = true);
    rig.run(60);
    let heard = events(&mut rig, 1, 17).matches("=set").count();
    assert!((count / 2..count).contains(&heard), "{heard}");
    let dropped = rig.replica(1).pubsub_counts().into_iter().find(|(name, _)| *name == "_dropped");
    assert_eq!(dropped, Some(("_dropped", (count - heard) as u64)));
}
