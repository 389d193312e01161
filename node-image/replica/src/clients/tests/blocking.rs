//! Commands that wait until a key has something: who is served, with what, and what happens when leaders change, times run out, or clients go.

use super::rig::Rig;
use crate::io::Input;

/// Says several commands at once.
fn say_all(rig: &mut Rig, id: u32, client: u64, commands: &[&str]) {
    commands.iter().for_each(|command| rig.say(id, client, command));
}

/// Ends a process, and lets another replica lead.
fn crash(rig: &mut Rig, gone: u32, next: u32) {
    rig.isolate(gone);
    rig.nodes.get_mut(&gone).unwrap().running = false;
    rig.fail_over(next);
    rig.run(300);
}

#[test]
fn who_began_to_wait_first_is_served_first_wherever_it_is_connected() {
    let mut rig = Rig::serving(3, 2);
    for (id, client) in [(2, 20), (1, 10), (3, 30), (1, 11), (1, 9)] {
        rig.open(id, client);
    }
    for (id, client) in [(2, 20), (1, 10), (3, 30), (1, 11)] {
        rig.say(id, client, "BLPOP q r 0");
        rig.run(5);
    }
    assert_eq!(rig.ask(1, 9, "RPUSH q a b"), ":2");
    assert_eq!(rig.heard(2, 20), "*2 $1 q $1 a");
    assert_eq!(rig.heard(1, 10), "*2 $1 q $1 b");
    assert_eq!((rig.heard(3, 30).as_str(), rig.heard(1, 11).as_str()), ("", ""));
    assert_eq!(rig.ask(1, 9, "LPUSH r c"), ":1");
    assert_eq!((rig.heard(3, 30).as_str(), rig.heard(1, 11).as_str()), ("*2 $1 r $1 c", ""));
    assert_eq!(rig.ask(1, 9, "EXISTS q r"), ":0");
}

#[test]
fn a_push_serves_those_who_wait_before_anything_else_is_executed() {
    let mut rig = Rig::serving(3, 2);
    [(2, 20), (1, 10), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(2, 20, "BLPOP q 0");
    rig.run(5);
    rig.say(1, 10, "BRPOP q 0");
    // In one turn: an ordinary pop finds what those who wait have left.
    say_all(&mut rig, 1, 9, &["RPUSH q a b c", "LPOP q", "LPOP q"]);
    rig.run(10);
    assert_eq!(rig.heard(1, 9), ":3 $1 b $-1");
    assert_eq!((rig.heard(2, 20).as_str(), rig.heard(1, 10).as_str()), ("*2 $1 q $1 a", "*2 $1 q $1 c"));
}

#[test]
fn a_transaction_serves_those_who_wait_when_it_is_whole_and_waits_for_nothing_itself() {
    let mut rig = Rig::serving(3, 2);
    [(2, 20), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(2, 20, "BLPOP q 0");
    rig.run(5);
    say_all(
        &mut rig,
        1,
        9,
        &["MULTI", "RPUSH q a b", "DEL q", "RPUSH q c", "BLPOP nothing 0", "BLMOVE nothing q left left 0", "EXEC"],
    );
    rig.run(10);
    assert_eq!(rig.heard(1, 9).split("*5 ").nth(1), Some(":2 :1 :1 *-1 $-1"));
    assert_eq!(rig.heard(2, 20), "*2 $1 q $1 c");
    // A key that is gone again when the transaction ends serves nobody.
    rig.say(2, 20, "BLPOP q 0");
    rig.run(5);
    say_all(&mut rig, 1, 9, &["MULTI", "RPUSH q a", "LPOP q", "EXEC"]);
    rig.run(10);
    assert_eq!(rig.heard(2, 20), "");
}

#[test]
fn who_is_served_may_serve_others() {
    let mut rig = Rig::serving(3, 2);
    [(2, 20), (3, 30), (1, 10), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(2, 20, "BLMOVE c d left right 0");
    rig.run(5);
    rig.say(3, 30, "BRPOPLPUSH b c 0");
    rig.run(5);
    rig.say(1, 10, "BLMOVE a b right left 0");
    assert_eq!(rig.ask(1, 9, "RPUSH a x"), ":1");
    assert_eq!([rig.heard(2, 20), rig.heard(3, 30), rig.heard(1, 10)], ["$1 x", "$1 x", "$1 x"]);
    assert_eq!(rig.ask(1, 9, "LRANGE d 0 -1"), "*1 $1 x");
    assert_eq!(rig.ask(1, 9, "EXISTS a b c"), ":0");
}

#[test]
fn sorted_sets_and_lists_are_waited_for_by_type() {
    let mut rig = Rig::serving(2, 2);
    [(2, 20), (2, 21), (2, 22), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(2, 20, "BLPOP k 0");
    rig.say(2, 21, "HELLO 3");
    rig.say(2, 21, "BZPOPMAX k 0");
    rig.say(2, 22, "BZMPOP 0 2 other k MIN COUNT 9");
    rig.run(5);
    rig.heard(2, 21);
    // A key of another type wakes nobody; one of the right type only those who want it.
    assert_eq!(rig.ask(1, 9, "SET k v"), "+OK");
    assert_eq!(rig.ask(1, 9, "DEL k"), ":1");
    assert_eq!(rig.ask(1, 9, "ZADD k 1 a 2 b 3 c"), ":3");
    assert_eq!(rig.heard(2, 21), "*3 $1 k $1 c ,3");
    assert_eq!(rig.heard(2, 22), "*2 $1 k *2 *2 $1 a $1 1 *2 $1 b $1 2");
    assert_eq!(rig.heard(2, 20), "");
    assert_eq!(rig.ask(1, 9, "RPUSH k x"), ":1");
    assert_eq!(rig.heard(2, 20), "*2 $1 k $1 x");
}

#[test]
fn a_command_that_is_tried_again_is_the_whole_command() {
    let mut rig = Rig::serving(2, 2);
    [(2, 20), (2, 21), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(2, 20, "BLPOP a b 0");
    rig.say(2, 21, "BLMOVE from to left left 0");
    rig.run(5);
    // As Redis 7.2 has it: what it finds is what it would have found had it come now.
    rig.ask(1, 9, "SET a text");
    assert_eq!(rig.heard(2, 20), "");
    rig.ask(1, 9, "RPUSH b x");
    assert!(rig.heard(2, 20).starts_with("-WRONGTYPE"));
    rig.ask(1, 9, "SET to text");
    rig.ask(1, 9, "RPUSH from x");
    assert!(rig.heard(2, 21).starts_with("-WRONGTYPE"));
    assert_eq!(rig.ask(1, 9, "LLEN from"), ":1", "an error has no effect");
}

#[test]
fn keys_that_come_by_other_commands_serve_too() {
    let mut rig = Rig::serving(2, 2);
    [(2, 20), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    for (before, command) in
        [("RPUSH x 1", "RENAME x q"), ("RPUSH x 1", "COPY x q"), ("RPUSH x 1", "LMOVE x q left left")]
    {
        rig.say(2, 20, "BLPOP q 0");
        rig.run(5);
        rig.ask(1, 9, before);
        rig.ask(1, 9, command);
        assert_eq!(rig.heard(2, 20), "*2 $1 q $1 1", "{command}");
        rig.ask(1, 9, "DEL x");
    }
}

#[test]
fn the_first_key_in_the_order_of_the_arguments_is_taken() {
    let mut rig = Rig::serving(2, 2);
    [(2, 20), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.ask(1, 9, "RPUSH b 1");
    rig.ask(1, 9, "RPUSH c 2");
    assert_eq!(rig.ask(2, 20, "BLPOP a b c 0"), "*2 $1 b $1 1");
    assert_eq!(rig.ask(1, 9, "BRPOP a b c 0"), "*2 $1 c $1 2");
    rig.say(2, 20, "BLMPOP 0 3 a b c LEFT COUNT 2");
    rig.run(5);
    say_all(&mut rig, 1, 9, &["MULTI", "RPUSH c 1 2 3", "RPUSH a 7 8 9", "EXEC"]);
    rig.run(10);
    assert_eq!(rig.heard(2, 20), "*2 $1 a *2 $1 7 $1 8");
}

#[test]
fn nothing_in_time_is_said_in_time() {
    let mut rig = Rig::serving(3, 2);
    [(1, 10), (2, 20), (2, 21), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(2, 21, "HELLO 3");
    rig.run(5);
    rig.heard(2, 21);
    for (id, client) in [(1, 10), (2, 20), (2, 21)] {
        rig.say(id, client, if client == 20 { "BLMOVE a b left left 0.2" } else { "BLPOP a b 0.2" });
    }
    rig.run(195);
    assert_eq!([rig.heard(1, 10), rig.heard(2, 20), rig.heard(2, 21)], ["", "", ""]);
    rig.run(10);
    assert_eq!([rig.heard(1, 10), rig.heard(2, 20), rig.heard(2, 21)], ["*-1", "*-1", "_"]);
    assert_eq!(rig.ask(1, 9, "RPUSH a x"), ":1", "nobody waits any more");
    assert_eq!(rig.ask(1, 9, "LLEN a"), ":1");
    rig.ask(1, 9, "DEL a");
    // The time-out of requests ends none of them, on the leader or elsewhere.
    for (id, client, command) in [(1, 10, "BLPOP a 15"), (2, 20, "BLPOP a 15"), (2, 21, "BLPOP a 0")] {
        rig.say(id, client, command);
    }
    rig.run(14_900);
    assert_eq!([rig.heard(1, 10), rig.heard(2, 20), rig.heard(2, 21)], ["", "", ""]);
    rig.run(200);
    assert_eq!([rig.heard(1, 10), rig.heard(2, 20), rig.heard(2, 21)], ["*-1", "*-1", ""]);
    assert_eq!(rig.ask(1, 9, "RPUSH a x"), ":1");
    assert_eq!(rig.heard(2, 21), "*2 $1 a $1 x");
}

#[test]
fn deadlines_are_told_to_the_shell() {
    let mut rig = Rig::serving(1, 1);
    rig.open(1, 9);
    rig.run(2); // Its next tick is far away.
    rig.say(1, 9, "BLPOP a 0.007");
    let began_us = rig.now_us;
    (0..5).for_each(|_| rig.turn());
    assert_eq!(rig.deadline_us(1), began_us + 7_000);
    rig.now_us += 7_000;
    (0..3).for_each(|_| rig.turn());
    assert_eq!(rig.heard(1, 9), "*-1");
}

#[test]
fn what_is_behind_a_command_that_waits_waits() {
    let mut rig = Rig::serving(3, 2);
    [(1, 10), (2, 20), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    for (id, client) in [(2, 20), (1, 10)] {
        say_all(&mut rig, id, client, &["SET before 1", "BLPOP q 0", "INCR n", "GET n", "PING", "BLPOP q 0", "INCR n"]);
    }
    rig.run(12_000);
    assert_eq!([rig.heard(2, 20), rig.heard(1, 10)], ["+OK", "+OK"]);
    assert_eq!(rig.ask(1, 9, "EXISTS n"), ":0", "nothing overtakes");
    rig.ask(1, 9, "RPUSH q a");
    assert!(rig.heard(2, 20).is_empty() || rig.heard(1, 10).is_empty());
    rig.ask(1, 9, "RPUSH q b c d");
    rig.run(50);
    assert_eq!(rig.ask(1, 9, "GET n"), "$1 4");
    assert_eq!(rig.ask(1, 9, "EXISTS q"), ":0");
}

#[test]
fn who_waits_through_a_follower_is_served_once_by_the_leader_that_comes_after() {
    let mut rig = Rig::serving(3, 2);
    [(2, 20), (3, 30), (3, 31)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(3, 30, "BLPOP q 30");
    rig.say(3, 31, "BLPOP other 2");
    rig.run(1_000);
    crash(&mut rig, 1, 2);
    assert_eq!(rig.heard(3, 30), "");
    rig.run(1_000);
    assert_eq!(rig.heard(3, 31), "*-1", "its time goes on while there is no leader");
    assert_eq!(rig.ask(2, 20, "RPUSH q a b"), ":2");
    assert_eq!(rig.heard(3, 30), "*2 $1 q $1 a");
    assert_eq!(rig.ask(2, 20, "LRANGE q 0 -1"), "*1 $1 b");
    // The one that waited for nothing more has left nobody behind.
    rig.ask(2, 20, "RPUSH other x");
    assert_eq!(rig.ask(2, 20, "LLEN other"), ":1");
}

#[test]
fn a_pop_that_was_executed_is_not_executed_again_by_the_next_leader() {
    for reply_arrives in [false, true] {
        let mut rig = Rig::serving(3, 2);
        [(1, 9), (2, 20), (3, 30)].into_iter().for_each(|(id, client)| rig.open(id, client));
        rig.say(3, 30, "BLPOP q 30");
        rig.run(5);
        // Pushed and popped on the leader and on replica 2; the forwarder hears nothing of it before the leader is gone.
        rig.cut.insert((1, 3));
        rig.say(1, 9, "RPUSH q a b");
        if reply_arrives {
            rig.run(5);
            assert_eq!(rig.heard(1, 9), ":2");
        } else {
            // The entries reach replica 2, and the leader dies before it hears of that.
            (0..2).for_each(|_| rig.turn());
        }
        crash(&mut rig, 1, 2);
        rig.run(100);
        let length = rig.ask(2, 20, "LRANGE q 0 -1");
        let heard = rig.heard(3, 30);
        assert_eq!((heard.as_str(), length.as_str()), ("*2 $1 q $1 a", "*1 $1 b"), "reply: {reply_arrives}");
    }
}

#[test]
fn clients_of_a_leader_that_steps_down_go_on_waiting_through_it() {
    let mut rig = Rig::serving(3, 2);
    [(1, 10), (1, 11), (2, 20)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(1, 10, "BLPOP q 0");
    rig.say(1, 11, "BLPOP p 1");
    rig.run(100);
    rig.fail_over(2);
    rig.run(300);
    assert_eq!((rig.heard(1, 10).as_str(), rig.replica(1).clients.waiters.is_empty()), ("", true));
    rig.run(700);
    assert_eq!(rig.heard(1, 11), "*-1");
    assert_eq!(rig.ask(2, 20, "RPUSH q a"), ":1");
    assert_eq!(rig.heard(1, 10), "*2 $1 q $1 a");
}

#[test]
fn what_was_pushed_and_not_committed_serves_nobody() {
    let mut rig = Rig::serving(3, 2);
    [(1, 9), (1, 10), (2, 20)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(1, 10, "BLPOP q 0");
    rig.run(100);
    // The leader executes a push and the pop behind it; none of it gets a copy.
    rig.cut.insert((1, 2));
    rig.cut.insert((1, 3));
    rig.say(1, 9, "RPUSH q lost");
    rig.run(5);
    assert_eq!((rig.heard(1, 9).as_str(), rig.heard(1, 10).as_str()), ("", ""));
    rig.isolate(1);
    rig.fail_over(2);
    rig.run(100);
    rig.connect(1, 2);
    rig.connect(1, 3);
    rig.run(300);
    assert_eq!(rig.ask(2, 20, "RPUSH q kept"), ":1");
    assert_eq!(rig.heard(1, 10), "*2 $1 q $4 kept");
}

#[test]
fn a_forwarder_that_is_cut_off_asks_again_and_keeps_its_client_waiting() {
    let mut rig = Rig::serving(3, 2);
    [(1, 9), (3, 30)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(3, 30, "BLPOP q 0");
    rig.run(100);
    rig.isolate(3);
    rig.run(100);
    assert!(rig.replica(1).clients.waiters.is_empty(), "who cannot be answered is not served");
    assert_eq!(rig.ask(1, 9, "RPUSH q a"), ":1");
    rig.run(12_000);
    assert_eq!(rig.heard(3, 30), "");
    [1, 2].into_iter().for_each(|other| rig.connect(3, other));
    rig.run(300);
    assert_eq!(rig.heard(3, 30), "*2 $1 q $1 a");
}

#[test]
fn who_is_gone_is_not_served() {
    let mut rig = Rig::serving(3, 2);
    [(1, 9), (1, 10), (1, 11), (2, 20), (2, 21), (2, 22)].into_iter().for_each(|(id, client)| rig.open(id, client));
    for (id, client) in [(1, 10), (1, 11), (2, 20), (2, 21), (2, 22)] {
        rig.say(id, client, "BLPOP q 0");
        rig.run(5);
    }
    for (id, client) in [(1, 10), (2, 20)] {
        rig.step(id, Input::ClientClosed(client));
    }
    // The end of what they send is the end of their waiting.
    for (id, client) in [(1, 11), (2, 21)] {
        rig.step(id, Input::LastWords { client, words: b"" });
    }
    rig.run(10);
    for (id, client) in [(1, 11), (2, 21)] {
        assert_eq!(rig.heard(id, client), "*-1");
        assert!(rig.nodes[&id].closed.contains(&client));
    }
    assert_eq!(rig.ask(1, 9, "RPUSH q a"), ":1");
    assert_eq!(rig.heard(2, 22), "*2 $1 q $1 a");
    // In the turn in which it goes, too.
    rig.open(1, 12);
    rig.say(1, 12, "BLPOP q 0");
    rig.run(5);
    rig.step(1, Input::ClientClosed(12));
    assert_eq!(rig.ask(1, 9, "RPUSH q b"), ":1");
    assert_eq!(rig.ask(1, 9, "LLEN q"), ":1");
}

#[test]
fn clients_are_released_by_others() {
    let mut rig = Rig::serving(3, 2);
    [(1, 9), (1, 10), (1, 11), (2, 8), (2, 20), (2, 21), (2, 22)]
        .into_iter()
        .for_each(|(id, client)| rig.open(id, client));
    for (id, client) in [(1, 10), (1, 11), (2, 20), (2, 21)] {
        rig.say(id, client, "BLPOP q 0");
    }
    rig.say(2, 22, "WAIT 9 0");
    rig.run(5);
    assert_eq!(rig.ask(1, 9, "CLIENT UNBLOCK 9"), ":0");
    assert_eq!(rig.ask(1, 9, "CLIENT UNBLOCK 20"), ":0", "it is connected elsewhere");
    assert_eq!([rig.ask(1, 9, "CLIENT UNBLOCK 10"), rig.ask(1, 9, "CLIENT UNBLOCK 11 ERROR")], [":1", ":1"]);
    assert_eq!([rig.ask(2, 8, "CLIENT UNBLOCK 20 TIMEOUT"), rig.ask(2, 8, "CLIENT UNBLOCK 21 error")], [":1", ":1"]);
    let error = "-UNBLOCKED client unblocked via CLIENT UNBLOCK";
    assert_eq!([rig.heard(1, 10), rig.heard(1, 11)], ["*-1", error]);
    assert_eq!([rig.heard(2, 20), rig.heard(2, 21)], ["*-1", error]);
    rig.ask(1, 9, "RPUSH q a");
    assert_eq!(rig.ask(1, 9, "LLEN q"), ":1");
    // Who waits for copies is released in the same way.
    rig.say(1, 10, "WAIT 5 0");
    rig.run(5);
    assert_eq!([rig.ask(1, 9, "CLIENT UNBLOCK 10 ERROR"), rig.heard(1, 10)], [":1", error]);
    assert!(rig.ask(1, 9, "INFO clients").contains("blocked_clients:0"));
}

#[test]
fn a_release_and_a_push_at_once_lose_nothing() {
    let mut rig = Rig::serving(3, 2);
    [(1, 9), (2, 8), (2, 20)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(2, 20, "BLPOP q 0");
    rig.run(5);
    // The push is executed before the release arrives: its element is the answer.
    rig.say(2, 8, "CLIENT UNBLOCK 20 ERROR");
    rig.say(1, 9, "RPUSH q a");
    rig.run(5);
    assert_eq!((rig.heard(2, 20).as_str(), rig.heard(2, 8).as_str()), ("*2 $1 q $1 a", ":1"));
    // The time is over at the leader, and a release is on its way: the next element stays.
    rig.say(2, 20, "BLPOP q 0.1");
    rig.run(99);
    for _ in 0..12 {
        rig.say(2, 8, "CLIENT UNBLOCK 20");
        rig.turn();
        rig.now_us += 200;
    }
    rig.say(1, 9, "RPUSH q b");
    rig.run(5);
    assert_eq!(rig.heard(2, 20), "*-1");
    assert_eq!(rig.ask(1, 9, "LLEN q").rsplit(' ').next(), Some(":1"));
}

#[test]
fn too_few_members_refuse_who_comes_and_do_not_end_who_waits() {
    let mut rig = Rig::serving(3, 2);
    [9, 10, 11].into_iter().for_each(|client| rig.open(1, client));
    rig.say(1, 10, "BLPOP q 0");
    rig.run(5);
    rig.isolate(1);
    rig.run(1_500);
    assert!(rig.ask(1, 11, "BLPOP q 0").starts_with("-NOREPLICAS"));
    rig.run(12_000);
    assert_eq!(rig.heard(1, 10), "");
    [2, 3].into_iter().for_each(|other| rig.connect(1, other));
    rig.run(300);
    assert_eq!(rig.ask(1, 9, "RPUSH q a"), ":1");
    assert_eq!(rig.heard(1, 10), "*2 $1 q $1 a");
}

#[test]
fn a_replica_that_ends_lets_those_go_who_wait() {
    let mut rig = Rig::serving(3, 2);
    [(2, 20), (2, 21), (1, 9)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.say(2, 20, "BLPOP q 0");
    rig.run(5);
    rig.step(2, Input::Shutdown);
    rig.say(2, 21, "BLPOP q 0");
    rig.run(10);
    for client in [20, 21] {
        let heard = rig.heard(2, client);
        assert!(heard.starts_with("-UNBLOCKED force unblock"), "{heard}");
    }
    rig.run(10);
    assert!(rig.nodes[&2].finished);
    assert_eq!(rig.ask(1, 9, "RPUSH q a"), ":1");
    assert_eq!(rig.ask(1, 9, "LLEN q"), ":1");
}

#[test]
fn a_pop_by_who_waited_changes_what_is_watched() {
    let mut rig = Rig::serving(3, 2);
    [(2, 20), (1, 9), (1, 10)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.ask(1, 9, "RPUSH q a");
    rig.say(2, 20, "BLMOVE p q left left 0");
    rig.run(5);
    rig.ask(1, 10, "WATCH q");
    rig.ask(1, 9, "RPUSH p x");
    assert_eq!(rig.heard(2, 20), "$1 x");
    say_all(&mut rig, 1, 10, &["MULTI", "INCR n", "EXEC"]);
    rig.run(5);
    assert!(rig.heard(1, 10).ends_with("*-1"), "what was watched has changed");
}

#[test]
fn what_is_pushed_is_popped_once_whatever_happens_at_once() {
    let mut rig = Rig::serving(3, 2);
    let clients: Vec<(u32, u64)> = (0..30).map(|client| (1 + client as u32 % 3, 100 + client)).collect();
    clients.iter().for_each(|(id, client)| rig.open(*id, *client));
    let mut pushed = 0;
    for round in 0..40u64 {
        for (id, client) in &clients {
            let key = (client * 7 + round) % 5;
            let command = match (client + round) % 4 {
                0 => format!("BLPOP k{key} k{} 0.05", (key + 1) % 5),
                1 => format!("BRPOP k{key} 0.02"),
                2 => format!("RPUSH k{key} e{round}.{client}"),
                _ => format!("LPOP k{key}"),
            };
            pushed += usize::from((client + round) % 4 == 2);
            rig.say(*id, *client, &command);
        }
        rig.run(5);
        if round % 8 == 7 {
            rig.run(15); // All that was executed is everywhere: any of them may lead.
            rig.fail_over(1 + (round / 8) as u32 % 3);
        }
    }
    rig.run(1_000);
    let mut popped: Vec<String> = Vec::new();
    for (id, client) in &clients {
        let heard = rig.heard(*id, *client);
        assert!(!heard.contains("-ERR") && !heard.contains("-INDOUBT"), "{heard}");
        popped.extend(heard.split(' ').filter(|word| word.starts_with('e')).map(str::to_owned));
    }
    let all = popped.len();
    popped.sort_unstable();
    popped.dedup();
    assert_eq!(all, popped.len(), "one was popped twice");
    rig.open(1, 9);
    let left: usize = (0..5).map(|key| rig.ask(1, 9, &format!("LLEN k{key}"))[1..].parse::<usize>().unwrap()).sum();
    assert_eq!(all + left, pushed, "what was popped came to somebody");
    let digests: Vec<u64> = rig.nodes.values().map(|node| node.replica.engine.digest_total()).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert!(rig.nodes.values().all(|node| node.replica.clients.waiters.is_empty()));
}

/// Three replicas of which none leads.
mod leaderless {
    use super::*;

    fn peers() -> Rig {
        let mut rig = Rig::peers(3, 2, 2);
        for (id, client) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (3, 31)] {
            rig.open(id, client);
        }
        rig
    }

    #[test]
    fn who_waits_gets_what_is_pushed_anywhere_in_their_order() {
        let mut rig = peers();
        rig.say(1, 11, "BLPOP q 0");
        rig.run(20);
        rig.say(1, 10, "BLPOP p q 0");
        rig.run(20);
        rig.say(1, 12, "BLPOP q 0");
        rig.run(20);
        assert_eq!(rig.ask(2, 20, "RPUSH q a b"), ":2");
        rig.run(20);
        assert_eq!([rig.heard(1, 11), rig.heard(1, 10), rig.heard(1, 12)], ["*2 $1 q $1 a", "*2 $1 q $1 b", ""]);
        assert_eq!(rig.ask(3, 30, "LLEN q"), ":0");
        // The coordinator's own push, and what its client has sent behind.
        say_all(&mut rig, 1, 12, &["INCR n", "GET n"]);
        assert_eq!(rig.ask(1, 10, "RPUSH q c"), ":1");
        rig.run(20);
        assert_eq!(rig.heard(1, 12), "*2 $1 q $1 c :1 $1 1");
        assert_eq!(rig.ask(3, 30, "LLEN q"), ":0");
    }

    #[test]
    fn nothing_in_time_is_said_in_time_and_nothing_else_ends_it() {
        let mut rig = peers();
        rig.say(1, 10, "BLPOP q 0.2");
        rig.say(1, 11, "BLPOP q 15");
        rig.say(1, 12, "BZPOPMIN z 0");
        rig.run(190);
        assert_eq!(rig.heard(1, 10), "");
        rig.run(30);
        assert_eq!(rig.heard(1, 10), "*-1");
        rig.run(14_500);
        assert_eq!(rig.heard(1, 11), "");
        rig.run(400);
        assert_eq!(rig.heard(1, 11), "*-1");
        assert_eq!(rig.ask(3, 30, "RPUSH q a"), ":1");
        rig.ask(3, 30, "ZADD z 1 m");
        rig.run(20);
        assert_eq!(rig.heard(1, 12), "*3 $1 z $1 m $1 1");
        assert_eq!(rig.ask(3, 30, "LLEN q"), ":1");
    }

    #[test]
    fn who_is_cut_off_goes_on_waiting_and_is_not_answered_by_one_replica_alone() {
        let mut rig = peers();
        rig.say(1, 10, "BLPOP q 0");
        rig.run(20);
        rig.isolate(1);
        rig.run(1_500);
        rig.say(1, 11, "RPUSH q own");
        rig.run(12_000);
        assert_eq!(rig.heard(1, 10), "");
        assert!(rig.heard(1, 11).starts_with('-'));
        assert_eq!(rig.ask(2, 20, "RPUSH q a"), ":1");
        [2, 3].into_iter().for_each(|other| rig.connect(1, other));
        rig.run(1_000);
        assert_eq!(rig.heard(1, 10), "*2 $1 q $1 a");
        rig.run(100);
        assert_eq!(rig.ask(2, 20, "LLEN q"), ":0");
    }

    #[test]
    fn those_who_are_served_at_once_are_served_in_their_order() {
        let mut rig = peers();
        // This one's command stands behind another for a while: it begins to wait after the other one's.
        say_all(&mut rig, 1, 12, &["SET a 1", "WAIT 9 300", "BLPOP q 0"]);
        rig.run(20);
        rig.say(1, 11, "BLPOP q 0");
        rig.run(400);
        assert_eq!(rig.heard(1, 12), "+OK :2");
        rig.ask(2, 20, "RPUSH q a b");
        rig.run(50);
        assert_eq!([rig.heard(1, 11), rig.heard(1, 12)], ["*2 $1 q $1 a", "*2 $1 q $1 b"]);
    }

    #[test]
    fn what_is_in_the_own_state_alone_serves_nobody() {
        let mut rig = peers();
        rig.say(1, 10, "BLPOP q 0");
        rig.run(20);
        // What the others say to the first one is kept, while one pushes and pops.
        let mut kept = Vec::new();
        let mut without_first = |rig: &mut Rig, command: &str| {
            rig.say(3, 30, command);
            for _ in 0..40 {
                rig.turn_of(2);
                rig.turn_of(3);
                let (to_first, others): (Vec<_>, Vec<_>) = rig.under_way.drain(..).partition(|(_, to, _)| *to == 1);
                kept.push(to_first);
                others.into_iter().for_each(|message| rig.deliver(message));
            }
            (rig.heard(3, 30), std::mem::take(&mut kept))
        };
        let (pushed, of_push) = without_first(&mut rig, "RPUSH q a");
        let (popped, _) = without_first(&mut rig, "LPOP q");
        assert_eq!((pushed.as_str(), popped.as_str()), (":1", "$1 a"));
        of_push.into_iter().flatten().for_each(|message| rig.deliver(message));
        rig.run(1_000);
        assert_eq!(rig.heard(1, 10), "", "it was popped elsewhere before");
        rig.ask(3, 30, "RPUSH q b");
        rig.run(100);
        assert_eq!(rig.heard(1, 10), "*2 $1 q $1 b");
    }

    #[test]
    fn who_is_gone_or_released_is_not_served() {
        let mut rig = peers();
        for client in [10, 11, 12] {
            rig.say(1, client, "BLPOP q 0");
            rig.run(20);
        }
        rig.open(1, 13);
        rig.step(1, Input::ClientClosed(10));
        rig.step(1, Input::LastWords { client: 11, words: b"" });
        assert_eq!(rig.ask(1, 13, "CLIENT UNBLOCK 12 ERROR"), ":1");
        assert_eq!(rig.heard(1, 12), "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
        assert_eq!(rig.heard(1, 11), "*-1");
        assert!(rig.nodes[&1].closed.contains(&11));
        rig.ask(2, 20, "RPUSH q a");
        rig.run(50);
        assert_eq!(rig.ask(2, 20, "LLEN q"), ":1");
        assert!(rig.replica(1).clients.waiters.is_empty());
    }

    #[test]
    fn a_level_of_its_own_is_kept_while_it_waits() {
        let mut rig = peers();
        rig.say(1, 10, "CONSISTENCY ALL CALL BLPOP q 0");
        rig.run(20);
        rig.say(2, 20, "RPUSH q a");
        rig.run(50);
        assert_eq!(rig.heard(1, 10), "*2 $1 q $1 a");
        rig.say(1, 10, "CONSISTENCY ALL CALL BLPOP q 0");
        rig.run(20);
        rig.isolate(3);
        rig.run(2_000);
        rig.say(2, 20, "RPUSH q b");
        rig.run(1_000);
        assert_eq!(rig.heard(1, 10), "", "one of all is missing");
        [1, 2].into_iter().for_each(|other| rig.connect(3, other));
        rig.run(1_000);
        assert_eq!(rig.heard(1, 10), "*2 $1 q $1 b");
    }

    #[test]
    fn a_replica_that_ends_lets_those_go_who_wait() {
        let mut rig = peers();
        rig.say(1, 10, "BLPOP q 0");
        rig.run(20);
        rig.step(1, Input::Shutdown);
        rig.run(10);
        assert!(rig.heard(1, 10).starts_with("-UNBLOCKED force unblock"));
    }
}
