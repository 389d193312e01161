//! What clients of several origins see after writing at the same time: which value, type and expiry wins, what survives a removal.

use trireme_proto::ids::Origin;

use crate::engine::{Access, At, DRIFT_MS_MAX, Engine, Kind};

const K: &[u8] = b"k";

/// Origins as groups 1, 2, 3, with clocks of their own.
fn engines() -> [Engine; 3] {
    [1, 2, 3].map(|group| {
        let mut engine = Engine::new();
        engine.set_origin(Origin { group, generation: 0 });
        engine
    })
}

fn run(engine: &mut Engine, now_ms: u64, f: impl FnOnce(&mut Access<'_>)) -> Vec<u8> {
    let (mut delta, seq) = (Vec::new(), 1);
    engine.execute(&At { seq, now_ms, keep_undo: false }, &mut delta, f);
    delta
}

fn read<R>(engine: &mut Engine, now_ms: u64, f: impl FnOnce(&mut Access<'_>) -> R) -> R {
    engine.execute(&At { seq: 0, now_ms, keep_undo: false }, &mut Vec::new(), f).0
}

fn text(engine: &mut Engine) -> Option<String> {
    read(engine, 1, |a| a.string(K).unwrap().map(|v| String::from_utf8_lossy(&v).into_owned()))
}

/// Joins all deltas, in every order, each into an engine of its own that already joined `before`, and checks what each shows.
fn in_every_order(before: &[&[u8]], deltas: &[&[u8]], check: impl Fn(&mut Engine)) {
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in deltas {
        let more =
            |o: &Vec<usize>| (0..deltas.len()).filter(|i| !o.contains(i)).map(|i| [&o[..], &[i]].concat()).collect();
        orders = orders.iter().flat_map(|o| -> Vec<Vec<usize>> { more(o) }).collect();
    }
    let mut digest = None;
    for order in orders {
        let mut engine = Engine::new();
        engine.set_origin(Origin { group: 9, generation: 0 });
        for delta in before.iter().copied().chain(order.iter().map(|i| deltas[*i])) {
            engine.join(delta, &At { seq: 1, now_ms: 1, keep_undo: false }).unwrap();
        }
        check(&mut engine);
        assert_eq!(*digest.get_or_insert(engine.digest_total()), engine.digest_total(), "{order:?}");
    }
}

#[test]
fn the_last_write_wins_by_clock_then_origin() {
    let [mut a, mut b, mut c] = engines();
    let late = run(&mut a, 2_000, |a| a.put_string(K, b"late", false));
    let early = run(&mut b, 1_000, |a| a.put_string(K, b"early", false));
    let also_late = run(&mut c, 2_000, |a| a.put_string(K, b"also late", false));
    in_every_order(&[], &[&late, &early], |e| assert_eq!(text(e).as_deref(), Some("late")));
    in_every_order(&[], &[&late, &also_late], |e| assert_eq!(text(e).as_deref(), Some("also late")));
}

#[test]
fn when_types_collide_a_fixed_order_decides_and_nothing_is_lost() {
    let [mut a, mut b, mut c] = engines();
    let string = run(&mut c, 1_000, |a| a.put_string(K, b"v", false));
    let hash = run(&mut b, 2_000, |a| assert!(a.put_field(K, b"f", b"v").is_ok()));
    let set = run(&mut a, 3_000, |a| assert!(a.add_member(K, b"m").is_ok()));
    in_every_order(&[], &[&set, &hash], |e| assert_eq!(read(e, 1, |a| a.kind(K)), Some(Kind::Hash)));
    in_every_order(&[], &[&set, &hash, &string], |e| {
        assert_eq!((text(e).as_deref(), e.key_count()), (Some("v"), 1));
    });
    // Whoever saw one of them removes that one: the next in order is visible.
    let gone = run(&mut c, 4_000, |a| assert!(a.remove(K)));
    in_every_order(&[], &[&set, &hash, &string, &gone], |e| {
        assert_eq!(read(e, 1, |a| a.field(K, b"f").unwrap().map(|v| v.len())), Some(1));
    });
}

#[test]
fn the_last_expiry_wins_and_a_removal_takes_only_what_it_saw() {
    let [mut a, mut b, mut c] = engines();
    let key = run(&mut a, 1_000, |a| a.put_string(K, b"v", false));
    for engine in [&mut b, &mut c] {
        engine.join(&key, &At { seq: 1, now_ms: 1, keep_undo: false }).unwrap();
    }
    let late = run(&mut a, 3_000, |a| assert!(a.set_expiry(K, Some(50_000))));
    let early = run(&mut b, 2_000, |a| assert!(a.set_expiry(K, Some(90_000))));
    let expires = |e: &mut Engine| read(e, 1, |a| a.expires_at(K));
    in_every_order(&[&key], &[&late, &early], |e| assert_eq!(expires(e), Some(50_000)));
    in_every_order(&[], &[&key, &late, &early], |e| assert_eq!(expires(e), Some(50_000)));
    // PERSIST, SET and DEL of who saw one expiry leave the other.
    c.join(&early, &At { seq: 1, now_ms: 1, keep_undo: false }).unwrap();
    let removals: [fn(&mut Access<'_>); 4] = [
        |a| assert!(a.set_expiry(K, None)),
        |a| a.put_string(K, b"w", false),
        |a| assert!(a.remove(K)),
        |a| assert!(a.set_expiry(K, Some(70_000))),
    ];
    for removal in removals {
        let mut image = Vec::new();
        c.export_slot(crate::engine::slot_of(K), &mut image);
        let mut copy = Engine::new();
        copy.import_slot(crate::engine::slot_of(K), &image).unwrap();
        let mut meta = Vec::new();
        c.export_meta(&mut meta);
        copy.import_meta(&meta).unwrap();
        copy.set_origin(Origin { group: 3, generation: 0 });
        let delta = run(&mut copy, 2_500, removal);
        in_every_order(&[], &[&key, &late, &early, &delta], |e| {
            let there = read(e, 1, |a| a.kind(K)).is_some();
            let waits = e.next_expiry_ms();
            assert_eq!((waits, expires(e)), (Some(50_000), Some(50_000).filter(|_| there)));
        });
    }
    // KEEPTTL leaves what was seen too.
    let kept = run(&mut c, 2_500, |a| a.put_string(K, b"w", true));
    in_every_order(&[], &[&key, &early, &kept], |e| assert_eq!(expires(e), Some(90_000)));
}

#[test]
fn an_expirer_removes_what_it_saw_expired_and_nothing_else() {
    let [mut a, mut b, _] = engines();
    let key = run(&mut a, 1_000, |a| {
        a.put_string(K, b"v", false);
        a.set_expiry(K, Some(2_000));
    });
    b.join(&key, &At { seq: 1, now_ms: 1, keep_undo: false }).unwrap();
    let mut expired = Vec::new();
    let at = |now_ms| At { seq: 1, now_ms, keep_undo: false };
    assert_eq!(a.expire(&at(1_999), &mut expired, 9, |_| true).0, 0);
    assert_eq!(a.expire(&at(2_000), &mut expired, 9, |_| true).0, 1);
    let later = run(&mut b, 1_500, |a| a.put_string(K, b"w", false));
    in_every_order(&[], &[&key, &expired], |e| assert_eq!((text(e), e.key_count()), (None, 0)));
    in_every_order(&[], &[&key, &expired, &later], |e| assert_eq!(text(e).as_deref(), Some("w")));
}

#[test]
fn expired_keys_behind_many_that_stay_are_found_and_those_before_them_are_not_looked_at_again() {
    let [mut a, ..] = engines();
    run(&mut a, 1_000, |a| {
        for key in 0..30_000_u32 {
            // Those that may go are the last ones.
            let name = [if key < 29_000 { b"kept" } else { b"gone" }, &key.to_be_bytes()[..]].concat();
            a.put_string(&name, b"v", false);
            a.set_expiry(&name, Some(2_000 + u64::from(key)));
        }
    });
    let looks = std::cell::Cell::new(0);
    let mut expire = || {
        looks.set(0);
        let may = |key: &[u8]| {
            looks.set(looks.get() + 1);
            key.starts_with(b"gone")
        };
        let (keys, effect) = a.expire(&At { seq: 1, now_ms: 60_000, keep_undo: false }, &mut Vec::new(), 400, may);
        assert_eq!(keys > 0, effect.wrote);
        (keys, looks.get())
    };
    let seen: Vec<(usize, u32)> = (0..6).map(|_| expire()).collect();
    // Where the last one has been seen, it begins again.
    assert_eq!(seen, [(0, 20_000), (400, 9_400), (400, 400), (200, 200), (0, 20_000), (0, 9_000)]);
    assert_eq!(a.key_count(), 29_000);
}

#[test]
fn a_counter_that_was_replaced_starts_anew_and_others_keep_what_was_not_seen() {
    let [mut a, mut b, mut c] = engines();
    let at = At { seq: 1, now_ms: 1, keep_undo: false };
    let five = run(&mut a, 1_000, |a| assert_eq!(a.increment(K, 5), Ok(5)));
    b.join(&five, &at).unwrap();
    let two = run(&mut c, 1_000, |a| assert_eq!(a.increment(K, 2), Ok(2)));
    let zero = run(&mut b, 2_000, |a| a.put_string(K, b"100", false));
    a.join(&zero, &at).unwrap();
    let three = run(&mut a, 3_000, |a| assert_eq!(a.increment(K, 3), Ok(103)));
    in_every_order(&[], &[&five, &two, &zero, &three], |e| assert_eq!(text(e).as_deref(), Some("105")));
}

/// What is read from images belongs to nobody yet: a reset of the origin that an engine happens to begin with is not taken for one of its own.
#[test]
fn a_reset_outlives_a_start_whichever_origin_it_is_of() {
    let engines = engines();
    for origin in engines.each_ref().map(Engine::origin).into_iter().chain([Engine::new().origin()]) {
        let (mut a, mut b) = (Engine::new(), Engine::new());
        a.set_origin(origin);
        b.set_origin(Origin { group: 77, generation: 1 });
        let at = At { seq: 1, now_ms: 1, keep_undo: false };
        let one = run(&mut a, 1_000, |a| assert_eq!(a.increment(K, 1), Ok(1)));
        b.join(&one, &at).unwrap();
        run(&mut b, 2_000, |b| b.put_string(K, b"7", false));
        let two = run(&mut a, 3_000, |a| assert_eq!(a.increment(K, 1), Ok(2)));
        let (mut image, mut meta, mut copy) = (Vec::new(), Vec::new(), Engine::new());
        b.export_slot(crate::engine::slot_of(K), &mut image);
        b.export_meta(&mut meta);
        copy.import_meta(&meta).unwrap();
        copy.import_slot(crate::engine::slot_of(K), &image).unwrap();
        copy.import_meta(&meta).unwrap();
        copy.set_origin(Origin { group: 78, generation: 1 });
        [&mut b, &mut copy].into_iter().for_each(|engine| engine.join(&two, &at).unwrap());
        assert_eq!([text(&mut b).as_deref(), text(&mut copy).as_deref()], [Some("8"); 2], "{origin:?}");
    }
}

/// A reset of exactly the increment that a counter began with has the sequence of that beginning: it is the later one also where what was
/// counted is less than 0.
#[test]
fn a_counter_that_began_below_zero_stays_reset_where_joined_state_knows_nothing_of_it() {
    let [mut a, mut b, mut c] = engines();
    let (at, slot) = (At { seq: 1, now_ms: 1, keep_undo: false }, crate::engine::slot_of(K));
    let minus_two = run(&mut a, 1_000, |a| assert_eq!(a.increment(K, -2), Ok(-2)));
    c.join(&minus_two, &at).unwrap();
    let gone = run(&mut c, 2_000, |a| assert!(a.remove(K)));
    let one = run(&mut a, 3_000, |a| assert_eq!(a.increment(K, 1), Ok(-1)));
    [&minus_two, &one].iter().for_each(|d| b.join(d, &at).unwrap());
    a.join(&gone, &at).unwrap();
    a.state.begin();
    a.sweep();
    a.state.end(0, 0, None, 0, false);
    assert!(!a.is_sided(slot), "only the count itself remembers what was reset");
    for _ in 0..2 {
        let images = [&a, &b].map(|e| {
            let mut image = Vec::new();
            e.export_slot(slot, &mut image);
            image
        });
        b.import_slot(slot, &images[0]).unwrap();
        a.import_slot(slot, &images[1]).unwrap();
        assert_eq!([text(&mut a).as_deref(), text(&mut b).as_deref()], [Some("1"); 2]);
    }
    in_every_order(&[], &[&minus_two, &gone, &one], |e| assert_eq!(text(e).as_deref(), Some("1")));
}

#[test]
fn adding_a_member_that_is_there_is_said_again_where_others_write() {
    let [mut a, mut b, _] = engines();
    let at = At { seq: 1, now_ms: 1, keep_undo: false };
    let first = run(&mut a, 1_000, |a| assert_eq!(a.add_member(K, b"m"), Ok(true)));
    let alone = run(&mut a, 1_000, |a| assert_eq!(a.add_member(K, b"m"), Ok(false)));
    assert!(alone.is_empty(), "nobody else writes");
    b.join(&first, &at).unwrap();
    let removed = run(&mut b, 2_000, |a| assert_eq!(a.remove_member(K, b"m"), Ok(true)));
    let elsewhere = run(&mut b, 2_000, |a| a.put_string(b"other", b"", false));
    a.join(&elsewhere, &at).unwrap();
    let again = run(&mut a, 1_000, |a| assert_eq!(a.add_member(K, b"m"), Ok(false)));
    in_every_order(&[&elsewhere], &[&first, &removed, &again], |e| {
        assert_eq!(read(e, 1, |a| a.contains(K, b"m")), Ok(true));
    });
}

#[test]
fn clocks_only_rise_follow_what_is_joined_and_refuse_what_is_too_far_ahead() {
    let [mut a, mut b, _] = engines();
    let first = run(&mut a, 5_000, |a| a.put_string(K, b"1", false));
    assert_eq!(a.clock(), 5_000 << 16);
    run(&mut a, 4_000, |a| a.put_string(K, b"2", false));
    assert_eq!(a.clock(), (5_000 << 16) + 1, "the wall clock went back");
    b.join(&first, &At { seq: 1, now_ms: 1_000, keep_undo: false }).unwrap();
    assert_eq!(b.clock(), 5_000 << 16);
    // A slow clock does not lose against what it has seen.
    let after = run(&mut b, 1_000, |a| a.put_string(K, b"3", false));
    in_every_order(&[], &[&first, &after], |e| assert_eq!(text(e).as_deref(), Some("3")));
    let limit = (1_000 + DRIFT_MS_MAX) << 16;
    let refused = b.observe_clock(limit + (1 << 16), 1_000).unwrap_err();
    assert_eq!((refused.ahead_ms, b.clock()), (DRIFT_MS_MAX + 1, (5_000 << 16) + 1));
    assert_eq!((b.observe_clock(limit, 1_000), b.clock()), (Ok(()), limit));
    assert_eq!((b.observe_clock(1, 1_000), b.clock()), (Ok(()), limit));
}

/// A replica may hold later deltas of its own origin without the earlier ones: no name is used twice.
#[test]
fn a_name_is_taken_beyond_a_gap() {
    let [mut a, _, _] = engines();
    let own: Vec<Vec<u8>> = (1..=3).map(|_| run(&mut a, 1_000, |a| assert!(a.increment(K, 1).is_ok()))).collect();
    let mut copy = Engine::new();
    copy.set_origin(Origin { group: 1, generation: 0 });
    copy.join(&own[2], &At { seq: 1, now_ms: 1, keep_undo: false }).unwrap();
    run(&mut copy, 1_000, |a| a.put_string(b"other", b"", false));
    let origin = Origin { group: 1, generation: 0 };
    assert_eq!((copy.received().upto(origin), copy.received().highest(origin)), (0, 4));
}

/// What an origin said to have received is forgotten with the delta that said so.
#[test]
fn what_was_heard_by_a_delta_that_is_undone_was_not_heard() {
    let [mut a, mut b, mut c] = engines();
    let at = |keep_undo| At { seq: 5, now_ms: 1, keep_undo };
    let five = run(&mut a, 1_000, |a| assert!(a.increment(K, 5).is_ok()));
    b.join(&five, &at(false)).unwrap();
    let reset = run(&mut b, 2_000, |a| a.put_string(K, b"0", false));
    // The reset waits beside the key until everything of its counter's origin is known to have come.
    c.join(&reset, &at(false)).unwrap();
    let more = run(&mut a, 3_000, |a| a.put_string(b"other", b"", false));
    let before = c.heard.clone();
    c.join(&more, &at(true)).unwrap();
    assert_ne!(c.heard, before);
    c.undo_after(4);
    assert_eq!(c.heard, before);
}

#[test]
fn increments_of_a_score_add_up_and_a_score_beats_a_removal_that_did_not_see_it() {
    let [mut a, mut b, mut c] = engines();
    let at = At { seq: 1, now_ms: 1, keep_undo: false };
    let first = run(&mut a, 1_000, |a| assert_eq!(a.put_score(K, b"m", 1.5), Ok(true)));
    let whole = run(&mut a, 1_000, |a| assert_eq!(a.put_score(K, b"n", 10.0), Ok(true)));
    [&first, &whole].iter().for_each(|d| b.join(d, &at).unwrap());
    [&first, &whole].iter().for_each(|d| c.join(d, &at).unwrap());
    let five = run(&mut b, 2_000, |a| assert_eq!(a.increment_score(K, b"n", 5.0), Ok(15.0)));
    let less = run(&mut c, 2_000, |a| assert_eq!(a.increment_score(K, b"n", -20.0), Ok(-10.0)));
    let gone = run(&mut c, 2_000, |a| assert_eq!(a.remove_scored(K, b"m"), Ok(true)));
    let half = run(&mut b, 2_000, |a| assert_eq!(a.increment_score(K, b"m", 0.5), Ok(2.0)));
    in_every_order(&[], &[&first, &whole, &five, &less, &gone, &half], |e| {
        let all = read(e, 1, |a| {
            let members = a.scored_range(K, 0..9).unwrap();
            members.into_iter().map(|(m, s)| (m.to_vec(), s)).collect::<Vec<_>>()
        });
        assert_eq!(all, [(b"n".to_vec(), -5.0), (b"m".to_vec(), 2.0)]);
    });
}

#[test]
fn elements_put_at_the_same_place_at_once_are_in_the_same_order_everywhere() {
    let [mut a, mut b, mut c] = engines();
    let at = At { seq: 1, now_ms: 1, keep_undo: false };
    let push = |e: &mut Engine, index: usize, value: &[u8]| run(e, 1_000, |a| a.list_insert(K, index, value).unwrap());
    let both = [push(&mut a, 0, b"1"), push(&mut a, 1, b"9")];
    for delta in &both {
        b.join(delta, &at).unwrap();
        c.join(delta, &at).unwrap();
    }
    let (left, right) = (push(&mut b, 1, b"b"), push(&mut c, 1, b"c"));
    let popped = run(&mut c, 1_000, |a| a.list_remove(K, 0..1).unwrap());
    in_every_order(&[], &[&both[0], &both[1], &left, &right, &popped], |e| {
        let all = read(e, 1, |a| a.list_range(K, 0..9).unwrap().iter().map(|v| v[0]).collect::<Vec<u8>>());
        assert_eq!(all, b"bc9");
    });
}
