//! With one origin, the engine is a plain key-value store: equal to a sequential model, at the leader and where its deltas are joined in order.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::{exported, seeds};
use crate::engine::{Access, At, Engine, IncrementError, Kind, WrongType};

#[derive(Clone, Debug, PartialEq)]
enum Value {
    String(Vec<u8>),
    Hash(BTreeMap<u8, Vec<u8>>),
    Set(BTreeSet<u8>),
    SortedSet(BTreeMap<u8, f64>),
    List(Vec<u8>),
}

type Model = BTreeMap<u8, (Value, Option<u64>)>;

fn number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    text.parse::<i64>().ok().filter(|n| n.to_string() == text)
}

fn plus(old: Option<&Vec<u8>>, by: i64) -> Result<i64, IncrementError> {
    let old = old.map_or(Some(0), |v| number(v)).ok_or(IncrementError::NotAnInteger)?;
    old.checked_add(by).ok_or(IncrementError::Overflow)
}

fn random_value(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..6) {
        0 => b"word".to_vec(),
        1 => b"007".to_vec(),
        2 => i64::MAX.to_string().into_bytes(),
        3 => vec![7; rng.usize(..3000)],
        _ => rng.i8(..).to_string().into_bytes(),
    }
}

/// One random command on both; their answers must be equal.
fn step(rng: &mut Rng, a: &mut Access<'_>, model: &mut Model) {
    let (key, f, now) = (rng.u8(..4), rng.u8(..4), a.now_ms());
    let (name, field) = ([key], [f]);
    model.retain(|_, (_, at_ms)| at_ms.is_none_or(|at_ms| at_ms > now));
    let old = model.get(&key).cloned();
    let expiry = old.as_ref().and_then(|o| o.1);
    let (mut hash, mut set) = (BTreeMap::new(), BTreeSet::new());
    let (mut is_hash, mut is_set, mut string) = (old.is_none(), old.is_none(), None);
    let (mut sorted, mut is_sorted) = (BTreeMap::new(), old.is_none());
    let (mut list, mut is_list) = (Vec::new(), old.is_none());
    match old.clone().map(|o| o.0) {
        Some(Value::Hash(h)) => (hash, is_hash) = (h, true),
        Some(Value::Set(s)) => (set, is_set) = (s, true),
        Some(Value::List(l)) => (list, is_list) = (l, true),
        Some(Value::SortedSet(s)) => (sorted, is_sorted) = (s, true),
        Some(Value::String(s)) => string = Some(s),
        None => {}
    }
    let is_string = old.is_none() || string.is_some();
    let mut put = |value: Value, expiry| drop(model.insert(key, (value, expiry)));
    match rng.u8(..23) {
        0..=1 => {
            let (value, keep) = (random_value(rng), rng.bool());
            a.put_string(&name, &value, keep);
            put(Value::String(value), expiry.filter(|_| keep));
        }
        2 => assert_eq!(a.remove(&name), model.remove(&key).is_some()),
        3..=4 => {
            let by = [1, -1, i64::MAX, 9][rng.usize(..4)];
            let want = if is_string { plus(string.as_ref(), by) } else { Err(WrongType.into()) };
            assert_eq!(a.increment(&name, by), want);
            if let Ok(sum) = want {
                put(Value::String(sum.to_string().into_bytes()), expiry);
            }
        }
        5..=6 => {
            let value = random_value(rng);
            let want = if is_hash { Ok(!hash.contains_key(&f)) } else { Err(WrongType) };
            assert_eq!(a.put_field(&name, &field, &value), want);
            if want.is_ok() {
                hash.insert(f, value);
                put(Value::Hash(hash), expiry);
            }
        }
        7 => {
            let want = if is_hash { plus(hash.get(&f), 3) } else { Err(WrongType.into()) };
            assert_eq!(a.increment_field(&name, &field, 3), want);
            if let Ok(sum) = want {
                hash.insert(f, sum.to_string().into_bytes());
                put(Value::Hash(hash), expiry);
            }
        }
        8 => {
            let want = if is_hash { Ok(hash.remove(&f).is_some()) } else { Err(WrongType) };
            assert_eq!(a.remove_field(&name, &field), want);
            match (want, hash.is_empty()) {
                (Ok(true), true) => drop(model.remove(&key)),
                (Ok(true), false) => put(Value::Hash(hash), expiry),
                _ => {}
            }
        }
        9..=10 => {
            let want = if is_set { Ok(set.insert(f)) } else { Err(WrongType) };
            assert_eq!(a.add_member(&name, &field), want);
            if want.is_ok() {
                put(Value::Set(set), expiry);
            }
        }
        11 => {
            let want = if is_set { Ok(set.remove(&f)) } else { Err(WrongType) };
            assert_eq!(a.remove_member(&name, &field), want);
            match (want, set.is_empty()) {
                (Ok(true), true) => drop(model.remove(&key)),
                (Ok(true), false) => put(Value::Set(set), expiry),
                _ => {}
            }
        }
        12..=13 => {
            let score = f64::from(rng.i8(..)) / [1.0, 2.0][rng.usize(..2)];
            let want = if is_sorted { Ok(sorted.insert(f, score).is_none()) } else { Err(WrongType) };
            assert_eq!(a.put_score(&name, &field, score), want);
            if want.is_ok() {
                put(Value::SortedSet(sorted), expiry);
            }
        }
        14..=15 => {
            let by = [1.0, -3.0, 0.5, 1e16, f64::INFINITY][rng.usize(..5)];
            let sum = sorted.get(&f).copied().unwrap_or(0.0) + by;
            let want = if is_sorted { Ok(sum) } else { Err(WrongType) };
            assert_eq!(a.increment_score(&name, &field, by), want);
            if want.is_ok() {
                sorted.insert(f, sum);
                put(Value::SortedSet(sorted), expiry);
            }
        }
        17..=19 => {
            let at = rng.usize(..=list.len());
            let want = if is_list { Ok(()) } else { Err(WrongType) };
            assert_eq!(a.list_insert(&name, at, &field), want);
            if is_list {
                list.insert(at, f);
                put(Value::List(list), expiry);
            }
        }
        20 => {
            let at = rng.usize(..4);
            let want = if is_list { Ok(at < list.len()) } else { Err(WrongType) };
            assert_eq!(a.list_set(&name, at, &field), want);
            if want == Ok(true) {
                list[at] = f;
                put(Value::List(list), expiry);
            }
        }
        21 => {
            let at = rng.usize(..=list.len().min(3));
            assert_eq!(a.list_remove(&name, at..at + 2), if is_list { Ok(()) } else { Err(WrongType) });
            list.drain(at..list.len().min(at + 2));
            match (is_list && old.is_some(), list.is_empty()) {
                (true, true) => drop(model.remove(&key)),
                (true, false) => put(Value::List(list), expiry),
                _ => {}
            }
        }
        16 => {
            let want = if is_sorted { Ok(sorted.remove(&f).is_some()) } else { Err(WrongType) };
            assert_eq!(a.remove_scored(&name, &field), want);
            match (want, sorted.is_empty()) {
                (Ok(true), true) => drop(model.remove(&key)),
                (Ok(true), false) => put(Value::SortedSet(sorted), expiry),
                _ => {}
            }
        }
        _ => {
            let at_ms = rng.bool().then(|| now + rng.u64(1..6));
            assert_eq!(a.set_expiry(&name, at_ms), old.is_some());
            if let Some((value, _)) = old {
                put(value, at_ms);
            }
        }
    }
}

fn check(a: &mut Access<'_>, model: &Model) {
    let now = a.now_ms();
    for key in 0..4 {
        let (name, want) = ([key], model.get(&key).filter(|(_, at_ms)| at_ms.is_none_or(|at_ms| at_ms > now)));
        assert_eq!(a.expires_at(&name), want.and_then(|w| w.1));
        assert_eq!(a.version(&name) == 0, want.is_none());
        match want.map(|w| &w.0) {
            None => assert_eq!((a.kind(&name), a.string(&name)), (None, Ok(None))),
            Some(Value::String(value)) => {
                assert_eq!(a.kind(&name), Some(Kind::String));
                assert_eq!(a.string(&name).unwrap().as_deref(), Some(&value[..]));
            }
            Some(Value::Hash(hash)) => {
                let found: BTreeMap<u8, Vec<u8>> =
                    a.fields(&name).unwrap().map(|(f, v)| (f[0], v.into_owned())).collect();
                assert_eq!((a.kind(&name), &found), (Some(Kind::Hash), hash));
                assert_eq!(a.field_count(&name), Ok(hash.len()));
                assert_eq!(a.string(&name), Err(WrongType));
                for f in 0..4 {
                    assert_eq!(a.field(&name, &[f]).unwrap().as_deref(), hash.get(&f).map(|v| &v[..]));
                }
            }
            Some(Value::List(list)) => {
                let found: Vec<u8> = a.list_range(&name, 0..99).unwrap().iter().map(|v| v[0]).collect();
                assert_eq!((a.kind(&name), &found), (Some(Kind::List), list));
                assert_eq!(a.list_length(&name), Ok(list.len()));
            }
            Some(Value::SortedSet(sorted)) => {
                let mut order: Vec<(u8, f64)> = sorted.iter().map(|(m, s)| (*m, *s)).collect();
                order.sort_by(|l, r| l.1.total_cmp(&r.1).then(l.0.cmp(&r.0)));
                let found = |range: std::ops::Range<usize>, a: &mut Access<'_>| -> Vec<(u8, f64)> {
                    a.scored_range(&name, range).unwrap().into_iter().map(|(m, s)| (m[0], s)).collect()
                };
                assert_eq!(a.kind(&name), Some(Kind::SortedSet));
                assert_eq!((found(0..9, a), a.scored_count(&name)), (order.clone(), Ok(order.len())));
                assert_eq!(found(1..2, a), order.get(1..2).unwrap_or_default());
                for (rank, (member, score)) in order.iter().enumerate() {
                    assert_eq!(a.rank(&name, &[*member]), Ok(Some((rank, *score))));
                    assert_eq!(
                        a.scored_before(&name, &|_, s| s < *score),
                        Ok(order.iter().filter(|o| o.1 < *score).count())
                    );
                }
                (0..4).for_each(|m| assert_eq!(a.score(&name, &[m]), Ok(sorted.get(&m).copied())));
            }
            Some(Value::Set(set)) => {
                let found: BTreeSet<u8> = a.members(&name).unwrap().map(|m| m[0]).collect();
                assert_eq!((a.kind(&name), &found), (Some(Kind::Set), set));
                assert_eq!(a.member_count(&name), Ok(set.len()));
                (0..4).for_each(|m| assert_eq!(a.contains(&name, &[m]), Ok(set.contains(&m))));
            }
        }
    }
}

#[test]
fn one_origin_equals_a_sequential_model_and_undoing_is_exact() {
    let keys: [&[u8]; 4] = [&[0], &[1], &[2], &[3]];
    for seed in 0..seeds(300) {
        let mut rng = Rng::with_seed(seed);
        let (mut leader, mut follower, mut model) = (Engine::new(), Engine::new(), Model::new());
        let mut now_ms = 1_000;
        for seq in 1..120 {
            now_ms += rng.u64(..2);
            let at = At { seq, now_ms, keep_undo: rng.bool() };
            if at.keep_undo && rng.bool() {
                // Work that is undone leaves no trace.
                let before = exported(&leader, &keys);
                let mut scratch = model.clone();
                for _ in 0..rng.usize(1..4) {
                    leader.execute(&at, &mut Vec::new(), |a| (0..4).for_each(|_| step(&mut rng, a, &mut scratch)));
                }
                leader.undo_after(seq - 1);
                assert_eq!(exported(&leader, &keys), before, "seed {seed}");
            }
            let mut delta = Vec::new();
            let (_, effect) = leader.execute(&at, &mut delta, |a| {
                for _ in 0..[1, 1, 4][rng.usize(..3)] {
                    let mut next = model.clone();
                    step(&mut rng, a, &mut next);
                    model = next;
                    check(a, &model);
                }
            });
            assert_eq!(effect.wrote, !delta.is_empty());
            leader.forget_undo(seq);
            if effect.wrote {
                follower.join(&delta, &At { keep_undo: false, ..at }).unwrap();
            }
            let at = At { seq: 0, ..at };
            follower.execute(&at, &mut Vec::new(), |a| check(a, &model));
            let same = |e: &Engine| (0..4).map(|k| e.digest(crate::engine::slot_of(&[k]))).collect::<Vec<_>>();
            assert_eq!(same(&leader), same(&follower), "seed {seed}");
        }
        let mut delta = Vec::new();
        let at = At { seq: 200, now_ms: now_ms + 100, keep_undo: false };
        while leader.expire(&at, &mut delta, 1, |_| true).1.wrote {
            follower.join(&delta, &at).unwrap();
            delta.clear();
        }
        model.retain(|_, (_, at_ms)| at_ms.is_none());
        assert_eq!((leader.key_count(), leader.next_expiry_ms()), (model.len() as u64, None), "seed {seed}");
        assert_eq!(leader.digest_total(), follower.digest_total(), "seed {seed}");
    }
}
