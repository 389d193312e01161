//! Keys that the leader evicts: what clients see of it, and what other replicas have.

use trireme_proto::topology::{ClientLimits, Eviction};

use crate::io::Input;

use super::rig::Rig;

const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";

/// Three replicas with this bound, of which the first leads; clients 8 and 9 are its own, and 7 and 6 the others'.
fn rig(memory_bytes: u64, eviction: Eviction) -> Rig {
    let mut rig = Rig::serving(3, 2);
    rig.decide(|record| {
        record.settings.limits =
            Some(ClientLimits { memory_bytes, eviction: eviction as i32, ..ClientLimits::default() });
    });
    [(1, 8), (1, 9), (2, 7), (3, 6)].into_iter().for_each(|(id, client)| rig.open(id, client));
    rig.run(60);
    rig
}

fn value_of(rig: &mut Rig, id: u32, client: u64, section: &str, field: &str) -> u64 {
    let text = rig.ask(id, client, &format!("INFO {section}"));
    let value = text.split(' ').find_map(|word| word.strip_prefix(field)?.strip_prefix(':')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {field} in {text}"))
}

fn evicted(rig: &mut Rig, id: u32, client: u64) -> u64 {
    value_of(rig, id, client, "stats", "evicted_keys")
}

/// Writes keys with 100 bytes each, of the second that it is.
fn fill(rig: &mut Rig, id: u32, client: u64, keys: std::ops::Range<u32>) {
    for key in keys {
        assert_eq!(rig.ask(id, client, &format!("SET k:{key} {}", "v".repeat(100))), "+OK", "{key}");
    }
}

/// All replicas hold the same, and as many keys as this.
fn keys_everywhere(rig: &mut Rig) -> u64 {
    rig.run(200);
    let digests = [1, 2, 3].map(|id| rig.replica(id).engine.digest_total());
    assert_eq!(digests, [digests[0]; 3]);
    let counts = [1, 2, 3].map(|id| rig.replica(id).engine.key_count());
    assert_eq!(counts, [counts[0]; 3]);
    counts[0]
}

#[test]
fn the_leader_evicts_for_all_and_nobody_else_does() {
    let mut rig = rig(40_000, Eviction::AllKeysLru);
    fill(&mut rig, 1, 8, 0..500);
    let gone = evicted(&mut rig, 1, 8);
    assert!(gone > 100, "{gone}");
    assert_eq!(keys_everywhere(&mut rig), 500 - gone);
    let most = rig.replica(1).engine.data_bytes();
    assert!(most <= 40_000 + 40_000 / 16, "{most}");
    // Another's client is served by the same rule, and counted there.
    fill(&mut rig, 2, 7, 500..600);
    assert!(evicted(&mut rig, 1, 8) > gone);
    assert_eq!(evicted(&mut rig, 2, 7), 0);
    // A follower whose process has far too much neither evicts nor refuses.
    rig.step(2, Input::Memory(1 << 40));
    let before = keys_everywhere(&mut rig);
    rig.run(1_000);
    assert_eq!(keys_everywhere(&mut rig), before);
    assert_eq!(rig.ask(1, 8, "INFO memory").split(' ').filter(|w| *w == "maxmemory_policy:allkeys-lru").count(), 1);
}

#[test]
fn what_is_read_stays() {
    let mut rig = rig(40_000, Eviction::AllKeysLru);
    fill(&mut rig, 1, 8, 0..100);
    for key in 100..1_000 {
        rig.run(20);
        fill(&mut rig, 1, 8, key..key + 1);
        for hot in 0..20 {
            // In each of the ways that count.
            let command = ["GET", "STRLEN", "TOUCH"][hot % 3];
            rig.ask(1, 9, &format!("{command} k:{hot}"));
        }
    }
    let left = (0..20).filter(|hot| rig.ask(1, 9, &format!("EXISTS k:{hot}")) == ":1").count();
    assert!(left >= 19, "{left} of 20 that are read all the time are left");
    let others = (20..100).filter(|cold| rig.ask(1, 9, &format!("EXISTS k:{cold}")) == ":1").count();
    assert!(others <= 2, "{others} of 80 that nobody reads are left");
}

#[test]
fn idle_times_are_of_reads_that_count() {
    let mut rig = rig(0, Eviction::NoEviction);
    rig.ask(1, 8, "CONFIG SET maxmemory-policy allkeys-lru");
    rig.run(60);
    for command in ["SET s v", "HSET h f v", "SADD m 1", "SET t v"] {
        rig.ask(1, 8, command);
    }
    rig.run(10_000);
    let idle = |rig: &mut Rig| ["s", "h", "m"].map(|key| rig.ask(1, 9, &format!("OBJECT IDLETIME {key}")));
    assert_eq!(idle(&mut rig), [":10"; 3]);
    for looks in ["EXISTS s h m", "TYPE h", "TTL m", "OBJECT ENCODING s", "OBJECT ENCODING h", "MEMORY USAGE m"] {
        rig.ask(1, 8, looks);
    }
    assert_eq!(idle(&mut rig), [":10"; 3], "who only looks does not use");
    rig.ask(1, 8, "CLIENT NO-TOUCH on");
    ["GET s", "HGETALL h", "SMEMBERS m"].iter().for_each(|command| drop(rig.ask(1, 8, command)));
    assert_eq!(idle(&mut rig), [":10"; 3], "nor who says so");
    rig.ask(1, 8, "CLIENT NO-TOUCH off");
    ["GET s", "HGETALL h", "SISMEMBER m 2"].iter().for_each(|command| drop(rig.ask(1, 8, command)));
    assert_eq!(idle(&mut rig), [":0"; 3]);
    assert_eq!(rig.ask(1, 9, "OBJECT IDLETIME none"), "$-1");
    assert_eq!(rig.ask(1, 9, "OBJECT IDLETIME t"), ":10");
    rig.ask(1, 8, "TOUCH t none");
    assert_eq!(rig.ask(1, 9, "OBJECT IDLETIME t"), ":0");
}

#[test]
fn an_evicted_key_is_gone_before_the_command_looks() {
    let mut rig = rig(0, Eviction::NoEviction);
    rig.ask(1, 8, "SET old v");
    rig.run(2_000);
    assert_eq!(rig.ask(1, 9, "WATCH old"), "+OK");
    ["MULTI", "SET new v", "GET old"].iter().for_each(|command| drop(rig.ask(1, 9, command)));
    // There is room for nothing any more, until the next command comes.
    rig.ask(1, 8, "CONFIG SET maxmemory 1 maxmemory-policy allkeys-lru maxmemory-eviction-tenacity 0");
    assert_eq!(rig.ask(1, 9, "EXEC"), "*-1");
    assert_eq!(rig.ask(1, 9, "EXISTS old new"), ":0");
    assert_eq!(evicted(&mut rig, 1, 8), 1);
    // And so does who counts up what is gone.
    rig.ask(1, 8, "CONFIG SET maxmemory 0");
    rig.ask(1, 8, "SET count 41");
    rig.run(1_000);
    rig.ask(1, 8, "CONFIG SET maxmemory 1 maxmemory-eviction-tenacity 100");
    assert_eq!(rig.ask(1, 9, "INCR count"), ":1");
}

#[test]
fn only_what_expires_goes_where_the_store_says_so() {
    let mut rig = rig(60_000, Eviction::VolatileTtl);
    fill(&mut rig, 1, 8, 0..200);
    for key in 0..400 {
        let ttl = 1_000 - key;
        assert_eq!(rig.ask(1, 8, &format!("SET t:{key} {} EX {ttl}", "v".repeat(100))), "+OK");
    }
    let gone = evicted(&mut rig, 1, 8);
    assert!(gone > 100, "{gone}");
    assert_eq!((0..200).filter(|key| rig.ask(1, 8, &format!("EXISTS k:{key}")) == ":1").count(), 200);
    // The later ones expire before the earlier ones.
    assert_eq!(rig.ask(1, 8, "EXISTS t:0 t:30"), ":2");
    assert_eq!(rig.ask(1, 8, "EXISTS t:100 t:200 t:300"), ":0");
    // Where none is left that expires, it is as if nothing was evicted.
    let mut refused = 0;
    for key in 200..600 {
        let reply = rig.ask(1, 8, &format!("SET k:{key} {}", "v".repeat(100)));
        assert!(reply == "+OK" || reply == OOM, "{reply}");
        refused += u32::from(reply == OOM);
    }
    assert!(refused > 0);
    assert_eq!(rig.ask(1, 8, "EXISTS t:0"), ":0");
    assert_eq!(rig.ask(1, 8, "DEL k:0"), ":1");
    assert_eq!(keys_everywhere(&mut rig), u64::from(600 - refused) - 1);
    assert_eq!(rig.report(1).counters.out_of_memory, u64::from(refused));
}

#[test]
fn what_has_expired_goes_first_and_is_no_eviction() {
    let mut rig = rig(0, Eviction::NoEviction);
    for key in 0..40 {
        rig.ask(1, 8, &format!("SET t:{key} {} PX 500", "v".repeat(100)));
        rig.ask(1, 8, &format!("SET k:{key} {}", "v".repeat(100)));
    }
    let all = rig.replica(1).engine.data_bytes();
    rig.ask(1, 8, &format!("CONFIG SET maxmemory {} maxmemory-policy allkeys-lru", all + 100));
    // It is late, and nobody has looked yet.
    rig.now_us += 600_000;
    fill(&mut rig, 1, 8, 40..60);
    assert_eq!(evicted(&mut rig, 1, 8), 0);
    assert_eq!(rig.ask(1, 8, "DBSIZE"), ":60");
}

#[test]
fn a_new_leader_goes_on() {
    let mut rig = rig(40_000, Eviction::AllKeysLru);
    fill(&mut rig, 1, 8, 0..400);
    let gone = evicted(&mut rig, 1, 8);
    rig.nodes.get_mut(&1).unwrap().running = false;
    rig.isolate(1);
    rig.fail_over(2);
    while !rig.serves(2) {
        rig.turn();
    }
    // What was evicted did not come back, and all else is there.
    assert_eq!(rig.replica(2).engine.key_count(), 400 - gone);
    fill(&mut rig, 2, 7, 400..800);
    let more = evicted(&mut rig, 2, 7);
    assert!(more > 100, "{more}");
    rig.run(200);
    assert_eq!([2, 3].map(|id| rig.replica(id).engine.key_count()), [800 - gone - more; 2]);
    assert_eq!(rig.replica(2).engine.digest_total(), rig.replica(3).engine.digest_total());
}

#[test]
fn nobody_evicts_where_there_is_not_one_leader() {
    let mut rig = Rig::peers(3, 2, 2);
    rig.open(1, 8);
    let refused = rig.ask(1, 8, "CONFIG SET maxmemory-policy allkeys-lru");
    assert!(refused.ends_with("keys are evicted only where the store has one leader (mode SingleLeader)"), "{refused}");
    assert_eq!(rig.ask(1, 8, "CONFIG GET maxmemory-policy"), "*2 $16 maxmemory-policy $10 noeviction");
    // Nor does the record's word do it.
    rig.decide(|record| {
        let eviction = Eviction::AllKeysLru as i32;
        record.settings.limits = Some(ClientLimits { memory_bytes: 1, eviction, ..ClientLimits::default() });
    });
    rig.ask(1, 8, "SET a 1");
    assert_eq!(rig.ask(1, 8, "SET a 2"), OOM);
    assert_eq!(rig.ask(1, 8, "GET a"), "$1 1");
}

#[test]
fn what_the_process_has_beside_its_data_counts_for_half_of_the_bound() {
    let mut rig = rig(100_000, Eviction::AllKeysLru);
    rig.step(1, Input::Memory(10 << 20));
    fill(&mut rig, 1, 8, 0..1_000);
    let data = rig.replica(1).engine.data_bytes();
    assert!((30_000..=50_000 + 100_000 / 16).contains(&data), "{data}");
    // Without eviction there is no such floor: what is beside is all that is known.
    rig.decide(|record| record.settings.limits.as_mut().unwrap().eviction = 0);
    rig.run(60);
    assert_eq!(rig.ask(1, 8, "SET a 1"), OOM);
    // Memory that cells to come will use is free.
    let (data, spare) = (rig.replica(1).engine.data_bytes(), rig.replica(1).engine.spare_bytes());
    assert!(spare > 0);
    rig.step(1, Input::Memory(data + spare + 1_000));
    assert_eq!(rig.ask(1, 8, "SET a 1"), "+OK");
}

#[test]
fn limits_of_the_record_are_told_and_what_is_set_here_wins_until_they_change() {
    let mut rig = rig(40_000, Eviction::VolatileTtl);
    let asked = |rig: &mut Rig| rig.ask(1, 8, "CONFIG GET maxmemory-policy");
    assert_eq!(asked(&mut rig), "*2 $16 maxmemory-policy $12 volatile-ttl");
    assert_eq!(rig.ask(3, 6, "CONFIG GET maxmemory"), "*2 $9 maxmemory $5 40000");
    assert_eq!(rig.ask(1, 8, "CONFIG SET maxmemory-policy allkeys-lru"), "+OK");
    assert_eq!(asked(&mut rig), "*2 $16 maxmemory-policy $11 allkeys-lru");
    rig.decide(|record| record.settings.limits.as_mut().unwrap().clients = 77);
    assert_eq!(asked(&mut rig), "*2 $16 maxmemory-policy $11 allkeys-lru", "it was not this that has changed");
    rig.decide(|record| record.settings.limits.as_mut().unwrap().eviction = 0);
    assert_eq!(asked(&mut rig), "*2 $16 maxmemory-policy $10 noeviction");
    let refused = rig.ask(1, 8, "CONFIG SET maxmemory-policy volatile-lfu");
    assert!(refused.contains("must be one of the following: noeviction, allkeys-lru, volatile-ttl"), "{refused}");
    rig.decide(|record| {
        let limits = record.settings.limits.as_mut().unwrap();
        let limit = |hard_bytes, soft_bytes, soft_seconds| trireme_proto::topology::OutputLimit {
            hard_bytes,
            soft_bytes,
            soft_seconds,
        };
        (limits.replies, limits.subscribers) = (Some(limit(9, 8, 7)), Some(limit(6, 5, 4)));
    });
    let told = rig.ask(1, 8, "CONFIG GET client-output-buffer-limit");
    assert!(told.ends_with("normal 9 8 7 slave 268435456 67108864 60 pubsub 6 5 4"), "{told}");
}

#[test]
fn who_writes_waits_for_what_goes_and_is_refused_only_where_that_is_too_much_for_a_turn() {
    let mut rig = rig(0, Eviction::NoEviction);
    let value = "v".repeat(100);
    (0..10_000).for_each(|key| rig.say(1, 8, &format!("SET k:{key} {value}")));
    rig.run(60);
    assert_eq!(rig.heard(1, 8).matches("+OK").count(), 10_000);
    let all = rig.replica(1).engine.data_bytes();
    // A sixth of it has to go: more than one command waits for, and no more than all of a turn do.
    let set = |memory: u64| format!("CONFIG SET maxmemory {memory} maxmemory-policy allkeys-lru");
    assert_eq!(rig.ask_at_once(1, 8, &format!("{} maxmemory-eviction-tenacity 10", set(all * 5 / 6))), "+OK");
    assert_eq!(rig.ask_at_once(1, 9, "SET one 1"), "+OK");
    // And without a command all that is still too much goes turn by turn, while no time passes.
    let (mut turns, mut left) = (0, rig.replica(1).engine.key_count());
    while rig.replica(1).used_memory() > all * 5 / 6 {
        rig.turn();
        let now = rig.replica(1).engine.key_count();
        assert!(left - now <= 2 * 120, "{} in one turn", left - now);
        (turns, left) = (turns + 1, now);
        assert!(turns < 50, "{left} keys");
    }
    // Far too much for a turn: who comes at once is refused, all others of the turn wait for no more, and who comes soon is served.
    rig.run(60);
    let before = rig.replica(1).engine.key_count();
    rig.say(1, 8, &set(all / 6));
    (0..10).for_each(|key| rig.say(1, 9, &format!("SET new:{key} {value}")));
    rig.turn();
    let gone = before - rig.replica(1).engine.key_count();
    assert!((120 * 16..120 * (16 + 10 + 2)).contains(&gone), "{gone} in one turn");
    (0..60).for_each(|_| rig.turn());
    assert_eq!(rig.heard(1, 9), [OOM; 10].join(" "));
    assert_eq!(rig.ask_at_once(1, 9, "SET two 2"), "+OK");
    assert!(rig.replica(1).used_memory() <= all / 6);
    assert!(keys_everywhere(&mut rig) > 500);
}

#[test]
fn keys_that_were_found_to_go_and_are_gone_keep_no_others_from_going() {
    let mut rig = rig(40_000, Eviction::AllKeysLru);
    fill(&mut rig, 1, 8, 0..500);
    assert_eq!(rig.ask(1, 8, "FLUSHALL"), "+OK");
    // No time passes in which something could be evicted beside commands.
    let value = "v".repeat(100);
    (0..500).for_each(|key| rig.say(1, 8, &format!("SET other:{key} {value}")));
    rig.run(60);
    let heard = rig.heard(1, 8);
    assert!(!heard.contains("OOM"), "{heard}");
    assert_eq!(heard.matches("+OK").count(), 500);
}
