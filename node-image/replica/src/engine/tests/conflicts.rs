//! What is noted as a conflict, on each side, and what is none.

use trireme_proto::ids::Origin;

use crate::engine::conflicts::{Conflict, Content, Noted, Why};
use crate::engine::{Access, At, Engine, Scope, slot_of};

const K: &[u8] = b"k";

/// Two origins, which note.
fn pair() -> [Engine; 2] {
    [1, 2].map(|group| {
        let mut engine = Engine::new();
        engine.set_origin(Origin { group, generation: 0 });
        engine.share();
        engine.note_conflicts();
        engine
    })
}

fn run(engine: &mut Engine, now_ms: u64, f: impl FnOnce(&mut Access<'_>)) -> Vec<u8> {
    let mut delta = Vec::new();
    engine.execute(&At { seq: 1, now_ms, keep_undo: false }, &mut delta, f);
    delta
}

fn join(engine: &mut Engine, delta: &[u8]) -> Noted {
    engine.join(delta, &At { seq: 1, now_ms: 1, keep_undo: false }).unwrap();
    engine.take_conflicts()
}

/// A conflict in one line: type, place, why, and the sides; what is shown is marked.
fn line(conflict: &Conflict) -> String {
    let side = |content: &Content| match content {
        Content::Value(clip) => String::from_utf8_lossy(&clip.bytes).into_owned(),
        Content::Score(score) => score.to_string(),
        Content::Count(count) => format!("{count:+}"),
        Content::Expires(at_ms) => format!("until {at_ms}"),
        Content::Kind(kind) => format!("{kind:?}"),
        Content::Removal => "removal".to_owned(),
    };
    let sides: Vec<String> =
        conflict.versions.iter().map(|v| format!("{}{}", if v.won { "*" } else { "" }, side(&v.content))).collect();
    let place = conflict.place.as_ref().map_or(String::new(), |p| format!("/{}", String::from_utf8_lossy(&p.bytes)));
    let more = if conflict.more > 0 { format!(" and {} more", conflict.more) } else { String::new() };
    format!("{}{place}: {}{more}: {}", conflict.family.name(), sides.join(", "), conflict.why.words())
}

fn lines(noted: &Noted) -> Vec<String> {
    assert_eq!(noted.counts.iter().sum::<u64>(), noted.conflicts.len() as u64);
    noted.conflicts.iter().map(line).collect()
}

type Change = fn(&mut Access<'_>);

/// Both have seen `before`; then one does this at 1,000 and the other that at 2,000. What each notes when it joins the other's.
fn meet(before: Change, one: Change, other: Change) -> [Vec<String>; 2] {
    let [mut a, mut b] = pair();
    let first = run(&mut a, 500, before);
    if !first.is_empty() {
        assert!(join(&mut b, &first).is_empty(), "nothing was concurrent");
    }
    let (one, other) = (run(&mut a, 1_000, one), run(&mut b, 2_000, other));
    assert!(a.take_conflicts().is_empty() && b.take_conflicts().is_empty(), "an origin meets nothing");
    let noted = [join(&mut a, &other), join(&mut b, &one)];
    assert_eq!(a.digest_total(), b.digest_total());
    noted.map(|noted| lines(&noted))
}

/// The same: which of the two groups tell of it.
fn told_by(before: Change, one: Change, other: Change) -> Vec<u32> {
    let [mut a, mut b] = pair();
    let first = run(&mut a, 500, before);
    if !first.is_empty() {
        join(&mut b, &first);
    }
    let (one, other) = (run(&mut a, 1_000, one), run(&mut b, 2_000, other));
    let noted = [(1, join(&mut a, &other)), (2, join(&mut b, &one))];
    let told =
        noted.iter().flat_map(|(group, noted)| noted.conflicts.iter().map(move |c| (*group, c.is_told_by(*group))));
    told.filter(|(_, told)| *told).map(|(group, _)| group).collect()
}

fn nothing(_: &mut Access<'_>) {}

const STAYS: &str = "an update beats a concurrent removal";

#[test]
fn both_sides_note_two_values() {
    let set_one: Change = |a| a.put_string(K, b"one", false);
    let both = "string: *two, one: later clock".to_owned();
    assert_eq!(meet(nothing, set_one, |a| a.put_string(K, b"two", false)), [vec![both.clone()], vec![both]]);
    let field = "hash/f: *2, 1: later clock".to_owned();
    let seen = meet(nothing, |a| _ = a.put_field(K, b"f", b"1"), |a| _ = a.put_field(K, b"f", b"2"));
    assert_eq!(seen, [vec![field.clone()], vec![field]]);
    let score = "zset/m: *2.5, 1: later clock".to_owned();
    let seen = meet(nothing, |a| _ = a.put_score(K, b"m", 1.0), |a| _ = a.put_score(K, b"m", 2.5));
    assert_eq!(seen, [vec![score.clone()], vec![score]]);
    let element = "list: *y, x: later clock".to_owned();
    let seen = meet(
        |a| a.list_insert(K, 0, b"first").unwrap(),
        |a| _ = a.list_set(K, 0, b"x"),
        |a| _ = a.list_set(K, 0, b"y"),
    );
    assert_eq!(seen, [vec![element.clone()], vec![element]]);
}

#[test]
fn what_adds_up_is_no_conflict() {
    let quiet = |before: Change, one: Change, other: Change| {
        assert_eq!(meet(before, one, other), [Vec::<String>::new(), Vec::new()]);
    };
    quiet(nothing, |a| _ = a.increment(K, 1), |a| _ = a.increment(K, 2));
    quiet(|a| a.put_string(K, b"5", false), |a| _ = a.increment(K, 1), |a| _ = a.increment(K, 2));
    quiet(nothing, |a| _ = a.add_member(K, b"m"), |a| _ = a.add_member(K, b"m"));
    quiet(nothing, |a| _ = a.put_field(K, b"f", b"1"), |a| _ = a.put_field(K, b"g", b"2"));
    quiet(nothing, |a| _ = a.put_score(K, b"m", 1.0), |a| _ = a.put_score(K, b"n", 1.0));
    quiet(nothing, |a| a.list_insert(K, 0, b"x").unwrap(), |a| a.list_insert(K, 0, b"y").unwrap());
    quiet(nothing, |a| a.put_string(K, b"same", false), |a| a.put_string(K, b"same", false));
    quiet(|a| a.put_string(K, b"v", false), |a| _ = a.remove(K), |a| _ = a.remove(K));
    quiet(|a| a.put_string(K, b"v", false), |a| _ = a.set_expiry(K, Some(9)), |a| _ = a.set_expiry(K, Some(9)));
    quiet(|a| _ = a.put_field(K, b"f", b"1"), |a| _ = a.remove_field(K, b"f"), |a| _ = a.put_field(K, b"g", b"2"));
}

#[test]
fn a_removal_is_noted_where_it_comes_to_what_is_there() {
    let noted = |before: Change, removes: Change, updates: Change, expected: &str| {
        assert_eq!(meet(before, removes, updates), [vec![], vec![expected.to_owned()]]);
    };
    let value: Change = |a| a.put_string(K, b"v", false);
    noted(value, |a| _ = a.remove(K), |a| a.put_string(K, b"new", false), &format!("string: *new, removal: {STAYS}"));
    noted(
        |a| _ = a.increment(K, 3),
        |a| _ = a.remove(K),
        |a| _ = a.increment(K, 4),
        &format!("string: *+4, removal: {STAYS}"),
    );
    let field: Change = |a| _ = a.put_field(K, b"f", b"1");
    noted(
        field,
        |a| _ = a.remove_field(K, b"f"),
        |a| _ = a.put_field(K, b"f", b"2"),
        &format!("hash/f: *2, removal: {STAYS}"),
    );
    noted(
        field,
        |a| _ = a.remove(K),
        |a| (1..=3).for_each(|n| _ = a.put_field(K, &[b'0' + n], b"v")),
        &format!("hash/1: *v, removal and 2 more: {STAYS}"),
    );
    let member: Change = |a| _ = a.add_member(K, b"m");
    noted(member, |a| _ = a.remove_member(K, b"m"), member, &format!("set/m: *, removal: {STAYS}"));
    noted(
        |a| a.list_insert(K, 0, b"x").unwrap(),
        |a| a.list_remove(K, 0..1).unwrap(),
        |a| _ = a.list_set(K, 0, b"y"),
        &format!("list: *y, removal: {STAYS}"),
    );
}

#[test]
fn an_element_that_is_popped_twice_is_noted_on_both_sides() {
    let pop: Change = |a| a.list_remove(K, 0..1).unwrap();
    let twice = vec![format!("list: *removal: {}", Why::RemovedTwice.words())];
    assert_eq!(meet(|a| a.list_insert(K, 0, b"x").unwrap(), pop, pop), [twice.clone(), twice.clone()]);
    let two: Change = |a| ["x", "y"].iter().for_each(|x| a.list_insert(K, 0, x.as_bytes()).unwrap());
    assert_eq!(meet(two, pop, pop), [twice.clone(), twice]);
    assert_eq!(meet(two, pop, |a| a.list_remove(K, 1..2).unwrap()), [Vec::<String>::new(), Vec::new()]);
}

#[test]
fn counts_beside_values_expiries_and_types() {
    let counted = format!("string: *10, *+1: {}", Why::Counted.words());
    let seen = meet(|a| _ = a.increment(K, 5), |a| _ = a.increment(K, 1), |a| a.put_string(K, b"10", false));
    // The origin that counts knows no clock of what it counts.
    assert_eq!(seen, [vec![counted.clone()], vec![counted]]);
    let hidden = format!("string: *text, +1: {}", Why::NotANumber.words());
    let seen = meet(nothing, |a| _ = a.increment(K, 1), |a| a.put_string(K, b"text", false));
    assert_eq!(seen, [vec![hidden.clone()], vec![hidden]]);

    let value: Change = |a| a.put_string(K, b"v", false);
    let later = "expiry: *until 7000, until 9000: later clock".to_owned();
    let seen = meet(value, |a| _ = a.set_expiry(K, Some(9_000)), |a| _ = a.set_expiry(K, Some(7_000)));
    assert_eq!(seen, [vec![later.clone()], vec![later]]);
    let expires: Change = |a| _ = a.set_expiry(K, Some(9_000));
    let gone = format!("expiry: *removal, until 9000: {}", Why::NothingToExpire.words());
    assert_eq!(
        meet(value, |a| _ = a.remove(K), expires),
        [vec![format!("expiry: until 9000: {}", Why::NothingToExpire.words())], vec![gone]]
    );
    let stays = format!("expiry: *until 9000, removal: {STAYS}");
    assert_eq!(meet(value, |a| a.put_string(K, b"w", false), expires), [vec![], vec![stays]]);

    let types = format!("type: *String, Hash: {}", Why::TypeOrder.words());
    let seen = meet(nothing, |a| _ = a.put_field(K, b"f", b"1"), |a| a.put_string(K, b"v", false));
    assert_eq!(seen, [vec![types.clone()], vec![types]]);
}

#[test]
fn one_of_those_that_could_tells_of_a_conflict() {
    let pop: Change = |a| a.list_remove(K, 0..1).unwrap();
    let value: Change = |a| a.put_string(K, b"v", false);
    let expires: Change = |a| _ = a.set_expiry(K, Some(9_000));
    let field: Change = |a| _ = a.put_field(K, b"f", b"1");
    let cases: [(Change, Change, Change); 9] = [
        (nothing, value, |a| a.put_string(K, b"w", false)),
        (nothing, field, |a| _ = a.put_field(K, b"f", b"2")),
        (nothing, field, value),
        (nothing, |a| _ = a.increment(K, 1), |a| a.put_string(K, b"10", false)),
        (nothing, |a| _ = a.increment(K, 1), |a| a.put_string(K, b"text", false)),
        (|a| a.put_string(K, b"old", false), |a| _ = a.remove(K), value),
        (value, |a| _ = a.set_expiry(K, Some(7_000)), expires),
        (value, |a| _ = a.remove(K), expires),
        (|a| a.list_insert(K, 0, b"x").unwrap(), pop, pop),
    ];
    for (number, (before, one, other)) in cases.into_iter().enumerate() {
        let told = [told_by(before, one, other), told_by(before, other, one)];
        assert!(told.iter().all(|told| told.len() == 1), "case {number}: {told:?}");
    }
}

#[test]
fn joined_state_is_looked_at_too_and_what_is_known_by_it_is_not_noted_again() {
    for (one, other, expected) in [
        (
            (|a| a.put_string(K, b"one", false)) as Change,
            (|a| a.put_string(K, b"two", false)) as Change,
            Some("string: *two, one: later clock".to_owned()),
        ),
        (
            |a| _ = a.put_field(K, b"f", b"1"),
            |a| _ = a.add_member(K, b"m"),
            Some(format!("type: *Hash, Set: {}", Why::TypeOrder.words())),
        ),
        (|a| _ = a.add_member(K, b"m"), |a| _ = a.add_member(K, b"m"), None),
    ] {
        let [mut a, mut b] = pair();
        run(&mut a, 1_000, one);
        let theirs = run(&mut b, 2_000, other);
        let mut image = Vec::new();
        b.export_part(slot_of(K), Scope::Named, &[K], &mut image);
        a.import_part(slot_of(K), &image, &At { seq: 2, now_ms: 1, keep_undo: false }).unwrap();
        assert_eq!(lines(&a.take_conflicts()), expected.into_iter().collect::<Vec<_>>());
        assert!(join(&mut a, &theirs).is_empty());
    }
}

#[test]
fn what_is_kept_of_long_ones_is_bounded() {
    let [mut a, mut b] = pair();
    let long = vec![b'x'; 5_000];
    run(&mut a, 1, |a| a.put_string(&long, &long, false));
    let other = run(&mut b, 2, |a| a.put_string(&long, b"short", false));
    let noted = join(&mut a, &other);
    let [Conflict { key, versions, .. }] = &noted.conflicts[..] else { panic!("{noted:?}") };
    assert_eq!((key.length, key.bytes.len()), (5_000, 128));
    assert!(matches!(&versions[1].content, Content::Value(clip) if clip.length == 5_000 && clip.bytes.len() == 128));

    let many = |value: &'static [u8]| {
        move |a: &mut Access<'_>| (0..300u32).for_each(|n| a.put_string(&n.to_le_bytes(), value, false))
    };
    run(&mut a, 3, many(b"1"));
    let other = run(&mut b, 4, many(b"2"));
    let noted = join(&mut a, &other);
    assert_eq!((noted.conflicts.len(), noted.counts[0]), (128, 300));
}

#[test]
fn nothing_is_noted_unless_asked_for() {
    let [mut a, mut b] = [1, 2].map(|group| {
        let mut engine = Engine::new();
        engine.set_origin(Origin { group, generation: 0 });
        engine
    });
    run(&mut a, 1, |a| a.put_string(K, b"1", false));
    let other = run(&mut b, 2, |a| a.put_string(K, b"2", false));
    assert!(join(&mut a, &other).is_empty());
}
