//! No leader: the same keys written at several replicas at the same time, with and without a network between them.

use std::{collections::BTreeSet, thread};

use crate::{
    leaderless::{of, one_way},
    support::{Client, Replica, Store},
    tools::{LEADERLESS, assert_healed, eventually, isolated},
};

/// Commands of each client in the tests below.
const ROUNDS: usize = 60;

/// What a replica answers from its own state.
fn local(replica: &Replica) -> Client {
    let mut client = replica.client();
    assert_eq!(client.call(&["READONLY"]).unwrap(), "+OK");
    assert_eq!(client.call(&["SESSION", "GUARANTEES", "NONE"]).unwrap(), "+OK");
    client
}

/// The members of a set, from the replica's own state.
fn members(replica: &Replica, key: &str) -> BTreeSet<String> {
    let mut client = local(replica);
    let count: usize = client.call(&["SMEMBERS", key]).unwrap().trim_start_matches(['*', '~']).parse().unwrap();
    (0..count).map(|_| client.reply().unwrap()).collect()
}

/// All replicas answer the same to this, from their own state: what.
fn agreed(store: &Store, command: &[&str]) -> String {
    let mut said: Vec<String> = store.replicas.iter().map(|r| local(r).call(command).unwrap()).collect();
    said.dedup();
    assert_eq!(said.len(), 1, "{command:?}: {said:?}");
    said.remove(0)
}

#[test]
fn dynamo_concurrent_writes_at_all_replicas_converge_counters_sum_and_sets_keep_all() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), LEADERLESS, &[]);
    let work = |number: usize, replica: &Replica| {
        let (mut client, mut counted) = (replica.client(), 0);
        for round in 0..ROUNDS {
            let value = format!("{number}:{round}");
            assert_eq!(client.call(&["SET", "register", &value]).unwrap(), "+OK");
            let raised: u64 = client.call(&["INCR", "counter"]).unwrap().trim_start_matches(':').parse().unwrap();
            assert!(raised > counted, "what a client has counted it sees: {raised} after {counted}");
            counted = raised;
            assert_eq!(client.call(&["SADD", "set", &value]).unwrap(), ":1");
            assert_eq!(client.call(&["HSET", "hash", &format!("f{number}"), &value]).unwrap().len(), 2);
        }
    };
    thread::scope(|scope| {
        for (number, replica) in store.replicas.iter().enumerate() {
            scope.spawn(move || work(number, replica));
        }
    });
    assert_healed(&store, &[]);
    assert_eq!(agreed(&store, &["GET", "counter"]), format!("${}", 3 * ROUNDS));
    assert!(agreed(&store, &["GET", "register"]).ends_with(&format!(":{}", ROUNDS - 1)), "somebody's last");
    for number in 0..3 {
        assert_eq!(agreed(&store, &["HGET", "hash", &format!("f{number}")]), format!("${number}:{}", ROUNDS - 1));
    }
    let all: BTreeSet<String> = (0..3).flat_map(|n| (0..ROUNDS).map(move |round| format!("${n}:{round}"))).collect();
    for replica in &store.replicas {
        assert_eq!(members(replica, "set"), all, "{}", replica.name);
    }
    store.stop();
}

#[test]
fn riak_both_sides_of_a_partition_write_and_nothing_of_either_is_lost() {
    if !isolated("concurrent::riak_both_sides_of_a_partition_write_and_nothing_of_either_is_lost") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), "  mode: Leaderless\n  w: 1\n  r: 1\n  writeOrder: Clock\n", &[]);
    let (apart, rest) = (store.replicas[2].clone(), store.replicas[0].clone());
    let mut sides = [rest.client(), apart.client()];
    for command in [&["SADD", "set", "old"][..], &["SET", "gone", "old"], &["INCR", "counter"]] {
        sides[0].call(command).unwrap();
    }
    eventually("everywhere", || local(&apart).call(&["EXISTS", "set", "gone", "counter"]).unwrap() == ":3");
    let firewall = |what: &str| {
        for other in &store.replicas[..2] {
            one_way(what, other, &apart);
            one_way(what, &apart, other);
        }
    };
    firewall("-A");
    store.wait_status("apart", |s| of(s, &apart.name)["peer"]["reaches"].as_array().map(Vec::len) == Some(1));
    for (side, client) in sides.iter_mut().enumerate() {
        let name = format!("side{side}");
        for round in 0..ROUNDS {
            assert_eq!(client.call(&["SADD", "set", &format!("{name}:{round}")]).unwrap(), ":1");
            assert!(client.call(&["INCR", "counter"]).unwrap().starts_with(':'));
            assert_eq!(client.call(&["SET", "register", &format!("{name}:{round}")]).unwrap(), "+OK");
        }
        // It has not seen what the other side adds: that stays.
        assert_eq!(client.call(&["SREM", "set", "old"]).unwrap(), ":1");
    }
    assert_eq!(sides[0].call(&["DEL", "gone"]).unwrap(), ":1");
    assert_eq!(sides[1].call(&["SET", "gone", "newer"]).unwrap(), "+OK");
    firewall("-D");
    assert_healed(&store, &[]);
    assert_eq!(agreed(&store, &["GET", "counter"]), format!("${}", 2 * ROUNDS + 1));
    assert_eq!(agreed(&store, &["GET", "register"]), format!("$side1:{}", ROUNDS - 1), "the later clock is read");
    assert_eq!(agreed(&store, &["GET", "gone"]), "$newer", "a removal removes only what it has seen");
    let all: BTreeSet<String> = (0..2).flat_map(|s| (0..ROUNDS).map(move |r| format!("$side{s}:{r}"))).collect();
    for replica in &store.replicas {
        assert_eq!(members(replica, "set"), all, "{}", replica.name);
    }
    store.stop();
}
