//! Siblings, and writes that say what they saw: in any order, with gaps and twice, what is there is what nobody removed who had seen it.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use trireme_proto::ids::{Dot, Origin};

use super::seeds;
use crate::engine::access::siblings::{Context, PutError, Siblings};
use crate::engine::{At, Engine, Scope, slot_of};

const KEY: &[u8] = b"x";

struct Replica {
    engine: Engine,
    seq: u64,
}

impl Replica {
    fn of(group: u32) -> Replica {
        let mut engine = Engine::new();
        engine.set_origin(Origin { group, generation: 1 });
        engine.share();
        Replica { engine, seq: 0 }
    }

    fn at(&mut self) -> At {
        self.seq += 1;
        At { seq: self.seq, now_ms: 1_000, keep_undo: false }
    }

    fn siblings(&mut self) -> Siblings {
        let at = self.at();
        self.engine.execute(&at, &mut Vec::new(), |a| a.siblings(KEY)).0.unwrap()
    }

    fn set(&mut self, value: &str) -> Vec<u8> {
        let (at, mut delta) = (self.at(), Vec::new());
        self.engine.execute(&at, &mut delta, |a| a.put_string(KEY, value.as_bytes(), false));
        delta
    }

    fn put(&mut self, value: &str, context: &Context) -> Vec<u8> {
        let (at, mut delta) = (self.at(), Vec::new());
        self.engine.execute(&at, &mut delta, |a| a.put_over(KEY, value.as_bytes(), context)).0.unwrap();
        delta
    }

    fn add(&mut self, by: i64) -> Vec<u8> {
        let (at, mut delta) = (self.at(), Vec::new());
        self.engine.execute(&at, &mut delta, |a| a.increment(KEY, by)).0.unwrap();
        delta
    }

    fn join(&mut self, delta: &[u8]) {
        let at = self.at();
        self.engine.join(delta, &At { keep_undo: true, ..at }).unwrap();
        let digest = self.engine.digest_total();
        self.engine.undo_after(at.seq - 1);
        self.engine.join(delta, &at).unwrap();
        assert_eq!(self.engine.digest_total(), digest, "undone and done again");
        self.engine.forget_undo(at.seq);
    }

    fn values(&mut self) -> BTreeSet<String> {
        self.siblings().values.iter().map(|s| String::from_utf8_lossy(&s.value).into_owned()).collect()
    }
}

fn set_of(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn two_that_were_apart_leave_two_and_a_third_resolves_both() {
    let [mut a, mut b, mut c] = [1, 2, 3].map(Replica::of);
    let first = a.set("first");
    [&mut b, &mut c].into_iter().for_each(|r| r.join(&first));
    // All over one coordinator: what counts is what the clients saw.
    let seen = a.siblings();
    assert_eq!((seen.values.len(), seen.values[0].read, seen.counter), (1, true, None));
    let (one, two) = (a.put("one", &seen.context), a.put("two", &seen.context));
    assert_eq!(a.values(), set_of(&["one", "two"]));
    [&two, &one].into_iter().for_each(|delta| b.join(delta));
    let both = b.siblings();
    assert_eq!(
        both.values.iter().map(|s| (&s.value[..], s.read)).collect::<Vec<_>>(),
        [(&b"two"[..], true), (b"one", false)]
    );
    let (resolved, unseen) = (b.put("resolved", &both.context), a.put("unseen", &seen.context));
    for (r, deltas) in
        [(&mut a, vec![&resolved]), (&mut b, vec![&unseen]), (&mut c, vec![&resolved, &unseen, &one, &two])]
    {
        deltas.into_iter().for_each(|delta| r.join(delta));
        assert_eq!(r.values(), set_of(&["resolved", "unseen"]));
    }
    assert_eq!(a.engine.digest_total(), c.engine.digest_total());
    // An ordinary SET removes what its coordinator has seen.
    a.set("all");
    assert_eq!(a.values(), set_of(&["all"]));
}

#[test]
fn what_was_counted_and_seen_is_cancelled_and_what_was_counted_later_is_not() {
    let [mut a, mut b, mut c] = [1, 2, 3].map(Replica::of);
    let deltas = [a.add(5), b.add(7)];
    a.join(&deltas[1]);
    let seen = a.siblings();
    assert_eq!(seen.counter, Some(12));
    let later = [a.add(1), b.add(2)];
    let put = a.put("100", &seen.context);
    b.join(&deltas[0]);
    [&put, &later[0]].into_iter().for_each(|delta| b.join(delta));
    a.join(&later[1]);
    [&put, &later[1], &later[0], &deltas[1], &deltas[0]].into_iter().for_each(|delta| c.join(delta));
    for r in [&mut a, &mut b, &mut c] {
        let at = r.at();
        let value = r.engine.execute(&at, &mut Vec::new(), |x| x.string(KEY).map(|v| v.map(|v| v.into_owned()))).0;
        assert_eq!(value.unwrap().unwrap(), b"103");
    }
}

#[test]
fn an_expired_value_and_its_time_to_live_do_not_hide_what_is_put() {
    let mut a = Replica::of(1);
    a.set("old");
    let seen = a.siblings();
    let at = a.at();
    a.engine.execute(&at, &mut Vec::new(), |x| x.set_expiry(KEY, Some(1_500)));
    let at = At { now_ms: 2_000, ..a.at() };
    a.engine.execute(&at, &mut Vec::new(), |x| x.put_over(KEY, b"new", &seen.context)).0.unwrap();
    let at = At { now_ms: 2_000, ..a.at() };
    let (values, expires) = a.engine.execute(&at, &mut Vec::new(), |x| (x.siblings(KEY).unwrap(), x.expires_at(KEY))).0;
    assert_eq!((values.values.len(), &values.values[0].value[..], expires), (1, &b"new"[..], None));
    // A key of another type stays, and nothing is put beside another write.
    let at = a.at();
    let refused = a.engine.execute(&at, &mut Vec::new(), |x| {
        x.add_member(b"set", b"m").unwrap();
        (x.put_over(KEY, b"v", &Context::default()), x.siblings(b"set").is_err())
    });
    assert_eq!(refused.0, (Err(PutError::NotAlone), true));
    let at = a.at();
    let refused = a.engine.execute(&at, &mut Vec::new(), |x| x.put_over(b"set", b"v", &Context::default()));
    assert!(matches!(refused.0, Err(PutError::WrongType(_))) && !refused.1.wrote);
}

#[test]
fn in_any_order_what_is_there_is_what_nobody_removed_who_had_seen_it() {
    for seed in 0..seeds(300) {
        let mut rng = Rng::with_seed(seed);
        let mut replicas = [1, 2, 3].map(Replica::of);
        // Of each value: its delta, its name, and the values that it removes.
        let mut deltas: Vec<Vec<u8>> = Vec::new();
        let mut removes: Vec<BTreeSet<usize>> = Vec::new();
        let mut names: BTreeMap<Dot, usize> = BTreeMap::new();
        let mut has: [BTreeSet<usize>; 3] = Default::default();
        let mut tokens: Vec<(Context, BTreeSet<usize>)> = vec![(Context::default(), BTreeSet::new())];
        let live = |has: &BTreeSet<usize>, removes: &[BTreeSet<usize>]| -> BTreeSet<usize> {
            has.iter().copied().filter(|i| !has.iter().any(|by| removes[*by].contains(i))).collect()
        };
        for _ in 0..40 {
            let at = rng.usize(..3);
            match rng.u8(..6) {
                0 => {
                    let seen = replicas[at].siblings();
                    let ids = seen.values.iter().map(|s| names[&s.dot]).collect();
                    tokens.push((Context::from_token(KEY, seen.context.to_token(KEY).as_bytes()).unwrap(), ids));
                }
                1..=2 => {
                    let value = deltas.len().to_string();
                    if rng.bool() {
                        let (context, ids) = &tokens[rng.usize(..tokens.len())];
                        deltas.push(replicas[at].put(&value, context));
                        removes.push(ids.clone());
                    } else {
                        deltas.push(replicas[at].set(&value));
                        removes.push(has[at].clone());
                    }
                    let new = deltas.len() - 1;
                    names.insert(Engine::dot_of(&deltas[new]).unwrap(), new);
                    has[at].insert(new);
                }
                _ if !deltas.is_empty() => {
                    let one = rng.usize(..deltas.len());
                    replicas[at].join(&deltas[one]);
                    has[at].insert(one);
                }
                _ => {}
            }
            let expected = live(&has[at], &removes).iter().map(usize::to_string).collect::<BTreeSet<_>>();
            assert_eq!(replicas[at].values(), expected, "seed {seed}");
        }
        for (replica, has) in replicas.iter_mut().zip(&has) {
            (0..deltas.len()).rev().filter(|i| !has.contains(i)).for_each(|i| replica.join(&deltas[i]));
        }
        let digests = replicas.each_ref().map(|r| r.engine.digest_total());
        assert!(digests.iter().all(|digest| *digest == digests[0]), "seed {seed}: {digests:?}");
        // And as state, over a replica that has nothing.
        let (mut fresh, mut image) = (Replica::of(4), Vec::new());
        replicas[0].engine.export_part(slot_of(KEY), Scope::Slot, &[], &mut image);
        fresh.engine.import_part(slot_of(KEY), &image, &At { seq: 1, now_ms: 0, keep_undo: false }).unwrap();
        assert_eq!(fresh.values(), replicas[0].values(), "seed {seed}");
    }
}
